//! The auth policy of a tenant, and what obeys it; the breach check.

use crate::{
    api::all,
    support::{
        app::{App, fresh_email, fresh_password},
        breach::{Answer, BreachServer, sha1_hex},
        client::Reply,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn get(app: &App, token: &str, tenant: &str) -> Reply {
    app.get_as(token, &format!("/v1/tenants/{tenant}/auth-policy")).await
}

async fn put(app: &App, token: &str, tenant: &str, change: Value) -> Reply {
    app.send(Method::PUT, &format!("/v1/tenants/{tenant}/auth-policy"), Some(token), Some(change)).await
}

async fn tenant_of(app: &App, token: &str) -> String {
    app.me(token).await.expect(200).str("tenant_id")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_stays_and_what_is_impossible_is_named() {
    let app = App::new().await;
    let who = app.signup().await;
    let tenant = tenant_of(&app, &who.access).await;
    let before = get(&app, &who.access, &tenant).await.expect(200);
    assert_eq!((before.body["password_min_length"].as_u64(), before.str("breached_password_check")), (Some(8), "off".into()));

    let change = json!({"password_min_length": 12, "sms_countries": ["CH"], "otp_sms_enabled": false, "session_ttl_days": null});
    let after = put(&app, &who.access, &tenant, change).await.expect(200);
    let mut expected = before.body.clone();
    expected["password_min_length"] = json!(12);
    expected["sms_countries"] = json!(["CH"]);
    expected["otp_sms_enabled"] = json!(false);
    assert_eq!(after.body, expected);
    assert_eq!(get(&app, &who.access, &tenant).await.expect(200).body, expected);

    let impossible = [
        ("password_min_length", json!(7)),
        ("password_min_length", json!(65)),
        ("password_min_length", json!(-1)),
        ("password_min_length", json!(4_294_967_304_i64)),
        ("password_min_length", json!(u64::MAX)),
        ("password_min_length", json!("12")),
        ("password_min_length", json!(8.5)),
        ("password_min_strength", json!(5)),
        ("password_min_strength", json!(257)),
        ("password_require_symbol", json!("yes")),
        ("breached_password_check", json!("maybe")),
        ("preset", json!("strong")),
        ("invite_ttl_hours", json!(0)),
        ("session_ttl_days", json!(366)),
        ("recycle_bin_days", json!(0)),
        ("sms_daily_budget", json!(1_000_001)),
        ("sms_countries", json!(["XX"])),
        ("sms_countries", json!([1])),
        ("sms_countries", json!("US")),
    ];
    for (field, value) in impossible {
        let reply = put(&app, &who.access, &tenant, json!({field: value, "otp_email_enabled": false})).await;
        let reply = reply.refused(422, "validation_failed");
        assert!(reply.body["error"]["fields"][field].is_string(), "{field}: {value}: {}", reply.text);
    }
    assert_eq!(get(&app, &who.access, &tenant).await.expect(200).body, expected, "and nothing of it was written");

    let stranger = app.signup().await;
    get(&app, &stranger.access, &tenant).await.refused(404, "not_found");
    put(&app, &stranger.access, &tenant, json!({})).await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_lose_nothing() {
    let app = App::new().await;
    let who = app.signup().await;
    let tenant = tenant_of(&app, &who.access).await;
    let changes = [
        json!({"password_min_length": 20}),
        json!({"invite_ttl_hours": 3}),
        json!({"session_ttl_days": 4}),
        json!({"recycle_bin_days": 5}),
        json!({"sms_daily_budget": 6}),
        json!({"password_require_number": true}),
    ];
    let replies = all(changes.clone().map(|change| {
        let (client, token, path) = (app.other_client(), who.access.clone(), format!("/v1/tenants/{tenant}/auth-policy"));
        async move { client.send(Method::PUT, &path, Some(&token), Some(change)).await }
    }))
    .await;
    assert!(replies.iter().all(|r| r.status == 200), "{replies:?}");
    let after = get(&app, &who.access, &tenant).await.expect(200).body;
    for change in changes {
        for (field, value) in change.as_object().unwrap() {
            assert_eq!(&after[field], value, "{field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_obeys_all_tenants_and_says_the_rule() {
    let app = App::new().await;
    let who = app.signup().await;
    let org = app.post_as(&who.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
    let in_org = app.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
    put(&app, &in_org, &org, json!({"preset": "nist-800-63b-4", "breached_password_check": "off"})).await.expect(200);
    put(&app, &in_org, &org, json!({"password_require_number": true})).await.expect(200);
    // Asked for in the personal tenant, whose own policy would take it.
    let change = async |new: &str| {
        app.post_as(&who.access, "/v1/auth/password", json!({"current_password": who.password, "new_password": new})).await
    };
    for (new, reason) in [("kd8$Qxv2p!ab", "too_short"), ("violet harbour tangent", "missing_number")] {
        let reply = change(new).await.refused(422, "weak_password");
        let detail = reply.body["error"]["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{reason}: ")), "{detail}");
        assert!(reply.body["error"]["fields"]["new_password"].is_string(), "{}", reply.text);
    }
    change("violet harbour tangent 7").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_that_does_not_answer_refuses_nobody_and_is_counted() {
    let corpus = BreachServer::start().await;
    let app = App::builder().env("QEETID_BREACH_URL", corpus.url()).env("QEETID_POLICY__BREACHED_PASSWORD_CHECK", "on").start().await;
    let breached = fresh_password();
    corpus.breach(&breached, 12);
    corpus.answer(Answer::Slow(Duration::from_secs(60)));
    let began = Instant::now();
    app.post("/v1/auth/signup", json!({"email": fresh_email(), "password": breached})).await.expect(201);
    // It would answer after a minute.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("qeetid_breach_check_total{outcome=\"failed\"} 1"), "{metrics}");
}

/// A look-up has one second. On a busy machine that may be too short, and then nobody is refused.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn breached_passwords_are_refused_where_the_policy_asks() {
        let corpus = BreachServer::start().await;
        let app = App::builder().env("QEETID_BREACH_URL", corpus.url()).env("QEETID_POLICY__BREACHED_PASSWORD_CHECK", "on").start().await;
        let breached = fresh_password();
        corpus.breach(&breached, 12);
        let signup = async |password: &str| app.post("/v1/auth/signup", json!({"email": fresh_email(), "password": password})).await;
        let reply = signup(&breached).await.refused(422, "breached_password");
        assert!(reply.body["error"]["fields"]["password"].is_string(), "{}", reply.text);
        assert_eq!(corpus.requests(), [(format!("/range/{}", &sha1_hex(&breached)[..5]), true)]);

        // Weak ones don't get as far.
        signup("password").await.refused(422, "weak_password");
        assert_eq!(corpus.requests().len(), 1);

        let who = app.signup().await;
        let change = json!({"current_password": who.password, "new_password": breached});
        app.post_as(&who.access, "/v1/auth/password", change.clone()).await.refused(422, "breached_password");
        let tenant = tenant_of(&app, &who.access).await;
        put(&app, &who.access, &tenant, json!({"breached_password_check": "off"})).await.expect(200);
        app.post_as(&who.access, "/v1/auth/password", change).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_words_of_the_policy_are_no_passwords() {
    let app = App::new().await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (tenant, scoped) = app.organization_of(&owner, "Analytical Engines").await;
    app.manage(&tenant).await;
    let path = format!("/v1/tenants/{tenant}/auth-policy");
    let set = async |words: Value| app.send(Method::PUT, &path, Some(&scoped.access), Some(json!({"password_context_words": words}))).await;
    for bad in [json!(["abc"]), json!(["two words"]), json!(["x".repeat(65)])] {
        let refused = set(bad).await.refused(422, "validation_failed");
        assert!(refused.body["error"]["fields"]["password_context_words"].is_string(), "{}", refused.text);
    }
    set(json!(["Babbage"])).await.expect(200);
    let make = async |password: &str| app.post_as(&scoped.access, "/v1/users", json!({"email": fresh_email(), "password": password})).await;
    for bad in ["Analytical-2024!", "engines-babbage-1", "BabbageBabbage"] {
        let refused = make(bad).await.refused(422, "weak_password");
        assert!(refused.body["error"]["detail"].as_str().unwrap().starts_with("context_word:"), "{}", refused.text);
    }
    make("babbage violet harbour").await.expect(201);
}
