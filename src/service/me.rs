//! One's own profile, and the end of it.

use super::{
    Services,
    api::{Caller, Principal, ProfileChange, UserView},
    error::{Error, Result},
    session::unexpected,
};
use crate::{
    actors::user::{UserCommand, UserReply},
    domain::{context::Actor, outbox::Message, secret::Password, user::User},
    store::commands::{DeleteUser, UpdateProfile},
};

impl Services {
    async fn view(&self, who: &Principal, user: User) -> Result<UserView> {
        let (roles, kept) = match self.store.membership_kept(who.user_id, who.tenant_id).await? {
            Some((membership, kept)) => (membership.roles, kept),
            None => Default::default(),
        };
        let metadata = user.metadata_in(who.tenant_id, kept);
        let user = User { metadata, ..user };
        let names = self.role_names_in(who.tenant_id, &roles).await?;
        Ok(UserView { user, tenant_id: who.tenant_id, roles: names.of(&roles) })
    }

    /// The caller's account, as seen from the tenant of the scope.
    pub async fn profile(&self, who: &Principal) -> Result<UserView> {
        let user = self.account(who).await?;
        self.view(who, user).await
    }

    /// Changes what is given.
    pub async fn update_profile(&self, caller: &Caller, who: &Principal, change: ProfileChange) -> Result<UserView> {
        // Somebody else (another tab) may write between our read and our write; his fields are kept.
        for _ in 0..3 {
            let user = self.account(who).await?;
            let cmd = UpdateProfile {
                user_id: user.id,
                expect_version: user.version,
                display_name: change.display_name.clone().unwrap_or(user.display_name),
                locale: change.locale.clone().unwrap_or(user.locale),
            };
            let ctx = self.ctx(caller, Actor::User(user.id));
            match self.ask_user(caller, user.id, UserCommand::UpdateProfile(Box::new((ctx, cmd)))).await? {
                UserReply::Profile(user) => return self.view(who, *user).await,
                UserReply::Stale => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Error::Conflict("the account has changed meanwhile"))
    }

    /// Puts the caller's account into the recycle bin: all sessions end.
    ///
    /// # Errors
    /// `WrongPassword`, `ReauthenticationRequired`, `Conflict` for the last owner of an organization with other members.
    pub async fn delete_me(&self, caller: &Caller, who: &Principal, current: Option<Password>) -> Result<()> {
        let user = self.account(who).await?;
        if user.password_hash.is_some() && current.is_none() {
            return Err(Error::field("current_password", "is required: the account has a password"));
        }
        self.prove_again(caller, who, &user, current).await?;
        let home = self.store.tenant(user.home_tenant).await?;
        let bin = home.as_ref().map_or(&self.rules.policy, |t| &t.policy).recycle_bin();
        let ctx = self.ctx(caller, Actor::User(user.id));
        let cmd = DeleteUser {
            user_id: user.id,
            expect_epoch: user.credential_epoch,
            purge_after: ctx.now.plus(bin),
            job: Some(self.job(Message::AccountDeleted { user_id: user.id, epoch: user.credential_epoch + 1, own: true })),
            audit: vec![self.audit(caller, Actor::User(user.id), who.tenant_id, user.id, "user.deleted")],
        };
        match self.ask_user(caller, user.id, UserCommand::Delete(Box::new((ctx, cmd)))).await? {
            UserReply::Done => {
                self.epoch_raised(user.id, user.credential_epoch + 1, None);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }
}
