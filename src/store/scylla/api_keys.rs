//! API keys: rows of the tenant's unit. Lists lead to them from their prefixes and ids, and from their makers. When one was
//! used last is an entry of a list too: nothing is decided by it, and it must not hold up the tenant.

use super::{
    accounts::ONE,
    authority,
    cql::Cql,
    effects::Effect,
    tenants::{self, TENANT},
    tx::{Outcome, Plan, Planned, Tx, json, parse},
    unit::{Bytes, List, Name, Unit, name},
    withdrawal::{self, Withdrawal},
};
use crate::{
    domain::{
        api_key::{ApiKey, Origin},
        authority::{Authority, Denied, Permitted},
        ids::{ApiKeyId, TenantId, UserId},
        outbox::{Job, KEYS_TOLD, OWNERS_TOLD},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    store::{Result, StoreError, access::*, commands::*},
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(super) const KEY: &str = "key";
/// A key that has been revoked, in the list of what its maker made.
pub(super) const ENDED_KEY: &str = "ended-key";
/// Live API keys that a tenant may have.
const KEYS: usize = 1000;
/// Reads that are made at once.
const AT_ONCE: usize = 16;
/// Rows that one statement reads.
const READ_AT_ONCE: usize = 100;

impl Outcome for CreateApiKeyOutcome {}
impl Outcome for TakeOverOutcome {}

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    pub(super) key: ApiKeyId,
}

fn entry(bucket: &[u8], place: Place) -> Result<Effect> {
    Ok(Effect::Put { list: List::KeyPlaces, bucket: bucket.into(), key: ONE.into(), body: json(&place)?, ttl: 0, noted: false })
}

/// Where what somebody made is listed, in [`List::MadeBy`].
pub(super) fn made_by(user: UserId, kind: &str, tenant: TenantId, id: &[u8; 16]) -> (Bytes, Bytes) {
    (user.as_bytes().into(), Bytes::join(&[kind.as_bytes(), b"/", tenant.as_bytes(), id]))
}

/// An entry of what somebody made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) tenant: TenantId,
    pub(super) id: [u8; 16],
    /// When it was written.
    pub(super) at: i64,
}

/// Entries of what somebody made, of one kind.
pub(super) async fn made(cql: &Cql, user: UserId, kind: &str) -> Result<Vec<Made>> {
    let (from, to) = ([kind.as_bytes(), b"/"].concat(), [kind.as_bytes(), b"0"].concat());
    let mut out = Vec::new();
    let mut next = from.clone();
    loop {
        let page = cql.timed(List::MadeBy, user.as_bytes(), &next, &to, 1000).await?;
        for entry in &page {
            if let Some((tenant, id)) = entry.key.0.get(from.len()..).and_then(|rest| rest.split_at_checked(16))
                && let (Ok(tenant), Ok(id)) = (tenant.try_into(), id.try_into())
            {
                out.push(Made { tenant: TenantId::from_bytes(tenant), id, at: entry.at });
            }
        }
        match page.last() {
            Some(last) if page.len() == 1000 => next = [last.key.0.as_slice(), &[0]].concat(),
            _ => return Ok(out),
        }
    }
}

/// A key that has ended moves to the list of those, from which the purge of its maker takes it.
fn listed_as_ended(maker: UserId, key: &ApiKey) -> [Effect; 2] {
    let (bucket, live) = made_by(maker, KEY, key.tenant_id, key.id.as_bytes());
    let (_, ended) = made_by(maker, ENDED_KEY, key.tenant_id, key.id.as_bytes());
    let put = Effect::Put { list: List::MadeBy, bucket: bucket.clone(), key: ended, body: String::new(), ttl: 0, noted: false };
    [put, Effect::Del { list: List::MadeBy, bucket, key: live, at: 0 }]
}

/// A key as it lies in its tenant's unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRow {
    #[serde(flatten)]
    pub(super) key: ApiKey,
    /// The version at which its maker's unit was read when it was made, or taken over; 0: before this was noted.
    #[serde(default)]
    pub(super) offered: i64,
}

impl KeyRow {
    /// As it is, by what its maker has taken back.
    pub(super) fn into_key(self, withdrawn: &[Withdrawal], personal: bool) -> ApiKey {
        let revoked_at = self.key.revoked_at.or_else(|| withdrawal::key_taken_back(withdrawn, &self, personal));
        ApiKey { revoked_at, ..self.key }
    }
}

