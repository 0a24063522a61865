//! Changing and resetting passwords.

use crate::{
    api::{all, count},
    support::app::{App, fresh_email, fresh_password},
};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_keeps_this_session_and_ends_the_others() {
    let app = App::new().await;
    let who = app.signup().await;
    let other = app.login(&who.email, &who.password).await.expect(200).pair();
    assert_eq!(app.get_as(&who.access, "/v1/auth/password").await.expect(200).body["has_password"], true);
    let new = fresh_password();
    let change = async |current: &str| {
        app.post_as(&who.access, "/v1/auth/password", json!({"current_password": current, "new_password": new})).await
    };
    change("not the password").await.refused(403, "invalid_credentials");
    app.me(&other.access).await.expect(200);
    change(&who.password).await.expect(200);
    app.is_refused_within_a_second(&other.access).await;
    let reply = app.refresh(&other.refresh).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
    app.me(&who.access).await.expect(200);
    let next = app.refresh(&who.refresh).await.expect(200).pair();
    app.me(&next.access).await.expect(200);
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    app.login(&who.email, &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_8_uses_of_a_reset_link_exactly_one_wins_and_all_sessions_end() {
    let app = App::new().await;
    let who = app.signup().await;
    let other = app.login(&who.email, &who.password).await.expect(200).pair();
    let first = app.reset_token(&who.email, 1).await;
    let second = app.reset_token(&who.email, 2).await;
    let passwords: Vec<String> = (0..8).map(|_| fresh_password()).collect();
    let replies = all(passwords.clone().into_iter().map(|new| {
        let (client, token) = (app.other_client(), second.clone());
        async move { client.post("/v1/auth/reset-password", json!({"token": token, "new_password": new})).await }
    }))
    .await;
    assert_eq!(count(&replies, 200), 1, "{:?}", replies.iter().map(|r| (r.status, r.code())).collect::<Vec<_>>());
    assert!(replies.iter().filter(|r| r.status != 200).all(|r| (r.status, r.code()) == (400, "link_invalid")));
    for access in [&who.access, &other.access] {
        app.is_refused_within_a_second(access).await;
    }
    for refresh in [&who.refresh, &other.refresh] {
        assert_eq!(app.refresh(refresh).await.status, 401);
    }
    let winner = replies.iter().position(|r| r.status == 200).unwrap();
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
    let again = app.login(&who.email, &passwords[winner]).await.expect(200).pair();
    // The other link died with it, and the link has proved the address.
    let late = json!({"token": first, "new_password": fresh_password()});
    app.post("/v1/auth/reset-password", late).await.refused(400, "link_invalid");
    let user = app.get_as(&again.access, "/v1/me").await.expect(200);
    assert!(user.body["email_verified_at"].is_string(), "{}", user.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_new_password_leaves_the_link_good_and_a_foreign_link_is_none() {
    let app = App::new().await;
    let who = app.signup().await;
    let token = app.reset_token(&who.email, 1).await;
    let reset = async |token: &str, new: &str| app.post("/v1/auth/reset-password", json!({"token": token, "new_password": new})).await;
    reset(&token, "password").await.refused(422, "weak_password");
    for bad in ["rl_AAAA", "nonsense", &who.refresh] {
        reset(bad, &fresh_password()).await.refused(400, "link_invalid");
    }
    reset(&token, &fresh_password()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_racing_a_reset_leaves_no_session_of_the_old_password() {
    let app = App::new().await;
    for round in 0..6 {
        let who = app.signup().await;
        let token = app.reset_token(&who.email, 1).await;
        let new = fresh_password();
        // They come before, while and after the reset runs: any moment is right.
        let logins = (0..6).map(|n| {
            let (client, who) = (app.other_client(), who.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(n * 15)).await;
                client.login(&who.email, &who.password).await
            }
        });
        let reset = {
            let client = app.other_client();
            let body = json!({"token": token, "new_password": new});
            async move {
                tokio::time::sleep(Duration::from_millis(round * 20)).await;
                client.post("/v1/auth/reset-password", body).await.expect(200)
            }
        };
        let (replies, _) = tokio::join!(all(logins), reset);
        for reply in replies.iter().filter(|r| r.status == 200) {
            app.is_refused_within_a_second(&reply.pair().access).await;
            assert_eq!(app.refresh(&reply.pair().refresh).await.status, 401, "round {round}");
        }
        assert!(replies.iter().all(|r| matches!(r.status, 200 | 401)), "{replies:?}");
        app.login(&who.email, &new).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_whom_a_reset_mail_went_to() {
    let app = App::new().await;
    let who = app.signup().await;
    let unknown = fresh_email();
    let mut answers = Vec::new();
    for email in [&who.email, &unknown, "someone@xn--nothing-9ya.example", "nobody+tag@example.com"] {
        let reply = app.post("/v1/auth/forgot-password", json!({"email": email})).await.expect(202);
        answers.push(reply.text);
    }
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    app.message(&who.email, 1).await;
    app.mails_are_out().await;
    assert!(app.messages(&unknown).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_mails_to_one_address_are_limited_without_a_word() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let who = app.signup().await;
    for _ in 0..6 {
        app.post("/v1/auth/forgot-password", json!({"email": who.email})).await.expect(202);
    }
    app.message(&who.email, 3).await;
    app.mails_are_out().await;
    assert_eq!(app.messages(&who.email).len(), 3, "3 an hour");
}
