//! What one counter knows: the times themselves where the limit is small, the counts of two windows where it is large.

use crate::ephemeral::EXACT_UP_TO;
use std::collections::VecDeque;

/// Times and windows are in milliseconds.
pub(super) enum Count {
    /// The times of what was counted, oldest first.
    Exact(VecDeque<i64>),
    /// Counts of the window that began at `start`, and of the one before it.
    Windows { start: i64, before: u32, now: u32 },
}

impl Count {
    /// An empty one for a limit of `max`. It stays of its kind if the limit changes.
    pub(super) fn new(max: u32, window: i64, now: i64) -> Self {
        if max <= EXACT_UP_TO {
            Self::Exact(VecDeque::new())
        } else {
            Self::Windows { start: now - now.rem_euclid(window), before: 0, now: 0 }
        }
    }

    /// Brings it up to the present; does nothing if the clock went back.
    pub(super) fn slide(&mut self, window: i64, now: i64) {
        match self {
            Self::Exact(times) => {
                while times.front().is_some_and(|&t| t <= now - window) {
                    times.pop_front();
                }
            }
            Self::Windows { start, before, now: count } => {
                let current = now - now.rem_euclid(window);
                if current > *start {
                    *before = if current - *start == window { *count } else { 0 };
                    *count = 0;
                    *start = current;
                }
            }
        }
    }

    /// How many of `max` are left at `now`, in fractions; below zero if the limit has been lowered.
    pub(super) fn left(&self, max: u32, window: i64, now: i64) -> f64 {
        let used = match self {
            Self::Exact(times) => times.len() as f64,
            Self::Windows { start, before, now: count } => {
                let into = (now - start).clamp(0, window) as f64 / window as f64;
                f64::from(*before) * (1.0 - into) + f64::from(*count)
            }
        };
        f64::from(max) - used
    }

    /// Counts one.
    pub(super) fn add(&mut self, now: i64) {
        match self {
            // In order, also if the clock went back.
            Self::Exact(times) => times.push_back(times.back().map_or(now, |&last| last.max(now))),
            Self::Windows { now: count, .. } => *count = count.saturating_add(1),
        }
    }

    /// Takes the latest one back, if there is one.
    pub(super) fn give_back(&mut self) {
        match self {
            Self::Exact(times) => drop(times.pop_back()),
            Self::Windows { before, now: count, .. } if *count == 0 => *before = before.saturating_sub(1),
            Self::Windows { now: count, .. } => *count -= 1,
        }
    }

    /// How long until one more is within `max` (1 or more); if it is already, until all that counts has slid past.
    pub(super) fn reset(&self, max: u32, window: i64, now: i64, allowed: bool) -> i64 {
        match self {
            Self::Exact(times) => {
                let at = if allowed { times.back() } else { times.get(times.len().saturating_sub(max as usize)) };
                at.map_or(0, |t| t + window - now)
            }
            Self::Windows { start, before, now: count } if allowed => match (before, count) {
                (0, 0) => 0,
                (_, 0) => start + window - now,
                _ => start + 2 * window - now,
            },
            Self::Windows { start, before, now: count } => {
                let end = start + window - now;
                let part = |of: u32, room: u32| (window as f64 * (1.0 - f64::from(room) / f64::from(of.max(1)))).ceil() as i64;
                if *count < max {
                    // The older window must fall to max - 1 - count.
                    (part(*before, max - 1 - count) + start - now).clamp(1, end.max(1))
                } else {
                    // The present window must become the older one, and fall to max - 1.
                    end + part(*count, max - 1).max(1)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: i64 = 1_000;

    proptest! {
        /// Against the plain definition: so many times within the window that ends now.
        #[test]
        fn exact_is_exact(max in 1..=EXACT_UP_TO, steps in prop::collection::vec((0..400i64, 0..8u8), 1..200)) {
            let (mut count, mut model, mut now) = (Count::new(max, WINDOW, 0), Vec::<i64>::new(), 0);
            for (step, what) in steps {
                now += step;
                model.retain(|t| t + WINDOW > now);
                count.slide(WINDOW, now);
                if what == 0 {
                    count.give_back();
                    model.pop();
                    continue;
                }
                let allowed = count.left(max, WINDOW, now) >= 1.0;
                prop_assert_eq!(allowed, model.len() < max as usize);
                if allowed {
                    count.add(now);
                    model.push(now);
                } else {
                    // After the reset time one is free, and not a millisecond before.
                    let reset = count.reset(max, WINDOW, now, false);
                    let within = |at: i64| model.iter().filter(|t| **t + WINDOW > at).count();
                    prop_assert!(within(now + reset) < max as usize && within(now + reset - 1) == max as usize);
                }
            }
        }

        /// An estimate is off by what it can't know (when within the older window they came), never by more.
        #[test]
        fn an_estimate_lets_in_at_most_max_in_a_window_of_the_clock(max in 33..200u32, steps in prop::collection::vec(0..30i64, 1..600)) {
            let (mut count, mut let_in, mut now) = (Count::new(max, WINDOW, 0), Vec::<i64>::new(), 0);
            for step in steps {
                now += step;
                count.slide(WINDOW, now);
                if count.left(max, WINDOW, now) >= 1.0 {
                    count.add(now);
                    let_in.push(now);
                } else {
                    let reset = count.reset(max, WINDOW, now, false);
                    prop_assert!((1..=2 * WINDOW).contains(&reset), "{}", reset);
                    count.slide(WINDOW, now);
                    let mut later = match &count {
                        Count::Windows { start, before, now } => Count::Windows { start: *start, before: *before, now: *now },
                        Count::Exact(_) => unreachable!("the limit is large"),
                    };
                    later.slide(WINDOW, now + reset);
                    prop_assert!(later.left(max, WINDOW, now + reset) >= 1.0, "the reset time promises too much");
                }
                let current = now - now.rem_euclid(WINDOW);
                prop_assert!(let_in.iter().filter(|t| **t >= current).count() <= max as usize);
            }
        }
    }
}
