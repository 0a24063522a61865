//! The hashing pool: threads of its own with one block of memory each, one bounded queue in front of them.
//! `queue` is who comes next, `admission` who gets in, `costs` what a hash takes, `worker` the threads.

mod admission;
mod costs;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use super::{
    Argon2Params,
    formats::{Kind, wrapped::Weak},
    strength::Guess,
};
use crate::domain::{hash::PasswordHash, network::Network, rng::Rng, secret::Password};
use admission::{Admission, Job, Refused, Work};
use costs::Costs;
use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// How the pool is built.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// Threads, at least one; as many as cores.
    pub threads: usize,
    /// Places in the queue for each thread.
    pub queue_per_thread: usize,
    /// What can't start within this time is refused.
    pub deadline: Duration,
    /// For new hashes; a thread's block is as large as these ask for.
    pub params: Argon2Params,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, queue_per_thread: 64, deadline: Duration::from_secs(2), params: Argon2Params::default() }
    }
}

/// Whose work it is. Groups take turns (by the time their hashes take), and within a group the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// A tenant's id, or what stands for one where there is none yet.
    pub group: [u8; 16],
    /// The client.
    pub network: Network,
}

/// What may wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer: sign-in, sign-up, password change.
    Interactive,
    /// Rehash, bulk: done when nobody waits (and now and then all the same). No deadline.
    Background,
}

/// Why it was not hashed. Callers answer 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It could not start in time, or gave way to somebody who had less. Never hashed.
    #[error("the hashing pool is full")]
    Overloaded {
        /// When to come again: 1 to 5 s, spread, so that they don't all come at once.
        retry_after: Duration,
    },
    /// The pool is stopping, or the computation broke down.
    #[error("the hashing pool has stopped")]
    Stopped,
}

/// What a verification found.
#[derive(Debug, Clone, Copy)]
pub struct Verified {
    /// The password was right.
    pub matches: bool,
    /// It was right, and the hash is not what new ones are: rehash in the background.
    pub outdated: bool,
    /// When hashing began; [`Pool::refused_at`] counts from here. For a password that had to be tried in two forms (as typed and
    /// NFKC) one delay later, known or unknown address alike. For one that went in turn with another, when it would have begun alone.
    pub began: Instant,
}

/// What the pool is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolStats {
    /// Threads.
    pub threads: usize,
    /// Interactive jobs that wait.
    pub waiting: usize,
    /// Background jobs that wait.
    pub waiting_background: usize,
    /// Threads that hash; each one job, or several of bcrypt in turn.
    pub running: usize,
    /// Jobs done since the start.
    pub done: u64,
    /// Jobs refused since the start.
    pub shed: u64,
    /// What one hash by today's parameters takes at present.
    pub hash_time: Duration,
}

/// The pool; clones are handles to the same one. It stops when the last one goes, or by [`Pool::stop`].
#[derive(Clone)]
pub struct Pool(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    alive: watch::Receiver<usize>,
}

/// What threads and callers share.
struct Shared {
    config: PoolConfig,
    rng: Arc<dyn Rng>,
    admission: Mutex<Admission>,
    wake: Condvar,
    costs: Mutex<Costs>,
}

