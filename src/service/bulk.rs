//! Many accounts in one request: a list of them, or a streamed export of another system. Each row stands on its own.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    idempotency::{self, OfThisRun},
    import::{
        FirebaseParams, NewUser, Refusal, Rows, Source,
        batch::Importer,
        split::{Raw, Splitter},
    },
    limits::{Heavy, Inviting},
};
use crate::{
    actors::entity::settled,
    credentials::pool::Flow,
    domain::{
        audit::AuditEvent,
        authority::Denied,
        contact::Email,
        context::Ctx,
        ids::{AuditId, JobId, RoleId, UserId},
        outbox::{Job, Message},
        rng::Rng,
        tenant::Tenant,
    },
    store::imports::{Holder, ImportOutcome, ImportUser, ImportUsers, Outcomes, RowOutcome},
};
use std::{collections::HashMap, sync::Arc};

/// Rows of an import in one command: the file's other writers wait no longer than some milliseconds.
const BATCH: usize = 200;
/// Refusals that a report lists; more are only counted.
const LISTED: usize = 1000;

/// What became of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Accounts made.
    pub succeeded: u64,
    /// Rows refused.
    pub failed: u64,
    /// Why, the first thousand of them.
    pub errors: Vec<Refusal>,
}

impl BulkReport {
    fn refuse(&mut self, refusal: Refusal) {
        self.failed += 1;
        if self.errors.len() < LISTED {
            self.errors.push(refusal);
        }
    }
}

/// Rows on their way into the operator's tenant.
pub struct Bulk<'a> {
    services: &'a Services,
    caller: &'a Caller,
    by: &'a Operator,
    importer: Importer,
    roles: HashMap<RoleId, bool>,
    /// The tenant has been told of as many foreign accounts as it may today: nothing more is looked at.
    told_all: bool,
    /// The tenant, or the person, has invited as many as they may today.
    too_many: bool,
    once: Arc<dyn Rng>,
    report: BulkReport,
    _heavy: Option<Heavy>,
}

/// An export that is being streamed in.
pub struct Upload<'a> {
    bulk: Bulk<'a>,
    splitter: Splitter,
    rows: Rows,
    waiting: Vec<(u64, NewUser)>,
}

