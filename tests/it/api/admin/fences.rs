//! Accounts are global, memberships are per tenant: what an admin may not do.

use super::*;
use crate::support::client::Reply;

/// Every route that changes a user, or shows what belongs to more than the tenant.
async fn all_writes(app: &Client, token: &str, id: &str) -> Vec<(String, Reply)> {
    let mut out = Vec::new();
    let mut ask = async |method: Method, path: &str, body: Option<Value>| {
        let reply = app.send(method.clone(), &format!("/v1/users/{id}{path}"), Some(token), body).await;
        out.push((format!("{method} {path}"), reply));
    };
    ask(Method::PATCH, "", Some(json!({"status": "suspended"}))).await;
    ask(Method::PATCH, "", Some(json!({"phone": "+14155550111"}))).await;
    ask(Method::POST, "/password", Some(json!({"password": fresh_password()}))).await;
    ask(Method::POST, "/sessions/revoke-all", Some(json!({}))).await;
    ask(Method::GET, "/sessions", None).await;
    ask(Method::GET, "/export", None).await;
    ask(Method::DELETE, "", None).await;
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_belongs_elsewhere_too_can_only_be_read() {
    let app = App::new().await;
    let (org, guest) = (org(&app).await, app.signup().await);
    app.verify(&guest).await;
    join(&app, &org, &guest, ROLE_ADMIN).await;
    let read = org.get(&app, &format!("/v1/users/{}", guest.user_id)).await.expect(200);
    assert_eq!((read.str("email"), &read.body["roles"]), (guest.email.clone(), &json!(["admin"])));
    assert!(org.ids(&app, &format!("/v1/users?email={}", guest.email)).await.contains(&guest.user_id));
    assert!(org.ids(&app, &format!("/v1/users?q={}", guest.email)).await.contains(&guest.user_id));
    for (what, reply) in all_writes(&app, &org.token, &guest.user_id).await {
        assert_eq!((reply.status, reply.code()), (403, "forbidden"), "{what}: {}", reply.text);
    }
    app.me(&guest.access).await.expect(200);
    app.login(&guest.email, &guest.password).await.expect(200);
    // He deletes himself: he is in the bin, and not theirs to restore or to purge.
    app.send(Method::DELETE, "/v1/me", Some(&guest.access), Some(json!({"current_password": guest.password}))).await.expect(204);
    assert_eq!(org.ids(&app, "/v1/users/deleted").await, std::slice::from_ref(&guest.user_id));
    org.post(&app, &format!("/v1/users/{}/restore", guest.user_id), json!({})).await.refused(403, "forbidden");
    org.delete(&app, &format!("/v1/users/{}/purge", guest.user_id)).await.refused(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_kept_from_owners_and_from_more_than_he_holds() {
    let app = App::new().await;
    let org = org(&app).await;
    let admin = org.make_with(&app, json!({"role_id": ROLE_ADMIN, "email_verified": true})).await;
    let second_owner = org.make_with(&app, json!({"role_id": ROLE_OWNER, "email_verified": true})).await;
    let member = org.make(&app).await;
    let token = app.login(&admin.email, &admin.password).await.expect(200).str("access_token");
    for (what, reply) in all_writes(&app, &token, &second_owner.id).await {
        assert_eq!((reply.status, reply.code()), (403, "forbidden"), "{what}: {}", reply.text);
    }
    app.login(&second_owner.email, &second_owner.password).await.expect(200);
    let more = json!({"email": fresh_email(), "password": fresh_password(), "role_id": ROLE_OWNER});
    app.post_as(&token, "/v1/users", more).await.refused(403, "forbidden");
    app.get_as(&token, &format!("/v1/users/{}", second_owner.id)).await.expect(200);
    for (what, reply) in all_writes(&app, &token, &member.id).await {
        assert!((200..300).contains(&reply.status), "{what}: {}", reply.text);
    }
    // Whoever was dismissed does not let themselves in again.
    app.message(&member.email, 2).await;
    assert!(app.messages(&member.email).iter().all(|m| !m.text.contains("restore-account")));
    // A member holds none of it.
    let other = org.make(&app).await;
    let member_token = app.login(&other.email, &other.password).await.expect(200).str("access_token");
    for (what, reply) in all_writes(&app, &member_token, &admin.id).await {
        assert_eq!((reply.status, reply.code()), (403, "forbidden"), "{what}: {}", reply.text);
    }
    app.get_as(&member_token, "/v1/users").await.refused(403, "forbidden");
    // An owner in the bin comes out by owners only.
    org.delete(&app, &format!("/v1/users/{}", second_owner.id)).await.expect(204);
    app.post_as(&token, &format!("/v1/users/{}/restore", second_owner.id), json!({})).await.refused(403, "forbidden");
    app.delete_as(&token, &format!("/v1/users/{}/purge", second_owner.id)).await.refused(403, "forbidden");
    org.post(&app, &format!("/v1/users/{}/restore", second_owner.id), json!({})).await.expect(200);
}

/// Who belongs to one organization only is its admins' to help, also once he has proved his mailbox; no longer once he belongs elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_elsewhere_leaves_the_hands_of_his_admins() {
    let app = App::new().await;
    let (org, elsewhere) = (org(&app).await, org(&app).await);
    let role = json!({"name": "Support", "permissions": ["user.read"]});
    let role = org.post(&app, &format!("/v1/tenants/{}/roles", org.id), role).await.expect(201).str("id");
    // Made by an admin, and by an invite that was handed over: neither has proved a mailbox.
    let made = org.make_with(&app, json!({"role_id": role})).await;
    let invite = org.post(&app, "/v1/invites", json!({"email": fresh_email()})).await.expect(201);
    let invited = app.post("/v1/invites/accept", json!({"token": invite.str("token"), "password": fresh_password()})).await.expect(200);
    let invited = (invited.str("user_id"), invite.body["invite"]["email"].as_str().unwrap().to_owned());
    for (id, email, role) in [(made.id, made.email, "Support"), (invited.0, invited.1, "member")] {
        let path = format!("/v1/users/{id}/password");
        let before = app.messages(&email).len();
        let (own, set) = (fresh_password(), fresh_password());
        let reset = json!({"token": app.reset_token(&email, before + 1).await, "new_password": own});
        app.post("/v1/auth/reset-password", reset).await.expect(200);
        let session = app.login(&email, &own).await.expect(200).str("access_token");
        org.post(&app, &path, json!({"password": set})).await.expect(204);
        app.is_refused_within_a_second(&session).await;
        app.login(&email, &own).await.refused(401, "invalid_credentials");
        let token = app.login(&email, &set).await.expect(200).str("access_token");
        assert!(app.get_as(&token, "/v1/me").await.expect(200).body["email_verified_at"].is_string(), "proved once");
        // An invite that waits is no membership yet.
        let sent = elsewhere.post(&app, "/v1/invites", json!({"email": email})).await.expect(201);
        org.post(&app, &path, json!({"password": set})).await.expect(204);
        app.post("/v1/invites/accept", json!({"token": sent.str("token"), "password": set})).await.expect(200);
        org.post(&app, &path, json!({"password": fresh_password()})).await.refused(403, "forbidden");
        elsewhere.post(&app, &path, json!({"password": fresh_password()})).await.refused(403, "forbidden");
        let token = app.login(&email, &set).await.expect(200).str("access_token");
        // His tenants name his roles, also those that a tenant has made.
        let tenants = app.get_as(&token, "/v1/tenants").await.expect(200);
        let roles: Vec<_> = tenants.body["items"].as_array().unwrap().iter().map(|t| &t["roles"]).collect();
        assert_eq!(roles, [&json!([role]), &json!(["member"])], "{}", tenants.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say() {
    let app = App::new().await;
    let org = org(&app).await;
    let (writer, reader) = (org.key(&app, &["user.write", "user.read"]).await, org.key(&app, &["user.read"]).await);
    let body = json!({"email": fresh_email(), "password": fresh_password()});
    app.send_key(Method::POST, "/v1/users", &reader, Some(body.clone())).await.refused(403, "forbidden");
    let made = app.send_key(Method::POST, "/v1/users", &writer, Some(body)).await.expect(201).str("id");
    app.send_key(Method::GET, &format!("/v1/users/{made}"), &reader, None).await.expect(200);
    app.send_key(Method::DELETE, &format!("/v1/users/{made}"), &reader, None).await.refused(403, "forbidden");
    app.send_key(Method::DELETE, &format!("/v1/users/{made}"), &writer, None).await.expect(204);
    let admin = org.make_with(&app, json!({"role_id": ROLE_ADMIN, "email_verified": true})).await;
    app.send_key(Method::DELETE, &format!("/v1/users/{}", admin.id), &writer, None).await.refused(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_users_are_not_there() {
    let app = App::new().await;
    let (mine, theirs) = (org(&app).await, org(&app).await);
    let made = theirs.make(&app).await;
    for (what, reply) in all_writes(&app, &mine.token, &made.id).await {
        assert_eq!((reply.status, reply.code()), (404, "not_found"), "{what}: {}", reply.text);
    }
    mine.get(&app, &format!("/v1/users/{}", made.id)).await.refused(404, "not_found");
    assert_eq!(mine.ids(&app, &format!("/v1/users?email={}", made.email)).await, [""; 0]);
    assert_eq!(mine.ids(&app, &format!("/v1/users?q={}", made.email)).await, [""; 0]);
    theirs.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
    mine.post(&app, &format!("/v1/users/{}/restore", made.id), json!({})).await.refused(404, "not_found");
    mine.delete(&app, &format!("/v1/users/{}/purge", made.id)).await.refused(404, "not_found");
    assert_eq!(mine.ids(&app, "/v1/users/deleted").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_active_owner_stays() {
    let app = App::new().await;
    let org = org(&app).await;
    let owner = org.make_with(&app, json!({"role_id": ROLE_OWNER, "email_verified": true})).await;
    let token = app.login(&owner.email, &owner.password).await.expect(200).str("access_token");
    app.post_as(&org.owner.access, &format!("/v1/tenants/{}/leave", org.id), json!({})).await.expect(204);
    let path = format!("/v1/users/{}", owner.id);
    // Nobody administers their own account, and admins none of an owner's: what is left is the operator.
    app.delete_as(&token, &path).await.refused(403, "forbidden");
    let key = operators_key(&app, &org.id);
    let suspended = Some(json!({"status": "suspended"}));
    app.send_key(Method::PATCH, &path, &key, suspended.clone()).await.refused(409, "conflict");
    app.send_key(Method::DELETE, &path, &key, None).await.refused(409, "conflict");
    app.send_key(Method::PATCH, &path, &key, Some(json!({"display_name": "Last"}))).await.expect(200);
    // A suspended owner is none.
    let body = json!({"email": fresh_email(), "password": fresh_password(), "role_id": ROLE_OWNER, "email_verified": true});
    let second = app.post_as(&token, "/v1/users", body).await.expect(201).str("id");
    let second = format!("/v1/users/{second}");
    app.send(Method::PATCH, &second, Some(&token), suspended).await.expect(200);
    app.send_key(Method::DELETE, &path, &key, None).await.refused(409, "conflict");
    app.send(Method::PATCH, &second, Some(&token), Some(json!({"status": "active"}))).await.expect(200);
    app.send_key(Method::DELETE, &path, &key, None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_learns_of_twenty_accounts_elsewhere_a_day() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let org = org(&app).await;
    let mut elsewhere = Vec::new();
    for _ in 0..21 {
        elsewhere.push(app.signup().await.email);
    }
    let inside = org.make(&app).await;
    let create = async |email: &str| org.post(&app, "/v1/users", json!({"email": email, "password": fresh_password()})).await;
    for email in &elsewhere[..20] {
        create(email).await.refused(409, "email_taken");
    }
    // From now on nothing tells free from taken.
    for email in [elsewhere[20].as_str(), &fresh_email(), &inside.email] {
        create(email).await.refused(429, "rate_limited");
    }
    let events = org.events(&app).await;
    assert_eq!(events.iter().filter(|e| *e == "tenant.probing_refused").count(), 1, "{events:?}");
}
