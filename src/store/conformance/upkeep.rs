//! Signing keys, sweeping, readiness.

use super::fixture::*;
use crate::{
    domain::{jwt::StoredKey, time::Timestamp},
    store::commands::*,
};

async fn sweep_all(store: &S, now: Timestamp) -> Swept {
    let mut sum = Swept::default();
    for _ in 0..1000 {
        let some = store.sweep(now).await.unwrap();
        sum.pending += some.pending;
        sum.sessions += some.sessions;
        sum.links += some.links;
        sum.records += some.records;
        if !some.more {
            return sum;
        }
    }
    panic!("there is always more");
}

pub(crate) async fn ten_nodes_make_one_signing_key(store: S) {
    let key = |n: usize| StoredKey {
        kid: format!("kid-{n}"),
        point: vec![4; 65],
        sealed: vec![n as u8; 100],
        created_at: T,
        signs_from: T.plus(secs(n as u64)),
        revoked_at: None,
    };
    let added = at_once(10, |i| {
        let (store, key) = (store.clone(), key(i));
        async move { store.add_signing_key(key, true).await.unwrap() }
    })
    .await;
    assert_eq!(count(&added, &true), 1);
    let winner = added.iter().position(|a| *a).unwrap();
    assert_eq!(store.signing_keys().await.unwrap(), [key(winner)]);
    assert!(!store.add_signing_key(key(20), true).await.unwrap());
    assert!(store.add_signing_key(key(21), false).await.unwrap());
    let mut all = store.signing_keys().await.unwrap();
    all.sort_by_key(|k| k.signs_from);
    assert_eq!(all, [key(winner), key(21)]);
    // All nodes are told.
    for later in [0, 60] {
        assert!(store.revoke_signing_key("kid-21", T.plus(secs(later))).await.unwrap());
    }
    assert!(!store.revoke_signing_key("kid-22", T).await.unwrap());
    let mut all = store.signing_keys().await.unwrap();
    all.sort_by_key(|k| k.signs_from);
    assert_eq!(all, [key(winner), StoredKey { revoked_at: Some(T), ..key(21) }]);
    assert!(revocations(&store).await.contains(&Revocation::SigningKey("kid-21".into())));
}

pub(crate) async fn sweeping_pending(store: S) {
    let (t, _alone) = era(&store, 11).await;
    let p = signed_up(&store, newcomer(t)).await;
    let change = begun(&store, email_change(&p, 1, 5, t)).await;
    let pending = waiting(address(), t);
    store.begin_signup(&ctx(t), pending.clone(), job(t, p.user.id)).await.unwrap();
    sweep_all(&store, t.plus(secs(599))).await;
    assert_eq!(store.pending_signup(pending.id).await.unwrap(), Some(pending.clone()));
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), Some(change));
    assert!(sweep_all(&store, t.plus(secs(601))).await.pending >= 2);
    assert_eq!(store.pending_signup(pending.id).await.unwrap(), None);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
}

pub(crate) async fn sweeping_sessions(store: S) {
    let (t, _alone) = era(&store, 12).await;
    let p = signed_up(&store, newcomer(t)).await;
    let (idle, revoked, refreshed) = (p.session.clone(), signed_in(&store, &p, 1, t).await, signed_in(&store, &p, 1, t).await);
    let mut expired = sign_in(&p, 1, t);
    expired.session.expires_at = t.plus(days(10));
    assert_eq!(store.create_session(&ctx(t), expired.clone()).await.unwrap(), Cas::Done(()));
    let at = t.plus(days(5));
    assert_eq!(store.revoke_sessions(&ctx(at), revoke(&p, Which::One(revoked.id))).await.unwrap(), 1);
    let at = t.plus(days(20));
    assert_eq!(store.rotate_session(&ctx(at), rotate(&refreshed, 0, 1)).await.unwrap(), Cas::Done(()));
    let left = async |now| {
        sweep_all(&store, now).await;
        store.sessions(p.user.id).await.unwrap().into_iter().map(|s| s.id).collect::<std::collections::HashSet<_>>()
    };
    // Each may stay up to a day longer than its 30 days.
    let all = [idle.id, revoked.id, refreshed.id, expired.session.id];
    assert_eq!(left(t.plus(days(35))).await, all.into());
    assert_eq!(left(t.plus(days(37))).await, [idle.id, refreshed.id, expired.session.id].into());
    assert_eq!(left(t.plus(days(40))).await, [idle.id, refreshed.id, expired.session.id].into());
    assert_eq!(left(t.plus(days(42))).await, [idle.id, refreshed.id].into());
    assert_eq!(left(t.plus(days(60))).await, [idle.id, refreshed.id].into());
    assert_eq!(left(t.plus(days(62))).await, [refreshed.id].into());
    assert_eq!(left(t.plus(days(80))).await, [refreshed.id].into());
    assert_eq!(left(t.plus(days(82))).await, [].into());
}