/// Writes a key that somebody makes, or takes over, now; they are a condition of the commit. The tenant's unit is read, or new.
async fn put(tx: &mut Tx<'_>, key: ApiKey) -> Planned<()> {
    let (unit, id, mut offered) = (Unit::tenant(key.tenant_id), key.id, 0);
    if let Some(maker) = key.user_id {
        tx.touch(&Unit::user(maker)).await?;
        offered = tx.version(&Unit::user(maker));
    }
    tx.put(&unit, KEY, id.as_bytes(), &KeyRow { key, offered })
}

/// Writes a new key of a tenant whose unit is read, or new.
pub(super) async fn insert(tx: &mut Tx<'_>, key: &ApiKey) -> Planned<()> {
    put(tx, key.clone()).await?;
    tx.effects.extend(lists(key)?);
    Ok(())
}

/// What leads to a key.
pub(super) fn lists(key: &ApiKey) -> Result<Vec<Effect>> {
    let place = Place { tenant: key.tenant_id, key: key.id };
    let mut lists = vec![entry(key.prefix.as_bytes(), place)?, entry(key.id.as_bytes(), place)?];
    lists.extend(key.user_id.map(|maker| {
        let kind = if key.revoked_at.is_some() { ENDED_KEY } else { KEY };
        let (bucket, key) = made_by(maker, kind, key.tenant_id, key.id.as_bytes());
        Effect::Put { list: List::MadeBy, bucket, key, body: String::new(), ttl: 0, noted: false }
    }));
    Ok(lists)
}

/// Whether the tenant has all the live keys that it may have.
pub(super) async fn has_as_many_as_it_may(tx: &mut Tx<'_>, tenant: &Tenant) -> Planned<bool> {
    let rows: Vec<KeyRow> = tx.scan(&Unit::tenant(tenant.id), KEY).await?.into_iter().map(|(_, row)| row).collect();
    let now = tx.now;
    let live: Vec<KeyRow> = rows.into_iter().filter(|row| row.key.is_live(now)).collect();
    if live.len() < KEYS {
        return Ok(false);
    }
    let live = as_they_are(tx.cql(), live, tenant.kind == TenantKind::Personal).await?;
    Ok(live.iter().filter(|key| key.is_live(now)).count() >= KEYS)
}

/// Keys of a tenant, by what their makers have taken back.
async fn as_they_are(cql: &Cql, rows: Vec<KeyRow>, personal: bool) -> Result<Vec<ApiKey>> {
    let makers: HashSet<UserId> = rows.iter().filter_map(|row| row.key.user_id).collect();
    let withdrawn = stream::iter(makers).map(async |maker| Ok::<_, StoreError>((maker, withdrawal::of(cql, maker).await?)));
    let withdrawn: HashMap<UserId, Vec<Withdrawal>> = withdrawn.buffer_unordered(AT_ONCE).try_collect().await?;
    let of = |maker: Option<UserId>| maker.and_then(|maker| withdrawn.get(&maker)).map_or(&[][..], Vec::as_slice);
    Ok(rows.into_iter().map(|row| (of(row.key.user_id), row)).map(|(withdrawn, row)| row.into_key(withdrawn, personal)).collect())
}

/// Ends a key, and tells all nodes.
pub(super) fn revoke(tx: &mut Tx<'_>, key: ApiKey) -> Planned<()> {
    tx.revoke(Revocation::ApiKey(key.id));
    if let Some(maker) = key.user_id {
        // Who recovers an account reads the keys that have not ended, however many have.
        tx.effects.extend(listed_as_ended(maker, &key));
    }
    tx.put(&Unit::tenant(key.tenant_id), KEY, key.id.as_bytes(), &ApiKey { revoked_at: Some(tx.now), ..key.clone() })
}

