//! Audit events: read, linked into chains, walked.

use super::{Result, commands::Cas};
use crate::domain::{
    audit::{AuditEntry, AuditEvent, ChainRow, Head},
    context::Ctx,
    ids::{AuditId, TenantId, UserId},
};
use async_trait::async_trait;

/// An event, and its link if it has one.
pub type Shown = (AuditEntry, Option<[u8; 32]>);

/// What there is of a tenant's chain, read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainState {
    /// Its end, as noted beside it.
    pub head: Head,
    /// The highest place that has a link; 0: none has.
    pub last: u64,
    /// Events that wait for their link.
    pub unlinked: u64,
    /// An event that claims a place where the chain has another one, or none.
    pub stray: Option<AuditId>,
}

/// Audit events. Most are written by the commands of the other traits; the rules of [`super::Store`] hold.
///
/// One process at a time links events: it holds a lease ([`super::leases`]). Links are conditional on its fence, so that a former holder,
/// however late it wakes up, can't make a second branch.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// Writes events that belong to no other command.
    async fn write_audit(&self, ctx: &Ctx, events: Vec<AuditEvent>) -> Result<()>;
    /// Events of a tenant, newest first, those made before `after` (the last id of the page before), at most `limit`.
    async fn audit_events(&self, tenant: TenantId, after: Option<AuditId>, limit: u32) -> Result<Vec<Shown>>;
    /// Whether any event waits for its link.
    async fn audit_waits(&self) -> Result<bool>;
    /// Links up to `limit` events, each tenant's into its own chain, and says how many; `Stale` if `fence` is not that of the lease of
    /// [`Duty::Audit`](super::leases::Duty).
    async fn link_audit(&self, fence: u64, limit: u32) -> Result<Cas<u64>>;
    /// Erases what all events hold of a user who is gone; chains stay whole. (A purge does this by itself.)
    async fn erase_from_audit(&self, user: UserId) -> Result<()>;
    /// The next tenant by id that has events or a chain.
    async fn audited_tenant(&self, after: Option<TenantId>) -> Result<Option<TenantId>>;
    /// What there is of a chain.
    async fn chain_state(&self, tenant: TenantId) -> Result<ChainState>;
    /// Links after place `after`, in order, at most `limit`.
    async fn chain(&self, tenant: TenantId, after: u64, limit: u32) -> Result<Vec<ChainRow>>;
}
