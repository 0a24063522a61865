//! Many accounts at once: lists, exports of other systems over the API, and `qeetid import`.

use crate::{
    api::until,
    support::{
        app::{App, fresh_email, fresh_password, unique},
        client::{Client, Reply},
        stack::Stack,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// An organization, its owner's token and a key that may write users.
struct Org {
    id: String,
    token: String,
    key: String,
}

async fn org(app: &App) -> Org {
    let owner = app.signup().await;
    app.verify(&owner).await;
    let id = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
    app.manage(&id).await;
    let token = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": id})).await.expect(200).str("access_token");
    let key = app.post_as(&token, "/v1/api-keys", json!({"name": "k", "scopes": ["user.write", "tenant.read"]})).await.expect(201);
    Org { id, token, key: key.str("secret") }
}

impl Org {
    async fn bulk(&self, app: &Client, users: Value) -> Reply {
        app.send_key(Method::POST, "/v1/users/bulk", &self.key, Some(json!({"users": users}))).await
    }
    async fn upload(&self, app: &Client, source: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.upload_with(app, source, content_type, &[], body).await
    }
    async fn upload_with(&self, app: &Client, source: &str, kind: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
        let path = format!("/v1/users/bulk/import?source={source}");
        let mut request =
            app.request(Method::POST, &path).header("authorization", format!("ApiKey {}", self.key)).header("content-type", kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.run(request.body(body)).await.unwrap()
    }
}

#[track_caller]
fn counts(reply: &Reply) -> (u64, u64) {
    (reply.body["succeeded"].as_u64().unwrap(), reply.body["failed"].as_u64().unwrap())
}

async fn becomes_argon2id(app: &App, email: &str) {
    let todays = |hash: &Option<String>| hash.as_ref().is_some_and(|h| h.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    until("not hashed anew", async || app.stored_hash(email).await, todays).await;
}
/// Signs in, and waits until the hash is today's.
async fn signs_in(app: &App, email: &str, password: &str) {
    app.login(email, "not the password").await.refused(401, "invalid_credentials");
    app.login(email, password).await.expect(200);
    becomes_argon2id(app, email).await;
    app.login(email, password).await.expect(200);
}

const SIGNER: &str = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";
const FIREBASE: (&str, &str) =
    ("lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==", "42xEC+ixf3L2lw==");
const KEYCLOAK: (&str, &str) =
    ("H5R9LZ0QvKxHLm1Lg0IeQXdtUAa+9gf2NeOZns+WHBTpnlaWE/+JwnJ/2OXEjNPW5EusP1xxGLqEqjWDbIcGlg==", "MDEyMzQ1Njc4OWFiY2RlZg==");

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_and_only_into_an_organization() {
    let app = App::own().await;
    let (ours, person) = (org(&app).await, app.signup().await);
    let row = json!({"users": [{"email": fresh_email()}]});
    app.post("/v1/users/bulk", row.clone()).await.refused(401, "unauthorized");
    app.post_as(&person.access, "/v1/users/bulk", row.clone()).await.refused(422, "validation_failed");
    let other = app.post_as(&ours.token, "/v1/api-keys", json!({"name": "k", "scopes": ["user.read"]})).await.expect(201).str("secret");
    app.send_key(Method::POST, "/v1/users/bulk", &other, Some(row)).await.refused(403, "forbidden");
    let foreign = json!({"tenant_id": person.tenant_id, "users": []});
    app.send_key(Method::POST, "/v1/users/bulk", &ours.key, Some(foreign)).await.refused(404, "not_found");
    let many: Vec<_> = (0..1001).map(|_| json!({})).collect();
    assert!(ours.bulk(&app, json!(many)).await.refused(422, "validation_failed").body["error"]["fields"]["users"].is_string());
    assert_eq!(counts(&ours.bulk(&app, json!([])).await.expect(200)), (0, 0));
    for source in ["", "nonsense", "Auth0"] {
        let reply = ours.upload(&app, source, "text/csv", "email\n").await.refused(422, "validation_failed");
        assert!(reply.body["error"]["fields"]["source"].is_string(), "{}", reply.text);
    }
    ours.upload(&app, "qeet", "text/plain", "x").await.refused(415, "unsupported_media_type");
    ours.upload(&app, "cognito", "text/csv", "name,mail\nAda,a\n").await.refused(422, "validation_failed");
    ours.upload(&app, "qeet", "text/csv", vec![b'x'; 10 * 1024 * 1024 + 1]).await.refused(413, "payload_too_large");
    ours.upload_with(&app, "firebase", "application/json", &[("x-firebase-signer-key", "???")], "{}")
        .await
        .refused(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_elsewhere_are_told_of_twenty_times_a_day() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let ours = org(&app).await;
    // Somebody else's users.
    let theirs = org(&app).await;
    let elsewhere: Vec<_> = (0..25).map(|_| json!({"email": fresh_email()})).collect();
    assert_eq!(counts(&theirs.bulk(&app, json!(elsewhere)).await.expect(200)), (25, 0));
    let free = fresh_email();
    let mut asked = elsewhere.clone();
    asked.push(json!({"email": free}));
    let reply = ours.bulk(&app, json!(asked)).await.expect(200);
    assert_eq!(counts(&reply), (0, 26));
    let told = reply.body["errors"].as_array().unwrap().iter().filter(|e| e["message"].as_str().unwrap().contains("another account"));
    assert_eq!(told.count(), 20, "{}", reply.text);
    // From then on the answer is the same for a free address.
    let again = ours.bulk(&app, json!([{"email": free}])).await.refused(429, "rate_limited");
    assert!(again.header("retry-after").is_some_and(|s| s.parse::<u64>().unwrap() > 3600));
    ours.upload(&app, "qeet", "text/csv", format!("email\n{free}\n")).await.refused(429, "rate_limited");
    let audit = app.get_as(&ours.token, &format!("/v1/tenants/{}/audit", ours.id)).await.expect(200);
    assert!(audit.text.contains("user.accounts_revealed"), "{}", audit.text);
    assert_eq!(counts(&theirs.bulk(&app, json!([{"email": free}])).await.expect(200)), (1, 0), "another tenant has its own share");
}

fn import(app: &App, file: &Path, source: &str, tenant: &str, more: &[&str]) -> Command {
    let mut command = app.command();
    command.arg("import").arg(file).args(["--source", source, "--tenant", tenant]).args(more);
    command.env("QEETID_HASH_THREADS", "2");
    command
}
fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// That many rows, of which every tenth is refused, each for one of three reasons.
fn large(dir: &Path, rows: u64) -> (std::path::PathBuf, Vec<u64>) {
    let (mut text, mut bad) = (String::new(), Vec::new());
    let (mark, bcrypt) = (unique(), "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    for n in 1..=rows {
        let row = match n % 30 {
            10 => "not JSON".to_owned(),
            20 => json!({"email": format!("bulk{mark}-{}@example.com", n - 1)}).to_string(),
            0 => json!({"email": format!("bulk{mark}-{n}@example.com"), "password": "password"}).to_string(),
            _ => json!({"email": format!("bulk{mark}-{n}@example.com"), "password_hash": bcrypt, "display_name": "Ada"}).to_string(),
        };
        if n % 10 == 0 {
            bad.push(n);
        }
        text.push_str(&row);
        text.push('\n');
    }
    let file = dir.join("large.ndjson");
    std::fs::write(&file, text).unwrap();
    (file, bad)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_makes_each_account_on_its_own() {
    let app = App::own().await;
    let (ours, stranger) = (org(&app).await, app.signup().await);
    let (a, b, password) = (fresh_email(), fresh_email(), fresh_password());
    let users = json!([
        {"email": a, "password": password, "display_name": "Ada", "metadata": {"plan": "pro"}, "email_verified": true},
        {"email": "no address", "password": "x"},
        {"email": stranger.email},
        7,
        {"email": a},
        {"email": fresh_email(), "password": "password"},
        {"email": fresh_email(), "role_id": "00000000-0000-7000-8000-000000000001"},
        {"email": fresh_email(), "tenant_id": stranger.tenant_id},
        {"email": b, "password_hash": "{SSHA256}RZt1ffPUBCPIm1ExiBme2/Pq6LjxmOV+UuwTDxYUEXlOYUNs", "status": "active"},
        {"email": fresh_email(), "password_hash": "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
    ]);
    let reply = ours.bulk(&app, users).await.expect(200);
    assert_eq!(counts(&reply), (2, 8), "{}", reply.text);
    let mut lines: Vec<_> = reply.body["errors"].as_array().unwrap().iter().map(|e| e["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 10], "{}", reply.text);
    let signed_in = app.login(&a, &password).await.expect(200);
    assert_eq!(signed_in.str("tenant_id"), ours.id);
    // An admin's word for an address is no proof: the person's view of invites to it stays shut.
    let me = app.get_as(&signed_in.str("access_token"), "/v1/me").await.expect(200);
    assert_eq!(
        (&me.body["display_name"], &me.body["metadata"]["plan"], &me.body["roles"]),
        (&json!("Ada"), &json!("pro"), &json!(["member"]))
    );
    assert!(app.stored_hash(&b).await.unwrap().starts_with("$wrapped-argon2id$v=19$"), "no fast hash is stored bare");
    signs_in(&app, &b, "correct horse").await;
    // Again: nobody twice.
    let again = ours.bulk(&app, json!([{"email": a}, {"email": b}])).await.expect(200);
    assert_eq!(counts(&again), (0, 2));
    let audit = app.get_as(&ours.token, &format!("/v1/tenants/{}/audit", ours.id)).await.expect(200);
    assert_eq!(audit.text.matches("user.created").count(), 2, "{}", audit.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_comes_in_with_its_passwords() {
    let app = App::own().await;
    let ours = org(&app).await;
    let [q, a, f, c, k, md5] = std::array::from_fn(|_| fresh_email());
    let bcrypt = bcrypt::hash("correct horse", 10).unwrap();
    let scrypt =
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw";
    let lines = format!("{}\nbroken\n{}\n", json!({"email": q, "password_hash": scrypt}), json!({"email": q, "password_hash": scrypt}));
    let reply = ours.upload(&app, "qeet", "application/x-ndjson", lines).await.expect(200);
    assert_eq!(counts(&reply), (1, 2), "{}", reply.text);
    assert_eq!(reply.body["errors"].as_array().unwrap().iter().filter_map(|e| e["line"].as_u64()).collect::<Vec<_>>(), [2, 3]);
    let auth0 = json!([{"email": a, "passwordHash": bcrypt}, {"email": md5, "custom_password_hash":
        {"algorithm": "md5", "hash": {"value": "5f4dcc3b5aa765d61d8327deb882cf99", "encoding": "hex"}}}]);
    assert_eq!(counts(&ours.upload(&app, "auth0", "application/json", auth0.to_string()).await.expect(200)), (2, 0));
    let firebase = json!({"users": [{"localId": "u", "email": f, "passwordHash": FIREBASE.0, "salt": FIREBASE.1}]}).to_string();
    let without = ours.upload(&app, "firebase", "application/json", firebase.clone()).await.expect(200);
    assert_eq!(counts(&without), (0, 1), "the project's parameters are needed");
    let with = ours.upload_with(&app, "firebase", "application/json", &[("x-firebase-signer-key", SIGNER)], firebase).await.expect(200);
    assert_eq!(counts(&with), (1, 0), "{}", with.text);
    let cognito = format!("name,email,email_verified,cognito:username\n\"Ada, L.\",{c},true,ada\nBob,nonsense,true,bob\n");
    assert_eq!(counts(&ours.upload(&app, "cognito", "text/csv", cognito).await.expect(200)), (1, 1));
    let credential = json!({"type": "password", "credentialData": json!({"hashIterations": 27500, "algorithm": "pbkdf2-sha256"}).to_string(),
        "secretData": json!({"value": KEYCLOAK.0, "salt": KEYCLOAK.1}).to_string()});
    let keycloak = json!({"realm": "r", "users": [{"username": "k", "email": k, "enabled": true, "credentials": [credential]}]});
    assert_eq!(counts(&ours.upload(&app, "keycloak", "application/json", keycloak.to_string()).await.expect(200)), (1, 0));
    assert_eq!(app.stored_hash(&a).await, Some(bcrypt));
    for (weak, within) in [(&md5, "$md5-after$"), (&q, "$scrypt$ln=14,r=8,p=1$"), (&f, "$fbscrypt$"), (&k, "$pbkdf2-sha256$i=27500,l=64$")]
    {
        let stored = app.stored_hash(weak).await.unwrap();
        assert!(stored.starts_with("$wrapped-argon2id$v=19$") && stored.contains(within), "{stored}");
    }
    for (email, password) in
        [(&q, "pleaseletmein"), (&a, "correct horse"), (&md5, "password"), (&f, "user1password"), (&k, "correct horse")]
    {
        signs_in(&app, email, password).await;
    }
    // Without a password: "forgot password" sets the first one.
    assert_eq!(app.stored_hash(&c).await, None);
    app.login(&c, "anything at all").await.refused(401, "invalid_credentials");
    let (token, new) = (app.reset_token(&c, 1).await, fresh_password());
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": new})).await.expect(200);
    app.login(&c, &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_looks_imports_and_knows_what_it_did() {
    let app = App::own().await;
    let (ours, stranger) = (org(&app).await, app.signup().await);
    let dir = tempfile::tempdir().unwrap();
    let (file, rejects, key) = (dir.path().join("users.json"), dir.path().join("rejects.ndjson"), dir.path().join("key"));
    let f = fresh_email();
    let users = json!({"users": [{"localId": "1", "email": f, "passwordHash": FIREBASE.0, "salt": FIREBASE.1},
        {"localId": "2", "email": stranger.email}, {"localId": "3"}]});
    std::fs::write(&file, serde_json::to_string_pretty(&users).unwrap()).unwrap();
    std::fs::write(&key, SIGNER).unwrap();
    let (key, to) = (key.to_str().unwrap(), rejects.to_str().unwrap());
    let arguments = ["--firebase-signer-key", key, "--rejects", to];
    let looked = said(&import(&app, &file, "firebase", &ours.id, &[&arguments[..], &["--dry-run"]].concat()).output().unwrap());
    assert!(looked.starts_with("1 users would be made") && looked.contains("2 rows refused"), "{looked}");
    assert_eq!(app.members_of(&ours.id).await, 1, "the owner");
    // Beside the running server.
    let done = import(&app, &file, "firebase", &ours.id, &arguments).output().unwrap();
    assert!(said(&done).starts_with("1 users made"), "{done:?}");
    assert!(!String::from_utf8_lossy(&done.stderr).contains(SIGNER));
    let refused: Vec<Value> = std::fs::read_to_string(&rejects).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((refused.len(), &refused[0]["email"], &refused[1]["email"]), (2, &json!(stranger.email), &Value::Null));
    assert!(refused[0]["line"].as_u64() > Some(1) && refused[1]["line"].as_u64() > refused[0]["line"].as_u64(), "{refused:?}");
    signs_in(&app, &f, "user1password").await;
    let again = said(&import(&app, &file, "firebase", &ours.id, &arguments).output().unwrap());
    assert!(again.contains("imported before: 1 users made, 2 rows refused"), "{again}");
    let restarted = said(&import(&app, &file, "firebase", &ours.id, &["--restart"]).output().unwrap());
    assert!(restarted.starts_with("0 users made"), "{restarted}");
    // A tenant by its slug, and an address that comes twice.
    let slug = app.get_as(&ours.token, &format!("/v1/tenants/{}", ours.id)).await.expect(200).str("slug");
    let (file, twice) = (dir.path().join("twice.ndjson"), fresh_email());
    let rows = [&twice, &fresh_email(), &twice.to_uppercase()].map(|email| json!({"email": email}).to_string());
    std::fs::write(&file, rows.join("\n")).unwrap();
    for (arguments, words) in [(&["--dry-run"][..], "2 users would be made"), (&[], "2 users made")] {
        let told = said(&import(&app, &file, "qeet", &slug.to_uppercase(), arguments).output().unwrap());
        assert!(told.starts_with(words) && told.contains("1 rows refused"), "{told}");
    }
    for (source, tenant, code) in
        [("nonsense", &*ours.id, 2), ("qeet", "x", 1), ("qeet", &stranger.tenant_id, 1), ("qeet", &stranger.user_id, 1)]
    {
        assert_eq!(import(&app, &file, source, tenant, &[]).output().unwrap().status.code(), Some(code), "{source} {tenant}");
    }
    let lost = import(&app, Path::new("/no/such/file"), "qeet", &ours.id, &[]).output().unwrap();
    assert!(lost.status.code() == Some(1) && String::from_utf8_lossy(&lost.stderr).contains("/no/such/file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_goes_on_where_it_was() {
    let rows = if Stack::of_run() == Stack::Distributed { 900 } else { 20_000 };
    killed_on_its_way(rows, 2, 2).await;
}

/// Many rows take tens of seconds.
mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn killed_again_and_again_it_goes_on_where_it_was() {
        // As many as it takes to be killed on the way. On CQL each death costs a minute: for so long a step is left to who has it.
        let (rows, most) = if Stack::of_run() == Stack::Distributed { (3_000, 4) } else { (30_000, 8) };
        killed_on_its_way(rows, most, 3).await;
    }
}

/// Killed up to `most` times on its way through so many rows; `least` times it must have been.
async fn killed_on_its_way(rows: u64, most: u32, least: u32) {
    let app = App::own().await;
    let ours = org(&app).await;
    let dir = tempfile::tempdir().unwrap();
    let ((file, bad), rejects) = (large(dir.path(), rows), dir.path().join("rejects.ndjson"));
    let arguments = ["--rejects", rejects.to_str().unwrap()];
    let mut before = app.members_of(&ours.id).await;
    let (mut killed, mut refused) = (0_u32, 0);
    let last = loop {
        let mut child = import(&app, &file, "qeet", &ours.id, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Killed once it has come further, and every other time at any moment, also when it has only begun.
        let (begun, any_moment) = (Instant::now(), Duration::from_millis(60 * u64::from(killed)));
        while killed < most && child.try_wait().unwrap().is_none() {
            let due = if killed % 2 == 0 { app.members_of(&ours.id).await > before } else { begun.elapsed() > any_moment };
            if due {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Not when it is about to end.
        let far_from_done = app.members_of(&ours.id).await < i64::try_from(rows / 10 * 7).unwrap();
        if killed < most && far_from_done && child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            (killed, refused) = (killed + 1, 0);
            let now = app.members_of(&ours.id).await;
            assert!(now >= before, "what was written stays");
            before = now;
            continue;
        }
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        // A dead one's step is left alone for a minute, and a store on a busy machine may be late: it says what to do.
        if refused < 12 && String::from_utf8_lossy(&ended.stderr).contains("start again to go on") {
            refused += 1;
            continue;
        }
        break ended;
    };
    assert!(killed >= least, "it was too fast to be killed more than {killed} times");
    let said = said(&last);
    assert!(said.starts_with(&format!("{} users made", rows / 10 * 9)) && said.contains(&format!("{} rows refused", rows / 10)), "{said}");
    assert_eq!(app.members_of(&ours.id).await, i64::try_from(rows / 10 * 9 + 1).unwrap());
    let lines: Vec<u64> = std::fs::read_to_string(&rejects)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, bad, "each refused row once, in their order");
}
