//! The shard host: the one actor of a node that other nodes can talk to. It gives turns, and answers pings.

use super::{
    seats::{Said, Seats},
    wire::{self, Answer, Ask, Seat, Tell, Ticket, Unread},
};
use crate::domain::time::Clock;
use ractor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    message::{BoxedDowncastErr, SerializedMessage},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Nobody waits for longer, whatever he says (or his clock does).
pub(super) const WAIT: Duration = Duration::from_millis(1000);
/// Between two looks for turns that nobody gave back.
const TIDY: Duration = Duration::from_secs(10);

/// What a shard host takes. Only the first two cross between nodes.
#[derive(Debug)]
pub(super) enum HostMessage {
    /// An [`Ask`].
    Ask(Vec<u8>, RpcReplyPort<Vec<u8>>),
    /// A [`Tell`].
    Tell(Vec<u8>),
    /// This node asks for a turn.
    Take(Seat, Ticket, oneshot::Sender<Answer>),
    /// This node gives one back.
    Give(Seat, Ticket),
    /// Somebody's time may be over.
    Look(Seat),
    /// A node is gone.
    Gone(String),
    /// This node is about to stop.
    Leave,
    Tidy,
}

/// By hand, because bytes are handed over as they are: what can't be read is answered, where the library would drop it.
impl ractor::Message for HostMessage {
    fn serializable() -> bool {
        true
    }
    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let variant = String::new();
        match self {
            Self::Ask(args, reply) => Ok(SerializedMessage::Call { variant, args, reply, metadata: None }),
            Self::Tell(args) => Ok(SerializedMessage::Cast { variant, args, metadata: None }),
            _ => Err(BoxedDowncastErr),
        }
    }
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Call { args, reply, .. } => Ok(Self::Ask(args, reply)),
            SerializedMessage::Cast { args, .. } => Ok(Self::Tell(args)),
            SerializedMessage::CallReply(..) => Err(BoxedDowncastErr),
        }
    }
}

/// Where an answer goes.
pub(super) enum Port {
    Here(oneshot::Sender<Answer>),
    There(RpcReplyPort<Vec<u8>>),
}

impl Port {
    fn send(self, answer: &Answer) {
        // Who left is no error: his turn comes back by a word of his, or by its end.
        match self {
            Self::Here(port) => drop(port.send(answer.clone())),
            Self::There(port) => drop(port.send(wire::write(answer))),
        }
    }
}

pub(super) struct Host {
    node: String,
    clock: Arc<dyn Clock>,
    leaving: AtomicBool,
}

impl Host {
    /// Starts it, in the group of those that other nodes can talk to.
    pub(super) async fn start(node: String, clock: Arc<dyn Clock>) -> Result<ActorRef<HostMessage>, SpawnErr> {
        let name = format!("{}/{node}", super::GROUP);
        let (host, _) = Actor::spawn(Some(name), Self { node, clock, leaving: AtomicBool::new(false) }, ()).await?;
        host.send_interval(TIDY, || HostMessage::Tidy);
        ractor::pg::join(super::GROUP.to_owned(), vec![host.get_cell()]);
        Ok(host)
    }

    fn asked(&self, bytes: &[u8], reply: RpcReplyPort<Vec<u8>>, seats: &mut Seats<Port>) -> (Option<Seat>, Said<Port>) {
        match wire::read::<Ask>(bytes) {
            Ok(Ask::Take { seat, ticket, node, until }) => {
                let left = u64::try_from(until.saturating_sub(self.clock.now().millis())).unwrap_or(0);
                let now = Instant::now();
                let until = now + Duration::from_millis(left).min(WAIT);
                (Some(seat), seats.take(seat, ticket, node, until, Port::There(reply), now))
            }
            Ok(Ask::Ping { .. }) => {
                let pong = Answer::Pong { node: self.node.clone(), leaving: self.leaving.load(Ordering::Relaxed) };
                (None, vec![(Port::There(reply), pong)])
            }
            Err(Unread::Version(_) | Unread::Garbage) => {
                let _ = reply.send(wire::other_version());
                (None, Vec::new())
            }
        }
    }
}

impl Actor for Host {
    type Msg = HostMessage;
    type State = Seats<Port>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<HostMessage>, (): ()) -> Result<Seats<Port>, ActorProcessingErr> {
        Ok(Seats::new())
    }

    async fn handle(&self, me: ActorRef<HostMessage>, message: HostMessage, seats: &mut Seats<Port>) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        let (touched, said) = match message {
            HostMessage::Ask(bytes, reply) => self.asked(&bytes, reply, seats),
            HostMessage::Tell(bytes) => match wire::read::<Tell>(&bytes) {
                Ok(Tell::Give { seat, ticket }) => (Some(seat), seats.give(seat, ticket, now)),
                // Nobody waits for an answer; the turn ends by itself.
                Err(_) => (None, Vec::new()),
            },
            HostMessage::Take(seat, ticket, port) => {
                (Some(seat), seats.take(seat, ticket, self.node.clone(), now + WAIT, Port::Here(port), now))
            }
            HostMessage::Give(seat, ticket) => (Some(seat), seats.give(seat, ticket, now)),
            HostMessage::Look(seat) => {
                seats.looked(seat);
                (Some(seat), seats.look(seat, now))
            }
            HostMessage::Gone(node) => (None, seats.gone(&node, now)),
            HostMessage::Leave => {
                self.leaving.store(true, Ordering::Relaxed);
                (None, Vec::new())
            }
            HostMessage::Tidy => {
                seats.tidy(now);
                (None, Vec::new())
            }
        };
        for (port, answer) in said {
            port.send(&answer);
        }
        if let Some(seat) = touched
            && let Some(at) = seats.next_look(seat)
        {
            me.send_after(at.saturating_duration_since(now), move || HostMessage::Look(seat));
        }
        Ok(())
    }
}
