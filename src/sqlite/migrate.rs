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
    /// A program that knows no later step than this one goes on serving a file in which the step has run: what it doesn't know of the
    /// schema is not in its way, and it leaves that alone. The step's own number: older ones must not.
    pub oldest: u32,
    /// Statements, separated by `;`.
    pub sql: &'static str,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    room TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (room, number)) STRICT";

/// Where it is noted which programs may still serve, beside the steps of a room: the number is that of a step, the name its
/// [`Migration::oldest`].
const OLDEST: &str = ":oldest";

/// Runs what of `known` (ordered by number) hasn't run in this file, and says how many that were. `room` names the
/// caller: rooms that share the file migrate for themselves.
///
/// # Errors
/// A newer program ran steps in the file that this one doesn't know, and one of them says that this one must not serve it. Or a
/// step failed: it left nothing behind, those before it stand.
pub async fn migrate(file: &File, room: &'static str, known: &'static [Migration]) -> Result<usize, Error> {
    let mut ran = 0;
    let refused = file.write(move |conn| refused_by(conn, room, known)).await?;
    if let Some(number) = refused {
        return Err(Error::refused(format!("the file has migration {number}, which this version doesn't know: run a newer one")));
    }
    for step in known {
        ran += usize::from(file.write(move |conn| apply(conn, room, step)).await?);
    }
    Ok(ran)
}

/// The newest step that this program doesn't know, if it may not serve a file in which that has run.
fn refused_by(conn: &Connection, room: &str, known: &[Migration]) -> rusqlite::Result<Option<u32>> {
    conn.execute_batch(TABLE)?;
    let knows = known.iter().map(|step| step.number).max().unwrap_or(0);
    // A step without such a note is in the way of whoever doesn't know it.
    let mut ran = conn.prepare(
        "SELECT m.number, CAST(o.name AS INTEGER) FROM schema_migrations m
         LEFT JOIN schema_migrations o ON o.room = ?2 AND o.number = m.number WHERE m.room = ?1 ORDER BY m.number DESC",
    )?;
    let steps = ran.query_map([room, &format!("{room}{OLDEST}")], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<u32>>(1)?)))?;
    for step in steps {
        let (number, oldest) = step?;
        if known.iter().all(|step| step.number != number) && oldest.is_none_or(|oldest| oldest > knows) {
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
        conn.execute(
            "INSERT INTO schema_migrations (room, number, name) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (format!("{room}{OLDEST}"), step.number, step.oldest.to_string()),
        )?;
    }
    Ok(noted == 1)
}
