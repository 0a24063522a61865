//! What a plan sees: units as they were when first read, and its own writes on top.

use super::{
    change::{Head, Read, Write},
    cql::Cql,
    effects::Effect,
    unit::{Bytes, List, Name, Unit, name},
};
use crate::{
    domain::{
        audit::AuditEvent,
        outbox::Job,
        rng::{Rng, bytes},
        time::Timestamp,
    },
    store::{Result as StoreResult, StoreError, commands::Revocation, unknown::with_unknown},
};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Why a plan stopped.
#[derive(Debug)]
pub(super) enum Halt {
    /// Somebody wrote meanwhile: begin again.
    Conflict,
    /// A command over several units holds one of ours: settle it or wait, then begin again.
    Locked(Unit, Uuid),
    /// The store failed.
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(e: StoreError) -> Self {
        Self::Failed(e)
    }
}

/// Result of what a plan does.
pub(super) type Planned<T> = std::result::Result<T, Halt>;

/// What a command gives. Recorded as JSON; holds no personal data.
pub(super) trait Outcome: Serialize + DeserializeOwned + Send + 'static {
    /// Whether it is to be recorded. A condition that failed needs no record: epochs, versions, serials and uses only
    /// move on, so it fails at each rerun. And who decides anew after `Stale` may keep the id.
    fn recorded(&self) -> bool {
        true
    }
}

/// One command: reads, decides, writes into the [`Tx`]. It may run several times before its writes are taken.
#[async_trait]
pub(super) trait Plan: Send + Sync + 'static {
    /// What it gives.
    type Out: Outcome;
    /// Rows of the home unit that it always reads: they come with the first read.
    fn first(&self) -> Vec<Name> {
        Vec::new()
    }
    /// Reads, decides, writes.
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Self::Out>;
}

/// What is known of a unit, and what is to be written to it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The version that everything was read at; `None`: not read yet.
    pub(super) seen: Option<Option<i64>>,
    rows: BTreeMap<Name, Option<String>>,
    scanned: BTreeSet<String>,
    pub(super) writes: BTreeMap<Name, Write>,
    /// Nothing is in it.
    fresh: bool,
    /// Its head goes, too.
    pub(super) forget: bool,
}

impl State {
    /// Takes what was read, if it is of the same version as all before.
    fn see(&mut self, unit: &Unit, head: Head) -> Planned<()> {
        if let Some(id) = head.lock {
            return Err(Halt::Locked(unit.clone(), id));
        }
        if self.seen.is_some_and(|seen| seen != head.version) {
            return Err(Halt::Conflict);
        }
        self.seen = Some(head.version);
        Ok(())
    }
}

/// A command on its way. What is read through `get` and `scan` is a condition of the commit, absent rows too: if anything
/// in those units has changed by then, the plan runs again. What is read through `peek` is no condition.
pub(super) struct Tx<'a> {
    cql: &'a Cql,
    rng: &'a dyn Rng,
    /// The time that the command counts as.
    pub(super) now: Timestamp,
    pub(super) units: BTreeMap<Unit, State>,
    pub(super) effects: Vec<Effect>,
}

/// Reads the body of a row.
pub(super) fn parse<T: DeserializeOwned>(body: &str) -> StoreResult<T> {
    serde_json::from_str(body).map_err(|e| StoreError::certainly_not(format!("a row that can't be read: {e}")))
}

/// Writes the body of a row.
pub(super) fn json<T: Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(StoreError::certainly_not)
}

impl<'a> Tx<'a> {
    pub(super) fn new(cql: &'a Cql, rng: &'a dyn Rng, now: Timestamp) -> Self {
        Self { cql, rng, now, units: BTreeMap::new(), effects: Vec::new() }
    }

