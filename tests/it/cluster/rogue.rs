//! A peer that knows the cookie and talks nonsense: it answers pings, or not even that, as a version of the future or a broken one would.

use super::node::{COOKIE, heard, spawn, tell, told};
use qeetid::cluster::{
    GROUP,
    wire::{self, Answer, Ask},
};
use ractor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort,
    message::{BoxedDowncastErr, SerializedMessage},
};
use ractor_cluster::{NetworkStream, NodeServer, NodeServerMessage};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// What it does with what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// Reads none of it, and says so.
    OtherVersion,
    /// Answers pings, and says what can't be read to the rest.
    Garbage,
    /// Answers pings, and nothing else.
    Silent,
}

#[derive(Serialize, Deserialize)]
struct Told {
    manner: Manner,
    victim: SocketAddr,
    /// Directory of its certificate, and the name of the victim's.
    tls: Option<(PathBuf, String)>,
}

/// Killed when dropped.
pub struct Rogue {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Rogue {
    /// Connects to `victim`, as `rogue`.
    pub fn start(manner: Manner, victim: SocketAddr) -> Self {
        Self::told(&Told { manner, victim, tls: None })
    }
    /// The same over TLS, with a certificate that is believed.
    pub fn start_tls(manner: Manner, victim: SocketAddr, dir: &Path, name: &str) -> Self {
        Self::told(&Told { manner, victim, tls: Some((dir.into(), name.into())) })
    }
    fn told(what: &Told) -> Self {
        let mut child = spawn("cluster::rogue::the_process", what);
        let said = heard(&mut child);
        Self { child, said }
    }

    /// Waits until it has been asked something so often since it began.
    pub fn is_asked(&self, times: usize) {
        let began = Instant::now();
        let asked = || self.said.lock().unwrap().iter().filter(|line| *line == ASKED).count();
        while asked() < times {
            assert!(began.elapsed() < Duration::from_secs(60), "it is asked {} times, not {times}", asked());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What it tells the test of each question.
const ASKED: &str = "asked";

struct Message(Vec<u8>, Option<RpcReplyPort<Vec<u8>>>);

impl ractor::Message for Message {
    fn serializable() -> bool {
        true
    }
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Call { args, reply, .. } => Ok(Self(args, Some(reply))),
            SerializedMessage::Cast { args, .. } => Ok(Self(args, None)),
            SerializedMessage::CallReply(..) => Err(BoxedDowncastErr),
        }
    }
}

struct Host(Manner);

impl Actor for Host {
    type Msg = Message;
    type State = Vec<RpcReplyPort<Vec<u8>>>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(Vec::new())
    }
    async fn handle(&self, _: ActorRef<Message>, message: Message, kept: &mut Self::State) -> Result<(), ActorProcessingErr> {
        let Message(bytes, Some(port)) = message else { return Ok(()) };
        tell(format_args!("{ASKED}"));
        let ping = matches!(wire::read::<Ask>(&bytes), Ok(Ask::Ping { .. }));
        match self.0 {
            // The form that all versions read, said by version 7.
            Manner::OtherVersion => port.send(vec![0, 7])?,
            _ if ping => port.send(wire::write(&Answer::Pong { node: "rogue".into(), leaving: false }))?,
            Manner::Garbage => port.send(b"\x01{\"turn".to_vec())?,
            Manner::Silent => kept.push(port),
        }
        Ok(())
    }
}

/// Not a test of its own: what [`Rogue::start`] starts.
#[test]
fn the_process() {
    let Some(told) = told::<Told>() else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(serve(told));
}

async fn serve(told: Told) {
    let (host, _) = Actor::spawn(None, Host(told.manner), ()).await.unwrap();
    ractor::pg::join(GROUP.to_owned(), vec![host.get_cell()]);
    let server = NodeServer::new(0, COOKIE.into(), "rogue".into(), "rogue".into(), None, None);
    let (server, _) = Actor::spawn(None, server, ()).await.unwrap();
    let mut stream = TcpStream::connect(told.victim).await.unwrap();
    let (peer_addr, local_addr) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
    let stream = match told.tls {
        None => {
            greet(&mut stream).await;
            NetworkStream::Raw { peer_addr, local_addr, stream }
        }
        Some((dir, name)) => {
            let connector = TlsConnector::from(Arc::new(client(&dir)));
            let mut stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
            greet(&mut stream).await;
            NetworkStream::TlsClient { peer_addr, local_addr, stream }
        }
    };
    server.cast(NodeServerMessage::ConnectionOpened { stream: Box::new(stream), is_server: false }).unwrap();
    std::future::pending::<()>().await;
}

async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(b"qeetid cluster 1 rogue\n+").await.unwrap();
    stream.flush().await.unwrap();
    while stream.read_u8().await.unwrap() != b'\n' {}
}

fn client(dir: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    client.with_client_auth_cert(chain, key).unwrap()
}
