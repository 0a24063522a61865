//! Leases: work that one process at a time does.

use super::Result;
use crate::domain::time::Timestamp;
use async_trait::async_trait;
use std::time::Duration;

/// Work of which there is one for all processes on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Linking audit events into chains.
    Audit,
    /// Removing what has had its time.
    Sweep,
    /// Emptying the recycle bin, and ending deleted tenants.
    Bins,
    /// Looking up again the records of proved domains.
    Domains,
}

impl Duty {
    /// Its name, in the store and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Sweep => "sweep",
            Self::Bins => "bins",
            Self::Domains => "domains",
        }
    }
}

/// Leases: one a duty, under a fence that only grows.
///
/// Time is that of who asks: a process whose clock is ahead by more than a lease's length takes it early. So may one that was frozen go
/// on when it wakes up. A fence tells the two apart: what must not be done by both is conditional on it.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes the lease until `now` + `length` (or keeps it, with the same fence); `None` while somebody else has it.
    async fn lease(&self, duty: Duty, holder: [u8; 16], now: Timestamp, length: Duration) -> Result<Option<u64>>;
    /// Ends the lease if this is its holder: the next one who asks gets it, with a higher fence.
    async fn end_lease(&self, duty: Duty, holder: [u8; 16], now: Timestamp) -> Result<()>;
}
