//! Who acts in a tenant, and what he may do there: people by their roles, servers by the scopes of their API keys.

use super::{
    Services,
    api::{Caller, Principal},
    error::{Error, Result},
    limits::{Heavy, Inviting, Requester},
};
use crate::{
    domain::{
        api_key::{self, ApiKey},
        authority::{self, Authority, By, Place},
        context::Actor,
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        permission::{Permission, PermissionSet},
        tenant::TenantKind,
        time::Timestamp,
    },
    ephemeral::{Limit, Subject},
};
use aws_lc_rs::digest;
use std::{sync::Arc, time::Duration};

/// What a request shows. The two schemes are not interchangeable.
#[derive(Clone)]
pub enum Credential {
    /// A good access token.
    Person(Principal),
    /// A good API key.
    Server(Arc<ApiKey>),
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A signed-in person.
    Person(Principal),
    /// A server.
    Server {
        /// Its key.
        key: ApiKeyId,
        /// Who made that.
        maker: Option<UserId>,
    },
}

/// Somebody who acts in a tenant, with what he may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Where.
    pub tenant_id: TenantId,
    /// What kind of tenant that is, and whether its admins have power over credentials.
    pub place: Place,
    /// What he may do; also the most that he can give.
    pub permissions: PermissionSet,
    /// An owner of the tenant.
    pub is_owner: bool,
    /// Who.
    pub who: Who,
}

impl Operator {
    /// For audit events and command contexts.
    pub fn actor(&self) -> Actor {
        match &self.who {
            Who::Person(p) => Actor::User(p.user_id),
            Who::Server { key, .. } => Actor::ApiKey(*key),
        }
    }
    /// The person, or who made the server's key.
    pub fn user_id(&self) -> Option<UserId> {
        match &self.who {
            Who::Person(p) => Some(p.user_id),
            Who::Server { maker, .. } => *maker,
        }
    }
    fn requester(&self) -> Requester {
        match &self.who {
            Who::Person(_) => Requester::Person,
            Who::Server { .. } => Requester::Server,
        }
    }
    /// The server's key.
    pub fn key_id(&self) -> Option<ApiKeyId> {
        match &self.who {
            Who::Person(_) => None,
            Who::Server { key, .. } => Some(*key),
        }
    }
    /// To the store, which looks up what they may do as it writes.
    pub fn by(&self) -> By {
        let authority = match &self.who {
            Who::Person(p) => Authority::Person { user: p.user_id, session: p.session_id },
            Who::Server { key, .. } => Authority::Key(*key),
        };
        By { tenant_id: self.tenant_id, authority }
    }
    /// To whoever decides about an account.
    pub fn acting(&self) -> authority::Actor {
        authority::Actor { person: self.user_id(), permissions: self.permissions, owner: self.is_owner }
    }
    /// The path names a tenant: it must be the one he acts in.
    ///
    /// # Errors
    /// `NotFound`: another tenant's ids look like none.
    pub fn in_tenant(&self, tenant: TenantId) -> Result<()> {
        if tenant == self.tenant_id { Ok(()) } else { Err(Error::NotFound) }
    }
    /// Nobody gives more than he holds.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn may_give(&self, permissions: PermissionSet) -> Result<()> {
        if self.permissions.covers(permissions) { Ok(()) } else { Err(Error::Forbidden) }
    }
    /// A personal tenant has one member.
    pub fn is_personal(&self) -> bool {
        self.place.kind == TenantKind::Personal
    }
}

impl Inviting {
    /// An operator who invites somebody to their tenant, or makes an account there.
    pub(super) fn of(by: &Operator, caller: &Caller) -> Self {
        Self { tenant: by.tenant_id, managed: by.place.managed, person: by.user_id(), network: caller.network }
    }
}

/// Requests of one API key.
const KEY_REQUESTS: Limit = Limit { name: "api_key_requests", max: 6000, window: Duration::from_secs(60) };
/// `last_used_at` is written at most this often.
const TOUCH: Duration = Duration::from_secs(60);

/// API keys that were checked, by the SHA-256 of the whole key; at most a minute old, revocations are asked besides.
pub(super) type KeyCache = moka::sync::Cache<[u8; 32], Arc<ApiKey>>;

pub(super) fn key_cache() -> KeyCache {
    moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(60)).build()
}

