//! Sessions that end, and the list from which every node learns of it.

use super::fixture::*;
use crate::store::commands::*;
use std::collections::HashSet;

pub(crate) async fn one_all_but_one_and_all(store: S) {
    let p = person(&store).await;
    let mut s = vec![p.session.clone()];
    for _ in 0..4 {
        s.push(signed_in(&store, &p, 1, T).await);
    }
    let end = async |which| store.revoke_sessions(&ctx(T.plus(secs(1))), revoke(&p, which)).await.unwrap();
    let alive = async || {
        let mut out = vec![];
        for (i, s) in s.iter().enumerate() {
            let lives = lives(&store, s).await;
            assert_eq!(refused(&store, s).await, !lives, "the list says the same");
            if lives {
                out.push(i);
            }
        }
        out
    };
    assert_eq!(end(Which::One(s[1].id)).await, 1);
    assert_eq!(alive().await, [0, 2, 3, 4]);
    assert_eq!(end(Which::One(s[1].id)).await, 0, "it is over already");
    assert_eq!(end(Which::AllBut(s[2].id)).await, 3);
    assert_eq!(alive().await, [2]);
    assert_eq!(end(Which::All).await, 1);
    assert!(alive().await.is_empty());
    let u = user(&store, p.user.id).await;
    assert_eq!(u.credential_epoch, 1, "no epoch is raised");
    let first = store.session(p.user.id, s[1].id).await.unwrap().unwrap().session;
    assert_eq!(first.revoked_at, Some(T.plus(secs(1))));
}

pub(crate) async fn somebody_elses_session(store: S) {
    let (p, other) = (person(&store).await, person(&store).await);
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::One(other.session.id))).await.unwrap(), 0);
    assert!(lives(&store, &other.session).await && !refused(&store, &other.session).await);
    assert!(lives(&store, &p.session).await);
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&newcomer(T), Which::All)).await.unwrap(), 0);
}

pub(crate) async fn only_the_living_count(store: S) {
    let p = person(&store).await;
    let mut over = sign_in(&p, 1, T);
    over.session.expires_at = T.plus(secs(10));
    assert_eq!(store.create_session(&ctx(T), over).await.unwrap(), Cas::Done(()));
    let at = T.plus(days(29));
    signed_in(&store, &p, 1, at).await;
    // The first is idle at 30 days, the second is past its absolute end, the third lives.
    assert_eq!(store.revoke_sessions(&ctx(T.plus(days(30))), revoke(&p, Which::All)).await.unwrap(), 1);
}

pub(crate) async fn the_cursor_goes_on(store: S) {
    let p = person(&store).await;
    let (_, mut cursor) = store.revocations_since(0).await.unwrap();
    while let (some, next) = store.revocations_since(cursor).await.unwrap()
        && !some.is_empty()
    {
        cursor = next;
    }
    let mut mine = vec![];
    for _ in 0..3 {
        let s = signed_in(&store, &p, 1, T).await;
        assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::One(s.id))).await.unwrap(), 1);
        mine.push(Revocation::Session(s.id));
    }
    let (some, next) = store.revocations_since(cursor).await.unwrap();
    let some: Vec<_> = some.into_iter().filter(|r| mine.contains(r)).collect();
    assert_eq!(some.len(), 3, "each once");
    let (later, _) = store.revocations_since(next).await.unwrap();
    assert!(later.iter().all(|r| !mine.contains(r)), "not again");
    assert!(mine.iter().all(|r| some.contains(r)));
}

pub(crate) async fn readers_miss_nothing_while_writers_write(store: S) {
    let (_, start) = store.revocations_since(0).await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reading = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let (mut seen, mut cursor) = (HashSet::new(), start);
            loop {
                let last = done.load(std::sync::atomic::Ordering::SeqCst);
                let (some, next) = store.revocations_since(cursor).await.unwrap();
                if last && some.is_empty() {
                    return seen;
                }
                cursor = next;
                for r in some {
                    if let Revocation::Session(id) = r {
                        assert!(seen.insert(id), "given twice");
                    }
                }
            }
        }
    });
    let ended = at_once(8, |_| {
        let store = store.clone();
        async move {
            let p = person(&store).await;
            let mut ended = vec![];
            for _ in 0..15 {
                let s = signed_in(&store, &p, 1, T).await;
                assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::One(s.id))).await.unwrap(), 1);
                ended.push(s.id);
            }
            ended
        }
    })
    .await;
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let seen = reading.await.unwrap();
    assert!(ended.iter().flatten().all(|id| seen.contains(id)));
}
