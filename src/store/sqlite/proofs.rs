//! Codes that were right: the address or the number is proved, and the code's serial is used up.

use super::{
    access, ending, outbox,
    rows::{self, int, stamp},
    tenants,
};
use crate::{
    domain::{ids::UserId, time::Timestamp, token::CodePurpose},
    sqlite::{Connection, params, rusqlite},
    store::{access::Keys, commands::*},
};

/// Whether a code made under `epoch` with this serial may still be used.
fn usable(c: &Connection, user: UserId, epoch: u64, purpose: CodePurpose, serial: u64) -> rusqlite::Result<bool> {
    let user = rows::user_by_id(c, user)?;
    Ok(user.is_some_and(|u| u.credential_epoch == epoch && serial > u.code_serials.last(purpose)))
}

pub(super) fn confirm_email(c: &Connection, now: Timestamp, cmd: &ConfirmEmail) -> rusqlite::Result<Cas<()>> {
    let Some(before) = rows::user_by_id(c, cmd.user_id)? else { return Ok(Cas::Stale) };
    if !usable(c, cmd.user_id, cmd.epoch, CodePurpose::Email, cmd.serial)? {
        return Ok(Cas::Stale);
    }
    tenants::first_proof(c, now, &before, cmd.personal.as_deref())?;
    if before.email_verified_at.is_none() {
        access::revoke_keys_of_maker(c, now, cmd.user_id, Keys::PersonalAndSince(None))?;
    }
    c.prepare_cached(
        "UPDATE users SET email_verified_at = coalesce(email_verified_at, ?3), serial_email = ?2, updated_at = ?3, version = version + 1
         WHERE id = ?1",
    )?
    .execute(params![cmd.user_id.as_bytes(), int(cmd.serial), stamp(now)])?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

pub(super) fn confirm_phone(c: &Connection, now: Timestamp, cmd: &ConfirmPhone) -> rusqlite::Result<Cas<()>> {
    if !usable(c, cmd.user_id, cmd.epoch, CodePurpose::Phone, cmd.serial)? {
        return Ok(Cas::Stale);
    }
    c.prepare_cached(
        "UPDATE users SET phone = ?4, phone_verified_at = ?3, serial_phone = ?2, updated_at = ?3, version = version + 1 WHERE id = ?1",
    )?
    .execute(params![cmd.user_id.as_bytes(), int(cmd.serial), stamp(now), cmd.phone.as_str()])?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}
