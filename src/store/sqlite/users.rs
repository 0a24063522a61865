//! Accounts: made, looked up, changed, deleted.

use super::{
    access, ending, outbox,
    rows::{self, int, json, number, stamp, user_columns},
    sessions, tenants,
};
use crate::{
    domain::{
        contact::{ContactDigest, Email},
        hash::PasswordHash,
        ids::{PendingSignupId, TenantId, UserId},
        network::Network,
        outbox::Job,
        time::Timestamp,
        user::{User, name_key},
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::commands::*,
};

pub(super) fn create(c: &Connection, now: Timestamp, cmd: &CreateUser) -> rusqlite::Result<CreateUserOutcome> {
    let digest = cmd.user.email.digest();
    if let Some(id) = cmd.consumes
        && pending(c, id)?.is_none()
    {
        return Ok(CreateUserOutcome::PendingGone);
    }
    if let Some(owner) = holder(c, &digest)? {
        return Ok(CreateUserOutcome::EmailTaken(owner));
    }
    tenants::insert(c, &cmd.tenant)?;
    insert(c, &cmd.user)?;
    tenants::join(c, &cmd.membership)?;
    sessions::insert(c, &cmd.session)?;
    sessions::know(c, cmd.user.id, cmd.network, now)?;
    forget_pending(c, &digest)?;
    ending::audit(c, &cmd.audit)?;
    Ok(CreateUserOutcome::Created)
}

/// The address has an account now: sign-ups of it that wait for a code are void.
pub(super) fn forget_pending(c: &Connection, digest: &ContactDigest) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM pending_signups WHERE email_digest = ?1")?.execute([digest.as_bytes()]).map(drop)
}

pub(super) fn insert(c: &Connection, u: &User) -> rusqlite::Result<()> {
    if let Some(hash) = &u.password_hash {
        count_kind(c, hash)?;
    }
    insert_uncounted(c, u)
}

/// For whoever has counted the kind of its hash.
pub(super) fn insert_uncounted(c: &Connection, u: &User) -> rusqlite::Result<()> {
    c.prepare_cached(concat!(
        "INSERT INTO users (",
        user_columns!(),
        ", email_digest, password_epoch, name_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)"
    ))?
    .execute(params![
        u.id.as_bytes(),
        u.home_tenant.as_bytes(),
        u.last_tenant.as_ref().map(TenantId::as_bytes),
        u.email.as_str(),
        u.email_verified_at.map(stamp),
        u.phone.as_ref().map(|p| p.as_str()),
        u.phone_verified_at.map(stamp),
        u.display_name,
        u.locale,
        u.status.name(),
        json(&u.metadata)?,
        u.password_hash.as_ref().map(PasswordHash::reveal),
        int(u.credential_epoch),
        int(u.version),
        int(u.code_serials.email),
        int(u.code_serials.phone),
        int(u.code_serials.email_change),
        u.last_login_at.map(stamp),
        stamp(u.created_at),
        stamp(u.updated_at),
        u.deleted_at.map(stamp),
        u.purge_after.map(stamp),
        u.email_asserted_at.map(stamp),
        u.independent,
        u.must_change,
        u.not_me_at.map(stamp),
        u.email.digest().as_bytes(),
        u.password_hash.is_some().then_some(int(u.credential_epoch)),
        u.display_name.as_deref().map(name_key),
    ])?;
    Ok(())
}

/// Who has an address, or had it before a change that can still be undone: nobody else gets it so long.
pub(super) fn holder(c: &Connection, digest: &ContactDigest) -> rusqlite::Result<Option<UserId>> {
    let mut by_digest = c.prepare_cached(
        "SELECT id FROM users WHERE email_digest = ?1
         UNION ALL SELECT user_id FROM undo_links WHERE old_digest = ?1 AND used_at IS NULL LIMIT 1",
    )?;
    by_digest.query_row([digest.as_bytes()], |row| row.get(0).map(UserId::from_bytes)).optional()
}

/// Notes a kind of hash that is about to be stored.
pub(super) fn count_kind(c: &Connection, hash: &PasswordHash) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT INTO hash_census (kind) VALUES (?1) ON CONFLICT DO NOTHING")?.execute([hash.census()]).map(drop)
}

pub(super) fn by_email(c: &Connection, digest: &ContactDigest) -> rusqlite::Result<Option<User>> {
    c.prepare_cached(concat!("SELECT ", user_columns!(), " FROM users WHERE email_digest = ?1"))?
        .query_row([digest.as_bytes()], rows::user)
        .optional()
}

/// For an unknown address the next one is read instead, up to its entity, and its networks: nobody shall tell them by the time.
pub(super) fn login_lookup(c: &Connection, digest: &ContactDigest, network: Network) -> rusqlite::Result<LoginLookup> {
    let near = c
        .prepare_cached(concat!(
            "SELECT ",
            user_columns!(),
            ", email_digest FROM users WHERE email_digest >= ?1 ORDER BY email_digest LIMIT 1"
        ))?
        .query_row([digest.as_bytes()], |row| Ok((rows::user(row)?, row.get::<_, [u8; 32]>(26)?)))
        .optional()?;
    let whose = near.as_ref().map_or(UserId::from_bytes([0; 16]), |(user, _)| user.id);
    let known = c
        .prepare_cached("SELECT 1 FROM known_networks WHERE user_id = ?1 AND network = ?2")?
        .exists(params![whose.as_bytes(), network.as_bytes()])?;
    Ok(match near {
        Some((user, found)) if found == *digest.as_bytes() => LoginLookup { user: Some(user), known_network: known },
        _ => LoginLookup { user: None, known_network: false },
    })
}

