//! `qeetid api-key create`: how an operator begins on a fresh server, and how scripts get a key.

use super::{
    AppError,
    build::storage,
    tenant::{existing, organization},
};
use crate::{
    config::Settings,
    domain::{
        api_key::{self, ApiKey, Origin},
        audit::AuditEvent,
        authority::By,
        context::{Actor, Ctx},
        ids::{ApiKeyId, AuditId, CommandId},
        permission::{Permission, PermissionSet},
        secret::SecretText,
        time::Timestamp,
    },
    store::{
        access::{CreateApiKey, CreateApiKeyOutcome, FoundTenant},
        commands::CreateTenantOutcome,
    },
};
use std::time::Duration;

/// In which tenant a key is to act.
#[derive(Debug, Clone)]
pub enum InTenant {
    /// One that exists, by id or slug.
    Existing(String),
    /// A new organization of this name, without members: the key lets the first ones in.
    New(String),
}

/// When a key ends.
#[derive(Debug, Clone, Copy)]
pub enum Ends {
    /// This long after it is made.
    After(Duration),
    /// Then.
    At(Timestamp),
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct KeyOrder {
    /// Where it acts.
    pub tenant: InTenant,
    /// What it may do; not empty.
    pub scopes: PermissionSet,
    /// What people call it.
    pub name: String,
    /// When it ends, if ever.
    pub ends: Option<Ends>,
}

/// What was made.
pub struct MadeKey {
    /// The whole key: stored nowhere.
    pub secret: SecretText,
    /// About it, for the person at the terminal.
    pub about: String,
}

/// `<id>`, `<slug>`, or `new:<name>`.
///
/// # Errors
/// In words.
pub fn tenant(text: &str) -> Result<InTenant, String> {
    match text.strip_prefix("new:") {
        Some(name) => plain(name).map(InTenant::New),
        None if text.trim().is_empty() => Err("is empty".into()),
        None => Ok(InTenant::Existing(text.trim().to_lowercase())),
    }
}

/// 1 to 200 characters without controls.
///
/// # Errors
/// In words.
pub fn plain(text: &str) -> Result<String, String> {
    let name = text.trim();
    let good = (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if good { Ok(name.to_owned()) } else { Err("a name has 1 to 200 characters, and no control characters".into()) }
}

/// A permission key, or `all`.
///
/// # Errors
/// Names all keys.
pub fn scope(text: &str) -> Result<PermissionSet, String> {
    if text == "all" {
        return Ok(PermissionSet::all());
    }
    let known = || format!("is no permission; there are: all, {}", PermissionSet::all().keys().join(", "));
    Permission::from_key(text).map(|p| [p].into_iter().collect()).ok_or_else(known)
}

/// `90d`, `12h`, `30m`, or a moment in RFC 3339.
///
/// # Errors
/// In words.
pub fn ends(text: &str) -> Result<Ends, String> {
    let bad = || "is neither a time such as 90d, 12h or 30m, nor a moment such as 2027-01-31T12:00:00Z".to_owned();
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => {
            let at: jiff::Timestamp = text.parse().map_err(|_| bad())?;
            return Ok(Ends::At(Timestamp::from_millis(at.as_millisecond())));
        }
    };
    let count: u64 = text[..text.len() - 1].parse().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(bad)?;
    Ok(Ends::After(Duration::from_secs(count * unit)))
}

/// Makes the key. A running server knows it at once.
///
/// # Errors
/// No such tenant, an end in the past, or the store.
pub async fn create_api_key(settings: &Settings, order: KeyOrder) -> Result<MadeKey, AppError> {
    let parts = storage(settings).await?;
    let now = parts.clock.now();
    let expires_at = order.ends.map(|e| match e {
        Ends::After(span) => now.plus(span),
        Ends::At(at) => at,
    });
    if expires_at.is_some_and(|end| end <= now) {
        return Err(AppError::new("--expires", "lies in the past"));
    }
    let (tenant, is_new) = match &order.tenant {
        InTenant::Existing(text) => (existing(&*parts.store, text).await?, false),
        InTenant::New(name) => (organization(settings, &parts, name), true),
    };
    let (prefix, secret_digest, secret) = api_key::generate(&*parts.rng);
    let key = ApiKey {
        id: ApiKeyId::new(&*parts.clock, &*parts.rng),
        tenant_id: tenant.id,
        origin: Origin::Operator,
        user_id: None,
        parent_id: None,
        stopped_at: None,
        taken_over_at: None,
        name: order.name,
        prefix,
        secret_digest,
        scopes: order.scopes,
        expires_at,
        last_used_at: None,
        revoked_at: None,
        created_at: now,
    };
    let until = expires_at.map_or_else(|| "never ends".to_owned(), |end| format!("ends {end}"));
    let about = format!("API key {} of tenant {} ({}), {until}", key.id, tenant.id, tenant.slug);
    let (tenant_id, key_id) = (tenant.id, key.id);
    let event = |name: &str| AuditEvent::new(AuditId::new(&*parts.clock, &*parts.rng), tenant_id, name, Actor::System, now);
    let created = || event("api_key.created").about_resource("api_key", key_id.as_bytes());
    let ctx =
        Ctx { command: CommandId::new(&*parts.clock, &*parts.rng), now, actor: Actor::System, network: None, seed: None, request_id: None };
    let store = |e| AppError::new("store", e);
    if is_new {
        let audit = vec![event("tenant.created"), created()];
        match parts.store.found_tenant(&ctx, FoundTenant { tenant, key: Some(key), owner: None, audit }).await.map_err(store)? {
            CreateTenantOutcome::Created => Ok(MadeKey { secret, about }),
            CreateTenantOutcome::SlugTaken => Err(AppError::new("tenant", "another one has its slug: try again")),
        }
    } else {
        match parts
            .store
            .create_api_key(&ctx, CreateApiKey { by: By::operator(key.tenant_id), key, audit: vec![created()] })
            .await
            .map_err(store)?
        {
            CreateApiKeyOutcome::Created => Ok(MadeKey { secret, about }),
            CreateApiKeyOutcome::Denied(why) => Err(AppError::new("tenant", why.text())),
            CreateApiKeyOutcome::NoTenant => Err(AppError::new("tenant", "was deleted meanwhile")),
            CreateApiKeyOutcome::TooMany => Err(AppError::new("tenant", "has as many API keys as it may: revoke some")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        assert!(matches!(tenant("new: Acme "), Ok(InTenant::New(n)) if n == "Acme"));
        assert!(matches!(tenant(" ACME-corp"), Ok(InTenant::Existing(n)) if n == "acme-corp"));
        assert!(tenant("new:").is_err() && tenant(" ").is_err());
        assert!(matches!(ends("90d"), Ok(Ends::After(d)) if d == Duration::from_secs(90 * 86_400)));
        assert!(matches!(ends("2027-01-31T12:00:00Z"), Ok(Ends::At(at)) if at.millis() == 1_801_396_800_000));
        for bad in ["", "d", "0d", "-1d", "9999999d", "é", "1é", "soon", "2027-01-31"] {
            assert!(ends(bad).is_err(), "{bad}");
        }
        assert_eq!(scope("user.read").unwrap().keys(), ["user.read"]);
        assert_eq!(scope("all"), Ok(PermissionSet::all()));
        assert!(scope("user.fly").unwrap_err().contains("user.write"));
    }
}
