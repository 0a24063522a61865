//! Tenants and who belongs to them. A membership is a row of the user's unit; a list leads from the tenant to its members.
//! Who can act as owner is noted in the tenant's unit as well: there two owners meet who both want to go.

use super::{
    accounts::{ACCOUNT, Account, HOLDER, ONE, account, put_account},
    api_keys,
    cql::Cql,
    engine::Engine,
    member_lists::{self, State},
    sessions,
    tx::{Halt, Outcome, Plan, Planned, Tx, parse},
    unit::{Name, Unit, name},
};
use crate::{
    domain::{
        ids::{RoleId, TenantId, UserId},
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, Metadata},
    },
    store::{Result, StoreError, commands::*},
};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

pub(super) const TENANT: &str = "tenant";
pub(super) const MEMBER: &str = "member";
/// In the tenant's unit, by user: whether he can act (isn't suspended, nor in the recycle bin).
pub(super) const OWNER: &str = "owner";
/// Memberships in a list.
const LISTED: usize = 1000;

/// A membership, by tenant, in the user's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) roles: Vec<RoleId>,
    pub(super) joined_at: Timestamp,
    pub(super) kind: TenantKind,
    /// What the tenant keeps about them; none: what the account was made with, in its home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Metadata>,
}

impl Member {
    fn shown(mut self, user_id: UserId, tenant_id: TenantId) -> Membership {
        self.roles.sort_unstable();
        Membership { user_id, tenant_id, roles: self.roles, joined_at: self.joined_at }
    }
}

impl Outcome for CreateTenantOutcome {}
impl Outcome for LeaveOutcome {}

/// Writes a tenant with the claim of its slug, which must be free.
pub(super) async fn insert(tx: &mut Tx<'_>, tenant: &Tenant) -> Planned<()> {
    let (unit, slug) = (Unit::tenant(tenant.id), Unit::slug(&tenant.slug));
    tx.is_new(&unit);
    tx.touch(&slug).await?;
    tx.put(&unit, TENANT, ONE, tenant)?;
    tx.put(&slug, HOLDER, ONE, &tenant.id)
}

/// Writes a membership. The tenant's unit is written only for an owner.
pub(super) async fn join(tx: &mut Tx<'_>, m: &Membership, kind: TenantKind) -> Planned<()> {
    tx.fetch(&Unit::user(m.user_id), &[name(ACCOUNT, ONE), name(MEMBER, m.tenant_id.as_bytes())]).await?;
    let Some(account) = account(tx, m.user_id).await? else {
        return Err(Halt::Failed(StoreError::certainly_not("a membership of nobody")));
    };
    member_lists::joined(tx, &account.user, m.tenant_id, kind);
    put_member(tx, m.user_id, m.tenant_id, &Member { roles: m.roles.clone(), joined_at: m.joined_at, kind, metadata: None }).await
}

/// Writes a membership's row, and whether it is an owner's (of one who can act).
pub(super) async fn put_member(tx: &mut Tx<'_>, user: UserId, tenant: TenantId, member: &Member) -> Planned<()> {
    let (unit, tenant_unit) = (Unit::user(user), Unit::tenant(tenant));
    let before: Option<Member> = tx.get(&unit, MEMBER, tenant.as_bytes()).await?;
    let (was, is) = (before.is_some_and(|m| m.roles.contains(&RoleId::OWNER)), member.roles.contains(&RoleId::OWNER));
    tx.put(&unit, MEMBER, tenant.as_bytes(), member)?;
    if is && !was {
        let can_act = account(tx, user).await?.is_some_and(|a| a.user.may_sign_in());
        tx.touch(&tenant_unit).await?;
        tx.put(&tenant_unit, OWNER, user.as_bytes(), &can_act)?;
    } else if was && !is {
        tx.touch(&tenant_unit).await?;
        tx.del(&tenant_unit, OWNER, user.as_bytes());
    }
    Ok(())
}

/// A membership, live tenant or not.
pub(super) async fn member(tx: &mut Tx<'_>, user: UserId, tenant: TenantId) -> Planned<Option<Member>> {
    tx.get(&Unit::user(user), MEMBER, tenant.as_bytes()).await
}

/// Whether the tenant is there and not deleted; no condition of the commit.
pub(super) async fn is_live(tx: &Tx<'_>, tenant: TenantId) -> Planned<bool> {
    Ok(tx.peek::<Tenant>(&Unit::tenant(tenant), TENANT, ONE).await?.is_some_and(|t| t.deleted_at.is_none()))
}

/// All memberships of a user.
pub(super) async fn members_of(tx: &mut Tx<'_>, user: UserId) -> Planned<Vec<(TenantId, Member)>> {
    let rows = tx.scan::<Member>(&Unit::user(user), MEMBER).await?;
    Ok(rows.into_iter().filter_map(|(key, m)| Some((TenantId::from_bytes(key.0.as_slice().try_into().ok()?), m))).collect())
}

