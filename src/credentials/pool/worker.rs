//! The threads: each takes the next job, hashes in its own block, answers, and wipes the block when there is nothing to do.

use super::{
    PoolError, Shared, Verified,
    admission::{Job, Next, Work},
    lock,
};
use crate::{
    credentials::{
        Argon2Params,
        formats::{self, IN_TURN, Kind, Stored},
        kernel::{BadInput, Memory},
        strength::Guess,
    },
    domain::{hash::PasswordHash, rng::Rng, secret::Password},
};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// The large block is given back to the system when nobody has needed it for so long.
const LARGE_IDLE: Duration = Duration::from_secs(10);
/// Hashing gives way to whatever else the node does (nice 0): plain reads must not wait for it.
const NICE: i32 = 10;
/// What bcrypt is measured with at the start: 1 to 3 ms.
const CALIBRATION: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
/// The fastest of so many counts: what else runs while a service starts makes single ones longer.
const CALIBRATIONS: usize = 2;

/// What came of a job, and for whom. A caller who is gone doesn't mind.
enum Answer {
    Hash(Result<PasswordHash, PoolError>, oneshot::Sender<Result<PasswordHash, PoolError>>),
    Verify(Result<Verified, PoolError>, oneshot::Sender<Result<Verified, PoolError>>),
    Estimate(Result<bool, PoolError>, oneshot::Sender<Result<bool, PoolError>>),
}

impl Answer {
    fn send(self) {
        match self {
            Self::Hash(made, reply) => drop(reply.send(made)),
            Self::Verify(verified, reply) => {
                let _ = reply.send(verified);
            }
            Self::Estimate(strong, reply) => {
                let _ = reply.send(strong);
            }
        }
    }
}

/// The one large block, for stored hashes that need more than a thread's own.
#[derive(Default)]
struct Large(Option<(Memory, Instant)>);

/// Starts all threads and measures on the first; gives the count of those alive.
///
/// # Errors
/// No memory, or no threads.
pub fn start(shared: &Arc<Shared>) -> io::Result<watch::Receiver<usize>> {
    let own = formats::blocks(&shared.config.params);
    let mut blocks = (0..shared.config.threads).map(|_| Memory::map(own)).collect::<io::Result<Vec<_>>>()?;
    if let Some(first) = blocks.first_mut() {
        calibrate(shared, first);
    }
    let (alive, watched) = watch::channel(shared.config.threads);
    let alive = Arc::new(alive);
    let large = Arc::new(Mutex::new(Large::default()));
    for (index, memory) in blocks.into_iter().enumerate() {
        let mut worker = Worker { index, shared: Arc::clone(shared), memory, dirty: false, large: Arc::clone(&large) };
        let alive = Arc::clone(&alive);
        let spawned = thread::Builder::new().name(format!("hash-{index}")).spawn(move || {
            lower_priority();
            worker.run();
            alive.send_modify(|left| *left -= 1);
        });
        if let Err(error) = spawned {
            // Those that run already shall not wait for ever.
            shared.begin_stop();
            return Err(error);
        }
    }
    Ok(watched)
}

/// Today's hash twice (the first one also brings the pages in); bcrypt alone, two in turn, three.
fn calibrate(shared: &Shared, memory: &mut Memory) {
    let (Ok(password), Ok(sample)) = (Password::new("calibration"), Stored::parse(&PasswordHash::new(CALIBRATION))) else { return };
    let mut argon2 = 0.0;
    for _ in 0..2 {
        let began = Instant::now();
        if formats::waste(&password, &shared.config.params, memory).is_err() {
            return;
        }
        argon2 = millis(began);
    }
    let Kind::Bcrypt { cost } = sample.kind() else { return };
    let mut bcrypt = [f64::INFINITY; IN_TURN];
    let checks = [(&password, &sample); IN_TURN];
    for (hashes, fastest) in (1..).zip(&mut bcrypt) {
        for _ in 0..CALIBRATIONS {
            let began = Instant::now();
            if formats::verify_in_turn(&checks[..hashes], &shared.config.params, memory).is_err() {
                return;
            }
            *fastest = fastest.min(millis(began));
        }
    }
    lock(&shared.costs).calibrate(argon2, cost, bcrypt);
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// On Linux a thread has a priority of its own; elsewhere it stays as it is.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: takes two numbers and touches no memory. If it is refused, hashing just isn't lower than the rest.
    unsafe {
        let thread = libc::gettid().unsigned_abs();
        libc::setpriority(libc::PRIO_PROCESS, thread, NICE);
    }
}

/// A job, and those that go in turn with it, each with the milliseconds by which it is early.
type Taken = (Job, Vec<(Job, f64)>);

