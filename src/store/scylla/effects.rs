//! What follows a commit: entries of lists, and revocations. Each may be done twice, and by anybody.
//!
//! A command that leaves effects first writes an intent, then commits (its effects lie in the unit or the journal), does
//! them, and removes the intent. So an intent that stays tells where something may be left to do; whoever writes the unit
//! next, or sweeps, does it.

use super::{
    engine::Engine,
    revocations,
    saga::Settled,
    unit::{Bytes, List, Unit},
};
use crate::{
    domain::time::Timestamp,
    store::{Result, StoreError, commands::Revocation},
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Entries that are written at once.
const AT_ONCE: usize = 16;
/// Shards of a minute of intents.
const SHARDS: u8 = 16;
/// How often a unit that others hold or write is looked at in a row.
const TRIES: usize = 100;

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Effect {
    /// Writes an entry of a list. `ttl` in seconds, 0: for ever. `noted`: its bucket is noted in [`List::Buckets`].
    Put { list: List, bucket: Bytes, key: Bytes, body: String, ttl: i32, noted: bool },
    /// Removes an entry of a list, whatever was written to it up to now. `at`: when it was written, in microseconds, if the clock of whoever
    /// wrote it may be ahead of the version of this command.
    Del {
        list: List,
        bucket: Bytes,
        key: Bytes,
        #[serde(default)]
        at: i64,
    },
    /// Puts access tokens on the list of those to be refused.
    Revoke { at: Timestamp, what: Revocation },
}

/// What a command left to do in its one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Todo {
    pub(super) tx: Uuid,
    pub(super) version: i64,
    pub(super) effects: Vec<Effect>,
}

/// Where something may be left to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Intent {
    /// In the journal.
    Saga,
    /// In a unit.
    Unit(Unit),
}

/// Notes of buckets that are read at once.
const BUCKETS: u32 = 1000;

/// A bucket that is noted as not empty.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) key: Bytes,
    /// When it was noted last, in microseconds.
    pub(super) noted_at: i64,
}

/// Bytes that sort as the numbers do.
pub(super) fn ordered(n: i64) -> [u8; 8] {
    (n.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}
/// The reverse of [`ordered`].
pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    let first: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    Some((u64::from_be_bytes(first) ^ (1 << 63)).cast_signed())
}

/// Milliseconds since 1970 at which an id was made.
pub(super) fn millis_of(id: Uuid) -> i64 {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&id.as_bytes()[..6]);
    i64::from_be_bytes(bytes)
}

/// The bucket of an intent: the minute of its command, and a shard.
fn bucket(tx: Uuid) -> [u8; 9] {
    let mut out = [0; 9];
    out[..8].copy_from_slice(&ordered(millis_of(tx) / 60_000));
    out[8] = tx.as_bytes()[15] % SHARDS;
    out
}

impl Engine {
    /// Does all of it. `version` orders entries among those of other commands.
    pub(super) async fn effects(&self, effects: &[Effect], version: i64) -> Result<()> {
        let revoked: Vec<_> = effects
            .iter()
            .filter_map(|e| match e {
                Effect::Revoke { at, what } => Some((*at, what.clone())),
                _ => None,
            })
            .collect();
        let entries = async {
            // What moves is written at its new place first: it is never at neither.
            let (gone, written): (Vec<_>, Vec<_>) = effects.iter().partition(|e| matches!(e, Effect::Del { .. }));
            for some in written.chunks(AT_ONCE).chain(gone.chunks(AT_ONCE)) {
                try_join_all(some.iter().map(|e| self.entry(e, version))).await?;
            }
            Ok(())
        };
        let (entries, revoked): (Result<()>, _) = tokio::join!(entries, revocations::append(self, &revoked));
        entries.and(revoked)
    }

    async fn entry(&self, effect: &Effect, version: i64) -> Result<()> {
        match effect {
            Effect::Put { list, bucket, key, body, ttl, noted } => {
                self.cql.put(*list, &bucket.0, &key.0, body, *ttl, version).await?;
                if *noted {
                    // After the entry: who finds the bucket empty and takes its note away looks once more.
                    self.note(*list, &bucket.0).await?;
                }
                Ok(())
            }
            // Of one time a removal would win: what a command puts where it removed something shall stay.
            Effect::Del { list, bucket, key, at } => self.cql.del(*list, &bucket.0, &key.0, (version - 1).max(*at)).await,
            Effect::Revoke { .. } => Ok(()),
        }
    }

    /// Notes that a bucket isn't empty.
    async fn note(&self, list: List, bucket: &[u8]) -> Result<()> {
        let at = self.micros();
        self.cql.put(List::Buckets, list.table().as_bytes(), bucket, &at.to_string(), 0, at).await
    }

    /// Takes the note of an empty bucket away, unless something came in meanwhile.
    pub(super) async fn forget_bucket(&self, list: List, bucket: &Bucket) -> Result<()> {
        // With the time of the note itself: whoever notes it anew, with a clock that is behind, isn't lost.
        self.cql.del(List::Buckets, list.table().as_bytes(), &bucket.key.0, bucket.noted_at).await?;
        if !self.cql.entries(list, &bucket.key.0, &[], &[0xff; 32], 1, false).await?.is_empty() {
            self.note(list, &bucket.key.0).await?;
        }
        Ok(())
    }

