//! The life of one connection. It is **at work** with hyper and its buffers, and **at rest** between requests, when it costs a
//! socket and a small task: of ten thousand open connections most are at rest, and hyper's 16 KiB of buffers with its state would be
//! held for each of them.

use super::{
    connection::{Activity, Answering, Patience, Watched},
    frame::Unreadable,
    linger,
    server::Stage,
    socket::{Socket, poll_gone},
};
use http_body_util::combinators::BoxBody;
use hyper::{
    Request as HyperRequest, Response as HyperResponse,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use poem::{
    Endpoint, Response,
    http::{StatusCode, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch};

/// What all connections share.
pub struct Serving<E> {
    endpoint: E,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    patience: Patience,
}

impl<E> Serving<E> {
    /// Answers by `endpoint`.
    pub fn new(endpoint: E, patience: Patience) -> Self {
        let mut http1 = http1::Builder::new();
        // The head time-out is ours (connection.rs). Heads up to 64 KiB and 100 headers; hyper answers 431 above.
        // Half-closed: hyper does not look for a client that leaves, because we do.
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024).max_headers(100).half_close(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
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
        Self { endpoint, http1, http2, patience }
    }
}

/// Serves one connection to its end.
pub async fn serve<E>(stream: TcpStream, peer: SocketAddr, serving: Arc<Serving<E>>, mut stage: watch::Receiver<Stage>)
where
    E: Endpoint<Output = Response> + 'static,
{
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY");
    }
    let stream = Arc::new(stream);
    let patience = serving.patience;
    let first = tokio::select! {
        seen = tokio::time::timeout(patience.head, speaks_http2(&stream)) => seen,
        () = reached(&mut stage, Stage::Draining) => return,
    };
    let end = match first {
        Ok(Ok(true)) => Box::pin(http2_to_its_end(&stream, peer, &serving, &mut stage)).await,
        Ok(Ok(false)) => http1_to_its_end(&stream, peer, &serving, &mut stage).await,
        Ok(Err(_)) | Err(_) => return,
    };
    match end {
        End::Cut => {}
        End::Closed => linger::close(stream, &[]).await,
        End::Unreadable(status) => {
            let answer = Box::pin(unreadable(&serving.endpoint, status, peer)).await;
            linger::close(stream, &answer).await;
        }
    }
}

/// How hyper came to the end.
enum End {
    /// The client is gone, or its time is over, or ours.
    Cut,
    /// After an answer.
    Closed,
    /// At a head that it could not read; this is its status.
    Unreadable(u16),
}

impl End {
    fn of(activity: &Activity, asked_before: bool) -> Self {
        match activity.unreadable() {
            Some(status) => Self::Unreadable(status),
            None if asked_before || activity.has_asked() => Self::Closed,
            None => Self::Cut,
        }
    }
}

async fn http1_to_its_end<E>(
    stream: &Arc<TcpStream>,
    peer: SocketAddr,
    serving: &Arc<Serving<E>>,
    stage: &mut watch::Receiver<Stage>,
) -> End
where
    E: Endpoint<Output = Response> + 'static,
{
    let mut ahead = Bytes::new();
    let mut asked = false;
    loop {
        let activity = Activity::new();
        match Box::pin(at_work(stream, ahead, &activity, peer, serving, stage)).await {
            Stint::Over => return End::of(&activity, asked),
            Stint::Cut => return End::Cut,
            Stint::Rests(left) => ahead = left,
        }
        drop(activity);
        asked = true;
        if ahead.is_empty() {
            let mut first = [0];
            let pause = serving.patience.idle.saturating_sub(serving.patience.rest);
            tokio::select! {
                seen = tokio::time::timeout(pause, stream.peek(&mut first)) => match seen {
                    Ok(Ok(1..)) => {}
                    // Closed, lost, or idle for too long: nothing is under way that could be lost.
                    Ok(Ok(0) | Err(_)) | Err(_) => return End::Cut,
                },
                () = reached(stage, Stage::Draining) => return End::Cut,
            }
        }
    }
}

/// How hyper's work on a connection of HTTP/1 came to a stop.
enum Stint {
    Over,
    Cut,
    /// Nothing is to be done; these bytes of the next request were read already.
    Rests(Bytes),
}

async fn at_work<E>(
    stream: &Arc<TcpStream>,
    ahead: Bytes,
    activity: &Arc<Activity>,
    peer: SocketAddr,
    serving: &Arc<Serving<E>>,
    stage: &mut watch::Receiver<Stage>,
) -> Stint
where
    E: Endpoint<Output = Response> + 'static,
{
    let watched = Watched::new(Socket::new(stream.clone(), ahead), activity.clone(), serving.patience);
    let mut connection = serving.http1.serve_connection(TokioIo::new(watched), service(stream, peer, serving, activity));
    let mut last = Stage::Draining;
    loop {
        let polled = poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Polled::Ended(ended));
            }
            if activity.is_answering() {
                return poll_gone(stream, cx).map(|()| Polled::Gone);
            }
            if activity.rests() { Poll::Ready(Polled::Rests) } else { Poll::Pending }
        });
        tokio::select! {
            polled = polled => return match polled {
                Polled::Gone => Stint::Cut,
                Polled::Rests => Stint::Rests(connection.into_parts().read_buf),
                Polled::Ended(ended) => {
                    note(ended);
                    Stint::Over
                }
            },
            () = reached(stage, last) => match last {
                Stage::Over => return Stint::Cut,
                _ => {
                    Pin::new(&mut connection).graceful_shutdown();
                    last = Stage::Over;
                }
            },
        }
    }
}

