//! Who is there: every shard host in the group is pinged; who answers is in the ring, who doesn't leaves it, and then its connection
//! is closed, so that a new one is made when it can be.

use super::{
    ClusterError, GROUP,
    host::{Host, HostMessage},
    link::{Dialled, Link},
    ring::{Member, Ring},
    wire::{self, Answer, Ask},
};
use crate::domain::time::Clock;
use ractor::{ActorId, ActorRef, ActorStatus, SpawnErr, rpc::CallResult};
use ractor_cluster::{NodeEventSubscription, NodeServerMessage, NodeSessionMessage, node::NodeServerSessionInformation};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinSet};

/// Between two pings.
const PING: Duration = Duration::from_millis(500);
/// Who has answered nothing for so long is asked for no turns …
const SILENT: Duration = Duration::from_millis(1800);
/// … and loses its connection after this.
const GONE: Duration = Duration::from_secs(4);
/// Between two tries to connect to an address.
const DIAL: Duration = Duration::from_secs(1);
/// A connection is in the group within this time, or it is tried again.
const JOIN: Duration = Duration::from_secs(5);
/// Without having shown that it knows the cookie, a connection may stay for so long.
const LOGIN: Duration = Duration::from_secs(5);

/// A shard host of another node.
struct Peer {
    host: ActorRef<HostMessage>,
    /// `None`: it hasn't answered yet.
    name: Option<String>,
    heard: Instant,
    /// Since it last answered, somebody has waited for it in vain.
    suspect: bool,
    leaving: bool,
}

impl Peer {
    fn owns(&self) -> Option<&String> {
        self.name.as_ref().filter(|_| !self.suspect && !self.leaving && self.heard.elapsed() < SILENT)
    }
}

