//! This node among others: `cluster_listen` turns it on, the rest says with whom.

use super::{ConfigError, layers::Layers, values};
use crate::domain::secret::SecretText;
use reqwest::Url;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// Shorter ones can be guessed.
const COOKIE: usize = 32;

/// How this node talks to the others.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where they connect.
    pub listen: SocketAddr,
    /// Where they are.
    pub seeds: Vec<Seed>,
    /// The name of this node, which no other has.
    pub node: String,
    /// What all of them know; 32 characters or more.
    pub cookie: SecretText,
    /// Certificates; `None` only on loopback.
    pub tls: Option<ClusterTls>,
}

/// Files of certificates, in PEM.
#[derive(Debug, Clone)]
pub struct ClusterTls {
    /// This node's chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates are believed.
    pub ca: PathBuf,
    /// Names that the others' certificates may be for.
    pub names: Vec<String>,
}

/// Where other nodes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// A name or an address.
    pub host: String,
    /// Their port.
    pub port: u16,
    /// `dns:` stood before it: the name is that of many nodes, and need have no address yet.
    pub many: bool,
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = if self.many { "dns:" } else { "" };
        write!(f, "{many}{}", self.address())
    }
}

impl Seed {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
    fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().map_or(self.host == "localhost", |ip| ip.to_canonical().is_loopback())
    }
}

/// Reads the settings; `None` where there is no cluster.
pub(super) fn cluster(layers: &Layers) -> Result<Option<ClusterSettings>, ConfigError> {
    let listen = layers.get("cluster_listen", values::address)?;
    let seeds = layers.get("cluster_seeds", |text| values::list(text, seed))?;
    let node = layers.get("cluster_node", node)?;
    let cookie = layers.get("cluster_cookie", cookie)?;
    let cert = layers.get("cluster_cert", values::path)?;
    let key = layers.get("cluster_key", values::path)?;
    let ca = layers.get("cluster_ca", values::path)?;
    let names = layers.get("cluster_names", |text| values::list(text, name))?;
    let Some(listen) = listen else {
        return match layers.origins().0.keys().find(|k| k.starts_with("cluster_")) {
            Some(key) => Err(layers.problem(key, "has no effect without cluster_listen, the address at which other nodes connect")),
            None => Ok(None),
        };
    };
    let missing = |key: &str, why: &str| layers.problem(key, &format!("must be set with cluster_listen: {why}"));
    let node = node.ok_or_else(|| missing("cluster_node", "the name of this node, which no other has and which it keeps"))?;
    let cookie =
        cookie.ok_or_else(|| missing("cluster_cookie", "the secret by which nodes know each other; `openssl rand -hex 32` makes one"))?;
    let seeds = seeds.unwrap_or_default();
    let files = [("cluster_cert", &cert), ("cluster_key", &key), ("cluster_ca", &ca)];
    let tls = match (cert.clone(), key.clone(), ca.clone()) {
        (Some(cert), Some(key), Some(ca)) => {
            let names = names.filter(|n| !n.is_empty());
            let names = names.ok_or_else(|| missing("cluster_names", "the names that other nodes' certificates may be for"))?;
            Some(ClusterTls { cert, key, ca, names })
        }
        (None, None, None) => {
            if names.is_some() {
                return Err(layers.problem("cluster_names", "has no effect without cluster_cert, cluster_key and cluster_ca"));
            }
            let needs = "without cluster_cert, cluster_key and cluster_ca all must be on the loopback address: what crosses \
                         between nodes can be read and changed on the way";
            if !listen.ip().to_canonical().is_loopback() {
                return Err(layers.problem("cluster_listen", needs));
            }
            if !seeds.iter().all(Seed::is_loopback) {
                return Err(layers.problem("cluster_seeds", needs));
            }
            None
        }
        _ => {
            let absent = files.iter().find(|(_, value)| value.is_none()).map_or("cluster_cert", |(key, _)| *key);
            return Err(missing(absent, "cluster_cert, cluster_key and cluster_ca go together"));
        }
    };
    Ok(Some(ClusterSettings { listen, seeds, node, cookie, tls }))
}

fn seed(text: &str) -> Result<Seed, String> {
    let bad = || format!("{text:?} is not a node such as qeetid-1:4002, 10.0.0.1:4002 or dns:qeetid-nodes:4002");
    let (many, address) = text.strip_prefix("dns:").map_or((false, text), |rest| (true, rest));
    if address.contains(['/', '?', '#', '@']) {
        return Err(bad());
    }
    let url = Url::parse(&format!("node://{address}")).map_err(|_| bad())?;
    let (host, port) = (url.host_str().filter(|h| !h.is_empty()).ok_or_else(bad)?, url.port().ok_or_else(bad)?);
    Ok(Seed { host: host.trim_matches(['[', ']']).to_owned(), port, many })
}

fn node(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if (1..=63).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name of 1 to 63 letters, digits, hyphens, dots and underscores"))
    }
}

fn name(text: &str) -> Result<String, String> {
    tokio_rustls::rustls::pki_types::ServerName::try_from(text)
        .map(|_| text.to_owned())
        .map_err(|_| format!("{text:?} is not a name that a certificate may be for, such as nodes.qeetid.internal"))
}

