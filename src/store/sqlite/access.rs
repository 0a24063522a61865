//! Roles and API keys.

use super::{
    authority,
    command::Outcome,
    ending, outbox,
    rows::{self, json, stamp, strange},
    sessions, tenants,
};
use crate::{
    domain::{
        api_key::{ApiKey, Origin, STANDS_FOR},
        authority::{Authority, By, Denied, Permitted, Place, needs_proof},
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        mail_domain::proved,
        outbox::{Job, KEYS_TOLD, OWNERS_TOLD},
        permission::{Permission, PermissionSet, Role},
        tenant::TenantKind,
        time::Timestamp,
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{access::*, commands::*},
};
use std::collections::{BTreeMap, HashSet};

impl Outcome for CreateRoleOutcome {}
impl Outcome for ChangeRoleOutcome {}
impl Outcome for CreateApiKeyOutcome {}
impl Outcome for TakeOverOutcome {}

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

pub(super) fn grant(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<Option<Grant>> {
    let found = c
        .prepare_cached("SELECT kind, managed, domains FROM tenants WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([tenant.as_bytes()], |row| {
            let domains = proved(&rows::domains(row, 2)?).cloned().collect();
            Ok(Place { kind: rows::tenant_kind(row, 0)?, managed: row.get(1)?, domains })
        })
        .optional()?;
    let Some(place) = found else { return Ok(None) };
    let roles = tenants::roles(c, user, tenant)?;
    if roles.is_empty() {
        return Ok(None);
    }
    let permissions = allowed_by(c, tenant, &roles)?;
    Ok(Some(Grant { roles, permissions, place }))
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

pub(super) fn create_role(c: &Connection, now: Timestamp, cmd: &CreateRole) -> rusqlite::Result<Permitted<CreateRoleOutcome>> {
    let role = &cmd.role;
    let Some(tenant) = role.tenant_id else { return Ok(Ok(CreateRoleOutcome::NameTaken)) };
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::RoleWrite)?.and_then(|acting| acting.covers(role.permissions)) {
        return Ok(Err(why));
    }
    let system = Role::system().iter().any(|r| r.name.eq_ignore_ascii_case(&role.name));
    let taken =
        c.prepare_cached("SELECT 1 FROM roles WHERE tenant_id = ?1 AND name = ?2")?.exists(params![tenant.as_bytes(), role.name])?;
    if system || taken {
        return Ok(Ok(CreateRoleOutcome::NameTaken));
    }
    let count: i64 =
        c.prepare_cached("SELECT count(*) FROM roles WHERE tenant_id = ?1")?.query_row([tenant.as_bytes()], |row| row.get(0))?;
    if count >= ROLES {
        return Ok(Ok(CreateRoleOutcome::TooMany));
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
    Ok(Ok(CreateRoleOutcome::Created))
}

pub(super) fn touch_user(c: &Connection, user: UserId) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE users SET version = version + 1 WHERE id = ?1")?.execute([user.as_bytes()]).map(drop)
}

/// Whether whoever asks may give (or take) the role; if not, the answer.
fn may_change(
    c: &Connection,
    now: Timestamp,
    cmd: &ChangeRole,
    taker: Option<UserId>,
) -> rusqlite::Result<Result<PermissionSet, ChangeRoleOutcome>> {
    let acting = match authority::permitted(c, now, cmd.by, Permission::RoleWrite)? {
        Ok(acting) => acting,
        Err(why) => return Ok(Err(ChangeRoleOutcome::Denied(why))),
    };
    Ok(match authority::givable(c, &acting, cmd.tenant_id, cmd.role_id, taker)? {
        None => Err(ChangeRoleOutcome::NoRole),
        Some(Err(why)) => Err(ChangeRoleOutcome::Denied(why)),
        Some(Ok(allows)) => Ok(allows),
    })
}

pub(super) fn give_role(c: &Connection, now: Timestamp, cmd: &ChangeRole) -> rusqlite::Result<ChangeRoleOutcome> {
    if tenants::membership(c, cmd.user_id, cmd.tenant_id)?.is_none() {
        return Ok(ChangeRoleOutcome::NotMember);
    }
    match may_change(c, now, cmd, Some(cmd.user_id))? {
        Err(outcome) => return Ok(outcome),
        Ok(allows) if needs_proof(cmd.role_id, allows) && !authority::is_proved(c, cmd.user_id, cmd.tenant_id)? => {
            return Ok(ChangeRoleOutcome::Denied(Denied::TakerUnproved));
        }
        Ok(_) => {}
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
    if let Err(outcome) = may_change(c, now, cmd, None)? {
        return Ok(outcome);
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
            match &cmd.personal {
                Some(personal) if tenants::get(c, tenant)?.is_some_and(|t| !t.managed) => tenants::give_personal(c, now, user, personal)?,
                _ => return Ok(ChangeRoleOutcome::OnlyTenant),
            }
        }
        tenants::end_membership(c, now, user, tenant)?;
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
        "k.id, k.tenant_id, k.user_id, k.name, k.prefix, k.secret_digest, k.scopes, k.expires_at, k.last_used_at, k.revoked_at, k.created_at, \
         k.origin, k.parent_id, k.stopped_at, k.taken_over_at"
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
        origin: Origin::from_name(row.get_ref(11)?.as_str()?).ok_or_else(|| strange(11, "no origin of a key"))?,
        parent_id: row.get::<_, Option<_>>(12)?.map(ApiKeyId::from_bytes),
        stopped_at: rows::maybe_time(row, 13)?,
        taken_over_at: rows::maybe_time(row, 14)?,
    })
}