impl Services {
    /// Begins to take accounts into the operator's tenant.
    ///
    /// # Errors
    /// `Validation` in a personal tenant, `RateLimited` once the tenant (or the operator, in all of his) has been told of 20 foreign
    /// accounts in a day.
    pub async fn bulk<'a>(&'a self, caller: &'a Caller, by: &'a Operator) -> Result<Bulk<'a>> {
        if by.is_personal() {
            return Err(Error::field("tenant_id", "is a personal tenant: it has one member, its owner"));
        }
        let heavy = self.heavy_of(by)?;
        self.may_still_reveal(by).await?;
        let Tenant { policy, name, slug, .. } = self.scope(by.tenant_id).await?;
        // What a row becomes is known by its address, not by its id; and rows are made in another order each time.
        let once: Arc<dyn Rng> = Arc::new(OfThisRun(self.rng.clone()));
        let importer = Importer {
            pool: self.pool.clone(),
            breach: self.breach.clone(),
            clock: self.clock.clone(),
            rng: once.clone(),
            tenant: by.tenant_id,
            policy,
            names: vec![name, slug],
            role: RoleId::MEMBER,
            trusted: false,
            flow: Flow { group: *by.tenant_id.as_bytes(), network: caller.network },
        };
        Ok(Bulk {
            services: self,
            caller,
            by,
            importer,
            roles: HashMap::new(),
            told_all: false,
            too_many: false,
            once,
            report: BulkReport::default(),
            _heavy: heavy,
        })
    }

    /// Begins to read an export.
    ///
    /// # Errors
    /// As [`Services::bulk`]; `Denied` in a tenant without power over credentials; `Validation` for parameters of a Firebase project that make no hashes.
    pub async fn upload<'a>(
        &'a self,
        caller: &'a Caller,
        by: &'a Operator,
        source: Source,
        firebase: Option<FirebaseParams>,
    ) -> Result<Upload<'a>> {
        if !by.is_personal() {
            by.place.may_import()?;
        }
        if let Some(params) = &firebase {
            params.check().map_err(|why| Error::field("firebase", why))?;
        }
        self.signed_in_lately(by).await?;
        let bulk = self.bulk(caller, by).await?;
        Ok(Upload { bulk, splitter: Splitter::new(source), rows: Rows::new(source, firebase), waiting: Vec::new() })
    }

    /// Tells an operator of an account outside of his tenant, if that is still within the day's share; the last time is audited.
    async fn reveal(&self, caller: &Caller, by: &Operator) -> Result<bool> {
        match self.count_revealed(by).await {
            Ok(()) => Ok(true),
            Err(Error::RateLimited { .. }) => {
                let audit = vec![self.audit_of(caller, by, None, "user.accounts_revealed")];
                self.note(&self.ctx_of(caller, by), audit).await?;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

impl Bulk<'_> {
    /// Counts a row that was refused before it got here.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.report.refuse(refusal);
    }

    /// Reads one of a request's rows, in the format of ours.
    pub fn read(&mut self, line: u64, row: serde_json::Value) -> Option<(u64, NewUser)> {
        match super::import::row(line, row) {
            Ok(user) => Some((line, user)),
            Err(refusal) => {
                self.refuse(refusal);
                None
            }
        }
    }

    /// Takes rows in, at most a thousand; each with its line.
    ///
    /// # Errors
    /// The store or the pool does not answer: rows of before are in.
    pub async fn take(&mut self, rows: Vec<(u64, NewUser)>) -> Result<()> {
        let (services, tenant) = (self.services, self.by.tenant_id);
        // Before all else: the rerun of a request draws the same id, and the store knows its rows by it.
        // Each row has a record of its own, and runs may share them: it says nothing of which run it was.
        let ctx = Ctx { seed: None, ..services.ctx_of(self.caller, self.by) };
        let digests = rows.iter().map(|(_, row)| row.email.digest()).collect();
        let holders = services.store.holders(tenant, digests).await?;
        let mut good = Vec::with_capacity(rows.len());
        for ((line, row), holder) in rows.into_iter().zip(holders) {
            match self.look(&row, holder).await? {
                Ok(()) => good.push((line, row)),
                Err(message) => self.refuse(refusal(line, row.email.as_str(), message)),
            }
        }
        let mut users = Vec::with_capacity(good.len());
        let mut lines = Vec::with_capacity(good.len());
        for made in self.importer.prepare(good).await? {
            match made {
                Ok((line, user)) => {
                    let audit = vec![self.created(user.user.id)];
                    lines.push((line, user.user.email.clone()));
                    let told = Message::AccountMade { user_id: user.user.id, tenant_id: tenant };
                    let job = (!self.by.place.managed).then(|| Job { id: JobId::new(&*services.clock, &*self.once), ..services.job(told) });
                    users.push(ImportUser { audit, job, ..user });
                }
                Err(refusal) => self.refuse(refusal),
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        let cmd = ImportUsers { tenant_id: tenant, by: self.by.by(), users, step: None, audit: Vec::new() };
        let written = settled(|| services.store.import_users(&ctx, cmd.clone())).await;
        (services.wake_outbox)();
        let outcomes = match written? {
            ImportOutcome::Done(Outcomes(outcomes)) => outcomes,
            ImportOutcome::Denied(why) => return Err(why.into()),
            ImportOutcome::NoTenant | ImportOutcome::Stale => return Err(Error::Forbidden),
        };
        for ((line, email), outcome) in lines.into_iter().zip(outcomes) {
            match self.settled(&email, outcome).await? {
                Ok(()) => self.report.succeeded += 1,
                Err(message) => self.refuse(refusal(line, email.as_str(), message)),
            }
        }
        Ok(())
    }

    /// What became of them all.
    pub fn report(self) -> BulkReport {
        self.report
    }

    fn created(&self, user: UserId) -> AuditEvent {
        let id = AuditId::new(&*self.services.clock, &*self.once);
        AuditEvent { id, ..self.services.audit_of(self.caller, self.by, Some(user), "user.created") }
    }

    /// Before anything is hashed: may the row come in?
    async fn look(&mut self, row: &NewUser, holder: Holder) -> Result<std::result::Result<(), &'static str>> {
        if self.told_all {
            return Ok(Err(TOLD_ALL));
        }
        match holder {
            Holder::Nobody => {}
            // Perhaps by the run before this one: the store tells.
            Holder::Member if idempotency::may_be_rerun() => {}
            Holder::Member => return Ok(Err(IS_MEMBER)),
            Holder::Elsewhere => return self.taken(&row.email).await.map(Err),
        }
        if row.vouched()
            && let Err(why) = self.by.place.may_make_credentials(&row.email)
        {
            return Ok(Err(why.text()));
        }
        if holder == Holder::Member {
            // That run has counted it.
            return Ok(Ok(()));
        }
        // Each is an invite to an address: it is counted as one, and its owner is told.
        if !self.by.place.managed {
            let (limits, by, now) = (&self.services.limits, Inviting::of(self.by, self.caller), self.services.clock.now());
            // Past its share of the day, nothing is counted for the rows that are left.
            if self.too_many {
                return Ok(Err(TOO_MANY));
            }
            match limits.invite_of(&by, now).await {
                Ok(()) => {}
                Err(Error::RateLimited { .. }) => {
                    self.too_many = true;
                    return Ok(Err(TOO_MANY));
                }
                Err(e) => return Err(e),
            }
            match limits.invite_to(&by, &row.email.digest(), now).await {
                Ok(true) => {}
                Ok(false) | Err(Error::RateLimited { .. }) => return Ok(Err(TOO_MANY)),
                Err(e) => return Err(e),
            }
        }
        let Some(role) = row.role else { return Ok(Ok(())) };
        let may = match self.roles.get(&role) {
            Some(may) => *may,
            None => {
                let may = match self.services.givable_role(self.by, role).await {
                    Ok(_) => true,
                    Err(Error::NotFound | Error::Forbidden) => false,
                    Err(e) => return Err(e),
                };
                *self.roles.entry(role).or_insert(may)
            }
        };
        Ok(if may { Ok(()) } else { Err(NO_ROLE) })
    }

    async fn taken(&mut self, email: &Email) -> Result<&'static str> {
        // Of its own domains a tenant may know.
        if self.by.place.has_proved(email) {
            return Ok(TAKEN);
        }
        if self.services.reveal(self.caller, self.by).await? {
            return Ok(TAKEN);
        }
        self.told_all = true;
        Ok(TOLD_ALL)
    }

    async fn settled(&mut self, email: &Email, outcome: RowOutcome) -> Result<std::result::Result<(), &'static str>> {
        Ok(match outcome {
            RowOutcome::Created => Ok(()),
            RowOutcome::IsMember => Err(IS_MEMBER),
            RowOutcome::NoRole | RowOutcome::Unfit => Err(NO_ROLE),
            RowOutcome::NotManaged => Err(Denied::NotManaged.text()),
            RowOutcome::GiverUnproved => Err(Denied::GiverUnproved.text()),
            RowOutcome::EmailTaken => Err(self.taken(email).await?),
        })
    }
}

