//! Invites.

use super::{
    access, authority,
    command::Outcome,
    ending, outbox,
    rows::{self, int, number, stamp, strange},
    sessions, tenants, users,
};
use crate::{
    domain::{
        authority::{Acting, Authority, By, Denied, Permitted, Place, is_proved, needs_proof},
        contact::{ContactDigest, Email},
        ids::{ApiKeyId, InviteId, RoleId, TenantId, UserId},
        invite::{Invite, InviteStatus},
        network::Network,
        permission::Permission,
        session::Session,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User},
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{access::Keys, commands::*, invites::*},
};

impl Outcome for CreateInviteOutcome {}
impl Outcome for RevokeOutcome {}
impl Outcome for AcceptOutcome {
    // Who decides anew after `Stale` may keep the id. After `EmailTaken` they join in another way.
    fn recorded(&self) -> bool {
        !matches!(self, AcceptOutcome::Stale | AcceptOutcome::EmailTaken(_))
    }
}

/// Open invites of an address in a list.
const LISTED: u32 = 200;

macro_rules! columns {
    () => {
        "i.id, i.tenant_id, i.email, i.role_id, i.status, i.inviter, i.nonce, i.serial, i.expires_at, i.accepted_at, i.created_at, i.inviter_key, i.sent_again_at"
    };
}

pub(super) use columns;

pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Invite> {
    Ok(Invite {
        id: InviteId::from_bytes(row.get(at)?),
        tenant_id: TenantId::from_bytes(row.get(at + 1)?),
        email: Email::from_stored(row.get(at + 2)?),
        role_id: RoleId::from_bytes(row.get(at + 3)?),
        status: InviteStatus::from_name(row.get_ref(at + 4)?.as_str()?).ok_or_else(|| strange(at + 4, "no status of an invite"))?,
        inviter: row.get::<_, Option<_>>(at + 5)?.map(UserId::from_bytes),
        nonce: row.get(at + 6)?,
        serial: number(row, at + 7)?,
        expires_at: rows::time(row, at + 8)?,
        accepted_at: rows::maybe_time(row, at + 9)?,
        created_at: rows::time(row, at + 10)?,
        inviter_key: row.get::<_, Option<_>>(at + 11)?.map(ApiKeyId::from_bytes),
        sent_again_at: rows::maybe_time(row, at + 12)?,
    })
}

/// A tenant that people can be invited to.
fn takes_members(c: &Connection, tenant: TenantId) -> rusqlite::Result<bool> {
    Ok(tenants::get(c, tenant)?.is_some_and(|t| t.deleted_at.is_none() && t.kind == TenantKind::Organization))
}

/// Nobody gives more than he holds, at the time when it is taken: whether the role is still there, and whoever invited holds
/// all that it allows.
fn still_given(c: &Connection, now: Timestamp, invite: &Invite) -> rusqlite::Result<bool> {
    let Some(given) = access::allows(c, invite.tenant_id, invite.role_id)? else { return Ok(false) };
    Ok(giver(c, now, invite)?.is_some_and(|g| g.may_give(invite.role_id, given, None).is_ok()))
}

/// Who answers for an invite, by their rows of now.
fn giver(c: &Connection, now: Timestamp, invite: &Invite) -> rusqlite::Result<Option<Acting>> {
    let tenant_id = invite.tenant_id;
    match (invite.inviter_key, invite.inviter) {
        (Some(key), _) => Ok(authority::acting(c, now, By { tenant_id, authority: Authority::Key(key) })?.ok()),
        (None, Some(user)) => authority::member_of(c, user, tenant_id),
        (None, None) => Ok(None),
    }
}

/// Whether whoever asks may invite with a role now, and who that is (`None`: the operator); if the role is there.
fn may_invite(c: &Connection, now: Timestamp, by: By, role: RoleId) -> rusqlite::Result<Option<Permitted<Option<UserId>>>> {
    let acting = match authority::permitted(c, now, by, Permission::InviteWrite)? {
        Ok(acting) => acting,
        Err(why) => return Ok(Some(Err(why))),
    };
    Ok(authority::givable(c, &acting, by.tenant_id, role, None)?.map(|given| given.map(|_| acting.actor.person)))
}

