//! The outbox. What a job sends is written once, by the command that it belongs to; its state, in a unit of its own, by
//! those who take it. A list of hours leads to those that are due: a hint, checked against the state.

use super::{
    effects::{Effect, number, ordered},
    engine::Engine,
    tx::{Outcome, Plan, Planned, Tx, json},
    unit::{Bytes, List, Unit},
};
use crate::{
    domain::{
        contact::ContactDigest,
        ids::{JobId, UserId},
        outbox::{Job, Message},
        time::Timestamp,
    },
    store::{Result, StoreError, commands::OutboxCounts, copy::MovedJob},
};
use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600_000;
/// Characters of an error that are kept.
const ERROR: usize = 500;
/// That a job is done is remembered for eleven days, in seconds: longer than the tombstone of what it sent.
const REMEMBERED: i32 = 11 * 86_400;
/// Entries of an hour that are looked at in a call.
const LOOKED_AT: u32 = 4000;
/// Jobs that are taken at once.
const AT_ONCE: usize = 16;
/// A call that has taken this long gives what it has.
const LONG: Duration = Duration::from_millis(1200);
pub(super) const STATE: &str = "state";
const ONE: &[u8] = b"-";
/// The bucket of those that were given up.
const PARKED: &[u8] = b"parked";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    message: serde_json::Value,
    created_at: Timestamp,
    attempts: u32,
}

/// Absent: never taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    due_at: Timestamp,
    attempts: u32,
    parked: bool,
    done: bool,
    error: Option<String>,
}

fn hour(at: Timestamp) -> Bytes {
    Bytes::from(&ordered(at.millis().div_euclid(HOUR)))
}
pub(super) fn due(list: JobId, at: Timestamp) -> (Bytes, Bytes) {
    (hour(at), Bytes::join(&[&ordered(at.millis()), list.as_bytes()]))
}
fn put_due(id: JobId, at: Timestamp) -> Effect {
    let (bucket, key) = due(id, at);
    Effect::Put { list: List::JobsDue, bucket, key, body: String::new(), ttl: 0, noted: true }
}
fn put_parked(id: JobId) -> Effect {
    let (list, bucket, key) = (List::JobsDue, PARKED.into(), id.as_bytes().into());
    Effect::Put { list, bucket, key, body: String::new(), ttl: 0, noted: false }
}
/// `written`: when the entry was written, if that was done by the command that the job belongs to.
fn del_due(id: JobId, at: Timestamp, written: i64) -> Effect {
    let (bucket, key) = due(id, at);
    Effect::Del { list: List::JobsDue, bucket, key, at: written }
}

/// What writes a job, due at once.
pub(super) fn put(job: &Job, now: Timestamp) -> Result<[Effect; 2]> {
    let message = serde_json::to_value(&job.message).map_err(crate::store::StoreError::certainly_not)?;
    let body = json(&Body { message, created_at: job.created_at, attempts: job.attempts })?;
    let body = Effect::Put { list: List::JobBodies, bucket: job.id.as_bytes().into(), key: ONE.into(), body, ttl: 0, noted: false };
    Ok([body, put_due(job.id, now)])
}

/// The state of a job that is moved here, as its row, and what else writes it.
pub(super) fn moved(job: MovedJob) -> Result<(String, [Effect; 2])> {
    let MovedJob { id, message, created_at, attempts, due_at, parked, error } = job;
    let body = json(&Body { message, created_at, attempts })?;
    let body = Effect::Put { list: List::JobBodies, bucket: id.as_bytes().into(), key: ONE.into(), body, ttl: 0, noted: false };
    let listed = if parked { put_parked(id) } else { put_due(id, due_at) };
    Ok((json(&State { due_at, attempts, parked, done: false, error })?, [body, listed]))
}

impl Outcome for Option<Job> {}
impl Outcome for () {}

/// A job of no other command. Its unit is its home, where a rerun finds that it was written.
pub(super) struct Enqueue(pub(super) Job);

#[async_trait]
impl Plan for Enqueue {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let state: Option<State> = tx.get(&Unit::job(self.0.id), STATE, ONE).await?;
        if state.is_none_or(|s| !s.done) {
            tx.job(&self.0)?;
        }
        Ok(())
    }
}