pub(super) fn create_key(c: &Connection, now: Timestamp, cmd: &CreateApiKey) -> rusqlite::Result<CreateApiKeyOutcome> {
    if tenants::live(c, cmd.key.tenant_id)?.is_none() {
        return Ok(CreateApiKeyOutcome::NoTenant);
    }
    let permitted = authority::permitted(c, now, cmd.by, Permission::ApiKeyWrite)?;
    let acting = match permitted.and_then(|acting| acting.covers(cmd.key.scopes).map(|()| acting)) {
        Err(why) => return Ok(CreateApiKeyOutcome::Denied(why)),
        Ok(acting) => acting,
    };
    // Of a key that acts: who is its maker now.
    let key = ApiKey { user_id: acting.actor.person.or(cmd.key.user_id), ..cmd.key.clone() };
    insert_key(c, now, &CreateApiKey { key, ..cmd.clone() })
}

fn insert_key(c: &Connection, now: Timestamp, cmd: &CreateApiKey) -> rusqlite::Result<CreateApiKeyOutcome> {
    let k = &cmd.key;
    let live: i64 = c
        .prepare_cached(
            "SELECT count(*) FROM api_keys WHERE tenant_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)
             AND (stopped_at IS NULL OR stopped_at > ?3)",
        )?
        .query_row(params![k.tenant_id.as_bytes(), stamp(now), stamp(now.minus(STANDS_FOR))], |row| row.get(0))?;
    if live >= KEYS {
        return Ok(CreateApiKeyOutcome::TooMany);
    }
    c.prepare_cached(
        "INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_digest, scopes, expires_at, last_used_at, revoked_at, created_at,
         origin, parent_id, stopped_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
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
        k.origin.name(),
        k.parent_id.as_ref().map(ApiKeyId::as_bytes),
        k.stopped_at.map(stamp),
    ])?;
    let owners = tenants::owners(c, k.tenant_id, OWNERS_TOLD)?;
    let told = k.user_id.into_iter().chain(owners.into_iter().filter(|owner| Some(*owner) != k.user_id));
    told.into_iter().try_for_each(|user| outbox::put(c, now, &Job::key_made(user, k)))?;
    ending::audit(c, &cmd.audit)?;
    Ok(CreateApiKeyOutcome::Created)
}

pub(super) fn found_tenant(c: &Connection, now: Timestamp, cmd: &FoundTenant) -> rusqlite::Result<CreateTenantOutcome> {
    if tenants::slug_taken(c, &cmd.tenant.slug)? {
        return Ok(CreateTenantOutcome::SlugTaken);
    }
    tenants::insert(c, &cmd.tenant)?;
    if let Some(key) = cmd.key.clone() {
        let by = By::operator(cmd.tenant.id);
        insert_key(c, now, &CreateApiKey { key, by, audit: Vec::new() })?;
    }
    if let Some(membership) = &cmd.owner {
        tenants::join(c, membership)?;
        touch_user(c, membership.user_id)?;
    }
    ending::audit(c, &cmd.audit)?;
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
    key_by_id(c, tenant, id).map(|found| found.filter(|k| k.is_live(now)))
}

