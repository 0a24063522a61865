//! Sign-in.

use super::{
    Services,
    api::{Caller, TokenPair},
    error::{Error, Result},
    limits::{PasswordOf, Told},
};
use crate::{
    credentials::pool::{Class, Flow, Verified},
    domain::{
        contact::{ContactDigest, Email},
        context::Actor,
        hash::PasswordHash,
        ids::{SessionId, TenantId},
        network::Network,
        notice::NoticeKind,
        rng,
        secret::Password,
        session::Session,
        tenant::Tenant,
        time::Timestamp,
        token::{ChangeToken, nonce_of_epoch},
        user::{Membership, User, UserStatus},
    },
    store::commands::{Cas, CreateSession, Rehash},
};
use std::time::Duration;

/// How long a token of a `password_change_required` is good.
const CHANGE_TTL: Duration = Duration::from_secs(600);

impl Services {
    /// Signs in. Every refusal looks and takes the same: an unknown address costs the same reads and one Argon2id, and a
    /// timer hides which format the stored hash has.
    ///
    /// # Errors
    /// `InvalidCredentials`, `AccountLocked`; `AccountSuspended` after the right password only.
    pub async fn login(&self, caller: &Caller, email: Email, password: Password) -> Result<TokenPair> {
        let digest = email.digest();
        if let Some(group) = self.flows.get(&(digest, caller.network)) {
            self.pool.place(Flow { group, network: caller.network })?;
        }
        let _one = self.limits.one_attempt(&digest, caller.network).await?;
        let lookup = self.store.login_lookup(&digest, caller.network).await?;
        let now = self.clock.now();
        let user = lookup.user.filter(|u| u.deleted_at.is_none());
        let whose = self.count_try(caller, &digest, lookup.known_network, user.as_ref(), Actor::Anonymous).await?;
        let hash = user.as_ref().and_then(|u| u.password_hash.clone());
        let flow = flow(user.as_ref(), &digest, caller);
        self.flows.insert((digest, caller.network), flow.group);
        let verified = match self.pool.verify(password.clone(), hash, flow, Class::Interactive).await {
            Ok(verified) => verified,
            Err(e) => {
                // Refused before it was tried: it costs no try.
                self.limits.password_right(&whose, now).await?;
                return Err(e.into());
            }
        };
        let Some(user) = user.as_ref().filter(|_| verified.matches).cloned() else {
            self.note_refusal(caller, digest, user.as_ref(), Actor::Anonymous, "sign_in.refused");
            return Err(self.refuse(&verified).await);
        };
        self.limits.password_right(&whose, now).await?;
        if user.status == UserStatus::Suspended {
            return Err(Error::AccountSuspended);
        }
        self.may_go_on(&user)?;
        let Some(session) = self.open_session(caller, &user).await? else {
            // Changed while we looked: the password that was right is no longer, or the account is gone.
            return Err(self.refuse(&verified).await);
        };
        if verified.outdated {
            self.rehash_later(caller, &user, password, &digest);
        }
        if !lookup.known_network {
            self.note_sign_in(caller, &user, &session);
        }
        match self.pair_of_new(&session).await {
            Err(Error::Unauthorized) => Err(self.refuse(&verified).await),
            pair => pair,
        }
    }

    /// Whoever knows the right password may sign in with it, but for one that an admin set: its owner sets another first.
    ///
    /// # Errors
    /// `PasswordChangeRequired`, with the token for that.
    pub(super) fn may_go_on(&self, user: &User) -> Result<()> {
        if !user.must_change {
            return Ok(());
        }
        let until = u64::try_from(self.clock.now().plus(CHANGE_TTL).millis()).unwrap_or(0);
        let nonce = nonce_of_epoch(user.credential_epoch);
        Err(Error::PasswordChangeRequired(ChangeToken::issue(&self.keyring, user.id, user.id, until, &nonce)))
    }

    /// The one refusal, no sooner than the timer says.
    pub(super) async fn refuse(&self, verified: &Verified) -> Error {
        tokio::time::sleep_until(self.pool.refused_at(verified.began).into()).await;
        Error::InvalidCredentials
    }

