//! How the audit events of a tenant go that was deleted long ago: its chain from its end, so that what is left is whole at each
//! step; then the events, by their days.

use super::{
    accounts::ONE,
    audit::{self, END, Place},
    chain::{End, HEAD, Link, block, blocks, chain_unit, tenants_bucket},
    effects::{Effect, ordered},
    engine::Engine,
    tx::{Plan, Planned, Tx, parse},
    unit::{Bytes, List},
};
use crate::{
    domain::{
        audit::{ActorKind, Head},
        ids::{AuditId, TenantId},
    },
    store::{Result, StoreError},
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};

/// Links that one commit removes.
const LINKS: u64 = 50;
/// Entries that are read at once.
const PAGE: u32 = 500;
/// Events that are removed at once.
const AT_ONCE: usize = 16;

/// Moves the end of a chain back, and removes the links behind it: whether there are more. With the first link the chain is gone.
struct Back(TenantId);

#[async_trait]
impl Plan for Back {
    type Out = bool;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let (tenant, unit) = (self.0, chain_unit(self.0));
        let Some(end) = tx.get::<End>(&unit, HEAD, ONE).await? else { return Ok(false) };
        if end.seq == 0 {
            tx.del(&unit, HEAD, ONE);
            tx.forget(&unit);
            tx.effect(Effect::Del { list: List::AuditTenants, bucket: tenants_bucket(tenant), key: tenant.as_bytes().into(), at: 0 });
            return Ok(false);
        }
        // Within one block.
        let first = (end.seq - 1) / super::chain::BLOCK * super::chain::BLOCK;
        let kept = end.seq.saturating_sub(LINKS).max(first);
        let bucket = block(tenant, end.seq);
        let links = tx.cql().entries(List::AuditChain, &bucket.0, &(kept + 1).to_be_bytes(), END, PAGE, false).await?;
        for (key, body) in links {
            let link: Link = parse(&body)?;
            let place = Place { tenant, day: link.day, id: link.event };
            tx.effect(Effect::Del { list: List::AuditPlaces, bucket: place.bucket(), key: place.id.as_bytes().into(), at: 0 });
            tx.effect(Effect::Del { list: List::AuditChain, bucket: bucket.clone(), key, at: 0 });
        }
        if kept == first {
            tx.effect(Effect::Del { list: List::Buckets, bucket: blocks(tenant), key: Bytes::from(&bucket.0[16..]), at: 0 });
        }
        // A chain that had lost this link was broken before, and stays so.
        let link = match kept {
            0 => None,
            _ => tx.entry(List::AuditChain, &block(tenant, kept).0, &kept.to_be_bytes()).await?,
        };
        let link = link.map(|body| parse::<Link>(&body)).transpose()?.map_or(Head::EMPTY.link, |l| l.link);
        tx.put(&unit, HEAD, ONE, &End { seq: kept, link, last: Vec::new() })?;
        Ok(true)
    }
}

impl Engine {
    /// Removes about `limit` audit events of a tenant; whether all are gone.
    pub(super) async fn remove_audit(&self, tenant: TenantId, limit: usize) -> Result<bool> {
        for _ in 0..limit.div_ceil(LINKS as usize) {
            // What moved the end where it is has to be written out before it is read.
            self.end_of(tenant).await?;
            if !self.change(self.now(), chain_unit(tenant), Back(tenant)).await? {
                return self.remove_events(tenant).await;
            }
        }
        Ok(false)
    }

    /// Events that are in no chain: a page of one day; whether there was none.
    async fn remove_events(&self, tenant: TenantId) -> Result<bool> {
        let Some(day) = audit::days_of(&self.cql, tenant, i64::MAX / 86_400_000).await?.pop() else {
            for waiting in self.waiting(Some(tenant), usize::MAX).await? {
                self.cql.del(List::AuditWaiting, &waiting.bucket.0, &waiting.key.0, waiting.at).await?;
            }
            return Ok(true);
        };
        let bucket = audit::bucket(tenant, day);
        let page = self.cql.entries(List::Audit, &bucket.0, &[], END, PAGE, false).await?;
        let mut ids: Vec<[u8; 16]> = page.iter().filter_map(|(key, _)| key.0.first_chunk().copied()).collect();
        ids.dedup();
        stream::iter(ids)
            .map(async |id| {
                let place = Place { tenant, day, id: AuditId::from_bytes(id) };
                if let Some(event) = audit::one(&self.cql, &place).await? {
                    let doer = event.actor_id.filter(|_| event.actor == ActorKind::User);
                    for user in doer.into_iter().chain(event.user_id.map(|u| *u.as_bytes())) {
                        self.remove(List::AuditAbout, &user, &place.key().0).await?;
                    }
                }
                self.remove(List::AuditPlaces, &bucket.0, &id).await?;
                for key in audit::parts(&place) {
                    self.remove(List::Audit, &bucket.0, &key.0).await?;
                }
                Ok::<_, StoreError>(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        if page.is_empty() {
            self.remove(List::Buckets, &audit::days(tenant).0, &ordered(day)).await?;
        }
        Ok(false)
    }

    /// Removes an entry that nobody writes any more.
    async fn remove(&self, list: List, bucket: &[u8], key: &[u8]) -> Result<()> {
        match self.cql.timed_entry(list, bucket, key).await? {
            Some((_, at)) => self.cql.del(list, bucket, key, at).await,
            None => Ok(()),
        }
    }
}
