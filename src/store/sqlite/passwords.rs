//! Passwords: changed, hashed anew, reset.

use super::{
    access, admin, authority,
    email_change::sweep_at,
    ending, invites, outbox,
    rows::{self, int, number, stamp},
    sessions, tenants,
    users::{self, count_kind},
};
use crate::{
    domain::{
        authority::{Action, By, Place, may},
        hash::PasswordHash,
        ids::{LinkId, UserId},
        permission::Permission,
        time::Timestamp,
        user::User,
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::{access::Keys, commands::*},
};

pub(super) fn change(c: &Connection, now: Timestamp, cmd: &ChangePassword) -> rusqlite::Result<Cas<()>> {
    if !set(c, now, cmd.user_id, cmd.expect_epoch, &cmd.new_hash)? {
        return Ok(Cas::Stale);
    }
    ending::epoch_raised(c, cmd.user_id, cmd.expect_epoch, now, cmd.keep)?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

/// Sets the hash and raises the epoch, if it is still `epoch`.
pub(super) fn set(c: &Connection, now: Timestamp, user: UserId, epoch: u64, hash: &PasswordHash) -> rusqlite::Result<bool> {
    let set = c
        .prepare_cached(
            "UPDATE users SET password_hash = ?3, password_epoch = ?5, credential_epoch = ?5, must_change = 0, updated_at = ?4,
             version = version + 1 WHERE id = ?1 AND credential_epoch = ?2 AND deleted_at IS NULL",
        )?
        .execute(params![user.as_bytes(), int(epoch), hash.reveal(), stamp(now), int(epoch + 1)])?;
    if set == 1 {
        count_kind(c, hash)?;
    }
    Ok(set == 1)
}

pub(super) fn rehash(c: &Connection, cmd: &Rehash) -> rusqlite::Result<bool> {
    let set = c
        .prepare_cached("UPDATE users SET password_hash = ?3, version = version + 1 WHERE id = ?1 AND password_hash = ?2")?
        .execute(params![cmd.user_id.as_bytes(), cmd.expect_hash.reveal(), cmd.new_hash.reveal()])?;
    if set == 1 {
        count_kind(c, &cmd.new_hash)?;
    }
    Ok(set == 1)
}

pub(super) fn create_link(c: &Connection, link: &ResetLink) -> rusqlite::Result<bool> {
    let good = rows::user_by_id(c, link.user_id)?.is_some_and(|u| u.may_sign_in() && u.credential_epoch == link.epoch);
    if good {
        c.prepare_cached(
            "INSERT INTO reset_links (user_id, id, nonce, epoch, created_at, expires_at, used_at, sweep_at, made_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            link.user_id.as_bytes(),
            link.id.as_bytes(),
            link.nonce,
            int(link.epoch),
            stamp(link.created_at),
            stamp(link.expires_at),
            link.used_at.map(stamp),
            stamp(sweep_at(link.used_at.unwrap_or(link.expires_at))),
            link.made_by.map(|by| rows::json(&by)).transpose()?,
        ])?;
    }
    Ok(good)
}

pub(super) fn link(c: &Connection, user_id: UserId, id: LinkId) -> rusqlite::Result<Option<ResetLink>> {
    c.prepare_cached("SELECT nonce, epoch, created_at, expires_at, used_at, made_by FROM reset_links WHERE user_id = ?1 AND id = ?2")?
        .query_row([user_id.as_bytes(), id.as_bytes()], |row| {
            Ok(ResetLink {
                id,
                user_id,
                nonce: row.get(0)?,
                epoch: number(row, 1)?,
                created_at: rows::time(row, 2)?,
                expires_at: rows::time(row, 3)?,
                used_at: rows::maybe_time(row, 4)?,
                made_by: row
                    .get::<_, Option<String>>(5)?
                    .map(|text| serde_json::from_str(&text).map_err(|_| rows::strange(5, "no maker of a link")))
                    .transpose()?,
            })
        })
        .optional()
}

pub(super) fn complete_reset(c: &Connection, now: Timestamp, cmd: &CompleteReset) -> rusqlite::Result<Cas<ResetOutcome>> {
    let (Some(link), Some(user)) = (link(c, cmd.user_id, cmd.link_id)?, rows::user_by_id(c, cmd.user_id)?) else {
        return Ok(Cas::Stale);
    };
    if link.used_at.is_some() || now >= link.expires_at || link.epoch != user.credential_epoch || !user.may_sign_in() {
        return Ok(Cas::Stale);
    }
    if let Some(by) = link.made_by
        && !may_still_link(c, now, by, &user)?
    {
        return Ok(Cas::Stale);
    }
    if !set(c, now, user.id, link.epoch, &cmd.new_hash)? {
        return Ok(Cas::Stale);
    }
    c.prepare_cached("UPDATE reset_links SET used_at = ?3, sweep_at = ?4 WHERE user_id = ?1 AND id = ?2")?.execute(params![
        user.id.as_bytes(),
        link.id.as_bytes(),
        stamp(now),
        stamp(sweep_at(now))
    ])?;
    let proves = link.made_by.is_none();
    let first_proof = proves && user.email_verified_at.is_none();
    if first_proof {
        c.prepare_cached("UPDATE users SET email_verified_at = ?2, phone = NULL, phone_verified_at = NULL WHERE id = ?1")?
            .execute(params![user.id.as_bytes(), stamp(now)])?;
        access::revoke_keys_of_maker(c, now, user.id, Keys::All)?;
        invites::revoke_of_inviter(c, now, user.id, None)?;
        tenants::first_proof(c, now, &user, cmd.personal.as_deref())?;
    } else if proves {
        access::revoke_keys_of_maker(c, now, user.id, Keys::PersonalAndSince(cmd.end_keys_since))?;
        if let Some(since) = cmd.end_keys_since {
            invites::revoke_of_inviter(c, now, user.id, Some(since))?;
        }
    }
    if let Some(network) = cmd.network.filter(|_| proves) {
        sessions::know(c, user.id, network, now)?;
    }
    let revoked = ending::epoch_raised(c, user.id, user.credential_epoch, now, None)?;
    cmd.jobs.iter().try_for_each(|job| outbox::put(c, now, job))?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(ResetOutcome { revoked, first_proof }))
}

