//! Invites as they are read: one, those of a tenant, those to an address.

use super::{
    access,
    accounts::ONE,
    audit::END,
    authority,
    cql::Cql,
    tenants::TENANT,
    tx::parse,
    unit::{Bytes, Family, List, Unit},
    withdrawal,
};
use crate::{
    domain::{
        authority::{Acting, Authority, By},
        contact::ContactDigest,
        ids::{InviteId, TenantId},
        invite::{Invite, InviteStatus},
        permission::PermissionSet,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
    },
    store::Result,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

pub(super) const INVITE: &str = "invite";
/// Open invites of an address in a list.
const LISTED: usize = 200;
/// Entries that are read at once, and units.
const PAGE: u32 = 200;
const AT_ONCE: usize = 16;

/// An invite as it lies in its unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) invite: Invite,
    /// When a pending one expires; of the others, when the row goes.
    pub(super) sweep_at: Timestamp,
    /// The version at which the inviter's unit was read when they offered it; 0 of those that were made before this was noted.
    #[serde(default)]
    pub(super) offered: i64,
}

/// The invite as it is: revoked, if its inviter has taken back what they offered.
pub(super) async fn as_it_is(cql: &Cql, row: Row) -> Result<Invite> {
    let Some(inviter) = row.invite.inviter.filter(|_| row.invite.can_be_sent_again()) else { return Ok(row.invite) };
    let (at, version) = (row.invite.offered_at(), row.offered);
    let revoked = withdrawal::of(cql, inviter).await?.iter().any(|w| w.covers(at, version));
    Ok(if revoked { Invite { status: InviteStatus::Revoked, ..row.invite } } else { row.invite })
}

/// What an address has in a tenant.
pub(super) fn unit(tenant: TenantId, digest: &ContactDigest) -> Unit {
    Unit { family: Family::Invites, key: Bytes::join(&[tenant.as_bytes(), digest.as_bytes()]) }
}

/// Whose address an invite of a tenant is to.
pub(super) async fn digest_of(cql: &Cql, tenant: TenantId, id: InviteId) -> Result<Option<ContactDigest>> {
    let Some(body) = cql.entry(List::InvitesOf, tenant.as_bytes(), id.as_bytes()).await? else { return Ok(None) };
    digest(&body)
}
pub(super) fn digest(body: &str) -> Result<Option<ContactDigest>> {
    Ok(parse::<Bytes>(body)?.0.as_slice().try_into().ok().map(ContactDigest::from_bytes))
}

