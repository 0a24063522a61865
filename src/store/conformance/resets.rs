//! Password resets.

use super::fixture::*;
use crate::{
    domain::{time::Timestamp, user::UserStatus},
    store::commands::*,
};

pub(crate) async fn links_are_made_only_for_those_who_may_sign_in(store: S) {
    let p = person(&store).await;
    let link = linked(&store, &p, 1, T).await;
    assert_eq!(store.reset_link(p.user.id, link.id).await.unwrap(), Some(link.clone()));
    assert_eq!(store.reset_link(p.user.id, link_id()).await.unwrap(), None);
    assert_eq!(store.reset_link(user_id(), link.id).await.unwrap(), None, "another user's");
    assert!(!store.create_reset_link(&ctx(T), reset_link(&p, 0, T)).await.unwrap());
    assert!(!store.create_reset_link(&ctx(T), reset_link(&newcomer(T), 1, T)).await.unwrap());
    let mut suspended = newcomer(T);
    suspended.user.status = UserStatus::Suspended;
    let suspended = signed_up(&store, suspended).await;
    let link = reset_link(&suspended, 1, T);
    assert!(!store.create_reset_link(&ctx(T), link.clone()).await.unwrap());
    assert_eq!(store.reset_link(suspended.user.id, link.id).await.unwrap(), None);
}

pub(crate) async fn a_reset_sets_the_password_and_ends_all(store: S) {
    let p = person(&store).await;
    let other = signed_in(&store, &p, 1, T).await;
    let (link, second) = (linked(&store, &p, 1, T).await, linked(&store, &p, 1, T).await);
    begun(&store, email_change(&p, 1, 5, T)).await;
    let at = T.plus(secs(60));
    let outcome = store.complete_reset(&ctx(at), reset(&link, "reset")).await.unwrap();
    assert_eq!(outcome, Cas::Done(ResetOutcome { revoked: 2, first_proof: true }));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch, u.updated_at), (Some(hash("reset")), 2, at));
    for s in [&p.session, &other] {
        assert!(!lives(&store, s).await);
        assert!(refused(&store, s).await);
    }
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.reset_link(p.user.id, link.id).await.unwrap().unwrap().used_at, Some(at));
    assert_eq!(store.complete_reset(&ctx(at), reset(&second, "x")).await.unwrap(), Cas::Stale, "every other link dies");
    assert!(store.revocations_since(0).await.unwrap().0.contains(&Revocation::Epoch { user_id: p.user.id, below: 2, keep: None }));
    assert_eq!(store.create_session(&ctx(at), sign_in(&p, 2, at)).await.unwrap(), Cas::Done(()));
}

pub(crate) async fn a_reset_proves_the_mailbox(store: S) {
    let mut p = newcomer(T);
    p.user.phone = Some(phone());
    p.user.phone_verified_at = Some(T);
    let p = signed_up(&store, p).await;
    let at = T.plus(secs(60));
    let link = linked(&store, &p, 1, T).await;
    let Cas::Done(outcome) = store.complete_reset(&ctx(at), reset(&link, "a")).await.unwrap() else { panic!("stale") };
    assert!(outcome.first_proof);
    let u = user(&store, p.user.id).await;
    assert_eq!((u.email_verified_at, u.phone, u.phone_verified_at), (Some(at), None, None), "whoever set the phone may be a stranger");
    // Once proved, a reset is no first proof, and a phone stays.
    let cmd = ConfirmPhone { user_id: p.user.id, epoch: 2, serial: 1, phone: phone(), job: None, audit: vec![] };
    assert_eq!(store.confirm_phone(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    let link = linked(&store, &p, 2, at).await;
    let again = store.complete_reset(&ctx(at.plus(secs(1))), reset(&link, "b")).await.unwrap();
    assert_eq!(again, Cas::Done(ResetOutcome { revoked: 0, first_proof: false }));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.email_verified_at, u.phone), (Some(at), Some(phone())));
}

pub(crate) async fn one_link_8_at_once(store: S) {
    let p = person(&store).await;
    let link = linked(&store, &p, 1, T).await;
    let outcomes = at_once(8, |i| {
        let (store, cmd) = (store.clone(), reset(&link, &format!("r{i}")));
        async move { store.complete_reset(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &Cas::Stale), 7);
    let winner = outcomes.iter().position(|o| *o != Cas::Stale).unwrap();
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch), (Some(hash(&format!("r{winner}"))), 2));
}

pub(crate) async fn used_expired_or_outdated_links(store: S) {
    let p = person(&store).await;
    let stale = async |now, cmd: CompleteReset| assert_eq!(store.complete_reset(&ctx(now), cmd).await.unwrap(), Cas::Stale);
    let link = linked(&store, &p, 1, T).await;
    stale(link.expires_at, reset(&link, "late")).await;
    stale(T, CompleteReset { link_id: link_id(), ..reset(&link, "unknown") }).await;
    stale(T, CompleteReset { user_id: user_id(), ..reset(&link, "not his") }).await;
    assert_eq!(user(&store, p.user.id).await, p.user);
    let just = Timestamp::from_millis(link.expires_at.millis() - 1);
    assert!(matches!(store.complete_reset(&ctx(just), reset(&link, "just")).await.unwrap(), Cas::Done(_)));
    stale(T, reset(&link, "twice")).await;
    let link = linked(&store, &p, 2, T).await;
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 2, "changed", None)).await.unwrap(), Cas::Done(()));
    stale(T, reset(&link, "outdated")).await;
    assert_eq!(user(&store, p.user.id).await.password_hash, Some(hash("changed")));
}

/// Whoever of the two is first: no session of the old password is alive afterwards.
pub(crate) async fn a_sign_in_racing_a_reset(store: S) {
    let (mut before, mut after) = (0, 0);
    for round in 0..40 {
        let p = person(&store).await;
        let link = linked(&store, &p, 1, T).await;
        let cmd = sign_in(&p, 1, T);
        let session = cmd.session.clone();
        let signed_in = at_once(2, |i| {
            let (store, cmd, link) = (store.clone(), cmd.clone(), link.clone());
            async move {
                // Each is given a head start now and then, so that both orders come up.
                if round % 3 == i {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                if i == 0 {
                    store.create_session(&ctx(T), cmd).await.unwrap() == Cas::Done(())
                } else {
                    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "reset")).await.unwrap(), Cas::Done(_)));
                    false
                }
            }
        })
        .await[0];
        assert!(!lives(&store, &session).await);
        assert_eq!(store.rotate_session(&ctx(T), rotate(&session, 0, 1)).await.unwrap(), Cas::Stale);
        assert_eq!(store.rotate_session(&ctx(T), rotate(&session, 0, 2)).await.unwrap(), Cas::Stale);
        if signed_in {
            before += 1;
            assert!(refused(&store, &session).await, "its access token is refused");
        } else {
            after += 1;
            assert_eq!(store.session(p.user.id, session.id).await.unwrap(), None);
        }
    }
    assert!(before > 0 && after > 0, "both orders: {before} and {after}");
}
