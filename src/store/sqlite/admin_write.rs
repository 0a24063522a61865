//! What admins write: users made and changed, within the fence, and tenants changed.

use super::{
    access, admin,
    command::Outcome,
    ending, erase, outbox, passwords,
    rows::{self, int, json, stamp},
    sessions, tenants, users,
};
use crate::{
    domain::{
        contact::Phone,
        ids::{ApiKeyId, RoleId, UserId},
        tenant::TenantKind,
        time::Timestamp,
        user::{UserStatus, name_key},
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
    if tenants::get(c, tenant)?.is_none_or(|t| t.deleted_at.is_some() || t.kind == TenantKind::Personal) {
        return Ok(CreateMemberOutcome::NoTenant);
    }
    for role in &cmd.membership.roles {
        if !access::has_role(c, tenant, *role)? {
            return Ok(CreateMemberOutcome::NoRole);
        }
    }
    let digest = cmd.user.email.digest();
    if let Some(holder) = users::holder(c, &digest)? {
        let inside = tenants::membership(c, holder, tenant)?.is_some();
        return Ok(if inside { CreateMemberOutcome::TakenInside } else { CreateMemberOutcome::TakenOutside });
    }
    users::insert(c, &cmd.user)?;
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
    let for_the_bin = matches!(cmd.what, MemberChange::Restore | MemberChange::Purge);
    if member.user.deleted_at.is_some() != for_the_bin {
        return Ok(MemberOutcome::WrongPlace);
    }
    if !member.sole || !cmd.by.permissions.covers(member.permissions) {
        return Ok(MemberOutcome::Forbidden);
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
            update(c, now, cmd.user_id, display_name.as_deref(), phone.as_ref(), *status, metadata)?;
            if suspending { raise(c, now, &member)? } else { NOTHING }
        }
        MemberChange::SetPassword { hash, job } => {
            let before = member.user.credential_epoch;
            passwords::set(c, now, cmd.user_id, before, hash)?;
            if let Some(job) = job {
                outbox::put(c, now, job)?;
            }
            let revoked = ending::epoch_raised(c, cmd.user_id, before, now, None)?;
            MemberOutcome::Done { raised_to: Some(before + 1), revoked }
        }
        MemberChange::Delete { purge_after } => {
            if is_last_owner(c, cmd.by, &member)? {
                return Ok(MemberOutcome::LastOwner);
            }
            let revoked = users::into_bin(c, now, &member.user, *purge_after)?;
            MemberOutcome::Done { raised_to: Some(member.user.credential_epoch + 1), revoked }
        }
        MemberChange::Restore => {
            c.prepare_cached(
                "UPDATE users SET deleted_at = NULL, purge_after = NULL, updated_at = ?2, version = version + 1 WHERE id = ?1",
            )?
            .execute(params![cmd.user_id.as_bytes(), stamp(now)])?;
            NOTHING
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

fn is_last_owner(c: &Connection, by: Fence, member: &Member) -> rusqlite::Result<bool> {
    Ok(member.roles.contains(&RoleId::OWNER) && !tenants::has_other_owner(c, by.tenant_id, member.user.id)?)
}

fn update(
    c: &Connection,
    now: Timestamp,
    user: UserId,
    name: Option<&str>,
    phone: Option<&Phone>,
    status: UserStatus,
    metadata: &serde_json::Map<String, serde_json::Value>,
) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE users SET display_name = ?2, name_key = ?3, phone_verified_at = CASE WHEN phone IS ?4 THEN phone_verified_at END, phone = ?4,
         status = ?5, metadata = ?6, updated_at = ?7, version = version + 1 WHERE id = ?1",
    )?
    .execute(params![
        user.as_bytes(),
        name,
        name.map(name_key),
        phone.map(Phone::as_str),
        status.name(),
        json(metadata)?,
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

pub(super) fn update_tenant(c: &Connection, now: Timestamp, cmd: &UpdateTenant) -> rusqlite::Result<UpdateTenantOutcome> {
    let id = cmd.tenant_id.as_bytes();
    if c.prepare_cached("SELECT 1 FROM tenants WHERE slug = ?1 AND id <> ?2")?.exists(params![cmd.slug, id])? {
        return Ok(UpdateTenantOutcome::SlugTaken);
    }
    let written = c
        .prepare_cached(
            "UPDATE tenants SET name = ?3, slug = ?4, metadata = ?5, updated_at = ?6, version = version + 1
             WHERE id = ?1 AND version = ?2 AND deleted_at IS NULL",
        )?
        .execute(params![id, int(cmd.expect_version), cmd.name, cmd.slug, json(&cmd.metadata)?, stamp(now)])?;
    if written == 0 {
        return Ok(UpdateTenantOutcome::Stale);
    }
    ending::audit(c, &cmd.audit)?;
    Ok(UpdateTenantOutcome::Done)
}

pub(super) fn delete_tenant(c: &Connection, now: Timestamp, cmd: &DeleteTenant) -> rusqlite::Result<Cas<()>> {
    let id = cmd.tenant_id.as_bytes();
    let deleted = c
        .prepare_cached(
            "UPDATE tenants SET deleted_at = ?2, updated_at = ?2, version = version + 1
             WHERE id = ?1 AND deleted_at IS NULL AND kind = 'organization'",
        )?
        .execute(params![id, stamp(now)])?;
    if deleted == 0 {
        return Ok(Cas::Stale);
    }
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
    Ok(Cas::Done(()))
}