/// The invite that has ended stays in the lists for a while.
fn end(c: &Connection, now: Timestamp, id: InviteId, how: InviteStatus) -> rusqlite::Result<()> {
    let accepted = (how == InviteStatus::Accepted).then_some(stamp(now));
    c.prepare_cached("UPDATE invites SET status = ?2, accepted_at = coalesce(?3, accepted_at), sweep_at = ?4 WHERE id = ?1")?
        .execute(params![id.as_bytes(), how.name(), accepted, stamp(now.plus(KEPT))])
        .map(drop)
}

/// The pending invite of an address in a tenant; perhaps its time is over.
fn pending(c: &Connection, tenant: TenantId, email: &ContactDigest) -> rusqlite::Result<Option<Invite>> {
    c.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM invites i WHERE i.email_digest = ?1 AND i.tenant_id = ?2 AND i.status = 'pending'"
    ))?
    .query_row(params![email.as_bytes(), tenant.as_bytes()], |row| read(row, 0))
    .optional()
}

pub(super) fn create(c: &Connection, now: Timestamp, cmd: &CreateInvite) -> rusqlite::Result<CreateInviteOutcome> {
    let i = &cmd.invite;
    if !takes_members(c, i.tenant_id)? {
        return Ok(CreateInviteOutcome::NoTenant);
    }
    let inviter = match may_invite(c, now, cmd.by, i.role_id)? {
        None => return Ok(CreateInviteOutcome::NoRole),
        Some(Err(why)) => return Ok(CreateInviteOutcome::Denied(why)),
        Some(Ok(person)) => person.or(i.inviter),
    };
    let digest = i.email.digest();
    if let Some(former) = pending(c, i.tenant_id, &digest)? {
        let how = if former.is_open(now) { InviteStatus::Revoked } else { InviteStatus::Expired };
        end(c, now, former.id, how)?;
    }
    c.prepare_cached(
        "INSERT INTO invites (id, tenant_id, email_digest, email, role_id, status, inviter, nonce, serial, expires_at, accepted_at,
         created_at, sweep_at, inviter_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?10, ?13)",
    )?
    .execute(params![
        i.id.as_bytes(),
        i.tenant_id.as_bytes(),
        digest.as_bytes(),
        i.email.as_str(),
        i.role_id.as_bytes(),
        i.status.name(),
        inviter.as_ref().map(UserId::as_bytes),
        i.nonce,
        int(i.serial),
        stamp(i.expires_at),
        i.accepted_at.map(stamp),
        stamp(i.created_at),
        i.inviter_key.as_ref().map(ApiKeyId::as_bytes),
    ])?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(CreateInviteOutcome::Created)
}

pub(super) fn resend(c: &Connection, now: Timestamp, cmd: &ResendInvite) -> rusqlite::Result<Cas<ResendOutcome>> {
    let invite = get(c, cmd.tenant_id, cmd.invite_id)?.filter(|i| i.serial == cmd.expect_serial && i.can_be_sent_again());
    let Some(invite) = invite else { return Ok(Cas::Stale) };
    if !takes_members(c, cmd.tenant_id)? {
        return Ok(Cas::Stale);
    }
    let inviter = match may_invite(c, now, cmd.by, invite.role_id)? {
        None => return Ok(Cas::Stale),
        Some(Err(why)) => return Ok(Cas::Done(ResendOutcome::Denied(why))),
        Some(Ok(person)) => person.or(cmd.inviter),
    };
    if pending(c, cmd.tenant_id, &invite.email.digest())?.is_some_and(|other| other.id != invite.id) {
        return Ok(Cas::Done(ResendOutcome::Superseded));
    }
    c.prepare_cached(
        "UPDATE invites SET status = 'pending', serial = serial + 1, expires_at = ?2, sweep_at = ?2, inviter = ?3, inviter_key = ?4,
         sent_again_at = ?5 WHERE id = ?1",
    )?
    .execute(params![
        invite.id.as_bytes(),
        stamp(cmd.expires_at),
        inviter.as_ref().map(UserId::as_bytes),
        cmd.inviter_key.as_ref().map(ApiKeyId::as_bytes),
        stamp(now)
    ])?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(ResendOutcome::Sent))
}

