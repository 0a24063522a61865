//! The client of the breach range API against a server on loopback that does what the real one and the network between can do.

use crate::support::breach::{Answer, BreachServer, sha1_hex};
use futures_util::FutureExt;
use qeetid::{
    domain::breaker::Breaker,
    gateway::breach::{BreachRange, Breached, RangeApi},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const PASSWORD: &str = "violet harbour tangent";

/// With more patience than the second that a look-up may take: the machine may be busy.
async fn server() -> (BreachServer, RangeApi) {
    let server = BreachServer::start().await;
    let api = RangeApi::new(&server.url()).unwrap().with_timeout(Duration::from_secs(60));
    (server, api)
}

/// Waits for a state.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Looks the password up in a task of its own, and counts that it waits for the answer.
fn look_up(api: &Arc<RangeApi>, waiting: &Arc<AtomicUsize>) -> tokio::task::JoinHandle<Breached> {
    let (api, waiting) = (api.clone(), waiting.clone());
    tokio::spawn(async move {
        let mut answer = api.look_up(PASSWORD);
        assert!((&mut answer).now_or_never().is_none(), "the server holds it");
        waiting.fetch_add(1, Ordering::SeqCst);
        answer.await
    })
}

#[tokio::test]
async fn a_breached_one_is_known_and_only_five_digits_leave() {
    let (server, api) = server().await;
    server.breach(PASSWORD, 3);
    assert_eq!(api.look_up(PASSWORD).await, Breached::Yes);
    let hex = sha1_hex(PASSWORD);
    assert_eq!(server.requests(), [(format!("/range/{}", &hex[..5]), true)]);
    assert_eq!(api.look_up("another one altogether").await, Breached::No);
}

#[tokio::test]
async fn padding_is_no_hit() {
    let (server, api) = server().await;
    server.breach(PASSWORD, 0);
    assert_eq!(api.look_up(PASSWORD).await, Breached::No);
}

#[tokio::test]
async fn an_answer_is_kept_and_a_failure_is_not() {
    let (server, api) = server().await;
    server.answer(Answer::Status(503));
    assert_eq!(api.look_up(PASSWORD).await, Breached::Unknown);
    server.answer(Answer::Rows);
    for _ in 0..3 {
        assert_eq!(api.look_up(PASSWORD).await, Breached::No);
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_at_once_are_one_request() {
    let (server, api) = server().await;
    server.breach(PASSWORD, 1);
    server.answer(Answer::Held);
    let (api, waiting) = (Arc::new(api), Arc::default());
    let tasks: Vec<_> = (0..32).map(|_| look_up(&api, &waiting)).collect();
    until("all wait", || waiting.load(Ordering::SeqCst) == 32).await;
    server.release();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Breached::Yes);
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_may_go_away_and_the_others_still_learn_it() {
    let (server, api) = server().await;
    server.breach(PASSWORD, 1);
    server.answer(Answer::Held);
    let (api, waiting) = (Arc::new(api), Arc::default());
    let first = look_up(&api, &waiting);
    until("the server is asked", || server.requests().len() == 1).await;
    let second = look_up(&api, &waiting);
    until("both wait", || waiting.load(Ordering::SeqCst) == 2).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    server.release();
    assert_eq!(second.await.unwrap(), Breached::Yes);
    assert_eq!(server.requests().len(), 2, "it asks in its place");
}

#[tokio::test]
async fn a_service_that_keeps_failing_is_left_alone_and_asked_again_later() {
    let (server, api) = server().await;
    let api = api.with_breaker(Breaker::new(3, Duration::from_secs(2)));
    server.answer(Answer::Status(500));
    for n in 0..10 {
        assert_eq!(api.look_up(&format!("{PASSWORD} {n}")).await, Breached::Unknown);
    }
    assert_eq!(server.requests().len(), 3);
    server.answer(Answer::Rows);
    let (begun, mut answer) = (Instant::now(), Breached::Unknown);
    while answer == Breached::Unknown {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = api.look_up(PASSWORD).await;
    }
    assert_eq!(answer, Breached::No);
    assert_eq!(server.requests().len(), 4, "while it was left alone nobody asked");
}

#[tokio::test]
async fn time_outs_open_the_breaker_too() {
    let (server, api) = server().await;
    let api = api.with_breaker(Breaker::new(2, Duration::from_secs(60))).with_timeout(Duration::from_secs(2));
    server.answer(Answer::Slow(Duration::from_secs(30)));
    for n in 0..5 {
        assert_eq!(api.look_up(&format!("{PASSWORD} {n}")).await, Breached::Unknown);
    }
    assert_eq!(server.requests().len(), 2);
}

/// A second is promised, which a busy machine needs for other things.
mod alone {
    use super::*;

    #[tokio::test]
    async fn what_is_no_answer_is_unknown_in_a_second() {
        for answer in [
            Answer::Slow(Duration::from_secs(30)),
            Answer::Status(500),
            Answer::Status(429),
            Answer::Status(404),
            Answer::Redirect,
            Answer::Huge,
            Answer::Page,
        ] {
            let server = BreachServer::start().await;
            let api = RangeApi::new(&server.url()).unwrap();
            server.breach(PASSWORD, 3);
            server.answer(answer.clone());
            let began = Instant::now();
            assert_eq!(api.look_up(PASSWORD).await, Breached::Unknown, "{answer:?}");
            assert!(began.elapsed() < Duration::from_millis(1500), "{answer:?}: {:?}", began.elapsed());
            assert!(server.requests().iter().all(|(path, _)| path.starts_with("/range/")), "{answer:?}: a redirect was followed");
        }
        let nobody = RangeApi::new("http://127.0.0.1:1").unwrap();
        assert_eq!(nobody.look_up(PASSWORD).await, Breached::Unknown);
    }
}
