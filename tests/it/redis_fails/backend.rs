//! The backend alone, against a server that goes, comes, hangs, forgets and goes back in time.

use crate::{
    redis_fails::address,
    support::{ports, redis::RedisServer},
};
use qeetid::{
    domain::{
        keyring::KeyId,
        rng::{self, SystemRng},
        time::Timestamp,
        token::{CodeLength, CodePurpose},
    },
    ephemeral::{
        CODE_TTL, CodeKey, Ephemeral, Limit, NewCode, Subject,
        idempotency::{Begun, IdempotencyStore, NewRun, RequestName, RunId, Standing},
        redis::{Address, Redis},
    },
};
use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

/// No call may take longer.
const PROMISED: Duration = Duration::from_millis(500);

fn now() -> Timestamp {
    Timestamp::from_millis(20_000 * 86_400_000)
}

pub fn key() -> CodeKey {
    CodeKey { purpose: CodePurpose::Email, subject: rng::bytes::<16>(&SystemRng).to_vec() }
}

pub fn code() -> NewCode {
    NewCode {
        key: KeyId(rng::bytes(&SystemRng)),
        nonce: rng::bytes(&SystemRng),
        length: CodeLength::Six,
        epoch: 1,
        target: vec![1, 2, 3],
        expires_at: now().plus(CODE_TTL),
        above: 0,
    }
}

fn new_run() -> NewRun {
    NewRun { run: RunId(rng::bytes(&SystemRng)), fingerprint: [7; 32], salt: [8; 16] }
}

const THREE: Limit = Limit { name: "three", max: 3, window: Duration::from_secs(60) };

/// How long it took, and what came of it.
async fn timed<T>(call: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let outcome = call.await;
    (begun.elapsed(), outcome)
}

/// Every method that can't do without the server says so, in time.
async fn all_refused(store: &Redis) {
    let (code_key, name, run) = (key(), RequestName(rng::bytes(&SystemRng)), new_run());
    let checks: Vec<(&str, Duration, bool)> = {
        let mut seen = Vec::new();
        let (t, r) = timed(store.start_code(&code_key, code(), now())).await;
        seen.push(("start_code", t, r.is_err()));
        let (t, r) = timed(store.try_code(&code_key, 5, now())).await;
        seen.push(("try_code", t, r.is_err()));
        let (t, r) = timed(store.peek_code(&code_key, now())).await;
        seen.push(("peek_code", t, r.is_err()));
        let (t, r) = timed(store.drop_code(&code_key, 1)).await;
        seen.push(("drop_code", t, r.is_err()));
        let (t, r) = timed(store.begin_run(&name, run, now())).await;
        seen.push(("begin_run", t, r.is_err()));
        let (t, r) = timed(store.renew_run(&name, run.run, now())).await;
        seen.push(("renew_run", t, r.is_err()));
        let (t, r) = timed(store.finish_run(&name, run.run, vec![1], now())).await;
        seen.push(("finish_run", t, r.is_err()));
        let (t, r) = timed(store.leave_run(&name, run.run, true)).await;
        seen.push(("leave_run", t, r.is_err()));
        let (t, r) = timed(store.standing(&name, now())).await;
        seen.push(("standing", t, r.is_err()));
        let (t, r) = timed(store.ping()).await;
        seen.push(("ping", t, r.is_err()));
        seen
    };
    for (what, took, refused) in checks {
        assert!(refused && took < PROMISED, "{what}: refused {refused}, after {took:?}");
    }
}

/// Limits are counted all the same: three, and no more.
async fn limits_go_on(store: &Redis) {
    let who = Subject(rng::bytes(&SystemRng));
    for n in 0..3 {
        let (took, decision) = timed(store.hit(&THREE, &who, now())).await;
        let decision = decision.unwrap();
        assert!(decision.allowed && decision.remaining == 2 - n && took < PROMISED, "{n}: {decision:?} after {took:?}");
    }
    assert!(!store.hit(&THREE, &who, now()).await.unwrap().allowed);
    store.give_back(&THREE, &who, now()).await.unwrap();
    assert!(store.hit(&THREE, &who, now()).await.unwrap().allowed && !store.hit(&THREE, &who, now()).await.unwrap().allowed);
}

