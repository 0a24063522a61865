//! The outbox: jobs wait for their time, are taken for a while, and go when they are done.

use super::rows::{self, json, stamp};
use crate::{
    domain::{
        ids::JobId,
        outbox::{Job, Message},
        time::Timestamp,
    },
    sqlite::{Connection, params, rusqlite},
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
    let rows: Vec<(JobId, String, Timestamp, u32)> = due
        .query_map(params![stamp(now), limit], |row| {
            Ok((JobId::from_bytes(row.get(0)?), row.get(1)?, rows::time(row, 2)?, row.get::<_, u32>(3)?.saturating_add(1)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut take = c.prepare_cached("UPDATE outbox SET due_at = ?2, attempts = ?3 WHERE id = ?1")?;
    let mut jobs = Vec::with_capacity(rows.len());
    for (id, message, created_at, attempts) in rows {
        take.execute(params![id.as_bytes(), stamp(now.plus(lease)), attempts])?;
        match serde_json::from_str::<Message>(&message) {
            Ok(message) => jobs.push(Job { id, message, created_at, attempts }),
            // Of a newer version, say. It must not keep the others from going out; it waits for a node that can read it.
            Err(_) => retry(c, id, now.plus(lease), "a kind of message that this version doesn't know")?,
        }
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
