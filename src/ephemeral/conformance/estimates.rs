//! Limits above [`EXACT_UP_TO`](crate::ephemeral::EXACT_UP_TO): estimated from two fixed windows.

use super::*;
use crate::ephemeral::{Ephemeral, Limit};
use std::sync::Arc;

type Store = Arc<dyn Ephemeral>;

const HUNDRED: Limit = Limit { name: "conformance_hundred", max: 100, window: MINUTE };

/// Hits until it is refused; how often it was let in.
async fn fill(store: &Store, who: &Subject, now: Timestamp) -> u32 {
    for n in 0..=200 {
        if !store.hit(&HUNDRED, who, now).await.unwrap().allowed {
            return n;
        }
    }
    panic!("no end")
}

pub(crate) async fn a_large_limit_is_kept_within_a_window(store: Store) {
    let (who, now) = (fresh_subject(), start());
    for n in 0..100 {
        let decision = store.hit(&HUNDRED, &who, after(now, n * 100)).await.unwrap();
        assert_eq!((decision.allowed, decision.limit, i64::from(decision.remaining)), (true, 100, 99 - n));
    }
    for millis in [10_000, 30_000, 59_999] {
        let refused = store.hit(&HUNDRED, &who, after(now, millis)).await.unwrap();
        assert_eq!((refused.allowed, refused.remaining), (false, 0), "{millis}");
    }
    assert_eq!(fill(&store, &who, after(now, 180_000)).await, 100, "two windows later nothing of it counts");
}

pub(crate) async fn the_older_window_weighs_by_its_overlap(store: Store) {
    let now = start();
    for (part, expected) in [(0, 0), (15_000, 25), (30_000, 50), (45_000, 75), (59_400, 99)] {
        let who = fresh_subject();
        assert_eq!(fill(&store, &who, after(now, 20_000)).await, 100);
        let let_in = fill(&store, &who, after(now, 60_000 + part)).await;
        assert!(let_in.abs_diff(expected) <= 1, "{let_in} at {part} ms into the next window, {expected} is its share");
    }
}

pub(crate) async fn the_reset_time_is_true(store: Store) {
    for (first, then) in [(0, 0), (0, 20_000), (59_999, 60_000), (59_999, 75_123), (10, 119_000)] {
        let (who, now) = (fresh_subject(), start());
        fill(&store, &who, after(now, first)).await;
        fill(&store, &who, after(now, then)).await;
        let refused = store.peek(&HUNDRED, &who, after(now, then)).await.unwrap();
        assert!(!refused.allowed);
        let wait = i64::try_from(refused.reset_after.as_millis()).unwrap();
        assert!((1..=120_000).contains(&wait), "{wait} ms");
        let at = after(now, then + wait);
        let allowed = store.hit(&HUNDRED, &who, at).await.unwrap();
        assert!(allowed.allowed, "filled at {first} and {then}: one more after {wait} ms was promised");
        let over = i64::try_from(allowed.reset_after.as_millis()).unwrap();
        assert!((1..=120_000).contains(&over), "{over} ms");
        let empty = store.peek(&HUNDRED, &who, after(at, over)).await.unwrap();
        assert_eq!((empty.remaining, empty.allowed), (100, true), "filled at {first} and {then}: nothing left after {over} ms more");
    }
}

pub(crate) async fn places_given_back(store: Store) {
    let (who, now) = (fresh_subject(), start());
    store.give_back(&HUNDRED, &who, now).await.unwrap();
    assert_eq!(fill(&store, &who, now).await, 100);
    for _ in 0..7 {
        store.give_back(&HUNDRED, &who, now).await.unwrap();
    }
    assert_eq!(fill(&store, &who, now).await, 7);
    for _ in 0..300 {
        store.give_back(&HUNDRED, &who, now).await.unwrap();
    }
    assert_eq!(fill(&store, &who, now).await, 100, "never below zero");
}

pub(crate) async fn sixty_four_at_once(store: Store) {
    super::limits::at_once(store, Limit { name: "conformance_fifty", max: 50, window: MINUTE }).await;
}
