//! Invites: made, sent again, taken back, listed, answered.

use super::{access::key_of, fixture::*, members::joined};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::By,
        contact::Email,
        ids::{ApiKeyId, InviteId, RoleId, TenantId},
        invite::{Invite, InviteStatus},
        permission::{Permission, PermissionSet, Role},
        rng::SystemRng,
        tenant::Tenant,
        time::{SystemClock, Timestamp},
        user::UserStatus,
    },
    store::{access::*, admin::*, commands::*, invites::*},
};

pub(crate) async fn company(store: &S) -> (CreateUser, Tenant) {
    let owner = person(store).await;
    let cmd = organization(&owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    let (id, scopes) = (giver_of(cmd.tenant.id), PermissionSet::all());
    let key = ApiKey { id, scopes, expires_at: None, ..key_of(cmd.tenant.id, None) };
    let made = store.create_api_key(&ctx(T), CreateApiKey { by: By::operator(key.tenant_id), key, audit: vec![] }).await.unwrap();
    assert_eq!(made, CreateApiKeyOutcome::Created);
    (owner, cmd.tenant)
}
/// The key that invites to a [`company`].
fn giver_of(tenant: TenantId) -> ApiKeyId {
    ApiKeyId::from_bytes(*tenant.as_bytes())
}
pub(crate) fn invite(tenant_id: TenantId, email: Email, now: Timestamp) -> Invite {
    Invite {
        id: InviteId::new(&SystemClock, &SystemRng),
        tenant_id,
        email,
        role_id: RoleId::MEMBER,
        status: InviteStatus::Pending,
        inviter: Some(user_id()),
        inviter_key: Some(giver_of(tenant_id)),
        nonce: nonce(),
        serial: 1,
        expires_at: now.plus(days(7)),
        accepted_at: None,
        created_at: now,
        sent_again_at: None,
    }
}
pub(crate) async fn invited(store: &S, invite: Invite) -> Invite {
    let cmd = CreateInvite { by: By::operator(invite.tenant_id), invite: invite.clone(), job: None, audit: vec![] };
    assert_eq!(store.create_invite(&ctx(invite.created_at), cmd).await.unwrap(), CreateInviteOutcome::Created);
    invite
}
pub(super) fn resend(i: &Invite, expires_at: Timestamp) -> ResendInvite {
    let (tenant_id, invite_id, expect_serial) = (i.tenant_id, i.id, i.serial);
    let (inviter, inviter_key) = (i.inviter, i.inviter_key);
    ResendInvite {
        tenant_id,
        invite_id,
        expect_serial,
        expires_at,
        by: By::operator(tenant_id),
        inviter,
        inviter_key,
        job: None,
        audit: vec![],
    }
}
pub(super) fn revoke_invite(i: &Invite) -> RevokeInvite {
    RevokeInvite { tenant_id: i.tenant_id, invite_id: i.id, by: By::operator(i.tenant_id), audit: vec![] }
}
pub(super) fn accept(i: &Invite, joins: Joins) -> AcceptInvite {
    AcceptInvite { tenant_id: i.tenant_id, invite_id: i.id, serial: i.serial, joins, personal: Some(spare()), audit: vec![] }
}
/// A newcomer with the invited address.
pub(super) fn as_new(i: &Invite, now: Timestamp) -> (CreateUser, AcceptInvite) {
    let mut p = newcomer(now);
    p.user.email = i.email.clone();
    p.user.home_tenant = i.tenant_id;
    // Who may give roles needs a proved address, or in a managed tenant the admin's word.
    p.user.email_asserted_at = (i.role_id != RoleId::MEMBER).then_some(now);
    p.session.tenant_id = i.tenant_id;
    let joins = Joins::New { user: Box::new(p.user.clone()), session: Box::new(p.session.clone()), network: HOME };
    (p, accept(i, joins))
}
pub(super) fn as_account(i: &Invite, p: &CreateUser, epoch: u64, mailbox: Mailbox) -> AcceptInvite {
    let session = Box::new(session(p.user.id, i.tenant_id, epoch, T));
    accept(i, Joins::Account { user_id: p.user.id, epoch, mailbox, sign_in: Some((session, AWAY)) })
}
pub(super) async fn row(store: &S, i: &Invite) -> Invite {
    store.invite(i.tenant_id, i.id).await.unwrap().expect("an invite")
}
pub(super) async fn is_member(store: &S, p: &CreateUser, tenant: TenantId) -> bool {
    store.membership(p.user.id, tenant).await.unwrap().is_some()
}
pub(super) async fn proved(store: &S, p: &CreateUser) {
    let cmd = ConfirmEmail { user_id: p.user.id, epoch: 1, serial: 1, personal: None, audit: vec![] };
    assert_eq!(store.confirm_email(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
}

pub(crate) async fn every_field_of_an_invite_survives(store: S) {
    let (_, tenant) = company(&store).await;
    let made =
        invited(&store, Invite { inviter: None, inviter_key: None, role_id: RoleId::ADMIN, serial: 7, ..invite(tenant.id, address(), T) })
            .await;
    assert_eq!(row(&store, &made).await, made);
    let made = invited(&store, invite(tenant.id, address(), T)).await;
    assert_eq!(row(&store, &made).await, made);
    assert_eq!(store.invite(tenant_id(), made.id).await.unwrap(), None, "another tenant's");
}

pub(crate) async fn invites_need_an_organization_and_a_role(store: S) {
    let (owner, tenant) = company(&store).await;
    let create = async |invite: Invite| {
        let cmd = CreateInvite { by: By::operator(invite.tenant_id), invite, job: Some(job(T, owner.user.id)), audit: vec![] };
        store.create_invite(&ctx(T), cmd).await.unwrap()
    };
    assert_eq!(create(invite(owner.tenant.id, address(), T)).await, CreateInviteOutcome::NoTenant, "a personal one");
    assert_eq!(create(invite(tenant_id(), address(), T)).await, CreateInviteOutcome::NoTenant);
    let role_id = RoleId::new(&SystemClock, &SystemRng);
    assert_eq!(create(Invite { role_id, ..invite(tenant.id, address(), T) }).await, CreateInviteOutcome::NoRole);
}

pub(crate) async fn a_new_invite_revokes_the_former(store: S) {
    let ((_, tenant), (_, other)) = (company(&store).await, company(&store).await);
    let email = address();
    let (first, elsewhere) =
        (invited(&store, invite(tenant.id, email.clone(), T)).await, invited(&store, invite(other.id, email.clone(), T)).await);
    let second = invited(&store, invite(tenant.id, email.clone(), T)).await;
    assert_eq!(row(&store, &first).await.status, InviteStatus::Revoked);
    assert_eq!((row(&store, &second).await, row(&store, &elsewhere).await), (second.clone(), elsewhere));
    // One whose time was over has expired, not been revoked.
    let later = second.expires_at.plus(secs(1));
    invited(&store, invite(tenant.id, email.clone(), later)).await;
    assert_eq!(row(&store, &second).await.status, InviteStatus::Expired);
    let made = at_once(16, |_| {
        let (store, i) = (store.clone(), invite(tenant.id, email.clone(), later));
        async move { invited(&store, i).await }
    })
    .await;
    let mut open = 0;
    for i in &made {
        open += usize::from(row(&store, i).await.is_open(later));
    }
    assert_eq!(open, 1);
}

pub(crate) async fn sending_again_raises_the_serial(store: S) {
    let (_, tenant) = company(&store).await;
    let first = invited(&store, invite(tenant.id, address(), T)).await;
    let sent = at_once(8, |_| {
        let (store, cmd) = (store.clone(), resend(&first, T.plus(days(9))));
        async move { store.resend_invite(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&sent, &Cas::Done(ResendOutcome::Sent)), 1);
    let second = row(&store, &first).await;
    assert_eq!(second, Invite { serial: 2, expires_at: T.plus(days(9)), sent_again_at: Some(T), ..first.clone() });
    let (_, stale) = as_new(&first, T);
    assert_eq!(store.accept_invite(&ctx(T), stale).await.unwrap(), AcceptOutcome::Gone, "the old tokens are dead");
    // An expired one is pending again, unless there is a newer one.
    let late = T.plus(days(10));
    assert_eq!(store.resend_invite(&ctx(late), resend(&second, late.plus(days(7)))).await.unwrap(), Cas::Done(ResendOutcome::Sent));
    let third = row(&store, &first).await;
    assert!(third.is_open(late) && third.serial == 3);
    let later = third.expires_at.plus(secs(1));
    let newer = invited(&store, invite(tenant.id, first.email.clone(), later)).await;
    let again = resend(&third, later.plus(days(7)));
    assert_eq!(store.resend_invite(&ctx(later), again).await.unwrap(), Cas::Done(ResendOutcome::Superseded));
    assert_eq!(row(&store, &newer).await, newer);
    // What was taken back or answered is over.
    assert_eq!(store.revoke_invite(&ctx(later), revoke_invite(&newer)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    assert_eq!(store.resend_invite(&ctx(later), resend(&newer, later.plus(days(7)))).await.unwrap(), Cas::Stale);
    let foreign = ResendInvite { tenant_id: tenant_id(), ..resend(&third, later) };
    assert_eq!(store.resend_invite(&ctx(later), foreign).await.unwrap(), Cas::Stale);
}

pub(crate) async fn revoking_ends_an_invite(store: S) {
    let (_, tenant) = company(&store).await;
    let made = invited(&store, invite(tenant.id, address(), T)).await;
    let foreign = RevokeInvite { tenant_id: tenant_id(), ..revoke_invite(&made) };
    assert_eq!(store.revoke_invite(&ctx(T), foreign).await.unwrap(), Ok(RevokeOutcome::NotFound));
    assert_eq!(row(&store, &made).await, made);
    for _ in 0..2 {
        assert_eq!(store.revoke_invite(&ctx(T), revoke_invite(&made)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    }
    let (p, cmd) = as_new(&made, T);
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Gone);
    assert_eq!(store.user(p.user.id).await.unwrap(), None);
    let made = invited(&store, invite(tenant.id, address(), T)).await;
    let (_, cmd) = as_new(&made, T);
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Joined);
    assert_eq!(store.revoke_invite(&ctx(T), revoke_invite(&made)).await.unwrap(), Ok(RevokeOutcome::Answered));
    assert_eq!(row(&store, &made).await.status, InviteStatus::Accepted);
}

pub(crate) async fn invites_are_listed_by_status_and_page(store: S) {
    let ((_, tenant), (_, other)) = (company(&store).await, company(&store).await);
    invited(&store, invite(other.id, address(), T)).await;
    let mut made = vec![];
    for n in 0..6 {
        let expires_at = T.plus(if n % 2 == 0 { days(1) } else { days(7) });
        made.push(invited(&store, Invite { expires_at, ..invite(tenant.id, address(), T) }).await.id);
    }
    made.sort_unstable();
    made.reverse();
    let list = async |status, after, limit, now| {
        let found = store.invites(tenant.id, status, after, limit, now).await.unwrap();
        found.into_iter().map(|i| i.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 10, T).await, made);
    assert_eq!(list(None, Some(made[1]), 2, T).await, made[2..4]);
    assert_eq!(list(Some(InviteStatus::Pending), None, 10, T).await, made);
    let now = T.plus(days(2));
    let expired = list(Some(InviteStatus::Expired), None, 10, now).await;
    let open = list(Some(InviteStatus::Pending), None, 10, now).await;
    assert_eq!((expired.len(), open.len()), (3, 3));
    // One of the expired is marked so, the others wait for the sweep: the list is the same.
    let email = store.invite(tenant.id, expired[1]).await.unwrap().unwrap().email;
    let newest = invited(&store, invite(tenant.id, email, now)).await;
    assert_eq!(list(Some(InviteStatus::Expired), None, 10, now).await, expired);
    assert_eq!(list(Some(InviteStatus::Expired), Some(expired[0]), 1, now).await, expired[1..2]);
    assert_eq!(store.revoke_invite(&ctx(now), revoke_invite(&newest)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    assert_eq!(list(Some(InviteStatus::Revoked), None, 10, now).await, [newest.id]);
    assert_eq!(list(Some(InviteStatus::Accepted), None, 10, now).await, []);
}

pub(crate) async fn an_address_sees_what_is_open_to_it(store: S) {
    let ((_, a), (_, b)) = (company(&store).await, company(&store).await);
    let email = address();
    let (first, second) = (invited(&store, invite(a.id, email.clone(), T)).await, invited(&store, invite(b.id, email.clone(), T)).await);
    invited(&store, invite(a.id, address(), T)).await;
    let open = async |now| store.open_invites(&email.digest(), now).await.unwrap();
    let mut both = vec![(first.clone(), a.clone()), (second.clone(), b.clone())];
    both.sort_by_key(|(i, _)| std::cmp::Reverse(i.id));
    assert_eq!(open(T).await, both);
    assert_eq!(store.open_invite(&email.digest(), first.id, T).await.unwrap(), Some((first.clone(), a)));
    assert_eq!(store.open_invite(&address().digest(), first.id, T).await.unwrap(), None);
    assert_eq!(store.open_invite(&email.digest(), first.id, first.expires_at).await.unwrap(), None);
    assert_eq!(open(first.expires_at).await, []);
    assert_eq!(store.revoke_invite(&ctx(T), revoke_invite(&first)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    assert_eq!(open(T).await, [(second, b)]);
}

/// Nobody gives more than he holds, at the time when it is taken.
pub(crate) async fn an_invite_is_worth_what_the_inviter_still_holds(store: S) {
    let (_, tenant) = company(&store).await;
    let t = tenant.id;
    let accepts = async |i: &Invite| store.accept_invite(&ctx(T), as_new(i, T).1).await.unwrap();
    let by = |p: &CreateUser, role_id| Invite { inviter: Some(p.user.id), inviter_key: None, role_id, ..invite(t, address(), T) };
    let change = |p: &CreateUser, role_id| ChangeRole {
        user_id: p.user.id,
        tenant_id: t,
        role_id,
        by: By::operator(t),
        personal: None,
        audit: vec![],
    };
    let p = person(&store).await;
    for role in [RoleId::MEMBER, RoleId::ADMIN] {
        joined(&store, t, &p, role).await;
    }
    let (one, admin, member) = (
        invited(&store, by(&p, RoleId::ADMIN)).await,
        invited(&store, by(&p, RoleId::ADMIN)).await,
        invited(&store, by(&p, RoleId::MEMBER)).await,
    );
    assert_eq!(accepts(&one).await, AcceptOutcome::Joined);
    // Demoted: what a member holds he still gives.
    assert_eq!(store.take_role(&ctx(T), change(&p, RoleId::ADMIN)).await.unwrap(), ChangeRoleOutcome::Done);
    let guest = person(&store).await;
    let to_guest = Invite { email: guest.user.email.clone(), ..by(&p, RoleId::ADMIN) };
    let to_guest = invited(&store, to_guest).await;
    let listed = async || store.open_invites(&guest.user.email.digest(), T).await.unwrap().len();
    assert_eq!((accepts(&admin).await, listed().await), (AcceptOutcome::Gone, 0));
    assert_eq!(store.open_invite(&guest.user.email.digest(), to_guest.id, T).await.unwrap(), None);
    assert_eq!(accepts(&member).await, AcceptOutcome::Joined);
    // Sent again by somebody who may: it is his now.
    let again = ResendInvite { inviter: None, inviter_key: Some(giver_of(t)), ..resend(&to_guest, T.plus(days(8))) };
    assert_eq!(store.resend_invite(&ctx(T), again).await.unwrap(), Cas::Done(ResendOutcome::Sent));
    assert_eq!(listed().await, 1);
    // No longer a member.
    let left = invited(&store, by(&p, RoleId::MEMBER)).await;
    assert_eq!(store.take_role(&ctx(T), change(&p, RoleId::MEMBER)).await.unwrap(), ChangeRoleOutcome::Removed);
    assert_eq!(accepts(&left).await, AcceptOutcome::Gone);
    // Suspended, in the bin, purged.
    let (new, joins) = as_new(&invited(&store, invite(t, address(), T)).await, T);
    assert_eq!(store.accept_invite(&ctx(T), joins).await.unwrap(), AcceptOutcome::Joined);
    let his = invited(&store, by(&new, RoleId::MEMBER)).await;
    let turned = async |what| {
        let fence = By::operator(t);
        let cmd = ChangeMember { user_id: new.user.id, by: fence, what, audit: vec![] };
        assert!(matches!(store.change_member(&ctx(T), cmd).await.unwrap(), MemberOutcome::Done { .. }));
    };
    let status = async |status| {
        let expect_version = user(&store, new.user.id).await.version;
        turned(MemberChange::Update { expect_version, display_name: None, phone: None, status, metadata: Default::default() }).await;
    };
    status(UserStatus::Suspended).await;
    assert_eq!(accepts(&his).await, AcceptOutcome::Gone);
    status(UserStatus::Active).await;
    turned(MemberChange::Delete { purge_after: T.plus(days(1)), job: None }).await;
    assert_eq!((accepts(&his).await, row(&store, &his).await.status), (AcceptOutcome::Gone, InviteStatus::Pending));
    turned(MemberChange::Purge).await;
    assert_eq!((accepts(&his).await, row(&store, &his).await.status), (AcceptOutcome::Gone, InviteStatus::Revoked));
    // Keys: with too little, revoked, over, of another tenant.
    let (_, other) = company(&store).await;
    let key = async |scopes: PermissionSet, expires_at| {
        let key = ApiKey { scopes, expires_at, ..key_of(t, None) };
        let cmd = CreateApiKey { by: By::operator(key.tenant_id), key: key.clone(), audit: vec![] };
        assert_eq!(store.create_api_key(&ctx(T), cmd).await.unwrap(), CreateApiKeyOutcome::Created);
        key.id
    };
    let member = Role::system_permissions(RoleId::MEMBER).unwrap();
    let few = key([Permission::InviteWrite].into_iter().collect(), None).await;
    let (good, revoked, over) = (key(member, None).await, key(member, None).await, key(member, Some(T)).await);
    let cmd = RevokeApiKey { tenant_id: t, key_id: revoked, by: By::operator(t), audit: vec![] };
    assert_eq!(store.revoke_api_key(&ctx(T), cmd).await.unwrap(), Ok(Cas::Done(vec![revoked])));
    for (key, role_id, outcome) in [
        (good, RoleId::MEMBER, AcceptOutcome::Joined),
        (few, RoleId::MEMBER, AcceptOutcome::Joined), // What every member may do counts as held.
        (few, RoleId::ADMIN, AcceptOutcome::Gone),
        (revoked, RoleId::MEMBER, AcceptOutcome::Gone),
        (over, RoleId::MEMBER, AcceptOutcome::Gone),
        (giver_of(other.id), RoleId::MEMBER, AcceptOutcome::Gone),
    ] {
        let i = invited(&store, Invite { inviter: None, inviter_key: Some(key), role_id, ..invite(t, address(), T) }).await;
        assert_eq!(accepts(&i).await, outcome);
    }
}

pub(crate) async fn reruns_of_invites_give_the_first_outcome(store: S) {
    let (_, tenant) = company(&store).await;
    let i = invite(tenant.id, address(), T);
    let (made, again, taken, joined) = (ctx(T), ctx(T), ctx(T), ctx(T));
    let create = CreateInvite { by: By::operator(i.tenant_id), invite: i.clone(), job: None, audit: vec![] };
    let resent = Invite { serial: 2, expires_at: T.plus(days(8)), sent_again_at: Some(T), ..i.clone() };
    let (p, accept) = as_new(&resent, T);
    for _ in 0..2 {
        assert_eq!(store.create_invite(&made, create.clone()).await.unwrap(), CreateInviteOutcome::Created);
    }
    for _ in 0..2 {
        assert_eq!(store.resend_invite(&again, resend(&i, T.plus(days(8)))).await.unwrap(), Cas::Done(ResendOutcome::Sent));
    }
    assert_eq!(store.create_invite(&made, create).await.unwrap(), CreateInviteOutcome::Created);
    assert_eq!(row(&store, &i).await, resent);
    for _ in 0..2 {
        assert_eq!(store.accept_invite(&joined, accept.clone()).await.unwrap(), AcceptOutcome::Joined);
    }
    assert_eq!(store.sessions(p.user.id).await.unwrap().len(), 1);
    let other = invited(&store, invite(tenant.id, address(), T)).await;
    assert_eq!(store.revoke_invite(&taken, revoke_invite(&other)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    assert_eq!(store.revoke_invite(&taken, revoke_invite(&other)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    proved(&store, &p).await;
    let mine = invited(&store, invite(tenant.id, p.user.email.clone(), T)).await;
    let (no, cmd) = (ctx(T), DeclineInvite { tenant_id: tenant.id, invite_id: mine.id, user_id: p.user.id, audit: vec![] });
    for _ in 0..2 {
        assert_eq!(store.decline_invite(&no, cmd.clone()).await.unwrap(), Cas::Done(()));
    }
}

pub(crate) async fn sweeping_invites(store: S) {
    let (t, _alone) = era(&store, 21).await;
    let (_, tenant) = company(&store).await;
    let (waits, ended) = (invited(&store, invite(tenant.id, address(), t)).await, invited(&store, invite(tenant.id, address(), t)).await);
    assert_eq!(store.revoke_invite(&ctx(t), revoke_invite(&ended)).await.unwrap(), Ok(RevokeOutcome::Revoked));
    let sweep = async |now| {
        while store.sweep(now).await.unwrap().more {}
    };
    sweep(waits.expires_at.minus(secs(1))).await;
    assert_eq!(row(&store, &waits).await, waits);
    sweep(waits.expires_at).await;
    assert_eq!(row(&store, &waits).await, Invite { status: InviteStatus::Expired, ..waits.clone() });
    sweep(t.plus(KEPT).minus(secs(1))).await;
    assert_eq!(row(&store, &ended).await.status, InviteStatus::Revoked);
    sweep(t.plus(KEPT)).await;
    assert_eq!(store.invite(tenant.id, ended.id).await.unwrap(), None);
    row(&store, &waits).await;
    sweep(waits.expires_at.plus(KEPT)).await;
    assert_eq!(store.invite(tenant.id, waits.id).await.unwrap(), None);
}
