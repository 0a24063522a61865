//! A store, codes, a mail server and a text message service of one test, all real, and a clock that is moved by hand.

use crate::support::{
    smtp::{Security, SmtpServer},
    twilio::TwilioServer,
};
use qeetid::{
    actors::outbox::{Outbox, OutboxDeps, OutboxHandle},
    domain::{
        contact::Email,
        context::{Actor, Ctx},
        hash::PasswordHash,
        ids::{CommandId, JobId, PendingSignupId, RoleId, SessionId, TenantId, UserId},
        keyring::{Keyring, Label},
        network::Network,
        outbox::{Job, Message},
        policy::AuthPolicy,
        rng::{self, SystemRng},
        secret::SecretText,
        session::Session,
        tenant::{Tenant, TenantKind},
        time::{Clock, ManualClock, Timestamp},
        token::{CodeLength, CodePurpose, one_time_code},
        user::{CodeSerials, Membership, User, UserStatus},
    },
    ephemeral::{CODE_TTL, CodeKey, CodeRecord, Ephemeral, NewCode, embedded::Embedded},
    gateway::{smtp::SmtpMailer, templates::Templates, twilio::TwilioSender},
    sqlite::File,
    store::{
        Store,
        commands::{CreateUser, CreateUserOutcome, OutboxCounts, PendingSignup},
        sqlite::SqliteStore,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub const NETWORK: Network = Network::V4([192, 0, 2, 1]);
pub const APP: &str = "https://app.example";
/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub store: Arc<SqliteStore>,
    pub ephemeral: Arc<dyn Ephemeral>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<ManualClock>,
    pub smtp: SmtpServer,
    pub twilio: TwilioServer,
    pub file: File,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(&dir.path().join("qeetid.db"), 1).unwrap();
        let store = Arc::new(SqliteStore::open(file.clone()).await.unwrap());
        Self {
            store,
            ephemeral: Arc::new(Embedded::open(file.clone()).await.unwrap()),
            keyring: Arc::new(Keyring::new([[7u8; 32].as_slice()])),
            clock: Arc::new(ManualClock::at_millis(1_700_000_000_000)),
            smtp: Self::mail_server().await,
            twilio: TwilioServer::start().await,
            file,
            _dir: dir,
        }
    }

    pub async fn mail_server() -> SmtpServer {
        SmtpServer::start(Security::StartTls, Some(("qeetid", "pass"))).await
    }

    /// A worker, with time-outs that a busy machine keeps to; below what the worker gives a delivery.
    pub fn outbox(&self) -> OutboxHandle {
        let mailer = SmtpMailer::from_url(&SecretText::new(self.smtp.url("")), "Qeet ID <no-reply@qeet.example>").unwrap();
        let sms = TwilioSender::from_url(&SecretText::new(self.twilio.url())).unwrap();
        Outbox::start(OutboxDeps {
            store: self.store.clone(),
            ephemeral: self.ephemeral.clone(),
            keyring: self.keyring.clone(),
            mailer: Arc::new(mailer.with_timeouts(Duration::from_secs(40), Duration::from_secs(40))),
            sms: Arc::new(sms.with_timeout(Duration::from_secs(40))),
            templates: Arc::new(Templates::load(None).unwrap()),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            app_url: APP.into(),
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn ctx(&self) -> Ctx {
        let command = CommandId::new(&*self.clock, &SystemRng);
        Ctx { command, now: self.now(), actor: Actor::System, network: None, seed: None, request_id: None }
    }

    pub async fn user(&self, email: &str) -> User {
        self.user_with(email, |_| ()).await
    }

    /// A user who is not quite like the others.
    pub async fn user_with(&self, email: &str, change: impl FnOnce(&mut User)) -> User {
        let now = self.now();
        let (id, tenant_id) = (UserId::new(&*self.clock, &SystemRng), TenantId::new(&*self.clock, &SystemRng));
        let mut user = User {
            id,
            home_tenant: tenant_id,
            last_tenant: None,
            email: email.parse().unwrap(),
            email_verified_at: None,
            email_asserted_at: None,
            phone: None,
            phone_verified_at: None,
            display_name: Some("Win a prize at https://evil.example".into()),
            locale: None,
            status: UserStatus::Active,
            metadata: Default::default(),
            password_hash: Some(PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn")),
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
        };
        change(&mut user);
        let tenant = Tenant {
            id: tenant_id,
            slug: format!("t-{tenant_id}"),
            name: "Personal".into(),
            kind: TenantKind::Personal,
            managed: false,
            domains: Vec::new(),
            metadata: Default::default(),
            policy: AuthPolicy::default(),
            version: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        let session = Session {
            id: SessionId::new(&*self.clock, &SystemRng),
            user_id: id,
            tenant_id,
            nonce: rng::bytes(&SystemRng),
            generation: 0,
            credential_epoch: 1,
            ip: "192.0.2.1".into(),
            user_agent: None,
            created_at: now,
            signed_in_at: None,
            last_seen_at: now,
            turned_at: now,
            turned_by: NETWORK,
            expires_at: now.plus(Duration::from_secs(90 * 86_400)),
            idle_days: 30,
            revoked_at: None,
        };
        let membership = Membership { user_id: id, tenant_id, roles: vec![RoleId::OWNER], joined_at: now };
        let cmd = CreateUser { user: user.clone(), tenant, membership, session, network: NETWORK, consumes: None, audit: vec![] };
        assert_eq!(self.store.create_user(&self.ctx(), cmd).await.unwrap(), CreateUserOutcome::Created);
        user
    }

    /// A live code for `target`, and its digits.
    pub async fn code(&self, purpose: CodePurpose, subject: &[u8], target: &str, epoch: u64) -> (CodeRecord, String) {
        let context = [purpose.name().as_bytes(), subject].concat();
        let new = NewCode {
            key: self.keyring.current(),
            nonce: rng::bytes(&SystemRng),
            length: CodeLength::Six,
            epoch,
            target: self.keyring.seal(Label::Contact, &context, target.as_bytes(), &SystemRng),
            above: 0,
            expires_at: self.now().plus(CODE_TTL),
        };
        let key = CodeKey { purpose, subject: subject.to_vec() };
        let r = self.ephemeral.start_code(&key, new, self.now()).await.unwrap();
        let code = one_time_code(&self.keyring, r.key, purpose, subject, &r.target, r.serial, &r.nonce, r.length).unwrap();
        (r, code.reveal().to_owned())
    }

    pub fn job(&self, message: Message) -> Job {
        Job { id: JobId::new(&*self.clock, &SystemRng), message, created_at: self.now(), attempts: 0 }
    }

    pub async fn enqueue(&self, message: Message) -> JobId {
        let job = self.job(message);
        self.store.enqueue(&self.ctx(), job.clone()).await.unwrap();
        job.id
    }

    /// A sign-up of `verify_first` that waits, with its code if `serial` isn't given.
    pub async fn signup(&self, email: &str) -> String {
        let email: Email = email.parse().unwrap();
        let (record, code) = self.code(CodePurpose::Signup, email.digest().as_bytes(), email.as_str(), 0).await;
        let pending = PendingSignup {
            id: PendingSignupId::new(&*self.clock, &SystemRng),
            nonce: rng::bytes(&SystemRng),
            email,
            password_hash: PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn"),
            display_name: Some("Win a prize at https://evil.example".into()),
            tries: 0,
            created_at: self.now(),
            expires_at: self.now().plus(Duration::from_secs(3600)),
        };
        let job = self.job(Message::SignupRequested { pending_id: pending.id, serial: record.serial });
        self.store.begin_signup(&self.ctx(), pending, job).await.unwrap();
        code
    }

    pub async fn counts(&self) -> OutboxCounts {
        self.store.outbox_counts().await.unwrap()
    }

    /// Waits until the outbox holds exactly this.
    pub async fn settled(&self, pending: u64, parked: u64) {
        let begun = Instant::now();
        loop {
            let counts = self.counts().await;
            if counts == (OutboxCounts { pending, parked }) {
                return;
            }
            if begun.elapsed() > PATIENCE {
                panic!("{counts:?}, not {pending} and {parked}; {:?}", self.errors().await);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The errors of the rows.
    pub async fn errors(&self) -> Vec<String> {
        let read = |c: &qeetid::sqlite::Connection| {
            let mut select = c.prepare("SELECT error FROM outbox WHERE error IS NOT NULL")?;
            select.query_map([], |row| row.get(0))?.collect()
        };
        self.file.read(read).await.unwrap()
    }

    /// As if none had failed yet.
    pub async fn forget_errors(&self) {
        self.file.write(|c| c.execute("UPDATE outbox SET error = NULL", [])).await.unwrap();
    }

    /// Waits until a row has an error (the job is not in flight any more).
    pub async fn failed(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let errors = self.errors().await;
            if errors.len() >= count {
                return errors;
            }
            assert!(begun.elapsed() < PATIENCE, "{errors:?}, not {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often a job that is still there was taken.
    pub async fn taken(&self, job: JobId) -> u32 {
        let read = move |c: &qeetid::sqlite::Connection| {
            c.query_row("SELECT attempts FROM outbox WHERE id = ?1", [job.as_bytes()], |row| row.get(0))
        };
        self.file.read(read).await.unwrap()
    }

    /// Has a worker look for jobs: a text message that is due goes out. Jobs are taken by the time that they are due: whatever was due
    /// before that message has been taken when this ends.
    pub async fn round(&self, outbox: &OutboxHandle) {
        let sent = self.twilio.taken().len();
        let user_id = self.user(&format!("round{sent}@example.com")).await.id;
        let (record, _) = self.code(CodePurpose::Phone, user_id.as_bytes(), "+14155550100", 1).await;
        let tenant_id = TenantId::from_bytes([1; 16]);
        self.enqueue(Message::PhoneCode { user_id, serial: record.serial, tenant_id }).await;
        outbox.wake();
        self.twilio.wait_for(sent + 1).await;
    }
}
