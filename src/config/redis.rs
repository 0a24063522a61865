//! Where Redis is: `redis://[user:password@]host[:port][/database]`, `rediss://…` over TLS, `redis+cluster://host[:port][,host…]` and
//! `rediss+cluster://…`. `?prefix=` begins all keys, `?ca=` is a file of certificates to trust instead of the system's.

use super::urls::unescape;
use crate::domain::secret::SecretText;
use reqwest::Url;
use std::{fmt, path::PathBuf};

const PORT: u16 = 6379;
const PREFIX: &str = "qeetid";

/// One Redis, or a cluster.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// Name or address (an IPv6 one without brackets) and port; several only of a cluster, whose other nodes are learned from these.
    pub hosts: Vec<(String, u16)>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// Whether over TLS.
    pub tls: bool,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretText>,
    /// Number of the database; 0 of a cluster.
    pub database: u16,
    /// What all keys begin with, 1 to 64 bytes.
    pub prefix: String,
    /// Certificates in PEM to trust instead of the system's; with TLS only.
    pub ca: Option<PathBuf>,
}

/// Without the credentials.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, cluster) = (if self.tls { "s" } else { "" }, if self.cluster { "+cluster" } else { "" });
        let hidden = if self.password.is_some() { "[hidden]@" } else { "" };
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let hosts: Vec<String> = self.hosts.iter().map(|(host, port)| format!("{}:{port}", bracketed(host))).collect();
        write!(f, "redis{tls}{cluster}://{hidden}{}/{}?prefix={}", hosts.join(","), self.database, self.prefix)?;
        self.ca.as_ref().map_or(Ok(()), |ca| write!(f, "&ca={}", ca.display()))
    }
}

/// By hand: a list of hosts is no host to a URL parser. Nothing of the text is in the errors but names: there may be a password in it.
pub(super) fn redis(scheme: &str, rest: &str) -> Result<RedisUrl, String> {
    let (name, cluster) = scheme.strip_suffix("+cluster").map_or((scheme, false), |name| (name, true));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(credentials, rest)| (Some(credentials), rest));
    let (user, password) = credentials.map_or(Ok((None, None)), user_and_password)?;
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = hosts.split(',').map(host_and_port).collect::<Result<Vec<_>, _>>()?;
    if hosts.len() > 1 && !cluster {
        return Err("names several hosts: only redis+cluster:// and rediss+cluster:// may".into());
    }
    let database = match database {
        "" => 0,
        number => number.parse().map_err(|_| "has a path that is not the number of a database")?,
    };
    if cluster && database != 0 {
        return Err("names a database: a cluster has but one".into());
    }
    let mut url = RedisUrl { hosts, cluster, tls: name == "rediss", user, password, database, prefix: PREFIX.to_owned(), ca: None };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        url.set(name, &decoded(value)?)?;
    }
    Ok(url)
}

impl RedisUrl {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "prefix" if (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) => {
                self.prefix = value.to_owned();
            }
            "prefix" => return Err("prefix= must be 1 to 64 letters, digits, and any of - _ . :".into()),
            "ca" if self.tls && !value.is_empty() => self.ca = Some(value.into()),
            "ca" => return Err("ca= names a file, and needs rediss:// or rediss+cluster://".into()),
            _ => return Err("has an unknown parameter; known are prefix and ca".into()),
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String, String> {
    unescape(text).ok_or_else(|| "has percent-encoding that is cut off or not UTF-8".into())
}

fn user_and_password(text: &str) -> Result<(Option<String>, Option<SecretText>), String> {
    let (user, password) = text.split_once(':').ok_or("must give credentials as user:password@ or :password@")?;
    let user = decoded(user)?;
    Ok(((!user.is_empty()).then_some(user), Some(SecretText::new(decoded(password)?))))
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let url = Url::parse(&format!("redis://{text}")).map_err(|_| "has no host such as redis.example:6379")?;
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or("has no host")?;
    Ok((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::stores::{EphemeralUrl, ephemeral},
        *,
    };

    fn parse(text: &str) -> RedisUrl {
        match ephemeral(text) {
            Ok(EphemeralUrl::Redis(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn all_that_it_may_have() {
        let url = parse("redis://us%65r:p%40w,x@[::1]:7000/3?prefix=id%3Aeu");
        assert_eq!(url.hosts, [("::1".to_owned(), 7000)]);
        assert_eq!((url.user.as_deref(), url.password.as_ref().map(SecretText::reveal)), (Some("user"), Some("p@w,x")));
        assert_eq!((url.database, &*url.prefix, url.tls, url.cluster), (3, "id:eu", false, false));
        assert!(!format!("{url:?}").contains("p@w"), "{url:?}");
        assert_eq!(url.to_string(), "redis://[hidden]@[::1]:7000/3?prefix=id:eu");

        let url = parse("rediss+cluster://:pw@a:7000,b,10.0.0.1:80?ca=/etc/ca.pem");
        assert_eq!(url.hosts, [("a".to_owned(), 7000), ("b".to_owned(), PORT), ("10.0.0.1".to_owned(), 80)]);
        assert_eq!((url.user.is_none(), url.database, &*url.prefix, url.tls, url.cluster), (true, 0, PREFIX, true, true));
        assert_eq!(url.ca, Some("/etc/ca.pem".into()));
        assert_eq!(parse("redis://h/").database, 0);
        assert_eq!(parse(&parse("redis://h").to_string()).hosts, [("h".to_owned(), PORT)]);
    }

    #[test]
    fn what_it_may_not_have() {
        assert!(matches!(ephemeral("embedded://"), Ok(EphemeralUrl::Embedded)));
        for bad in [
            "",
            "h",
            "http://h",
            "embedded://x",
            "redis://",
            "redis://h,i",
            "redis://h:x",
            "redis://h/x",
            "redis://h/99999",
            "redis+cluster://h/1",
            "redis+cluster://h,,i",
            "redis://planted@h",
            "redis://:planted%FF@h",
            "redis://:planted@h:x",
            "redis://:pl?planted@h",
            "redis://h?x=1",
            "redis://h?prefix=",
            "redis://h?prefix={a}",
            "redis://h?ca=/dev/null",
            "rediss://h?ca=",
        ] {
            let error = ephemeral(bad).expect_err(bad);
            assert!(!error.contains("planted"), "{error}");
        }
    }
}
