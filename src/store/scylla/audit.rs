//! Audit events: by tenant and day, in the order of their ids. `chain` links them.
//!
//! An event lies in two entries, what happened and by whom, and to whom: a purge of the one rewrites the first, a purge of the
//! other the second, so that two at once don't undo each other. Its place in the chain is an entry of another list, for the
//! same reason. Lists lead from a person to what they did and what was done to them, and to what waits for its link.

mod body;

#[cfg(test)]
mod tests;

pub(super) use body::Linked;

use super::{
    change::Entry,
    cql::Cql,
    effects::{Effect, number, ordered},
    engine::Engine,
    tx::{Plan, Planned, Tx, json, parse},
    unit::{Bytes, Family, List, Unit},
};
use crate::{
    domain::{
        audit::{ActorKind, AuditEntry, AuditEvent},
        context::Ctx,
        ids::{AuditId, TenantId, UserId},
        time::Timestamp,
    },
    store::{Result, audit::Shown},
};
use async_trait::async_trait;
use body::{By, To, assemble};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
/// Entries that are read at once.
const PAGE: u32 = 500;
/// Events that are read or erased at once.
const AT_ONCE: usize = 16;
/// Above every key of a list.
pub(super) const END: &[u8] = &[0xff; 48];
/// What follows an event's id in the keys of its two entries.
const BY: u8 = 0;
const TO: u8 = 1;

/// Names an event: its tenant, its day, itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    /// Days since 1970.
    pub(super) day: i64,
    pub(super) id: AuditId,
}

impl Place {
    fn of(event: &AuditEntry) -> Self {
        Self { tenant: event.tenant_id, day: day_of(event.at), id: event.id }
    }
    pub(super) fn bucket(&self) -> Bytes {
        bucket(self.tenant, self.day)
    }
    /// Sorted by time.
    pub(super) fn key(&self) -> Bytes {
        Bytes::join(&[&ordered(self.day), self.tenant.as_bytes(), self.id.as_bytes()])
    }
    fn from_key(key: &[u8]) -> Option<Self> {
        let (tenant, id) = key.get(8..40)?.split_at_checked(16)?;
        Some(Self {
            tenant: TenantId::from_bytes(tenant.try_into().ok()?),
            day: number(key)?,
            id: AuditId::from_bytes(id.try_into().ok()?),
        })
    }
}

/// Days since 1970.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY)
}
/// The bucket of a tenant's day.
pub(super) fn bucket(tenant: TenantId, day: i64) -> Bytes {
    Bytes::join(&[tenant.as_bytes(), &ordered(day)])
}
/// Where the days of a tenant are noted, in [`List::Buckets`].
pub(super) fn days(tenant: TenantId) -> Bytes {
    Bytes::join(&[b"audit/", tenant.as_bytes()])
}

fn entry(list: List, bucket: Bytes, key: Bytes, body: String) -> Effect {
    Effect::Put { list, bucket, key, body, ttl: 0, noted: false }
}

/// The entry that says that an event waits for its link.
pub(super) fn waiting(place: &Place, at: Timestamp) -> (Bytes, Bytes) {
    let key = Bytes::join(&[place.tenant.as_bytes(), place.id.as_bytes(), &ordered(place.day)]);
    (Bytes::from(&ordered(at.millis().div_euclid(MINUTE))), key)
}
/// The reverse of the key of [`waiting`].
pub(super) fn place_of_waiting(key: &[u8]) -> Option<Place> {
    let (tenant, id) = key.get(..32)?.split_at_checked(16)?;
    Some(Place {
        tenant: TenantId::from_bytes(tenant.try_into().ok()?),
        day: number(key.get(32..)?)?,
        id: AuditId::from_bytes(id.try_into().ok()?),
    })
}

/// What writes an event.
pub(super) fn put(event: &AuditEvent, salts: [[u8; 16]; 3]) -> Result<Vec<Effect>> {
    let e = AuditEntry::new(event, salts);
    let mut effects = as_it_is(&e)?;
    effects.push(note_day(e.tenant_id, Place::of(&e).day));
    Ok(effects)
}

/// Notes a day of a tenant on which something happened.
pub(super) fn note_day(tenant: TenantId, day: i64) -> Effect {
    entry(List::Buckets, days(tenant), Bytes::from(&ordered(day)), String::new())
}

