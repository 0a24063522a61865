//! How tenants change and end. A deleted tenant is on a list by when there is something to be done about it; how far that has come
//! is a row of its unit. First its invites and members are let go; after 30 days all that it had is removed, its own rows last.

use super::{
    accounts::{ACCOUNT, HOLDER, ONE, account, into_bin, ones, put_account},
    api_keys::{self, made_by},
    audit::END,
    authority,
    change::Entry,
    domains,
    effects::{Effect, number, ordered},
    engine::{Engine, RECORD},
    invites::{RemoveAll, RevokePending},
    invites_of, member_lists,
    member_lists::State,
    policy::{live, put_tenant},
    sessions, tenants,
    tenants::{OWNER, TENANT},
    tx::{Outcome, Plan, Planned, Tx, json},
    unit::{Bytes, List, Name, Unit, name},
};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::{By, Permitted, Place},
        ids::{InviteId, TenantId, UserId},
        permission::{Permission, Role},
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    store::{
        Result,
        admin::*,
        commands::{Cas, Revocation},
        copy::MovedEnding,
    },
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::time::{Duration, Instant};

/// How long a deleted tenant is kept, and with it those who belonged nowhere else.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Members or invites that a step sees to.
const STEP: usize = 250;
/// Of them at once.
const AT_ONCE: usize = 16;
/// Rows that are removed at a time.
const ROWS: usize = 100;
/// A step that has taken this long is over.
const LONG: Duration = Duration::from_millis(1000);
const DAY: i64 = 86_400_000;
pub(super) const ENDING: &str = "ending";

impl Outcome for UpdateTenantOutcome {
    fn recorded(&self) -> bool {
        *self != UpdateTenantOutcome::Stale
    }
}

#[async_trait]
impl Plan for UpdateTenant {
    type Out = Permitted<UpdateTenantOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<UpdateTenantOutcome>> {
        let Some(tenant) = live(tx, self.tenant_id).await? else { return Ok(Ok(UpdateTenantOutcome::Stale)) };
        if let Err(why) = authority::permitted(tx, self.by, Permission::TenantWrite).await? {
            return Ok(Err(why));
        }
        let moves = tenant.slug != self.slug;
        let slug = Unit::slug(&self.slug);
        if moves && tx.get::<TenantId>(&slug, HOLDER, ONE).await?.is_some_and(|holder| holder != self.tenant_id) {
            return Ok(Ok(UpdateTenantOutcome::SlugTaken));
        }
        if tenant.version != self.expect_version {
            return Ok(Ok(UpdateTenantOutcome::Stale));
        }
        if moves {
            let old = Unit::slug(&tenant.slug);
            tx.touch(&old).await?;
            tx.del(&old, HOLDER, ONE);
            tx.put(&slug, HOLDER, ONE, &tenant.id)?;
        }
        put_tenant(tx, Tenant { name: self.name.clone(), slug: self.slug.clone(), metadata: self.metadata.clone(), ..tenant })?;
        tx.audit(&self.audit)?;
        Ok(Ok(UpdateTenantOutcome::Done))
    }
}

/// What is being done about a deleted tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Pending invites are revoked.
    Invites,
    /// Members are let go.
    Members,
    /// All is quiet for thirty days; then the memberships are removed …
    Memberships,
    /// … the invites …
    InviteRows,
    /// … the audit events, and with them the rest.
    Audit,
}

/// How far it has come: in the phase, and in what it walks through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ending {
    deleted_at: Timestamp,
    phase: Phase,
    /// Of members: which of the buckets of their list.
    bucket: u8,
    from: Bytes,
}

impl Ending {
    /// When there is something to do.
    fn due(&self) -> Timestamp {
        match self.phase {
            Phase::Invites | Phase::Members => self.deleted_at,
            _ => self.deleted_at.plus(KEPT),
        }
    }
    fn begin(&self, phase: Phase) -> Self {
        Self { phase, bucket: 0, from: Bytes::default(), ..self.clone() }
    }
}