impl Services {
    /// Checks an API key: microseconds when it was checked within the last minute, else one read.
    ///
    /// # Errors
    /// `Unauthorized`, whatever is wrong with it; `RateLimited` past 6,000 requests a minute; `Unavailable` as in [`Services::authenticate`].
    pub async fn authenticate_key(&self, text: &str) -> Result<Arc<ApiKey>> {
        let (prefix, secret) = api_key::parse(text).ok_or(Error::Unauthorized)?;
        self.keys.up_to_date().await?;
        let now = self.clock.now();
        let mut name = [0; 32];
        name.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let key = match self.key_cache.get(&name) {
            Some(key) => key,
            None => {
                let key = self.store.api_key(prefix).await?.filter(|k| k.accepts(secret)).ok_or(Error::Unauthorized)?;
                let key = Arc::new(key);
                self.key_cache.insert(name, key.clone());
                self.note_use(&key, now);
                key
            }
        };
        if !key.is_live(now) || self.keys.is_key_revoked(key.id) {
            return Err(Error::Unauthorized);
        }
        self.limits.by_subject(&KEY_REQUESTS, &Subject::of(&[key.id.as_bytes()]), now).await?;
        Ok(key)
    }

    /// Runs as often as the cache forgets: at most once a minute and node.
    fn note_use(&self, key: &ApiKey, now: Timestamp) {
        if key.last_used_at.is_some_and(|at| now.since(at) < TOUCH) {
            return;
        }
        let (store, id) = (self.store.clone(), key.id);
        self.background.spawn(async move {
            if let Err(e) = store.touch_api_key(id, now).await {
                tracing::warn!(error = %e, "the use of an API key could not be noted");
            }
        });
    }

    /// Who acts, if he may do `needed`.
    ///
    /// # Errors
    /// `Forbidden` without the permission, or for a person who no longer belongs to the tenant of their token; `RateLimited` past 6,000
    /// requests to a tenant without power in a minute, counted by this node.
    pub async fn operator(&self, credential: &Credential, needed: Permission) -> Result<Operator> {
        let operator = match credential {
            Credential::Person(p) => {
                let grant = self.store.grant(p.user_id, p.tenant_id).await?.ok_or(Error::Forbidden)?;
                Operator {
                    tenant_id: p.tenant_id,
                    place: grant.place,
                    permissions: grant.permissions,
                    is_owner: grant.roles.contains(&RoleId::OWNER),
                    who: Who::Person(p.clone()),
                }
            }
            Credential::Server(key) => {
                // A key whose maker is gone stands still, until an owner takes it over.
                let standing = self.store.standing(key).await?.ok_or(Error::Unauthorized)?;
                Operator {
                    tenant_id: key.tenant_id,
                    place: standing.place,
                    permissions: standing.acting.actor.permissions,
                    is_owner: standing.acting.actor.owner,
                    who: Who::Server { key: key.id, maker: standing.acting.actor.person },
                }
            }
        };
        if !operator.permissions.has(needed) {
            return Err(Error::Forbidden);
        }
        if !operator.place.managed {
            self.limits.admin_request(operator.tenant_id, operator.requester(), self.clock.now())?;
        }
        Ok(operator)
    }

    /// Begins an export or a list.
    ///
    /// # Errors
    /// `RateLimited` while enough are under way.
    pub(super) fn heavy_of(&self, by: &Operator) -> Result<Option<Heavy>> {
        match by.user_id() {
            _ if by.place.managed => self.limits.heavy_of_managed(by.tenant_id),
            Some(person) => self.limits.heavy_of_anybody(person.as_bytes()),
            None => self.limits.heavy_of_anybody(by.tenant_id.as_bytes()),
        }
    }

    /// A person must have signed in lately for what outlives his session.
    pub(super) async fn signed_in_lately(&self, operator: &Operator) -> Result<()> {
        match &operator.who {
            Who::Person(p) => self.recent(p).await,
            Who::Server { .. } => Ok(()),
        }
    }

    /// The command context of an operator.
    pub(super) fn ctx_of(&self, caller: &Caller, operator: &Operator) -> crate::domain::context::Ctx {
        self.ctx(caller, operator.actor())
    }

    /// An audit event of what an operator does, about somebody or nobody.
    pub(super) fn audit_of(
        &self,
        caller: &Caller,
        operator: &Operator,
        about: Option<UserId>,
        event: &'static str,
    ) -> crate::domain::audit::AuditEvent {
        let mut audit = self.audit(caller, operator.actor(), operator.tenant_id, UserId::from_bytes([0; 16]), event);
        audit.user_id = about;
        audit
    }
}
