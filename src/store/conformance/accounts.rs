//! Accounts: made once, found, changed.

use super::fixture::*;
use crate::{
    domain::{network::Network, user::CodeSerials},
    store::commands::*,
};
use serde_json::json;

pub(crate) async fn create_user_writes_all_of_it(store: S) {
    let p = person(&store).await;
    assert_eq!(store.user(p.user.id).await.unwrap().as_ref(), Some(&p.user));
    assert_eq!(store.user_by_email(&p.user.email.digest()).await.unwrap().as_ref(), Some(&p.user));
    assert_eq!(store.tenant(p.tenant.id).await.unwrap().as_ref(), Some(&p.tenant));
    assert_eq!(store.membership(p.user.id, p.tenant.id).await.unwrap().as_ref(), Some(&p.membership));
    assert_eq!(store.memberships(p.user.id).await.unwrap(), [(p.tenant.clone(), p.membership.clone())]);
    assert_eq!(store.sessions(p.user.id).await.unwrap(), std::slice::from_ref(&p.session));
    assert!(lives(&store, &p.session).await);
    assert_eq!(store.user(user_id()).await.unwrap(), None);
    assert_eq!(store.user_by_email(&address().digest()).await.unwrap(), None);
    assert_eq!(store.tenant(tenant_id()).await.unwrap(), None);
}

pub(crate) async fn every_field_survives(store: S) {
    let mut p = newcomer(T);
    let u = &mut p.user;
    u.last_tenant = Some(tenant_id());
    u.email_verified_at = Some(T.plus(secs(1)));
    u.email_asserted_at = Some(T.plus(secs(9)));
    u.phone = Some(phone());
    u.phone_verified_at = Some(T.plus(secs(2)));
    u.display_name = Some("Zoë \u{1F980} \"'; --".into());
    u.locale = Some("de-CH".into());
    u.metadata = json!({"plan": {"seats": 3, "name": "a\0b"}, "ü": [null, 1.5]}).as_object().unwrap().clone();
    u.code_serials = CodeSerials { email: 1, phone: 2, email_change: 3 };
    u.version = 7;
    p.tenant.metadata = json!({"k": "v"}).as_object().unwrap().clone();
    p.tenant.policy.sms_countries = vec!["CH".into()];
    p.session.user_agent = None;
    p.session.turned_by = AWAY;
    let p = signed_up(&store, p).await;
    assert_eq!(user(&store, p.user.id).await, p.user);
    assert_eq!(store.tenant(p.tenant.id).await.unwrap().unwrap(), p.tenant);
    assert_eq!(store.session(p.user.id, p.session.id).await.unwrap().unwrap().session, p.session);
}

