//! Passwords: changed and hashed anew.

use super::fixture::*;
use crate::store::commands::*;

pub(crate) async fn a_change_ends_all_but_this_session(store: S) {
    let p = person(&store).await;
    let other = signed_in(&store, &p, 1, T).await;
    let link = linked(&store, &p, 1, T).await;
    begun(&store, email_change(&p, 1, 5, T)).await;
    let at = T.plus(secs(3));
    let cmd = change_password(&p, 1, "second", Some(p.session.id));
    assert_eq!(store.change_password(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch, u.updated_at), (Some(hash("second")), 2, at));
    let kept = store.session(p.user.id, p.session.id).await.unwrap().unwrap();
    assert_eq!((kept.session.credential_epoch, kept.user_epoch, kept.session.revoked_at), (2, 2, None));
    assert_eq!(store.rotate_session(&ctx(at), rotate(&p.session, 0, 2)).await.unwrap(), Cas::Done(()));
    assert!(!lives(&store, &other).await);
    assert!(refused(&store, &other).await);
    assert!(!refused(&store, &p.session).await, "its access tokens stay good");
    assert_eq!(store.rotate_session(&ctx(at), rotate(&other, 0, 2)).await.unwrap(), Cas::Stale);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.complete_reset(&ctx(at), reset(&link, "x")).await.unwrap(), Cas::Stale);
}

pub(crate) async fn a_change_without_keep_ends_all(store: S) {
    let p = person(&store).await;
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 1, "second", None)).await.unwrap(), Cas::Done(()));
    assert!(!lives(&store, &p.session).await);
    assert!(refused(&store, &p.session).await);
}

pub(crate) async fn a_change_is_by_epoch(store: S) {
    let p = person(&store).await;
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 0, "x", None)).await.unwrap(), Cas::Stale);
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 2, "x", None)).await.unwrap(), Cas::Stale);
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert!(lives(&store, &p.session).await);
}

pub(crate) async fn changes_of_one_epoch_8_at_once(store: S) {
    let p = person(&store).await;
    let outcomes = at_once(8, |i| {
        let (store, cmd) = (store.clone(), change_password(&p, 1, &format!("new{i}"), None));
        async move { store.change_password(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &Cas::Done(())), 1);
    let winner = outcomes.iter().position(|o| *o == Cas::Done(())).unwrap();
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch), (Some(hash(&format!("new{winner}"))), 2));
}

pub(crate) async fn a_kept_session_must_be_alive(store: S) {
    let (p, stranger) = (person(&store).await, person(&store).await);
    let dead = signed_in(&store, &p, 1, T).await;
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::One(dead.id))).await.unwrap(), 1);
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 1, "a", Some(dead.id))).await.unwrap(), Cas::Done(()));
    assert!(!lives(&store, &dead).await);
    assert!(revocations(&store).await.contains(&Revocation::Epoch { user_id: p.user.id, below: 2, keep: None }));
    assert_eq!(store.change_password(&ctx(T), change_password(&p, 2, "b", Some(stranger.session.id))).await.unwrap(), Cas::Done(()));
    let other = store.session(stranger.user.id, stranger.session.id).await.unwrap().unwrap();
    assert_eq!((other.session, other.user_epoch), (stranger.session, 1), "somebody else's session is left alone");
}

pub(crate) async fn a_rehash_wants_the_very_hash(store: S) {
    let p = person(&store).await;
    let cmd = |expect: &str| Rehash { user_id: p.user.id, expect_hash: hash(expect), new_hash: hash("today") };
    assert!(!store.rehash(&ctx(T), cmd("other")).await.unwrap());
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert!(store.rehash(&ctx(T), cmd("first")).await.unwrap());
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch), (Some(hash("today")), 1));
    assert!(lives(&store, &p.session).await);
}

pub(crate) async fn a_rehash_racing_a_change(store: S) {
    for _ in 0..16 {
        let p = person(&store).await;
        at_once(2, |i| {
            let (store, p) = (store.clone(), p.clone());
            async move {
                if i == 0 {
                    let cmd = change_password(&p, 1, "changed", None);
                    assert_eq!(store.change_password(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
                } else {
                    let cmd = Rehash { user_id: p.user.id, expect_hash: hash("first"), new_hash: hash("first again") };
                    store.rehash(&ctx(T), cmd).await.unwrap();
                }
            }
        })
        .await;
        assert_eq!(user(&store, p.user.id).await.password_hash, Some(hash("changed")), "the old password never comes back");
    }
}

pub(crate) async fn kinds_of_hashes_are_counted(store: S) {
    use crate::domain::hash::PasswordHash;
    let kinds = async || store.hash_census().await.unwrap();
    let mut p = newcomer(T);
    p.user.password_hash = Some(PasswordHash::new("$argon2id$v=19$m=77,t=1,p=1$c2FsdA$dGFn"));
    let p = signed_up(&store, p).await;
    assert!(kinds().await.contains(&"argon2id:m=77,t=1,p=1".to_owned()));
    let mut cmd = change_password(&p, 1, "x", None);
    cmd.new_hash = PasswordHash::new("$2b$09$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW");
    assert_eq!(store.change_password(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    signed_up(&store, newcomer(T)).await;
    let all = kinds().await;
    assert!(all.contains(&"bcrypt:09".to_owned()));
    assert_eq!(count(&all, &"argon2id:m=19456,t=2,p=1".to_owned()), 1, "each kind once");
}