/// Deleted tenants don't count: nobody signs in to them.
pub(super) async fn belongs_elsewhere(tx: &mut Tx<'_>, user: UserId, tenant: TenantId) -> Planned<bool> {
    for (other, _) in members_of(tx, user).await? {
        if other != tenant && is_live(tx, other).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a membership from the account, which the caller writes.
pub(super) async fn end_membership(tx: &mut Tx<'_>, account: &mut Account, tenant: TenantId) -> Planned<()> {
    let user = account.user.id;
    let (unit, tenant_unit) = (Unit::user(user), Unit::tenant(tenant));
    let Some(member) = member(tx, user, tenant).await? else { return Ok(()) };
    api_keys::stop_keys_of_maker(tx, user, Some(tenant)).await?;
    if member.roles.contains(&RoleId::OWNER) {
        tx.touch(&tenant_unit).await?;
        tx.del(&tenant_unit, OWNER, user.as_bytes());
    }
    tx.del(&unit, MEMBER, tenant.as_bytes());
    member_lists::left(tx, &account.user, tenant, member.kind);
    // The next sign-in must not go where the user no longer belongs.
    account.user.last_tenant = account.user.last_tenant.filter(|t| *t != tenant);
    Ok(())
}

/// An owner who is suspended or in the recycle bin can't act, and doesn't count.
pub(super) async fn has_other_owner(tx: &mut Tx<'_>, tenant: TenantId, but: UserId) -> Planned<bool> {
    let owners = tx.scan::<bool>(&Unit::tenant(tenant), OWNER).await?;
    Ok(owners.iter().any(|(key, can_act)| *can_act && key.0 != but.as_bytes()))
}

/// The live organizations that a user owns.
async fn owned(tx: &mut Tx<'_>, user: UserId) -> Planned<Vec<TenantId>> {
    let mut owned = Vec::new();
    for (tenant, m) in members_of(tx, user).await? {
        if m.kind == TenantKind::Organization && m.roles.contains(&RoleId::OWNER) && is_live(tx, tenant).await? {
            owned.push(tenant);
        }
    }
    Ok(owned)
}

/// Notes in the organizations that a user owns whether he can act.
pub(super) async fn act_as_owner(tx: &mut Tx<'_>, user: UserId, can_act: bool) -> Planned<()> {
    for tenant in owned(tx, user).await? {
        let unit = Unit::tenant(tenant);
        tx.touch(&unit).await?;
        tx.put(&unit, OWNER, user.as_bytes(), &can_act)?;
    }
    Ok(())
}

/// Whether the user is the last owner of an organization that has other members.
pub(super) async fn holds_up_an_organization(tx: &mut Tx<'_>, user: UserId) -> Planned<bool> {
    for tenant in owned(tx, user).await? {
        if !has_other_owner(tx, tenant, user).await? && has_other_members(tx, tenant, user).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether somebody else, not in the recycle bin, belongs to the tenant.
async fn has_other_members(tx: &Tx<'_>, tenant: TenantId, but: UserId) -> Planned<bool> {
    let mut entries = member_lists::by_id(tx.cql(), tenant, &[State::Active, State::Suspended], None, 2);
    while let Some(entry) = entries.next().await? {
        let Some(id) = entry.id().filter(|id| *id != but) else { continue };
        let unit = Unit::user(id);
        let belongs = tx.peek::<Member>(&unit, MEMBER, tenant.as_bytes()).await?.is_some();
        if belongs && tx.peek::<Account>(&unit, ACCOUNT, ONE).await?.is_some_and(|a| a.user.deleted_at.is_none()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the operator has given the tenant's admins power over credentials; no condition of the commit.
pub(super) async fn is_managed(tx: &Tx<'_>, tenant: TenantId) -> Planned<bool> {
    Ok(tx.peek::<Tenant>(&Unit::tenant(tenant), TENANT, ONE).await?.is_some_and(|t| t.managed))
}

/// Whether it is somebody's personal tenant; no condition of the commit.
pub(super) async fn is_personal(tx: &Tx<'_>, tenant: TenantId) -> Planned<bool> {
    Ok(tx.peek::<Tenant>(&Unit::tenant(tenant), TENANT, ONE).await?.is_some_and(|t| t.kind == TenantKind::Personal))
}

/// Whether a user is a member of a tenant that is there.
pub(super) async fn belongs_somewhere(tx: &mut Tx<'_>, user: UserId) -> Planned<bool> {
    for (id, _) in members_of(tx, user).await? {
        if tx.peek::<Tenant>(&Unit::tenant(id), TENANT, ONE).await?.is_some_and(|t| t.deleted_at.is_none()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a user who has none a personal tenant, which is their home from now on. The caller writes the account.
pub(super) async fn give_personal(tx: &mut Tx<'_>, account: &mut Account, tenant: &Tenant) -> Planned<()> {
    let user_id = account.user.id;
    if members_of(tx, user_id).await?.iter().any(|(_, m)| m.kind == TenantKind::Personal) {
        return Ok(());
    }
    insert(tx, tenant).await?;
    let membership = Membership { user_id, tenant_id: tenant.id, roles: vec![RoleId::OWNER], joined_at: tx.now };
    join(tx, &membership, TenantKind::Personal).await?;
    // What the home of before keeps stays there.
    let home = std::mem::replace(&mut account.user.home_tenant, tenant.id);
    let metadata = std::mem::take(&mut account.user.metadata);
    match member(tx, user_id, home).await? {
        Some(m) if m.metadata.is_none() => put_member(tx, user_id, home, &Member { metadata: Some(metadata), ..m }).await,
        _ => Ok(()),
    }
}

/// The account's first proof: one that an organization without power made gets a personal tenant. The caller writes the account, which
/// is unproved still.
pub(super) async fn first_proof(tx: &mut Tx<'_>, account: &mut Account, personal: Option<&Tenant>) -> Planned<()> {
    match personal {
        Some(tenant) if account.user.independent && account.user.email_verified_at.is_none() => give_personal(tx, account, tenant).await,
        _ => Ok(()),
    }
}

/// The owners of a tenant.
pub(super) async fn owners(cql: &Cql, tenant: TenantId, limit: usize) -> Result<Vec<UserId>> {
    let rows = cql.peek_all::<bool>(&Unit::tenant(tenant), OWNER).await?;
    Ok(rows.into_iter().filter_map(|(key, _)| Some(UserId::from_bytes(key.0.as_slice().try_into().ok()?))).take(limit).collect())
}

#[async_trait]
impl Plan for CreateTenant {
    type Out = CreateTenantOutcome;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateTenantOutcome> {
        if tx.get::<TenantId>(&Unit::slug(&self.tenant.slug), HOLDER, ONE).await?.is_some() {
            return Ok(CreateTenantOutcome::SlugTaken);
        }
        insert(tx, &self.tenant).await?;
        join(tx, &self.membership, self.tenant.kind).await?;
        tx.audit(&self.audit)?;
        Ok(CreateTenantOutcome::Created)
    }
}

#[async_trait]
impl Plan for LeaveTenant {
    type Out = LeaveOutcome;
    fn first(&self) -> Vec<Name> {
        vec![name(ACCOUNT, ONE), name(MEMBER, self.tenant_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<LeaveOutcome> {
        let (user, tenant) = (self.user_id, self.tenant_id);
        let (Some(mut account), Some(m)) = (account(tx, user).await?, member(tx, user, tenant).await?) else {
            return Ok(LeaveOutcome::NotMember);
        };
        if !is_live(tx, tenant).await? {
            return Ok(LeaveOutcome::NotMember);
        }
        if m.roles.contains(&RoleId::OWNER) && !has_other_owner(tx, tenant, user).await? {
            return Ok(LeaveOutcome::LastOwner);
        }
        if !belongs_elsewhere(tx, user, tenant).await? {
            if is_managed(tx, tenant).await? {
                return Ok(LeaveOutcome::OnlyTenant);
            }
            give_personal(tx, &mut account, &self.personal).await?;
        }
        end_membership(tx, &mut account, tenant).await?;
        sessions::revoke_in_tenant(tx, &mut account, tenant).await?;
        put_account(tx, account).await?;
        tx.audit(&self.audit)?;
        Ok(LeaveOutcome::Left)
    }
}

impl Engine {
    pub(super) async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>> {
        self.cql.peek(&Unit::tenant(id), TENANT, ONE).await
    }

    pub(super) async fn membership(&self, user: UserId, tenant: TenantId) -> Result<Option<Membership>> {
        Ok(self.membership_kept(user, tenant).await?.map(|(membership, _)| membership))
    }

    pub(super) async fn membership_kept(&self, user: UserId, tenant: TenantId) -> Result<Option<(Membership, Option<Metadata>)>> {
        let unit = Unit::user(user);
        let (m, t) = tokio::join!(self.cql.peek::<Member>(&unit, MEMBER, tenant.as_bytes()), self.tenant(tenant));
        let live = t?.is_some_and(|t| t.deleted_at.is_none());
        Ok(m?.filter(|_| live).map(|mut m| {
            let kept = m.metadata.take();
            (m.shown(user, tenant), kept)
        }))
    }

    pub(super) async fn memberships(&self, user: UserId) -> Result<Vec<(Tenant, Membership)>> {
        let rows = self.cql.scan(&Unit::user(user), MEMBER, &[]).await?;
        let found = stream::iter(rows)
            .map(async |row| {
                let Ok(id) = row.name.key.0.as_slice().try_into().map(TenantId::from_bytes) else { return Ok(None) };
                let m: Member = parse(&row.body)?;
                let tenant = self.tenant(id).await?.filter(|t| t.deleted_at.is_none());
                Ok(tenant.map(|t| (t, m.shown(user, id))))
            })
            .buffer_unordered(16)
            .try_collect::<Vec<_>>();
        let mut all: Vec<_> = found.await?.into_iter().flatten().collect();
        all.sort_by_key(|(t, m)| (m.joined_at, t.id));
        all.truncate(LISTED);
        Ok(all)
    }
}
