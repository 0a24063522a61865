//! The outbox: jobs wait for their time, are taken for a while, and go when they are done.

use super::rows::{self, json, stamp};
use crate::{
    domain::{
        ids::JobId,
        outbox::{Job, Message},
        time::Timestamp,
    },
    sqlite::{
        Connection, params,
        rusqlite::{self, types::Type},
    },
    store::commands::OutboxCounts,
};
use std::time::Duration;

/// Characters of an error that are kept.
const ERROR: usize = 500;

pub(super) fn put(c: &Connection, now: Timestamp, job: &Job) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT INTO outbox (id, message, created_at, attempts, due_at, parked, error) VALUES (?1, ?2, ?3, ?4, ?5, 0, NULL)")?
        .execute(params![job.id.as_bytes(), json(&job.message)?, stamp(job.created_at), job.attempts, stamp(now)])?;
    Ok(())
}

pub(super) fn lease(c: &Connection, now: Timestamp, lease: Duration, limit: u32) -> rusqlite::Result<Vec<Job>> {
    let mut due = c.prepare_cached(
        "SELECT id, message, created_at, attempts FROM outbox WHERE parked = 0 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
    )?;
    let jobs: Vec<Job> = due
        .query_map(params![stamp(now), limit], |row| {
            let message: Message = serde_json::from_str(row.get_ref(1)?.as_str()?)
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, e.into()))?;
            let attempts = row.get::<_, u32>(3)?.saturating_add(1);
            Ok(Job { id: JobId::from_bytes(row.get(0)?), message, created_at: rows::time(row, 2)?, attempts })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut take = c.prepare_cached("UPDATE outbox SET due_at = ?2, attempts = ?3 WHERE id = ?1")?;
    for job in &jobs {
        take.execute(params![job.id.as_bytes(), stamp(now.plus(lease)), job.attempts])?;
    }
    Ok(jobs)
}

pub(super) fn finish(c: &Connection, id: JobId) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id.as_bytes()]).map(drop)
}

pub(super) fn retry(c: &Connection, id: JobId, at: Timestamp, error: &str) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE outbox SET due_at = ?2, error = ?3 WHERE id = ?1")?
        .execute(params![id.as_bytes(), stamp(at), cut(error)])
        .map(drop)
}

pub(super) fn park(c: &Connection, id: JobId, error: &str) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE outbox SET parked = 1, error = ?2 WHERE id = ?1")?.execute(params![id.as_bytes(), cut(error)]).map(drop)
}

fn cut(error: &str) -> &str {
    error.char_indices().nth(ERROR).map_or(error, |(end, _)| &error[..end])
}

pub(super) fn counts(c: &Connection) -> rusqlite::Result<OutboxCounts> {
    let mut count =
        c.prepare_cached("SELECT (SELECT count(*) FROM outbox WHERE parked = 0), (SELECT count(*) FROM outbox WHERE parked = 1)")?;
    count.query_row([], |row| Ok(OutboxCounts { pending: rows::number(row, 0)?, parked: rows::number(row, 1)? }))
}
