//! Tenants and memberships.

use super::fixture::*;
use crate::store::commands::*;

pub(crate) async fn a_tenant_and_its_owner(store: S) {
    let p = person(&store).await;
    let org = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), org.clone()).await.unwrap(), CreateTenantOutcome::Created);
    assert_eq!(store.tenant(org.tenant.id).await.unwrap(), Some(org.tenant.clone()));
    assert_eq!(store.membership(p.user.id, org.tenant.id).await.unwrap(), Some(org.membership.clone()));
    assert_eq!(store.membership(user_id(), org.tenant.id).await.unwrap(), None);
    assert_eq!(store.membership(p.user.id, tenant_id()).await.unwrap(), None);
}

pub(crate) async fn one_slug_16_at_once(store: S) {
    let p = person(&store).await;
    let slug = organization(&p, T).tenant.slug;
    let cmds: Vec<_> = (0..16)
        .map(|_| {
            let mut cmd = organization(&p, T);
            cmd.tenant.slug = slug.clone();
            cmd
        })
        .collect();
    let outcomes = at_once(16, |i| {
        let (store, cmd) = (store.clone(), cmds[i].clone());
        async move { store.create_tenant(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &CreateTenantOutcome::Created), 1);
    assert_eq!(count(&outcomes, &CreateTenantOutcome::SlugTaken), 15);
    assert_eq!(store.memberships(p.user.id).await.unwrap().len(), 2, "his personal one, and the winner");
}

pub(crate) async fn memberships_are_oldest_first(store: S) {
    let p = person(&store).await;
    let mut expected = vec![(T, p.tenant.id)];
    for n in [3, 1, 2] {
        let at = T.plus(secs(n));
        let org = organization(&p, at);
        assert_eq!(store.create_tenant(&ctx(at), org.clone()).await.unwrap(), CreateTenantOutcome::Created);
        expected.push((at, org.tenant.id));
    }
    expected.sort_unstable();
    let found: Vec<_> = store.memberships(p.user.id).await.unwrap().into_iter().map(|(t, m)| (m.joined_at, t.id)).collect();
    assert_eq!(found, expected);
    assert_eq!(store.memberships(user_id()).await.unwrap(), []);
}

pub(crate) async fn the_last_owner_stays(store: S) {
    let p = person(&store).await;
    let org = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), org.clone()).await.unwrap(), CreateTenantOutcome::Created);
    for tenant_id in [p.tenant.id, org.tenant.id] {
        let cmd = LeaveTenant { user_id: p.user.id, tenant_id, personal: spare(), audit: vec![] };
        assert_eq!(store.leave_tenant(&ctx(T), cmd).await.unwrap(), LeaveOutcome::LastOwner);
    }
    assert_eq!(store.memberships(p.user.id).await.unwrap().len(), 2);
    assert!(lives(&store, &p.session).await);
}

pub(crate) async fn no_member_no_leave(store: S) {
    let (p, other) = (person(&store).await, person(&store).await);
    for tenant_id in [other.tenant.id, tenant_id()] {
        let cmd = LeaveTenant { user_id: p.user.id, tenant_id, personal: spare(), audit: vec![] };
        assert_eq!(store.leave_tenant(&ctx(T), cmd).await.unwrap(), LeaveOutcome::NotMember);
    }
    assert_eq!(store.memberships(other.user.id).await.unwrap().len(), 1);
}
