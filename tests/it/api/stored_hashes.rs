//! Hashes that other systems (or an attacker of the store) left: put into the store while the server is down.

use crate::{
    api::{all, until},
    support::app::{App, fresh_password},
};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn bcrypt_signs_in_and_becomes_argon2id_in_the_background() {
    let mut app = App::own().await;
    let who = app.signup().await;
    app.kill9();
    app.plant_hash(&bcrypt::hash(&who.password, 6).unwrap()).await;
    app.start().await;
    app.login(&who.email, "not the password").await.refused(401, "invalid_credentials");
    app.login(&who.email, &who.password).await.expect(200);
    let todays = |hash: &Option<String>| hash.as_ref().unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$");
    until("not hashed anew", async || app.stored_hash(&who.email).await, todays).await;
    app.login(&who.email, &who.password).await.expect(200);
    // That was no change of the password: the sessions live.
    app.me(&who.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehash_racing_a_password_change_never_brings_the_old_password_back() {
    let mut app = App::own().await;
    for round in 0..4 {
        let who = app.signup().await;
        app.kill9();
        app.plant_hash(&bcrypt::hash(&who.password, 5).unwrap()).await;
        app.start().await;
        let new = fresh_password();
        // The rehash starts with a sign-in; the change comes before, while and after it runs.
        app.login(&who.email, &who.password).await.expect(200);
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        let change = json!({"current_password": who.password, "new_password": new});
        app.post_as(&who.access, "/v1/auth/password", change).await.expect(200);
        // The process has begun in this round: it counts the one rehash, whatever came of it.
        let metrics = async || app.get("/metrics").await.text;
        until("the rehash does not end", metrics, |text| text.contains("qeetid_rehash_total{")).await;
        app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
        app.login(&who.email, &new).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_hash_takes_neither_memory_nor_time() {
    let mut app = App::own().await;
    let who = app.signup().await;
    let hostile = [
        "$argon2id$v=19$m=4194304,t=1000,p=1$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "$argon2id$v=19$m=131072,t=4294967295,p=1$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "$argon2id$v=19$m=19456,t=2,p=16777215$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "$2b$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcdefg",
        "$argon2id$",
        "nonsense",
    ];
    for hash in hostile {
        app.kill9();
        app.plant_hash(hash).await;
        app.start().await;
        let start = Instant::now();
        let replies = all((0..4).map(|_| {
            let (client, who) = (app.other_client(), who.clone());
            async move { client.login(&who.email, &who.password).await }
        }))
        .await;
        assert!(replies.iter().all(|r| r.code() == "invalid_credentials"), "{hash}: {replies:?}");
        // What they ask for takes minutes and more.
        assert!(start.elapsed() < Duration::from_secs(45), "{hash}: took {:?}", start.elapsed());
        let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        assert!(peak < 400_000, "{hash}: peak resident memory {peak} kB");
    }
}
