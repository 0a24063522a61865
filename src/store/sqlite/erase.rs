//! What goes for good: users out of the recycle bin, and tenants that were deleted.

use super::{
    audit, domains, invites,
    rows::{self, stamp},
    sessions, tenants, users,
};
use crate::{
    domain::{
        authority::{By, Place},
        ids::{TenantId, UserId},
        tenant::TenantKind,
        time::Timestamp,
        user::User,
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::admin::{EndedTenants, Newcomers},
};
use std::time::Duration;

/// How long a deleted tenant is kept, and with it those who belonged nowhere else.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Members that a step sees to, and rows of a tenant that it removes: all writers wait meanwhile (some ms).
const STEP: u32 = 250;

/// Removes every row of a user. What others keep that names him loses the name: API keys and invites stay, without their maker; audit
/// events stay, without where he was.
pub(super) fn user(c: &Connection, now: Timestamp, u: &User) -> rusqlite::Result<()> {
    let (id, digest) = (u.id.as_bytes(), u.email.digest());
    let tenants: Vec<TenantId> = c
        .prepare_cached("SELECT tenant_id FROM memberships WHERE user_id = ?1")?
        .query_map([id], |row| row.get(0).map(TenantId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    c.prepare_cached("DELETE FROM pending_signups WHERE email_digest = ?1")?.execute([digest.as_bytes()])?;
    // The others end by themselves: their worker finds nobody.
    c.prepare_cached(
        "DELETE FROM outbox WHERE parked = 1 AND (json_extract(message, '$.user_id') = ?1 OR json_extract(message, '$.contact') = ?2)",
    )?
    .execute(params![u.id.to_string(), rows::json(&digest)?])?;
    c.prepare_cached("DELETE FROM invites WHERE email_digest = ?1")?.execute([digest.as_bytes()])?;
    invites::revoke_by_hand(c, now, u.id)?;
    for sql in [
        "UPDATE api_keys SET user_id = NULL, stopped_at = coalesce(stopped_at, created_at) WHERE user_id = ?1",
        "UPDATE invites SET inviter = NULL WHERE inviter = ?1",
    ] {
        c.prepare_cached(sql)?.execute([id])?;
    }
    audit::erase(c, u.id)?;
    c.prepare_cached("DELETE FROM memberships WHERE user_id = ?1")?.execute([id])?;
    c.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([id])?;
    for tenant in tenants {
        without_members(c, now, tenant)?;
    }
    c.prepare_cached("UPDATE scrubbing SET erased = erased + 1")?.execute([]).map(drop)
}

/// A personal tenant goes with its person; an organization that nobody belongs to any more is deleted like any other.
fn without_members(c: &Connection, now: Timestamp, tenant: TenantId) -> rusqlite::Result<()> {
    let id = tenant.as_bytes();
    if c.prepare_cached("SELECT 1 FROM memberships WHERE tenant_id = ?1")?.exists([id])? {
        return Ok(());
    }
    match super::tenants::get(c, tenant)? {
        Some(t) if t.kind == TenantKind::Personal => c.prepare_cached("DELETE FROM tenants WHERE id = ?1")?.execute([id]).map(drop),
        Some(t) if t.deleted_at.is_none() => {
            let cmd = crate::store::admin::DeleteTenant { tenant_id: tenant, by: By::operator(tenant), audit: Vec::new() };
            super::admin_write::delete_tenant(c, now, &cmd).map(drop)
        }
        _ => Ok(()),
    }
}

/// A step: invites and members of a deleted tenant first, the oldest deletion first; then tenants whose time is over.
pub(super) fn end_tenants(c: &Connection, now: Timestamp, newcomers: &Newcomers) -> rusqlite::Result<EndedTenants> {
    let open: Option<(TenantId, Timestamp, [u8; 16])> = c
        .prepare_cached("SELECT tenant_id, deleted_at, reached FROM tenant_endings WHERE reached IS NOT NULL ORDER BY deleted_at LIMIT 1")?
        .query_row([], |row| Ok((TenantId::from_bytes(row.get(0)?), rows::time(row, 1)?, row.get(2)?)))
        .optional()?;
    if let Some((tenant, deleted_at, reached)) = open {
        if invites::revoke_of_tenant(c, now, tenant, STEP)? {
            return Ok(EndedTenants { more: true, ..Default::default() });
        }
        let members = let_members_go(c, now, tenant, deleted_at, reached, newcomers)?;
        return Ok(EndedTenants { members, purged: 0, more: true });
    }
    let over: Option<TenantId> = c
        .prepare_cached("SELECT tenant_id FROM tenant_endings WHERE deleted_at <= ?1 ORDER BY deleted_at LIMIT 1")?
        .query_row([stamp(now.minus(KEPT))], |row| row.get(0).map(TenantId::from_bytes))
        .optional()?;
    let Some(tenant) = over else { return Ok(EndedTenants::default()) };
    Ok(EndedTenants { members: 0, purged: u64::from(remove(c, tenant)?), more: true })
}

fn let_members_go(
    c: &Connection,
    now: Timestamp,
    tenant: TenantId,
    deleted_at: Timestamp,
    reached: [u8; 16],
    newcomers: &Newcomers,
) -> rusqlite::Result<u64> {
    let place = match tenants::get(c, tenant)? {
        Some(t) => domains::place_at_the_end(c, &t)?,
        None => Place::powerless(),
    };
    let ids: Vec<UserId> = c
        .prepare_cached("SELECT user_id FROM memberships WHERE tenant_id = ?1 AND user_id > ?2 ORDER BY user_id LIMIT ?3")?
        .query_map(params![tenant.as_bytes(), reached, STEP], |row| row.get(0).map(UserId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &ids {
        sessions::revoke_in_tenant(c, now, *id, tenant)?;
        let elsewhere: Option<TenantId> = c
            .prepare_cached(
                "SELECT m.tenant_id FROM memberships m JOIN tenants t ON t.id = m.tenant_id
                 WHERE m.user_id = ?1 AND t.deleted_at IS NULL ORDER BY m.joined_at LIMIT 1",
            )?
            .query_row([id.as_bytes()], |row| row.get(0).map(TenantId::from_bytes))
            .optional()?;
        match elsewhere {
            // His home and his next sign-in must not be where nobody is.
            Some(home) => c
                .prepare_cached(
                    "UPDATE users SET last_tenant = nullif(last_tenant, ?2), metadata = CASE home_tenant WHEN ?2 THEN '{}' ELSE metadata END,
                     home_tenant = CASE home_tenant WHEN ?2 THEN ?3 ELSE home_tenant END,
                     version = version + 1 WHERE id = ?1",
                )?
                .execute([id.as_bytes(), tenant.as_bytes(), home.as_bytes()])
                .map(drop)?,
            None => {
                if let Some(user) = rows::user_by_id(c, *id)? {
                    // Only who belonged to it alone goes with it, and only if it had power over them.
                    if place.takes_along(&user) {
                        if user.deleted_at.is_none() {
                            users::into_bin(c, now, &user, deleted_at.plus(KEPT))?;
                        }
                    } else {
                        tenants::give_personal(c, now, user.id, &newcomers.personal(user.id, now))?;
                        c.prepare_cached("UPDATE users SET last_tenant = nullif(last_tenant, ?2) WHERE id = ?1")?
                            .execute([id.as_bytes(), tenant.as_bytes()])?;
                    }
                }
            }
        }
    }
    let reached = if ids.len() < STEP as usize { None } else { ids.last() };
    c.prepare_cached("UPDATE tenant_endings SET reached = ?2 WHERE tenant_id = ?1")?
        .execute(params![tenant.as_bytes(), reached.map(UserId::as_bytes)])?;
    Ok(ids.len() as u64)
}

/// Removes a few rows of a tenant, and in the end the tenant; whether that has come.
fn remove(c: &Connection, tenant: TenantId) -> rusqlite::Result<bool> {
    let id = tenant.as_bytes();
    for sql in [
        "DELETE FROM memberships WHERE (user_id, tenant_id) IN (SELECT user_id, tenant_id FROM memberships WHERE tenant_id = ?1 LIMIT ?2)",
        "DELETE FROM invites WHERE id IN (SELECT id FROM invites WHERE tenant_id = ?1 LIMIT ?2)",
    ] {
        if c.prepare_cached(sql)?.execute(params![id, STEP])? == STEP as usize {
            return Ok(false);
        }
    }
    if !audit::remove(c, tenant, STEP)? {
        return Ok(false);
    }
    c.prepare_cached("DELETE FROM tenants WHERE id = ?1")?.execute([id])?;
    c.prepare_cached("DELETE FROM tenant_endings WHERE tenant_id = ?1")?.execute([id])?;
    c.prepare_cached("UPDATE scrubbing SET erased = erased + 1")?.execute([])?;
    Ok(true)
}
