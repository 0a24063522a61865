//! Three nodes, of which one after the other sleeps for up to twenty seconds with whatever it was asked to do, is killed, or is cut off from the
//! others, both ways or one. What people were told must be so, each once: a changed password has its audit event and its mail, and it ends
//! the other sessions ([`people`]); an organization keeps an owner, and an address has one account ([`pairs`]).
//!
//! - `QEETID_TEST_FAULTS_SEED`: another seed than the usual one.
//! - `QEETID_TEST_FAULTS_SECONDS`: for how long, 1200 if not set.

mod pairs;
mod people;

use crate::support::{app::App, cassandra::Cassandra, client::Reply, stack::Place};
use qeetid::domain::rng::{self, SeededRng};
use reqwest::Method;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Within this time after all has become well again, what was told is so.
const SOON: Duration = Duration::from_secs(90);

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// A number below `n`: the modulo's bias matters to nobody here.
fn below(rng: &SeededRng, n: u64) -> u64 {
    u64::from_le_bytes(rng::bytes(rng)) % n
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

/// What goes wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Sleeps,
    IsKilled,
    IsCutOff,
    HearsNobody,
    IsNotHeard,
}

impl Fault {
    /// Cuts are as many as pauses; the start after a death takes its time.
    const ALL: [Self; 8] = {
        use Fault::*;
        [Sleeps, Sleeps, Sleeps, IsCutOff, HearsNobody, HearsNobody, IsNotHeard, IsKilled]
    };

    async fn of(self, cassandra: &Cassandra, node: usize, length: Duration) {
        match self {
            Self::Sleeps => {
                cassandra.hang(node);
                tokio::time::sleep(length).await;
                cassandra.go_on(node);
            }
            Self::IsKilled => {
                cassandra.kill9(node).await;
                tokio::time::sleep(length).await;
                cassandra.start_again(node).await;
            }
            Self::IsCutOff | Self::HearsNobody | Self::IsNotHeard => {
                cassandra.links().set(node, self != Self::IsNotHeard, self != Self::HearsNobody);
                tokio::time::sleep(length).await;
                cassandra.links().set(node, false, false);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_sleep_die_or_are_cut_off_lose_nothing() {
    let _turn = crate::distributed::in_turn().await;
    let (seed, length) = (number("QEETID_TEST_FAULTS_SEED", 14), Duration::from_secs(number("QEETID_TEST_FAULTS_SECONDS", 1200)));
    println!("QEETID_TEST_FAULTS_SEED={seed}");
    // What a node has promised is on its disk: else a killed one could vote twice.
    let cassandra = Cassandra::linked(3, &[("CASSANDRA_HEAP", "512m"), ("CASSANDRA_SYNC", "batch")]).await;
    let app = Arc::new(App::builder().on(&Place::at(&cassandra.url("faults", ""))).start().await);
    let (mut owners, mut moves) = (pairs::Owners::of(&app).await, pairs::Moves::default());
    let stop = Arc::new(AtomicBool::new(false));
    let people: Vec<_> = (0..3)
        .map(|_| {
            let (client, stop) = (app.other_client(), stop.clone());
            tokio::spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    all.push(people::changes(&client, &stop).await);
                }
                all
            })
        })
        .collect();
    let owning = tokio::spawn({
        let (client, stop) = (app.other_client(), stop.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                owners.take_it_from_each_other(&client).await;
            }
            owners
        }
    });
    let moving = tokio::spawn({
        let (app, stop) = (app.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                moves.one_more(&app).await;
            }
            moves
        }
    });
    let (begun, rng, mut faults) = (Instant::now(), SeededRng::new(seed), Vec::new());
    while begun.elapsed() < length {
        let (node, millis) = (1 + below(&rng, 3) as usize, 1000 + below(&rng, 19_000));
        let fault = Fault::ALL[below(&rng, 8) as usize];
        println!("{:?}: node {node} {fault:?} for {millis} ms", begun.elapsed());
        fault.of(&cassandra, node, Duration::from_millis(millis)).await;
        faults.push(fault);
        tokio::time::sleep(Duration::from_millis(200 + below(&rng, 2000))).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for one in people {
        all.extend(one.await.unwrap());
    }
    let (owners, moves) = (owning.await.unwrap(), moving.await.unwrap());
    let changed: usize = all.iter().map(|told| told.changes).sum();
    println!("{} faults, {} people, {changed} changes, {owners}, {moves}", faults.len(), all.len());
    assert!(changed > 20 && owners.rounds > 3 && moves.races() > 3, "too little happened in {length:?}");
    soon("ready", async || app.try_send(Method::GET, "/readyz", None, None).await.map_or(0, |r| r.status), |status| *status == 200).await;
    for told in &all {
        people::holds(&app, told).await;
    }
    owners.hold(&app).await;
    moves.hold(&app).await;
    // Each change has a message of its own, which is sent at least once. (The mailbox keeps but the last 500.)
    let sent = async || {
        let log = app.output();
        let lines = log.lines().filter(|line| line.contains("\"message sent\"") && line.contains("\"password_changed\""));
        lines.filter_map(|line| Some(line.split_once("\"job\":\"")?.1.get(..36)?.to_owned())).collect::<HashSet<_>>().len()
    };
    soon("messages sent", sent, |sent| *sent >= changed).await;
    assert_eq!(sent().await, changed, "messages about changes");
}
