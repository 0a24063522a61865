//! The use cases, one a file. [`Services`] is what the http room talks to; it holds traits and never a concrete backend.
//!
//! Signatures in one place, for readers (each is in the file named):
//!
//! ```text
//! signup.rs    signup(&Caller, SignupInput) -> SignupOutcome             confirm_signup(&Caller, Email, code, signup_token) -> NewAccount
//! login.rs     login(&Caller, Email, Password) -> TokenPair
//! session.rs   refresh(&Caller, &str) -> TokenPair                       authenticate(&str) -> Principal
//!              logout(&Caller, &Principal)                               sessions(&Principal) -> Vec<Session>
//!              revoke_session(&Caller, &Principal, SessionId)            revoke_other_sessions(&Caller, &Principal) -> u64
//! password.rs  has_password(&Principal) -> bool                          change_password(&Caller, &Principal, Option<Password>, Password)
//! reset.rs     forgot_password(&Caller, &str)                            reset_password(&Caller, &str, Password, bool)
//! recovery.rs  not_me(&Caller, &str)                                     restore_account(&Caller, &str)
//!              reauthenticate(&Caller, &Principal, Password)             export_me(&Caller, &Principal, Option<Password>) -> Export
//!              change_set_password(&Caller, &str, Password)
//! links.rs     mail_link(&Caller, &Operator, UserId)                     make_link(&Caller, &Operator, UserId) -> (SecretText, Timestamp)
//! verify.rs    start_email_code(&Caller, &Principal, UserId)             confirm_email_code(&Caller, &Principal, UserId, &str)
//!              start_phone_code(&Caller, &Principal, UserId, PhoneStart) confirm_phone_code(&Caller, &Principal, UserId, &str)
//! change.rs    start_email_change(&Caller, &Principal, Email, Option<Password>)
//!              confirm_email_change(&Caller, &Principal, &str)           undo_email_change(&Caller, &str)
//! new_password.rs check_new_password(field, &Password, &PasswordRules, &Email, display_name, Flow)
//! me.rs        profile(&Principal) -> UserView                           update_profile(&Caller, &Principal, ProfileChange) -> UserView
//!              delete_me(&Caller, &Principal, Password)
//! tenant.rs    tenants(&Principal) -> Vec<(Tenant, Membership)>          create_tenant(&Caller, &Principal, String, Option<String>) -> Tenant
//!              switch_tenant(&Caller, &Principal, TenantId) -> TokenPair leave_tenant(&Caller, &Principal, TenantId)
//! invites.rs   create_invite(&Caller, &Operator, Email, Option<RoleId>) -> Invited
//!              resend_invite(&Caller, &Operator, InviteId) -> Invited    revoke_invite(&Caller, &Operator, InviteId)
//!              invites(&Operator, TenantId, Option<InviteStatus>, &Page) -> Listed<Invite>
//!              my_invites, accept_my_invite, decline_my_invite; invite_accept.rs: accept_invite(&Caller, &str, …) -> TokenPair
//! idempotency.rs take_turn(Asked) -> Turn
//! bulk.rs      bulk(&Caller, &Operator) -> Bulk                          upload(&Caller, &Operator, Source, …) -> Upload
//! domains.rs   domains(&Operator, TenantId) -> Vec<TenantDomain>         add_domain, verify_domain, remove_domain; check_domains(&OnDuty)
//! keys.rs      jwks() -> Vec<PublicJwk>                                  ready() -> Vec<Part>
//! limits.rs    network_limit(Network) -> Option<Decision>
//! ```

pub mod access;
pub mod api;
pub mod api_keys;
pub mod audit;
mod auth_policy;
mod bin;
pub mod bulk;
pub mod chainer;
mod change;
pub mod domains;
pub mod duty;
pub mod error;
pub mod idempotency;
pub mod import;
mod invite_accept;
pub mod invites;
pub mod keys;
pub mod limits;
mod links;
mod login;
mod me;
pub mod members;
mod new_password;
mod notices;
pub mod page;
mod password;
mod recovery;
mod reset;
mod reveals;
mod roles;
mod session;
mod signup;
mod tenant;
pub mod tenant_admin;
pub mod users;
mod verify;

