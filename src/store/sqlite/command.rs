//! Commands that know their own work: what one gave is recorded with what it wrote, and a rerun is given that again.

use super::rows::stamp;
use crate::{
    domain::{authority::Permitted, ids::CommandId, time::Timestamp},
    sqlite::{Connection, OptionalExtension, rusqlite},
    store::commands::{Cas, CreateTenantOutcome, CreateUserOutcome, LeaveOutcome},
};
use rusqlite::types::Type;
use serde::{Serialize, de::DeserializeOwned};

/// What a command gives. Recorded as JSON; holds no personal data.
pub(super) trait Outcome: Serialize + DeserializeOwned + Send + 'static {
    /// Whether it is to be recorded. A condition that failed needs no record: epochs, versions, serials and uses only
    /// move on, so it fails at each rerun. And who decides anew after `Stale` may keep the id.
    fn recorded(&self) -> bool {
        true
    }
}

impl Outcome for () {}
impl Outcome for u64 {}
impl Outcome for CreateUserOutcome {}
impl Outcome for CreateTenantOutcome {}
impl Outcome for LeaveOutcome {}
impl Outcome for bool {
    fn recorded(&self) -> bool {
        *self
    }
}
impl<T: Serialize + DeserializeOwned + Send + 'static> Outcome for Cas<T> {
    fn recorded(&self) -> bool {
        matches!(self, Cas::Done(_))
    }
}

// Nothing was written, and it may be decided anew.
impl<T: Outcome> Outcome for Permitted<T> {
    fn recorded(&self) -> bool {
        self.as_ref().is_ok_and(T::recorded)
    }
}

/// Runs `f` unless the command has run, and gives its outcome, of now or of then.
pub(super) fn once<T: Outcome>(
    c: &Connection,
    id: CommandId,
    now: Timestamp,
    f: impl FnOnce(&Connection, Timestamp) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let before: Option<T> = c
        .prepare_cached("SELECT outcome FROM commands WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| {
            let json = row.get_ref(0)?.as_str()?;
            serde_json::from_str(json).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))
        })
        .optional()?;
    if let Some(outcome) = before {
        return Ok(outcome);
    }
    let outcome = f(c, now)?;
    if outcome.recorded() {
        let json = serde_json::to_string(&outcome).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        c.prepare_cached("INSERT INTO commands (id, outcome, at) VALUES (?1, ?2, ?3)")?.execute((id.as_bytes(), json, stamp(now)))?;
    }
    Ok(outcome)
}
