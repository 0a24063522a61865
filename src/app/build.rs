//! Puts the parts together by the settings.

use super::AppError;
use crate::{
    actors::{
        outbox::{Outbox, OutboxDeps, OutboxHandle},
        placement::{Alone, Placement},
        supervisor::Supervisor,
    },
    cluster::{Cluster, ClusterConfig, TlsFiles},
    config::{self, EphemeralUrl, MailUrl, RedisUrl, ScyllaUrl, Settings, SmsUrl, StoreUrl},
    credentials::pool::{Pool, PoolConfig},
    domain::{
        keyring::Keyring,
        rng::{Rng, SystemRng},
        time::{Clock, SystemClock},
    },
    ephemeral::{
        Ephemeral, Limit,
        embedded::Embedded,
        redis::{Address, Redis},
        wake::Wake,
    },
    gateway::{
        Mailer, SmsSender,
        breach::{BreachRange, RangeApi},
        dns::Dns,
        mailbox::Mailbox,
        smtp::SmtpMailer,
        templates::Templates,
        twilio::TwilioSender,
    },
    service::{Parts, Rules, Services, SignupMode, keys::Keys, limits::LimitRules},
    sqlite::{File, Memory},
    store::{
        Store,
        scylla::{Names, Place, ScyllaStore, Tls},
        sqlite::SqliteStore,
    },
};
use std::{path::Path, sync::Arc};

/// Connections that read the SQLite file.
const READERS: usize = 2;

