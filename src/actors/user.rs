//! One actor per user: one-time codes, resets, password changes, revocations and the like happen one after the other.

use super::{
    entity::{Entity, Me, Next, ReplyTo, next_after, settled},
    placement::Placement,
};
use crate::{
    domain::{
        audit::AuditEvent,
        contact::{Email, Phone},
        context::Ctx,
        ids::{JobId, SessionId, TenantId, UserId},
        keyring::{Keyring, Label},
        outbox::{Job, Message},
        secret::SecretText,
        tenant::Tenant,
        time::Timestamp,
        token::{CodePurpose, codes_equal, one_time_code},
        user::User,
    },
    ephemeral::{CodeKey, CodeRecord, Ephemeral, EphemeralError, NewCode, wrong_codes},
    store::{
        Store, StoreError,
        admin::{ChangeMember, MemberOutcome},
        commands::*,
    },
};
use std::sync::Arc;

/// Wrong tries that a code survives (NIST SP 800-63B-4, 3.2.2 asks for a limit; RFC 4226, 7.3).
const TRIES: u32 = 5;

/// What it takes.
#[derive(Clone)]
pub enum UserCommand {
    /// Starts a code and writes its message.
    StartCode(Box<StartCode>),
    /// Uses a code.
    TryCode(Box<TryCode>),
    /// [`Store::complete_reset`].
    Reset(Box<(Ctx, CompleteReset)>),
    /// [`Store::change_password`].
    ChangePassword(Box<(Ctx, ChangePassword)>),
    /// [`Store::revoke_sessions`].
    Revoke(Box<(Ctx, RevokeSessions)>),
    /// [`Store::update_profile`].
    UpdateProfile(Box<(Ctx, UpdateProfile)>),
    /// [`Store::delete_user`].
    Delete(Box<(Ctx, DeleteUser)>),
    /// [`crate::store::admin::AdminStore::change_member`].
    Change(Box<(Ctx, ChangeMember)>),
    /// [`Store::undo_email_change`].
    UndoEmailChange(Box<(Ctx, UndoEmailChange)>),
    /// [`Store::secure_account`].
    Secure(Box<(Ctx, SecureAccount)>),
    /// [`Store::restore_account`].
    Restore(Box<(Ctx, RestoreAccount)>),
    /// [`Store::sign_in_again`].
    SignInAgain(Box<(Ctx, SignInAgain)>),
}

impl UserCommand {
    /// Whether a message may be written with it, which the outbox should look for.
    pub fn may_write_jobs(&self) -> bool {
        match self {
            Self::StartCode(_) | Self::TryCode(_) | Self::Reset(_) | Self::ChangePassword(_) | Self::Delete(_) | Self::Change(_) => true,
            Self::UndoEmailChange(_) | Self::Secure(_) | Self::Restore(_) => true,
            Self::Revoke(_) | Self::UpdateProfile(_) | Self::SignInAgain(_) => false,
        }
    }
}

/// See [`UserCommand::StartCode`].
#[derive(Clone)]
pub struct StartCode {
    /// Context of the write.
    pub ctx: Ctx,
    /// What for.
    pub purpose: CodePurpose,
    /// The code.
    pub new: NewCode,
    /// The job that carries it.
    pub job: JobId,
    /// Whose SMS budget it comes from.
    pub tenant: TenantId,
    /// For [`CodePurpose::EmailChange`]: the address to move to.
    pub new_email: Option<Email>,
}

/// See [`UserCommand::TryCode`].
#[derive(Clone)]
pub struct TryCode {
    /// Context of the write.
    pub ctx: Ctx,
    /// What for.
    pub purpose: CodePurpose,
    /// As typed.
    pub code: SecretText,
    /// The session that lives on after an e-mail change.
    pub keep: Option<SessionId>,
    /// For an e-mail change: its undo link and the id of its notice.
    pub undo: Option<(NewUndoLink, JobId)>,
    /// For [`CodePurpose::Email`]: the personal tenant of an account that an organization without power made.
    pub personal: Option<Box<Tenant>>,
    /// For [`CodePurpose::Phone`]: the notice.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum UserReply {
    /// It is done.
    Done,
    /// What it was conditional on no longer holds.
    Stale,
    /// The code was right, and what it proves is written.
    Confirmed,
    /// Wrong, dead or unknown code.
    CodeInvalid,
    /// The code's time is over.
    CodeExpired,
    /// The address has another account.
    EmailTaken,
    /// This many sessions ended.
    Revoked(u64),
    /// The reset is done.
    Reset(ResetOutcome),
    /// The new profile.
    Profile(Box<User>),
    /// How a change by an admin ended.
    Changed(MemberOutcome),
    /// The last owner of an organization can't go.
    LastOwner,
    /// The store could not do it.
    Store(StoreError),
    /// The ephemeral store could not do it.
    Ephemeral(EphemeralError),
}

