//! A cluster of three.

use crate::{
    redis_fails::{
        address,
        backend::{code, key},
    },
    support::{ports, redis::RedisServer},
};
use qeetid::{
    domain::{
        rng::{self, SystemRng},
        time::Timestamp,
    },
    ephemeral::{
        Ephemeral, Limit, Subject,
        idempotency::{Begun, IdempotencyStore, NewRun, RequestName, RunId, Standing},
        redis::Redis,
    },
};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

async fn cluster() -> Vec<RedisServer> {
    let (mut nodes, mut buses) = (Vec::new(), Vec::new());
    for slots in ["0 5000", "5001 11000", "11001 16383"] {
        let bus = Cell::new(0);
        let node = RedisServer::with(|_, _| {
            bus.set(ports::free().port());
            let port = bus.get().to_string();
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &port].map(str::to_owned).to_vec()
        })
        .await;
        assert_eq!(node.command(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "+OK");
        nodes.push(node);
        buses.push(bus.get());
    }
    for (node, bus) in nodes.iter().zip(buses).skip(1) {
        assert_eq!(nodes[0].command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port)), "+OK");
    }
    let begun = Instant::now();
    // A key of each node, asked at each node: it answers, or says where.
    while !nodes.iter().all(|n| n.command("GET x").starts_with('$') || n.command("GET x").starts_with("-MOVED")) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the cluster does not come up: {}", nodes[0].command("GET x"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nodes
}

/// Half a second is promised for each call, also while a node is down.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_script_finds_its_node_and_one_that_is_down_holds_nobody_up() {
        let mut nodes = cluster().await;
        let now = Timestamp::from_millis(20_000 * 86_400_000);
        // Learns of the third by itself.
        let store = Redis::at(&address(&[nodes[0].port, nodes[1].port])).unwrap();
        let limit = Limit { name: "two", max: 2, window: Duration::from_secs(60) };
        // Keys of all nodes.
        for _ in 0..40 {
            let (key, who, name) = (key(), Subject(rng::bytes(&SystemRng)), RequestName(rng::bytes(&SystemRng)));
            let serial = store.start_code(&key, code(), now).await.unwrap().serial;
            assert_eq!(store.try_code(&key, 5, now).await.unwrap().map(|r| r.tries), Some(1));
            assert_eq!(store.peek_code(&key, now).await.unwrap().map(|r| r.tries), Some(1));
            store.drop_code(&key, serial).await.unwrap();
            assert_eq!(store.peek_code(&key, now).await.unwrap(), None);
            for allowed in [true, true, false] {
                assert_eq!(store.hit(&limit, &who, now).await.unwrap().allowed, allowed);
            }
            store.give_back(&limit, &who, now).await.unwrap();
            assert!(store.peek(&limit, &who, now).await.unwrap().allowed);
            let new = NewRun { run: RunId(rng::bytes(&SystemRng)), fingerprint: [7; 32], salt: [8; 16] };
            assert_eq!(store.begin_run(&name, new, now).await.unwrap(), Begun::Run { salt: new.salt, began_at: now });
            assert!(store.renew_run(&name, new.run, now).await.unwrap());
            store.leave_run(&name, new.run, false).await.unwrap();
            assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Left);
            assert!(store.finish_run(&name, new.run, vec![1], now).await.unwrap());
            assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Answered);
        }
        store.ping().await.unwrap();
        let held: Vec<String> = nodes.iter().map(|n| n.command("DBSIZE")).collect();
        assert!(held.iter().all(|n| n != ":0"), "each node holds its part: {held:?}");

        nodes[2].kill9();
        let (mut refused, begun) = (0, Instant::now());
        while begun.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            refused += u32::from(store.start_code(&key(), code(), now).await.is_err());
            assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(refused > 0, "a third of the keys has no node");
        nodes[2].start_again().await;
        let begun = Instant::now();
        let mut good = 0;
        while good < 60 {
            good = if store.start_code(&key(), code(), now).await.is_ok() { good + 1 } else { 0 };
            assert!(begun.elapsed() < Duration::from_secs(20), "not back after {:?}", begun.elapsed());
        }
    }
}
