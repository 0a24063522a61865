//! Exports and lists of accounts: work of many rows, of which little goes on at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Exports and lists that are worked at for one person or tenant at once, and by this node.
pub(super) const HEAVY_OF_ONE: usize = 2;
pub(super) const HEAVY_OF_ALL: usize = 8;
/// Of these, for tenants without power over credentials and for people: they cost nothing to make.
pub(super) const HEAVY_OF_ANYBODY: usize = 6;

/// Exports and lists under way, by the person or tenant that they are for.
#[derive(Clone, Default)]
pub(super) struct HeavyWork(pub(super) Arc<Mutex<HashMap<[u8; 16], usize>>>);

impl HeavyWork {
    /// `None` while there are enough; `of_all`: how many may be under way with it.
    pub(super) fn begin(&self, whose: &[u8; 16], of_all: usize) -> Option<Heavy> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(whose).is_some_and(|n| *n >= HEAVY_OF_ONE) || under_way.values().sum::<usize>() >= of_all {
            return None;
        }
        *under_way.entry(*whose).or_default() += 1;
        Some(Heavy { work: self.clone(), whose: *whose })
    }
}

/// The right to export, or to take in a list; another one may once it is dropped.
pub struct Heavy {
    work: HeavyWork,
    whose: [u8; 16],
}

impl Drop for Heavy {
    fn drop(&mut self) {
        let mut under_way = self.work.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = under_way.get_mut(&self.whose) {
            *n -= 1;
            if *n == 0 {
                under_way.remove(&self.whose);
            }
        }
    }
}