/// What writes an event as it is, but for the note of its day, and its place if it has one.
pub(super) fn as_it_is(e: &AuditEntry) -> Result<Vec<Effect>> {
    let place = Place::of(e);
    let [by, to] = parts(&place);
    let mut effects =
        vec![entry(List::Audit, place.bucket(), by, json(&By::of(e))?), entry(List::Audit, place.bucket(), to, json(&To::of(e))?)];
    if e.seq.is_none() {
        let (bucket, key) = waiting(&place, e.at);
        effects.push(Effect::Put { list: List::AuditWaiting, bucket, key, body: String::new(), ttl: 0, noted: true });
    }
    // An API key is nobody who could ask for what is kept about them.
    let doer = e.actor_id.filter(|_| e.actor == ActorKind::User).map(UserId::from_bytes);
    let about = [doer, e.user_id.filter(|u| Some(*u) != doer)];
    effects.extend(about.into_iter().flatten().map(|user| entry(List::AuditAbout, user.as_bytes().into(), place.key(), String::new())));
    Ok(effects)
}

/// The place of an event in the chain.
pub(super) fn put_place(e: &AuditEntry, seq: u64, link: [u8; 32]) -> Result<Effect> {
    let place = Place::of(e);
    Ok(entry(List::AuditPlaces, place.bucket(), e.id.as_bytes().into(), json(&Linked::of(e, seq, link))?))
}

/// One event.
pub(super) async fn one(cql: &Cql, place: &Place) -> Result<Option<AuditEntry>> {
    let (bucket, id) = (place.bucket(), place.id.as_bytes());
    let end = [id.as_slice(), &[0xff]].concat();
    let (parts, linked) =
        tokio::join!(cql.entries(List::Audit, &bucket.0, id, &end, 2, false), cql.entry(List::AuditPlaces, &bucket.0, id),);
    let linked: Option<Linked> = linked?.map(|body| parse(&body)).transpose()?;
    let parts = parts?;
    let part = |which: u8| parts.iter().find(|(key, _)| key.0.last() == Some(&which)).map(|(_, body)| body);
    assemble(place, [part(BY), part(TO)], linked.as_ref())
}

/// The keys of an event's two entries.
pub(super) fn parts(place: &Place) -> [Bytes; 2] {
    [BY, TO].map(|part| Bytes::join(&[place.id.as_bytes(), &[part]]))
}

/// What somebody did, and what was done to him: the latest, newest first.
pub(super) async fn about(cql: &Cql, user: UserId, limit: usize) -> Result<Vec<AuditEntry>> {
    let (mut below, mut places) = (END.to_vec(), Vec::new());
    while places.len() < limit {
        let page = cql.entries(List::AuditAbout, user.as_bytes(), &[], &below, PAGE, true).await?;
        places.extend(page.iter().filter_map(|(key, _)| Place::from_key(&key.0)));
        match page.last() {
            Some((last, _)) if page.len() == PAGE as usize => below.clone_from(&last.0),
            _ => break,
        }
    }
    places.truncate(limit);
    let found = stream::iter(places).map(async |place| one(cql, &place).await).buffer_unordered(4 * AT_ONCE);
    let mut all: Vec<AuditEntry> = found.try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    all.retain(|e| e.user_id == Some(user) || e.actor_id.as_ref() == Some(user.as_bytes()));
    all.sort_unstable_by_key(|e| std::cmp::Reverse(e.id));
    Ok(all)
}

/// Events of one day, newest first, before `below` (of an id, or above all).
async fn of_day(cql: &Cql, tenant: TenantId, day: i64, below: &[u8], limit: usize) -> Result<Vec<Shown>> {
    let (bucket, mut below, mut out) = (bucket(tenant, day), below.to_vec(), Vec::new());
    while out.len() < limit {
        let wanted = u32::try_from((limit - out.len()) * 2 + 1).unwrap_or(PAGE).min(PAGE);
        let entries = cql.entries(List::Audit, &bucket.0, &[], &below, wanted, true).await?;
        // What the page cuts in two comes with the next one.
        let last = entries.last().map(|(key, _)| key.0.clone()).filter(|_| entries.len() == wanted as usize);
        let Some((lowest, highest)) = entries.last().zip(entries.first()).map(|(l, h)| (l.0.0[..16].to_vec(), h.0.0[..16].to_vec())) else {
            break;
        };
        let end = [highest.as_slice(), &[0]].concat();
        let places = cql.entries(List::AuditPlaces, &bucket.0, &lowest, &end, PAGE + 1, false).await?;
        let places: BTreeMap<Bytes, String> = places.into_iter().collect();
        let mut parts: BTreeMap<[u8; 16], [Option<&String>; 2]> = BTreeMap::new();
        for (key, body) in &entries {
            if let (Ok(id), Some(part @ (&BY | &TO))) = (key.0[..16].try_into(), key.0.get(16)) {
                parts.entry(id).or_default()[usize::from(*part)] = Some(body);
            }
        }
        if last.as_ref().is_some_and(|key| key.last() != Some(&BY)) {
            parts.remove(&lowest[..]);
            below = [lowest.as_slice(), &[0xff]].concat();
        } else {
            below = lowest;
        }
        for (id, parts) in parts.into_iter().rev() {
            let linked: Option<Linked> = places.get(&Bytes::from(&id)).map(|body| parse(body)).transpose()?;
            let place = Place { tenant, day, id: AuditId::from_bytes(id) };
            if let Some(entry) = assemble(&place, parts, linked.as_ref())? {
                out.push((entry, linked.map(|l| l.link)));
            }
        }
        if last.is_none() {
            break;
        }
    }
    out.truncate(limit);
    Ok(out)
}

