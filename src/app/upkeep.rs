//! What goes on beside the requests. Each process reads revocations, reloads keys and sweeps what it keeps for itself; one of all
//! processes on a store sweeps that, one empties recycle bins, one links audit events, one looks up proved domains.

use super::build::Built;
use crate::{
    credentials::pool::Pool,
    domain::time::Clock,
    ephemeral::Ephemeral,
    service::{
        Services,
        chainer::{self, Chainer},
        duty::OnDuty,
        keys::Keys,
    },
    store::{Store, StoreError, commands::Swept, leases::Duty},
};
use futures_util::{FutureExt, future::join_all};
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A revoked access token is refused everywhere within a second, also where nobody is told of it.
const REVOCATIONS: Duration = Duration::from_millis(500);
/// A key made elsewhere is in our JWKS this soon; it signs ten minutes later.
const KEYS: Duration = Duration::from_secs(30);
/// Expired rows may wait this long.
const SWEEP: Duration = Duration::from_secs(60);
/// Each proved domain is looked up once a day; so often it is seen which ones are due.
const DOMAINS: Duration = Duration::from_secs(3600);
/// Of a process that died (one that stops gives its duties back), another one takes over the sweeping this much later …
const LEASE: Duration = Duration::from_secs(15);
/// … and the time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// The store's clock is read so often; one that is off, and one that can't be read, as often as [`LOOK`].
const CLOCKS: Duration = Duration::from_secs(30);
/// Pause before a loop that panicked begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The running loops; they end with it.
pub(super) struct Upkeep {
    loops: JoinSet<()>,
    duties: Vec<Arc<OnDuty>>,
}

impl Upkeep {
    /// Ends the loops, and gives the duties to whoever comes next, within this time.
    pub(super) async fn stop(self, time: Duration) {
        let Self { mut loops, duties } = self;
        let given_back = async {
            loops.shutdown().await;
            join_all(duties.iter().map(|duty| duty.give_back())).await;
        };
        // What was not given back ends by itself.
        let _ = tokio::time::timeout(time, given_back).await;
    }
}

pub(super) fn start(parts: &Built) -> Upkeep {
    let mut set = JoinSet::new();
    let mut duties = Vec::new();
    let keys = parts.keys.clone();
    set.spawn(supervised("revocations", move || read_revocations(keys.clone())));
    let keys = parts.keys.clone();
    set.spawn(supervised("keys", move || reload_keys(keys.clone())));
    let (store, ephemeral, clock, pool) = (parts.store.clone(), parts.ephemeral.clone(), parts.clock.clone(), parts.pool.clone());
    let services = parts.services.clone();
    set.spawn(supervised("own", move || own_sweep(services.clone(), store.clone(), ephemeral.clone(), clock.clone(), pool.clone())));
    let services = parts.services.clone();
    set.spawn(supervised("clock", move || compare_clocks(services.clone())));
    let mut duty = |duty, length| {
        duties.push(Arc::new(OnDuty::new(duty, length, parts.store.clone(), parts.clock.clone(), &*parts.rng)));
        duties[duties.len() - 1].clone()
    };
    let (sweeps, store, clock) = (duty(Duty::Sweep, LEASE), parts.store.clone(), parts.clock.clone());
    set.spawn(supervised("sweep", move || sweep(sweeps.clone(), store.clone(), clock.clone())));
    let (bins, services) = (duty(Duty::Bins, LEASE), parts.services.clone());
    set.spawn(supervised("bins", move || empty_bins(bins.clone(), services.clone())));
    let (domains, services) = (duty(Duty::Domains, LEASE), parts.services.clone());
    set.spawn(supervised("domains", move || check_domains(domains.clone(), services.clone())));
    let (audit, store) = (duty(Duty::Audit, chainer::LEASE), parts.store.clone());
    set.spawn(supervised("audit", move || Chainer::new(store.clone(), audit.clone()).run()));
    Upkeep { loops: set, duties }
}

