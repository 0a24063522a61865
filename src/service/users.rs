//! Users made and changed by admins. The store checks the fence once more as it writes.

use super::{
    Services,
    access::Operator,
    api::{Caller, UserView},
    error::{Error, Result},
    limits::Inviting,
    new_password::PasswordRules,
    session::unexpected,
    tenant,
};
use crate::{
    actors::{
        contact::ContactCommand,
        tenant::{TenantCommand, TenantReply},
        user::{UserCommand, UserReply},
    },
    credentials::{
        formats::foreign::Imported,
        pool::{Class, Flow},
    },
    domain::{
        authority::{Action, may},
        contact::{Email, Phone},
        hash::PasswordHash,
        ids::{RoleId, UserId},
        outbox::{Message, SecuredBy},
        secret::{Password, SecretText},
        user::{CodeSerials, Membership, User, UserStatus},
    },
    store::{
        admin::{ChangeMember, CreateMember, CreateMemberOutcome, Member, MemberChange, MemberOutcome},
        commands::Revocation,
    },
};
use serde_json::{Map, Value};

/// Bytes of metadata, as JSON.
pub const METADATA: usize = 16 * 1024;

/// How a new user will sign in.
#[derive(Debug, Clone)]
pub enum NewSecret {
    /// With this password.
    Password(Password),
    /// With the password that this hash is of.
    Hash(SecretText),
    /// With one that he sets by a mailed link.
    Mailed,
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The address.
    pub email: Email,
    /// How to sign in.
    pub secret: NewSecret,
    /// At most 200 characters.
    pub display_name: Option<String>,
    /// A number.
    pub phone: Option<Phone>,
    /// At most [`METADATA`].
    pub metadata: Map<String, Value>,
    /// The admin says that the address is right.
    pub email_verified: bool,
    /// `member`, if left out.
    pub role: Option<RoleId>,
}

impl NewUser {
    /// It has a password, a phone number, or an address that the admin says is right: only a managed tenant may make such.
    pub fn vouched(&self) -> bool {
        !matches!(self.secret, NewSecret::Mailed) || self.phone.is_some() || self.email_verified
    }
}

/// A change of a user; the outer `None` keeps, the inner one clears.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// At most 200 characters.
    pub display_name: Option<Option<String>>,
    /// A number.
    pub phone: Option<Option<Phone>>,
    /// Suspending ends all sessions.
    pub status: Option<UserStatus>,
    /// At most [`METADATA`].
    pub metadata: Option<Map<String, Value>>,
}

impl UserChange {
    /// Names of the fields that are given.
    fn given(&self) -> Vec<&'static str> {
        let fields = [
            ("display_name", self.display_name.is_some()),
            ("phone", self.phone.is_some()),
            ("status", self.status.is_some()),
            ("metadata", self.metadata.is_some()),
        ];
        fields.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

/// Refuses metadata that is too large.
///
/// # Errors
/// `Validation`.
pub(super) fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    let bytes = serde_json::to_vec(metadata).map_err(|e| Error::Internal(e.to_string()))?.len();
    if bytes <= METADATA { Ok(()) } else { Err(Error::field("metadata", "is larger than 16 KiB")) }
}

