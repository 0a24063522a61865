//! Roles and API keys of the operator's tenant.

use super::{
    Tag,
    bearer::Authorized,
    errors::ApiError,
    fields::{All, label, permissions, when},
    page::{Cursor, page},
    payload::{In, NoContent, Out},
    types::{LabelText, LongText, Shown, Time, WhenText},
};
use crate::{
    domain::{
        api_key,
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        permission::{self, Permission},
    },
    service::{Services, api::Caller, api_keys::NewApiKey},
};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;
use std::sync::Arc;

/// One thing that may be done in a tenant.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Permission")]
pub struct PermissionView {
    /// The same as the key.
    id: String,
    /// `noun.verb`.
    key: String,
    /// What it allows.
    description: String,
}

/// All permissions.
#[derive(Debug, Serialize, Object)]
pub struct PermissionList {
    /// The permissions, by key.
    items: Vec<PermissionView>,
    /// Always null: all of them are in `items`.
    next_cursor: Option<String>,
}

/// A role.
#[derive(Debug, Serialize, Object)]
pub struct Role {
    /// Its id; system roles have the same in every tenant.
    id: RoleId,
    /// Null for system roles.
    tenant_id: Option<TenantId>,
    /// Unique in the tenant.
    name: String,
    /// What it is for.
    description: Option<String>,
    /// Keys of what it allows.
    permissions: Vec<String>,
    /// `owner`, `admin` and `member` are in every tenant, and can't be changed.
    is_system: bool,
    /// Null for system roles.
    created_at: Option<Time>,
}

fn keys(set: permission::PermissionSet) -> Vec<String> {
    set.keys().into_iter().map(str::to_owned).collect()
}

impl From<permission::Role> for Role {
    fn from(r: permission::Role) -> Self {
        Self {
            id: r.id,
            tenant_id: r.tenant_id,
            name: r.name,
            description: r.description,
            permissions: keys(r.permissions),
            is_system: r.tenant_id.is_none(),
            created_at: r.created_at.map(Time),
        }
    }
}

/// Roles: the system roles, then the tenant's own by name.
#[derive(Debug, Serialize, Object)]
pub struct RoleList {
    /// The roles.
    items: Vec<Role>,
    /// Always null: all of them are in `items`.
    next_cursor: Option<String>,
}

/// A new role.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateRoleRequest {
    /// 1 to 64 characters, unique in the tenant.
    name: LabelText,
    /// At most 500 characters.
    description: Option<LongText>,
    /// Keys of what it allows: no more than the caller holds.
    permissions: Vec<String>,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, Object)]
pub struct ApiKey {
    /// Its id.
    id: ApiKeyId,
    /// The tenant in which it acts.
    tenant_id: TenantId,
    /// Who made it; null: the operator, or somebody who is gone.
    user_id: Option<UserId>,
    /// What people call it.
    name: String,
    /// The part between `qk_` and the dot.
    prefix: String,
    /// Permission keys.
    scopes: Vec<String>,
    /// What of them it may do now: no more than its maker may; nothing once it has ended, or while its maker is gone.
    effective_scopes: Vec<String>,
    /// `user`: it may do no more than its maker may. `operator`: the operator made it.
    origin: KeyOrigin,
    /// The key that made it: it ends with that.
    parent_id: Option<ApiKeyId>,
    /// Since when its maker is gone: it is refused until an owner takes it over, and ends after 30 days.
    stopped_at: Option<Time>,
    /// When it ends, if ever.
    expires_at: Option<Time>,
    /// The last use, at most a minute or two behind.
    last_used_at: Option<Time>,
    /// When it was revoked.
    revoked_at: Option<Time>,
    /// When it was made.
    created_at: Time,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// From a person.
    User,
    /// From the operator.
    Operator,
}

impl ApiKey {
    /// With what it may do now.
    pub fn of(k: api_key::ApiKey, effective: permission::PermissionSet) -> Self {
        Self {
            effective_scopes: keys(effective),
            origin: match k.origin {
                api_key::Origin::User => KeyOrigin::User,
                api_key::Origin::Operator => KeyOrigin::Operator,
            },
            parent_id: k.parent_id,
            stopped_at: k.stopped_at.map(Time),
            id: k.id,
            tenant_id: k.tenant_id,
            user_id: k.user_id,
            name: k.name,
            prefix: k.prefix,
            scopes: keys(k.scopes),
            expires_at: k.expires_at.map(Time),
            last_used_at: k.last_used_at.map(Time),
            revoked_at: k.revoked_at.map(Time),
            created_at: Time(k.created_at),
        }
    }
}

/// API keys, newest first.
#[derive(Debug, Serialize, Object)]
pub struct ApiKeyList {
    /// The keys.
    items: Vec<ApiKey>,
    /// For the next page; null: this is the last one.
    next_cursor: Option<String>,
}

/// A new API key.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateApiKeyRequest {
    /// The caller's tenant, if given.
    tenant_id: Option<TenantId>,
    /// 1 to 200 characters.
    name: LabelText,
    /// Permission keys: no more than the caller holds.
    scopes: Vec<String>,
    /// When it ends, RFC 3339; never, if left out.
    expires_at: Option<WhenText>,
}

/// A new API key, with its secret.
#[derive(Debug, Serialize, Object)]
pub struct CreatedApiKey {
    /// The key.
    api_key: ApiKey,
    /// The whole `qk_` value: shown this once, and stored nowhere.
    secret: Shown,
}