/// The actor's state: only who it is. The store holds the rest, and decides.
pub struct UserActor {
    id: UserId,
    store: Arc<dyn Store>,
    ephemeral: Arc<dyn Ephemeral>,
    keyring: Arc<Keyring>,
    placement: Arc<dyn Placement>,
}

impl UserActor {
    /// The state of a new actor.
    pub fn new(
        id: UserId,
        store: Arc<dyn Store>,
        ephemeral: Arc<dyn Ephemeral>,
        keyring: Arc<Keyring>,
        placement: Arc<dyn Placement>,
    ) -> Self {
        Self { id, store, ephemeral, keyring, placement }
    }

    fn code_key(&self, purpose: CodePurpose) -> CodeKey {
        CodeKey { purpose, subject: self.id.as_bytes().to_vec() }
    }

    async fn start_code(&self, start: StartCode) -> (UserReply, Next) {
        let key = self.code_key(start.purpose);
        let (now, epoch, expires_at) = (start.ctx.now, start.new.epoch, start.new.expires_at);
        let serial = match self.ephemeral.start_code(&key, start.new, now).await {
            Ok(record) => record.serial,
            Err(e) => return (UserReply::Ephemeral(e), Next::Continue),
        };
        let user_id = self.id;
        let message = match start.purpose {
            CodePurpose::Phone => Message::PhoneCode { user_id, serial, tenant_id: start.tenant },
            CodePurpose::EmailChange => Message::EmailChangeCode { user_id, serial },
            CodePurpose::Email | CodePurpose::Signup => Message::EmailCode { user_id, serial },
        };
        let job = Job { id: start.job, message, created_at: now, attempts: 0 };
        let outcome = match start.new_email {
            Some(new_email) => {
                let change = PendingEmailChange { user_id, new_email, epoch, serial, created_at: now, expires_at };
                settled(|| self.store.begin_email_change(&start.ctx, change.clone(), job.clone())).await
            }
            None => settled(|| self.store.enqueue(&start.ctx, job.clone())).await.map(Cas::Done),
        };
        let next = next_after(&outcome);
        let reply = match outcome {
            Ok(Cas::Done(())) => return (UserReply::Done, next),
            Ok(Cas::Stale) => UserReply::Stale,
            Err(e) => UserReply::Store(e),
        };
        // No message will come for this code.
        let _ = self.ephemeral.drop_code(&key, serial).await;
        (reply, next)
    }

    async fn try_code(&self, attempt: TryCode) -> (UserReply, Next) {
        let key = self.code_key(attempt.purpose);
        // Counted before it is looked at: a crash in between costs a try, and never gives one for nothing.
        let record = match self.ephemeral.try_code(&key, TRIES, attempt.ctx.now).await {
            Ok(Some(record)) => record,
            Ok(None) => return (UserReply::CodeInvalid, Next::Continue),
            Err(e) => return (UserReply::Ephemeral(e), Next::Continue),
        };
        if attempt.ctx.now >= record.expires_at {
            return (UserReply::CodeExpired, Next::Continue);
        }
        let CodeRecord { key: secret, target, serial, nonce, length, .. } = &record;
        let right = one_time_code(&self.keyring, *secret, key.purpose, &key.subject, target, *serial, nonce, *length);
        if record.tries > TRIES || !right.is_some_and(|right| codes_equal(&right, &attempt.code)) {
            // Best effort: what this try costs is counted with the code.
            let _ = wrong_codes::count(&*self.ephemeral, &key.subject, attempt.ctx.now).await;
            return (UserReply::CodeInvalid, Next::Continue);
        }
        let outcome = self.confirm(&key, &record, &attempt).await;
        let next = next_after(&outcome);
        match outcome {
            Ok(reply) => {
                // The account's serial has used it up; this only tidies.
                let _ = self.ephemeral.drop_code(&key, record.serial).await;
                (reply, next)
            }
            Err(e) => (UserReply::Store(e), next),
        }
    }

    async fn confirm(&self, key: &CodeKey, record: &CodeRecord, attempt: &TryCode) -> Result<UserReply, StoreError> {
        let (user_id, epoch, serial) = (self.id, record.epoch, record.serial);
        let (ctx, audit) = (&attempt.ctx, &attempt.audit);
        match attempt.purpose {
            CodePurpose::Email | CodePurpose::Signup => {
                let cmd = ConfirmEmail { user_id, epoch, serial, personal: attempt.personal.clone(), audit: audit.clone() };
                settled(|| self.store.confirm_email(ctx, cmd.clone())).await.map(confirmed)
            }
            CodePurpose::Phone => {
                let Some(phone) = self.open_phone(key, &record.target) else { return Ok(UserReply::CodeInvalid) };
                let cmd = ConfirmPhone { user_id, epoch, serial, phone, job: attempt.job.clone(), audit: audit.clone() };
                settled(|| self.store.confirm_phone(ctx, cmd.clone())).await.map(confirmed)
            }
            CodePurpose::EmailChange => {
                let Some((undo, job)) = attempt.undo.clone() else { return Ok(UserReply::CodeInvalid) };
                let job = notice(job, Message::EmailChanged { user_id, link_id: undo.id }, ctx.now);
                let cmd = ConfirmEmailChange { user_id, epoch, serial, keep: attempt.keep, undo, job, audit: audit.clone() };
                settled(|| self.store.confirm_email_change(ctx, cmd.clone())).await.map(email_moved)
            }
        }
    }

