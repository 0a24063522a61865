//! Links that set a password, made by admins.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    idempotency,
};
use crate::{
    actors::entity::settled,
    domain::{
        authority::Action,
        ids::{LinkId, UserId},
        outbox::Message,
        rng,
        secret::SecretText,
        time::Timestamp,
        token::ResetToken,
        user::User,
    },
    store::commands::ResetLink,
};
use std::time::Duration;

/// How long a link that is handed to an admin is good.
const RETURNED_TTL: Duration = Duration::from_secs(3600);

impl Services {
    /// Mails a user a link that sets a password, as "forgot password" does.
    ///
    /// # Errors
    /// `NotFound`, `Denied`; `RateLimited` once the address has had as many as it may.
    pub async fn mail_link(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<()> {
        let user = self.linkable(by, user_id).await?;
        let contact = user.email.digest();
        self.limits.reset_mail(&contact, self.clock.now()).await?;
        let ctx = self.ctx_of(caller, by);
        let job = self.job(Message::ResetRequested { contact });
        self.note_link(caller, by, user_id, "password.link_mailed").await?;
        Ok(self.send(&ctx, job).await?)
    }

    /// Makes a link that sets a user's password, to be handed over. Whoever uses it has learned of it from the admin: it proves no address,
    /// and is good only while the admin may still set the password.
    ///
    /// # Errors
    /// `NotFound`, `Denied`; `Conflict` if the account changes meanwhile.
    pub async fn make_link(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<(SecretText, Timestamp)> {
        // One id for all tries: nothing is recorded of one that came too late.
        let ctx = self.ctx_of(caller, by);
        for _ in 0..2 {
            let user = self.linkable(by, user_id).await?;
            let now = self.clock.now();
            let link = ResetLink {
                id: LinkId::new(&*self.clock, &*self.rng),
                user_id,
                nonce: rng::bytes(&*self.rng),
                epoch: user.credential_epoch,
                created_at: now,
                expires_at: now.plus(RETURNED_TTL),
                used_at: None,
                made_by: Some(by.by()),
            };
            self.note_link(caller, by, user_id, "password.link_made").await?;
            let made = settled(|| self.store.create_reset_link(&ctx, link.clone())).await?;
            // A run before may have made it, with the id of its second try.
            if made && (!idempotency::may_be_rerun() || self.store.reset_link(user_id, link.id).await?.is_some()) {
                let token = ResetToken::issue(&self.keyring, user_id, link.id, link.epoch, &link.nonce);
                let url = SecretText::new(format!("{}/reset-password?token={}", self.rules.app_url, token.reveal()));
                return Ok((url, link.expires_at));
            }
        }
        Err(Error::Conflict("the user has changed meanwhile"))
    }

    async fn linkable(&self, by: &Operator, user_id: UserId) -> Result<User> {
        let user = self.allowed(by, user_id, Action::MakeLink).await?.user;
        if user.may_sign_in() { Ok(user) } else { Err(Error::NotFound) }
    }

    /// Before the link is there: one that nobody knows of would be worse than an event without a link.
    async fn note_link(&self, caller: &Caller, by: &Operator, user_id: UserId, event: &'static str) -> Result<()> {
        let (ctx, audit) = (self.ctx_of(caller, by), vec![self.audit_of(caller, by, Some(user_id), event)]);
        Ok(self.note(&ctx, audit).await?)
    }
}
