//! The domains of the operator's tenant.

use super::{
    Tag,
    bearer::Authorized,
    errors::ApiError,
    fields::{All, domain},
    payload::{In, NoContent, Out},
    types::{DomainText, Time},
};
use crate::{
    domain::{
        ids::{DomainId, TenantId},
        mail_domain,
    },
    service::{Services, api::Caller},
};
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, param::Path};
use serde::Serialize;
use std::sync::Arc;

/// A domain to prove.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct AddDomainRequest {
    /// Such as example.com; an internationalised one in either form. Domains of public mail providers are refused.
    domain: DomainText,
}

/// Where a domain stands.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DomainStatus {
    /// Its record has not been found yet.
    Pending,
    /// Its record was found: the tenant has power over the accounts of its members with addresses of exactly this domain.
    Proved,
    /// Its record was absent for three days, or another tenant has proved the domain meanwhile.
    Lost,
}

/// The DNS record that proves a domain.
#[derive(Debug, Serialize, Object)]
pub struct DomainRecord {
    /// Where it belongs.
    name: String,
    /// Always `TXT`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    kind: String,
    /// What it says.
    value: String,
}

/// A domain of a tenant.
#[derive(Debug, Serialize, Object)]
pub struct Domain {
    /// Its id.
    id: DomainId,
    /// In lower case, as A-labels.
    domain: String,
    /// Where it stands.
    status: DomainStatus,
    /// The record that proves it.
    record: DomainRecord,
    /// Since when it is proved; of a lost one, since when it was.
    verified_at: Option<Time>,
    /// When a DNS server last said whether the record is there.
    checked_at: Option<Time>,
    /// When it was entered.
    created_at: Time,
}

impl From<mail_domain::TenantDomain> for Domain {
    fn from(d: mail_domain::TenantDomain) -> Self {
        Self {
            id: d.id,
            record: DomainRecord { name: d.name.record_name(), kind: "TXT".into(), value: d.value },
            domain: d.name.as_str().to_owned(),
            status: match d.status {
                mail_domain::DomainStatus::Pending => DomainStatus::Pending,
                mail_domain::DomainStatus::Proved => DomainStatus::Proved,
                mail_domain::DomainStatus::Lost => DomainStatus::Lost,
            },
            verified_at: d.verified_at.map(Time),
            checked_at: d.checked_at.map(Time),
            created_at: Time(d.created_at),
        }
    }
}

/// The domains of a tenant.
#[derive(Debug, Serialize, Object)]
pub struct DomainList {
    /// In the order in which they were entered; at most 20.
    items: Vec<Domain>,
}

/// The routes.
pub struct DomainsApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Domains")]
impl DomainsApi {
    /// List domains
    ///
    /// Proved ones are looked up again daily, and are lost after three days without their record.
    #[oai(path = "/v1/tenants/:tenantID/domains", method = "get", operation_id = "listDomains")]
    async fn list(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<Out<DomainList>, ApiError> {
        let items = self.0.domains(&by.0, tenant.0).await?.into_iter().map(Domain::from).collect();
        Ok(Out(DomainList { items }))
    }

    /// Enter a domain
    ///
    /// The answer names the TXT record to publish. Until the domain is verified it gives nothing. At most 20 a tenant: 409.
    #[oai(path = "/v1/tenants/:tenantID/domains", method = "post", operation_id = "addDomain")]
    async fn add(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        body: In<AddDomainRequest>,
    ) -> Result<Out<Domain, 201>, ApiError> {
        let by = by.0;
        let (name,) = (domain("domain", &body.0.domain),).all()?;
        Ok(Out(self.0.add_domain(&caller, &by, tenant.0, name).await?.into()))
    }

    /// Verify a domain
    ///
    /// Looks the record up now. If it is there, the tenant's admins have power over the accounts of its members with addresses of exactly this domain,
    /// whether or not they have a personal tenant; not over those who belong to another organization as well. 409, with what is wrong in `detail`, if the
    /// record is absent, if no DNS server answers, or if another tenant has proved the domain and its record is there too. If that one's record
    /// is absent, it loses the domain. At most 10 verifications an hour.
    #[oai(path = "/v1/tenants/:tenantID/domains/:id/verify", method = "post", operation_id = "verifyDomain")]
    async fn verify(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// The domain.
        id: Path<DomainId>,
    ) -> Result<Out<Domain>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.verify_domain(&caller, &by, tenant.0, id.0).await?.into()))
    }

    /// Remove a domain
    ///
    /// The power over accounts there ends at once.
    #[oai(path = "/v1/tenants/:tenantID/domains/:id", method = "delete", operation_id = "removeDomain")]
    async fn remove(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// The domain.
        id: Path<DomainId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.remove_domain(&caller, &by, tenant.0, id.0).await?;
        Ok(NoContent)
    }
}
