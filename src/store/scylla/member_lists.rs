//! The lists that lead to members: from a tenant by their ids, by what they are searched for, and to the recycle bin; and from a
//! day to those who leave that bin. They follow each account; whoever reads them checks each entry against it.

use super::{
    cql::Cql,
    effects::{Effect, ordered},
    tenants,
    tx::{Planned, Tx},
    unit::{Bytes, List},
};
use crate::{
    domain::{
        ids::{TenantId, UserId},
        tenant::TenantKind,
        time::Timestamp,
        user::{User, UserStatus, name_key},
    },
    store::Result,
};
use futures_util::future::try_join_all;
use std::collections::VecDeque;

/// Buckets of each list, by the last byte of a member's id.
pub(super) const SHARDS: u8 = 16;
const DAY: i64 = 86_400_000;
/// Above every id, and every time with an id.
pub(super) const END: &[u8] = &[0xff; 25];

/// Where a member stands in his tenant's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Bin = 0,
    Active = 1,
    Suspended = 2,
}

impl State {
    pub(super) const ALL: [Self; 3] = [Self::Bin, Self::Active, Self::Suspended];

    pub(super) fn of(user: &User) -> Self {
        match user.status {
            _ if user.deleted_at.is_some() => Self::Bin,
            UserStatus::Active => Self::Active,
            UserStatus::Suspended => Self::Suspended,
        }
    }
}

fn shard_of(user: UserId) -> u8 {
    user.as_bytes()[15] % SHARDS
}
/// A bucket of [`List::Members`].
pub(super) fn bucket(tenant: TenantId, state: State, shard: u8) -> Bytes {
    Bytes::join(&[tenant.as_bytes(), &[state as u8, shard]])
}
fn term_bucket(tenant: TenantId, first: u8, shard: u8) -> Bytes {
    Bytes::join(&[tenant.as_bytes(), &[first, shard]])
}
/// Sorts by the term, then by the id: nothing in a term is below the 0 that ends it.
pub(super) fn term_key(term: &str, user: UserId) -> Bytes {
    Bytes::join(&[term.as_bytes(), &[0], user.as_bytes()])
}
/// A key of the recycle bin.
pub(super) fn bin_key(at: Timestamp, user: UserId) -> Bytes {
    Bytes::join(&[&ordered(at.millis()), user.as_bytes()])
}

/// What a user is searched for.
pub(super) fn terms(user: &User) -> impl Iterator<Item = String> {
    [Some(user.email.as_str().to_owned()), user.display_name.as_deref().map(name_key)].into_iter().flatten()
}

/// An entry of a list, without its body.
type Entry = (List, Bytes, Bytes);

fn entries(user: &User, tenant: TenantId, kind: TenantKind) -> Vec<Entry> {
    let (id, shard) = (user.id, shard_of(user.id));
    let key = user.deleted_at.map_or(id.as_bytes().into(), |at| bin_key(at, id));
    let mut all = vec![(List::Members, bucket(tenant, State::of(user), shard), key)];
    if kind == TenantKind::Organization {
        all.extend(terms(user).filter_map(|term| {
            let first = *term.as_bytes().first()?;
            Some((List::MemberTerms, term_bucket(tenant, first, shard), term_key(&term, id)))
        }));
    }
    all
}

/// When a user leaves the recycle bin.
fn due(user: &User) -> Option<Entry> {
    let at = user.purge_after.filter(|_| user.deleted_at.is_some())?;
    let day = ordered(day_of(at));
    Some((List::PurgesDue, Bytes::join(&[&day, &[shard_of(user.id)]]), bin_key(at, user.id)))
}
/// Buckets of [`List::PurgesDue`] begin with less than this, up to the day of `at`.
pub(super) fn due_until(at: Timestamp) -> [u8; 8] {
    ordered(day_of(at) + 1)
}
/// Days since 1970.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY)
}

