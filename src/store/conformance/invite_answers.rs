//! Invites answered: accepted, declined, and taken back by the first proof.

use super::{fixture::*, invites::*};
use crate::{
    domain::{
        ids::RoleId,
        invite::{Invite, InviteStatus},
    },
    store::{commands::*, invites::*},
};

pub(crate) async fn accepting_makes_the_account_and_all_of_it(store: S) {
    let (_, tenant) = company(&store).await;
    let made = invited(&store, Invite { role_id: RoleId::ADMIN, ..invite(tenant.id, address(), T) }).await;
    let (p, cmd) = as_new(&made, T);
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Joined);
    let membership = store.membership(p.user.id, tenant.id).await.unwrap().unwrap();
    assert_eq!((membership.roles, membership.joined_at), (vec![RoleId::ADMIN], T));
    assert_eq!(store.sessions(p.user.id).await.unwrap(), std::slice::from_ref(&p.session));
    assert!(lives(&store, &p.session).await);
    assert!(store.login_lookup(&p.user.email.digest(), HOME).await.unwrap().known_network);
    let after = row(&store, &made).await;
    assert_eq!((after.status, after.accepted_at), (InviteStatus::Accepted, Some(T)));
    // The address has an account now: the next invite can't make another.
    let again = invited(&store, invite(tenant.id, made.email.clone(), T)).await;
    let (other, cmd) = as_new(&again, T);
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::EmailTaken(p.user.id));
    assert_eq!(store.user(other.user.id).await.unwrap(), None);
    assert!(row(&store, &again).await.is_open(T));
    // Whose only tenant this is can't leave it: they could no longer sign in.
    let leave = LeaveTenant { user_id: p.user.id, tenant_id: tenant.id, personal: spare(), audit: vec![] };
    assert_eq!(store.leave_tenant(&ctx(T), leave.clone()).await.unwrap(), LeaveOutcome::OnlyTenant);
    assert_eq!(store.create_tenant(&ctx(T), organization(&p, T)).await.unwrap(), CreateTenantOutcome::Created);
    assert_eq!(store.leave_tenant(&ctx(T), leave).await.unwrap(), LeaveOutcome::Left);
    let late = invited(&store, invite(tenant.id, address(), T)).await;
    let (_, cmd) = as_new(&late, T);
    assert_eq!(store.accept_invite(&ctx(late.expires_at), cmd).await.unwrap(), AcceptOutcome::Gone, "in time");
}

