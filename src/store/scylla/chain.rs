//! The chain of a tenant's audit events. Its end is a unit; a link is an entry of a list, in blocks, written by whoever moved
//! the end past it. So there is one branch, whoever else believes to hold the lease.

use super::{
    ScyllaStore,
    accounts::ONE,
    audit::{self, END, Linked, Place},
    cql::Cql,
    effects::{Effect, Todo},
    engine::Engine,
    leases,
    tx::{Outcome, Plan, Planned, Tx, json, parse},
    unit::{Bytes, Family, List, Name, Unit, name},
};
use crate::{
    domain::{
        audit::{AuditEvent, ChainRow, Head},
        context::Ctx,
        ids::{AuditId, TenantId, UserId},
    },
    store::{
        Result, StoreError,
        audit::{AuditStore, ChainState, Shown},
        commands::Cas,
        leases::Duty,
    },
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(super) const HEAD: &str = "head";
/// Links of one block.
pub(super) const BLOCK: u64 = 1000;
/// Events that one commit links.
const LINKED_AT_ONCE: usize = 50;
/// Entries that are read at once.
const PAGE: u32 = 500;
/// Events that are read at once.
const AT_ONCE: usize = 16;
/// A call that has taken this long gives what it has.
const LONG: Duration = Duration::from_millis(1200);
/// Minutes after which nobody writes to a bucket of those that wait.
const SETTLED: i64 = 10;

/// The end of a chain as it lies in its unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) link: [u8; 32],
    /// What the last commit linked: all before it says so in its own entry.
    pub(super) last: Vec<AuditId>,
}

impl End {
    fn head(&self) -> Head {
        Head { seq: self.seq, link: self.link }
    }
}

/// A link as it lies in its list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) event: AuditId,
    pub(super) day: i64,
    pub(super) link: [u8; 32],
}

pub(super) fn chain_unit(tenant: TenantId) -> Unit {
    Unit { family: Family::Chains, key: tenant.as_bytes().into() }
}
pub(super) fn block(tenant: TenantId, seq: u64) -> Bytes {
    Bytes::join(&[tenant.as_bytes(), &(seq.saturating_sub(1) / BLOCK).to_be_bytes()])
}
/// Where the blocks of a chain are noted, in [`List::Buckets`].
pub(super) fn blocks(tenant: TenantId) -> Bytes {
    Bytes::join(&[b"chain/", tenant.as_bytes()])
}
/// A link in its list.
pub(super) fn put_link(tenant: TenantId, seq: u64, link: &Link) -> Result<Effect> {
    let (bucket, key) = (block(tenant, seq), Bytes::from(&seq.to_be_bytes()));
    Ok(Effect::Put { list: List::AuditChain, bucket, key, body: json(link)?, ttl: 0, noted: false })
}
/// Notes the block of a place.
pub(super) fn note_block(tenant: TenantId, seq: u64) -> Effect {
    let key = Bytes::from(&block(tenant, seq).0[16..]);
    Effect::Put { list: List::Buckets, bucket: blocks(tenant), key, body: String::new(), ttl: 0, noted: false }
}
/// Notes that a tenant has a chain.
pub(super) fn note_tenant(tenant: TenantId) -> Effect {
    let (bucket, key) = (tenants_bucket(tenant), tenant.as_bytes().into());
    Effect::Put { list: List::AuditTenants, bucket, key, body: String::new(), ttl: 0, noted: true }
}
/// Tenants that have a chain lie by the time of their making, some hours in a bucket.
pub(super) fn tenants_bucket(tenant: TenantId) -> Bytes {
    Bytes::from(&tenant.as_bytes()[..3])
}

impl Outcome for Option<u64> {}

/// Links events of one tenant, if the fence is still the lease's: `None` if not.
struct LinkUp {
    fence: u64,
    tenant: TenantId,
    /// By id; with the entry that says that it waits.
    events: Vec<Waiting>,
}

