//! The counters of one node, in memory, bounded in number: past that, those that nobody has asked for longest are forgotten.
//! `count` is one of them.

mod count;

use super::{Decision, Limit, Subject};
use crate::domain::time::Timestamp;
use count::Count;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const SHARDS: usize = 64;
/// All shards together hold about this many counters: some 200 MB at the worst, under an attack from a million networks.
const COUNTERS: usize = 1_000_000;

type Key = (&'static str, Subject);

struct Counter {
    count: Count,
    /// When nothing of it matters any more.
    ends: i64,
}

/// Two generations: what is asked for moves to the young one; once that is full it becomes the old one, and the old one goes.
#[derive(Default)]
struct Shard {
    young: HashMap<Key, Counter>,
    old: HashMap<Key, Counter>,
}

impl Shard {
    fn find(&mut self, key: &Key, generation: usize) -> Option<&mut Counter> {
        if let Some(counter) = self.old.remove(key) {
            self.insert(*key, counter, generation);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: Key, counter: Counter, generation: usize) {
        if self.young.len() >= generation {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, counter);
    }
}

/// The counters of this node.
pub(crate) struct Counters {
    shards: Vec<Mutex<Shard>>,
    /// Which shard a key is in is nobody's business outside: else one could fill a chosen one to make it forget.
    hasher: RandomState,
    /// How many counters a generation of a shard holds.
    generation: usize,
}

impl Default for Counters {
    fn default() -> Self {
        Self::holding(COUNTERS)
    }
}

impl Counters {
    fn holding(counters: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), generation: (counters / SHARDS / 2).max(1) }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(key) % SHARDS as u64;
        // A panic while it is held leaves the maps whole: no step between its lines can panic.
        self.shards[shard as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides, and counts one if `count` and it is within the limit.
    pub(crate) fn decide(&self, limit: &Limit, who: &Subject, now: Timestamp, count: bool) -> Decision {
        let (now, window, key) = (now.millis(), millis(limit.window), (limit.name, *who));
        let answer = |allowed, remaining, reset| {
            let reset_after = Duration::from_millis(u64::try_from(reset).unwrap_or(0));
            Decision { allowed, limit: limit.max, remaining, reset_after }
        };
        if limit.max == 0 {
            return answer(false, 0, window);
        }
        let mut shard = self.shard(&key);
        if shard.find(&key, self.generation).is_none() {
            if !count {
                return answer(true, limit.max, 0);
            }
            shard.insert(key, Counter { count: Count::new(limit.max, window, now), ends: now }, self.generation);
        }
        let Some(counter) = shard.young.get_mut(&key) else { return answer(true, limit.max, 0) };
        counter.count.slide(window, now);
        let allowed = counter.count.left(limit.max, window, now) >= 1.0;
        if allowed && count {
            counter.count.add(now);
            counter.ends = now.saturating_add(window.saturating_mul(2));
        }
        let left = counter.count.left(limit.max, window, now).max(0.0);
        answer(allowed, left as u32, counter.count.reset(limit.max, window, now, allowed))
    }

    pub(crate) fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) {
        let key = (limit.name, *who);
        if let Some(counter) = self.shard(&key).find(&key, self.generation) {
            counter.count.slide(millis(limit.window), now.millis());
            counter.count.give_back();
        }
    }

    pub(crate) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { young, old } = &mut *shard;
            for generation in [young, old] {
                generation.retain(|_, counter| counter.ends > now.millis());
                // What an attack has blown up is given back.
                if generation.capacity() > 1024 && generation.len() < generation.capacity() / 8 {
                    generation.shrink_to_fit();
                }
            }
        }
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    // No window is longer than a century, so that sums of times and windows have room.
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).clamp(1, 100 * 366 * 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { name: "one", max: 1, window: Duration::from_secs(60) };

    fn who(n: u32) -> Subject {
        Subject::of(&[&n.to_be_bytes()])
    }

    fn held(counters: &Counters) -> usize {
        counters.shards.iter().map(|shard| shard.lock().unwrap()).map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    #[test]
    fn a_flood_of_subjects_takes_bounded_memory_and_not_the_counters_that_are_in_use() {
        let counters = Counters::holding(6_400);
        let now = Timestamp::from_millis(1_700_000_000_000);
        for n in 0..100_000 {
            assert!(counters.decide(&LIMIT, &who(n), now, true).allowed);
            if n % 500 == 0 {
                assert!(!counters.decide(&LIMIT, &who(0), now, true).allowed, "after {n} others");
            }
            assert!(held(&counters) <= 6_400 || n % 997 != 0);
        }
        assert!(held(&counters) <= 6_400, "{}", held(&counters));
    }

    #[test]
    fn sweeping_takes_what_is_over_and_nothing_else() {
        let (counters, now) = (Counters::default(), Timestamp::from_millis(1_700_000_000_000));
        for n in 0..10_000 {
            counters.decide(&LIMIT, &who(n), now, true);
        }
        let long = Limit { window: Duration::from_secs(3_600), ..LIMIT };
        counters.decide(&long, &who(10_000), now, true);
        counters.sweep(Timestamp::from_millis(now.millis() + 60_000));
        assert_eq!(held(&counters), 10_001, "an estimate may still need them");
        counters.sweep(Timestamp::from_millis(now.millis() + 120_000));
        assert_eq!(held(&counters), 1);
        assert!(!counters.decide(&long, &who(10_000), Timestamp::from_millis(now.millis() + 120_000), true).allowed);
    }
}