fn entry(tenant: TenantId, due: Timestamp) -> (Bytes, Bytes) {
    let day = ordered(due.millis().div_euclid(DAY));
    (Bytes::from(&day), Bytes::join(&[&ordered(due.millis()), tenant.as_bytes()]))
}
fn put_entry(tenant: TenantId, due: Timestamp) -> Effect {
    let (bucket, key) = entry(tenant, due);
    Effect::Put { list: List::TenantsEnding, bucket, key, body: String::new(), ttl: 0, noted: true }
}
fn del_entry(tenant: TenantId, due: Timestamp) -> Effect {
    let (bucket, key) = entry(tenant, due);
    Effect::Del { list: List::TenantsEnding, bucket, key, at: 0 }
}

/// How far the ending of a tenant that is moved here has come, as its row, and what leads to it. What may have been done in part is
/// done again.
pub(super) fn moved(tenant: TenantId, ending: MovedEnding) -> Result<(String, Effect)> {
    let phase = if ending.members_gone { Phase::Memberships } else { Phase::Invites };
    let ending = Ending { deleted_at: ending.deleted_at, phase, bucket: 0, from: Bytes::default() };
    Ok((json(&ending)?, put_entry(tenant, ending.due())))
}

#[async_trait]
impl Plan for DeleteTenant {
    type Out = Permitted<Cas<()>>;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<Cas<()>>> {
        let (unit, now) = (Unit::tenant(self.tenant_id), tx.now);
        let Some(tenant) = live(tx, self.tenant_id).await?.filter(|t| t.kind == TenantKind::Organization) else {
            return Ok(Ok(Cas::Stale));
        };
        if let Err(why) = authority::acting_surely(tx, self.by).await?.and_then(|acting| acting.may_delete_tenant(self.by)) {
            return Ok(Err(why));
        }
        // At most a thousand are live. Their rows need no mark: a key of a deleted tenant has ended with it.
        for (_, key) in tx.scan::<ApiKey>(&unit, api_keys::KEY).await? {
            if key.is_live(now) {
                tx.revoke(Revocation::ApiKey(key.id));
            }
        }
        domains::release(tx, &tenant, tenant.proved_domains().cloned()).await?;
        put_tenant(tx, Tenant { deleted_at: Some(now), ..tenant })?;
        let ending = Ending { deleted_at: now, phase: Phase::Invites, bucket: 0, from: Bytes::default() };
        tx.put(&unit, ENDING, ONE, &ending)?;
        tx.effect(put_entry(self.tenant_id, ending.due()));
        tx.audit(&self.audit)?;
        Ok(Ok(Cas::Done(())))
    }
}

/// Notes how far an ending has come, unless somebody else has moved it on.
struct MoveOn {
    tenant: TenantId,
    from: Ending,
    to: Ending,
}

#[async_trait]
impl Plan for MoveOn {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = Unit::tenant(self.tenant);
        if tx.get::<Ending>(&unit, ENDING, ONE).await?.as_ref() != Some(&self.from) {
            return Ok(());
        }
        tx.put(&unit, ENDING, ONE, &self.to)?;
        if self.from.due() != self.to.due() {
            tx.effect(del_entry(self.tenant, self.from.due()));
            tx.effect(put_entry(self.tenant, self.to.due()));
        }
        Ok(())
    }
}

/// A member of a deleted tenant: his sessions there end; if he belongs nowhere else, he goes to the recycle bin.
struct LetGo {
    user: UserId,
    tenant: TenantId,
    purge_after: Timestamp,
    /// The membership goes, too.
    for_good: bool,
    /// The tenant, as it was: over whom it had power.
    place: Place,
    /// For who belongs nowhere else and doesn't go with the tenant.
    personal: Tenant,
}