/// By itself, soon.
async fn comes_back(store: &Redis) {
    let begun = Instant::now();
    while let Err(e) = store.ping().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "{e}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.start_code(&key(), code(), now()).await.unwrap();
}

/// Half a second is promised for each call, connecting included.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn gone_and_back() {
        let mut server = RedisServer::start().await;
        let store = Redis::at(&address(&[server.port])).unwrap();
        comes_back(&store).await;
        server.kill9();
        all_refused(&store).await;
        limits_go_on(&store).await;
        server.start_again().await;
        comes_back(&store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn not_there_at_the_start() {
        let mut server = RedisServer::start().await;
        server.kill9();
        let store = Redis::at(&address(&[server.port])).unwrap();
        all_refused(&store).await;
        limits_go_on(&store).await;
        server.start_again().await;
        comes_back(&store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_hangs_holds_nobody_up() {
        let server = RedisServer::start().await;
        let store = Arc::new(Redis::at(&address(&[server.port])).unwrap());
        comes_back(&store).await;
        server.hang();
        let calls: Vec<_> = (0..300)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { timed(store.try_code(&key(), 5, now())).await })
            })
            .collect();
        for call in calls {
            let (took, outcome) = call.await.unwrap();
            assert!(outcome.is_err() && took < PROMISED, "{took:?}");
        }
        // The breaker is open: those that come now don't wait at all.
        let (took, outcome) = timed(store.peek_code(&key(), now())).await;
        assert!(outcome.is_err() && took < Duration::from_millis(50), "{took:?}");
        limits_go_on(&store).await;
        all_refused(&store).await;
        server.go_on();
        comes_back(&store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restart_between_two_calls_is_not_noticed() {
        let mut server = RedisServer::start().await;
        let store = Redis::at(&address(&[server.port])).unwrap();
        for _ in 0..3 {
            let key = key();
            store.start_code(&key, code(), now()).await.unwrap();
            server.lose_all().await;
            assert_eq!(store.try_code(&key, 5, now()).await.unwrap(), None, "a new connection, and scripts that it has not seen");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scripts_that_were_flushed_are_sent_again() {
        let server = RedisServer::start().await;
        let store = Redis::at(&address(&[server.port])).unwrap();
        let (key, name, run) = (key(), RequestName(rng::bytes(&SystemRng)), new_run());
        let flush = || assert_eq!(server.command("SCRIPT FLUSH"), "+OK");
        let serial = store.start_code(&key, code(), now()).await.unwrap().serial;
        flush();
        assert_eq!(store.try_code(&key, 5, now()).await.unwrap().map(|r| r.tries), Some(1));
        flush();
        assert_eq!(store.try_code(&key, 5, now()).await.unwrap().map(|r| r.tries), Some(2), "counted once");
        flush();
        store.drop_code(&key, serial).await.unwrap();
        assert_eq!(store.peek_code(&key, now()).await.unwrap(), None);
        store.begin_run(&name, run, now()).await.unwrap();
        flush();
        assert!(store.finish_run(&name, run.run, b"answer".to_vec(), now()).await.unwrap());
        flush();
        assert_eq!(store.begin_run(&name, new_run(), now()).await.unwrap(), Begun::Answered(b"answer".to_vec()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_became_a_replica_or_is_full_is_not_ready() {
        let server = RedisServer::start().await;
        let store = Redis::at(&address(&[server.port])).unwrap();
        comes_back(&store).await;
        assert_eq!(server.command("REPLICAOF 127.0.0.1 1"), "+OK");
        assert!(store.start_code(&key(), code(), now()).await.is_err());
        assert!(store.ping().await.is_err());
        limits_go_on(&store).await;
        assert_eq!(server.command("REPLICAOF NO ONE"), "+OK");
        comes_back(&store).await;
        assert_eq!(server.command("CONFIG SET maxmemory 1"), "+OK");
        assert!(store.start_code(&key(), code(), now()).await.is_err());
        assert!(store.ping().await.is_err());
        limits_go_on(&store).await;
        assert_eq!(server.command("CONFIG SET maxmemory 0"), "+OK");
        comes_back(&store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn serials_never_go_back_whatever_was_lost() {
        let mut server = RedisServer::start().await;
        let store = Redis::at(&address(&[server.port])).unwrap();
        let key = key();
        let old = store.start_code(&key, code(), now()).await.unwrap().serial;
        let dump = server.dump();
        // Several in a millisecond: the last one is ahead of the clock, and it is the one that the account has used.
        let mut used = old;
        for _ in 0..5 {
            used = store.start_code(&key, code(), now()).await.unwrap().serial;
        }
        server.put_back(&dump).await;
        assert_eq!(store.peek_code(&key, now()).await.unwrap().map(|r| r.serial), Some(old), "the old data is back");
        let new = store.start_code(&key, NewCode { above: used, ..code() }, now()).await.unwrap().serial;
        assert!(new > used, "{new} after {used}");
        server.lose_all().await;
        let new = store.start_code(&key, NewCode { above: used, ..code() }, now()).await.unwrap().serial;
        assert!(new > used, "{new} after {used}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_password_a_database_and_a_prefix() {
        let server = RedisServer::with(|_, _| vec!["--requirepass".into(), "planted".into()]).await;
        let with = |password: &str| Address {
            password: Some(qeetid::domain::secret::SecretText::new(password)),
            database: 3,
            prefix: "id:eu".into(),
            ..address(&[server.port])
        };
        let wrong = Redis::at(&with("wrong")).unwrap();
        let refused = wrong.ping().await.unwrap_err().to_string();
        assert!(!refused.contains("wrong\"") && !refused.contains("planted"), "{refused}");
        let store = Redis::at(&with("planted")).unwrap();
        let (code_key, who) = (key(), Subject(rng::bytes(&SystemRng)));
        store.start_code(&code_key, code(), now()).await.unwrap();
        store.hit(&THREE, &who, now()).await.unwrap();
        store.begin_run(&RequestName(rng::bytes(&SystemRng)), new_run(), now()).await.unwrap();
        let client = ::redis::Client::open(format!("redis://:planted@127.0.0.1:{}/3", server.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        assert_eq!(keys.len(), 3, "{keys:?}");
        for key in keys {
            assert!(key.starts_with("id:eu:{"), "{key}");
            let ttl: i64 = ::redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
            assert!(ttl > 0, "{key} stays for ever");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_tls_with_a_certificate_that_is_trusted() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, private) = (made.cert.pem(), made.signing_key.serialize_pem());
        let (pem, tls_port) = (certificate.clone(), Cell::new(0));
        let server = RedisServer::with(|_, dir| {
            let file = |name: &str, text: &str| {
                std::fs::write(dir.join(name), text).unwrap();
                dir.join(name).to_str().unwrap().to_owned()
            };
            tls_port.set(ports::free().port());
            let (cert, key) = (file("cert.pem", &pem), file("key.pem", &private));
            let port = tls_port.get().to_string();
            let arguments = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
            arguments.map(str::to_owned).to_vec()
        })
        .await;
        let with = |ca: Option<String>| Address {
            hosts: vec![("localhost".into(), tls_port.get())],
            tls: true,
            ca: ca.map(String::into_bytes),
            ..address(&[server.port])
        };
        let store = Redis::at(&with(Some(certificate))).unwrap();
        comes_back(&store).await;
        assert_eq!(store.standing(&RequestName([1; 32]), now()).await.unwrap(), Standing::Unknown);
        let refused = Redis::at(&with(None)).unwrap().ping().await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}
