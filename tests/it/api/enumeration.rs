//! Nobody outside can tell whether an account exists: status, body, headers, and (roughly) time.

use crate::support::{
    app::{App, fresh_email, fresh_password},
    client::Reply,
};
use qeetid::app::doctor::stats::auc;
use reqwest::Method;
use serde_json::json;
use std::{collections::BTreeMap, time::Instant};

/// What an onlooker sees of a reply, without what differs in any two replies.
fn seen(reply: &Reply) -> (u16, String, BTreeMap<String, String>) {
    let mut body = reply.body.clone();
    if let Some(error) = body["error"].as_object_mut() {
        error.remove("request_id");
    }
    if body["signup_token"].is_string() {
        body["signup_token"] = reply.str("signup_token").len().into();
    }
    let own = ["date", "x-request-id"];
    let headers = reply.headers.iter().filter(|(n, _)| !own.contains(&n.as_str()));
    (reply.status, body.to_string(), headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect())
}

#[track_caller]
fn alike(what: &str, replies: &[Reply]) {
    for reply in replies {
        assert_eq!(seen(reply), seen(&replies[0]), "{what}");
    }
}

/// A known address, one of a deleted account, an unknown one.
async fn people(app: &App) -> [String; 3] {
    let (known, deleted) = (app.signup().await, app.signup().await);
    let body = json!({"current_password": deleted.password});
    app.send(Method::DELETE, "/v1/me", Some(&deleted.access), Some(body)).await.expect(204);
    [known.email, deleted.email, fresh_email()]
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_and_forgotten_passwords_look_the_same() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__AUTH_REQUESTS", "1000/1s").start().await;
    let people = people(&app).await;
    let (mut logins, mut forgots) = (Vec::new(), Vec::new());
    for email in &people {
        logins.push(app.login(email, "not the password").await.refused(401, "invalid_credentials"));
        forgots.push(app.post("/v1/auth/forgot-password", json!({"email": email})).await.expect(202));
    }
    // The network's counter moves from request to request, for everybody alike.
    for reply in logins.iter_mut().chain(&mut forgots) {
        reply.headers.remove("ratelimit-remaining").expect("RateLimit-Remaining");
        reply.headers.remove("ratelimit-reset").expect("RateLimit-Reset");
    }
    alike("login", &logins);
    alike("forgot-password", &forgots);
    // Also when the limit of the address is used up, known or not.
    for email in &people {
        let mut last = Vec::new();
        for _ in 0..10 {
            last.push(app.login(email, "not the password").await);
        }
        assert_eq!(last.iter().map(|r| r.status).collect::<Vec<_>>(), [vec![401; 9], vec![429]].concat(), "{email}");
        last.pop().unwrap().refused(429, "account_locked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_in_verify_first_looks_the_same() {
    let app = App::builder().env("QEETID_SIGNUP_MODE", "verify_first").start().await;
    let (email, password) = (fresh_email(), fresh_password());
    let token = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(202).str("signup_token");
    let code = app.code(&email, 1).await;
    let body = json!({"email": email, "code": code, "signup_token": token});
    app.post("/v1/auth/signup/confirm", body).await.expect(201);

    let mut starts = Vec::new();
    let mut confirms = Vec::new();
    for address in [email, fresh_email()] {
        let start = app.post("/v1/auth/signup", json!({"email": address, "password": fresh_password()})).await.expect(202);
        let body = json!({"email": address, "code": "000000", "signup_token": start.str("signup_token")});
        confirms.push(app.post("/v1/auth/signup/confirm", body).await);
        starts.push(start);
    }
    alike("signup", &starts);
    alike("signup/confirm", &confirms);
}

/// What is measured is time.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_time_of_a_refused_sign_in_tells_nothing() {
        let app = App::builder().env("QEETID_HASH_THREADS", "1").start().await;
        let [known, deleted, unknown] = people(&app).await;
        let mut times = [const { Vec::new() }; 3];
        for round in 0..24 {
            for n in 0..3 {
                // In turn, each once first: whatever the machine does meanwhile meets all of them alike.
                let who = (round + n) % 3;
                let email = [&known, &deleted, &unknown][who];
                let start = Instant::now();
                app.login(email, "not the password").await.refused(401, "invalid_credentials");
                times[who].push(start.elapsed().as_secs_f64());
            }
        }
        // 24 samples each: by chance alone this stays between 0.25 and 0.75 in all but 0.3 % of runs, and a machine is
        // never quite still; a shortcut for unknown addresses would give 1.
        for (what, other) in [("unknown", &times[2]), ("deleted", &times[1])] {
            let told = auc(&times[0], other);
            assert!((0.12..=0.88).contains(&told), "{what} addresses can be told by time: AUC {told:.2}");
        }
    }
}
