//! The audit list of a tenant.

use super::{
    Services,
    access::Operator,
    error::Result,
    page::{Listed, Page, id_position},
};
use crate::{
    domain::ids::{AuditId, TenantId},
    store::audit::Shown,
};

impl Services {
    /// The tenant's events, newest first, each with its link if it has one by now.
    ///
    /// # Errors
    /// `NotFound` for another tenant, `InvalidCursor`.
    pub async fn audit_events(&self, by: &Operator, tenant: TenantId, page: &Page) -> Result<Listed<Shown>> {
        by.in_tenant(tenant)?;
        let scope: [&[u8]; 2] = [b"audit", tenant.as_bytes()];
        let after = id_position(self.position(&scope, page)?)?.map(AuditId::from_bytes);
        let events = self.store.audit_events(tenant, after, page.limit + 1).await?;
        self.listed(&scope, page, events, |(event, _)| event.id.as_bytes().to_vec())
    }
}
