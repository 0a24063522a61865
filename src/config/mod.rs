//! Typed settings, from defaults < `--config FILE` (TOML) < `QEETID_*` environment < flags; unknown keys are refused.
//! `keys` is the table of what can be set, `layers` reads and merges the sources, `values`, `urls`, `stores` and `redis` parse,
//! `limits` are the rates, `cluster` are the other nodes, `check` refuses impossible combinations, `secret` keeps the embedded secret, `show` prints.

mod check;
mod cluster;
mod keys;
mod layers;
mod limits;
mod redis;
mod secret;
mod show;
mod stores;
#[cfg(test)]
mod tests;
mod urls;
mod values;

pub use cluster::{ClusterSettings, ClusterTls, Seed};
pub use layers::Sources;
pub use limits::{Limits, Rate};
pub use redis::RedisUrl;
pub use stores::{EphemeralUrl, ScyllaTls, ScyllaUrl, StoreUrl};
pub use urls::{MailUrl, SmsUrl};
pub use values::{LogFormat, Organizations, SignupMode};

use crate::domain::{
    argon2::{Argon2Params, BadParams},
    network::ProxyHeader,
    policy::AuthPolicy,
    secret::SecretText,
};
use ipnet::IpNet;
use layers::Layers;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Why the settings can't be used. The text names the key, and where it was set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the API; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Issuer, and base of what the service links to itself; no slash at its end.
    pub public_url: String,
    /// Base of the links in mails; no slash at its end.
    pub app_url: String,
    /// What `QEETID_SECRET` says, already known to be usable; `None`: the file in the data directory ([`Settings::keyring`]).
    pub secret: Option<SecretText>,
    /// Where metrics are served if not on the API's own port.
    pub metrics_listen: Option<SocketAddr>,
    /// Origins whose pages may call the API, as browsers send them.
    pub cors_origins: Vec<String>,
    /// `aud` of access tokens.
    pub audience: String,
    /// SQLite file, secret, development mailbox.
    pub data_dir: PathBuf,
    /// Where what lasts is kept.
    pub store: StoreUrl,
    /// Where what expires is kept.
    pub ephemeral: EphemeralUrl,
    /// The other nodes, if there are to be some.
    pub cluster: Option<ClusterSettings>,
    /// How mail leaves.
    pub mail: MailUrl,
    /// Sender of mails, as in a `From:` header.
    pub mail_from: String,
    /// How text messages leave.
    pub sms: SmsUrl,
    /// Text messages that the whole deployment sends in a day, 0..=10,000,000.
    pub sms_daily_budget: u32,
    /// Base of the breach range API; no slash at its end.
    pub breach_url: String,
    /// `host:port` of the DNS resolver; `None`: those of the system.
    pub dns: Option<String>,
    /// Threads of the hashing pool, 1..=1024.
    pub hash_threads: usize,
    /// Jobs that may wait for each thread of the pool, 1..=100,000.
    pub hash_queue: usize,
    /// What can't be hashed within this time is refused at once; 50..=60,000 ms.
    pub hash_deadline: Duration,
    /// Parameters for new hashes.
    pub argon2: Argon2Params,
    /// What sign-up obeys, and new tenants start with.
    pub policy: AuthPolicy,
    /// How people sign up.
    pub signup_mode: SignupMode,
    /// Who makes organizations.
    pub organizations: Organizations,
    /// Whose [`Settings::proxy_header`] is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they name the client.
    pub proxy_header: ProxyHeader,
    /// The rate limits, and whether they are on.
    pub limits: Limits,
    /// Filter of the log, as `tracing-subscriber` reads it.
    pub log: String,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Mail templates that replace the built-in ones.
    pub templates_dir: Option<PathBuf>,
    /// A development machine: the mailbox may be used with public addresses.
    pub dev: bool,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    origins: keys::Origins,
}

impl Settings {
    /// Reads, merges and checks.
    ///
    /// # Errors
    /// [`ConfigError`] names the first key that can't be used.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let (cores, terminal) = (sources.cores, sources.terminal);
        let layers = Layers::read(sources)?;
        let public_url = layers.get("public_url", urls::origin)?.unwrap_or_else(|| "http://localhost:4001".into());
        let data_dir = layers.get("data_dir", values::path)?.unwrap_or_else(|| "./data".into());
        let hash_threads = layers.get("hash_threads", values::number(1, 1024))?.unwrap_or(cores.clamp(1, 1024));
        let settings = Self {
            listen: layers.get("listen", values::address)?.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4001))),
            app_url: layers.get("app_url", urls::base)?.unwrap_or_else(|| public_url.clone()),
            secret: layers.get("secret", values::secret)?,
            metrics_listen: layers.get("metrics_listen", values::address)?,
            cors_origins: layers.get("cors_origins", urls::origins)?.unwrap_or_default(),
            audience: layers.get("audience", values::text)?.unwrap_or_else(|| public_url.clone()),
            store: layers.get("store_url", stores::store)?.unwrap_or_else(|| StoreUrl::Sqlite(data_dir.join("qeetid.db"))),
            ephemeral: layers.get("ephemeral_url", stores::ephemeral)?.unwrap_or(EphemeralUrl::Embedded),
            cluster: cluster::cluster(&layers)?,
            mail: layers.get("mail_url", urls::mail)?.unwrap_or(MailUrl::Mailbox),
            mail_from: layers.get("mail_from", values::mail_from)?.unwrap_or_else(|| "Qeet ID <no-reply@localhost>".into()),
            sms: layers.get("sms_url", urls::sms)?.unwrap_or(SmsUrl::Mailbox),
            sms_daily_budget: layers.get("sms_daily_budget", values::number(0, 10_000_000))?.unwrap_or(1_000),
            breach_url: layers.get("breach_url", urls::base)?.unwrap_or_else(|| "https://api.pwnedpasswords.com".into()),
            dns: layers.get("dns", values::host_and_port)?,
            hash_queue: layers.get("hash_queue", values::number(1, 100_000))?.unwrap_or(64),
            hash_deadline: Duration::from_millis(layers.get("hash_deadline_ms", values::number(50, 60_000))?.unwrap_or(2_000)),
            argon2: layers.get("argon2", |text| text.parse().map_err(|e: BadParams| e.to_string()))?.unwrap_or_default(),
            policy: layers.policy()?,
            signup_mode: layers.get("signup_mode", values::signup_mode)?.unwrap_or_default(),
            organizations: layers.get("organizations", values::organizations)?.unwrap_or_default(),
            trusted_proxies: layers.get("trusted_proxies", values::networks)?.unwrap_or_default(),
            proxy_header: layers.get("proxy_header", values::proxy_header)?.unwrap_or_default(),
            limits: layers.limits()?,
            log: layers.get("log", values::log_filter)?.unwrap_or_else(|| "info".into()),
            log_format: layers.get("log_format", values::log_format)?.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }),
            templates_dir: layers.get("templates_dir", values::directory)?,
            dev: layers.get("dev", values::switch)?.unwrap_or(false),
            otlp_endpoint: layers.get("otlp_endpoint", urls::base)?,
            origins: layers.origins(),
            public_url,
            data_dir,
            hash_threads,
        };
        settings.check()?;
        Ok(settings)
    }

    fn error(&self, key: &'static str, problem: impl std::fmt::Display) -> ConfigError {
        ConfigError(format!("{}: {problem}", self.origins.label(key)))
    }
}
