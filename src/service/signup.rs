//! Sign-up, in both modes.

use super::{
    Services, SignupMode,
    api::{Caller, NewAccount, SignupInput, SignupOutcome, UserView},
    error::{Error, Result},
    login::flow,
};
use crate::{
    actors::contact::{BeginSignup, ConfirmSignup, ContactCommand, ContactReply},
    credentials::pool::Class,
    domain::{
        contact::{ContactDigest, Email},
        context::Actor,
        hash::PasswordHash,
        ids::{JobId, PendingSignupId, RoleId, TenantId, UserId},
        keyring::Label,
        outbox::Message,
        rng,
        secret::SecretText,
        tenant::Tenant,
        time::Timestamp,
        token::{CodeLength, CodePurpose, SignupToken},
        user::{CodeSerials, Membership, User, UserStatus},
    },
    ephemeral::{CODE_TTL, CodeKey, NewCode, wrong_codes},
    store::commands::{CreateUser, PendingSignup},
};
use std::time::Duration;

/// A sign-up waits this long for its code: as long as a few codes live.
const PENDING_TTL: Duration = Duration::from_secs(3600);

impl Services {
    /// Signs up: an account at once (`instant`), or a code by mail (`verify_first`).
    ///
    /// # Errors
    /// `SignupUnavailable` for a taken address (`instant` only), `WeakPassword`.
    pub async fn signup(&self, caller: &Caller, input: SignupInput) -> Result<SignupOutcome> {
        self.limits.signup(caller, self.clock.now()).await?;
        let flow = flow(None, &input.email.digest(), caller);
        self.check_new_password("password", &input.password, &self.password_rules(), &input.email, input.display_name.as_deref(), flow)
            .await?;
        match self.rules.signup_mode {
            SignupMode::Instant => self.signup_now(caller, input).await,
            SignupMode::VerifyFirst => self.signup_later(caller, input).await,
        }
    }

    async fn signup_now(&self, caller: &Caller, input: SignupInput) -> Result<SignupOutcome> {
        let digest = input.email.digest();
        // All ids first: a rerun of the request makes the same, and knows the account by them.
        let mut create = self.new_account(caller, input.email, None, input.display_name, None);
        let ctx = self.ctx(caller, Actor::User(create.user.id));
        let turn = match self.ask_contact(caller, digest, ContactCommand::Enter).await? {
            ContactReply::Turn(turn) => turn,
            ContactReply::Taken(user) if user == create.user.id => return self.made_before(create).await.map(created),
            ContactReply::Taken(user) => {
                self.store.made_by_another_run(&ctx, &digest).await?;
                return Err(self.taken(caller, &digest, user).await);
            }
            other => return Err(unexpected(&other)),
        };
        let hash = self.pool.hash(input.password.clone(), flow(None, &digest, caller), Class::Interactive).await?;
        create.user.password_hash = Some(hash);
        match self.ask_contact(caller, digest, ContactCommand::Create(turn, Box::new((ctx, create.clone())))).await? {
            ContactReply::Created => self.signed_up(create).map(created),
            ContactReply::Taken(user) if user == create.user.id => self.made_before(create).await.map(created),
            ContactReply::Taken(user) => Err(self.taken(caller, &digest, user).await),
            ContactReply::TurnLost => Err(Error::Overloaded { retry_after: Duration::from_secs(1) }),
            other => Err(unexpected(&other)),
        }
    }

    /// An earlier run of the same request made the account: the answer that it would have given, from what is stored.
    async fn made_before(&self, create: CreateUser) -> Result<NewAccount> {
        let user = self.store.user(create.user.id).await?.filter(User::may_sign_in);
        let tenant = self.store.tenant(create.tenant.id).await?;
        let view = self.store.session(create.user.id, create.session.id).await?;
        let (Some(user), Some(tenant), Some(view)) = (user, tenant, view) else { return Err(Error::SignupUnavailable) };
        // Whoever has used it has had the answer.
        if !view.session.is_live(1, self.clock.now()) || view.session.generation != 0 {
            return Err(Error::SignupUnavailable);
        }
        self.signed_up(CreateUser { user, tenant, session: view.session, ..create })
    }