#[async_trait]
impl Plan for LetGo {
    type Out = ();
    fn first(&self) -> Vec<Name> {
        vec![name(ACCOUNT, ONE), name(tenants::MEMBER, self.tenant.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let (id, tenant) = (self.user, self.tenant);
        let (Some(mut account), Some(_)) = (account(tx, id).await?, tenants::member(tx, id, tenant).await?) else { return Ok(()) };
        let before = (account.endings.clone(), account.user.clone());
        sessions::revoke_in_tenant(tx, &mut account, tenant).await?;
        let mut all = tenants::members_of(tx, id).await?;
        all.sort_by_key(|(_, m)| m.joined_at);
        let mut elsewhere = None;
        for (other, _) in all {
            if elsewhere.is_none() && other != tenant && tenants::is_live(tx, other).await? {
                elsewhere = Some(other);
            }
        }
        // Only who belonged to it alone goes with it, and only if it had power over them.
        if elsewhere.is_none() && !self.place.takes_along(&account.user) {
            tenants::give_personal(tx, &mut account, &self.personal).await?;
            elsewhere = Some(account.user.home_tenant);
        }
        if self.for_good {
            tenants::end_membership(tx, &mut account, tenant).await?;
        }
        let u = &mut account.user;
        match elsewhere {
            // His home and his next sign-in must not be where nobody is.
            Some(home) => {
                u.last_tenant = u.last_tenant.filter(|t| *t != tenant);
                if u.home_tenant == tenant {
                    u.metadata.clear();
                    u.home_tenant = home;
                }
            }
            None if u.deleted_at.is_none() => {
                into_bin(tx, account, self.purge_after.max(tx.now)).await?;
                return Ok(());
            }
            None => {}
        }
        if before != (account.endings.clone(), account.user.clone()) {
            put_account(tx, account).await?;
        }
        Ok(())
    }
}

/// Removes rows of a tenant, and in the end the tenant, if it is deleted or (`personal`) a personal one: whether there are more.
pub(super) struct Remove {
    pub(super) tenant: TenantId,
    pub(super) personal: bool,
}

#[async_trait]
impl Plan for Remove {
    type Out = bool;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let unit = Unit::tenant(self.tenant);
        let Some(tenant) = tx.get::<Tenant>(&unit, TENANT, ONE).await? else { return Ok(false) };
        if tenant.deleted_at.is_none() && !(self.personal && tenant.kind == TenantKind::Personal) {
            return Ok(false);
        }
        let keys = tx.scan::<ApiKey>(&unit, api_keys::KEY).await?;
        for (id, key) in keys.iter().take(ROWS) {
            tx.del(&unit, api_keys::KEY, &id.0);
            let del = |list, bucket: &[u8]| Effect::Del { list, bucket: bucket.into(), key: ONE.into(), at: 0 };
            tx.effect(del(List::KeyPlaces, key.prefix.as_bytes()));
            tx.effect(del(List::KeyPlaces, &id.0));
            tx.effect(del(List::KeyUses, &id.0));
            if let Some(maker) = key.user_id {
                for kind in [api_keys::KEY, api_keys::ENDED_KEY] {
                    let (bucket, key) = made_by(maker, kind, self.tenant, key.id.as_bytes());
                    tx.effect(Effect::Del { list: List::MadeBy, bucket, key, at: 0 });
                }
            }
        }
        if keys.len() > ROWS {
            return Ok(true);
        }
        for (key, _) in tx.scan::<Role>(&unit, super::access::ROLE).await? {
            tx.del(&unit, super::access::ROLE, &key.0);
        }
        for kind in [OWNER, RECORD] {
            for (key, _) in tx.scan::<IgnoredAny>(&unit, kind).await? {
                tx.del(&unit, kind, &key.0);
            }
        }
        if let Some(ending) = tx.get::<Ending>(&unit, ENDING, ONE).await? {
            tx.effect(del_entry(self.tenant, ending.due()));
        }
        tx.del(&unit, ENDING, ONE);
        tx.del(&unit, TENANT, ONE);
        tx.forget(&unit);
        let slug = Unit::slug(&tenant.slug);
        if tx.get::<TenantId>(&slug, HOLDER, ONE).await? == Some(self.tenant) {
            tx.del(&slug, HOLDER, ONE);
        }
        Ok(false)
    }
}

impl Engine {
    /// See [`AdminStore::end_tenants`]: a step for the tenant that waits for the longest.
    pub(super) async fn end_tenants(&self, now: Timestamp, newcomers: &Newcomers) -> Result<EndedTenants> {
        let today = now.millis().div_euclid(DAY);
        for bucket in self.buckets(List::TenantsEnding, &ordered(today + 1)).await? {
            let due = self.cql.timed(List::TenantsEnding, &bucket.key.0, &[], &ordered(now.millis() + 1), 1).await?;
            let Some(Entry { key, at, .. }) = due.first() else {
                if number(&bucket.key.0).is_some_and(|day| day < today - 1) {
                    self.forget_bucket(List::TenantsEnding, &bucket).await?;
                }
                continue;
            };
            let Some(tenant) = key.0.last_chunk::<16>().map(|id| TenantId::from_bytes(*id)) else { continue };
            let ending: Option<Ending> = self.cql.peek(&Unit::tenant(tenant), ENDING, ONE).await?;
            return match ending.filter(|e| entry(tenant, e.due()).1 == *key) {
                Some(ending) => self.end_tenant(now, tenant, ending, newcomers).await,
                // It was moved on, or is gone.
                None => {
                    self.cql.del(List::TenantsEnding, &bucket.key.0, &key.0, *at).await?;
                    Ok(EndedTenants { more: true, ..Default::default() })
                }
            };
        }
        Ok(EndedTenants::default())
    }

