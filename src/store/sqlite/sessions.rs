//! Sessions: opened, turned, listed, ended.

use super::{
    ending::{self, Among, sweep_day, today},
    rows::{self, int, number, session_columns, stamp},
    tenants,
};
use crate::{
    domain::{
        ids::{SessionId, TenantId, UserId},
        network::Network,
        session::Session,
        time::Timestamp,
        user::UserStatus,
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::commands::*,
};

/// Networks of an account that are kept.
const NETWORKS: u32 = 16;
/// Sessions in a list.
pub(super) const LISTED: u32 = 200;
/// Revocations given at a time.
const REVOCATIONS: u32 = 10_000;

pub(super) fn insert(c: &Connection, s: &Session) -> rusqlite::Result<()> {
    c.prepare_cached(
        "INSERT INTO sessions (id, user_id, tenant_id, nonce, generation, credential_epoch, ip, user_agent, created_at, last_seen_at,
         turned_at, turned_by, expires_at, revoked_at, sweep_day, signed_in_at, idle_days)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        s.id.as_bytes(),
        s.user_id.as_bytes(),
        s.tenant_id.as_bytes(),
        s.nonce,
        int(s.generation),
        int(s.credential_epoch),
        s.ip,
        s.user_agent,
        stamp(s.created_at),
        stamp(s.last_seen_at),
        stamp(s.turned_at),
        s.turned_by.as_bytes(),
        stamp(s.expires_at),
        s.revoked_at.map(stamp),
        sweep_day(s.last_seen_at, s.idle_days, s.expires_at, s.revoked_at),
        s.signed_in_at.map(stamp),
        s.idle_days,
    ])?;
    Ok(())
}

/// Notes a network as known. Only the latest stay.
pub(super) fn know(c: &Connection, user: UserId, network: Network, now: Timestamp) -> rusqlite::Result<()> {
    let seen = c.prepare_cached("UPDATE known_networks SET seen_at = ?3 WHERE user_id = ?1 AND network = ?2")?.execute(params![
        user.as_bytes(),
        network.as_bytes(),
        stamp(now)
    ])?;
    if seen == 1 {
        return Ok(());
    }
    // Room first, so that the new one stays whatever its time is.
    c.prepare_cached(
        "DELETE FROM known_networks WHERE user_id = ?1 AND network IN
         (SELECT network FROM known_networks WHERE user_id = ?1 ORDER BY seen_at DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![user.as_bytes(), NETWORKS - 1])?;
    c.prepare_cached("INSERT INTO known_networks (user_id, network, seen_at) VALUES (?1, ?2, ?3)")?.execute(params![
        user.as_bytes(),
        network.as_bytes(),
        stamp(now)
    ])?;
    Ok(())
}

pub(super) fn create(c: &Connection, now: Timestamp, cmd: &CreateSession) -> rusqlite::Result<Cas<()>> {
    let s = &cmd.session;
    let account = c
        .prepare_cached("SELECT credential_epoch, status, deleted_at FROM users WHERE id = ?1")?
        .query_row([s.user_id.as_bytes()], |row| Ok((number(row, 0)?, rows::status(row, 1)?, rows::maybe_time(row, 2)?)))
        .optional()?;
    if account != Some((s.credential_epoch, UserStatus::Active, None)) {
        return Ok(Cas::Stale);
    }
    // A switch that raced the end of the membership: its sessions were ended before this one came.
    if tenants::membership(c, s.user_id, s.tenant_id)?.is_none() {
        return Ok(Cas::Stale);
    }
    insert(c, s)?;
    ending::keep_to_the_limit(c, s.user_id, s.credential_epoch, now, s.id)?;
    know(c, s.user_id, cmd.network, now)?;
    c.prepare_cached(
        "UPDATE users SET last_tenant = ?2, last_login_at = coalesce(?3, last_login_at), version = version + 1 WHERE id = ?1",
    )?
    .execute(params![s.user_id.as_bytes(), s.tenant_id.as_bytes(), cmd.is_login.then_some(stamp(now))])?;
    ending::audit(c, &cmd.audit)?;
    Ok(Cas::Done(()))
}

/// One statement: half of what a refresh costs.
pub(super) const VIEW: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", u.credential_epoch, u.status, u.deleted_at FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = ?1 AND s.id = ?2"
);

pub(super) fn view(c: &Connection, user: UserId, session: SessionId) -> rusqlite::Result<Option<SessionView>> {
    c.prepare_cached(VIEW)?
        .query_row([user.as_bytes(), session.as_bytes()], |row| {
            Ok(SessionView {
                session: rows::session(row)?,
                user_epoch: number(row, rows::SESSION_COLUMNS)?,
                user_status: rows::status(row, rows::SESSION_COLUMNS + 1)?,
                user_deleted: rows::maybe_time(row, rows::SESSION_COLUMNS + 2)?.is_some(),
            })
        })
        .optional()
}