/// The days of a tenant on which something happened, latest first, up to and with `to`.
pub(super) async fn days_of(cql: &Cql, tenant: TenantId, to: i64) -> Result<Vec<i64>> {
    let (bucket, mut below, mut out) = (days(tenant), ordered(to.saturating_add(1)).to_vec(), Vec::new());
    loop {
        let page = cql.entries(List::Buckets, &bucket.0, &[], &below, PAGE, true).await?;
        out.extend(page.iter().filter_map(|(key, _)| number(&key.0)));
        match page.last() {
            Some((last, _)) if page.len() == PAGE as usize => below.clone_from(&last.0),
            _ => return Ok(out),
        }
    }
}

/// See [`crate::store::audit::AuditStore::audit_events`].
pub(super) async fn list(cql: &Cql, tenant: TenantId, after: Option<AuditId>, limit: u32) -> Result<Vec<Shown>> {
    let below = after.map_or(END.to_vec(), |id| id.as_bytes().to_vec());
    // Ids tell the time too, give or take the clocks of two nodes.
    let newest = after.map_or(i64::MAX / DAY, |id| {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&id.as_bytes()[..6]);
        i64::from_be_bytes(millis).div_euclid(DAY) + 1
    });
    let mut out: Vec<Shown> = Vec::new();
    for day in days_of(cql, tenant, newest).await? {
        out.extend(of_day(cql, tenant, day, &below, limit as usize - out.len()).await?);
        if out.len() >= limit as usize {
            break;
        }
    }
    Ok(out)
}

/// Outcomes of commands that belong to no unit.
pub(super) struct Tell(pub(super) Vec<AuditEvent>);

#[async_trait]
impl Plan for Tell {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        tx.audit(&self.0)
    }
}

impl Engine {
    pub(super) async fn write_audit(&self, ctx: &Ctx, events: Vec<AuditEvent>) -> Result<()> {
        let home = Unit { family: Family::Commands, key: ctx.command.as_bytes().into() };
        self.command(ctx, home, Tell(events)).await
    }

    /// Erases what all events hold of a user, some hundred at a time, and in the end what leads to them.
    pub(super) async fn erase_from_audit(&self, user: UserId) -> Result<()> {
        let mut from = Vec::new();
        loop {
            let page = self.cql.timed(List::AuditAbout, user.as_bytes(), &from, END, PAGE).await?;
            let (whole, last) = (page.len() == PAGE as usize, page.last().map(|entry| entry.key.clone()));
            let erasing = stream::iter(page).map(async |entry| self.erase_one(user, &entry).await);
            erasing.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
            match last {
                Some(last) if whole => from = [last.0.as_slice(), &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    async fn erase_one(&self, user: UserId, entry: &Entry) -> Result<()> {
        if let Some(place) = Place::from_key(&entry.key.0)
            && let Some(mut e) = one(&self.cql, &place).await?
        {
            let before = e.clone();
            e.erase(user);
            let [by, to] = parts(&place);
            if e.actor_seal != before.actor_seal {
                self.rewrite(&place, &by, &json(&By::of(&e))?).await?;
            }
            if e.subject_seal != before.subject_seal {
                self.rewrite(&place, &to, &json(&To::of(&e))?).await?;
            }
        }
        self.cql.del(List::AuditAbout, user.as_bytes(), &entry.key.0, entry.at).await
    }

    /// Writes a part of an event anew, after what is there: whoever wrote that may have a clock that is ahead.
    async fn rewrite(&self, place: &Place, part: &Bytes, body: &str) -> Result<()> {
        let bucket = place.bucket();
        let there = self.cql.timed_entry(List::Audit, &bucket.0, &part.0).await?;
        let at = there.map_or(0, |(_, at)| at + 1).max(self.micros());
        self.cql.put(List::Audit, &bucket.0, &part.0, body, 0, at).await
    }
}