    async fn end_tenant(&self, now: Timestamp, tenant: TenantId, ending: Ending, newcomers: &Newcomers) -> Result<EndedTenants> {
        let mut ended = EndedTenants { more: true, ..Default::default() };
        let to = match ending.phase {
            Phase::Invites | Phase::InviteRows => self.end_invites(now, tenant, &ending).await?,
            Phase::Members | Phase::Memberships => {
                let (members, to) = self.let_members_go(now, tenant, &ending, newcomers).await?;
                ended.members = members;
                to
            }
            Phase::Audit => {
                if self.remove_audit(tenant, STEP).await? {
                    let remove = Remove { tenant, personal: false };
                    ended.purged = u64::from(!self.change(now, Unit::tenant(tenant), remove).await?);
                }
                return Ok(ended);
            }
        };
        self.change(now, Unit::tenant(tenant), MoveOn { tenant, from: ending, to }).await?;
        Ok(ended)
    }

    /// Some invites: revoked, or removed.
    async fn end_invites(&self, now: Timestamp, tenant: TenantId, ending: &Ending) -> Result<Ending> {
        let (begun, rows) = (Instant::now(), ending.phase == Phase::InviteRows);
        let page = self.cql.timed(List::InvitesOf, tenant.as_bytes(), &ending.from.0, END, STEP as u32).await?;
        let mut reached = ending.clone();
        for some in page.chunks(AT_ONCE) {
            try_join_all(some.iter().map(async |Entry { key, body, at }| {
                let (Ok(id), Some(digest)) = (key.0.as_slice().try_into().map(InviteId::from_bytes), invites_of::digest(body)?) else {
                    return Ok(());
                };
                let unit = invites_of::unit(tenant, &digest);
                if !rows {
                    return self.change(now, unit, RevokePending { tenant, digest, id }).await;
                }
                self.change(now, unit, RemoveAll { tenant, digest }).await?;
                self.cql.del(List::InvitesOf, tenant.as_bytes(), &key.0, *at).await
            }))
            .await?;
            if let Some(last) = some.last() {
                reached.from = Bytes::join(&[&last.key.0, &[0]]);
            }
            if begun.elapsed() > LONG {
                return Ok(reached);
            }
        }
        Ok(match page.len() {
            STEP => reached,
            _ if rows => ending.begin(Phase::Audit),
            _ => ending.begin(Phase::Members),
        })
    }