pub(super) fn begin_signup(c: &Connection, now: Timestamp, p: &PendingSignup, job: &Job) -> rusqlite::Result<()> {
    c.prepare_cached(
        "INSERT INTO pending_signups (id, nonce, email_digest, email, password_hash, display_name, tries, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        p.id.as_bytes(),
        p.nonce,
        p.email.digest().as_bytes(),
        p.email.as_str(),
        p.password_hash.reveal(),
        p.display_name,
        p.tries,
        stamp(p.created_at),
        stamp(p.expires_at),
    ])?;
    outbox::put(c, now, job)
}

pub(super) fn pending(c: &Connection, id: PendingSignupId) -> rusqlite::Result<Option<PendingSignup>> {
    let read = |row: &Row<'_>| {
        Ok(PendingSignup {
            id,
            nonce: row.get(0)?,
            email: Email::from_stored(row.get(1)?),
            password_hash: PasswordHash::new(row.get::<_, String>(2)?),
            display_name: row.get(3)?,
            tries: row.get(4)?,
            created_at: rows::time(row, 5)?,
            expires_at: rows::time(row, 6)?,
        })
    };
    c.prepare_cached("SELECT nonce, email, password_hash, display_name, tries, created_at, expires_at FROM pending_signups WHERE id = ?1")?
        .query_row([id.as_bytes()], read)
        .optional()
}

pub(super) fn count_signup_try(c: &Connection, id: PendingSignupId) -> rusqlite::Result<Option<u32>> {
    c.prepare_cached("UPDATE pending_signups SET tries = tries + 1 WHERE id = ?1 RETURNING tries")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()
}

/// Gives the new version: the command itself holds the rest of what was written.
pub(super) fn update_profile(c: &Connection, now: Timestamp, cmd: &UpdateProfile) -> rusqlite::Result<Cas<u64>> {
    let version = c
        .prepare_cached(
            "UPDATE users SET display_name = ?3, locale = ?4, updated_at = ?5, name_key = ?6, version = version + 1
             WHERE id = ?1 AND version = ?2 RETURNING version",
        )?
        .query_row(
            params![
                cmd.user_id.as_bytes(),
                int(cmd.expect_version),
                cmd.display_name,
                cmd.locale,
                stamp(now),
                cmd.display_name.as_deref().map(name_key)
            ],
            |row| number(row, 0),
        )
        .optional()?;
    Ok(version.map_or(Cas::Stale, Cas::Done))
}

pub(super) fn delete(c: &Connection, now: Timestamp, cmd: &DeleteUser) -> rusqlite::Result<Cas<DeleteOutcome>> {
    let Some(user) = rows::user_by_id(c, cmd.user_id)? else { return Ok(Cas::Stale) };
    if user.credential_epoch != cmd.expect_epoch || user.deleted_at.is_some() {
        return Ok(Cas::Stale);
    }
    if tenants::holds_up_an_organization(c, user.id)? {
        return Ok(Cas::Done(DeleteOutcome::LastOwner));
    }
    into_bin(c, now, &user, cmd.purge_after)?;
    if let Some(job) = &cmd.job {
        outbox::put(c, now, job)?;
    }
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(DeleteOutcome::Deleted))
}

/// Puts a user into the recycle bin, with all that follows; how many live sessions ended.
pub(super) fn into_bin(c: &Connection, now: Timestamp, user: &User, purge_after: Timestamp) -> rusqlite::Result<u64> {
    c.prepare_cached(
        "UPDATE users SET deleted_at = ?2, purge_after = ?3, updated_at = ?2, credential_epoch = credential_epoch + 1,
         version = version + 1 WHERE id = ?1",
    )?
    .execute(params![user.id.as_bytes(), stamp(now), stamp(purge_after)])?;
    access::stop_keys_of_maker(c, now, user.id, None)?;
    ending::epoch_raised(c, user.id, user.credential_epoch, now, None)
}

/// Takes a user out of the recycle bin, with the memberships and the status of before and without the password: whoever deleted the
/// account may have known it.
pub(super) fn out_of_bin(c: &Connection, now: Timestamp, user: &User) -> rusqlite::Result<()> {
    c.prepare_cached(
        "UPDATE users SET deleted_at = NULL, purge_after = NULL, password_hash = NULL, password_epoch = NULL, must_change = 0, updated_at = ?2,
         credential_epoch = credential_epoch + 1, version = version + 1 WHERE id = ?1",
    )?
    .execute(params![user.id.as_bytes(), stamp(now)])?;
    ending::epoch_raised(c, user.id, user.credential_epoch, now, None).map(drop)
}

/// Links that undo a change of the address can't be used any more.
pub(super) fn use_up_undo_links(c: &Connection, now: Timestamp, user: UserId) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE undo_links SET used_at = ?2, sweep_at = ?3 WHERE user_id = ?1 AND used_at IS NULL")?
        .execute(params![user.as_bytes(), stamp(now), stamp(super::email_change::sweep_at(now))])
        .map(drop)
}