struct Take {
    id: JobId,
    /// As the list has it.
    due_at: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Plan for Take {
    type Out = Option<Job>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Option<Job>> {
        let unit = Unit::job(self.id);
        let state: Option<State> = tx.get(&unit, STATE, ONE).await?;
        let taken = state.as_ref().is_some_and(|s| s.done || s.parked || s.due_at != self.due_at);
        let body = tx.timed_entry(List::JobBodies, self.id.as_bytes(), ONE).await?;
        let Some((body, written)) = body.filter(|_| !taken) else { return Ok(None) };
        let body: Body = super::tx::parse(&body)?;
        let attempts = state.map_or(body.attempts, |s| s.attempts).saturating_add(1);
        // Of a newer version, say. It must not keep the others from going out; it waits for a node that can read it.
        let message = serde_json::from_value::<Message>(body.message);
        let error = message.is_err().then(|| "a kind of message that this version doesn't know".to_owned());
        tx.put(&unit, STATE, ONE, &State { due_at: self.until, attempts, parked: false, done: false, error })?;
        tx.effect(del_due(self.id, self.due_at, written));
        tx.effect(put_due(self.id, self.until));
        Ok(message.ok().map(|message| Job { id: self.id, message, created_at: body.created_at, attempts }))
    }
}

enum Then {
    Done,
    Retry(Timestamp, String),
    Park(String),
}

struct Move {
    id: JobId,
    then: Then,
}

#[async_trait]
impl Plan for Move {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let (id, unit) = (self.id, Unit::job(self.id));
        let state: Option<State> = tx.get(&unit, STATE, ONE).await?;
        let body = tx.timed_entry(List::JobBodies, id.as_bytes(), ONE).await?;
        let Some((_, written)) = body.filter(|_| state.as_ref().is_none_or(|s| !s.done)) else { return Ok(()) };
        let state = state.unwrap_or(State { due_at: tx.now, attempts: 0, parked: false, done: false, error: None });
        // Of one entry a removal that is as late as `written` would win.
        if !matches!(&self.then, Then::Retry(at, _) if *at == state.due_at) {
            tx.effect(del_due(id, state.due_at, written));
        }
        match &self.then {
            Then::Done => {
                tx.effect(Effect::Del { list: List::JobBodies, bucket: id.as_bytes().into(), key: ONE.into(), at: written });
                tx.effect(Effect::Del { list: List::JobsDue, bucket: PARKED.into(), key: id.as_bytes().into(), at: 0 });
                tx.put_for(&unit, STATE, ONE, &State { done: true, ..state }, REMEMBERED)
            }
            Then::Retry(at, error) => {
                if !state.parked {
                    tx.effect(put_due(id, *at));
                }
                tx.put(&unit, STATE, ONE, &State { due_at: *at, error: Some(cut(error)), ..state })
            }
            Then::Park(error) => {
                tx.effect(put_parked(id));
                tx.put(&unit, STATE, ONE, &State { parked: true, error: Some(cut(error)), ..state })
            }
        }
    }
}

fn cut(error: &str) -> String {
    error.chars().take(ERROR).collect()
}

/// From where on the jobs that are due are read. Each that was done leaves tombstones, which a read from the beginning goes over for an hour
/// (Cassandra refuses over 100,000 of them). So a process goes on where the first job was that it saw, and reads all once a minute.
#[derive(Debug, Default)]
pub(super) struct ReadFrom {
    /// When it read last, and when all.
    last: Option<(Timestamp, Timestamp)>,
    /// When the first job that it saw was due, in milliseconds since 1970.
    first: i64,
}

impl ReadFrom {
    /// Jobs are written so much later than they are due, at the most: clocks differ, and commands wait. Others are found within [`ALL`].
    const LATE: Duration = Duration::from_secs(120);
    const ALL: Duration = Duration::from_secs(60);

    /// Milliseconds since 1970; `None`: all.
    fn at(&self, now: Timestamp) -> Option<i64> {
        let (last, all) = self.last?;
        (now >= last && now.since(all) < Self::ALL).then(|| self.first.min(now.minus(Self::LATE).millis()))
    }
    fn saw(&mut self, now: Timestamp, first: Option<i64>) {
        let all = if self.at(now).is_some() { self.last.map_or(now, |(_, all)| all) } else { now };
        *self = Self { last: Some((now, all)), first: first.unwrap_or(i64::MAX) };
    }
}

