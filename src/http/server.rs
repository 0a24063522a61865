//! The accept loop: HTTP/1.1 and HTTP/2 without TLS (h2c, prior knowledge) on one port, slow clients cut off, a bounded
//! number of connections, and a drain that lets open requests finish.

use super::{
    connection::{Activity, Patience, Watched},
    frame::Unreadable,
    linger::{self, Lent},
};
use hyper::{Request as HyperRequest, Response as HyperResponse, Version, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use poem::{
    Endpoint, Response,
    http::{StatusCode, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// How the loop behaves. The defaults are those of a service that faces the network.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How long a client may take.
    pub patience: Patience,
    /// Open connections at most; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Open requests may take this long after the shutdown signal.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { patience: Patience::default(), max_connections: 20_000, drain: Duration::from_secs(20) }
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
    let (stage, stage_seen) = watch::channel(Stage::Open);
    let shared = Arc::new(Shared { endpoint, http1: protocol().http1_only(), http2: protocol().http2_only(), patience: config.patience });
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
                let connection = connection(socket, peer, shared.clone(), stage_seen.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    Draining,
    Over,
}

struct Shared<E> {
    endpoint: E,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    patience: Patience,
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The head time-out is ours (connection.rs). Heads up to 64 KiB and 100 headers; hyper answers 431 above.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024).max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        // Rapid reset (CVE-2023-44487): after 20 streams that were opened and reset unseen, the connection is closed.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(512 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// With this an HTTP/2 client begins (RFC 9113, 3.4); no request of HTTP/1 does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether an HTTP/2 client has come. Looks without taking: were the first bytes handed to hyper apart from the rest, it would
/// keep a read buffer of twice the size for every connection.
async fn speaks_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let n = socket.peek(&mut seen).await?;
        if n == PREFACE.len() || seen[..n] != PREFACE[..n] || n == 0 {
            return Ok(&seen == PREFACE);
        }
        // A part of it, which would be there at once at the next look too.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connection<E>(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared<E>>, mut stage: watch::Receiver<Stage>)
where
    E: Endpoint<Output = Response> + 'static,
{
    if let Err(e) = socket.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY");
    }
    let local = socket.local_addr().map_or_else(|_| LocalAddr::default(), |a| LocalAddr(a.into()));
    let activity = Activity::new();
    let protocol = tokio::select! {
        seen = tokio::time::timeout(shared.patience.head, speaks_http2(&socket)) => match seen {
            Ok(Ok(true)) => &shared.http2,
            Ok(Ok(false)) => &shared.http1,
            Ok(Err(_)) | Err(_) => return,
        },
        () = reached(&mut stage, Stage::Draining) => return,
    };
    let (socket, returned) = Lent::new(socket);
    let io = TokioIo::new(Watched::new(socket, activity.clone(), shared.patience));
    let service = {
        let (shared, activity) = (shared.clone(), activity.clone());
        hyper::service::service_fn(move |request: HyperRequest<Incoming>| {
            let shared = shared.clone();
            let answering = activity.request(request.version() == Version::HTTP_2);
            let local = local.clone();
            async move {
                let request = (request, local, RemoteAddr(peer.into()), Scheme::HTTP).into();
                let response: HyperResponse<_> = shared.endpoint.get_response(request).await.into();
                drop(answering);
                Ok::<_, Infallible>(response)
            }
        })
    };
    {
        let served = protocol.serve_connection(io, service);
        tokio::pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = reached(&mut stage, Stage::Draining) => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut served => ended,
                    () = reached(&mut stage, Stage::Over) => return,
                }
            }
        };
        if let Err(e) = ended {
            tracing::debug!(error = %e, "connection ended");
        }
    }
    if let Some(status) = activity.unreadable() {
        let answer = unreadable(&shared.endpoint, status, peer).await;
        linger::close(returned, &answer).await;
    } else if activity.has_asked() {
        linger::close(returned, &[]).await;
    }
}

/// The answer to a head that hyper could not read, from the one layer that makes all others.
async fn unreadable<E: Endpoint<Output = Response>>(endpoint: &E, status: u16, peer: SocketAddr) -> Vec<u8> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let request = poem::Request::builder().extension(Unreadable { status, peer: peer.ip() }).finish();
    let response = endpoint.get_response(request).await;
    let (head, body) = response.into_parts();
    let mut answer = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default()).into_bytes();
    // An error body is in memory: reading it does not fail.
    let body = body.into_bytes().await.unwrap_or_default();
    for (name, value) in &head.headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes());
    answer.extend(body);
    answer
}

/// Ready once the loop is at `wanted` or past it, or gone.
async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    let _ = stage.wait_for(|s| *s >= wanted).await;
}
