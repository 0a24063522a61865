//! Faults at random under load. A seed makes a schedule, so that what was found is found again; a schedule that fails is made smaller by hand:
//!
//! - `QEETID_TEST_FAULTS_SEED`: another seed than the usual one.
//! - `QEETID_TEST_FAULTS_SECONDS`: for how long, 120 if not set.
//! - `QEETID_TEST_FAULTS_SCHEDULE`: a schedule as it was printed, instead of one of the seed.
//! - `QEETID_TEST_FAULTS_SHRINK`: if set, one fault after the other is left out of a schedule that fails, for as long as it still fails.
//!
//! `schedule` is what goes wrong when, `work` who works meanwhile and what must hold.

mod schedule;
mod work;

use crate::{
    cluster::three::{SOON, Three},
    support::{
        app::{App, unique},
        cassandra::Cassandra,
        redis::RedisServer,
        stack::Place,
    },
};
use schedule::{Fault, Step, schedule};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use work::{Ledger, Work};

const SEED: u64 = 20;
const LENGTH: Duration = Duration::from_secs(120);

/// The servers, and what may be done to them.
struct World {
    three: Three,
    cassandra: Cassandra,
    redis: RedisServer,
    /// Nodes that are being started again.
    coming: JoinSet<(usize, App)>,
    there: [bool; 3],
}

impl World {
    async fn start() -> Self {
        let (cassandra, redis) = (Cassandra::start(1).await, RedisServer::start().await);
        let mut place = Place::at(&cassandra.url(&format!("chaos{}", unique()), ""));
        let address = format!("127.0.0.1:{}", redis.port);
        if let Some(url) = place.redis() {
            *url = format!("redis://{address}");
        }
        let three = Three::on(&address, place, "info").await;
        Self { three, cassandra, redis, coming: JoinSet::new(), there: [true; 3] }
    }

    /// Whether it is there to be killed and frozen.
    fn has(&mut self, fault: Fault) -> bool {
        while let Some(back) = self.coming.try_join_next() {
            self.is_back(back.unwrap());
        }
        !matches!(fault, Fault::Kill { node } | Fault::Freeze { node } if !self.there[node])
    }

    fn is_back(&mut self, (node, app): (usize, App)) {
        self.three.nodes[node] = app;
        self.there[node] = true;
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { node } => self.three.nodes[node].kill9(),
            Fault::Freeze { node } => self.three.signal(node, libc::SIGSTOP),
            Fault::Cut { from, to } => self.three.cut(from, to, true),
            Fault::Deaf { node } => self.three.redis[node].deafen(true),
            Fault::NoRedis { node } => self.three.redis[node].cut(true, true),
            Fault::RedisHangs => self.redis.hang(),
            Fault::RedisForgets => self.redis.lose_all().await,
            Fault::StoreHangs => self.cassandra.hang(1),
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { node } => {
                let mut app = std::mem::replace(&mut self.three.nodes[node], App::builder().stopped());
                self.there[node] = false;
                // It doesn't start without its store; whoever runs it tries again.
                self.coming.spawn(async move {
                    while let Err(why) = app.try_start().await {
                        println!("node {node} does not start yet: {}", why.lines().last().unwrap_or_default());
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    (node, app)
                });
            }
            Fault::Freeze { node } => self.three.signal(node, libc::SIGCONT),
            Fault::Cut { from, to } => self.three.cut(from, to, false),
            Fault::Deaf { node } => self.three.redis[node].deafen(false),
            Fault::NoRedis { node } => self.three.redis[node].cut(false, false),
            Fault::RedisHangs => self.redis.go_on(),
            Fault::RedisForgets => {}
            Fault::StoreHangs => self.cassandra.go_on(1),
        }
    }

    /// All is well again, by itself.
    async fn recovers(&mut self) {
        while let Some(back) = self.coming.join_next().await {
            self.is_back(back.unwrap());
        }
        let began = Instant::now();
        for node in 0..3 {
            while self.three.nodes[node].get("/readyz").await.status != 200 {
                assert!(began.elapsed() < SOON, "node {node} is not ready again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            self.three.sees(node, 3).await;
        }
    }
}

/// Runs a schedule, and gives what did not hold.
async fn run(steps: &[Step], length: Duration) -> Vec<String> {
    let mut world = World::start().await;
    let ledger = Arc::new(Ledger::default());
    let work = Work::start(&world.three, &ledger);
    let began = Instant::now();
    let mut events: Vec<(u64, bool, Fault)> = Vec::new();
    for step in steps {
        events.extend([(step.at, true, step.fault), (step.at + step.lasts, false, step.fault)]);
    }
    events.sort_by_key(|(at, begins, _)| (*at, *begins));
    let mut left_out = Vec::new();
    for (at, begins, fault) in events {
        tokio::time::sleep((Duration::from_millis(at)).saturating_sub(began.elapsed())).await;
        let time = began.elapsed().as_secs_f32();
        if begins && !world.has(fault) {
            println!("{time:>8.2} s: {fault:?} left out, the node isn't back yet");
            left_out.push(fault);
        } else if begins {
            println!("{time:>8.2} s: {fault:?} begins");
            world.begin(fault).await;
        } else if let Some(n) = left_out.iter().position(|f| *f == fault) {
            left_out.remove(n);
        } else {
            println!("{time:>8.2} s: {fault:?} ends");
            world.end(fault).await;
        }
    }
    tokio::time::sleep(length.saturating_sub(began.elapsed())).await;
    world.recovers().await;
    work.stop().await;
    ledger.settle(&world.three.nodes[1].other_client()).await;
    println!("{}", ledger.report());
    ledger.wrong()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_no_write_is_lost_and_nothing_is_done_twice() {
    let number = |name| variable(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")));
    let seed = number("QEETID_TEST_FAULTS_SEED").unwrap_or(SEED);
    let length = number("QEETID_TEST_FAULTS_SECONDS").map_or(LENGTH, Duration::from_secs);
    let mut steps = match variable("QEETID_TEST_FAULTS_SCHEDULE") {
        Some(text) => serde_json::from_str(&text).expect("a schedule, as it is printed"),
        None => schedule(seed, length),
    };
    println!("seed {seed}, {length:?}, {} faults: {}", steps.len(), serde_json::to_string(&steps).unwrap());
    let mut wrong = run(&steps, length).await;
    if wrong.is_empty() || variable("QEETID_TEST_FAULTS_SHRINK").is_none() {
        assert!(wrong.is_empty(), "seed {seed}, {length:?}: {wrong:#?}\n{}", serde_json::to_string(&steps).unwrap());
        return;
    }
    let mut n = 0;
    while n < steps.len() {
        let mut fewer = steps.clone();
        println!("without {:?}", fewer.remove(n));
        let still = run(&fewer, length).await;
        if still.is_empty() {
            n += 1;
        } else {
            (steps, wrong) = (fewer, still);
        }
    }
    panic!("seed {seed}, {length:?}, made smaller: {wrong:#?}\n{}", serde_json::to_string(&steps).unwrap());
}
