//! The engine: runs plans until their writes are taken. One unit: one conditional batch. Several: a [`super::saga`].

use super::{
    change::{Answer, Change, Head, Write},
    cql::Cql,
    effects::{Effect, Intent, Todo},
    profile::Times,
    tx::{Halt, Outcome, Plan, Planned, State, Tx, json, parse},
    unit::{Name, Unit, name},
};
use crate::{
    domain::{
        context::{Ctx, Seed},
        rng::Rng,
        rng::bytes,
        time::Clock,
        time::Timestamp,
    },
    store::{Result, StoreError, deadline},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashSet, VecDeque, hash_map::DefaultHasher},
    future::Future,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A commit that is sent later than this after its intent might be overlooked by a sweep: it isn't sent.
const FRESH: Duration = Duration::from_secs(5);
/// How often what became of a write is looked up, while others keep writing.
const TRIES: usize = 8;
/// How often a fence whose answer was lost is tried again.
const AGAIN: usize = 2;
/// Outcomes of commands are kept for a day, in seconds.
const RECORDED: i32 = 86_400;
/// Commands of one home unit in this process take turns, so that they don't refuse each other.
const STRIPES: usize = 1024;
/// Commands remembered as finished.
const DONE: usize = 10_000;

/// The connection, and what is shared by all commands of this process.
#[derive(Clone)]
pub(super) struct Engine(Arc<Inner>);

pub(super) struct Inner {
    pub(super) cql: Cql,
    pub(super) times: Times,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stripes: Vec<tokio::sync::Mutex<()>>,
    done: Mutex<Recent<Uuid>>,
    noted: Mutex<Recent<[u8; 9]>>,
    pub(super) log: tokio::sync::Mutex<super::revocations::Tail>,
    jobs_from: Mutex<super::outbox::ReadFrom>,
}

impl std::ops::Deref for Engine {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The last few of something.
#[derive(Debug)]
struct Recent<T> {
    set: HashSet<T>,
    order: VecDeque<T>,
}
impl<T: Copy + Eq + Hash> Recent<T> {
    fn new() -> Self {
        Self { set: HashSet::new(), order: VecDeque::new() }
    }
    /// `false`: it was in there.
    fn add(&mut self, item: T) -> bool {
        if !self.set.insert(item) {
            return false;
        }
        self.order.push_back(item);
        if self.order.len() > DONE
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way through a change.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a call that ran out of time may have written.
#[derive(Debug, Default)]
pub(super) struct Started(AtomicU8);

impl Started {
    const WRITES: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Before the first write; refused if the caller has been told that nothing was written.
    fn writes(&self) -> Result<()> {
        match self.0.compare_exchange(0, Self::WRITES, Ordering::SeqCst, Ordering::SeqCst) {
            Err(Self::GIVEN_UP) => Err(StoreError::certainly_not("the caller has gone")),
            _ => Ok(()),
        }
    }
    fn is_given_up(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::GIVEN_UP
    }
    fn gives_up(&self) -> StoreError {
        match self.0.compare_exchange(0, Self::GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst) {
            Err(Self::WRITES) => StoreError::maybe("no answer in time"),
            _ => StoreError::certainly_not("no answer in time"),
        }
    }
}

/// Why a conditional write was refused.
pub(super) fn refused(unit: &Unit, head: Head) -> Halt {
    head.lock.map_or(Halt::Conflict, |id| Halt::Locked(unit.clone(), id))
}

/// One unit's share of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) unit: Unit,
    pub(super) seen: Option<i64>,
    pub(super) writes: Vec<Write>,
    pub(super) forget: bool,
}

impl Share {
    /// Read only: a condition, nothing more.
    pub(super) fn is_read(&self) -> bool {
        self.writes.is_empty() && !self.forget
    }
}

/// A command that has decided. In the journal it is this, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) version: i64,
    pub(super) shares: Vec<Share>,
    pub(super) effects: Vec<Effect>,
}

/// What a command gave, beside the rows of its home unit.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    tx: Uuid,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<Seed>,
    outcome: serde_json::Value,
}

pub(super) const RECORD: &str = "command";

/// Where a command's outcome is recorded, and for which run of the request.
struct Recorded {
    name: Name,
    seed: Option<Seed>,
}

impl Recorded {
    fn of(ctx: &Ctx) -> Self {
        Self { name: name(RECORD, ctx.command.as_bytes()), seed: ctx.seed }
    }
}

impl Record {
    /// The seed of the run that did it, if that is another one than `ours`.
    fn of_another_run(&self, ours: Option<Seed>) -> Option<Seed> {
        self.seed.filter(|theirs| ours.is_some_and(|ours| ours != *theirs))
    }
}

