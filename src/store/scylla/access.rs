//! Roles: rows of the tenant's unit, which are made and never removed. Who has which stands in his membership.

use super::{
    ScyllaStore,
    accounts::{ACCOUNT, HOLDER, ONE, account, ones, put_account},
    api_keys, authority,
    cql::Cql,
    policy::live,
    sessions, tenants,
    tenants::{MEMBER, Member, TENANT},
    tx::{Outcome, Plan, Planned, Tx},
    unit::{Name, Unit, name},
};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::{Denied, Permitted, Place, needs_proof},
        context::Ctx,
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        outbox::{Job, OWNERS_TOLD},
        permission::{Permission, PermissionSet, Role},
        tenant::Tenant,
        time::Timestamp,
    },
    store::{Result, access::*, commands::*},
};
use async_trait::async_trait;

pub(super) const ROLE: &str = "role";
/// Roles that a tenant may make.
const ROLES: usize = 100;

impl Outcome for CreateRoleOutcome {}
impl Outcome for ChangeRoleOutcome {
    /// Whoever knows an id can ask: nothing is left in the account of somebody who is no member.
    fn recorded(&self) -> bool {
        !matches!(self, Self::NotMember | Self::NoRole)
    }
}

#[async_trait]
impl AccessStore for ScyllaStore {
    async fn grant(&self, user: UserId, tenant: TenantId) -> Result<Option<Grant>> {
        let cql = &self.engine.cql;
        self.engine.read(async { grant(cql, user, tenant).await.map(|found| found.map(|(grant, _)| grant)) }).await
    }
    async fn roles(&self, tenant: TenantId) -> Result<Vec<Role>> {
        let mut roles: Vec<Role> =
            self.engine.read(self.engine.cql.peek_all(&Unit::tenant(tenant), ROLE)).await?.into_iter().map(|(_, role)| role).collect();
        // As names are told apart, so they are sorted.
        roles.sort_by_key(|role| role.name.to_ascii_lowercase());
        Ok(roles)
    }
    async fn create_role(&self, ctx: &Ctx, cmd: CreateRole) -> Result<Permitted<CreateRoleOutcome>> {
        // A role of every tenant is nobody's to make.
        let Some(tenant) = cmd.role.tenant_id else { return Ok(Ok(CreateRoleOutcome::NameTaken)) };
        self.engine.command(ctx, Unit::tenant(tenant), cmd).await
    }
    async fn give_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        self.engine.command(ctx, Unit::user(cmd.user_id), Give(cmd)).await
    }
    async fn take_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        // Owners who take the role from each other meet in the tenant's unit: there they take turns.
        let home = if cmd.role_id == RoleId::OWNER { Unit::tenant(cmd.tenant_id) } else { Unit::user(cmd.user_id) };
        self.engine.command(ctx, home, Take(cmd)).await
    }
    async fn create_api_key(&self, ctx: &Ctx, cmd: CreateApiKey) -> Result<CreateApiKeyOutcome> {
        self.engine.command(ctx, Unit::tenant(cmd.key.tenant_id), cmd).await
    }
    async fn found_tenant(&self, ctx: &Ctx, cmd: FoundTenant) -> Result<CreateTenantOutcome> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant.id), cmd).await
    }
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        let read = async {
            let Some(id) = self.engine.cql.peek::<TenantId>(&Unit::slug(slug), HOLDER, ONE).await? else { return Ok(None) };
            Ok(self.engine.tenant(id).await?.filter(|t| t.slug == slug && t.deleted_at.is_none()))
        };
        self.engine.read(read).await
    }
    async fn api_key(&self, prefix: &str) -> Result<Option<ApiKey>> {
        self.engine.read(api_keys::by_prefix(&self.engine.cql, prefix)).await
    }
    async fn api_keys(&self, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>> {
        self.engine.read(api_keys::list(&self.engine.cql, tenant, after, limit)).await
    }
    async fn revoke_api_key(&self, ctx: &Ctx, cmd: RevokeApiKey) -> Result<Permitted<Cas<Vec<ApiKeyId>>>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn api_key_by_id(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.engine.read(api_keys::one(&self.engine.cql, tenant, id)).await
    }
    async fn standing(&self, key: &ApiKey) -> Result<Option<Standing>> {
        self.engine.read(api_keys::standing(&self.engine.cql, key)).await
    }
    async fn take_over_key(&self, ctx: &Ctx, cmd: TakeOverKey) -> Result<Cas<TakeOverOutcome>> {
        self.engine.command(ctx, Unit::tenant(cmd.by.tenant_id), cmd).await
    }
    async fn touch_api_key(&self, key: ApiKeyId, at: Timestamp) -> Result<()> {
        api_keys::touch(&self.engine.cql, key, at).await
    }
}

