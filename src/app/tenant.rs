//! `qeetid tenant …`: the operator's word on organizations.

use super::{
    AppError,
    build::{Storage, storage},
};
use crate::{
    config::Settings,
    domain::{
        audit::AuditEvent,
        contact::Email,
        context::{Actor, Ctx},
        ids::{AuditId, CommandId, RoleId, TenantId},
        rng,
        tenant::{Tenant, TenantKind},
        user::{Membership, User},
    },
    service,
    store::{
        Store,
        access::FoundTenant,
        admin::{MakeOwner, ManageTenant},
        commands::{Cas, CreateTenantOutcome},
    },
};
use std::fmt::Write;

/// What "managed" means, for the person at the terminal.
const MEANING: &str = "Its admins own the accounts that they make and that belong to no other tenant: they may set passwords, assert addresses, suspend, delete and \
export them. Manage only organizations whose admins you trust with these accounts.";

/// Tenants that one page of a list holds.
const PAGE: u32 = 1000;

/// What is to be managed.
#[derive(Debug, Clone)]
pub enum Which {
    /// One, by id or slug.
    One(String),
    /// Every organization there is, after an upgrade.
    AllOrganizations,
}

fn ctx(parts: &Storage) -> Ctx {
    let command = CommandId::new(&*parts.clock, &*parts.rng);
    Ctx { command, now: parts.clock.now(), actor: Actor::System, network: None, seed: None, request_id: None }
}

fn event(parts: &Storage, tenant: TenantId, name: &'static str) -> AuditEvent {
    AuditEvent::new(AuditId::new(&*parts.clock, &*parts.rng), tenant, name, Actor::System, parts.clock.now())
}

fn store(e: impl std::fmt::Display) -> AppError {
    AppError::new("store", e)
}

/// Whether an organization has owners, all with proved addresses: power over credentials is for people who are who they say.
async fn owners_are_proved(parts: &Storage, tenant: TenantId) -> Result<bool, AppError> {
    let owners = parts.store.owners(tenant).await.map_err(store)?;
    for owner in &owners {
        let user = parts.store.user(*owner).await.map_err(store)?;
        if user.is_none_or(|u| u.email_verified_at.is_none()) {
            return Ok(false);
        }
    }
    Ok(!owners.is_empty())
}

/// Gives the admins of a tenant power over credentials, or takes it; says what has changed.
///
/// # Errors
/// No such organization, one whose owners have no proved address, or the store.
pub async fn manage(settings: &Settings, which: Which, managed: bool) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let single = matches!(which, Which::One(_));
    let tenants = match which {
        Which::One(text) => vec![existing(&*parts.store, &text).await?],
        Which::AllOrganizations => organizations(&parts).await?,
    };
    let mut said = String::new();
    for tenant in tenants {
        if managed && !owners_are_proved(&parts, tenant.id).await? {
            let why =
                format!("{} ({}) has an owner whose e-mail address is not proved, or none: it stays as it is", tenant.id, tenant.slug);
            if single {
                return Err(AppError::from(why));
            }
            let _ = writeln!(said, "{why}");
            continue;
        }
        let name = if managed { "tenant.managed" } else { "tenant.unmanaged" };
        let cmd = ManageTenant { tenant_id: tenant.id, managed, audit: vec![event(&parts, tenant.id, name)] };
        match parts.store.manage_tenant(&ctx(&parts), cmd).await.map_err(store)? {
            Cas::Done(()) => {
                let word = if managed { "managed" } else { "not managed" };
                // Writing into a String can't fail.
                let _ = writeln!(said, "{} ({}): {word}", tenant.id, tenant.slug);
            }
            Cas::Stale => return Err(AppError::from(format!("{} is a personal tenant, which has no admins", tenant.slug))),
        }
    }
    if managed {
        let _ = writeln!(said, "{MEANING}");
    }
    Ok(said)
}

