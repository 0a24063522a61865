//! Notices about accounts that others made, deleted or secured, and about API keys. All go to the address on file.

use super::{
    prepare::{Prepared, Preparing, Result, hours, minutes},
    reset::{self, RESET_TTL},
};
use crate::{
    domain::{
        api_key::ApiKey,
        contact::ContactDigest,
        ids::{ApiKeyId, TenantId, UserId},
        network::Network,
        notice::{NoticeKind, coarse},
        outbox::SecuredBy,
        tenant::looks_like_link,
        token::{RestoreToken, nonce_of_epoch},
        user::User,
    },
    ephemeral::Limit,
    gateway::templates::Letter,
};
use std::time::Duration;

const NO_READER: &str = "the API key is gone, or nobody is left to be told";

/// Notices of a kind to one address.
const A_DAY: Duration = Duration::from_secs(86_400);
const NEW_SIGN_IN: Limit = Limit { name: "notice_new_sign_in", max: 1, window: A_DAY };
const TOKEN_REUSED: Limit = Limit { name: "notice_token_reused", max: 1, window: A_DAY };
const PHONE_CHANGED: Limit = Limit { name: "notice_phone_changed", max: 1, window: A_DAY };
const SIGN_INS_REFUSED: Limit = Limit { name: "notice_sign_ins_refused", max: 1, window: A_DAY };

/// Mails about API keys to one address.
const KEY_NOTES: Limit = Limit { name: "api_key_notes", max: 20, window: A_DAY };

const fn limit_of(what: NoticeKind) -> &'static Limit {
    match what {
        NoticeKind::NewSignIn => &NEW_SIGN_IN,
        NoticeKind::TokenReused => &TOKEN_REUSED,
        NoticeKind::PhoneChanged => &PHONE_CHANGED,
        NoticeKind::SignInsRefused => &SIGN_INS_REFUSED,
    }
}

