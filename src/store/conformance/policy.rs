//! The auth policy of a tenant.

use super::fixture::*;
use crate::{
    domain::{
        authority::By,
        policy::{AuthPolicy, BreachCheck},
    },
    store::{commands::*, policy::SetPolicy},
};

fn strict() -> AuthPolicy {
    AuthPolicy {
        password_min_length: 64,
        password_require_uppercase: true,
        password_require_number: true,
        password_require_symbol: true,
        password_min_strength: 4,
        breached_password_check: BreachCheck::On,
        password_context_words: vec!["apollo".into()],
        otp_email_enabled: false,
        otp_sms_enabled: false,
        invite_ttl_hours: 720,
        session_ttl_days: 365,
        session_idle_days: 365,
        recycle_bin_days: 1,
        sms_daily_budget: 1_000_000,
        sms_countries: vec!["CH".into(), "US".into()],
        notices: vec!["phone_changed".into()],
    }
}

pub(crate) async fn a_policy_is_set_by_version(store: S) {
    let (p, other) = (person(&store).await, person(&store).await);
    let cmd = SetPolicy { tenant_id: p.tenant.id, expect_version: 1, policy: strict(), by: By::operator(p.tenant.id), audit: vec![] };
    let later = T.plus(secs(5));
    assert_eq!(store.set_policy(&ctx(later), cmd.clone()).await.unwrap(), Ok(Cas::Done(())));
    let after = store.tenant(p.tenant.id).await.unwrap().unwrap();
    let mut expected = p.tenant.clone();
    (expected.policy, expected.version, expected.updated_at) = (strict(), 2, later);
    assert_eq!(after, expected);
    assert_eq!(store.set_policy(&ctx(later), cmd.clone()).await.unwrap(), Ok(Cas::Stale), "the version has moved on");
    let unknown = SetPolicy { tenant_id: tenant_id(), ..cmd };
    assert_eq!(store.set_policy(&ctx(later), unknown).await.unwrap(), Ok(Cas::Stale));
    assert_eq!(store.tenant(p.tenant.id).await.unwrap(), Some(expected));
    assert_eq!(store.tenant(other.tenant.id).await.unwrap(), Some(other.tenant));
}

pub(crate) async fn policies_of_one_version_16_at_once(store: S) {
    let p = person(&store).await;
    let outcomes = at_once(16, |i| {
        let policy = AuthPolicy { invite_ttl_hours: i as u32 + 1, ..AuthPolicy::default() };
        let (store, tenant_id) = (store.clone(), p.tenant.id);
        async move {
            let cmd = SetPolicy { tenant_id, expect_version: 1, policy, by: By::operator(tenant_id), audit: vec![] };
            store.set_policy(&ctx(T), cmd).await.unwrap()
        }
    })
    .await;
    assert_eq!(count(&outcomes, &Ok(Cas::Done(()))), 1);
    let winner = outcomes.iter().position(|o| *o == Ok(Cas::Done(()))).unwrap();
    let after = store.tenant(p.tenant.id).await.unwrap().unwrap();
    assert_eq!((after.policy.invite_ttl_hours as usize, after.version), (winner + 1, 2));
}

pub(crate) async fn a_policy_set_again_by_the_same_command(store: S) {
    let p = person(&store).await;
    let (first, second) = (ctx(T), ctx(T));
    let cmd = SetPolicy { tenant_id: p.tenant.id, expect_version: 1, policy: strict(), by: By::operator(p.tenant.id), audit: vec![] };
    assert_eq!(store.set_policy(&first, cmd.clone()).await.unwrap(), Ok(Cas::Done(())));
    let back = SetPolicy {
        tenant_id: p.tenant.id,
        expect_version: 2,
        policy: AuthPolicy::default(),
        by: By::operator(p.tenant.id),
        audit: vec![],
    };
    assert_eq!(store.set_policy(&second, back).await.unwrap(), Ok(Cas::Done(())));
    assert_eq!(store.set_policy(&first, cmd).await.unwrap(), Ok(Cas::Done(())), "its outcome is remembered");
    let after = store.tenant(p.tenant.id).await.unwrap().unwrap();
    assert_eq!((after.policy, after.version), (AuthPolicy::default(), 3));
}
