//! The directory and the shell, with an entity that can be told to fail, to hang and to keep its answer.

use super::{
    directory::{AskError, Bounds, Directory},
    entity::{Entity, Me, Next, ReplyTo, settled},
    supervisor::Supervisor,
};
use crate::{
    domain::network::Network,
    store::{Certainty, StoreError, deadline},
};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

#[derive(Clone, Debug)]
enum Do {
    Add,
    /// Answers when there is a permit.
    Wait(Arc<Semaphore>),
    Panic,
    StopAfter,
    Park,
    /// Answers 1 if the time of the request is over.
    Look,
}

struct Counter {
    seen: u32,
    parked: Vec<ReplyTo<u32>>,
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Key = u32;
    type Command = Do;
    type Reply = u32;

    async fn handle(&mut self, command: Do, reply: ReplyTo<u32>, _: &Me<Self>) -> Next {
        self.seen += 1;
        match command {
            Do::Add => reply.send(self.seen),
            Do::Wait(gate) => {
                drop(gate.acquire().await.unwrap());
                reply.send(self.seen);
            }
            Do::Panic => panic!("told to"),
            Do::StopAfter => {
                reply.send(self.seen);
                return Next::Stop;
            }
            Do::Look => reply.send(u32::from(deadline::is_over())),
            Do::Park => {
                reply.not_begun();
                self.parked.push(reply);
            }
        }
        Next::Continue
    }
}

async fn directory(bounds: Bounds) -> (Arc<Directory<Counter>>, Arc<AtomicU32>) {
    let made = Arc::new(AtomicU32::new(0));
    let supervisor = Supervisor::start().await.unwrap();
    let counting = made.clone();
    let directory = Directory::new(&supervisor, bounds, move |_| {
        counting.fetch_add(1, Ordering::SeqCst);
        Counter { seen: 0, parked: Vec::new() }
    });
    (directory, made)
}

const NET: Network = Network::V4([192, 0, 2, 1]);

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Asks, and comes back without the answer: the question has its place then.
async fn asked<F: Future>(asking: F) -> Pin<Box<F>> {
    let mut asking = Box::pin(asking);
    poll_fn(|cx| {
        assert!(asking.as_mut().poll(cx).is_pending(), "answered at once");
        Poll::Ready(())
    })
    .await;
    asking
}

#[tokio::test]
async fn one_actor_a_key_keeps_its_state() {
    let (d, made) = directory(Bounds::default()).await;
    for n in 1..=3 {
        assert_eq!(d.ask(1, None, Do::Add).await, Ok(n));
    }
    assert_eq!(d.ask(2, None, Do::Add).await, Ok(1));
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_crash_costs_the_one_command_and_nothing_more() {
    let (d, made) = directory(Bounds::default()).await;
    // The first one keeps the others waiting until all of them are in the row.
    let gate = Arc::new(Semaphore::new(0));
    let mut asks = Vec::new();
    for command in [Do::Wait(gate.clone()), Do::Panic, Do::Add, Do::Add] {
        asks.push(asked(d.ask(1, None, command)).await);
    }
    gate.add_permits(1);
    let answers = futures_util::future::join_all(asks).await;
    assert_eq!(answers[..2], [Ok(1), Err(AskError::Failed)]);
    assert!(answers[2..].iter().all(Result::is_ok), "who waited was handed to the successor: {answers:?}");
    assert_eq!(made.load(Ordering::SeqCst), 2);
    assert!(d.ask(1, None, Do::Add).await.is_ok());
}

#[tokio::test]
async fn who_waits_when_the_actor_stops_goes_to_the_successor() {
    let (d, made) = directory(Bounds::default()).await;
    let parked = tokio::spawn({
        let d = d.clone();
        async move { d.ask(1, None, Do::Park).await }
    });
    until("the first has come to its actor", || made.load(Ordering::SeqCst) == 1).await;
    assert_eq!(d.ask(1, None, Do::StopAfter).await, Ok(2));
    until("it has come to the successor", || made.load(Ordering::SeqCst) == 2).await;
    // Parked again there: still waiting, not failed.
    assert_eq!(d.ask(1, None, Do::Add).await, Ok(2));
    assert!(!parked.is_finished());
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn places_are_bounded_and_no_network_takes_more_than_half() {
    let (d, _) = directory(Bounds { places: 4, ..Bounds::default() }).await;
    let gate = Arc::new(Semaphore::new(0));
    let slow = |network| asked(d.ask(1, network, Do::Wait(gate.clone())));
    let held = [slow(Some(NET)).await, slow(Some(NET)).await];
    assert_eq!(d.ask(1, Some(NET), Do::Add).await, Err(AskError::NetworkShare));
    let more = [slow(None).await, slow(None).await];
    assert_eq!(d.ask(1, None, Do::Add).await, Err(AskError::Full));
    gate.add_permits(1);
    let answers = futures_util::future::join_all(held.into_iter().chain(more)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(d.ask(1, Some(NET), Do::Add).await.is_ok());
}

#[tokio::test]
async fn idle_actors_stop_and_the_number_is_capped() {
    let (d, made) = directory(Bounds { idle: Duration::from_millis(100), actors: 32, ..Bounds::default() }).await;
    for key in 0..500 {
        assert!(d.ask(key, None, Do::Add).await.is_ok());
    }
    assert!(d.live() <= 32, "{}", d.live());
    until("none is left", || d.live() == 0).await;
    assert_eq!(made.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    // The next answer has to come within that: on a busy machine it may take a moment.
    let (d, _) = directory(Bounds { patience: Duration::from_secs(1), ..Bounds::default() }).await;
    assert_eq!(d.ask(1, None, Do::Park).await, Err(AskError::TooSlow));
    assert_eq!(d.ask(1, None, Do::Add).await, Ok(2));
}

#[tokio::test]
async fn the_time_of_a_request_goes_along_with_what_it_asks() {
    let (directory, _) = directory(Bounds::default()).await;
    assert_eq!(directory.ask(1, None, Do::Look).await, Ok(0), "nobody's request");
    let now = Instant::now();
    assert_eq!(deadline::of_request(now, directory.ask(1, None, Do::Look)).await, Ok(0));
    assert_eq!(deadline::until(Some(now), directory.ask(1, None, Do::Look)).await, Ok(1));
}

#[tokio::test]
async fn what_nobody_knows_stays_unknown_when_the_rerun_writes_nothing() {
    let runs = AtomicU32::new(0);
    let fails = || {
        let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
        let e = if first { StoreError::maybe("no answer") } else { StoreError::certainly_not("resting") };
        std::future::ready(Err::<(), _>(e))
    };
    assert_eq!(settled(fails).await.unwrap_err().certainty, Certainty::Maybe);
    assert_eq!(runs.swap(0, Ordering::SeqCst), 2);
    let over = deadline::until(Some(Instant::now()), settled(fails)).await;
    assert_eq!((over.unwrap_err().certainty, runs.load(Ordering::SeqCst)), (Certainty::Maybe, 1), "there is no time for another run");
}
