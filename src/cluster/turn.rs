//! Asking for a turn, here or at another node, and going on without it.

use super::{
    Cluster,
    host::{HostMessage, WAIT},
    ring::{Member, seat},
    wire::{self, Answer, Ask, Seat, Tell, Ticket},
};
use crate::{
    actors::placement::{NodeTurn, Placement},
    domain::rng,
};
use async_trait::async_trait;
use ractor::{ActorRef, rpc::CallResult};
use std::time::Duration;
use tokio::sync::oneshot;

/// An owner that lives answers within [`WAIT`], if only that the turn can't be had; one that doesn't is taken for gone. With the
/// wait of who stood behind this in the actor's row, nobody waits for two seconds.
const PATIENCE: Duration = Duration::from_millis(1300);

/// A turn that is held (or asked for); given back when dropped.
struct Held {
    host: ActorRef<HostMessage>,
    seat: Seat,
    ticket: Ticket,
}

impl Drop for Held {
    fn drop(&mut self) {
        // An owner that is gone has forgotten it.
        let _ = if self.host.get_id().is_local() {
            self.host.cast(HostMessage::Give(self.seat, self.ticket))
        } else {
            self.host.cast(HostMessage::Tell(wire::write(&Tell::Give { seat: self.seat, ticket: self.ticket })))
        };
    }
}

#[async_trait]
impl Placement for Cluster {
    async fn turn(&self, kind: &'static str, key: &[u8]) -> NodeTurn {
        let ring = self.members.ring();
        let seat = seat(kind, key);
        let Some(owner) = ring.owner(seat).filter(|_| ring.len() > 1) else {
            // Nobody else is there: the actor is all the order that is needed.
            metrics::counter!("qeetid_cluster_local_total").increment(1);
            return NodeTurn::none();
        };
        // Made before it is asked for: whatever becomes of the question, the turn is given back.
        let held = Held { host: owner.host.clone(), seat, ticket: Ticket(u128::from_be_bytes(rng::bytes(&*self.rng))) };
        let answer = if held.host.get_id().is_local() { self.here(&held).await } else { self.there(owner, &held).await };
        match answer {
            Ok(()) => {
                let name = if held.host.get_id().is_local() { "qeetid_cluster_local_total" } else { "qeetid_cluster_forwarded_total" };
                metrics::counter!(name).increment(1);
                NodeTurn::held(held)
            }
            Err(why) => {
                metrics::counter!("qeetid_cluster_fallback_total", "why" => why).increment(1);
                tracing::debug!(kind, owner = owner.name, why, "a command runs without a turn");
                NodeTurn::none()
            }
        }
    }
}

impl Cluster {
    async fn here(&self, held: &Held) -> Result<(), &'static str> {
        let (port, answer) = oneshot::channel();
        held.host.cast(HostMessage::Take(held.seat, held.ticket, port)).map_err(|_| "gone")?;
        match answer.await {
            Ok(Answer::Turn) => Ok(()),
            Ok(Answer::Busy) => Err("busy"),
            Ok(_) => Err("full"),
            Err(_) => Err("gone"),
        }
    }

    async fn there(&self, owner: &Member, held: &Held) -> Result<(), &'static str> {
        let until = self.clock.now().plus(WAIT).millis();
        let ask = Ask::Take { seat: held.seat, ticket: held.ticket, node: self.members.me().to_owned(), until };
        let bytes = wire::write(&ask);
        match held.host.call(|port| HostMessage::Ask(bytes, port), Some(PATIENCE)).await {
            Ok(CallResult::Success(bytes)) => match wire::read_answer(&bytes) {
                Ok(Answer::Turn) => Ok(()),
                Ok(Answer::Busy) => Err("busy"),
                Ok(Answer::Full) => Err("full"),
                Ok(Answer::Version(_)) => Err("version"),
                Ok(Answer::Pong { .. }) | Err(_) => Err("garbage"),
            },
            Ok(CallResult::Timeout) => {
                // Until it answers a ping, nobody else waits for it.
                self.members.suspect(&owner.name);
                Err("slow")
            }
            Ok(CallResult::SenderError) | Err(_) => {
                self.members.look_again();
                Err("gone")
            }
        }
    }
}
