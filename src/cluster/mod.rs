//! Many nodes as one: who is there, and whose turn it is.
//!
//! **What crosses between nodes is the turn, never the command.** A node that is about to run a command of a user, a tenant or an
//! address asks the key's owner for the turn, runs the command itself, on the store, and gives the turn back. So no password, hash,
//! code or address ever stands in a message, a node of another version can't misread a command, and an owner that is gone, slow or
//! talks nonsense costs the order and nothing else: the command runs where it arrived, and the store's compare-and-set keeps it right.
//!
//! What takes a turn, and why: commands that go through an actor. All sign-ups of one address (a crowd of them is one hash and one
//! write, on however many nodes it comes), and whatever changes an account or a tenant (codes, resets, passwords, roles, invites):
//! conditional writes of one partition that meet cost the store more than the round trip that keeps them apart. What doesn't: signing in,
//! refreshing and reading. Two of those at once are rare, one compare-and-set apiece, and far too many to send around.
//!
//! `wire` is what is said, `seats` who has which turn (and who waits), `host` the one actor a node that others can talk to, `ring`
//! who owns what, `members` who is there: pings, evictions, new connections, which `link` makes, over `tls`. `turn` asks.
//!
//! The library below (`ractor_cluster`) authenticates by the cookie and carries messages. It doesn't notice dead peers, doesn't
//! connect again, and mirrors every remotable actor on every peer: hence pings and evictions of our own, and one remotable actor a
//! node. Its listener takes one handshake after the other, so it is left with nothing to do: `link` has its own.

mod host;
mod link;
mod members;
mod ring;
mod seats;
mod tls;
mod turn;
pub mod wire;

use crate::domain::{rng::Rng, secret::SecretText, time::Clock};
use members::Members;
use ractor::{Actor, ActorRef};
use ractor_cluster::{NodeServer, NodeServerMessage, node::NodeConnectionMode};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// The process group of the shard hosts, and what their names begin with.
pub const GROUP: &str = "shard-host";
/// Frames are small; a peer that announces more is cut off.
const LARGEST_FRAME: u64 = 64 * 1024;

/// What a node needs to know.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// `name:port` or `address:port` of the other nodes; a name may stand for many. This node may be among them.
    pub seeds: Vec<String>,
    /// Name of this node: no other has it, and it is the same after a restart.
    pub node: String,
    /// What all nodes know.
    pub cookie: SecretText,
    /// Certificates; `None` only on loopback.
    pub tls: Option<TlsFiles>,
}

/// Files in PEM; read again for new connections when they have changed.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain of this node, its own certificate first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates are believed.
    pub ca: PathBuf,
    /// A peer's certificate must be for one of these names.
    pub names: Vec<String>,
}

/// Why the node can't be one of many.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ClusterError(String);

impl ClusterError {
    fn of(what: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

/// This node among the others.
pub struct Cluster {
    members: Arc<Members>,
    server: ActorRef<NodeServerMessage>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Listens, and begins to look for the others. One a process: the registry of actors is the process's.
    ///
    /// # Errors
    /// The address is taken, or the certificates can't be read.
    pub async fn start(config: ClusterConfig, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Arc<Self>, ClusterError> {
        let link = link::Link::open(&config).await?;
        let address = link.address();
        // Named so that no other process has the same: the library takes two of one name for one.
        let mut server = NodeServer::new(
            0,
            config.cookie.reveal().to_owned(),
            config.node.clone(),
            config.node.clone(),
            Some(tls::nobody()?),
            Some(NodeConnectionMode::Isolated),
        );
        server = server.with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST)).with_max_inbound_frame_size(LARGEST_FRAME);
        let (server, _) = Actor::spawn(None, server, ()).await.map_err(|e| ClusterError::of("node server", e))?;
        let members = Members::start(config.node.clone(), server.clone(), clock.clone()).await;
        let members = Arc::new(members.map_err(|e| ClusterError::of("shard host", e))?);
        members.watch_logins().await?;
        let mut tasks = JoinSet::new();
        let link = Arc::new(link);
        tasks.spawn(link.clone().accept(server.clone()));
        tasks.spawn(members::watch(members.clone()));
        tasks.spawn(members::connect(members.clone(), link, config.seeds.clone()));
        tracing::info!(node = config.node, %address, tls = config.tls.is_some(), "one of many");
        Ok(Arc::new(Self { members, server, clock, rng, address, _tasks: tasks }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names of those who own keys now, this node among them, in order.
    pub fn members(&self) -> Vec<String> {
        self.members.ring().names()
    }

    /// Leaves the ring: the others own what this node owned. What it is asked for meanwhile it still answers.
    pub fn leave(&self) {
        self.members.leave();
    }

    /// Ends all connections.
    pub async fn stop(&self) {
        let second = Some(Duration::from_secs(1));
        // Who is leaving starts no new host.
        self.leave();
        // It is going anyway.
        let _ = self.server.stop_and_wait(None, second).await;
        let _ = self.members.host().stop_and_wait(None, second).await;
    }
}