/// The routes.
pub struct RolesApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Access")]
impl RolesApi {
    /// List permissions
    ///
    /// What roles and API keys are made of.
    #[oai(path = "/v1/permissions", method = "get", operation_id = "listPermissions")]
    async fn permissions(&self, by: Authorized) -> Result<Out<PermissionList>, ApiError> {
        let _ = by;
        let view = |p: &Permission| PermissionView { id: p.key().into(), key: p.key().into(), description: p.about().into() };
        Ok(Out(PermissionList { items: Permission::ALL.iter().map(view).collect(), next_cursor: None }))
    }

    /// List roles
    ///
    /// The system roles, then the tenant's own.
    #[oai(path = "/v1/tenants/:tenantID/roles", method = "get", operation_id = "listRoles")]
    async fn list(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<Out<RoleList>, ApiError> {
        let by = by.0;
        by.in_tenant(tenant.0)?;
        Ok(Out(RoleList { items: self.0.roles(&by).await?.into_iter().map(Role::from).collect(), next_cursor: None }))
    }

    /// Create a role
    ///
    /// Of permissions that the caller holds: nobody gives more than he has.
    #[oai(path = "/v1/tenants/:tenantID/roles", method = "post", operation_id = "createRole")]
    async fn create(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        body: In<CreateRoleRequest>,
    ) -> Result<Out<Role, 201>, ApiError> {
        let by = by.0;
        by.in_tenant(tenant.0)?;
        let b = body.0;
        let description = b.description.as_ref().map(|d| label("description", d.reveal(), 500)).transpose();
        let (name, description, allows) =
            (label("name", b.name.reveal(), 64), description, permissions("permissions", &b.permissions)).all()?;
        Ok(Out(self.0.create_role(&caller, &by, name, description, allows).await?.into()))
    }

    /// Give a member a role
    ///
    /// The role may allow no more than the caller holds. Had already: nothing changes.
    #[oai(path = "/v1/users/:userID/tenants/:tenantID/roles/:roleID", method = "post", operation_id = "giveRole")]
    async fn give(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The member.
        #[oai(name = "userID")]
        user: Path<UserId>,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// The role.
        #[oai(name = "roleID")]
        role: Path<RoleId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.change_role(&caller, &by, user.0, tenant.0, role.0, true).await?;
        Ok(NoContent)
    }

    /// Take a role from a member
    ///
    /// Taking the last one removes the member from the tenant, and ends the sessions scoped to it. The last owner keeps his role: 409.
    #[oai(path = "/v1/users/:userID/tenants/:tenantID/roles/:roleID", method = "delete", operation_id = "takeRole")]
    async fn take(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The member.
        #[oai(name = "userID")]
        user: Path<UserId>,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// The role.
        #[oai(name = "roleID")]
        role: Path<RoleId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.change_role(&caller, &by, user.0, tenant.0, role.0, false).await?;
        Ok(NoContent)
    }

    /// Create an API key
    ///
    /// With scopes that the caller holds. A person must have signed in within the last 15 minutes. The secret is shown this once.
    #[oai(path = "/v1/api-keys", method = "post", operation_id = "createApiKey")]
    async fn create_key(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        body: In<CreateApiKeyRequest>,
    ) -> Result<Out<CreatedApiKey, 201>, ApiError> {
        let by = by.0;
        let b = body.0;
        b.tenant_id.map_or(Ok(()), |t| by.in_tenant(t))?;
        let expires_at = b.expires_at.as_ref().map(|t| when("expires_at", t)).transpose();
        let (name, scopes, expires_at) = (label("name", b.name.reveal(), 200), permissions("scopes", &b.scopes), expires_at).all()?;
        if scopes == permission::PermissionSet::default() {
            return Err(ApiError::fields([("scopes".to_owned(), "must not be empty".to_owned())].into()));
        }
        let (key, secret) = self.0.create_api_key(&caller, &by, NewApiKey { name, scopes, expires_at }).await?;
        let effective = key.scopes;
        Ok(Out(CreatedApiKey { api_key: ApiKey::of(key, effective), secret: Shown(secret) }))
    }

    /// List API keys
    ///
    /// Newest first, revoked and expired ones included.
    #[oai(path = "/v1/tenants/:tenantID/api-keys", method = "get", operation_id = "listApiKeys")]
    async fn keys(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// Items of the page, 1 to 200; 50 if left out.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Result<Out<ApiKeyList>, ApiError> {
        let by = by.0;
        let listed = self.0.api_keys(&by, tenant.0, &page(limit.0, cursor.0)?).await?;
        let mut items = Vec::with_capacity(listed.items.len());
        for key in listed.items {
            let effective = self.0.effective_scopes(&key).await?;
            items.push(ApiKey::of(key, effective));
        }
        Ok(Out(ApiKeyList { items, next_cursor: listed.next }))
    }

    /// Take over an API key
    ///
    /// Whose maker has left: an owner, in person and signed in within the last 15 minutes, answers for it from now on, and for the keys that it made. Other nodes may
    /// refuse it for another minute.
    #[oai(path = "/v1/api-keys/:id/take-over", method = "post", operation_id = "takeOverApiKey")]
    async fn take_over_key(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The key.
        id: Path<ApiKeyId>,
    ) -> Result<Out<ApiKey>, ApiError> {
        let key = self.0.take_over_api_key(&caller, &by.0, id.0).await?;
        let effective = self.0.effective_scopes(&key).await?;
        Ok(Out(ApiKey::of(key, effective)))
    }

    /// Revoke an API key
    ///
    /// Refused within a second on every node.
    #[oai(path = "/v1/api-keys/:id", method = "delete", operation_id = "revokeApiKey")]
    async fn revoke_key(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The key.
        id: Path<ApiKeyId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.revoke_api_key(&caller, &by, id.0).await?;
        Ok(NoContent)
    }
}
