//! API keys of a tenant: made, listed, revoked.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    page::{Listed, Page, id_position},
    tenant,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        api_key::{self, ApiKey, Origin},
        ids::{ApiKeyId, TenantId},
        permission::PermissionSet,
        secret::SecretText,
        time::Timestamp,
    },
    store::{
        access::{CreateApiKey, CreateApiKeyOutcome, RevokeApiKey, TakeOverKey, TakeOverOutcome},
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
        // A key ends with the one that made it.
        let parent = match by.key_id() {
            Some(id) => self.store.api_key_by_id(by.tenant_id, id).await?,
            None => None,
        };
        let ends = parent.as_ref().and_then(|p| p.expires_at);
        let expires_at = [new.expires_at, ends].into_iter().flatten().min();
        let (prefix, secret_digest, whole) = api_key::generate(&*self.rng);
        let key = ApiKey {
            id: ApiKeyId::new(&*self.clock, &*self.rng),
            tenant_id: by.tenant_id,
            origin: if by.user_id().is_some() { Origin::User } else { Origin::Operator },
            user_id: by.user_id(),
            parent_id: by.key_id(),
            stopped_at: None,
            taken_over_at: None,
            name: new.name,
            prefix,
            secret_digest,
            scopes: new.scopes,
            expires_at,
            last_used_at: None,
            revoked_at: None,
            created_at: now,
        };
        let audit = self.audit_of(caller, by, None, "api_key.created").about_resource("api_key", key.id.as_bytes());
        let cmd = CreateApiKey { key: key.clone(), by: by.by(), audit: vec![audit] };
        let ctx = self.ctx_of(caller, by);
        match self.ask_tenant(caller, by.tenant_id, TenantCommand::CreateKey(Box::new((ctx, cmd)))).await? {
            TenantReply::KeyMade(CreateApiKeyOutcome::Created) => Ok((key, whole)),
            TenantReply::KeyMade(CreateApiKeyOutcome::Denied(why)) => Err(why.into()),
            TenantReply::KeyMade(CreateApiKeyOutcome::NoTenant) => Err(Error::NotFound),
            TenantReply::KeyMade(CreateApiKeyOutcome::TooMany) => Err(Error::Conflict("the tenant has as many API keys as it may")),
            other => Err(tenant::unexpected(&other)),
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
        let audit = self.audit_of(caller, by, None, "api_key.revoked").about_resource("api_key", key_id.as_bytes());
        let cmd = RevokeApiKey { tenant_id: by.tenant_id, key_id, by: by.by(), audit: vec![audit] };
        let ctx = self.ctx_of(caller, by);
        match self.ask_tenant(caller, by.tenant_id, TenantCommand::RevokeKey(Box::new((ctx, cmd)))).await? {
            TenantReply::KeyRevoked(Ok(Cas::Done(ended))) => {
                // Other nodes read them from the store within a second.
                self.keys.revoke(ended.into_iter().map(Revocation::ApiKey));
                Ok(())
            }
            TenantReply::KeyRevoked(Ok(Cas::Stale)) => Err(Error::NotFound),
            TenantReply::KeyRevoked(Err(why)) => Err(why.into()),
            other => Err(tenant::unexpected(&other)),
        }
    }

    /// An owner answers for a key whose maker has left, and for those that it made: it does what its scopes and the owner's permissions say.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for anybody but an owner, in person, and for a key of the operator's; `ReauthenticationRequired`.
    pub async fn take_over_api_key(&self, caller: &Caller, by: &Operator, key_id: ApiKeyId) -> Result<ApiKey> {
        self.signed_in_lately(by).await?;
        let audit = vec![self.audit_of(caller, by, None, "api_key.taken_over").about_resource("api_key", key_id.as_bytes())];
        let (ctx, cmd) = (self.ctx_of(caller, by), TakeOverKey { key_id, by: by.by(), audit });
        match self.ask_tenant(caller, by.tenant_id, TenantCommand::TakeOverKey(Box::new((ctx, cmd)))).await? {
            TenantReply::KeyTakenOver(Cas::Done(TakeOverOutcome::Taken)) => {}
            TenantReply::KeyTakenOver(Cas::Done(TakeOverOutcome::Denied(why))) => return Err(why.into()),
            TenantReply::KeyTakenOver(Cas::Stale) => return Err(Error::NotFound),
            other => return Err(tenant::unexpected(&other)),
        }
        // Nodes that know the key as it was forget it within a minute: until then it is refused there.
        self.key_cache.invalidate_all();
        self.store.api_key_by_id(by.tenant_id, key_id).await?.ok_or(Error::NotFound)
    }

    /// What a key that is shown in a request may do now.
    ///
    /// # Errors
    /// `Unauthorized` while its maker is gone, and nobody has taken it over.
    pub async fn scopes_now(&self, key: &ApiKey) -> Result<PermissionSet> {
        let standing = self.store.standing(key).await?.ok_or(Error::Unauthorized)?;
        Ok(standing.acting.actor.permissions)
    }

    /// What a key may do now: nothing while its maker is gone.
    pub async fn effective_scopes(&self, key: &ApiKey) -> Result<PermissionSet> {
        let live = key.is_live(self.clock.now());
        let standing = if live { self.store.standing(key).await? } else { None };
        Ok(standing.map(|s| s.acting.actor.permissions).unwrap_or_default())
    }
}
