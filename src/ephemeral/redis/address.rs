//! Where Redis is: `redis://[user:password@]host[:port][/database]`, `rediss://…` over TLS, `redis+cluster://host[:port][,host…]` and
//! `rediss+cluster://…`. `?prefix=` begins all keys (`qeetid`), `?ca=` is a file of certificates in PEM to trust instead of the system's.

use crate::domain::secret::SecretText;
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
};
use percent_encoding::percent_decode_str;
use reqwest::Url;

const PORT: u16 = 6379;
const PREFIX: &str = "qeetid";

/// A parsed URL.
#[derive(Debug)]
pub struct Address {
    hosts: Vec<(String, u16)>,
    pub(super) cluster: bool,
    tls: bool,
    credentials: (Option<String>, Option<SecretText>),
    database: i64,
    /// What all keys begin with.
    pub(super) prefix: String,
    /// PEM.
    ca: Option<Vec<u8>>,
}

impl Address {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of it but names.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
        let (scheme, cluster) = scheme.strip_suffix("+cluster").map_or((scheme, false), |scheme| (scheme, true));
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err("must begin with redis://, rediss://, redis+cluster:// or rediss+cluster://".into()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (user_and_password(credentials)?, rest),
            None => ((None, None), rest),
        };
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts.split(',').map(host_and_port).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > 1 && !cluster {
            return Err("names several hosts: only redis+cluster:// and rediss+cluster:// may".into());
        }
        let database: u16 = match database {
            "" => 0,
            number => number.parse().map_err(|_| "has a path that is not the number of a database")?,
        };
        if cluster && database != 0 {
            return Err("names a database: a cluster has but one".into());
        }
        let mut address = Self { hosts, cluster, tls, credentials, database: database.into(), prefix: PREFIX.to_owned(), ca: None };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.set(name, &decoded(value)?)?;
        }
        Ok(address)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "prefix" if (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) => {
                self.prefix = value.to_owned();
            }
            "prefix" => return Err("prefix= must be 1 to 64 letters, digits, and any of - _ . :".into()),
            "ca" if self.tls => self.ca = Some(std::fs::read(value).map_err(|e| format!("ca= names a file that can't be read: {e}"))?),
            "ca" => return Err("ca= needs rediss:// or rediss+cluster://".into()),
            other => return Err(format!("has an unknown parameter {other:?}; known are prefix and ca")),
        }
        Ok(())
    }

    fn nodes(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let mut redis = RedisConnectionInfo::default().set_db(self.database).set_lib_name("qeetid", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.credentials.0 {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.credentials.1 {
            redis = redis.set_password(password.reveal());
        }
        let node = |(host, port): &(String, u16)| {
            let (host, port) = (host.clone(), *port);
            let address = match self.tls {
                true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
                false => ConnectionAddr::Tcp(host, port),
            };
            let info = address.into_connection_info()?;
            Ok(info.set_redis_settings(redis.clone()).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
        };
        self.hosts.iter().map(node).collect()
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.ca.clone() }
    }

    /// A client of one node: each of the cluster's in turn, by `number`.
    pub(super) fn client_of(&self, number: usize) -> RedisResult<Client> {
        let mut nodes = self.nodes()?;
        let node = nodes.swap_remove(number % nodes.len());
        if self.tls { Client::build_with_tls(node, self.certificates()) } else { Client::open(node) }
    }

    /// A client of the one server.
    pub(super) fn client(&self) -> RedisResult<Client> {
        self.client_of(0)
    }

    /// The beginning of a client of the cluster.
    pub(super) fn cluster_builder(&self) -> RedisResult<ClusterClientBuilder> {
        let builder = ClusterClient::builder(self.nodes()?).tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(if self.tls { builder.tls(TlsMode::Secure).certs(self.certificates()) } else { builder })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    Ok(percent_decode_str(text).decode_utf8().map_err(|_| "has percent-encoding that is not UTF-8")?.into_owned())
}

fn user_and_password(text: &str) -> Result<(Option<String>, Option<SecretText>), String> {
    let (user, password) = text.split_once(':').ok_or("must give credentials as user:password@ or :password@")?;
    let user = decoded(user)?;
    Ok(((!user.is_empty()).then_some(user), Some(SecretText::new(decoded(password)?))))
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    // Whatever a web address may have as host and port is one here; not its default port, which the parser drops.
    let url = Url::parse(&format!("redis://{text}")).map_err(|_| "has no host such as redis.example:6379")?;
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or("has no host")?;
    Ok((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn all_that_it_may_have() {
        let a = parse("redis://us%65r:p%40w,x@[::1]:7000/3?prefix=id%3Aeu");
        assert_eq!(a.hosts, [("::1".to_owned(), 7000)]);
        assert_eq!(a.credentials.0.as_deref(), Some("user"));
        assert_eq!(a.credentials.1.as_ref().map(SecretText::reveal), Some("p@w,x"));
        assert_eq!((a.database, &*a.prefix, a.tls, a.cluster), (3, "id:eu", false, false));
        assert!(!format!("{a:?}").contains("p@w"), "{a:?}");

        let a = parse("rediss+cluster://:pw@a:7000,b,10.0.0.1:80");
        assert_eq!(a.hosts, [("a".to_owned(), 7000), ("b".to_owned(), PORT), ("10.0.0.1".to_owned(), 80)]);
        assert_eq!((a.credentials.0.is_none(), a.database, &*a.prefix, a.tls, a.cluster), (true, 0, PREFIX, true, true));
        assert_eq!(parse("redis://h/").database, 0);
    }

    #[test]
    fn what_it_may_not_have() {
        for bad in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis://h,i",
            "redis://h:x",
            "redis://h/x",
            "redis://h/99999",
            "redis+cluster://h/1",
            "redis+cluster://h,,i",
            "redis://planted@h",
            "redis://:planted%FF@h",
            "redis://h?x=1",
            "redis://h?prefix=",
            "redis://h?prefix={a}",
            "redis://h?ca=/dev/null",
            "rediss://:planted@h?ca=/nowhere/ca.pem",
        ] {
            let error = Address::parse(bad).expect_err(bad);
            assert!(!error.contains("planted"), "{error}");
        }
    }
}
