//! Records in, batches out: a few are on their way to the store while the next is put together.

use super::{AppError, Rejects, Tally};
use crate::{
    domain::{
        audit::AuditEvent,
        authority::By,
        contact::ContactDigest,
        context::{Actor, Ctx},
        ids::{AuditId, CommandId},
    },
    service::import::{NewUser, Refusal, Rows, batch::Importer, split::Raw},
    store::{
        Result as StoreResult, Store,
        imports::{Holder, ImportId, ImportOutcome, ImportProgress, ImportStep, ImportUsers, MAX_ROWS, Outcomes, RECENT, RowOutcome},
    },
};
use futures_util::{FutureExt, future::BoxFuture, poll};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Batches on their way at once. The store writes them in their order, several with one fsync. No more than it keeps the outcomes of:
/// the refusals of the one before these are in their file.
const IN_FLIGHT: usize = RECENT;
/// A store that is busy (a server writes too) is asked again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// A batch on its way.
struct Sent {
    ctx: Ctx,
    cmd: ImportUsers,
    lines: Vec<u64>,
    refusals: Vec<Refusal>,
    answer: BoxFuture<'static, StoreResult<ImportOutcome>>,
}

/// The import as it goes.
pub(super) struct Steps {
    store: Arc<dyn Store>,
    importer: Importer,
    id: ImportId,
    rejects: Rejects,
    dry_run: bool,
    /// Where it stopped before, and what is still to be said about the last step of then.
    before: Option<ImportProgress>,
    seen: u64,
    /// The first record of the batch being put together.
    from: u64,
    rows: Vec<(u64, NewUser)>,
    refusals: Vec<Refusal>,
    sent: VecDeque<Sent>,
    tally: Tally,
    /// Of a dry run: the first half of a digest of each address that would be made, some 20 bytes a row. (Two addresses of ten
    /// million are taken for one in three runs of a million.)
    addresses: HashSet<u64>,
}

impl Steps {
    pub(super) fn new(
        store: Arc<dyn Store>,
        importer: Importer,
        id: ImportId,
        before: Option<ImportProgress>,
        rejects: Rejects,
        dry_run: bool,
    ) -> Self {
        let from = before.as_ref().map_or(0, |p| p.next);
        let tally = before.as_ref().map_or(Tally::default(), |p| Tally { created: p.created, refused: p.refused });
        Self {
            store,
            importer,
            id,
            rejects,
            dry_run,
            before,
            seen: 0,
            from,
            rows: Vec::new(),
            refusals: Vec::new(),
            sent: VecDeque::new(),
            tally,
            addresses: HashSet::new(),
        }
    }

    /// The first record that isn't settled.
    pub(super) const fn next(&self) -> u64 {
        self.from
    }
    /// Records seen.
    pub(super) const fn records(&self) -> u64 {
        self.seen
    }
    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes the next record.
    pub(super) async fn take(&mut self, raw: &Raw, rows: &mut Rows) -> Result<(), AppError> {
        let index = self.seen;
        self.seen += 1;
        if index < self.from {
            return self.again(index, raw, rows);
        }
        match read(raw, rows)? {
            None => {}
            Some(Ok(user)) => self.rows.push((raw.line, user)),
            Some(Err(refusal)) => self.refusals.push(refusal),
        }
        if self.seen - self.from >= MAX_ROWS as u64 { self.send(false).await } else { Ok(()) }
    }

    /// A record that was settled before. The refusals of the last step may not have reached their file: they are written again.
    fn again(&mut self, index: u64, raw: &Raw, rows: &mut Rows) -> Result<(), AppError> {
        let Some(before) = &mut self.before else { return Ok(()) };
        // The first record may be the header.
        if index > 0 && index < before.recent_from {
            return Ok(());
        }
        if index == before.recent_from {
            self.rejects.cut_from(raw.line)?;
        }
        let said = read(raw, rows)?;
        if index < before.recent_from {
            return Ok(());
        }
        match said {
            None => Ok(()),
            Some(Err(refusal)) => self.rejects.put(&refusal),
            Some(Ok(_)) if before.recent.0.is_empty() => Err(changed()),
            Some(Ok(user)) => match reason(before.recent.0.remove(0)) {
                Some(why) => self.rejects.put(&refusal(raw.line, &user, why)),
                None => Ok(()),
            },
        }
    }

