//! What every password that is about to be set goes through.

use super::{
    Services,
    error::{Error, Result},
};
use crate::{
    credentials::{
        policy,
        pool::{Class, Flow},
    },
    domain::{
        contact::Email,
        ids::UserId,
        policy::{AuthPolicy, BreachCheck},
        secret::Password,
        tenant::{Tenant, TenantKind},
        user::User,
    },
    gateway::breach::Breached,
};

/// What a password must obey, and the names that it must not be made of.
#[derive(Debug, Clone)]
pub struct PasswordRules {
    policy: AuthPolicy,
    /// Of the organizations that its owner belongs to.
    names: Vec<String>,
}

impl PasswordRules {
    /// Of somebody who belongs to a tenant.
    pub fn of(tenant: Tenant) -> Self {
        let names = if tenant.kind == TenantKind::Organization { vec![tenant.name, tenant.slug] } else { Vec::new() };
        Self { policy: tenant.policy, names }
    }
    /// Of somebody who belongs to both tenants.
    fn and(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        self.names.truncate(NAMES);
        Self { policy: self.policy.and_passwords_of(&other.policy), ..self }
    }
}

/// Names of organizations that are looked at: somebody may belong to a thousand.
const NAMES: usize = 100;

impl Services {
    /// Refuses a password that `rules` don't allow, or that was in a breach where they ask. `field` is that of the request.
    /// Takes at most a second or two, beside the wait for the pool, in which its strength is estimated: `flow` is that of its hash. A corpus
    /// that can't be asked refuses nobody.
    ///
    /// # Errors
    /// `WeakPassword` with the rule, `BreachedPassword`; `Overloaded`.
    pub async fn check_new_password(
        &self,
        field: &'static str,
        password: &Password,
        rules: &PasswordRules,
        email: &Email,
        display_name: Option<&str>,
        flow: Flow,
    ) -> Result<()> {
        let (rules, names) = (&rules.policy, &rules.names);
        let known = names.iter().chain(&rules.password_context_words).map(String::as_str).chain(display_name);
        let owner = policy::Owner::new(email, known.chain(self.names_of_service()));
        let checked = policy::check(&self.pool, password, rules, &owner, flow, Class::Interactive).await?;
        checked.map_err(|weak| Error::WeakPassword { field, reason: weak.reason, detail: weak.detail })?;
        if rules.breached_password_check == BreachCheck::On && self.is_breached(password).await {
            return Err(Error::BreachedPassword { field });
        }
        Ok(())
    }

    /// [`Services::check_new_password`] of the `new_password` that the owner of an account chooses.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn check_password_of(&self, user: &User, new: &Password, flow: Flow) -> Result<()> {
        let rules = self.password_policy_of(user.id).await?;
        self.check_new_password("new_password", new, &rules, &user.email, user.display_name.as_deref(), flow).await
    }

    /// The policy that the password of an existing account obeys: the rules of all tenants it belongs to (a member must not
    /// get around one tenant's by asking through another), or of a new account if it belongs to none.
    async fn password_policy_of(&self, user: UserId) -> Result<PasswordRules> {
        let rules = self.store.memberships(user).await?.into_iter().map(|(tenant, _)| PasswordRules::of(tenant));
        Ok(rules.reduce(PasswordRules::and).unwrap_or_else(|| self.password_rules()))
    }

    /// Of a new account that belongs to no organization.
    pub(super) fn password_rules(&self) -> PasswordRules {
        PasswordRules { policy: self.rules.policy.clone(), names: Vec::new() }
    }

    /// What the service is called: its host, without the top-level domain.
    pub(super) fn names_of_service(&self) -> impl Iterator<Item = &str> {
        let host = self.rules.app_url.split_once("://").map_or("", |(_, rest)| rest).split(['/', ':']).next().unwrap_or_default();
        std::iter::once(host.rsplit_once('.').map_or(host, |(name, _)| name))
    }

    /// Looks up the text as typed, and what is hashed of it, if that is another one.
    async fn is_breached(&self, password: &Password) -> bool {
        let normalized = password.normalized();
        let mut found = self.breach.look_up(password.as_typed()).await;
        if found != Breached::Yes && *normalized != *password.as_typed() {
            found = self.breach.look_up(&normalized).await;
        }
        let outcome = match found {
            Breached::Yes => "breached",
            Breached::No => "clean",
            Breached::Unknown => "failed",
        };
        metrics::counter!("qeetid_breach_check_total", "outcome" => outcome).increment(1);
        found == Breached::Yes
    }
}
