//! The operator's tenant: read, changed, deleted.

use super::{
    Services,
    access::{Operator, Who},
    api::Caller,
    error::{Error, Result},
    tenant::unexpected,
    users::check_metadata,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        ids::TenantId,
        tenant::{Tenant, valid_slug},
    },
    store::{
        admin::{DeleteTenant, UpdateTenant, UpdateTenantOutcome},
        commands::{Cas, Revocation},
    },
};
use serde_json::{Map, Value};

/// Steps towards the end of a deleted tenant that its request waits for; the sweeper does the rest.
const STEPS: u32 = 20;

/// A change of a tenant; `None` keeps.
#[derive(Debug, Clone, Default)]
pub struct TenantChange {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// Unique.
    pub slug: Option<String>,
    /// At most 16 KiB.
    pub metadata: Option<Map<String, Value>>,
}

impl TenantChange {
    /// Names of the fields that are given.
    fn given(&self) -> Vec<&'static str> {
        let fields = [("name", self.name.is_some()), ("slug", self.slug.is_some()), ("metadata", self.metadata.is_some())];
        fields.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

impl Services {
    /// The operator's tenant.
    ///
    /// # Errors
    /// `NotFound` for another one.
    pub async fn tenant(&self, by: &Operator, id: TenantId) -> Result<Tenant> {
        by.in_tenant(id)?;
        self.store.tenant(id).await?.filter(|t| t.deleted_at.is_none()).ok_or(Error::NotFound)
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound`, `Validation`, `Conflict` for a taken slug.
    pub async fn update_tenant(&self, caller: &Caller, by: &Operator, id: TenantId, change: TenantChange) -> Result<Tenant> {
        by.in_tenant(id)?;
        if change.slug.as_deref().is_some_and(|s| !valid_slug(s)) {
            return Err(Error::field("slug", "must be 3 to 63 of a-z, 0-9 and -, with no - at an end"));
        }
        change.metadata.as_ref().map_or(Ok(()), check_metadata)?;
        for _ in 0..4 {
            let audit = self.audit_of(caller, by, None, "tenant.updated").changing(change.given());
            let (old, change) = (self.tenant(by, id).await?, change.clone());
            let cmd = UpdateTenant {
                tenant_id: id,
                expect_version: old.version,
                name: change.name.unwrap_or(old.name),
                slug: change.slug.unwrap_or(old.slug),
                metadata: change.metadata.unwrap_or(old.metadata),
                by: by.by(),
                audit: vec![audit],
            };
            let ctx = self.ctx_of(caller, by);
            match self.ask_tenant(caller, id, TenantCommand::Update(Box::new((ctx, cmd)))).await? {
                TenantReply::Updated(Ok(UpdateTenantOutcome::Done)) => return self.tenant(by, id).await,
                TenantReply::Updated(Ok(UpdateTenantOutcome::SlugTaken)) => return Err(Error::Conflict("the slug is taken")),
                TenantReply::Updated(Ok(UpdateTenantOutcome::Stale)) => {}
                TenantReply::Updated(Err(why)) => return Err(why.into()),
                other => return Err(unexpected(&other)),
            }
        }
        Err(Error::Conflict("the tenant has changed meanwhile"))
    }

    /// Deletes an organization: its keys, invites and sessions die, members who belong nowhere else go to the recycle bin.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for anybody but an owner, in person; `ReauthenticationRequired`; `Conflict` for a personal tenant.
    pub async fn delete_tenant(&self, caller: &Caller, by: &Operator, id: TenantId) -> Result<()> {
        by.in_tenant(id)?;
        if !by.is_owner || !matches!(by.who, Who::Person(_)) {
            return Err(Error::Forbidden);
        }
        if by.is_personal() {
            return Err(Error::Conflict("a personal tenant goes with its person: delete the account instead"));
        }
        self.signed_in_lately(by).await?;
        let keys = self.store.api_keys(id, None, u32::MAX >> 1).await?;
        let cmd = DeleteTenant { tenant_id: id, by: by.by(), audit: vec![self.audit_of(caller, by, None, "tenant.deleted")] };
        let ctx = self.ctx_of(caller, by);
        match self.ask_tenant(caller, id, TenantCommand::Delete(Box::new((ctx, cmd)))).await? {
            TenantReply::Deleted(Ok(Cas::Done(()))) => {}
            TenantReply::Deleted(Err(why)) => return Err(why.into()),
            TenantReply::Deleted(Ok(Cas::Stale)) => return Err(Error::NotFound),
            other => return Err(unexpected(&other)),
        }
        self.keys.revoke(keys.into_iter().map(|k| Revocation::ApiKey(k.id)));
        for _ in 0..STEPS {
            // The tenant is gone already; what is left is the sweeper's, too.
            match self.store.end_tenants(self.clock.now(), &self.newcomers()).await {
                Ok(step) if step.more => {}
                Ok(_) => break,
                Err(e) => {
                    tracing::warn!(error = %e, "members of a deleted tenant could not be seen to; it is tried again in a minute");
                    break;
                }
            }
        }
        Ok(())
    }
}
