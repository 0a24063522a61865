//! Who may do what: roles, and API keys.

use super::{
    Result,
    commands::{Cas, CreateTenantOutcome},
};
use crate::domain::{
    api_key::ApiKey,
    audit::AuditEvent,
    authority::{Acting, By, Denied, Permitted, Place},
    context::Ctx,
    ids::{ApiKeyId, RoleId, TenantId, UserId},
    permission::{PermissionSet, Role},
    tenant::Tenant,
    time::Timestamp,
    user::Membership,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// What a member may do in a tenant, read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The roles; never empty.
    pub roles: Vec<RoleId>,
    /// What they allow together.
    pub permissions: PermissionSet,
    /// The tenant, to whoever decides over whom it has power.
    pub place: Place,
}

/// A new role; at most 100 a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateRole {
    /// The role; it has a tenant.
    pub role: Role,
    /// Who makes it: they hold all that it allows.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateRole`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateRoleOutcome {
    /// It is there.
    Created,
    /// The tenant has a role (or every tenant has a system role) of this name.
    NameTaken,
    /// The tenant has as many as it may.
    TooMany,
}

/// Gives a member a role, or takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeRole {
    /// Whom.
    pub user_id: UserId,
    /// Where.
    pub tenant_id: TenantId,
    /// Which; a system role or one of the tenant.
    pub role_id: RoleId,
    /// Who gives or takes it.
    pub by: By,
    /// The personal tenant of a member whose last membership ends; `None`: the role is given.
    pub personal: Option<Box<Tenant>>,
    /// Written with it, if it changes something.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`ChangeRole`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeRoleOutcome {
    /// It is so now (or was so before).
    Done,
    /// It was the member's last role: the membership has ended, and the sessions scoped to the tenant with it.
    Removed,
    /// No such member.
    NotMember,
    /// No such role in the tenant.
    NoRole,
    /// The last owner keeps the role: nothing was written.
    LastOwner,
    /// The last role of somebody who belongs nowhere else can't be taken in a managed tenant: nothing was written.
    OnlyTenant,
    /// Whoever asked may not: nothing was written.
    Denied(Denied),
}

/// A new API key; at most 1,000 live ones a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateApiKey {
    /// The key.
    pub key: ApiKey,
    /// Who makes it.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateApiKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateApiKeyOutcome {
    /// It is there.
    Created,
    /// The tenant is gone.
    NoTenant,
    /// The tenant has as many as it may.
    TooMany,
    /// Whoever makes it may not: nothing was written.
    Denied(Denied),
}

/// A new organization of the operator's, with the key with which the first people are let in, or with its first owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first API key.
    pub key: Option<ApiKey>,
    /// Its first owner, an account that exists.
    pub owner: Option<Membership>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Ends an API key; a [`super::commands::Revocation::ApiKey`] is written with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokeApiKey {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Which.
    pub key_id: ApiKeyId,
    /// Who asks.
    pub by: By,
    /// Written with it, if it was live.
    pub audit: Vec<AuditEvent>,
}

/// An owner answers for a key from now on, and for the keys that it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TakeOverKey {
    /// Which.
    pub key_id: ApiKeyId,
    /// Who takes it over, and in which tenant: an owner, in person.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`TakeOverKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakeOverOutcome {
    /// It is theirs.
    Taken,
    /// Whoever asked may not: nothing was written.
    Denied(Denied),
}

/// Which of a person's keys end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// All.
    All,
    /// Those of the personal tenant, and those of organizations that were made or taken over since then.
    PersonalAndSince(Option<Timestamp>),
}

impl Keys {
    /// Whether a key is one of them.
    pub fn has(self, key: &ApiKey, personal: bool) -> bool {
        match self {
            Self::All => true,
            Self::PersonalAndSince(since) => {
                personal || since.is_some_and(|since| key.created_at.max(key.taken_over_at.unwrap_or(key.created_at)) >= since)
            }
        }
    }
}

/// What an API key may do at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who acts through it.
    pub acting: Acting,
    /// Its tenant, to whoever decides over whom it has power.
    pub place: Place,
}

/// Roles and API keys. The rules of [`super::Store`] hold.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// What a user may do in a tenant; `None` if he is no member, or the tenant is deleted.
    async fn grant(&self, user: UserId, tenant: TenantId) -> Result<Option<Grant>>;
    /// The tenant's own roles, by name.
    async fn roles(&self, tenant: TenantId) -> Result<Vec<Role>>;
    /// Makes a role.
    async fn create_role(&self, ctx: &Ctx, cmd: CreateRole) -> Result<Permitted<CreateRoleOutcome>>;
    /// Gives a role. Done already: `Done`, and no audit.
    async fn give_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome>;
    /// Takes a role. Not had: `Done`, and no audit. The last owner (active, not in the bin) keeps his; taking the last role ends the membership.
    async fn take_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome>;
    /// Makes an API key, and tells its maker and the owners.
    async fn create_api_key(&self, ctx: &Ctx, cmd: CreateApiKey) -> Result<CreateApiKeyOutcome>;
    /// A key of a tenant, ended ones too.
    async fn api_key_by_id(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>>;
    /// What a key may do now: its scopes, within what its maker may do; `None` if the maker is gone and nobody has taken it over.
    async fn standing(&self, key: &ApiKey) -> Result<Option<Standing>>;
    /// Has an owner answer for a key; `Stale`: the tenant has no such live key.
    async fn take_over_key(&self, ctx: &Ctx, cmd: TakeOverKey) -> Result<Cas<TakeOverOutcome>>;
    /// Makes an organization, and its first API key or owner.
    async fn found_tenant(&self, ctx: &Ctx, cmd: FoundTenant) -> Result<CreateTenantOutcome>;
    /// A live tenant by its slug.
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>>;
    /// A key by its prefix, if its tenant is live; revoked and expired ones too.
    async fn api_key(&self, prefix: &str) -> Result<Option<ApiKey>>;
    /// Keys of a tenant, newest first, those made before `after` (the last id of the page before), at most `limit`.
    async fn api_keys(&self, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>>;
    /// Ends a key and those that it made, and gives them all; `Stale` if the tenant has no such key. Ended already: `Done` with none, the
    /// first time stays.
    async fn revoke_api_key(&self, ctx: &Ctx, cmd: RevokeApiKey) -> Result<Permitted<Cas<Vec<ApiKeyId>>>>;
    /// Notes the use of a key, if that is later than what is noted.
    async fn touch_api_key(&self, key: ApiKeyId, at: Timestamp) -> Result<()>;
}
