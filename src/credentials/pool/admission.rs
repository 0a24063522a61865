//! Who gets in, who gives way, who comes next: all decisions of the pool, without its threads.

use super::{
    Class, Flow, PoolError, PoolStats, Verified,
    queue::{FairQueue, Item},
};
use crate::{
    credentials::formats::Stored,
    domain::{hash::PasswordHash, secret::Password},
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot::Sender;

/// One background job goes before the interactive ones in so many: rehashing stops for no rush hour.
const BACKGROUND_TURN: u32 = 32;

/// What is to be done, and where the answer goes.
pub enum Work {
    /// A new hash.
    Hash {
        /// Of this.
        password: Password,
        /// To here.
        reply: Sender<Result<PasswordHash, PoolError>>,
    },
    /// A check.
    Verify {
        /// Of this.
        password: Password,
        /// Against this; `None` costs the same and never matches.
        stored: Option<Stored>,
        /// To here.
        reply: Sender<Result<Verified, PoolError>>,
    },
}

impl Work {
    /// KiB needed beyond what today's parameters need anyway.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Verify { stored: Some(stored), .. } => stored.blocks(),
            _ => 0,
        }
    }
    /// Answers without hashing. A caller who is gone doesn't mind.
    pub fn refuse(self, error: PoolError) {
        match self {
            Self::Hash { reply, .. } => drop(reply.send(Err(error))),
            Self::Verify { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Work in the queue.
pub struct Job {
    /// What.
    pub work: Work,
    /// Milliseconds, estimated.
    pub cost: f64,
    /// Needs the large block.
    pub large: bool,
    /// Whose.
    pub flow: Flow,
    /// When it came.
    pub at: Instant,
}

impl Item for Job {
    fn flow(&self) -> Flow {
        self.flow
    }
    fn cost(&self) -> f64 {
        self.cost
    }
    fn large(&self) -> bool {
        self.large
    }
}

/// Why somebody didn't get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No place, or none in time.
    Full,
    /// The pool is stopping.
    Stopping,
}

/// What a thread does next.
pub enum Next {
    /// This.
    Run(Job),
    /// Refuse this: its time has passed.
    Late(Job),
    /// Wait.
    Nothing,
    /// End.
    Stop,
}

/// The queue and what is known of the threads.
pub struct Admission {
    interactive: FairQueue<Job>,
    background: FairQueue<Job>,
    capacity: usize,
    deadline: Duration,
    /// What each thread does: since when, and for how many milliseconds (estimated).
    running: Vec<Option<(Instant, f64)>>,
    large_taken: bool,
    since_background: u32,
    next_id: u64,
    stopping: bool,
    done: u64,
    shed: u64,
}

impl Admission {
    /// An empty one for `threads` threads.
    pub fn new(threads: usize, capacity: usize, deadline: Duration) -> Self {
        Self {
            interactive: FairQueue::default(),
            background: FairQueue::default(),
            capacity,
            deadline,
            running: vec![None; threads],
            large_taken: false,
            since_background: 0,
            next_id: 0,
            stopping: false,
            done: 0,
            shed: 0,
        }
    }

    /// Lets a job in and gives its id. Those who gave way to it are put into `displaced`, also when it didn't get in in the end.
    ///
    /// # Errors
    /// It can't start in time.
    pub fn enter(&mut self, job: Job, class: Class, displaced: &mut Vec<Job>) -> Result<u64, Refused> {
        if self.stopping {
            return Err(Refused::Stopping);
        }
        match class {
            Class::Background if self.background.len() >= self.capacity => return Err(Refused::Full),
            Class::Background => {}
            Class::Interactive => {
                if self.wait(&job, self.interactive.ahead(job.flow, job.cost)) > self.deadline {
                    return Err(Refused::Full);
                }
                // Full by count, or by the time that the last one in would wait: the one with most gives way.
                while self.interactive.len() >= self.capacity || self.wait(&job, self.interactive.cost()) > self.deadline {
                    displaced.push(self.interactive.displace(job.flow, job.cost).ok_or(Refused::Full)?);
                }
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        match class {
            Class::Interactive => self.interactive.push(id, job),
            Class::Background => self.background.push(id, job),
        }
        Ok(id)
    }

    /// How long until a thread gets to it, with so many milliseconds of work before it.
    fn wait(&self, job: &Job, ahead: f64) -> Duration {
        let left = |run: &Option<(Instant, f64)>| run.map_or(0.0, |(since, cost)| (cost - millis(job.at, since)).max(0.0));
        // With a thread to spare nobody waits, however long the others are still busy.
        let busy: f64 = if self.running.iter().any(Option::is_none) { 0.0 } else { self.running.iter().map(left).sum() };
        #[expect(clippy::cast_precision_loss, reason = "threads are few")]
        let mut wait = (busy + ahead) / self.running.len() as f64;
        if job.large {
            // The large block is one: those who need it come one after the other.
            wait = wait.max(self.interactive.large_cost());
        }
        Duration::from_secs_f64(wait / 1000.0)
    }

    /// Takes a job out whose caller is gone.
    pub fn leave(&mut self, flow: Flow, class: Class, id: u64) -> Option<Job> {
        match class {
            Class::Interactive => self.interactive.remove(flow, id),
            Class::Background => self.background.remove(flow, id),
        }
    }

    /// What thread `thread` does next.
    pub fn next(&mut self, thread: usize, now: Instant) -> Next {
        let large = !self.large_taken;
        let turn = self.since_background >= BACKGROUND_TURN;
        let early = if turn { self.background.pop(large) } else { None };
        let interactive = if early.is_some() { None } else { self.interactive.pop(large) };
        if let Some(job) = interactive {
            if self.background.len() > 0 {
                self.since_background += 1;
            }
            if now.saturating_duration_since(job.at) > self.deadline {
                return Next::Late(job);
            }
            return self.run(thread, now, job);
        }
        match early.or_else(|| self.background.pop(large)) {
            Some(job) => {
                self.since_background = 0;
                self.run(thread, now, job)
            }
            None if self.stopping && self.depth() == 0 => Next::Stop,
            None => Next::Nothing,
        }
    }

    fn run(&mut self, thread: usize, now: Instant, job: Job) -> Next {
        self.running[thread] = Some((now, job.cost));
        self.large_taken |= job.large;
        Next::Run(job)
    }

    /// The thread is free again.
    pub fn finished(&mut self, thread: usize, large: bool) {
        self.running[thread] = None;
        self.large_taken &= !large;
        self.done += 1;
    }

    /// Nobody gets in any more; threads end when the queue is empty.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.interactive.len() + self.background.len()
    }
    /// Counts a refusal.
    pub fn count_shed(&mut self) {
        self.shed += 1;
    }
    /// For people.
    pub fn stats(&self, hash_time: Duration) -> PoolStats {
        PoolStats {
            threads: self.running.len(),
            waiting: self.interactive.len(),
            waiting_background: self.background.len(),
            running: self.running.iter().flatten().count(),
            done: self.done,
            shed: self.shed,
            hash_time,
        }
    }
}

fn millis(now: Instant, since: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64() * 1000.0
}
