//! The profile, the tenants, the end of an account.

use crate::support::app::{App, unique};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_is_read_and_changed() {
    let app = App::new().await;
    let who = app.signup().await;
    let patch = async |body| app.send(Method::PATCH, "/v1/me", Some(&who.access), Some(body)).await;
    let user = patch(json!({"display_name": "Ada Lovelace", "locale": "de-CH"})).await.expect(200);
    assert_eq!(user.str("display_name"), "Ada Lovelace");
    let user = app.get_as(&who.access, "/v1/me").await.expect(200);
    assert_eq!(user.str("display_name"), "Ada Lovelace");
    patch(json!({"display_name": "x".repeat(100_000)})).await.refused(422, "validation_failed");
    assert_eq!(app.get_as(&who.access, "/v1/me").await.expect(200).str("display_name"), "Ada Lovelace");
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_are_made_and_switched_to() {
    let app = App::new().await;
    let (who, stranger) = (app.signup().await, app.signup().await);
    let slug = format!("acme-corp-{}", unique());
    let org = app.post_as(&who.access, "/v1/tenants", json!({"name": "Acme", "slug": slug})).await.expect(201);
    assert_eq!((org.str("name"), org.str("slug"), org.str("kind")), ("Acme".into(), slug, "organization".into()));
    let list = app.get_as(&who.access, "/v1/tenants").await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2, "{}", list.text);
    let switched = app.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.str("id")})).await.expect(200);
    assert_eq!(app.me(&switched.str("access_token")).await.expect(200).str("tenant_id"), org.str("id"));
    // The tenant used last is where the next sign-in goes.
    assert_eq!(app.login(&who.email, &who.password).await.expect(200).str("tenant_id"), org.str("id"));

    let foreign = json!({"tenant_id": org.str("id")});
    app.post_as(&stranger.access, "/v1/auth/switch-tenant", foreign).await.refused(403, "forbidden");
    let unknown = json!({"tenant_id": "01890000-0000-7000-8000-000000000000"});
    app.post_as(&stranger.access, "/v1/auth/switch-tenant", unknown).await.refused(403, "forbidden");
    let leave = format!("/v1/tenants/{}/leave", org.str("id"));
    app.post_as(&who.access, &leave, json!({})).await.refused(409, "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_for_everybody() {
    let app = App::new().await;
    let who = app.signup().await;
    let delete =
        async |password: &str| app.send(Method::DELETE, "/v1/me", Some(&who.access), Some(json!({"current_password": password}))).await;
    delete("not the password").await.refused(403, "invalid_credentials");
    delete(&who.password).await.expect(204);
    app.is_refused_within_a_second(&who.access).await;
    assert_eq!(app.refresh(&who.refresh).await.status, 401);
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    app.post("/v1/auth/forgot-password", json!({"email": who.email})).await.expect(202);
    // Soft: the address is not free.
    let again = json!({"email": who.email, "password": who.password});
    app.post("/v1/auth/signup", again).await.refused(422, "signup_unavailable");
    app.mails_are_out().await;
    // The way back, and nothing else that opens anything.
    let opens: Vec<_> = app.messages(&who.email).into_iter().filter(|m| m.link.is_some() || m.code.is_some()).collect();
    assert!(opens.len() == 1 && opens[0].link.as_ref().unwrap().contains("/restore-account?token="), "{opens:?}");
}