async fn row(cql: &Cql, tenant: TenantId, digest: &ContactDigest, id: InviteId) -> Result<Option<Invite>> {
    match cql.peek::<Row>(&unit(tenant, digest), INVITE, id.as_bytes()).await? {
        Some(row) => as_it_is(cql, row).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn get(cql: &Cql, tenant: TenantId, id: InviteId) -> Result<Option<Invite>> {
    match digest_of(cql, tenant, id).await? {
        Some(digest) => row(cql, tenant, &digest, id).await,
        None => Ok(None),
    }
}

/// A live tenant that people can be invited to.
pub(super) async fn takes_members(cql: &Cql, tenant: TenantId) -> Result<bool> {
    let tenant: Option<Tenant> = cql.peek(&Unit::tenant(tenant), TENANT, ONE).await?;
    Ok(tenant.is_some_and(|t| t.deleted_at.is_none() && t.kind == TenantKind::Organization))
}

/// Who answers for an invite, and what its role allows, by their rows of now; `None`: nobody, or there is no such role, or they may not give
/// it. Nobody gives more than they hold, at the time when it is taken, nor what they have taken back.
pub(super) async fn given(cql: &Cql, now: Timestamp, row: &Row) -> Result<Option<(Acting, PermissionSet)>> {
    let invite = &row.invite;
    let Some(allows) = access::allows(cql, invite.tenant_id, invite.role_id).await? else { return Ok(None) };
    let giver = giver(cql, now, row).await?.filter(|giver| giver.may_give(invite.role_id, allows, None).is_ok());
    Ok(giver.map(|giver| (giver, allows)))
}

async fn giver(cql: &Cql, now: Timestamp, row: &Row) -> Result<Option<Acting>> {
    let (tenant_id, at) = (row.invite.tenant_id, row.invite.offered_at());
    match (row.invite.inviter_key, row.invite.inviter) {
        (Some(_), Some(inviter)) if withdrawal::of(cql, inviter).await?.iter().any(|w| w.covers(at, row.offered)) => Ok(None),
        (Some(key), _) => Ok(authority::acting(cql, now, By { tenant_id, authority: Authority::Key(key) }).await?.ok()),
        (None, Some(inviter)) => authority::who_offered(cql, inviter, tenant_id, at, row.offered).await,
        (None, None) => Ok(None),
    }
}

pub(super) async fn list(
    cql: &Cql,
    tenant: TenantId,
    status: Option<InviteStatus>,
    after: Option<InviteId>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Invite>> {
    let (mut below, mut out) = (after.map_or(END.to_vec(), |id| id.as_bytes().to_vec()), Vec::new());
    while out.len() < limit {
        let page = cql.entries(List::InvitesOf, tenant.as_bytes(), &[], &below, PAGE, true).await?;
        let last = page.last().map(|(key, _)| key.0.clone()).filter(|_| page.len() == PAGE as usize);
        let found = stream::iter(page).map(async |(key, body)| match (key.0.as_slice().try_into(), digest(&body)?) {
            (Ok(id), Some(digest)) => row(cql, tenant, &digest, InviteId::from_bytes(id)).await,
            _ => Ok(None),
        });
        let found: Vec<Option<Invite>> = found.buffered(AT_ONCE).try_collect().await?;
        out.extend(found.into_iter().flatten().filter(|i| status.is_none_or(|s| i.status_at(now) == s)));
        match last {
            Some(key) => below = key,
            None => break,
        }
    }
    out.truncate(limit);
    Ok(out)
}

/// An invite to an address that could be accepted, with its tenant.
pub(super) async fn open_one(cql: &Cql, email: &ContactDigest, id: InviteId, now: Timestamp) -> Result<Option<(Invite, Tenant)>> {
    match cql.entry(List::InvitesTo, email.as_bytes(), id.as_bytes()).await? {
        Some(body) => open(cql, email, id, &body, now).await,
        None => Ok(None),
    }
}

async fn open(cql: &Cql, email: &ContactDigest, id: InviteId, body: &str, now: Timestamp) -> Result<Option<(Invite, Tenant)>> {
    let tenant: TenantId = parse(body)?;
    let row: Option<Row> = cql.peek(&unit(tenant, email), INVITE, id.as_bytes()).await?;
    let Some(row) = row.filter(|row| row.invite.is_open(now)) else { return Ok(None) };
    let tenant: Option<Tenant> = cql.peek(&Unit::tenant(tenant), TENANT, ONE).await?;
    let Some(tenant) = tenant.filter(|t| t.deleted_at.is_none()) else { return Ok(None) };
    Ok(given(cql, now, &row).await?.map(|_| (row.invite, tenant)))
}

pub(super) async fn open_to(cql: &Cql, email: &ContactDigest, now: Timestamp) -> Result<Vec<(Invite, Tenant)>> {
    let (mut below, mut out) = (END.to_vec(), Vec::new());
    loop {
        let page = cql.entries(List::InvitesTo, email.as_bytes(), &[], &below, PAGE, true).await?;
        let last = page.last().map(|(key, _)| key.0.clone()).filter(|_| page.len() == PAGE as usize);
        let found = stream::iter(page).map(async |(key, body)| match key.0.as_slice().try_into() {
            Ok(id) => open(cql, email, InviteId::from_bytes(id), &body, now).await,
            Err(_) => Ok(None),
        });
        out.extend(found.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten());
        match last {
            Some(key) if out.len() < LISTED => below = key,
            _ => break,
        }
    }
    out.truncate(LISTED);
    Ok(out)
}
