//! What goes on beside the requests: reading revocations, reloading keys, sweeping, linking audit events.

use super::build::Built;
use crate::{
    credentials::pool::Pool,
    domain::time::Clock,
    ephemeral::Ephemeral,
    service::{Services, chainer::Chainer, keys::Keys},
    store::{Store, commands::Swept},
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// A revoked access token is refused everywhere within a second, also where nobody is told of it.
const REVOCATIONS: Duration = Duration::from_millis(500);
/// A key made elsewhere is in our JWKS this soon; it signs ten minutes later.
const KEYS: Duration = Duration::from_secs(30);
/// Expired rows may wait this long.
const SWEEP: Duration = Duration::from_secs(60);

/// The running loops; they end with it.
pub(super) struct Upkeep(JoinSet<()>);

impl Upkeep {
    pub(super) fn stop(mut self) {
        self.0.abort_all();
    }
}

pub(super) fn start(parts: &Built) -> Upkeep {
    let mut set = JoinSet::new();
    set.spawn(read_revocations(parts.keys.clone()));
    set.spawn(reload_keys(parts.keys.clone()));
    set.spawn(empty_bins(parts.services.clone()));
    set.spawn(sweep(parts.store.clone(), parts.ephemeral.clone(), parts.clock.clone(), parts.pool.clone()));
    set.spawn(Chainer::new(parts.store.clone(), parts.clock.clone(), &*parts.rng).run());
    Upkeep(set)
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

async fn empty_bins(services: Arc<Services>) {
    loop {
        if let Err(e) = services.empty_bins().await {
            tracing::error!(error = %e, "the recycle bin can't be emptied; it is tried again in a minute");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

async fn sweep(store: Arc<dyn Store>, ephemeral: Arc<dyn Ephemeral>, clock: Arc<dyn Clock>, pool: Pool) {
    loop {
        if let Err(e) = sweep_once(&*store, &*ephemeral, &*clock).await {
            tracing::error!(error = %e, "sweeping failed; it is tried again in a minute");
        }
        match store.hash_census().await {
            Ok(census) => pool.note_census(&census),
            Err(e) => tracing::warn!(error = %e, "the kinds of hashes can't be read"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

async fn sweep_once(store: &dyn Store, ephemeral: &dyn Ephemeral, clock: &dyn Clock) -> Result<(), super::AppError> {
    let now = clock.now();
    ephemeral.sweep(now).await.map_err(|e| super::AppError::new("codes", e))?;
    loop {
        let swept = store.sweep(now).await.map_err(|e| super::AppError::new("rows", e))?;
        if swept != Swept::default() {
            tracing::debug!(?swept, "swept");
        }
        if !swept.more {
            return Ok(());
        }
    }
}
