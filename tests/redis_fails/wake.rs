//! The knock at all nodes: it comes at once, it comes after a restart, and what is lost costs nothing but time.

use crate::{address, support::redis::RedisServer};
use qeetid::{
    domain::{ids::SessionId, keyring::Keyring, rng::SystemRng, time::SystemClock},
    ephemeral::{
        redis::{Redis, RedisWake},
        wake::Wake,
    },
    service::keys::Keys,
    sqlite::File,
    store::{Store, commands::Revocation, sqlite::SqliteStore},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Knocks until the other one hears it: a subscription takes a moment.
async fn is_heard(teller: &RedisWake, listener: &RedisWake) {
    let begun = Instant::now();
    loop {
        teller.tell();
        if timeout(Duration::from_millis(100), listener.told()).await.is_ok() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody hears it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_hear_it_and_again_after_a_restart() {
    let mut server = RedisServer::start().await;
    let nodes = [1, 2, 3].map(|_| Redis::at(&address(&[server.port])).unwrap());
    let [one, two, three] = nodes.each_ref().map(Redis::wake);
    for listener in [&one, &two, &three] {
        is_heard(&two, listener).await;
    }
    for _ in 0..2 {
        // What was told before is heard by now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for listener in [&one, &three] {
            let _ = timeout(Duration::ZERO, listener.told()).await;
        }
        assert!(timeout(Duration::from_millis(200), one.told()).await.is_err(), "nobody knocks, nobody hears");
        let begun = Instant::now();
        (0..1_000).for_each(|_| two.tell());
        for listener in [&one, &three] {
            timeout(Duration::from_secs(2), listener.told()).await.expect("all hear it");
        }
        assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
        server.lose_all().await;
        for listener in [&one, &two, &three] {
            is_heard(&three, listener).await;
            // Who tells next is connected again, too: what is told before that is lost.
            is_heard(&two, listener).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_that_share_a_server_hear_their_own() {
    let server = RedisServer::start().await;
    let (mine, his) = (address(&[server.port]), qeetid::ephemeral::redis::Address { prefix: "his".into(), ..address(&[server.port]) });
    let (mine, his) = (Redis::at(&mine).unwrap(), Redis::at(&his).unwrap());
    let (mine, his) = (mine.wake(), his.wake());
    is_heard(&mine, &mine).await;
    is_heard(&his, &his).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _ = timeout(Duration::ZERO, his.told()).await;
    mine.tell();
    assert!(timeout(Duration::from_millis(300), his.told()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_revokes_knocks_and_who_reads_does_not_wait() {
    let (server, dir) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let redis = Redis::at(&address(&[server.port])).unwrap();
    let (mine, listener) = (redis.wake(), redis.wake());
    is_heard(&mine, &listener).await;
    is_heard(&listener, &mine).await;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(File::open(&dir.path().join("t.db"), 1).unwrap()).await.unwrap());
    let keyring = Arc::new(Keyring::new([[3u8; 32].as_slice()]));
    let keys = Keys::load(store, keyring, Arc::new(SystemClock), Arc::new(SystemRng), "issuer".into(), "audience".into());
    let keys = keys.await.unwrap().with_wake(Some(Arc::new(mine)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _ = timeout(Duration::ZERO, listener.told()).await;
    keys.until_revoked(Duration::from_millis(50)).await;

    let begun = Instant::now();
    keys.until_revoked(Duration::from_millis(300)).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "nobody knocked");
    keys.read_revocations(0).await.unwrap();
    assert!(timeout(Duration::from_millis(200), listener.told()).await.is_err(), "who reads doesn't knock");
    let begun = Instant::now();
    keys.revoke([Revocation::Session(SessionId::new(&SystemClock, &SystemRng))]);
    timeout(Duration::from_secs(2), listener.told()).await.expect("the others are told");
    keys.until_revoked(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
