//! Who may do what: roles, and API keys.

use super::{
    Result,
    commands::{Cas, CreateTenantOutcome},
};
use crate::domain::{
    api_key::ApiKey,
    audit::AuditEvent,
    context::Ctx,
    ids::{ApiKeyId, RoleId, TenantId, UserId},
    permission::{PermissionSet, Role},
    tenant::{Tenant, TenantKind},
    time::Timestamp,
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
    /// The kind of the tenant.
    pub kind: TenantKind,
}

/// A new role; at most 100 a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateRole {
    /// The role; it has a tenant.
    pub role: Role,
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
    /// The last role of somebody who belongs nowhere else can't be taken: nothing was written.
    OnlyTenant,
}

/// A new API key; at most 1,000 live ones a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateApiKey {
    /// The key.
    pub key: ApiKey,
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
}

/// A new organization that nobody belongs to yet, and the key with which the first people are let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first API key.
    pub key: ApiKey,
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
    /// Written with it, if it was live.
    pub audit: Vec<AuditEvent>,
}

/// Roles and API keys. The rules of [`super::Store`] hold.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// What a user may do in a tenant; `None` if he is no member, or the tenant is deleted.
    async fn grant(&self, user: UserId, tenant: TenantId) -> Result<Option<Grant>>;
    /// The tenant's own roles, by name.
    async fn roles(&self, tenant: TenantId) -> Result<Vec<Role>>;
    /// Makes a role.
    async fn create_role(&self, ctx: &Ctx, cmd: CreateRole) -> Result<CreateRoleOutcome>;
    /// Gives a role. Done already: `Done`, and no audit.
    async fn give_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome>;
    /// Takes a role. Not had: `Done`, and no audit. The last owner (active, not in the bin) keeps his; taking the last role ends the membership.
    async fn take_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome>;
    /// Makes an API key.
    async fn create_api_key(&self, ctx: &Ctx, cmd: CreateApiKey) -> Result<CreateApiKeyOutcome>;
    /// Makes an organization without members, and its first API key.
    async fn found_tenant(&self, ctx: &Ctx, cmd: FoundTenant) -> Result<CreateTenantOutcome>;
    /// A live tenant by its slug.
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>>;
    /// A key by its prefix, if its tenant is live; revoked and expired ones too.
    async fn api_key(&self, prefix: &str) -> Result<Option<ApiKey>>;
    /// Keys of a tenant, newest first, those made before `after` (the last id of the page before), at most `limit`.
    async fn api_keys(&self, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>>;
    /// Ends a key; `Stale` if the tenant has no such key. Ended already: `Done`, the first time stays.
    async fn revoke_api_key(&self, ctx: &Ctx, cmd: RevokeApiKey) -> Result<Cas<()>>;
    /// Notes the use of a key, if that is later than what is noted.
    async fn touch_api_key(&self, key: ApiKeyId, at: Timestamp) -> Result<()>;
}