async fn organizations(parts: &Storage) -> Result<Vec<Tenant>, AppError> {
    let mut all: Vec<Tenant> = Vec::new();
    loop {
        let page = parts.store.organizations(all.last().map(|t| t.id), PAGE).await.map_err(store)?;
        let last = page.len() < PAGE as usize;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// How many organizations are not managed.
pub(super) async fn without_power(settings: &Settings) -> Result<usize, AppError> {
    let parts = storage(settings).await?;
    Ok(organizations(&parts).await?.iter().filter(|t| !t.managed).count())
}

/// A line for each organization: id, slug, whether it is managed, name.
///
/// # Errors
/// The store.
pub async fn list(settings: &Settings) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let mut said = String::new();
    for t in organizations(&parts).await? {
        let managed = if t.managed { "managed" } else { "-" };
        let _ = writeln!(said, "{}  {:<40}  {:<8}  {}", t.id, t.slug, managed, t.name);
    }
    Ok(said)
}

/// An account with a proved address: nobody else is made an owner.
async fn proved(parts: &Storage, email: &Email) -> Result<User, AppError> {
    let user = parts.store.user_by_email(&email.digest()).await.map_err(store)?.filter(User::may_sign_in);
    match user {
        None => Err(AppError::from(format!("no account that may sign in has the address {}: they sign up first", email.as_str()))),
        Some(user) if user.email_verified_at.is_none() => Err(AppError::from(format!(
            "{} has not proved their address: an account that a stranger made must not become an owner",
            email.as_str()
        ))),
        Some(user) => Ok(user),
    }
}

/// A live tenant, by its id or slug.
pub(super) async fn existing(store: &dyn Store, text: &str) -> Result<Tenant, AppError> {
    let found = match text.parse::<TenantId>() {
        Ok(id) => store.tenant(id).await.map(|t| t.filter(|t| t.deleted_at.is_none())),
        Err(_) => store.tenant_by_slug(text).await,
    };
    found.map_err(|e| AppError::new("store", e))?.ok_or_else(|| {
        AppError::from(format!(
            "no tenant has the id or slug {text:?}. The API lists the tenants of a person at GET /v1/tenants; --tenant new:NAME makes one."
        ))
    })
}

/// A new organization of the operator's, which is managed.
pub(super) fn organization(settings: &Settings, parts: &Storage, name: &str) -> Tenant {
    let now = parts.clock.now();
    Tenant {
        id: TenantId::new(&*parts.clock, &*parts.rng),
        slug: service::slug_from(name, &rng::bytes(&*parts.rng)),
        name: name.to_owned(),
        kind: TenantKind::Organization,
        managed: true,
        domains: Vec::new(),
        metadata: serde_json::Map::new(),
        policy: settings.policy.clone(),
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    }
}

/// Makes a managed organization with an owner, who has signed up and proved their address.
///
/// # Errors
/// No such account, or the store.
pub async fn create(settings: &Settings, name: &str, owner: &Email) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let user = proved(&parts, owner).await?;
    let tenant = organization(settings, &parts, name);
    let id = tenant.id;
    let said = format!("{id} ({}): managed, owned by {}\n{MEANING}\n", tenant.slug, owner.as_str());
    let owner = Membership { user_id: user.id, tenant_id: id, roles: vec![RoleId::OWNER], joined_at: tenant.created_at };
    let audit = vec![event(&parts, id, "tenant.created")];
    match parts.store.found_tenant(&ctx(&parts), FoundTenant { tenant, key: None, owner: Some(owner), audit }).await.map_err(store)? {
        CreateTenantOutcome::Created => Ok(said),
        CreateTenantOutcome::SlugTaken => Err(AppError::new("tenant", "another one has its slug: try again")),
    }
}

/// Makes an account with a proved address an owner of an organization, whether it belonged there or not.
///
/// # Errors
/// No such organization or account, or the store.
pub async fn owner(settings: &Settings, tenant: &str, email: &Email) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let (tenant, user) = (existing(&*parts.store, tenant).await?, proved(&parts, email).await?);
    let audit = AuditEvent { user_id: Some(user.id), ..event(&parts, tenant.id, "role.given") };
    let audit = vec![audit.about_resource("role", RoleId::OWNER.as_bytes())];
    let cmd = MakeOwner { tenant_id: tenant.id, user_id: user.id, audit };
    match parts.store.make_owner(&ctx(&parts), cmd).await.map_err(store)? {
        Cas::Done(()) => Ok(format!("{} owns {} ({})\n", email.as_str(), tenant.id, tenant.slug)),
        Cas::Stale => Err(AppError::from(format!("{} is a personal tenant, or was deleted meanwhile", tenant.slug))),
    }
}
