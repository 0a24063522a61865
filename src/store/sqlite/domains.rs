//! The domains of a tenant, in its row; and which tenant has proved which domain.

use super::{
    SqliteStore, authority,
    command::Outcome,
    ending,
    rows::{int, json, stamp},
    tenants,
};
use crate::{
    domain::{
        authority::{Permitted, Place},
        context::Ctx,
        ids::TenantId,
        mail_domain::{DomainName, DomainStatus, TenantDomain, proved},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::{Result, domains::*},
};
use async_trait::async_trait;
use std::collections::BTreeSet;

impl Outcome for Permitted<SetDomainsOutcome> {
    fn recorded(&self) -> bool {
        matches!(self, Ok(SetDomainsOutcome::Done))
    }
}

impl Outcome for Option<TenantDomain> {}

#[async_trait]
impl DomainStore for SqliteStore {
    async fn set_domains(&self, ctx: &Ctx, cmd: SetDomains) -> Result<Permitted<SetDomainsOutcome>> {
        self.command(ctx, move |c, now| set(c, now, &cmd)).await
    }
    async fn note_look(&self, ctx: &Ctx, cmd: NoteLook) -> Result<Option<TenantDomain>> {
        self.command(ctx, move |c, now| note_look(c, now, &cmd)).await
    }
    async fn domain_holder(&self, name: &DomainName) -> Result<Option<TenantId>> {
        self.get(|c| holder(c, name))
    }
    async fn proved_domains(&self, after: Option<&DomainName>, limit: u32) -> Result<Vec<(DomainName, TenantId)>> {
        let after = after.map_or("", DomainName::as_str);
        self.get(|c| {
            c.prepare_cached("SELECT domain, tenant_id FROM proved_domains WHERE domain > ?1 ORDER BY domain LIMIT ?2")?
                .query_map(params![after, limit], |row| Ok((DomainName::from_stored(row.get(0)?), TenantId::from_bytes(row.get(1)?))))?
                .collect()
        })
    }
}

fn note_look(c: &Connection, now: Timestamp, cmd: &NoteLook) -> rusqlite::Result<Option<TenantDomain>> {
    let Some(tenant) = tenants::live(c, cmd.tenant_id)? else { return Ok(None) };
    let Some(before) = tenant.domains.iter().find(|d| d.id == cmd.domain_id).cloned() else { return Ok(None) };
    let after = before.clone().after(cmd.found, now);
    if after != before {
        let replaced = tenant.domains.iter().map(|d| if d.id == after.id { after.clone() } else { d.clone() });
        put(c, now, &tenant, &replaced.collect::<Vec<_>>())?;
    }
    if before.status == DomainStatus::Proved && after.status != DomainStatus::Proved {
        release(c, tenant.id, &before.name)?;
        ending::audit(c, &cmd.lost)?;
    }
    Ok(Some(after))
}

fn release(c: &Connection, tenant: TenantId, name: &DomainName) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM proved_domains WHERE domain = ?1 AND tenant_id = ?2")?
        .execute(params![name.as_str(), tenant.as_bytes()])
        .map(drop)
}

/// A deleted tenant's place, without the domains that are another's by now.
pub(super) fn place_at_the_end(c: &Connection, tenant: &Tenant) -> rusqlite::Result<Place> {
    let mut place = Place::of(tenant);
    let mut still = Vec::new();
    for name in std::mem::take(&mut place.domains) {
        if holder(c, &name)?.is_none_or(|other| other == tenant.id) {
            still.push(name);
        }
    }
    Ok(Place { domains: still, ..place })
}

fn holder(c: &Connection, name: &DomainName) -> rusqlite::Result<Option<TenantId>> {
    c.prepare_cached("SELECT tenant_id FROM proved_domains WHERE domain = ?1")?
        .query_row([name.as_str()], |row| row.get(0).map(TenantId::from_bytes))
        .optional()
}

fn put(c: &Connection, now: Timestamp, tenant: &Tenant, domains: &[TenantDomain]) -> rusqlite::Result<()> {
    c.prepare_cached("UPDATE tenants SET domains = ?2, version = version + 1, updated_at = ?3 WHERE id = ?1 AND version = ?4")?
        .execute(params![tenant.id.as_bytes(), json(&domains)?, stamp(now), int(tenant.version)])
        .map(drop)
}

fn set(c: &Connection, now: Timestamp, cmd: &SetDomains) -> rusqlite::Result<Permitted<SetDomainsOutcome>> {
    let fits = |t: &Tenant| t.kind == TenantKind::Organization && t.version == cmd.expect_version;
    let Some(tenant) = tenants::live(c, cmd.tenant_id)?.filter(fits) else { return Ok(Ok(SetDomainsOutcome::Stale)) };
    if let Err(why) = authority::permitted(c, now, cmd.by, Permission::TenantWrite)? {
        return Ok(Err(why));
    }
    let before: BTreeSet<&DomainName> = tenant.proved_domains().collect();
    let after: BTreeSet<&DomainName> = proved(&cmd.domains).collect();
    let (mut free, mut loses) = (Vec::new(), Vec::new());
    for name in after.difference(&before) {
        let other = match holder(c, name)?.filter(|other| *other != cmd.tenant_id) {
            // (An older version, which doesn't know this table, may have deleted a tenant and left its domains here.)
            Some(other) => tenants::live(c, other)?,
            None => None,
        };
        match (other, &cmd.displaces) {
            (None, _) => {}
            (Some(other), Some(displaced)) if displaced.tenant_id == other.id && displaced.name == **name => loses.push((other, displaced)),
            (Some(other), _) => return Ok(Ok(SetDomainsOutcome::Held { name: (*name).clone(), by: other.id })),
        }
        free.push(*name);
    }
    for (other, displaced) in loses {
        let lost = |d: TenantDomain| if d.name == displaced.name { d.lost() } else { d };
        put(c, now, &other, &other.domains.iter().cloned().map(lost).collect::<Vec<_>>())?;
        ending::audit(c, &displaced.audit)?;
    }
    for name in free {
        c.prepare_cached(
            "INSERT INTO proved_domains (domain, tenant_id) VALUES (?1, ?2) ON CONFLICT (domain) DO UPDATE SET tenant_id = ?2",
        )?
        .execute(params![name.as_str(), cmd.tenant_id.as_bytes()])?;
    }
    for name in before.difference(&after) {
        release(c, cmd.tenant_id, name)?;
    }
    put(c, now, &tenant, &cmd.domains)?;
    ending::audit(c, &cmd.audit)?;
    Ok(Ok(SetDomainsOutcome::Done))
}
