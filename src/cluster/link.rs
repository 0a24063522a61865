//! Connections between nodes: taken and made, over TLS where there are certificates, each with a time-out of its own. Both sides say
//! their name before the library takes over, so that nobody connects to himself or twice to the same node.

use super::{ClusterConfig, ClusterError, tls::Tls};
use ractor::ActorRef;
use ractor_cluster::{NetworkStream, NodeServerMessage};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// A connection must be made, its certificates checked and its names said in this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections that are being made at once; others wait in the backlog.
const AT_ONCE: usize = 64;
/// What both sides say first, before their name.
const HELLO: &str = "qeetid cluster 1 ";
/// What the connecting side says when it wants to stay.
const STAY: u8 = b'+';
/// The longest line that is read: the greeting, and a name of 63 bytes.
const LINE: usize = 128;

/// The listener, and what new connections need.
pub(super) struct Link {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    me: String,
}

/// What became of a try to connect.
pub(super) enum Dialled {
    /// The library has it.
    Connected(String),
    /// We don't need it: it is this node, or one that we know.
    Known(String),
}

impl Link {
    pub(super) async fn open(config: &ClusterConfig) -> Result<Self, ClusterError> {
        let tls = config.tls.clone().map(Tls::open).transpose()?;
        let bad = |e| ClusterError::of(&format!("can't listen on {}", config.listen), e);
        let listener = TcpListener::bind(config.listen).await.map_err(bad)?;
        let address = listener.local_addr().map_err(bad)?;
        Ok(Self { listener, address, tls, me: config.node.clone() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections for as long as it isn't dropped.
    pub(super) async fn accept(self: Arc<Self>, server: ActorRef<NodeServerMessage>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    let (link, server) = (self.clone(), server.clone());
                    tokio::spawn(async move {
                        match timeout(PATIENCE, link.take(socket, peer)).await {
                            Ok(Ok(Some(stream))) => hand_over(&server, stream, true),
                            Ok(Ok(None)) => {}
                            Ok(Err(e)) => tracing::warn!(%peer, error = %e, "a connection from another node was refused"),
                            Err(_) => tracing::warn!(%peer, "a connection from another node took too long to be made"),
                        }
                        drop(place);
                    });
                }
                Err(e) => {
                    tracing::error!(error = %e, "the cluster's listener can't take a connection, pausing");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn take(&self, socket: TcpStream, peer_addr: SocketAddr) -> io::Result<Option<NetworkStream>> {
        let local_addr = ready(&socket)?;
        let Some(tls) = &self.tls else {
            let mut stream = socket;
            return Ok(self.welcome(&mut stream).await?.then_some(NetworkStream::Raw { peer_addr, local_addr, stream }));
        };
        let mut stream = tls.sides().accept.accept(socket).await?;
        Ok(self.welcome(&mut stream).await?.then_some(NetworkStream::TlsServer { peer_addr, local_addr, stream }))
    }

    /// Whether the other side stays.
    async fn welcome(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
        say(stream, &self.me).await?;
        hear(stream).await?;
        let mut stay = [0];
        // Gone is an answer too.
        Ok(stream.read(&mut stay).await? == 1 && stay[0] == STAY)
    }

    /// Connects to `address`, unless it turns out to be a node that is known.
    pub(super) async fn dial(
        &self,
        address: SocketAddr,
        server: &ActorRef<NodeServerMessage>,
        known: impl Fn(&str) -> bool,
    ) -> io::Result<Dialled> {
        timeout(PATIENCE, self.reach(address, server, known)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn reach(
        &self,
        peer_addr: SocketAddr,
        server: &ActorRef<NodeServerMessage>,
        known: impl Fn(&str) -> bool,
    ) -> io::Result<Dialled> {
        let socket = TcpStream::connect(peer_addr).await?;
        let local_addr = ready(&socket)?;
        let (name, stream) = match &self.tls {
            None => {
                let mut stream = socket;
                let name = self.introduce(&mut stream, &known).await?;
                (name, NetworkStream::Raw { peer_addr, local_addr, stream })
            }
            Some(tls) => {
                let sides = tls.sides();
                let mut stream = sides.connect.connect(sides.name, socket).await?;
                let name = self.introduce(&mut stream, &known).await?;
                (name, NetworkStream::TlsClient { peer_addr, local_addr, stream })
            }
        };
        if known(&name) {
            return Ok(Dialled::Known(name));
        }
        hand_over(server, stream, false);
        Ok(Dialled::Connected(name))
    }

    async fn introduce(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), known: impl Fn(&str) -> bool) -> io::Result<String> {
        say(stream, &self.me).await?;
        let name = hear(stream).await?;
        if !known(&name) {
            stream.write_all(&[STAY]).await?;
            stream.flush().await?;
        }
        Ok(name)
    }
}

fn ready(socket: &TcpStream) -> io::Result<SocketAddr> {
    socket.set_nodelay(true)?;
    socket.local_addr()
}

fn hand_over(server: &ActorRef<NodeServerMessage>, stream: NetworkStream, is_server: bool) {
    // It is gone only when this node is about to be.
    let _ = server.cast(NodeServerMessage::ConnectionOpened { stream: Box::new(stream), is_server });
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), name: &str) -> io::Result<()> {
    stream.write_all(format!("{HELLO}{name}\n").as_bytes()).await?;
    stream.flush().await
}

/// Byte by byte: what comes after the line belongs to others.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            byte if line.len() < LINE => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting of a node")),
        }
    }
    let line = String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no greeting of a node"))?;
    let name = line.strip_prefix(HELLO).filter(|n| is_name(n));
    name.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no greeting of a node of this version"))
}

/// What a node may be called: a DNS label or several.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_greeting_is_a_line_with_a_name_and_nothing_else() {
        assert_eq!(hear(&mut &b"qeetid cluster 1 a-1\nrest"[..]).await.unwrap(), "a-1");
        let long = format!("{HELLO}{}\n", "n".repeat(64));
        for bad in
            ["", "qeetid cluster 1 a", "GET / HTTP/1.1\n", "qeetid cluster 2 a\n", "qeetid cluster 1 \n", "qeetid cluster 1 a b\n", &long]
        {
            assert!(hear(&mut bad.as_bytes()).await.is_err(), "{bad:?}");
        }
        assert!(hear(&mut &[b'x'; 500][..]).await.is_err());
    }
}
