//! Roles and API keys.

use super::{
    command::Outcome,
    ending,
    rows::{self, json, stamp, strange},
    sessions, tenants,
};
use crate::{
    domain::{
        api_key::ApiKey,
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        permission::{PermissionSet, Role},
        time::Timestamp,
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{access::*, commands::*},
};

impl Outcome for CreateRoleOutcome {}
impl Outcome for ChangeRoleOutcome {}
impl Outcome for CreateApiKeyOutcome {}

/// Roles that a tenant may make.
const ROLES: i64 = 100;
/// Live API keys that a tenant may have.
const KEYS: i64 = 1000;

fn permissions(row: &Row<'_>, i: usize) -> rusqlite::Result<PermissionSet> {
    serde_json::from_str(row.get_ref(i)?.as_str()?).map_err(|_| strange(i, "no list of permissions"))
}

/// What one role of a tenant allows; `None` if there is no such role.
pub(super) fn allows(c: &Connection, tenant: TenantId, role: RoleId) -> rusqlite::Result<Option<PermissionSet>> {
    if let Some(system) = Role::system_permissions(role) {
        return Ok(Some(system));
    }
    c.prepare_cached("SELECT permissions FROM roles WHERE tenant_id = ?1 AND id = ?2")?
        .query_row([tenant.as_bytes(), role.as_bytes()], |row| permissions(row, 0))
        .optional()
}

/// Whether there is such a role in the tenant.
pub(super) fn has_role(c: &Connection, tenant: TenantId, role: RoleId) -> rusqlite::Result<bool> {
    Ok(allows(c, tenant, role)?.is_some())
}

pub(super) fn grant(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<Option<Grant>> {
    let kind = c
        .prepare_cached("SELECT kind FROM tenants WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([tenant.as_bytes()], |row| rows::tenant_kind(row, 0))
        .optional()?;
    let Some(kind) = kind else { return Ok(None) };
    let roles = tenants::roles(c, user, tenant)?;
    if roles.is_empty() {
        return Ok(None);
    }
    let permissions = allowed_by(c, tenant, &roles)?;
    Ok(Some(Grant { roles, permissions, kind }))
}

/// What roles allow together.
pub(super) fn allowed_by(c: &Connection, tenant: TenantId, roles: &[RoleId]) -> rusqlite::Result<PermissionSet> {
    let mut together = PermissionSet::default();
    for role in roles {
        together = together.union(allows(c, tenant, *role)?.unwrap_or_default());
    }
    Ok(together)
}

pub(super) fn roles(c: &Connection, tenant: TenantId) -> rusqlite::Result<Vec<Role>> {
    c.prepare_cached("SELECT id, name, description, permissions, created_at FROM roles WHERE tenant_id = ?1 ORDER BY name")?
        .query_map([tenant.as_bytes()], |row| {
            Ok(Role {
                id: RoleId::from_bytes(row.get(0)?),
                tenant_id: Some(tenant),
                name: row.get(1)?,
                description: row.get(2)?,
                permissions: permissions(row, 3)?,
                created_at: Some(rows::time(row, 4)?),
            })
        })?
        .collect()
}

pub(super) fn create_role(c: &Connection, now: Timestamp, cmd: &CreateRole) -> rusqlite::Result<CreateRoleOutcome> {
    let role = &cmd.role;
    let Some(tenant) = role.tenant_id else { return Ok(CreateRoleOutcome::NameTaken) };
    let system = Role::system().iter().any(|r| r.name.eq_ignore_ascii_case(&role.name));
    let taken =
        c.prepare_cached("SELECT 1 FROM roles WHERE tenant_id = ?1 AND name = ?2")?.exists(params![tenant.as_bytes(), role.name])?;
    if system || taken {
        return Ok(CreateRoleOutcome::NameTaken);
    }
    let count: i64 =
        c.prepare_cached("SELECT count(*) FROM roles WHERE tenant_id = ?1")?.query_row([tenant.as_bytes()], |row| row.get(0))?;
    if count >= ROLES {
        return Ok(CreateRoleOutcome::TooMany);
    }
    c.prepare_cached("INSERT INTO roles (tenant_id, id, name, description, permissions, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            tenant.as_bytes(),
            role.id.as_bytes(),
            role.name,
            role.description,
            json(&role.permissions)?,
            stamp(role.created_at.unwrap_or(now))
        ])?;
    ending::audit(c, &cmd.audit)?;
    Ok(CreateRoleOutcome::Created)
}

pub(super) fn touch_user(c: &Connection, user: UserId) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE users SET version = version + 1 WHERE id = ?1")?.execute([user.as_bytes()]).map(drop)
}

pub(super) fn give_role(c: &Connection, cmd: &ChangeRole) -> rusqlite::Result<ChangeRoleOutcome> {
    if tenants::membership(c, cmd.user_id, cmd.tenant_id)?.is_none() {
        return Ok(ChangeRoleOutcome::NotMember);
    }
    if allows(c, cmd.tenant_id, cmd.role_id)?.is_none() {
        return Ok(ChangeRoleOutcome::NoRole);
    }
    if tenants::give_role(c, cmd.user_id, cmd.tenant_id, cmd.role_id)? {
        touch_user(c, cmd.user_id)?;
        ending::audit(c, &cmd.audit)?;
    }
    Ok(ChangeRoleOutcome::Done)
}

pub(super) fn take_role(c: &Connection, now: Timestamp, cmd: &ChangeRole) -> rusqlite::Result<ChangeRoleOutcome> {
    let (user, tenant) = (cmd.user_id, cmd.tenant_id);
    let Some(membership) = tenants::membership(c, user, tenant)? else { return Ok(ChangeRoleOutcome::NotMember) };
    if allows(c, tenant, cmd.role_id)?.is_none() {
        return Ok(ChangeRoleOutcome::NoRole);
    }
    if !membership.roles.contains(&cmd.role_id) {
        return Ok(ChangeRoleOutcome::Done);
    }
    if cmd.role_id == RoleId::OWNER && !tenants::has_other_owner(c, tenant, user)? {
        return Ok(ChangeRoleOutcome::LastOwner);
    }
    let last = membership.roles.len() == 1;
    if last {
        if !tenants::belongs_elsewhere(c, user, tenant)? {
            return Ok(ChangeRoleOutcome::OnlyTenant);
        }
        tenants::end_membership(c, user, tenant)?;
        sessions::revoke_in_tenant(c, now, user, tenant)?;
    } else {
        c.prepare_cached("DELETE FROM member_roles WHERE user_id = ?1 AND tenant_id = ?2 AND role_id = ?3")?.execute([
            user.as_bytes(),
            tenant.as_bytes(),
            cmd.role_id.as_bytes(),
        ])?;
        touch_user(c, user)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(if last { ChangeRoleOutcome::Removed } else { ChangeRoleOutcome::Done })
}

macro_rules! key_columns {
    () => {
        "k.id, k.tenant_id, k.user_id, k.name, k.prefix, k.secret_digest, k.scopes, k.expires_at, k.last_used_at, k.revoked_at, k.created_at"
    };
}

fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId::from_bytes(row.get(0)?),
        tenant_id: TenantId::from_bytes(row.get(1)?),
        user_id: row.get::<_, Option<_>>(2)?.map(UserId::from_bytes),
        name: row.get(3)?,
        prefix: row.get(4)?,
        secret_digest: row.get(5)?,
        scopes: permissions(row, 6)?,
        expires_at: rows::maybe_time(row, 7)?,
        last_used_at: rows::maybe_time(row, 8)?,
        revoked_at: rows::maybe_time(row, 9)?,
        created_at: rows::time(row, 10)?,
    })
}