pub use crate::store::deadline::of_request;
pub use tenant::slug_from;

use crate::{
    actors::{
        contact::{Contact, ContactCommand, ContactReply},
        directory::{AskError, Bounds, Directory},
        entity::settled,
        placement::Placement,
        supervisor::Supervisor,
        tenant::{TenantActor, TenantCommand, TenantReply},
        user::{UserActor, UserCommand, UserReply},
    },
    credentials::pool::Pool,
    domain::{
        audit::AuditEvent,
        contact::ContactDigest,
        context::{Actor, Ctx},
        ids::{AuditId, CommandId, JobId, TenantId, UserId},
        jwt::PublicJwk,
        keyring::Keyring,
        network::Network,
        outbox::{Job, Message},
        policy::AuthPolicy,
        rng::{self, Rng},
        tenant::Tenant,
        time::Clock,
    },
    ephemeral::{Decision, Ephemeral},
    gateway::{breach::BreachRange, dns::TxtRecords},
    store::{Store, StoreError, admin::Newcomers},
};
use api::{Caller, Part};
use error::{Error, Result};
use keys::Keys;
use limits::{LimitRules, Limits};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// How accounts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignupMode {
    /// At once; the address is proved later.
    Instant,
    /// After a mailed code: nothing can be learned about existing accounts.
    VerifyFirst,
}

/// What the use cases go by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How accounts are made.
    pub signup_mode: SignupMode,
    /// What sign-up obeys and new tenants start with.
    pub policy: AuthPolicy,
    /// Base of the links that are handed to admins, as that of those in mails.
    pub app_url: String,
    /// Text messages that the whole deployment sends in a day.
    pub sms_daily_budget: u32,
    /// Everybody may make organizations; else only the operator does.
    pub open_organizations: bool,
    /// How often.
    pub limits: LimitRules,
}

/// What the use cases work with.
pub struct Parts {
    /// What lasts.
    pub store: Arc<dyn Store>,
    /// What expires.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// What it is called where the parts that fail are named.
    pub ephemeral_name: &'static str,
    /// Where hashing happens.
    pub pool: Pool,
    /// Which passwords were in breaches.
    pub breach: Arc<dyn BreachRange>,
    /// What DNS servers say.
    pub dns: Arc<dyn TxtRecords>,
    /// What tokens are derived from.
    pub keyring: Arc<Keyring>,
    /// What signs.
    pub keys: Arc<Keys>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The parent of the actors.
    pub supervisor: Supervisor,
    /// Which node orders what.
    pub placement: Arc<dyn Placement>,
    /// Called after a command that wrote a job.
    pub wake_outbox: Arc<dyn Fn() + Send + Sync>,
}

/// A node whose clock is further from the store's is not ready: leases, expiry and the order of what nodes write go by it.
const CLOCKS_APART: Duration = Duration::from_secs(2);
/// No clock to compare with.
const UNMEASURED: i64 = i64::MIN;

fn is_close(ahead: i64) -> bool {
    ahead == UNMEASURED || u128::from(ahead.unsigned_abs()) <= CLOCKS_APART.as_millis()
}

/// All use cases.
pub struct Services {
    rules: Rules,
    limits: Limits,
    store: Arc<dyn Store>,
    ephemeral: Arc<dyn Ephemeral>,
    ephemeral_name: &'static str,
    pool: Pool,
    breach: Arc<dyn BreachRange>,
    dns: Arc<dyn TxtRecords>,
    keyring: Arc<Keyring>,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    wake_outbox: Arc<dyn Fn() + Send + Sync>,
    contacts: Arc<Directory<Contact>>,
    users: Arc<Directory<UserActor>>,
    tenants: Arc<Directory<TenantActor>>,
    background: TaskTracker,
    key_cache: access::KeyCache,
    flows: login::Flows,
    draining: AtomicBool,
    /// Milliseconds; [`UNMEASURED`] at first, and where there is no other clock.
    clock_ahead: AtomicI64,
}

