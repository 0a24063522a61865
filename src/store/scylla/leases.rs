//! Leases: a unit apiece, so that taking one is a conditional write.

use super::{
    ScyllaStore,
    accounts::ONE,
    cql::Cql,
    tx::{Plan, Planned, Tx},
    unit::Unit,
};
use crate::{
    domain::time::Timestamp,
    store::{
        Result,
        leases::{Duty, LeaseStore},
    },
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const LEASE: &str = "lease";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    holder: [u8; 16],
    fence: u64,
    until: Timestamp,
}

fn unit(duty: Duty) -> Unit {
    Unit::single(&format!("{} lease", duty.name()))
}

struct Take {
    duty: Duty,
    holder: [u8; 16],
    length: Duration,
}

#[async_trait]
impl Plan for Take {
    type Out = Option<u64>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Option<u64>> {
        let unit = unit(self.duty);
        let before: Option<Lease> = tx.get(&unit, LEASE, ONE).await?;
        let fence = match &before {
            None => 1,
            Some(l) if l.until <= tx.now => l.fence + 1,
            Some(l) if l.holder == self.holder => l.fence,
            Some(_) => return Ok(None),
        };
        tx.put(&unit, LEASE, ONE, &Lease { holder: self.holder, fence, until: tx.now.plus(self.length) })?;
        Ok(Some(fence))
    }
}

struct End {
    duty: Duty,
    holder: [u8; 16],
}

#[async_trait]
impl Plan for End {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = unit(self.duty);
        let held: Option<Lease> = tx.get(&unit, LEASE, ONE).await?;
        match held.filter(|lease| lease.holder == self.holder) {
            // Over by any clock.
            Some(lease) => tx.put(&unit, LEASE, ONE, &Lease { until: Timestamp::from_millis(0), ..lease }),
            None => Ok(()),
        }
    }
}

/// Whether the lease has still this fence.
pub(super) async fn holds(cql: &Cql, duty: Duty, fence: u64) -> Result<bool> {
    Ok(cql.peek::<Lease>(&unit(duty), LEASE, ONE).await?.is_some_and(|l| l.fence == fence))
}

#[async_trait]
impl LeaseStore for ScyllaStore {
    async fn lease(&self, duty: Duty, holder: [u8; 16], now: Timestamp, length: Duration) -> Result<Option<u64>> {
        self.engine.change(now, unit(duty), Take { duty, holder, length }).await
    }
    async fn end_lease(&self, duty: Duty, holder: [u8; 16], now: Timestamp) -> Result<()> {
        self.engine.change(now, unit(duty), End { duty, holder }).await
    }
}