impl Services {
    /// Makes a user whose home is the operator's tenant.
    ///
    /// # Errors
    /// `Validation` (also for a personal tenant), `WeakPassword`, `Forbidden` for a role that allows more than the operator
    /// holds, `EmailTaken`; `RateLimited` once too many of those answers told of accounts elsewhere.
    pub async fn create_user(&self, caller: &Caller, by: &Operator, new: NewUser) -> Result<UserView> {
        if by.is_personal() {
            return Err(Error::field("tenant_id", "is a personal tenant, which has one member"));
        }
        let vouched = new.vouched();
        if vouched {
            by.place.may_make_credentials(&new.email)?;
        }
        check_metadata(&new.metadata)?;
        let role = new.role.unwrap_or(RoleId::MEMBER);
        if role != RoleId::MEMBER {
            self.givable_role(by, role).await?;
        }
        // Asked before anything is looked up: a refusal must not depend on who has an account. Of its own domains a tenant may know.
        let own_domain = by.place.has_proved(&new.email);
        let mut place = if own_domain { None } else { Some(self.may_reveal(caller, by).await?) };
        let now = self.clock.now();
        // A mail to whoever it may be: like an invite, and out of the same share.
        let mailed =
            matches!(new.secret, NewSecret::Mailed) && self.limits.invite(&Inviting::of(by, caller), &new.email.digest(), now).await?;
        let password_hash = self.hash_of(caller, by, &new.email, new.secret).await?;
        let user_id = UserId::new(&*self.clock, &*self.rng);
        let user = User {
            id: user_id,
            home_tenant: by.tenant_id,
            last_tenant: None,
            email_verified_at: None,
            email_asserted_at: new.email_verified.then_some(now),
            phone: new.phone,
            phone_verified_at: None,
            display_name: new.display_name,
            locale: None,
            status: UserStatus::Active,
            metadata: new.metadata,
            password_hash,
            credential_epoch: 1,
            version: 1,
            code_serials: CodeSerials::default(),
            last_login_at: None,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            independent: false,
            must_change: false,
            not_me_at: None,
            purge_after: None,
            email: new.email,
        };
        let cmd = CreateMember {
            by: by.by(),
            vouched,
            job: mailed.then(|| self.job(Message::AccountMade { user_id, tenant_id: by.tenant_id })),
            membership: Membership { user_id, tenant_id: by.tenant_id, roles: vec![role], joined_at: now },
            audit: vec![self.audit_of(caller, by, Some(user_id), "user.created")],
            user: user.clone(),
        };
        let ctx = self.ctx_of(caller, by);
        // The command goes on although nobody waits for its answer any more, and what it made is seen in the list of users.
        if let Some(place) = &mut place {
            place.is_used();
        }
        let reply = self.ask_tenant(caller, by.tenant_id, TenantCommand::CreateMember(Box::new((ctx, cmd)))).await?;
        if let (Some(place), TenantReply::MemberMade(outcome)) = (&mut place, &reply)
            && *outcome != CreateMemberOutcome::TakenOutside
        {
            place.told_nothing();
        }
        match reply {
            TenantReply::MemberMade(CreateMemberOutcome::Created) => {
                let names = self.role_names_in(by.tenant_id, [&role]).await?;
                Ok(UserView { user, tenant_id: by.tenant_id, roles: names.of(&[role]) })
            }
            TenantReply::MemberMade(CreateMemberOutcome::TakenInside | CreateMemberOutcome::TakenOutside) => Err(Error::EmailTaken),
            TenantReply::MemberMade(CreateMemberOutcome::NoTenant) => Err(Error::Forbidden),
            TenantReply::MemberMade(CreateMemberOutcome::NoRole) => Err(Error::NotFound),
            TenantReply::MemberMade(CreateMemberOutcome::Denied(why)) => Err(why.into()),
            other => Err(tenant::unexpected(&other)),
        }
    }