#[async_trait]
impl Plan for RevokeApiKey {
    type Out = Permitted<Cas<Vec<ApiKeyId>>>;
    fn first(&self) -> Vec<Name> {
        vec![name(KEY, self.key_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Self::Out> {
        let key: Option<ApiKey> = tx.get(&Unit::tenant(self.tenant_id), KEY, self.key_id.as_bytes()).await?;
        let Some(key) = key else { return Ok(Ok(Cas::Stale)) };
        if let Err(why) = authority::permitted(tx, self.by, Permission::ApiKeyWrite).await? {
            return Ok(Err(why));
        }
        if key.revoked_at.is_some() {
            return Ok(Ok(Cas::Done(Vec::new())));
        }
        tx.audit(&self.audit)?;
        Ok(Ok(Cas::Done(end_with_children(tx, key).await?)))
    }
}

/// A key and all that it made, and that these made: the last found comes last.
async fn family(tx: &mut Tx<'_>, first: ApiKeyId, tenant: TenantId) -> Planned<Vec<KeyRow>> {
    let all: Vec<KeyRow> = tx.scan(&Unit::tenant(tenant), KEY).await?.into_iter().map(|(_, row)| row).collect();
    let (mut family, mut children) = (Vec::new(), HashMap::<ApiKeyId, Vec<KeyRow>>::new());
    for row in all {
        match row.key.parent_id {
            _ if row.key.id == first => family.push(row),
            Some(parent) => children.entry(parent).or_default().push(row),
            None => {}
        }
    }
    let mut next = 0;
    while let Some(parent) = family.get(next).map(|row: &KeyRow| row.key.id) {
        family.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    Ok(family)
}

/// Ends a key, and with it those that it made.
async fn end_with_children(tx: &mut Tx<'_>, key: ApiKey) -> Planned<Vec<ApiKeyId>> {
    let mut ended = Vec::new();
    for row in family(tx, key.id, key.tenant_id).await?.into_iter().filter(|row| row.key.revoked_at.is_none()) {
        ended.push(row.key.id);
        revoke(tx, row.key)?;
    }
    Ok(ended)
}

/// The keys that a person made and that haven't ended, in all tenants; the units of those tenants are conditions of the commit.
async fn of_maker(tx: &mut Tx<'_>, user: UserId, tenant: Option<TenantId>) -> Planned<Vec<KeyRow>> {
    let mut of: BTreeMap<TenantId, Vec<Name>> = BTreeMap::new();
    for made in made(tx.cql(), user, KEY).await?.into_iter().filter(|made| tenant.is_none_or(|t| t == made.tenant)) {
        of.entry(made.tenant).or_default().push(name(KEY, &made.id));
    }
    let mut keys = Vec::new();
    for (place, names) in of {
        let unit = Unit::tenant(place);
        for some in names.chunks(READ_AT_ONCE) {
            tx.fetch(&unit, some).await?;
        }
        for name in names {
            let row: Option<KeyRow> = tx.get(&unit, KEY, &name.key.0).await?;
            keys.extend(row.filter(|row| row.key.user_id == Some(user) && row.key.is_live(tx.now)));
        }
    }
    Ok(keys)
}

/// The maker of keys has left a tenant (`None`: has gone from all): their keys stand still there until an owner takes them over. Those that
/// they have taken back end.
pub(super) async fn stop_keys_of_maker(tx: &mut Tx<'_>, user: UserId, tenant: Option<TenantId>) -> Planned<()> {
    let rows = of_maker(tx, user, tenant).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let withdrawn = withdrawal::of(tx.cql(), user).await?;
    for of_tenant in rows.chunk_by(|a, b| a.key.tenant_id == b.key.tenant_id) {
        let Some(id) = of_tenant.first().map(|row| row.key.tenant_id) else { continue };
        let personal = tenants::is_personal(tx, id).await?;
        let (mut stopped, mut ended) = (Vec::new(), Vec::new());
        for row in of_tenant {
            if withdrawal::key_taken_back(&withdrawn, row, personal).is_some() {
                revoke(tx, row.key.clone())?;
                if !personal {
                    ended.push(row.key.clone());
                }
            } else if row.key.origin == Origin::User && row.key.stopped_at.is_none() {
                let key = ApiKey { stopped_at: Some(tx.now), ..row.key.clone() };
                tx.put(&Unit::tenant(id), KEY, key.id.as_bytes(), &key)?;
                stopped.push(key);
            }
        }
        tell_owners(tx, user, id, &stopped, Job::key_stopped).await?;
        tell_owners(tx, user, id, &ended, Job::key_ended).await?;
    }
    Ok(())
}

/// Writes notices of keys of a tenant to each of its owners but their maker; of many keys, of the first [`KEYS_TOLD`].
pub(super) async fn tell_owners(
    tx: &mut Tx<'_>,
    maker: UserId,
    tenant: TenantId,
    keys: &[ApiKey],
    notice: fn(UserId, &ApiKey, Timestamp) -> Job,
) -> Planned<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let (owners, now) = (tenants::owners(tx.cql(), tenant, OWNERS_TOLD as usize).await?, tx.now);
    for owner in owners.into_iter().filter(|owner| *owner != maker) {
        keys.iter().take(KEYS_TOLD).try_for_each(|key| tx.job(&notice(owner, key, now)))?;
    }
    Ok(())
}

#[async_trait]
impl Plan for TakeOverKey {
    type Out = Cas<TakeOverOutcome>;
    fn first(&self) -> Vec<Name> {
        vec![name(KEY, self.key_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<TakeOverOutcome>> {
        let denied = |why| Ok(Cas::Done(TakeOverOutcome::Denied(why)));
        if !matches!(self.by.authority, Authority::Person { .. }) {
            return denied(Denied::InPerson);
        }
        let acting = match authority::permitted_surely(tx, self.by, Permission::ApiKeyWrite).await? {
            Ok(acting) if acting.actor.owner => acting,
            Ok(_) => return denied(Denied::NotOwner),
            Err(why) => return denied(why),
        };
        let Some(owner) = acting.actor.person else { return denied(Denied::NotOwner) };
        let unit = Unit::tenant(self.by.tenant_id);
        let row: Option<KeyRow> = tx.get(&unit, KEY, self.key_id.as_bytes()).await?;
        let (Some(row), Some(tenant)) = (row, tx.get::<Tenant>(&unit, TENANT, ONE).await?) else { return Ok(Cas::Stale) };
        if let Some(maker) = row.key.user_id {
            // What they take back is a condition, too.
            tx.touch(&Unit::user(maker)).await?;
        }
        let (withdrawn, personal) = (of_its_maker(tx.cql(), &row).await?, tenant.kind == TenantKind::Personal);
        let Some(key) = Some(row.into_key(&withdrawn, personal)).filter(|k| k.is_live(tx.now)) else { return Ok(Cas::Stale) };
        if key.origin == Origin::Operator {
            return denied(Denied::NoPermission);
        }
        let parent = match key.parent_id {
            Some(id) => tx.get::<ApiKey>(&unit, KEY, id.as_bytes()).await?,
            None => None,
        };
        let acts = standing(tx.cql(), &key).await?.is_some_and(|s| !s.acting.actor.permissions.is_empty());
        if acts || parent.is_some_and(|p| p.revoked_at.is_none()) {
            return denied(Denied::KeyHasMaker);
        }
        authority::makes(tx, &acting)?;
        // What it made goes on with it.
        for row in family(tx, self.key_id, self.by.tenant_id).await? {
            // All of them are of one maker.
            let key = row.into_key(&withdrawn, personal);
            if key.revoked_at.is_some() {
                continue;
            }
            if let Some(maker) = key.user_id {
                let (bucket, listed) = made_by(maker, KEY, key.tenant_id, key.id.as_bytes());
                tx.effect(Effect::Del { list: List::MadeBy, bucket, key: listed, at: 0 });
            }
            let taken = ApiKey { user_id: Some(owner), stopped_at: None, taken_over_at: Some(tx.now), ..key };
            tx.effects.extend(lists(&taken)?);
            put(tx, taken).await?;
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(TakeOverOutcome::Taken))
    }
}

/// What a key may do now; `None`: nothing: it has ended, or its maker is gone or has taken it back.
pub(super) async fn standing(cql: &Cql, key: &ApiKey) -> Result<Option<Standing>> {
    let Some((row, tenant)) = with_tenant(cql, Place { tenant: key.tenant_id, key: key.id }).await? else { return Ok(None) };
    if tenant.deleted_at.is_some() || row.key.revoked_at.is_some() {
        return Ok(None);
    }
    let acting = authority::through(cql, &row, &tenant).await?;
    Ok(acting.map(|acting| Standing { acting, place: crate::domain::authority::Place::of(&tenant) }))
}

/// What a key's maker has taken back.
async fn of_its_maker(cql: &Cql, row: &KeyRow) -> Result<Vec<Withdrawal>> {
    match row.key.user_id {
        Some(maker) => withdrawal::of(cql, maker).await,
        None => Ok(Vec::new()),
    }
}

/// When a key was used last.
async fn used_at(cql: &Cql, key: ApiKeyId) -> Result<Option<Timestamp>> {
    cql.entry(List::KeyUses, key.as_bytes(), ONE).await?.map(|body| parse(&body)).transpose()
}

/// As it is shown. The keys of a deleted tenant have ended with it.
async fn shown(cql: &Cql, mut key: ApiKey, tenant: Option<&Tenant>) -> Result<ApiKey> {
    let used = used_at(cql, key.id).await?;
    key.last_used_at = [key.last_used_at, used].into_iter().flatten().max();
    key.revoked_at = key.revoked_at.or(tenant.and_then(|t| t.deleted_at));
    Ok(key)
}

/// A key and its tenant.
async fn with_tenant(cql: &Cql, place: Place) -> Result<Option<(KeyRow, Tenant)>> {
    let names = [name(TENANT, ONE), name(KEY, place.key.as_bytes())];
    let (mut key, mut tenant) = (None, None);
    for row in cql.rows(&Unit::tenant(place.tenant), &names, false).await? {
        match row.name.kind.as_str() {
            KEY => key = Some(parse::<KeyRow>(&row.body)?),
            _ => tenant = Some(parse::<Tenant>(&row.body)?),
        }
    }
    Ok(key.zip(tenant))
}

/// One key of a tenant, as it is shown.
pub(super) async fn one(cql: &Cql, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    match with_tenant(cql, Place { tenant, key: id }).await? {
        Some((row, tenant)) => {
            let withdrawn = of_its_maker(cql, &row).await?;
            shown(cql, row.into_key(&withdrawn, tenant.kind == TenantKind::Personal), Some(&tenant)).await.map(Some)
        }
        None => Ok(None),
    }
}

/// One key of a tenant, while it is good; whether its maker has taken it back is for [`authority::through`].
pub(super) async fn live_key(cql: &Cql, now: Timestamp, tenant: TenantId, id: ApiKeyId) -> Result<Option<KeyRow>> {
    let found = with_tenant(cql, Place { tenant, key: id }).await?;
    Ok(found.filter(|(row, tenant)| row.key.is_live(now) && tenant.deleted_at.is_none()).map(|(row, _)| row))
}

pub(super) async fn by_prefix(cql: &Cql, prefix: &str) -> Result<Option<ApiKey>> {
    // The bucket is no place for a text of any length.
    if prefix.is_empty() || prefix.len() > 64 {
        return Ok(None);
    }
    let Some(place) = cql.entry(List::KeyPlaces, prefix.as_bytes(), ONE).await? else { return Ok(None) };
    match with_tenant(cql, parse(&place)?).await? {
        // Whether its maker has taken it back is asked at each use.
        Some((row, tenant)) if tenant.deleted_at.is_none() && row.key.prefix == prefix => {
            Ok(Some(shown(cql, row.key, Some(&tenant)).await?))
        }
        _ => Ok(None),
    }
}

pub(super) async fn list(cql: &Cql, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>> {
    let unit = Unit::tenant(tenant);
    let (rows, tenant) = tokio::join!(cql.peek_all::<KeyRow>(&unit, KEY), cql.peek::<Tenant>(&unit, TENANT, ONE));
    let tenant = tenant?;
    let mut rows: Vec<KeyRow> = rows?.into_iter().map(|(_, row)| row).filter(|row| after.is_none_or(|after| row.key.id < after)).collect();
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.key.id));
    rows.truncate(limit as usize);
    let keys = as_they_are(cql, rows, tenant.as_ref().is_some_and(|t| t.kind == TenantKind::Personal)).await?;
    stream::iter(keys).map(|key| shown(cql, key, tenant.as_ref())).buffered(AT_ONCE).try_collect().await
}

/// Notes a use. The entry is ordered by the time of use itself, so that the latest stays whoever comes last.
pub(super) async fn touch(cql: &Cql, key: ApiKeyId, at: Timestamp) -> Result<()> {
    if cql.entry(List::KeyPlaces, key.as_bytes(), ONE).await?.is_none() {
        return Ok(());
    }
    cql.put(List::KeyUses, key.as_bytes(), ONE, &json(&at)?, 0, at.millis().saturating_mul(1000)).await
}