pub(super) fn revoke(c: &Connection, now: Timestamp, cmd: &RevokeInvite) -> rusqlite::Result<Permitted<RevokeOutcome>> {
    let Some(invite) = get(c, cmd.tenant_id, cmd.invite_id)? else { return Ok(Ok(RevokeOutcome::NotFound)) };
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::InviteWrite)? {
        return Ok(Err(why));
    }
    Ok(Ok(match invite.status {
        InviteStatus::Accepted | InviteStatus::Declined => RevokeOutcome::Answered,
        InviteStatus::Revoked => RevokeOutcome::Revoked,
        InviteStatus::Pending | InviteStatus::Expired => {
            end(c, now, invite.id, InviteStatus::Revoked)?;
            ending::audit(c, &cmd.audit)?;
            RevokeOutcome::Revoked
        }
    }))
}

/// Takes back what a person offered, in all tenants: the account's maker may not have been its owner.
pub(super) fn revoke_of_inviter(c: &Connection, now: Timestamp, user: UserId, since: Option<Timestamp>) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE invites SET status = 'revoked', sweep_at = ?2 WHERE inviter = ?1 AND status IN ('pending', 'expired')
         AND ifnull(sent_again_at, created_at) >= ?3",
    )?
    .execute(params![user.as_bytes(), stamp(now.plus(KEPT)), since.map_or(i64::MIN, stamp)])
    .map(drop)
}

/// Takes back what a person offered himself: he is about to be nobody. What his API keys offered is theirs.
pub(super) fn revoke_by_hand(c: &Connection, now: Timestamp, user: UserId) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE invites SET status = 'revoked', sweep_at = ?2 WHERE inviter = ?1 AND inviter_key IS NULL AND status IN ('pending', 'expired')",
    )?
    .execute(params![user.as_bytes(), stamp(now.plus(KEPT))])
    .map(drop)
}

/// Takes back up to `limit` of what a tenant that is gone offered; whether there were so many.
pub(super) fn revoke_of_tenant(c: &Connection, now: Timestamp, tenant: TenantId, limit: u32) -> rusqlite::Result<bool> {
    let revoked = c
        .prepare_cached(
            "UPDATE invites SET status = 'revoked', sweep_at = ?2
             WHERE id IN (SELECT id FROM invites WHERE tenant_id = ?1 AND status = 'pending' LIMIT ?3)",
        )?
        .execute(params![tenant.as_bytes(), stamp(now.plus(KEPT)), limit])?;
    Ok(revoked == limit as usize)
}

pub(super) fn get(c: &Connection, tenant: TenantId, id: InviteId) -> rusqlite::Result<Option<Invite>> {
    c.prepare_cached(concat!("SELECT ", columns!(), " FROM invites i WHERE i.tenant_id = ?1 AND i.id = ?2"))?
        .query_row([tenant.as_bytes(), id.as_bytes()], |row| read(row, 0))
        .optional()
}

/// Two reads for expired ones: those that are marked, and those that will be at the next sweep.
pub(super) fn list(
    c: &Connection,
    tenant: TenantId,
    status: Option<InviteStatus>,
    after: Option<InviteId>,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<Invite>> {
    let (tenant, below) = (tenant.as_bytes(), after.map_or([0xff; 16], |id| *id.as_bytes()));
    let Some(status) = status else {
        return c
            .prepare_cached(concat!(
                "SELECT ",
                columns!(),
                " FROM invites i WHERE i.tenant_id = ?1 AND i.id < ?2 ORDER BY i.id DESC LIMIT ?3"
            ))?
            .query_map(params![tenant, below, limit], |row| read(row, 0))?
            .collect();
    };
    // Only of pending ones does the time matter.
    let mut some = c.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM invites i WHERE i.tenant_id = ?1 AND i.status = ?2 AND i.id < ?3 AND (i.expires_at > ?5) = ?6 ORDER BY i.id DESC LIMIT ?4"
    ))?;
    let mut marked = c.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM invites i WHERE i.tenant_id = ?1 AND i.status = ?2 AND i.id < ?3 ORDER BY i.id DESC LIMIT ?4"
    ))?;
    let mut pending = |open: bool| -> rusqlite::Result<Vec<Invite>> {
        some.query_map(params![tenant, InviteStatus::Pending.name(), below, limit, stamp(now), open], |row| read(row, 0))?.collect()
    };
    if status == InviteStatus::Pending {
        return pending(true);
    }
    let mut found: Vec<Invite> =
        marked.query_map(params![tenant, status.name(), below, limit], |row| read(row, 0))?.collect::<rusqlite::Result<_>>()?;
    if status == InviteStatus::Expired {
        found.extend(pending(false)?);
        found.sort_unstable_by_key(|i| std::cmp::Reverse(i.id));
        found.truncate(limit as usize);
    }
    Ok(found)
}

