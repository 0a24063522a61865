//! All that is kept about one user: for his export.

use super::{
    accounts::ONE,
    api_keys, audit,
    audit::END,
    cql::Cql,
    email_change::{PENDING, UNDO},
    engine::Engine,
    invites_of,
    sessions::{KNOWN, Known},
    tenants::{MEMBER, Member, TENANT},
    tx::parse,
    unit::{List, Unit},
};
use crate::{
    domain::{
        api_key::ApiKey,
        contact::ContactDigest,
        ids::{ApiKeyId, InviteId, TenantId, UserId},
        tenant::Tenant,
        time::Timestamp,
        user::Membership,
    },
    store::{Result, admin::Kept, commands::UndoLink},
};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Memberships and invites that are given.
const LISTED: usize = 1000;
/// Audit events that are given.
const EVENTS: usize = 10_000;
const AT_ONCE: usize = 16;

async fn memberships(cql: &Cql, user_id: UserId) -> Result<Vec<(Tenant, Membership)>> {
    let rows = cql.peek_all::<Member>(&Unit::user(user_id), MEMBER).await?;
    let found = stream::iter(rows).map(async |(key, m)| {
        let Ok(tenant_id) = key.0.as_slice().try_into().map(TenantId::from_bytes) else { return Ok(None) };
        let tenant: Option<Tenant> = cql.peek(&Unit::tenant(tenant_id), TENANT, ONE).await?;
        let mut roles = m.roles;
        roles.sort_unstable();
        Ok::<_, crate::store::StoreError>(tenant.map(|t| (t, Membership { user_id, tenant_id, roles, joined_at: m.joined_at })))
    });
    let mut all: Vec<_> = found.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    all.sort_by_key(|(_, m)| (m.joined_at, m.tenant_id));
    all.truncate(LISTED);
    Ok(all)
}

async fn api_keys_of(cql: &Cql, user: UserId) -> Result<Vec<ApiKey>> {
    let mut made = api_keys::made(cql, user, api_keys::KEY).await?;
    made.extend(api_keys::made(cql, user, api_keys::ENDED_KEY).await?);
    let found = stream::iter(made).map(async |made| api_keys::one(cql, made.tenant, ApiKeyId::from_bytes(made.id)).await);
    let found = found.buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let mut keys: Vec<ApiKey> = found.into_iter().flatten().filter(|k| k.user_id == Some(user)).collect();
    keys.sort_unstable_by_key(|k| k.id);
    Ok(keys)
}

async fn invites_to(cql: &Cql, digest: &ContactDigest) -> Result<Vec<(TenantId, Timestamp)>> {
    let page = cql.entries(List::InvitesTo, digest.as_bytes(), &[], END, LISTED as u32, false).await?;
    let found = stream::iter(page).map(async |(key, body)| match key.0.as_slice().try_into() {
        Ok(id) => {
            let tenant: TenantId = parse(&body)?;
            let invite = invites_of::get(cql, tenant, InviteId::from_bytes(id)).await?;
            Ok(invite.map(|i| (tenant, i.created_at)))
        }
        Err(_) => Ok::<_, crate::store::StoreError>(None),
    });
    let mut all: Vec<_> = found.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    all.sort_by_key(|(_, at)| *at);
    Ok(all)
}

impl Engine {
    pub(super) async fn kept_about(&self, id: UserId) -> Result<Option<Kept>> {
        let (cql, unit) = (&self.cql, Unit::user(id));
        let Some(user) = self.user(id).await? else { return Ok(None) };
        let mut networks: Known = cql.peek(&unit, KNOWN, ONE).await?.unwrap_or_default();
        networks.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        let undo_links = cql.peek_all::<UndoLink>(&unit, UNDO).await?.into_iter().map(|(_, link)| link).collect();
        Ok(Some(Kept {
            memberships: memberships(cql, id).await?,
            sessions: self.sessions(id).await?,
            networks,
            pending_change: cql.peek(&unit, PENDING, ONE).await?,
            undo_links,
            api_keys: api_keys_of(cql, id).await?,
            invites: invites_to(cql, &user.email.digest()).await?,
            audit: audit::about(cql, id, EVENTS).await?,
            user,
        }))
    }
}
