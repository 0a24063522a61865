//! The auth policy of a tenant.

use super::{Result, commands::Cas};
use crate::domain::{
    audit::AuditEvent,
    authority::{By, Permitted},
    context::Ctx,
    ids::TenantId,
    policy::AuthPolicy,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A new policy in the place of the one that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetPolicy {
    /// Whose.
    pub tenant_id: TenantId,
    /// The tenant's version that it was read at.
    pub expect_version: u64,
    /// The whole new policy.
    pub policy: AuthPolicy,
    /// Who asks.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Policies. The rules of [`super::Store`] hold.
#[async_trait]
pub trait PolicyStore: Send + Sync + 'static {
    /// Writes the policy and raises the tenant's version; `Stale` if that has changed, or the tenant is gone or deleted.
    async fn set_policy(&self, ctx: &Ctx, cmd: SetPolicy) -> Result<Permitted<Cas<()>>>;
}
