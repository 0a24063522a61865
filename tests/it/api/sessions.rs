//! Refresh, reuse, logout, the list of sessions.

use crate::{
    api::{all, count},
    support::app::App,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn of_32_refreshes_at_once_all_give_the_same_new_token() {
    let app = App::new().await;
    let who = app.signup().await;
    let replies = all((0..32).map(|_| {
        let (client, token) = (app.other_client(), who.refresh.clone());
        async move { client.refresh(&token).await }
    }))
    .await;
    assert_eq!(count(&replies, 200), 32, "{:?}", replies.iter().find(|r| r.status != 200));
    let next = replies[0].pair();
    assert_ne!(next.refresh, who.refresh);
    for reply in &replies {
        assert_eq!(reply.pair().refresh, next.refresh);
        assert_eq!(reply.pair().session_id, who.session_id);
        app.me(&reply.pair().access).await.expect(200);
    }
    // Nobody is signed out.
    app.refresh(&next.refresh).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_token_that_comes_back_ends_the_session() {
    let app = App::new().await;
    let who = app.signup().await;
    let first = app.refresh(&who.refresh).await.expect(200).pair();
    let second = app.refresh(&first.refresh).await.expect(200).pair();
    app.me(&second.access).await.expect(200);
    app.refresh(&who.refresh).await.refused(401, "token_reused");
    app.is_refused_within_a_second(&second.access).await;
    app.is_refused_within_a_second(&who.access).await;
    let reply = app.refresh(&second.refresh).await;
    assert_eq!((reply.status, reply.code()), (401, "session_revoked"), "{}", reply.text);
    // Only this session.
    app.login(&who.email, &who.password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_are_unauthorized() {
    let app = App::new().await;
    let who = app.signup().await;
    let mut tampered = who.refresh.clone();
    let last = tampered.pop().unwrap();
    tampered.insert(20, if last == 'A' { 'B' } else { 'A' });
    for token in ["", "rt_", "rt_AAAA", "x", &who.access, &tampered, &who.refresh[..40]] {
        let reply = app.refresh(token).await;
        assert!(matches!((reply.status, reply.code()), (401, "unauthorized") | (422, "validation_failed")), "{token}: {}", reply.text);
    }
    for token in ["", "x", "qk_abc.def", &who.refresh, &format!("{}x", who.access), "a.b.c"] {
        app.me(token).await.refused(401, "unauthorized");
    }
    let basic = app.request(Method::GET, "/v1/auth/me").header("authorization", "Basic YTpi");
    app.run(basic).await.unwrap().refused(401, "unauthorized");
    let none = app.get("/v1/auth/me").await.refused(401, "unauthorized");
    assert!(none.header("www-authenticate").is_some_and(|h| h.starts_with("Bearer")));
    app.me(&who.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_this_session_and_no_other() {
    let app = App::new().await;
    let who = app.signup().await;
    let other = app.login(&who.email, &who.password).await.expect(200).pair();
    app.post_as(&who.access, "/v1/auth/logout", json!({})).await.expect(200);
    app.is_refused_within_a_second(&who.access).await;
    app.refresh(&who.refresh).await.refused(401, "session_revoked");
    app.me(&other.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_alone() {
    let app = App::new().await;
    let (who, stranger) = (app.signup().await, app.signup().await);
    let second = app.login(&who.email, &who.password).await.expect(200).pair();
    let third = app.login(&who.email, &who.password).await.expect(200).pair();
    let list = app.get_as(&who.access, "/v1/auth/sessions").await.expect(200);
    let items = list.body["items"].as_array().unwrap();
    let ids: Vec<&str> = items.iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&third.session_id, &second.session_id, &who.session_id], "newest first");
    for field in ["id", "user_id", "tenant_id", "ip", "user_agent", "created_at", "last_seen_at", "revoked_at"] {
        assert!(items[0].as_object().unwrap().contains_key(field), "{field}");
    }
    assert_eq!(items[0]["ip"], "127.0.0.1");

    // Somebody else's id is a silent no-op.
    app.delete_as(&stranger.access, &format!("/v1/auth/sessions/{}", second.session_id)).await.expect(200);
    app.me(&second.access).await.expect(200);
    app.delete_as(&who.access, &format!("/v1/auth/sessions/{}", second.session_id)).await.expect(200);
    app.is_refused_within_a_second(&second.access).await;
    let rest = app.delete_as(&who.access, "/v1/auth/sessions").await.expect(200);
    assert_eq!(rest.body["revoked"], 1);
    app.is_refused_within_a_second(&third.access).await;
    app.me(&who.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_remembered_over_a_restart() {
    let mut app = App::own().await;
    let who = app.signup().await;
    app.post_as(&who.access, "/v1/auth/logout", json!({})).await.expect(200);
    app.restart().await;
    app.me(&who.access).await.refused(401, "unauthorized");
    let other = app.login(&who.email, &who.password).await.expect(200).pair();
    app.restart().await;
    app.me(&other.access).await.expect(200);
    app.refresh(&other.refresh).await.expect(200);
}
