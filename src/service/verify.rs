//! Proving one's e-mail address and phone number by one-time codes.

use super::{
    Services,
    api::{Caller, PhoneStart, Principal},
    error::{Error, Result},
    session::unexpected,
};
use crate::{
    actors::user::{StartCode, TryCode, UserCommand, UserReply},
    domain::{
        contact::{Email, Phone},
        context::Actor,
        ids::{JobId, LinkId, TenantId, UserId},
        notice::NoticeKind,
        outbox::Job,
        policy::AuthPolicy,
        rng,
        secret::SecretText,
        token::{CodeLength, CodePurpose},
        user::User,
    },
    ephemeral::NewCode,
    store::commands::NewUndoLink,
};
use std::time::Duration;

/// How long the old address can undo an e-mail change.
const UNDO_TTL: Duration = Duration::from_secs(72 * 3600);

impl Services {
    fn own(who: &Principal, id: UserId) -> Result<()> {
        if who.user_id == id { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Sends a code to the address on file, and says how long it is. `None`: it is proved already, nothing is sent.
    ///
    /// # Errors
    /// `Forbidden` for somebody else's id or where the policy has codes by mail off, `RateLimited`.
    pub async fn start_email_code(&self, caller: &Caller, who: &Principal, id: UserId) -> Result<Option<CodeLength>> {
        Self::own(who, id)?;
        let user = self.account(who).await?;
        if !self.scope(who.tenant_id).await?.policy.otp_email_enabled {
            return Err(Error::Forbidden);
        }
        if user.email_verified_at.is_some() {
            return Ok(None);
        }
        let now = self.clock.now();
        self.limits.code(user.id, CodePurpose::Email, &user.email.digest(), caller.network, now).await?;
        self.start(caller, who, &user, CodePurpose::Email, user.email.as_str(), None).await.map(Some)
    }

    /// Proves the address on file.
    ///
    /// # Errors
    /// `CodeInvalid`, `CodeExpired`, `Forbidden` for somebody else's id.
    pub async fn confirm_email_code(&self, caller: &Caller, who: &Principal, id: UserId, code: SecretText) -> Result<()> {
        Self::own(who, id)?;
        self.confirm(caller, who, CodePurpose::Email, code, None, "email.verified").await
    }

    /// Sends a code to a number: the one given, or the one on file. Anybody can have a tenant and set its policy, but it is the operator
    /// who pays: switch, countries and budget of the deployment's policy bind them all.
    ///
    /// # Errors
    /// `Validation` without a number or for one that texts don't go to, `Forbidden`, `RateLimited`; `ReauthenticationRequired` for another number than the
    /// proved one.
    pub async fn start_phone_code(&self, caller: &Caller, who: &Principal, id: UserId, start: PhoneStart) -> Result<CodeLength> {
        Self::own(who, id)?;
        let user = self.account(who).await?;
        let (policy, ours) = (self.scope(who.tenant_id).await?.policy, &self.rules.policy);
        if !policy.otp_sms_enabled || !ours.otp_sms_enabled {
            return Err(Error::Forbidden);
        }
        let phone = start.phone.or_else(|| user.phone.clone());
        let phone = phone.ok_or_else(|| Error::field("phone", "is required: there is none on file"))?;
        if !texts_go_to(&phone, &policy) || !texts_go_to(&phone, ours) {
            return Err(Error::field("phone", "is not a number that text messages are sent to"));
        }
        // A proved number is a way to reach its owner: whoever has a stolen token must not put another in its place.
        if user.phone_verified_at.is_some() && user.phone.as_ref() != Some(&phone) {
            self.recent(who).await?;
        }
        let now = self.clock.now();
        self.limits.code(user.id, CodePurpose::Phone, &phone.digest(), caller.network, now).await?;
        self.limits.sms_budget(who.tenant_id, policy.sms_daily_budget.min(ours.sms_daily_budget), now).await?;
        self.limits.sms_of_all(self.rules.sms_daily_budget, now).await?;
        self.start(caller, who, &user, CodePurpose::Phone, phone.as_str(), None).await
    }

    /// Stores the number that the code went to, as proved.
    ///
    /// # Errors
    /// `CodeInvalid`, `CodeExpired`, `Forbidden` for somebody else's id.
    pub async fn confirm_phone_code(&self, caller: &Caller, who: &Principal, id: UserId, code: SecretText) -> Result<()> {
        Self::own(who, id)?;
        // The first number is no change of anything.
        let user = self.account(who).await?;
        let notice = user.phone_verified_at.is_some().then(|| self.notice_about(caller, user.email.digest(), NoticeKind::PhoneChanged));
        self.confirm(caller, who, CodePurpose::Phone, code, notice, "phone.verified").await
    }

    /// Starts a code of the account; its message is written with it.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        who: &Principal,
        user: &User,
        purpose: CodePurpose,
        target: &str,
        new_email: Option<Email>,
    ) -> Result<CodeLength> {
        let tenant: TenantId = who.tenant_id;
        let length = self.code_length(user.id.as_bytes()).await?;
        let start = StartCode {
            // Each run makes a code of its own: the one of a run before may be lost, or another's by now.
            ctx: self.ctx_of_this_run(self.ctx(caller, Actor::User(user.id))),
            purpose,
            new: NewCode {
                above: user.code_serials.last(purpose),
                ..self.new_code(purpose, user.id.as_bytes(), target, user.credential_epoch, length)
            },
            job: JobId::new(&*self.clock, &*self.rng),
            tenant,
            new_email,
        };
        match self.ask_user(caller, user.id, UserCommand::StartCode(Box::new(start))).await? {
            UserReply::Done => Ok(length),
            other => Err(unexpected(&other)),
        }
    }

    /// Uses a code of the account.
    pub(super) async fn confirm(
        &self,
        caller: &Caller,
        who: &Principal,
        purpose: CodePurpose,
        code: SecretText,
        job: Option<Job>,
        event: &'static str,
    ) -> Result<()> {
        let ctx = self.ctx(caller, Actor::User(who.user_id));
        let undo = (purpose == CodePurpose::EmailChange).then(|| {
            let id = LinkId::new(&*self.clock, &*self.rng);
            let link = NewUndoLink { id, nonce: rng::bytes(&*self.rng), expires_at: ctx.now.plus(UNDO_TTL) };
            (link, JobId::new(&*self.clock, &*self.rng))
        });
        let audit = vec![self.audit(caller, Actor::User(who.user_id), who.tenant_id, who.user_id, event)];
        let personal = (purpose == CodePurpose::Email).then(|| Box::new(self.personal_tenant()));
        let attempt = TryCode { ctx, purpose, code, keep: Some(who.session_id), undo, personal, job, audit };
        match self.ask_user(caller, who.user_id, UserCommand::TryCode(Box::new(attempt))).await? {
            UserReply::Confirmed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

/// The tenant's list of countries; without one, every country. Never to a number that costs a premium, or is of no country (satellites, global
/// networks: `+881`, `+882`, `+883`), which costs as much.
fn texts_go_to(phone: &Phone, policy: &AuthPolicy) -> bool {
    let (country, premium) = phone.plan();
    !premium && country.is_some_and(|c| policy.sms_countries.is_empty() || policy.sms_countries.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_to_listed_countries_and_never_to_premium_numbers() {
        let ok = |number: &str, countries: &[&str]| {
            let policy = AuthPolicy { sms_countries: countries.iter().map(|c| (*c).to_owned()).collect(), ..Default::default() };
            texts_go_to(&number.parse().unwrap(), &policy)
        };
        assert!(ok("+14155550100", &[]));
        assert!(ok("+14155550100", &["DE", "US"]));
        assert!(!ok("+14155550100", &["DE"]));
        assert!(!ok("+19002345678", &[]));
        assert!(!ok("+19002345678", &["US"]));
        for satellite in ["+881612345678", "+882160000000", "+883510001234567"] {
            assert!(!ok(satellite, &[]), "{satellite}");
        }
        for ours in ["+4915112345678", "+447400123456", "+41791234567", "+33612345678", "+919812345678", "+79161234567", "+77011234567"] {
            assert!(ok(ours, &[]), "{ours}");
        }
    }
}
