//! Fail-points: a test counts the statements of a command, and lets it die at each, before or after it was done.

use crate::store::{Result, StoreError};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

/// A conditional statement with its values.
#[cfg(test)]
pub(super) type Held = (scylla::statement::batch::Batch, Vec<Vec<Option<scylla::value::CqlValue>>>);

/// What happens when the count is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum How {
    /// The process dies: nothing that this engine sends arrives any more.
    Dies = 1,
    /// One answer is lost, and all goes on.
    LosesAnswer = 2,
    /// One conditional statement gets no answer, and is not done yet: a coordinator has it still. It arrives once its sender has decided what
    /// to make of that …
    #[cfg(test)]
    Late = 3,
    /// … or once somebody else has settled what the sender left …
    #[cfg(test)]
    LateAfterSweep = 4,
    /// … or at both times …
    #[cfg(test)]
    LateTwice = 5,
    /// … or while its sender goes on: before one of the next statements.
    #[cfg(test)]
    LateSoon = 6,
}

/// Which statements have points.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Points {
    All,
    /// Whoever dies before a read dies after the write before it.
    Writes,
}

/// Two points a statement, one before it and one after. Disarmed in service: then a point costs one load.
#[derive(Default)]
pub(super) struct Fail {
    how: AtomicU8,
    left: AtomicI64,
    passed: AtomicI64,
    writes_only: AtomicBool,
    /// What is on its way, and statements that are sent before it arrives.
    #[cfg(test)]
    held: std::sync::Mutex<Vec<(Held, i64)>>,
    #[cfg(test)]
    delay: AtomicI64,
}

impl Fail {
    /// Fails at the `n`-th point from now, counted from 0.
    #[cfg(test)]
    pub(super) fn arm(&self, how: How, n: i64) {
        self.arm_at(how, Points::All, n);
    }
    /// The same, where only some statements count.
    #[cfg(test)]
    pub(super) fn arm_at(&self, how: How, points: Points, n: i64) {
        self.writes_only.store(points == Points::Writes, Ordering::SeqCst);
        self.left.store(n, Ordering::SeqCst);
        self.passed.store(0, Ordering::SeqCst);
        self.how.store(how as u8, Ordering::SeqCst);
    }
    /// What arrives late does so once so many more statements were sent.
    #[cfg(test)]
    pub(super) fn delay(&self, statements: i64) {
        self.delay.store(statements, Ordering::SeqCst);
    }
    /// No more failing; how many points were passed since it was armed.
    #[cfg(test)]
    pub(super) fn disarm(&self) -> i64 {
        self.how.store(0, Ordering::SeqCst);
        self.passed.load(Ordering::SeqCst)
    }
    /// Whether what fails is an answer only.
    pub(super) fn loses_answers(&self) -> bool {
        self.how.load(Ordering::Relaxed) == How::LosesAnswer as u8
    }

    /// Whether a conditional statement is to arrive late; it is kept then.
    #[cfg(test)]
    pub(super) fn holds(&self, batch: &scylla::statement::batch::Batch, values: &[Vec<Option<scylla::value::CqlValue>>]) -> bool {
        if self.how.load(Ordering::SeqCst) < How::Late as u8 {
            return false;
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return false;
        }
        let soon = self.how.load(Ordering::SeqCst) == How::LateSoon as u8;
        let delay = if soon { self.delay.load(Ordering::SeqCst) } else { i64::MAX };
        self.held.lock().unwrap().push(((batch.clone(), values.to_vec()), delay));
        true
    }
    /// What is on its way still.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<Held> {
        self.held.lock().unwrap().iter().map(|(held, _)| held.clone()).collect()
    }
    /// Another statement is about to be sent: what arrives before it.
    #[cfg(test)]
    pub(super) fn arrives_now(&self) -> Vec<Held> {
        let (mut all, mut now) = (self.held.lock().unwrap(), Vec::new());
        all.retain_mut(|(held, left)| {
            *left -= 1;
            if *left == 0 {
                now.push(held.clone());
            }
            *left > 0
        });
        now
    }

    /// Passes a point, or fails.
    pub(super) fn point(&self, statement: &str) -> Result<()> {
        let how = self.how.load(Ordering::Relaxed);
        if how == 0 || how > How::LosesAnswer as u8 || (self.writes_only.load(Ordering::Relaxed) && statement.starts_with("SELECT")) {
            return Ok(());
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let hit = if how == How::Dies as u8 { left <= 0 } else { left == 0 };
        if hit { Err(StoreError::maybe(format!("fail-point at {statement}"))) } else { Ok(()) }
    }
}
