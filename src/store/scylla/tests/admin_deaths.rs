//! Commands of admins that die, or lose an answer, at a few of their writes here, at each of them in `long`; and the same from two nodes at
//! once. (To die before a read is to die after the write before it.) Those that sweep live in years of their own.

mod long;

use super::{
    deaths::{Heir, Reach, WAYS, at_points_of, heir, store},
    *,
};
use crate::{
    domain::{
        authority::By,
        context::Ctx,
        ids::{RoleId, TenantId, UserId},
        time::Timestamp,
        user::{Membership, User, UserStatus},
    },
    store::{
        Store,
        admin::*,
        conformance::invites::{company, invite, invited},
        scylla::{
            accounts::{HOLDER, ONE},
            fail::Points,
            unit::Unit,
        },
    },
};

fn new_member(tenant_id: TenantId, role: RoleId) -> CreateMember {
    let mut user = newcomer(T).user;
    user.home_tenant = tenant_id;
    user.email_asserted_at = Some(T);
    let membership = Membership { user_id: user.id, tenant_id, roles: vec![role], joined_at: T };
    CreateMember {
        audit: vec![event(tenant_id, Some(user.id), "user.created")],
        by: By::operator(tenant_id),
        vouched: true,
        user,
        membership,
        job: None,
    }
}
async fn member_of(store: &S, tenant: TenantId, role: RoleId) -> User {
    let cmd = new_member(tenant, role);
    assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
    cmd.user
}
fn change(user_id: UserId, tenant_id: TenantId, what: MemberChange) -> ChangeMember {
    ChangeMember { user_id, by: By::operator(tenant_id), what, audit: vec![] }
}
/// Whom a search for an address finds, with a status.
async fn found(store: &S, tenant_id: TenantId, user: &User, status: UserStatus) -> usize {
    let filter = MemberFilter { tenant_id, prefix: Some(user.email.as_str().into()), status: Some(status) };
    store.members(filter, None, 9).await.unwrap().members.len()
}
async fn events(store: &S, tenant: TenantId, user: UserId, name: &str) -> usize {
    let all = store.audit_events(tenant, None, 1000).await.unwrap();
    all.iter().filter(|(e, _)| e.event == name && e.user_id == Some(user)).count()
}
fn done(outcome: MemberOutcome) -> bool {
    matches!(outcome, MemberOutcome::Done { .. })
}

