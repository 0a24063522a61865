//! Counters in memory: exact where the limit is small, estimated from two windows where it is large; bounded in number.

use crate::{
    domain::time::Timestamp,
    ephemeral::{Decision, EXACT_UP_TO, Limit, Subject},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const SHARDS: usize = 64;
/// All shards together hold about this many counters: some 150 MB at the worst, under an attack from a million networks.
const COUNTERS: usize = 1_000_000;

type Key = (&'static str, Subject);

enum Count {
    /// The times of what was counted, oldest first.
    Exact(VecDeque<i64>),
    /// Counts of the window that began at `start`, and of the one before it.
    Windows { start: i64, before: u32, now: u32 },
}

struct Counter {
    count: Count,
    /// When nothing of it matters any more.
    ends: i64,
}

/// The counters of this node.
pub(super) struct Counters(Vec<Mutex<HashMap<Key, Counter>>>);

impl Default for Counters {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

impl Count {
    fn new(limit: &Limit, now: i64) -> Self {
        if limit.max <= EXACT_UP_TO {
            Self::Exact(VecDeque::new())
        } else {
            Self::Windows { start: now - now.rem_euclid(millis(limit.window)), before: 0, now: 0 }
        }
    }

    /// Brings it up to the present.
    fn slide(&mut self, window: i64, now: i64) {
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

    /// How many count at `now`.
    fn used(&self, window: i64, now: i64) -> f64 {
        match self {
            Self::Exact(times) => times.len() as f64,
            Self::Windows { start, before, now: count } => {
                let into = (now - start).clamp(0, window) as f64 / window as f64;
                f64::from(*before) * (1.0 - into) + f64::from(*count)
            }
        }
    }

    fn add(&mut self, now: i64) {
        match self {
            Self::Exact(times) => times.push_back(times.back().map_or(now, |&last| last.max(now))),
            Self::Windows { now: count, .. } => *count = count.saturating_add(1),
        }
    }

    fn give_back(&mut self) {
        match self {
            Self::Exact(times) => drop(times.pop_back()),
            Self::Windows { before, now: count, .. } if *count == 0 => *before = before.saturating_sub(1),
            Self::Windows { now: count, .. } => *count -= 1,
        }
    }

    /// How long until one more is within `max`; if it is already, until all that counts has slid past.
    fn reset(&self, max: u32, window: i64, now: i64, allowed: bool) -> Duration {
        let wait = match self {
            Self::Exact(times) => {
                let at = if allowed { times.back() } else { times.get(times.len().saturating_sub(max as usize)) };
                at.map_or(0, |t| t + window - now)
            }
            Self::Windows { start, before, now: count } => {
                let end = start + window - now;
                if allowed {
                    if *count > 0 { end + window } else { end }
                } else if *count < max && *before > 0 {
                    // before × (1 - into) must fall to max - 1 - count.
                    let into = 1.0 - f64::from(max - 1 - *count) / f64::from(*before);
                    ((into * window as f64).ceil() as i64 + start - now).clamp(1, end)
                } else {
                    // The present count has to begin to slide out of the next window.
                    end + (window as f64 * (1.0 - f64::from(max.saturating_sub(1)) / f64::from((*count).max(1)))).ceil().max(1.0) as i64
                }
            }
        };
        Duration::from_millis(u64::try_from(wait).unwrap_or(0))
    }
}

impl Counters {
    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Counter>> {
        // A panic while it is held leaves the map whole: no step between its lines can panic.
        self.0[usize::from(key.1.0[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides, and counts one if `count` and it is within the limit.
    pub(super) fn decide(&self, limit: &Limit, who: &Subject, now: Timestamp, count: bool) -> Decision {
        let (now, window, key) = (now.millis(), millis(limit.window), (limit.name, *who));
        let mut shard = self.shard(&key);
        let fresh = || Counter { count: Count::new(limit, now), ends: 0 };
        if !shard.contains_key(&key) {
            if !count {
                return Decision { allowed: limit.max > 0, limit: limit.max, remaining: limit.max, reset_after: Duration::ZERO };
            }
            make_room(&mut shard, now);
        }
        let counter = shard.entry(key).or_insert_with(fresh);
        counter.count.slide(window, now);
        let used = counter.count.used(window, now);
        let allowed = used + 1.0 <= f64::from(limit.max);
        if allowed && count {
            counter.count.add(now);
            counter.ends = now.saturating_add(window.saturating_mul(2));
        }
        let left = f64::from(limit.max) - used - f64::from(u8::from(allowed && count));
        Decision {
            allowed,
            limit: limit.max,
            remaining: left.max(0.0) as u32,
            reset_after: counter.count.reset(limit.max, window, now, allowed),
        }
    }

    pub(super) fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) {
        let key = (limit.name, *who);
        if let Some(counter) = self.shard(&key).get_mut(&key) {
            counter.count.slide(millis(limit.window), now.millis());
            counter.count.give_back();
        }
    }

    pub(super) fn clear(&self, limit: &Limit, who: &Subject) {
        let key = (limit.name, *who);
        self.shard(&key).remove(&key);
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.0 {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, c| c.ends > now.millis());
        }
    }
}

/// A full shard loses what has ended; if nothing has, the one of a handful that ends first.
fn make_room(shard: &mut HashMap<Key, Counter>, now: i64) {
    if shard.len() < COUNTERS / SHARDS {
        return;
    }
    let before = shard.len();
    shard.retain(|_, c| c.ends > now);
    if shard.len() == before {
        let first = shard.iter().take(64).min_by_key(|(_, c)| c.ends).map(|(key, _)| *key);
        if let Some(key) = first {
            shard.remove(&key);
        }
    }
}
