//! Accepting an invite by one of its tokens, without being signed in.

use super::{
    Services, SignupMode,
    api::{Caller, TokenPair},
    error::{Error, Result},
    login::flow,
    new_password::PasswordRules,
    reveals::{self, Told},
    tenant::unexpected,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    credentials::pool::Class,
    domain::{
        authority::Place,
        contact::ContactDigest,
        context::Actor,
        hash::PasswordHash,
        ids::UserId,
        invite::Invite,
        secret::Password,
        tenant::Tenant,
        token::{HandedInvite, MailedInvite},
        user::{CodeSerials, User, UserStatus},
    },
    store::invites::*,
};

/// An open invite as a genuine token names it.
struct Shown {
    invite: Invite,
    tenant: Tenant,
    /// By the token that was mailed: who shows it reads the mailbox.
    mailed: bool,
}

/// How one attempt ended.
enum Tried {
    Joined(TokenPair),
    /// Somebody took the address while the password was hashed: there is an account now.
    Taken,
}

impl Services {
    /// Joins by a token: makes the account if the address has none, else the password must be the account's.
    ///
    /// # Errors
    /// `InviteInvalid` for whatever is wrong with the token or the invite; `Validation` without a password, but
    /// `InviteAccountExists` if there is an account and the token proves the mailbox; `InvalidCredentials`, `AccountLocked`,
    /// `AccountSuspended` as at a sign-in; `RateLimited` once handed-over invites have told of 20 accounts in a day; `WeakPassword`, `BreachedPassword` for a new account.
    pub async fn accept_invite(
        &self,
        caller: &Caller,
        token: &str,
        password: Option<Password>,
        display_name: Option<String>,
    ) -> Result<TokenPair> {
        let shown = self.shown(token).await?;
        let digest = shown.invite.email.digest();
        let Some(password) = password else {
            // Only who reads the mailbox is told whether it has an account.
            let told = shown.mailed && self.store.user_by_email(&digest).await?.is_some();
            return Err(if told { Error::InviteAccountExists } else { Error::field("password", "is required") });
        };
        let _one = self.limits.one_attempt(&digest, caller.network).await?;
        for _ in 0..2 {
            match self.try_to_join(caller, &shown, &digest, &password, display_name.clone()).await? {
                Tried::Joined(pair) => return Ok(pair),
                Tried::Taken => continue,
            }
        }
        // An account has left this address and may still move back to it (undo link): so long no other account gets it.
        if self.store.user_by_email(&digest).await?.is_none() {
            return Err(Error::InviteInvalid);
        }
        Err(Error::Unavailable("an address was taken and freed under one acceptance".into()))
    }

    /// The open invite that a token stands for.
    async fn shown(&self, token: &str) -> Result<Shown> {
        let mailed = MailedInvite::parse(token);
        let handed = HandedInvite::parse(token);
        let (tenant_id, invite_id, serial) = match (&mailed, &handed) {
            (Some(t), _) => (t.tenant_id(), t.invite_id(), t.serial()),
            (None, Some(t)) => (t.tenant_id(), t.invite_id(), t.serial()),
            (None, None) => return Err(Error::InviteInvalid),
        };
        let invite = self.store.invite(tenant_id, invite_id).await?.ok_or(Error::InviteInvalid)?;
        let genuine = match (&mailed, &handed) {
            (Some(t), _) => t.genuine(&self.keyring, &invite.nonce),
            (None, Some(t)) => t.genuine(&self.keyring, &invite.nonce),
            (None, None) => false,
        };
        if !genuine || serial != invite.serial || !invite.is_open(self.clock.now()) {
            return Err(Error::InviteInvalid);
        }
        let tenant = self.store.tenant(tenant_id).await?.filter(|t| t.deleted_at.is_none()).ok_or(Error::InviteInvalid)?;
        Ok(Shown { invite, tenant, mailed: mailed.is_some() })
    }