fn cookie(text: &str) -> Result<SecretText, String> {
    if text.len() < COOKIE {
        return Err(format!("is shorter than {COOKIE} characters; `openssl rand -hex 32` makes one"));
    }
    Ok(SecretText::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    const COOKIE: &str = "plantedplantedplantedplantedplanted";
    const SHARED: [(&str, &str); 3] = [
        ("QEETID_STORE_URL", "scylla://h/k"),
        ("QEETID_EPHEMERAL_URL", "redis://h"),
        ("QEETID_SECRET", "abababababababababababababababababababababababababababababababab"),
    ];
    const ONE: [(&str, &str); 3] =
        [("QEETID_CLUSTER_LISTEN", "127.0.0.1:0"), ("QEETID_CLUSTER_NODE", "a"), ("QEETID_CLUSTER_COOKIE", COOKIE)];
    const TLS: [(&str, &str); 4] = [
        ("QEETID_CLUSTER_CERT", "/c"),
        ("QEETID_CLUSTER_KEY", "/k"),
        ("QEETID_CLUSTER_CA", "/a"),
        ("QEETID_CLUSTER_NAMES", "nodes.example, 10.0.0.1"),
    ];

    fn load(parts: &[&[(&str, &str)]]) -> Result<Settings, String> {
        let env = parts.iter().flat_map(|p| p.iter()).map(|(k, v)| ((*k).to_owned(), v.into())).collect();
        Settings::load(Sources { env, cores: 2, ..Default::default() }).map_err(|e| e.0)
    }

    fn refused(parts: &[&[(&str, &str)]], words: &[&str]) {
        let error = load(parts).expect_err("to be refused");
        assert!(words.iter().all(|w| error.contains(w)), "{error:?} lacks one of {words:?}");
    }

    #[test]
    fn a_node_of_three() {
        assert!(load(&[]).unwrap().cluster.is_none());
        let seeds = [("QEETID_CLUSTER_SEEDS", "127.0.0.1:4011,[::1]:4012,localhost:4013")];
        let cluster = load(&[&SHARED, &ONE, &seeds]).unwrap().cluster.unwrap();
        let shown: Vec<String> = cluster.seeds.iter().map(Seed::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:4011", "[::1]:4012", "localhost:4013"]);
        assert!(cluster.tls.is_none());
        let open = [("QEETID_CLUSTER_LISTEN", "0.0.0.0:4002"), ("QEETID_CLUSTER_SEEDS", "dns:nodes.example:4002")];
        let cluster = load(&[&SHARED, &ONE, &TLS, &open]).unwrap().cluster.unwrap();
        assert_eq!(cluster.seeds, [Seed { host: "nodes.example".into(), port: 4002, many: true }]);
        assert_eq!(cluster.tls.unwrap().names, ["nodes.example", "10.0.0.1"]);
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        refused(&[&ONE], &["QEETID_CLUSTER_LISTEN", "sqlite://"]);
        refused(&[&SHARED, &ONE[1..]], &["QEETID_CLUSTER_COOKIE", "cluster_listen"]);
        refused(&[&SHARED, &ONE[..1], &ONE[2..]], &["QEETID_CLUSTER_NODE"]);
        refused(&[&SHARED, &ONE[..2]], &["QEETID_CLUSTER_COOKIE"]);
        refused(&[&SHARED, &ONE, &[("QEETID_CLUSTER_LISTEN", "0.0.0.0:1")]], &["QEETID_CLUSTER_LISTEN", "cluster_cert"]);
        refused(&[&SHARED, &ONE, &[("QEETID_CLUSTER_SEEDS", "10.0.0.1:1")]], &["QEETID_CLUSTER_SEEDS", "cluster_cert"]);
        refused(&[&SHARED, &ONE, &TLS[1..]], &["QEETID_CLUSTER_CERT"]);
        refused(&[&SHARED, &ONE, &TLS[..2]], &["QEETID_CLUSTER_CA"]);
        refused(&[&SHARED, &ONE, &TLS[..3]], &["QEETID_CLUSTER_NAMES"]);
        refused(&[&SHARED, &ONE, &TLS[3..]], &["QEETID_CLUSTER_NAMES", "cluster_cert"]);
    }

    #[test]
    fn bad_values_are_refused_by_name_and_the_cookie_is_not_shown() {
        for (key, value) in [
            ("QEETID_CLUSTER_LISTEN", "localhost:1"),
            ("QEETID_CLUSTER_SEEDS", "host"),
            ("QEETID_CLUSTER_SEEDS", "dns:host"),
            ("QEETID_CLUSTER_SEEDS", "a:1/x"),
            ("QEETID_CLUSTER_NODE", "a b"),
            ("QEETID_CLUSTER_NODE", ""),
            ("QEETID_CLUSTER_COOKIE", "planted"),
            ("QEETID_CLUSTER_NAMES", "a name"),
        ] {
            refused(&[&SHARED, &ONE, &[(key, value)]], &[key]);
            assert!(!load(&[&SHARED, &ONE, &[(key, value)]]).unwrap_err().contains("planted"));
        }
        let settings = load(&[&SHARED, &ONE]).unwrap();
        for shown in [settings.show(), format!("{settings:?}")] {
            assert!(!shown.contains(COOKIE), "{shown}");
        }
        assert!(settings.show().contains("cluster_cookie = \"[hidden]\""), "{}", settings.show());
    }
}
