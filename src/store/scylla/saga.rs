//! Commands over several units. The journal entry with all writes comes first; then each unit is locked, if it still is as
//! it was read; then the entry turns from pending to committed, which is the commit; then each unit gets its writes and is
//! unlocked. Whoever meets a lock of a committed entry finishes it, of a dead one undoes it.
//!
//! Readers pass locks by: nothing is acknowledged before all of it is applied, so what they see is true of before.

use super::{
    change::{Answer, Change},
    effects::{Effect, Intent},
    engine::{Decided, Engine, Share, refused},
    tx::{Halt, Planned, json, parse},
    unit::{Family, List, Unit},
};
use crate::{
    domain::time::Timestamp,
    store::{Result, StoreError},
};
use futures_util::future::{join_all, try_join_all};
use std::time::Duration;
use uuid::Uuid;

/// A pending entry that is older is dead.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// An entry that is over is kept for seven days, in seconds, without its content (rows of people); one that is not, for as long as it takes.
const KEPT: i32 = 7 * 86_400;
/// How far apart the clocks of store and service may be, in microseconds.
const APART: i64 = 60_000_000;
/// How often a step whose answer was lost is tried again.
const AGAIN: usize = 2;

const PENDING: &str = "pending";
const COMMITTED: &str = "committed";
const ABORTED: &str = "aborted";

/// What became of a journal entry that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is over, or was just now.
    Yes,
    /// It is pending, and in time.
    Alive,
    /// There is none, or it has been over for long enough to be empty.
    Unknown,
}

impl Engine {
    /// Commits, or leaves nothing.
    pub(super) async fn saga(&self, id: Uuid, decided: &Decided) -> Planned<()> {
        self.intend(id, &Intent::Saga).await?;
        match self.cql.journal_insert(id, PENDING, self.now().millis(), &json(decided)?, 0).await? {
            Answer::Applied => {}
            Answer::Refused(_) => return Err(Halt::Conflict),
            Answer::Unknown(_) => {
                if self.has_no_entry(id).await? {
                    self.done(id, ABORTED).await?;
                    return Err(Halt::Conflict);
                }
            }
        }
        if let Err(halt) = self.lock_all(id, decided).await {
            self.abort(id, decided).await?;
            return Err(halt);
        }
        if !self.turn(id, PENDING, COMMITTED).await? {
            // We were slow, and somebody took us for dead.
            self.unlock_all(id, decided).await?;
            self.done(id, ABORTED).await?;
            return Err(Halt::Conflict);
        }
        self.finish(id, decided).await.map_err(StoreError::maybe)?;
        Ok(())
    }

    /// Whether a command has no journal entry, nor ever will: an empty one is in its place, so that a pending one that is on its way finds it.
    pub(super) async fn has_no_entry(&self, id: Uuid) -> Result<bool> {
        for _ in 0..=AGAIN {
            match self.cql.journal_insert(id, ABORTED, self.now().millis(), "", KEPT).await? {
                Answer::Applied => return Ok(true),
                // It may be ours, of the round before.
                Answer::Refused(_) => return Ok(self.cql.journal(id).await?.is_none_or(|(state, ..)| state == ABORTED)),
                Answer::Unknown(_) => {}
            }
        }
        Err(StoreError::certainly_not("a journal entry was not answered"))
    }

    /// The first one alone, so that commands over the same units meet there; then the others at once.
    async fn lock_all(&self, id: Uuid, decided: &Decided) -> Planned<()> {
        let Some((first, others)) = decided.shares.split_first() else { return Ok(()) };
        self.lock(id, first).await?;
        // All of them, whatever becomes of one: a request that is on its way can't be taken back.
        join_all(others.iter().map(|share| self.lock(id, share))).await.into_iter().collect()
    }

    async fn lock(&self, id: Uuid, share: &Share) -> Planned<()> {
        for _ in 0..=AGAIN {
            match self.cql.change(&share.unit, &Change::Lock { seen: share.seen, tx: id }, &[]).await? {
                Answer::Applied => return Ok(()),
                Answer::Refused(head) if head.lock == Some(id) => return Ok(()),
                Answer::Refused(head) => return Err(refused(&share.unit, head)),
                Answer::Unknown(_) => {}
            }
        }
        Err(Halt::Failed(StoreError::certainly_not("a lock was not answered")))
    }

    /// Turns an entry; `false`: it was no longer in `from`. An error: it may have turned.
    async fn turn(&self, id: Uuid, from: &str, to: &str) -> Result<bool> {
        let mut last = String::new();
        for _ in 0..=AGAIN {
            match self.cql.journal_turn(id, from, to, 0).await.map_err(StoreError::maybe)? {
                Answer::Applied => return Ok(true),
                Answer::Refused(_) => {
                    let state = self.cql.journal(id).await.map_err(StoreError::maybe)?.map(|(state, ..)| state);
                    return Ok(state.as_deref() == Some(to));
                }
                Answer::Unknown(why) => last = why,
            }
        }
        Err(StoreError::maybe(last))
    }

