//! The pool whole, with its threads and real hashing.

use super::*;
use crate::domain::rng::SystemRng;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const BCRYPT: &str = "$2y$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu";
/// Estimates as on a machine with nothing else to do while a pool starts: of one that is busy they may be anything.
const CALIBRATED: (f64, u32, [f64; 3]) = (20.0, 10, [70.0, 80.0, 100.0]);
/// Needs 64 MiB: the large block.
const LARGE: &str = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQxMjM0NTY3OA$B/amrRUxAwSCPRgKPr7MsU9bSHzgXripXVHqfXK0H2I";

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn flow(group: u8, network: u8) -> Flow {
    Flow { group: [group; 16], network: Network::V4([192, 0, 2, network]) }
}

fn pool(threads: usize, queue_per_thread: usize, deadline_ms: u64) -> Pool {
    pool_with(threads, queue_per_thread, deadline_ms, Arc::new(SystemRng))
}

fn pool_with(threads: usize, queue_per_thread: usize, deadline_ms: u64, rng: Arc<dyn Rng>) -> Pool {
    let config = PoolConfig { threads, queue_per_thread, deadline: Duration::from_millis(deadline_ms), ..PoolConfig::default() };
    Pool::start(config, rng).unwrap()
}

fn calibrate(pool: &Pool) {
    let (argon2, cost, bcrypt) = CALIBRATED;
    lock(&pool.0.shared.costs).calibrate(argon2, cost, bcrypt);
}

/// Waits until the pool is so.
async fn until(pool: &Pool, is_so: impl Fn(PoolStats) -> bool) {
    let began = Instant::now();
    while !is_so(pool.stats()) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", pool.stats());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Holds up each thread that makes a hash, until it is told to let them go.
struct Holding(AtomicBool);

impl Rng for Holding {
    fn fill(&self, into: &mut [u8]) {
        // A single byte is for the time of a refusal.
        while into.len() > 1 && self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        SystemRng.fill(into);
    }
}

type Making = tokio::task::JoinHandle<Result<PasswordHash, PoolError>>;

/// A pool whose threads are all held up, by hashes that come with it.
async fn held(threads: usize) -> (Pool, Arc<Holding>, Vec<Making>) {
    let rng = Arc::new(Holding(AtomicBool::new(true)));
    let pool = pool_with(threads, 100, 600_000, rng.clone());
    let making = |pool: Pool| async move { pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await };
    let made = (0..threads).map(|_| tokio::spawn(making(pool.clone()))).collect();
    until(&pool, |stats| stats.running == threads).await;
    (pool, rng, made)
}

async fn check(pool: &Pool, text: &str, hash: Option<&str>) -> Verified {
    pool.verify(password(text), hash.map(PasswordHash::new), flow(1, 1), Class::Interactive).await.unwrap()
}

#[tokio::test]
async fn what_is_hashed_is_verified_and_nothing_else_is() {
    let pool = pool(1, 16, 60_000);
    let hash = pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.unwrap();
    assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "form");
    let good = check(&pool, "correct horse", Some(hash.reveal())).await;
    assert!(good.matches && !good.outdated);
    let bad = check(&pool, "correct horsf", Some(hash.reveal())).await;
    assert!(!bad.matches && !bad.outdated);
    let nobody = check(&pool, "correct horse", None).await;
    assert!(!nobody.matches && !nobody.outdated);
    for foreign in [BCRYPT, LARGE] {
        let good = check(&pool, "correct horse", Some(foreign)).await;
        assert!(good.matches && good.outdated, "{foreign}");
        assert!(!check(&pool, "correct horsf", Some(foreign)).await.matches);
    }
    pool.stop().await;
    assert_eq!(pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.unwrap_err(), PoolError::Stopped);
}

fn guess(text: &str) -> Guess {
    Guess::new(&password(text), &"ada@example.com".parse().unwrap(), 3)
}

#[tokio::test]
async fn strength_is_estimated_in_the_queue_of_the_hashes() {
    let (pool, rng, made) = held(1).await;
    let estimate = |text: &'static str| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.estimate(guess(text), flow(1, 1), Class::Interactive).await })
    };
    let (strong, weak, gone) = (estimate("correct horse battery staple"), estimate("aaaaaaaaaaaa"), estimate("kd8$Qxv2p!"));
    until(&pool, |stats| stats.waiting == 3).await;
    gone.abort();
    let _ = gone.await;
    rng.0.store(false, Ordering::SeqCst);
    assert_eq!((strong.await.unwrap(), weak.await.unwrap()), (Ok(true), Ok(false)));
    for hash in made {
        assert!(hash.await.unwrap().is_ok());
    }
    pool.stop().await;
    assert_eq!(pool.stats().done, 3, "the hash, and the two for whom somebody waited");
    assert_eq!(pool.estimate(guess("x"), flow(1, 1), Class::Interactive).await, Err(PoolError::Stopped));
}

