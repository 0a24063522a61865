//! Sends what the commands wrote into the outbox: at least once, each message on its own, nothing that is dead by then.
//! `worker` takes jobs and settles them, `prepare` (with `reset`, `invite` and `notices`) makes a message of a job, `pauses` says when to
//! try again.

mod invite;
mod notices;
mod pauses;
mod prepare;
mod reset;
mod worker;

use crate::{
    domain::{keyring::Keyring, rng::Rng, time::Clock},
    ephemeral::{Ephemeral, Limit},
    gateway::{Mailer, SmsSender, templates::Templates},
    store::Store,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
};

/// "You already have an account" goes to an address at most once a day. `Message::AccountExists` was counted by whoever
/// wrote the job; for `Message::SignupRequested` the worker counts, on the same counter.
pub const ACCOUNT_EXISTS: Limit = Limit { name: "account_exists_note", max: 1, window: Duration::from_secs(86_400) };

/// Notes that the password was changed, to one address: whoever can change it again and again must not fill a mailbox.
pub const PASSWORD_CHANGED: Limit = Limit { name: "password_changed_note", max: 10, window: Duration::from_secs(86_400) };

/// What the outbox needs.
pub struct OutboxDeps {
    /// Jobs, and what they are about.
    pub store: Arc<dyn Store>,
    /// Codes.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// Derives codes and links.
    pub keyring: Arc<Keyring>,
    /// Sends mail.
    pub mailer: Arc<dyn Mailer>,
    /// Sends text messages.
    pub sms: Arc<dyn SmsSender>,
    /// The texts.
    pub templates: Arc<Templates>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub rng: Arc<dyn Rng>,
    /// Base of the links (`QEETID_APP_URL`), no slash at its end.
    pub app_url: String,
}

/// Starts the worker of this node.
pub struct Outbox;

impl Outbox {
    /// Starts it on the present tokio runtime. If it panics it is started again a second later.
    pub fn start(deps: OutboxDeps) -> OutboxHandle {
        let (stop, stopping) = watch::channel(false);
        let (deps, wake) = (Arc::new(deps), Arc::new(Notify::new()));
        let supervised = supervise(deps, wake.clone(), stopping);
        OutboxHandle(Arc::new(Inner { wake, stop, worker: Mutex::new(Some(tokio::spawn(supervised))) }))
    }
}

async fn supervise(deps: Arc<OutboxDeps>, wake: Arc<Notify>, stopping: watch::Receiver<bool>) {
    loop {
        let run = worker::run(deps.clone(), wake.clone(), stopping.clone());
        // A task of its own, so that a panic ends up here. Aborted with this one.
        let mut running = AbortOnDrop(tokio::spawn(run));
        match (&mut running.0).await {
            Ok(()) => return,
            Err(_) => {
                tracing::error!("the outbox worker panicked and is started again");
                metrics::counter!("qeetid_actor_failures_total").increment(1);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Inner {
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// The running outbox. When the last handle is dropped it stops as by [`OutboxHandle::stop`], without being waited for.
#[derive(Clone)]
pub struct OutboxHandle(Arc<Inner>);

impl OutboxHandle {
    /// There may be a new job. Cheap, never waits; calls while the worker is busy count as one.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Takes no more jobs and lets those in flight finish, `within` this time. `false`: some were cut off; they will be sent
    /// (perhaps again) when their lease ends.
    pub async fn stop(&self, within: Duration) -> bool {
        let _ = self.0.stop.send(true);
        let Some(worker) = self.0.worker.lock().await.take() else { return true };
        let mut worker = AbortOnDrop(worker);
        tokio::time::timeout(within, &mut worker.0).await.is_ok()
    }
}
