//! The tenants that the signed-in person belongs to.

use super::{
    Tag,
    bearer::Bearer,
    dto::Tenant,
    errors::ApiError,
    fields::{All, tenant_name},
    payload::{In, NoContent, Out},
    types::{SlugText, TenantNameText, Time},
};
use crate::{
    domain::{ids::TenantId, tenant, user},
    service::{Services, api::Caller},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path};
use serde::Serialize;
use std::sync::Arc;

/// That the caller belongs to a tenant, and as what.
#[derive(Debug, Serialize, Object)]
pub struct Membership {
    /// The tenant.
    tenant: Tenant,
    /// Names of the caller's roles there.
    roles: Vec<String>,
    /// Since when.
    joined_at: Time,
}

impl From<(tenant::Tenant, user::Membership, Vec<String>)> for Membership {
    fn from((tenant, membership, roles): (tenant::Tenant, user::Membership, Vec<String>)) -> Self {
        Self { tenant: tenant.into(), roles, joined_at: Time(membership.joined_at) }
    }
}

/// Memberships, the oldest first.
#[derive(Debug, Serialize, Object)]
pub struct MembershipList {
    /// The memberships.
    items: Vec<Membership>,
    /// Always null: all of them are in `items`.
    next_cursor: Option<String>,
}

/// A new organization.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateTenantRequest {
    /// 1 to 200 characters.
    name: TenantNameText,
    /// 3 to 63 of a-z, 0-9 and -, with no - at an end, unique; made from the name if it is left out.
    slug: Option<SlugText>,
}

/// The routes.
pub struct TenantsApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Tenants")]
impl TenantsApi {
    /// List one's tenants
    ///
    /// All memberships of the caller, the oldest first.
    #[oai(path = "/v1/tenants", method = "get", operation_id = "listTenants")]
    async fn list(&self, who: Bearer) -> Result<Out<MembershipList>, ApiError> {
        let items = self.0.tenants(&who.0).await?.into_iter().map(Membership::from).collect();
        Ok(Out(MembershipList { items, next_cursor: None }))
    }

    /// Create an organization
    ///
    /// The caller becomes its owner. It has no power over the credentials of its members. 403 where only the operator makes organizations. The token stays scoped as it is: `POST /v1/auth/switch-tenant` changes that.
    #[oai(path = "/v1/tenants", method = "post", operation_id = "createTenant")]
    async fn create(&self, caller: Data<&Caller>, who: Bearer, body: In<CreateTenantRequest>) -> Result<Out<Tenant, 201>, ApiError> {
        let (name,) = (tenant_name("name", &body.0.name),).all()?;
        let slug = body.0.slug.map(|s| s.reveal().to_owned());
        Ok(Out(self.0.create_tenant(&caller, &who.0, name, slug).await?.into()))
    }

    /// Leave a tenant
    ///
    /// Sessions scoped to it end. The last owner can't leave: 409. Who belongs to no other tenant gets a personal one; from a managed
    /// tenant they can't leave: 409.
    #[oai(path = "/v1/tenants/:tenantID/leave", method = "post", operation_id = "leaveTenant")]
    async fn leave(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<NoContent, ApiError> {
        self.0.leave_tenant(&caller, &who.0, tenant.0).await?;
        Ok(NoContent)
    }
}