#[tokio::test]
async fn a_full_pool_estimates_nothing() {
    let rng = Arc::new(Holding(AtomicBool::new(true)));
    let pool = pool_with(1, 1, 600_000, rng.clone());
    let waiting = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await })
    };
    let first = waiting();
    until(&pool, |stats| stats.running == 1).await;
    let second = waiting();
    until(&pool, |stats| stats.waiting == 1).await;
    // The one place is taken.
    let refused = pool.estimate(guess("correct horse battery staple"), flow(1, 1), Class::Interactive).await;
    assert!(matches!(refused, Err(PoolError::Overloaded { .. })), "{refused:?}");
    rng.0.store(false, Ordering::SeqCst);
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_can_not_be_read_costs_a_hash_and_never_matches() {
    let pool = pool(1, 16, 60_000);
    for hostile in
        ["", "garbage", "$argon2id$v=19$m=4294967295,t=9,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA", &BCRYPT.replace("$10$", "$31$")]
    {
        let began = Instant::now();
        assert!(!check(&pool, "correct horse", Some(hostile)).await.matches);
        assert!(began.elapsed() > Duration::from_millis(2), "no hash was computed for {hostile}");
    }
    assert_eq!(pool.stats().done, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_in_time_is_refused_at_once_with_times_that_spread() {
    // Time enough for the first one to start, on a busy machine too.
    let pool = pool(1, 1_000, 1_000);
    calibrate(&pool);
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let answer = pool.verify(password("correct horse"), None, flow(1, 1), Class::Interactive).await;
                (answer, began.elapsed())
            })
        })
        .collect();
    let (mut served, mut refused, mut times) = (0, Vec::new(), std::collections::HashSet::new());
    for task in tasks {
        match task.await.unwrap() {
            (Ok(_), _) => served += 1,
            (Err(PoolError::Overloaded { retry_after }), took) => {
                assert!((1..=5).contains(&retry_after.as_secs()), "{retry_after:?}");
                times.insert(retry_after);
                refused.push(took);
            }
            (Err(PoolError::Stopped), _) => panic!("it runs"),
        }
    }
    refused.sort_unstable();
    assert!(served >= 1 && refused.len() >= 150, "{served} served, {} refused", refused.len());
    assert!(refused[refused.len() / 2] < Duration::from_millis(50), "half of them waited {:?}", refused[refused.len() / 2]);
    assert!(times.len() >= 4, "{times:?}");
    let stats = pool.stats();
    assert_eq!((stats.shed, stats.done), (refused.len() as u64, served), "what is refused is not hashed");
}

#[tokio::test]
async fn whoever_goes_away_is_not_hashed() {
    let (pool, rng, made) = held(1).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.verify(password("correct horse"), None, flow(1, 1), Class::Interactive).await })
        })
        .collect();
    until(&pool, |stats| stats.waiting == 50).await;
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
    assert_eq!(pool.stats().waiting, 0);
    rng.0.store(false, Ordering::SeqCst);
    pool.stop().await;
    assert_eq!(pool.stats().done, 1, "the one that was being made");
    for hash in made {
        assert!(hash.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn stopping_answers_everyone_who_waits() {
    let (pool, rng, made) = held(2).await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let pool = pool.clone();
            let hash = (n % 5 == 0).then(|| PasswordHash::new(LARGE));
            tokio::spawn(
                async move { pool.verify(password("correct horse"), hash, flow(n, 1), Class::Interactive).await.map(|v| v.matches) },
            )
        })
        .collect();
    until(&pool, |stats| stats.waiting == 20).await;
    // It has begun to stop when they are let go.
    tokio::join!(pool.stop(), async { rng.0.store(false, Ordering::SeqCst) });
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), Ok(n % 5 == 0));
    }
    for hash in made {
        assert!(hash.await.unwrap().is_ok());
    }
}

