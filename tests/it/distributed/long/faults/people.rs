//! People who change their passwords.

use super::{answered, soon};
use crate::support::{
    app::{App, fresh_email, fresh_password},
    client::{Client, Reply},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// An address gets ten mails about changes a day.
const CHANGES: usize = 8;

/// One person, and what they were told.
#[derive(Debug)]
pub struct Told {
    email: String,
    password: String,
    tenant: String,
    /// Changes that took effect: each is acknowledged, or was found done after an answer that told nothing.
    pub changes: usize,
    /// Sessions that a change has ended.
    ended: Vec<String>,
}

pub async fn signed_in(client: &Client, email: &str, password: &str) -> Option<Reply> {
    let reply = answered(|| client.login(email, password)).await;
    (reply.status == 200).then_some(reply)
}

/// A person changes their password again and again.
pub async fn changes(client: &Client, stop: &AtomicBool) -> Told {
    let (email, mut password) = (fresh_email(), fresh_password());
    let body = json!({"email": email, "password": password});
    // It may have been done though the answer was 503.
    let first = answered(|| client.post("/v1/auth/signup", body.clone())).await;
    assert!([201, 409, 422].contains(&first.status), "{}", first.text);
    let own = signed_in(client, &email, &password).await.expect("signed up");
    let (access, tenant) = (own.str("access_token"), own.str("tenant_id"));
    let mut told = Told { email, password: password.clone(), tenant, changes: 0, ended: vec![] };
    while told.changes < CHANGES && !stop.load(Ordering::SeqCst) {
        let other = signed_in(client, &told.email, &password).await.expect("the password is right").str("access_token");
        let new = fresh_password();
        let body = json!({"current_password": password, "new_password": new});
        let reply = answered(|| client.post_as(&access, "/v1/auth/password", body.clone())).await;
        if reply.status != 200 {
            // The one before was done, and its answer lost: the password is another one, or became so meanwhile.
            assert!([403, 409].contains(&reply.status), "{}", reply.text);
            signed_in(client, &told.email, &new).await.expect("it was changed before");
        }
        password = new;
        told.changes += 1;
        told.ended.push(other);
    }
    told.password = password;
    told
}

/// What a person was told is so.
pub async fn holds(app: &App, told: &Told) {
    let access = app.login(&told.email, &told.password).await.expect(200).str("access_token");
    let events = async || {
        let page = app.get_as(&access, &format!("/v1/tenants/{}/audit?limit=200", told.tenant)).await.expect(200);
        let events: Vec<Value> = page.body["items"].as_array().unwrap().clone();
        let linked = events.iter().all(|e| e["seq"].is_u64());
        (linked, events.iter().filter(|e| e["event"] == "password.changed").count())
    };
    soon(&format!("audit events of {told:?}"), events, |found| *found == (true, told.changes)).await;
    for session in &told.ended {
        soon(&format!("a session of {told:?}"), async || app.me(session).await.status, |status| *status == 401).await;
    }
}
