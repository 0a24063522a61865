//! The receiving side of a copy from another backend: writes each thing as the commands here would have left it, and reads all of it
//! again in the end.
//!
//! A copy is alone in its keyspace, so that it needs no journal and no intents: each unit is one conditional write, if nothing is there,
//! and each entry of a list a plain one. Everything carries the time at which the copy began, whenever it is written, so that doing
//! it twice changes nothing, and whatever is written afterwards counts. `rows` says how things lie here, `marker` how far the copy
//! has come, `scan` and `digest` compare the two sides.

mod digest;
mod marker;
mod rows;
mod scan;
#[cfg(test)]
mod tests;

pub use digest::{Sum, Tally};
pub(super) use marker::refuse_unfinished;

use super::{
    Place, ScyllaStore,
    change::{Answer, Change, Write},
    effects::Effect,
    engine::Engine,
    revocations,
    unit::{Bytes, List, Unit},
};
use crate::{
    domain::{
        rng::Rng,
        time::{Clock, Timestamp},
    },
    store::{
        Result, StoreError,
        commands::Revocation,
        copy::{Item, Phase},
    },
};
use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use marker::Marker;
use rows::Rows;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Things that are written at once.
const AT_ONCE: usize = 32;
/// Entries of one thing that are written at once.
const ENTRIES: usize = 16;
/// Rows and bytes of one conditional write; servers warn of batches over 5 KB and refuse those over 50.
const ROWS: usize = 100;
const BYTES: usize = 30_000;
/// How often a conditional write is tried that others, or its own lost answer, got in the way of.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(300);

/// A keyspace into which something is copied.
pub struct ScyllaTarget {
    engine: Engine,
    keyspace: String,
    patience: Duration,
    marker: Marker,
    /// Buckets that were noted as not empty.
    noted: Mutex<HashSet<(List, Bytes)>>,
}