    /// Known or unknown, an address costs the same reads, one try, and one hash.
    async fn try_to_join(
        &self,
        caller: &Caller,
        shown: &Shown,
        digest: &ContactDigest,
        password: &Password,
        display_name: Option<String>,
    ) -> Result<Tried> {
        // Where addresses are proved before there is an account, a token that was handed over makes none; nor does it tell who has one.
        if !shown.mailed && self.rules.signup_mode == SignupMode::VerifyFirst {
            return Err(Error::field("token", "proves no address: open the link in the mail, or sign in and accept the invite"));
        }
        // What it answers to a wrong password tells whoever handed it over of an account: it is one of the day's answers to them, asked for before
        // anything is looked up. Of its own domains a tenant may know.
        let own_domain = Place::of(&shown.tenant).has_proved(&shown.invite.email);
        let tenant = shown.tenant.id;
        let place = if shown.mailed || own_domain || self.was_told(tenant, digest).await? {
            None
        } else {
            Some(self.place_of_inviter(caller, shown).await?)
        };
        let lookup = self.store.login_lookup(digest, caller.network).await?;
        let now = self.clock.now();
        // By the token that was handed over, of everybody: whom it refuses must not tell who has an account.
        if lookup.user.is_none() || !shown.mailed {
            let flow = flow(lookup.user.as_ref(), digest, caller);
            self.check_new_password("password", password, &PasswordRules::of(shown.tenant.clone()), &shown.invite.email, None, flow)
                .await?;
        }
        let account = lookup.user.as_ref().filter(|u| u.deleted_at.is_none());
        let whose = self.count_try(caller, digest, lookup.known_network, account, Actor::Anonymous).await?;
        let given_back = || self.limits.password_right(&whose, now);
        let Some(user) = lookup.user else {
            let hash = self.pool.hash(password.clone(), flow(None, digest, caller), Class::Interactive).await;
            given_back().await?;
            return self.join_as_new(caller, shown, hash?, display_name).await;
        };
        let hash = user.password_hash.clone().filter(|_| user.deleted_at.is_none());
        let verified = self.pool.verify(password.clone(), hash, flow(Some(&user), digest, caller), Class::Interactive).await;
        if !matches!(&verified, Ok(v) if !v.matches) {
            given_back().await?;
        }
        let verified = verified?;
        if !verified.matches || user.deleted_at.is_some() {
            if let Some(mut place) = place {
                place.is_used();
                self.note_told(tenant, digest).await;
            }
            let account = Some(&user).filter(|u| u.deleted_at.is_none());
            self.note_refusal(caller, *digest, account, Actor::Anonymous, "sign_in.refused");
            return Err(self.refuse(&verified).await);
        }
        if user.status == UserStatus::Suspended {
            return Err(Error::AccountSuspended);
        }
        self.may_go_on(&user)?;
        match self.join_as(caller, shown, &user).await? {
            Some(pair) => {
                if verified.outdated {
                    self.rehash_later(caller, &user, password.clone(), digest);
                }
                Ok(Tried::Joined(pair))
            }
            // Changed while we looked: the password that was right is no longer, or the account is gone.
            None => Err(self.refuse(&verified).await),
        }
    }

    async fn place_of_inviter(&self, caller: &Caller, shown: &Shown) -> Result<reveals::Place> {
        let tenant = shown.tenant.id;
        let taken = self.place_to_tell(Told { tenant, person: shown.invite.inviter }).await;
        if matches!(taken, Err(Error::RateLimited { .. })) && self.refusal_is_news(tenant).await? {
            let mut audit = self.audit(caller, Actor::Anonymous, tenant, UserId::from_bytes([0; 16]), "tenant.probing_refused");
            audit.user_id = None;
            self.note(&self.ctx(caller, Actor::Anonymous), vec![audit]).await?;
        }
        taken
    }

