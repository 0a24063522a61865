//! What the roles of several members of a tenant do to each other.

use super::{access::giver, authority, fixture::*};
use crate::{
    domain::{
        authority::By,
        ids::{RoleId, TenantId, UserId},
        invite::{Invite, InviteStatus},
        permission::{Permission, PermissionSet, Role},
        policy::AuthPolicy,
        tenant::Tenant,
        user::Metadata,
    },
    store::{access::*, admin::*, commands::*, invites::*},
};

/// Lets a person into a tenant, by an invite to his address.
pub(crate) async fn joined(store: &S, tenant_id: TenantId, p: &CreateUser, role_id: RoleId) {
    let invite = Invite {
        id: invite_id(),
        tenant_id,
        email: p.user.email.clone(),
        role_id,
        status: InviteStatus::Pending,
        inviter: None,
        inviter_key: Some(giver(store, tenant_id).await),
        nonce: nonce(),
        serial: 1,
        expires_at: T.plus(days(7)),
        accepted_at: None,
        created_at: T,
        sent_again_at: None,
    };
    let cmd = CreateInvite { by: By::operator(invite.tenant_id), invite: invite.clone(), job: None, audit: vec![] };
    assert_eq!(store.create_invite(&ctx(T), cmd).await.unwrap(), CreateInviteOutcome::Created);
    if role_id != RoleId::MEMBER && user(store, p.user.id).await.email_verified_at.is_none() {
        prove(store, p.user.id).await;
    }
    let epoch = user(store, p.user.id).await.credential_epoch;
    let joins = Joins::Account { user_id: p.user.id, epoch, mailbox: Mailbox::NotProved, sign_in: None };
    let cmd = AcceptInvite { tenant_id, invite_id: invite.id, serial: 1, joins, personal: Some(spare()), audit: vec![] };
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Joined);
}
async fn owned(store: &S) -> (CreateUser, TenantId) {
    let owner = person(store).await;
    let cmd = organization(&owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    (owner, cmd.tenant.id)
}
fn change(p: &CreateUser, tenant_id: TenantId, role_id: RoleId) -> ChangeRole {
    ChangeRole {
        user_id: p.user.id,
        tenant_id,
        role_id,
        by: By::operator(tenant_id),
        personal: Some(spare()),
        audit: vec![event(tenant_id, Some(p.user.id), "role.changed")],
    }
}
async fn roles(store: &S, p: &CreateUser, tenant: TenantId) -> Vec<RoleId> {
    store.membership(p.user.id, tenant).await.unwrap().map(|m| m.roles).unwrap_or_default()
}

pub(crate) async fn a_member_may_what_his_roles_allow(store: S) {
    let (_, tenant) = owned(&store).await;
    let member = person(&store).await;
    joined(&store, tenant, &member, RoleId::MEMBER).await;
    prove(&store, member.user.id).await;
    let may = async || store.grant(member.user.id, tenant).await.unwrap().unwrap().permissions;
    assert_eq!(may().await.keys(), ["tenant.read"]);
    let custom = super::access::role(tenant, "Custom", &[Permission::UserRead]);
    let create = CreateRole { role: custom.clone(), by: By::operator(custom.tenant_id.unwrap()), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), create).await.unwrap(), Ok(CreateRoleOutcome::Created));
    assert_eq!(store.give_role(&ctx(T), change(&member, tenant, custom.id)).await.unwrap(), ChangeRoleOutcome::Done);
    assert_eq!(may().await.keys(), ["tenant.read", "user.read"], "both together");
    assert_eq!(store.give_role(&ctx(T), change(&member, tenant, RoleId::ADMIN)).await.unwrap(), ChangeRoleOutcome::Done);
    let admin = Role::system_permissions(RoleId::ADMIN).unwrap();
    assert!(may().await.covers(admin) && may().await != PermissionSet::all());
    assert_eq!(store.take_role(&ctx(T), change(&member, tenant, RoleId::ADMIN)).await.unwrap(), ChangeRoleOutcome::Done);
    assert_eq!(may().await.keys(), ["tenant.read", "user.read"]);
}

