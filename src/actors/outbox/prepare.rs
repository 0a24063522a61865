//! From a job to the message it stands for: looks at what is true now, and derives the code or link. `notices` does so for accounts that
//! others made, deleted or secured, and for API keys.

use super::{
    ACCOUNT_EXISTS, OutboxDeps, PASSWORD_CHANGED, invite,
    reset::{self, RESET_TTL},
};
use crate::{
    domain::{
        contact::{ContactDigest, Email, Phone},
        ids::{InviteId, LinkId, PendingSignupId, TenantId, UserId},
        keyring::Label,
        outbox::{Job, Message},
        secret::SecretText,
        time::Timestamp,
        token::{CodePurpose, NO_NONCE, NotMeToken, UndoToken, one_time_code},
        user::User,
    },
    ephemeral::{CodeKey, CodeRecord, EphemeralError, Limit, Subject},
    gateway::{
        Mail, Sms,
        templates::{Code, Letter, RenderError, mask},
    },
    store::StoreError,
};

/// Wrong tries after which a code is dead: of an account's code, and of a sign-up's (whose token has a count of its own).
const TRIES: u32 = 5;
const TRIES_SIGNUP: u32 = 25;

/// What became of a job.
pub(super) enum Prepared {
    Mail(Mail),
    /// A mail that was counted: the count is given back if the mail can't be sent.
    CountedMail(Mail, &'static Limit, Subject),
    Sms(Sms),
    /// Nothing to send any more, or never was; why, for the log.
    Dead(&'static str),
}

/// Why it can't be told. No addresses, no secrets.
pub(super) struct Trouble {
    pub permanent: bool,
    pub detail: String,
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self { permanent: false, detail: e.to_string() }
    }
}

impl From<EphemeralError> for Trouble {
    fn from(e: EphemeralError) -> Self {
        Self { permanent: false, detail: e.to_string() }
    }
}

impl From<RenderError> for Trouble {
    fn from(e: RenderError) -> Self {
        Self { permanent: true, detail: e.to_string() }
    }
}

pub(super) type Result<T> = std::result::Result<T, Trouble>;

/// A live code and what it proves.
struct LiveCode {
    code: Code,
    target: String,
}

pub(super) struct Preparing<'a> {
    pub deps: &'a OutboxDeps,
    pub job: &'a Job,
    pub now: Timestamp,
}

