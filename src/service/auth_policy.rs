//! The auth policy of the operator's tenant.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    tenant::unexpected,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        ids::TenantId,
        policy::{AuthPolicy, Preset},
    },
    store::{commands::Cas, policy::SetPolicy},
};

/// So many others may change the tenant between our reading and writing before we give up.
const TRIES: usize = 8;

impl Services {
    /// The policy.
    ///
    /// # Errors
    /// `NotFound` for another tenant.
    pub async fn auth_policy(&self, by: &Operator, tenant: TenantId) -> Result<AuthPolicy> {
        by.in_tenant(tenant)?;
        Ok(self.scope(tenant).await?.policy)
    }

    /// Applies a change to the policy as it is: a preset first, then `change`. Two changes at once are both in the result,
    /// unless they are of one field.
    ///
    /// # Errors
    /// `NotFound` for another tenant, `Validation` naming each impossible field, `Conflict` if the tenant keeps changing.
    pub async fn change_auth_policy(
        &self,
        caller: &Caller,
        by: &Operator,
        tenant_id: TenantId,
        preset: Option<Preset>,
        change: impl Fn(&mut AuthPolicy) + Send + Sync,
    ) -> Result<AuthPolicy> {
        by.in_tenant(tenant_id)?;
        self.signed_in_lately(by).await?;
        for _ in 0..TRIES {
            let tenant = self.scope(tenant_id).await?;
            let mut policy = tenant.policy.clone();
            if let Some(preset) = preset {
                policy = policy.with_preset(preset);
            }
            change(&mut policy);
            let problems = policy.problems();
            if !problems.is_empty() {
                return Err(Error::Validation(problems.into_iter().map(|(field, problem)| (field.to_owned(), problem)).collect()));
            }
            if policy == tenant.policy {
                return Ok(policy);
            }
            let audit = self.audit_of(caller, by, None, "policy.changed").changing(tenant.policy.differences(&policy));
            let cmd = SetPolicy { tenant_id, expect_version: tenant.version, policy: policy.clone(), by: by.by(), audit: vec![audit] };
            let ctx = self.ctx_of(caller, by);
            match self.ask_tenant(caller, tenant_id, TenantCommand::SetPolicy(Box::new((ctx, cmd)))).await? {
                TenantReply::Policy(Ok(Cas::Done(()))) => return Ok(policy),
                TenantReply::Policy(Ok(Cas::Stale)) => {}
                TenantReply::Policy(Err(why)) => return Err(why.into()),
                other => return Err(unexpected(&other)),
            }
        }
        Err(Error::Conflict("the tenant keeps changing: try again"))
    }
}
