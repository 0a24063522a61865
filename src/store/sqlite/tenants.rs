//! Tenants and who belongs to them.

use super::{
    access, ending,
    rows::{self, int, json, stamp, tenant_columns},
    sessions,
};
use crate::{
    domain::{
        ids::{RoleId, TenantId, UserId},
        tenant::Tenant,
        time::Timestamp,
        user::{Membership, Metadata, User},
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::commands::*,
};

/// Memberships in a list.
const LISTED: u32 = 1000;

pub(super) fn create(c: &Connection, cmd: &CreateTenant) -> rusqlite::Result<CreateTenantOutcome> {
    if slug_taken(c, &cmd.tenant.slug)? {
        return Ok(CreateTenantOutcome::SlugTaken);
    }
    insert(c, &cmd.tenant)?;
    join(c, &cmd.membership)?;
    ending::audit(c, &cmd.audit)?;
    Ok(CreateTenantOutcome::Created)
}

/// Deleted tenants keep theirs.
pub(super) fn slug_taken(c: &Connection, slug: &str) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM tenants WHERE slug = ?1")?.exists([slug])
}

pub(super) fn by_slug(c: &Connection, slug: &str) -> rusqlite::Result<Option<Tenant>> {
    c.prepare_cached(concat!("SELECT ", tenant_columns!(), " FROM tenants t WHERE t.slug = ?1 AND t.deleted_at IS NULL"))?
        .query_row([slug], rows::tenant)
        .optional()
}

pub(super) fn insert(c: &Connection, t: &Tenant) -> rusqlite::Result<()> {
    c.prepare_cached(
        "INSERT INTO tenants (id, slug, name, kind, metadata, policy, version, created_at, updated_at, deleted_at, managed, domains)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        t.id.as_bytes(),
        t.slug,
        t.name,
        t.kind.name(),
        json(&t.metadata)?,
        json(&t.policy)?,
        int(t.version),
        stamp(t.created_at),
        stamp(t.updated_at),
        t.deleted_at.map(stamp),
        t.managed,
        json(&t.domains)?,
    ])?;
    Ok(())
}

pub(super) fn join(c: &Connection, m: &Membership) -> rusqlite::Result<()> {
    let (user, tenant) = (m.user_id.as_bytes(), m.tenant_id.as_bytes());
    c.prepare_cached("INSERT INTO memberships (user_id, tenant_id, joined_at) VALUES (?1, ?2, ?3)")?.execute(params![
        user,
        tenant,
        stamp(m.joined_at)
    ])?;
    for role in &m.roles {
        give_role(c, m.user_id, m.tenant_id, *role)?;
    }
    Ok(())
}

