//! Codes that prove an address or a number, once each.

use super::fixture::*;
use crate::{domain::ids::UserId, store::commands::*};

fn email(user_id: UserId, epoch: u64, serial: u64) -> ConfirmEmail {
    ConfirmEmail { user_id, epoch, serial, personal: None, audit: vec![] }
}
fn number(user_id: UserId, epoch: u64, serial: u64) -> ConfirmPhone {
    ConfirmPhone { user_id, epoch, serial, phone: phone(), job: None, audit: vec![] }
}

pub(crate) async fn a_code_proves_the_address_once(store: S) {
    let p = person(&store).await;
    let at = T.plus(secs(30));
    assert_eq!(store.confirm_email(&ctx(at), email(p.user.id, 1, 100)).await.unwrap(), Cas::Done(()));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.email_verified_at, u.code_serials.email, u.credential_epoch), (Some(at), 100, 1));
    assert_eq!((u.updated_at, u.email), (at, p.user.email.clone()));
    assert!(u.version > 1);
    assert_eq!(store.confirm_email(&ctx(at), email(p.user.id, 1, 100)).await.unwrap(), Cas::Stale);
    assert!(lives(&store, &p.session).await);
}

pub(crate) async fn one_code_16_at_once(store: S) {
    let p = person(&store).await;
    let outcomes = at_once(16, |_| {
        let (store, cmd) = (store.clone(), email(p.user.id, 1, 7));
        async move { store.confirm_email(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &Cas::Done(())), 1);
    let outcomes = at_once(16, |_| {
        let (store, cmd) = (store.clone(), number(p.user.id, 1, 7));
        async move { store.confirm_phone(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &Cas::Done(())), 1);
}

pub(crate) async fn an_old_epoch_or_serial_proves_nothing(store: S) {
    let p = person(&store).await;
    for cmd in [email(p.user.id, 0, 5), email(p.user.id, 2, 5), email(p.user.id, 1, 0), email(user_id(), 1, 5)] {
        assert_eq!(store.confirm_email(&ctx(T), cmd).await.unwrap(), Cas::Stale);
    }
    for cmd in [number(p.user.id, 0, 5), number(p.user.id, 2, 5), number(p.user.id, 1, 0), number(user_id(), 1, 5)] {
        assert_eq!(store.confirm_phone(&ctx(T), cmd).await.unwrap(), Cas::Stale);
    }
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert_eq!(store.confirm_email(&ctx(T), email(p.user.id, 1, 5)).await.unwrap(), Cas::Done(()));
    assert_eq!(store.confirm_email(&ctx(T), email(p.user.id, 1, 4)).await.unwrap(), Cas::Stale, "an older code");
    assert_eq!(store.confirm_email(&ctx(T), email(p.user.id, 1, 6)).await.unwrap(), Cas::Done(()), "a newer one");
}

pub(crate) async fn a_number_is_stored_as_proved(store: S) {
    let p = person(&store).await;
    let at = T.plus(secs(30));
    assert_eq!(store.confirm_phone(&ctx(at), number(p.user.id, 1, 9)).await.unwrap(), Cas::Done(()));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.phone, u.phone_verified_at, u.code_serials.phone), (Some(phone()), Some(at), 9));
    let cmd = ConfirmPhone { phone: "+4930901820".parse().unwrap(), ..number(p.user.id, 1, 10) };
    assert_eq!(store.confirm_phone(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    assert_eq!(user(&store, p.user.id).await.phone.unwrap().as_str(), "+4930901820");
}

pub(crate) async fn serials_of_two_purposes_are_apart(store: S) {
    let p = person(&store).await;
    assert_eq!(store.confirm_email(&ctx(T), email(p.user.id, 1, 50)).await.unwrap(), Cas::Done(()));
    assert_eq!(store.confirm_phone(&ctx(T), number(p.user.id, 1, 40)).await.unwrap(), Cas::Done(()));
    let change = begun(&store, email_change(&p, 1, 30, T)).await;
    let moved = store.confirm_email_change(&ctx(T), confirm_change(&change, None)).await.unwrap();
    assert_eq!(moved, Cas::Done(EmailChangeOutcome::Changed));
    let serials = user(&store, p.user.id).await.code_serials;
    assert_eq!((serials.email, serials.phone, serials.email_change), (50, 40, 30));
}
