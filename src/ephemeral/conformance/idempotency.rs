//! Idempotent requests.

use super::*;
use crate::domain::context::Seed;
use crate::ephemeral::{
    Ephemeral,
    idempotency::{ANSWER_KEPT, Begun, NewRun, RUN_KEPT, RUN_LEASE, RequestName, RunId, Standing},
};
use std::sync::Arc;

type Store = Arc<dyn Ephemeral>;

fn fresh_name() -> RequestName {
    RequestName(rng::bytes(&SystemRng))
}
fn new_run(fingerprint: u8) -> NewRun {
    NewRun { run: RunId(rng::bytes(&SystemRng)), fingerprint: [fingerprint; 32], salt: rng::bytes(&SystemRng) }
}
fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

pub(crate) async fn an_answer_is_given_again_for_a_day(store: Store) {
    let (name, new, now) = (fresh_name(), new_run(1), start());
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Unknown);
    assert_eq!(store.begin_run(&name, new, now).await.unwrap(), Begun::Run { salt: new.salt, began_at: now });
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Busy);
    let (answer, done) = (b"\0sealed\xFF".to_vec(), after(now, 500));
    assert!(store.finish_run(&name, new.run, answer.clone(), done).await.unwrap());
    let end = after(done, ms(ANSWER_KEPT));
    for at in [done, after(end, -1)] {
        assert_eq!(store.begin_run(&name, new_run(1), at).await.unwrap(), Begun::Answered(answer.clone()));
        assert_eq!(store.begin_run(&name, new_run(2), at).await.unwrap(), Begun::Conflict);
        assert_eq!(store.standing(&name, at).await.unwrap(), Standing::Answered);
    }
    assert_eq!(store.standing(&name, end).await.unwrap(), Standing::Unknown);
    let anew = new_run(2);
    assert_eq!(store.begin_run(&name, anew, end).await.unwrap(), Begun::Run { salt: anew.salt, began_at: end });
    assert!(matches!(store.begin_run(&fresh_name(), new_run(9), now).await.unwrap(), Begun::Run { .. }));
}

pub(crate) async fn one_of_sixteen_at_once_runs(store: Store) {
    let (name, now) = (fresh_name(), start());
    let begins: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.begin_run(&name, new_run(1), now).await.unwrap() })
        })
        .collect();
    let mut runs = 0;
    for begin in begins {
        match begin.await.unwrap() {
            Begun::Run { .. } => runs += 1,
            other => assert_eq!(other, Begun::Busy),
        }
    }
    assert_eq!(runs, 1);
}

pub(crate) async fn a_run_that_died_frees_the_request_and_leaves_its_salt(store: Store) {
    let (name, first, second, now) = (fresh_name(), new_run(1), new_run(1), start());
    store.begin_run(&name, first, now).await.unwrap();
    let end = after(now, ms(RUN_LEASE));
    assert_eq!(store.begin_run(&name, second, after(end, -1)).await.unwrap(), Begun::Busy);
    assert_eq!(store.begin_run(&name, new_run(2), after(end, -1)).await.unwrap(), Begun::Conflict, "busy or not");
    assert_eq!(store.standing(&name, end).await.unwrap(), Standing::Left);
    assert_eq!(store.begin_run(&name, second, end).await.unwrap(), Begun::Run { salt: first.salt, began_at: now });
    assert_eq!(store.begin_run(&name, second, end).await.unwrap(), Begun::Run { salt: first.salt, began_at: now }, "he has it");
    // The first one was only slow: it is too late for it.
    assert!(!store.renew_run(&name, first.run, end).await.unwrap());
    assert!(!store.finish_run(&name, first.run, vec![1], end).await.unwrap());
    store.leave_run(&name, first.run, true).await.unwrap();
    assert!(store.finish_run(&name, second.run, vec![2], end).await.unwrap());
    assert!(store.finish_run(&name, second.run, vec![2], end).await.unwrap(), "the answer to the first time was lost");
    assert!(!store.renew_run(&name, second.run, end).await.unwrap());
    store.leave_run(&name, second.run, true).await.unwrap();
    assert_eq!(store.begin_run(&name, new_run(1), end).await.unwrap(), Begun::Answered(vec![2]));
}

