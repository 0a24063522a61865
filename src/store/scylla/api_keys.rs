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
};
use crate::{
    domain::{
        api_key::{ApiKey, Origin},
        authority::{Authority, Denied},
        ids::{ApiKeyId, TenantId, UserId},
        outbox::{Job, OWNERS_TOLD},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    store::{Result, access::*, commands::*},
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

pub(super) const KEY: &str = "key";
/// Live API keys that a tenant may have.
const KEYS: usize = 1000;
/// Reads that are made at once.
const AT_ONCE: usize = 16;

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

/// Entries of what somebody made, of one kind: tenant and id.
pub(super) async fn made(cql: &Cql, user: UserId, kind: &str) -> Result<Vec<(TenantId, [u8; 16])>> {
    let (from, to) = ([kind.as_bytes(), b"/"].concat(), [kind.as_bytes(), b"0"].concat());
    let mut out = Vec::new();
    let mut next = from.clone();
    loop {
        let page = cql.entries(List::MadeBy, user.as_bytes(), &next, &to, 1000, false).await?;
        for (key, _) in &page {
            if let Some((tenant, id)) = key.0.get(from.len()..).and_then(|rest| rest.split_at_checked(16))
                && let (Ok(tenant), Ok(id)) = (tenant.try_into(), id.try_into())
            {
                out.push((TenantId::from_bytes(tenant), id));
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == 1000 => next = [last.0.as_slice(), &[0]].concat(),
            _ => return Ok(out),
        }
    }
}

/// Writes a key of a tenant whose unit is read, or new.
pub(super) fn insert(tx: &mut Tx<'_>, key: &ApiKey) -> Planned<()> {
    tx.put(&Unit::tenant(key.tenant_id), KEY, key.id.as_bytes(), key)?;
    tx.effects.extend(lists(key)?);
    Ok(())
}

/// What leads to a key.
pub(super) fn lists(key: &ApiKey) -> Result<Vec<Effect>> {
    let place = Place { tenant: key.tenant_id, key: key.id };
    let mut lists = vec![entry(key.prefix.as_bytes(), place)?, entry(key.id.as_bytes(), place)?];
    lists.extend(key.user_id.map(|maker| {
        let (bucket, key) = made_by(maker, KEY, key.tenant_id, key.id.as_bytes());
        Effect::Put { list: List::MadeBy, bucket, key, body: String::new(), ttl: 0, noted: false }
    }));
    Ok(lists)
}

/// Whether the tenant has all the live keys that it may have.
pub(super) async fn has_as_many_as_it_may(tx: &mut Tx<'_>, tenant: TenantId) -> Planned<bool> {
    let now = tx.now;
    let keys = tx.scan::<ApiKey>(&Unit::tenant(tenant), KEY).await?;
    Ok(keys.iter().filter(|(_, k)| k.is_live(now)).count() >= KEYS)
}

/// Ends a key, and tells all nodes.
pub(super) fn revoke(tx: &mut Tx<'_>, key: ApiKey) -> Planned<()> {
    tx.revoke(Revocation::ApiKey(key.id));
    tx.put(&Unit::tenant(key.tenant_id), KEY, key.id.as_bytes(), &ApiKey { revoked_at: Some(tx.now), ..key.clone() })
}

#[async_trait]
impl Plan for RevokeApiKey {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        vec![name(KEY, self.key_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let key: Option<ApiKey> = tx.get(&Unit::tenant(self.tenant_id), KEY, self.key_id.as_bytes()).await?;
        let Some(key) = key else { return Ok(Cas::Stale) };
        if key.revoked_at.is_none() {
            end_with_children(tx, key).await?;
            tx.audit(&self.audit)?;
        }
        Ok(Cas::Done(()))
    }
}

/// A key and all that it made, and that these made: the last found comes last.
async fn family(tx: &mut Tx<'_>, key: ApiKey) -> Planned<Vec<ApiKey>> {
    let all: Vec<ApiKey> = tx.scan(&Unit::tenant(key.tenant_id), KEY).await?.into_iter().map(|(_, key)| key).collect();
    let (mut family, mut next) = (vec![key], 0);
    while let Some(parent) = family.get(next).map(|k| k.id) {
        family.extend(all.iter().filter(|k| k.parent_id == Some(parent)).cloned());
        next += 1;
    }
    Ok(family)
}

/// Ends a key, and with it those that it made.
async fn end_with_children(tx: &mut Tx<'_>, key: ApiKey) -> Planned<()> {
    for key in family(tx, key).await?.into_iter().filter(|k| k.revoked_at.is_none()) {
        revoke(tx, key)?;
    }
    Ok(())
}

/// The keys that a person made and that haven't ended, in all tenants; the units of those tenants are conditions of the commit.
async fn of_maker(tx: &mut Tx<'_>, user: UserId, tenant: Option<TenantId>) -> Planned<Vec<ApiKey>> {
    let mut keys = Vec::new();
    for (place, id) in made(tx.cql(), user, KEY).await? {
        if tenant.is_some_and(|t| t != place) {
            continue;
        }
        let key: Option<ApiKey> = tx.get(&Unit::tenant(place), KEY, &id).await?;
        keys.extend(key.filter(|k| k.user_id == Some(user) && k.is_live(tx.now)));
    }
    Ok(keys)
}

/// Ends those of a person's keys that `which` names; they are of all tenants.
pub(super) async fn revoke_keys_of_maker(tx: &mut Tx<'_>, user: UserId, which: Keys) -> Planned<()> {
    for key in of_maker(tx, user, None).await? {
        let tenant: Option<Tenant> = tx.peek(&Unit::tenant(key.tenant_id), TENANT, ONE).await?;
        let personal = tenant.is_some_and(|t| t.kind == TenantKind::Personal);
        if which.has(&key, personal) {
            if !personal {
                tell_owners(tx, user, &key, Job::key_ended).await?;
            }
            end_with_children(tx, key).await?;
        }
    }
    Ok(())
}

/// The maker of keys has left a tenant (`None`: has gone from all): their keys stand still there until an owner takes them over.
pub(super) async fn stop_keys_of_maker(tx: &mut Tx<'_>, user: UserId, tenant: Option<TenantId>) -> Planned<()> {
    for key in of_maker(tx, user, tenant).await? {
        if key.origin == Origin::User && key.stopped_at.is_none() {
            tell_owners(tx, user, &key, Job::key_stopped).await?;
            let stopped = ApiKey { stopped_at: Some(tx.now), ..key.clone() };
            tx.put(&Unit::tenant(key.tenant_id), KEY, key.id.as_bytes(), &stopped)?;
        }
    }
    Ok(())
}

/// Writes a notice to each owner of a key's tenant but its maker.
async fn tell_owners(tx: &mut Tx<'_>, maker: UserId, key: &ApiKey, notice: fn(UserId, &ApiKey, Timestamp) -> Job) -> Planned<()> {
    let owners = tenants::owners(tx.cql(), key.tenant_id, OWNERS_TOLD as usize).await?;
    let now = tx.now;
    owners.into_iter().filter(|owner| *owner != maker).try_for_each(|owner| tx.job(&notice(owner, key, now)))
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
        let acting = match authority::acting_surely(tx, self.by).await?.and_then(|a| a.needs(Permission::ApiKeyWrite).map(|()| a)) {
            Ok(acting) if acting.actor.owner => acting,
            Ok(_) => return denied(Denied::NotOwner),
            Err(why) => return denied(why),
        };
        let Some(owner) = acting.actor.person else { return denied(Denied::NotOwner) };
        let unit = Unit::tenant(self.by.tenant_id);
        let key: Option<ApiKey> = tx.get(&unit, KEY, self.key_id.as_bytes()).await?;
        let Some(key) = key.filter(|k| k.is_live(tx.now)) else { return Ok(Cas::Stale) };
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
        for key in family(tx, key).await?.into_iter().filter(|k| k.revoked_at.is_none()) {
            let taken = ApiKey { user_id: Some(owner), stopped_at: None, taken_over_at: Some(tx.now), ..key };
            tx.put(&unit, KEY, taken.id.as_bytes(), &taken)?;
            tx.effects.extend(lists(&taken)?);
        }
        tx.audit(&self.audit)?;
        Ok(Cas::Done(TakeOverOutcome::Taken))
    }
}

/// What a key may do now; `None`: nothing, its maker is gone.
pub(super) async fn standing(cql: &Cql, key: &ApiKey) -> Result<Option<Standing>> {
    let tenant: Option<Tenant> = cql.peek(&Unit::tenant(key.tenant_id), TENANT, ONE).await?;
    let Some(tenant) = tenant.filter(|t| t.deleted_at.is_none()) else { return Ok(None) };
    let acting = authority::through(cql, key, &tenant).await?;
    Ok(acting.map(|acting| Standing { acting, kind: tenant.kind, managed: tenant.managed }))
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
async fn with_tenant(cql: &Cql, place: Place) -> Result<Option<(ApiKey, Tenant)>> {
    let names = [name(TENANT, ONE), name(KEY, place.key.as_bytes())];
    let (mut key, mut tenant) = (None, None);
    for row in cql.rows(&Unit::tenant(place.tenant), &names, false).await? {
        match row.name.kind.as_str() {
            KEY => key = Some(parse::<ApiKey>(&row.body)?),
            _ => tenant = Some(parse::<Tenant>(&row.body)?),
        }
    }
    Ok(key.zip(tenant))
}

/// One key of a tenant, as it is shown.
pub(super) async fn one(cql: &Cql, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    match with_tenant(cql, Place { tenant, key: id }).await? {
        Some((key, tenant)) => shown(cql, key, Some(&tenant)).await.map(Some),
        None => Ok(None),
    }
}

/// One key of a tenant, while it is good.
pub(super) async fn live_key(cql: &Cql, now: Timestamp, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let found = with_tenant(cql, Place { tenant, key: id }).await?;
    Ok(found.filter(|(key, tenant)| key.is_live(now) && tenant.deleted_at.is_none()).map(|(key, _)| key))
}

pub(super) async fn by_prefix(cql: &Cql, prefix: &str) -> Result<Option<ApiKey>> {
    // The bucket is no place for a text of any length.
    if prefix.is_empty() || prefix.len() > 64 {
        return Ok(None);
    }
    let Some(place) = cql.entry(List::KeyPlaces, prefix.as_bytes(), ONE).await? else { return Ok(None) };
    match with_tenant(cql, parse(&place)?).await? {
        Some((key, tenant)) if tenant.deleted_at.is_none() && key.prefix == prefix => Ok(Some(shown(cql, key, Some(&tenant)).await?)),
        _ => Ok(None),
    }
}

pub(super) async fn list(cql: &Cql, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>> {
    let unit = Unit::tenant(tenant);
    let (keys, tenant) = tokio::join!(cql.peek_all::<ApiKey>(&unit, KEY), cql.peek::<Tenant>(&unit, TENANT, ONE));
    let tenant = tenant?;
    let mut keys: Vec<ApiKey> = keys?.into_iter().map(|(_, key)| key).filter(|k| after.is_none_or(|after| k.id < after)).collect();
    keys.sort_unstable_by_key(|k| std::cmp::Reverse(k.id));
    keys.truncate(limit as usize);
    stream::iter(keys).map(|key| shown(cql, key, tenant.as_ref())).buffered(AT_ONCE).try_collect().await
}

/// Notes a use. The entry is ordered by the time of use itself, so that the latest stays whoever comes last.
pub(super) async fn touch(cql: &Cql, key: ApiKeyId, at: Timestamp) -> Result<()> {
    if cql.entry(List::KeyPlaces, key.as_bytes(), ONE).await?.is_none() {
        return Ok(());
    }
    cql.put(List::KeyUses, key.as_bytes(), ONE, &json(&at)?, 0, at.millis().saturating_mul(1000)).await
}
