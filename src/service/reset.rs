//! Forgotten passwords.

use super::{
    Services,
    api::Caller,
    error::{Error, Result},
    login::flow,
    session::unexpected,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    credentials::pool::Class,
    domain::{
        contact::{ContactDigest, Email},
        context::Actor,
        outbox::Message,
        secret::Password,
        token::ResetToken,
        user::User,
    },
    store::commands::CompleteReset,
};
use std::time::Duration;

/// Whoever resets and asks for it ends the API keys that were made in organizations with the account since then.
const RECENT_KEYS: Duration = Duration::from_secs(7 * 86_400);

impl Services {
    /// Writes one job, the same for every address; who it is for is looked up by the worker, after the answer.
    /// Past the limit of the address nothing is written, and the answer is the same.
    pub async fn forgot_password(&self, caller: &Caller, email: &str) -> Result<()> {
        // What isn't an address we take, but somebody may hold for one, gets the same answer and the same row.
        let contact = email.parse::<Email>().map_or_else(|_| ContactDigest::of_unknown(email), |e| e.digest());
        if self.limits.forgot_password(&contact, caller.network, self.clock.now()).await? {
            let job = self.job(Message::ResetRequested { contact });
            self.send(&self.ctx(caller, Actor::Anonymous), job).await?;
        }
        Ok(())
    }

    /// Sets a new password by a mailed link: all sessions end, all other links and codes die, the e-mail is proved. API keys of the personal
    /// tenant end, and with `end_api_keys` those that the person made in organizations within the last week.
    ///
    /// # Errors
    /// `LinkInvalid` for unknown, used and expired ones alike; `WeakPassword`, which leaves the link good.
    pub async fn reset_password(&self, caller: &Caller, token: &str, new: Password, end_api_keys: bool) -> Result<()> {
        let token = ResetToken::parse(token).ok_or(Error::LinkInvalid)?;
        let link = self.store.reset_link(token.user_id(), token.link_id()).await?.ok_or(Error::LinkInvalid)?;
        let now = self.clock.now();
        if !token.genuine(&self.keyring, &link.nonce) || link.used_at.is_some() || now >= link.expires_at {
            return Err(Error::LinkInvalid);
        }
        let user = self.store.user(link.user_id).await?.filter(User::may_sign_in).ok_or(Error::LinkInvalid)?;
        if user.credential_epoch != link.epoch {
            return Err(Error::LinkInvalid);
        }
        let flow = flow(Some(&user), &user.email.digest(), caller);
        self.check_password_of(&user, &new, flow).await?;
        let new_hash = self.pool.hash(new, flow, Class::Interactive).await?;
        let cmd = CompleteReset {
            user_id: user.id,
            link_id: link.id,
            new_hash,
            network: Some(caller.network),
            end_keys_since: end_api_keys.then(|| now.minus(RECENT_KEYS)),
            personal: user.independent.then(|| Box::new(self.personal_tenant())),
            jobs: vec![self.job(Message::PasswordChanged { user_id: user.id })],
            audit: vec![self.audit(caller, Actor::Anonymous, user.home_tenant, user.id, "password.reset")],
        };
        let ctx = self.ctx(caller, Actor::Anonymous);
        match self.ask_user(caller, user.id, UserCommand::Reset(Box::new((ctx, cmd)))).await? {
            UserReply::Reset(_) => {
                self.epoch_raised(user.id, link.epoch + 1, None);
                Ok(())
            }
            UserReply::Stale => Err(Error::LinkInvalid),
            other => Err(unexpected(&other)),
        }
    }
}
