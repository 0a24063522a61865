//! Whether the store answers anybody. A statement that waits says little: its time-out is long, and it may be slow by itself.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Statements that are out, and when one was answered last.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Beat>);

#[derive(Debug, Default)]
struct Beat {
    out: usize,
    /// The last one that came back had no answer.
    lost: bool,
    /// The last answer; or the first question after all had been answered.
    since: Option<Instant>,
}

/// A statement that is out. Dropped without an answer it is lost.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pulse: &'a Pulse,
    pub(super) begun: Instant,
    answered: Option<Instant>,
}

impl Pulse {
    fn beat(&self) -> MutexGuard<'_, Beat> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement goes out.
    pub(super) fn ask(&self, now: Instant) -> Asked<'_> {
        let mut beat = self.beat();
        if beat.out == 0 && !beat.lost {
            beat.since = Some(now);
        }
        beat.out += 1;
        Asked { pulse: self, begun: now, answered: None }
    }

    /// For how long questions have been open without an answer to any.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        let beat = self.beat();
        let waits = beat.out > 0 || beat.lost;
        beat.since.filter(|_| waits).map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Asked<'_> {
    /// It is answered.
    pub(super) fn answered(mut self, now: Instant) {
        self.answered = Some(now);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut beat = self.pulse.beat();
        beat.out -= 1;
        beat.lost = self.answered.is_none();
        if let Some(at) = self.answered {
            beat.since = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_is_quiet_while_questions_are_open_and_none_is_answered() {
        let (pulse, t) = (Pulse::default(), Instant::now());
        assert_eq!(pulse.quiet(t), Duration::ZERO, "nobody asked");
        let first = pulse.ask(t);
        let second = pulse.ask(t + 10 * MS);
        assert_eq!(pulse.quiet(t + 100 * MS), 100 * MS);
        second.answered(t + 110 * MS);
        assert_eq!(pulse.quiet(t + 150 * MS), 40 * MS, "somebody is answered");
        first.answered(t + 160 * MS);
        assert_eq!(pulse.quiet(t + 900 * MS), Duration::ZERO, "nothing is open");
        let lost = pulse.ask(t + 1000 * MS);
        drop(lost);
        assert_eq!(pulse.quiet(t + 1300 * MS), 300 * MS, "who gives up isn't answered");
        let next = pulse.ask(t + 1400 * MS);
        assert_eq!(pulse.quiet(t + 1500 * MS), 500 * MS);
        next.answered(t + 1600 * MS);
        assert_eq!(pulse.quiet(t + 1600 * MS), Duration::ZERO);
    }
}
