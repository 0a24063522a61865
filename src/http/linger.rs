//! Closing a connection whose client is still sending. A socket that is closed with bytes unread resets the connection,
//! and the answer (a 413, most often) is lost with it; so our side is closed, and what still comes is thrown away for a while
//! (RFC 9112, 9.6).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

/// How long, and for how many bytes, a client may go on after our answer.
const LINGER: Duration = Duration::from_secs(2);
const THROWN_AWAY: u64 = 16 * 1024 * 1024;

/// A socket that comes back when hyper drops it.
pub struct Lent {
    socket: Option<TcpStream>,
    back: Option<oneshot::Sender<TcpStream>>,
}

impl Lent {
    /// Lends `socket`.
    pub fn new(socket: TcpStream) -> (Self, oneshot::Receiver<TcpStream>) {
        let (back, returned) = oneshot::channel();
        (Self { socket: Some(socket), back: Some(back) }, returned)
    }
    fn socket(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().socket.as_mut().expect("it is taken by drop alone"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(socket), Some(back)) = (self.socket.take(), self.back.take()) {
            // Nobody waits for it where the connection was cut off.
            let _ = back.send(socket);
        }
    }
}

/// Writes `last`, closes our side, and reads until the client closes his, or has had [`LINGER`].
pub async fn close(returned: oneshot::Receiver<TcpStream>, last: &[u8]) {
    let Ok(mut socket) = returned.await else { return };
    let throwing_away = async {
        socket.write_all(last).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut (&mut socket).take(THROWN_AWAY), &mut tokio::io::sink()).await
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(LINGER, throwing_away).await;
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket().poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.socket().poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
