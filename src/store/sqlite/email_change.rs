//! Changes of the e-mail address: begun, confirmed, undone.

use super::{
    access, ending, invites, outbox,
    rows::{self, int, number, stamp},
    tenants, users,
};
use crate::{
    domain::{
        contact::Email,
        ids::{LinkId, UserId},
        outbox::Job,
        time::Timestamp,
        user::User,
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{access::Keys, commands::*},
};
use std::time::Duration;

/// Links are kept a day after their end, so that a used one can be told from one that never was.
pub(super) fn sweep_at(end: Timestamp) -> Timestamp {
    end.plus(Duration::from_secs(86_400))
}

pub(super) fn begin(c: &Connection, now: Timestamp, change: &PendingEmailChange, job: &Job) -> rusqlite::Result<Cas<()>> {
    if rows::user_by_id(c, change.user_id)?.is_none_or(|u| u.credential_epoch != change.epoch) {
        return Ok(Cas::Stale);
    }
    c.prepare_cached(
        "INSERT INTO pending_email_changes (user_id, new_email, epoch, serial, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET new_email = ?2, epoch = ?3, serial = ?4, created_at = ?5, expires_at = ?6",
    )?
    .execute(params![
        change.user_id.as_bytes(),
        change.new_email.as_str(),
        int(change.epoch),
        int(change.serial),
        stamp(change.created_at),
        stamp(change.expires_at),
    ])?;
    outbox::put(c, now, job)?;
    Ok(Cas::Done(()))
}

pub(super) fn pending(c: &Connection, user_id: UserId) -> rusqlite::Result<Option<PendingEmailChange>> {
    c.prepare_cached("SELECT new_email, epoch, serial, created_at, expires_at FROM pending_email_changes WHERE user_id = ?1")?
        .query_row([user_id.as_bytes()], |row| {
            Ok(PendingEmailChange {
                user_id,
                new_email: Email::from_stored(row.get(0)?),
                epoch: number(row, 1)?,
                serial: number(row, 2)?,
                created_at: rows::time(row, 3)?,
                expires_at: rows::time(row, 4)?,
            })
        })
        .optional()
}

pub(super) fn confirm(c: &Connection, now: Timestamp, cmd: &ConfirmEmailChange) -> rusqlite::Result<Cas<EmailChangeOutcome>> {
    let (Some(user), Some(change)) = (rows::user_by_id(c, cmd.user_id)?, pending(c, cmd.user_id)?) else { return Ok(Cas::Stale) };
    let in_force = user.credential_epoch == cmd.epoch && change.epoch == cmd.epoch && now < change.expires_at;
    if !in_force || change.serial != cmd.serial || cmd.serial <= user.code_serials.email_change {
        return Ok(Cas::Stale);
    }
    if !move_to(c, now, &user, &change.new_email)? {
        return Ok(Cas::Done(EmailChangeOutcome::Taken));
    }
    if user.email_verified_at.is_none() {
        // The first proof: whoever made the account may have been somebody else.
        access::revoke_keys_of_maker(c, now, user.id, Keys::PersonalAndSince(None))?;
    }
    c.prepare_cached("UPDATE users SET serial_email_change = ?2 WHERE id = ?1")?.execute(params![user.id.as_bytes(), int(cmd.serial)])?;
    c.prepare_cached(
        "INSERT INTO undo_links (user_id, id, nonce, epoch, old_email, old_verified_at, created_at, expires_at, used_at, sweep_at, old_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9, ?10)",
    )?
    .execute(params![
        user.id.as_bytes(),
        cmd.undo.id.as_bytes(),
        cmd.undo.nonce,
        int(user.credential_epoch),
        user.email.as_str(),
        user.email_verified_at.map(stamp),
        stamp(now),
        stamp(cmd.undo.expires_at),
        stamp(sweep_at(cmd.undo.expires_at)),
        reserves(user.email_verified_at, user.email_asserted_at).then(|| *user.email.digest().as_bytes()),
    ])?;
    ending::epoch_raised(c, user.id, user.credential_epoch, now, cmd.keep)?;
    outbox::put(c, now, &cmd.job)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(EmailChangeOutcome::Changed))
}

