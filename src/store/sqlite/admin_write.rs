//! What admins write: users made and changed, within the fence, and tenants changed.

use super::{
    access, admin, authority,
    command::Outcome,
    ending, erase, outbox, passwords,
    rows::{self, int, json, stamp},
    sessions, tenants, users,
};
use crate::{
    domain::{
        authority::{By, Denied, Permitted, Place, is_proved, may, needs_proof},
        contact::Phone,
        ids::{ApiKeyId, RoleId, UserId},
        permission::Permission,
        tenant::TenantKind,
        time::Timestamp,
        user::{Membership, User, UserStatus, name_key},
    },
    sqlite::{Connection, params, rusqlite},
    store::{admin::*, commands::*},
};

impl Outcome for CreateMemberOutcome {}
impl Outcome for MemberOutcome {
    fn recorded(&self) -> bool {
        *self != MemberOutcome::Stale
    }
}
impl Outcome for UpdateTenantOutcome {
    fn recorded(&self) -> bool {
        *self != UpdateTenantOutcome::Stale
    }
}

const NOTHING: MemberOutcome = MemberOutcome::Done { raised_to: None, revoked: 0 };

pub(super) fn create(c: &Connection, now: Timestamp, cmd: &CreateMember) -> rusqlite::Result<CreateMemberOutcome> {
    let tenant = cmd.membership.tenant_id;
    let Some(found) = tenants::live(c, tenant)?.filter(|t| t.kind == TenantKind::Organization) else {
        return Ok(CreateMemberOutcome::NoTenant);
    };
    let acting = match authority::permitted(c, now, cmd.by, Permission::UserWrite)? {
        Ok(acting) => acting,
        Err(why) => return Ok(CreateMemberOutcome::Denied(why)),
    };
    if cmd.vouched
        && let Err(why) = Place::of(&found).may_make_credentials(&cmd.user.email)
    {
        return Ok(CreateMemberOutcome::Denied(why));
    }
    for role in &cmd.membership.roles {
        let allows = match authority::givable(c, &acting, tenant, *role, None)? {
            None => return Ok(CreateMemberOutcome::NoRole),
            Some(Err(why)) => return Ok(CreateMemberOutcome::Denied(why)),
            Some(Ok(allows)) => allows,
        };
        if needs_proof(*role, allows) && !is_proved(&cmd.user, &found) {
            return Ok(CreateMemberOutcome::Denied(Denied::TakerUnproved));
        }
    }
    let digest = cmd.user.email.digest();
    if let Some(holder) = users::holder(c, &digest)? {
        let inside = tenants::membership(c, holder, tenant)?.is_some();
        return Ok(if inside { CreateMemberOutcome::TakenInside } else { CreateMemberOutcome::TakenOutside });
    }
    users::insert(c, &User { independent: Place::of(&found).makes_independent(&cmd.user.email), ..cmd.user.clone() })?;
    tenants::join(c, &cmd.membership)?;
    c.prepare_cached("DELETE FROM pending_signups WHERE email_digest = ?1")?.execute([digest.as_bytes()])?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(CreateMemberOutcome::Created)
}