pub(super) fn create_key(c: &Connection, now: Timestamp, cmd: &CreateApiKey) -> rusqlite::Result<CreateApiKeyOutcome> {
    let k = &cmd.key;
    if tenants::get(c, k.tenant_id)?.is_none_or(|t| t.deleted_at.is_some()) {
        return Ok(CreateApiKeyOutcome::NoTenant);
    }
    let live: i64 = c
        .prepare_cached(
            "SELECT count(*) FROM api_keys WHERE tenant_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
        )?
        .query_row(params![k.tenant_id.as_bytes(), stamp(now)], |row| row.get(0))?;
    if live >= KEYS {
        return Ok(CreateApiKeyOutcome::TooMany);
    }
    c.prepare_cached(
        "INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_digest, scopes, expires_at, last_used_at, revoked_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        k.id.as_bytes(),
        k.tenant_id.as_bytes(),
        k.user_id.as_ref().map(UserId::as_bytes),
        k.name,
        k.prefix,
        k.secret_digest,
        json(&k.scopes)?,
        k.expires_at.map(stamp),
        k.last_used_at.map(stamp),
        k.revoked_at.map(stamp),
        stamp(k.created_at),
    ])?;
    ending::audit(c, &cmd.audit)?;
    Ok(CreateApiKeyOutcome::Created)
}