/// Gives the account the address, proved, with the epoch raised. If somebody else has it, only the pending change ends.
fn move_to(c: &Connection, now: Timestamp, user: &User, email: &Email) -> rusqlite::Result<bool> {
    let digest = email.digest();
    if users::holder(c, &digest)?.is_some_and(|holder| holder != user.id) {
        c.prepare_cached("DELETE FROM pending_email_changes WHERE user_id = ?1")?.execute([user.id.as_bytes()])?;
        return Ok(false);
    }
    c.prepare_cached(
        "UPDATE users SET email = ?2, email_digest = ?3, email_verified_at = ?4, email_asserted_at = NULL, updated_at = ?4, version = version + 1,
         credential_epoch = credential_epoch + 1 WHERE id = ?1",
    )?
    .execute(params![user.id.as_bytes(), email.as_str(), digest.as_bytes(), stamp(now)])?;
    Ok(true)
}

pub(super) fn undo_link(c: &Connection, user_id: UserId, id: LinkId) -> rusqlite::Result<Option<UndoLink>> {
    let read = |row: &Row<'_>| {
        Ok(UndoLink {
            id,
            user_id,
            nonce: row.get(0)?,
            epoch: number(row, 1)?,
            old_email: Email::from_stored(row.get(2)?),
            old_verified_at: rows::maybe_time(row, 3)?,
            created_at: rows::time(row, 4)?,
            expires_at: rows::time(row, 5)?,
            used_at: rows::maybe_time(row, 6)?,
        })
    };
    c.prepare_cached(
        "SELECT nonce, epoch, old_email, old_verified_at, created_at, expires_at, used_at FROM undo_links WHERE user_id = ?1 AND id = ?2",
    )?
    .query_row([user_id.as_bytes(), id.as_bytes()], read)
    .optional()
}

pub(super) fn undo(c: &Connection, now: Timestamp, cmd: &UndoEmailChange) -> rusqlite::Result<Cas<EmailChangeOutcome>> {
    let (Some(user), Some(link)) = (rows::user_by_id(c, cmd.user_id)?, undo_link(c, cmd.user_id, cmd.link_id)?) else {
        return Ok(Cas::Stale);
    };
    if link.used_at.is_some() || now >= link.expires_at {
        return Ok(Cas::Stale);
    }
    if !move_to(c, now, &user, &link.old_email)? {
        return Ok(Cas::Done(EmailChangeOutcome::Taken));
    }
    // Whoever made the change may know the password, also that of before: it goes in any case, and with it the phone number. Not-me links
    // of mails to the other address are dead.
    c.prepare_cached(
        "UPDATE users SET password_hash = NULL, password_epoch = NULL, must_change = 0, phone = NULL, phone_verified_at = NULL, not_me_at = ?2,
         deleted_at = NULL, purge_after = NULL WHERE id = ?1",
    )?
    .execute(params![user.id.as_bytes(), stamp(now)])?;
    // Without a tenant nobody could sign in.
    if !tenants::belongs_somewhere(c, user.id)? {
        tenants::give_personal(c, now, user.id, &cmd.personal)?;
    }
    // Nobody had proved that mailbox: whoever made the account may be a stranger. It is unproved again; who has the mailbox proves it by
    // a reset, which ends the rest of what the stranger made.
    if link.old_verified_at.is_none() {
        c.prepare_cached("UPDATE users SET email_verified_at = NULL WHERE id = ?1")?.execute([user.id.as_bytes()])?;
    }
    access::revoke_keys_of_maker(c, now, user.id, Keys::PersonalAndSince(Some(link.created_at)))?;
    invites::revoke_of_inviter(c, now, user.id, Some(link.created_at))?;
    // This link, and those of later changes: they lead to addresses that the owner never had.
    c.prepare_cached("UPDATE undo_links SET used_at = ?2, sweep_at = ?3 WHERE user_id = ?1 AND epoch >= ?4 AND used_at IS NULL")?
        .execute(params![user.id.as_bytes(), stamp(now), stamp(sweep_at(now)), int(link.epoch)])?;
    ending::epoch_raised(c, user.id, user.credential_epoch, now, None)?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(EmailChangeOutcome::Changed))
}