/// A storm of sign-ins by people with bcrypt, right and wrong ones mixed: each gets its own answer, and the threads do several at once.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_those_with_bcrypt_go_in_turn_and_each_gets_its_own_answer() {
    let pool = pool(2, 1_000, 60_000);
    pool.note_census(&["bcrypt:10".into()]);
    calibrate(&pool);
    let tasks: Vec<_> = (0..48u8)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let text = if n % 3 == 0 { "correct horse" } else { "correct horsf" };
                let hash = Some(PasswordHash::new(BCRYPT));
                pool.verify(password(text), hash, flow(1, n), Class::Interactive).await.unwrap()
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let verified = task.await.unwrap();
        assert_eq!((verified.matches, verified.outdated), (n % 3 == 0, n % 3 == 0), "{n}");
    }
    assert_eq!(pool.stats().done, 48);
    assert!(lock(&pool.0.shared.costs).bcrypt_share() < 0.9, "they went one by one");
}

/// Breaks when asked to.
struct Breaking(AtomicBool);

impl Rng for Breaking {
    fn fill(&self, into: &mut [u8]) {
        assert!(!self.0.load(Ordering::SeqCst), "broken on purpose");
        SystemRng.fill(into);
    }
}

#[tokio::test]
async fn a_job_that_panics_is_answered_and_the_thread_goes_on() {
    let rng = Arc::new(Breaking(AtomicBool::new(false)));
    let pool = pool_with(1, 16, 60_000, rng.clone());
    rng.0.store(true, Ordering::SeqCst);
    assert_eq!(pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.unwrap_err(), PoolError::Stopped);
    rng.0.store(false, Ordering::SeqCst);
    assert!(pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.is_ok());
    assert_eq!(pool.stats().running, 0);
}

#[tokio::test]
async fn a_refusal_takes_as_long_whatever_the_account_has() {
    let pool = pool(1, 16, 60_000);
    calibrate(&pool);
    let without = pool.refusal_delay();
    pool.note_census(&["bcrypt:10".into(), "nonsense".into(), "argon2id:m=19456,t=2,p=1".into()]);
    let delay = pool.refusal_delay();
    assert!(without < delay && delay <= Duration::from_millis(2000), "{without:?} {delay:?}");
    for hash in [None, Some(BCRYPT)] {
        let asked = Instant::now();
        let refused = check(&pool, "correct horsf", hash).await;
        assert!(refused.began >= asked && refused.began <= Instant::now(), "it begins when hashing begins");
        let delay = pool.refusal_delay();
        assert_eq!(pool.refused_at(refused.began), refused.began + delay);
    }
    // A password in two forms takes twice as long for an account, so for nobody too.
    for hash in [None, Some(BCRYPT)] {
        let asked = Instant::now();
        let refused = check(&pool, "ｃｏｒｒｅｃｔ horsf", hash).await;
        let least = pool.refusal_delay().mul_f64(0.5);
        assert!(refused.began >= asked + least, "{:?} for {hash:?}", refused.began - asked);
    }
}

/// 95 % of the attempts from one tenant, far more than the pool can do; another one signs in at its ease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_tenant_leaves_the_other_its_share() {
    // Places are what it has too few of, not time: who is refused here was denied a share of them, however slow the machine is.
    let pool = pool(2, 16, 60_000);
    let (stop, noise) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let noisy: Vec<_> = (0..100u8)
        .map(|n| {
            let (pool, stop, noise) = (pool.clone(), Arc::clone(&stop), Arc::clone(&noise));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    noise.fetch_add(1, Ordering::Relaxed);
                    let _ = pool.verify(password("correct horse"), None, flow(1, n), Class::Interactive).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let (mut tried, mut refused, mut background) = (0u32, 0, 0);
    let late = pool.clone();
    let rehash = tokio::spawn(async move { late.hash(password("correct horse"), flow(1, 1), Class::Background).await });
    while tried < 60 {
        tried += 1;
        refused += u32::from(pool.verify(password("correct horse"), None, flow(2, 1), Class::Interactive).await.is_err());
        background = pool.stats().waiting_background;
    }
    stop.store(true, Ordering::Relaxed);
    for task in noisy {
        task.await.unwrap();
    }
    let noise = noise.load(Ordering::Relaxed);
    assert!(noise >= 19 * tried, "{noise} attempts against {tried} are no 95 %");
    assert_eq!(refused, 0, "of {tried}, against {noise}; {:?}", pool.stats());
    assert!(pool.stats().shed > 0, "it was too much for the pool");
    assert_eq!(background, 0, "the rehash got its turn all the same");
    assert!(rehash.await.unwrap().is_ok());
}
