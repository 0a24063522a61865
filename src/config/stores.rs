//! Where things are kept: SQLite and this process, or servers that several nodes share.

use super::{
    redis::{RedisUrl, redis},
    values::list,
};
use crate::domain::secret::SecretText;
use reqwest::Url;
use std::{fmt, path::PathBuf, time::Duration};

/// Where what lasts is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// One SQLite file.
    Sqlite(PathBuf),
    /// A ScyllaDB or Apache Cassandra cluster.
    Scylla(ScyllaUrl),
}

/// `scylla://[user:password@]host[:port][,host…]/keyspace[?dc=…&rf=…&timeout=…&tls=…&ca=…]`.
#[derive(Debug, Clone)]
pub struct ScyllaUrl {
    /// `host:port` of some nodes; the others are learned from them.
    pub nodes: Vec<String>,
    /// Lower-case letters, digits and underscores, at most 48.
    pub keyspace: String,
    /// The data centre that this node asks; `None`: there is but one.
    pub datacenter: Option<String>,
    /// Replicas (in each data centre) of a keyspace that `migrate` makes; one that exists keeps its own. 1..=9.
    pub replication: u8,
    /// How long one call to the store may take, retries included. 500 ms to 10 s.
    pub timeout: Duration,
    /// User name and password.
    pub credentials: Option<(String, SecretText)>,
    /// TLS to the nodes.
    pub tls: Option<ScyllaTls>,
}

/// `tls=on` or `tls=any-name`, and `ca=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScyllaTls {
    /// A certificate is good whatever it names, as long as `ca` made it. (Nodes are called by their addresses, and few certificates
    /// name those.)
    pub any_name: bool,
    /// A file of certificates in PEM that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
}

/// The same nodes and keyspace; credentials are no part of what a store is.
impl PartialEq for ScyllaUrl {
    fn eq(&self, other: &Self) -> bool {
        (&self.nodes, &self.keyspace, &self.datacenter, self.replication, self.timeout, &self.tls)
            == (&other.nodes, &other.keyspace, &other.datacenter, other.replication, other.timeout, &other.tls)
    }
}

impl Eq for ScyllaUrl {}

/// Without the credentials.
impl fmt::Display for ScyllaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.credentials.is_some() { "[hidden]@" } else { "" };
        write!(f, "scylla://{hidden}{}/{}?rf={}", self.nodes.join(","), self.keyspace, self.replication)?;
        if let Some(dc) = &self.datacenter {
            write!(f, "&dc={dc}")?;
        }
        if self.timeout != TIMEOUT {
            write!(f, "&timeout={}", self.timeout.as_millis())?;
        }
        if let Some(tls) = &self.tls {
            f.write_str(if tls.any_name { "&tls=any-name" } else { "&tls=on" })?;
            tls.ca.as_ref().map_or(Ok(()), |ca| write!(f, "&ca={}", ca.display()))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        store(text)
    }
}

/// Where what expires is kept.
#[derive(Debug, Clone)]
pub enum EphemeralUrl {
    /// Codes and idempotency in the SQLite file, counters in this process.
    Embedded,
    /// Redis, alone or as a cluster.
    Redis(RedisUrl),
}

const SCYLLA_PORT: u16 = 9042;
const REPLICATION: u8 = 3;
/// Short enough for an answer within two seconds while the store hangs.
const TIMEOUT: Duration = Duration::from_millis(1900);

pub(super) fn store(text: &str) -> Result<StoreUrl, String> {
    match text.split_once("://") {
        Some(("sqlite", path)) if !path.is_empty() && !path.contains(['?', '#']) => Ok(StoreUrl::Sqlite(path.into())),
        Some(("sqlite", _)) => Err("needs a path, such as sqlite:///var/lib/qeetid/qeetid.db".into()),
        Some(("scylla", rest)) => scylla(rest).map(StoreUrl::Scylla),
        _ => Err("must be sqlite://PATH or scylla://host[:port][,host…]/keyspace?dc=…&rf=…&timeout=…&tls=…&ca=…".into()),
    }
}

/// By hand: a list of hosts is no host to a URL parser.
fn scylla(rest: &str) -> Result<ScyllaUrl, String> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, keyspace) = address.rsplit_once('/').ok_or("has no keyspace: scylla://host/keyspace")?;
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(user_and_password(credentials)?), hosts),
        None => (None, authority),
    };
    let nodes = list(hosts, node)?;
    if nodes.is_empty() {
        return Err("has no host: scylla://host/keyspace".into());
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !(1..=48).contains(&keyspace.len()) || !keyspace.starts_with(|c: char| c.is_ascii_lowercase()) || !keyspace.chars().all(good) {
        return Err("needs a keyspace of 1 to 48 lower-case letters, digits and underscores that begins with a letter".into());
    }
    let (mut datacenter, mut replication, mut timeout, mut tls, mut ca) = (None, REPLICATION, TIMEOUT, None, None);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("dc", name) if is_datacenter(name) => datacenter = Some(name.to_owned()),
            ("dc", _) => return Err("dc= must be a data centre's name of letters, digits, dots, hyphens and underscores".into()),
            ("rf", n) => {
                replication = n.parse().ok().filter(|n| (1..=9).contains(n)).ok_or("rf= must be a number from 1 to 9")?;
            }
            ("timeout", ms) => {
                let ms = ms.parse().ok().filter(|ms| (500..=10_000).contains(ms));
                timeout = ms.map(Duration::from_millis).ok_or("timeout= must be a number of milliseconds from 500 to 10000")?;
            }
            ("tls", "off") => tls = None,
            ("tls", "on") => tls = Some(ScyllaTls { any_name: false, ca: None }),
            ("tls", "any-name") => tls = Some(ScyllaTls { any_name: true, ca: None }),
            ("tls", _) => return Err("tls= must be on, any-name or off".into()),
            ("ca", file) => ca = Some(super::urls::unescape(file).filter(|f| !f.is_empty()).ok_or("ca= must name a file")?),
            (other, _) => return Err(format!("has an unknown parameter {other:?}; known are dc, rf, timeout, tls and ca")),
        }
    }
    match (&mut tls, ca) {
        (None, Some(_)) => return Err("ca= needs tls=on or tls=any-name".into()),
        // Whoever has any certificate of a public authority could stand in the way.
        (Some(ScyllaTls { any_name: true, .. }), None) => {
            return Err("tls=any-name needs ca=, an authority that makes certificates for the nodes alone".into());
        }
        (Some(tls), ca) => tls.ca = ca.map(PathBuf::from),
        (None, None) => {}
    }
    Ok(ScyllaUrl { nodes, keyspace: keyspace.to_owned(), datacenter, replication, timeout, credentials, tls })
}

