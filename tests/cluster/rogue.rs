//! A peer that knows the cookie and talks nonsense: it answers pings, or not even that, as a version of the future or a broken one would.

use super::node::{COOKIE, spawn, told};
use qeetid::cluster::{
    GROUP,
    wire::{self, Answer, Ask},
};
use ractor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort,
    message::{BoxedDowncastErr, SerializedMessage},
};
use ractor_cluster::{NetworkStream, NodeServer, NodeServerMessage};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, process::Child};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
}

/// Killed when dropped.
pub struct Rogue(Child);

impl Rogue {
    /// Connects to `victim`, as `rogue`.
    pub fn start(manner: Manner, victim: SocketAddr) -> Self {
        Self(spawn("rogue::the_process", &Told { manner, victim }))
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

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
    stream.write_all(b"qeetid cluster 1 rogue\n+").await.unwrap();
    while stream.read_u8().await.unwrap() != b'\n' {}
    let stream = Box::new(NetworkStream::Raw { peer_addr, local_addr, stream });
    server.cast(NodeServerMessage::ConnectionOpened { stream, is_server: false }).unwrap();
    std::future::pending::<()>().await;
}
