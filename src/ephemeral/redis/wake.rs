//! Wakes the readers of revocations by PUBLISH and SUBSCRIBE.

use super::{Redis, address::Address, link::Link};
use crate::ephemeral::{EphemeralError, Result, wake::Wake};
use ::redis::RedisError;
use async_trait::async_trait;
use futures_util::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

/// Between two tries to subscribe.
const PAUSE: Duration = Duration::from_secs(1);
/// A subscription must be made within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that was silent for so long may have lost its server without being told: a new one is made.
const SILENCE: Duration = Duration::from_secs(60);

/// The channel of an installation. Its two tasks end with it.
pub struct RedisWake {
    to_tell: Arc<Notify>,
    told: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Redis {
    /// Subscribes, now and again whenever that is needed. Within a runtime.
    pub fn wake(&self) -> RedisWake {
        let (to_tell, told, channel) = (Arc::new(Notify::new()), Arc::new(Notify::new()), format!("{}:revocations", self.prefix));
        let mut tasks = JoinSet::new();
        tasks.spawn(publish(self.link.clone(), channel.clone(), to_tell.clone()));
        tasks.spawn(subscribe(self.address.clone(), channel, told.clone()));
        RedisWake { to_tell, told, _tasks: tasks }
    }
}

#[async_trait]
impl Wake for RedisWake {
    fn tell(&self) {
        self.to_tell.notify_one();
    }
    async fn told(&self) {
        self.told.notified().await;
    }
}

/// However often it was told meanwhile, that is one message.
async fn publish(link: Arc<Link>, channel: String, to_tell: Arc<Notify>) {
    loop {
        to_tell.notified().await;
        // A lost one costs a reader half a second.
        let _: Result<i64> = link.command("PUBLISH", &[&channel, ""]).await;
    }
}

async fn subscribe(address: Address, channel: String, told: Arc<Notify>) {
    for host in 0.. {
        if let Err(e) = listen(&address, host, &channel, &told).await {
            tracing::debug!(error = %e, "no subscription to revocations");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the subscription ends.
async fn listen(address: &Address, host: usize, channel: &str, told: &Notify) -> Result<()> {
    let failed = |e: RedisError| EphemeralError(e.to_string());
    let subscribing = async {
        let mut subscription = address.client(host)?.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(subscription)
    };
    let late = |_| EphemeralError(format!("no answer within {PATIENCE:?}"));
    let subscription = timeout(PATIENCE, subscribing).await.map_err(late)?.map_err(failed)?;
    let mut messages = subscription.into_on_message();
    while let Ok(Some(_)) = timeout(SILENCE, messages.next()).await {
        told.notify_one();
    }
    Ok(())
}
