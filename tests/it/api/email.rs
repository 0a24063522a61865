//! Proving addresses and numbers by code, and moving an account to another address.

use crate::{
    api::{all, count},
    support::app::{Account, App, fresh_email, fresh_password, unique},
};
use serde_json::json;

fn path(who: &Account, rest: &str) -> String {
    format!("/v1/users/{}/verify/{rest}", who.user_id)
}

fn wrong(code: &str, by: u32) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + by) % 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_16_confirmations_of_one_code_exactly_one_wins() {
    let app = App::new().await;
    let who = app.signup().await;
    app.post_as(&who.access, &path(&who, "email/start"), json!({})).await.expect(200);
    let code = app.code(&who.email, 1).await;
    let replies = all((0..16).map(|_| {
        let (client, who, code) = (app.other_client(), who.clone(), code.clone());
        async move { client.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await }
    }))
    .await;
    assert_eq!(count(&replies, 200), 1, "{:?}", replies.iter().map(|r| (r.status, r.code())).collect::<Vec<_>>());
    assert!(replies.iter().filter(|r| r.status != 200).all(|r| (r.status, r.code()) == (400, "code_invalid")));
    let user = app.get_as(&who.access, "/v1/me").await.expect(200);
    assert!(user.body["email_verified_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_has_five_tries_and_the_newest_one_counts() {
    let app = App::new().await;
    let who = app.signup().await;
    let start = async || app.post_as(&who.access, &path(&who, "email/start"), json!({})).await.expect(200);
    let confirm = async |code: &str| app.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await;
    confirm("123456").await.refused(400, "code_invalid");
    start().await;
    let first = app.code(&who.email, 1).await;
    for n in 1..=5 {
        confirm(&wrong(&first, n)).await.refused(400, "code_invalid");
    }
    assert_eq!(confirm(&first).await.status, 400, "the right code after five wrong ones");
    start().await;
    let second = app.code(&who.email, 2).await;
    if first != second {
        confirm(&first).await.refused(400, "code_invalid");
    }
    confirm(&second).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_guessed_in_parallel_are_all_counted() {
    let app = App::new().await;
    let who = app.signup().await;
    app.post_as(&who.access, &path(&who, "email/start"), json!({})).await.expect(200);
    let code = app.code(&who.email, 1).await;
    let replies = all((1..=40).map(|n| {
        let (client, who, code) = (app.other_client(), who.clone(), wrong(&code, n));
        async move { client.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await }
    }))
    .await;
    assert!(replies.iter().all(|r| r.status == 400), "{replies:?}");
    let late = app.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await;
    assert_eq!(late.status, 400, "{}", late.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_outlives_a_restart() {
    let mut app = App::own().await;
    let who = app.signup().await;
    app.post_as(&who.access, &path(&who, "email/start"), json!({})).await.expect(200);
    let code = app.code(&who.email, 1).await;
    app.restart().await;
    app.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_verifies_for_somebody_else() {
    let app = App::new().await;
    let (who, stranger) = (app.signup().await, app.signup().await);
    for (route, body) in [
        ("email/start", json!({})),
        ("email/confirm", json!({"code": "123456"})),
        ("phone/start", json!({"phone": "+4915112345678"})),
        ("phone/confirm", json!({"code": "123456"})),
    ] {
        app.post_as(&stranger.access, &path(&who, route), body).await.refused(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_proved_by_a_text_that_browsers_can_fill_in() {
    let app = App::new().await;
    let who = app.signup().await;
    for bad in ["12345", "+1", "phone", "+1900555012345678"] {
        app.post_as(&who.access, &path(&who, "phone/start"), json!({"phone": bad})).await.refused(422, "validation_failed");
    }
    app.post_as(&who.access, &path(&who, "phone/start"), json!({})).await.refused(422, "validation_failed");
    let phone = format!("+49151{:08}", 20_000_000 + unique());
    app.post_as(&who.access, &path(&who, "phone/start"), json!({"phone": phone})).await.expect(200);
    let text = app.message(&phone, 1).await;
    let code = text.code.clone().expect("a code");
    assert_eq!(text.kind, "sms");
    assert_eq!(text.text.trim_end().lines().last(), Some(&*format!("@localhost #{code}")), "{}", text.text);
    // A code for the number is none for the address.
    app.post_as(&who.access, &path(&who, "email/confirm"), json!({"code": code})).await.refused(400, "code_invalid");
    app.post_as(&who.access, &path(&who, "phone/confirm"), json!({"code": code})).await.expect(200);
    let user = app.get_as(&who.access, "/v1/me").await.expect(200);
    assert_eq!(user.str("phone"), phone);
    assert!(user.body["phone_verified_at"].is_string());
}

async fn change(app: &App, who: &Account, to: &str) -> String {
    let body = json!({"email": to, "current_password": who.password});
    app.post_as(&who.access, "/v1/me/email/change/start", body).await.expect(200);
    app.code(to, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_to_another_address_and_back_by_the_undo_link() {
    let app = App::new().await;
    let who = app.signup().await;
    app.verify(&who).await;
    let other = app.login(&who.email, &who.password).await.expect(200).pair();
    let new = fresh_email();
    let wrong_password = json!({"email": new, "current_password": "not the password"});
    app.post_as(&who.access, "/v1/me/email/change/start", wrong_password).await.refused(403, "invalid_credentials");
    let code = change(&app, &who, &new).await;
    app.post_as(&who.access, "/v1/me/email/change/confirm", json!({"code": wrong(&code, 1)})).await.refused(400, "code_invalid");
    app.post_as(&who.access, "/v1/me/email/change/confirm", json!({"code": code})).await.expect(200);

    let user = app.get_as(&who.access, "/v1/me").await.expect(200);
    assert_eq!(user.str("email"), new);
    assert!(user.body["email_verified_at"].is_string());
    app.is_refused_within_a_second(&other.access).await;
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    app.login(&new, &who.password).await.expect(200);

    let undo = app.message(&who.email, 2).await.token();
    app.post("/v1/auth/email-change/undo", json!({"token": undo})).await.expect(200);
    app.is_refused_within_a_second(&who.access).await;
    app.login(&new, &who.password).await.refused(401, "invalid_credentials");
    // Whoever changed the address knew the password.
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    let reset = json!({"token": app.message(&who.email, 3).await.token(), "new_password": fresh_password()});
    app.post("/v1/auth/reset-password", reset.clone()).await.expect(200);
    app.login(&who.email, reset["new_password"].as_str().unwrap()).await.expect(200);
    app.post("/v1/auth/email-change/undo", json!({"token": undo})).await.refused(400, "link_invalid");
}

/// Made in advance for an address that the maker can't read: the undo link proves nothing of him.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_undone_to_an_unproved_address_is_nobodys_until_a_reset() {
    let app = App::new().await;
    let maker = app.signup().await;
    let new = fresh_email();
    let code = change(&app, &maker, &new).await;
    app.post_as(&maker.access, "/v1/me/email/change/confirm", json!({"code": code})).await.expect(200);
    let undo = app.message(&maker.email, 1).await.token();
    app.post("/v1/auth/email-change/undo", json!({"token": undo})).await.expect(200);
    app.login(&maker.email, &maker.password).await.refused(401, "invalid_credentials");
    let (token, owners) = (app.reset_token(&maker.email, 2).await, fresh_password());
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": owners})).await.expect(200);
    app.login(&maker.email, &owners).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_looks_the_same_until_its_code_is_typed() {
    let app = App::new().await;
    let (who, owner) = (app.signup().await, app.signup().await);
    let free = json!({"email": fresh_email(), "current_password": who.password});
    let free = app.post_as(&who.access, "/v1/me/email/change/start", free).await.expect(200);
    let body = json!({"email": owner.email, "current_password": who.password});
    let taken = app.post_as(&who.access, "/v1/me/email/change/start", body).await.expect(200);
    assert_eq!(taken.text, free.text);
    let code = app.code(&owner.email, 1).await;
    app.post_as(&who.access, "/v1/me/email/change/confirm", json!({"code": code})).await.refused(409, "email_taken");
    assert_eq!(app.get_as(&who.access, "/v1/me").await.expect(200).str("email"), who.email);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_kills_a_pending_change_of_address() {
    let app = App::new().await;
    let who = app.signup().await;
    let new = fresh_email();
    let code = change(&app, &who, &new).await;
    let token = app.reset_token(&who.email, 1).await;
    let password = crate::support::app::fresh_password();
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": password})).await.expect(200);
    let again = app.login(&who.email, &password).await.expect(200).pair();
    let reply = app.post_as(&again.access, "/v1/me/email/change/confirm", json!({"code": code})).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(app.get_as(&again.access, "/v1/me").await.expect(200).str("email"), who.email);
}