enum Polled {
    Ended(hyper::Result<()>),
    Gone,
    Rests,
}

async fn http2_to_its_end<E>(
    stream: &Arc<TcpStream>,
    peer: SocketAddr,
    serving: &Arc<Serving<E>>,
    stage: &mut watch::Receiver<Stage>,
) -> End
where
    E: Endpoint<Output = Response> + 'static,
{
    let activity = Activity::new();
    let watched = Watched::new(Socket::new(stream.clone(), Bytes::new()), activity.clone(), serving.patience);
    let mut connection = pin!(serving.http2.serve_connection(TokioIo::new(watched), service(stream, peer, serving, &activity)));
    tokio::select! {
        ended = &mut connection => note(ended),
        () = reached(stage, Stage::Draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => note(ended),
                () = reached(stage, Stage::Over) => return End::Cut,
            }
        }
    }
    End::of(&activity, false)
}

fn note(ended: hyper::Result<()>) {
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended");
    }
}

fn service<E>(
    stream: &TcpStream,
    peer: SocketAddr,
    serving: &Arc<Serving<E>>,
    activity: &Arc<Activity>,
) -> impl HttpService<Incoming, ResBody = Answer, Error = Infallible, Future: Send> + use<E>
where
    E: Endpoint<Output = Response> + 'static,
{
    let local = stream.local_addr().map_or_else(|_| LocalAddr::default(), |a| LocalAddr(a.into()));
    let (serving, activity) = (serving.clone(), activity.clone());
    hyper::service::service_fn(move |request: HyperRequest<Incoming>| {
        let (serving, local) = (serving.clone(), local.clone());
        let answering = activity.request(request.version() == hyper::Version::HTTP_2);
        async move {
            let request = (request, local, RemoteAddr(peer.into()), Scheme::HTTP).into();
            let response: HyperResponse<BoxBody<Bytes, io::Error>> = serving.endpoint.get_response(request).await.into();
            Ok::<_, Infallible>(response.map(|body| Answer { body, _answering: answering }))
        }
    })
}

/// The body of an answer. The request is being answered until hyper has all of it.
struct Answer {
    body: BoxBody<Bytes, io::Error>,
    _answering: Answering,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// With this an HTTP/2 client begins (RFC 9113, 3.4); no request of HTTP/1 does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether an HTTP/2 client has come. Looks without taking.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == PREFACE.len() || seen[..n] != PREFACE[..n] || n == 0 {
            return Ok(&seen == PREFACE);
        }
        // A part of it, which would be there at once at the next look too.
        tokio::time::sleep(Duration::from_millis(10)).await;
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