/// The running parts.
pub(super) struct Built {
    pub services: Arc<Services>,
    pub store: Arc<dyn Store>,
    pub ephemeral: Arc<dyn Ephemeral>,
    pub keys: Arc<Keys>,
    pub pool: Pool,
    pub outbox: OutboxHandle,
    pub cluster: Option<Arc<Cluster>>,
    pub mailbox: Option<Arc<Mailbox>>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

/// What commands that only need the store work with.
pub(super) struct Storage {
    pub store: Arc<dyn Store>,
    pub ephemeral: Arc<dyn Ephemeral>,
    /// The same, where it is one.
    pub redis: Option<Arc<Redis>>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

/// Opens the stores. The schema of a SQLite file is brought up to date on the way; that of a shared store must be of this version.
pub(super) async fn storage(settings: &Settings) -> Result<Storage, AppError> {
    storage_with(settings, Memory::Usual).await
}

/// Opens the stores, with more or less memory for what is written to a file.
pub(super) async fn storage_with(settings: &Settings, memory: Memory) -> Result<Storage, AppError> {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let keyring = Arc::new(settings.keyring(&*rng).map_err(|e| AppError::new("secret", e))?);
    let (store, file): (Arc<dyn Store>, _) = match &settings.store {
        StoreUrl::Sqlite(path) => {
            settings.make_data_dir().map_err(|e| AppError::new("data directory", e))?;
            let file = open(path, memory)?;
            (Arc::new(SqliteStore::open(file.clone()).await.map_err(|e| AppError::new("store", e))?), Some(file))
        }
        StoreUrl::Scylla(url) => {
            let store = ScyllaStore::open(&place(url, "QEETID_STORE_URL")?, clock.clone(), rng.clone())
                .await
                .map_err(|e| AppError::new("QEETID_STORE_URL", e.detail))?;
            (Arc::new(store), None)
        }
    };
    let mut redis = None;
    let ephemeral: Arc<dyn Ephemeral> = match (&settings.ephemeral, file) {
        (EphemeralUrl::Embedded, Some(file)) => Arc::new(Embedded::open(file).await.map_err(|e| AppError::new("ephemeral store", e))?),
        (EphemeralUrl::Embedded, None) => return Err(AppError::new("QEETID_EPHEMERAL_URL", "embedded:// needs a store of sqlite://")),
        (EphemeralUrl::Redis(url), _) => redis.insert(Arc::new(open_redis(url).await?)).clone(),
    };
    Ok(Storage { store, ephemeral, redis, keyring, clock, rng })
}

/// Brings the schema up to date; whether it may have changed.
pub(super) async fn migrate(settings: &Settings) -> Result<bool, AppError> {
    match &settings.store {
        StoreUrl::Sqlite(_) => storage(settings).await.map(|_| true),
        StoreUrl::Scylla(url) => {
            let ran = ScyllaStore::migrate(&place(url, "QEETID_STORE_URL")?, Arc::new(SystemClock), Arc::new(SystemRng)).await;
            ran.map(|steps| steps > 0).map_err(|e| AppError::new("QEETID_STORE_URL", e.detail))
        }
    }
}

/// `what` names the setting that holds the URL.
pub(super) fn place(url: &ScyllaUrl, what: &str) -> Result<Place, AppError> {
    let bad = |e| AppError::new(what, format!("ca= names a file that can't be read: {e}"));
    let ScyllaUrl { nodes, keyspace, datacenter, replication, timeout, credentials, tls } = url.clone();
    let tls = match tls {
        None => None,
        Some(tls) => {
            let names = if tls.any_name { Names::Any } else { Names::Address };
            Some(Tls { names, ca: tls.ca.map(std::fs::read).transpose().map_err(bad)? })
        }
    };
    Ok(Place { nodes, keyspace, datacenter, replication, timeout, credentials, tls })
}

/// One that can't be reached is no reason not to start: signing in goes on without it.
async fn open_redis(url: &RedisUrl) -> Result<Redis, AppError> {
    let bad = |e: &dyn std::fmt::Display| AppError::new("QEETID_EPHEMERAL_URL", e);
    let RedisUrl { hosts, cluster, tls, user, password, database, prefix, ca } = url.clone();
    let ca = ca.map(std::fs::read).transpose().map_err(|e| bad(&format!("ca= names a file that can't be read: {e}")))?;
    let redis = Redis::at(&Address { hosts, cluster, tls, ca, user, password, database, prefix }).map_err(|e| bad(&e))?;
    // Says so in the log if it fails.
    let _ = redis.ping().await;
    Ok(redis)
}

fn open(path: &Path, memory: Memory) -> Result<File, AppError> {
    File::open_with(path, READERS, memory).map_err(|e| AppError::new(&format!("store {}", path.display()), e))
}

/// Builds everything but the listeners.
pub(super) async fn build(settings: &Settings) -> Result<Built, AppError> {
    let Storage { store, ephemeral, redis, keyring, clock, rng } = storage(settings).await?;
    let keys =
        Keys::load(store.clone(), keyring.clone(), clock.clone(), rng.clone(), settings.public_url.clone(), settings.audience.clone());
    let wake = redis.map(|redis| -> Arc<dyn Wake> { Arc::new(redis.wake()) });
    let keys = Arc::new(keys.await.map_err(|e| AppError::new("signing keys", e))?.with_wake(wake));
    let pool = start_pool(settings, rng.clone())?;
    // Beside the rest: nobody's sign-up needs to wait for the dictionaries.
    tokio::task::spawn_blocking(crate::credentials::strength::warm_up);
    pool.note_census(&store.hash_census().await.map_err(|e| AppError::new("store", e))?);

    let mailbox = open_mailbox(settings, clock.clone())?;
    let (mailer, sms) = ways_out(settings, mailbox.as_ref())?;
    let templates = Templates::load(settings.templates_dir.as_deref()).map_err(|e| AppError::new("templates", e))?;
    let outbox = Outbox::start(OutboxDeps {
        store: store.clone(),
        ephemeral: ephemeral.clone(),
        keyring: keyring.clone(),
        mailer,
        sms,
        templates: Arc::new(templates),
        clock: clock.clone(),
        rng: rng.clone(),
        app_url: settings.app_url.clone(),
    });
    let supervisor = Supervisor::start().await.map_err(|e| AppError::new("actors", e))?;
    let cluster = join_cluster(settings, clock.clone(), rng.clone()).await?;
    let placement: Arc<dyn Placement> = match &cluster {
        Some(cluster) => cluster.clone(),
        None => Arc::new(Alone),
    };
    let waking = outbox.clone();
    let parts = Parts {
        store: store.clone(),
        ephemeral: ephemeral.clone(),
        pool: pool.clone(),
        breach: breach(settings)?,
        dns: Arc::new(dns(settings).await?),
        keyring,
        keys: keys.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        ephemeral_name: match settings.ephemeral {
            EphemeralUrl::Embedded => "ephemeral",
            EphemeralUrl::Redis(_) => "redis",
        },
        supervisor,
        placement,
        wake_outbox: Arc::new(move || waking.wake()),
    };
    Ok(Built { services: Services::new(parts, rules(settings)), store, ephemeral, keys, pool, outbox, cluster, mailbox, clock, rng })
}

async fn join_cluster(settings: &Settings, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Option<Arc<Cluster>>, AppError> {
    let Some(c) = settings.cluster.clone() else { return Ok(None) };
    let config = ClusterConfig {
        listen: c.listen,
        seeds: c.seeds.iter().map(config::Seed::address).collect(),
        node: c.node,
        cookie: c.cookie,
        tls: c.tls.map(|t| TlsFiles { cert: t.cert, key: t.key, ca: t.ca, names: t.names }),
    };
    Cluster::start(config, clock, rng).await.map(Some).map_err(|e| AppError::new("cluster", e))
}

async fn dns(settings: &Settings) -> Result<Dns, AppError> {
    let servers = match &settings.dns {
        Some(name) => tokio::net::lookup_host(name).await.map_err(|e| AppError::new("QEETID_DNS", format!("{name}: {e}")))?.collect(),
        None => Vec::new(),
    };
    Ok(Dns::new(&servers))
}

pub(super) fn breach(settings: &Settings) -> Result<Arc<dyn BreachRange>, AppError> {
    Ok(Arc::new(RangeApi::new(&settings.breach_url).map_err(|e| AppError::new("QEETID_BREACH_URL", e))?))
}

pub(super) fn start_pool(settings: &Settings, rng: Arc<dyn Rng>) -> Result<Pool, AppError> {
    let params = settings.argon2;
    if cfg!(feature = "stub-hash") {
        tracing::warn!(%params, "built for benches: passwords may be hashed by parameters that protect nobody");
    }
    let config =
        PoolConfig { threads: settings.hash_threads, queue_per_thread: settings.hash_queue, deadline: settings.hash_deadline, params };
    Pool::start(config, rng).map_err(|e| AppError::new("hashing pool", e))
}

fn open_mailbox(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Option<Arc<Mailbox>>, AppError> {
    if !matches!(settings.mail, MailUrl::Mailbox) && !matches!(settings.sms, SmsUrl::Mailbox) {
        return Ok(None);
    }
    let mailbox = Mailbox::open(&settings.data_dir, clock).map_err(|e| AppError::new("development mailbox", e))?;
    Ok(Some(Arc::new(mailbox)))
}

type WaysOut = (Arc<dyn Mailer>, Arc<dyn SmsSender>);

fn ways_out(settings: &Settings, mailbox: Option<&Arc<Mailbox>>) -> Result<WaysOut, AppError> {
    let missing = || AppError::new("development mailbox", "is not open");
    let mailer: Arc<dyn Mailer> = match &settings.mail {
        MailUrl::Mailbox => mailbox.ok_or_else(missing)?.clone(),
        MailUrl::Smtp(url) => Arc::new(SmtpMailer::from_url(url, &settings.mail_from).map_err(|e| AppError::new("QEETID_MAIL_URL", e))?),
    };
    let sms: Arc<dyn SmsSender> = match &settings.sms {
        SmsUrl::Mailbox => mailbox.ok_or_else(missing)?.clone(),
        SmsUrl::Twilio { account, token, from, base } => {
            Arc::new(TwilioSender::new(account, token.clone(), from, base).map_err(|e| AppError::new("QEETID_SMS_URL", e))?)
        }
    };
    Ok((mailer, sms))
}

fn rules(settings: &Settings) -> Rules {
    let l = &settings.limits;
    let limit = |name, rate: config::Rate| Limit { name, max: rate.max, window: rate.window };
    Rules {
        signup_mode: match settings.signup_mode {
            config::SignupMode::Instant => SignupMode::Instant,
            config::SignupMode::VerifyFirst => SignupMode::VerifyFirst,
        },
        policy: settings.policy.clone(),
        app_url: settings.app_url.clone(),
        sms_daily_budget: settings.sms_daily_budget,
        open_organizations: settings.organizations == config::Organizations::Open,
        limits: LimitRules {
            on: l.on,
            wrong_passwords: limit("wrong_passwords", l.wrong_passwords),
            wrong_passwords_everywhere: limit("wrong_passwords_everywhere", l.wrong_passwords_everywhere),
            wrong_passwords_a_day: limit("wrong_passwords_a_day", l.wrong_passwords_a_day),
            auth_requests: limit("auth_requests", l.auth_requests),
            signups: limit("signups", l.signups),
            forgot_password: limit("forgot_password", l.forgot_password),
            code_pause: limit("code_pause", l.code_pause),
            codes_of_user: limit("codes_of_user", l.codes_of_user),
            codes_to_destination: limit("codes_to_destination", l.codes_to_destination),
            codes_from_network: limit("codes_from_network", l.codes_from_network),
            invites_of_tenant: limit("invites_of_tenant", l.invites_of_tenant),
            invites_to_address: limit("invites_to_address", l.invites_to_address),
            invites_of_person: limit("invites_of_person", l.invites_of_person),
            invites_from_network: limit("invites_from_network", l.invites_from_network),
            invite_mails: limit("invite_mails", l.invite_mails),
            forgot_password_from_network: limit("forgot_password_from_network", l.forgot_password_from_network),
            person_requests: limit("person_requests", l.person_requests),
            admin_requests: limit("admin_requests", l.admin_requests),
        },
    }
}
