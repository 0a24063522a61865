use crate::{
    copy::{Target, embedded, stop},
    support::{
        app::{Account, App, fresh_email, fresh_password},
        stack::Place,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PHONE: &str = "+14155552671";

/// What was there before the move, to be found after it.
struct Grown {
    ada: Account,
    ben: Account,
    /// Reset token of Ben.
    reset: String,
    /// An organization of Ada's, and her token in it.
    org: String,
    token: String,
    key: String,
    /// Session and token that were ended just before.
    ended: String,
    bcrypt: String,
    /// Who has a mailed invite, and its token.
    invited: (String, String),
    binned: String,
    dead_tenant: String,
}

async fn organization(app: &App, owner: &Account, name: &str) -> (String, String) {
    let id = app.post_as(&owner.access, "/v1/tenants", json!({"name": name})).await.expect(201).str("id");
    app.manage(&id).await;
    let token = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": id})).await.expect(200).str("access_token");
    (id, token)
}

async fn grow(app: &App) -> Grown {
    let (ada, ben) = (app.signup().await, app.signup().await);
    for who in [&ada, &ben] {
        app.verify(who).await;
    }
    let phone = format!("/v1/users/{}/verify/phone", ada.user_id);
    app.post_as(&ada.access, &format!("{phone}/start"), json!({"phone": PHONE})).await.expect(200);
    let code = app.code(PHONE, 1).await;
    app.post_as(&ada.access, &format!("{phone}/confirm"), json!({"code": code})).await.expect(200);
    let reset = app.reset_token(&ben.email, 2).await;
    let ended = app.login(&ada.email, &ada.password).await.expect(200).pair();
    app.delete_as(&ada.access, &format!("/v1/auth/sessions/{}", ended.session_id)).await.expect(200);

    let (org, token) = organization(app, &ada, "Analytical Engines").await;
    organization(app, &ben, "Second").await;
    let (dead_tenant, dead) = organization(app, &ada, "Dead").await;
    app.post_as(&dead, "/v1/invites", json!({"email": fresh_email()})).await.expect(201);
    app.delete_as(&dead, &format!("/v1/tenants/{dead_tenant}")).await.expect(204);

    let key =
        app.post_as(&token, "/v1/api-keys", json!({"name": "k", "scopes": ["user.read", "invite.write"]})).await.expect(201).str("secret");
    let role = json!({"name": "Reader", "permissions": ["user.read"]});
    app.post_as(&token, &format!("/v1/tenants/{org}/roles"), role).await.expect(201);
    let bcrypt = fresh_email();
    let hash = bcrypt::hash("correct horse", 10).unwrap();
    let metadata = json!({"n": 0.1, "list": [1, 2.5e-7, "ä"]});
    app.post_as(&token, "/v1/users", json!({"email": bcrypt, "password_hash": hash, "display_name": "Émile", "metadata": metadata}))
        .await
        .expect(201);
    let suspended = app.post_as(&token, "/v1/users", json!({"email": fresh_email(), "password": fresh_password()})).await.expect(201);
    app.send(Method::PATCH, &format!("/v1/users/{}", suspended.str("id")), Some(&token), Some(json!({"status": "suspended"})))
        .await
        .expect(200);
    let binned =
        app.post_as(&token, "/v1/users", json!({"email": fresh_email(), "password": fresh_password()})).await.expect(201).str("id");
    app.delete_as(&token, &format!("/v1/users/{binned}")).await.expect(204);
    for n in 0..5 {
        app.post_as(&token, "/v1/users", json!({"email": fresh_email(), "display_name": format!("Émile {n}")})).await.expect(201);
    }

    // Ben comes in; one invite is taken back; one waits in a mailbox.
    let made = app.post_as(&token, "/v1/invites", json!({"email": ben.email})).await.expect(201);
    app.post("/v1/invites/accept", json!({"token": made.str("token"), "password": ben.password})).await.expect(200);
    let made = app.post_as(&token, "/v1/invites", json!({"email": fresh_email()})).await.expect(201);
    app.delete_as(&token, &format!("/v1/invites/{}", made.body["invite"]["id"].as_str().unwrap())).await.expect(204);
    let invited = fresh_email();
    app.post_as(&token, "/v1/invites", json!({"email": invited})).await.expect(201);
    let mailed = app.message(&invited, 1).await.token();
    // A change of address under way.
    let change = json!({"email": fresh_email(), "current_password": ben.password});
    app.post_as(&ben.access, "/v1/me/email/change/start", change).await.expect(200);
    Grown { ada, ben, reset, org, token, key, ended: ended.access, bcrypt, invited: (invited, mailed), binned, dead_tenant }
}

/// All pages of the lists, as they look to Ada.
async fn lists(app: &App, g: &Grown) -> Vec<(String, Vec<Value>)> {
    let own = &g.ada.tenant_id;
    let paths = [
        (&g.token, "/v1/users?limit=2".to_owned()),
        (&g.token, "/v1/users?limit=3&status=suspended".to_owned()),
        (&g.token, "/v1/users?limit=2&q=%C3%A9mile".to_owned()),
        (&g.token, "/v1/users/deleted?limit=2".to_owned()),
        (&g.token, format!("/v1/tenants/{}/invites?limit=2", g.org)),
        (&g.token, format!("/v1/tenants/{}/roles", g.org)),
        (&g.token, format!("/v1/tenants/{}/audit?limit=3", g.org)),
        (&g.token, format!("/v1/tenants/{}/api-keys?limit=1", g.org)),
        (&g.token, format!("/v1/tenants/{}", g.org)),
        (&g.ada.access, format!("/v1/tenants/{own}/audit?limit=3")),
        (&g.ada.access, "/v1/tenants".to_owned()),
        (&g.ada.access, "/v1/me".to_owned()),
        (&g.ada.access, "/v1/auth/sessions".to_owned()),
        (&g.ben.access, "/v1/me".to_owned()),
        (&g.ben.access, "/v1/tenants".to_owned()),
    ];
    let mut out = Vec::new();
    for (token, path) in paths {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get_as(token, &format!("{path}{cursor}")).await.expect(200);
            let next = page.body["next_cursor"].as_str().map(str::to_owned);
            let mut body = page.body;
            body.as_object_mut().map(|o| o.remove("next_cursor"));
            pages.push(body);
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        out.push((path, pages));
    }
    out
}

/// Waits until the audit events have their links: a list shows them.
async fn settled(app: &App, g: &Grown) -> Vec<(String, Vec<Value>)> {
    let begun = Instant::now();
    let mut before = lists(app, g).await;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = lists(app, g).await;
        let linked = now
            .iter()
            .filter(|(path, _)| path.contains("/audit"))
            .flat_map(|(_, pages)| pages)
            .all(|page| page["items"].as_array().unwrap().iter().all(|e| e["seq"].is_u64()));
        if linked && now == before {
            return now;
        }
        before = now;
        assert!(begun.elapsed() < Duration::from_secs(120), "the audit events are not linked: {before:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grown_installation_moves_and_nobody_notices() {
    let mut app = embedded().await;
    let g = grow(&app).await;
    let before = settled(&app, &g).await;
    assert!(before[0].1.len() > 4 && before[3].1[0]["items"][0]["id"] == g.binned.as_str(), "{before:?}");
    stop(&mut app).await;

    // Its last hours: the mail server is gone, and so is the machine in the end.
    let mut last = App::builder().on(&Place::default()).data_dir(app.data_dir()).env("QEETID_MAIL_URL", "smtp://127.0.0.1:1").start().await;
    let unsent = fresh_email();
    last.post_as(&g.token, "/v1/invites", json!({"email": unsent})).await.expect(201);
    let refreshed = last.refresh(&g.ada.refresh).await.expect(200).pair();
    let before = settled(&last, &g).await;
    let audited = last.command().args(["audit", "verify"]).output().unwrap();
    assert!(audited.status.success());
    last.kill9();

    let target = Target::fresh();
    let report = target.copied(&last);
    println!("{report}");
    assert!(report.contains("QEETID_STORE_URL") && report.contains("QEETID_SECRET") && report.contains("Not moved"), "{report}");
    // Once more is the comparison alone.
    assert!(target.copied(&last).contains("All of it is there, and the same"));

    let secret = std::fs::read_to_string(app.data_dir().join("secret")).unwrap();
    let moved = App::builder().on(&Place::at(&target.url)).env("QEETID_SECRET", secret.trim()).start().await;
    // Old access tokens are good, and all lists are as they were.
    for ((path, old), (_, new)) in before.iter().zip(lists(&moved, &g).await) {
        assert_eq!(*old, new, "{path}");
    }
    moved.me(&g.ended).await.refused(401, "unauthorized");
    let by_key = moved.send_key(Method::GET, "/v1/users", &g.key, None).await.expect(200);
    assert!(by_key.body["items"].as_array().unwrap().len() > 5);
    let audit = moved.command().args(["audit", "verify"]).output().unwrap();
    let audit = (audit.status.code(), String::from_utf8(audit.stdout).unwrap());
    assert!(audit.0 == Some(0) && audit.1.ends_with(", 0 broken\n"), "{audit:?}");
    let chains = |text: &str| text.lines().filter(|l| l.contains(": whole")).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(chains(&audit.1), chains(&String::from_utf8(audited.stdout).unwrap()), "the chains are the same, up to their heads");

    // Refresh tokens, passwords, links and invites of before.
    moved.refresh(&refreshed.refresh).await.expect(200);
    for (email, password) in [(&g.ada.email, &*g.ada.password), (&g.ben.email, &*g.ben.password), (&g.bcrypt, "correct horse")] {
        moved.login(email, "not the password").await.refused(401, "invalid_credentials");
        moved.login(email, password).await.expect(200);
    }
    moved.post("/v1/auth/reset-password", json!({"token": g.reset, "new_password": fresh_password()})).await.expect(200);
    let joined = moved.post("/v1/invites/accept", json!({"token": g.invited.1, "password": fresh_password()})).await.expect(200).pair();
    let me = moved.get_as(&joined.access, "/v1/me").await.expect(200);
    assert!(me.body["email"] == g.invited.0.as_str() && me.body["email_verified_at"].is_string(), "{}", me.text);
    // What could not be sent is sent.
    let token = moved.message(&unsent, 1).await.token();
    moved.post("/v1/invites/accept", json!({"token": token, "password": fresh_password()})).await.expect(200);
    // Who was in the bin comes back; the deleted tenant does not.
    moved.post_as(&g.token, &format!("/v1/users/{}/restore", g.binned), json!({})).await.expect(200);
    moved.post_as(&g.ada.access, "/v1/auth/switch-tenant", json!({"tenant_id": g.dead_tenant})).await.refused(403, "forbidden");
    // New people come, and no address is given twice.
    moved.signup().await;
    let again = json!({"email": g.ada.email, "password": fresh_password()});
    moved.post("/v1/auth/signup", again).await.refused(422, "signup_unavailable");
}