    async fn join_as_new(&self, caller: &Caller, shown: &Shown, hash: PasswordHash, display_name: Option<String>) -> Result<Tried> {
        let user = self.invited_user(shown, hash, display_name);
        let session = self.new_session(caller, &user, &shown.tenant);
        let audit = ["user.created", "invite.accepted"];
        let joins = Joins::New { user: Box::new(user.clone()), session: Box::new(session.clone()), network: caller.network };
        match self.join(caller, shown, user.id, joins, &audit).await? {
            AcceptOutcome::Joined => Ok(Tried::Joined(self.pair_of(&session)?)),
            AcceptOutcome::EmailTaken(_) => Ok(Tried::Taken),
            AcceptOutcome::Denied(why) => Err(why.into()),
            AcceptOutcome::Gone | AcceptOutcome::Stale => Err(Error::InviteInvalid),
        }
    }

    /// `None` if the account has changed since it was read.
    async fn join_as(&self, caller: &Caller, shown: &Shown, user: &User) -> Result<Option<TokenPair>> {
        let session = self.new_session(caller, user, &shown.tenant);
        let proves = shown.mailed && user.email_verified_at.is_none();
        let mut audit = vec!["invite.accepted", "session.started"];
        audit.extend(proves.then_some("email.verified"));
        let joins = Joins::Account {
            user_id: user.id,
            epoch: user.credential_epoch,
            mailbox: if shown.mailed { Mailbox::ProvedNow } else { Mailbox::NotProved },
            sign_in: Some((Box::new(session.clone()), caller.network)),
        };
        match self.join(caller, shown, user.id, joins, &audit).await? {
            AcceptOutcome::Joined => Ok(Some(self.pair_of(&session)?)),
            AcceptOutcome::Stale => Ok(None),
            AcceptOutcome::Denied(why) => Err(why.into()),
            AcceptOutcome::Gone | AcceptOutcome::EmailTaken(_) => Err(Error::InviteInvalid),
        }
    }

    async fn join(&self, caller: &Caller, shown: &Shown, user: UserId, joins: Joins, events: &[&'static str]) -> Result<AcceptOutcome> {
        let (tenant_id, actor) = (shown.tenant.id, Actor::User(user));
        let session = match &joins {
            Joins::New { session, .. } => Some(session.id),
            Joins::Account { sign_in, .. } => sign_in.as_ref().map(|(session, _)| session.id),
        };
        let told = |name: &'static str| {
            let event = self.audit(caller, actor, tenant_id, user, name);
            match (name, session) {
                ("invite.accepted", _) => event.about_resource("invite", shown.invite.id.as_bytes()),
                ("session.started", Some(id)) => event.about_resource("session", id.as_bytes()),
                _ => event,
            }
        };
        let cmd = AcceptInvite {
            tenant_id,
            invite_id: shown.invite.id,
            serial: shown.invite.serial,
            joins,
            personal: shown.mailed.then(|| Box::new(self.personal_tenant())),
            audit: events.iter().copied().map(told).collect(),
        };
        match self.ask_tenant(caller, tenant_id, TenantCommand::AcceptInvite(Box::new((self.ctx(caller, actor), cmd)))).await? {
            TenantReply::InviteAccepted(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// The account of somebody who has none yet. Its home is the tenant that invited.
    fn invited_user(&self, shown: &Shown, hash: PasswordHash, display_name: Option<String>) -> User {
        let now = self.clock.now();
        User {
            id: UserId::new(&*self.clock, &*self.rng),
            home_tenant: shown.tenant.id,
            last_tenant: Some(shown.tenant.id),
            email: shown.invite.email.clone(),
            email_verified_at: shown.mailed.then_some(now),
            email_asserted_at: None,
            phone: None,
            phone_verified_at: None,
            display_name,
            locale: None,
            status: UserStatus::Active,
            metadata: serde_json::Map::new(),
            password_hash: Some(hash),
            credential_epoch: 1,
            version: 1,
            code_serials: CodeSerials::default(),
            last_login_at: Some(now),
            created_at: now,
            updated_at: now,
            deleted_at: None,
            independent: false,
            must_change: false,
            not_me_at: None,
            purge_after: None,
        }
    }
}