impl Engine {
    pub(super) async fn lease_jobs(&self, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Job>> {
        let (begun, mut jobs) = (Instant::now(), Vec::new());
        let after = ordered(now.millis().saturating_add(1));
        let from = self.jobs_from().at(now);
        let (mut first, mut failed) = (None, None);
        for bucket in self.buckets(List::JobsDue, &ordered(now.millis().div_euclid(HOUR) + 1)).await? {
            let entries =
                match self.cql.entries(List::JobsDue, &bucket.key.0, &from.map_or([0; 8], ordered), &after, LOOKED_AT, false).await {
                    Ok(entries) => entries,
                    // The other hours don't wait for this one.
                    Err(e) => {
                        failed.get_or_insert(e);
                        continue;
                    }
                };
            first = first.or_else(|| entries.first().and_then(|(key, _)| number(&key.0)));
            self.jobs_from().saw(now, first);
            // Some hours later, so that nobody is about to write to it.
            if from.is_none() && entries.is_empty() && number(&bucket.key.0).is_some_and(|h| h < now.millis().div_euclid(HOUR) - 2) {
                self.forget_bucket(List::JobsDue, &bucket).await?;
            }
            let due = entries.iter().filter_map(|(key, _)| {
                let id: [u8; 16] = key.0.get(8..)?.try_into().ok()?;
                Some((JobId::from_bytes(id), Timestamp::from_millis(number(&key.0)?)))
            });
            let mut due = due.collect::<Vec<_>>().into_iter();
            loop {
                let some: Vec<_> = due.by_ref().take(AT_ONCE.min(limit as usize - jobs.len())).collect();
                if some.is_empty() {
                    break;
                }
                let taken = join_all(some.into_iter().map(|(id, due_at)| self.take(now, id, due_at, now.plus(lease)))).await;
                for job in taken {
                    match job {
                        Ok(job) => jobs.extend(job),
                        // Those that were taken are given; this one is for the next call.
                        Err(_) if !jobs.is_empty() => {}
                        Err(e) => return Err(e),
                    }
                }
                if begun.elapsed() > LONG {
                    return Ok(jobs);
                }
            }
        }
        match failed {
            Some(e) if jobs.is_empty() => Err(e),
            _ => Ok(jobs),
        }
    }

    async fn take(&self, now: Timestamp, id: JobId, due_at: Timestamp, until: Timestamp) -> Result<Option<Job>> {
        let job = self.change(now, Unit::job(id), Take { id, due_at, until }).await?;
        if job.is_none() {
            self.check_entry(id, due_at).await?;
        }
        Ok(job)
    }

    /// An entry led to no job that could be taken: if its state is settled and says another time, the entry goes.
    async fn check_entry(&self, id: JobId, due_at: Timestamp) -> Result<()> {
        let (bucket, key) = due(id, due_at);
        // Before the state: an entry that is written anew since then stays.
        let Some((_, at)) = self.cql.timed_entry(List::JobsDue, &bucket.0, &key.0).await? else { return Ok(()) };
        let state: Option<State> = self.cql.peek(&Unit::job(id), STATE, ONE).await?;
        if state.is_some_and(|s| s.done || s.parked || s.due_at != due_at) {
            self.cql.del(List::JobsDue, &bucket.0, &key.0, at).await?;
        }
        Ok(())
    }

    pub(super) async fn finish_job(&self, id: JobId) -> Result<()> {
        self.change(self.now(), Unit::job(id), Move { id, then: Then::Done }).await
    }
    pub(super) async fn retry_job(&self, id: JobId, at: Timestamp, error: &str) -> Result<()> {
        self.change(at, Unit::job(id), Move { id, then: Then::Retry(at, error.into()) }).await
    }
    pub(super) async fn park_job(&self, id: JobId, error: &str) -> Result<()> {
        self.change(self.now(), Unit::job(id), Move { id, then: Then::Park(error.into()) }).await
    }

    /// Removes parked jobs that are about a user, or an address. (The others end by themselves: their worker finds nobody.)
    pub(super) async fn forget_parked(&self, user: UserId, contact: &ContactDigest) -> Result<()> {
        let (user, contact) = (serde_json::to_value(user), serde_json::to_value(contact));
        let (user, contact) = (user.map_err(StoreError::certainly_not)?, contact.map_err(StoreError::certainly_not)?);
        let mut from = Vec::new();
        loop {
            let page = self.cql.entries(List::JobsDue, PARKED, &from, &[0xff; 17], LOOKED_AT, false).await?;
            for some in page.chunks(AT_ONCE) {
                let looked = some.iter().map(async |(key, _)| {
                    let Ok(id) = key.0.as_slice().try_into().map(JobId::from_bytes) else { return Ok(()) };
                    let Some(body) = self.cql.entry(List::JobBodies, id.as_bytes(), ONE).await? else { return Ok(()) };
                    let message = super::tx::parse::<Body>(&body)?.message;
                    let about = message.get("user_id") == Some(&user) || message.get("contact") == Some(&contact);
                    if about { self.finish_job(id).await } else { Ok(()) }
                });
                join_all(looked).await.into_iter().collect::<Result<()>>()?;
            }
            match page.last() {
                Some((last, _)) if page.len() == LOOKED_AT as usize => from = [last.0.as_slice(), &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    pub(super) async fn outbox_counts(&self) -> Result<OutboxCounts> {
        let mut counts = OutboxCounts::default();
        for bucket in self.buckets(List::JobsDue, &[0xff; 9]).await? {
            counts.pending += self.cql.entries(List::JobsDue, &bucket.key.0, &[], &[0xff; 25], LOOKED_AT, false).await?.len() as u64;
        }
        counts.parked = self.cql.entries(List::JobsDue, PARKED, &[], &[0xff; 17], LOOKED_AT, false).await?.len() as u64;
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_from_the_first_one_on_and_all_once_a_minute() {
        let (mut from, at) = (ReadFrom::default(), |secs: i64| Timestamp::from_millis(1_700_000_000_000 + secs * 1000));
        assert_eq!(from.at(at(0)), None);
        from.saw(at(0), Some(at(-500).millis()));
        assert_eq!(from.at(at(1)), Some(at(-500).millis()), "it waits since long");
        from.saw(at(1), None);
        assert_eq!(from.at(at(2)), Some(at(-118).millis()), "others may write what is due since before");
        from.saw(at(59), Some(at(58).millis()));
        assert_eq!(from.at(at(59)), Some(at(-61).millis()));
        assert_eq!(from.at(at(60)), None);
        from.saw(at(60), None);
        assert_eq!(from.at(at(61)), Some(at(-59).millis()));
        assert_eq!(from.at(at(30)), None, "a clock that went back");
    }
}
