//! Guessing has a bound, also over days: codes that grow, passwords from networks that an account doesn't know, and who tells of accounts.

use crate::{
    api::{all, count},
    support::{
        app::{Account, App, fresh_email, fresh_password},
        client::Reply,
    },
};
use reqwest::Method;
use serde_json::json;

/// Limits as they are, but for those that stand in the way of asking often.
async fn start(more: &[(&str, &str)]) -> App {
    let app = App::builder()
        .env("QEETID_LIMITS", "on")
        .env("QEETID_TRUSTED_PROXIES", "127.0.0.1")
        .env("QEETID_LIMIT__AUTH_REQUESTS", "100000/1m")
        .env("QEETID_LIMIT__SIGNUPS", "100000/1h")
        .env("QEETID_LIMIT__CODE_PAUSE", "1000/1s")
        .env("QEETID_LIMIT__CODES_OF_USER", "1000/1h")
        .env("QEETID_LIMIT__CODES_TO_DESTINATION", "1000/1h")
        .env("QEETID_LIMIT__CODES_FROM_NETWORK", "1000/1h");
    more.iter().fold(app, |app, (name, value)| app.env(name, value)).start().await
}

async fn start_email(app: &App, who: &Account) -> Reply {
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await
}
async fn confirm_email(app: &App, who: &Account, code: &str) -> Reply {
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), json!({"code": code})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_twenty_wrong_codes_new_ones_have_eight_digits() {
    let app = start(&[]).await;
    let (who, other) = (app.signup().await, app.signup().await);
    for round in 1..=4 {
        assert_eq!(start_email(&app, &who).await.expect(200).body["code_length"], 6, "round {round}");
        let code = app.code(&who.email, round).await;
        let wrong = if code == "000000" { "111111" } else { "000000" };
        for _ in 0..5 {
            confirm_email(&app, &who, wrong).await.refused(400, "code_invalid");
        }
        // That code is dead, and the right one is no better: it is a guess like any other.
        if round < 4 {
            continue;
        }
        confirm_email(&app, &who, &code).await.refused(400, "code_invalid");
    }
    assert_eq!(start_email(&app, &who).await.expect(200).body["code_length"], 8);
    let code = app.code(&who.email, 5).await;
    assert_eq!(code.len(), 8, "{code}");
    confirm_email(&app, &who, &code[..6]).await.refused(400, "code_invalid");
    // Codes by text message are of the same account; other accounts are not.
    let phone = format!("/v1/users/{}/verify/phone/start", who.user_id);
    assert_eq!(app.post_as(&who.access, &phone, json!({"phone": "+4915112345678"})).await.expect(200).body["code_length"], 8);
    assert_eq!(start_email(&app, &other).await.expect(200).body["code_length"], 6);
    // Nobody is locked out.
    confirm_email(&app, &who, &code).await.expect(200);
    assert!(start_email(&app, &who).await.expect(200).body["code_length"].is_null(), "nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_an_address_grow_alike_whether_or_not_it_has_an_account() {
    let app = start(&[("QEETID_SIGNUP_MODE", "verify_first")]).await;
    let sign_up = async |email: &str| app.post("/v1/auth/signup", json!({"email": email, "password": fresh_password()})).await.expect(202);
    let (known, unknown) = (fresh_email(), fresh_email());
    let pending = sign_up(&known).await;
    let confirm = json!({"email": known, "code": app.code(&known, 1).await, "signup_token": pending.str("signup_token")});
    app.post("/v1/auth/signup/confirm", confirm).await.expect(201);
    for email in [&known, &unknown] {
        for round in 1..=4 {
            let pending = sign_up(email).await;
            assert_eq!(pending.body["code_length"], 6, "round {round}");
            for n in 0..5 {
                let guess = json!({"email": email, "code": format!("00000{n}"), "signup_token": pending.str("signup_token")});
                app.post("/v1/auth/signup/confirm", guess).await.refused(400, "code_invalid");
            }
        }
        assert_eq!(sign_up(email).await.body["code_length"], 8);
    }
}

async fn from(app: &App, client: &str, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    app.run(app.request(Method::POST, "/v1/auth/login").header("x-forwarded-for", client).json(&body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_guess_a_hundred_times_a_day_and_whoever_was_there_before_goes_on() {
    // An hour has room for all of them.
    let app = start(&[("QEETID_LIMIT__WRONG_PASSWORDS_EVERYWHERE", "100000/1h"), ("QEETID_LIMIT__WRONG_PASSWORDS_A_DAY", "20/1d")]).await;
    let (who, unknown) = (app.signup().await, fresh_email());
    from(&app, "192.0.2.1", &who.email, &who.password).await.expect(200);
    for email in [&who.email, &unknown] {
        for n in 0..20 {
            from(&app, &format!("203.0.113.{}", n / 5), email, "not the password").await.refused(401, "invalid_credentials");
        }
        from(&app, "198.51.100.1", email, "not the password").await.refused(429, "account_locked");
    }
    // From a new network not even with the right one; from a known one as ever.
    from(&app, "198.51.100.2", &who.email, &who.password).await.refused(429, "account_locked");
    from(&app, "192.0.2.1", &who.email, &who.password).await.expect(200);
    // A mailed reset makes its network known.
    let token = app.reset_token(&who.email, 1).await;
    let new = fresh_password();
    let body = json!({"token": token, "new_password": new});
    app.watch.plant_json(&body);
    let request = app.request(Method::POST, "/v1/auth/reset-password").header("x-forwarded-for", "198.51.100.9").json(&body);
    app.run(request).await.unwrap().expect(200);
    for n in 0..20 {
        from(&app, &format!("203.0.113.{}", n / 5), &who.email, "not the password").await.refused(401, "invalid_credentials");
    }
    from(&app, "198.51.100.2", &who.email, &new).await.refused(429, "account_locked");
    from(&app, "198.51.100.9", &who.email, &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_told_of_no_more_than_twenty_accounts() {
    let app = start(&[]).await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (_, scoped) = app.organization_of(&owner, "Ours").await;
    let mut known = Vec::new();
    for _ in 0..40 {
        known.push(app.signup().await.email);
    }
    let asked = known.iter().map(|email| {
        let (client, token, body) = (app.other_client(), scoped.access.clone(), json!({"email": email}));
        async move { client.post_as(&token, "/v1/users", body).await }
    });
    let replies = all(asked).await;
    assert_eq!((count(&replies, 409), count(&replies, 429)), (20, 20));
    // Those that tell nothing are not counted, however many come at once.
    let other = app.signup().await;
    app.verify(&other).await;
    let (_, scoped) = app.organization_of(&other, "Theirs").await;
    let asked = (0..24).map(|_| {
        let (client, token, body) = (app.other_client(), scoped.access.clone(), json!({"email": fresh_email()}));
        async move { client.post_as(&token, "/v1/users", body).await }
    });
    assert_eq!(count(&all(asked).await, 201), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_was_handed_over_tells_of_twenty_accounts_a_day() {
    let app = start(&[]).await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (_, scoped) = app.organization_of(&owner, "Ours").await;
    let invited = async |email: &str| app.post_as(&scoped.access, "/v1/invites", json!({"email": email})).await.expect(201).str("token");
    let accept = async |token: &str| app.post("/v1/invites/accept", json!({"token": token, "password": fresh_password()})).await;
    for _ in 0..20 {
        let who = app.signup().await;
        accept(&invited(&who.email).await).await.refused(401, "invalid_credentials");
    }
    // From then on it is the same for addresses with and without an account.
    for email in [app.signup().await.email, fresh_email()] {
        accept(&invited(&email).await).await.refused(429, "rate_limited");
    }
    // What was mailed proves the mailbox, and goes on.
    let email = fresh_email();
    invited(&email).await;
    let token = app.mail(&email, 1, "an invite", |m| m.link.is_some()).await.token();
    accept(&token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_links_stay_out_of_mails() {
    let app = App::new().await;
    let (owner, who) = (app.signup().await, app.signup().await);
    app.verify(&owner).await;
    app.verify(&who).await;
    let (_, scoped) = app.organization_of(&owner, "Log in at evil.example").await;
    let before = app.messages(&who.email).len();
    app.post_as(&scoped.access, "/v1/invites", json!({"email": who.email})).await.expect(201);
    let mail = app.mail(&who.email, before + 1, "an invite", |m| m.link.is_some()).await;
    assert!(!mail.text.contains("evil") && !mail.html.unwrap().contains("evil"), "{}", mail.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_counted_over_all_tenants_of_a_person_and_lists_stop_at_the_limit() {
    let app = start(&[("QEETID_LIMIT__INVITES_OF_PERSON", "5/1d")]).await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (_, one) = app.organization_of(&owner, "One").await;
    let (_, two) = app.organization_of(&owner, "Two").await;
    for pair in [&one, &two] {
        app.post_as(&pair.access, "/v1/invites", json!({"email": fresh_email()})).await.expect(201);
    }
    let rows: Vec<_> = (0..8).map(|_| json!({"email": fresh_email()})).collect();
    let report = app.post_as(&two.access, "/v1/users/bulk", json!({"users": rows})).await.expect(200);
    assert_eq!((&report.body["succeeded"], &report.body["failed"]), (&json!(3), &json!(5)), "{}", report.text);
    app.post_as(&one.access, "/v1/invites", json!({"email": fresh_email()})).await.refused(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_flood_nobodys_mailbox() {
    let app = App::builder().start().await;
    let who = app.signup().await;
    for n in 0..25 {
        let made = app.post_as(&who.access, "/v1/api-keys", json!({"name": format!("k{n}"), "scopes": ["user.read"]})).await.expect(201);
        let id = made.body["api_key"]["id"].as_str().unwrap().to_owned();
        // One after the other: a key that has ended is not told of.
        app.mail(&who.email, (n + 1).min(20), "a new key", |m| m.text.contains("API key")).await;
        app.delete_as(&who.access, &format!("/v1/api-keys/{id}")).await.expect(204);
    }
    app.mails_are_out().await;
    assert_eq!(app.messages(&who.email).iter().filter(|m| m.text.contains("API key")).count(), 20);
}