/// Nothing that panics runs under these locks; a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts the threads, and measures what a hash takes (a few of them: some 50 ms).
    ///
    /// # Errors
    /// The system gives no threads, or no memory for their blocks.
    pub fn start(config: PoolConfig, rng: Arc<dyn Rng>) -> io::Result<Self> {
        let config = PoolConfig { threads: config.threads.max(1), queue_per_thread: config.queue_per_thread.max(1), ..config };
        let shared = Arc::new(Shared {
            config,
            rng,
            admission: Mutex::new(Admission::new(config.threads, config.queue_per_thread * config.threads, config.deadline)),
            wake: Condvar::new(),
            costs: Mutex::new(Costs::new(&config.params)),
        });
        let alive = worker::start(&shared)?;
        Ok(Self(Arc::new(Handle { shared, alive })))
    }

    /// Hashes a new password by today's parameters.
    ///
    /// # Errors
    /// [`PoolError`]; nothing was hashed.
    pub async fn hash(&self, password: Password, flow: Flow, class: Class) -> Result<PasswordHash, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Hash { password, reply }, flow, class, answer).await
    }

    /// Wraps a weak hash of an old system by today's parameters: [`Weak::wrap`].
    ///
    /// # Errors
    /// [`PoolError`]; nothing was hashed.
    pub async fn wrap(&self, weak: Weak, flow: Flow, class: Class) -> Result<PasswordHash, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Wrap { weak, reply }, flow, class, answer).await
    }

    /// Checks a password. `None` stands for an address that nobody has, or an account without a password: it costs one hash by
    /// today's parameters, and never matches. So does a stored hash that can't be read or is above the ceilings.
    ///
    /// # Errors
    /// [`PoolError`]; nothing was hashed.
    pub async fn verify(&self, password: Password, hash: Option<PasswordHash>, flow: Flow, class: Class) -> Result<Verified, PoolError> {
        let (reply, answer) = oneshot::channel();
        let stored = hash.and_then(|hash| match super::formats::Stored::parse(&hash) {
            Ok(stored) => Some(stored),
            Err(error) => {
                tracing::warn!(%error, "a stored hash can't be checked");
                None
            }
        });
        self.submit(Work::Verify { password, stored, reply }, flow, class, answer).await
    }

    /// Whether a new password is strong enough: before it is hashed, on the same threads and in the same queue, so that no other thread
    /// is held up by it.
    ///
    /// # Errors
    /// [`PoolError`]; nothing was estimated.
    pub async fn estimate(&self, guess: Guess, flow: Flow, class: Class) -> Result<bool, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Estimate { guess, reply }, flow, class, answer).await
    }

    async fn submit<T>(
        &self,
        work: Work,
        flow: Flow,
        class: Class,
        answer: oneshot::Receiver<Result<T, PoolError>>,
    ) -> Result<T, PoolError> {
        let shared = &*self.0.shared;
        let (cost, turn) = lock(&shared.costs).of_work(&work);
        let large = work.blocks() > super::formats::blocks(&shared.config.params);
        let job = Job { work, cost, large, turn, flow, at: Instant::now(), expected: 0.0 };
        let mut displaced = Vec::new();
        let entered = lock(&shared.admission).enter(job, class, &mut displaced);
        for job in displaced {
            job.work.refuse(shared.shed());
        }
        let id = match entered {
            Ok(id) => id,
            // Nobody waits for it; whoever sent it counts it.
            Err(Refused::Full) if matches!(class, Class::Background) => return Err(shared.overloaded()),
            Err(Refused::Full) => return Err(shared.shed()),
            Err(Refused::Stopping) => return Err(PoolError::Stopped),
        };
        shared.wake.notify_one();
        shared.show_depth();
        let _leave = Leave { shared, flow, class, id };
        // No thread drops a job without an answer; should one do it all the same, nobody waits for ever.
        answer.await.unwrap_or(Err(PoolError::Stopped))
    }

    /// Whether a sign-in of `flow` would get in now, if it cost one hash by today's parameters: so that one for which there is no
    /// place is refused before anything is looked up for it. Nothing is reserved.
    ///
    /// # Errors
    /// `Overloaded`, which is counted like any other refusal.
    pub fn place(&self, flow: Flow) -> Result<(), PoolError> {
        let shared = &*self.0.shared;
        let cost = lock(&shared.costs).today().as_secs_f64() * 1000.0;
        let free = lock(&shared.admission).has_place(flow, cost, Instant::now());
        if free { Ok(()) } else { Err(shared.shed()) }
    }

    /// Tells the pool which kinds of hashes the store holds ([`PasswordHash::census`]); adds to what it knows.
    pub fn note_census(&self, census: &[String]) {
        let mut costs = lock(&self.0.shared.costs);
        for kind in census.iter().filter_map(|text| Kind::of_census(text)) {
            costs.note(kind);
        }
    }

    /// How long after its hashing began a refused password is answered: 1.5 × the slowest format in the store as it
    /// runs at present, at most 2 s.
    pub fn refusal_delay(&self) -> Duration {
        lock(&self.0.shared.costs).refusal_delay()
    }

    /// When a refusal of hashing that began at [`Verified::began`] may be answered, at the earliest.
    pub fn refused_at(&self, began: Instant) -> Instant {
        began + self.refusal_delay()
    }

    /// What the pool is doing.
    pub fn stats(&self) -> PoolStats {
        let hash_time = lock(&self.0.shared.costs).today();
        lock(&self.0.shared.admission).stats(hash_time)
    }

    /// Takes nothing more, does what is queued, and comes back when the last thread has ended.
    pub async fn stop(&self) {
        self.0.shared.begin_stop();
        let mut alive = self.0.alive.clone();
        // An error says that the last thread is gone.
        let _ = alive.wait_for(|left| *left == 0).await;
    }
}

impl Shared {
    fn begin_stop(&self) {
        lock(&self.admission).stop();
        self.wake.notify_all();
    }
    /// Counts a refusal and makes its error.
    fn shed(&self) -> PoolError {
        metrics::counter!("qeetid_hash_shed_total").increment(1);
        lock(&self.admission).count_shed();
        self.overloaded()
    }
    fn overloaded(&self) -> PoolError {
        let [byte] = crate::domain::rng::bytes::<1>(&*self.rng);
        PoolError::Overloaded { retry_after: Duration::from_secs(1 + u64::from(byte) % 5) }
    }
    #[expect(clippy::cast_precision_loss, reason = "a queue is no longer than 2^52")]
    fn show_depth(&self) {
        let depth = lock(&self.admission).depth();
        metrics::gauge!("qeetid_hash_queue_depth").set(depth as f64);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_stop();
    }
}

/// Takes a job out of the queue when its caller goes away; does nothing once a thread has it.
struct Leave<'a> {
    shared: &'a Shared,
    flow: Flow,
    class: Class,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        // The job (and its password) is dropped after the lock is free.
        let job = lock(&self.shared.admission).leave(self.flow, self.class, self.id);
        if job.is_some() {
            self.shared.show_depth();
        }
    }
}
