//! A circuit breaker: a service that keeps failing is left alone for a while, and then asked by one caller first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Opens after `threshold` failures in a row; `pause` later lets one call through; that one's outcome closes it, or starts
/// the pause anew. A probe that never reports holds nothing up: another one may go after the same pause.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    pause: Duration,
    quiet: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    answered: Option<Instant>,
    /// Open until then. After it one probe goes, and this moves on by another pause.
    until: Option<Instant>,
}

impl Breaker {
    /// Closed.
    pub fn new(threshold: u32, pause: Duration) -> Self {
        Self { threshold: threshold.max(1), pause, quiet: Duration::ZERO, state: Mutex::default() }
    }

    /// Counts failures only once nothing has succeeded for `quiet`: what runs on several machines fails many calls in one moment when
    /// one machine dies, and is there all the same. Successes must come with their time ([`Breaker::alive_at`]).
    pub fn after_quiet(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May a call be made?
    ///
    /// # Errors
    /// How long to wait, while it is open.
    pub fn allow(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                state.until = Some(now + self.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The service answered, be it that it refused the request: it is alive.
    pub fn alive(&self) {
        *self.state() = State::default();
    }

    /// The service answered now.
    pub fn alive_at(&self, now: Instant) {
        *self.state() = State { answered: Some(now), ..State::default() };
    }

    /// The service failed.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        if state.answered.is_some_and(|at| now.saturating_duration_since(at) < self.quiet) {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.threshold {
            state.until = Some(now + self.pause);
        }
    }

    /// Whether it is open, or has been and nothing has succeeded since.
    pub fn is_failing(&self) -> bool {
        self.state().until.is_some()
    }

    /// Whether calls are being refused.
    pub fn is_open(&self, now: Instant) -> bool {
        self.state().until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn opens_after_failures_in_a_row_and_closes_by_one_probe() {
        let (b, t) = (Breaker::new(3, PAUSE), Instant::now());
        b.failed(t);
        b.failed(t);
        b.alive();
        b.failed(t);
        b.failed(t);
        assert_eq!(b.allow(t), Ok(()), "an answer in between starts the count anew");
        b.failed(t);
        assert_eq!(b.allow(t + PAUSE / 2), Err(PAUSE / 2));
        assert_eq!(b.allow(t + PAUSE), Ok(()), "the probe");
        assert_eq!(b.allow(t + PAUSE), Err(PAUSE), "only one");
        b.alive();
        assert_eq!(b.allow(t + PAUSE), Ok(()));
        assert!(!b.is_open(t + PAUSE));
    }

    #[test]
    fn failures_in_one_moment_open_nothing_while_others_succeed() {
        let (b, t) = (Breaker::new(3, PAUSE).after_quiet(Duration::from_millis(500)), Instant::now());
        b.alive_at(t);
        (0..9).for_each(|ms| b.failed(t + Duration::from_millis(ms)));
        assert!(!b.is_open(t + Duration::from_millis(9)));
        b.alive_at(t + Duration::from_millis(20));
        (600..603).for_each(|ms| b.failed(t + Duration::from_millis(ms)));
        assert!(b.is_open(t + Duration::from_millis(603)), "nobody succeeds any more");
        b.alive_at(t + Duration::from_millis(700));
        assert!(!b.is_open(t + Duration::from_millis(700)));
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_a_lost_one_does_not_block() {
        let (b, t) = (Breaker::new(1, PAUSE), Instant::now());
        b.failed(t);
        assert_eq!(b.allow(t + PAUSE), Ok(()));
        b.failed(t + PAUSE + Duration::from_secs(1));
        assert_eq!(b.allow(t + PAUSE * 2), Err(Duration::from_secs(1)));
        assert_eq!(b.allow(t + PAUSE * 3), Ok(()));
        assert_eq!(b.allow(t + PAUSE * 4), Ok(()), "the probe before never reported");
    }
}
