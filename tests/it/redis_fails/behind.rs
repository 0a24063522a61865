//! Requests with an `Idempotency-Key` while the Redis of a moment ago comes back again and again, as it does when a replica is promoted that is
//! behind: whatever is sent, and sent again until there is an answer, is done once.

use crate::support::{
    app::{App, fresh_email, fresh_password},
    client::{Client, Reply},
    redis::RedisServer,
    stack::Place,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENTS: usize = 6;

/// Sends a request again until there is an answer, as a client of such keys does.
async fn sent(client: &Client, path: &str, access: Option<&str>, key: &str, body: &Value) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = client.post_keyed(key, path, access, body).await;
        if reply.status != 503 {
            return reply;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no answer: {}", reply.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One person who founds organizations, and people who sign up. Each is asked for twice, at once or later.
async fn once_each(client: &Client, stop: &AtomicBool, done: &AtomicUsize) -> usize {
    let who = client.signup().await;
    let mut founded: HashMap<String, String> = HashMap::new();
    let mut earlier: Option<(String, Value, String)> = None;
    while !stop.load(Ordering::SeqCst) && founded.len() < 300 {
        let name = format!("Number {}", founded.len());
        let (key, body) = (format!("{}-{}", who.user_id, founded.len()), json!({"name": name}));
        let found = async |key: &str, body: &Value| sent(client, "/v1/tenants", Some(&who.access), key, body).await.expect(201).str("id");
        let (one, two) = tokio::join!(found(&key, &body), found(&key, &body));
        assert_eq!(one, two, "{key}");
        if let Some((key, body, id)) = earlier.replace((key, body, one.clone())) {
            assert_eq!(found(&key, &body).await, id, "{key}, later");
        }
        founded.insert(name, one);
        let (email, password) = (fresh_email(), fresh_password());
        let (key, body) = (format!("sign-up {email}").replace(' ', "-"), json!({"email": email, "password": password}));
        let first = sent(client, "/v1/auth/signup", None, &key, &body).await.expect(201).str("user_id");
        assert_eq!(sent(client, "/v1/auth/signup", None, &key, &body).await.expect(201).str("user_id"), first);
        done.fetch_add(2, Ordering::SeqCst);
    }
    let list = client.get_as(&who.access, "/v1/tenants").await.expect(200);
    let all: Vec<(&str, &str)> = list.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| {
            let (name, id) = (item["tenant"]["name"].as_str()?, item["tenant"]["id"].as_str()?);
            name.starts_with("Number").then_some((name, id))
        })
        .collect();
    assert_eq!(all.len(), founded.len(), "each once");
    assert!(all.iter().all(|(name, id)| founded[*name] == *id), "and as it was said");
    all.len()
}

/// Promotes a Redis that is behind until so many things have been done, and for at least this long.
async fn under_traffic(app: &App, mut redis: RedisServer, length: Duration, things: usize) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, stop, done) = (app.other_client(), stop.clone(), done.clone());
            tokio::spawn(async move { once_each(&client, &stop, &done).await })
        })
        .collect();
    let (begun, mut promoted) = (Instant::now(), 0);
    while (begun.elapsed() < length || done.load(Ordering::SeqCst) < things || promoted < 4) && clients.iter().any(|c| !c.is_finished()) {
        assert!(begun.elapsed() < length + Duration::from_secs(120), "{} of {things} done", done.load(Ordering::SeqCst));
        let behind = redis.dump();
        tokio::time::sleep(Duration::from_millis(150 * (promoted % 5 + 1))).await;
        redis.put_back(&behind).await;
        promoted += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut founded = 0;
    for client in clients {
        founded += client.await.unwrap();
    }
    let went_on = app.output().matches("it goes on where its first run was").count();
    println!("{promoted} promoted, {founded} organizations, {went_on} requests went on where their first run was");
    assert!(founded >= CLIENTS && went_on > 0, "{founded} organizations, {went_on} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_done_once_on_sqlite() {
    let redis = RedisServer::start().await;
    let app = App::builder().env("QEETID_EPHEMERAL_URL", redis.url()).start().await;
    under_traffic(&app, redis, Duration::from_secs(3), 60).await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_request_is_done_once_on_cassandra() {
        let redis = RedisServer::start().await;
        let mut place = Place::distributed();
        *place.redis().unwrap() = redis.url();
        let app = App::builder().on(&place).start().await;
        under_traffic(&app, redis, Duration::from_secs(60), 80).await;
    }
}
