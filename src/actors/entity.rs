//! What all actors of ours have in common: a keyed thing that takes one command at a time, and the ractor shell around it.

use crate::store::{Certainty, StoreError, deadline};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    hash::Hash,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Whether the actor goes on after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Take the next one.
    Continue,
    /// What it knows may be wrong (a write of unknown outcome): stop; the successor reads again, and takes over who waits.
    Stop,
}

/// A thing with a key that takes commands one at a time.
pub trait Entity: Send + Sync + Sized + 'static {
    /// Stable name of the kind, for metrics and logs.
    const KIND: &'static str;
    /// Names one.
    type Key: Copy + Eq + Hash + Send + Sync + 'static;
    /// What it takes. Cloned so that it can be handed to a successor.
    type Command: Clone + Send + 'static;
    /// What it answers.
    type Reply: Send + 'static;
    /// Does one command and answers, or keeps `reply` to answer later. `me` is where it can leave word for itself.
    fn handle(&mut self, command: Self::Command, reply: ReplyTo<Self::Reply>, me: &Me<Self>) -> impl Future<Output = Next> + Send;
}

/// Where the answer goes. Dropped without an answer, the asker learns whether his command had begun.
#[derive(Debug)]
pub struct ReplyTo<R> {
    sender: oneshot::Sender<R>,
    begun: Arc<AtomicBool>,
}

impl<R> ReplyTo<R> {
    /// Answers; an asker who left is no error.
    pub fn send(self, reply: R) {
        let _ = self.sender.send(reply);
    }
    /// Nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
    /// The command waits again without having done anything: if the actor goes, the successor may take it.
    pub fn not_begun(&self) {
        self.begun.store(false, Ordering::Release);
    }
}

/// An actor's own address: commands that nobody waits for, past the bound on who may wait. For a few words to oneself, not for others' requests.
pub struct Me<E: Entity>(ActorRef<Envelope<E>>);

impl<E: Entity> Clone for Me<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Entity> Me<E> {
    /// Puts a command at the end of the row. An actor that is gone hears nothing: its successor knows nothing of it either.
    pub fn tell(&self, command: E::Command) {
        let (mut envelope, _, _) = Envelope::pack(command);
        (envelope.asked, envelope.ends) = (false, None);
        let _ = self.0.send_message(envelope);
    }
    /// The same, later.
    pub fn tell_after(&self, time: Duration, command: E::Command) {
        let me = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            me.tell(command);
        });
    }
}

/// A command on its way.
pub struct Envelope<E: Entity> {
    command: E::Command,
    reply: ReplyTo<E::Reply>,
    /// Somebody waits for the answer, or did.
    asked: bool,
    /// When the time of his request is over.
    ends: Option<Instant>,
}

/// A message for actors of this process alone: what is remotable is mirrored on every other node.
impl<E: Entity> ractor::Message for Envelope<E> {}

impl<E: Entity> Envelope<E> {
    /// Packs a command; the receiver gets the answer, the flag tells whether the actor has begun with it.
    pub fn pack(command: E::Command) -> (Self, oneshot::Receiver<E::Reply>, Arc<AtomicBool>) {
        let (sender, receiver) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        (Self { command, reply: ReplyTo { sender, begun: begun.clone() }, asked: true, ends: deadline::ends() }, receiver, begun)
    }
}

/// The ractor shell around an entity.
pub struct Shell<E>(PhantomData<E>);

impl<E> Default for Shell<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Entity> Actor for Shell<E> {
    type Msg = Envelope<E>;
    type State = E;
    type Arguments = E;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, entity: E) -> Result<E, ActorProcessingErr> {
        Ok(entity)
    }

    async fn handle(&self, myself: ActorRef<Self::Msg>, envelope: Envelope<E>, entity: &mut E) -> Result<(), ActorProcessingErr> {
        if envelope.asked && envelope.reply.is_abandoned() {
            return Ok(());
        }
        envelope.reply.begun.store(true, Ordering::Release);
        let me = Me(myself);
        if deadline::until(envelope.ends, entity.handle(envelope.command, envelope.reply, &me)).await == Next::Stop {
            me.0.stop(None);
        }
        Ok(())
    }
}

/// Runs a store command; if its outcome is unknown (and the request still has time), runs it once more under the same command id, by
/// which it knows its own work.
///
/// # Errors
/// What the store said. A rerun that wrote nothing leaves it unknown what the first run did.
pub async fn settled<T, F: Future<Output = Result<T, StoreError>>>(run: impl Fn() -> F) -> Result<T, StoreError> {
    match run().await {
        Err(first) if first.certainty == Certainty::Maybe && !deadline::is_over() => {
            run().await.map_err(|second| StoreError::maybe(format!("{}; again: {}", first.detail, second.detail)))
        }
        other => other,
    }
}

/// Goes on after an answer, unless the outcome of a write is unknown.
pub fn next_after<T>(outcome: &Result<T, StoreError>) -> Next {
    match outcome {
        Err(e) if e.certainty == Certainty::Maybe => Next::Stop,
        _ => Next::Continue,
    }
}
