//! How far a copy has come: a row beside what it writes. Until the copy has come to its end, nobody serves from there.

use super::super::{
    Result, StoreError,
    accounts::ONE,
    engine::Engine,
    tx::{Outcome, Plan, Planned, Tx},
    unit::{Bytes, Family, Unit},
};
use crate::domain::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

const UNIT: &str = "copy";
const PROGRESS: &str = "progress";

/// The row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The digest of all that the source holds.
    pub(super) source: String,
    /// When it began, in microseconds since 1970: the time of everything that it writes, however often it is started again.
    pub(super) began: i64,
    /// The phase that is under way, by its name.
    pub(super) phase: String,
    /// All up to this place are written.
    pub(super) after: Bytes,
    /// All phases are through.
    pub(super) written: bool,
    /// Both sides were found to be the same.
    pub(super) finished_at: Option<Timestamp>,
}

fn unit() -> Unit {
    Unit::single(UNIT)
}

/// Whether a row is the marker's.
pub(super) fn is_in(family: Family, part: &[u8]) -> bool {
    family == Family::Singles && part == UNIT.as_bytes()
}

pub(super) async fn read(engine: &Engine) -> Result<Option<Marker>> {
    engine.cql.peek(&unit(), PROGRESS, ONE).await
}

/// Refuses a keyspace into which a copy is under way.
pub(in super::super) async fn refuse_unfinished(engine: &Engine) -> Result<()> {
    match read(engine).await? {
        Some(marker) if marker.finished_at.is_none() => {
            Err(StoreError::certainly_not("a copy into this keyspace has not come to its end: run `qeetid copy` again"))
        }
        _ => Ok(()),
    }
}

/// Writes the marker, and gives the one that is there then: the first of a copy stays.
pub(super) async fn begin(engine: &Engine, marker: Marker) -> Result<Marker> {
    engine.change(engine.now(), unit(), Begin(marker)).await
}

/// Moves the marker on.
pub(super) async fn save(engine: &Engine, marker: &Marker) -> Result<()> {
    engine.change(engine.now(), unit(), Save(marker.clone())).await
}

impl Outcome for Marker {}

struct Begin(Marker);

#[async_trait]
impl Plan for Begin {
    type Out = Marker;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Marker> {
        if let Some(there) = tx.get(&unit(), PROGRESS, ONE).await? {
            return Ok(there);
        }
        tx.put(&unit(), PROGRESS, ONE, &self.0)?;
        Ok(self.0.clone())
    }
}

struct Save(Marker);

#[async_trait]
impl Plan for Save {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        tx.touch(&unit()).await?;
        tx.put(&unit(), PROGRESS, ONE, &self.0)
    }
}
