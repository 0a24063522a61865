//! The operator's tenant: read, changed, deleted.

use super::{
    Tag,
    bearer::Authorized,
    dto::Tenant,
    errors::ApiError,
    fields::{All, tenant_name},
    payload::{In, NoContent, Out},
    types::{FreeObject, SlugText, TenantNameText},
};
use crate::{
    domain::ids::TenantId,
    service::{Services, api::Caller, tenant_admin::TenantChange},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path};
use std::sync::Arc;

/// A change of a tenant: absent fields stay as they are.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct UpdateTenantRequest {
    /// 1 to 200 characters.
    name: Option<TenantNameText>,
    /// 3 to 63 of a-z, 0-9 and -, with no - at an end, unique.
    slug: Option<SlugText>,
    /// The whole new object, at most 16 KiB.
    metadata: Option<FreeObject>,
}

/// The routes.
pub struct TenantAdminApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Tenants")]
impl TenantAdminApi {
    /// Read a tenant
    ///
    /// The one that the caller acts in.
    #[oai(path = "/v1/tenants/:tenantID", method = "get", operation_id = "getTenant")]
    async fn get(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<Out<Tenant>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.tenant(&by, tenant.0).await?.into()))
    }

    /// Change a tenant
    ///
    /// Absent fields stay as they are.
    #[oai(path = "/v1/tenants/:tenantID", method = "patch", operation_id = "updateTenant")]
    async fn update(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        body: In<UpdateTenantRequest>,
    ) -> Result<Out<Tenant>, ApiError> {
        let by = by.0;
        let b = body.0;
        let (name,) = (b.name.as_ref().map(|n| tenant_name("name", n)).transpose(),).all()?;
        let change = TenantChange { name, slug: b.slug.map(|s| s.reveal().to_owned()), metadata: b.metadata.map(|m| m.0) };
        Ok(Out(self.0.update_tenant(&caller, &by, tenant.0, change).await?.into()))
    }

    /// Delete a tenant
    ///
    /// An owner only, who signed in within the last 15 minutes. Its API keys, invites and sessions die at once; members who belong nowhere else go to
    /// the recycle bin if it is managed, and get a personal tenant if it is not; after 30 days all of it is removed. A personal tenant can't be deleted: 409.
    #[oai(path = "/v1/tenants/:tenantID", method = "delete", operation_id = "deleteTenant")]
    async fn delete(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.delete_tenant(&caller, &by, tenant.0).await?;
        Ok(NoContent)
    }
}