    fn open_phone(&self, key: &CodeKey, sealed: &[u8]) -> Option<Phone> {
        let context = [key.purpose.name().as_bytes(), &key.subject].concat();
        let plain = self.keyring.open(Label::Contact, &context, sealed).ok()?;
        Some(Phone::from_stored(String::from_utf8(plain.to_vec()).ok()?))
    }
}

/// A job that says what has happened.
pub fn notice(id: JobId, message: Message, now: Timestamp) -> Job {
    Job { id, message, created_at: now, attempts: 0 }
}

fn confirmed(outcome: Cas<()>) -> UserReply {
    match outcome {
        Cas::Done(()) => UserReply::Confirmed,
        Cas::Stale => UserReply::CodeInvalid,
    }
}

fn email_moved(outcome: Cas<EmailChangeOutcome>) -> UserReply {
    match outcome {
        Cas::Done(EmailChangeOutcome::Changed) => UserReply::Confirmed,
        Cas::Done(EmailChangeOutcome::Taken) => UserReply::EmailTaken,
        Cas::Stale => UserReply::CodeInvalid,
    }
}

/// Answer and way on after a conditional store command.
fn answer<T>(outcome: Result<Cas<T>, StoreError>, done: impl FnOnce(T) -> UserReply) -> (UserReply, Next) {
    let next = next_after(&outcome);
    let reply = match outcome {
        Ok(Cas::Done(value)) => done(value),
        Ok(Cas::Stale) => UserReply::Stale,
        Err(e) => UserReply::Store(e),
    };
    (reply, next)
}

impl Entity for UserActor {
    const KIND: &'static str = "user";
    type Key = UserId;
    type Command = UserCommand;
    type Reply = UserReply;

    async fn handle(&mut self, command: UserCommand, reply: ReplyTo<UserReply>, _: &Me<Self>) -> Next {
        let _turn = self.placement.turn(Self::KIND, self.id.as_bytes()).await;
        let store = &self.store;
        let (said, next) = match command {
            UserCommand::StartCode(start) => self.start_code(*start).await,
            UserCommand::TryCode(attempt) => self.try_code(*attempt).await,
            UserCommand::Reset(work) => answer(settled(|| store.complete_reset(&work.0, work.1.clone())).await, UserReply::Reset),
            UserCommand::ChangePassword(work) => {
                answer(settled(|| store.change_password(&work.0, work.1.clone())).await, |()| UserReply::Done)
            }
            UserCommand::Revoke(work) => {
                answer(settled(|| store.revoke_sessions(&work.0, work.1.clone())).await.map(Cas::Done), UserReply::Revoked)
            }
            UserCommand::UpdateProfile(work) => {
                answer(settled(|| store.update_profile(&work.0, work.1.clone())).await, |u| UserReply::Profile(Box::new(u)))
            }
            UserCommand::Delete(work) => answer(settled(|| store.delete_user(&work.0, work.1.clone())).await, |outcome| match outcome {
                DeleteOutcome::Deleted => UserReply::Done,
                DeleteOutcome::LastOwner => UserReply::LastOwner,
            }),
            UserCommand::Change(work) => {
                answer(settled(|| store.change_member(&work.0, work.1.clone())).await.map(Cas::Done), UserReply::Changed)
            }
            UserCommand::Secure(work) => answer(settled(|| store.secure_account(&work.0, work.1.clone())).await, |()| UserReply::Done),
            UserCommand::Restore(work) => answer(settled(|| store.restore_account(&work.0, work.1.clone())).await, |()| UserReply::Done),
            UserCommand::SignInAgain(work) => answer(settled(|| store.sign_in_again(&work.0, work.1.clone())).await, |()| UserReply::Done),
            UserCommand::UndoEmailChange(work) => {
                answer(settled(|| store.undo_email_change(&work.0, work.1.clone())).await, |outcome| match outcome {
                    EmailChangeOutcome::Changed => UserReply::Done,
                    EmailChangeOutcome::Taken => UserReply::EmailTaken,
                })
            }
        };
        reply.send(said);
        next
    }
}