pub(crate) async fn the_last_role_takes_the_membership_with_it(store: S) {
    let (_, tenant) = owned(&store).await;
    let member = person(&store).await;
    joined(&store, tenant, &member, RoleId::MEMBER).await;
    let here = session(member.user.id, tenant, 1, T);
    let open = CreateSession { session: here.clone(), network: HOME, is_login: false, audit: vec![] };
    assert_eq!(store.create_session(&ctx(T), open).await.unwrap(), Cas::Done(()));
    assert!(lives(&store, &here).await);
    let (again, cmd) = (ctx(T), change(&member, tenant, RoleId::MEMBER));
    for _ in 0..2 {
        assert_eq!(store.take_role(&again, cmd.clone()).await.unwrap(), ChangeRoleOutcome::Removed, "a rerun says so again");
    }
    assert_eq!(store.membership(member.user.id, tenant).await.unwrap(), None);
    assert!(!lives(&store, &here).await && refused(&store, &here).await, "the session there has ended");
    assert!(lives(&store, &member.session).await && !refused(&store, &member.session).await, "the one at home goes on");
    assert_eq!(user(&store, member.user.id).await.last_tenant, None);
    assert_eq!(store.take_role(&ctx(T), cmd).await.unwrap(), ChangeRoleOutcome::NotMember);
    assert_eq!(store.audit_events(tenant, None, 9).await.unwrap().len(), 1);
}

pub(crate) async fn who_belongs_nowhere_else_keeps_his_last_role(store: S) {
    let (_, tenant) = owned(&store).await;
    // Made by an invite: the inviting tenant is the only one.
    let mut new = newcomer(T);
    new.user.home_tenant = tenant;
    new.session = session(new.user.id, tenant, 1, T);
    let invite = Invite {
        id: invite_id(),
        tenant_id: tenant,
        email: new.user.email.clone(),
        role_id: RoleId::MEMBER,
        status: InviteStatus::Pending,
        inviter: None,
        inviter_key: Some(giver(&store, tenant).await),
        nonce: nonce(),
        serial: 1,
        expires_at: T.plus(days(7)),
        accepted_at: None,
        created_at: T,
        sent_again_at: None,
    };
    let cmd = CreateInvite { by: By::operator(invite.tenant_id), invite: invite.clone(), job: None, audit: vec![] };
    assert_eq!(store.create_invite(&ctx(T), cmd).await.unwrap(), CreateInviteOutcome::Created);
    let joins = Joins::New { user: Box::new(new.user.clone()), session: Box::new(new.session.clone()), network: HOME };
    let cmd = AcceptInvite { tenant_id: tenant, invite_id: invite.id, serial: 1, joins, personal: Some(spare()), audit: vec![] };
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Joined);
    assert_eq!(store.take_role(&ctx(T), change(&new, tenant, RoleId::MEMBER)).await.unwrap(), ChangeRoleOutcome::OnlyTenant);
    assert_eq!(roles(&store, &new, tenant).await, [RoleId::MEMBER]);
    assert!(lives(&store, &new.session).await);
    assert_eq!(store.audit_events(tenant, None, 9).await.unwrap().len(), 0);
}

