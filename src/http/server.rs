//! The accept loop: HTTP/1.1 and HTTP/2 without TLS (h2c, prior knowledge) on one port, slow clients cut off, a bounded
//! number of connections of which no peer holds more than its share, and a drain that lets open requests finish.

use super::{
    connected,
    connection::Patience,
    peers::{Exempt, Peers},
};
use poem::{Endpoint, Response};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

/// How the loop behaves. The defaults are those of a service that faces the network.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How long a client may take.
    pub patience: Patience,
    /// Open connections at most; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Peers that may hold more than a quarter of these. What another one opens beyond that is closed at once.
    pub exempt: Exempt,
    /// Open requests may take this long after the shutdown signal.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { patience: Patience::default(), max_connections: 20_000, exempt: Exempt::loopback_and(&[]), drain: Duration::from_secs(20) }
    }
}

/// Serves `endpoint` on `listener` until `shutdown` is ready, then drains: no new connections, idle ones close at once,
/// open requests have [`ServerConfig::drain`] to finish. Returns how many connections had to be cut off.
pub async fn serve<E>(listener: TcpListener, endpoint: E, config: ServerConfig, shutdown: impl Future<Output = ()>) -> usize
where
    E: Endpoint<Output = Response> + 'static,
{
    let places = Arc::new(Semaphore::new(config.max_connections));
    let all = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
    let peers = Peers::new(config.max_connections, config.exempt);
    let refused = metrics::counter!("qeetid_connections_refused_total", "reason" => "peer");
    let (stage, stage_seen) = watch::channel(Stage::Open);
    let serving = Arc::new(connected::Serving::new(endpoint, config.patience));
    tokio::pin!(shutdown);
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Not logged: whoever opens thousands must not fill the log with them.
                let Some(place_of_peer) = peers.place(peer.ip()) else {
                    refused.increment(1);
                    continue;
                };
                let connection = connected::serve(socket, peer, serving.clone(), stage_seen.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop((place, place_of_peer));
                });
            }
            Err(e) => {
                // A peer that went away between SYN and accept is nobody's problem. No file descriptors left is: the
                // connection stays in the backlog and accept would fail again at once.
                if !matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) {
                    tracing::error!(error = %e, "accept failed, pausing");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener);
    stage.send_replace(Stage::Draining);
    let mut cut_off = 0;
    if tokio::time::timeout(config.drain, places.acquire_many(all)).await.is_err() {
        cut_off = config.max_connections - places.available_permits();
        tracing::warn!(connections = cut_off, "requests still open at the end of the drain are cut off");
        stage.send_replace(Stage::Over);
    }
    cut_off
}

/// How far the loop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// New connections are taken.
    Open,
    /// Open requests may end.
    Draining,
    /// All is cut off.
    Over,
}
