//! Sign-ups that wait for their code.

use super::fixture::*;
use crate::{
    domain::{contact::Email, ids::PendingSignupId},
    store::commands::*,
};

fn pending(email: &Email) -> PendingSignup {
    PendingSignup {
        id: pending_id(),
        nonce: nonce(),
        email: email.clone(),
        password_hash: hash("pending"),
        display_name: Some("Ada".into()),
        tries: 0,
        created_at: T,
        expires_at: T.plus(secs(600)),
    }
}

async fn waiting(store: &S, email: &Email) -> PendingSignup {
    let p = pending(email);
    store.begin_signup(&ctx(T), p.clone(), job(T, user_id())).await.unwrap();
    p
}

fn confirming(email: &Email, id: PendingSignupId) -> CreateUser {
    let mut cmd = newcomer(T);
    cmd.user.email = email.clone();
    cmd.consumes = Some(id);
    cmd
}

pub(crate) async fn a_pending_signup_is_kept_as_typed(store: S) {
    let p = waiting(&store, &address()).await;
    assert_eq!(store.pending_signup(p.id).await.unwrap(), Some(p.clone()));
    assert_eq!(store.pending_signup(pending_id()).await.unwrap(), None);
    assert_eq!(store.user_by_email(&p.email.digest()).await.unwrap(), None, "it claims nothing");
}

pub(crate) async fn each_try_counts_once(store: S) {
    let p = waiting(&store, &address()).await;
    let mut counts = at_once(25, |_| {
        let store = store.clone();
        async move { store.count_signup_try(p.id).await.unwrap().unwrap() }
    })
    .await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=25).collect::<Vec<_>>());
    assert_eq!(store.pending_signup(p.id).await.unwrap().unwrap().tries, 25);
    assert_eq!(store.count_signup_try(pending_id()).await.unwrap(), None);
}

pub(crate) async fn a_signup_consumes_all_that_wait(store: S) {
    let (email, other) = (address(), address());
    let (a, b, c) = (waiting(&store, &email).await, waiting(&store, &email).await, waiting(&store, &other).await);
    signed_up(&store, confirming(&email, a.id)).await;
    for id in [a.id, b.id] {
        assert_eq!(store.pending_signup(id).await.unwrap(), None);
        assert_eq!(store.count_signup_try(id).await.unwrap(), None);
    }
    assert!(store.pending_signup(c.id).await.unwrap().is_some());
    // An instant sign-up consumes what waits for its address, too.
    let mut instant = newcomer(T);
    instant.user.email = other;
    signed_up(&store, instant).await;
    assert_eq!(store.pending_signup(c.id).await.unwrap(), None);
}

pub(crate) async fn one_pending_signup_16_at_once(store: S) {
    let email = address();
    let p = waiting(&store, &email).await;
    let outcomes = at_once(16, |_| {
        let (store, cmd) = (store.clone(), confirming(&email, p.id));
        async move { store.create_user(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &CreateUserOutcome::Created), 1);
    assert!(store.user_by_email(&email.digest()).await.unwrap().is_some());
}

pub(crate) async fn a_pending_signup_of_a_taken_address(store: S) {
    let owner = person(&store).await;
    let p = waiting(&store, &owner.user.email).await;
    let cmd = confirming(&owner.user.email, p.id);
    assert_eq!(store.create_user(&ctx(T), cmd).await.unwrap(), CreateUserOutcome::EmailTaken(owner.user.id));
    assert!(store.pending_signup(p.id).await.unwrap().is_some(), "nothing was written");
    let cmd = confirming(&address(), pending_id());
    assert_eq!(store.create_user(&ctx(T), cmd.clone()).await.unwrap(), CreateUserOutcome::PendingGone);
    assert_eq!(store.user(cmd.user.id).await.unwrap(), None);
}