impl Preparing<'_> {
    pub(super) async fn notice(
        &self,
        contact: &ContactDigest,
        what: NoticeKind,
        network: Option<Network>,
        agent: Option<String>,
    ) -> Result<Prepared> {
        // An address that nobody has proved is perhaps not its owner's: it gets no mail about an account that somebody made with it.
        let proved = |u: &User| u.deleted_at.is_none() && u.email_verified_at.is_some() && u.email.digest() == *contact;
        let Some(user) = self.deps.store.user_by_email(contact).await?.filter(proved) else {
            return Ok(Prepared::Dead("no account with this address proved"));
        };
        let home = self.deps.store.tenant(user.home_tenant).await?;
        if home.is_some_and(|t| t.managed && !t.policy.sends(what)) {
            return Ok(Prepared::Dead("the tenant has these notices off"));
        }
        let letter = Letter::Notice {
            kind: what.name(),
            // To the minute: "2026-12-01 16:31 UTC".
            when: format!("{} UTC", self.job.created_at.to_string().chars().take(16).collect::<String>().replace('T', " ")),
            network: network.map(coarse),
            agent,
            not_me: self.not_me(user.id),
        };
        self.counted(user.email, &letter, limit_of(what), "the owner was told of such today").await
    }

    pub(super) async fn account_made(&self, user_id: UserId, tenant_id: TenantId) -> Result<Prepared> {
        let Some(tenant) = self.deps.store.tenant(tenant_id).await?.filter(|t| t.deleted_at.is_none()) else {
            return Ok(Prepared::Dead("the organization is gone"));
        };
        let waits = |u: &User| u.may_sign_in() && u.password_hash.is_none() && u.email_verified_at.is_none();
        let ttl = Duration::from_secs(u64::from(tenant.policy.invite_ttl_hours) * 3600);
        let Some((user, link)) = self.reset_link(user_id, ttl, waits).await? else {
            return Ok(Prepared::Dead("no account that waits for its first password, or its link is dead"));
        };
        let letter = Letter::AccountMade {
            link: self.link("reset-password", &link.token),
            hours: hours(link.expires_at.since(self.now)),
            // Nobody proved the address: it must not get a stranger's words. Who runs this service vouches for managed tenants.
            tenant_name: tenant.managed.then_some(tenant.name).filter(|name| !looks_like_link(name)),
        };
        self.mail(user.email, &letter)
    }

    pub(super) async fn secured(&self, user_id: UserId, why: SecuredBy) -> Result<Prepared> {
        let waits = |u: &User| u.may_sign_in() && u.password_hash.is_none();
        let Some((user, link)) = self.reset_link(user_id, RESET_TTL, waits).await? else {
            return Ok(Prepared::Dead("no account that waits for a new password, or its link is dead"));
        };
        let minutes = minutes(link.expires_at.since(self.now));
        let link = self.link("reset-password", &link.token);
        let letter = match why {
            SecuredBy::Undone => Letter::Undone { link, minutes },
            SecuredBy::NotMe => Letter::NotMe { link, minutes },
            SecuredBy::Restored => Letter::Restored { link, minutes },
        };
        self.mail(user.email, &letter)
    }

    pub(super) async fn account_deleted(&self, user_id: UserId, epoch: u64, own: bool) -> Result<Prepared> {
        let user = self.deps.store.user(user_id).await?;
        let Some(user) = user.filter(|u| u.deleted_at.is_some() && u.credential_epoch == epoch) else {
            return Ok(Prepared::Dead("the account is no longer in the recycle bin, or was deleted once more"));
        };
        let Some(end) = user.purge_after.filter(|end| *end > self.now) else {
            return Ok(Prepared::Dead("the account's time in the recycle bin is over"));
        };
        let link = own.then(|| {
            let token = RestoreToken::issue(&self.deps.keyring, user_id, user_id, epoch, &nonce_of_epoch(epoch));
            self.link("restore-account", &token)
        });
        self.mail(user.email, &Letter::AccountDeleted { link, days: days(end.since(self.now)) })
    }

    pub(super) async fn api_key_made(&self, user_id: UserId, tenant_id: TenantId, key_id: ApiKeyId, maker: bool) -> Result<Prepared> {
        let Some((user, key)) = self.reader_and_key(user_id, tenant_id, key_id).await? else { return Ok(Prepared::Dead(NO_READER)) };
        if key.revoked_at.is_some() {
            return Ok(Prepared::Dead("the API key has ended"));
        }
        let not_me = maker.then(|| self.not_me(user_id));
        self.key_note(user, &Letter::ApiKeyMade { prefix: key.prefix, not_me }).await
    }

    pub(super) async fn api_key_stopped(&self, user_id: UserId, tenant_id: TenantId, key_id: ApiKeyId) -> Result<Prepared> {
        let Some((user, key)) = self.reader_and_key(user_id, tenant_id, key_id).await? else { return Ok(Prepared::Dead(NO_READER)) };
        if key.revoked_at.is_some() || key.expires_at.is_some_and(|end| end <= self.now) {
            return Ok(Prepared::Dead("the API key has ended"));
        }
        self.key_note(user, &Letter::ApiKeyStopped { prefix: key.prefix }).await
    }

    pub(super) async fn api_key_ended(&self, user_id: UserId, tenant_id: TenantId, key_id: ApiKeyId) -> Result<Prepared> {
        let Some((user, key)) = self.reader_and_key(user_id, tenant_id, key_id).await? else { return Ok(Prepared::Dead(NO_READER)) };
        self.key_note(user, &Letter::ApiKeyEnded { prefix: key.prefix }).await
    }

    /// Keys are free to make, also with an address that is somebody else's: it gets some mails about them a day, and no flood.
    async fn key_note(&self, user: User, letter: &Letter) -> Result<Prepared> {
        self.counted(user.email, letter, &KEY_NOTES, "the owner was told of enough API keys today").await
    }

    /// Who is told of an API key, if their account is live, and the key.
    async fn reader_and_key(&self, user_id: UserId, tenant_id: TenantId, key_id: ApiKeyId) -> Result<Option<(User, ApiKey)>> {
        let Some(user) = self.deps.store.user(user_id).await?.filter(User::may_sign_in) else { return Ok(None) };
        Ok(self.deps.store.api_key_by_id(tenant_id, key_id).await?.map(|key| (user, key)))
    }

    /// The account, and a reset link for it that works, if the account is as `fits` wants it.
    async fn reset_link(&self, user_id: UserId, ttl: Duration, fits: fn(&User) -> bool) -> Result<Option<(User, reset::Link)>> {
        // Twice: the account may change between the reading and the writing of the link.
        for _ in 0..2 {
            let Some(user) = self.deps.store.user(user_id).await?.filter(fits) else { return Ok(None) };
            if let Some(link) = reset::link_for(self.deps, self.job.id, &user, ttl, self.now).await? {
                return Ok(Some((user, link)));
            }
        }
        Ok(None)
    }
}

/// Whole days left, at least 1: rather too few than too many. The hour that passed since the start doesn't count.
fn days(left: Duration) -> u64 {
    ((left.as_secs() + 3600) / 86_400).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_at_least_one() {
        let cases = [(0, 1), (86_400, 1), (2 * 86_400 - 3601, 1), (2 * 86_400 - 3600, 2), (30 * 86_400 - 5, 30), (30 * 86_400, 30)];
        for (seconds, expected) in cases {
            assert_eq!(days(Duration::from_secs(seconds)), expected, "{seconds} s");
        }
    }
}