    /// Opens a session in the tenant used last, or at home; `None` if the account's epoch or state has moved.
    async fn open_session(&self, caller: &Caller, user: &User) -> Result<Option<Session>> {
        let memberships = self.store.memberships(user.id).await?;
        let find = |id: TenantId| memberships.iter().find(|(t, _)| t.id == id);
        let scope = user.last_tenant.and_then(find).or_else(|| find(user.home_tenant)).or(memberships.first());
        let (tenant, _) = scope.ok_or(Error::Forbidden)?;
        let session = self.new_session(caller, user, tenant);
        let audit = self.audit(caller, Actor::User(user.id), tenant.id, user.id, "session.started");
        let audit = audit.about_resource("session", session.id.as_bytes());
        let cmd = CreateSession { session: session.clone(), network: caller.network, is_login: true, audit: vec![audit] };
        let ctx = self.ctx(caller, Actor::User(user.id));
        Ok(match crate::actors::entity::settled(|| self.store.create_session(&ctx, cmd.clone())).await? {
            Cas::Done(()) => Some(session),
            Cas::Stale => None,
        })
    }

    /// A session that begins now, under the account's epoch as read.
    pub(super) fn new_session(&self, caller: &Caller, user: &User, tenant: &Tenant) -> Session {
        let now = self.clock.now();
        Session {
            id: SessionId::new(&*self.clock, &*self.rng),
            user_id: user.id,
            tenant_id: tenant.id,
            nonce: rng::bytes(&*self.rng),
            generation: 0,
            credential_epoch: user.credential_epoch,
            ip: caller.ip.to_string(),
            user_agent: caller.user_agent.clone(),
            created_at: now,
            signed_in_at: None,
            last_seen_at: now,
            turned_at: now,
            turned_by: caller.network,
            expires_at: now.plus(tenant.policy.session_ttl()),
            idle_days: tenant.policy.session_idle_days,
            revoked_at: None,
        }
    }

    /// Puts today's hash in place of the one just verified: in the background, behind all sign-ins, and only if the row
    /// still holds the very hash that was verified.
    pub(super) fn rehash_later(&self, caller: &Caller, user: &User, password: Password, digest: &ContactDigest) {
        let Some(expect_hash) = user.password_hash.clone() else { return };
        let (pool, store) = (self.pool.clone(), self.store.clone());
        let (ctx, flow, user_id) = (self.ctx(caller, Actor::System), flow(Some(user), digest, caller), user.id);
        self.background.spawn(async move {
            let outcome = match pool.hash(password, flow, Class::Background).await {
                Ok(new_hash) => match store.rehash(&ctx, Rehash { user_id, expect_hash, new_hash }).await {
                    Ok(true) => "done",
                    Ok(false) => "stale",
                    Err(_) => "store",
                },
                // Busy: the next sign-in tries again.
                Err(_) => "shed",
            };
            metrics::counter!("qeetid_rehash_total", "outcome" => outcome).increment(1);
        });
    }

    /// Checks the current password of a signed-in person; counts as a try. The outcome is an error unless it is right.
    ///
    /// # Errors
    /// `WrongPassword`, `AccountLocked`; `Overloaded` without a try being counted.
    pub(super) async fn check_current(&self, caller: &Caller, user: &User, hash: PasswordHash, password: Password) -> Result<()> {
        let digest = user.email.digest();
        let _one = self.limits.one_attempt(&digest, caller.network).await?;
        let now = self.clock.now();
        let known = self.store.login_lookup(&digest, caller.network).await?.known_network;
        let whose = self.count_try(caller, &digest, known, Some(user), Actor::User(user.id)).await?;
        let verified = self.pool.verify(password, Some(hash), flow(Some(user), &digest, caller), Class::Interactive).await;
        if !matches!(&verified, Ok(v) if !v.matches) {
            self.limits.password_right(&whose, now).await?;
        }
        let verified = verified?;
        if verified.matches {
            return Ok(());
        }
        self.note_refusal(caller, digest, Some(user), Actor::User(user.id), "password.refused");
        self.refuse(&verified).await;
        Err(Error::WrongPassword)
    }