pub(crate) async fn owners_who_demote_each_other_leave_one(store: S) {
    let (first, tenant) = owned(&store).await;
    let mut owners = vec![first];
    for _ in 0..15 {
        let p = person(&store).await;
        joined(&store, tenant, &p, RoleId::OWNER).await;
        owners.push(p);
    }
    let outcomes = at_once(16, |n| {
        let (store, cmd) = (store.clone(), change(&owners[n], tenant, RoleId::OWNER));
        async move { store.take_role(&ctx(T), cmd).await.unwrap() }
    });
    let outcomes = outcomes.await;
    assert_eq!((count(&outcomes, &ChangeRoleOutcome::Removed), count(&outcomes, &ChangeRoleOutcome::LastOwner)), (15, 1), "{outcomes:?}");
    let mut left = 0;
    for owner in &owners {
        left += roles(&store, owner, tenant).await.len();
    }
    assert_eq!(left, 1);
    // An owner in the recycle bin is none.
    let last = &owners[outcomes.iter().position(|o| *o == ChangeRoleOutcome::LastOwner).unwrap()];
    let second = owners.iter().find(|o| o.user.id != last.user.id).unwrap();
    joined(&store, tenant, second, RoleId::OWNER).await;
    assert_eq!(store.delete_user(&ctx(T), delete(second, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!(store.take_role(&ctx(T), change(last, tenant, RoleId::OWNER)).await.unwrap(), ChangeRoleOutcome::LastOwner);
}

pub(crate) async fn a_first_proof_by_a_reset_ends_the_makers_keys(store: S) {
    let (owner, tenant) = owned(&store).await;
    let other = person(&store).await;
    let key = |maker| super::access::key_of(tenant, maker);
    let (his, mine, nobodys) = (key(Some(owner.user.id)), key(Some(other.user.id)), key(None));
    for key in [&his, &mine, &nobodys] {
        let cmd = CreateApiKey { by: By::operator(key.tenant_id), key: key.clone(), audit: vec![] };
        assert_eq!(store.create_api_key(&ctx(T), cmd).await.unwrap(), CreateApiKeyOutcome::Created);
    }
    let link = linked(&store, &owner, 1, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "x")).await.unwrap(), Cas::Done(r) if r.first_proof));
    let ended = async |k: &crate::domain::api_key::ApiKey| store.api_key(&k.prefix).await.unwrap().unwrap().revoked_at.is_some();
    assert!(ended(&his).await && !ended(&mine).await && !ended(&nobodys).await);
    assert_eq!(count(&revocations(&store).await, &Revocation::ApiKey(his.id)), 1);
    // The next reset proves nothing new: keys made since stay.
    let later = key(Some(owner.user.id));
    store.create_api_key(&ctx(T), CreateApiKey { by: By::operator(later.tenant_id), key: later.clone(), audit: vec![] }).await.unwrap();
    let link = linked(&store, &owner, 2, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "y")).await.unwrap(), Cas::Done(r) if !r.first_proof));
    assert!(!ended(&later).await);
}

pub(crate) async fn what_a_tenant_keeps_about_its_member_is_its_own(store: S) {
    let ((_, a), (_, b)) = (authority::org(&store, false).await, authority::org(&store, false).await);
    let note = |text: &str| -> Metadata { [("note".to_owned(), text.into())].into_iter().collect() };
    let kept = async |tenant: TenantId, user: UserId| store.member(tenant, user).await.unwrap().unwrap().user.metadata;
    let keep = async |tenant: TenantId, user: UserId, metadata: Metadata| {
        let of = store.member(tenant, user).await.unwrap().unwrap().user;
        let what = MemberChange::Update {
            expect_version: of.version,
            display_name: of.display_name,
            phone: of.phone,
            status: of.status,
            metadata,
        };
        assert_eq!(authority::change(&store, user, By::operator(tenant), what).await, authority::NOTHING);
    };
    // Made in one of them, and let into the other.
    let mut p = authority::newcomer_to(a, RoleId::MEMBER);
    p.user.metadata = note("made");
    let cmd = authority::making(&p, By::operator(a), false);
    assert_eq!(store.create_member(&ctx(T), cmd).await.unwrap(), CreateMemberOutcome::Created);
    let id = p.user.id;
    joined(&store, b, &p, RoleId::MEMBER).await;
    assert_eq!((kept(a, id).await, kept(b, id).await), (note("made"), Metadata::new()));
    keep(b, id, note("theirs")).await;
    assert_eq!((kept(a, id).await, kept(b, id).await), (note("made"), note("theirs")));
    // The first proof gives them a home of their own: nothing of it goes there.
    let home = Tenant::personal(tenant_id(), AuthPolicy::default(), T);
    let proof = ConfirmEmail { user_id: id, epoch: 1, serial: 5, personal: Some(Box::new(home.clone())), audit: vec![] };
    assert_eq!(store.confirm_email(&ctx(T), proof).await.unwrap(), Cas::Done(()));
    assert_eq!((kept(a, id).await, kept(b, id).await, kept(home.id, id).await), (note("made"), note("theirs"), Metadata::new()));
    keep(a, id, note("changed")).await;
    keep(home.id, id, note("mine")).await;
    assert_eq!((kept(a, id).await, kept(b, id).await, kept(home.id, id).await), (note("changed"), note("theirs"), note("mine")));
    let of = store.membership_kept(id, b).await.unwrap().unwrap();
    assert_eq!((of.0.tenant_id, of.1), (b, Some(note("theirs"))));
}