impl Services {
    /// Puts them together; starts the directories of actors.
    pub fn new(parts: Parts, rules: Rules) -> Arc<Self> {
        let Parts { store, ephemeral, ephemeral_name, pool, breach, dns, keyring, keys, clock, rng, supervisor, placement, wake_outbox } =
            parts;
        let rng: Arc<dyn Rng> = Arc::new(idempotency::RunRng(rng));
        let bounds = Bounds::default();
        let shared = || (store.clone(), ephemeral.clone(), keyring.clone(), placement.clone());
        let (s, e, k, p) = shared();
        let contacts = Directory::new(&supervisor, bounds, move |id| Contact::new(id, s.clone(), e.clone(), k.clone(), p.clone()));
        let (s, e, k, p) = shared();
        let users = Directory::new(&supervisor, Bounds { places: 256, ..bounds }, move |id| {
            UserActor::new(id, s.clone(), e.clone(), k.clone(), p.clone())
        });
        let (s, _, _, p) = shared();
        let tenants = Directory::new(&supervisor, bounds, move |id| TenantActor::new(id, s.clone(), p.clone()));
        Arc::new(Self {
            limits: Limits::new(rules.limits, ephemeral.clone()),
            rules,
            store,
            ephemeral,
            ephemeral_name,
            pool,
            breach,
            dns,
            keyring,
            keys,
            clock,
            rng,
            wake_outbox,
            contacts,
            users,
            tenants,
            background: TaskTracker::new(),
            key_cache: access::key_cache(),
            flows: login::flows(),
            draining: AtomicBool::new(false),
            clock_ahead: AtomicI64::new(UNMEASURED),
        })
    }

    /// The keys that access tokens are signed with.
    pub fn jwks(&self) -> Vec<PublicJwk> {
        self.keys.jwks()
    }

    /// The mode, for the document and the pages.
    pub fn signup_mode(&self) -> SignupMode {
        self.rules.signup_mode
    }

    /// Which parts answer. Each is given a second.
    pub async fn ready(&self) -> Vec<Part> {
        let second = Duration::from_secs(1);
        let store = async { matches!(tokio::time::timeout(second, self.store.ping()).await, Ok(Ok(()))) };
        let ephemeral = async { matches!(tokio::time::timeout(second, self.ephemeral.ping()).await, Ok(Ok(()))) };
        let (store, ephemeral) = tokio::join!(store, ephemeral);
        let ahead = self.clock_ahead.load(Ordering::Relaxed);
        vec![
            Part { name: "store", ok: store },
            Part { name: self.ephemeral_name, ok: ephemeral },
            Part { name: "keys", ok: self.keys.can_sign() },
            Part { name: "revocations", ok: self.keys.reads_revocations() },
            Part { name: "clock", ok: is_close(ahead) },
            Part { name: "draining", ok: !self.draining.load(Ordering::Relaxed) },
        ]
    }

    /// Compares this process's clock with the store's: whether they are close enough to each other to be ready.
    ///
    /// # Errors
    /// The store's; what was found before stays.
    pub async fn compare_clocks(&self) -> Result<bool> {
        let Some(ahead) = self.store.clock_ahead().await? else { return Ok(true) };
        metrics::gauge!("qeetid_clock_ahead_seconds").set(ahead as f64 / 1000.0);
        let before = self.clock_ahead.swap(ahead, Ordering::Relaxed);
        if is_close(before) != is_close(ahead) {
            tracing::warn!(ahead_ms = ahead, ready = is_close(ahead), "this node's clock, as compared with the store's");
        }
        Ok(is_close(ahead))
    }

    /// Counts one request to `/v1/auth/*`; `None` where limits are off.
    ///
    /// # Errors
    /// `Unavailable` if the counters can't be asked.
    pub async fn network_limit(&self, network: Network) -> Result<Option<Decision>> {
        self.limits.auth_request(network, self.clock.now()).await
    }

    /// Forgets what this node counted of requests that no limit looks at any more.
    pub fn forget_old_counters(&self) {
        self.limits.sweep(self.clock.now());
    }