/// Every key that a person made, in all tenants.
pub(super) fn keys_of_maker(c: &Connection, user: UserId) -> rusqlite::Result<Vec<ApiKey>> {
    c.prepare_cached(concat!("SELECT ", key_columns!(), " FROM api_keys k WHERE k.user_id = ?1 ORDER BY k.id"))?
        .query_map([user.as_bytes()], key)?
        .collect()
}

pub(super) fn revoke_key(c: &Connection, now: Timestamp, cmd: &RevokeApiKey) -> rusqlite::Result<Permitted<Cas<Vec<ApiKeyId>>>> {
    let Some(key) = key_by_id(c, cmd.tenant_id, cmd.key_id)? else { return Ok(Ok(Cas::Stale)) };
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::ApiKeyWrite)? {
        return Ok(Err(why));
    }
    if key.revoked_at.is_some() {
        return Ok(Ok(Cas::Done(Vec::new())));
    }
    let ended = end_key(c, now, key.id)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Ok(Cas::Done(ended)))
}

/// Ends a key, and with it those that it made.
fn end_key(c: &Connection, now: Timestamp, id: ApiKeyId) -> rusqlite::Result<Vec<ApiKeyId>> {
    c.prepare_cached("UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1")?.execute(params![id.as_bytes(), stamp(now)])?;
    let (mut ended, mut next) = (vec![id], 0);
    while let Some(parent) = ended.get(next).copied() {
        ending::revoke(c, now, &Revocation::ApiKey(parent))?;
        let children: Vec<ApiKeyId> = c
            .prepare_cached("UPDATE api_keys SET revoked_at = ?2 WHERE parent_id = ?1 AND revoked_at IS NULL RETURNING id")?
            .query_map(params![parent.as_bytes(), stamp(now)], |row| row.get(0).map(ApiKeyId::from_bytes))?
            .collect::<rusqlite::Result<_>>()?;
        ended.extend(children);
        next += 1;
    }
    Ok(ended)
}

/// Ends those of a person's keys that `which` names, and with them those that they made. They are of all tenants.
pub(super) fn revoke_keys_of_maker(c: &Connection, now: Timestamp, user: UserId, which: Keys) -> rusqlite::Result<()> {
    let (mut ended, mut organizations) = (HashSet::new(), BTreeMap::<TenantId, Vec<ApiKey>>::new());
    for key in keys_of_maker(c, user)?.into_iter().filter(|key| key.is_live(now)) {
        let personal = tenants::get(c, key.tenant_id)?.is_some_and(|t| t.kind == TenantKind::Personal);
        if which.has(&key, personal) {
            if !ended.contains(&key.id) {
                ended.extend(end_key(c, now, key.id)?);
            }
            if !personal {
                organizations.entry(key.tenant_id).or_default().push(key);
            }
        }
    }
    organizations.into_iter().try_for_each(|(tenant, keys)| tell_owners(c, now, user, tenant, &keys, Job::key_ended))
}

/// The maker of keys has left a tenant (`None`: has gone from all): their keys stand still there until an owner takes them over.
pub(super) fn stop_keys_of_maker(c: &Connection, now: Timestamp, user: UserId, tenant: Option<TenantId>) -> rusqlite::Result<()> {
    let mut stopped = BTreeMap::<TenantId, Vec<ApiKey>>::new();
    for key in keys_of_maker(c, user)?.into_iter().filter(|key| tenant.is_none_or(|t| t == key.tenant_id)) {
        if key.origin == Origin::User && key.stopped_at.is_none() && key.is_live(now) {
            c.prepare_cached("UPDATE api_keys SET stopped_at = ?2 WHERE id = ?1")?.execute(params![key.id.as_bytes(), stamp(now)])?;
            stopped.entry(key.tenant_id).or_default().push(key);
        }
    }
    stopped.into_iter().try_for_each(|(tenant, keys)| tell_owners(c, now, user, tenant, &keys, Job::key_stopped))
}

