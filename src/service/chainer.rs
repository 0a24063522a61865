//! Linking audit events into the chains of their tenants, and walking those.

use super::duty::OnDuty;
use crate::{
    domain::{
        audit::Head,
        ids::{AuditId, TenantId},
    },
    store::{Store, StoreError, commands::Cas},
};
use std::{sync::Arc, time::Duration};

/// Between two looks: an event has its link within five seconds, with the lease of a process that died waited for.
const LOOK: Duration = Duration::from_secs(1);
/// How long nobody else links.
pub const LEASE: Duration = Duration::from_secs(3);
/// Events linked in one command: all writers wait meanwhile (some ms).
const BATCH: u32 = 500;
/// Links read at once.
const STRIDE: u32 = 1000;

/// Links events, one process at a time.
pub struct Chainer {
    store: Arc<dyn Store>,
    duty: Arc<OnDuty>,
}

impl Chainer {
    /// For the duty of [`Duty::Audit`](crate::store::leases::Duty::Audit), with a lease of [`LEASE`].
    pub const fn new(store: Arc<dyn Store>, duty: Arc<OnDuty>) -> Self {
        Self { store, duty }
    }

    /// Goes on until it is dropped.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            match self.catch_up().await {
                Ok(_) => failing = false,
                Err(e) => {
                    // Said once, not every second.
                    if !failing {
                        tracing::error!(error = %e, "audit events can't be linked; they wait");
                    }
                    failing = true;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Links what waits, unless somebody else is at it; says how many.
    ///
    /// # Errors
    /// The store's. What was linked stays so.
    pub async fn catch_up(&self) -> Result<u64, StoreError> {
        let mut done = 0;
        while self.store.audit_waits().await? {
            let Some(fence) = self.duty.fence().await? else { return Ok(done) };
            match self.store.link_audit(fence, BATCH).await? {
                Cas::Done(n) => done += n,
                Cas::Stale => break,
            }
        }
        self.duty.rest();
        Ok(done)
    }
}

/// What a walk over one chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Whose chain.
    pub tenant_id: TenantId,
    /// Its end: kept elsewhere, it shows later that nobody has made the chain anew.
    pub head: Head,
    /// Events that wait for their link; what is changed in them can't be noticed yet.
    pub unlinked: u64,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// At which place; `None`: the event has none in the chain.
    pub seq: Option<u64>,
    /// Which event, as far as one is left.
    pub event: Option<AuditId>,
    /// What, in words.
    pub why: &'static str,
}

/// Walks the chain of one tenant as far as it went when the walk began. If it goes meanwhile, with a tenant whose time is over, what
/// is left of it is walked.
///
/// # Errors
/// The store's.
pub async fn walk(store: &dyn Store, tenant_id: TenantId) -> Result<ChainReport, StoreError> {
    loop {
        let report = walk_once(store, tenant_id).await?;
        // A chain only goes from its end, with its head.
        if report.broken.is_none() || store.chain_state(tenant_id).await?.head.seq >= report.head.seq {
            return Ok(report);
        }
    }
}

async fn walk_once(store: &dyn Store, tenant_id: TenantId) -> Result<ChainReport, StoreError> {
    let state = store.chain_state(tenant_id).await?;
    let report = |broken| Ok(ChainReport { tenant_id, head: state.head, unlinked: state.unlinked, broken });
    let mut at = Head::EMPTY;
    while at.seq < state.head.seq {
        let rows = store.chain(tenant_id, at.seq, STRIDE).await?;
        if rows.is_empty() {
            return report(Some(Broken { seq: Some(at.seq + 1), event: None, why: "the chain was cut short" }));
        }
        for row in &rows {
            if at.seq == state.head.seq {
                break;
            }
            match at.walk(row) {
                Ok(next) => at = next,
                Err(why) => return report(Some(Broken { seq: Some(row.seq), event: Some(row.event_id), why })),
            }
        }
    }
    if at != state.head || state.last != state.head.seq {
        return report(Some(Broken { seq: Some(at.seq), event: None, why: "the chain ends otherwise than was noted" }));
    }
    report(state.stray.map(|event| Broken { seq: None, event: Some(event), why: "the event is in no chain, but says that it is" }))
}

/// Walks all chains, or one.
///
/// # Errors
/// The store's.
pub async fn walk_all(store: &dyn Store, only: Option<TenantId>) -> Result<Vec<ChainReport>, StoreError> {
    if let Some(tenant) = only {
        return Ok(vec![walk(store, tenant).await?]);
    }
    let (mut reports, mut after) = (Vec::new(), None);
    while let Some(tenant) = store.audited_tenant(after).await? {
        reports.push(walk(store, tenant).await?);
        after = Some(tenant);
    }
    Ok(reports)
}