fn written((list, bucket, key): Entry) -> Effect {
    Effect::Put { list, bucket, key, body: String::new(), ttl: 0, noted: list == List::PurgesDue }
}
fn put(tx: &mut Tx<'_>, entry: Entry) {
    tx.effect(written(entry));
}
/// Writes all that leads to a user of these tenants.
pub(super) fn all_of(user: &User, tenants: impl IntoIterator<Item = (TenantId, TenantKind)>) -> Vec<Effect> {
    let entries = tenants.into_iter().flat_map(|(tenant, kind)| entries(user, tenant, kind));
    entries.chain(due(user)).map(written).collect()
}
fn del(tx: &mut Tx<'_>, (list, bucket, key): Entry) {
    tx.effect(Effect::Del { list, bucket, key, at: 0 });
}

/// A user belongs to a tenant from now on.
pub(super) fn joined(tx: &mut Tx<'_>, user: &User, tenant: TenantId, kind: TenantKind) {
    entries(user, tenant, kind).into_iter().for_each(|e| put(tx, e));
}
/// He no longer does.
pub(super) fn left(tx: &mut Tx<'_>, user: &User, tenant: TenantId, kind: TenantKind) {
    entries(user, tenant, kind).into_iter().for_each(|e| del(tx, e));
}
/// He doesn't wait in the recycle bin any more.
pub(super) fn no_longer_due(tx: &mut Tx<'_>, user: &User) {
    due(user).into_iter().for_each(|e| del(tx, e));
}

/// The account changes: so do the lists that it is in.
pub(super) async fn follow(tx: &mut Tx<'_>, before: &User, after: &User) -> Planned<()> {
    let what = |u: &User| (u.email.clone(), u.display_name.clone(), u.status, u.deleted_at, u.purge_after);
    if what(before) == what(after) {
        return Ok(());
    }
    let (mut old, mut new): (Vec<Entry>, Vec<Entry>) = (due(before).into_iter().collect(), due(after).into_iter().collect());
    for (tenant, m) in tenants::members_of(tx, after.id).await? {
        old.extend(entries(before, tenant, m.kind));
        new.extend(entries(after, tenant, m.kind));
    }
    old.iter().filter(|e| !new.contains(e)).cloned().for_each(|e| del(tx, e));
    new.into_iter().filter(|e| !old.contains(e)).for_each(|e| put(tx, e));
    Ok(())
}

/// A key as found, and in which part of the list.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) state: Option<State>,
    pub(super) key: Bytes,
}

impl Found {
    /// Whose it is: the end of the key.
    pub(super) fn id(&self) -> Option<UserId> {
        self.key.0.last_chunk::<16>().map(|id| UserId::from_bytes(*id))
    }
    /// The term under which it was found.
    pub(super) fn term(&self) -> Option<&str> {
        std::str::from_utf8(self.key.0.get(..self.key.0.len().checked_sub(17)?)?).ok()
    }
}

struct Stream {
    state: Option<State>,
    bucket: Bytes,
    found: VecDeque<Bytes>,
    from: Vec<u8>,
    to: Vec<u8>,
    open: bool,
}

/// The entries of several buckets, in the order of their keys.
pub(super) struct Merged<'a> {
    cql: &'a Cql,
    list: List,
    back: bool,
    page: u32,
    streams: Vec<Stream>,
}

