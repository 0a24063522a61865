//! Where Redis is, and how it is spoken to.

use crate::domain::secret::SecretText;
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
};

/// One server, or a cluster.
#[derive(Debug, Clone)]
pub struct Address {
    /// Name or address, and port. At least one; several only of a cluster, whose other nodes are learned from these.
    pub hosts: Vec<(String, u16)>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// Whether over TLS.
    pub tls: bool,
    /// Certificates in PEM to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretText>,
    /// Number of the database; 0 of a cluster.
    pub database: u16,
    /// What all keys begin with; no braces in it.
    pub prefix: String,
}

impl Address {
    fn node(&self, (host, port): &(String, u16)) -> RedisResult<ConnectionInfo> {
        let mut redis = RedisConnectionInfo::default().set_db(self.database.into()).set_lib_name("qeetid", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password.reveal());
        }
        let (host, port) = (host.clone(), *port);
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        // One small command at a time: none may wait for the next to fill its packet.
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp))
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.ca.clone() }
    }

    /// A client of one host: each of them in turn, by `number`.
    pub(super) fn client(&self, number: usize) -> RedisResult<Client> {
        let node = self.node(&self.hosts[number % self.hosts.len()])?;
        if self.tls { Client::build_with_tls(node, self.certificates()) } else { Client::open(node) }
    }

    /// The beginning of a client of the cluster.
    pub(super) fn cluster_builder(&self) -> RedisResult<ClusterClientBuilder> {
        let nodes = self.hosts.iter().map(|host| self.node(host)).collect::<RedisResult<Vec<_>>>()?;
        let builder = ClusterClient::builder(nodes).tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(if self.tls { builder.tls(TlsMode::Secure).certs(self.certificates()) } else { builder })
    }
}
