//! Fail-points: a test counts the statements of a command, and lets it die at each, before or after it was done.

use crate::store::{Result, StoreError};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

/// What happens when the count is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum How {
    /// The process dies: nothing that this engine sends arrives any more.
    Dies = 1,
    /// One answer is lost, and all goes on.
    LosesAnswer = 2,
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
#[derive(Debug, Default)]
pub(super) struct Fail {
    how: AtomicU8,
    left: AtomicI64,
    passed: AtomicI64,
    writes_only: AtomicBool,
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

    /// Passes a point, or fails.
    pub(super) fn point(&self, statement: &str) -> Result<()> {
        let how = self.how.load(Ordering::Relaxed);
        if how == 0 || (self.writes_only.load(Ordering::Relaxed) && statement.starts_with("SELECT")) {
            return Ok(());
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let hit = if how == How::Dies as u8 { left <= 0 } else { left == 0 };
        if hit { Err(StoreError::maybe(format!("fail-point at {statement}"))) } else { Ok(()) }
    }
}