/// Whether the admin who made a link may still set the password of the account.
fn may_still_link(c: &Connection, now: Timestamp, by: By, user: &User) -> rusqlite::Result<bool> {
    let (Some(tenant), Some(member)) = (tenants::get(c, by.tenant_id)?, admin::member(c, by.tenant_id, user.id)?) else { return Ok(false) };
    let acting = authority::later(c, now, by)?;
    Ok(acting.is_some_and(|a| {
        a.needs(Permission::UserWrite).and_then(|()| may(&a.actor, Action::MakeLink, &member.target(), &Place::of(&tenant))).is_ok()
    }))
}

/// The person says that a change was not theirs: nothing of what they don't know is left. Links of mails that were written before are dead.
pub(super) fn secure(c: &Connection, now: Timestamp, cmd: &SecureAccount) -> rusqlite::Result<Cas<()>> {
    let good = |u: &User| u.deleted_at.is_none() && u.not_me_at.is_none_or(|at| at < cmd.made_at);
    let Some(user) = rows::user_by_id(c, cmd.user_id)?.filter(good) else { return Ok(Cas::Stale) };
    lose_password(c, now, &user)?;
    access::revoke_keys_of_maker(c, now, user.id, Keys::PersonalAndSince(Some(cmd.made_at)))?;
    invites::revoke_of_inviter(c, now, user.id, Some(cmd.made_at))?;
    outbox::put(c, now, &cmd.job)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

/// The password goes, and all sessions with it: the next one is set by a mailed link.
pub(super) fn lose_password(c: &Connection, now: Timestamp, user: &User) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE users SET password_hash = NULL, password_epoch = NULL, must_change = 0, not_me_at = ?2, updated_at = ?2,
         credential_epoch = credential_epoch + 1, version = version + 1 WHERE id = ?1",
    )?
    .execute(params![user.id.as_bytes(), stamp(now)])?;
    ending::epoch_raised(c, user.id, user.credential_epoch, now, None).map(drop)
}

/// The person takes their account out of the recycle bin, into which they (or whoever knew the password) had put it.
pub(super) fn restore(c: &Connection, now: Timestamp, cmd: &RestoreAccount) -> rusqlite::Result<Cas<()>> {
    let good = |u: &User| u.deleted_at.is_some() && u.credential_epoch == cmd.epoch;
    let Some(user) = rows::user_by_id(c, cmd.user_id)?.filter(good) else { return Ok(Cas::Stale) };
    users::out_of_bin(c, now, &user)?;
    // Without a tenant nobody could sign in.
    if !tenants::belongs_somewhere(c, user.id)? {
        tenants::give_personal(c, now, user.id, &cmd.personal)?;
    }
    outbox::put(c, now, &cmd.job)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

pub(super) fn hash_census(c: &Connection) -> rusqlite::Result<Vec<String>> {
    c.prepare_cached("SELECT kind FROM hash_census ORDER BY kind")?.query_map([], |row| row.get(0))?.collect()
}
