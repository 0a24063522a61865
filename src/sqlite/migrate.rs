//! Numbered migrations: each runs once, in one transaction with the note that it ran.

use super::{Error, File};
use rusqlite::Connection;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Counts up, and is never used again.
    pub number: u32,
    /// Of its file, for the log.
    pub name: &'static str,
    /// Statements, separated by `;`.
    pub sql: &'static str,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    room TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (room, number)) STRICT";

/// Runs what of `known` (ordered by number) hasn't run in this file, and says how many that were. `room` names the
/// caller: rooms that share the file migrate for themselves.
///
/// # Errors
/// The file has migrations of `room` that aren't `known`: a newer program wrote it, and this one would damage it. Or a
/// step failed: it left nothing behind, those before it stand.
pub async fn migrate(file: &File, room: &'static str, known: &'static [Migration]) -> Result<usize, Error> {
    let mut ran = 0;
    let unknown = file.write(move |conn| newest_unknown(conn, room, known)).await?;
    if let Some(number) = unknown {
        return Err(Error::refused(format!("the file has migration {number}, which this version doesn't know: run a newer one")));
    }
    for step in known {
        ran += usize::from(file.write(move |conn| apply(conn, room, step)).await?);
    }
    Ok(ran)
}

fn newest_unknown(conn: &Connection, room: &str, known: &[Migration]) -> rusqlite::Result<Option<u32>> {
    conn.execute_batch(TABLE)?;
    let mut ran = conn.prepare("SELECT number FROM schema_migrations WHERE room = ?1 ORDER BY number DESC")?;
    for number in ran.query_map([room], |row| row.get(0))? {
        let number: u32 = number?;
        if known.iter().all(|step| step.number != number) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn apply(conn: &Connection, room: &str, step: &Migration) -> rusqlite::Result<bool> {
    let noted = conn.execute(
        "INSERT INTO schema_migrations (room, number, name) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        (room, step.number, step.name),
    )?;
    if noted == 1 {
        conn.execute_batch(step.sql)?;
    }
    Ok(noted == 1)
}