    /// Buckets of a list that may hold something, up to `to` (not included).
    pub(super) async fn buckets(&self, list: List, to: &[u8]) -> Result<Vec<Bucket>> {
        let (mut all, mut from) = (Vec::new(), Vec::new());
        loop {
            let page = self.cql.entries(List::Buckets, list.table().as_bytes(), &from, to, BUCKETS, false).await?;
            let whole = page.len() == BUCKETS as usize;
            all.extend(page.into_iter().map(|(key, at)| Bucket { key, noted_at: at.parse().unwrap_or(0) }));
            match all.last() {
                Some(last) if whole => from = [last.key.0.as_slice(), &[0]].concat(),
                _ => return Ok(all),
            }
        }
    }

    /// Says that a command is about to commit.
    pub(super) async fn intend(&self, tx: Uuid, intent: &Intent) -> Result<()> {
        let bucket = bucket(tx);
        if !self.has_noted(&bucket) {
            self.note(List::Intents, &bucket).await?;
            self.now_noted(bucket);
        }
        self.cql.put(List::Intents, &bucket, tx.as_bytes(), &super::tx::json(intent)?, 0, millis_of(tx) * 1000).await
    }

    /// Nothing is left of a command.
    pub(super) async fn fulfilled(&self, tx: Uuid) -> Result<()> {
        self.note_done(tx);
        self.cql.del(List::Intents, &bucket(tx), tx.as_bytes(), millis_of(tx) * 1000 + 1).await
    }

    /// Whether something may be left of a command.
    pub(super) async fn intent(&self, tx: Uuid) -> Result<Option<Intent>> {
        if self.is_done(tx) {
            return Ok(None);
        }
        let found = self.cql.entry(List::Intents, &bucket(tx), tx.as_bytes()).await?;
        found.map(|body| super::tx::parse(&body)).transpose()
    }

    /// Does what a command left undone, whoever it was.
    pub(super) async fn redo(&self, tx: Uuid) -> Result<()> {
        match self.intent(tx).await? {
            None => Ok(()),
            Some(Intent::Saga) => match self.settle(tx).await? {
                // It ended before its journal entry, or long ago. One that comes yet finds that it is over.
                Settled::Unknown => {
                    let over = self.cql.journal(tx).await?.is_some_and(|(_, _, body)| body.is_empty());
                    if over || self.has_no_entry(tx).await? { self.fulfilled(tx).await } else { Ok(()) }
                }
                Settled::Yes | Settled::Alive => Ok(()),
            },
            Some(Intent::Unit(unit)) => {
                self.redo_of_unit(tx, &unit).await?;
                self.fulfilled(tx).await
            }
        }
    }

    /// Does what a command left to do in its one unit; if it isn't done, it never will be.
    async fn redo_of_unit(&self, tx: Uuid, unit: &Unit) -> Result<()> {
        let mut read = None;
        for _ in 0..TRIES {
            let (head, todo) = self.cql.todo(unit, true).await?;
            let todo = todo.map(|t| super::tx::parse::<Todo>(&t)).transpose()?;
            if let Some(todo) = todo.filter(|t| t.tx == tx) {
                return self.effects(&todo.effects, todo.version).await;
            }
            // The command had read the unit before this began: any version since then keeps it out.
            if read.is_some_and(|before| before != head.version) {
                return Ok(());
            }
            read = Some(head.version);
            match head.lock {
                Some(lock) => self.met(unit, lock).await?,
                None => drop(self.fence(unit, head.version).await?),
            }
        }
        // The intent stays, and is looked at again.
        Err(StoreError::maybe("others hold what a command may have left undone"))
    }

    /// Settles what commands of any node have left for longer than `age`: committed ones are finished, dead ones undone.
    /// Gives how many there were.
    pub(super) async fn settle_leftovers(&self, age: std::time::Duration) -> Result<usize> {
        let now = self.now();
        let until = now.minus(age);
        let mut settled = 0;
        for bucket in self.buckets(List::Intents, &ordered(until.millis() / 60_000 + 1)).await? {
            let entries = self.cql.entries(List::Intents, &bucket.key.0, &[], &[0xff; 17], 1000, false).await?;
            for (key, _) in &entries {
                let Ok(tx) = Uuid::from_slice(&key.0) else { continue };
                if millis_of(tx) > until.millis() {
                    continue;
                }
                match self.redo(tx).await {
                    Ok(()) => settled += 1,
                    // It stays, and must not keep the others waiting.
                    Err(e) => tracing::warn!(%tx, error = %e, "what a command left undone could not be settled"),
                }
            }
            let old = number(&bucket.key.0).is_some_and(|minute| minute < now.millis() / 60_000 - 10);
            if entries.is_empty() && old {
                self.forget_bucket(List::Intents, &bucket).await?;
            }
        }
        Ok(settled)
    }
}