#[async_trait]
impl Plan for LinkUp {
    type Out = Option<u64>;
    fn first(&self) -> Vec<Name> {
        vec![name(HEAD, ONE)]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Option<u64>> {
        let unit = chain_unit(self.tenant);
        // The end comes first: what it was before is written out by the time this commits.
        let end: Option<End> = tx.get(&unit, HEAD, ONE).await?;
        if !leases::holds(tx.cql(), Duty::Audit, self.fence).await? {
            return Ok(None);
        }
        let first = end.is_none();
        let mut end = end.unwrap_or(End { seq: 0, link: Head::EMPTY.link, last: Vec::new() });
        let (before, mut last, mut effects) = (end.head(), Vec::new(), Vec::new());
        for Waiting { place, bucket, key, at } in &self.events {
            // Written a moment later than what leads to it: it waits for the next call.
            let Some(event) = audit::one(tx.cql(), place).await? else { continue };
            if event.seq.is_none() && !end.last.contains(&event.id) {
                (end.seq, end.link) = (end.seq + 1, event.link(end.seq + 1, &end.link));
                last.push(event.id);
                let link = Link { event: event.id, day: place.day, link: end.link };
                effects.push(audit::put_place(&event, end.seq, end.link)?);
                effects.push(put_link(self.tenant, end.seq, &link)?);
                if end.seq % BLOCK == 1 {
                    effects.push(note_block(self.tenant, end.seq));
                }
            }
            effects.push(Effect::Del { list: List::AuditWaiting, bucket: bucket.clone(), key: key.clone(), at: *at });
        }
        if effects.is_empty() {
            return Ok(Some(0));
        }
        if first {
            effects.push(note_tenant(self.tenant));
        }
        // Also if there was nothing new: what waits in vain is taken away behind this commit.
        if !last.is_empty() {
            end.last = last;
        }
        tx.put(&unit, HEAD, ONE, &end)?;
        effects.into_iter().for_each(|effect| tx.effect(effect));
        Ok(Some(end.seq - before.seq))
    }
}

/// An event that waits for its link, and the entry that says so.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) bucket: Bytes,
    pub(super) key: Bytes,
    pub(super) at: i64,
}

impl Engine {
    /// Events that wait for their link, some of those of each minute; of one tenant, if it is named.
    pub(super) async fn waiting(&self, tenant: Option<TenantId>, limit: usize) -> Result<Vec<Waiting>> {
        let now = self.now().millis().div_euclid(60_000);
        let (from, to) = match tenant {
            Some(t) => (t.as_bytes().to_vec(), [t.as_bytes().as_slice(), END].concat()),
            None => (Vec::new(), END.to_vec()),
        };
        let mut out = Vec::new();
        for bucket in self.buckets(List::AuditWaiting, END).await? {
            let mut next = from.clone();
            loop {
                let page = self.cql.timed(List::AuditWaiting, &bucket.key.0, &next, &to, PAGE).await?;
                out.extend(page.iter().filter_map(|entry| {
                    let place = audit::place_of_waiting(&entry.key.0)?;
                    Some(Waiting { place, bucket: bucket.key.clone(), key: entry.key.clone(), at: entry.at })
                }));
                let old = super::effects::number(&bucket.key.0).is_some_and(|minute| minute < now - SETTLED);
                if tenant.is_none() && page.is_empty() && next.is_empty() && old {
                    self.forget_bucket(List::AuditWaiting, &bucket).await?;
                }
                match page.last() {
                    _ if out.len() >= limit => return Ok(out),
                    Some(last) if page.len() == PAGE as usize => next = [last.key.0.as_slice(), &[0]].concat(),
                    _ => break,
                }
            }
        }
        Ok(out)
    }

