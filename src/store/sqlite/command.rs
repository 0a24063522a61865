//! Commands that know their own work: what one gave is recorded with what it wrote, and a rerun is given that again.

use super::rows::stamp;
use crate::{
    domain::{
        authority::Permitted,
        context::{Ctx, Seed},
        ids::CommandId,
        time::Timestamp,
    },
    sqlite::{Connection, OptionalExtension, rusqlite},
    store::commands::{Cas, CreateTenantOutcome, CreateUserOutcome, LeaveOutcome},
};
use rusqlite::{Row, types::Type};
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

/// Which command it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    id: CommandId,
    pub(super) now: Timestamp,
    seed: Option<Seed>,
}

impl From<&Ctx> for Named {
    fn from(ctx: &Ctx) -> Self {
        Self { id: ctx.command, now: ctx.now, seed: ctx.seed }
    }
}

/// What a command gave, or the seed of the other run of the request that did it.
pub(super) type Once<T> = std::result::Result<T, Seed>;

/// Runs `f` unless the command has run, and gives its outcome, of now or of then.
pub(super) fn once<T: Outcome>(
    c: &Connection,
    Named { id, now, seed }: Named,
    f: impl FnOnce(&Connection, Timestamp) -> rusqlite::Result<T>,
) -> rusqlite::Result<Once<T>> {
    let before: Option<Once<T>> = c
        .prepare_cached("SELECT outcome, seed FROM commands WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| match another(row, 1, seed)? {
            Some(theirs) => Ok(Err(theirs)),
            None => parsed(0, row.get_ref(0)?.as_str()?).map(Ok),
        })
        .optional()?;
    if let Some(outcome) = before {
        return Ok(outcome);
    }
    let outcome = f(c, now)?;
    if outcome.recorded() {
        let seed = seed.map(|seed| text(&seed)).transpose()?;
        c.prepare_cached("INSERT INTO commands (id, outcome, at, seed) VALUES (?1, ?2, ?3, ?4)")?.execute((
            id.as_bytes(),
            text(&outcome)?,
            stamp(now),
            seed,
        ))?;
    }
    Ok(Ok(outcome))
}

/// The seed of the run that did the command, if it was done, and by another one than ours.
pub(super) fn of_another_run(c: &Connection, Named { id, seed, .. }: Named) -> rusqlite::Result<Option<Seed>> {
    let row =
        c.prepare_cached("SELECT seed FROM commands WHERE id = ?1")?.query_row([id.as_bytes()], |row| another(row, 0, seed)).optional();
    row.map(Option::flatten)
}

fn another(row: &Row<'_>, column: usize, ours: Option<Seed>) -> rusqlite::Result<Option<Seed>> {
    let (Some(ours), Some(json)) = (ours, row.get_ref(column)?.as_str_or_null()?) else { return Ok(None) };
    Ok(Some(parsed::<Seed>(column, json)?).filter(|theirs| *theirs != ours))
}

fn parsed<T: DeserializeOwned>(column: usize, json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

fn text<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}