async fn new_members(reach: Reach) {
    at_points_of(
        (WAYS, Points::Writes, reach),
        Heir::Sweeps,
        async |store| {
            let tenant = company(&store).await.1.id;
            (tenant, ctx(T), new_member(tenant, RoleId::OWNER))
        },
        |store, (_, ctx, cmd)| async move { store.create_member(&ctx, cmd).await },
        async |heir, (tenant, ctx, cmd), out| {
            let (id, digest) = (cmd.user.id, cmd.user.email.digest());
            let is_there = heir.user(id).await.unwrap().is_some();
            assert!(is_there || out.is_none(), "an acknowledged member is lost");
            assert_eq!(heir.user_by_email(&digest).await.unwrap().is_some(), is_there);
            let claimed: Option<UserId> = heir.engine.cql.peek(&Unit::email(&digest), HOLDER, ONE).await.unwrap();
            assert_eq!(claimed.is_some(), is_there, "no claimed address without its user");
            assert_eq!(heir.member(tenant, id).await.unwrap().is_some(), is_there);
            let heir: S = heir;
            assert_eq!(found(&heir, tenant, &cmd.user, UserStatus::Active).await, usize::from(is_there), "listed with it");
            assert_eq!(heir.create_member(&ctx, cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
            assert_eq!(found(&heir, tenant, &cmd.user, UserStatus::Active).await, 1);
            assert_eq!(events(&heir, tenant, id, "user.created").await, 1);
        },
    )
    .await;
}

/// A member in the recycle bin, who has invited somebody.
async fn binned(store: &S, tenant: TenantId, at: Timestamp) -> (Ctx, User, crate::domain::invite::Invite) {
    let user = member_of(store, tenant, RoleId::MEMBER).await;
    let by_hand = crate::domain::invite::Invite { inviter: Some(user.id), inviter_key: None, ..invite(tenant, address(), T) };
    let sent = invited(store, by_hand).await;
    let bin = change(user.id, tenant, MemberChange::Delete { purge_after: at.plus(days(30)), job: None });
    assert!(done(store.change_member(&ctx(at), bin).await.unwrap()));
    (ctx(at), user, sent)
}
fn purge(user: &User, tenant: TenantId) -> ChangeMember {
    ChangeMember { audit: vec![event(tenant, Some(user.id), "user.purged")], ..change(user.id, tenant, MemberChange::Purge) }
}
/// Nothing of him is left, and his address is free.
async fn is_gone(heir: &Arc<ScyllaStore>, tenant: TenantId, u: &User) {
    assert_eq!(heir.user(u.id).await.unwrap(), None);
    let head = heir.engine.cql.head(&Unit::user(u.id), true).await.unwrap();
    assert_eq!((head.version, head.lock), (None, None), "nothing is left of the unit");
    let claimed: Option<UserId> = heir.engine.cql.peek(&Unit::email(&u.email.digest()), HOLDER, ONE).await.unwrap();
    assert_eq!(claimed, None, "the address is free");
    let heir: S = heir.clone();
    assert_eq!(events(&heir, tenant, u.id, "user.purged").await, 1, "one receipt");
    assert_eq!(events(&heir, tenant, u.id, "user.created").await, 0, "what was before is erased");
}

async fn purges(reach: Reach) {
    let first: S = Arc::new(store().await);
    let (at, _alone) = era(&first, 17).await;
    at_points_of(
        (WAYS, Points::Writes, reach),
        Heir::Sweeps,
        // A tenant each: what an earlier one left in its audit is no matter of this one's.
        async |store| {
            let tenant = company(&store).await.1.id;
            (tenant, binned(&store, tenant, at).await)
        },
        |store, (tenant, (ctx, user, _))| {
            let cmd = purge(&user, tenant);
            async move { store.change_member(&ctx, cmd).await }
        },
        async |heir, (tenant, (ctx, u, sent)), out| {
            let marked = heir.user(u.id).await.unwrap().is_none();
            assert!(marked || out.is_none(), "an acknowledged purge is lost");
            // Without anybody coming again.
            while heir.sweep(at).await.unwrap().more {}
            if marked {
                is_gone(&heir, tenant, &u).await;
            } else {
                assert!(heir.user(u.id).await.unwrap().is_some_and(|u| u.deleted_at.is_some()), "it waits in the bin");
                let again = ChangeMember { audit: vec![event(tenant, Some(u.id), "user.purged")], ..purge(&u, tenant) };
                assert!(done(heir.change_member(&ctx, again).await.unwrap()));
                is_gone(&heir, tenant, &u).await;
            }
            assert!(done(heir.change_member(&ctx, purge(&u, tenant)).await.unwrap()), "a rerun says so again");
            let store: S = heir.clone();
            let invite = store.invite(tenant, sent.id).await.unwrap().unwrap();
            assert_eq!((invite.inviter, invite.status), (None, crate::domain::invite::InviteStatus::Revoked));
            let mut next = newcomer(T);
            next.user.email = u.email.clone();
            assert_eq!(heir.create_user(&super::ctx(T), next).await.unwrap(), CreateUserOutcome::Created);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_is_there_whole_or_not_at_all_after_a_few_failures() {
    new_members(Reach::Few).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_comes_to_its_end_after_a_few_failures() {
    purges(Reach::Few).await;
}

/// Eight at once on two nodes that don't know of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_purge_and_one_end_of_a_tenant_on_two_nodes() {
    let one = store().await;
    let nodes = [Arc::new(one.clone()), heir(&one, Heir::Meets).await];
    let first: S = nodes[0].clone();
    let tenant = company(&first).await.1.id;
    let (_, u, _) = binned(&first, tenant, T).await;
    let outcomes = at_once(8, |i| {
        let (node, cmd) = (nodes[i % 2].clone(), purge(&u, tenant));
        async move { node.change_member(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|o| done(**o)).count(), 1, "{outcomes:?}");
    assert_eq!(count(&outcomes, &MemberOutcome::NotFound), 7);
    is_gone(&nodes[1], tenant, &u).await;
    let outcomes =
        at_once(8, |i| {
            let node = nodes[i % 2].clone();
            async move {
                node.delete_tenant(&ctx(T), DeleteTenant { tenant_id: tenant, by: By::operator(tenant), audit: vec![] }).await.unwrap()
            }
        })
        .await;
    assert_eq!((count(&outcomes, &Ok(Cas::Done(()))), count(&outcomes, &Ok(Cas::Stale))), (1, 7));
}
