//! Sessions: opened, turned, listed.

use super::fixture::*;
use crate::{
    domain::{session::Session, user::UserStatus},
    store::commands::*,
};

pub(crate) async fn a_session_needs_the_verified_epoch(store: S) {
    let p = person(&store).await;
    let at = T.plus(secs(7));
    let s = signed_in(&store, &p, 1, at).await;
    assert_eq!(store.session(p.user.id, s.id).await.unwrap().unwrap().session, s);
    let u = user(&store, p.user.id).await;
    assert_eq!((u.last_login_at, u.last_tenant, u.credential_epoch), (Some(at), Some(p.tenant.id), 1));
    for epoch in [0, 2] {
        let cmd = sign_in(&p, epoch, at);
        assert_eq!(store.create_session(&ctx(at), cmd.clone()).await.unwrap(), Cas::Stale);
        assert_eq!(store.session(p.user.id, cmd.session.id).await.unwrap(), None);
    }
    assert_eq!(store.create_session(&ctx(at), sign_in(&newcomer(T), 1, at)).await.unwrap(), Cas::Stale, "nobody");
    let mut suspended = newcomer(T);
    suspended.user.status = UserStatus::Suspended;
    let suspended = signed_up(&store, suspended).await;
    assert_eq!(store.create_session(&ctx(at), sign_in(&suspended, 1, at)).await.unwrap(), Cas::Stale);
}

pub(crate) async fn a_switch_is_no_login(store: S) {
    let p = person(&store).await;
    let org = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), org.clone()).await.unwrap(), CreateTenantOutcome::Created);
    let at = T.plus(secs(60));
    let cmd = CreateSession { session: session(p.user.id, org.tenant.id, 1, at), network: HOME, is_login: false, audit: vec![] };
    assert_eq!(store.create_session(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.last_login_at, u.last_tenant), (Some(T), Some(org.tenant.id)));
}

pub(crate) async fn a_view_has_the_account_in_it(store: S) {
    let p = person(&store).await;
    let view = async || store.session(p.user.id, p.session.id).await.unwrap().unwrap();
    let fresh = SessionView { session: p.session.clone(), user_epoch: 1, user_status: UserStatus::Active, user_deleted: false };
    assert_eq!(view().await, fresh);
    assert_eq!(store.session(user_id(), p.session.id).await.unwrap(), None, "another user's");
    assert_eq!(store.session(p.user.id, session_id()).await.unwrap(), None);
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!((view().await.user_epoch, view().await.user_deleted), (2, true));
}

pub(crate) async fn a_token_turns_32_at_once(store: S) {
    let p = person(&store).await;
    let at = T.plus(secs(900));
    let outcomes = at_once(32, |_| {
        let (store, cmd) = (store.clone(), rotate(&p.session, 0, 1));
        async move { store.rotate_session(&ctx(at), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &Cas::Done(())), 1);
    let s = store.session(p.user.id, p.session.id).await.unwrap().unwrap().session;
    assert_eq!((s.generation, s.turned_at, s.last_seen_at, s.turned_by), (1, at, at, AWAY));
    assert_eq!((s.ip.as_str(), s.created_at, s.expires_at), ("198.51.100.9", T, p.session.expires_at));
    assert!(lives(&store, &s).await);
}

pub(crate) async fn a_turn_is_by_generation_epoch_and_state(store: S) {
    let p = person(&store).await;
    let stale = async |cmd: RotateSession| assert_eq!(store.rotate_session(&ctx(T), cmd).await.unwrap(), Cas::Stale);
    stale(rotate(&p.session, 1, 1)).await;
    stale(rotate(&p.session, 0, 2)).await;
    stale(RotateSession { user_id: user_id(), ..rotate(&p.session, 0, 1) }).await;
    stale(RotateSession { session_id: session_id(), ..rotate(&p.session, 0, 1) }).await;
    let unchanged = store.session(p.user.id, p.session.id).await.unwrap().unwrap().session;
    assert_eq!(unchanged, p.session);
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::All)).await.unwrap(), 1);
    stale(rotate(&p.session, 0, 1)).await;
    let deleted = person(&store).await;
    assert_eq!(store.delete_user(&ctx(T), delete(&deleted, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    stale(rotate(&deleted.session, 0, 1)).await;
    stale(rotate(&deleted.session, 0, 2)).await;
    let mut suspended = newcomer(T);
    suspended.user.status = UserStatus::Suspended;
    let suspended = signed_up(&store, suspended).await;
    stale(rotate(&suspended.session, 0, 1)).await;
}

pub(crate) async fn a_generation_may_jump(store: S) {
    let p = person(&store).await;
    let ahead = RotateSession { to: 41, ..rotate(&p.session, 0, 1) };
    assert_eq!(store.rotate_session(&ctx(T), ahead).await.unwrap(), Cas::Done(()));
    assert_eq!(store.rotate_session(&ctx(T), rotate(&p.session, 41, 1)).await.unwrap(), Cas::Done(()));
    assert_eq!(store.session(p.user.id, p.session.id).await.unwrap().unwrap().session.generation, 42);
    assert_eq!(user(&store, p.user.id).await, p.user, "a refresh writes nothing else");
}

pub(crate) async fn turns_racing_a_revocation(store: S) {
    let p = person(&store).await;
    at_once(9, |i| {
        let (store, p) = (store.clone(), p.clone());
        async move {
            if i == 8 {
                assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::All)).await.unwrap(), 1);
                return;
            }
            for generation in 0..20 {
                store.rotate_session(&ctx(T), rotate(&p.session, generation, 1)).await.unwrap();
            }
        }
    })
    .await;
    let s = store.session(p.user.id, p.session.id).await.unwrap().unwrap().session;
    assert_eq!(s.revoked_at, Some(T), "no turn undoes it");
    assert_eq!(store.rotate_session(&ctx(T), rotate(&s, s.generation, 1)).await.unwrap(), Cas::Stale);
}

