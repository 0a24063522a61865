//! Changes of the address, undone by the link that went to the old one.

use super::fixture::*;
use crate::{domain::contact::Email, store::commands::*};

const CHANGED: Cas<EmailChangeOutcome> = Cas::Done(EmailChangeOutcome::Changed);

/// Somebody who has proved his address.
async fn proved(store: &S) -> CreateUser {
    let mut p = newcomer(T);
    p.user.email_verified_at = Some(T);
    signed_up(store, p).await
}

pub(crate) async fn undoing_puts_the_address_back(store: S) {
    let p = proved(&store).await;
    let link = moved(&store, &p, 1, T).await;
    let new_email = user(&store, p.user.id).await.email;
    // The stranger makes himself at home: a password, a session, one more change on its way, a reset link.
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 2, "stranger", None)).await.unwrap(), Cas::Done(()));
    let session = signed_in(&store, &p, 3, T).await;
    let reset_link = linked(&store, &p, 3, T).await;
    begun(&store, email_change(&p, 3, 9000, T)).await;
    let at = T.plus(secs(3600));
    assert_eq!(store.undo_email_change(&ctx(at), undo(&p, link.id)).await.unwrap(), CHANGED);
    let u = user(&store, p.user.id).await;
    assert_eq!((&u.email, u.email_verified_at, u.credential_epoch), (&p.user.email, Some(at), 4));
    assert_eq!(u.password_hash, None, "it was set after the change");
    assert_eq!(store.user_by_email(&p.user.email.digest()).await.unwrap(), Some(u));
    assert_eq!(store.user_by_email(&new_email.digest()).await.unwrap(), None);
    assert!(!lives(&store, &session).await && refused(&store, &session).await);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.complete_reset(&ctx(at), reset(&reset_link, "x")).await.unwrap(), Cas::Stale);
    assert_eq!(store.undo_link(p.user.id, link.id).await.unwrap().unwrap().used_at, Some(at));
}

pub(crate) async fn undoing_removes_the_password_whenever_it_was_set(store: S) {
    let p = proved(&store).await;
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 1, "mine", None)).await.unwrap(), Cas::Done(()));
    let link = moved(&store, &p, 2, T).await;
    let rehash = Rehash { user_id: p.user.id, expect_hash: hash("mine"), new_hash: hash("mine, stronger") };
    assert!(store.rehash(&ctx(T), rehash).await.unwrap());
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, link.id)).await.unwrap(), CHANGED);
    assert_eq!(user(&store, p.user.id).await.password_hash, None, "whoever made the change may have known it");
}

/// An account made in advance by a stranger, for an address that he can't read: with the undo link he would have it proved.
pub(crate) async fn undoing_proves_no_address_that_never_was(store: S) {
    let p = person(&store).await;
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 1, "stranger", None)).await.unwrap(), Cas::Done(()));
    let link = moved(&store, &p, 2, T).await;
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, link.id)).await.unwrap(), CHANGED);
    let u = user(&store, p.user.id).await;
    assert_eq!((u.email, u.email_verified_at, u.password_hash), (p.user.email.clone(), None, None));
    let reset_link = linked(&store, &p, 4, T).await;
    let outcome = store.complete_reset(&ctx(T), reset(&reset_link, "owner")).await.unwrap();
    assert!(matches!(outcome, Cas::Done(r) if r.first_proof), "{outcome:?}");
}

pub(crate) async fn one_undo_link_8_at_once(store: S) {
    let p = person(&store).await;
    let link = moved(&store, &p, 1, T).await;
    let outcomes = at_once(8, |_| {
        let (store, cmd) = (store.clone(), undo(&p, link.id));
        async move { store.undo_email_change(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &CHANGED), count(&outcomes, &Cas::Stale)), (1, 7));
    assert_eq!(user(&store, p.user.id).await.credential_epoch, 3);
}

pub(crate) async fn later_links_die(store: S) {
    let p = person(&store).await;
    let first = moved(&store, &p, 1, T).await;
    let second = moved(&store, &p, 2, T).await;
    let third = moved(&store, &p, 3, T).await;
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, second.id)).await.unwrap(), CHANGED);
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, third.id)).await.unwrap(), Cas::Stale, "made after it");
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, first.id)).await.unwrap(), CHANGED, "made before it");
    assert_eq!(user(&store, p.user.id).await.email, p.user.email);
}

pub(crate) async fn used_and_expired_links(store: S) {
    let p = person(&store).await;
    let link = moved(&store, &p, 1, T).await;
    let present = user(&store, p.user.id).await;
    for (now, cmd) in [(link.expires_at, undo(&p, link.id)), (T, undo(&p, link_id())), (T, undo(&newcomer(T), link.id))] {
        assert_eq!(store.undo_email_change(&ctx(now), cmd).await.unwrap(), Cas::Stale);
    }
    assert_eq!(user(&store, p.user.id).await, present);
    assert_eq!(store.undo_link(user_id(), link.id).await.unwrap(), None);
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, link.id)).await.unwrap(), CHANGED);
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, link.id)).await.unwrap(), Cas::Stale);
}

pub(crate) async fn nobody_takes_the_address_that_an_account_can_move_back_to(store: S) {
    let p = proved(&store).await;
    let link = moved(&store, &p, 1, T).await;
    let as_new = |email: &Email| {
        let mut next = newcomer(T);
        next.user.email = email.clone();
        next
    };
    let (old, new) = (p.user.email.clone(), user(&store, p.user.id).await.email);
    assert_eq!(store.create_user(&ctx(T), as_new(&old)).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id));
    assert_eq!(store.undo_email_change(&ctx(T), undo(&p, link.id)).await.unwrap(), CHANGED);
    // The one that they have left is anybody's, and what they have is theirs.
    signed_up(&store, as_new(&new)).await;
    assert_eq!(store.create_user(&ctx(T), as_new(&old)).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id));
}