impl Preparing<'_> {
    pub async fn run(&self) -> Result<Prepared> {
        match self.job.message {
            Message::EmailCode { user_id, serial } => self.email_code(user_id, serial).await,
            Message::EmailChangeCode { user_id, serial } => self.email_change_code(user_id, serial).await,
            Message::PhoneCode { user_id, serial, .. } => self.phone_code(user_id, serial).await,
            Message::ResetRequested { contact } => self.reset(&contact).await,
            Message::SignupRequested { pending_id, serial } => self.signup(pending_id, serial).await,
            Message::Notice { contact, what, network, ref agent } => self.notice(&contact, what, network, agent.clone()).await,
            Message::AccountExists { user_id } => match self.deps.store.user(user_id).await? {
                Some(user) if user.deleted_at.is_none() => self.mail(user.email, &Letter::AccountExists),
                _ => Ok(Prepared::Dead("the account is gone")),
            },
            Message::EmailChanged { user_id, link_id } => self.email_changed(user_id, link_id).await,
            // Also to an account in the recycle bin: whoever took it over may have put it there.
            Message::PasswordChanged { user_id } => match self.deps.store.user(user_id).await? {
                Some(user) => self.password_changed(user).await,
                None => Ok(Prepared::Dead("the account is gone")),
            },
            Message::Invite { tenant_id, invite_id, serial } => self.invite(tenant_id, invite_id, serial).await,
            Message::AccountMade { user_id, tenant_id } => self.account_made(user_id, tenant_id).await,
            Message::ApiKeyMade { user_id, tenant_id, key_id, maker } => self.api_key_made(user_id, tenant_id, key_id, maker).await,
            Message::ApiKeyStopped { user_id, tenant_id, key_id } => self.api_key_stopped(user_id, tenant_id, key_id).await,
            Message::ApiKeyEnded { user_id, tenant_id, key_id } => self.api_key_ended(user_id, tenant_id, key_id).await,
            Message::AccountDeleted { user_id, epoch, own } => self.account_deleted(user_id, epoch, own).await,
            Message::Secured { user_id, why } => self.secured(user_id, why).await,
        }
    }

    /// A mail that counts against `limit`, of which its address gets no more than that. Where it can't be counted it goes out: an owner is rather
    /// told too often.
    pub(super) async fn counted(&self, to: Email, letter: &Letter, limit: &'static Limit, past: &'static str) -> Result<Prepared> {
        let who = Subject::contact(&to.digest());
        let mail = self.letter(to, letter)?;
        Ok(match self.deps.ephemeral.hit(limit, &who, self.now).await {
            Ok(decision) if !decision.allowed => Prepared::Dead(past),
            Ok(_) => Prepared::CountedMail(mail, limit, who),
            Err(_) => Prepared::Mail(mail),
        })
    }

    async fn password_changed(&self, user: User) -> Result<Prepared> {
        let letter = Letter::PasswordChanged { not_me: Some(self.not_me(user.id)) };
        self.counted(user.email, &letter, &PASSWORD_CHANGED, "the owner was told often enough today").await
    }

    pub(super) fn mail(&self, to: Email, letter: &Letter) -> Result<Prepared> {
        Ok(Prepared::Mail(self.letter(to, letter)?))
    }

    pub(super) fn letter(&self, to: Email, letter: &Letter) -> Result<Mail> {
        let r = self.deps.templates.letter(letter, &self.deps.app_url)?;
        Ok(Mail { job: self.job.id, to, subject: r.subject, text: r.text, html: r.html })
    }

    pub(super) fn link(&self, path: &str, token: &SecretText) -> SecretText {
        SecretText::new(format!("{}/{path}?token={}", self.deps.app_url, token.reveal()))
    }

    /// The link by which the account's owner says that what this job tells of was not theirs. It is the same at every attempt.
    pub(super) fn not_me(&self, user_id: UserId) -> SecretText {
        let made_at = u64::try_from(self.job.created_at.millis()).unwrap_or(0);
        self.link("not-me", &NotMeToken::issue(&self.deps.keyring, user_id, self.job.id, made_at, &NO_NONCE))
    }

    /// The code of a user, if the serial's code is still the live one and the account is as it was.
    async fn code_of(&self, user_id: UserId, purpose: CodePurpose, serial: u64) -> Result<Option<(User, LiveCode)>> {
        let Some(user) = self.deps.store.user(user_id).await? else { return Ok(None) };
        let key = CodeKey { purpose, subject: user_id.as_bytes().to_vec() };
        let Some(record) = self.deps.ephemeral.peek_code(&key, self.now).await? else { return Ok(None) };
        let same_account = user.may_sign_in() && record.epoch == user.credential_epoch && user.code_serials.last(purpose) < serial;
        if !same_account || record.tries > TRIES {
            return Ok(None);
        }
        Ok(self.live_code(&key, &record, serial)?.map(|code| (user, code)))
    }

    fn live_code(&self, key: &CodeKey, record: &CodeRecord, serial: u64) -> Result<Option<LiveCode>> {
        let left = record.expires_at.since(self.now);
        if record.serial != serial || left.is_zero() {
            return Ok(None);
        }
        let locked = || Trouble { permanent: true, detail: "the code was made under a secret that is no longer configured".into() };
        let context = [key.purpose.name().as_bytes(), &key.subject].concat();
        let target = self.deps.keyring.open(Label::Contact, &context, &record.target).map_err(|_| locked())?;
        let CodeRecord { key: secret, target: sealed, nonce, length, .. } = record;
        let code = one_time_code(&self.deps.keyring, *secret, key.purpose, &key.subject, sealed, serial, nonce, *length);
        let code = Code { code: code.ok_or_else(locked)?, minutes: minutes(left) };
        Ok(Some(LiveCode { code, target: String::from_utf8_lossy(&target).into_owned() }))
    }

    async fn email_code(&self, user_id: UserId, serial: u64) -> Result<Prepared> {
        match self.code_of(user_id, CodePurpose::Email, serial).await? {
            Some((user, live)) if live.target == user.email.as_str() => self.mail(user.email, &Letter::EmailCode(live.code)),
            _ => Ok(Prepared::Dead("the code is dead")),
        }
    }

    async fn email_change_code(&self, user_id: UserId, serial: u64) -> Result<Prepared> {
        let Some((_, live)) = self.code_of(user_id, CodePurpose::EmailChange, serial).await? else {
            return Ok(Prepared::Dead("the code is dead"));
        };
        match self.deps.store.pending_email_change(user_id).await? {
            Some(pending) if pending.serial == serial && pending.new_email.as_str() == live.target => {
                self.mail(pending.new_email, &Letter::EmailChangeCode(live.code))
            }
            _ => Ok(Prepared::Dead("the e-mail change is gone")),
        }
    }

    async fn phone_code(&self, user_id: UserId, serial: u64) -> Result<Prepared> {
        let Some((_, live)) = self.code_of(user_id, CodePurpose::Phone, serial).await? else {
            return Ok(Prepared::Dead("the code is dead"));
        };
        let text = self.deps.templates.sms_code(&live.code, &self.deps.app_url)?;
        Ok(Prepared::Sms(Sms { job: self.job.id, to: Phone::from_stored(live.target), text }))
    }

    async fn signup(&self, pending_id: PendingSignupId, serial: u64) -> Result<Prepared> {
        let pending = match self.deps.store.pending_signup(pending_id).await? {
            Some(pending) if pending.expires_at > self.now => pending,
            _ => return Ok(Prepared::Dead("the sign-up is gone")),
        };
        let digest = pending.email.digest();
        if let Some(user) = self.deps.store.user_by_email(&digest).await? {
            let mail = self.letter(user.email, &Letter::AccountExists)?;
            let who = Subject::contact(&digest);
            let allowed = self.deps.ephemeral.hit(&ACCOUNT_EXISTS, &who, self.now).await?.allowed;
            return Ok(if allowed {
                Prepared::CountedMail(mail, &ACCOUNT_EXISTS, who)
            } else {
                Prepared::Dead("the owner was told today")
            });
        }
        let key = CodeKey { purpose: CodePurpose::Signup, subject: digest.as_bytes().to_vec() };
        let record = self.deps.ephemeral.peek_code(&key, self.now).await?.filter(|r| r.tries <= TRIES_SIGNUP);
        let live = record.map(|r| self.live_code(&key, &r, serial)).transpose()?.flatten();
        match live {
            Some(live) if live.target == pending.email.as_str() => self.mail(pending.email, &Letter::SignupCode(live.code)),
            _ => Ok(Prepared::Dead("the code is dead")),
        }
    }

    async fn reset(&self, contact: &ContactDigest) -> Result<Prepared> {
        // Twice: the account may change between the reading and the writing of the link.
        for _ in 0..2 {
            let user = match self.deps.store.user_by_email(contact).await? {
                Some(user) if user.may_sign_in() => user,
                _ => return Ok(Prepared::Dead("no account that could be reset")),
            };
            if let Some(link) = reset::link_for(self.deps, self.job.id, &user, RESET_TTL, self.now).await? {
                let minutes = minutes(link.expires_at.since(self.now));
                return self.mail(user.email, &Letter::Reset { link: self.link("reset-password", &link.token), minutes });
            }
        }
        Ok(Prepared::Dead("the link is dead"))
    }

    async fn email_changed(&self, user_id: UserId, link_id: LinkId) -> Result<Prepared> {
        let link = match self.deps.store.undo_link(user_id, link_id).await? {
            Some(link) if link.used_at.is_none() && link.expires_at > self.now => link,
            _ => return Ok(Prepared::Dead("the link is dead")),
        };
        // Deleted or not: whoever moved the account may have deleted it.
        let Some(user) = self.deps.store.user(user_id).await? else { return Ok(Prepared::Dead("the account is gone")) };
        let token = UndoToken::issue(&self.deps.keyring, user_id, link.id, link.epoch, &link.nonce);
        let letter = Letter::EmailChanged {
            link: self.link("undo-email-change", &token),
            masked_email: mask(user.email.as_str()),
            hours: hours(link.expires_at.since(self.now)),
        };
        self.mail(link.old_email, &letter)
    }

    async fn invite(&self, tenant_id: TenantId, id: InviteId, serial: u64) -> Result<Prepared> {
        let Some(open) = invite::open(self.deps, tenant_id, id, serial, self.now).await? else {
            return Ok(Prepared::Dead("the invite is dead"));
        };
        let (link, hours) = (self.link("invite", &open.token), hours(open.expires_at.since(self.now)));
        self.mail(open.to, &Letter::Invite { link, hours, tenant_name: open.tenant_name })
    }
}

/// Hours left, to the nearest: a mail that leaves a second after the change says 72, not 71.
pub(super) fn hours(left: std::time::Duration) -> u64 {
    (left.as_secs() + 1800).max(3600) / 3600
}

/// Whole minutes left, at least 1: rather too few than too many. The second that passed since the start doesn't count.
pub(super) fn minutes(left: std::time::Duration) -> u64 {
    ((left.as_secs() + 5) / 60).max(1)
}