/// Gives a role; `false` if he had it.
pub(super) fn give_role(c: &Connection, user: UserId, tenant: TenantId, role: RoleId) -> rusqlite::Result<bool> {
    let given = c
        .prepare_cached("INSERT INTO member_roles (user_id, tenant_id, role_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute([user.as_bytes(), tenant.as_bytes(), role.as_bytes()])?;
    Ok(given == 1)
}

pub(super) fn get(c: &Connection, id: TenantId) -> rusqlite::Result<Option<Tenant>> {
    c.prepare_cached(concat!("SELECT ", tenant_columns!(), " FROM tenants t WHERE t.id = ?1"))?
        .query_row([id.as_bytes()], rows::tenant)
        .optional()
}

/// One that is not deleted.
pub(super) fn live(c: &Connection, id: TenantId) -> rusqlite::Result<Option<Tenant>> {
    Ok(get(c, id)?.filter(|t| t.deleted_at.is_none()))
}

pub(super) fn roles(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<Vec<RoleId>> {
    c.prepare_cached("SELECT role_id FROM member_roles WHERE user_id = ?1 AND tenant_id = ?2 ORDER BY role_id")?
        .query_map([user.as_bytes(), tenant.as_bytes()], |row| row.get(0).map(RoleId::from_bytes))?
        .collect()
}

pub(super) fn memberships(c: &Connection, user_id: UserId) -> rusqlite::Result<Vec<(Tenant, Membership)>> {
    let mut of_user = c.prepare_cached(concat!(
        "SELECT ",
        tenant_columns!(),
        ", m.joined_at FROM memberships m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.user_id = ?1 AND t.deleted_at IS NULL ORDER BY m.joined_at, m.tenant_id LIMIT ?2"
    ))?;
    of_user
        .query_and_then(params![user_id.as_bytes(), LISTED], |row| {
            let tenant = rows::tenant(row)?;
            let joined_at = rows::time(row, rows::TENANT_COLUMNS)?;
            let membership = Membership { user_id, tenant_id: tenant.id, roles: roles(c, user_id, tenant.id)?, joined_at };
            Ok((tenant, membership))
        })?
        .collect()
}

pub(super) fn membership(c: &Connection, user_id: UserId, tenant_id: TenantId) -> rusqlite::Result<Option<Membership>> {
    let joined_at = c
        .prepare_cached(
            "SELECT m.joined_at FROM memberships m JOIN tenants t ON t.id = m.tenant_id
             WHERE m.user_id = ?1 AND m.tenant_id = ?2 AND t.deleted_at IS NULL",
        )?
        .query_row([user_id.as_bytes(), tenant_id.as_bytes()], |row| rows::time(row, 0))
        .optional()?;
    joined_at.map(|joined_at| Ok(Membership { user_id, tenant_id, roles: roles(c, user_id, tenant_id)?, joined_at })).transpose()
}

/// What a tenant keeps about its member, if something is noted with the membership.
pub(super) fn kept(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<Option<Metadata>> {
    c.prepare_cached("SELECT metadata FROM memberships WHERE user_id = ?1 AND tenant_id = ?2 AND metadata IS NOT NULL")?
        .query_row([user.as_bytes(), tenant.as_bytes()], |row| rows::metadata(row, 0))
        .optional()
}

/// Notes it.
pub(super) fn keep(c: &Connection, user: UserId, tenant: TenantId, metadata: &Metadata) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE memberships SET metadata = ?3 WHERE user_id = ?1 AND tenant_id = ?2")?
        .execute(params![user.as_bytes(), tenant.as_bytes(), json(metadata)?])
        .map(drop)
}

pub(super) fn leave(c: &Connection, now: Timestamp, cmd: &LeaveTenant) -> rusqlite::Result<LeaveOutcome> {
    let Some(membership) = membership(c, cmd.user_id, cmd.tenant_id)? else { return Ok(LeaveOutcome::NotMember) };
    if membership.roles.contains(&RoleId::OWNER) && !has_other_owner(c, cmd.tenant_id, cmd.user_id)? {
        return Ok(LeaveOutcome::LastOwner);
    }
    if !belongs_elsewhere(c, cmd.user_id, cmd.tenant_id)? {
        if get(c, cmd.tenant_id)?.is_some_and(|t| t.managed) {
            return Ok(LeaveOutcome::OnlyTenant);
        }
        give_personal(c, now, cmd.user_id, &cmd.personal)?;
    }
    end_membership(c, now, cmd.user_id, cmd.tenant_id)?;
    sessions::revoke_in_tenant(c, now, cmd.user_id, cmd.tenant_id)?;
    ending::audit(c, &cmd.audit)?;
    Ok(LeaveOutcome::Left)
}

/// Deleted tenants don't count: nobody signs in to them.
pub(super) fn belongs_elsewhere(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<bool> {
    c.prepare_cached(
        "SELECT 1 FROM memberships m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.user_id = ?1 AND m.tenant_id <> ?2 AND t.deleted_at IS NULL",
    )?
    .exists([user.as_bytes(), tenant.as_bytes()])
}

pub(super) fn end_membership(c: &Connection, now: Timestamp, user: UserId, tenant: TenantId) -> rusqlite::Result<()> {
    access::stop_keys_of_maker(c, now, user, Some(tenant))?;
    let (user, tenant) = (user.as_bytes(), tenant.as_bytes());
    c.prepare_cached("DELETE FROM memberships WHERE user_id = ?1 AND tenant_id = ?2")?.execute([user, tenant])?;
    // The next sign-in must not go where the user no longer belongs.
    c.prepare_cached("UPDATE users SET last_tenant = nullif(last_tenant, ?2), version = version + 1 WHERE id = ?1")?
        .execute([user, tenant])
        .map(drop)
}

/// An owner who is suspended or in the recycle bin can't act, and doesn't count.
pub(super) fn has_other_owner(c: &Connection, tenant: TenantId, but: UserId) -> rusqlite::Result<bool> {
    c.prepare_cached(
        "SELECT 1 FROM member_roles r JOIN users u ON u.id = r.user_id
         WHERE r.tenant_id = ?1 AND r.role_id = ?2 AND r.user_id <> ?3 AND u.deleted_at IS NULL AND u.status = 'active'",
    )?
    .exists([tenant.as_bytes(), RoleId::OWNER.as_bytes(), but.as_bytes()])
}

fn owned(c: &Connection, user: UserId) -> rusqlite::Result<Vec<TenantId>> {
    c.prepare_cached(
        "SELECT r.tenant_id FROM member_roles r JOIN tenants t ON t.id = r.tenant_id
         WHERE r.user_id = ?1 AND r.role_id = ?2 AND t.deleted_at IS NULL",
    )?
    .query_map([user.as_bytes(), RoleId::OWNER.as_bytes()], |row| row.get(0).map(TenantId::from_bytes))?
    .collect()
}

/// Whether the user is the last owner of an organization that has other members.
pub(super) fn holds_up_an_organization(c: &Connection, user: UserId) -> rusqlite::Result<bool> {
    let mut others = c.prepare_cached(
        "SELECT 1 FROM tenants t JOIN memberships m ON m.tenant_id = t.id JOIN users u ON u.id = m.user_id
         WHERE t.id = ?1 AND t.kind = 'organization' AND m.user_id <> ?2 AND u.deleted_at IS NULL",
    )?;
    for tenant in owned(c, user)? {
        if others.exists([tenant.as_bytes(), user.as_bytes()])? && !has_other_owner(c, tenant, user)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a user is a member of a tenant that is there.
pub(super) fn belongs_somewhere(c: &Connection, user: UserId) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM memberships m JOIN tenants t ON t.id = m.tenant_id WHERE m.user_id = ?1 AND t.deleted_at IS NULL")?
        .exists([user.as_bytes()])
}

/// Gives a user who has none a personal tenant, which is their home from now on.
pub(super) fn give_personal(c: &Connection, now: Timestamp, user: UserId, tenant: &Tenant) -> rusqlite::Result<()> {
    let has = c
        .prepare_cached("SELECT 1 FROM memberships m JOIN tenants t ON t.id = m.tenant_id WHERE m.user_id = ?1 AND t.kind = 'personal'")?
        .exists([user.as_bytes()])?;
    if has {
        return Ok(());
    }
    insert(c, tenant)?;
    join(c, &Membership { user_id: user, tenant_id: tenant.id, roles: vec![RoleId::OWNER], joined_at: now })?;
    // What the home of before keeps stays there.
    c.prepare_cached(
        "UPDATE memberships SET metadata = coalesce(metadata, (SELECT u.metadata FROM users u WHERE u.id = ?1))
         WHERE user_id = ?1 AND tenant_id = (SELECT u.home_tenant FROM users u WHERE u.id = ?1)",
    )?
    .execute([user.as_bytes()])?;
    c.prepare_cached("UPDATE users SET home_tenant = ?2, metadata = '{}', version = version + 1 WHERE id = ?1")?
        .execute([user.as_bytes(), tenant.id.as_bytes()])
        .map(drop)
}

/// The account's first proof: one that an organization without power made gets a personal tenant.
pub(super) fn first_proof(c: &Connection, now: Timestamp, user: &User, personal: Option<&Tenant>) -> rusqlite::Result<()> {
    match personal {
        Some(tenant) if user.independent && user.email_verified_at.is_none() => give_personal(c, now, user.id, tenant),
        _ => Ok(()),
    }
}

pub(super) fn owners(c: &Connection, tenant: TenantId, limit: u32) -> rusqlite::Result<Vec<UserId>> {
    c.prepare_cached("SELECT user_id FROM member_roles WHERE tenant_id = ?1 AND role_id = ?2 ORDER BY user_id LIMIT ?3")?
        .query_map(params![tenant.as_bytes(), RoleId::OWNER.as_bytes(), limit], |row| row.get(0).map(UserId::from_bytes))?
        .collect()
}

pub(super) fn organizations(c: &Connection, after: Option<TenantId>, limit: u32) -> rusqlite::Result<Vec<Tenant>> {
    let above = after.map_or([0; 16], |id| *id.as_bytes());
    c.prepare_cached(concat!(
        "SELECT ",
        tenant_columns!(),
        " FROM tenants t WHERE t.id > ?1 AND t.kind = 'organization' AND t.deleted_at IS NULL ORDER BY t.id LIMIT ?2"
    ))?
    .query_map(params![above, limit], rows::tenant)?
    .collect()
}
