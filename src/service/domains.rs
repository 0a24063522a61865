//! The domains of the operator's tenant: entered, proved by a DNS record, looked up again each day.

use super::{
    Services,
    access::Operator,
    api::Caller,
    duty::OnDuty,
    error::{Error, Result},
};
use crate::{
    actors::entity::settled,
    domain::{
        audit::AuditEvent,
        authority::Denied,
        context::{Actor, Ctx},
        ids::{AuditId, CommandId, DomainId, TenantId},
        mail_domain::{DOMAINS_OF_A_TENANT, DomainName, DomainStatus, Found, TenantDomain, record_value},
        tenant::Tenant,
    },
    ephemeral::{Limit, Subject},
    gateway::dns::{NoAnswer, Urgency},
    store::domains::{Displaced, NoteLook, SetDomains, SetDomainsOutcome},
};
use futures_util::{StreamExt, stream};
use std::time::Duration;

/// Look-ups that a tenant asks for.
const VERIFICATIONS: Limit = Limit { name: "domain_verifications", max: 10, window: Duration::from_secs(3600) };
/// … and a person, in all their tenants: tenants are free to make.
const VERIFICATIONS_OF_PERSON: Limit = Limit { name: "domain_verifications_of_person", max: 30, window: Duration::from_secs(3600) };
/// Proved domains that are read at a time, for the daily look.
const PAGE: u32 = 200;
/// Of them looked up at once.
const AT_ONCE: usize = 8;
/// How often a command is tried again that met another change.
const TRIES: u32 = 4;

/// What a look at a record says of a domain of somebody's.
fn found(records: &std::result::Result<Vec<String>, NoAnswer>, domain: &TenantDomain) -> Found {
    match records {
        Ok(records) if records.iter().any(|text| text.trim() == domain.value) => Found::Present,
        Ok(_) => Found::Absent,
        Err(_) => Found::Unknown,
    }
}

impl Services {
    /// The tenant's domains, in the order in which they were entered.
    ///
    /// # Errors
    /// `NotFound` for another tenant.
    pub async fn domains(&self, by: &Operator, tenant: TenantId) -> Result<Vec<TenantDomain>> {
        Ok(self.tenant(by, tenant).await?.domains)
    }

    /// Enters a domain; the record that it names proves it.
    ///
    /// # Errors
    /// `NotFound` for another tenant, `Denied` in a personal one; `Conflict` for one that is entered already, and for too many.
    pub async fn add_domain(&self, caller: &Caller, by: &Operator, tenant: TenantId, name: DomainName) -> Result<TenantDomain> {
        let now = self.clock.now();
        let new = TenantDomain {
            id: DomainId::new(&*self.clock, &*self.rng),
            value: record_value(&self.keyring, tenant, &name),
            name,
            status: DomainStatus::Pending,
            created_at: now,
            verified_at: None,
            checked_at: None,
            absent: None,
            silent: None,
        };
        let add = |mut domains: Vec<TenantDomain>| {
            // By a run of this request that nobody heard of.
            if domains.iter().any(|d| d.id == new.id) {
                return Ok(domains);
            }
            if domains.iter().any(|d| d.name == new.name) {
                return Err(Error::Conflict("the domain is entered already"));
            }
            if domains.len() >= DOMAINS_OF_A_TENANT {
                return Err(Error::Conflict("the tenant has 20 domains, which is the most it may have"));
            }
            domains.push(new.clone());
            Ok(domains)
        };
        self.change_domains(caller, by, tenant, "domain.added", add).await?;
        Ok(new)
    }

