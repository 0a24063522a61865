//! Inviting people to an organization, and what they answer.

mod alone;
mod embedded;

use crate::{
    api::{all, count, until},
    support::{
        app::{Account, App, fresh_email, fresh_password},
        client::{Client, Reply},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

const OWNER: &str = "00000000-0000-7000-8000-000000000001";
const ADMIN: &str = "00000000-0000-7000-8000-000000000002";
const MEMBER: &str = "00000000-0000-7000-8000-000000000003";

/// An organization, and an access token of its owner that is scoped to it.
struct Org {
    id: String,
    owner: Account,
    access: String,
}

async fn org(app: &App) -> Org {
    let owner = app.signup().await;
    app.verify(&owner).await;
    let id = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Analytical Engines"})).await.expect(201).str("id");
    let access = switched(app, &owner.access, &id).await;
    Org { id, owner, access }
}

async fn switched(app: &App, access: &str, tenant: &str) -> String {
    app.post_as(access, "/v1/auth/switch-tenant", json!({"tenant_id": tenant})).await.expect(200).str("access_token")
}

impl Org {
    async fn invite(&self, app: &App, email: &str) -> Reply {
        app.post_as(&self.access, "/v1/invites", json!({"email": email})).await
    }
    async fn list(&self, app: &App, query: &str) -> Value {
        app.get_as(&self.access, &format!("/v1/tenants/{}/invites{query}", self.id)).await.expect(200).body
    }
    async fn status(&self, app: &App, invite: &str) -> String {
        let list = self.list(app, "?limit=200").await;
        let all = list["items"].as_array().unwrap();
        all.iter().find(|i| i["id"] == invite).map(|i| i["status"].as_str().unwrap().to_owned()).unwrap_or_default()
    }
}

fn id(reply: &Reply) -> String {
    reply.body["invite"]["id"].as_str().unwrap().to_owned()
}

async fn accept(client: &Client, token: &str, password: Option<&str>) -> Reply {
    let mut body = json!({"token": token});
    if let Some(password) = password {
        body["password"] = password.into();
    }
    client.post("/v1/invites/accept", body).await
}

async fn verified_at(app: &App, access: &str) -> Value {
    app.get_as(access, "/v1/me").await.expect(200).body["email_verified_at"].clone()
}

async fn roles(app: &App, access: &str) -> Value {
    app.get_as(access, "/v1/me").await.expect(200).body["roles"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_invite_makes_a_verified_account_in_the_tenant() {
    let app = App::new().await;
    let org = org(&app).await;
    let (email, password) = (fresh_email(), fresh_password());
    let sent = org.invite(&app, &email).await.expect(201);
    let invite = &sent.body["invite"];
    assert_eq!((invite["email"].as_str(), invite["status"].as_str()), (Some(email.as_str()), Some("pending")), "{}", sent.text);
    assert_eq!((invite["role_id"].as_str(), invite["tenant_id"].as_str()), (Some(MEMBER), Some(org.id.as_str())));
    assert!(invite["accepted_at"].is_null() && invite["expires_at"].is_string() && invite["created_at"].is_string());

    let mail = app.message(&email, 1).await;
    assert!(mail.link.as_deref().unwrap().contains("/invite?token=im_"), "{}", mail.text);
    for words in ["Analytical", "Engines", &org.owner.email] {
        let html = mail.html.as_deref().unwrap_or_default();
        assert!(!mail.text.contains(words) && !html.contains(words), "a stranger's words to an unproved address: {}", mail.text);
    }
    assert_ne!(mail.token(), sent.str("token"));

    // No password: an account is to be made, and the holder of the mailed token may know.
    let missing = accept(&app, &mail.token(), None).await.refused(422, "validation_failed");
    assert!(missing.body["error"]["fields"]["password"].is_string(), "{}", missing.text);
    accept(&app, &mail.token(), Some("password")).await.refused(422, "weak_password");
    let body = json!({"token": mail.token(), "password": password, "display_name": "Ada Lovelace"});
    let pair = app.post("/v1/invites/accept", body).await.expect(200);
    assert_eq!(pair.str("tenant_id"), org.id);
    let me = app.get_as(&pair.str("access_token"), "/v1/me").await.expect(200);
    assert!(me.body["email_verified_at"].is_string(), "the mail proved it: {}", me.text);
    assert_eq!((me.str("display_name"), me.body["roles"].clone()), ("Ada Lovelace".into(), json!(["member"])));
    assert_eq!(org.status(&app, &id(&sent)).await, "accepted");
    assert_eq!(app.login(&email, &password).await.expect(200).str("tenant_id"), org.id);
    // Both tokens have had their use.
    for token in [mail.token(), sent.str("token")] {
        accept(&app, &token, Some(&password)).await.refused(400, "invite_invalid");
    }
    // The mail proved who they are: they have a tenant of their own, and may leave.
    let leave = format!("/v1/tenants/{}/leave", org.id);
    app.post_as(&pair.str("access_token"), &leave, json!({})).await.expect(204);
    assert_ne!(app.login(&email, &password).await.expect(200).str("tenant_id"), org.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_handed_over_proves_no_mailbox_and_tells_of_no_account() {
    let app = App::new().await;
    let org = org(&app).await;
    let known = app.signup().await;
    let new = fresh_email();
    let (to_new, to_known) = (org.invite(&app, &new).await.expect(201), org.invite(&app, &known.email).await.expect(201));
    let without: Vec<_> = [
        accept(&app, &to_new.str("token"), None).await.refused(422, "validation_failed"),
        accept(&app, &to_known.str("token"), None).await.refused(422, "validation_failed"),
    ]
    .into_iter()
    .map(|mut r| {
        r.body["error"]["request_id"].take();
        r.body
    })
    .collect();
    assert_eq!(without[0], without[1]);

    // Nor by which password is refused, nor for what.
    for token in [to_new.str("token"), to_known.str("token")] {
        accept(&app, &token, Some("password")).await.refused(422, "weak_password");
    }

    let pair = accept(&app, &to_new.str("token"), Some(&fresh_password())).await.expect(200).pair();
    assert!(verified_at(&app, &pair.access).await.is_null());
    let pair = accept(&app, &to_known.str("token"), Some(&known.password)).await.expect(200).pair();
    assert!(verified_at(&app, &pair.access).await.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_account_joins_by_its_password() {
    let app = App::new().await;
    let org = org(&app).await;
    let known = app.signup().await;
    let sent = org.invite(&app, &known.email).await.expect(201);
    let mail = app.message(&known.email, 1).await;
    accept(&app, &mail.token(), None).await.refused(409, "invite_account_exists");
    accept(&app, &mail.token(), Some("not the password")).await.refused(401, "invalid_credentials");
    accept(&app, &sent.str("token"), Some("not the password")).await.refused(401, "invalid_credentials");
    assert_eq!(org.status(&app, &id(&sent)).await, "pending");
    let pair = accept(&app, &mail.token(), Some(&known.password)).await.expect(200);
    assert_eq!((pair.str("tenant_id"), pair.str("user_id")), (org.id.clone(), known.user_id.clone()));
    assert!(verified_at(&app, &pair.str("access_token")).await.is_string(), "the mailed token proves the address");
    assert_eq!(roles(&app, &pair.str("access_token")).await, json!(["member"]));
    let list = app.get_as(&known.access, "/v1/tenants").await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2, "{}", list.text);
    // An account in the recycle bin can't join, whatever is typed, and looks like one with another password.
    let gone = app.signup().await;
    let body = json!({"current_password": gone.password});
    app.send(Method::DELETE, "/v1/me", Some(&gone.access), Some(body)).await.expect(204);
    let sent = org.invite(&app, &gone.email).await.expect(201);
    accept(&app, &sent.str("token"), Some(&gone.password)).await.refused(401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proved_address_is_told_who_invites() {
    let app = App::new().await;
    let org = org(&app).await;
    let who = app.signup().await;
    app.verify(&who).await;
    let before = app.messages(&who.email).len();
    org.invite(&app, &who.email).await.expect(201);
    let mail = app.mail(&who.email, before + 1, "an invite", |m| m.link.is_some()).await;
    assert!(mail.text.contains("\"Analytical Engines\"") && mail.html.as_deref().unwrap().contains("Analytical Engines"), "{}", mail.text);
    assert!(!mail.subject.as_deref().unwrap().contains("Analytical"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_again_kills_the_old_tokens_and_so_does_revoking() {
    let app = App::new().await;
    let org = org(&app).await;
    let (email, password) = (fresh_email(), fresh_password());
    let first = org.invite(&app, &email).await.expect(201);
    let first_mail = app.message(&email, 1).await;
    let path = format!("/v1/invites/{}", id(&first));
    let again = app.post_as(&org.access, &format!("{path}/resend"), json!({})).await.expect(200);
    assert_eq!(id(&again), id(&first));
    let again_mail = app.message(&email, 2).await;
    for token in [first.str("token"), first_mail.token()] {
        accept(&app, &token, Some(&password)).await.refused(400, "invite_invalid");
    }
    app.delete_as(&org.access, &path).await.expect(204);
    app.delete_as(&org.access, &path).await.expect(204);
    assert_eq!(org.status(&app, &id(&first)).await, "revoked");
    for token in [again.str("token"), again_mail.token()] {
        accept(&app, &token, Some(&password)).await.refused(400, "invite_invalid");
    }
    app.post_as(&org.access, &format!("{path}/resend"), json!({})).await.refused(409, "conflict");

    // A new invite to the address takes the place of the one before.
    let (older, newer) = (org.invite(&app, &email).await.expect(201), org.invite(&app, &email).await.expect(201));
    assert_eq!((org.status(&app, &id(&older)).await, org.status(&app, &id(&newer)).await), ("revoked".into(), "pending".into()));
    accept(&app, &older.str("token"), Some(&password)).await.refused(400, "invite_invalid");
    accept(&app, &newer.str("token"), Some(&password)).await.expect(200);
    app.delete_as(&org.access, &format!("/v1/invites/{}", id(&newer))).await.refused(409, "conflict");

    for bad in ["im_AAAA", "ih_", "nonsense", &org.owner.refresh, &newer.str("token").replacen("ih_", "im_", 1)] {
        accept(&app, bad, Some(&password)).await.refused(400, "invite_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_16_acceptances_exactly_one_makes_a_member() {
    let app = App::new().await;
    let org = org(&app).await;
    let known = app.signup().await;
    for (email, password) in [(fresh_email(), None), (known.email.clone(), Some(known.password.clone()))] {
        let sent = org.invite(&app, &email).await.expect(201);
        let replies = all((0..16).map(|n| {
            let (client, token) = (app.other_client(), sent.str("token"));
            let password = password.clone().unwrap_or_else(|| format!("{}{n}", fresh_password()));
            async move { accept(&client, &token, Some(&password)).await }
        }))
        .await;
        let seen: Vec<_> = replies.iter().map(|r| (r.status, r.code().to_owned())).collect();
        assert_eq!(count(&replies, 200), 1, "{seen:?}");
        // Who lost the race for a new account has another password than the one that won.
        assert!(seen.iter().all(|(s, c)| *s == 200 || c == "invite_invalid" || c == "invalid_credentials"), "{seen:?}");
        let access = replies.iter().find(|r| r.status == 200).unwrap().str("access_token");
        assert_eq!(roles(&app, &access).await, json!(["member"]));
    }
    let accepted = org.list(&app, "?status=accepted").await;
    assert_eq!(accepted["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_invites_to_more_than_he_holds() {
    let app = App::new().await;
    let org = org(&app).await;
    let invite =
        async |access: &str, role: &str| app.post_as(access, "/v1/invites", json!({"email": fresh_email(), "role_id": role})).await;
    // An admin, by an invite of the owner.
    let sent = invite(&org.access, ADMIN).await.expect(201);
    // A token that was handed over proves no mailbox, and an admin lets others in.
    accept(&app, &sent.str("token"), Some(&fresh_password())).await.refused(403, "forbidden");
    let mailed = app.message(sent.body["invite"]["email"].as_str().unwrap(), 1).await.token();
    let admin = accept(&app, &mailed, Some(&fresh_password())).await.expect(200).pair();
    assert_eq!(roles(&app, &admin.access).await, json!(["admin"]));
    invite(&admin.access, OWNER).await.refused(403, "forbidden");
    invite(&admin.access, MEMBER).await.expect(201);
    invite(&org.access, "01890000-0000-7000-8000-000000000000").await.refused(404, "not_found");
    // Nor does he get a token of an owner's invite by sending it again.
    let to_owner = invite(&org.access, OWNER).await.expect(201);
    let resend = format!("/v1/invites/{}/resend", id(&to_owner));
    app.post_as(&admin.access, &resend, json!({})).await.refused(403, "forbidden");
    app.post_as(&org.access, &resend, json!({})).await.expect(200);
    // A member manages nothing.
    let sent = invite(&admin.access, MEMBER).await.expect(201);
    let member = accept(&app, &sent.str("token"), Some(&fresh_password())).await.expect(200).pair();
    invite(&member.access, MEMBER).await.refused(403, "forbidden");
    app.get_as(&member.access, &format!("/v1/tenants/{}/invites", org.id)).await.refused(403, "forbidden");
    // A personal tenant has one member.
    invite(&org.owner.access, MEMBER).await.refused(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_invites_within_its_scopes() {
    let app = App::new().await;
    let org = org(&app).await;
    let key = json!({"name": "provisioning", "scopes": ["invite.write", "tenant.read"]});
    let secret = app.post_as(&org.access, "/v1/api-keys", key).await.expect(201).str("secret");
    app.watch.plant(&secret);
    let send = async |method: Method, path: String, body: Value| {
        app.run(app.request(method, &path).header("authorization", format!("ApiKey {secret}")).json(&body)).await.unwrap()
    };
    let email = fresh_email();
    let sent = send(Method::POST, "/v1/invites".into(), json!({"email": email})).await.expect(201);
    send(Method::POST, "/v1/invites".into(), json!({"email": email, "role_id": ADMIN})).await.refused(403, "forbidden");
    send(Method::GET, format!("/v1/tenants/{}/invites", org.id), json!({})).await.refused(403, "forbidden");
    app.message(&email, 1).await;
    accept(&app, &sent.str("token"), Some(&fresh_password())).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_invites_are_not_there() {
    let app = App::new().await;
    let (org_a, org_b) = (org(&app).await, org(&app).await);
    let sent = org_a.invite(&app, &fresh_email()).await.expect(201);
    let path = format!("/v1/invites/{}", id(&sent));
    app.post_as(&org_b.access, &format!("{path}/resend"), json!({})).await.refused(404, "not_found");
    app.delete_as(&org_b.access, &path).await.refused(404, "not_found");
    app.get_as(&org_b.access, &format!("/v1/tenants/{}/invites", org_a.id)).await.refused(404, "not_found");
    let body = json!({"email": fresh_email(), "tenant_id": org_a.id});
    app.post_as(&org_b.access, "/v1/invites", body).await.refused(404, "not_found");
    let role = json!({"name": "auditor", "permissions": ["audit.read"]});
    let role = app.post_as(&org_a.access, &format!("/v1/tenants/{}/roles", org_a.id), role).await.expect(201).str("id");
    let body = json!({"email": fresh_email(), "role_id": role});
    app.post_as(&org_b.access, "/v1/invites", body.clone()).await.refused(404, "not_found");
    app.post_as(&org_a.access, "/v1/invites", body).await.expect(201);
    assert_eq!(org_a.status(&app, &id(&sent)).await, "pending");
    assert_eq!(org_b.list(&app, "").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_invites_need_a_verified_address() {
    let app = App::new().await;
    let org = org(&app).await;
    let (who, other) = (app.signup().await, app.signup().await);
    app.verify(&other).await;
    let sent = org.invite(&app, &who.email).await.expect(201);
    app.message(&who.email, 1).await;
    let path = format!("/v1/me/invites/{}", id(&sent));
    assert_eq!(app.get_as(&who.access, "/v1/me/invites").await.expect(200).body["items"], json!([]));
    app.post_as(&who.access, &format!("{path}/accept"), json!({})).await.refused(404, "not_found");
    app.post_as(&who.access, &format!("{path}/decline"), json!({})).await.refused(404, "not_found");
    app.post_as(&other.access, &format!("{path}/accept"), json!({})).await.refused(404, "not_found");
    app.post_as(&other.access, &format!("{path}/decline"), json!({})).await.refused(404, "not_found");

    app.verify(&who).await;
    let mine = app.get_as(&who.access, "/v1/me/invites").await.expect(200);
    assert_eq!(mine.body["items"][0]["id"], id(&sent), "{}", mine.text);
    assert_eq!(mine.body["items"][0]["tenant_name"], "Analytical Engines");
    let declined = app.post_as(&who.access, &format!("{path}/decline"), json!({})).await.expect(200);
    assert_eq!(declined.str("status"), "declined");
    assert_eq!(org.status(&app, &id(&sent)).await, "declined");
    app.post_as(&who.access, &format!("{path}/accept"), json!({})).await.refused(404, "not_found");
    accept(&app, &sent.str("token"), Some(&who.password)).await.refused(400, "invite_invalid");
    assert_eq!(app.get_as(&who.access, "/v1/me/invites").await.expect(200).body["items"], json!([]));

    let sent = org.invite(&app, &who.email).await.expect(201);
    let path = format!("/v1/me/invites/{}/accept", id(&sent));
    let replies = all((0..16).map(|_| {
        let (client, path, access) = (app.other_client(), path.clone(), who.access.clone());
        async move { client.post_as(&access, &path, json!({})).await }
    }))
    .await;
    assert_eq!((count(&replies, 200), count(&replies, 404)), (1, 15));
    let access = switched(&app, &who.access, &org.id).await;
    assert_eq!(roles(&app, &access).await, json!(["member"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let app = App::new().await;
    let org = org(&app).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id(&org.invite(&app, &fresh_email()).await.expect(201)));
    }
    ids.reverse();
    app.delete_as(&org.access, &format!("/v1/invites/{}", ids[1])).await.expect(204);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = org.list(&app, &format!("?limit=2&cursor={cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let pending = org.list(&app, "?status=pending&limit=3").await;
    assert_eq!(
        pending["items"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap()).collect::<Vec<_>>(),
        [&ids[0], &ids[2], &ids[3]]
    );
    let rest = org.list(&app, &format!("?status=pending&limit=3&cursor={}", pending["next_cursor"].as_str().unwrap())).await;
    assert_eq!((rest["items"][0]["id"].as_str(), rest["next_cursor"].as_str()), (Some(ids[4].as_str()), None));
    assert_eq!(org.list(&app, "?status=revoked").await["items"][0]["id"], ids[1]);
    let list = format!("/v1/tenants/{}/invites", org.id);
    app.get_as(&org.access, &format!("{list}?cursor={cursor}x")).await.refused(400, "invalid_cursor");
    app.get_as(&org.access, &format!("{list}?status=revoked&cursor={cursor}")).await.refused(400, "invalid_cursor");
    let bad = app.get_as(&org.access, &format!("{list}?status=lost")).await;
    assert!(matches!(bad.status, 400 | 422), "{}", bad.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn inviting_looks_the_same_whoever_has_the_address() {
    let app = App::new().await;
    let org = org(&app).await;
    let (known, member) = (app.signup().await, fresh_email());
    let sent = org.invite(&app, &member).await.expect(201);
    accept(&app, &sent.str("token"), Some(&fresh_password())).await.expect(200);
    let mut seen = Vec::new();
    for email in [known.email, member, fresh_email()] {
        let mut reply = org.invite(&app, &email).await.expect(201);
        seen.push(reply.str("token").len());
        for own in ["id", "email", "created_at", "expires_at"] {
            assert!(reply.body["invite"][own].take().is_string());
        }
        assert_eq!(
            reply.body["invite"],
            json!({"id": null, "email": null, "created_at": null, "expires_at": null, "accepted_at": null,
            "tenant_id": org.id, "role_id": MEMBER, "status": "pending"})
        );
    }
    assert_eq!((seen[0], seen[1]), (seen[2], seen[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_count_and_mails_are_bounded() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__INVITE_MAILS", "2/1h").start().await;
    let org = org(&app).await;
    let known = app.signup().await;
    let sent = org.invite(&app, &known.email).await.expect(201);
    for _ in 0..10 {
        accept(&app, &sent.str("token"), Some("not the password")).await.refused(401, "invalid_credentials");
    }
    accept(&app, &sent.str("token"), Some(&known.password)).await.refused(429, "account_locked");
    app.login(&known.email, &known.password).await.refused(429, "account_locked");
    // Told to the person as a refused sign-in is.
    let audit = format!("/v1/tenants/{}/audit?limit=200", known.tenant_id);
    let told = async || {
        let events = app.get_as(&known.access, &audit).await.expect(200).body["items"].clone();
        let count = |name: &str| events.as_array().unwrap().iter().filter(|e| e["event"] == name && e["user_id"] == *known.user_id).count();
        (count("sign_in.refused"), count("sign_in.locked"))
    };
    until("not told", async || told().await, |told| *told == (10, 1)).await;

    let email = fresh_email();
    let first = org.invite(&app, &email).await.expect(201);
    let resend = format!("/v1/invites/{}/resend", id(&first));
    for n in 1..10 {
        // A mail whose tokens died before it left isn't sent.
        app.message(&email, n.min(2)).await;
        app.post_as(&org.access, &resend, json!({})).await.expect(200);
    }
    app.post_as(&org.access, &resend, json!({})).await.refused(429, "rate_limited");
    app.message(&email, 2).await;
    app.mails_are_out().await;
    assert_eq!(app.messages(&email).len(), 2, "the rest was written without a mail");
    // And of the two locks still only one is told.
    assert_eq!(told().await, (10, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_proved_their_address_offers_nothing() {
    let app = App::new().await;
    let unproved = app.signup().await;
    let id = app.post_as(&unproved.access, "/v1/tenants", json!({"name": "Mine"})).await.expect(201).str("id");
    let access = switched(&app, &unproved.access, &id).await;
    let invite = async |access: &str| app.post_as(access, "/v1/invites", json!({"email": fresh_email()})).await;
    let refused = invite(&access).await.refused(403, "forbidden");
    assert!(refused.text.contains("Prove your e-mail address first"), "{}", refused.text);
    // Where the operator has given the organization power, an admin's word is enough; until the owner of the mailbox comes: whoever made
    // the invites may have been somebody else.
    let org = org(&app).await;
    app.manage(&org.id).await;
    let (email, password) = (fresh_email(), fresh_password());
    let vouched = json!({"email": email, "password": password, "email_verified": true, "role_id": ADMIN});
    app.post_as(&org.access, "/v1/users", vouched).await.expect(201);
    let sent = invite(&app.login(&email, &password).await.expect(200).str("access_token")).await.expect(201);
    let reset = json!({"token": app.reset_token(&email, 1).await, "new_password": fresh_password()});
    app.post("/v1/auth/reset-password", reset).await.expect(200);
    accept(&app, &sent.str("token"), Some(&fresh_password())).await.refused(400, "invite_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_link_uses_nothing_up() {
    let app = App::new().await;
    let org = org(&app).await;
    let email = fresh_email();
    org.invite(&app, &email).await.expect(201);
    let mail = app.message(&email, 1).await;
    for _ in 0..2 {
        let page = app.get(&format!("/invite?token={}", mail.token())).await.expect(200);
        assert!(page.text.contains("v1/invites/accept") && !page.text.contains(&mail.token()));
        assert!(page.header("content-security-policy").is_some_and(|p| p.contains("default-src 'none'")));
    }
    accept(&app, &mail.token(), Some(&fresh_password())).await.expect(200);
}
