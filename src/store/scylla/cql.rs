//! Statements: prepared once, sent with time-outs, and what came back told apart: done, refused, unknown.

use super::{
    change::{Answer, Change, Entry, Head, Read, Write},
    decode::{answer, bigint, certainly_not, head, read, text},
    fail::Fail,
    meter::{Kind, Meter},
    profile::{Agreement, Times},
    pulse::{Asked, Pulse},
    statements::{PAGE, Statements},
    unit::{Bytes, Family, List, Name, Unit},
};
use crate::{
    domain::breaker::Breaker,
    store::{Result, StoreError},
};
use futures_util::{FutureExt, future::BoxFuture};
use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    response::query_result::QueryResult,
    serialize::row::SerializeRow,
    statement::{
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
    value::{CqlValue, Row},
};
use std::{
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Seconds for which it is kept what a command left to do: it holds what was written about people, in a unit that may not be written again.
const LEFT: i32 = 7 * 86_400;
/// Seconds for which a fence stays where there is no unit: a statement that is later than that is no longer on its way.
const FENCED: i32 = 86_400;

/// Something of the driver's, behind a type that is known to be `Send` and `Sync` without a look inside. Else the compiler looks through all
/// of the driver once more for each future that holds one, and that was half of the time in which this package was built. Methods of
/// [`Cql`] give boxed futures for the same reason.
pub(super) type Hidden<T> = Arc<dyn Deref<Target = T> + Send + Sync>;

fn hidden<T: Send + Sync + 'static>(value: T) -> Hidden<T> {
    Arc::new(Box::new(value))
}

/// The connection, and every statement.
pub(super) struct Cql {
    session: RwLock<Hidden<Session>>,
    keyspace: Arc<str>,
    statements: Hidden<Statements>,
    breaker: Breaker,
    agreement: Agreement,
    meter: Meter,
    pub(super) pulse: Pulse,
    pub(super) fail: Arc<Fail>,
}

impl Cql {
    /// Prepares every statement for the tables of a keyspace.
    pub(super) async fn new(session: Session, keyspace: &str, agreement: Agreement, times: Times) -> Result<Self> {
        let statements = Statements::prepare(&session, keyspace, agreement, times).await?;
        Ok(Self::with(hidden(session), keyspace.into(), hidden(statements), agreement))
    }

    fn with(session: Hidden<Session>, keyspace: Arc<str>, statements: Hidden<Statements>, agreement: Agreement) -> Self {
        Self {
            session: RwLock::new(session),
            keyspace,
            statements,
            // Open after 8 failures in a row, half a second after the last success; then one call a second asks whether the store is back.
            breaker: Breaker::new(8, Duration::from_secs(1)).after_quiet(Duration::from_millis(500)),
            agreement,
            meter: Meter::new(),
            pulse: Pulse::default(),
            fail: Arc::default(),
        }
    }

    /// What another process would have, but over the same connections: to make some takes longer than what a test does with them.
    #[cfg(test)]
    pub(super) fn beside(&self) -> Self {
        Self::with(self.session(), self.keyspace.clone(), self.statements.clone(), self.agreement)
    }

    /// As if the store had not answered eight calls in a row, the last of them at `at`.
    #[cfg(test)]
    pub(super) fn unanswered(&self, at: Instant) {
        (0..8).for_each(|_| self.breaker.failed(at));
    }

