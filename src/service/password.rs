//! A signed-in person's password.

use super::{
    Services,
    api::{Caller, Principal},
    error::{Error, Result},
    login::flow,
    session::unexpected,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    credentials::pool::Class,
    domain::{context::Actor, outbox::Message, secret::Password, user::User},
    store::commands::{ChangePassword, Revocation},
};
use std::time::Duration;

/// What a recent sign-in stands in for a password (OWASP ASVS 5.0, 7.5).
const RECENT: Duration = Duration::from_secs(15 * 60);

impl Services {
    /// The account of a signed-in person.
    ///
    /// # Errors
    /// `Unauthorized` if it is gone.
    pub(super) async fn account(&self, who: &Principal) -> Result<User> {
        self.store.user(who.user_id).await?.filter(User::may_sign_in).ok_or(Error::Unauthorized)
    }

    /// Has the caller a password?
    pub async fn has_password(&self, who: &Principal) -> Result<bool> {
        Ok(self.account(who).await?.password_hash.is_some())
    }

    /// The person proves once more who he is: by the current password if one is given, else by having signed in lately.
    ///
    /// # Errors
    /// `WrongPassword`, `AccountLocked`, `ReauthenticationRequired`.
    pub(super) async fn prove_again(&self, caller: &Caller, who: &Principal, user: &User, current: Option<Password>) -> Result<()> {
        match (user.password_hash.clone(), current) {
            (Some(hash), Some(password)) => self.check_current(caller, user, hash, password).await,
            _ => self.recent(who).await,
        }
    }

    /// A sign-in under 15 minutes ago.
    ///
    /// # Errors
    /// `ReauthenticationRequired`.
    pub(super) async fn recent(&self, who: &Principal) -> Result<()> {
        let fresh = self.clock.now().since(self.signed_in_at(who).await?) < RECENT;
        if fresh { Ok(()) } else { Err(Error::ReauthenticationRequired) }
    }

    /// Changes the password: this session lives on, all others end.
    ///
    /// # Errors
    /// `WrongPassword`, `WeakPassword`; `ReauthenticationRequired` for an account without a password and an old sign-in.
    pub async fn change_password(&self, caller: &Caller, who: &Principal, current: Option<Password>, new: Password) -> Result<()> {
        let user = self.account(who).await?;
        if user.password_hash.is_some() && current.is_none() {
            return Err(Error::field("current_password", "is required: the account has a password"));
        }
        let flow = flow(Some(&user), &user.email.digest(), caller);
        self.check_password_of(&user, &new, flow).await?;
        self.prove_again(caller, who, &user, current).await?;
        let new_hash = self.pool.hash(new, flow, Class::Interactive).await?;
        let cmd = ChangePassword {
            user_id: user.id,
            expect_epoch: user.credential_epoch,
            new_hash,
            keep: Some(who.session_id),
            job: Some(self.job(Message::PasswordChanged { user_id: user.id })),
            audit: vec![self.audit(caller, Actor::User(user.id), who.tenant_id, user.id, "password.changed")],
        };
        let ctx = self.ctx(caller, Actor::User(user.id));
        match self.ask_user(caller, user.id, UserCommand::ChangePassword(Box::new((ctx, cmd)))).await? {
            UserReply::Done => {
                self.epoch_raised(user.id, user.credential_epoch + 1, Some(who.session_id));
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Refuses the tokens of old epochs on this node at once; the others read it from the store.
    pub(super) fn epoch_raised(&self, user_id: crate::domain::ids::UserId, below: u64, keep: Option<crate::domain::ids::SessionId>) {
        self.keys.revoke([Revocation::Epoch { user_id, below, keep }]);
    }
}
