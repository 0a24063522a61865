//! The knock at all nodes: it comes at once, it comes after a restart, and what is lost costs nothing but time.

use crate::{redis_fails::address, support::redis::RedisServer};
use qeetid::{
    domain::{ids::SessionId, keyring::Keyring, rng::SystemRng, time::SystemClock},
    ephemeral::{
        Ephemeral,
        redis::{Address, Redis, RedisWake},
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

/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Knocks until the other one hears it: a knock may be lost.
async fn is_heard(teller: &RedisWake, listener: &RedisWake) {
    let begun = Instant::now();
    loop {
        teller.tell();
        if timeout(Duration::from_millis(100), listener.told()).await.is_ok() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody hears it");
    }
}

/// Waits until so many listen at an installation's door: one makes its subscription when it is told to, and anew a second after it was lost.
/// What came over the lost one has been heard by then.
async fn listen(server: &RedisServer, count: usize, prefix: &str) {
    let (begun, channel) = (Instant::now(), format!("{prefix}:revocations"));
    while server.subscribers(&channel) != count {
        assert!(begun.elapsed() < PATIENCE, "{} listen, not {count}", server.subscribers(&channel));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until it has a connection over which to tell.
async fn is_connected(teller: &Redis) {
    let begun = Instant::now();
    while let Err(e) = teller.ping().await {
        assert!(begun.elapsed() < PATIENCE, "{e}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_that_share_a_server_hear_their_own() {
    let server = RedisServer::start().await;
    let (ours, theirs) = (address(&[server.port]), Address { prefix: "theirs".into(), ..address(&[server.port]) });
    let (ours, theirs) = (Redis::at(&ours).unwrap().wake(), Redis::at(&theirs).unwrap().wake());
    listen(&server, 1, "test").await;
    listen(&server, 1, "theirs").await;
    // Nobody has knocked at their door.
    is_heard(&ours, &ours).await;
    assert!(timeout(Duration::from_millis(300), theirs.told()).await.is_err());
    is_heard(&theirs, &theirs).await;
    assert_eq!((server.subscribers("test:revocations"), server.subscribers("theirs:revocations")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_revokes_knocks_and_who_reads_does_not_wait() {
    let (server, dir) = (RedisServer::start().await, tempfile::tempdir().unwrap());
    let redis = Redis::at(&address(&[server.port])).unwrap();
    let (ours, listener) = (redis.wake(), redis.wake());
    listen(&server, 2, "test").await;
    is_connected(&redis).await;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(File::open(&dir.path().join("t.db"), 1).unwrap()).await.unwrap());
    let keyring = Arc::new(Keyring::new([[3u8; 32].as_slice()]));
    let keys = Keys::load(store, keyring, Arc::new(SystemClock), Arc::new(SystemRng), "issuer".into(), "audience".into());
    let keys = keys.await.unwrap().with_wake(Some(Arc::new(ours)));

    let begun = Instant::now();
    keys.until_revoked(Duration::from_millis(300)).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "nobody knocked");
    keys.read_revocations(0).await.unwrap();
    assert!(timeout(Duration::from_millis(200), listener.told()).await.is_err(), "who reads doesn't knock");
    // A knock may be lost where Redis has no time: then the next one is heard.
    let begun = Instant::now();
    loop {
        keys.revoke([Revocation::Session(SessionId::new(&SystemClock, &SystemRng))]);
        if timeout(Duration::from_secs(1), listener.told()).await.is_ok() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the others are told");
    }
    // It has heard itself, too, and does not wait out the time that it may.
    timeout(PATIENCE, keys.until_revoked(2 * PATIENCE)).await.expect("it waits, although somebody knocked");
}

/// All nodes hear it at once, if the machine has nothing else to do.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn all_nodes_hear_it_and_again_after_a_restart() {
        let mut server = RedisServer::start().await;
        let nodes = [1, 2, 3].map(|_| Redis::at(&address(&[server.port])).unwrap());
        let wakes = nodes.each_ref().map(Redis::wake);
        for teller in [1, 2, 1, 2] {
            listen(&server, 3, "test").await;
            is_connected(&nodes[teller]).await;
            let others: Vec<_> = (0..3).filter(|n| *n != teller).map(|n| &wakes[n]).collect();
            for other in &others {
                // What came before the restart.
                let _ = timeout(Duration::ZERO, other.told()).await;
                assert!(timeout(Duration::from_millis(100), other.told()).await.is_err(), "nobody knocks, nobody hears");
            }
            let begun = Instant::now();
            (0..1_000).for_each(|_| wakes[teller].tell());
            for other in &others {
                timeout(Duration::from_secs(2), other.told()).await.expect("all hear it");
            }
            assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
            server.lose_all().await;
        }
    }
}