/// Writes notices of keys of a tenant to each of its owners but their maker; of many keys, of the first [`KEYS_TOLD`].
fn tell_owners(
    c: &Connection,
    now: Timestamp,
    maker: UserId,
    tenant: TenantId,
    keys: &[ApiKey],
    notice: fn(UserId, &ApiKey, Timestamp) -> Job,
) -> rusqlite::Result<()> {
    for owner in tenants::owners(c, tenant, OWNERS_TOLD)?.into_iter().filter(|owner| *owner != maker) {
        keys.iter().take(KEYS_TOLD).try_for_each(|key| outbox::put(c, now, &notice(owner, key, now)))?;
    }
    Ok(())
}

/// Whoever made a key can do something with it.
fn makers_act(c: &Connection, key: &ApiKey) -> rusqlite::Result<bool> {
    let Some(tenant) = tenants::get(c, key.tenant_id)? else { return Ok(false) };
    Ok(authority::through(c, key, &tenant)?.is_some_and(|a| !a.actor.permissions.is_empty()))
}

pub(super) fn take_over(c: &Connection, now: Timestamp, cmd: &TakeOverKey) -> rusqlite::Result<Cas<TakeOverOutcome>> {
    if !matches!(cmd.by.authority, Authority::Person { .. }) {
        return Ok(Cas::Done(TakeOverOutcome::Denied(Denied::InPerson)));
    }
    let acting = match authority::permitted(c, now, cmd.by, Permission::ApiKeyWrite)? {
        Ok(acting) if acting.actor.owner => acting,
        Ok(_) => return Ok(Cas::Done(TakeOverOutcome::Denied(Denied::NotOwner))),
        Err(why) => return Ok(Cas::Done(TakeOverOutcome::Denied(why))),
    };
    let Some(owner) = acting.actor.person else { return Ok(Cas::Done(TakeOverOutcome::Denied(Denied::NotOwner))) };
    let Some(key) = live_key(c, now, cmd.by.tenant_id, cmd.key_id)? else { return Ok(Cas::Stale) };
    if key.origin == Origin::Operator {
        return Ok(Cas::Done(TakeOverOutcome::Denied(Denied::NoPermission)));
    }
    let parent = key.parent_id.map(|id| key_by_id(c, key.tenant_id, id)).transpose()?.flatten();
    if parent.is_some_and(|p| p.revoked_at.is_none()) || makers_act(c, &key)? {
        return Ok(Cas::Done(TakeOverOutcome::Denied(Denied::KeyHasMaker)));
    }
    // What it made goes on with it.
    let mut open = vec![key.id];
    while let Some(id) = open.pop() {
        c.prepare_cached("UPDATE api_keys SET user_id = ?2, stopped_at = NULL, taken_over_at = ?3 WHERE id = ?1")?.execute(params![
            id.as_bytes(),
            owner.as_bytes(),
            stamp(now)
        ])?;
        let mut children = c.prepare_cached("SELECT id FROM api_keys WHERE parent_id = ?1 AND revoked_at IS NULL")?;
        open.extend(
            children.query_map([id.as_bytes()], |row| row.get(0).map(ApiKeyId::from_bytes))?.collect::<rusqlite::Result<Vec<_>>>()?,
        );
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(TakeOverOutcome::Taken))
}

pub(super) fn key_by_id(c: &Connection, tenant: TenantId, id: ApiKeyId) -> rusqlite::Result<Option<ApiKey>> {
    c.prepare_cached(concat!("SELECT ", key_columns!(), " FROM api_keys k WHERE k.id = ?1 AND k.tenant_id = ?2"))?
        .query_row([id.as_bytes(), tenant.as_bytes()], key)
        .optional()
}

/// What a key may do now; `None`: nothing, its maker is gone.
pub(super) fn standing(c: &Connection, key: &ApiKey) -> rusqlite::Result<Option<Standing>> {
    let Some(tenant) = tenants::live(c, key.tenant_id)? else { return Ok(None) };
    let acting = authority::through(c, key, &tenant)?;
    Ok(acting.map(|acting| Standing { acting, place: Place::of(&tenant) }))
}

pub(super) fn touch_key(c: &Connection, id: ApiKeyId, at: Timestamp) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)")?
        .execute(params![id.as_bytes(), stamp(at)])
        .map(drop)
}
