//! The domains of a tenant. Each domain is proved by one tenant at a time.

use super::Result;
use crate::domain::{
    audit::AuditEvent,
    authority::{By, Permitted},
    context::Ctx,
    ids::{DomainId, TenantId},
    mail_domain::{DomainName, Found, TenantDomain},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A tenant's domains, in the place of those that were read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetDomains {
    /// Whose.
    pub tenant_id: TenantId,
    /// The tenant's version that they were read at.
    pub expect_version: u64,
    /// All of them.
    pub domains: Vec<TenantDomain>,
    /// The tenant that loses a domain by this, because its record is absent.
    pub displaces: Option<Displaced>,
    /// Who asks.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Who loses a domain to another tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Displaced {
    /// Which domain.
    pub name: DomainName,
    /// Who.
    pub tenant_id: TenantId,
    /// Written for them.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`SetDomains`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetDomainsOutcome {
    /// They are written.
    Done,
    /// The tenant has changed meanwhile, is gone, or is a personal one.
    Stale,
    /// Another tenant has proved one of the domains that are proved now, and it is not the one to lose it: nothing was written.
    Held {
        /// Which domain.
        name: DomainName,
        /// Who has it.
        by: TenantId,
    },
}

/// What a look at the record of a domain found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoteLook {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which domain.
    pub domain_id: DomainId,
    /// What was found.
    pub found: Found,
    /// Written if the domain is lost by it.
    pub lost: Vec<AuditEvent>,
}

/// Domains. The rules of [`super::Store`] hold.
#[async_trait]
pub trait DomainStore: Send + Sync + 'static {
    /// Writes a tenant's domains and raises its version. A domain that it proves now is taken for it, one that it no longer proves is free.
    async fn set_domains(&self, ctx: &Ctx, cmd: SetDomains) -> Result<Permitted<SetDomainsOutcome>>;
    /// Notes a look, whatever else has changed of the tenant; gives the domain as it stands then, or `None` if it is gone. A domain that is lost by it
    /// is free.
    async fn note_look(&self, ctx: &Ctx, cmd: NoteLook) -> Result<Option<TenantDomain>>;
    /// Who has proved a domain; `None`: nobody.
    async fn domain_holder(&self, name: &DomainName) -> Result<Option<TenantId>>;
    /// Proved domains, in an order of the store's, those after `after`; at most `limit`. Some may have been lost or removed meanwhile.
    async fn proved_domains(&self, after: Option<&DomainName>, limit: u32) -> Result<Vec<(DomainName, TenantId)>>;
}
