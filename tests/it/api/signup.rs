//! Sign-up in both modes.

use crate::{
    api::{all, count},
    support::app::{App, fresh_email, fresh_password},
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_up_and_the_token_is_what_the_jwks_says() {
    let app = App::new().await;
    let (email, password) = (fresh_email(), fresh_password());
    let body = json!({"email": format!(" {} ", email.to_uppercase()), "password": password, "display_name": "Ada", "unknown": 1});
    let reply = app.post("/v1/auth/signup", body).await.expect(201);
    assert_eq!(reply.str("token_type"), "Bearer");
    let (user, tenant) = (&reply.body["user"], &reply.body["tenant"]);
    assert_eq!((user["email"].as_str(), user["display_name"].as_str()), (Some(&*email), Some("Ada")));
    assert_eq!((user["status"].as_str(), tenant["kind"].as_str()), (Some("active"), Some("personal")));
    assert_eq!((&user["id"], &tenant["id"]), (&reply.body["user_id"], &reply.body["tenant_id"]));
    for absent in ["email_verified_at", "phone", "phone_verified_at"] {
        assert!(user.as_object().unwrap().contains_key(absent) && user[absent].is_null(), "{absent}: null, not left out");
    }
    assert!(user["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(user["roles"], json!(["owner"]));

    let access = reply.str("access_token");
    let me = app.me(&access).await.expect(200);
    assert_eq!((me.str("user_id"), me.str("actor")), (reply.str("user_id"), "user".into()));

    let jwks = app.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(jwks.header("cache-control"), Some("public, max-age=300"));
    let parts: Vec<&str> = access.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("ES256"), Some("JWT")));
    let key = jwks.body["keys"].as_array().unwrap().iter().find(|k| k["kid"] == header["kid"]).expect("its key is published");
    let point = [&[4][..], &decode(key["x"].as_str().unwrap()), &decode(key["y"].as_str().unwrap())].concat();
    let signed = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &decode(parts[2])).expect("a good signature");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    assert_eq!((&claims["sub"], &claims["user_id"], &claims["sid"]), (&user["id"], &user["id"], &reply.body["session_id"]));
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some("http://localhost:4001"), Some("http://localhost:4001")));
    assert!(claims["jti"].is_string() && claims["nbf"].is_i64() && claims["tenant_id"] == tenant["id"]);

    let login = app.login(&email.to_uppercase(), &password).await.expect(200);
    assert_eq!(login.str("user_id"), reply.str("user_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_48_sign_ups_of_one_address_at_once_exactly_one_wins() {
    let app = App::new().await;
    let email = fresh_email();
    let tries = (0..48).map(|n| {
        let (client, email) = (app.other_client(), email.clone());
        let password = format!("violet harbour tangent {n}");
        async move { (client.post("/v1/auth/signup", json!({"email": email, "password": password})).await, password) }
    });
    let (replies, passwords): (Vec<_>, Vec<_>) = all(tries).await.into_iter().unzip();
    assert_eq!((count(&replies, 201), count(&replies, 422)), (1, 47));
    assert!(replies.iter().filter(|r| r.status == 422).all(|r| r.code() == "signup_unavailable"));
    let winner = replies.iter().position(|r| r.status == 201).unwrap();
    app.login(&email, &passwords[winner]).await.expect(200);
    let loser = (winner + 1) % 48;
    app.login(&email, &passwords[loser]).await.refused(401, "invalid_credentials");
    // The owner is told, once, however many tried.
    app.message(&email, 1).await;
    app.mails_are_out().await;
    assert_eq!(app.messages(&email).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_addresses_and_weak_passwords_are_refused_by_name() {
    let app = App::new().await;
    let try_with = async |email: &str, password: &str| app.post("/v1/auth/signup", json!({"email": email, "password": password})).await;
    let long_local = format!("{}@example.com", "a".repeat(65));
    for email in ["", "nobody", "a@", "@b.example", "a b@example.com", "a@b\u{0}.example", "a@example.com\r\nBcc: x@y.z", &long_local] {
        let reply = try_with(email, &fresh_password()).await.refused(422, "validation_failed");
        assert!(reply.body["error"]["fields"]["email"].is_string(), "{}", reply.text);
    }
    for password in ["short", "password1", "12345678", "weak.person@example.com", "weak.person"] {
        let reply = try_with("weak.person@example.com", password).await.refused(422, "weak_password");
        assert!(reply.body["error"]["detail"].as_str().is_some_and(|d| !d.is_empty()), "{}", reply.text);
    }
    try_with(&fresh_email(), &"long enough ".repeat(30)).await.expect(422);
    // Spaces count, anything goes: nothing is trimmed or cut.
    let (email, password) = (fresh_email(), "  ｐäß 🦀 \u{1F980}\t sturdy  ");
    try_with(&email, password).await.expect(201);
    app.login(&email, password).await.expect(200);
    app.login(&email, password.trim()).await.refused(401, "invalid_credentials");
}

async fn verify_first() -> App {
    App::builder().env("QEETID_SIGNUP_MODE", "verify_first").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_first_makes_the_account_when_the_code_comes() {
    let app = verify_first().await;
    let (email, password) = (fresh_email(), fresh_password());
    let started = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(202);
    let token = started.str("signup_token");
    app.login(&email, &password).await.refused(401, "invalid_credentials");
    let code = app.code(&email, 1).await;
    let confirm = async |code: &str, token: &str| {
        app.post("/v1/auth/signup/confirm", json!({"email": email, "code": code, "signup_token": token})).await
    };
    let wrong = if code == "000000" { "000001" } else { "000000" };
    confirm(wrong, &token).await.refused(400, "code_invalid");
    let made = confirm(&code, &token).await.expect(201);
    assert!(made.body["user"]["email_verified_at"].is_string(), "{}", made.text);
    app.me(&made.str("access_token")).await.expect(200);
    app.login(&email, &password).await.expect(200);
    // Used up.
    assert!(confirm(&code, &token).await.status >= 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_first_answers_alike_for_new_and_taken_addresses() {
    let app = verify_first().await;
    let (email, password) = (fresh_email(), fresh_password());
    let start = async |email: &str| app.post("/v1/auth/signup", json!({"email": email, "password": fresh_password()})).await;
    let first = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(202);
    let code = app.code(&email, 1).await;
    let body = json!({"email": email, "code": code, "signup_token": first.str("signup_token")});
    app.post("/v1/auth/signup/confirm", body).await.expect(201);

    let (taken, new) = (start(&email).await, start(&fresh_email()).await);
    assert_eq!((taken.status, new.status), (202, 202));
    let shape = |r: &crate::support::client::Reply| {
        let mut headers: Vec<_> = r.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        (r.str("message"), r.str("signup_token").len(), r.text.len(), headers)
    };
    assert_eq!(shape(&taken), shape(&new));
    let note = app.message(&email, 2).await;
    assert!(note.code.is_none(), "the owner is told, and gets no code: {}", note.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_first_lets_no_stranger_slip_his_password_in() {
    let app = verify_first().await;
    let (email, mine, his) = (fresh_email(), fresh_password(), fresh_password());
    let my_token = app.post("/v1/auth/signup", json!({"email": email, "password": mine})).await.expect(202).str("signup_token");
    app.message(&email, 1).await;
    app.post("/v1/auth/signup", json!({"email": email, "password": his})).await.expect(202);
    // The code belongs to the address, the token to the password: I type the newest code that I have.
    let code = app.code(&email, 2).await;
    app.post("/v1/auth/signup/confirm", json!({"email": email, "code": code, "signup_token": my_token})).await.expect(201);
    app.login(&email, &his).await.refused(401, "invalid_credentials");
    app.login(&email, &mine).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_first_gives_a_token_five_tries() {
    let app = verify_first().await;
    let email = fresh_email();
    let token = app.post("/v1/auth/signup", json!({"email": email, "password": fresh_password()})).await.expect(202).str("signup_token");
    let code = app.code(&email, 1).await;
    let confirm =
        async |code: String| app.post("/v1/auth/signup/confirm", json!({"email": email, "code": code, "signup_token": token})).await;
    for n in 1..=5 {
        let wrong = (code.parse::<u32>().unwrap() + n) % 1_000_000;
        assert_eq!(confirm(format!("{wrong:06}")).await.status, 400);
    }
    let late = confirm(code).await;
    assert_eq!(late.status, 400, "the right code after five wrong ones: {}", late.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_16_confirmations_of_one_sign_up_exactly_one_wins() {
    let app = verify_first().await;
    let email = fresh_email();
    let token = app.post("/v1/auth/signup", json!({"email": email, "password": fresh_password()})).await.expect(202).str("signup_token");
    let code = app.code(&email, 1).await;
    let replies = all((0..16).map(|_| {
        let client = app.other_client();
        let body = json!({"email": email, "code": code, "signup_token": token});
        async move { client.post("/v1/auth/signup/confirm", body).await }
    }))
    .await;
    assert_eq!(count(&replies, 201), 1, "{:?}", replies.iter().map(|r| r.status).collect::<Vec<_>>());
    assert!(replies.iter().all(|r| r.status == 201 || (400..500).contains(&r.status)));
}