    /// From now on [`Services::ready`] says no, so that no new requests are sent here; those that come are still served.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits for what goes on in the background (rehashes), and takes no more.
    pub async fn drain(&self) {
        self.background.close();
        self.background.wait().await;
    }

    fn ctx(&self, caller: &Caller, actor: Actor) -> Ctx {
        let (command, seed) = idempotency::command_id(&*self.clock, &*self.rng);
        Ctx { command, now: self.clock.now(), actor, network: Some(caller.network), seed, request_id: Some(caller.request_id.clone()) }
    }

    /// The context of what belongs to one run of a request, and not to the request: a refused sign-in is told each time, and whether an
    /// address has an account must not show in what a record makes of the next run.
    fn ctx_of_this_run(&self, ctx: Ctx) -> Ctx {
        Ctx { command: CommandId::new(&*self.clock, &*self.rng), seed: None, ..ctx }
    }

    /// A personal tenant for somebody who may need one.
    fn personal_tenant(&self) -> Tenant {
        Tenant::personal(TenantId::new(&*self.clock, &*self.rng), self.rules.policy.clone(), self.clock.now())
    }

    /// What personal tenants are made of where no command brings one.
    fn newcomers(&self) -> Newcomers {
        Newcomers { policy: self.rules.policy.clone(), salt: rng::bytes(&*self.rng) }
    }

    fn job(&self, message: Message) -> Job {
        Job { id: JobId::new(&*self.clock, &*self.rng), message, created_at: self.clock.now(), attempts: 0 }
    }

    fn audit(&self, caller: &Caller, actor: Actor, tenant_id: TenantId, user: UserId, event: &'static str) -> AuditEvent {
        AuditEvent {
            user_id: Some(user),
            network: Some(caller.network),
            request_id: Some(caller.request_id.clone()),
            user_agent: caller.user_agent.clone(),
            ..AuditEvent::new(AuditId::new(&*self.clock, &*self.rng), tenant_id, event, actor, self.clock.now())
        }
    }

    /// Writes a message that no other command brings, and wakes the outbox.
    async fn send(&self, ctx: &Ctx, job: Job) -> std::result::Result<(), StoreError> {
        let ctx = self.ctx_of_this_run(ctx.clone());
        let written = settled(|| self.store.enqueue(&ctx, job.clone())).await;
        (self.wake_outbox)();
        written
    }

    /// Writes events that belong to no other command.
    async fn note(&self, ctx: &Ctx, events: Vec<AuditEvent>) -> std::result::Result<(), StoreError> {
        let ctx = self.ctx_of_this_run(ctx.clone());
        settled(|| self.store.write_audit(&ctx, events.clone())).await
    }

    /// A command about a user, in the order of that user's; the outbox is woken where a message may have been written with it.
    async fn ask_user(&self, caller: &Caller, id: UserId, command: UserCommand) -> Result<UserReply> {
        let wakes = command.may_write_jobs();
        let reply = self.users.ask(id, Some(caller.network), command).await.map_err(busy);
        if wakes {
            (self.wake_outbox)();
        }
        reply
    }

    /// A command about an address, in its order.
    async fn ask_contact(&self, caller: &Caller, digest: ContactDigest, command: ContactCommand) -> Result<ContactReply> {
        self.contacts.ask(digest, Some(caller.network), command).await.map_err(busy)
    }

    /// A command about a tenant, in its order.
    async fn ask_tenant(&self, caller: &Caller, id: TenantId, command: TenantCommand) -> Result<TenantReply> {
        let reply = self.tenants.ask(id, Some(caller.network), command).await.map_err(busy);
        // Most of them tell somebody something.
        (self.wake_outbox)();
        reply
    }
}

fn busy(e: AskError) -> Error {
    let second = Duration::from_secs(1);
    match e {
        AskError::NetworkShare => Error::RateLimited { retry_after: second },
        AskError::Full => Error::Overloaded { retry_after: second },
        AskError::Failed | AskError::TooSlow => Error::Unavailable(e.to_string()),
    }
}