    /// Some members: how many, and how far it has come. Those in the recycle bin come first: so nobody is seen to twice.
    async fn let_members_go(&self, now: Timestamp, tenant: TenantId, ending: &Ending, newcomers: &Newcomers) -> Result<(u64, Ending)> {
        let place = match self.tenant(tenant).await? {
            Some(t) => domains::place_at_the_end(&self.cql, &t).await?,
            None => Place::powerless(),
        };
        let (begun, for_good) = (Instant::now(), ending.phase == Phase::Memberships);
        let (mut reached, mut members) = (ending.clone(), 0);
        let purge_after = ending.deleted_at.plus(KEPT);
        while let Some(state) = State::ALL.get(usize::from(reached.bucket / member_lists::SHARDS)) {
            let bucket = member_lists::bucket(tenant, *state, reached.bucket % member_lists::SHARDS);
            let page = self.cql.timed(List::Members, &bucket.0, &reached.from.0, member_lists::END, STEP as u32).await?;
            for some in page.chunks(AT_ONCE) {
                try_join_all(some.iter().map(async |Entry { key, at, .. }| {
                    let Some(user) = key.0.last_chunk::<16>().map(|id| UserId::from_bytes(*id)) else { return Ok(()) };
                    let personal = newcomers.personal(user, now);
                    let let_go = LetGo { user, tenant, purge_after, for_good, place: place.clone(), personal };
                    self.change(now, Unit::user(user), let_go).await?;
                    if for_good { self.cql.del(List::Members, &bucket.0, &key.0, *at).await } else { Ok(()) }
                }))
                .await?;
                members += some.len() as u64;
                if let Some(last) = some.last() {
                    reached.from = Bytes::join(&[&last.key.0, &[0]]);
                }
                if begun.elapsed() > LONG {
                    return Ok((members, reached));
                }
            }
            if page.len() < STEP {
                (reached.bucket, reached.from) = (reached.bucket + 1, Bytes::default());
            }
            if members >= STEP as u64 || begun.elapsed() > LONG {
                return Ok((members, reached));
            }
        }
        Ok((members, ending.begin(if for_good { Phase::InviteRows } else { Phase::Memberships })))
    }

    /// Nobody belongs to a tenant any more but, for a moment, who is being purged: a personal one goes with its person, an
    /// organization is deleted like any other.
    pub(super) async fn without_members(&self, now: Timestamp, tenant: TenantId, but: UserId) -> Result<()> {
        let Some(found) = self.tenant(tenant).await? else { return Ok(()) };
        let mut entries = member_lists::by_id(&self.cql, tenant, &State::ALL, None, 2);
        while let Some(entry) = entries.next().await? {
            let Some(id) = entry.id().filter(|id| *id != but) else { continue };
            let unit = Unit::user(id);
            let belongs = self.cql.peek::<tenants::Member>(&unit, tenants::MEMBER, tenant.as_bytes()).await?.is_some();
            if belongs && self.user(id).await?.is_some() {
                return Ok(());
            }
        }
        if found.kind == TenantKind::Personal {
            while self.change(now, Unit::tenant(tenant), Remove { tenant, personal: true }).await? {}
        } else if found.deleted_at.is_none() {
            let cmd = DeleteTenant { tenant_id: tenant, by: By::operator(tenant), audit: Vec::new() };
            // Stale: somebody else has deleted it. The operator may in any case.
            let _: Permitted<Cas<()>> = self.change(now, Unit::tenant(tenant), cmd).await?;
        }
        Ok(())
    }
}