pub(super) fn change(c: &Connection, now: Timestamp, cmd: &ChangeMember) -> rusqlite::Result<MemberOutcome> {
    let Some(member) = admin::member(c, cmd.by.tenant_id, cmd.user_id)? else { return Ok(MemberOutcome::NotFound) };
    if let Err(why) = allowed(c, now, cmd, &member)? {
        return Ok(MemberOutcome::Denied(why));
    }
    let for_the_bin = matches!(cmd.what, MemberChange::Restore { .. } | MemberChange::Purge);
    if member.user.deleted_at.is_some() != for_the_bin {
        return Ok(MemberOutcome::WrongPlace);
    }
    let outcome = match &cmd.what {
        MemberChange::Update { expect_version, display_name, phone, status, metadata } => {
            if *expect_version != member.user.version {
                return Ok(MemberOutcome::Stale);
            }
            let suspending = member.user.status == UserStatus::Active && *status == UserStatus::Suspended;
            if suspending && is_last_owner(c, cmd.by, &member)? {
                return Ok(MemberOutcome::LastOwner);
            }
            update(c, now, cmd.user_id, display_name.as_deref(), phone.as_ref(), *status)?;
            if member.user.metadata != *metadata {
                tenants::keep(c, cmd.user_id, cmd.by.tenant_id, metadata)?;
            }
            if suspending { raise(c, now, &member)? } else { NOTHING }
        }
        MemberChange::SetPassword { hash, must_change, job } => {
            let before = member.user.credential_epoch;
            passwords::set(c, now, cmd.user_id, before, hash)?;
            c.prepare_cached("UPDATE users SET must_change = ?2 WHERE id = ?1")?.execute(params![cmd.user_id.as_bytes(), must_change])?;
            if let Some(job) = job {
                outbox::put(c, now, job)?;
            }
            let revoked = ending::epoch_raised(c, cmd.user_id, before, now, None)?;
            MemberOutcome::Done { raised_to: Some(before + 1), revoked }
        }
        MemberChange::Delete { purge_after, job } => {
            if is_last_owner(c, cmd.by, &member)? {
                return Ok(MemberOutcome::LastOwner);
            }
            let revoked = users::into_bin(c, now, &member.user, *purge_after)?;
            // Whom an admin has deleted doesn't come back by a link.
            users::use_up_undo_links(c, now, cmd.user_id)?;
            if let Some(job) = job {
                outbox::put(c, now, job)?;
            }
            MemberOutcome::Done { raised_to: Some(member.user.credential_epoch + 1), revoked }
        }
        MemberChange::Restore { job } => {
            users::out_of_bin(c, now, &member.user)?;
            if let Some(job) = job {
                outbox::put(c, now, job)?;
            }
            MemberOutcome::Done { raised_to: Some(member.user.credential_epoch + 1), revoked: 0 }
        }
        MemberChange::Purge => {
            erase::user(c, now, &member.user)?;
            NOTHING
        }
        MemberChange::EndSessions => {
            let which = RevokeSessions { user_id: cmd.user_id, which: Which::All, audit: Vec::new() };
            MemberOutcome::Done { raised_to: None, revoked: sessions::revoke(c, now, &which)? }
        }
    };
    ending::audit(c, &cmd.audit)?;
    Ok(outcome)
}

/// Whether whoever asks may do that, by the rows of this moment.
fn allowed(c: &Connection, now: Timestamp, cmd: &ChangeMember, member: &Member) -> rusqlite::Result<Result<(), Denied>> {
    let Some(tenant) = tenants::get(c, cmd.by.tenant_id)? else { return Ok(Err(Denied::NoPermission)) };
    let acting = match authority::acting(c, now, cmd.by)? {
        Ok(acting) => acting,
        Err(why) => return Ok(Err(why)),
    };
    let target = member.target();
    Ok(acting.needs(Permission::UserWrite).and_then(|()| may(&acting.actor, cmd.what.action(&member.user), &target, &Place::of(&tenant))))
}

fn is_last_owner(c: &Connection, by: By, member: &Member) -> rusqlite::Result<bool> {
    Ok(member.roles.contains(&RoleId::OWNER) && !tenants::has_other_owner(c, by.tenant_id, member.user.id)?)
}

fn update(
    c: &Connection,
    now: Timestamp,
    user: UserId,
    name: Option<&str>,
    phone: Option<&Phone>,
    status: UserStatus,
) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE users SET display_name = ?2, name_key = ?3, phone_verified_at = CASE WHEN phone IS ?4 THEN phone_verified_at END, phone = ?4,
         status = ?5, updated_at = ?6, version = version + 1 WHERE id = ?1",
    )?
    .execute(params![
        user.as_bytes(),
        name,
        name.map(name_key),
        phone.map(Phone::as_str),
        status.name(),
        stamp(now)
    ])
    .map(drop)
}

/// Raises the epoch: all that was made under the old one dies.
fn raise(c: &Connection, now: Timestamp, member: &Member) -> rusqlite::Result<MemberOutcome> {
    let (user, before) = (member.user.id, member.user.credential_epoch);
    c.prepare_cached("UPDATE users SET credential_epoch = ?2 WHERE id = ?1")?.execute(params![user.as_bytes(), int(before + 1)])?;
    let revoked = ending::epoch_raised(c, user, before, now, None)?;
    Ok(MemberOutcome::Done { raised_to: Some(before + 1), revoked })
}

pub(super) fn purge_overdue(
    c: &Connection,
    now: Timestamp,
    user: UserId,
    receipt: &[crate::domain::audit::AuditEvent],
) -> rusqlite::Result<Cas<()>> {
    match rows::user_by_id(c, user)? {
        Some(u) if u.deleted_at.is_some() && u.purge_after.is_some_and(|at| at <= now) => {
            erase::user(c, now, &u)?;
            ending::audit(c, receipt)?;
            Ok(Cas::Done(()))
        }
        _ => Ok(Cas::Stale),
    }
}

