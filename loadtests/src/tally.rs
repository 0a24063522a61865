//! What came back: counts and times by operation, outcome and part of the run. It stays as small as it is however long the run lasts.

use crate::plan::Part;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    SignUp,
    Login,
    Refresh,
    Me,
    Logout,
    Forgot,
    StartProof,
    ConfirmProof,
    /// From the 200 of [`Operation::StartProof`] until the code lies in the mailbox.
    Mail,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Me => "me",
            Self::Logout => "logout",
            Self::Forgot => "forgot-password",
            Self::StartProof => "verify, start",
            Self::ConfirmProof => "verify, confirm",
            Self::Mail => "the code's mail",
        }
    }
    /// The status of an answer as it should be.
    pub fn expected(self) -> u16 {
        match self {
            Self::SignUp => 201,
            Self::Forgot => 202,
            _ => 200,
        }
    }
    /// A password is hashed before the answer.
    pub fn hashes(self) -> bool {
        matches!(self, Self::SignUp | Self::Login)
    }
    /// Nothing is hashed: it shall be fast whatever else is going on.
    pub fn is_light(self) -> bool {
        !self.hashes() && self != Self::Mail
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered as it should be.
    Good,
    /// 503 with `Retry-After`: the service is full and says so. No error, but no success either.
    Refused,
    /// Anything else, a broken connection too.
    Unexpected,
}

/// Times in buckets that are 2 % apart: enough to judge a quantile by, and 4 KiB whatever their number.
#[derive(Debug, Clone)]
pub struct Times {
    buckets: Vec<u32>,
    count: u64,
}

const STEP: f64 = 1.02;
/// The last one holds everything above 600 s.
const BUCKETS: usize = 1024;

impl Default for Times {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Times {
    pub fn add(&mut self, took: Duration) {
        let micros = took.as_secs_f64() * 1e6;
        let at = (micros.max(1.0).ln() / STEP.ln()) as usize;
        self.buckets[at.min(BUCKETS - 1)] += 1;
        self.count += 1;
    }
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += others;
        }
        self.count += other.count;
    }
    pub fn count(&self) -> u64 {
        self.count
    }
    /// So much of the times is no longer than this, in milliseconds; `None` of none.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|n| {
            seen += u64::from(*n);
            seen >= wanted
        })?;
        Some(STEP.powi(i32::try_from(at + 1).ok()?) / 1000.0)
    }
}

type Key = (Operation, Outcome, Part);

/// All of a run. The users of the load test write into it side by side.
#[derive(Debug, Default)]
pub struct Tally {
    times: Mutex<BTreeMap<Key, Times>>,
    /// Unexpected answers, and how many.
    strange: Mutex<BTreeMap<(Operation, String), u64>>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Times>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What an unexpected answer was.
    pub fn remember(&self, operation: Operation, error: &str) {
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        *strange.entry((operation, error.to_owned())).or_default() += 1;
    }
    pub fn strange(&self) -> BTreeMap<(Operation, String), u64> {
        self.strange.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub fn add(&self, operation: Operation, outcome: Outcome, part: Part, took: Duration) {
        self.lock().entry((operation, outcome, part)).or_default().add(took);
    }
    /// The times of all that `wanted` says yes to.
    pub fn times(&self, wanted: impl Fn(Operation, Outcome, Part) -> bool) -> Times {
        let mut all = Times::default();
        for ((operation, outcome, part), times) in &*self.lock() {
            if wanted(*operation, *outcome, *part) {
                all.merge(times);
            }
        }
        all
    }
    /// The operations that were asked for.
    pub fn operations(&self) -> Vec<Operation> {
        let mut all: Vec<_> = self.lock().keys().map(|(operation, ..)| *operation).collect();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_per_cent_and_outcomes_stay_apart() {
        let tally = Tally::default();
        for n in 1..=1000 {
            tally.add(Operation::Me, Outcome::Good, Part::Steady, Duration::from_micros(n * 100));
        }
        tally.add(Operation::Me, Outcome::Unexpected, Part::Steady, Duration::from_secs(9000));
        tally.add(Operation::Login, Outcome::Refused, Part::Spike, Duration::ZERO);
        let good = tally.times(|_, outcome, _| outcome == Outcome::Good);
        assert_eq!(good.count(), 1000);
        for (share, ms) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let seen = good.quantile_ms(share).unwrap();
            assert!((seen / ms - 1.0).abs() < 0.025, "{seen} for {ms}");
        }
        assert_eq!(tally.times(|_, _, _| true).count(), 1002);
        assert_eq!(tally.times(|_, _, part| part == Part::Recovery).quantile_ms(0.99), None);
        assert_eq!(tally.operations(), [Operation::Login, Operation::Me]);
    }

    #[test]
    fn a_quantile_of_few_times_is_one_of_them() {
        let mut few = Times::default();
        assert_eq!(few.quantile_ms(0.5), None);
        for ms in [1, 2, 100] {
            few.add(Duration::from_millis(ms));
        }
        for (share, ms) in [(0.0, 1.0), (0.5, 2.0), (0.99, 100.0), (1.0, 100.0)] {
            let seen = few.quantile_ms(share).unwrap();
            assert!((seen / ms - 1.0).abs() < 0.025, "{seen} for {ms}");
        }
        let mut both = few.clone();
        both.merge(&few);
        assert_eq!((both.count(), both.quantile_ms(0.99)), (6, few.quantile_ms(0.99)));
    }
}
