//! Closing a connection whose client is still sending. A socket that is closed with bytes unread resets the connection,
//! and the answer (a 413, most often) is lost with it; so our side is closed, and what still comes is thrown away for a while
//! (RFC 9112, 9.6).

use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long, and for how many bytes, a client may go on after our answer.
const LINGER: Duration = Duration::from_secs(2);
const THROWN_AWAY: u64 = 16 * 1024 * 1024;

/// Writes `last`, closes our side, and reads until the client closes his, or has had [`LINGER`].
pub async fn close(stream: Arc<TcpStream>, last: &[u8]) {
    // The other hand was hyper's, who is done.
    let Some(mut stream) = Arc::into_inner(stream) else { return };
    let throwing_away = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(THROWN_AWAY), &mut tokio::io::sink()).await
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(LINGER, throwing_away).await;
}
