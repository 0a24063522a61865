//! The backend for one node: codes and idempotent requests (`idempotency`) in the SQLite file, so that a restart loses none; counters in memory.

mod idempotency;
#[cfg(test)]
mod tests;

use super::{CODE_LINGER, CodeKey, CodeRecord, Decision, Ephemeral, EphemeralError, Limit, NewCode, Result, Subject, counters::Counters};
use crate::{
    domain::{keyring::KeyId, time::Timestamp, token::CodeLength},
    sqlite::{
        self, Connection, File, OptionalExtension,
        migrate::{Migration, migrate},
        params, rusqlite,
    },
};
use async_trait::async_trait;

/// The schema, oldest first.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 2, name: "codes", oldest: 2, sql: include_str!("../../../schema/sqlite/0002_codes.sql") },
    Migration { number: 8, name: "idempotency", oldest: 8, sql: include_str!("../../../schema/sqlite/0008_idempotency.sql") },
    Migration { number: 15, name: "code_digits", oldest: 8, sql: include_str!("../../../schema/sqlite/0015_code_digits.sql") },
];

/// How many codes one write of a sweep takes.
const SWEPT_AT_ONCE: u32 = 2_000;

/// Codes in a SQLite file, counters in memory.
pub struct Embedded {
    file: File,
    counters: Counters,
}

fn failed(e: sqlite::Error) -> EphemeralError {
    EphemeralError(e.to_string())
}

/// Columns as [`record`] reads them.
macro_rules! columns {
    () => {
        "key, nonce, serial, epoch, target, tries, expires_at, digits"
    };
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<CodeRecord> {
    let number = |at: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(at)?.cast_unsigned()) };
    Ok(CodeRecord {
        key: KeyId(row.get(0)?),
        nonce: row.get(1)?,
        length: CodeLength::of(row.get(7)?).unwrap_or_default(),
        serial: number(2)?,
        epoch: number(3)?,
        target: row.get(4)?,
        tries: u32::try_from(row.get::<_, i64>(5)?).unwrap_or(u32::MAX),
        expires_at: Timestamp::from_millis(row.get(6)?),
    })
}

fn get(c: &Connection, key: &CodeKey, now: Timestamp) -> rusqlite::Result<Option<CodeRecord>> {
    let kept_until = now.minus(CODE_LINGER).millis();
    c.prepare_cached(concat!("SELECT ", columns!(), " FROM codes WHERE purpose = ?1 AND subject = ?2 AND live = 1 AND expires_at > ?3"))?
        .query_row(params![key.purpose.name(), key.subject, kept_until], record)
        .optional()
}

impl Embedded {
    /// Brings the schema up to date and takes the file into use.
    ///
    /// # Errors
    /// The file is of a newer version, or can't be written.
    pub async fn open(file: File) -> Result<Self> {
        migrate(&file, "ephemeral", MIGRATIONS).await.map_err(failed)?;
        Ok(Self { file, counters: Counters::default() })
    }
}

#[async_trait]
impl Ephemeral for Embedded {
    async fn start_code(&self, key: &CodeKey, new: NewCode, now: Timestamp) -> Result<CodeRecord> {
        let key = key.clone();
        let floor = now.millis().max(new.above.saturating_add(1).cast_signed());
        let write = move |c: &Connection| {
            c.prepare_cached(concat!(
                "INSERT INTO codes (purpose, subject, key, nonce, serial, epoch, target, tries, live, expires_at, digits)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 1, ?8, ?9)
                 ON CONFLICT (purpose, subject) DO UPDATE SET key = excluded.key, nonce = excluded.nonce,
                 serial = max(excluded.serial, codes.serial + 1), epoch = excluded.epoch, target = excluded.target,
                 tries = 0, live = 1, expires_at = excluded.expires_at, digits = excluded.digits RETURNING ",
                columns!()
            ))?
            .query_row(
                params![
                    key.purpose.name(),
                    key.subject,
                    new.key.0,
                    new.nonce,
                    floor.max(1),
                    new.epoch.cast_signed(),
                    new.target,
                    new.expires_at.millis(),
                    new.length.digits()
                ],
                record,
            )
        };
        self.file.write(write).await.map_err(failed)
    }

    async fn try_code(&self, key: &CodeKey, max_tries: u32, now: Timestamp) -> Result<Option<CodeRecord>> {
        let key = key.clone();
        let write = move |c: &Connection| {
            let counted = c
                .prepare_cached(concat!(
                    "UPDATE codes SET tries = min(tries, ?3) + 1
                     WHERE purpose = ?1 AND subject = ?2 AND live = 1 AND expires_at > ?4 RETURNING ",
                    columns!()
                ))?
                .query_row(params![key.purpose.name(), key.subject, max_tries, now.millis()], record)
                .optional()?;
            if counted.is_some() { Ok(counted) } else { get(c, &key, now) }
        };
        self.file.write(write).await.map_err(failed)
    }

    async fn peek_code(&self, key: &CodeKey, now: Timestamp) -> Result<Option<CodeRecord>> {
        self.file.read_here(|c| get(c, key, now)).map_err(failed)
    }

    async fn drop_code(&self, key: &CodeKey, serial: u64) -> Result<()> {
        let key = key.clone();
        let write = move |c: &Connection| {
            c.prepare_cached("UPDATE codes SET live = 0 WHERE purpose = ?1 AND subject = ?2 AND serial = ?3")?.execute(params![
                key.purpose.name(),
                key.subject,
                serial.cast_signed()
            ])
        };
        self.file.write(write).await.map(drop).map_err(failed)
    }

    async fn hit(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision> {
        Ok(self.counters.decide(limit, who, now, true))
    }

    async fn peek(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision> {
        Ok(self.counters.decide(limit, who, now, false))
    }

    async fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        self.counters.give_back(limit, who, now);
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<()> {
        self.counters.sweep(now);
        while idempotency::sweep(&self.file, now).await.map_err(failed)? {}
        let over = now.minus(CODE_LINGER).millis();
        // In steps: all other writes wait for each of them.
        loop {
            let write = move |c: &Connection| {
                c.prepare_cached(
                    "DELETE FROM codes WHERE (purpose, subject) IN
                     (SELECT purpose, subject FROM codes WHERE expires_at <= ?1 LIMIT ?2)",
                )?
                .execute((over, SWEPT_AT_ONCE))
            };
            if self.file.write(write).await.map_err(failed)? < SWEPT_AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    async fn ping(&self) -> Result<()> {
        self.file.ping().await.map_err(failed)
    }
}