pub(crate) async fn a_long_run_is_renewed(store: Store) {
    let (name, new, now) = (fresh_name(), new_run(1), start());
    store.begin_run(&name, new, now).await.unwrap();
    let mut at = now;
    // Past the time for which a run is remembered, too.
    while at < after(now, ms(RUN_KEPT) + 60_000) {
        at = after(at, ms(RUN_LEASE) - 1);
        assert!(store.renew_run(&name, new.run, at).await.unwrap());
        assert_eq!(store.begin_run(&name, new_run(1), at).await.unwrap(), Begun::Busy);
    }
    assert!(store.finish_run(&name, new.run, vec![1], at).await.unwrap());
    assert_eq!(store.standing(&name, after(at, ms(ANSWER_KEPT) - 1)).await.unwrap(), Standing::Answered);
}

pub(crate) async fn a_run_that_gives_up_frees_the_request_at_once(store: Store) {
    let (name, first, now) = (fresh_name(), new_run(1), start());
    store.begin_run(&name, first, now).await.unwrap();
    store.leave_run(&name, RunId([0; 16]), true).await.unwrap();
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Busy, "somebody else can't give it up");
    store.leave_run(&name, first.run, false).await.unwrap();
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Left);
    assert_eq!(store.begin_run(&name, new_run(2), now).await.unwrap(), Begun::Conflict, "it is known still");
    let second = new_run(1);
    let given = store.begin_run(&name, second, after(now, 10)).await.unwrap();
    assert_eq!(given, Begun::Run { salt: first.salt, began_at: now });
    store.leave_run(&name, second.run, true).await.unwrap();
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Unknown);
    let third = new_run(3);
    assert_eq!(store.begin_run(&name, third, now).await.unwrap(), Begun::Run { salt: third.salt, began_at: now });
}

pub(crate) async fn a_run_is_left_to_the_seed_of_another_one(store: Store) {
    let (name, first, now) = (fresh_name(), new_run(1), start());
    let (seed, later) = (Seed { began_at: after(now, -60_000), salt: [7; 16] }, after(now, 10));
    store.begin_run(&name, first, now).await.unwrap();
    store.reseed_run(&name, RunId([0; 16]), seed).await.unwrap();
    assert_eq!(store.standing(&name, now).await.unwrap(), Standing::Busy, "somebody else can't give it up");
    store.reseed_run(&name, first.run, seed).await.unwrap();
    assert_eq!(store.begin_run(&name, new_run(2), later).await.unwrap(), Begun::Conflict);
    let second = new_run(1);
    assert_eq!(store.begin_run(&name, second, later).await.unwrap(), Begun::Run { salt: seed.salt, began_at: seed.began_at });
    assert!(store.finish_run(&name, second.run, vec![1], later).await.unwrap());
    store.reseed_run(&name, second.run, seed).await.unwrap();
    assert_eq!(store.begin_run(&name, new_run(1), later).await.unwrap(), Begun::Answered(vec![1]));
    store.reseed_run(&fresh_name(), first.run, seed).await.unwrap();
}

pub(crate) async fn a_run_is_forgotten_before_the_store_forgets_its_commands(store: Store) {
    let (name, first, now) = (fresh_name(), new_run(1), start());
    store.begin_run(&name, first, now).await.unwrap();
    let end = after(now, ms(RUN_KEPT));
    assert_eq!(store.standing(&name, after(end, -1)).await.unwrap(), Standing::Left);
    assert_eq!(store.standing(&name, end).await.unwrap(), Standing::Unknown);
    let second = new_run(2);
    assert_eq!(store.begin_run(&name, second, end).await.unwrap(), Begun::Run { salt: second.salt, began_at: end });
}

/// Lives years before the other cases, as that of the codes does.
pub(crate) async fn sweeping_takes_only_what_is_over(store: Store) {
    let now = Timestamp::from_millis(9_000 * 86_400_000);
    let (live, over, answered) = (fresh_name(), fresh_name(), fresh_name());
    let (new, old) = (new_run(1), after(now, -ms(RUN_KEPT)));
    store.begin_run(&live, new_run(1), after(old, 1)).await.unwrap();
    store.begin_run(&over, new_run(1), old).await.unwrap();
    store.begin_run(&answered, new, old).await.unwrap();
    store.finish_run(&answered, new.run, vec![1], after(now, 1 - ms(ANSWER_KEPT).min(ms(RUN_KEPT)))).await.unwrap();
    store.sweep(now).await.unwrap();
    assert_eq!(store.standing(&live, now).await.unwrap(), Standing::Left);
    assert_eq!(store.standing(&answered, now).await.unwrap(), Standing::Answered);
    assert_eq!(store.standing(&over, old).await.unwrap(), Standing::Unknown, "it is gone, not just over");
}