/// What one role of a tenant allows; `None` if there is no such role.
pub(super) async fn allows(cql: &Cql, tenant: TenantId, role: RoleId) -> Result<Option<PermissionSet>> {
    if let Some(system) = Role::system_permissions(role) {
        return Ok(Some(system));
    }
    Ok(cql.peek::<Role>(&Unit::tenant(tenant), ROLE, role.as_bytes()).await?.map(|r| r.permissions))
}

/// What roles allow together.
pub(super) async fn allowed_by(cql: &Cql, tenant: TenantId, roles: &[RoleId]) -> Result<PermissionSet> {
    let mut together = PermissionSet::default();
    for role in roles {
        together = together.union(allows(cql, tenant, *role).await?.unwrap_or_default());
    }
    Ok(together)
}

/// What a member may do in a live tenant, and the tenant.
pub(super) async fn grant(cql: &Cql, user: UserId, tenant: TenantId) -> Result<Option<(Grant, Tenant)>> {
    let (user_unit, tenant_unit) = (Unit::user(user), Unit::tenant(tenant));
    let (member, found) =
        tokio::join!(cql.peek::<Member>(&user_unit, MEMBER, tenant.as_bytes()), cql.peek::<Tenant>(&tenant_unit, TENANT, ONE));
    let (Some(member), Some(found)) = (member?, found?.filter(|t| t.deleted_at.is_none())) else { return Ok(None) };
    let mut roles = member.roles;
    roles.sort_unstable();
    let permissions = allowed_by(cql, tenant, &roles).await?;
    Ok(Some((Grant { roles, permissions, place: Place::of(&found) }, found)))
}

#[async_trait]
impl Plan for CreateRole {
    type Out = Permitted<CreateRoleOutcome>;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<CreateRoleOutcome>> {
        let (role, Some(tenant)) = (&self.role, self.role.tenant_id) else { return Ok(Ok(CreateRoleOutcome::NameTaken)) };
        if let Err(why) = authority::permitted(tx, self.by, Permission::RoleWrite).await?.and_then(|acting| acting.covers(role.permissions))
        {
            return Ok(Err(why));
        }
        let unit = Unit::tenant(tenant);
        let there = tx.scan::<Role>(&unit, ROLE).await?;
        let same = |other: &str| other.eq_ignore_ascii_case(&role.name);
        if Role::system().iter().any(|r| same(&r.name)) || there.iter().any(|(_, r)| same(&r.name)) {
            return Ok(Ok(CreateRoleOutcome::NameTaken));
        }
        if there.len() >= ROLES {
            return Ok(Ok(CreateRoleOutcome::TooMany));
        }
        tx.put(&unit, ROLE, role.id.as_bytes(), &Role { created_at: Some(role.created_at.unwrap_or(tx.now)), ..role.clone() })?;
        tx.audit(&self.audit)?;
        Ok(Ok(CreateRoleOutcome::Created))
    }
}

/// Gives a role to a member, who has it or not.
pub(super) async fn add_role(tx: &mut Tx<'_>, user: UserId, tenant: TenantId, mut member: Member, role: RoleId) -> Planned<bool> {
    if member.roles.contains(&role) {
        return Ok(false);
    }
    member.roles.push(role);
    tenants::put_member(tx, user, tenant, &member).await?;
    Ok(true)
}

/// The membership in a live tenant.
async fn membership(tx: &mut Tx<'_>, cmd: &ChangeRole) -> Planned<Option<Member>> {
    let member = tenants::member(tx, cmd.user_id, cmd.tenant_id).await?;
    Ok(if tenants::is_live(tx, cmd.tenant_id).await? { member } else { None })
}

/// Whether whoever asks may give (or take) the role; if not, the answer.
async fn may_change(
    tx: &mut Tx<'_>,
    cmd: &ChangeRole,
    taker: Option<UserId>,
) -> Planned<std::result::Result<PermissionSet, ChangeRoleOutcome>> {
    let acting = match authority::permitted_surely(tx, cmd.by, Permission::RoleWrite).await? {
        Ok(acting) => acting,
        Err(why) => return Ok(Err(ChangeRoleOutcome::Denied(why))),
    };
    Ok(match authority::givable(tx.cql(), &acting, cmd.tenant_id, cmd.role_id, taker).await? {
        None => Err(ChangeRoleOutcome::NoRole),
        Some(Err(why)) => Err(ChangeRoleOutcome::Denied(why)),
        Some(Ok(allows)) => Ok(allows),
    })
}

fn first_of_change(cmd: &ChangeRole) -> Vec<Name> {
    vec![name(ACCOUNT, ONE), name(MEMBER, cmd.tenant_id.as_bytes())]
}

struct Give(ChangeRole);

