//! The parent of all actors: a child that fails is logged and counted. The directory starts its successor when it is asked next.

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

struct Parent;

/// There is none. (`()` would be a message that can cross between nodes, and the actor mirrored on all of them.)
enum Nothing {}

impl ractor::Message for Nothing {}

impl Actor for Parent {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(&self, _: ActorRef<Nothing>, event: SupervisionEvent, (): &mut ()) -> Result<(), ActorProcessingErr> {
        // Any error here would take the parent down, and all children with it.
        if let SupervisionEvent::ActorFailed(who, error) = event {
            tracing::error!(actor = %who.get_id(), %error, "an actor failed; its successor reads again");
            metrics::counter!("qeetid_actor_failures_total").increment(1);
        }
        Ok(())
    }
}

/// The parent of all actors of this node.
#[derive(Debug, Clone)]
pub struct Supervisor(ActorCell);

impl Supervisor {
    /// Starts it.
    ///
    /// # Errors
    /// What ractor says if it can't.
    pub async fn start() -> Result<Self, ractor::SpawnErr> {
        let (parent, _) = Actor::spawn(None, Parent, ()).await?;
        Ok(Self(parent.get_cell()))
    }

    /// For linking children.
    pub fn cell(&self) -> ActorCell {
        self.0.clone()
    }

    /// Stops it, and with it every child that is left.
    pub fn stop(&self) {
        self.0.stop(None);
    }
}