pub(super) fn update_tenant(c: &Connection, now: Timestamp, cmd: &UpdateTenant) -> rusqlite::Result<Permitted<UpdateTenantOutcome>> {
    if tenants::live(c, cmd.tenant_id)?.is_none() {
        return Ok(Ok(UpdateTenantOutcome::Stale));
    }
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::TenantWrite)? {
        return Ok(Err(why));
    }
    let id = cmd.tenant_id.as_bytes();
    if c.prepare_cached("SELECT 1 FROM tenants WHERE slug = ?1 AND id <> ?2")?.exists(params![cmd.slug, id])? {
        return Ok(Ok(UpdateTenantOutcome::SlugTaken));
    }
    let written = c
        .prepare_cached(
            "UPDATE tenants SET name = ?3, slug = ?4, metadata = ?5, updated_at = ?6, version = version + 1
             WHERE id = ?1 AND version = ?2 AND deleted_at IS NULL",
        )?
        .execute(params![id, int(cmd.expect_version), cmd.name, cmd.slug, json(&cmd.metadata)?, stamp(now)])?;
    if written == 0 {
        return Ok(Ok(UpdateTenantOutcome::Stale));
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Ok(UpdateTenantOutcome::Done))
}

pub(super) fn manage(c: &Connection, now: Timestamp, cmd: &ManageTenant) -> rusqlite::Result<Cas<()>> {
    let id = cmd.tenant_id.as_bytes();
    let found = tenants::live(c, cmd.tenant_id)?.filter(|t| t.kind == TenantKind::Organization);
    let Some(tenant) = found else { return Ok(Cas::Stale) };
    if tenant.managed != cmd.managed {
        c.prepare_cached("UPDATE tenants SET managed = ?2, updated_at = ?3, version = version + 1 WHERE id = ?1")?.execute(params![
            id,
            cmd.managed,
            stamp(now)
        ])?;
        ending::audit(c, &cmd.audit)?;
    }
    Ok(Cas::Done(()))
}

pub(super) fn make_owner(c: &Connection, now: Timestamp, cmd: &MakeOwner) -> rusqlite::Result<Cas<()>> {
    let found = tenants::live(c, cmd.tenant_id)?.filter(|t| t.kind == TenantKind::Organization);
    let user = rows::user_by_id(c, cmd.user_id)?.filter(|u| u.may_sign_in());
    if found.is_none() || user.is_none() {
        return Ok(Cas::Stale);
    }
    let changed = if tenants::membership(c, cmd.user_id, cmd.tenant_id)?.is_some() {
        tenants::give_role(c, cmd.user_id, cmd.tenant_id, RoleId::OWNER)?
    } else {
        let roles = vec![RoleId::OWNER];
        tenants::join(c, &Membership { user_id: cmd.user_id, tenant_id: cmd.tenant_id, roles, joined_at: now })?;
        true
    };
    if changed {
        access::touch_user(c, cmd.user_id)?;
        ending::audit(c, &cmd.audit)?;
    }
    Ok(Cas::Done(()))
}

pub(super) fn delete_tenant(c: &Connection, now: Timestamp, cmd: &DeleteTenant) -> rusqlite::Result<Permitted<Cas<()>>> {
    let id = cmd.tenant_id.as_bytes();
    if tenants::live(c, cmd.tenant_id)?.is_none_or(|t| t.kind != TenantKind::Organization) {
        return Ok(Ok(Cas::Stale));
    }
    if let Err(why) = authority::acting(c, now, cmd.by)?.and_then(|acting| acting.may_delete_tenant(cmd.by)) {
        return Ok(Err(why));
    }
    c.prepare_cached(
        "UPDATE tenants SET deleted_at = ?2, updated_at = ?2, version = version + 1
             WHERE id = ?1",
    )?
    .execute(params![id, stamp(now)])?;
    c.prepare_cached("DELETE FROM proved_domains WHERE tenant_id = ?1")?.execute([id])?;
    // At most a thousand are live. Members and sessions may be many more, and follow in steps.
    let keys: Vec<ApiKeyId> = c
        .prepare_cached("UPDATE api_keys SET revoked_at = ?2 WHERE tenant_id = ?1 AND revoked_at IS NULL RETURNING id")?
        .query_map(params![id, stamp(now)], |row| row.get(0).map(ApiKeyId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    for key in keys {
        ending::revoke(c, now, &Revocation::ApiKey(key))?;
    }
    c.prepare_cached("INSERT INTO tenant_endings (tenant_id, deleted_at, reached) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        stamp(now),
        [0u8; 16]
    ])?;
    ending::audit(c, &cmd.audit)?;
    Ok(Ok(Cas::Done(())))
}
