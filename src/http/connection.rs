//! A socket that knows how long its client may take: for a request head, between two requests, and to take an answer.
//!
//! hyper's own `header_read_timeout` counts the pause between two requests too, and does not run while the protocol is
//! still being guessed, nor for HTTP/2. Here a slow client loses its place after [`Patience::head`], an idle one keeps its
//! connection for [`Patience::idle`].

use super::request::X_REQUEST_ID;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a request head (or from the accept, for the first one) to its last.
    pub head: Duration,
    /// Between the end of an answer and the next request.
    pub idle: Duration,
    /// After so much of that, a connection of HTTP/1 gives its buffers back.
    pub rest: Duration,
    /// To take any byte of an answer.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // Idle is longer than the usual 60 s of a load balancer in front: it, not we, should end a pooled connection.
        Self {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            rest: Duration::from_millis(20),
            write: Duration::from_secs(30),
        }
    }
}

/// What the requests of one connection tell its socket.
#[derive(Debug)]
pub struct Activity {
    born: Instant,
    requests: AtomicU64,
    in_flight: AtomicU32,
    idle_since_millis: AtomicU64,
    http2: AtomicBool,
    unreadable: AtomicU16,
    rests: AtomicBool,
}

impl Activity {
    /// A connection that was just accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            idle_since_millis: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            unreadable: AtomicU16::new(0),
            rests: AtomicBool::new(false),
        })
    }

    /// A request head has come; it is being answered until the guard is dropped.
    pub fn request(self: &Arc<Self>, http2: bool) -> Answering {
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.requests.fetch_add(1, Ordering::AcqRel);
        Answering(self.clone())
    }

    /// Whether a request head has come yet.
    pub fn has_asked(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether all is answered and taken, and nothing has come for [`Patience::rest`].
    pub fn rests(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    /// The status that hyper had for a head which it could not read. Its answer was held back: it has no error body.
    pub fn unreadable(&self) -> Option<u16> {
        Some(self.unreadable.load(Ordering::Acquire)).filter(|status| *status != 0)
    }

    /// Whether `written` is an answer of hyper's own, and as such is to be held back.
    fn holds_back(&self, written: &[u8]) -> bool {
        let own = !self.is_answering()
            && written.starts_with(b"HTTP/1.1 4")
            && !written.windows(X_REQUEST_ID.as_str().len()).any(|w| w.eq_ignore_ascii_case(X_REQUEST_ID.as_str().as_bytes()));
        if own {
            let status = written.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
            self.unreadable.store(status.unwrap_or(400), Ordering::Release);
        }
        own
    }

    fn idle_since(&self) -> Instant {
        self.born + Duration::from_millis(self.idle_since_millis.load(Ordering::Acquire))
    }
}

/// While it lives, a request of the connection is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        let millis = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since_millis.store(millis, Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The socket.
pub struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
    patience: Patience,
    /// When the head after request number `.0` began.
    head: Option<(u64, Instant)>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Watched<S> {
    /// Watches `inner`.
    pub fn new(inner: S, activity: Arc<Activity>, patience: Patience) -> Self {
        Self { inner, activity, patience, head: None, read_timer: None, write_blocked: None }
    }

    /// When the client must have sent something; `None` while it is our turn.
    fn deadline(&self) -> Option<Instant> {
        if self.activity.is_answering() {
            return None;
        }
        let requests = self.activity.requests.load(Ordering::Acquire);
        if requests == 0 {
            return Some(self.activity.born + self.patience.head);
        }
        match self.head {
            Some((after, began)) if after == requests => Some(began + self.patience.head),
            _ => Some(self.activity.idle_since() + self.patience.idle),
        }
    }

    /// When the connection may rest, if between two requests. HTTP/2 always has something to do.
    fn rest(&self) -> Option<Instant> {
        let activity = &self.activity;
        let between = activity.has_asked() && !activity.is_answering() && !activity.http2.load(Ordering::Relaxed);
        let requests = activity.requests.load(Ordering::Acquire);
        let in_a_head = self.head.is_some_and(|(after, _)| after == requests);
        (between && !in_a_head && self.write_blocked.is_none()).then(|| activity.idle_since() + self.patience.rest)
    }

    /// Ready if the client's time is over. The timer is armed once and moved only when it fires: one that is early costs
    /// less than moving it at each request.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            // While it is our turn the timer runs too: hyper may not read again after the answer, so that only the timer wakes us.
            let deadline = self.deadline().unwrap_or(now + self.patience.head);
            if now >= deadline {
                return Poll::Ready(());
            }
            let mut wake = deadline;
            if let Some(rest) = self.rest() {
                if now >= rest {
                    self.activity.rests.store(true, Ordering::Release);
                } else {
                    wake = wake.min(rest);
                }
            }
            let deadline = tokio::time::Instant::from_std(wake);
            let timer = self.read_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.is_elapsed() || timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn watch_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_blocked = None;
            return written;
        }
        let patience = self.patience.write;
        let (_, timer) = self.write_blocked.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(patience))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let our_turn = self.activity.is_answering();
                // Frames of HTTP/2 are not all heads (pings, window updates): there only the idle time counts.
                if buf.filled().len() > before && !our_turn && !self.activity.http2.load(Ordering::Relaxed) {
                    let requests = self.activity.requests.load(Ordering::Acquire);
                    if self.head.is_none_or(|(after, _)| after != requests) {
                        self.head = Some((requests, Instant::now()));
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => self.poll_too_late(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.activity.holds_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch_write(cx, written)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if bufs.first().is_some_and(|first| self.activity.holds_back(first)) {
            return Poll::Ready(Ok(bufs.iter().map(|b| b.len()).sum()));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch_write(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