    /// Tells the owner by mail, at most once a day, and the other one nothing that he could use.
    async fn taken(&self, caller: &Caller, digest: &ContactDigest, user_id: UserId) -> Error {
        let now = self.clock.now();
        // An address that is kept for an account which has left it: its owner is elsewhere, and has the undo link.
        let has_it = matches!(self.store.user(user_id).await, Ok(Some(user)) if user.email.digest() == *digest);
        // Best effort: the answer is the same whether or not the owner can be told.
        if has_it && matches!(self.limits.account_exists_note(digest, now).await, Ok(true)) {
            let job = self.job(Message::AccountExists { user_id });
            if let Err(e) = self.send(&self.ctx(caller, Actor::Anonymous), job).await {
                tracing::warn!(error = %e, "the owner of an address could not be told of a sign-up with it");
            }
        }
        Error::SignupUnavailable
    }

    async fn signup_later(&self, caller: &Caller, input: SignupInput) -> Result<SignupOutcome> {
        let now = self.clock.now();
        let digest = input.email.digest();
        let password_hash = self.pool.hash(input.password, flow(None, &digest, caller), Class::Interactive).await?;
        let pending = PendingSignup {
            id: PendingSignupId::new(&*self.clock, &*self.rng),
            nonce: rng::bytes(&*self.rng),
            email: input.email.clone(),
            password_hash,
            display_name: input.display_name,
            tries: 0,
            created_at: now,
            expires_at: now.plus(PENDING_TTL),
        };
        let signup_token = SignupToken::issue(&self.keyring, pending.id, pending.id, 0, &pending.nonce);
        let may_send = self.limits.signup_code(&input.email, now).await?;
        let length = self.code_length(digest.as_bytes()).await?;
        let new_code = may_send.then(|| self.new_code(CodePurpose::Signup, digest.as_bytes(), input.email.as_str(), 0, length));
        // Of a mail that goes out, or of the one that did lately.
        let live = CodeKey { purpose: CodePurpose::Signup, subject: digest.as_bytes().to_vec() };
        let code_length = match &new_code {
            Some(new) => new.length,
            None => self.ephemeral.peek_code(&live, now).await?.map_or(length, |record| record.length),
        };
        let begin = BeginSignup {
            ctx: self.ctx_of_this_run(self.ctx(caller, Actor::Anonymous)),
            pending,
            new_code,
            job: JobId::new(&*self.clock, &*self.rng),
        };
        match self.ask_contact(caller, digest, ContactCommand::Begin(Box::new(begin))).await? {
            ContactReply::Done => {
                (self.wake_outbox)();
                Ok(SignupOutcome::Pending { signup_token, code_length })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Finishes a sign-up of `verify_first`.
    ///
    /// # Errors
    /// `CodeInvalid`, `CodeExpired`; `SignupUnavailable` if the address was taken after the mail went out.
    pub async fn confirm_signup(&self, caller: &Caller, email: Email, code: SecretText, signup_token: &str) -> Result<NewAccount> {
        let token = SignupToken::parse(signup_token).ok_or(Error::CodeInvalid)?;
        let mut create = self.new_account(caller, email.clone(), None, None, Some(self.clock.now()));
        let ctx = self.ctx(caller, Actor::User(create.user.id));
        let Some(pending) = self.store.pending_signup(token.pending_id()).await? else {
            // Consumed by an earlier run of the same request, perhaps.
            return match self.store.user_by_email(&email.digest()).await? {
                Some(user) if user.id == create.user.id => self.made_before(create).await,
                _ => {
                    self.store.made_by_another_run(&ctx, &email.digest()).await?;
                    Err(Error::CodeInvalid)
                }
            };
        };
        if !token.genuine(&self.keyring, &pending.nonce) || pending.email != email {
            return Err(Error::CodeInvalid);
        }
        let now = self.clock.now();
        if now >= pending.expires_at {
            return Err(Error::CodeExpired);
        }
        create.user.password_hash = Some(pending.password_hash);
        create.user.display_name = pending.display_name;
        create.consumes = Some(pending.id);
        let confirm = ConfirmSignup { ctx, pending: pending.id, code, create: create.clone() };
        match self.ask_contact(caller, email.digest(), ContactCommand::Confirm(Box::new(confirm))).await? {
            ContactReply::Created => self.signed_up(create),
            ContactReply::Taken(_) => Err(Error::SignupUnavailable),
            other => Err(unexpected(&other)),
        }
    }

    /// Everything a new account is made of.
    fn new_account(
        &self,
        caller: &Caller,
        email: Email,
        password_hash: Option<PasswordHash>,
        display_name: Option<String>,
        verified_at: Option<Timestamp>,
    ) -> CreateUser {
        let now = self.clock.now();
        let user_id = UserId::new(&*self.clock, &*self.rng);
        let tenant_id = TenantId::new(&*self.clock, &*self.rng);
        let tenant = Tenant::personal(tenant_id, self.rules.policy.clone(), now);
        let user = User {
            id: user_id,
            home_tenant: tenant_id,
            last_tenant: Some(tenant_id),
            email,
            email_verified_at: verified_at,
            email_asserted_at: None,
            phone: None,
            phone_verified_at: None,
            display_name,
            locale: None,
            status: UserStatus::Active,
            metadata: serde_json::Map::new(),
            password_hash,
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
        };
        CreateUser {
            session: self.new_session(caller, &user, &tenant),
            membership: Membership { user_id, tenant_id, roles: vec![RoleId::OWNER], joined_at: now },
            network: caller.network,
            consumes: None,
            audit: vec![self.audit(caller, Actor::User(user_id), tenant_id, user_id, "user.signed_up")],
            user,
            tenant,
        }
    }

    fn signed_up(&self, create: CreateUser) -> Result<NewAccount> {
        let roles = Self::role_names(&create.membership);
        Ok(NewAccount {
            pair: self.pair_of(&create.session)?,
            user: UserView { user: create.user, tenant_id: create.tenant.id, roles },
            tenant: create.tenant,
        })
    }

    /// How long a new code of an account or address is.
    ///
    /// # Errors
    /// `Unavailable` if the ephemeral store can't be asked.
    pub(super) async fn code_length(&self, subject: &[u8]) -> Result<CodeLength> {
        if !self.rules.limits.on {
            return Ok(CodeLength::Six);
        }
        Ok(wrong_codes::length(&*self.ephemeral, subject, self.clock.now()).await?)
    }

    /// A code that starts now. The target is sealed: the ephemeral store shows no address or number.
    pub(super) fn new_code(&self, purpose: CodePurpose, subject: &[u8], target: &str, epoch: u64, length: CodeLength) -> NewCode {
        let context = [purpose.name().as_bytes(), subject].concat();
        NewCode {
            key: self.keyring.current(),
            nonce: rng::bytes(&*self.rng),
            length,
            epoch,
            target: self.keyring.seal(Label::Contact, &context, target.as_bytes(), &*self.rng),
            expires_at: self.clock.now().plus(CODE_TTL),
            above: 0,
        }
    }
}

fn created(account: NewAccount) -> SignupOutcome {
    SignupOutcome::Created(Box::new(account))
}

fn unexpected(reply: &ContactReply) -> Error {
    match reply {
        ContactReply::Store(e) => e.clone().into(),
        ContactReply::Ephemeral(e) => Error::Unavailable(e.to_string()),
        ContactReply::CodeInvalid => Error::CodeInvalid,
        ContactReply::CodeExpired => Error::CodeExpired,
        other => Error::Internal(format!("a contact answered {other:?}")),
    }
}
