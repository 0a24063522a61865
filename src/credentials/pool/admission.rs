//! Who gets in, who gives way, who comes next: all decisions of the pool, without its threads.

use super::{
    Class, Flow, PoolError, PoolStats, Verified,
    queue::{FairQueue, Item},
};
use crate::{
    credentials::{
        formats::{IN_TURN, Kind, Stored, wrapped::Weak},
        strength::Guess,
    },
    domain::{hash::PasswordHash, secret::Password},
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot::Sender;

/// One background job goes before the interactive ones in so many: rehashing stops for no rush hour.
const BACKGROUND_TURN: u32 = 32;

/// Who is expected to start later than at this part of the deadline isn't let in: half of those would come too late.
const MARGIN: f64 = 0.9;
/// Waits shorter than this part of the deadline say nothing about how good the estimates are.
const TELLING: f64 = 0.25;
/// The weight of one wait in [`Admission::stretch`], if it was longer than expected, and if it was shorter: those who come after
/// others were dropped as too late wait shorter, which must not bring the next ones in too late.
const WEIGHTS: (f64, f64) = (0.1, 0.003);
/// Estimates are stretched so far and no further, whatever is seen.
const MAX_STRETCH: f64 = 4.0;

/// What is to be done, and where the answer goes.
pub enum Work {
    /// A new hash.
    Hash {
        /// Of this.
        password: Password,
        /// To here.
        reply: Sender<Result<PasswordHash, PoolError>>,
    },
    /// Argon2id over a weak hash.
    Wrap {
        /// This one.
        weak: Weak,
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
    /// How hard a new password is to guess.
    Estimate {
        /// This one.
        guess: Guess,
        /// To here: whether it is strong enough.
        reply: Sender<Result<bool, PoolError>>,
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
            Self::Hash { reply, .. } | Self::Wrap { reply, .. } => drop(reply.send(Err(error))),
            Self::Verify { reply, .. } => drop(reply.send(Err(error))),
            Self::Estimate { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// How a job goes in turn with others of its kind on one thread.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Others have to be of this.
    pub kind: Kind,
    /// So many at most, itself too.
    pub lanes: usize,
    /// Milliseconds from begin to end, estimated, for one alone, two, ...
    pub walls: [f64; IN_TURN],
}

/// Work in the queue.
pub struct Job {
    /// What.
    pub work: Work,
    /// Milliseconds, estimated.
    pub cost: f64,
    /// Needs the large block.
    pub large: bool,
    /// If it can go in turn with others.
    pub turn: Option<Turn>,
    /// Whose.
    pub flow: Flow,
    /// When it came.
    pub at: Instant,
    /// How long it was expected to wait, in milliseconds, if nobody else came. Set as it enters.
    pub expected: f64,
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
    /// How much longer than expected those who wait long have waited lately: others came in before them, or hashing got slower.
    stretch: f64,
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
            stretch: 1.0,
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
    pub fn enter(&mut self, mut job: Job, class: Class, displaced: &mut Vec<Job>) -> Result<u64, Refused> {
        if self.stopping {
            return Err(Refused::Stopping);
        }
        match class {
            Class::Background if self.background.len() >= self.capacity => return Err(Refused::Full),
            Class::Background => {}
            Class::Interactive => {
                job.expected = self.wait(job.at, job.large, self.interactive.ahead(job.flow, job.cost));
                if self.is_late(job.expected) {
                    return Err(Refused::Full);
                }
                while self.is_full(job.at, job.large) {
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

    /// Whether an interactive job of `flow` with `cost`, which needs no large block, would get in now. Changes nothing.
    pub fn has_place(&self, flow: Flow, cost: f64, now: Instant) -> bool {
        let expected = self.wait(now, false, self.interactive.ahead(flow, cost));
        !self.is_late(expected) && (!self.is_full(now, false) || self.interactive.gives_way(flow, cost).is_some())
    }

    /// Whether one who is expected to wait for so many milliseconds would start too late.
    fn is_late(&self, expected: f64) -> bool {
        expected * self.stretch > MARGIN * self.deadline.as_secs_f64() * 1000.0
    }

    /// Full by count, or by the time that the last one in would wait: before anybody gets in, the one with most gives way.
    fn is_full(&self, now: Instant, large: bool) -> bool {
        self.interactive.len() >= self.capacity || self.is_late(self.wait(now, large, self.interactive.cost()))
    }

    /// Milliseconds until a thread gets to one that comes now, with so many milliseconds of work before it.
    fn wait(&self, now: Instant, large: bool, ahead: f64) -> f64 {
        // With a thread to spare nobody waits, however long the others are still busy.
        let busy: f64 = if self.running.iter().any(Option::is_none) { 0.0 } else { self.running.iter().map(|run| left(run, now)).sum() };
        #[expect(clippy::cast_precision_loss, reason = "threads are few")]
        let mut wait = (busy + ahead) / self.running.len() as f64;
        if large {
            // The large block is one: those who need it come one after the other.
            wait = wait.max(self.interactive.large_cost());
        }
        wait
    }

    /// Learns from how long one has waited.
    fn waited(&mut self, job: &Job, now: Instant) {
        if job.expected > TELLING * self.deadline.as_secs_f64() * 1000.0 {
            let seen = millis(now, job.at) / job.expected;
            let weight = if seen > self.stretch { WEIGHTS.0 } else { WEIGHTS.1 };
            self.stretch = (self.stretch + weight * (seen - self.stretch)).clamp(1.0, MAX_STRETCH);
        }
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
            self.waited(&job, now);
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

    /// What `thread` does in turn with `first`, which it was just given: those next in order, as far as they are of its kind, and
    /// none while another thread is idle. With each the milliseconds that it would still have waited otherwise: who is refused
    /// must not see that his hash was of that kind.
    pub fn along(&mut self, thread: usize, first: &Job, now: Instant) -> Vec<(Job, f64)> {
        let mut along = Vec::new();
        let Some(turn) = first.turn.filter(|_| self.running.iter().all(Option::is_some)) else { return along };
        let others = self.running.iter().enumerate().filter(|(other, _)| *other != thread);
        let soonest = others.map(|(_, run)| left(run, now)).fold(f64::INFINITY, f64::min);
        while along.len() + 1 < turn.lanes {
            let fits =
                |job: &Job| job.turn.is_some_and(|other| other.kind == turn.kind) && now.saturating_duration_since(job.at) <= self.deadline;
            let Some(job) = self.interactive.pop_if(fits) else { break };
            self.waited(&job, now);
            let later = turn.walls[along.len()].min(soonest);
            along.push((job, later));
        }
        if !along.is_empty() {
            self.running[thread] = Some((now, turn.walls[along.len()]));
        }
        along
    }

    /// The thread is free again, after so many jobs.
    pub fn finished(&mut self, thread: usize, large: bool, jobs: usize) {
        self.running[thread] = None;
        self.large_taken &= !large;
        self.done += jobs as u64;
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

/// Milliseconds until what a thread does is done, as estimated.
fn left(run: &Option<(Instant, f64)>, now: Instant) -> f64 {
    run.map_or(0.0, |(since, cost)| (cost - millis(now, since)).max(0.0))
}

fn millis(now: Instant, since: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests;