pub(crate) async fn one_address_48_at_once(store: S) {
    let email = address();
    let cmds: Vec<_> = (0..48)
        .map(|_| {
            let mut cmd = newcomer(T);
            cmd.user.email = email.clone();
            cmd
        })
        .collect();
    let outcomes = at_once(48, |i| {
        let (store, cmd) = (store.clone(), cmds[i].clone());
        async move { store.create_user(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &CreateUserOutcome::Created), 1);
    let winner = store.user_by_email(&email.digest()).await.unwrap().unwrap();
    assert_eq!(count(&outcomes, &CreateUserOutcome::EmailTaken(winner.id)), 47);
    for (cmd, outcome) in cmds.iter().zip(&outcomes) {
        let created = *outcome == CreateUserOutcome::Created;
        assert_eq!(created, cmd.user.id == winner.id);
        assert_eq!(store.tenant(cmd.tenant.id).await.unwrap().is_some(), created, "no tenant without its user");
    }
}

pub(crate) async fn a_taken_address_writes_nothing(store: S) {
    let first = person(&store).await;
    let mut second = newcomer(T);
    second.user.email = first.user.email.clone();
    assert_eq!(store.create_user(&ctx(T), second.clone()).await.unwrap(), CreateUserOutcome::EmailTaken(first.user.id));
    assert_eq!(store.user(second.user.id).await.unwrap(), None);
    assert_eq!(store.tenant(second.tenant.id).await.unwrap(), None);
    assert_eq!(store.memberships(second.user.id).await.unwrap(), []);
    assert_eq!(store.sessions(second.user.id).await.unwrap(), []);
    assert_eq!(user(&store, first.user.id).await, first.user);
}

pub(crate) async fn a_sign_in_finds_the_account_and_its_networks(store: S) {
    let p = person(&store).await;
    let digest = p.user.email.digest();
    let found = |known_network| LoginLookup { user: Some(p.user.clone()), known_network };
    assert_eq!(store.login_lookup(&digest, HOME).await.unwrap(), found(true));
    assert_eq!(store.login_lookup(&digest, AWAY).await.unwrap(), found(false));
    let nobody = LoginLookup { user: None, known_network: false };
    for _ in 0..20 {
        assert_eq!(store.login_lookup(&address().digest(), HOME).await.unwrap(), nobody);
    }
    let cmd = CreateSession { network: AWAY, ..sign_in(&p, 1, T) };
    assert_eq!(store.create_session(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    assert!(store.login_lookup(&digest, AWAY).await.unwrap().known_network);
}

pub(crate) async fn only_sixteen_networks_stay_known(store: S) {
    let p = person(&store).await;
    let network = |n: u8| Network::V4([203, 0, 113, n]);
    for n in 0..16 {
        let at = T.plus(secs(1 + u64::from(n)));
        let cmd = CreateSession { network: network(n), ..sign_in(&p, 1, at) };
        assert_eq!(store.create_session(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    }
    let digest = p.user.email.digest();
    assert!(!store.login_lookup(&digest, HOME).await.unwrap().known_network, "the oldest of 17 goes");
    for n in 0..16 {
        assert!(store.login_lookup(&digest, network(n)).await.unwrap().known_network, "{n}");
    }
    // Seen again, network 0 is the latest; the next new one puts out network 1.
    for n in [0, 16] {
        let at = T.plus(secs(100 + u64::from(n)));
        let cmd = CreateSession { network: network(n), ..sign_in(&p, 1, at) };
        assert_eq!(store.create_session(&ctx(at), cmd).await.unwrap(), Cas::Done(()));
    }
    assert!(store.login_lookup(&digest, network(0)).await.unwrap().known_network);
    assert!(!store.login_lookup(&digest, network(1)).await.unwrap().known_network);
}

pub(crate) async fn the_profile_changes_by_version(store: S) {
    let p = person(&store).await;
    let change = |expect_version, name: Option<&str>| UpdateProfile {
        user_id: p.user.id,
        expect_version,
        display_name: name.map(Into::into),
        locale: Some("fr".into()),
    };
    let at = T.plus(secs(5));
    let Cas::Done(changed) = store.update_profile(&ctx(at), change(1, Some("Ada"))).await.unwrap() else { panic!("stale") };
    assert_eq!((changed.display_name.as_deref(), changed.locale.as_deref()), (Some("Ada"), Some("fr")));
    assert_eq!((changed.updated_at, changed.credential_epoch), (at, 1));
    assert!(changed.version > 1);
    assert_eq!(user(&store, p.user.id).await, changed);
    assert_eq!(store.update_profile(&ctx(at), change(1, Some("Eve"))).await.unwrap(), Cas::Stale);
    assert_eq!(user(&store, p.user.id).await, changed);
    let Cas::Done(cleared) = store.update_profile(&ctx(at), change(changed.version, None)).await.unwrap() else { panic!("stale") };
    assert_eq!(cleared.display_name, None);
    let nobody = UpdateProfile { user_id: user_id(), ..change(1, None) };
    assert_eq!(store.update_profile(&ctx(at), nobody).await.unwrap(), Cas::Stale);
}