#[async_trait]
impl Plan for Give {
    type Out = ChangeRoleOutcome;
    fn first(&self) -> Vec<Name> {
        first_of_change(&self.0)
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<ChangeRoleOutcome> {
        let cmd = &self.0;
        let (Some(member), Some(account)) = (membership(tx, cmd).await?, account(tx, cmd.user_id).await?) else {
            return Ok(ChangeRoleOutcome::NotMember);
        };
        match may_change(tx, cmd, Some(cmd.user_id)).await? {
            Err(outcome) => return Ok(outcome),
            Ok(allows) if needs_proof(cmd.role_id, allows) && !authority::has_proved(tx.cql(), cmd.user_id, cmd.tenant_id).await? => {
                return Ok(ChangeRoleOutcome::Denied(Denied::TakerUnproved));
            }
            Ok(_) => {}
        }
        if add_role(tx, cmd.user_id, cmd.tenant_id, member, cmd.role_id).await? {
            // Whoever decided on the old roles decides again.
            put_account(tx, account).await?;
            tx.audit(&cmd.audit)?;
        }
        Ok(ChangeRoleOutcome::Done)
    }
}

struct Take(ChangeRole);

#[async_trait]
impl Plan for Take {
    type Out = ChangeRoleOutcome;
    fn first(&self) -> Vec<Name> {
        if self.0.role_id == RoleId::OWNER { Vec::new() } else { first_of_change(&self.0) }
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<ChangeRoleOutcome> {
        let (cmd, user, tenant) = (&self.0, self.0.user_id, self.0.tenant_id);
        let (Some(mut member), Some(mut account)) = (membership(tx, cmd).await?, account(tx, user).await?) else {
            return Ok(ChangeRoleOutcome::NotMember);
        };
        if let Err(outcome) = may_change(tx, cmd, None).await? {
            return Ok(outcome);
        }
        if !member.roles.contains(&cmd.role_id) {
            return Ok(ChangeRoleOutcome::Done);
        }
        if cmd.role_id == RoleId::OWNER && !tenants::has_other_owner(tx, tenant, user).await? {
            return Ok(ChangeRoleOutcome::LastOwner);
        }
        let last = member.roles.len() == 1;
        if last {
            if !tenants::belongs_elsewhere(tx, user, tenant).await? {
                match &cmd.personal {
                    Some(personal) if !tenants::is_managed(tx, tenant).await? => {
                        tenants::give_personal(tx, &mut account, personal).await?;
                    }
                    _ => return Ok(ChangeRoleOutcome::OnlyTenant),
                }
            }
            tenants::end_membership(tx, &mut account, tenant).await?;
            sessions::revoke_in_tenant(tx, &mut account, tenant).await?;
        } else {
            member.roles.retain(|role| *role != cmd.role_id);
            tenants::put_member(tx, user, tenant, &member).await?;
        }
        put_account(tx, account).await?;
        tx.audit(&cmd.audit)?;
        Ok(if last { ChangeRoleOutcome::Removed } else { ChangeRoleOutcome::Done })
    }
}

#[async_trait]
impl Plan for FoundTenant {
    type Out = CreateTenantOutcome;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateTenantOutcome> {
        if tx.get::<TenantId>(&Unit::slug(&self.tenant.slug), HOLDER, ONE).await?.is_some() {
            return Ok(CreateTenantOutcome::SlugTaken);
        }
        tenants::insert(tx, &self.tenant).await?;
        if let Some(key) = &self.key {
            api_keys::insert(tx, key).await?;
        }
        if let Some(membership) = &self.owner {
            tenants::join(tx, membership, self.tenant.kind).await?;
            if let Some(account) = account(tx, membership.user_id).await? {
                put_account(tx, account).await?;
            }
        }
        tx.audit(&self.audit)?;
        Ok(CreateTenantOutcome::Created)
    }
}

#[async_trait]
impl Plan for CreateApiKey {
    type Out = CreateApiKeyOutcome;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateApiKeyOutcome> {
        let tenant = self.key.tenant_id;
        let Some(place) = live(tx, tenant).await? else { return Ok(CreateApiKeyOutcome::NoTenant) };
        let permitted = authority::permitted_surely(tx, self.by, Permission::ApiKeyWrite).await?;
        let acting = match permitted.and_then(|acting| acting.covers(self.key.scopes).map(|()| acting)) {
            Err(why) => return Ok(CreateApiKeyOutcome::Denied(why)),
            Ok(acting) => acting,
        };
        authority::makes(tx, &acting)?;
        if api_keys::has_as_many_as_it_may(tx, &place).await? {
            return Ok(CreateApiKeyOutcome::TooMany);
        }
        // Of a key that acts: who is its maker now.
        let maker = acting.actor.person.or(self.key.user_id);
        let key = ApiKey { user_id: maker, ..self.key.clone() };
        api_keys::insert(tx, &key).await?;
        let owners = tenants::owners(tx.cql(), tenant, OWNERS_TOLD as usize).await?;
        for user in maker.into_iter().chain(owners.into_iter().filter(|owner| Some(*owner) != maker)) {
            tx.job(&Job::key_made(user, &key))?;
        }
        tx.audit(&self.audit)?;
        Ok(CreateApiKeyOutcome::Created)
    }
}
