//! Changes of the address: begun and confirmed.

use super::fixture::*;
use crate::store::commands::*;

const CHANGED: Cas<EmailChangeOutcome> = Cas::Done(EmailChangeOutcome::Changed);
const TAKEN: Cas<EmailChangeOutcome> = Cas::Done(EmailChangeOutcome::Taken);

pub(crate) async fn a_change_waits_and_is_replaced(store: S) {
    let p = person(&store).await;
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    let first = begun(&store, email_change(&p, 1, 5, T)).await;
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), Some(first.clone()));
    let second = begun(&store, email_change(&p, 1, 6, T.plus(secs(1)))).await;
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), Some(second));
    assert_eq!(store.confirm_email_change(&ctx(T), confirm_change(&first, None)).await.unwrap(), Cas::Stale);
    assert_eq!(user(&store, p.user.id).await, p.user);
}

pub(crate) async fn a_change_needs_the_epoch(store: S) {
    let p = person(&store).await;
    for epoch in [0, 2] {
        let change = email_change(&p, epoch, 5, T);
        assert_eq!(store.begin_email_change(&ctx(T), change, job(T, p.user.id)).await.unwrap(), Cas::Stale);
    }
    let nobody = email_change(&newcomer(T), 1, 5, T);
    assert_eq!(store.begin_email_change(&ctx(T), nobody, job(T, p.user.id)).await.unwrap(), Cas::Stale);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
}

pub(crate) async fn confirming_moves_the_claim(store: S) {
    let p = person(&store).await;
    let other = signed_in(&store, &p, 1, T).await;
    let link = linked(&store, &p, 1, T).await;
    let change = begun(&store, email_change(&p, 1, 5, T)).await;
    let at = T.plus(secs(60));
    let cmd = confirm_change(&change, Some(p.session.id));
    assert_eq!(store.confirm_email_change(&ctx(at), cmd.clone()).await.unwrap(), CHANGED);
    let u = user(&store, p.user.id).await;
    assert_eq!((&u.email, u.email_verified_at, u.credential_epoch), (&change.new_email, Some(at), 2));
    assert_eq!((u.code_serials.email_change, u.password_hash.clone()), (5, p.user.password_hash.clone()));
    assert_eq!(store.user_by_email(&change.new_email.digest()).await.unwrap(), Some(u));
    assert_eq!(store.user_by_email(&p.user.email.digest()).await.unwrap(), None);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert!(lives(&store, &p.session).await && !refused(&store, &p.session).await, "this session lives on");
    assert!(!lives(&store, &other).await && refused(&store, &other).await);
    assert_eq!(store.complete_reset(&ctx(at), reset(&link, "x")).await.unwrap(), Cas::Stale);
    let undo = store.undo_link(p.user.id, cmd.undo.id).await.unwrap().unwrap();
    assert_eq!((undo.old_email, undo.old_verified_at, undo.epoch, undo.used_at), (p.user.email.clone(), None, 1, None));
    assert_eq!((undo.nonce, undo.created_at, undo.expires_at), (cmd.undo.nonce, at, cmd.undo.expires_at));
    // The old address, which nobody had proved, is free; the new one isn't.
    let mut next = newcomer(at);
    next.user.email = p.user.email.clone();
    signed_up(&store, next).await;
    let mut late = newcomer(at);
    late.user.email = change.new_email.clone();
    assert_eq!(store.create_user(&ctx(at), late).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id));
}

