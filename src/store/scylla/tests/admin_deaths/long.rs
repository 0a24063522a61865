//! At each of their writes, in each way.

use super::*;
use crate::store::{
    conformance::imports::{batch, import_id, row},
    imports::{ImportOutcome, ImportStep, ImportStore, ImportUsers, Outcomes, RowOutcome},
    scylla::{fail::How, outbox, unit::List},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_is_there_whole_or_not_at_all() {
    new_members(Reach::All).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_comes_to_its_end() {
    purges(Reach::All).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_owner_is_suspended_everywhere() {
    at_points_of(
        (WAYS, Points::Writes, Reach::All),
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
}
fn suspend(user: &User, tenant: TenantId) -> ChangeMember {
    let (status, metadata) = (UserStatus::Suspended, Default::default());
    change(user.id, tenant, MemberChange::Update { expect_version: 2, display_name: None, phone: None, status, metadata })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_ends() {
    let first: S = Arc::new(store().await);
    let (at, _alone) = era(&first, 18).await;
    at_points_of(
        (WAYS, Points::Writes, Reach::All),
        Heir::Sweeps,
        async |store| {
            let tenant = company(&store).await.1.id;
            (ctx(at), tenant, member_of(&store, tenant, RoleId::MEMBER).await.id)
        },
        |store, (ctx, tenant_id, _)| async move {
            store.delete_tenant(&ctx, DeleteTenant { tenant_id, by: By::operator(tenant_id), audit: vec![] }).await
        },
        async |heir, (ctx, tenant_id, member), out| {
            let heir: S = heir;
            let deleted = async || heir.tenant(tenant_id).await.unwrap().unwrap().deleted_at.is_some();
            assert!(deleted().await || out.is_none(), "an acknowledged end is lost");
            let before = deleted().await;
            let key = Revocation::ApiKey(crate::domain::ids::ApiKeyId::from_bytes(*tenant_id.as_bytes()));
            assert_eq!(count(&revocations(&heir).await, &key) > 0, before, "its keys are refused with it");
            assert_eq!(
                heir.delete_tenant(&ctx, DeleteTenant { tenant_id, by: By::operator(tenant_id), audit: vec![] }).await.unwrap(),
                Ok(Cas::Done(()))
            );
            assert!(deleted().await && count(&revocations(&heir).await, &key) > 0);
            while heir.end_tenants(at, &newcomers()).await.unwrap().more {}
            assert_eq!(user(&heir, member).await.purge_after, Some(at.plus(days(30))), "members are seen to");
        },
    )
    .await;
}

/// Whoever goes on with an import (another command, other ids and hashes of the same rows) counts what the dead one made as made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_an_import_is_counted_once() {
    let outcomes = Outcomes(vec![RowOutcome::Created, RowOutcome::Created, RowOutcome::IsMember, RowOutcome::EmailTaken]);
    at_points_of(
        (WAYS, Points::Writes, Reach::All),
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
}

/// Whoever takes a message reads what it is about, past the lock of a command that isn't done; it would be dropped if that isn't there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_due_when_what_it_is_about_is_there() {
    const LATER: Duration = Duration::from_secs(40 * 365 * 86_400);
    at_points_of(
        (&[How::Dies], Points::Writes, Reach::All),
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
