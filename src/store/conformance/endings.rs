//! What becomes of a deleted organization.

use super::{
    audit::{TURN, linked_up, some, walked},
    fixture::*,
    invites::{company, invite, invited},
};
use crate::{
    domain::{
        authority::By,
        ids::{RoleId, TenantId},
        invite::InviteStatus,
        time::Timestamp,
        user::Membership,
    },
    store::{admin::*, commands::*},
};

async fn deleted(store: &S, tenant_id: TenantId, now: Timestamp) {
    let cmd = DeleteTenant { tenant_id, by: By::operator(tenant_id), audit: vec![] };
    assert_eq!(store.delete_tenant(&ctx(now), cmd).await.unwrap(), Ok(Cas::Done(())));
}

pub(crate) async fn members_and_invites_of_a_deleted_tenant_end(store: S) {
    let (t, _alone) = era(&store, 22).await;
    let (owner, tenant) = company(&store).await;
    let mut sole = vec![];
    for _ in 0..3 {
        let mut user = newcomer(T).user;
        user.home_tenant = tenant.id;
        let membership = Membership { user_id: user.id, tenant_id: tenant.id, roles: vec![RoleId::MEMBER], joined_at: T };
        sole.push(user.id);
        let cmd = CreateMember { user, membership, by: By::operator(tenant.id), vouched: true, job: None, audit: vec![] };
        assert_eq!(store.create_member(&ctx(T), cmd).await.unwrap(), CreateMemberOutcome::Created);
    }
    // More than one step sees to.
    let mut invites = vec![];
    for _ in 0..520 {
        invites.push(invited(&store, invite(tenant.id, address(), t)).await);
    }
    deleted(&store, tenant.id, t).await;
    while store.end_tenants(t, &newcomers()).await.unwrap().more {}
    for i in &invites {
        assert_eq!(store.invite(tenant.id, i.id).await.unwrap().map(|i| i.status), Some(InviteStatus::Revoked));
    }
    for id in sole {
        assert_eq!(user(&store, id).await.purge_after, Some(t.plus(days(30))));
    }
    assert_eq!(user(&store, owner.user.id).await.deleted_at, None, "who belongs elsewhere too");
}

/// Whoever walks the chain of a tenant on its way out, at whatever step, finds it whole.
pub(crate) async fn a_chain_goes_from_its_end(store: S) {
    let _turn = TURN.lock().await;
    let (t, _alone) = era(&store, 23).await;
    let (_, tenant) = company(&store).await;
    for _ in 0..3 {
        store.write_audit(&ctx(t), some(tenant.id, 200)).await.unwrap();
    }
    linked_up(&store).await;
    store.write_audit(&ctx(t), some(tenant.id, 5)).await.unwrap();
    deleted(&store, tenant.id, t).await;
    let (mut before, mut steps) = (600, 0);
    while store.end_tenants(t.plus(days(30)), &newcomers()).await.unwrap().more {
        let left = walked(&store, tenant.id).await.len();
        assert!(left <= before);
        (before, steps) = (left, steps + 1);
    }
    assert!(steps > 3, "{steps}");
    assert_eq!(store.tenant(tenant.id).await.unwrap(), None);
    assert_eq!(store.audit_events(tenant.id, None, 9).await.unwrap(), []);
    let state = store.chain_state(tenant.id).await.unwrap();
    assert_eq!((state.head.seq, state.last, state.unlinked, state.stray), (0, 0, 0, None));
}
