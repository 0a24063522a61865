//! Commands of the store on SQLite with `synchronous=FULL`, by one caller after the other and by many at once, whose writes are committed
//! in groups. Times are of one command: the whole time divided by their number.

mod support;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qeetid::{
    sqlite::File,
    store::{
        Store,
        commands::{Cas, CreateUser, CreateUserOutcome, RotateSession},
        sqlite::SqliteStore,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{AWAY, HOME, ctx, newcomer, sign_in};
use tokio::runtime::Runtime;

/// Callers at once.
const CALLERS: [usize; 3] = [1, 8, 64];

struct Bench {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    /// Signed up, one for each caller.
    people: Arc<Vec<CreateUser>>,
    /// Of each one's session: how often it turned.
    turned: Arc<Vec<AtomicU64>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(callers: usize) -> Self {
        // On the disk that holds the build: where /tmp is memory, an fsync costs nothing.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (store, people) = runtime.block_on(async {
            let store = SqliteStore::open(File::open(&dir.path().join("bench.db"), 2).expect("a file")).await.expect("a store");
            let mut people = Vec::new();
            for _ in 0..callers {
                let person = newcomer();
                sign_up(&store, &person).await;
                people.push(person);
            }
            (Arc::new(store), Arc::new(people))
        });
        let turned = Arc::new((0..callers).map(|_| AtomicU64::new(0)).collect());
        Self { runtime, store, people, turned, _dir: dir }
    }

    /// The time of `times` commands, in turn by each of the callers, who all begin at once.
    fn time<F>(
        &self,
        times: u64,
        command: impl Fn(Arc<SqliteStore>, CreateUser, Arc<Vec<AtomicU64>>, usize) -> F + Copy + Send + 'static,
    ) -> Duration
    where
        F: Future<Output = ()> + Send,
    {
        let callers = self.people.len() as u64;
        self.runtime.block_on(async {
            let began = Instant::now();
            let tasks: Vec<_> = (0..self.people.len())
                .map(|caller| {
                    let mine = times / callers + u64::from((caller as u64) < times % callers);
                    let (store, person, turned) = (self.store.clone(), self.people[caller].clone(), self.turned.clone());
                    tokio::spawn(async move {
                        for _ in 0..mine {
                            command(store.clone(), person.clone(), turned.clone(), caller).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("the command did as it should");
            }
            began.elapsed()
        })
    }
}

async fn sign_up(store: &SqliteStore, person: &CreateUser) {
    assert_eq!(store.create_user(&ctx(), person.clone()).await.expect("written"), CreateUserOutcome::Created);
}

/// The session is read, and its token turned: what a refresh asks of the store.
async fn refresh(store: Arc<SqliteStore>, person: CreateUser, turned: Arc<Vec<AtomicU64>>, caller: usize) {
    let view = store.session(person.user.id, person.session.id).await.expect("read").expect("a session");
    let expect = turned[caller].fetch_add(1, Ordering::Relaxed);
    assert_eq!(view.session.generation, expect);
    let cmd = RotateSession {
        user_id: person.user.id,
        session_id: person.session.id,
        expect,
        to: expect + 1,
        epoch: view.user_epoch,
        ip: "198.51.100.9".into(),
        network: AWAY,
    };
    assert_eq!(store.rotate_session(&ctx(), cmd).await.expect("written"), Cas::Done(()));
}

/// The account is looked up, and a session opened.
async fn login(store: Arc<SqliteStore>, person: CreateUser, _: Arc<Vec<AtomicU64>>, _: usize) {
    let seen = store.login_lookup(&person.user.email.digest(), HOME).await.expect("read");
    assert!(seen.known_network && seen.user.is_some_and(|u| u.id == person.user.id));
    assert_eq!(store.create_session(&ctx(), sign_in(&person)).await.expect("written"), Cas::Done(()));
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for callers in CALLERS {
        let bench = Bench::new(callers);
        let id = |what: &str| BenchmarkId::new(what, callers);
        group.bench_function(id("refresh: read, turn"), |b| b.iter_custom(|times| bench.time(times, refresh)));
        group.bench_function(id("sign-up"), |b| {
            b.iter_custom(|times| bench.time(times, |store, _, _, _| async move { sign_up(&store, &newcomer()).await }));
        });
        group.bench_function(id("login: look up, open a session"), |b| b.iter_custom(|times| bench.time(times, login)));
        group.bench_function(id("me: read the session"), |b| {
            b.iter_custom(|times| {
                bench.time(times, |store, person, _, _| async move {
                    let view = store.session(person.user.id, person.session.id).await.expect("read");
                    assert!(view.is_some_and(|v| v.user_epoch == 1));
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commands);
criterion_main!(benches);
