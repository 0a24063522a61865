//! What all actors of ours have in common: a keyed thing that takes one command at a time, and the ractor shell around it.

use crate::store::{Certainty, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    hash::Hash,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    /// Does one command and answers, or keeps `reply` to answer later.
    fn handle(&mut self, command: Self::Command, reply: ReplyTo<Self::Reply>) -> impl Future<Output = Next> + Send;
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

/// A command on its way.
pub struct Envelope<E: Entity> {
    command: E::Command,
    reply: ReplyTo<E::Reply>,
}

impl<E: Entity> Envelope<E> {
    /// Packs a command; the receiver gets the answer, the flag tells whether the actor has begun with it.
    pub fn pack(command: E::Command) -> (Self, oneshot::Receiver<E::Reply>, Arc<AtomicBool>) {
        let (sender, receiver) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        (Self { command, reply: ReplyTo { sender, begun: begun.clone() } }, receiver, begun)
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
        if envelope.reply.is_abandoned() {
            return Ok(());
        }
        envelope.reply.begun.store(true, Ordering::Release);
        if entity.handle(envelope.command, envelope.reply).await == Next::Stop {
            myself.stop(None);
        }
        Ok(())
    }
}

/// Runs a store command; if its outcome is unknown, runs it once more under the same command id, by which it knows its own work.
///
/// # Errors
/// What the store said the last time.
pub async fn settled<T, F: Future<Output = Result<T, StoreError>>>(run: impl Fn() -> F) -> Result<T, StoreError> {
    match run().await {
        Err(e) if e.certainty == Certainty::Maybe => run().await,
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