pub(crate) async fn an_account_joins_with_its_own_address_and_epoch(store: S) {
    let (owner, tenant) = company(&store).await;
    let p = person(&store).await;
    let made = invited(&store, invite(tenant.id, p.user.email.clone(), T)).await;
    let try_it = async |cmd| store.accept_invite(&ctx(T), cmd).await.unwrap();
    assert_eq!(try_it(as_account(&made, &p, 2, Mailbox::NotProved)).await, AcceptOutcome::Stale, "another epoch");
    assert_eq!(try_it(as_account(&made, &owner, 1, Mailbox::ProvedNow)).await, AcceptOutcome::Stale, "another address");
    assert_eq!(try_it(as_account(&made, &p, 1, Mailbox::ProvedBefore)).await, AcceptOutcome::Stale, "it was not");
    assert!(!is_member(&store, &p, tenant.id).await && row(&store, &made).await == made);
    assert_eq!(try_it(as_account(&made, &p, 1, Mailbox::NotProved)).await, AcceptOutcome::Joined);
    let joined = user(&store, p.user.id).await;
    assert_eq!((joined.email_verified_at, joined.last_tenant), (None, Some(tenant.id)));
    assert_eq!(store.sessions(p.user.id).await.unwrap().len(), 2);
    assert!(store.login_lookup(&p.user.email.digest(), AWAY).await.unwrap().known_network);
    assert_eq!(try_it(as_account(&made, &p, 1, Mailbox::NotProved)).await, AcceptOutcome::Gone, "once");

    // A member who is invited again gets the role besides; the mailed token proves the mailbox.
    let again = invited(&store, Invite { role_id: RoleId::ADMIN, ..invite(tenant.id, p.user.email.clone(), T) }).await;
    assert_eq!(try_it(as_account(&again, &p, 1, Mailbox::ProvedNow)).await, AcceptOutcome::Joined);
    assert_eq!(user(&store, p.user.id).await.email_verified_at, Some(T));
    let mut roles = store.membership(p.user.id, tenant.id).await.unwrap().unwrap().roles;
    roles.sort_unstable();
    assert_eq!(roles, [RoleId::ADMIN, RoleId::MEMBER]);
    // An account in the bin joins nothing.
    let gone = person(&store).await;
    let to_gone = invited(&store, invite(tenant.id, gone.user.email.clone(), T)).await;
    assert_eq!(store.delete_user(&ctx(T), delete(&gone, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!(try_it(as_account(&to_gone, &gone, 2, Mailbox::NotProved)).await, AcceptOutcome::Stale);
}

pub(crate) async fn one_invite_16_at_once(store: S) {
    let (_, tenant) = company(&store).await;
    let made = invited(&store, invite(tenant.id, address(), T)).await;
    let outcomes = at_once(16, |_| {
        let (store, (p, cmd)) = (store.clone(), as_new(&made, T));
        async move { (store.accept_invite(&ctx(T), cmd).await.unwrap(), store.user(p.user.id).await.unwrap().is_some()) }
    })
    .await;
    assert_eq!(count(&outcomes, &(AcceptOutcome::Joined, true)), 1);
    assert_eq!(count(&outcomes, &(AcceptOutcome::Gone, false)), 15);
    // Declining races accepting: one of them is what happened.
    let p = person(&store).await;
    proved(&store, &p).await;
    for _ in 0..4 {
        let made = invited(&store, invite(tenant.id, p.user.email.clone(), T)).await;
        let decline = DeclineInvite { tenant_id: tenant.id, invite_id: made.id, user_id: p.user.id, audit: vec![] };
        let cmd = as_account(&made, &p, 1, Mailbox::ProvedBefore);
        let (ca, cb) = (ctx(T), ctx(T));
        let (accepted, declined) = tokio::join!(store.accept_invite(&ca, cmd), store.decline_invite(&cb, decline));
        assert_ne!(accepted.unwrap() == AcceptOutcome::Joined, declined.unwrap() == Cas::Done(()));
    }
}

pub(crate) async fn declining_needs_a_proved_address(store: S) {
    let (owner, tenant) = company(&store).await;
    proved(&store, &owner).await;
    let p = person(&store).await;
    let made = invited(&store, invite(tenant.id, p.user.email.clone(), T)).await;
    let decline = async |user_id, now| {
        let cmd = DeclineInvite { tenant_id: tenant.id, invite_id: made.id, user_id, audit: vec![] };
        store.decline_invite(&ctx(now), cmd).await.unwrap()
    };
    assert_eq!(decline(p.user.id, T).await, Cas::Stale, "not proved");
    assert_eq!(decline(owner.user.id, T).await, Cas::Stale, "another address");
    proved(&store, &p).await;
    assert_eq!(decline(p.user.id, made.expires_at).await, Cas::Stale, "too late");
    assert_eq!(decline(p.user.id, T).await, Cas::Done(()));
    assert_eq!(row(&store, &made).await.status, InviteStatus::Declined);
    assert_eq!(decline(p.user.id, T).await, Cas::Stale, "once");
    let cmd = as_account(&made, &p, 1, Mailbox::ProvedBefore);
    assert_eq!(store.accept_invite(&ctx(T), cmd).await.unwrap(), AcceptOutcome::Gone);
    assert_eq!(store.revoke_invite(&ctx(T), revoke_invite(&made)).await.unwrap(), Ok(RevokeOutcome::Answered));
}

pub(crate) async fn the_first_proof_by_a_reset_takes_invites_back(store: S) {
    let (owner, tenant) = company(&store).await;
    let by = |p: &CreateUser| Some(p.user.id);
    let hers = invited(&store, Invite { inviter: by(&owner), ..invite(tenant.id, address(), T) }).await;
    let others = invited(&store, invite(tenant.id, address(), T)).await;
    let link = linked(&store, &owner, 1, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "x")).await.unwrap(), Cas::Done(_)));
    assert_eq!(row(&store, &hers).await.status, InviteStatus::Revoked);
    assert_eq!(row(&store, &others).await, others);
    // What she offers afterwards stays: the second reset proves nothing new.
    let later = invited(&store, Invite { inviter: by(&owner), ..invite(tenant.id, address(), T) }).await;
    let link = linked(&store, &owner, 2, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "y")).await.unwrap(), Cas::Done(_)));
    assert_eq!(row(&store, &later).await, later);
}
