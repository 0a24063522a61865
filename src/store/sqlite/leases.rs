//! Leases.

use super::{
    SqliteStore,
    rows::{int, number, stamp},
};
use crate::{
    domain::time::Timestamp,
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::{
        Result,
        leases::{Duty, LeaseStore},
    },
};
use async_trait::async_trait;
use std::time::Duration;

fn take(c: &Connection, duty: Duty, holder: [u8; 16], now: Timestamp, length: Duration) -> rusqlite::Result<Option<u64>> {
    c.prepare_cached(
        "INSERT INTO leases (duty, holder, fence, until) VALUES (?1, ?2, 1, ?4) ON CONFLICT DO UPDATE SET
         fence = fence + (holder <> ?2 OR until <= ?3), holder = ?2, until = ?4 WHERE holder = ?2 OR until <= ?3 RETURNING fence",
    )?
    .query_row(params![duty.name(), holder, stamp(now), stamp(now.plus(length))], |row| number(row, 0))
    .optional()
}

fn end(c: &Connection, duty: Duty, holder: [u8; 16]) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE leases SET until = 0 WHERE duty = ?1 AND holder = ?2")?.execute(params![duty.name(), holder]).map(drop)
}

/// Whether the lease has still this fence.
pub(super) fn holds(c: &Connection, duty: Duty, fence: u64) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM leases WHERE duty = ?1 AND fence = ?2")?.exists(params![duty.name(), int(fence)])
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn lease(&self, duty: Duty, holder: [u8; 16], now: Timestamp, length: Duration) -> Result<Option<u64>> {
        self.write(move |c| take(c, duty, holder, now, length)).await
    }
    async fn end_lease(&self, duty: Duty, holder: [u8; 16], _: Timestamp) -> Result<()> {
        self.write(move |c| end(c, duty, holder)).await
    }
}
