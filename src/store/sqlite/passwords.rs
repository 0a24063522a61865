//! Passwords: changed, hashed anew, reset.

use super::{
    access,
    email_change::sweep_at,
    ending, invites, outbox,
    rows::{self, int, number, stamp},
    tenants,
    users::count_kind,
};
use crate::{
    domain::{
        hash::PasswordHash,
        ids::{LinkId, UserId},
        time::Timestamp,
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::commands::*,
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
            "UPDATE users SET password_hash = ?3, password_epoch = ?5, credential_epoch = ?5, updated_at = ?4, version = version + 1
             WHERE id = ?1 AND credential_epoch = ?2 AND deleted_at IS NULL",
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
            "INSERT INTO reset_links (user_id, id, nonce, epoch, created_at, expires_at, used_at, sweep_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
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
        ])?;
    }
    Ok(good)
}

pub(super) fn link(c: &Connection, user_id: UserId, id: LinkId) -> rusqlite::Result<Option<ResetLink>> {
    c.prepare_cached("SELECT nonce, epoch, created_at, expires_at, used_at FROM reset_links WHERE user_id = ?1 AND id = ?2")?
        .query_row([user_id.as_bytes(), id.as_bytes()], |row| {
            Ok(ResetLink {
                id,
                user_id,
                nonce: row.get(0)?,
                epoch: number(row, 1)?,
                created_at: rows::time(row, 2)?,
                expires_at: rows::time(row, 3)?,
                used_at: rows::maybe_time(row, 4)?,
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
    if !set(c, now, user.id, link.epoch, &cmd.new_hash)? {
        return Ok(Cas::Stale);
    }
    c.prepare_cached("UPDATE reset_links SET used_at = ?3, sweep_at = ?4 WHERE user_id = ?1 AND id = ?2")?.execute(params![
        user.id.as_bytes(),
        link.id.as_bytes(),
        stamp(now),
        stamp(sweep_at(now))
    ])?;
    let first_proof = user.email_verified_at.is_none();
    if first_proof {
        c.prepare_cached("UPDATE users SET email_verified_at = ?2, phone = NULL, phone_verified_at = NULL WHERE id = ?1")?
            .execute(params![user.id.as_bytes(), stamp(now)])?;
        tenants::demote_other_owners(c, user.id)?;
        access::revoke_keys_of_maker(c, now, user.id)?;
        invites::revoke_of_inviter(c, now, user.id)?;
    }
    let revoked = ending::epoch_raised(c, user.id, user.credential_epoch, now, None)?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(ResetOutcome { revoked, first_proof }))
}

pub(super) fn hash_census(c: &Connection) -> rusqlite::Result<Vec<String>> {
    c.prepare_cached("SELECT kind FROM hash_census ORDER BY kind")?.query_map([], |row| row.get(0))?.collect()
}