/// Removes outcomes that were recorded at or before `until`, at most `limit`; says how many. (They would go by themselves, by the
/// clock of the store.)
pub(super) async fn sweep_records(tx: &mut Tx<'_>, unit: &Unit, until: Timestamp, limit: usize) -> Planned<u64> {
    let old = tx.scan::<Record>(unit, RECORD).await?.into_iter().filter(|(_, r)| r.at <= until).take(limit);
    let mut swept = 0;
    for (key, _) in old.collect::<Vec<_>>() {
        tx.del(unit, RECORD, &key.0);
        swept += 1;
    }
    Ok(swept)
}

/// Whether outcomes are recorded in a unit.
pub(super) async fn has_records(tx: &mut Tx<'_>, unit: &Unit) -> Planned<bool> {
    Ok(!tx.scan::<Record>(unit, RECORD).await?.is_empty())
}

impl Engine {
    pub(super) fn new(cql: Cql, times: Times, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let stripes = (0..STRIPES).map(|_| tokio::sync::Mutex::new(())).collect();
        let (done, noted) = (Mutex::new(Recent::new()), Mutex::new(Recent::new()));
        Self(Arc::new(Inner { cql, times, clock, rng, stripes, done, noted, log: Default::default(), jobs_from: Mutex::default() }))
    }

