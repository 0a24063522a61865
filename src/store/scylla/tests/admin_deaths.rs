//! Commands of admins that die, or lose an answer, at each of their writes; and the same from two nodes at once. (To die before a
//! read is to die after the write before it.) Those that sweep live in years of their own.

use super::{
    deaths::{Heir, at_each_point_of, heir, store},
    *,
};
use crate::{
    domain::{
        context::Ctx,
        ids::{RoleId, TenantId, UserId},
        permission::PermissionSet,
        time::Timestamp,
        user::{Membership, User, UserStatus},
    },
    store::{
        Store,
        admin::*,
        conformance::{
            imports::{batch, import_id, row},
            invites::{company, invite, invited},
        },
        imports::{ImportOutcome, ImportStep, ImportStore, ImportUsers, Outcomes, RowOutcome},
        scylla::{
            accounts::{HOLDER, ONE},
            fail::{How, Points},
            outbox,
            unit::{List, Unit},
        },
    },
};

const BOTH: [How; 2] = [How::Dies, How::LosesAnswer];

fn new_member(tenant_id: TenantId, role: RoleId) -> CreateMember {
    let mut user = newcomer(T).user;
    user.home_tenant = tenant_id;
    let membership = Membership { user_id: user.id, tenant_id, roles: vec![role], joined_at: T };
    CreateMember { audit: vec![event(tenant_id, Some(user.id), "user.created")], user, membership, job: None }
}
async fn member_of(store: &S, tenant: TenantId, role: RoleId) -> User {
    let cmd = new_member(tenant, role);
    assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), CreateMemberOutcome::Created);
    cmd.user
}
fn change(user_id: UserId, tenant_id: TenantId, what: MemberChange) -> ChangeMember {
    ChangeMember { user_id, by: Fence { tenant_id, permissions: PermissionSet::all() }, what, audit: vec![] }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_is_there_whole_or_not_at_all() {
    for how in BOTH {
        let points = at_each_point_of(
            (how, Points::Writes),
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
        println!("new member: {points} points, {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_owner_is_suspended_everywhere() {
    for how in BOTH {
        let points = at_each_point_of(
            (how, Points::Writes),
            Heir::Sweeps,
            async |store| {
                let tenant = company(&store).await.1.id;
                let user = member_of(&store, tenant, RoleId::OWNER).await;
                let s = session(user.id, tenant, 1, T);
                let open = CreateSession { session: s.clone(), network: HOME, is_login: true, audit: vec![] };
                assert_eq!(store.create_session(&ctx(T), open).await.unwrap(), Cas::Done(()));
                (tenant, ctx(T), user, s)
            },
            |store, (tenant, ctx, user, _)| async move { store.change_member(&ctx, suspend(&user, tenant)).await },
            async |heir, (tenant, ctx, u, s), out| {
                let heir: S = heir;
                let suspended = user(&heir, u.id).await.status == UserStatus::Suspended;
                assert!(suspended || out.is_none(), "an acknowledged suspension is lost");
                assert_eq!(refused(&heir, &s).await, suspended, "revoked with it");
                let n = usize::from(suspended);
                assert_eq!(found(&heir, tenant, &u, UserStatus::Suspended).await, n);
                assert_eq!(found(&heir, tenant, &u, UserStatus::Active).await, 1 - n);
                let outcome = heir.change_member(&ctx, suspend(&u, tenant)).await.unwrap();
                assert_eq!(outcome, MemberOutcome::Done { raised_to: Some(2), revoked: 1 });
                assert!(refused(&heir, &s).await && !lives(&heir, &s).await);
                assert_eq!(user(&heir, u.id).await.credential_epoch, 2, "once");
                assert_eq!(found(&heir, tenant, &u, UserStatus::Suspended).await, 1);
            },
        )
        .await;
        println!("suspension: {points} points, {how:?}");
    }
}
fn suspend(user: &User, tenant: TenantId) -> ChangeMember {
    let (status, metadata) = (UserStatus::Suspended, Default::default());
    change(user.id, tenant, MemberChange::Update { expect_version: 2, display_name: None, phone: None, status, metadata })
}

/// A member in the recycle bin, who has invited somebody.
async fn binned(store: &S, tenant: TenantId, at: Timestamp) -> (Ctx, User, crate::domain::invite::Invite) {
    let user = member_of(store, tenant, RoleId::MEMBER).await;
    let by_hand = crate::domain::invite::Invite { inviter: Some(user.id), inviter_key: None, ..invite(tenant, address(), T) };
    let his = invited(store, by_hand).await;
    let bin = change(user.id, tenant, MemberChange::Delete { purge_after: at.plus(days(30)) });
    assert!(done(store.change_member(&ctx(at), bin).await.unwrap()));
    (ctx(at), user, his)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_comes_to_its_end() {
    let first: S = Arc::new(store().await);
    let (at, _alone) = era(&first, 17).await;
    for how in BOTH {
        let points = at_each_point_of(
            (how, Points::Writes),
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
            async |heir, (tenant, (ctx, u, his)), out| {
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
                let invite = store.invite(tenant, his.id).await.unwrap().unwrap();
                assert_eq!((invite.inviter, invite.status), (None, crate::domain::invite::InviteStatus::Revoked));
                let mut next = newcomer(T);
                next.user.email = u.email.clone();
                assert_eq!(heir.create_user(&super::ctx(T), next).await.unwrap(), CreateUserOutcome::Created);
            },
        )
        .await;
        println!("purge: {points} points, {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_ends() {
    let first: S = Arc::new(store().await);
    let (at, _alone) = era(&first, 18).await;
    for how in BOTH {
        let points = at_each_point_of(
            (how, Points::Writes),
            Heir::Sweeps,
            async |store| {
                let tenant = company(&store).await.1.id;
                (ctx(at), tenant, member_of(&store, tenant, RoleId::MEMBER).await.id)
            },
            |store, (ctx, tenant_id, _)| async move { store.delete_tenant(&ctx, DeleteTenant { tenant_id, audit: vec![] }).await },
            async |heir, (ctx, tenant_id, member), out| {
                let heir: S = heir;
                let deleted = async || heir.tenant(tenant_id).await.unwrap().unwrap().deleted_at.is_some();
                assert!(deleted().await || out.is_none(), "an acknowledged end is lost");
                let before = deleted().await;
                let key = Revocation::ApiKey(crate::domain::ids::ApiKeyId::from_bytes(*tenant_id.as_bytes()));
                assert_eq!(count(&revocations(&heir).await, &key) > 0, before, "its keys are refused with it");
                assert_eq!(heir.delete_tenant(&ctx, DeleteTenant { tenant_id, audit: vec![] }).await.unwrap(), Cas::Done(()));
                assert!(deleted().await && count(&revocations(&heir).await, &key) > 0);
                while heir.end_tenants(at).await.unwrap().more {}
                assert_eq!(user(&heir, member).await.purge_after, Some(at.plus(days(30))), "members are seen to");
            },
        )
        .await;
        println!("end of a tenant: {points} points, {how:?}");
    }
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
    let outcomes = at_once(8, |i| {
        let node = nodes[i % 2].clone();
        async move { node.delete_tenant(&ctx(T), DeleteTenant { tenant_id: tenant, audit: vec![] }).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &Cas::Done(())), count(&outcomes, &Cas::Stale)), (1, 7));
}

/// Whoever goes on with an import (another command, other ids and hashes of the same rows) counts what the dead one made as made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_an_import_is_counted_once() {
    let outcomes = Outcomes(vec![RowOutcome::Created, RowOutcome::Created, RowOutcome::IsMember, RowOutcome::EmailTaken]);
    for how in BOTH {
        let points = at_each_point_of(
            (how, Points::Writes),
            Heir::Meets,
            async |store| {
                let tenant = company(&store).await.1.id;
                let (mut again, mut taken) = (row(tenant), row(tenant));
                let rows = [row(tenant), row(tenant)];
                again.user.email = rows[1].user.email.clone();
                taken.user.email = person(&store).await.user.email;
                let step = ImportStep { id: import_id(), from: 0, next: 5, refused: 1, unfit: vec![], finished: true };
                ImportUsers { step: Some(step), ..batch(tenant, rows.into_iter().chain([again, taken]).collect()) }
            },
            |store, cmd| async move { store.import_users(&ctx(T), cmd).await },
            async |heir, cmd, out| {
                let next = cmd.users.iter().map(|r| {
                    let mut next = row(cmd.tenant_id);
                    next.user.email = r.user.email.clone();
                    next
                });
                let next = ImportUsers { users: next.collect(), ..cmd.clone() };
                let done = ImportOutcome::Done(outcomes.clone());
                assert!(out.as_ref().is_none_or(|out| *out == done), "{out:?}");
                let then = heir.import_users(&ctx(T), next).await.unwrap();
                // Of a batch that came to its end, and whose answer was lost, its progress tells.
                assert!(then == done && out.is_none() || then == ImportOutcome::Stale, "{then:?} after {out:?}");
                let progress = heir.import_progress(cmd.step.unwrap().id).await.unwrap().unwrap();
                assert_eq!((progress.created, progress.refused, progress.recent), (2, 3, outcomes.clone()));
                for row in &cmd.users[..3] {
                    assert!(heir.user_by_email(&row.user.email.digest()).await.unwrap().is_some());
                }
                let heir: S = heir;
                let filter = MemberFilter { tenant_id: cmd.tenant_id, prefix: None, status: None };
                assert_eq!(heir.members(filter, None, 9).await.unwrap().members.len(), 3, "the owner, and two");
            },
        )
        .await;
        println!("batch of an import: {points} points, {how:?}");
    }
}

/// Whoever takes a message reads what it is about, past the lock of a command that isn't done; it would be dropped if that isn't there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_due_when_what_it_is_about_is_there() {
    const LATER: Duration = Duration::from_secs(40 * 365 * 86_400);
    at_each_point_of(
        (How::Dies, Points::Writes),
        Heir::Meets,
        async |store| {
            let cmd = new_member(company(&store).await.1.id, RoleId::OWNER);
            let job = job(T.plus(LATER), cmd.user.id);
            (ctx(T.plus(LATER)), CreateMember { job: Some(job), ..cmd })
        },
        |store, (ctx, cmd)| async move { store.create_member(&ctx, cmd).await },
        async |heir, (_, cmd), _| {
            let job = cmd.job.unwrap();
            let (bucket, key) = outbox::due(job.id, job.created_at);
            let end = [key.0.as_slice(), &[0]].concat();
            let due = !heir.engine.cql.entries(List::JobsDue, &bucket.0, &key.0, &end, 1, false).await.unwrap().is_empty();
            let there = heir.user_by_email(&cmd.user.email.digest()).await.unwrap().is_some_and(|u| u.id == cmd.user.id);
            assert!(there || !due, "it is due, and nobody is there");
        },
    )
    .await;
}