    /// Removes a domain; the power over accounts there ends at once.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_domain(&self, caller: &Caller, by: &Operator, tenant: TenantId, id: DomainId) -> Result<()> {
        let remove = |mut domains: Vec<TenantDomain>| {
            let before = domains.len();
            domains.retain(|d| d.id != id);
            if domains.len() < before { Ok(domains) } else { Err(Error::NotFound) }
        };
        self.change_domains(caller, by, tenant, "domain.removed", remove).await
    }

    /// Looks a domain's record up, and takes the domain for the tenant if it is there.
    ///
    /// # Errors
    /// `NotFound`; `RateLimited` past ten times an hour, or thirty by one person in all their tenants; `Conflict` if the record is absent, no DNS server
    /// answers, or another tenant has proved the domain and its record is there too.
    pub async fn verify_domain(&self, caller: &Caller, by: &Operator, tenant: TenantId, id: DomainId) -> Result<TenantDomain> {
        let find = |t: &Tenant| t.domains.iter().find(|d| d.id == id).cloned().ok_or(Error::NotFound);
        let entered = find(&self.tenant(by, tenant).await?)?;
        let now = self.clock.now();
        self.limits.by_subject(&VERIFICATIONS, &Subject::of(&[tenant.as_bytes()]), now).await?;
        if let Some(person) = by.user_id() {
            self.limits.by_subject(&VERIFICATIONS_OF_PERSON, &Subject::of(&[person.as_bytes()]), now).await?;
        }
        let records = self.record_of(tenant, &entered.name, Urgency::Asked).await;
        match found(&records, &entered) {
            Found::Unknown => return Err(Error::Conflict("no DNS server gave an answer: try again later")),
            Found::Absent => {
                self.note_look(tenant, id, Found::Absent).await?;
                return Err(Error::Conflict("the TXT record was not found: publish it as `record` says, and try again"));
            }
            Found::Present => {}
        }
        let mut displaced = None;
        for _ in 0..TRIES {
            let read = self.tenant(by, tenant).await?;
            let before = find(&read)?;
            let after = before.clone().proved(self.clock.now());
            let news = before.status != after.status;
            let audit = news.then(|| self.audit_of(caller, by, None, "domain.proved").about_resource("domain", id.as_bytes()));
            let cmd = SetDomains {
                tenant_id: tenant,
                expect_version: read.version,
                domains: read.domains.into_iter().map(|d| if d.id == id { after.clone() } else { d }).collect(),
                displaces: displaced.take(),
                by: by.by(),
                audit: audit.into_iter().collect(),
            };
            // What it writes depends on what DNS servers said: a rerun of the request is another command.
            let ctx = self.ctx_of_this_run(self.ctx_of(caller, by));
            match settled(|| self.store.set_domains(&ctx, cmd.clone())).await?? {
                SetDomainsOutcome::Done => return find(&self.tenant(by, tenant).await?),
                SetDomainsOutcome::Stale => {}
                SetDomainsOutcome::Held { name, by: holder } => displaced = Some(self.may_lose(name, holder, &records).await?),
            }
        }
        Err(Error::Conflict("the tenant keeps changing: try again"))
    }

    /// Notes what a look found, whatever else changes of the tenant meanwhile.
    async fn note_look(&self, tenant: TenantId, domain: DomainId, found: Found) -> Result<Option<TenantDomain>> {
        let command = CommandId::new(&*self.clock, &*self.rng);
        let ctx = Ctx { command, now: self.clock.now(), actor: Actor::System, network: None, seed: None, request_id: None };
        let ctx = self.ctx_of_this_run(ctx);
        let cmd = NoteLook { tenant_id: tenant, domain_id: domain, found, lost: vec![self.lost(tenant, domain)] };
        let after = settled(|| self.store.note_look(&ctx, cmd.clone())).await?;
        if let Some(lost) = after.as_ref().filter(|d| d.status == DomainStatus::Lost && found != Found::Present) {
            tracing::warn!(%tenant, domain = %lost.name, "a tenant has lost a domain: its record is gone");
        }
        Ok(after)
    }

    async fn record_of(&self, tenant: TenantId, name: &DomainName, urgency: Urgency) -> std::result::Result<Vec<String>, NoAnswer> {
        let records = self.dns.txt(&name.record_name(), urgency).await;
        if let Err(e) = &records {
            tracing::warn!(%tenant, domain = %name, error = %e, "the record of a domain can't be looked up");
        }
        records
    }

    /// Who has a domain that somebody else has the record of, if they may lose it: their own record is absent.
    async fn may_lose(
        &self,
        name: DomainName,
        holder: TenantId,
        records: &std::result::Result<Vec<String>, NoAnswer>,
    ) -> Result<Displaced> {
        let theirs = self.store.tenant(holder).await?.and_then(|t| t.domains.into_iter().find(|d| d.name == name));
        if theirs.as_ref().is_some_and(|domain| found(records, domain) != Found::Absent) {
            return Err(Error::Conflict(
                "another tenant has proved this domain, and its record is there too: remove one of the records, or ask the operator",
            ));
        }
        let audit = theirs.map(|domain| self.lost(holder, domain.id)).into_iter().collect();
        tracing::warn!(tenant = %holder, domain = %name, "a tenant loses a domain: its record is absent, and another tenant's is there");
        Ok(Displaced { name, tenant_id: holder, audit })
    }

    fn lost(&self, tenant: TenantId, domain: DomainId) -> AuditEvent {
        let id = AuditId::new(&*self.clock, &*self.rng);
        AuditEvent::new(id, tenant, "domain.lost", Actor::System, self.clock.now()).about_resource("domain", domain.as_bytes())
    }

    async fn change_domains(
        &self,
        caller: &Caller,
        by: &Operator,
        tenant: TenantId,
        event: &'static str,
        change: impl Fn(Vec<TenantDomain>) -> Result<Vec<TenantDomain>>,
    ) -> Result<()> {
        by.in_tenant(tenant)?;
        if by.is_personal() {
            return Err(Denied::PersonalTenant.into());
        }
        for _ in 0..TRIES {
            let read = self.tenant(by, tenant).await?;
            let before = read.domains.clone();
            let domains = change(read.domains)?;
            let differs = |d: &&TenantDomain| !domains.contains(d) || !before.contains(d);
            let Some(id) = before.iter().chain(&domains).find(differs).map(|d| d.id) else { return Ok(()) };
            let audit = vec![self.audit_of(caller, by, None, event).about_resource("domain", id.as_bytes())];
            let cmd = SetDomains { tenant_id: tenant, expect_version: read.version, domains, displaces: None, by: by.by(), audit };
            let ctx = self.ctx_of(caller, by);
            match settled(|| self.store.set_domains(&ctx, cmd.clone())).await?? {
                SetDomainsOutcome::Done => return Ok(()),
                // Nothing becomes proved by this, so that nobody else can hold it.
                SetDomainsOutcome::Stale | SetDomainsOutcome::Held { .. } => {}
            }
        }
        Err(Error::Conflict("the tenant keeps changing: try again"))
    }

    /// Looks up again the proved domains that were looked up a day ago, for as long as the duty is this process's. Safe to run on several nodes
    /// at once, and to be cut off anywhere. What can't be done about one domain is logged and keeps none of the others.
    ///
    /// # Errors
    /// `Unavailable` if the list of domains can't be read.
    pub async fn check_domains(&self, duty: &OnDuty) -> Result<()> {
        let mut after: Option<DomainName> = None;
        let (mut answered, mut silent) = (false, Vec::new());
        while duty.fence().await?.is_some() {
            let page = self.store.proved_domains(after.as_ref(), PAGE).await?;
            let looked =
                stream::iter(page.iter().cloned()).map(async |(name, tenant)| (tenant, name.clone(), self.look(tenant, &name).await));
            for (tenant, name, result) in looked.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
                match result {
                    Ok(Some((id, Found::Unknown))) => silent.push((tenant, id)),
                    Ok(Some(_)) => answered = true,
                    Ok(None) => {}
                    Err(e) => {
                        metrics::counter!("qeetid_domain_look_failures_total").increment(1);
                        tracing::error!(%tenant, domain = %name, error = %e, "a proved domain could not be looked up again");
                    }
                }
            }
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        // Where nobody answered at all it is this service that can't ask.
        if !answered && !silent.is_empty() {
            tracing::warn!(domains = silent.len(), "no DNS server answered about any proved domain: see QEETID_DNS");
            return Ok(());
        }
        for (tenant, id) in silent {
            if let Err(e) = self.note_look(tenant, id, Found::Unknown).await {
                tracing::error!(%tenant, error = %e, "a look at a proved domain could not be noted");
            }
        }
        Ok(())
    }

    /// A look at a domain, if it is time; what was found is noted, unless that is nothing.
    async fn look(&self, tenant: TenantId, name: &DomainName) -> Result<Option<(DomainId, Found)>> {
        let Some(read) = self.store.tenant(tenant).await?.filter(|t| t.deleted_at.is_none()) else { return Ok(None) };
        let Some(domain) = read.domains.into_iter().find(|d| d.name == *name && d.is_due(self.clock.now())) else { return Ok(None) };
        let found = found(&self.record_of(tenant, name, Urgency::Daily).await, &domain);
        if found != Found::Unknown {
            self.note_look(tenant, domain.id, found).await?;
        }
        Ok(Some((domain.id, found)))
    }
}
