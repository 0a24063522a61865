//! The socket of a connection, shared by hyper, which reads and writes, and by the loop, which sees a client leave and keeps it
//! when hyper is done with it.

use hyper::body::Bytes;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// One hand on a socket. Only one task may use it: a socket wakes the last that asked.
pub struct Socket {
    stream: Arc<TcpStream>,
    /// Taken from the stream before, and not used yet.
    ahead: Bytes,
}

impl Socket {
    /// `ahead` is read before the stream.
    pub fn new(stream: Arc<TcpStream>, ahead: Bytes) -> Self {
        Self { stream, ahead }
    }
}

/// Ready once the client has closed his side, or the connection is lost. Bytes that nobody has read yet hide it.
///
/// hyper has a way of its own to see that, which takes a read buffer of 8 KiB for each request that is being answered.
pub fn poll_gone(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    match ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
        Ok(0) | Err(_) => Poll::Ready(()),
        Ok(_) => Poll::Pending,
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(n));
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// Nothing: the loop closes, after what is left to say.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}
