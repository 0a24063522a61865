//! Who acts, by what their rows say at the moment of the command.

use super::{access, rows, tenants};
use crate::{
    domain::{
        api_key::{ApiKey, Origin},
        authority::{Acting, Authority, By, Denied, Permitted},
        ids::{RoleId, SessionId, TenantId, UserId},
        permission::{Permission, PermissionSet},
        tenant::Tenant,
        time::Timestamp,
        user::User,
    },
    sqlite::{Connection, params, rusqlite},
};

/// Whoever acts; if they can't any more, why.
pub(super) fn acting(c: &Connection, now: Timestamp, by: By) -> rusqlite::Result<Permitted<Acting>> {
    let Some(tenant) = tenants::live(c, by.tenant_id)? else { return Ok(Err(Denied::NoPermission)) };
    let found = match by.authority {
        Authority::Operator => Some(Acting::operator()),
        Authority::Person { user, session } => match rows::user_by_id(c, user)? {
            Some(user) if is_signed_in(c, &user, session)? => member(c, &user, &tenant)?,
            _ => None,
        },
        Authority::Key(id) => match access::live_key(c, now, by.tenant_id, id)? {
            Some(key) => through(c, &key, &tenant)?,
            None => None,
        },
    };
    Ok(found.ok_or(Denied::NoPermission))
}

/// The same, with the permission that it takes.
pub(super) fn permitted(c: &Connection, now: Timestamp, by: By, permission: Permission) -> rusqlite::Result<Permitted<Acting>> {
    Ok(acting(c, now, by)?.and_then(|acting| acting.needs(permission).map(|()| acting)))
}

/// Whoever did something before, as they are now: their session may have ended since, but not their credentials.
pub(super) fn later(c: &Connection, now: Timestamp, by: By) -> rusqlite::Result<Option<Acting>> {
    let Authority::Person { user, session } = by.authority else { return acting(c, now, by).map(Result::ok) };
    let (Some(user), Some(tenant)) = (rows::user_by_id(c, user)?, tenants::get(c, by.tenant_id)?) else { return Ok(None) };
    let same = c.prepare_cached("SELECT 1 FROM sessions WHERE user_id = ?1 AND id = ?2 AND credential_epoch = ?3")?.exists(params![
        user.id.as_bytes(),
        session.as_bytes(),
        rows::int(user.credential_epoch)
    ])?;
    if same { member(c, &user, &tenant) } else { Ok(None) }
}

/// After a migration: organizations without power over credentials, and keys without a maker that it has ended.
pub(super) fn left_without_power(c: &Connection) -> rusqlite::Result<(u64, u64)> {
    c.query_row(
        "SELECT (SELECT count(*) FROM tenants WHERE kind = 'organization' AND managed = 0 AND deleted_at IS NULL),
                (SELECT count(*) FROM api_keys WHERE user_id IS NULL AND origin = 'user' AND revoked_at > (unixepoch() - 60) * 1000)",
        [],
        |row| Ok((rows::number(row, 0)?, rows::number(row, 1)?)),
    )
}

/// A person as a member of a tenant, by their rows of now.
pub(super) fn member_of(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<Option<Acting>> {
    let (Some(user), Some(tenant)) = (rows::user_by_id(c, user)?, tenants::get(c, tenant)?) else { return Ok(None) };
    member(c, &user, &tenant)
}

/// The session has not ended, and was made (or kept) under the account's present credentials.
fn is_signed_in(c: &Connection, user: &User, session: SessionId) -> rusqlite::Result<bool> {
    if !user.may_sign_in() {
        return Ok(false);
    }
    c.prepare_cached("SELECT 1 FROM sessions WHERE user_id = ?1 AND id = ?2 AND revoked_at IS NULL AND credential_epoch = ?3")?
        .exists(params![user.id.as_bytes(), session.as_bytes(), rows::int(user.credential_epoch)])
}

/// A person as a member; `None`: they are none, or their account is deleted.
pub(super) fn member(c: &Connection, user: &User, tenant: &Tenant) -> rusqlite::Result<Option<Acting>> {
    let roles = tenants::roles(c, user.id, tenant.id)?;
    if roles.is_empty() || user.deleted_at.is_some() || tenant.deleted_at.is_some() {
        return Ok(None);
    }
    Ok(Some(Acting::member(user, &roles, access::allowed_by(c, tenant.id, &roles)?, tenant)))
}

/// Whoever uses a key; `None`: its maker is gone, and nobody has taken it over.
pub(super) fn through(c: &Connection, key: &ApiKey, tenant: &Tenant) -> rusqlite::Result<Option<Acting>> {
    if key.origin == Origin::Operator {
        return Ok(Some(Acting::operators_key(key.scopes)));
    }
    if key.stopped_at.is_some() {
        return Ok(None);
    }
    let Some(maker) = key.user_id.map(|id| rows::user_by_id(c, id)).transpose()?.flatten() else { return Ok(None) };
    Ok(member(c, &maker, tenant)?.map(|m| m.through(key.scopes)))
}

/// Whether a member of a tenant has a proved address, as that tenant counts it.
pub(super) fn is_proved(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<bool> {
    let (Some(user), Some(tenant)) = (rows::user_by_id(c, user)?, tenants::get(c, tenant)?) else { return Ok(false) };
    Ok(crate::domain::authority::is_proved(&user, &tenant))
}

/// What a role allows, if whoever acts may give (or take) it.
pub(super) fn givable(
    c: &Connection,
    acting: &Acting,
    tenant: TenantId,
    role: RoleId,
    taker: Option<UserId>,
) -> rusqlite::Result<Option<Result<PermissionSet, Denied>>> {
    Ok(access::allows(c, tenant, role)?.map(|allows| acting.may_give(role, allows, taker).map(|()| allows)))
}