    /// For who must not keep it alive.
    pub(super) fn weak(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }
    /// The engine's own time: for locks, leftovers and the order of writes, never for what a command decides.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// The same in microseconds.
    pub(super) fn micros(&self) -> i64 {
        self.now().millis().saturating_mul(1000)
    }
    pub(super) fn new_id(&self) -> Uuid {
        let millis = u64::try_from(self.now().millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes(&*self.rng)).into_uuid()
    }
    /// Random bytes.
    pub(super) fn random<const N: usize>(&self) -> [u8; N] {
        bytes(&*self.rng)
    }
    /// From where on this process reads the jobs that are due.
    pub(super) fn jobs_from(&self) -> MutexGuard<'_, super::outbox::ReadFrom> {
        locked(&self.jobs_from)
    }
    pub(super) fn note_done(&self, tx: Uuid) {
        locked(&self.done).add(tx);
    }
    pub(super) fn is_done(&self, tx: Uuid) -> bool {
        locked(&self.done).set.contains(&tx)
    }
    /// Whether this process has noted a bucket of intents.
    pub(super) fn has_noted(&self, bucket: &[u8; 9]) -> bool {
        locked(&self.noted).set.contains(bucket)
    }
    pub(super) fn now_noted(&self, bucket: [u8; 9]) {
        locked(&self.noted).add(bucket);
    }

    /// Waits, but not for longer than `most`; and, once the time of the request is over, only as long as the store answers anybody.
    pub(super) async fn in_time<T>(&self, most: Duration, waited_for: impl Future<Output = T>) -> Option<T> {
        let last = Instant::now() + most;
        let Some(ends) = deadline::ends() else { return tokio::time::timeout(most, waited_for).await.ok() };
        tokio::pin!(waited_for);
        loop {
            let now = Instant::now();
            let quiet = self.cql.pulse.quiet(now);
            if now >= last || (now >= ends && quiet >= self.times.quiet) {
                return None;
            }
            let look = (now + self.times.quiet.saturating_sub(quiet).max(Duration::from_millis(10))).max(ends).min(last);
            if let Ok(done) = tokio::time::timeout_at(look.into(), &mut waited_for).await {
                return Some(done);
            }
        }
    }

    /// Bounds a read.
    pub(super) async fn read<T>(&self, reading: impl Future<Output = Result<T>>) -> Result<T> {
        self.in_time(self.times.whole, reading).await.unwrap_or_else(|| Err(StoreError::certainly_not("no answer in time")))
    }

    /// Runs a command that knows its reruns: its outcome is recorded in `home`, which has to be the same unit at a rerun.
    pub(super) async fn command<P: Plan>(&self, ctx: &Ctx, home: Unit, plan: P) -> Result<P::Out> {
        self.whole(ctx.now, home, plan, Some(Recorded::of(ctx))).await
    }
    /// See [`crate::store::Store::made_by_another_run`].
    pub(super) async fn made_by_another_run(&self, ctx: &Ctx, home: &Unit) -> Result<()> {
        if ctx.seed.is_none() {
            return Ok(());
        }
        let record: Option<Record> = self.cql.peek(home, RECORD, ctx.command.as_bytes()).await?;
        record.and_then(|record| record.of_another_run(ctx.seed)).map_or(Ok(()), |theirs| Err(StoreError::another_run(theirs)))
    }
    /// Runs what needs no record.
    pub(super) async fn change<P: Plan>(&self, now: Timestamp, home: Unit, plan: P) -> Result<P::Out> {
        self.whole(now, home, plan, None).await
    }

    /// In a task of its own: a caller that goes away doesn't stop a command half-way.
    async fn whole<P: Plan>(&self, now: Timestamp, home: Unit, plan: P, record: Option<Recorded>) -> Result<P::Out> {
        let started = Arc::new(Started::default());
        let (engine, state) = (self.clone(), started.clone());
        let task = tokio::spawn(async move { engine.attempts(now, &home, &plan, record.as_ref(), &state).await });
        match self.in_time(self.times.whole, task).await {
            Some(Ok(out)) => out,
            Some(Err(e)) => Err(StoreError::maybe(e)),
            None => Err(started.gives_up()),
        }
    }

    async fn attempts<P: Plan>(
        &self,
        now: Timestamp,
        home: &Unit,
        plan: &P,
        record: Option<&Recorded>,
        started: &Started,
    ) -> Result<P::Out> {
        let begun = Instant::now();
        let mut hash = DefaultHasher::new();
        home.hash(&mut hash);
        let _turn = self.stripes[usize::try_from(hash.finish() % STRIPES as u64).unwrap_or(0)].lock().await;
        for attempt in 0_u64.. {
            // Whoever waited for his turn in vain for so long is gone.
            if started.is_given_up() {
                break;
            }
            match self.attempt(now, home, plan, record, started).await {
                Ok(out) => return Ok(out),
                Err(Halt::Failed(e)) => return Err(e),
                Err(Halt::Locked(unit, id)) => self.met(&unit, id).await?,
                Err(Halt::Conflict) => {}
            }
            if begun.elapsed() > self.times.whole {
                break;
            }
            let [jitter] = self.random();
            tokio::time::sleep(Duration::from_millis(attempt.min(10) * 2 + u64::from(jitter) % (4 + 2 * attempt.min(10)))).await;
        }
        Err(StoreError::certainly_not("others kept writing"))
    }

    async fn attempt<P: Plan>(
        &self,
        now: Timestamp,
        home: &Unit,
        plan: &P,
        record: Option<&Recorded>,
        started: &Started,
    ) -> Planned<P::Out> {
        let mut tx = Tx::new(&self.cql, &*self.rng, now);
        if let Some(Recorded { name, seed }) = record {
            let names: Vec<Name> = plan.first().into_iter().chain([name.clone()]).collect();
            tx.fetch(home, &names).await?;
            if let Some(first) = tx.get::<Record>(home, &name.kind, &name.key.0).await? {
                if let Some(theirs) = first.of_another_run(*seed) {
                    return Err(Halt::Failed(StoreError::another_run(theirs)));
                }
                self.redo(first.tx).await.map_err(StoreError::maybe)?;
                return serde_json::from_value(first.outcome).map_err(|e| Halt::Failed(StoreError::certainly_not(e)));
            }
        } else if let names @ [_, ..] = plan.first().as_slice() {
            tx.fetch(home, names).await?;
        }
        let out = plan.run(&mut tx).await?;
        let id = self.new_id();
        let record = record.filter(|_| out.recorded());
        if let Some(Recorded { name, seed }) = record {
            let outcome = serde_json::to_value(&out).map_err(StoreError::certainly_not)?;
            tx.put_for(home, &name.kind, &name.key.0, &Record { tx: id, at: now, seed: *seed, outcome }, RECORDED)?;
        }
        let Tx { units, effects, .. } = tx;
        self.commit(id, units, effects, record.map(|r| (home, &r.name)), started).await?;
        Ok(out)
    }

    async fn commit(
        &self,
        id: Uuid,
        units: std::collections::BTreeMap<Unit, State>,
        effects: Vec<Effect>,
        record: Option<(&Unit, &Name)>,
        started: &Started,
    ) -> Planned<()> {
        let writes = units.values().any(|s| !s.writes.is_empty() || s.forget);
        if !writes {
            // It decided to change nothing.
            return if effects.is_empty() { Ok(()) } else { Err(Halt::Failed(StoreError::certainly_not("effects without a unit"))) };
        }
        let mut shares = Vec::with_capacity(units.len());
        let mut version = self.micros();
        for (unit, state) in units {
            let Some(seen) = state.seen else {
                return Err(Halt::Failed(StoreError::certainly_not(format!("{} was written unread", unit.family.table()))));
            };
            version = version.max(seen.unwrap_or(0) + 1);
            shares.push(Share { unit, seen, writes: state.writes.into_values().collect(), forget: state.forget });
        }
        let decided = Decided { version, shares, effects };
        started.writes()?;
        match decided.shares.as_slice() {
            // What is forgotten can't say what is left to do: then the journal does.
            [only] if !only.forget || decided.effects.is_empty() => self.commit_one(id, only, &decided, record.map(|(_, r)| r)).await,
            _ => self.saga(id, &decided).await,
        }
    }

    /// One conditional batch decides.
    async fn commit_one(&self, id: Uuid, share: &Share, decided: &Decided, record: Option<&Name>) -> Planned<()> {
        let begun = Instant::now();
        let leaves = !decided.effects.is_empty();
        let todo = if leaves {
            self.before_ours(share).await?;
            self.intend(id, &Intent::Unit(share.unit.clone())).await?;
            Some(json(&Todo { tx: id, version: decided.version, effects: decided.effects.clone() })?)
        } else {
            None
        };
        if begun.elapsed() > FRESH {
            return Err(Halt::Conflict);
        }
        let change = match share.forget {
            true => Change::Forget { seen: share.seen },
            false => Change::Commit { seen: share.seen, version: decided.version, tx: id, todo: todo.as_deref() },
        };
        let halt = match self.cql.change(&share.unit, &change, &share.writes).await? {
            Answer::Applied => None,
            // A ballot of this very statement may have been done before the one that was refused.
            Answer::Refused(head) if head.version == Some(decided.version) => {
                self.find_out(id, share, decided.version, record, "refused by its own version".into()).await?
            }
            Answer::Refused(head) => Some(refused(&share.unit, head)),
            Answer::Unknown(why) => self.find_out(id, share, decided.version, record, why).await?,
        };
        if let Some(halt) = halt {
            if leaves {
                self.fulfilled(id).await?;
            }
            return Err(halt);
        }
        if leaves {
            // Committed: whatever fails now is done by whoever comes next.
            self.effects(&decided.effects, decided.version).await.map_err(StoreError::maybe)?;
            self.fulfilled(id).await.map_err(StoreError::maybe)?;
        }
        Ok(())
    }

    /// What the last command left to do in a unit would be lost by what we leave: it is done first.
    async fn before_ours(&self, share: &Share) -> Planned<()> {
        if share.seen.is_none() {
            return Ok(());
        }
        let (head, todo) = self.cql.todo(&share.unit, false).await?;
        if head.version != share.seen {
            return Err(refused(&share.unit, head));
        }
        if let Some(todo) = todo.map(|t| parse::<Todo>(&t)).transpose()? {
            self.redo(todo.tx).await?;
        }
        Ok(())
    }

    /// A conditional write whose answer was lost: whether it was done is found out, and it is made impossible if it was not. `None`: it was
    /// done. An error: it may have been.
    async fn find_out(&self, id: Uuid, share: &Share, version: i64, record: Option<&Name>, why: String) -> Planned<Option<Halt>> {
        for _ in 0..TRIES {
            let head = self.cql.head(&share.unit, true).await.map_err(|e| StoreError::maybe(format!("{why}; then {e}")))?;
            if head.tx == Some(id) || (share.forget && head.version.is_none()) {
                return Ok(None);
            }
            if head.version == Some(version) {
                // Versions only grow: somebody wrote this one instead of us.
                return Ok(Some(Halt::Conflict));
            }
            if head.version != share.seen {
                // Somebody wrote after us, or instead of us. The record tells.
                let Some(record) = record else { return Err(Halt::Failed(StoreError::maybe(why))) };
                let found = self.cql.rows(&share.unit, std::slice::from_ref(record), true).await.map_err(StoreError::maybe)?;
                let ours = found.first().map(|r| parse::<Record>(&r.body)).transpose()?.is_some_and(|r| r.tx == id);
                return Ok((!ours).then_some(Halt::Conflict));
            }
            if let Some(lock) = head.lock {
                // While it is there ours can't be done; but it can once it is gone.
                self.met(&share.unit, lock).await.map_err(StoreError::maybe)?;
            } else if self.fence(&share.unit, share.seen).await.map_err(StoreError::maybe)? {
                return Ok(Some(Halt::Conflict));
            }
        }
        Err(Halt::Failed(StoreError::maybe(why)))
    }

    /// Gives a unit that nobody holds another version, so that no conditional write that is on its way to this one is ever done: reading the
    /// unit alone would not do, as a coordinator may sleep with the request. `false`: it has another version already, or somebody holds it.
    pub(super) async fn fence(&self, unit: &Unit, seen: Option<i64>) -> Result<bool> {
        let (tx, version) = (self.new_id(), self.micros().max(seen.unwrap_or(0) + 1));
        let change = Change::Fence { seen, version, tx };
        for _ in 0..=AGAIN {
            match self.cql.change(unit, &change, &[]).await? {
                Answer::Applied => return Ok(true),
                // It may have been done by the try before.
                Answer::Refused(_) => return Ok(self.cql.head(unit, true).await?.tx == Some(tx)),
                Answer::Unknown(_) => {}
            }
        }
        Err(StoreError::maybe("a fence was not answered"))
    }
}