fn user_and_password(text: &str) -> Result<(String, SecretText), String> {
    let plain = |part: &str| super::urls::unescape(part).filter(|p| !p.is_empty());
    let parts = text.split_once(':').and_then(|(user, password)| Some((plain(user)?, SecretText::new(plain(password)?))));
    parts.ok_or_else(|| "must name user and password as user:password@, percent-encoded".into())
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; gives `host:port`.
fn node(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not a host such as db1.example or 10.0.0.1:9042");
    // Whatever a web address may have as host and port is one here.
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| bad())?;
    if text.contains(['/', '?', '#', '@']) {
        return Err(bad());
    }
    // The default port of the borrowed scheme is dropped by the parser, so it is looked for in the text.
    let port = url.port().or_else(|| text.ends_with(":80").then_some(80)).unwrap_or(SCYLLA_PORT);
    Ok(format!("{}:{port}", url.host_str().ok_or_else(bad)?))
}

fn is_datacenter(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

pub(super) fn ephemeral(text: &str) -> Result<EphemeralUrl, String> {
    match text.split_once("://") {
        Some(("embedded", "")) => Ok(EphemeralUrl::Embedded),
        Some((scheme @ ("redis" | "rediss" | "redis+cluster" | "rediss+cluster"), rest)) => redis(scheme, rest).map(EphemeralUrl::Redis),
        _ => Err("must be embedded://, redis://[user:password@]host[:port][/database], rediss://… or redis+cluster://…".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scylla_of(text: &str) -> ScyllaUrl {
        match store(text) {
            Ok(StoreUrl::Scylla(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sqlite() {
        assert_eq!(store("sqlite://./data/x.db"), Ok(StoreUrl::Sqlite("./data/x.db".into())));
        assert!(store("sqlite://").is_err());
        assert!(store("postgres://h/k").unwrap_err().starts_with("must be sqlite://"));
    }

    #[test]
    fn scylla_with_all_that_it_may_have() {
        let url = scylla_of("scylla://u:p%40w@db1,10.0.0.2:19042,[::1],db2:80/qeetid_1?dc=eu-west_1&rf=5");
        assert_eq!(url.nodes, ["db1:9042", "10.0.0.2:19042", "[::1]:9042", "db2:80"]);
        assert_eq!((&*url.keyspace, url.datacenter.as_deref(), url.replication), ("qeetid_1", Some("eu-west_1"), 5));
        assert_eq!(url.timeout, TIMEOUT);
        let (user, password) = url.credentials.as_ref().unwrap();
        assert_eq!((&**user, password.reveal()), ("u", "p@w"));
        assert_eq!(url.to_string(), "scylla://[hidden]@db1:9042,10.0.0.2:19042,[::1]:9042,db2:80/qeetid_1?rf=5&dc=eu-west_1");
        assert!(!format!("{url:?}").contains("p@w"));
    }

    #[test]
    fn scylla_with_what_it_must_have() {
        let url = scylla_of("scylla://h/k");
        assert_eq!((url.nodes.as_slice(), url.replication), (["h:9042".to_owned()].as_slice(), 3));
        assert!(url.datacenter.is_none() && url.credentials.is_none());
        assert_eq!(scylla_of(&url.to_string()), url);
    }

    #[test]
    fn scylla_over_tls() {
        let url = scylla_of("scylla://h/k?tls=any-name&ca=/etc/a%20b.pem");
        assert_eq!(url.tls, Some(ScyllaTls { any_name: true, ca: Some("/etc/a b.pem".into()) }));
        assert_eq!(url.to_string(), "scylla://h:9042/k?rf=3&tls=any-name&ca=/etc/a b.pem");
        assert_eq!(scylla_of("scylla://h/k?tls=on").tls, Some(ScyllaTls { any_name: false, ca: None }));
        assert_eq!(scylla_of("scylla://h/k?tls=off").tls, None);
    }

    #[test]
    fn scylla_in_bad_form() {
        for bad in [
            "h",
            "h/",
            "/k",
            "h/K",
            "h/1k",
            "h/k-k",
            "h/k?x=1",
            "h/k?rf=0",
            "h/k?rf=10",
            "h/k?rf",
            "h/k?dc=",
            "h/k?dc=a'b",
            "h/k?tls=yes",
            "h/k?ca=/x",
            "h/k?tls=off&ca=/x",
            "h/k?tls=on&ca=",
            "h/k?tls=any-name",
            "u@h/k",
            "u:@h/k",
            "h:x/k",
            "h:70000/k",
            "h,/k/k",
            "a b/k",
            ",/k",
        ] {
            assert!(store(&format!("scylla://{bad}")).is_err(), "{bad}");
        }
        assert!(store("scylla://h/k/").is_err());
        assert!(store(&format!("scylla://h/{}", "k".repeat(49))).is_err());
    }
}