/// Runs a loop that has no end. One that panics is a defect: it is logged and counted, and the loop begins anew, for nobody else does its work.
async fn supervised<F: Future<Output = ()>>(name: &'static str, make: impl Fn() -> F) {
    let failures = metrics::counter!("qeetid_upkeep_failures_total", "loop" => name);
    failures.increment(0);
    loop {
        if AssertUnwindSafe(make()).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(r#loop = name, "a loop beside the requests panicked; it begins anew");
        failures.increment(1);
        tokio::time::sleep(AGAIN).await;
    }
}

/// How far this node's clock is off.
async fn compare_clocks(services: Arc<Services>) {
    loop {
        let pause = match services.compare_clocks().await {
            Ok(true) => CLOCKS,
            Ok(false) => LOOK,
            Err(e) => {
                tracing::debug!(error = %e, "the store's clock can't be read");
                LOOK
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn read_revocations(keys: Arc<Keys>) {
    let mut cursor = 0;
    let mut failing = false;
    loop {
        match keys.read_revocations(cursor).await {
            Ok(next) => (cursor, failing) = (next, false),
            Err(e) => {
                // Said once, not twice a second.
                if !failing {
                    tracing::error!(error = %e, "revocations can't be read");
                }
                failing = true;
            }
        }
        keys.until_revoked(REVOCATIONS).await;
    }
}

async fn reload_keys(keys: Arc<Keys>) {
    loop {
        tokio::time::sleep(KEYS).await;
        if let Err(e) = keys.reload().await {
            tracing::error!(error = %e, "signing keys can't be read; those of before stay in use");
        }
        keys.forget_old_revocations();
    }
}

/// What each process has of its own.
async fn own_sweep(services: Arc<Services>, store: Arc<dyn Store>, ephemeral: Arc<dyn Ephemeral>, clock: Arc<dyn Clock>, pool: Pool) {
    loop {
        if let Err(e) = ephemeral.sweep(clock.now()).await {
            tracing::error!(error = %e, "sweeping codes failed; it is tried again in a minute");
        }
        services.forget_old_counters();
        match store.hash_census().await {
            Ok(census) => pool.note_census(&census),
            Err(e) => tracing::warn!(error = %e, "the kinds of hashes can't be read"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Once in a while for as long as the duty is this process's, and at once when it becomes so.
struct Rounds {
    duty: Arc<OnDuty>,
    pause: Duration,
    next: Instant,
}

impl Rounds {
    fn of(duty: Arc<OnDuty>, pause: Duration) -> Self {
        Self { duty, pause, next: Instant::now() }
    }

    /// Waits until it is time. Whoever works then asks before each step whether the duty is still this process's.
    async fn come(&mut self) {
        loop {
            match self.duty.fence().await {
                Ok(Some(_)) if self.next <= Instant::now() => {
                    self.next = Instant::now() + self.pause;
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) => self.next = Instant::now(),
                Err(e) => tracing::debug!(error = %e, "a lease can't be asked for"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn check_domains(duty: Arc<OnDuty>, services: Arc<Services>) {
    let mut rounds = Rounds::of(duty, DOMAINS);
    loop {
        rounds.come().await;
        if let Err(e) = services.check_domains(&rounds.duty).await {
            tracing::error!(error = %e, "proved domains can't be looked up again; it is tried again in an hour");
        }
    }
}

async fn empty_bins(duty: Arc<OnDuty>, services: Arc<Services>) {
    let mut rounds = Rounds::of(duty, SWEEP);
    loop {
        rounds.come().await;
        if let Err(e) = services.empty_bins(&rounds.duty).await {
            tracing::error!(error = %e, "the recycle bin can't be emptied; it is tried again in a minute");
        }
    }
}

async fn sweep(duty: Arc<OnDuty>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
    let mut rounds = Rounds::of(duty, SWEEP);
    loop {
        rounds.come().await;
        if let Err(e) = sweep_once(&rounds.duty, &*store, &*clock).await {
            tracing::error!(error = %e, "sweeping failed; it is tried again in a minute");
        }
    }
}

async fn sweep_once(duty: &OnDuty, store: &dyn Store, clock: &dyn Clock) -> Result<(), StoreError> {
    let now = clock.now();
    while duty.fence().await?.is_some() {
        let swept = store.sweep(now).await?;
        if swept != Swept::default() {
            tracing::debug!(?swept, "swept");
        }
        if !swept.more {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_loop_that_panics_begins_anew() {
        let runs = AtomicU32::new(0);
        let looping = supervised("test", || async {
            assert!(runs.fetch_add(1, Ordering::SeqCst) >= 2, "twice it fails");
        });
        looping.await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
