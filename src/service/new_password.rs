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
    },
    gateway::breach::Breached,
};

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
        rules: &AuthPolicy,
        email: &Email,
        flow: Flow,
    ) -> Result<()> {
        let checked = policy::check(&self.pool, password, rules, email, flow, Class::Interactive).await?;
        checked.map_err(|weak| Error::WeakPassword { field, reason: weak.reason, detail: weak.detail })?;
        if rules.breached_password_check == BreachCheck::On && self.is_breached(password).await {
            return Err(Error::BreachedPassword { field });
        }
        Ok(())
    }

    /// The policy that the password of an existing account obeys: the rules of all tenants it belongs to (a member must not
    /// get around one tenant's by asking through another), or of a new account if it belongs to none.
    pub(super) async fn password_policy_of(&self, user: UserId) -> Result<AuthPolicy> {
        let policies = self.store.memberships(user).await?.into_iter().map(|(tenant, _)| tenant.policy);
        Ok(policies.reduce(|all, one| all.and_passwords_of(&one)).unwrap_or_else(|| self.rules.policy.clone()))
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
