//! API keys of a tenant: made, listed, revoked.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    page::{Listed, Page, id_position},
};
use crate::{
    domain::{
        api_key::{self, ApiKey},
        ids::{ApiKeyId, TenantId},
        permission::PermissionSet,
        secret::SecretText,
        time::Timestamp,
    },
    store::{
        access::{CreateApiKey, CreateApiKeyOutcome, RevokeApiKey},
        commands::{Cas, Revocation},
    },
};

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// 1 to 200 characters.
    pub name: String,
    /// What it may do.
    pub scopes: PermissionSet,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

impl Services {
    /// Makes a key with scopes that the maker holds; the whole key is shown this once.
    ///
    /// # Errors
    /// `Forbidden` for more than he holds, `ReauthenticationRequired` for a person with an old sign-in, `Validation` for an end in the past.
    pub async fn create_api_key(&self, caller: &Caller, by: &Operator, new: NewApiKey) -> Result<(ApiKey, SecretText)> {
        let now = self.clock.now();
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::field("expires_at", "must lie in the future"));
        }
        by.may_give(new.scopes)?;
        self.signed_in_lately(by).await?;
        let (prefix, secret_digest, whole) = api_key::generate(&*self.rng);
        let key = ApiKey {
            id: ApiKeyId::new(&*self.clock, &*self.rng),
            tenant_id: by.tenant_id,
            user_id: by.user_id(),
            name: new.name,
            prefix,
            secret_digest,
            scopes: new.scopes,
            expires_at: new.expires_at,
            last_used_at: None,
            revoked_at: None,
            created_at: now,
        };
        let cmd = CreateApiKey { key: key.clone(), audit: vec![self.audit_of(caller, by, None, "api_key.created")] };
        match self.store.create_api_key(&self.ctx_of(caller, by), cmd).await? {
            CreateApiKeyOutcome::Created => Ok((key, whole)),
            CreateApiKeyOutcome::NoTenant => Err(Error::NotFound),
            CreateApiKeyOutcome::TooMany => Err(Error::Conflict("the tenant has as many API keys as it may")),
        }
    }

    /// The tenant's keys, newest first.
    ///
    /// # Errors
    /// `NotFound` for another tenant, `InvalidCursor`.
    pub async fn api_keys(&self, by: &Operator, tenant: TenantId, page: &Page) -> Result<Listed<ApiKey>> {
        by.in_tenant(tenant)?;
        let scope: [&[u8]; 2] = [b"api_keys", tenant.as_bytes()];
        let after = id_position(self.position(&scope, page)?)?.map(ApiKeyId::from_bytes);
        let keys = self.store.api_keys(tenant, after, page.limit + 1).await?;
        self.listed(&scope, page, keys, |k| k.id.as_bytes().to_vec())
    }

    /// Ends a key: refused from now on here, and within a second everywhere.
    ///
    /// # Errors
    /// `NotFound` for another tenant's.
    pub async fn revoke_api_key(&self, caller: &Caller, by: &Operator, key_id: ApiKeyId) -> Result<()> {
        let cmd = RevokeApiKey { tenant_id: by.tenant_id, key_id, audit: vec![self.audit_of(caller, by, None, "api_key.revoked")] };
        match self.store.revoke_api_key(&self.ctx_of(caller, by), cmd).await? {
            Cas::Done(()) => {
                self.keys.revoke([Revocation::ApiKey(key_id)]);
                Ok(())
            }
            Cas::Stale => Err(Error::NotFound),
        }
    }
}
