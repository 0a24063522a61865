//! The outbox: leases, retries, and jobs that come with their commands.

use super::fixture::*;
use crate::{
    domain::{authority::By, ids::JobId, outbox::Job, time::Timestamp},
    store::{commands::*, invites::*},
};
use std::collections::HashSet;

const LEASE: std::time::Duration = secs(60);

async fn enqueued(store: &S, at: Timestamp) -> Job {
    let job = job(at, user_id());
    store.enqueue(&ctx(at), job.clone()).await.unwrap();
    job
}
async fn lease(store: &S, now: Timestamp) -> Vec<Job> {
    store.lease_jobs(now, LEASE, 100).await.unwrap()
}
async fn leased_ids(store: &S, now: Timestamp) -> HashSet<JobId> {
    lease(store, now).await.into_iter().map(|j| j.id).collect()
}
fn tried(job: &Job, attempts: u32) -> Job {
    Job { attempts, ..job.clone() }
}

pub(crate) async fn two_workers_never_get_one_job(store: S) {
    let (t, _alone) = era(&store, 1).await;
    let mut all = HashSet::new();
    for _ in 0..40 {
        all.insert(enqueued(&store, t).await.id);
    }
    let taken = at_once(8, |_| {
        let store = store.clone();
        async move {
            let mut mine = vec![];
            loop {
                let some = store.lease_jobs(t, LEASE, 3).await.unwrap();
                if some.is_empty() {
                    return mine;
                }
                assert!(some.len() <= 3 && some.iter().all(|j| j.attempts == 1));
                mine.extend(some.into_iter().map(|j| j.id));
            }
        }
    })
    .await;
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(taken.len(), 40, "each once");
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), all);
}

pub(crate) async fn a_lease_that_ends_gives_the_job_back(store: S) {
    let (t, _alone) = era(&store, 2).await;
    let job = enqueued(&store, t).await;
    assert_eq!(lease(&store, t.minus(secs(1))).await, [], "it isn't due yet");
    assert_eq!(lease(&store, t).await, [tried(&job, 1)]);
    assert_eq!(lease(&store, t.plus(secs(59))).await, [], "somebody has it");
    assert_eq!(lease(&store, t.plus(secs(60))).await, [tried(&job, 2)]);
    store.finish_job(job.id).await.unwrap();
    assert_eq!(lease(&store, t.plus(days(1))).await, []);
    store.finish_job(job.id).await.unwrap();
}

pub(crate) async fn oldest_first_up_to_the_limit(store: S) {
    let (t, _alone) = era(&store, 3).await;
    let mut jobs = vec![];
    for n in [5, 2, 4, 1, 3] {
        jobs.push(enqueued(&store, t.plus(secs(n))).await);
    }
    jobs.sort_by_key(|j| j.created_at);
    let now = t.plus(secs(10));
    let first: Vec<_> = store.lease_jobs(now, LEASE, 2).await.unwrap().into_iter().map(|j| j.id).collect();
    assert_eq!(first, [jobs[0].id, jobs[1].id]);
    let rest: Vec<_> = lease(&store, now).await.into_iter().map(|j| j.id).collect();
    assert_eq!(rest, [jobs[2].id, jobs[3].id, jobs[4].id]);
}

pub(crate) async fn retried_parked_and_finished(store: S) {
    let (t, _alone) = era(&store, 4).await;
    let before = store.outbox_counts().await.unwrap();
    let (retried, parked, finished) = (enqueued(&store, t).await, enqueued(&store, t).await, enqueued(&store, t).await);
    assert_eq!(lease(&store, t).await.len(), 3);
    store.retry_job(retried.id, t.plus(secs(300)), "connection refused").await.unwrap();
    store.park_job(parked.id, &"ü".repeat(2000)).await.unwrap();
    store.finish_job(finished.id).await.unwrap();
    assert_eq!(lease(&store, t.plus(secs(299))).await, [], "the lease is over, but the pause isn't");
    assert_eq!(lease(&store, t.plus(secs(300))).await, [tried(&retried, 2)]);
    assert_eq!(leased_ids(&store, t.plus(days(100))).await, HashSet::from([retried.id]), "the parked one never comes back");
    let after = store.outbox_counts().await.unwrap();
    assert!(after.parked > before.parked && after.pending > 0);
    for gone in [job_id(), finished.id] {
        store.retry_job(gone, t, "gone").await.unwrap();
        store.park_job(gone, "gone").await.unwrap();
    }
    assert_eq!(leased_ids(&store, t.plus(days(200))).await, HashSet::from([retried.id]));
    store.finish_job(retried.id).await.unwrap();
}

pub(crate) async fn jobs_come_with_their_commands(store: S) {
    let (t, _alone) = era(&store, 5).await;
    let p = signed_up(&store, newcomer(t)).await;
    let mut ids = vec![];
    let mut new_job = |now| {
        let job = job(now, p.user.id);
        ids.push(job.id);
        job
    };
    let pending = PendingSignup {
        id: pending_id(),
        nonce: nonce(),
        email: address(),
        password_hash: hash("p"),
        display_name: None,
        tries: 0,
        created_at: t,
        expires_at: t.plus(secs(600)),
    };
    store.begin_signup(&ctx(t), pending, new_job(t)).await.unwrap();
    let cmd = ChangePassword { job: Some(new_job(t)), ..change_password(&p, 1, "a", None) };
    assert_eq!(store.change_password(&ctx(t), cmd).await.unwrap(), Cas::Done(()));
    let link = linked(&store, &p, 2, t).await;
    let cmd = CompleteReset { jobs: vec![new_job(t)], ..reset(&link, "b") };
    assert!(matches!(store.complete_reset(&ctx(t), cmd).await.unwrap(), Cas::Done(_)));
    let change = email_change(&p, 3, 5, t);
    assert_eq!(store.begin_email_change(&ctx(t), change.clone(), new_job(t)).await.unwrap(), Cas::Done(()));
    let cmd = ConfirmEmailChange { job: new_job(t), ..confirm_change(&change, None) };
    assert_eq!(store.confirm_email_change(&ctx(t), cmd).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
    assert_eq!(leased_ids(&store, t).await, ids.into_iter().collect());
}

pub(crate) async fn a_refused_command_writes_no_job(store: S) {
    let (t, _alone) = era(&store, 6).await;
    let p = signed_up(&store, newcomer(t)).await;
    let cmd = ChangePassword { job: Some(job(t, p.user.id)), ..change_password(&p, 9, "a", None) };
    assert_eq!(store.change_password(&ctx(t), cmd).await.unwrap(), Cas::Stale);
    let mut link = linked(&store, &p, 1, t).await;
    link.id = link_id();
    let cmd = CompleteReset { jobs: vec![job(t, p.user.id)], ..reset(&link, "b") };
    assert_eq!(store.complete_reset(&ctx(t), cmd).await.unwrap(), Cas::Stale);
    assert_eq!(store.begin_email_change(&ctx(t), email_change(&p, 9, 5, t), job(t, p.user.id)).await.unwrap(), Cas::Stale);
    // Nor an invite to a personal tenant.
    let invite = super::invites::invite(p.tenant.id, address(), t);
    let cmd = CreateInvite { by: By::operator(p.tenant.id), invite, job: Some(job(t, p.user.id)), audit: vec![] };
    assert_eq!(store.create_invite(&ctx(t), cmd).await.unwrap(), CreateInviteOutcome::NoTenant);
    assert_eq!(lease(&store, t).await, []);
}