/// Not recorded: the generation is its record, a rerun of one that was done is `Stale`.
pub(super) fn rotate(c: &Connection, now: Timestamp, cmd: &RotateSession) -> rusqlite::Result<Cas<()>> {
    let (user, session) = (cmd.user_id.as_bytes(), cmd.session_id.as_bytes());
    let turned = c
        .prepare_cached(
            "UPDATE sessions SET generation = ?4, ip = ?6, last_seen_at = ?7, turned_at = ?7, turned_by = ?8
             WHERE user_id = ?1 AND id = ?2 AND generation = ?3 AND credential_epoch = ?5 AND revoked_at IS NULL
             AND EXISTS (SELECT 1 FROM users WHERE id = ?1 AND credential_epoch = ?5 AND status = 'active' AND deleted_at IS NULL)
             RETURNING expires_at, sweep_day, idle_days",
        )?
        .query_row(
            params![user, session, int(cmd.expect), int(cmd.to), int(cmd.epoch), cmd.ip, stamp(now), cmd.network.as_bytes()],
            |row| Ok((rows::time(row, 0)?, row.get::<_, i64>(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((expires_at, day, idle_days)) = turned else { return Ok(Cas::Stale) };
    let new_day = sweep_day(now, idle_days, expires_at, None);
    if new_day != day {
        c.prepare_cached("UPDATE sessions SET sweep_day = ?3 WHERE user_id = ?1 AND id = ?2")?.execute(params![user, session, new_day])?;
    }
    Ok(Cas::Done(()))
}

pub(super) fn list(c: &Connection, user: UserId) -> rusqlite::Result<Vec<Session>> {
    c.prepare_cached(concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions s WHERE s.user_id = ?1 ORDER BY s.created_at DESC, s.id DESC LIMIT ?2"
    ))?
    .query_map(params![user.as_bytes(), LISTED], rows::session)?
    .collect()
}

pub(super) fn revoke(c: &Connection, now: Timestamp, cmd: &RevokeSessions) -> rusqlite::Result<u64> {
    let epoch = c
        .prepare_cached("SELECT credential_epoch FROM users WHERE id = ?1")?
        .query_row([cmd.user_id.as_bytes()], |row| number(row, 0))
        .optional()?;
    let Some(epoch) = epoch else { return Ok(0) };
    let ended = ending::end(c, cmd.user_id, epoch, now, &Among::Which(&cmd.which))?;
    for id in &ended.tokens {
        ending::revoke(c, now, &Revocation::Session(*id))?;
    }
    if ended.alive > 0 {
        ending::audit(c, &cmd.audit)?;
    }
    Ok(ended.alive)
}

/// Ends those scoped to a tenant that the user leaves.
pub(super) fn revoke_in_tenant(c: &Connection, now: Timestamp, user: UserId, tenant: TenantId) -> rusqlite::Result<()> {
    for id in ending::end(c, user, 0, now, &Among::Tenant(tenant))?.tokens {
        ending::revoke(c, now, &Revocation::Session(id))?;
    }
    Ok(())
}

pub(super) fn revocations_since(c: &Connection, cursor: u64) -> rusqlite::Result<(Vec<Revocation>, u64)> {
    let mut since = c.prepare_cached(
        "SELECT seq, session_id, user_id, below, keep, api_key_id, signing_key FROM revocations WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut out = (Vec::new(), cursor);
    for row in since.query_map(params![int(cursor), REVOCATIONS], ending::revocation)? {
        let (seq, what) = row?;
        out.0.push(what);
        out.1 = seq;
    }
    Ok(out)
}

/// Sessions to be removed: how many of at most `limit`.
pub(super) fn sweep(c: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<usize> {
    c.prepare_cached("DELETE FROM sessions WHERE (user_id, id) IN (SELECT user_id, id FROM sessions WHERE sweep_day <= ?1 LIMIT ?2)")?
        .execute(params![today(now), limit])
}

pub(super) fn sign_in_again(c: &Connection, now: Timestamp, cmd: &SignInAgain) -> rusqlite::Result<Cas<()>> {
    let written = c
        .prepare_cached(
            "UPDATE sessions SET signed_in_at = ?4 WHERE user_id = ?1 AND id = ?2 AND credential_epoch = ?3 AND revoked_at IS NULL
             AND EXISTS (SELECT 1 FROM users WHERE id = ?1 AND credential_epoch = ?3 AND deleted_at IS NULL AND status = 'active')",
        )?
        .execute(params![cmd.user_id.as_bytes(), cmd.session_id.as_bytes(), int(cmd.epoch), stamp(now)])?;
    Ok(if written == 1 { Cas::Done(()) } else { Cas::Stale })
}