    async fn link_audit(&self, fence: u64, limit: u32) -> Result<Cas<u64>> {
        if !leases::holds(&self.cql, Duty::Audit, fence).await? {
            return Ok(Cas::Stale);
        }
        let (begun, mut linked) = (Instant::now(), 0);
        let mut by_tenant: BTreeMap<TenantId, Vec<_>> = BTreeMap::new();
        let mut waiting = self.waiting(None, limit as usize).await?;
        waiting.truncate(limit as usize);
        for event in waiting {
            by_tenant.entry(event.place.tenant).or_default().push(event);
        }
        for (tenant, mut events) in by_tenant {
            events.sort_unstable_by_key(|event| event.place.id);
            for some in events.chunks(LINKED_AT_ONCE) {
                let plan = LinkUp { fence, tenant, events: some.to_vec() };
                match self.change(self.now(), chain_unit(tenant), plan).await? {
                    Some(n) => linked += n,
                    None => return Ok(Cas::Stale),
                }
                if begun.elapsed() > LONG {
                    return Ok(Cas::Done(linked));
                }
            }
        }
        Ok(Cas::Done(linked))
    }

    /// The end of a chain, with what moved it there written out.
    pub(super) async fn end_of(&self, tenant: TenantId) -> Result<Option<End>> {
        let unit = chain_unit(tenant);
        let end: Option<End> = self.cql.peek(&unit, HEAD, ONE).await?;
        // The head names who wrote last, and that may be a fence.
        if let (_, Some(todo)) = self.cql.todo(&unit, false).await? {
            self.redo(parse::<Todo>(&todo)?.tx).await?;
        }
        Ok(end)
    }

