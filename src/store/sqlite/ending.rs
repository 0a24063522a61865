//! How sessions end: the row is marked, and their access tokens go on the list of revocations.

use super::{
    rows::{int, number, stamp, strange, time},
    sessions::LISTED,
};
use crate::{
    domain::{
        audit::AuditEvent,
        ids::{ApiKeyId, SessionId, TenantId, UserId},
        session::{LIVE_AT_MOST, TOKENS_OVER, idle},
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
pub(super) fn sweep_day(last_seen_at: Timestamp, idle_days: u32, expires_at: Timestamp, revoked_at: Option<Timestamp>) -> i64 {
    let end = last_seen_at.plus(idle(idle_days)).min(expires_at).min(revoked_at.unwrap_or(expires_at));
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
    /// Those that may have left an access token.
    pub(super) tokens: Vec<SessionId>,
    /// How many were alive; the others had expired.
    pub(super) alive: u64,
}

/// Marks sessions as revoked. `epoch` is the account's, of before.
pub(super) fn end(c: &Connection, user: UserId, epoch: u64, now: Timestamp, among: &Among<'_>) -> rusqlite::Result<Ended> {
    let mut ended = Ended { tokens: Vec::new(), alive: 0 };
    let mut unrevoked = c.prepare_cached(
        "SELECT id, tenant_id, credential_epoch, last_seen_at, expires_at, idle_days FROM sessions WHERE user_id = ?1 AND revoked_at IS NULL",
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
            let (last_seen_at, expires_at, idle_days) = (time(row, 3)?, time(row, 4)?, row.get(5)?);
            ended.alive += u64::from(number(row, 2)? == epoch && now < expires_at && now.since(last_seen_at) < idle(idle_days));
            if now.since(last_seen_at) < TOKENS_OVER {
                ended.tokens.push(id);
            }
            marks.push((id, sweep_day(last_seen_at, idle_days, expires_at, Some(now))));
        }
    }
    let mut mark = c.prepare_cached("UPDATE sessions SET revoked_at = ?3, sweep_day = ?4 WHERE user_id = ?1 AND id = ?2")?;
    for (id, day) in marks {
        mark.execute(params![user.as_bytes(), id.as_bytes(), stamp(now), day])?;
    }
    Ok(ended)
}

/// Ends the live sessions that are too many, but for the one that begins, and removes ended ones that no list shows any more.
pub(super) fn keep_to_the_limit(c: &Connection, user: UserId, epoch: u64, now: Timestamp, new: SessionId) -> rusqlite::Result<()> {
    let mut too_many = c.prepare_cached(
        "SELECT id FROM sessions WHERE user_id = ?1 AND id <> ?2 AND revoked_at IS NULL AND credential_epoch = ?3 AND expires_at > ?4
         AND last_seen_at + idle_days * 86400000 > ?4 ORDER BY last_seen_at DESC, id DESC LIMIT -1 OFFSET ?5",
    )?;
    let at_most = params![user.as_bytes(), new.as_bytes(), int(epoch), stamp(now), int(LIVE_AT_MOST as u64 - 1)];
    let ids = too_many.query_map(at_most, |row| row.get(0).map(SessionId::from_bytes))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for id in ids {
        for id in end(c, user, epoch, now, &Among::Which(&Which::One(id)))?.tokens {
            revoke(c, now, &Revocation::Session(id))?;
        }
    }
    c.prepare_cached(
        "DELETE FROM sessions WHERE user_id = ?1 AND id IN (SELECT id FROM sessions WHERE user_id = ?1 AND revoked_at IS NOT NULL
         ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)",
    )?
    .execute(params![user.as_bytes(), LISTED])?;
    Ok(())
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
    let mut insert = c.prepare_cached(
        "INSERT INTO revocations (at, session_id, user_id, below, keep, api_key_id, signing_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let at = stamp(now);
    let none = None::<&[u8]>;
    match what {
        Revocation::Session(id) => insert.execute(params![at, id.as_bytes(), none, None::<i64>, none, none, None::<&str>])?,
        Revocation::ApiKey(id) => insert.execute(params![at, none, none, None::<i64>, none, id.as_bytes(), None::<&str>])?,
        Revocation::SigningKey(kid) => insert.execute(params![at, none, none, None::<i64>, none, none, kid])?,
        Revocation::Epoch { user_id, below, keep } => insert.execute(params![
            at,
            none,
            user_id.as_bytes(),
            int(*below),
            keep.as_ref().map(SessionId::as_bytes),
            none,
            None::<&str>
        ])?,
    };
    Ok(())
}

/// A row of `seq, session_id, user_id, below, keep, api_key_id, signing_key`.
pub(super) fn revocation(row: &Row<'_>) -> rusqlite::Result<(u64, Revocation)> {
    let what = match (row.get::<_, Option<_>>(1)?, row.get::<_, Option<_>>(2)?) {
        (Some(id), None) => Revocation::Session(SessionId::from_bytes(id)),
        (None, Some(user)) => Revocation::Epoch {
            user_id: UserId::from_bytes(user),
            below: number(row, 3)?,
            keep: row.get::<_, Option<_>>(4)?.map(SessionId::from_bytes),
        },
        _ if row.get_ref(6)?.as_str_or_null()?.is_some() => Revocation::SigningKey(row.get(6)?),
        _ => Revocation::ApiKey(ApiKeyId::from_bytes(row.get::<_, Option<_>>(5)?.ok_or_else(|| strange(1, "no revocation"))?)),
    };
    Ok((number(row, 0)?, what))
}

/// Writes events with the command that they belong to.
pub(super) fn audit(c: &Connection, events: &[AuditEvent]) -> rusqlite::Result<()> {
    super::audit::write(c, events)
}
