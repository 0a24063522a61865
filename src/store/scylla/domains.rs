//! The domains of a tenant, in its row; and which tenant has proved which domain: a claim, as of an address.

use super::{
    ScyllaStore,
    accounts::{HOLDER, ONE},
    authority,
    cql::Cql,
    effects::Effect,
    member_lists::END,
    policy::{live, put_tenant},
    tenants::TENANT,
    tx::{Outcome, Plan, Planned, Tx, parse},
    unit::{Bytes, List, Name, Unit, name},
};
use crate::{
    domain::{
        authority::{Permitted, Place},
        context::Ctx,
        ids::TenantId,
        mail_domain::{DomainName, DomainStatus, TenantDomain, proved},
        permission::Permission,
        tenant::{Tenant, TenantKind},
    },
    store::{Result, domains::*},
};
use async_trait::async_trait;
use std::collections::BTreeSet;

/// Buckets of the list of proved domains.
const SHARDS: u8 = 16;

impl Outcome for Permitted<SetDomainsOutcome> {
    fn recorded(&self) -> bool {
        matches!(self, Ok(SetDomainsOutcome::Done))
    }
}

fn shard(name: &DomainName) -> u8 {
    name.as_str().bytes().fold(0, u8::wrapping_add) % SHARDS
}

/// In the list of proved domains.
pub(super) fn put_entry(name: &DomainName, tenant: TenantId) -> Result<Effect> {
    let (bucket, key) = (Bytes::from(&[shard(name)]), name.as_str().as_bytes().into());
    Ok(Effect::Put { list: List::ProvedDomains, bucket, key, body: super::tx::json(&tenant)?, ttl: 0, noted: false })
}

/// Gives up domains that a tenant has proved.
pub(super) async fn release(tx: &mut Tx<'_>, tenant: &Tenant, names: impl Iterator<Item = DomainName>) -> Planned<()> {
    for domain in names {
        let claim = Unit::domain(&domain);
        if tx.get::<TenantId>(&claim, HOLDER, ONE).await? == Some(tenant.id) {
            tx.del(&claim, HOLDER, ONE);
            tx.effect(Effect::Del {
                list: List::ProvedDomains,
                bucket: Bytes::from(&[shard(&domain)]),
                key: domain.as_str().as_bytes().into(),
                at: 0,
            });
        }
    }
    Ok(())
}

#[async_trait]
impl Plan for SetDomains {
    type Out = Permitted<SetDomainsOutcome>;
    fn first(&self) -> Vec<Name> {
        vec![name(TENANT, ONE)]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<SetDomainsOutcome>> {
        let fits = |t: &Tenant| t.kind == TenantKind::Organization && t.version == self.expect_version;
        let Some(tenant) = live(tx, self.tenant_id).await?.filter(fits) else { return Ok(Ok(SetDomainsOutcome::Stale)) };
        if let Err(why) = authority::permitted(tx, self.by, Permission::TenantWrite).await? {
            return Ok(Err(why));
        }
        let before: BTreeSet<DomainName> = tenant.proved_domains().cloned().collect();
        let after: BTreeSet<DomainName> = proved(&self.domains).cloned().collect();
        for name in after.difference(&before) {
            let claim = Unit::domain(name);
            let holder = tx.get::<TenantId>(&claim, HOLDER, ONE).await?.filter(|other| *other != self.tenant_id);
            let other = match holder {
                Some(other) => live(tx, other).await?,
                None => None,
            };
            match (other, &self.displaces) {
                (None, _) => {}
                (Some(other), Some(displaced)) if displaced.tenant_id == other.id && displaced.name == *name => {
                    let lost = |d: TenantDomain| if d.name == displaced.name { d.lost() } else { d };
                    let domains = other.domains.iter().cloned().map(lost).collect();
                    put_tenant(tx, Tenant { domains, ..other })?;
                    tx.audit(&displaced.audit)?;
                }
                (Some(other), _) => return Ok(Ok(SetDomainsOutcome::Held { name: name.clone(), by: other.id })),
            }
            tx.put(&claim, HOLDER, ONE, &self.tenant_id)?;
            tx.effect(put_entry(name, self.tenant_id)?);
        }
        release(tx, &tenant, before.difference(&after).cloned()).await?;
        put_tenant(tx, Tenant { domains: self.domains.clone(), ..tenant })?;
        tx.audit(&self.audit)?;
        Ok(Ok(SetDomainsOutcome::Done))
    }
}

impl Outcome for Option<TenantDomain> {}

#[async_trait]
impl Plan for NoteLook {
    type Out = Option<TenantDomain>;
    fn first(&self) -> Vec<Name> {
        vec![name(TENANT, ONE)]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Option<TenantDomain>> {
        let Some(tenant) = live(tx, self.tenant_id).await? else { return Ok(None) };
        let Some(before) = tenant.domains.iter().find(|d| d.id == self.domain_id).cloned() else { return Ok(None) };
        let after = before.clone().after(self.found, tx.now);
        if before.status == DomainStatus::Proved && after.status != DomainStatus::Proved {
            release(tx, &tenant, std::iter::once(before.name.clone())).await?;
            tx.audit(&self.lost)?;
        }
        if after != before {
            let replaced = tenant.domains.iter().map(|d| if d.id == after.id { after.clone() } else { d.clone() });
            let domains = replaced.collect();
            put_tenant(tx, Tenant { domains, ..tenant })?;
        }
        Ok(Some(after))
    }
}

/// A deleted tenant's place, without the domains that are another's by now.
pub(super) async fn place_at_the_end(cql: &Cql, tenant: &Tenant) -> Result<Place> {
    let mut place = Place::of(tenant);
    let mut still = Vec::new();
    for name in std::mem::take(&mut place.domains) {
        let holder = cql.peek::<TenantId>(&Unit::domain(&name), HOLDER, ONE).await?;
        if holder.is_none_or(|other| other == tenant.id) {
            still.push(name);
        }
    }
    Ok(Place { domains: still, ..place })
}

#[async_trait]
impl DomainStore for ScyllaStore {
    async fn set_domains(&self, ctx: &Ctx, cmd: SetDomains) -> Result<Permitted<SetDomainsOutcome>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn note_look(&self, ctx: &Ctx, cmd: NoteLook) -> Result<Option<TenantDomain>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn domain_holder(&self, name: &DomainName) -> Result<Option<TenantId>> {
        self.engine.read(self.engine.cql.peek(&Unit::domain(name), HOLDER, ONE)).await
    }
    async fn proved_domains(&self, after: Option<&DomainName>, limit: u32) -> Result<Vec<(DomainName, TenantId)>> {
        self.engine.read(listed(&self.engine.cql, after, limit)).await
    }
}

async fn listed(cql: &Cql, after: Option<&DomainName>, limit: u32) -> Result<Vec<(DomainName, TenantId)>> {
    let mut found = Vec::new();
    let first = after.map_or(0, shard);
    for bucket in first..SHARDS {
        let from = match after {
            Some(name) if bucket == first => [name.as_str().as_bytes(), &[0]].concat(),
            _ => Vec::new(),
        };
        let left = limit - u32::try_from(found.len()).unwrap_or(limit);
        for (key, body) in cql.entries(List::ProvedDomains, &[bucket], &from, END, left, false).await? {
            let text = String::from_utf8_lossy(&key.0).into_owned();
            found.push((DomainName::from_stored(text), parse(&body)?));
        }
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}