/// Who is there.
pub(super) struct Members {
    me: String,
    server: ActorRef<NodeServerMessage>,
    clock: Arc<dyn Clock>,
    host: RwLock<ActorRef<HostMessage>>,
    peers: Mutex<HashMap<ActorId, Peer>>,
    ring: RwLock<Arc<Ring>>,
    leaving: Mutex<bool>,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step between two lines that hold one can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Members {
    /// With the shard host of this node, which is alone at first.
    pub(super) async fn start(me: String, server: ActorRef<NodeServerMessage>, clock: Arc<dyn Clock>) -> Result<Self, SpawnErr> {
        let host = Host::start(me.clone(), clock.clone()).await?;
        let ring = RwLock::new(Arc::new(Ring::new(vec![Member { name: me.clone(), host: host.clone() }])));
        metrics::gauge!("qeetid_cluster_members").set(1.0);
        let (peers, leaving, changed) = (Mutex::default(), Mutex::new(false), Notify::new());
        Ok(Self { me, server, clock, host: RwLock::new(host), peers, ring, leaving, changed })
    }

    /// The shard host of this node.
    pub(super) fn host(&self) -> ActorRef<HostMessage> {
        self.host.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A shard host that failed has a successor, that knows of no turn; to the other nodes it is one that came anew.
    async fn revive(&self) {
        let gone = self.host().get_status() == ActorStatus::Stopped;
        if !gone || *lock(&self.leaving) {
            return;
        }
        match Host::start(self.me.clone(), self.clock.clone()).await {
            Ok(host) => {
                tracing::error!("the shard host had failed; there is a new one");
                metrics::counter!("qeetid_actor_failures_total").increment(1);
                *self.host.write().unwrap_or_else(PoisonError::into_inner) = host;
            }
            Err(e) => tracing::error!(error = %e, "the shard host has failed, and a new one can't be started yet"),
        }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody waited for it in vain: nobody else does, until it answers a ping.
    pub(super) fn suspect(&self, name: &str) {
        for peer in lock(&self.peers).values_mut().filter(|p| p.name.as_deref() == Some(name)) {
            peer.suspect = true;
        }
        self.turn_ring();
    }

    /// A shard host of the ring has turned out to be gone: looks who is there now.
    pub(super) fn look_again(&self) {
        let _ = self.take_in();
        self.turn_ring();
    }

    /// Out of the ring: the others hear of it at once.
    pub(super) fn leave(&self) {
        *lock(&self.leaving) = true;
        let host = self.host();
        let _ = host.cast(HostMessage::Leave);
        ractor::pg::leave(GROUP.to_owned(), vec![host.get_cell()]);
        self.turn_ring();
    }

    /// Makes the ring of those who answer.
    fn turn_ring(&self) {
        // Of two connections to one node, that which was heard last: the other one is about to end.
        let mut heard: Vec<(Instant, Member)> =
            lock(&self.peers).values().filter_map(|p| Some((p.heard, Member { name: p.owns()?.clone(), host: p.host.clone() }))).collect();
        heard.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut members: Vec<Member> = heard.into_iter().map(|(_, member)| member).collect();
        if !*lock(&self.leaving) {
            members.push(Member { name: self.me.clone(), host: self.host() });
        }
        let ring = Ring::new(members);
        let mut current = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (current.names(), ring.names());
        // A peer that is there anew has another shard host under the same name.
        *current = Arc::new(ring);
        drop(current);
        if before != after {
            metrics::gauge!("qeetid_cluster_members").set(after.len() as f64);
            metrics::counter!("qeetid_cluster_ring_moves_total").increment(1);
            tracing::info!(members = ?after, "the ring has changed");
        }
    }

    /// Takes in who is in the group and who isn't any more; gives all that are to be pinged.
    fn take_in(&self) -> Vec<ActorRef<HostMessage>> {
        let there: Vec<_> = ractor::pg::get_members(&GROUP.to_owned()).into_iter().filter(|c| !c.get_id().is_local()).collect();
        let mut peers = lock(&self.peers);
        let mut gone = Vec::new();
        peers.retain(|id, peer| {
            let stays = there.iter().any(|c| c.get_id() == *id);
            if !stays {
                gone.extend(peer.name.take());
            }
            stays
        });
        for cell in there {
            let peer = Peer { host: cell.into(), name: None, heard: Instant::now(), suspect: false, leaving: false };
            peers.entry(peer.host.get_id()).or_insert(peer);
        }
        // It may be back already, under another connection.
        gone.retain(|name| !peers.values().any(|p| p.name.as_ref() == Some(name)));
        for name in gone {
            let _ = self.host().cast(HostMessage::Gone(name));
        }
        peers.values().map(|p| p.host.clone()).collect()
    }

    async fn ping(&self, host: &ActorRef<HostMessage>) {
        let bytes = wire::write(&Ask::Ping { node: self.me.clone() });
        let answer = host.call(|port| HostMessage::Ask(bytes, port), Some(SILENT)).await;
        let Ok(CallResult::Success(bytes)) = answer else { return };
        let mut peers = lock(&self.peers);
        let Some(peer) = peers.get_mut(&host.get_id()) else { return };
        match wire::read_answer(&bytes) {
            Ok(Answer::Pong { node, leaving }) => {
                let new = peer.name.is_none();
                (peer.name, peer.leaving, peer.suspect, peer.heard) = (Some(node), leaving, false, Instant::now());
                if new {
                    self.changed.notify_one();
                }
            }
            // Alive, and of another version: its own ring orders its commands.
            Ok(Answer::Version(version)) => {
                peer.heard = Instant::now();
                tracing::debug!(version, "a node of another version");
            }
            _ => tracing::warn!("a node answers a ping with what can't be read"),
        }
    }

    /// Closes the connections of those who are silent for too long.
    async fn evict(&self) {
        let silent: Vec<(ActorId, Option<String>)> =
            lock(&self.peers).iter().filter(|(_, p)| p.heard.elapsed() >= GONE).map(|(id, p)| (*id, p.name.clone())).collect();
        if silent.is_empty() {
            return;
        }
        let sessions = self.server.call(NodeServerMessage::GetSessions, Some(Duration::from_secs(1))).await;
        let Ok(CallResult::Success(sessions)) = sessions else { return };
        for (id, name) in silent {
            if let ActorId::Remote { node_id, .. } = id
                && let Some(session) = sessions.get(&node_id)
            {
                tracing::warn!(node = name, "a node is silent; its connection is closed");
                session.actor.stop(Some("silent".to_owned()));
            }
        }
    }

    /// Has it a connection that works, or may yet?
    fn knows(&self, name: &str) -> bool {
        name == self.me || lock(&self.peers).values().any(|p| p.name.as_deref() == Some(name))
    }

    /// Closes connections whose other side doesn't show that it knows the cookie.
    pub(super) async fn watch_logins(&self) -> Result<(), ClusterError> {
        let subscription = Box::new(Logins);
        let subscribe = NodeServerMessage::SubscribeToEvents { id: "logins".to_owned(), subscription };
        self.server.cast(subscribe).map_err(|e| ClusterError::of("node server", e))
    }
}

struct Logins;

impl NodeEventSubscription for Logins {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        tokio::spawn(async move {
            tokio::time::sleep(LOGIN).await;
            let state = session.actor.call(NodeSessionMessage::GetAuthenticationState, Some(Duration::from_secs(1))).await;
            if !matches!(state, Ok(CallResult::Success(true)) | Err(_)) {
                session.actor.stop(Some("no login".to_owned()));
            }
        });
    }
    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        tracing::debug!(peer = session.peer_addr, "a connection between nodes has ended");
    }
    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        tracing::debug!(peer = session.peer_addr, "another node knows the cookie");
    }
}