struct Worker {
    index: usize,
    shared: Arc<Shared>,
    memory: Memory,
    /// The block holds what a password was hashed in.
    dirty: bool,
    large: Arc<Mutex<Large>>,
}

impl Worker {
    fn run(&mut self) {
        while let Some(next) = self.next() {
            let (job, along) = match next {
                Ok(jobs) => jobs,
                Err(late) => {
                    late.work.refuse(self.shared.shed());
                    continue;
                }
            };
            self.shared.show_depth();
            for at in along.iter().map(|(job, _)| job.at).chain([job.at]) {
                metrics::histogram!("qeetid_hash_wait_seconds").record(at.elapsed());
            }
            let (large, jobs) = (job.large, along.len() + 1);
            let answers = if along.is_empty() { vec![self.execute(job.work, large)] } else { self.execute_in_turn(job.work, along) };
            lock(&self.shared.admission).finished(self.index, large, jobs);
            for answer in answers {
                answer.send();
            }
            if large {
                // Others may have waited for the large block alone.
                self.shared.wake.notify_all();
            }
        }
    }

    /// Waits for the next job with what goes in turn with it (or one that came too late); `None` when the pool has stopped.
    fn next(&mut self) -> Option<Result<Taken, Job>> {
        let shared = Arc::clone(&self.shared);
        let mut admission = lock(&shared.admission);
        loop {
            let now = Instant::now();
            match admission.next(self.index, now) {
                Next::Run(job) => {
                    let along = admission.along(self.index, &job, now);
                    return Some(Ok((job, along)));
                }
                Next::Late(job) => return Some(Err(job)),
                Next::Stop => return None,
                Next::Nothing if self.dirty => {
                    // Nobody waits, so wiping costs nobody anything. Look again afterwards: somebody may have come.
                    drop(admission);
                    self.memory.wipe(usize::MAX);
                    self.dirty = false;
                    admission = lock(&shared.admission);
                }
                Next::Nothing => {
                    // Whoever holds the large block at this moment is using it. Somebody has to come back to free it.
                    let holds_large = self.large.try_lock().is_ok_and(|mut large| large.tidy());
                    let time = if holds_large { LARGE_IDLE } else { Duration::from_secs(3600) };
                    admission = shared.wake.wait_timeout(admission, time).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn execute(&mut self, work: Work, large: bool) -> Answer {
        let began = Instant::now();
        match work {
            Work::Hash { password, reply } => {
                Answer::Hash(self.make(began, |params, rng, memory| formats::make(&password, params, rng, memory)), reply)
            }
            Work::Wrap { weak, reply } => Answer::Hash(self.make(began, |params, rng, memory| weak.wrap(params, rng, memory)), reply),
            Work::Verify { password, stored, reply } => {
                let verified = if large {
                    self.verify_large(&password, stored.as_ref(), began)
                } else {
                    self.verify(&password, stored.as_ref(), began)
                };
                Answer::Verify(verified, reply)
            }
            Work::Estimate { guess, reply } => Answer::Estimate(self.estimate(&guess, began), reply),
        }
    }

    /// Checks that [`formats::goes_in_turn`]; each but the first would have begun so many milliseconds later.
    fn execute_in_turn(&mut self, first: Work, along: Vec<(Job, f64)>) -> Vec<Answer> {
        let began = Instant::now();
        let (mut checks, mut answers) = (Vec::new(), Vec::new());
        for (work, later) in [(first, 0.0)].into_iter().chain(along.into_iter().map(|(job, later)| (job.work, later))) {
            match work {
                Work::Verify { password, stored: Some(stored), reply } => checks.push((password, stored, later, reply)),
                // None such is given a turn; should one be, it is done like any other.
                work => answers.push(self.execute(work, false)),
            }
        }
        let params = self.shared.config.params;
        let pairs: Vec<_> = checks.iter().map(|(password, stored, ..)| (password, stored)).collect();
        let found = catch_unwind(AssertUnwindSafe(|| formats::verify_in_turn(&pairs, &params, &mut self.memory)));
        let found = found.ok().and_then(Result::ok).unwrap_or_else(|| {
            tracing::error!("stored hashes could not be checked");
            vec![formats::Checked { matches: false, outdated: false }; checks.len()]
        });
        let took = began.elapsed();
        if let Some((_, stored, ..)) = checks.first() {
            let mut costs = lock(&self.shared.costs);
            costs.note(stored.kind());
            costs.observe_in_turn(stored.kind(), checks.len(), took.as_secs_f64() * 1000.0);
        }
        let hashes = u32::try_from(checks.len()).unwrap_or(u32::MAX).max(1);
        answers.extend(checks.into_iter().zip(found).map(|((_, _, later, reply), checked)| {
            // What a thread spent on it, as for those that are alone.
            metrics::histogram!("qeetid_hash_seconds").record(took / hashes);
            let began = began + Duration::from_secs_f64(later / 1000.0);
            Answer::Verify(Ok(Verified { matches: checked.matches, outdated: checked.outdated, began }), reply)
        }));
        answers
    }

    fn make(
        &mut self,
        began: Instant,
        make: impl FnOnce(&Argon2Params, &dyn Rng, &mut Memory) -> Result<PasswordHash, BadInput>,
    ) -> Result<PasswordHash, PoolError> {
        self.dirty = true;
        let made = catch_unwind(AssertUnwindSafe(|| make(&self.shared.config.params, &*self.shared.rng, &mut self.memory)));
        self.observe(None, began, 1);
        made.ok().and_then(Result::ok).ok_or_else(|| {
            tracing::error!("a password could not be hashed");
            PoolError::Stopped
        })
    }

    fn estimate(&self, guess: &Guess, began: Instant) -> Result<bool, PoolError> {
        let strong = catch_unwind(AssertUnwindSafe(|| guess.is_strong()));
        lock(&self.shared.costs).observe_strength(millis(began));
        strong.map_err(|_| {
            tracing::error!("the strength of a password could not be estimated");
            PoolError::Stopped
        })
    }

    fn verify(&mut self, password: &Password, stored: Option<&Stored>, began: Instant) -> Result<Verified, PoolError> {
        let params = self.shared.config.params;
        self.dirty = true;
        let checked = check(password, stored, &params, &mut self.memory);
        Ok(self.verified(checked, password, stored, began))
    }

    fn verify_large(&self, password: &Password, stored: Option<&Stored>, began: Instant) -> Result<Verified, PoolError> {
        let params = self.shared.config.params;
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(memory) = large.memory(stored.map_or(0, Stored::own_blocks)) else {
            return Err(self.shared.shed());
        };
        let checked = check(password, stored, &params, memory);
        memory.wipe(stored.map_or(0, Stored::own_blocks));
        Ok(self.verified(checked, password, stored, began))
    }

    fn verified(&self, checked: formats::Checked, password: &Password, stored: Option<&Stored>, began: Instant) -> Verified {
        let forms = formats::forms(password);
        if !checked.matches {
            // A right password may have matched in its first form: what it took says nothing about one hash.
            self.observe(stored, began, forms);
        } else if forms == 1 {
            self.observe(stored, began, 1);
        }
        let later = lock(&self.shared.costs).refusal_delay() * (forms - 1);
        Verified { matches: checked.matches, outdated: checked.outdated, began: began + later }
    }

    fn observe(&self, stored: Option<&Stored>, began: Instant, hashes: u32) {
        let took = began.elapsed();
        metrics::histogram!("qeetid_hash_seconds").record(took);
        let mut costs = lock(&self.shared.costs);
        let kind = stored.map_or(costs.todays_kind(), Stored::kind);
        costs.note(kind);
        let millis = took.as_secs_f64() * 1000.0 / f64::from(hashes);
        if matches!(stored, Some(Stored::Bcrypt(_))) { costs.observe_in_turn(kind, 1, millis) } else { costs.observe(kind, millis) }
    }
}

/// A check that can't take the thread down: whatever is wrong with the hash, it doesn't match.
fn check(password: &Password, stored: Option<&Stored>, params: &Argon2Params, memory: &mut Memory) -> formats::Checked {
    let checked = catch_unwind(AssertUnwindSafe(|| match stored {
        Some(stored) => formats::verify(password, stored, params, memory),
        None => formats::waste(password, params, memory).map(|()| formats::Checked { matches: false, outdated: false }),
    }));
    if let Ok(Ok(checked)) = checked {
        return checked;
    }
    tracing::error!("a stored hash could not be checked");
    formats::Checked { matches: false, outdated: false }
}

impl Large {
    /// The block, at least so large.
    fn memory(&mut self, blocks: usize) -> io::Result<&mut Memory> {
        let fitting = self.0.take().filter(|(memory, _)| memory.len() >= blocks);
        let memory = match fitting {
            Some((memory, _)) => memory,
            None => Memory::map(blocks)?,
        };
        Ok(&mut self.0.insert((memory, Instant::now())).0)
    }
    /// Frees the block if it has been idle for long; says whether there still is one.
    fn tidy(&mut self) -> bool {
        if self.0.as_ref().is_some_and(|(_, used)| used.elapsed() >= LARGE_IDLE) {
            self.0 = None;
        }
        self.0.is_some()
    }
}
