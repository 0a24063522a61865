//! Idempotent requests in the SQLite file: a restart loses none.

use super::{Embedded, SWEPT_AT_ONCE, failed};
use crate::{
    domain::{context::Seed, time::Timestamp},
    ephemeral::{
        Result,
        idempotency::{ANSWER_KEPT, Begun, IdempotencyStore, NewRun, RUN_KEPT, RUN_LEASE, RequestName, RunId, Standing},
    },
    sqlite::{self, Connection, File, OptionalExtension, params, rusqlite},
};
use async_trait::async_trait;

fn begin(c: &Connection, name: &RequestName, new: &NewRun, now: Timestamp) -> rusqlite::Result<Begun> {
    let known = c
        .prepare_cached(
            "SELECT fingerprint, salt, run, began_at, lease_until, answer FROM idempotent_requests WHERE name = ?1 AND expires_at > ?2",
        )?
        .query_row(params![name.0, now.millis()], |row| {
            let fingerprint: [u8; 32] = row.get(0)?;
            if fingerprint != new.fingerprint {
                return Ok(Begun::Conflict);
            }
            if let Some(answer) = row.get::<_, Option<Vec<u8>>>(5)? {
                return Ok(Begun::Answered(answer));
            }
            let (run, lease_until): ([u8; 16], i64) = (row.get(2)?, row.get(4)?);
            if run != new.run.0 && lease_until > now.millis() {
                return Ok(Begun::Busy);
            }
            Ok(Begun::Run { salt: row.get(1)?, began_at: Timestamp::from_millis(row.get(3)?) })
        })
        .optional()?;
    let lease_until = now.plus(RUN_LEASE).millis();
    match known {
        None => {
            c.prepare_cached(
                "INSERT OR REPLACE INTO idempotent_requests (name, fingerprint, salt, run, began_at, lease_until, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                name.0,
                new.fingerprint,
                new.salt,
                new.run.0,
                now.millis(),
                lease_until,
                now.plus(RUN_KEPT).millis()
            ])?;
            Ok(Begun::Run { salt: new.salt, began_at: now })
        }
        Some(run @ Begun::Run { .. }) => {
            c.prepare_cached(
                "UPDATE idempotent_requests SET run = ?2, lease_until = ?3, expires_at = max(expires_at, ?3) WHERE name = ?1",
            )?
            .execute(params![name.0, new.run.0, lease_until])?;
            Ok(run)
        }
        Some(other) => Ok(other),
    }
}

#[async_trait]
impl IdempotencyStore for Embedded {
    async fn begin_run(&self, name: &RequestName, new: NewRun, now: Timestamp) -> Result<Begun> {
        let name = *name;
        self.file.write(move |c| begin(c, &name, &new, now)).await.map_err(failed)
    }

    async fn renew_run(&self, name: &RequestName, run: RunId, now: Timestamp) -> Result<bool> {
        let name = *name;
        let write = move |c: &Connection| {
            c.prepare_cached(
                "UPDATE idempotent_requests SET lease_until = ?3, expires_at = max(expires_at, ?3)
                 WHERE name = ?1 AND run = ?2 AND answer IS NULL AND expires_at > ?4",
            )?
            .execute(params![name.0, run.0, now.plus(RUN_LEASE).millis(), now.millis()])
        };
        Ok(self.file.write(write).await.map_err(failed)? == 1)
    }

    async fn finish_run(&self, name: &RequestName, run: RunId, answer: Vec<u8>, now: Timestamp) -> Result<bool> {
        let name = *name;
        let write = move |c: &Connection| {
            c.prepare_cached(
                "UPDATE idempotent_requests SET answer = ?3, expires_at = ?4
                 WHERE name = ?1 AND run = ?2 AND expires_at > ?5 AND (answer IS NULL OR answer = ?3)",
            )?
            .execute(params![name.0, run.0, answer, now.plus(ANSWER_KEPT).millis(), now.millis()])
        };
        Ok(self.file.write(write).await.map_err(failed)? == 1)
    }

    async fn leave_run(&self, name: &RequestName, run: RunId, forget: bool) -> Result<()> {
        let name = *name;
        let sql = if forget {
            "DELETE FROM idempotent_requests WHERE name = ?1 AND run = ?2 AND answer IS NULL"
        } else {
            "UPDATE idempotent_requests SET lease_until = 0 WHERE name = ?1 AND run = ?2 AND answer IS NULL"
        };
        self.file.write(move |c| c.prepare_cached(sql)?.execute(params![name.0, run.0])).await.map(drop).map_err(failed)
    }

    async fn reseed_run(&self, name: &RequestName, run: RunId, seed: Seed) -> Result<()> {
        let name = *name;
        let write = move |c: &Connection| {
            c.prepare_cached(
                "UPDATE idempotent_requests SET salt = ?3, began_at = ?4, lease_until = 0 WHERE name = ?1 AND run = ?2 AND answer IS NULL",
            )?
            .execute(params![name.0, run.0, seed.salt, seed.began_at.millis()])
        };
        self.file.write(write).await.map(drop).map_err(failed)
    }

    async fn standing(&self, name: &RequestName, now: Timestamp) -> Result<Standing> {
        let read = |c: &Connection| {
            c.prepare_cached("SELECT answer IS NOT NULL, lease_until FROM idempotent_requests WHERE name = ?1 AND expires_at > ?2")?
                .query_row(params![name.0, now.millis()], |row| {
                    let (answered, lease_until): (bool, i64) = (row.get(0)?, row.get(1)?);
                    Ok(match (answered, lease_until > now.millis()) {
                        (true, _) => Standing::Answered,
                        (false, true) => Standing::Busy,
                        (false, false) => Standing::Left,
                    })
                })
                .optional()
        };
        Ok(self.file.read_here(read).map_err(failed)?.unwrap_or(Standing::Unknown))
    }
}

/// Removes what is over; `true`: there may be more.
pub(super) async fn sweep(file: &File, now: Timestamp) -> std::result::Result<bool, sqlite::Error> {
    let write = move |c: &Connection| {
        c.prepare_cached(
            "DELETE FROM idempotent_requests WHERE id IN (SELECT id FROM idempotent_requests WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute((now.millis(), SWEPT_AT_ONCE))
    };
    Ok(file.write(write).await? >= SWEPT_AT_ONCE as usize)
}