pub(crate) async fn one_change_8_at_once(store: S) {
    let p = person(&store).await;
    let change = begun(&store, email_change(&p, 1, 5, T)).await;
    let outcomes = at_once(8, |_| {
        let (store, cmd) = (store.clone(), confirm_change(&change, None));
        async move { store.confirm_email_change(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &CHANGED), count(&outcomes, &Cas::Stale)), (1, 7));
    assert_eq!(user(&store, p.user.id).await.credential_epoch, 2);
}

pub(crate) async fn wrong_codes_change_nothing(store: S) {
    let p = person(&store).await;
    let stale = async |now, cmd| assert_eq!(store.confirm_email_change(&ctx(now), cmd).await.unwrap(), Cas::Stale);
    let change = begun(&store, email_change(&p, 1, 5, T)).await;
    stale(T, ConfirmEmailChange { serial: 4, ..confirm_change(&change, None) }).await;
    stale(T, ConfirmEmailChange { serial: 6, ..confirm_change(&change, None) }).await;
    stale(T, ConfirmEmailChange { epoch: 2, ..confirm_change(&change, None) }).await;
    stale(T, ConfirmEmailChange { user_id: user_id(), ..confirm_change(&change, None) }).await;
    stale(change.expires_at, confirm_change(&change, None)).await;
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 1, "x", None)).await.unwrap(), Cas::Done(()));
    stale(T, confirm_change(&change, None)).await;
    // A serial that was used can't come back with a new change.
    moved(&store, &p, 2, T).await;
    let replay = begun(&store, email_change(&p, 3, 2000, T)).await;
    stale(T, confirm_change(&replay, None)).await;
}

pub(crate) async fn a_taken_address_ends_the_change(store: S) {
    let (p, owner) = (person(&store).await, person(&store).await);
    let mut change = email_change(&p, 1, 5, T);
    change.new_email = owner.user.email.clone();
    let change = begun(&store, change).await;
    let cmd = confirm_change(&change, Some(p.session.id));
    assert_eq!(store.confirm_email_change(&ctx(T), cmd.clone()).await.unwrap(), TAKEN);
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert_eq!(user(&store, owner.user.id).await, owner.user);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.undo_link(p.user.id, cmd.undo.id).await.unwrap(), None);
    assert!(lives(&store, &p.session).await);
}

pub(crate) async fn two_accounts_one_address(store: S) {
    let email = address();
    let mut changes = vec![];
    for _ in 0..6 {
        let p = person(&store).await;
        let mut change = email_change(&p, 1, 5, T);
        change.new_email = email.clone();
        changes.push(begun(&store, change).await);
    }
    let outcomes = at_once(6, |i| {
        let (store, cmd) = (store.clone(), confirm_change(&changes[i], None));
        async move { store.confirm_email_change(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &CHANGED), count(&outcomes, &TAKEN)), (1, 5));
    let winner = outcomes.iter().position(|o| *o == CHANGED).unwrap();
    assert_eq!(store.user_by_email(&email.digest()).await.unwrap().unwrap().id, changes[winner].user_id);
}

pub(crate) async fn a_change_racing_a_signup(store: S) {
    for _ in 0..10 {
        let p = person(&store).await;
        let change = begun(&store, email_change(&p, 1, 5, T)).await;
        let mut signup = newcomer(T);
        signup.user.email = change.new_email.clone();
        let won = at_once(2, |i| {
            let (store, signup, change) = (store.clone(), signup.clone(), change.clone());
            async move {
                if i == 0 {
                    store.create_user(&ctx(T), signup).await.unwrap() == CreateUserOutcome::Created
                } else {
                    store.confirm_email_change(&ctx(T), confirm_change(&change, None)).await.unwrap() == CHANGED
                }
            }
        })
        .await;
        assert_ne!(won[0], won[1], "exactly one has the address");
        let holder = store.user_by_email(&change.new_email.digest()).await.unwrap().unwrap().id;
        assert_eq!(holder, if won[0] { signup.user.id } else { p.user.id });
    }
}

pub(crate) async fn back_to_ones_own_address(store: S) {
    let p = person(&store).await;
    let mut change = email_change(&p, 1, 5, T);
    change.new_email = p.user.email.clone();
    let change = begun(&store, change).await;
    assert_eq!(store.confirm_email_change(&ctx(T), confirm_change(&change, None)).await.unwrap(), CHANGED);
    let u = user(&store, p.user.id).await;
    assert_eq!((&u.email, u.email_verified_at), (&p.user.email, Some(T)));
    assert_eq!(store.user_by_email(&p.user.email.digest()).await.unwrap(), Some(u), "its claim is still there");
}