    async fn chain_state(&self, tenant: TenantId) -> Result<ChainState> {
        let head = self.end_of(tenant).await?.map_or(Head::EMPTY, |end| end.head());
        let unlinked = self.waiting(Some(tenant), usize::MAX).await?;
        let unlinked = stream::iter(unlinked)
            .map(async |event| Ok::<_, StoreError>(audit::one(&self.cql, &event.place).await?.is_some_and(|e| e.seq.is_none())))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |n, waits| Ok(n + u64::from(waits)))
            .await?;
        let last = match self.cql.entries(List::Buckets, &blocks(tenant).0, &[], END, 1, true).await?.first() {
            Some((number, _)) => {
                let bucket = Bytes::join(&[tenant.as_bytes(), &number.0]);
                let last = self.cql.entries(List::AuditChain, &bucket.0, &[], END, 1, true).await?;
                last.first().and_then(|(key, _)| key.0.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes)
            }
            None => 0,
        };
        Ok(ChainState { head, last, unlinked, stray: self.stray(tenant).await? })
    }

    /// An event that claims a place where the chain has another one, or none.
    async fn stray(&self, tenant: TenantId) -> Result<Option<AuditId>> {
        for day in audit::days_of(&self.cql, tenant, i64::MAX / 86_400_000).await? {
            let (bucket, mut from) = (audit::bucket(tenant, day), Vec::new());
            loop {
                let page = self.cql.entries(List::AuditPlaces, &bucket.0, &from, END, PAGE, false).await?;
                for (key, body) in &page {
                    let Ok(id) = key.0.as_slice().try_into().map(AuditId::from_bytes) else { continue };
                    let Linked { seq, .. } = parse(body)?;
                    let link = self.cql.entry(List::AuditChain, &block(tenant, seq).0, &seq.to_be_bytes()).await?;
                    let link: Option<Link> = link.map(|body| parse(&body)).transpose()?;
                    if link.is_none_or(|l| l.event != id) {
                        return Ok(Some(id));
                    }
                }
                match page.last() {
                    Some((last, _)) if page.len() == PAGE as usize => from = [last.0.as_slice(), &[0]].concat(),
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// Tenants that have a chain, or events that wait for one; the first after `after`.
    async fn audited_tenant(&self, after: Option<TenantId>) -> Result<Option<TenantId>> {
        // First: what is linked meanwhile is found among those that have a chain.
        let waiting = self.waiting(None, usize::MAX).await?.into_iter().map(|event| event.place.tenant);
        let from = after.map(|t| [t.as_bytes().as_slice(), &[0]].concat()).unwrap_or_default();
        let first = after.map(|t| tenants_bucket(t).0).unwrap_or_default();
        let mut next = None;
        let (all, mut low) = (List::AuditTenants.table().as_bytes(), first);
        while let Some((bucket, _)) = self.cql.entries(List::Buckets, all, &low, END, 1, false).await?.into_iter().next() {
            let found = self.cql.entries(List::AuditTenants, &bucket.0, &from, END, 1, false).await?;
            if let Some((id, _)) = found.first() {
                next = id.0.as_slice().try_into().ok().map(TenantId::from_bytes);
                break;
            }
            low = [bucket.0.as_slice(), &[0]].concat();
        }
        Ok(waiting.filter(|t| after.is_none_or(|after| *t > after)).chain(next).min())
    }
}

async fn chain(cql: &Cql, tenant: TenantId, after: u64, limit: u32) -> Result<Vec<ChainRow>> {
    let (mut links, mut next) = (Vec::new(), after + 1);
    while links.len() < limit as usize {
        let bucket = block(tenant, next);
        let wanted = limit - u32::try_from(links.len()).unwrap_or(0);
        let found = cql.entries(List::AuditChain, &bucket.0, &next.to_be_bytes(), END, wanted.min(PAGE), false).await?;
        if found.is_empty() {
            // What stands behind a hole is found by its block.
            let later = Bytes::from(&(next.saturating_sub(1) / BLOCK + 1).to_be_bytes());
            let blocks = cql.entries(List::Buckets, &blocks(tenant).0, &later.0, END, 1, false).await?;
            let number = blocks.first().and_then(|(key, _)| key.0.as_slice().try_into().ok()).map(u64::from_be_bytes);
            match number {
                Some(number) => next = number * BLOCK + 1,
                None => break,
            }
            continue;
        }
        for (key, body) in found {
            let seq = key.0.as_slice().try_into().map(u64::from_be_bytes).unwrap_or(next);
            next = seq + 1;
            links.push((seq, parse::<Link>(&body)?));
        }
    }
    stream::iter(links)
        .map(async |(seq, link)| {
            let entry = audit::one(cql, &Place { tenant, day: link.day, id: link.event }).await?;
            Ok(ChainRow { seq, event_id: link.event, link: link.link, entry })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

#[async_trait]
impl AuditStore for ScyllaStore {
    async fn write_audit(&self, ctx: &Ctx, events: Vec<AuditEvent>) -> Result<()> {
        self.engine.write_audit(ctx, events).await
    }
    async fn audit_events(&self, tenant: TenantId, after: Option<AuditId>, limit: u32) -> Result<Vec<Shown>> {
        self.engine.read(audit::list(&self.engine.cql, tenant, after, limit)).await
    }
    async fn audit_waits(&self) -> Result<bool> {
        Ok(!self.engine.read(self.engine.waiting(None, 1)).await?.is_empty())
    }
    async fn link_audit(&self, fence: u64, limit: u32) -> Result<Cas<u64>> {
        self.engine.link_audit(fence, limit).await
    }
    async fn erase_from_audit(&self, user: UserId) -> Result<()> {
        self.engine.erase_from_audit(user).await
    }
    async fn audited_tenant(&self, after: Option<TenantId>) -> Result<Option<TenantId>> {
        self.engine.audited_tenant(after).await
    }
    async fn chain_state(&self, tenant: TenantId) -> Result<ChainState> {
        self.engine.chain_state(tenant).await
    }
    async fn chain(&self, tenant: TenantId, after: u64, limit: u32) -> Result<Vec<ChainRow>> {
        chain(&self.engine.cql, tenant, after, limit).await
    }
}
