//! Limits that are counted exactly (up to [`EXACT_UP_TO`]), and what holds for all.

use super::*;
use crate::ephemeral::{EXACT_UP_TO, Ephemeral, Limit};
use std::sync::Arc;

type Store = Arc<dyn Ephemeral>;

const THREE: Limit = Limit { name: "conformance_three", max: 3, window: MINUTE };
const ONE: Limit = Limit { name: "conformance_one", max: 1, window: MINUTE };

/// Hits; whether it was let in, what is left, and the milliseconds to the reset.
async fn hit(store: &Store, limit: &Limit, who: &Subject, now: Timestamp) -> (bool, u32, u128) {
    let decision = store.hit(limit, who, now).await.unwrap();
    assert_eq!(decision.limit, limit.max);
    (decision.allowed, decision.remaining, decision.reset_after.as_millis())
}

pub(crate) async fn so_many_and_no_more(store: Store) {
    for max in [1, 2, 3, EXACT_UP_TO] {
        let (limit, who, now) = (Limit { max, ..THREE }, fresh_subject(), start());
        for n in 0..max {
            assert_eq!(hit(&store, &limit, &who, now).await, (true, max - n - 1, 60_000), "{n} of {max}");
        }
        assert_eq!(hit(&store, &limit, &who, now).await, (false, 0, 60_000), "{max}");
    }
}

pub(crate) async fn the_window_slides_over_each_one(store: Store) {
    let (who, now) = (fresh_subject(), start());
    // Not at the start of a window of the clock: none of that matters here.
    let now = after(now, 12_345);
    for (millis, left) in [(0, 2), (10_000, 1), (30_000, 0)] {
        assert_eq!(hit(&store, &THREE, &who, after(now, millis)).await.1, left);
    }
    assert_eq!(hit(&store, &THREE, &who, after(now, 59_999)).await, (false, 0, 1));
    assert_eq!(hit(&store, &THREE, &who, after(now, 60_000)).await, (true, 0, 60_000), "the first one has slid out");
    assert_eq!(hit(&store, &THREE, &who, after(now, 60_000)).await, (false, 0, 10_000));
    assert_eq!(hit(&store, &THREE, &who, after(now, 95_000)).await, (true, 1, 60_000), "two more have");
    assert_eq!(hit(&store, &THREE, &who, after(now, 3_600_000)).await, (true, 2, 60_000), "and after an hour all");
}

pub(crate) async fn a_cool_down_is_exact(store: Store) {
    let (who, now) = (fresh_subject(), after(start(), 59_000));
    assert!(hit(&store, &ONE, &who, now).await.0);
    assert_eq!(hit(&store, &ONE, &who, after(now, 1_500)).await, (false, 0, 58_500));
    assert_eq!(hit(&store, &ONE, &who, after(now, 59_999)).await, (false, 0, 1));
    assert!(hit(&store, &ONE, &who, after(now, 60_000)).await.0);
    assert!(!hit(&store, &ONE, &who, after(now, 119_999)).await.0);
}

pub(crate) async fn refused_ones_are_not_counted(store: Store) {
    let (who, now) = (fresh_subject(), start());
    for _ in 0..3 {
        hit(&store, &THREE, &who, now).await;
    }
    for second in 0..60 {
        assert!(!hit(&store, &THREE, &who, after(now, second * 1_000)).await.0);
    }
    assert_eq!(hit(&store, &THREE, &who, after(now, 60_000)).await, (true, 2, 60_000), "knocking has not prolonged it");
}

pub(crate) async fn a_place_given_back_is_free_and_never_more(store: Store) {
    let (who, now) = (fresh_subject(), start());
    store.give_back(&THREE, &who, now).await.unwrap();
    for _ in 0..3 {
        hit(&store, &THREE, &who, now).await;
    }
    store.give_back(&THREE, &who, now).await.unwrap();
    assert!(hit(&store, &THREE, &who, now).await.0);
    assert!(!hit(&store, &THREE, &who, now).await.0);
    for _ in 0..10 {
        store.give_back(&THREE, &who, now).await.unwrap();
    }
    for n in 0..3 {
        assert_eq!(hit(&store, &THREE, &who, now).await, (true, 2 - n, 60_000), "ten given back of three are three");
    }
    assert!(!hit(&store, &THREE, &who, now).await.0);
}