/// Pings for ever.
pub(super) async fn watch(members: Arc<Members>) {
    let mut pings = JoinSet::new();
    let mut pinged: HashMap<ActorId, tokio::task::AbortHandle> = HashMap::new();
    loop {
        members.revive().await;
        for host in members.take_in() {
            // One at a time for each: who is slow isn't made slower.
            if pinged.get(&host.get_id()).is_none_or(|p| p.is_finished()) {
                let members = members.clone();
                pinged.insert(host.get_id(), pings.spawn(async move { members.ping(&host).await }));
            }
        }
        pinged.retain(|_, p| !p.is_finished());
        while pings.try_join_next().is_some() {}
        members.evict().await;
        members.turn_ring();
        let _ = tokio::time::timeout(PING, members.changed.notified()).await;
    }
}

/// What is known of an address.
struct Target {
    /// Who was there the last time.
    node: Option<String>,
    next: Instant,
    failing: bool,
}

/// Connects for ever: to every address of every seed at which there is a node that isn't known.
pub(super) async fn connect(members: Arc<Members>, link: Arc<Link>, seeds: Vec<String>) {
    let mut targets: HashMap<SocketAddr, Target> = HashMap::new();
    loop {
        let mut found = Vec::new();
        for seed in &seeds {
            match tokio::net::lookup_host(seed).await {
                Ok(addresses) => found.extend(addresses),
                Err(e) => tracing::debug!(seed, error = %e, "a seed has no address"),
            }
        }
        targets.retain(|address, _| found.contains(address));
        for address in found {
            targets.entry(address).or_insert_with(|| Target { node: None, next: Instant::now(), failing: false });
        }
        let due: Vec<SocketAddr> = targets
            .iter()
            .filter(|(_, t)| t.next <= Instant::now() && !t.node.as_ref().is_some_and(|n| members.knows(n)))
            .map(|(address, _)| *address)
            .collect();
        let tries = due.into_iter().map(|address| {
            let (members, link) = (members.clone(), link.clone());
            async move { (address, link.dial(address, &members.server, |name| members.knows(name)).await) }
        });
        for (address, outcome) in futures_util::future::join_all(tries).await {
            if let Some(target) = targets.get_mut(&address) {
                target.note(address, outcome);
            }
        }
        tokio::time::sleep(DIAL / 2).await;
    }
}

impl Target {
    fn note(&mut self, address: SocketAddr, outcome: std::io::Result<Dialled>) {
        let pause = match outcome {
            Ok(Dialled::Connected(node)) => {
                tracing::info!(%address, node, "connected to another node");
                (self.node, self.failing) = (Some(node), false);
                JOIN
            }
            Ok(Dialled::Known(node)) => {
                (self.node, self.failing) = (Some(node), false);
                DIAL
            }
            Err(e) => {
                // Said once, not every second.
                if !self.failing {
                    tracing::warn!(%address, error = %e, "another node can't be reached; it is tried again every second");
                }
                self.failing = true;
                DIAL
            }
        };
        self.next = Instant::now() + pause;
    }
}