    /// Sends what has come together.
    async fn send(&mut self, finished: bool) -> Result<(), AppError> {
        let (from, rows, mut refusals) = (self.from, std::mem::take(&mut self.rows), std::mem::take(&mut self.refusals));
        self.from = self.seen;
        if self.dry_run {
            return self.look(rows, refusals).await;
        }
        let (mut users, mut lines) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let mut unfit = Vec::new();
        for (place, made) in (0..).zip(self.importer.prepare(rows).await.map_err(|e| AppError::new("hashing", e))?) {
            match made {
                Ok((line, user)) => {
                    lines.push(line);
                    users.push(user);
                }
                Err(refusal) => {
                    unfit.push(place);
                    refusals.push(refusal);
                }
            }
        }
        let step = ImportStep { id: self.id, from, next: self.seen, refused: refusals.len() as u64, unfit, finished };
        let ctx = self.ctx();
        let audit = if users.is_empty() { Vec::new() } else { vec![self.audit(&ctx)] };
        let by = By::operator(self.importer.tenant);
        let cmd = ImportUsers { tenant_id: self.importer.tenant, by, users, step: Some(step), audit };
        let mut answer = run(self.store.clone(), ctx.clone(), cmd.clone());
        // Polled once, it stands in the writer's queue, behind those before it.
        let answer = match poll!(&mut answer) {
            std::task::Poll::Ready(done) => std::future::ready(done).boxed(),
            std::task::Poll::Pending => answer,
        };
        self.sent.push_back(Sent { ctx, cmd, lines, refusals, answer });
        while self.sent.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest batch.
    async fn settle(&mut self) -> Result<(), AppError> {
        let Some(mut sent) = self.sent.pop_front() else { return Ok(()) };
        let mut outcome = sent.answer.await;
        let mut tries = 0;
        // A batch behind one that the store was too busy for finds the import not so far: both are tried again, in their order.
        while matches!(outcome, Err(_) | Ok(ImportOutcome::Stale)) && tries < TRIES {
            tries += 1;
            tokio::time::sleep(PAUSE).await;
            outcome = run(self.store.clone(), sent.ctx.clone(), sent.cmd.clone()).await;
        }
        let Outcomes(outcomes) = match outcome {
            Ok(ImportOutcome::Done(outcomes)) => outcomes,
            Ok(ImportOutcome::Denied(why)) => return Err(AppError::new("--tenant", why.text())),
            Ok(ImportOutcome::NoTenant) => return Err(AppError::new("--tenant", "the tenant is gone")),
            Ok(ImportOutcome::Stale) => {
                return Err(AppError::new("import", "another import of this file is running; start again to go on"));
            }
            Err(e) => return Err(AppError::new("store (start again to go on)", e)),
        };
        for ((line, user), outcome) in sent.lines.into_iter().zip(sent.cmd.users).zip(outcomes) {
            match reason(outcome) {
                None => self.tally.created += 1,
                Some(why) => {
                    let email = Some(user.user.email.as_str().to_owned());
                    sent.refusals.push(Refusal { line, email, message: why.to_owned() });
                }
            }
        }
        self.refuse(sent.refusals)
    }

    fn refuse(&mut self, mut refusals: Vec<Refusal>) -> Result<(), AppError> {
        refusals.sort_by_key(|r| r.line);
        self.tally.refused += refusals.len() as u64;
        refusals.iter().try_for_each(|r| self.rejects.put(r))?;
        self.rejects.flush()
    }

    /// What would be refused because of its address.
    async fn look(&mut self, rows: Vec<(u64, NewUser)>, mut refusals: Vec<Refusal>) -> Result<(), AppError> {
        let digests = rows.iter().map(|(_, row)| row.email.digest()).collect();
        let holders = self.store.holders(self.importer.tenant, digests).await.map_err(|e| AppError::new("store", e))?;
        for ((line, row), holder) in rows.iter().zip(holders) {
            let why = match holder {
                Holder::Nobody if self.addresses.insert(short(&row.email.digest())) => None,
                Holder::Nobody => Some("a row above has this address"),
                Holder::Member => reason(RowOutcome::IsMember),
                Holder::Elsewhere => reason(RowOutcome::EmailTaken),
            };
            match why {
                None => self.tally.created += 1,
                Some(why) => refusals.push(refusal(*line, row, why)),
            }
        }
        self.refuse(refusals)
    }

    /// There are no more records.
    pub(super) async fn finish(mut self) -> Result<Tally, AppError> {
        self.send(true).await?;
        while !self.sent.is_empty() {
            self.settle().await?;
        }
        Ok(self.tally)
    }

    fn ctx(&self) -> Ctx {
        let (clock, rng) = (&*self.importer.clock, &*self.importer.rng);
        Ctx { command: CommandId::new(clock, rng), now: clock.now(), actor: Actor::System, network: None, seed: None, request_id: None }
    }

    fn audit(&self, ctx: &Ctx) -> AuditEvent {
        let id = AuditId::new(&*self.importer.clock, &*self.importer.rng);
        AuditEvent::new(id, self.importer.tenant, "users.imported", ctx.actor, ctx.now)
    }
}

fn short(digest: &ContactDigest) -> u64 {
    let mut half = [0; 8];
    half.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(half)
}

fn run(store: Arc<dyn Store>, ctx: Ctx, cmd: ImportUsers) -> BoxFuture<'static, StoreResult<ImportOutcome>> {
    async move { store.import_users(&ctx, cmd).await }.boxed()
}

fn read(raw: &Raw, rows: &mut Rows) -> Result<Option<Result<NewUser, Refusal>>, AppError> {
    rows.read(raw).map_err(|e| AppError::new("the file", e))
}

fn refusal(line: u64, row: &NewUser, why: &str) -> Refusal {
    Refusal { line, email: Some(row.email.as_str().to_owned()), message: why.to_owned() }
}

/// Why it was refused, if it was.
const fn reason(outcome: RowOutcome) -> Option<&'static str> {
    match outcome {
        RowOutcome::Created => None,
        RowOutcome::IsMember => Some("a member of the tenant has this address"),
        RowOutcome::EmailTaken => Some("another account has this address"),
        RowOutcome::Unfit => Some("the password is one that the tenant's policy does not allow"),
        RowOutcome::NoRole => Some("the tenant has no such role"),
        RowOutcome::GiverUnproved => Some("whoever acts has not proved their address"),
        RowOutcome::NotManaged => Some("the tenant has no power over credentials: qeetid tenant manage"),
    }
}

/// Rows that were refused when the step ran can be read now: it is not the run that it was.
fn changed() -> AppError {
    AppError::new("import", "rows that were refused before are not now (other parameters?): use --restart")
}