pub(crate) async fn looking_takes_no_place(store: Store) {
    let (who, now) = (fresh_subject(), start());
    for n in 0..=3u32 {
        for _ in 0..5 {
            let seen = store.peek(&THREE, &who, now).await.unwrap();
            assert_eq!((seen.allowed, seen.limit, seen.remaining), (n < 3, 3, 3 - n));
            let reset = if n == 0 { Duration::ZERO } else { MINUTE };
            assert_eq!(seen.reset_after, reset, "{n} counted");
        }
        assert_eq!(hit(&store, &THREE, &who, now).await.0, n < 3);
    }
    assert_eq!(store.peek(&THREE, &who, after(now, 60_000)).await.unwrap().remaining, 3);
}

pub(crate) async fn names_and_subjects_are_apart(store: Store) {
    let (who, now) = (fresh_subject(), start());
    assert!(hit(&store, &ONE, &who, now).await.0);
    assert!(hit(&store, &Limit { name: "conformance_on", ..ONE }, &who, now).await.0);
    assert!(hit(&store, &Limit { name: "conformance_one_more", ..ONE }, &who, now).await.0);
    let mut near = who;
    near.0[31] ^= 1;
    assert!(hit(&store, &ONE, &near, now).await.0);
    assert!(!hit(&store, &ONE, &who, now).await.0);
}

pub(crate) async fn sixty_four_at_once(store: Store) {
    at_once(store, Limit { max: 10, ..THREE }).await;
}

/// Sixty-four at once, of whom `limit.max` get in, each with another number left.
pub(super) async fn at_once(store: Store, limit: Limit) {
    let (who, now) = (fresh_subject(), start());
    let hits: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { hit(&store, &limit, &who, now).await })
        })
        .collect();
    let mut left = Vec::new();
    for task in hits {
        if let (true, remaining, _) = task.await.unwrap() {
            left.push(remaining);
        }
    }
    left.sort_unstable();
    assert_eq!(left, (0..limit.max).collect::<Vec<_>>());
}

pub(crate) async fn a_clock_that_goes_back_lets_nobody_more_in(store: Store) {
    for limit in [THREE, Limit { max: 100, ..THREE }] {
        let (who, now) = (fresh_subject(), after(start(), 3_600_000));
        let mut allowed = 0;
        for n in 0..200 {
            allowed += u32::from(hit(&store, &limit, &who, after(now, -n * 10)).await.0);
        }
        assert_eq!(allowed, limit.max);
    }
}

pub(crate) async fn a_limit_of_none_lets_nobody_in(store: Store) {
    let (who, now) = (fresh_subject(), start());
    let none = Limit { name: "conformance_none", max: 0, window: MINUTE };
    assert_eq!(hit(&store, &none, &who, now).await, (false, 0, 60_000));
    let seen = store.peek(&none, &who, now).await.unwrap();
    assert_eq!((seen.allowed, seen.remaining, seen.reset_after), (false, 0, MINUTE));
    store.give_back(&none, &who, now).await.unwrap();
    assert_eq!(hit(&store, &none, &who, after(now, 1)).await, (false, 0, 60_000));
}

/// A tenant's budget is a setting: it may be raised and lowered while it is being counted.
pub(crate) async fn a_limit_may_change(store: Store) {
    let (who, now) = (fresh_subject(), start());
    let of = |max| Limit { name: "conformance_budget", max, window: MINUTE };
    for max in [0, 5, 100, 40, 2] {
        let mut tries = 0;
        while hit(&store, &of(max), &who, now).await.0 {
            tries += 1;
            assert!(tries <= 200, "no end at {max}");
        }
        let seen = store.peek(&of(max), &who, now).await.unwrap();
        assert_eq!((seen.allowed, seen.remaining), (false, 0), "{max}");
        assert!(seen.reset_after > Duration::ZERO && seen.reset_after <= 2 * MINUTE);
    }
    assert!(hit(&store, &of(2), &who, after(now, 120_000)).await.0, "what was counted is over");
}

pub(crate) async fn it_answers(store: Store) {
    store.ping().await.unwrap();
    store.sweep(Timestamp::from_millis(10_000 * 86_400_000)).await.unwrap();
}