pub(crate) async fn sweeping_links(store: S) {
    let (t, _alone) = era(&store, 13).await;
    let mut p = newcomer(t);
    p.user.email_verified_at = Some(t);
    let p = signed_up(&store, p).await;
    let undo = moved(&store, &p, 1, t).await;
    let (used, unused) = (linked(&store, &p, 2, t).await, linked(&store, &p, 2, t).await);
    assert!(matches!(store.complete_reset(&ctx(t), reset(&used, "x")).await.unwrap(), Cas::Done(_)));
    let reset_left = async |id| store.reset_link(p.user.id, id).await.unwrap().is_some();
    sweep_all(&store, t.plus(secs(86_399))).await;
    assert!(reset_left(used.id).await && reset_left(unused.id).await);
    assert!(sweep_all(&store, t.plus(secs(86_401))).await.links >= 1);
    assert!(!reset_left(used.id).await && reset_left(unused.id).await);
    assert!(sweep_all(&store, unused.expires_at.plus(secs(86_401))).await.links >= 1);
    assert!(!reset_left(unused.id).await);
    assert!(store.undo_link(p.user.id, undo.id).await.unwrap().is_some());
    // With the link the address goes that it leads to.
    let mut next = newcomer(t);
    next.user.email = p.user.email.clone();
    assert_eq!(store.create_user(&ctx(t), next.clone()).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id));
    sweep_all(&store, undo.expires_at.plus(secs(86_401))).await;
    assert_eq!(store.undo_link(p.user.id, undo.id).await.unwrap(), None);
    signed_up(&store, next).await;
}

pub(crate) async fn sweeping_records(store: S) {
    let (t, _alone) = era(&store, 14).await;
    let p = signed_up(&store, newcomer(t)).await;
    assert_eq!(store.revoke_sessions(&ctx(t), revoke(&p, Which::All)).await.unwrap(), 1);
    sweep_all(&store, t.plus(secs(20 * 60 - 1))).await;
    assert!(refused(&store, &p.session).await);
    let cursor = store.revocations_since(0).await.unwrap().1;
    assert!(sweep_all(&store, t.plus(secs(20 * 60 + 1))).await.records >= 1);
    assert!(!refused(&store, &p.session).await);
    // What is written next comes after the cursors that are out, though the list was emptied.
    let s = signed_in(&store, &p, 1, t).await;
    assert_eq!(store.revoke_sessions(&ctx(t), revoke(&p, Which::All)).await.unwrap(), 1);
    assert!(store.revocations_since(cursor).await.unwrap().0.contains(&Revocation::Session(s.id)));
    // An outcome is kept for an hour at least.
    let ctx = ctx(t);
    let cmd = newcomer(t);
    assert_eq!(store.create_user(&ctx, cmd.clone()).await.unwrap(), CreateUserOutcome::Created);
    sweep_all(&store, t.plus(secs(3600))).await;
    assert_eq!(store.create_user(&ctx, cmd).await.unwrap(), CreateUserOutcome::Created);
    assert!(sweep_all(&store, t.plus(days(2))).await.records >= 1);
}

/// One that was frozen goes on while its successor is at work: what is due goes once, and nothing else does.
pub(crate) async fn sweepers_at_once(store: S) {
    let (t, _alone) = era(&store, 15).await;
    let mut people = Vec::new();
    for _ in 0..6 {
        let p = signed_up(&store, newcomer(t)).await;
        begun(&store, email_change(&p, 1, 5, t)).await;
        linked(&store, &p, 1, t).await;
        people.push(p);
    }
    let late = t.plus(days(20));
    let kept = signed_up(&store, newcomer(late)).await;
    let fresh = begun(&store, email_change(&kept, 1, 5, late)).await;
    // Two of the past, that find less to be due than the others.
    let swept = at_once(6, |i| {
        let store = store.clone();
        async move { sweep_all(&store, if i < 2 { t.plus(secs(601)) } else { late.plus(secs(1)) }).await }
    })
    .await;
    assert!(swept.iter().map(|s| s.pending).sum::<u64>() >= 6, "{swept:?}");
    for p in &people {
        assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
        assert_eq!(store.sessions(p.user.id).await.unwrap().len(), 1, "its time has not come");
    }
    assert_eq!(store.pending_email_change(kept.user.id).await.unwrap(), Some(fresh));
    assert_eq!(sweep_all(&store, late.plus(secs(1))).await.pending, 0, "nothing is left to be found again");
}

pub(crate) async fn it_answers(store: S) {
    store.ping().await.unwrap();
}