    /// The keyspace of its tables.
    pub(super) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    pub(super) fn session(&self) -> Hidden<Session> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Goes on over another connection; statements are good on any.
    pub(super) fn reconnected(&self, session: Session) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = hidden(session);
    }
    /// Whether calls are being refused because the store doesn't answer.
    pub(super) fn is_resting(&self) -> bool {
        self.breaker.is_open(Instant::now())
    }

    /// The same, also while one call is let through to see whether it answers again.
    pub(super) fn is_failing(&self) -> bool {
        self.breaker.is_failing()
    }

    fn at(&self, st: &PreparedStatement, serial: bool) -> PreparedStatement {
        let mut st = st.clone();
        if serial {
            st.set_consistency(self.agreement.reading());
        }
        st
    }

    fn allow(&self) -> Result<()> {
        self.breaker.allow(Instant::now()).map_err(|_| {
            self.meter.refused();
            StoreError::certainly_not("resting: the store did not answer lately")
        })
    }

    /// Notes for the breaker whether the store is alive.
    fn judge(&self, kind: Kind, asked: Asked<'_>, error: Option<&ExecutionError>) {
        self.meter.sent(kind, asked.begun.elapsed(), error.is_some());
        match error {
            Some(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized | DbError::WriteTimeout { .. },
                _,
            ))) => asked.answered(Instant::now()),
            Some(_) => self.breaker.failed(Instant::now()),
            None => {
                asked.answered(Instant::now());
                self.breaker.alive_at(Instant::now());
            }
        }
        self.meter.breaker(self.is_resting());
    }

    async fn send(&self, kind: Kind, st: &PreparedStatement, values: impl SerializeRow + Send) -> Result<QueryResult> {
        self.allow()?;
        self.ask(kind, st, values).await
    }

    /// Whatever the breaker says.
    async fn ask(&self, kind: Kind, st: &PreparedStatement, values: impl SerializeRow + Send) -> Result<QueryResult> {
        #[cfg(test)]
        self.arrives_now().await;
        self.fail.point(st.get_statement())?;
        let asked = self.pulse.ask(Instant::now());
        let out = self.session().execute_unpaged(st, values).await;
        self.judge(kind, asked, out.as_ref().err());
        // Reads write nothing, and plain writes are repeated until they are done: certainty is for the caller to know.
        let out = out.map_err(StoreError::certainly_not)?;
        self.fail.point(st.get_statement())?;
        Ok(out)
    }

    /// Asks the store something small, also while calls are refused, so that it is noticed when it is back: the call that the breaker lets
    /// through may be cancelled before its answer, with whoever wanted it.
    pub(super) fn probe(&self) -> BoxFuture<'_, ()> {
        async move {
            let nothing: (&[u8],) = (b"\0",);
            let _ = self.ask(Kind::Read, &self.statements.units[&Family::Users].head, nothing).await;
        }
        .boxed()
    }

    /// The clock of the node that answers, in milliseconds since 1970.
    pub(super) fn clock(&self) -> BoxFuture<'_, Result<i64>> {
        async move { Ok(self.select(&self.statements.clock, ()).await?.first().map(|row| bigint(&row.columns[0])).unwrap_or_default()) }
            .boxed()
    }

    async fn select(&self, st: &PreparedStatement, values: impl SerializeRow + Send) -> Result<Vec<Row>> {
        let kind = if st.get_consistency().is_some() { Kind::SerialRead } else { Kind::Read };
        let rows = self.send(kind, st, values).await?.into_rows_result().map_err(StoreError::certainly_not)?;
        rows.rows::<Row>().map_err(StoreError::certainly_not)?.collect::<std::result::Result<_, _>>().map_err(StoreError::certainly_not)
    }

    /// Sends a batch, conditional by its first statement, and reads the answer in either shape: Cassandra gives the columns of
    /// the condition when it is refused, and `[applied]` alone when not; ScyllaDB gives all columns always.
    async fn conditional(&self, batch: &Batch, values: Vec<Vec<Option<CqlValue>>>) -> Result<Answer> {
        self.allow()?;
        let what = match batch.statements.first() {
            Some(scylla::statement::batch::BatchStatement::PreparedStatement(st)) => st.get_statement(),
            _ => "",
        };
        #[cfg(test)]
        self.arrives_now().await;
        self.fail.point(what)?;
        #[cfg(test)]
        if self.fail.holds(batch, &values) {
            return Ok(Answer::Unknown("it is on its way".into()));
        }
        let asked = self.pulse.ask(Instant::now());
        let out = self.execute(batch, values).await;
        self.judge(Kind::Conditional, asked, out.as_ref().err());
        let out = match out {
            Ok(out) => out,
            Err(e) if certainly_not(&e) => return Err(StoreError::certainly_not(e)),
            Err(e) => {
                self.meter.maybe();
                return Ok(Answer::Unknown(e.to_string()));
            }
        };
        if let Err(e) = self.fail.point(what) {
            return if self.fail.loses_answers() { Ok(Answer::Unknown(e.to_string())) } else { Err(e) };
        }
        let answer = answer(out).map_err(StoreError::maybe)?;
        if matches!(answer, Answer::Refused(_)) {
            self.meter.conflict();
        }
        Ok(answer)
    }

    async fn execute(&self, batch: &Batch, values: Vec<Vec<Option<CqlValue>>>) -> std::result::Result<QueryResult, ExecutionError> {
        match batch.statements.as_slice() {
            [scylla::statement::batch::BatchStatement::PreparedStatement(one)] => {
                self.session().execute_unpaged(one, values.into_iter().next().unwrap_or_default()).await
            }
            _ => self.session().batch(batch, values).await,
        }
    }

    #[cfg(test)]
    async fn arrives_now(&self) {
        for (batch, values) in self.fail.arrives_now() {
            answer(self.execute(&batch, values).await.unwrap()).unwrap();
        }
    }

    /// What a test has held back arrives.
    #[cfg(test)]
    pub(super) async fn arrives(&self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (batch, values) in self.fail.held() {
            answers.push(answer(self.execute(&batch, values).await.unwrap()).unwrap());
        }
        answers
    }

    /// A batch of one unit: the change of its head, and rows.
    pub(super) fn change<'a>(&'a self, unit: &'a Unit, change: &'a Change<'a>, writes: &'a [Write]) -> BoxFuture<'a, Result<Answer>> {
        async move {
            let st = &self.statements.units[&unit.family];
            let ttl = unit.family.ttl();
            let part = || Some(CqlValue::Blob(unit.key.0.clone()));
            let big = |v: &Option<i64>| v.map(CqlValue::BigInt);
            let id = |v: Uuid| Some(CqlValue::Uuid(v));
            let int = |v: i32| Some(CqlValue::Int(v));
            let (head, values) = match change {
                Change::Commit { seen, version, tx, .. } => {
                    (&st.commit, vec![int(ttl), big(&Some(*version)), id(*tx), part(), big(seen), None])
                }
                Change::Fence { seen, version, tx } => {
                    let ttl = if seen.is_none() && ttl == 0 { FENCED } else { ttl };
                    (&st.commit, vec![int(ttl), big(&Some(*version)), id(*tx), part(), big(seen), None])
                }
                Change::Lock { seen, tx } => (&st.lock, vec![int(ttl), id(*tx), part(), big(seen), None]),
                Change::Apply { version, tx } => (&st.apply, vec![int(ttl), big(&Some(*version)), id(*tx), None, part(), id(*tx)]),
                Change::ApplyForget { tx } => (&st.apply_forget, vec![part(), id(*tx)]),
                Change::Forget { seen } => (&st.forget, vec![part(), big(seen), None]),
                Change::Unlock { tx } => (&st.unlock, vec![int(ttl), None, part(), id(*tx)]),
                Change::Hold { tx } => (&st.unlock, vec![int(ttl), id(*tx), part(), id(*tx)]),
            };
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_execution_profile_handle(head.get_execution_profile_handle().cloned());
            batch.append_statement(head.clone());
            let mut all = vec![values];
            if let Change::Commit { todo: Some(todo), .. } = change {
                batch.append_statement(st.put_todo.clone());
                // What an audit chain leaves to do is its own continuation: it must not be lost, and names nobody.
                let ttl = if unit.family == Family::Chains {
                    0
                } else if ttl == 0 {
                    LEFT
                } else {
                    ttl.min(LEFT)
                };
                all.push(vec![int(ttl), Some(CqlValue::Text((*todo).into())), part()]);
            }
            for w in writes {
                let (kind, key) = (Some(CqlValue::Text(w.name.kind.clone())), Some(CqlValue::Blob(w.name.key.0.clone())));
                match &w.body {
                    Some(body) => {
                        batch.append_statement(st.put.clone());
                        let ttl = if w.ttl == 0 { ttl } else { w.ttl };
                        all.push(vec![part(), kind, key, Some(CqlValue::Text(body.clone())), Some(CqlValue::Int(ttl))]);
                    }
                    None => {
                        batch.append_statement(st.del.clone());
                        all.push(vec![part(), kind, key]);
                    }
                }
            }
            self.conditional(&batch, all).await
        }
        .boxed()
    }

    /// The head of a unit; `serial`: with whatever conditional write is on its way finished, or made impossible.
    pub(super) fn head<'a>(&'a self, unit: &'a Unit, serial: bool) -> BoxFuture<'a, Result<Head>> {
        async move {
            let st = self.at(&self.statements.units[&unit.family].head, serial);
            let rows = self.select(&st, (&unit.key.0,)).await?;
            Ok(rows.first().map(|row| head(&row.columns[1..])).unwrap_or_default())
        }
        .boxed()
    }
    /// Head and what the last command left to do.
    pub(super) fn todo<'a>(&'a self, unit: &'a Unit, serial: bool) -> BoxFuture<'a, Result<(Head, Option<String>)>> {
        async move {
            let st = self.at(&self.statements.units[&unit.family].todo, serial);
            let rows = self.select(&st, (&unit.key.0,)).await?;
            Ok(rows.first().map(|row| (head(&row.columns[1..4]), text(&row.columns[4]))).unwrap_or_default())
        }
        .boxed()
    }
    /// Some rows by name.
    pub(super) fn rows<'a>(&'a self, unit: &'a Unit, names: &'a [Name], serial: bool) -> BoxFuture<'a, Result<Vec<Read>>> {
        async move {
            let st = self.at(&self.statements.units[&unit.family].rows, serial);
            let names: Vec<(&str, &[u8])> = names.iter().map(|n| (n.kind.as_str(), n.key.0.as_slice())).collect();
            Ok(self.select(&st, (&unit.key.0, names)).await?.into_iter().filter_map(read).collect())
        }
        .boxed()
    }
    /// All rows of a kind from a key on, by key.
    pub(super) fn scan<'a>(&'a self, unit: &'a Unit, kind: &'a str, from: &'a [u8]) -> BoxFuture<'a, Result<Vec<Read>>> {
        async move {
            Ok(self
                .select(&self.statements.units[&unit.family].scan, (&unit.key.0, kind, from))
                .await?
                .into_iter()
                .filter_map(read)
                .collect())
        }
        .boxed()
    }

    /// One entry of a list.
    pub(super) fn entry<'a>(&'a self, list: List, bucket: &'a [u8], key: &'a [u8]) -> BoxFuture<'a, Result<Option<String>>> {
        async move { Ok(self.timed_entry(list, bucket, key).await?.map(|(body, _)| body)) }.boxed()
    }
    /// The same, and when it was written.
    pub(super) fn timed_entry<'a>(&'a self, list: List, bucket: &'a [u8], key: &'a [u8]) -> BoxFuture<'a, Result<Option<(String, i64)>>> {
        async move {
            let rows = self.select(&self.statements.lists[&list].get, (bucket, key)).await?;
            Ok(rows.first().map(|row| (text(&row.columns[0]).unwrap_or_default(), bigint(&row.columns[1]))))
        }
        .boxed()
    }
    /// Entries from `from` on, before `to`, at most `limit`; `back`: from the end.
    pub(super) fn entries<'a>(
        &'a self,
        list: List,
        bucket: &'a [u8],
        from: &'a [u8],
        to: &'a [u8],
        limit: u32,
        back: bool,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, String)>>> {
        async move {
            let st = &self.statements.lists[&list];
            let st = if back { &st.back } else { &st.range };
            Ok(self.range(st, (bucket, from, to, limit)).await?.into_iter().map(|e| (e.key, e.body)).collect())
        }
        .boxed()
    }
    /// The same from the beginning, and when each was written: whoever removes one does so at that very time. By a clock of their own, what
    /// was written by a clock that is ahead of it would stay, and what is written meanwhile by one that is behind would go.
    pub(super) fn timed<'a>(
        &'a self,
        list: List,
        bucket: &'a [u8],
        from: &'a [u8],
        to: &'a [u8],
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Entry>>> {
        async move { self.range(&self.statements.lists[&list].range, (bucket, from, to, limit)).await }.boxed()
    }
    fn range<'a>(
        &'a self,
        st: &'a PreparedStatement,
        (bucket, from, to, limit): (&'a [u8], &'a [u8], &'a [u8], u32),
    ) -> BoxFuture<'a, Result<Vec<Entry>>> {
        async move {
            let limit = i32::try_from(limit).unwrap_or(i32::MAX).min(PAGE - 1);
            let rows = self.select(st, (bucket, from, to, limit)).await?;
            let entry = |row: Row| {
                let key = Bytes(row.columns[0].as_ref()?.as_blob()?.clone());
                Some(Entry { key, body: text(&row.columns[1]).unwrap_or_default(), at: bigint(&row.columns[2]) })
            };
            Ok(rows.into_iter().filter_map(entry).collect())
        }
        .boxed()
    }
    /// Writes an entry; `at` orders it among all writes of it. `ttl` in seconds, 0: for ever.
    pub(super) fn put<'a>(
        &'a self,
        list: List,
        bucket: &'a [u8],
        key: &'a [u8],
        body: &'a str,
        ttl: i32,
        at: i64,
    ) -> BoxFuture<'a, Result<()>> {
        async move { self.send(Kind::Write, &self.statements.lists[&list].put, (bucket, key, body, ttl, at)).await.map(drop) }.boxed()
    }
    /// Removes an entry that was written not later than `at`.
    pub(super) fn del<'a>(&'a self, list: List, bucket: &'a [u8], key: &'a [u8], at: i64) -> BoxFuture<'a, Result<()>> {
        async move { self.send(Kind::Write, &self.statements.lists[&list].del, (at, bucket, key)).await.map(drop) }.boxed()
    }

    /// State, time and content (empty when it is done with) of a journal entry, read behind whatever is on its way.
    pub(super) fn journal<'a>(&'a self, id: Uuid) -> BoxFuture<'a, Result<Option<(String, i64, String)>>> {
        async move {
            let rows = self.select(&self.at(&self.statements.journal.get, true), (id,)).await?;
            let entry = |row: &Row| {
                Some((text(&row.columns[0])?, row.columns[1].as_ref()?.as_bigint()?, text(&row.columns[2]).unwrap_or_default()))
            };
            Ok(rows.first().and_then(entry))
        }
        .boxed()
    }
    /// Writes a journal entry, if there is none.
    pub(super) fn journal_insert<'a>(
        &'a self,
        id: Uuid,
        state: &'a str,
        now: i64,
        body: &'a str,
        ttl: i32,
    ) -> BoxFuture<'a, Result<Answer>> {
        async move {
            let values =
                [CqlValue::Uuid(id), CqlValue::Text(state.into()), CqlValue::BigInt(now), CqlValue::Text(body.into()), CqlValue::Int(ttl)];
            self.single(&self.statements.journal.insert, values.into_iter().map(Some).collect()).await
        }
        .boxed()
    }
    /// Moves a journal entry on, from a state.
    pub(super) fn journal_turn<'a>(&'a self, id: Uuid, from: &'a str, to: &'a str, ttl: i32) -> BoxFuture<'a, Result<Answer>> {
        async move {
            let values = [CqlValue::Int(ttl), CqlValue::Text(to.into()), CqlValue::Uuid(id), CqlValue::Text(from.into())];
            self.single(&self.statements.journal.turn, values.into_iter().map(Some).collect()).await
        }
        .boxed()
    }
    /// Writes a journal entry that is over without its content, for so many seconds more. Nobody writes it again: that lets this one statement
    /// do without a condition. `stamp` is above every clock that may have stamped the entry.
    pub(super) fn journal_done<'a>(&'a self, id: Uuid, state: &'a str, now: i64, ttl: i32, stamp: i64) -> BoxFuture<'a, Result<()>> {
        async move { self.send(Kind::Write, &self.statements.journal.done, (id, state, now, "", ttl, stamp)).await.map(drop) }.boxed()
    }
    fn single<'a>(&'a self, st: &'a PreparedStatement, values: Vec<Option<CqlValue>>) -> BoxFuture<'a, Result<Answer>> {
        async move {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.append_statement(st.clone());
            self.conditional(&batch, vec![values]).await
        }
        .boxed()
    }
}
