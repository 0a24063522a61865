//! Moving an account to another e-mail address, and undoing that.

use super::{
    Services,
    api::{Caller, Principal},
    error::{Error, Result},
    session::unexpected,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    domain::{
        contact::Email,
        context::Actor,
        outbox::{Message, SecuredBy},
        secret::{Password, SecretText},
        token::{CodeLength, CodePurpose, UndoToken},
    },
    store::commands::UndoEmailChange,
};

impl Services {
    /// Sends a code to the new address; a taken one looks the same.
    ///
    /// # Errors
    /// `WrongPassword`, `ReauthenticationRequired`, `RateLimited`.
    pub async fn start_email_change(
        &self,
        caller: &Caller,
        who: &Principal,
        email: Email,
        current: Option<Password>,
    ) -> Result<CodeLength> {
        let user = self.account(who).await?;
        if !self.scope(who.tenant_id).await?.policy.otp_email_enabled {
            return Err(Error::Forbidden);
        }
        if email == user.email {
            return Err(Error::field("email", "is the address that the account has"));
        }
        self.prove_again(caller, who, &user, current).await?;
        let now = self.clock.now();
        self.limits.code(user.id, CodePurpose::EmailChange, &email.digest(), caller.network, now).await?;
        self.start(caller, who, &user, CodePurpose::EmailChange, email.as_str(), Some(email.clone())).await
    }

    /// Moves the account: other sessions end, the old address gets a notice with an undo link.
    ///
    /// # Errors
    /// `CodeInvalid`, `CodeExpired`, `EmailTaken`.
    pub async fn confirm_email_change(&self, caller: &Caller, who: &Principal, code: SecretText) -> Result<()> {
        self.confirm(caller, who, CodePurpose::EmailChange, code, None, "email.changed").await?;
        let user = self.account(who).await?;
        self.epoch_raised(user.id, user.credential_epoch, Some(who.session_id));
        Ok(())
    }

    /// Puts the old address back, by the link in the notice: all sessions end.
    ///
    /// # Errors
    /// `LinkInvalid` for unknown, used and expired ones alike; `EmailTaken` if somebody has the old address by now.
    pub async fn undo_email_change(&self, caller: &Caller, token: &str) -> Result<()> {
        let token = UndoToken::parse(token).ok_or(Error::LinkInvalid)?;
        let link = self.store.undo_link(token.user_id(), token.link_id()).await?.ok_or(Error::LinkInvalid)?;
        if !token.genuine(&self.keyring, &link.nonce) || link.used_at.is_some() || self.clock.now() >= link.expires_at {
            return Err(Error::LinkInvalid);
        }
        // In the recycle bin too: whoever moved the account may have put it there.
        let user = self.store.user(link.user_id).await?.ok_or(Error::LinkInvalid)?;
        let audit = vec![self.audit(caller, Actor::Anonymous, user.home_tenant, user.id, "email.change_undone")];
        let job = Some(self.job(Message::Secured { user_id: user.id, why: SecuredBy::Undone }));
        let cmd = UndoEmailChange { user_id: user.id, link_id: link.id, personal: Box::new(self.personal_tenant()), job, audit };
        let ctx = self.ctx(caller, Actor::Anonymous);
        match self.ask_user(caller, user.id, UserCommand::UndoEmailChange(Box::new((ctx, cmd)))).await? {
            UserReply::Done => {
                let epoch = self.store.user(user.id).await?.map_or(user.credential_epoch + 1, |u| u.credential_epoch);
                self.epoch_raised(user.id, epoch, None);
                Ok(())
            }
            UserReply::Stale => Err(Error::LinkInvalid),
            other => Err(unexpected(&other)),
        }
    }
}
