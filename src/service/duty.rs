//! Being the one process that does a [`Duty`].
//!
//! A holder that was frozen, and wakes up after its successor began, does no harm. Links of audit events are conditional on the fence
//! in the store. Whatever is swept, purged or ended is due by itself, and goes by a compare-and-set: two that do it at once do it once.
//! The holder asks for its lease again before each step, so it stops there.
//!
//! The outbox has no such lease: each message has one, and all processes send.

use crate::{
    domain::{
        rng::{self, Rng},
        time::Clock,
    },
    store::{Store, StoreError, leases::Duty},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A lease is kept longer once a third of it is over.
const RENEW: u32 = 3;

/// One process's side of a duty.
pub struct OnDuty {
    duty: Duty,
    length: Duration,
    holder: [u8; 16],
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The fence, and when it was last asked for.
    held: Mutex<Option<(u64, Instant)>>,
}

impl OnDuty {
    /// Nothing is held yet; `length` is how long nobody else takes over after this process died.
    pub fn new(duty: Duty, length: Duration, store: Arc<dyn Store>, clock: Arc<dyn Clock>, rng: &dyn Rng) -> Self {
        metrics::gauge!("qeetid_duty_fence", "duty" => duty.name()).set(0.0);
        Self { duty, length, holder: rng::bytes(rng), store, clock, held: Mutex::default() }
    }

    /// Takes the lease or keeps it, and gives its fence; `None` while another process has it. To be asked before each step.
    ///
    /// # Errors
    /// The store's; then nothing is held for all that is known.
    pub async fn fence(&self) -> Result<Option<u64>, StoreError> {
        let known = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // By the clock that goes on while a process is frozen.
        if let Some((fence, _)) = known.filter(|(_, asked)| asked.elapsed() < self.length / RENEW) {
            return Ok(Some(fence));
        }
        let asked = Instant::now();
        let outcome = self.store.lease(self.duty, self.holder, self.clock.now(), self.length).await;
        let fence = *outcome.as_ref().unwrap_or(&None);
        if let Some(new) = fence.filter(|f| known.is_none_or(|(before, _)| *f != before)) {
            tracing::debug!(duty = self.duty.name(), fence = new, "this process does it from now on");
        }
        self.note(fence.map(|fence| (fence, asked)));
        outcome
    }

    /// There is nothing to do: whoever finds something first may take the lease, once it is over.
    pub fn rest(&self) {
        self.note(None);
    }

    /// This process does it no more: another one may begin at once. What it is doing now has to have ended.
    pub async fn give_back(&self) {
        self.note(None);
        if let Err(e) = self.store.end_lease(self.duty, self.holder, self.clock.now()).await {
            tracing::debug!(duty = self.duty.name(), error = %e, "a lease can't be given back; it ends by itself");
        }
    }

    fn note(&self, held: Option<(u64, Instant)>) {
        metrics::gauge!("qeetid_duty_fence", "duty" => self.duty.name()).set(held.map_or(0.0, |(fence, _)| fence as f64));
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}