pub(crate) async fn lists_are_newest_first_and_bounded(store: S) {
    let p = person(&store).await;
    let starts: Vec<_> = (1..=205).map(|n| T.plus(secs(n * 7 % 206))).collect();
    for at in &starts {
        signed_in(&store, &p, 1, *at).await;
    }
    let list = store.sessions(p.user.id).await.unwrap();
    assert_eq!(list.len(), 200);
    assert!(list.windows(2).all(|w| w[0].created_at > w[1].created_at));
    assert_eq!(list[0].created_at, *starts.iter().max().unwrap());
    assert_eq!(store.sessions(user_id()).await.unwrap(), []);
}

/// The limit is looked at now and then, so a few more may live.
pub(crate) async fn too_many_sessions_end_those_used_longest_ago(store: S) {
    let p = person(&store).await;
    let start = T.plus(days(1));
    let kept = signed_in(&store, &p, 1, start).await;
    let mut opened = Vec::new();
    for n in 1..=150 {
        // One that was opened long ago and is used still.
        if n == 60 {
            assert_eq!(store.rotate_session(&ctx(start.plus(days(5))), rotate(&kept, 0, 1)).await.unwrap(), Cas::Done(()));
        }
        opened.push(signed_in(&store, &p, 1, start.plus(secs(3600 * n))).await);
    }
    let now = start.plus(secs(3600 * 150));
    let list = store.sessions(p.user.id).await.unwrap();
    let live = |s: &Session| list.iter().any(|listed| listed.id == s.id && listed.is_live(1, now));
    let living = list.iter().filter(|s| s.is_live(1, now)).count();
    assert!((100..125).contains(&living), "{living}");
    assert!(live(&kept) && opened[150 - 99..].iter().all(live), "the latest stay");
    assert!(!opened[..25].iter().any(live), "the others end");
    // Nobody's access tokens are left of sessions that were not seen for a day.
    let ended: Vec<Revocation> = opened[..25].iter().map(|s| Revocation::Session(s.id)).collect();
    assert!(!revocations(&store).await.iter().any(|r| ended.contains(r)));
    // All at once: those of the last day are told.
    let all = RevokeSessions { user_id: p.user.id, which: Which::All, audit: vec![] };
    assert_eq!(store.revoke_sessions(&ctx(now), all).await.unwrap(), living as u64);
    let told = revocations(&store).await;
    let of = |s: &Session| told.contains(&Revocation::Session(s.id));
    assert!(opened[130..].iter().all(of) && !opened[..124].iter().any(of));
}

pub(crate) async fn a_session_needs_the_membership(store: S) {
    let p = person(&store).await;
    let stranger = person(&store).await;
    let cmd = CreateSession { session: session(p.user.id, stranger.tenant.id, 1, T), network: HOME, is_login: false, audit: vec![] };
    assert_eq!(store.create_session(&ctx(T), cmd).await.unwrap(), Cas::Stale);
    assert_eq!(store.sessions(p.user.id).await.unwrap().len(), 1);
}
