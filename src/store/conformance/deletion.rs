//! Accounts that go into the recycle bin.

use super::fixture::*;
use crate::store::commands::*;

pub(crate) async fn everything_dies_and_the_address_stays(store: S) {
    let p = person(&store).await;
    let link = linked(&store, &p, 1, T).await;
    begun(&store, email_change(&p, 1, 5, T)).await;
    let at = T.plus(secs(9));
    assert_eq!(store.delete_user(&ctx(at), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.deleted_at, u.purge_after, u.credential_epoch), (Some(at), Some(T.plus(days(30))), 2));
    assert!(u.version > 1 && !u.may_sign_in());
    assert_eq!(store.sessions(p.user.id).await.unwrap()[0].revoked_at, Some(at));
    assert!(!lives(&store, &p.session).await);
    assert!(refused(&store, &p.session).await);
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.complete_reset(&ctx(at), reset(&link, "x")).await.unwrap(), Cas::Stale);
    assert!(!store.create_reset_link(&ctx(at), reset_link(&p, 2, at)).await.unwrap());
    assert_eq!(store.create_session(&ctx(at), sign_in(&p, 2, at)).await.unwrap(), Cas::Stale);
    let mut again = newcomer(at);
    again.user.email = p.user.email.clone();
    assert_eq!(store.create_user(&ctx(at), again).await.unwrap(), CreateUserOutcome::EmailTaken(p.user.id), "it frees nothing");
}

pub(crate) async fn a_condition_that_failed_deletes_nothing(store: S) {
    let p = person(&store).await;
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 0)).await.unwrap(), Cas::Stale);
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert!(lives(&store, &p.session).await);
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 2)).await.unwrap(), Cas::Stale, "it is deleted already");
    assert_eq!(store.delete_user(&ctx(T), delete(&newcomer(T), 1)).await.unwrap(), Cas::Stale);
}

pub(crate) async fn a_lone_owner_may_go(store: S) {
    let p = person(&store).await;
    let org = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), org).await.unwrap(), CreateTenantOutcome::Created);
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
}
