//! Users and tenants as admins manage them.

use super::fixture::*;
use crate::{
    domain::{
        authority::{Authority, By, Denied, Elsewhere},
        ids::{RoleId, TenantId, UserId},
        permission::{Permission, Role},
        time::Timestamp,
        user::{Membership, UserStatus},
    },
    store::{access::*, admin::*, commands::*},
};

/// An organization with its owner.
async fn org(store: &S) -> (CreateUser, TenantId) {
    let owner = person(store).await;
    let cmd = organization(&owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    (owner, cmd.tenant.id)
}
fn new_member(tenant_id: TenantId, role: RoleId) -> CreateMember {
    let mut user = newcomer(T).user;
    user.home_tenant = tenant_id;
    // Who may give roles needs a proved address, or in a managed tenant the admin's word.
    user.email_asserted_at = (role != RoleId::MEMBER).then_some(T);
    let membership = Membership { user_id: user.id, tenant_id, roles: vec![role], joined_at: T };
    CreateMember { user, membership, by: by(tenant_id), vouched: true, job: None, audit: vec![] }
}
async fn member(store: &S, tenant: TenantId, role: RoleId) -> UserId {
    let cmd = new_member(tenant, role);
    assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
    cmd.user.id
}
fn by(tenant_id: TenantId) -> By {
    By::operator(tenant_id)
}
async fn change(store: &S, now: Timestamp, user_id: UserId, by: By, what: MemberChange) -> MemberOutcome {
    store.change_member(&ctx(now), ChangeMember { user_id, by, what, audit: vec![] }).await.unwrap()
}
fn bin() -> MemberChange {
    MemberChange::Delete { purge_after: T.plus(days(30)), job: None }
}
fn update(expect_version: u64, name: &str, status: UserStatus) -> MemberChange {
    MemberChange::Update { expect_version, display_name: Some(name.into()), phone: None, status, metadata: Default::default() }
}
fn done(outcome: MemberOutcome) -> bool {
    matches!(outcome, MemberOutcome::Done { .. })
}
async fn found(store: &S, tenant_id: TenantId, prefix: Option<&str>, status: Option<UserStatus>) -> Vec<UserId> {
    let filter = MemberFilter { tenant_id, prefix: prefix.map(str::to_owned), status };
    let (mut all, mut after) = (vec![], None);
    loop {
        let page = store.members(filter.clone(), after, 2).await.unwrap();
        assert!(page.members.len() <= 2);
        all.extend(page.members.into_iter().map(|m| m.user.id));
        let Some(next) = page.next else { return all };
        after = Some(next);
    }
}

pub(crate) async fn a_member_is_made_or_the_holder_told(store: S) {
    let ((_, tenant), stranger) = (org(&store).await, person(&store).await);
    let cmd = new_member(tenant, RoleId::MEMBER);
    let id = cmd.user.id;
    assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
    let read = store.member(tenant, id).await.unwrap().unwrap();
    let allows = Role::system_permissions(RoleId::MEMBER).unwrap();
    assert_eq!(read, Member { user: cmd.user.clone(), roles: vec![RoleId::MEMBER], permissions: allows, elsewhere: Elsewhere::Nowhere });
    let with = |email: &crate::domain::contact::Email, tenant| {
        let mut cmd = new_member(tenant, RoleId::MEMBER);
        cmd.user.email = email.clone();
        cmd
    };
    let (inside, outside) = (with(&cmd.user.email, tenant), with(&stranger.user.email, tenant));
    assert_eq!(store.create_member(&ctx(T), inside).await.unwrap(), CreateMemberOutcome::TakenInside);
    assert_eq!(store.create_member(&ctx(T), outside).await.unwrap(), CreateMemberOutcome::TakenOutside);
    let personal = new_member(stranger.tenant.id, RoleId::MEMBER);
    assert_eq!(store.create_member(&ctx(T), personal).await.unwrap(), CreateMemberOutcome::NoTenant);
    let roleless = new_member(tenant, RoleId::from_bytes([9; 16]));
    assert_eq!(store.create_member(&ctx(T), roleless).await.unwrap(), CreateMemberOutcome::NoRole);
    assert_eq!(store.member(stranger.tenant.id, id).await.unwrap(), None, "another tenant's");
}

pub(crate) async fn one_address_16_members_at_once(store: S) {
    let (_, tenant) = org(&store).await;
    let email = address();
    let outcomes = at_once(16, |_| {
        let (store, mut cmd) = (store.clone(), new_member(tenant, RoleId::MEMBER));
        cmd.user.email = email.clone();
        async move { store.create_member(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &CreateMemberOutcome::Created), count(&outcomes, &CreateMemberOutcome::TakenInside)), (1, 15));
    assert_eq!(found(&store, tenant, None, None).await.len(), 2);
}

pub(crate) async fn members_are_listed_and_found(store: S) {
    let ((owner, tenant), (_, other)) = (org(&store).await, org(&store).await);
    let mut ids = vec![owner.user.id];
    for name in ["Zoë One", "ada", "Zoë Two", "ZOË THREE", "zz"] {
        let mut cmd = new_member(tenant, RoleId::MEMBER);
        cmd.user.display_name = Some(name.into());
        assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
        ids.push(cmd.user.id);
    }
    // Ids of one millisecond are in no order of their own.
    let sorted = |ids: &[UserId]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    assert_eq!(found(&store, tenant, None, None).await, sorted(&ids));
    assert_eq!(found(&store, tenant, Some("zoë"), None).await, [ids[1], ids[4], ids[3]], "by the name: one, three, two");
    assert_eq!(found(&store, other, Some("zoë"), None).await, []);
    assert!(done(change(&store, T, ids[3], by(tenant), update(1, "Renamed", UserStatus::Suspended)).await));
    assert_eq!(found(&store, tenant, Some("zoë"), None).await, [ids[1], ids[4]]);
    assert_eq!(found(&store, tenant, Some("renamed"), None).await, [ids[3]]);
    assert_eq!(found(&store, tenant, Some("renamed"), Some(UserStatus::Active)).await, []);
    assert_eq!(found(&store, tenant, None, Some(UserStatus::Suspended)).await, [ids[3]]);
    assert_eq!(found(&store, tenant, None, None).await, sorted(&ids), "both, in order");
    // A person is found by the address he has now.
    let p = user(&store, ids[2]).await;
    let moved = email_change_of(&store, ids[2]).await;
    assert_eq!(found(&store, tenant, Some(p.email.as_str()), None).await, []);
    assert_eq!(found(&store, tenant, Some(&moved), None).await, [ids[2]]);
    assert!(done(change(&store, T, ids[5], by(tenant), bin()).await));
    assert_eq!(found(&store, tenant, Some("zz"), None).await, []);
    assert_eq!(found(&store, tenant, None, None).await, sorted(&ids[..5]));
    let binned = store.deleted_members(tenant, None, 10).await.unwrap();
    assert_eq!(binned.iter().map(|u| u.id).collect::<Vec<_>>(), [ids[5]]);
    assert!(done(change(&store, T, ids[5], by(tenant), MemberChange::Restore { job: None }).await));
    assert_eq!(found(&store, tenant, Some("zz"), None).await, [ids[5]]);
}

async fn email_change_of(store: &S, user_id: UserId) -> String {
    let epoch = user(store, user_id).await.credential_epoch;
    let new_email = address();
    let pending = PendingEmailChange { user_id, new_email, epoch, serial: 5, created_at: T, expires_at: T.plus(secs(600)) };
    let pending = begun(store, pending).await;
    let cmd = confirm_change(&pending, None);
    assert_eq!(store.confirm_email_change(&ctx(T), cmd).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
    pending.new_email.as_str().to_owned()
}

pub(crate) async fn the_fence_holds_at_the_write(store: S) {
    let ((owner, tenant), (_, other)) = (org(&store).await, org(&store).await);
    let (admin, plain) = (member(&store, tenant, RoleId::ADMIN).await, member(&store, tenant, RoleId::MEMBER).await);
    // Somebody who may write users, and no more than a member otherwise.
    let role = super::access::role(tenant, "Desk", &[Permission::UserWrite, Permission::TenantRead]);
    let create = CreateRole { role: role.clone(), by: By::operator(role.tenant_id.unwrap()), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), create).await.unwrap(), Ok(CreateRoleOutcome::Created));
    let clerk = member(&store, tenant, role.id).await;
    let s = session(clerk, tenant, 1, T);
    let open = CreateSession { session: s.clone(), network: HOME, is_login: true, audit: vec![] };
    assert_eq!(store.create_session(&ctx(T), open).await.unwrap(), Cas::Done(()));
    let few = By { tenant_id: tenant, authority: Authority::Person { user: clerk, session: s.id } };
    let denied = MemberOutcome::Denied;
    let all = || [bin(), MemberChange::EndSessions, update(1, "x", UserStatus::Suspended)];
    for what in all() {
        assert_eq!(change(&store, T, admin, few, what.clone()).await, denied(Denied::HoldsMore));
        assert_eq!(change(&store, T, clerk, few, what.clone()).await, denied(Denied::Oneself));
        assert_eq!(change(&store, T, owner.user.id, by(tenant), what.clone()).await, denied(Denied::ElsewhereToo));
        assert_eq!(change(&store, T, plain, by(other), what).await, MemberOutcome::NotFound);
    }
    for what in [MemberChange::Restore { job: None }, MemberChange::Purge] {
        assert_eq!(change(&store, T, plain, by(tenant), what).await, MemberOutcome::WrongPlace);
    }
    assert!(done(change(&store, T, plain, few, bin()).await));
    assert_eq!(change(&store, T, plain, few, bin()).await, MemberOutcome::WrongPlace);
    assert!(lives(&store, &owner.session).await);
}

pub(crate) async fn a_suspension_ends_sessions_once(store: S) {
    let (_, tenant) = org(&store).await;
    let id = member(&store, tenant, RoleId::MEMBER).await;
    let s = session(id, tenant, 1, T);
    let cmd = CreateSession { session: s.clone(), network: HOME, is_login: true, audit: vec![] };
    assert_eq!(store.create_session(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    let version = user(&store, id).await.version;
    let outcomes = at_once(8, |_| {
        let store = store.clone();
        async move { change(&store, T, id, by(tenant), update(version, "x", UserStatus::Suspended)).await }
    })
    .await;
    assert_eq!(count(&outcomes, &MemberOutcome::Done { raised_to: Some(2), revoked: 1 }), 1);
    assert_eq!(count(&outcomes, &MemberOutcome::Stale), 7);
    assert!(!lives(&store, &s).await && refused(&store, &s).await);
    assert_eq!(user(&store, id).await.credential_epoch, 2);
}

pub(crate) async fn the_last_active_owner_stays(store: S) {
    let (first, tenant) = org(&store).await;
    let owner = member(&store, tenant, RoleId::OWNER).await;
    assert_eq!(
        store
            .leave_tenant(&ctx(T), LeaveTenant { user_id: first.user.id, tenant_id: tenant, personal: spare(), audit: vec![] })
            .await
            .unwrap(),
        LeaveOutcome::Left
    );
    assert_eq!(change(&store, T, owner, by(tenant), bin()).await, MemberOutcome::LastOwner);
    assert_eq!(change(&store, T, owner, by(tenant), update(1, "x", UserStatus::Suspended)).await, MemberOutcome::LastOwner);
    let second = member(&store, tenant, RoleId::OWNER).await;
    let both = at_once(2, |i| {
        let store = store.clone();
        async move { change(&store, T, [owner, second][i], by(tenant), bin()).await }
    })
    .await;
    assert_eq!(count(&both, &MemberOutcome::LastOwner), 1, "one of two stays: {both:?}");
}

pub(crate) async fn restored_or_purged(store: S) {
    let (_, tenant) = org(&store).await;
    for _ in 0..10 {
        let id = member(&store, tenant, RoleId::MEMBER).await;
        let email = user(&store, id).await.email;
        assert!(done(change(&store, T, id, by(tenant), bin()).await));
        let both = at_once(2, |i| {
            let (store, what) = (store.clone(), if i == 0 { MemberChange::Restore { job: None } } else { MemberChange::Purge });
            async move { change(&store, T, id, by(tenant), what).await }
        })
        .await;
        assert_eq!(both.iter().filter(|o| done(**o)).count(), 1, "{both:?}");
        let left = store.user(id).await.unwrap();
        assert_eq!(left.is_some_and(|u| u.deleted_at.is_none()), done(both[0]));
        if done(both[1]) {
            assert_eq!(store.sessions(id).await.unwrap(), []);
            let mut again = newcomer(T);
            again.user.email = email;
            signed_up(&store, again).await;
        }
    }
}

pub(crate) async fn only_the_overdue_are_purged(store: S) {
    let (_, tenant) = org(&store).await;
    let id = member(&store, tenant, RoleId::MEMBER).await;
    assert_eq!(store.purge_overdue(&ctx(T.plus(days(99))), id, vec![]).await.unwrap(), Cas::Stale, "not in the bin");
    assert!(done(change(&store, T, id, by(tenant), bin()).await));
    let over = T.plus(days(30));
    assert_eq!(store.purge_overdue(&ctx(T.plus(days(29))), id, vec![]).await.unwrap(), Cas::Stale);
    let due = store.overdue_users(over, 1000).await.unwrap();
    assert!(due.iter().any(|o| o.user_id == id && o.home_tenant == tenant));
    assert_eq!(store.purge_overdue(&ctx(over), id, vec![]).await.unwrap(), Cas::Done(()));
    assert_eq!(store.user(id).await.unwrap(), None);
}

pub(crate) async fn a_tenant_changes_by_version(store: S) {
    let ((_, tenant), (_, other)) = (org(&store).await, org(&store).await);
    let cmd = |version, slug: &str| UpdateTenant {
        tenant_id: tenant,
        expect_version: version,
        name: "New".into(),
        slug: slug.into(),
        metadata: Default::default(),
        by: By::operator(tenant),
        audit: vec![],
    };
    let taken = store.tenant(other).await.unwrap().unwrap().slug;
    let free = format!("n-{tenant}");
    assert_eq!(store.update_tenant(&ctx(T), cmd(1, &taken)).await.unwrap(), Ok(UpdateTenantOutcome::SlugTaken));
    assert_eq!(store.update_tenant(&ctx(T), cmd(7, &free)).await.unwrap(), Ok(UpdateTenantOutcome::Stale));
    assert_eq!(store.update_tenant(&ctx(T), cmd(1, &free)).await.unwrap(), Ok(UpdateTenantOutcome::Done));
    assert_eq!(store.tenant(tenant).await.unwrap().unwrap().name, "New");
}

pub(crate) async fn reruns_of_admins_give_the_first_outcome(store: S) {
    let (_, tenant) = org(&store).await;
    let (create, c) = (new_member(tenant, RoleId::MEMBER), ctx(T));
    for _ in 0..2 {
        assert_eq!(store.create_member(&c, create.clone()).await.unwrap(), CreateMemberOutcome::Created);
    }
    let user_id = create.user.id;
    let run = async |c: &crate::domain::context::Ctx, what: MemberChange| {
        store.change_member(c, ChangeMember { user_id, by: by(tenant), what, audit: vec![] }).await.unwrap()
    };
    let (delete, restore) = (ctx(T), ctx(T));
    let first = run(&delete, bin()).await;
    assert!(done(first) && done(run(&restore, MemberChange::Restore { job: None }).await));
    // Later reruns of both change nothing.
    assert_eq!(run(&delete, bin()).await, first);
    assert_eq!(user(&store, user_id).await.deleted_at, None);
    assert!(done(change(&store, T, user_id, by(tenant), bin()).await));
    assert!(done(run(&restore, MemberChange::Restore { job: None }).await));
    assert!(user(&store, user_id).await.deleted_at.is_some());
    let purge = ctx(T);
    for _ in 0..2 {
        assert!(done(run(&purge, MemberChange::Purge).await));
    }
}
