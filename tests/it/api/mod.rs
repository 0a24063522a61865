//! The service as its clients see it: the real binary, over HTTP, on real stores. One module a subject.

mod access;
mod admin;
mod audit;
mod bad_input;
mod commands;
mod crash;
mod delivery;
mod doctor;
mod domains;
mod email;
mod enumeration;
mod guessing;
mod idempotency;
mod import;
mod invites;
mod limits;
mod notices;
mod passwords;
mod people;
mod policy;
mod power;
mod routes;
mod serving;
mod sessions;
mod signup;
mod stored_hashes;
mod tenants_apart;

use std::{
    fmt::Debug,
    pin::Pin,
    time::{Duration, Instant},
};

/// How many of these replies have this status.
fn count(replies: &[crate::support::client::Reply], status: u16) -> usize {
    replies.iter().filter(|r| r.status == status).count()
}

/// Starts all at once, each in a task of its own; the future gives what came of them, in order.
fn all<T: Send + 'static>(
    futures: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Pin<Box<dyn Future<Output = Vec<T>> + Send>> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    Box::pin(async {
        let mut out = Vec::new();
        for task in tasks {
            out.push(task.await.expect("the task ends"));
        }
        out
    })
}

/// Looks again and again until what is there is `right`, and gives that. Two minutes are longer than every lease that is waited for, and
/// far more than anything takes here on a busy machine.
async fn until<T: Debug>(what: &str, look: impl AsyncFn() -> T, right: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    loop {
        let seen = look().await;
        if right(&seen) {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