    async fn hash_of(&self, caller: &Caller, by: &Operator, email: &Email, secret: NewSecret) -> Result<Option<PasswordHash>> {
        // Whoever makes many users waits behind his own.
        let flow = Flow { group: *by.tenant_id.as_bytes(), network: caller.network };
        let bad = |e: crate::credentials::formats::BadHash| Error::field("password_hash", e.to_string());
        Ok(match secret {
            NewSecret::Password(password) => {
                self.check_new_password("password", &password, &PasswordRules::of(self.scope(by.tenant_id).await?), email, None, flow)
                    .await?;
                Some(self.pool.hash(password, flow, Class::Interactive).await?)
            }
            NewSecret::Hash(text) => Some(match Imported::parse(text.reveal()).map_err(bad)? {
                Imported::Kept(hash) => hash,
                Imported::Weak(weak) => self.pool.wrap(weak, flow, Class::Interactive).await?,
            }),
            NewSecret::Mailed => None,
        })
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` outside the fence; `Conflict` for suspending the last owner.
    pub async fn update_user(&self, caller: &Caller, by: &Operator, user_id: UserId, change: UserChange) -> Result<UserView> {
        change.metadata.as_ref().map_or(Ok(()), check_metadata)?;
        let changed = change.given();
        // Somebody else may write between our read and our write; their fields are kept.
        for _ in 0..4 {
            let member = self.store.member(by.tenant_id, user_id).await?.ok_or(Error::NotFound)?;
            let (old, change) = (member.user, change.clone());
            let status = change.status.unwrap_or(old.status);
            let event = match (old.status, status) {
                (UserStatus::Active, UserStatus::Suspended) => "user.suspended",
                (UserStatus::Suspended, UserStatus::Active) => "user.activated",
                _ => "user.updated",
            };
            let what = MemberChange::Update {
                expect_version: old.version,
                display_name: change.display_name.unwrap_or(old.display_name),
                phone: change.phone.unwrap_or(old.phone),
                status,
                metadata: change.metadata.unwrap_or(old.metadata),
            };
            match self.change_member(caller, by, user_id, what, event, &changed).await {
                Ok(_) => return self.user(by, user_id).await,
                Err(Changing::Stale) => {}
                Err(Changing::Error(e)) => return Err(e),
            }
        }
        Err(Error::Conflict("the user has changed meanwhile"))
    }

    /// Puts a user into the recycle bin: all sessions end, the address stays taken.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` outside the fence; `Conflict` for the last owner.
    pub async fn delete_user(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<()> {
        let bin = self.scope(by.tenant_id).await?.policy.recycle_bin();
        let member = self.allowed(by, user_id, Action::Delete).await?;
        let job = Message::AccountDeleted { user_id, epoch: member.user.credential_epoch + 1, own: false };
        let what = MemberChange::Delete { purge_after: self.clock.now().plus(bin), job: Some(self.job(job)) };
        self.change_member(caller, by, user_id, what, "user.deleted", &[]).await?;
        Ok(())
    }

    /// Sets a user's password: all sessions end.
    ///
    /// # Errors
    /// `WeakPassword`, `NotFound`; `Denied`.
    pub async fn set_password(&self, caller: &Caller, by: &Operator, user_id: UserId, password: Password, must_change: bool) -> Result<()> {
        // Before any work is done for them; the store decides.
        let member = self.allowed(by, user_id, Action::SetPassword).await?;
        if member.user.deleted_at.is_some() {
            return Err(Error::NotFound);
        }
        let flow = Flow { group: *by.tenant_id.as_bytes(), network: caller.network };
        let rules = PasswordRules::of(self.scope(by.tenant_id).await?);
        let name = member.user.display_name.as_deref();
        self.check_new_password("password", &password, &rules, &member.user.email, name, flow).await?;
        let hash = self.pool.hash(password, flow, Class::Interactive).await?;
        let what = MemberChange::SetPassword { hash, must_change, job: Some(self.job(Message::PasswordChanged { user_id })) };
        self.change_member(caller, by, user_id, what, "password.set", &[]).await?;
        Ok(())
    }

    /// Ends all of a user's sessions; says how many were alive.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` outside the fence.
    pub async fn end_sessions_of(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<u64> {
        self.signed_in_lately(by).await?;
        let known = self.store.sessions(user_id).await?;
        let revoked = self.change_member(caller, by, user_id, MemberChange::EndSessions, "session.all_ended", &[]).await?;
        self.keys.revoke(known.into_iter().map(|s| Revocation::Session(s.id)));
        Ok(revoked)
    }

    /// Takes a user out of the recycle bin, with his memberships.
    ///
    /// # Errors
    /// `NotFound` if he isn't in it; `Forbidden` outside the fence.
    pub async fn restore_user(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<UserView> {
        let job = Some(self.job(Message::Secured { user_id, why: SecuredBy::Restored }));
        self.change_member(caller, by, user_id, MemberChange::Restore { job }, "user.restored", &[]).await?;
        self.user(by, user_id).await
    }

    /// Removes a user for good: every row of him goes, and his address is free.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if he isn't in the recycle bin; `Forbidden` outside the fence.
    pub async fn purge_user(&self, caller: &Caller, by: &Operator, user_id: UserId) -> Result<()> {
        self.signed_in_lately(by).await?;
        let member = self.store.member(by.tenant_id, user_id).await?.ok_or(Error::NotFound)?;
        self.change_member(caller, by, user_id, MemberChange::Purge, "user.purged", &[]).await?;
        // Best effort, for a second's worth of memory.
        let _ = self.ask_contact(caller, member.user.email.digest(), ContactCommand::Forget).await;
        Ok(())
    }

    /// A member to whom the operator may do that, in the recycle bin or not. The store decides once more as it writes.
    ///
    /// # Errors
    /// `NotFound`; `Denied`.
    pub async fn allowed(&self, by: &Operator, user_id: UserId, action: Action) -> Result<Member> {
        let member = self.store.member(by.tenant_id, user_id).await?.ok_or(Error::NotFound)?;
        may(&by.acting(), action, &member.target(), &by.place)?;
        Ok(member)
    }

    async fn change_member(
        &self,
        caller: &Caller,
        by: &Operator,
        user_id: UserId,
        what: MemberChange,
        event: &'static str,
        changed: &[&'static str],
    ) -> std::result::Result<u64, Changing> {
        let audit = self.audit_of(caller, by, Some(user_id), event).changing(changed.iter().copied());
        let cmd = ChangeMember { user_id, by: by.by(), what, audit: vec![audit] };
        let ctx = self.ctx_of(caller, by);
        match self.ask_user(caller, user_id, UserCommand::Change(Box::new((ctx, cmd)))).await? {
            UserReply::Changed(MemberOutcome::Done { raised_to, revoked }) => {
                if let Some(epoch) = raised_to {
                    self.epoch_raised(user_id, epoch, None);
                }
                Ok(revoked)
            }
            UserReply::Changed(MemberOutcome::NotFound) => Err(Error::NotFound.into()),
            UserReply::Changed(MemberOutcome::Denied(why)) => Err(Error::Denied(why).into()),
            UserReply::Changed(MemberOutcome::LastOwner) => {
                Err(Error::Conflict("the last active owner can't be suspended or deleted").into())
            }
            UserReply::Changed(MemberOutcome::WrongPlace) if event == "user.purged" => {
                Err(Error::Conflict("the user is not in the recycle bin: delete first").into())
            }
            UserReply::Changed(MemberOutcome::WrongPlace) => Err(Error::NotFound.into()),
            UserReply::Changed(MemberOutcome::Stale) => Err(Changing::Stale),
            other => Err(unexpected(&other).into()),
        }
    }
}

/// Why a change was not made.
enum Changing {
    /// The account has changed meanwhile.
    Stale,
    Error(Error),
}

impl From<Error> for Changing {
    fn from(e: Error) -> Self {
        Self::Error(e)
    }
}

impl From<Changing> for Error {
    fn from(e: Changing) -> Self {
        match e {
            Changing::Stale => Error::Conflict("the user has changed meanwhile"),
            Changing::Error(e) => e,
        }
    }
}