pub(super) fn found_tenant(c: &Connection, now: Timestamp, cmd: &FoundTenant) -> rusqlite::Result<CreateTenantOutcome> {
    if tenants::slug_taken(c, &cmd.tenant.slug)? {
        return Ok(CreateTenantOutcome::SlugTaken);
    }
    tenants::insert(c, &cmd.tenant)?;
    create_key(c, now, &CreateApiKey { key: cmd.key.clone(), audit: cmd.audit.clone() })?;
    Ok(CreateTenantOutcome::Created)
}

pub(super) fn key_by_prefix(c: &Connection, prefix: &str) -> rusqlite::Result<Option<ApiKey>> {
    c.prepare_cached(concat!(
        "SELECT ",
        key_columns!(),
        " FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.prefix = ?1 AND t.deleted_at IS NULL"
    ))?
    .query_row([prefix], key)
    .optional()
}

pub(super) fn keys(c: &Connection, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> rusqlite::Result<Vec<ApiKey>> {
    let below = after.map_or([0xff; 16], |id| *id.as_bytes());
    c.prepare_cached(concat!(
        "SELECT ",
        key_columns!(),
        " FROM api_keys k WHERE k.tenant_id = ?1 AND k.id < ?2 ORDER BY k.id DESC LIMIT ?3"
    ))?
    .query_map(params![tenant.as_bytes(), below, limit], key)?
    .collect()
}

/// One key of a tenant, while it is good.
pub(super) fn live_key(c: &Connection, now: Timestamp, tenant: TenantId, id: ApiKeyId) -> rusqlite::Result<Option<ApiKey>> {
    c.prepare_cached(concat!("SELECT ", key_columns!(), " FROM api_keys k WHERE k.id = ?1 AND k.tenant_id = ?2"))?
        .query_row([id.as_bytes(), tenant.as_bytes()], key)
        .optional()
        .map(|found| found.filter(|k| k.is_live(now)))
}

/// Every key that a person made, in all tenants.
pub(super) fn keys_of_maker(c: &Connection, user: UserId) -> rusqlite::Result<Vec<ApiKey>> {
    c.prepare_cached(concat!("SELECT ", key_columns!(), " FROM api_keys k WHERE k.user_id = ?1 ORDER BY k.id"))?
        .query_map([user.as_bytes()], key)?
        .collect()
}

pub(super) fn revoke_key(c: &Connection, now: Timestamp, cmd: &RevokeApiKey) -> rusqlite::Result<Cas<()>> {
    let (tenant, id) = (cmd.tenant_id.as_bytes(), cmd.key_id.as_bytes());
    let ended = c
        .prepare_cached("UPDATE api_keys SET revoked_at = ?3 WHERE tenant_id = ?1 AND id = ?2 AND revoked_at IS NULL")?
        .execute(params![tenant, id, stamp(now)])?;
    if ended == 1 {
        ending::revoke(c, now, &Revocation::ApiKey(cmd.key_id))?;
        ending::audit(c, &cmd.audit)?;
        return Ok(Cas::Done(()));
    }
    let known = c.prepare_cached("SELECT 1 FROM api_keys WHERE tenant_id = ?1 AND id = ?2")?.exists([tenant, id])?;
    Ok(if known { Cas::Done(()) } else { Cas::Stale })
}

/// Ends every key that a person made, in all tenants: the account's maker may not have been its owner.
pub(super) fn revoke_keys_of_maker(c: &Connection, now: Timestamp, user: UserId) -> rusqlite::Result<()> {
    let ids: Vec<ApiKeyId> = c
        .prepare_cached("UPDATE api_keys SET revoked_at = ?2 WHERE user_id = ?1 AND revoked_at IS NULL RETURNING id")?
        .query_map(params![user.as_bytes(), stamp(now)], |row| row.get(0).map(ApiKeyId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    ids.into_iter().try_for_each(|id| ending::revoke(c, now, &Revocation::ApiKey(id)))
}

pub(super) fn touch_key(c: &Connection, id: ApiKeyId, at: Timestamp) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)")?
        .execute(params![id.as_bytes(), stamp(at)])
        .map(drop)
}