impl Merged<'_> {
    /// Reads on where nothing is left to give.
    async fn fill(&mut self) -> Result<()> {
        let (cql, list, back, page) = (self.cql, self.list, self.back, self.page);
        let dry = self.streams.iter_mut().filter(|s| s.found.is_empty() && s.open);
        try_join_all(dry.map(async |s| {
            let entries = cql.entries(list, &s.bucket.0, &s.from, &s.to, page, back).await?;
            s.open = entries.len() == page as usize;
            match entries.last() {
                Some((last, _)) if back => s.to.clone_from(&last.0),
                Some((last, _)) => s.from = [last.0.as_slice(), &[0]].concat(),
                None => {}
            }
            s.found = entries.into_iter().map(|(key, _)| key).collect();
            Ok::<_, crate::store::StoreError>(())
        }))
        .await?;
        Ok(())
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<Found>> {
        self.fill().await?;
        let back = self.back;
        let heads = self.streams.iter_mut().filter(|s| !s.found.is_empty());
        let first = heads.reduce(|a, b| if (a.found[0] < b.found[0]) == back { b } else { a });
        Ok(first.and_then(|s| Some(Found { state: s.state, key: s.found.pop_front()? })))
    }

    /// The next few; none: there are no more.
    pub(super) async fn some(&mut self, n: usize) -> Result<Vec<Found>> {
        let mut out = Vec::new();
        while out.len() < n {
            match self.next().await? {
                Some(found) => out.push(found),
                None => break,
            }
        }
        Ok(out)
    }
}

fn merged<'a>(
    cql: &'a Cql,
    list: List,
    buckets: Vec<(Option<State>, Bytes)>,
    from: &[u8],
    to: &[u8],
    wanted: usize,
    back: bool,
) -> Merged<'a> {
    // Members lie evenly in the shards.
    let page = u32::try_from(wanted / usize::from(SHARDS) * 2 + 4).unwrap_or(u32::MAX).min(500);
    let streams = buckets.into_iter().map(|(state, bucket)| Stream {
        state,
        bucket,
        found: VecDeque::new(),
        from: from.to_vec(),
        to: to.to_vec(),
        open: true,
    });
    Merged { cql, list, back, page, streams: streams.collect() }
}

/// Members by id (those in the recycle bin by the time of their deletion), after one; some `wanted` will be taken.
pub(super) fn by_id<'a>(cql: &'a Cql, tenant: TenantId, states: &[State], after: Option<UserId>, wanted: usize) -> Merged<'a> {
    let buckets = states.iter().flat_map(|state| (0..SHARDS).map(|shard| (Some(*state), bucket(tenant, *state, shard))));
    let from = after.map(|id| [id.as_bytes().as_slice(), &[0]].concat()).unwrap_or_default();
    merged(cql, List::Members, buckets.collect(), &from, END, wanted, false)
}

/// Members in the recycle bin, the latest deletion first, before one.
pub(super) fn binned(cql: &Cql, tenant: TenantId, before: Option<(Timestamp, UserId)>, wanted: usize) -> Merged<'_> {
    let buckets = (0..SHARDS).map(|shard| (Some(State::Bin), bucket(tenant, State::Bin, shard)));
    let to = before.map_or(END.to_vec(), |(at, id)| bin_key(at, id).0);
    merged(cql, List::Members, buckets.collect(), &[], &to, wanted, true)
}

/// Members by the terms that begin with a prefix (not empty), after one.
pub(super) fn by_term<'a>(cql: &'a Cql, tenant: TenantId, prefix: &str, after: Option<(&str, UserId)>, wanted: usize) -> Merged<'a> {
    let first = prefix.as_bytes().first().copied().unwrap_or_default();
    let buckets = (0..SHARDS).map(|shard| (None, term_bucket(tenant, first, shard)));
    let after = after.map(|(term, id)| [term_key(term, id).0.as_slice(), &[0]].concat()).unwrap_or_default();
    let from = after.max(prefix.as_bytes().to_vec());
    // No byte of a text is as high.
    let to = [prefix.as_bytes(), &[0xff]].concat();
    merged(cql, List::MemberTerms, buckets.collect(), &from, &to, wanted, false)
}

/// Entries of some buckets of those who leave the recycle bin, up to `now`, the longest overdue first.
pub(super) fn overdue(cql: &Cql, buckets: Vec<Bytes>, now: Timestamp, wanted: usize) -> Merged<'_> {
    let to = ordered(now.millis() + 1);
    merged(cql, List::PurgesDue, buckets.into_iter().map(|b| (None, b)).collect(), &[], &to, wanted, false)
}
