//! Power over credentials, and the ways back to an account that somebody else has had: who may do what to whom.

use crate::api::until;
use crate::support::app::{Account, App, fresh_email, fresh_password, unique};
use crate::support::client::{Client, Reply};
use crate::support::mail::Mail;
use qeetid::domain::permission::PermissionSet;
use reqwest::Method;
use serde_json::{Value, json};

const OWNER: &str = "00000000-0000-7000-8000-000000000001";
const ADMIN: &str = "00000000-0000-7000-8000-000000000002";
const MEMBER: &str = "00000000-0000-7000-8000-000000000003";
/// A page that mails link to, and what its button calls.
type Page = (&'static str, &'static str);
const RESET: Page = ("/reset-password?token=", "v1/auth/reset-password");
const NOT_ME: Page = ("/not-me?token=", "v1/auth/not-me");
const RESTORE: Page = ("/restore-account?token=", "v1/auth/restore");
const UNDO: Page = ("/undo-email-change?token=", "v1/auth/email-change/undo");

/// A request of whoever has this token or key: method and path; without a body, if that is null.
async fn ask(app: &Client, who: &str, what: &str, body: Value) -> Reply {
    let (method, path) = what.split_once(' ').unwrap();
    let (method, body) = (method.parse().unwrap(), Some(body).filter(|b| !b.is_null()));
    if who.starts_with("qk_") { app.send_key(method, path, who, body).await } else { app.send(method, path, Some(who), body).await }
}
fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}
async fn proved(app: &App) -> Account {
    let who = app.signup().await;
    app.verify(&who).await;
    who
}
fn account(pair: &Reply, email: &str, password: &str) -> Account {
    let [user_id, tenant_id, session_id, access, refresh] =
        ["user_id", "tenant_id", "session_id", "access_token", "refresh_token"].map(|field| pair.str(field));
    Account { email: email.into(), password: password.into(), user_id, tenant_id, session_id, access, refresh }
}
async fn me(app: &Client, access: &str) -> Value {
    app.get_as(access, "/v1/me").await.expect(200).body
}
/// The roles that somebody has in each of their tenants, the oldest membership first.
async fn roles_of(app: &Client, access: &str) -> Value {
    let list = app.get_as(access, "/v1/tenants").await.expect(200);
    list.body["items"].as_array().unwrap().iter().map(|t| t["roles"].clone()).collect()
}
/// An organization; its owner, and their token that is scoped to it.
struct Org {
    id: String,
    owner: Account,
    token: String,
}
async fn start(managed: bool) -> (App, Org) {
    let app = App::new().await;
    let owner = proved(&app).await;
    let id = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
    if managed {
        app.manage(&id).await;
    }
    let switched = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": id})).await.expect(200);
    (app, Org { id, owner, token: switched.str("access_token") })
}
impl Org {
    /// Somebody with a password, in a managed one; signed in.
    async fn make(&self, app: &Client, more: Value) -> Account {
        let (email, password) = (fresh_email(), fresh_password());
        app.post_as(&self.token, "/v1/users", with(json!({"email": email, "password": password}), more)).await.expect(201);
        account(&app.login(&email, &password).await.expect(200), &email, &password)
    }
    /// Somebody comes in by a token that was handed over, new if nobody has the address; signed in here.
    async fn enter(&self, app: &Client, email: &str, password: &str, role: &str) -> Account {
        let token = app.post_as(&self.token, "/v1/invites", json!({"email": email, "role_id": role})).await.expect(201).str("token");
        account(&app.post("/v1/invites/accept", json!({"token": token, "password": password})).await.expect(200), email, password)
    }
    /// Gives a role (POST), or takes it (DELETE).
    async fn role(&self, app: &Client, method: &str, user: &str, role: &str) -> Reply {
        ask(app, &self.token, &format!("{method} /v1/users/{user}/tenants/{}/roles/{role}", self.id), Value::Null).await
    }
    async fn listed(&self, app: &Client, key: &Key) -> Value {
        let list = app.get_as(&self.token, &format!("/v1/tenants/{}/api-keys?limit=200", self.id)).await.expect(200);
        list.body["items"].as_array().unwrap().iter().find(|k| k["id"] == *key.id).expect("it is listed").clone()
    }
}
/// An API key; `shown` is what mails call it.
struct Key {
    id: String,
    shown: String,
    secret: String,
}
async fn key(app: &Client, by: &str, scopes: &[&str]) -> Key {
    let made = ask(app, by, "POST /v1/api-keys", json!({"name": "k", "scopes": scopes})).await.expect(201);
    let of = |field: &str| made.body["api_key"][field].as_str().unwrap().to_owned();
    Key { id: of("id"), shown: format!("qk_{}", of("prefix")), secret: made.str("secret") }
}
impl Key {
    async fn get(&self, app: &Client, path: &str) -> Reply {
        app.send_key(Method::GET, path, &self.secret, None).await
    }
    async fn ends(&self, app: &Client) {
        until("the key lives", async || self.get(app, "/v1/auth/me").await.status, |status| *status == 401).await;
    }
}
/// Everything that admins do to accounts is refused, with the reason.
async fn all_refused(app: &Client, who: &str, id: &str) {
    let bare = ["GET /sessions", "GET /export", "POST /sessions/revoke-all", "POST /restore", "DELETE ", "DELETE /purge"];
    let with_bodies = [
        ("PATCH ", json!({"status": "suspended"})),
        ("PATCH ", json!({"phone": "+14155550111"})),
        ("POST /password", json!({"password": fresh_password()})),
        ("POST /links", json!({"type": "reset", "deliver": "return"})),
    ];
    for (what, body) in with_bodies.into_iter().chain(bare.map(|what| (what, Value::Null))) {
        let reply = ask(app, who, &what.replacen(' ', &format!(" /v1/users/{id}"), 1), body).await;
        let says_why = reply.body["error"]["detail"].is_string();
        assert_eq!((reply.status, reply.code(), says_why), (403, "forbidden", true), "{what}: {}", reply.text);
    }
}
/// Waits for the `n`th mail to an address that has all of these words in it.
async fn mail(app: &App, to: &str, words: &[&str], n: usize) -> Mail {
    let look = async || app.messages(to).into_iter().filter(|m| words.iter().all(|w| m.text.contains(*w))).collect::<Vec<_>>();
    until(&format!("no {words:?} to {to}"), look, |found| found.len() >= n).await[n - 1].clone()
}
/// Waits for the `n`th mail with a link to a page, opens that, which uses nothing up, and gives the token.
async fn link(app: &App, to: &str, (path, api): Page, n: usize) -> String {
    let token = mail(app, to, &[path], n).await.token();
    let page = app.get(&format!("{path}{token}")).await.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html") && !page.text.contains(&token), "{}", page.text);
    assert!(page.text.contains(&format!("data-api=\"{api}\"")), "{}", page.text);
    token
}
async fn press(app: &Client, page: Page, token: &str) -> Reply {
    app.post(&format!("/{}", page.1), json!({"token": token, "new_password": fresh_password()})).await
}
async fn set_by(app: &Client, token: &str, more: Value) -> String {
    let password = fresh_password();
    app.post("/v1/auth/reset-password", with(json!({"token": token, "new_password": password}), more)).await.expect(200);
    password
}
/// The `n`th reset of an account, whose mail is the `n`th with such a link.
async fn reset(app: &App, email: &str, n: usize, more: Value) -> String {
    app.post("/v1/auth/forgot-password", json!({"email": email})).await.expect(202);
    set_by(app, &link(app, email, RESET, n).await, more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_administers_themselves() {
    let (app, org) = start(true).await;
    // At home; and as an owner who belongs nowhere else, so that this is not what is in the way.
    let boss = org.make(&app, json!({"role_id": OWNER, "email_verified": true})).await;
    let (member, all) = (org.make(&app, json!({})).await, PermissionSet::all().keys());
    let path = format!("POST /v1/users/{}/password", member.user_id);
    for (who, others) in [(app.signup().await, 404), (boss, 204)] {
        let made = key(&app, &who.access, &all).await;
        let child = key(&app, &made.secret, &all).await;
        for by in [&who.access, &made.secret, &child.secret] {
            all_refused(&app, by, &who.user_id).await;
            // What is refused is the person, not the route.
            ask(&app, by, &path, json!({"password": fresh_password()})).await.expect(others);
        }
        app.login(&who.email, &who.password).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_without_power_gives_nobody_credentials() {
    let (app, org) = start(false).await;
    let [password, hash] = [json!({"password": fresh_password()}), json!({"password_hash": bcrypt::hash("violet", 5).unwrap()})];
    let good = [password, hash, json!({"phone": "+14155550111"}), json!({"email_verified": true})];
    // What is no good by itself too: who may not, learns that first.
    for more in good.iter().cloned().chain([json!({"password": "x"}), json!({"password_hash": "x"}), json!({"phone": "x"})]) {
        let refused = app.post_as(&org.token, "/v1/users", with(json!({"email": fresh_email()}), more)).await.refused(403, "forbidden");
        assert!(refused.text.contains("no power over credentials"), "{}", refused.text);
    }
    let rows: Value = good.into_iter().chain([json!({})]).map(|more| with(json!({"email": fresh_email()}), more)).collect();
    let report = app.post_as(&org.token, "/v1/users/bulk", json!({"users": rows})).await.expect(200);
    assert_eq!((&report.body["succeeded"], &report.body["failed"]), (&json!(1), &json!(4)), "{}", report.text);
    assert_eq!(report.text.matches("no power over credentials").count(), 4, "{}", report.text);
    let file = app.request(Method::POST, "/v1/users/bulk/import?source=qeet").bearer_auth(&org.token);
    let file = file.header("content-type", "application/x-ndjson").body(format!("{{\"email\":\"{}\"}}\n", fresh_email()));
    app.run(file).await.unwrap().refused(403, "forbidden");
    let users = app.get_as(&org.token, "/v1/users").await.expect(200).body["items"].clone();
    assert_eq!((users.as_array().unwrap().len(), &users[1]["email"]), (2, &rows[4]["email"]), "{users}");
    all_refused(&app, &org.token, users[1]["id"].as_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_an_organization_without_power_made_is_its_persons() {
    let (app, org) = start(false).await;
    let email = fresh_email();
    let id = app.post_as(&org.token, "/v1/users", json!({"email": email})).await.expect(201).str("id");
    let token = link(&app, &email, RESET, 1).await;
    app.login(&email, &fresh_password()).await.refused(401, "invalid_credentials");
    all_refused(&app, &org.token, &id).await;
    let password = set_by(&app, &token, json!({})).await;
    let access = app.login(&email, &password).await.expect(200).str("access_token");
    assert!(me(&app, &access).await["email_verified_at"].is_string(), "the mail proved it");
    assert_eq!(roles_of(&app, &access).await, json!([["member"], ["owner"]]), "a tenant of their own besides");
    all_refused(&app, &org.token, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_no_more_than_its_maker_may_do_now() {
    let (app, org) = start(true).await;
    let tenant = format!("/v1/tenants/{}", org.id);
    let maker = org.make(&app, json!({"role_id": ADMIN, "email_verified": true})).await;
    let key = key(&app, &maker.access, &["tenant.read", "user.read"]).await;
    key.get(&app, "/v1/users").await.expect(200);
    org.role(&app, "POST", &maker.user_id, MEMBER).await.expect(204);
    org.role(&app, "DELETE", &maker.user_id, ADMIN).await.expect(204);
    key.get(&app, "/v1/users").await.refused(403, "forbidden");
    key.get(&app, &tenant).await.expect(200);
    assert_eq!(org.listed(&app, &key).await["effective_scopes"], json!(["tenant.read"]));
    let patch = format!("PATCH /v1/users/{}", maker.user_id);
    ask(&app, &org.token, &patch, json!({"status": "suspended"})).await.expect(200);
    key.get(&app, &tenant).await.refused(403, "forbidden");
    ask(&app, &org.token, &patch, json!({"status": "active"})).await.expect(200);
    key.get(&app, &tenant).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_maker_is_gone_waits_for_an_owner_and_ends_with_its_parent() {
    let (app, org) = start(false).await;
    for way in ["removed", "left", "deleted"] {
        let home = proved(&app).await;
        let maker = org.enter(&app, &home.email, &home.password, ADMIN).await;
        let parent = key(&app, &maker.access, &["api_key.write", "tenant.read"]).await;
        let child = key(&app, &parent.secret, &["tenant.read"]).await;
        match way {
            "removed" => org.role(&app, "DELETE", &maker.user_id, ADMIN).await,
            "left" => app.post_as(&home.access, &format!("/v1/tenants/{}/leave", org.id), json!({})).await,
            _ => ask(&app, &home.access, "DELETE /v1/me", json!({"current_password": home.password})).await,
        }
        .expect(204);
        parent.ends(&app).await;
        child.ends(&app).await;
        let listed = org.listed(&app, &parent).await;
        assert!(listed["stopped_at"].is_string() && listed["effective_scopes"] == json!([]), "{way}: {listed}");
        mail(&app, &org.owner.email, &[&parent.shown, "30 days"], 1).await;
        let path = format!("/v1/api-keys/{}", parent.id);
        let taken = app.post_as(&org.token, &format!("{path}/take-over"), json!({})).await.expect(200);
        assert_eq!((taken.str("user_id"), &taken.body["stopped_at"]), (org.owner.user_id.clone(), &Value::Null), "{way}");
        parent.get(&app, "/v1/auth/me").await.expect(200);
        child.get(&app, "/v1/auth/me").await.expect(200);
        app.delete_as(&org.token, &path).await.expect(204);
        child.ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_the_keys_that_a_thief_would_have_made() {
    let (app, org) = start(false).await;
    let (who, other) = (&org.owner, proved(&app).await);
    org.enter(&app, &other.email, &other.password, OWNER).await;
    let (personal, ours) = (key(&app, &who.access, &["role.read"]).await, key(&app, &org.token, &["role.read"]).await);
    mail(&app, &who.email, &[&personal.shown, NOT_ME.0], 1).await;
    mail(&app, &who.email, &[&ours.shown, NOT_ME.0], 1).await;
    assert!(!mail(&app, &other.email, &[&ours.shown], 1).await.text.contains("token="), "nobody secures the account of others");
    reset(&app, &who.email, 1, json!({})).await;
    personal.ends(&app).await;
    ours.get(&app, "/v1/auth/me").await.expect(200);
    reset(&app, &who.email, 2, json!({"end_api_keys": true})).await;
    ours.ends(&app).await;
    mail(&app, &other.email, &[&ours.shown, "was revoked"], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lets_others_in_has_proved_their_address_and_a_first_proof_takes_nobodys_role() {
    let (app, org) = start(false).await;
    let unproved = app.signup().await;
    org.enter(&app, &unproved.email, &unproved.password, MEMBER).await;
    for role in [OWNER, ADMIN] {
        org.role(&app, "POST", &unproved.user_id, role).await.refused(403, "forbidden");
        app.post_as(&org.token, "/v1/users", json!({"email": fresh_email(), "role_id": role})).await.refused(403, "forbidden");
        let invite = json!({"email": unproved.email, "role_id": role});
        let token = app.post_as(&org.token, "/v1/invites", invite).await.expect(201).str("token");
        app.post("/v1/invites/accept", json!({"token": token, "password": unproved.password})).await.refused(403, "forbidden");
    }
    let theirs = app.post_as(&unproved.access, "/v1/tenants", json!({"name": "Theirs"})).await.expect(201).str("id");
    let theirs = app.post_as(&unproved.access, "/v1/auth/switch-tenant", json!({"tenant_id": theirs})).await.expect(200).pair();
    app.post_as(&theirs.access, "/v1/invites", json!({"email": fresh_email()})).await.refused(403, "forbidden");
    // In a managed one an admin's word is enough, and is shown as that. When the mailbox's owner comes, everybody keeps their roles.
    app.manage(&org.id).await;
    let second = org.make(&app, json!({"role_id": OWNER, "email_verified": true})).await;
    let shown = app.get_as(&org.token, &format!("/v1/users/{}", second.user_id)).await.expect(200).body;
    let views = [shown, me(&app, &second.access).await];
    assert!(views.iter().all(|v| v["email_asserted_at"].is_string() && v["email_verified_at"].is_null()), "{views:?}");
    let password = reset(&app, &second.email, 1, json!({})).await;
    let access = app.login(&second.email, &password).await.expect(200).str("access_token");
    assert!(me(&app, &access).await["email_verified_at"].is_string());
    assert_eq!(roles_of(&app, &access).await, json!([["owner"]]), "and no tenant of their own: theirs would lose them");
    assert_eq!(roles_of(&app, &org.token).await, json!([["owner"], ["owner"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_organization_takes_only_those_along_over_whom_it_has_power() {
    for managed in [false, true] {
        let (app, org) = start(false).await;
        let linked = fresh_email();
        app.post_as(&org.token, "/v1/users", json!({"email": linked})).await.expect(201);
        let token = link(&app, &linked, RESET, 1).await;
        let before = org.enter(&app, &fresh_email(), &fresh_password(), MEMBER).await;
        let mut fates = vec![(before.clone(), 200)];
        if managed {
            app.manage(&org.id).await;
            all_refused(&app, &org.token, &before.user_id).await;
            fates.push((org.make(&app, json!({})).await, 401));
        }
        app.delete_as(&org.token, &format!("/v1/tenants/{}", org.id)).await.expect(204);
        for (who, fate) in &fates {
            until("not seen to", async || app.login(&who.email, &who.password).await.status, |status| status == fate).await;
        }
        for (email, password) in [(linked, set_by(&app, &token, json!({})).await), (before.email, before.password)] {
            let access = app.login(&email, &password).await.expect(200).str("access_token");
            assert_eq!(roles_of(&app, &access).await, json!([["owner"]]), "a tenant of their own instead");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undone_change_of_address_leaves_a_thief_nothing() {
    let app = App::new().await;
    let (who, new, phone) = (proved(&app).await, fresh_email(), format!("+49151{:08}", 20_000_000 + unique()));
    let post = async |path: &str, body: Value| app.post_as(&who.access, path, body).await.expect(200);
    let (verify, password) = (format!("/v1/users/{}/verify/phone", who.user_id), &who.password);
    post(&format!("{verify}/start"), json!({"phone": phone})).await;
    post(&format!("{verify}/confirm"), json!({"code": app.code(&phone, 1).await})).await;
    post("/v1/me/email/change/start", json!({"email": new, "current_password": password})).await;
    post("/v1/me/email/change/confirm", json!({"code": app.code(&new, 1).await})).await;
    let key = key(&app, &who.access, &["role.read"]).await;
    let not_me = link(&app, &new, NOT_ME, 1).await;
    ask(&app, &who.access, "DELETE /v1/me", json!({"current_password": password})).await.expect(204);
    let (undo, restore) = (link(&app, &who.email, UNDO, 1).await, link(&app, &new, RESTORE, 1).await);
    press(&app, UNDO, &undo).await.expect(200);
    for (page, token) in [(UNDO, undo), (NOT_ME, not_me), (RESTORE, restore)] {
        press(&app, page, &token).await.refused(400, "link_invalid");
    }
    app.login(&who.email, password).await.refused(401, "invalid_credentials");
    let password = set_by(&app, &link(&app, &who.email, RESET, 1).await, json!({})).await;
    let access = app.login(&who.email, &password).await.expect(200).str("access_token");
    assert!(me(&app, &access).await["phone"].is_null());
    app.is_refused_within_a_second(&who.access).await;
    key.ends(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_its_person_deleted_is_brought_back_by_mail() {
    let app = App::new().await;
    let who = app.signup().await;
    ask(&app, &who.access, "DELETE /v1/me", json!({"current_password": who.password})).await.expect(204);
    let token = link(&app, &who.email, RESTORE, 1).await;
    press(&app, RESTORE, &token).await.expect(200);
    press(&app, RESTORE, &token).await.refused(400, "link_invalid");
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    let password = set_by(&app, &link(&app, &who.email, RESET, 1).await, json!({})).await;
    app.login(&who.email, &password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_it_was_not_them_gets_the_account_for_themselves() {
    let (app, org) = start(false).await;
    let who = &org.owner;
    let (personal, ours) = (key(&app, &who.access, &["role.read"]).await, key(&app, &org.token, &["role.read"]).await);
    let token = mail(&app, &who.email, &[&ours.shown, NOT_ME.0], 1).await.token();
    press(&app, NOT_ME, &token).await.expect(200);
    press(&app, NOT_ME, &token).await.refused(400, "link_invalid");
    app.is_refused_within_a_second(&who.access).await;
    app.is_refused_within_a_second(&org.token).await;
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    personal.ends(&app).await;
    ours.ends(&app).await;
    let password = set_by(&app, &link(&app, &who.email, RESET, 1).await, json!({})).await;
    app.login(&who.email, &password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sets_a_password_until_its_owner_does_or_gives_a_link_that_proves_nothing() {
    let (app, org) = start(true).await;
    let who = org.make(&app, json!({})).await;
    let (set, own, path) = (fresh_password(), fresh_password(), format!("/v1/users/{}", who.user_id));
    let must_change = json!({"password": set, "must_change": true});
    app.post_as(&org.token, &format!("{path}/password"), must_change.clone()).await.expect(204);
    // The client of the tests lets no token in a refusal pass.
    let login = app.request(Method::POST, "/v1/auth/login").json(&json!({"email": who.email, "password": set})).send().await.unwrap();
    let (status, refused) = (login.status().as_u16(), login.json::<Value>().await.unwrap());
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("password_change_required")), "{refused}");
    let token = refused["error"]["change_token"].as_str().unwrap();
    app.watch.plant(token);
    app.get_as(token, "/v1/me").await.refused(401, "unauthorized");
    let change = async |new: &str| app.post_as(token, "/v1/auth/password", json!({"new_password": new})).await;
    change("password").await.refused(422, "weak_password");
    // It would be the admin's still.
    change(&set).await.refused(422, "validation_failed");
    change(&own).await.expect(200);
    change(&fresh_password()).await.refused(401, "unauthorized");
    app.login(&who.email, &own).await.expect(200);
    app.post_as(&org.token, &format!("{path}/password"), must_change).await.expect(204);
    let returned = json!({"type": "reset", "deliver": "return"});
    let url = app.post_as(&org.token, &format!("{path}/links"), returned).await.expect(201).str("url");
    let (_, token) = url.split_once(RESET.0).unwrap();
    let password = set_by(&app, token, json!({})).await;
    press(&app, RESET, token).await.refused(400, "link_invalid");
    let access = app.login(&who.email, &password).await.expect(200).str("access_token");
    assert!(me(&app, &access).await["email_verified_at"].is_null());
    // Whoever is dismissed does not let themselves in again.
    app.delete_as(&org.token, &path).await.expect(204);
    assert!(!mail(&app, &who.email, &["deleted the account"], 1).await.text.contains("token="));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_paths_of_admins_are_read_strictly() {
    let (app, org) = start(true).await;
    let (user, tenant) = (format!("/v1/users/{}", org.make(&app, json!({})).await.user_id), format!("/v1/tenants/{}", org.id));
    for (what, body) in [
        ("POST /v1/users", json!({"email": fresh_email()})),
        ("POST /v1/invites", json!({"email": fresh_email()})),
        ("POST /v1/api-keys", json!({"name": "k", "scopes": ["role.read"]})),
        (&format!("PATCH {tenant}"), json!({"name": "Acme"})),
        (&format!("POST {user}/password"), json!({"password": fresh_password()})),
        (&format!("POST {tenant}/roles"), json!({"name": "r", "permissions": []})),
        (&format!("PUT {tenant}/auth-policy"), json!({"password_min_length": 9})),
    ] {
        let reply = ask(&app, &org.token, what, with(body, json!({"surprise": 1}))).await;
        assert_eq!((reply.status, reply.body["error"]["fields"]["surprise"].is_string()), (422, true), "{what}: {}", reply.text);
    }
    for (path, name) in [("/v1/users/abc", "id"), ("/v1/tenants/abc", "tenantID"), ("/v1/tenants/abc/roles", "tenantID")] {
        let refused = app.get_as(&org.token, path).await.refused(400, "malformed_request");
        assert!(refused.text.contains(name) && !refused.text.contains("param0"), "{path}: {}", refused.text);
    }
}

/// Time is passed by changing the file.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_password_given_again_makes_an_old_sign_in_fresh() {
        let mut app = App::own().await;
        let who = app.signup().await;
        app.kill9();
        assert_eq!(app.database().execute("UPDATE sessions SET created_at = created_at - 960000", []).unwrap(), 1);
        app.start().await;
        let post = async |path: &str, body: Value| app.post_as(&who.access, path, body).await;
        let (again, export, right) = ("/v1/auth/reauthenticate", "/v1/me/export", json!({"current_password": who.password}));
        post(export, json!({})).await.refused(403, "reauthentication_required");
        post(again, json!({"current_password": "not the password"})).await.refused(403, "invalid_credentials");
        post(again, right).await.expect(200);
        let told = post(export, json!({})).await.expect(200);
        assert!(told.header("content-disposition").unwrap().starts_with("attachment") && !told.text.contains("$argon2"), "{}", told.text);
    }
}
