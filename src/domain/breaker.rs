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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Open until then. After it one probe goes, and this moves on by another pause.
    until: Option<Instant>,
}

impl Breaker {
    /// Closed.
    pub fn new(threshold: u32, pause: Duration) -> Self {
        Self { threshold: threshold.max(1), pause, state: Mutex::default() }
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

    /// The service failed.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.threshold {
            state.until = Some(now + self.pause);
        }
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