/// Asks a store that doesn't answer again, for so long.
async fn insist<T, F: Future<Output = Result<T>>>(patience: Duration, ask: impl Fn() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(e) if begun.elapsed() < patience => {
                tracing::debug!(error = %e, "once more");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Why a thing could not be written.
enum Failed {
    /// Perhaps it can be later.
    Store(StoreError),
    /// Something else is there.
    Differs(String),
}

impl From<StoreError> for Failed {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

/// Counts what a thing will be here.
///
/// # Errors
/// It can't be written as JSON.
pub fn expect(item: Item, tally: &mut Tally) -> Result<()> {
    tally.rows(&rows::of(item)?);
    Ok(())
}

/// A keyspace that can take a copy: empty, or with the beginning of one.
pub struct Opened {
    engine: Engine,
    keyspace: String,
}

impl Opened {
    /// Opens a keyspace.
    ///
    /// # Errors
    /// No node answers, the schema isn't of this version, or something else is in it.
    pub async fn open(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self> {
        let engine = ScyllaStore::open_any(place, clock, rng).await?.engine;
        let opened = Self { engine, keyspace: place.keyspace.clone() };
        opened.check(Duration::ZERO).await?;
        Ok(opened)
    }

    async fn check(&self, patience: Duration) -> Result<()> {
        if insist(patience, || marker::read(&self.engine)).await?.is_some() {
            return Ok(());
        }
        match insist(patience, || scan::first_used(&self.engine, &self.keyspace)).await? {
            None => Ok(()),
            Some(table) => Err(StoreError::certainly_not(format!(
                "keyspace {} is not empty: there is something in table {table}. A copy needs a keyspace of its own, fresh from `qeetid migrate`",
                self.keyspace
            ))),
        }
    }

    /// Begins a copy, or goes on with it. `source` is the digest of all that is to be copied; `patience` is how long a store that doesn't
    /// answer is asked again.
    ///
    /// # Errors
    /// The keyspace holds something else, or the beginning of the copy of another source.
    pub async fn begin(self, source: &str, patience: Duration) -> Result<ScyllaTarget> {
        let first = Phase::ALL[0].name().to_owned();
        let fresh = Marker {
            source: source.to_owned(),
            began: self.engine.micros(),
            phase: first,
            after: Bytes::default(),
            written: false,
            finished_at: None,
        };
        self.check(patience).await?;
        let marker = insist(patience, || marker::begin(&self.engine, fresh.clone())).await?;
        if marker.source != source {
            return Err(StoreError::certainly_not(format!(
                "keyspace {} holds a copy of another source, or the source has changed since that copy began: drop the keyspace, and begin again with an empty one",
                self.keyspace
            )));
        }
        let Self { engine, keyspace } = self;
        Ok(ScyllaTarget { engine, keyspace, patience, marker, noted: Mutex::default() })
    }
}

impl ScyllaTarget {
    /// The phase that is under way, and the place up to which all of it is written; `None`: all phases are through.
    pub fn reached(&self) -> Option<(Phase, &[u8])> {
        let phase = Phase::from_name(&self.marker.phase).unwrap_or(Phase::ALL[0]);
        (!self.marker.written).then_some((phase, self.marker.after.0.as_slice()))
    }

    /// When both sides were found to be the same.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.marker.finished_at
    }

    /// Writes things of a phase, and notes that all up to `after` are written.
    ///
    /// # Errors
    /// The store doesn't answer for as long as the copy is patient; or something else is where a thing should be.
    pub async fn write(&mut self, phase: Phase, items: Vec<Item>, after: Vec<u8>) -> Result<()> {
        stream::iter(items).map(|item| self.patiently(item)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        (self.marker.phase, self.marker.after) = (phase.name().to_owned(), Bytes(after));
        self.save().await
    }

    /// Writes revocations, the last that a copy writes, and notes that all is written.
    ///
    /// # Errors
    /// The store doesn't answer for as long as the copy is patient.
    pub async fn end(&mut self, revoked: &[(Timestamp, Revocation)]) -> Result<()> {
        insist(self.patience, || revocations::append(&self.engine, revoked)).await?;
        self.marker.written = true;
        self.save().await
    }

    /// Counts and digests of all that is there, and how many of `revoked` are missing. `seen` is told how many more rows were read.
    ///
    /// # Errors
    /// The store doesn't answer for as long as the copy is patient.
    pub async fn tally(&self, revoked: &[(Timestamp, Revocation)], seen: &(dyn Fn(u64) + Sync)) -> Result<(Tally, usize)> {
        let tally = scan::tally(&self.engine, &self.keyspace, self.patience, seen).await?;
        let (mut there, mut cursor) = (Vec::new(), 0);
        loop {
            let (some, next) = insist(self.patience, || revocations::since(&self.engine, cursor)).await?;
            if some.is_empty() {
                break;
            }
            (cursor, there) = (next, [there, some].concat());
        }
        Ok((tally, revoked.iter().filter(|(_, what)| !there.contains(what)).count()))
    }

    /// Both sides were found to be the same: from now on the keyspace may be served.
    ///
    /// # Errors
    /// The store doesn't answer.
    pub async fn finish(&mut self) -> Result<()> {
        self.marker.finished_at = Some(self.engine.now());
        self.save().await
    }

    async fn save(&self) -> Result<()> {
        insist(self.patience, || marker::save(&self.engine, &self.marker)).await
    }

    async fn patiently(&self, item: Item) -> Result<()> {
        let (rows, begun) = (rows::of(item)?, Instant::now());
        loop {
            match self.put(&rows).await {
                Ok(()) => return Ok(()),
                Err(Failed::Differs(what)) => return Err(StoreError::certainly_not(what)),
                Err(Failed::Store(e)) if begun.elapsed() > self.patience => return Err(e),
                Err(Failed::Store(e)) => {
                    tracing::debug!(error = %e, "once more");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn put(&self, rows: &Rows) -> std::result::Result<(), Failed> {
        for some in rows.entries.chunks(ENTRIES) {
            // Each to its end: while the breaker is open one call in a second is let through, to see whether the store is back, and it would be
            // cancelled by the first of the others that is refused.
            join_all(some.iter().map(|effect| self.entry(effect))).await.into_iter().collect::<Result<()>>()?;
        }
        for (unit, own) in &rows.units {
            let mut seen = None;
            for part in parts(own) {
                seen = self.settle(unit, &part, seen).await?;
            }
        }
        Ok(())
    }

    async fn entry(&self, effect: &Effect) -> Result<()> {
        let Effect::Put { list, bucket, key, body, noted, .. } = effect else { return Ok(()) };
        let (cql, began) = (&self.engine.cql, self.marker.began);
        cql.put(*list, &bucket.0, &key.0, body, 0, began).await?;
        let note = (*list, bucket.clone());
        let all = || self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted && !all().contains(&note) {
            cql.put(List::Buckets, list.table().as_bytes(), &bucket.0, &began.to_string(), 0, began).await?;
            all().insert(note);
        }
        Ok(())
    }

    /// Has these rows in a unit, which is believed to have the version `seen`; gives its version then.
    async fn settle(&self, unit: &Unit, rows: &[Write], mut seen: Option<i64>) -> std::result::Result<Option<i64>, Failed> {
        let (cql, began) = (&self.engine.cql, self.marker.began);
        let mut missing = rows.to_vec();
        for attempt in 0..TRIES {
            let version = seen.map_or(began, |v| began.max(v + 1));
            let change = Change::Commit { seen, version, tx: self.engine.new_id(), todo: None };
            if cql.change(unit, &change, &missing).await? == Answer::Applied {
                return Ok(Some(version));
            }
            // It was there before, or another thing has a part in the unit, or the answer was lost: behind this read it is decided.
            let head = cql.head(unit, true).await?;
            let names: Vec<_> = rows.iter().map(|w| w.name.clone()).collect();
            let there: HashMap<_, _> = cql.rows(unit, &names, false).await?.into_iter().map(|r| (r.name, r.body)).collect();
            if head.lock.is_some() || rows.iter().any(|w| there.get(&w.name).is_some_and(|body| Some(body) != w.body.as_ref())) {
                return Err(Failed::Differs(format!("{}: something else is there. Is the keyspace being served?", unit.family.table())));
            }
            missing = rows.iter().filter(|w| !there.contains_key(&w.name)).cloned().collect();
            seen = head.version;
            if missing.is_empty() {
                return Ok(seen);
            }
            let [jitter] = self.engine.random();
            tokio::time::sleep(Duration::from_millis(u64::from(jitter) % (8 << attempt.min(5)))).await;
        }
        Err(Failed::Store(StoreError::maybe("others kept writing")))
    }
}

/// Rows in conditional writes that are not too large.
fn parts(own: &[(super::unit::Name, String)]) -> Vec<Vec<Write>> {
    let mut parts: Vec<Vec<Write>> = Vec::new();
    let mut bytes = 0;
    for (name, body) in own {
        bytes += body.len() + name.key.0.len() + name.kind.len();
        let write = Write { name: name.clone(), body: Some(body.clone()), ttl: 0 };
        match parts.last_mut() {
            Some(part) if part.len() < ROWS && bytes <= BYTES => part.push(write),
            _ => {
                bytes = body.len();
                parts.push(vec![write]);
            }
        }
    }
    parts
}