    /// Counts one try of a password, and gives what it is counted for; one too many is told in the audit.
    pub(super) async fn count_try(
        &self,
        caller: &Caller,
        digest: &ContactDigest,
        known: bool,
        user: Option<&User>,
        actor: Actor,
    ) -> Result<PasswordOf> {
        let epoch = user.map_or(0, |user| user.credential_epoch);
        let whose = PasswordOf { email: *digest, network: caller.network, known_network: known, epoch };
        let counted = self.limits.password_try(&whose, self.clock.now()).await;
        if matches!(counted, Err(Error::AccountLocked { .. })) {
            self.note_refusal(caller, *digest, user, actor, "sign_in.locked");
        }
        counted.map(|()| whose)
    }

    /// Has the audit tell of a refused password, in the background: so that the answer takes the same for addresses without an
    /// account, for which a command without events is written all the same.
    pub(super) fn note_refusal(&self, caller: &Caller, digest: ContactDigest, user: Option<&User>, actor: Actor, event: &'static str) {
        let (store, limits, ctx) = (self.store.clone(), self.limits.clone(), self.ctx_of_this_run(self.ctx(caller, actor)));
        let locked = event == "sign_in.locked";
        let events: Vec<_> = user.map(|u| self.audit(caller, actor, u.home_tenant, u.id, event)).into_iter().collect();
        // Of many in a row the owner of the address is told, if it has one: the row is the same.
        let (job, wake) = (self.notice_about(caller, digest, NoticeKind::SignInsRefused), self.wake_outbox.clone());
        let mailed = self.ctx_of_this_run(self.ctx(caller, actor));
        self.background.spawn(async move {
            let told = limits.refusal_told(&digest, locked, ctx.now).await.unwrap_or(Told::No);
            if told == Told::No {
                return;
            }
            if let Err(e) = store.write_audit(&ctx, events).await {
                tracing::warn!(error = %e, "a refused password could not be put into the audit");
            }
            if told == Told::AsTheLast {
                match store.enqueue(&mailed, job).await {
                    Ok(()) => wake(),
                    Err(e) => tracing::warn!(error = %e, "the owner of an address could not be told of refused passwords"),
                }
            }
        });
    }

    /// The tenant of the scope, with its policy.
    pub(super) async fn scope(&self, tenant: TenantId) -> Result<Tenant> {
        self.store.tenant(tenant).await?.filter(|t| t.deleted_at.is_none()).ok_or(Error::Forbidden)
    }

    /// How long ago the person gave a password (or a mailed proof) for this session, as a moment.
    pub(super) async fn signed_in_at(&self, who: &super::api::Principal) -> Result<Timestamp> {
        let view = self.store.session(who.user_id, who.session_id).await?.ok_or(Error::Unauthorized)?;
        if view.session.revoked_at.is_some() {
            return Err(Error::Unauthorized);
        }
        Ok(view.session.signed_in_at.unwrap_or(view.session.created_at))
    }

    /// Names of a member's roles.
    pub(super) fn role_names(membership: &Membership) -> Vec<String> {
        membership.roles.iter().filter_map(|r| r.system_name()).map(str::to_owned).collect()
    }
}

/// The groups of addresses that were tried within the last minute. Under a storm most sign-ins come again and again, and refusing one
/// must not cost the reads that find out whose it is. Each network has its own: what another one tried lately shows in no answer's time.
pub(super) type Flows = moka::sync::Cache<(ContactDigest, Network), [u8; 16]>;

/// 20,000 of them, some 4 MiB.
pub(super) fn flows() -> Flows {
    moka::sync::Cache::builder().max_capacity(20_000).time_to_live(Duration::from_secs(60)).build()
}

/// In whose turn a job of the pool waits. An address without an account is a tenant of its own, as is a person with only
/// the personal one: the queue tells nothing.
pub(super) fn flow(user: Option<&User>, digest: &ContactDigest, caller: &Caller) -> Flow {
    let group = match user {
        Some(user) => *user.last_tenant.unwrap_or(user.home_tenant).as_bytes(),
        None => {
            let mut group = [0; 16];
            group.copy_from_slice(&digest.as_bytes()[..16]);
            group
        }
    };
    Flow { group, network: caller.network }
}