    /// Nothing of it shall be.
    async fn abort(&self, id: Uuid, decided: &Decided) -> Result<bool> {
        let aborted = self.turn(id, PENDING, ABORTED).await.map_err(|e| StoreError::certainly_not(e.detail))?;
        if aborted {
            self.unlock_all(id, decided).await?;
            self.done(id, ABORTED).await?;
        }
        Ok(aborted)
    }

    async fn unlock_all(&self, id: Uuid, decided: &Decided) -> Result<()> {
        let all = join_all(decided.shares.iter().map(|share| self.let_go(id, &share.unit))).await;
        all.into_iter().collect()
    }

    async fn let_go(&self, id: Uuid, unit: &Unit) -> Result<()> {
        self.until_answered(unit, &Change::Unlock { tx: id }, &[]).await
    }

    /// Sends a step that changes nothing when it was done before.
    async fn until_answered(&self, unit: &Unit, change: &Change<'_>, writes: &[super::change::Write]) -> Result<()> {
        let mut last = String::new();
        for _ in 0..=AGAIN {
            match self.cql.change(unit, change, writes).await? {
                Answer::Unknown(why) => last = why,
                Answer::Applied | Answer::Refused(_) => return Ok(()),
            }
        }
        Err(StoreError::maybe(last))
    }

    /// Carries a committed entry out: effects first, so that whoever sees a unit's new rows finds what belongs to them; claims last, so that
    /// who has an address (or a slug) is there for whoever reads that he has it. Messages become due after that: whoever takes one reads what
    /// it is about, and would drop it if that isn't there.
    async fn finish(&self, id: Uuid, decided: &Decided) -> Result<()> {
        let is_due = |effect: &Effect| matches!(effect, Effect::Put { list: List::JobsDue, .. });
        let (due, first): (Vec<_>, Vec<_>) = decided.effects.iter().cloned().partition(is_due);
        self.effects(&first, decided.version).await?;
        let (claims, others): (Vec<_>, Vec<_>) = decided.shares.iter().partition(|share| share.unit.family == Family::Claims);
        for shares in [others, claims] {
            try_join_all(shares.iter().map(|share| self.carry_out(id, decided.version, share))).await?;
        }
        self.effects(&due, decided.version).await?;
        self.done(id, COMMITTED).await
    }

    /// Nothing is left to do of an entry: what it held about people goes, only its state stays.
    async fn done(&self, id: Uuid, state: &str) -> Result<()> {
        self.cql.journal_done(id, state, self.now().millis(), KEPT, self.micros() + APART).await?;
        self.fulfilled(id).await
    }

    async fn carry_out(&self, id: Uuid, version: i64, share: &Share) -> Result<()> {
        if share.is_read() {
            return self.let_go(id, &share.unit).await;
        }
        let change = match share.forget {
            true => Change::ApplyForget { tx: id },
            false => Change::Apply { version, tx: id },
        };
        self.until_answered(&share.unit, &change, &share.writes).await
    }

    /// Somebody's lock is on a unit: what its journal entry asks for is done, or a little time given to it.
    pub(super) async fn met(&self, unit: &Unit, id: Uuid) -> Result<()> {
        match self.settle(id).await? {
            Settled::Yes => Ok(()),
            // The entry comes before the locks and keeps its content until each unit has its writes: this lock came late, when all was
            // done, or was set by somebody who slept for days.
            Settled::Unknown => self.let_go(id, unit).await,
            Settled::Alive => {
                tokio::time::sleep(Duration::from_millis(15)).await;
                Ok(())
            }
        }
    }

    /// Does with a journal entry what its state asks for.
    pub(super) async fn settle(&self, id: Uuid) -> Result<Settled> {
        let Some((state, at, body)) = self.cql.journal(id).await? else { return Ok(Settled::Unknown) };
        if body.is_empty() {
            return Ok(Settled::Unknown);
        }
        let decided: Decided = parse(&body)?;
        match state.as_str() {
            COMMITTED => self.finish(id, &decided).await?,
            ABORTED => {
                self.unlock_all(id, &decided).await?;
                self.done(id, ABORTED).await?;
            }
            _ if self.now().since(Timestamp::from_millis(at)) > DEADLINE => drop(self.abort(id, &decided).await?),
            _ => return Ok(Settled::Alive),
        }
        Ok(Settled::Yes)
    }
}
