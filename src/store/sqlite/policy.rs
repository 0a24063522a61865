//! The auth policy of a tenant.

use super::{
    SqliteStore, ending,
    rows::{int, json, stamp},
};
use crate::{
    domain::{context::Ctx, time::Timestamp},
    sqlite::{Connection, params, rusqlite},
    store::{
        Result,
        commands::Cas,
        policy::{PolicyStore, SetPolicy},
    },
};
use async_trait::async_trait;

#[async_trait]
impl PolicyStore for SqliteStore {
    async fn set_policy(&self, ctx: &Ctx, cmd: SetPolicy) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| set(c, now, &cmd)).await
    }
}

fn set(c: &Connection, now: Timestamp, cmd: &SetPolicy) -> rusqlite::Result<Cas<()>> {
    let written = c
        .prepare_cached(
            "UPDATE tenants SET policy = ?1, version = version + 1, updated_at = ?2
             WHERE id = ?3 AND version = ?4 AND deleted_at IS NULL",
        )?
        .execute(params![json(&cmd.policy)?, stamp(now), cmd.tenant_id.as_bytes(), int(cmd.expect_version)])?;
    if written == 0 {
        return Ok(Cas::Stale);
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}
