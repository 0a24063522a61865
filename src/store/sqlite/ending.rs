//! How sessions end: the row is marked, and their access tokens go on the list of revocations.

use super::rows::{int, number, stamp, strange, time};
use crate::{
    domain::{
        audit::AuditEvent,
        ids::{ApiKeyId, SessionId, TenantId, UserId},
        session::IDLE,
        time::Timestamp,
    },
    sqlite::{
        Connection, params,
        rusqlite::{self, Row},
    },
    store::commands::{Revocation, Which},
};
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;
/// Sessions stay in the list this long after their end.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a session that isn't refreshed any more is to be swept, in whole days since 1970, rounded up.
pub(super) fn sweep_day(last_seen_at: Timestamp, expires_at: Timestamp, revoked_at: Option<Timestamp>) -> i64 {
    let end = last_seen_at.plus(IDLE).min(expires_at).min(revoked_at.unwrap_or(expires_at));
    end.plus(KEPT).millis().div_euclid(DAY_MS) + 1
}

/// Days since 1970 that are over at `now`, to compare with [`sweep_day`].
pub(super) fn today(now: Timestamp) -> i64 {
    now.millis().div_euclid(DAY_MS)
}

/// Which of a user's sessions.
pub(super) enum Among<'a> {
    Which(&'a Which),
    Tenant(TenantId),
}

/// Sessions that were just marked as revoked.
pub(super) struct Ended {
    pub(super) ids: Vec<SessionId>,
    /// How many of them were alive; the others had expired, but may have left an access token.
    pub(super) alive: u64,
}

/// Marks sessions as revoked. `epoch` is the account's, of before.
pub(super) fn end(c: &Connection, user: UserId, epoch: u64, now: Timestamp, among: &Among<'_>) -> rusqlite::Result<Ended> {
    let mut ended = Ended { ids: Vec::new(), alive: 0 };
    let mut unrevoked = c.prepare_cached(
        "SELECT id, tenant_id, credential_epoch, last_seen_at, expires_at FROM sessions WHERE user_id = ?1 AND revoked_at IS NULL",
    )?;
    let mut rows = unrevoked.query([user.as_bytes()])?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next()? {
        let id = SessionId::from_bytes(row.get(0)?);
        let hit = match among {
            Among::Which(Which::All) => true,
            Among::Which(Which::One(one)) => id == *one,
            Among::Which(Which::AllBut(keep)) => id != *keep,
            Among::Tenant(tenant) => TenantId::from_bytes(row.get(1)?) == *tenant,
        };
        if hit {
            let (last_seen_at, expires_at) = (time(row, 3)?, time(row, 4)?);
            ended.alive += u64::from(number(row, 2)? == epoch && now < expires_at && now.since(last_seen_at) < IDLE);
            ended.ids.push(id);
            marks.push(sweep_day(last_seen_at, expires_at, Some(now)));
        }
    }
    let mut mark = c.prepare_cached("UPDATE sessions SET revoked_at = ?3, sweep_day = ?4 WHERE user_id = ?1 AND id = ?2")?;
    for (id, day) in ended.ids.iter().zip(marks) {
        mark.execute(params![user.as_bytes(), id.as_bytes(), stamp(now), day])?;
    }
    Ok(ended)
}

/// What follows when the account's epoch has been raised from `before`: all sessions but `keep`, which gets the new epoch,
/// and the pending e-mail change end. Reset links need no mark: they carry the old epoch. Gives how many sessions were alive.
pub(super) fn epoch_raised(c: &Connection, user: UserId, before: u64, now: Timestamp, keep: Option<SessionId>) -> rusqlite::Result<u64> {
    let kept = match keep {
        Some(id) => c
            .prepare_cached(
                "UPDATE sessions SET credential_epoch = ?4
                 WHERE user_id = ?1 AND id = ?2 AND credential_epoch = ?3 AND revoked_at IS NULL",
            )?
            .execute(params![user.as_bytes(), id.as_bytes(), int(before), int(before + 1)])?,
        None => 0,
    };
    let keep = keep.filter(|_| kept == 1);
    let which = keep.map_or(Which::All, Which::AllBut);
    let ended = end(c, user, before, now, &Among::Which(&which))?;
    c.prepare_cached("DELETE FROM pending_email_changes WHERE user_id = ?1")?.execute([user.as_bytes()])?;
    revoke(c, now, &Revocation::Epoch { user_id: user, below: before + 1, keep })?;
    Ok(ended.alive)
}

/// Puts access tokens on the list of those to be refused.
pub(super) fn revoke(c: &Connection, now: Timestamp, what: &Revocation) -> rusqlite::Result<()> {
    let mut insert =
        c.prepare_cached("INSERT INTO revocations (at, session_id, user_id, below, keep, api_key_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let at = stamp(now);
    let none = None::<&[u8]>;
    match what {
        Revocation::Session(id) => insert.execute(params![at, id.as_bytes(), none, None::<i64>, none, none])?,
        Revocation::ApiKey(id) => insert.execute(params![at, none, none, None::<i64>, none, id.as_bytes()])?,
        Revocation::Epoch { user_id, below, keep } => {
            insert.execute(params![at, none, user_id.as_bytes(), int(*below), keep.as_ref().map(SessionId::as_bytes), none])?
        }
    };
    Ok(())
}

/// A row of `seq, session_id, user_id, below, keep, api_key_id`.
pub(super) fn revocation(row: &Row<'_>) -> rusqlite::Result<(u64, Revocation)> {
    let what = match (row.get::<_, Option<_>>(1)?, row.get::<_, Option<_>>(2)?) {
        (Some(id), None) => Revocation::Session(SessionId::from_bytes(id)),
        (None, Some(user)) => Revocation::Epoch {
            user_id: UserId::from_bytes(user),
            below: number(row, 3)?,
            keep: row.get::<_, Option<_>>(4)?.map(SessionId::from_bytes),
        },
        _ => Revocation::ApiKey(ApiKeyId::from_bytes(row.get::<_, Option<_>>(5)?.ok_or_else(|| strange(1, "no revocation"))?)),
    };
    Ok((number(row, 0)?, what))
}

/// Writes events with the command that they belong to.
pub(super) fn audit(c: &Connection, events: &[AuditEvent]) -> rusqlite::Result<()> {
    super::audit::write(c, events)
}
