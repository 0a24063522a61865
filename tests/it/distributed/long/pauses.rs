//! Three nodes, of which one after the other sleeps for up to twenty seconds with whatever it was asked to do, and wakes up. What people were
//! told must be so, each once: a changed password has its audit event and its mail, and it ends the other sessions.
//!
//! - `QEETID_TEST_FAULTS_SEED`: another seed than the usual one.
//! - `QEETID_TEST_FAULTS_SECONDS`: for how long, 120 if not set.

use crate::support::{
    app::{App, fresh_email, fresh_password},
    cassandra::Cassandra,
    client::{Client, Reply},
    stack::Place,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// An address gets ten such mails a day.
const CHANGES: usize = 8;
/// Within this time after all has become well again, what was told is so.
const SOON: Duration = Duration::from_secs(90);

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Numbers that a seed makes: splitmix64.
struct Seeded(u64);
impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// One person, and what they were told.
#[derive(Debug)]
struct Told {
    email: String,
    password: String,
    tenant: String,
    /// Changes that took effect: each is acknowledged, or was found done after an answer that told nothing.
    changes: usize,
    /// Sessions that a change has ended.
    ended: Vec<String>,
}

/// Asks until there is an answer other than 503.
async fn answered<F: Future<Output = Reply>>(ask: impl Fn() -> F) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = ask().await;
        if reply.status != 503 {
            return reply;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no answer: {}", reply.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn signed_in(client: &Client, email: &str, password: &str) -> Option<Reply> {
    let reply = answered(|| client.login(email, password)).await;
    (reply.status == 200).then_some(reply)
}

/// A person changes their password again and again.
async fn changes(client: &Client, stop: &AtomicBool) -> Told {
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
            // The one before was done, and its answer lost.
            assert_eq!(reply.status, 403, "{}", reply.text);
            signed_in(client, &told.email, &new).await.expect("it was changed before");
        }
        password = new;
        told.changes += 1;
        told.ended.push(other);
    }
    told.password = password;
    told
}

/// Waits until what `look` gives is good.
async fn soon<T: std::fmt::Debug>(what: &str, look: impl AsyncFn() -> T, good: impl Fn(&T) -> bool) {
    let begun = Instant::now();
    loop {
        let found = look().await;
        if good(&found) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a person was told is so.
async fn holds(app: &App, told: &Told) {
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

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_sleep_with_a_request_lose_nothing_of_it() {
    let _turn = crate::distributed::in_turn().await;
    let (seed, length) = (number("QEETID_TEST_FAULTS_SEED", 14), Duration::from_secs(number("QEETID_TEST_FAULTS_SECONDS", 120)));
    println!("QEETID_TEST_FAULTS_SEED={seed}");
    let cassandra = Cassandra::with(3, &[("CASSANDRA_HEAP", "512m")]).await;
    let app = App::builder().on(&Place::at(&cassandra.url("pauses", ""))).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let people: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (app.other_client(), stop.clone());
            tokio::spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    all.push(changes(&client, &stop).await);
                }
                all
            })
        })
        .collect();
    let (begun, mut seeded, mut pauses) = (Instant::now(), Seeded(seed), 0);
    while begun.elapsed() < length {
        let (node, millis) = (1 + seeded.below(3) as usize, 1000 + seeded.below(19_000));
        cassandra.hang(node);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        cassandra.go_on(node);
        pauses += 1;
        tokio::time::sleep(Duration::from_millis(200 + seeded.below(2000))).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for one in people {
        all.extend(one.await.unwrap());
    }
    let changed: usize = all.iter().map(|told| told.changes).sum();
    println!("{pauses} pauses, {} people, {changed} changes", all.len());
    assert!(changed > 20, "only {changed} changes in {length:?}");
    soon("ready", async || app.try_send(Method::GET, "/readyz", None, None).await.map_or(0, |r| r.status), |status| *status == 200).await;
    for told in &all {
        holds(&app, told).await;
    }
    // Each change has a message of its own, which is sent at least once. (The mailbox keeps but the last 500.)
    let sent = async || {
        let log = app.output();
        let lines = log.lines().filter(|line| line.contains("\"message sent\"") && line.contains("\"password_changed\""));
        lines.filter_map(|line| Some(line.split_once("\"job\":\"")?.1.get(..36)?.to_owned())).collect::<HashSet<_>>().len()
    };
    soon("messages sent", sent, |sent| *sent >= changed).await;
    assert_eq!(sent().await, changed, "messages about changes");
}
