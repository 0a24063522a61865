//! Takes jobs, sends each in a task of its own, and settles them.

use super::{
    OutboxDeps, pauses,
    prepare::{Prepared, Preparing, Trouble},
};
use crate::{
    domain::{outbox::Job, time::Timestamp},
    gateway::DeliveryError,
    store,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    task::{self, JoinSet},
    time::{Instant, MissedTickBehavior},
};

/// So many at once: one slow mail stalls nobody.
const IN_FLIGHT: usize = 16;
/// Above everything that one delivery may take, so that nobody else takes the job meanwhile.
const LEASE: Duration = Duration::from_secs(60);
/// All of one delivery: reads, sending (SMTP 30 s, Twilio 15 s).
const DELIVERY: Duration = Duration::from_secs(45);
/// Jobs that nobody woke us for: retries that are due, other nodes' jobs, leases that ended.
const POLL: Duration = Duration::from_secs(1);
/// How often the gauges are set.
const GAUGES: Duration = Duration::from_secs(5);

/// Runs until `stopping`, and then until nothing is in flight.
pub(super) async fn run(deps: Arc<OutboxDeps>, wake: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
    let mut flight = JoinSet::new();
    let mut jobs: HashMap<task::Id, Job> = HashMap::new();
    let mut tick = tokio::time::interval(POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gauges_at = Instant::now();
    let mut look = true;
    while !*stopping.borrow() {
        if look {
            look = take(&deps, &mut flight, &mut jobs).await;
        }
        if Instant::now() >= gauges_at {
            gauges_at = Instant::now() + GAUGES;
            set_gauges(&deps).await;
        }
        tokio::select! {
            () = wake.notified() => look = true,
            _ = tick.tick() => look = true,
            Some(done) = flight.join_next_with_id() => landed(&deps, &mut jobs, done).await,
            // An error: all handles are gone.
            changed = stopping.changed() => if changed.is_err() { break },
        }
    }
    while let Some(done) = flight.join_next_with_id().await {
        landed(&deps, &mut jobs, done).await;
    }
}

/// Fills the free places with due jobs; `true` if there may be more than fitted.
async fn take(deps: &Arc<OutboxDeps>, flight: &mut JoinSet<()>, jobs: &mut HashMap<task::Id, Job>) -> bool {
    let free = IN_FLIGHT.saturating_sub(flight.len());
    if free == 0 {
        return true;
    }
    let leased = deps.store.lease_jobs(deps.clock.now(), LEASE, u32::try_from(free).unwrap_or(1)).await;
    let leased = leased.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "the outbox can't read its jobs");
        Vec::new()
    });
    let full = leased.len() == free;
    for job in leased {
        let task = flight.spawn(handle(deps.clone(), job.clone()));
        jobs.insert(task.id(), job);
    }
    full
}

type Landed = Result<(task::Id, ()), task::JoinError>;

/// A task is over. One that panicked left its job unsettled.
async fn landed(deps: &OutboxDeps, jobs: &mut HashMap<task::Id, Job>, done: Landed) {
    match done {
        Ok((id, ())) => drop(jobs.remove(&id)),
        Err(e) => {
            if let Some(job) = jobs.remove(&e.id()) {
                metrics::counter!("qeetid_actor_failures_total").increment(1);
                settle(deps, &job, Outcome::Failed(Trouble { permanent: false, detail: "the delivery panicked".into() })).await;
            }
        }
    }
}

enum Outcome {
    Sent,
    Dead(&'static str),
    Failed(Trouble),
}

async fn handle(deps: Arc<OutboxDeps>, job: Job) {
    let outcome = tokio::time::timeout(DELIVERY, deliver(&deps, &job))
        .await
        .unwrap_or_else(|_| Outcome::Failed(Trouble { permanent: false, detail: format!("not done within {} s", DELIVERY.as_secs()) }));
    settle(&deps, &job, outcome).await;
}

async fn deliver(deps: &OutboxDeps, job: &Job) -> Outcome {
    let now = deps.clock.now();
    let (sent, counted) = match (Preparing { deps, job, now }).run().await {
        Ok(Prepared::Dead(why)) => return Outcome::Dead(why),
        Ok(Prepared::Mail(mail)) => (deps.mailer.send(mail).await, None),
        Ok(Prepared::CountedMail(mail, limit, who)) => (deps.mailer.send(mail).await, Some((limit, who))),
        Ok(Prepared::Sms(sms)) => (deps.sms.send(sms).await, None),
        Err(trouble) => return Outcome::Failed(trouble),
    };
    match sent {
        Ok(()) => Outcome::Sent,
        Err(DeliveryError { permanent, detail }) => {
            if let Some((limit, who)) = counted {
                // The retry counts it again. If this fails too, one fewer goes out today.
                let _ = deps.ephemeral.give_back(limit, &who, now).await;
            }
            Outcome::Failed(Trouble { permanent, detail })
        }
    }
}

/// Writes down what became of the job. If the store can't, the lease ends and the message goes out again: rather twice than
/// never, and a second mail has the Message-ID of the first.
async fn settle(deps: &OutboxDeps, job: &Job, outcome: Outcome) {
    let (kind, id, attempt) = (job.message.name(), job.id, job.attempts);
    let (outcome, written) = match outcome {
        Outcome::Sent => {
            tracing::info!(kind, job = %id, attempt, "message sent");
            ("sent", insist(|| deps.store.finish_job(id)).await)
        }
        Outcome::Dead(why) => {
            if attempt > 1 {
                tracing::warn!(kind, job = %id, attempt, why, "message dropped: it was dead before it could be delivered");
            } else {
                tracing::debug!(kind, job = %id, "nothing to send");
            }
            ("dead", insist(|| deps.store.finish_job(id)).await)
        }
        Outcome::Failed(trouble) => {
            let detail: String = trouble.detail.chars().take(500).collect();
            let again: Option<Timestamp> = if trouble.permanent { None } else { pauses::next_try(job, deps.clock.now(), &*deps.rng) };
            if let Some(at) = again {
                tracing::warn!(kind, job = %id, attempt, detail, again_at = %at, "message not delivered; it will be tried again");
                ("retried", insist(|| deps.store.retry_job(id, at, &detail)).await)
            } else {
                tracing::error!(kind, job = %id, attempt, detail, "message not delivered; parked");
                ("parked", insist(|| deps.store.park_job(id, &detail)).await)
            }
        }
    };
    metrics::counter!("qeetid_outbox_messages_total", "kind" => kind, "outcome" => outcome).increment(1);
    if let Err(e) = written {
        tracing::warn!(kind, job = %id, outcome, error = %e, "the outcome of a delivery couldn't be written");
    }
}

/// Three times within the lease: a store that stutters shouldn't cost a second mail.
async fn insist<F: Future<Output = store::Result<()>>>(write: impl Fn() -> F) -> store::Result<()> {
    for pause in [250, 1500] {
        match write().await {
            Ok(()) => return Ok(()),
            Err(_) => tokio::time::sleep(Duration::from_millis(pause)).await,
        }
    }
    write().await
}

async fn set_gauges(deps: &OutboxDeps) {
    if let Ok(counts) = deps.store.outbox_counts().await {
        metrics::gauge!("qeetid_outbox_pending").set(counts.pending as f64);
        metrics::gauge!("qeetid_outbox_parked").set(counts.parked as f64);
    }
}
