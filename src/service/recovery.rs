//! Getting an account back into the hands of its owner: "this was not me", a way back from the recycle bin, the password given again,
//! and a new password in the place of one that an admin set.

use super::{
    Services,
    api::{Caller, Principal},
    error::{Error, Result},
    login::flow,
    members::Export,
    session::unexpected,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    credentials::pool::Class,
    domain::{
        context::Actor,
        outbox::{Message, SecuredBy},
        secret::Password,
        time::Timestamp,
        token::{ChangeToken, NO_NONCE, NotMeToken, RestoreToken, nonce_of_epoch},
        user::User,
    },
    store::commands::{ChangePassword, RestoreAccount, SecureAccount, SignInAgain},
};
use std::time::Duration;

/// How long the links of security mails are good.
const NOT_ME_TTL: Duration = Duration::from_secs(72 * 3600);

fn moment(millis: u64) -> Option<Timestamp> {
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

impl Services {
    /// The person says, by the link in a security mail, that a change was not theirs: the password goes, all sessions, keys of the personal
    /// tenant and those made since, pending changes; a mail with a link to set a password goes out.
    ///
    /// # Errors
    /// `LinkInvalid` for unknown, used and expired ones alike.
    pub async fn not_me(&self, caller: &Caller, token: &str) -> Result<()> {
        let token = NotMeToken::parse(token).filter(|t| t.genuine(&self.keyring, &NO_NONCE)).ok_or(Error::LinkInvalid)?;
        let made_at = moment(token.made_at()).ok_or(Error::LinkInvalid)?;
        if self.clock.now() >= made_at.plus(NOT_ME_TTL) {
            return Err(Error::LinkInvalid);
        }
        let user = self.store.user(token.user_id()).await?.ok_or(Error::LinkInvalid)?;
        let cmd = SecureAccount {
            user_id: user.id,
            made_at,
            job: self.job(Message::Secured { user_id: user.id, why: SecuredBy::NotMe }),
            audit: vec![self.audit(caller, Actor::Anonymous, user.home_tenant, user.id, "user.secured")],
        };
        let ctx = self.ctx(caller, Actor::Anonymous);
        self.by_link(caller, &user, UserCommand::Secure(Box::new((ctx, cmd)))).await
    }

    /// The person takes their account out of the recycle bin, by the link in the mail that told them of the deletion: without its password; a
    /// mail with a link to set one goes out.
    ///
    /// # Errors
    /// `LinkInvalid` for unknown and used ones, and once the account is gone or back.
    pub async fn restore_account(&self, caller: &Caller, token: &str) -> Result<()> {
        let token = RestoreToken::parse(token).ok_or(Error::LinkInvalid)?;
        let epoch = token.epoch();
        if !token.genuine(&self.keyring, &nonce_of_epoch(epoch)) {
            return Err(Error::LinkInvalid);
        }
        let user = self.store.user(token.user_id()).await?.ok_or(Error::LinkInvalid)?;
        let cmd = RestoreAccount {
            user_id: user.id,
            epoch,
            personal: Box::new(self.personal_tenant()),
            job: self.job(Message::Secured { user_id: user.id, why: SecuredBy::Restored }),
            audit: vec![self.audit(caller, Actor::Anonymous, user.home_tenant, user.id, "user.restored")],
        };
        let ctx = self.ctx(caller, Actor::Anonymous);
        self.by_link(caller, &user, UserCommand::Restore(Box::new((ctx, cmd)))).await
    }

    /// A command that ends all that was made under the account's epoch.
    async fn by_link(&self, caller: &Caller, user: &User, command: UserCommand) -> Result<()> {
        match self.ask_user(caller, user.id, command).await? {
            UserReply::Done => {
                let epoch = self.store.user(user.id).await?.map_or(user.credential_epoch + 1, |u| u.credential_epoch);
                self.epoch_raised(user.id, epoch, None);
                Ok(())
            }
            UserReply::Stale => Err(Error::LinkInvalid),
            other => Err(unexpected(&other)),
        }
    }

    /// The password was given again: the session counts as signed in now.
    ///
    /// # Errors
    /// `WrongPassword`, `AccountLocked`; `Validation` for an account without a password.
    pub async fn reauthenticate(&self, caller: &Caller, who: &Principal, current: Password) -> Result<()> {
        let user = self.account(who).await?;
        let Some(hash) = user.password_hash.clone() else {
            return Err(Error::field("current_password", "is not what this account has: sign in again"));
        };
        self.check_current(caller, &user, hash, current).await?;
        let cmd = SignInAgain { user_id: user.id, session_id: who.session_id, epoch: user.credential_epoch };
        let ctx = self.ctx(caller, Actor::User(user.id));
        match self.ask_user(caller, user.id, UserCommand::SignInAgain(Box::new((ctx, cmd)))).await? {
            UserReply::Done => Ok(()),
            UserReply::Stale => Err(Error::Unauthorized),
            other => Err(unexpected(&other)),
        }
    }

    /// All that is kept about the caller.
    ///
    /// # Errors
    /// `WrongPassword`, `AccountLocked`, `ReauthenticationRequired`.
    pub async fn export_me(&self, caller: &Caller, who: &Principal, current: Option<Password>) -> Result<Export> {
        let user = self.account(who).await?;
        self.prove_again(caller, who, &user, current).await?;
        let _one = self.limits.heavy_of_anybody(user.id.as_bytes())?;
        let view = self.profile(who).await?;
        self.export_of(view).await
    }

    /// Sets a new password in the place of one that an admin set, by the token that the refused sign-in gave: good for ten minutes, once.
    ///
    /// # Errors
    /// `Unauthorized` for a token that isn't good (any more); `WeakPassword`, `BreachedPassword`, and `Validation` for the very password that
    /// was set, which leave it good.
    pub async fn change_set_password(&self, caller: &Caller, token: &str, new: Password) -> Result<()> {
        let token = ChangeToken::parse(token).ok_or(Error::Unauthorized)?;
        let good = |u: &User| {
            let in_time = moment(token.expires_at()).is_some_and(|end| self.clock.now() < end);
            u.may_sign_in() && u.must_change && in_time && token.genuine(&self.keyring, &nonce_of_epoch(u.credential_epoch))
        };
        let user = self.store.user(token.user_id()).await?.filter(good).ok_or(Error::Unauthorized)?;
        let flow = flow(Some(&user), &user.email.digest(), caller);
        self.check_password_of(&user, &new, flow).await?;
        if self.pool.verify(new.clone(), user.password_hash.clone(), flow, Class::Interactive).await?.matches {
            return Err(Error::field("new_password", "is the one that was set for you: choose another"));
        }
        let new_hash = self.pool.hash(new, flow, Class::Interactive).await?;
        let cmd = ChangePassword {
            user_id: user.id,
            expect_epoch: user.credential_epoch,
            new_hash,
            keep: None,
            job: Some(self.job(Message::PasswordChanged { user_id: user.id })),
            audit: vec![self.audit(caller, Actor::User(user.id), user.home_tenant, user.id, "password.changed")],
        };
        let ctx = self.ctx(caller, Actor::User(user.id));
        match self.ask_user(caller, user.id, UserCommand::ChangePassword(Box::new((ctx, cmd)))).await? {
            UserReply::Done => {
                self.epoch_raised(user.id, user.credential_epoch + 1, None);
                Ok(())
            }
            UserReply::Stale => Err(Error::Unauthorized),
            other => Err(unexpected(&other)),
        }
    }
}
