//! The auth policy of a tenant.

use super::{
    SqliteStore, authority, ending,
    rows::{int, stamp},
};
use crate::{
    domain::{authority::Permitted, context::Ctx, permission::Permission, time::Timestamp},
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, types::Type},
    },
    store::{
        Result,
        commands::Cas,
        policy::{PolicyStore, SetPolicy},
        unknown::with_unknown,
    },
};
use async_trait::async_trait;

#[async_trait]
impl PolicyStore for SqliteStore {
    async fn set_policy(&self, ctx: &Ctx, cmd: SetPolicy) -> Result<Permitted<Cas<()>>> {
        self.command(ctx, move |c, now| set(c, now, &cmd)).await
    }
}

fn set(c: &Connection, now: Timestamp, cmd: &SetPolicy) -> rusqlite::Result<Permitted<Cas<()>>> {
    let stored: Option<String> = c
        .prepare_cached("SELECT policy FROM tenants WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([cmd.tenant_id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(stored) = stored else { return Ok(Ok(Cas::Stale)) };
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::PolicyWrite)? {
        return Ok(Err(why));
    }
    let policy = with_unknown(&stored, &cmd.policy).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))?;
    let written = c
        .prepare_cached(
            "UPDATE tenants SET policy = ?1, version = version + 1, updated_at = ?2
             WHERE id = ?3 AND version = ?4",
        )?
        .execute(params![policy, stamp(now), cmd.tenant_id.as_bytes(), int(cmd.expect_version)])?;
    if written == 0 {
        return Ok(Ok(Cas::Stale));
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Ok(Cas::Done(())))
}
