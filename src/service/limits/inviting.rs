//! Invites: mails to people who have not asked for one.

use super::Limits;
use crate::{
    domain::{
        contact::ContactDigest,
        ids::{TenantId, UserId},
        network::Network,
        time::Timestamp,
    },
    ephemeral::Subject,
    service::error::{Error, Result},
};

/// Who invites.
#[derive(Clone, Copy)]
pub struct Inviting {
    /// Whereto.
    pub tenant: TenantId,
    /// That is a managed tenant.
    pub managed: bool,
    /// The person, or the maker of the API key; `None`: a key of the operator's.
    pub person: Option<UserId>,
    /// From where.
    pub network: Network,
}

impl Limits {
    /// One invite (or the sending again of one) of a tenant. Organizations are free to make: whoever has many is counted over all of them. Says
    /// whether the mail may go out: what all tenants together send to one address is bounded too, but no tenant is told, for that would tell
    /// of the others.
    pub async fn invite(&self, by: &Inviting, email: &ContactDigest, now: Timestamp) -> Result<bool> {
        self.invite_of(by, now).await?;
        self.invite_to(by, email, now).await
    }

    /// The first half of [`Limits::invite`]: whoever invites may do so once more, whomever.
    ///
    /// # Errors
    /// `RateLimited`.
    pub async fn invite_of(&self, by: &Inviting, now: Timestamp) -> Result<()> {
        self.allow(&self.rules.invites_of_tenant, &Subject::of(&[by.tenant.as_bytes()]), now).await?;
        if let Some(person) = by.person.filter(|_| !by.managed) {
            self.allow(&self.rules.invites_of_person, &Subject::of(&[person.as_bytes()]), now).await?;
            self.by_network(&self.rules.invites_from_network, by.network, now).await?;
        }
        Ok(())
    }

    /// The second half: this address.
    ///
    /// # Errors
    /// `RateLimited`.
    pub async fn invite_to(&self, by: &Inviting, email: &ContactDigest, now: Timestamp) -> Result<bool> {
        self.allow(&self.rules.invites_to_address, &Subject::of(&[by.tenant.as_bytes(), email.as_bytes()]), now).await?;
        match self.allow(&self.rules.invite_mails, &Subject::contact(email), now).await {
            Ok(()) => Ok(true),
            Err(Error::RateLimited { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}