const IS_MEMBER: &str = "a member of the tenant has this address";
const TAKEN: &str = "another account has this address";
const TOO_MANY: &str = "too many accounts for people elsewhere, or mails to this address, were asked for: try again later";
const NO_ROLE: &str = "role_id is no role that you may give";
const TOLD_ALL: &str = "not looked at: too many addresses of today's requests belong to accounts elsewhere";

fn refusal(line: u64, email: &str, message: &str) -> Refusal {
    Refusal { line, email: Some(email.to_owned()), message: message.to_owned() }
}

impl Upload<'_> {
    /// Takes the next bytes of the file, and waits until what they complete is written.
    ///
    /// # Errors
    /// `Validation` if the first line of a CSV names no `email`; the store or the pool does not answer.
    pub async fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut raws = Vec::new();
        self.splitter.feed(bytes, &mut |raw| raws.push(raw));
        self.read(raws).await
    }

    /// There is no more: what became of the rows.
    ///
    /// # Errors
    /// As [`Upload::feed`].
    pub async fn finish(mut self) -> Result<BulkReport> {
        let mut raws = Vec::new();
        self.splitter.finish(&mut |raw| raws.push(raw));
        self.read(raws).await?;
        self.flush().await?;
        Ok(self.bulk.report())
    }

    async fn read(&mut self, raws: Vec<Raw>) -> Result<()> {
        for raw in raws {
            match self.rows.read(&raw).map_err(|e| Error::field("body", e.to_string()))? {
                None => {}
                Some(Ok(user)) => self.waiting.push((raw.line, user)),
                Some(Err(refusal)) => self.bulk.refuse(refusal),
            }
            if self.waiting.len() >= BATCH {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.bulk.take(std::mem::take(&mut self.waiting)).await
    }
}