macro_rules! open {
    ($more:literal) => {
        concat!(
            "SELECT ",
            rows::tenant_columns!(),
            ", ",
            columns!(),
            " FROM invites i JOIN tenants t ON t.id = i.tenant_id
             WHERE i.email_digest = ?1 AND i.status = 'pending' AND i.expires_at > ?2 AND t.deleted_at IS NULL ",
            $more
        )
    };
}

fn with_tenant(row: &Row<'_>) -> rusqlite::Result<(Invite, Tenant)> {
    Ok((read(row, rows::TENANT_COLUMNS)?, rows::tenant(row)?))
}

pub(super) fn open_to(c: &Connection, email: &ContactDigest, now: Timestamp) -> rusqlite::Result<Vec<(Invite, Tenant)>> {
    c.prepare_cached(open!("ORDER BY i.id DESC LIMIT ?3"))?
        .query_map(params![email.as_bytes(), stamp(now), LISTED], with_tenant)?
        .filter_map(|found| found.and_then(|f| Ok(still_given(c, now, &f.0)?.then_some(f))).transpose())
        .collect()
}

pub(super) fn open_one(c: &Connection, email: &ContactDigest, id: InviteId, now: Timestamp) -> rusqlite::Result<Option<(Invite, Tenant)>> {
    let found = c
        .prepare_cached(open!("AND i.id = ?3"))?
        .query_row(params![email.as_bytes(), stamp(now), id.as_bytes()], with_tenant)
        .optional()?;
    found.map_or(Ok(None), |f| Ok(still_given(c, now, &f.0)?.then_some(f)))
}

pub(super) fn accept(c: &Connection, now: Timestamp, cmd: &AcceptInvite) -> rusqlite::Result<AcceptOutcome> {
    let invite = get(c, cmd.tenant_id, cmd.invite_id)?.filter(|i| i.is_open(now) && i.serial == cmd.serial);
    let Some(invite) = invite else { return Ok(AcceptOutcome::Gone) };
    if !takes_members(c, invite.tenant_id)? || !still_given(c, now, &invite)? {
        return Ok(AcceptOutcome::Gone);
    }
    let Some(tenant) = tenants::get(c, invite.tenant_id)? else { return Ok(AcceptOutcome::Gone) };
    let allows = access::allows(c, invite.tenant_id, invite.role_id)?.unwrap_or_default();
    let needs_proof = needs_proof(invite.role_id, allows);
    // Of a key of the operator's it is enough that somebody says that the address is right.
    let operators = giver(c, now, &invite)?.is_some_and(|g| g.actor.person.is_none());
    let proved = |u: &User| is_proved(u, &tenant) || (operators && u.email_asserted_at.is_some());
    match &cmd.joins {
        Joins::New { user, session, network } => {
            if user.email != invite.email {
                return Ok(AcceptOutcome::Stale);
            }
            if let Some(owner) = users::holder(c, &user.email.digest())? {
                return Ok(AcceptOutcome::EmailTaken(owner));
            }
            if needs_proof && !proved(user) {
                return Ok(AcceptOutcome::Denied(Denied::TakerUnproved));
            }
            users::insert(c, &User { independent: Place::of(&tenant).makes_independent(&user.email), ..(**user).clone() })?;
            join(c, now, user.id, &invite)?;
            if let Some(personal) = cmd.personal.as_deref().filter(|_| !tenant.managed && user.email_verified_at.is_some()) {
                tenants::give_personal(c, now, user.id, personal)?;
            }
            sessions::insert(c, session)?;
            sessions::know(c, user.id, *network, now)?;
            users::forget_pending(c, &user.email.digest())?;
        }
        Joins::Account { user_id, epoch, mailbox, sign_in } => {
            let fits = |u: &User| u.credential_epoch == *epoch && u.may_sign_in() && u.email == invite.email;
            let Some(user) = rows::user_by_id(c, *user_id)?.filter(fits) else { return Ok(AcceptOutcome::Stale) };
            match mailbox {
                Mailbox::ProvedBefore if user.email_verified_at.is_none() => return Ok(AcceptOutcome::Stale),
                Mailbox::ProvedNow if user.email_verified_at.is_none() => {
                    prove(c, now, user.id)?;
                    access::revoke_keys_of_maker(c, now, user.id, Keys::PersonalAndSince(None))?;
                    tenants::first_proof(c, now, &user, cmd.personal.as_deref())?;
                }
                Mailbox::NotProved if needs_proof && !proved(&user) => return Ok(AcceptOutcome::Denied(Denied::TakerUnproved)),
                _ => {}
            }
            join(c, now, user.id, &invite)?;
            if let Some((session, network)) = sign_in {
                enter(c, now, session, *network)?;
            }
        }
    }
    end(c, now, invite.id, InviteStatus::Accepted)?;
    ending::audit(c, &cmd.audit)?;
    Ok(AcceptOutcome::Joined)
}