    /// For reads that are no condition of the commit.
    pub(super) fn cql(&self) -> &'a Cql {
        self.cql
    }

    /// Reads rows by name, those that aren't known yet.
    pub(super) async fn fetch(&mut self, unit: &Unit, names: &[Name]) -> Planned<()> {
        let state = self.units.entry(unit.clone()).or_default();
        let open: Vec<Name> = names.iter().filter(|n| !state.rows.contains_key(n) && !state.scanned.contains(&n.kind)).cloned().collect();
        if open.is_empty() || state.fresh {
            return Ok(());
        }
        let mut found = self.cql.rows(unit, &open, false).await?;
        if found.is_empty() && state.seen.is_none() {
            // Where no row is, no head comes with it. The version has to be that of before the rows were looked for.
            state.see(unit, self.cql.head(unit, false).await?)?;
            found = self.cql.rows(unit, &open, false).await?;
        }
        for n in open {
            state.rows.insert(n, None);
        }
        for Read { name, body, head } in found {
            state.see(unit, head)?;
            state.rows.insert(name, Some(body));
        }
        Ok(())
    }

    /// A unit that nobody but this command can have made: its id is new. Nothing is read; if it is there all the same, the
    /// commit is refused.
    pub(super) fn is_new(&mut self, unit: &Unit) {
        let state = self.units.entry(unit.clone()).or_default();
        if state.seen.is_none() {
            (state.seen, state.fresh) = (Some(None), true);
        }
    }

    /// Makes the unit a condition of the commit, and says whether it has ever been written.
    pub(super) async fn touch(&mut self, unit: &Unit) -> Planned<bool> {
        let state = self.units.entry(unit.clone()).or_default();
        if state.seen.is_none() {
            state.see(unit, self.cql.head(unit, false).await?)?;
        }
        Ok(state.seen.flatten().is_some())
    }

    /// The version at which the unit was read; it grows with each write. 0: never written, or not read.
    pub(super) fn version(&self, unit: &Unit) -> i64 {
        self.units.get(unit).and_then(|s| s.seen).flatten().unwrap_or(0)
    }

    /// One row.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, unit: &Unit, kind: &str, key: &[u8]) -> Planned<Option<T>> {
        let name = name(kind, key);
        self.fetch(unit, std::slice::from_ref(&name)).await?;
        let state = &self.units[unit];
        let body = match state.writes.get(&name) {
            Some(write) => write.body.as_ref(),
            None => state.rows.get(&name).and_then(Option::as_ref),
        };
        Ok(body.map(|b| parse(b)).transpose()?)
    }

    /// One row as it was when it was read, without what was written since; absent if it wasn't read.
    pub(super) fn was<T: DeserializeOwned>(&self, unit: &Unit, kind: &str, key: &[u8]) -> Planned<Option<T>> {
        let body = self.units.get(unit).and_then(|state| state.rows.get(&name(kind, key))).and_then(Option::as_ref);
        Ok(body.map(|b| parse(b)).transpose()?)
    }

    /// All rows of a kind, by key.
    pub(super) async fn scan<T: DeserializeOwned>(&mut self, unit: &Unit, kind: &str) -> Planned<Vec<(Bytes, T)>> {
        let state = self.units.entry(unit.clone()).or_default();
        if !state.scanned.contains(kind) && !state.fresh {
            let mut found = self.cql.scan(unit, kind, &[]).await?;
            if found.is_empty() && state.seen.is_none() {
                state.see(unit, self.cql.head(unit, false).await?)?;
                found = self.cql.scan(unit, kind, &[]).await?;
            }
            for Read { name, body, head } in found {
                state.see(unit, head)?;
                state.rows.insert(name, Some(body));
            }
            state.scanned.insert(kind.to_owned());
        }
        let mut all: BTreeMap<&Bytes, &str> = BTreeMap::new();
        all.extend(state.rows.iter().filter(|(n, _)| n.kind == kind).filter_map(|(n, b)| Some((&n.key, b.as_deref()?))));
        for w in state.writes.values().filter(|w| w.name.kind == kind) {
            match &w.body {
                Some(body) => all.insert(&w.name.key, body),
                None => all.remove(&w.name.key),
            };
        }
        Ok(all.into_iter().map(|(key, body)| Ok((key.clone(), parse(body)?))).collect::<StoreResult<_>>()?)
    }

    /// Writes a row. The unit must have been read before, or be new. Fields of the row that this version doesn't know stay.
    pub(super) fn put<T: Serialize + DeserializeOwned>(&mut self, unit: &Unit, kind: &str, key: &[u8], value: &T) -> Planned<()> {
        self.put_for(unit, kind, key, value, 0)
    }
    /// Writes a row that goes by itself after `ttl` seconds.
    pub(super) fn put_for<T: Serialize + DeserializeOwned>(
        &mut self,
        unit: &Unit,
        kind: &str,
        key: &[u8],
        value: &T,
        ttl: i32,
    ) -> Planned<()> {
        let (name, state) = (name(kind, key), self.units.entry(unit.clone()).or_default());
        let body = match state.rows.get(&name).and_then(Option::as_ref) {
            Some(stored) => with_unknown(stored, value).map_err(StoreError::certainly_not)?,
            None => json(value)?,
        };
        let write = Write { name, body: Some(body), ttl };
        state.writes.insert(write.name.clone(), write);
        Ok(())
    }
    /// Removes a row.
    pub(super) fn del(&mut self, unit: &Unit, kind: &str, key: &[u8]) {
        let write = Write { name: name(kind, key), body: None, ttl: 0 };
        self.units.entry(unit.clone()).or_default().writes.insert(write.name.clone(), write);
    }
    /// Removes what is beside the rows as well, once all rows are removed: nothing is left of the unit.
    pub(super) fn forget(&mut self, unit: &Unit) {
        self.units.entry(unit.clone()).or_default().forget = true;
    }

    /// One row, as no condition of the commit.
    pub(super) async fn peek<T: DeserializeOwned>(&self, unit: &Unit, kind: &str, key: &[u8]) -> Planned<Option<T>> {
        Ok(self.cql.peek(unit, kind, key).await?)
    }
    /// One entry of a list, and when it was written.
    pub(super) async fn timed_entry(&self, list: List, bucket: &[u8], key: &[u8]) -> Planned<Option<(String, i64)>> {
        Ok(self.cql.timed_entry(list, bucket, key).await?)
    }
    /// One entry of a list.
    pub(super) async fn entry(&self, list: List, bucket: &[u8], key: &[u8]) -> Planned<Option<String>> {
        Ok(self.cql.entry(list, bucket, key).await?)
    }

    /// To be done once the command is committed.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
    /// Writes a job, due at once.
    pub(super) fn job(&mut self, job: &Job) -> Planned<()> {
        let effects = super::outbox::put(job, self.now)?;
        self.effects.extend(effects);
        Ok(())
    }
    /// Writes audit events.
    pub(super) fn audit(&mut self, events: &[AuditEvent]) -> Planned<()> {
        for event in events {
            let salts = [bytes(self.rng), bytes(self.rng), bytes(self.rng)];
            self.effects.extend(super::audit::put(event, salts)?);
        }
        Ok(())
    }
    /// Has access tokens refused on all nodes.
    pub(super) fn revoke(&mut self, what: Revocation) {
        self.effects.push(Effect::Revoke { at: self.now, what });
    }
}

impl Cql {
    /// One row as it is now: all that was acknowledged is in it.
    pub(super) async fn peek<T: DeserializeOwned>(&self, unit: &Unit, kind: &str, key: &[u8]) -> StoreResult<Option<T>> {
        self.rows(unit, &[name(kind, key)], false).await?.first().map(|r| parse(&r.body)).transpose()
    }
    /// All rows of a kind as they are now.
    pub(super) async fn peek_all<T: DeserializeOwned>(&self, unit: &Unit, kind: &str) -> StoreResult<Vec<(Bytes, T)>> {
        self.scan(unit, kind, &[]).await?.into_iter().map(|r| Ok((r.name.key, parse(&r.body)?))).collect()
    }
}
