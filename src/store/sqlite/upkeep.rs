//! Signing keys, and the removal of what has had its time.

use super::{
    ending, invites,
    rows::{self, stamp},
    sessions,
};
use crate::{
    domain::{jwt::StoredKey, time::Timestamp},
    sqlite::{Connection, params, rusqlite},
    store::commands::{Revocation, Swept},
};
use std::time::Duration;

/// Rows of one table that a call removes: all writers wait meanwhile (some ms).
const ROWS: u32 = 1000;
/// Access tokens live 15 minutes.
const REVOCATIONS_KEPT: Duration = Duration::from_secs(20 * 60);
const OUTCOMES_KEPT: Duration = Duration::from_secs(86_400);

pub(super) fn signing_keys(c: &Connection) -> rusqlite::Result<Vec<StoredKey>> {
    c.prepare_cached("SELECT kid, point, sealed, created_at, signs_from, revoked_at FROM signing_keys ORDER BY signs_from, kid")?
        .query_map([], |row| {
            Ok(StoredKey {
                kid: row.get(0)?,
                point: row.get(1)?,
                sealed: row.get(2)?,
                created_at: rows::time(row, 3)?,
                signs_from: rows::time(row, 4)?,
                revoked_at: rows::maybe_time(row, 5)?,
            })
        })?
        .collect()
}

pub(super) fn add_signing_key(c: &Connection, key: &StoredKey, only_if_none: bool) -> rusqlite::Result<bool> {
    let added = c
        .prepare_cached(
            "INSERT INTO signing_keys (kid, point, sealed, created_at, signs_from, revoked_at) SELECT ?1, ?2, ?3, ?4, ?5, ?7
             WHERE NOT (?6 AND EXISTS (SELECT 1 FROM signing_keys)) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            key.kid,
            key.point,
            key.sealed,
            stamp(key.created_at),
            stamp(key.signs_from),
            only_if_none,
            key.revoked_at.map(stamp)
        ])?;
    Ok(added == 1)
}

pub(super) fn revoke_signing_key(c: &Connection, kid: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let revoked = c
        .prepare_cached("UPDATE signing_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE kid = ?1")?
        .execute(params![kid, stamp(now)])?;
    if revoked == 1 {
        ending::revoke(c, now, &Revocation::SigningKey(kid.to_owned()))?;
    }
    Ok(revoked == 1)
}

pub(super) fn sweep(c: &Connection, now: Timestamp) -> rusqlite::Result<Swept> {
    let mut swept = Swept::default();
    let mut remove = |sql: &str, until: Timestamp| -> rusqlite::Result<u64> {
        let n = c.prepare_cached(sql)?.execute(params![stamp(until), ROWS])?;
        swept.more |= n == ROWS as usize;
        Ok(n as u64)
    };
    let pending =
        remove("DELETE FROM pending_signups WHERE rowid IN (SELECT rowid FROM pending_signups WHERE expires_at <= ?1 LIMIT ?2)", now)?
            + remove(
                "DELETE FROM pending_email_changes WHERE user_id IN
         (SELECT user_id FROM pending_email_changes WHERE expires_at <= ?1 LIMIT ?2)",
                now,
            )?;
    let links =
        remove("DELETE FROM reset_links WHERE (user_id, id) IN (SELECT user_id, id FROM reset_links WHERE sweep_at <= ?1 LIMIT ?2)", now)?
            + remove(
                "DELETE FROM undo_links WHERE (user_id, id) IN (SELECT user_id, id FROM undo_links WHERE sweep_at <= ?1 LIMIT ?2)",
                now,
            )?;
    // Twenty minutes' worth at most, in order of their making: no index needed.
    let records =
        remove("DELETE FROM revocations WHERE seq IN (SELECT seq FROM revocations WHERE at <= ?1 LIMIT ?2)", now.minus(REVOCATIONS_KEPT))?
            + remove("DELETE FROM commands WHERE rowid IN (SELECT rowid FROM commands WHERE at <= ?1 LIMIT ?2)", now.minus(OUTCOMES_KEPT))?;
    let sessions = sessions::sweep(c, now, ROWS)?;
    let (gone, expired) = invites::sweep(c, now, ROWS)?;
    let more = swept.more || [sessions, gone, expired].contains(&(ROWS as usize));
    Ok(Swept { pending, sessions: sessions as u64, links, records, invites: (gone + expired) as u64, more })
}