/// A member with the role of the invite. Who was one before keeps what he had.
fn join(c: &Connection, now: Timestamp, user_id: UserId, invite: &Invite) -> rusqlite::Result<()> {
    if tenants::membership(c, user_id, invite.tenant_id)?.is_none() {
        let roles = vec![invite.role_id];
        tenants::join(c, &Membership { user_id, tenant_id: invite.tenant_id, roles, joined_at: now })?;
    } else {
        tenants::give_role(c, user_id, invite.tenant_id, invite.role_id)?;
    }
    access::touch_user(c, user_id)
}

fn prove(c: &Connection, now: Timestamp, user: UserId) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE users SET email_verified_at = ?2, updated_at = ?2 WHERE id = ?1")?
        .execute(params![user.as_bytes(), stamp(now)])
        .map(drop)
}

fn enter(c: &Connection, now: Timestamp, session: &Session, network: Network) -> rusqlite::Result<()> {
    let cmd = CreateSession { session: session.clone(), network, is_login: true, audit: Vec::new() };
    match sessions::create(c, now, &cmd)? {
        Cas::Done(()) => Ok(()),
        // The account and the membership were looked at in this very transaction. An error rolls it back.
        Cas::Stale => Err(strange(0, "a session that doesn't go with its account")),
    }
}

pub(super) fn decline(c: &Connection, now: Timestamp, cmd: &DeclineInvite) -> rusqlite::Result<Cas<()>> {
    let Some(invite) = get(c, cmd.tenant_id, cmd.invite_id)?.filter(|i| i.is_open(now)) else { return Ok(Cas::Stale) };
    let his = |u: User| u.may_sign_in() && u.email == invite.email && u.email_verified_at.is_some();
    if !rows::user_by_id(c, cmd.user_id)?.is_some_and(his) {
        return Ok(Cas::Stale);
    }
    end(c, now, invite.id, InviteStatus::Declined)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

/// Removes what was kept long enough, and marks what has expired: how many rows, of at most `limit` each.
pub(super) fn sweep(c: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<(usize, usize)> {
    let removed = c
        .prepare_cached(
            "DELETE FROM invites WHERE rowid IN (SELECT rowid FROM invites WHERE sweep_at <= ?1 AND status <> 'pending' LIMIT ?2)",
        )?
        .execute(params![stamp(now), limit])?;
    let expired = c
        .prepare_cached(
            "UPDATE invites SET status = 'expired', sweep_at = ?3
             WHERE rowid IN (SELECT rowid FROM invites WHERE sweep_at <= ?1 AND status = 'pending' LIMIT ?2)",
        )?
        .execute(params![stamp(now), limit, stamp(now.plus(KEPT))])?;
    Ok((removed, expired))
}
