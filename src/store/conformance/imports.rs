//! Batches of accounts, and imports that go on where they stopped.

use super::fixture::*;
use crate::{
    domain::{
        authority::By,
        ids::{RoleId, TenantId},
        user::User,
    },
    store::{
        commands::*,
        imports::{RowOutcome::*, *},
    },
};

async fn company(store: &S) -> TenantId {
    let owner = person(store).await;
    let cmd = organization(&owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    cmd.tenant.id
}
pub(crate) fn row(tenant: TenantId) -> ImportUser {
    let user = User { home_tenant: tenant, last_login_at: None, ..newcomer(T).user };
    ImportUser { user, role: RoleId::MEMBER, job: None, audit: vec![] }
}
pub(crate) fn batch(tenant_id: TenantId, users: Vec<ImportUser>) -> ImportUsers {
    ImportUsers { tenant_id, by: By::operator(tenant_id), users, step: None, audit: vec![] }
}
pub(crate) fn done(outcomes: &[RowOutcome]) -> ImportOutcome {
    ImportOutcome::Done(Outcomes(outcomes.to_vec()))
}
pub(crate) fn import_id() -> ImportId {
    let half = nonce();
    ImportId(std::array::from_fn(|i| half[i % 16]))
}

pub(crate) async fn each_row_stands_on_its_own(store: S) {
    let tenant = company(&store).await;
    let elsewhere = person(&store).await;
    let (mut rows, mut taken) = (vec![row(tenant), row(tenant)], row(tenant));
    taken.user.email = elsewhere.user.email.clone();
    let again = ImportUser { user: User { email: rows[0].user.email.clone(), ..row(tenant).user }, ..row(tenant) };
    let stranger = ImportUser { role: RoleId::from_bytes([7; 16]), ..row(tenant) };
    rows.extend([taken, again, stranger.clone(), row(tenant)]);
    let outcome = store.import_users(&ctx(T), batch(tenant, rows.clone())).await.unwrap();
    assert_eq!(outcome, done(&[Created, Created, EmailTaken, IsMember, NoRole, Created]));
    for (row, made) in rows.iter().zip([true, true, false, false, false, true]) {
        assert_eq!(store.user(row.user.id).await.unwrap().as_ref(), Some(&row.user).filter(|_| made));
        let roles = store.membership(row.user.id, tenant).await.unwrap().map(|m| m.roles);
        assert_eq!(roles, made.then(|| vec![RoleId::MEMBER]));
    }
    let digests = [&rows[0], &rows[2], &stranger].map(|r| r.user.email.digest());
    assert_eq!(store.holders(tenant, digests.to_vec()).await.unwrap(), [Holder::Member, Holder::Elsewhere, Holder::Nobody]);
}

pub(crate) async fn a_rerun_of_a_batch_writes_nothing(store: S) {
    let tenant = company(&store).await;
    let (ctx, cmd) = (ctx(T), batch(tenant, vec![row(tenant), row(tenant)]));
    let first = store.import_users(&ctx, cmd.clone()).await.unwrap();
    assert_eq!(first, done(&[Created, Created]));
    assert_eq!(store.import_users(&ctx, cmd.clone()).await.unwrap(), first);
    assert_eq!(store.import_users(&super::fixture::ctx(T), cmd).await.unwrap(), done(&[IsMember, IsMember]));
}

pub(crate) async fn only_live_organizations_take_accounts(store: S) {
    let p = person(&store).await;
    for tenant in [p.tenant.id, tenant_id()] {
        let cmd = batch(tenant, vec![row(tenant)]);
        assert_eq!(store.import_users(&ctx(T), cmd.clone()).await.unwrap(), ImportOutcome::NoTenant);
        assert_eq!(store.user(cmd.users[0].user.id).await.unwrap(), None);
    }
}

pub(crate) async fn an_import_goes_on_where_it_stopped(store: S) {
    let (tenant, id) = (company(&store).await, import_id());
    assert_eq!(store.import_progress(id).await.unwrap(), None);
    let step =
        |from, next, refused, finished| Some(ImportStep { id, from, next, refused, unfit: vec![1; usize::from(from == 0)], finished });
    let first = ImportUsers { step: step(0, 3, 1, false), ..batch(tenant, vec![row(tenant), row(tenant)]) };
    assert_eq!(store.import_users(&ctx(T), first.clone()).await.unwrap(), done(&[Created, Created]));
    // The same step by another command, and one that leaves records out.
    assert_eq!(store.import_users(&ctx(T), first.clone()).await.unwrap(), ImportOutcome::Stale);
    let far = ImportUsers { step: step(4, 5, 0, false), ..batch(tenant, vec![row(tenant)]) };
    assert_eq!(store.import_users(&ctx(T), far.clone()).await.unwrap(), ImportOutcome::Stale);
    assert_eq!(store.user(far.users[0].user.id).await.unwrap(), None);
    let last = ImportUsers { step: step(3, 5, 0, true), ..batch(tenant, vec![row(tenant), first.users[0].clone()]) };
    assert_eq!(store.import_users(&ctx(T.plus(secs(5))), last).await.unwrap(), done(&[Created, IsMember]));
    let progress = ImportProgress {
        next: 5,
        created: 3,
        refused: 2,
        recent_from: 0,
        recent: Outcomes(vec![Created, Unfit, Created, Created, IsMember]),
        started_at: T,
        finished_at: Some(T.plus(secs(5))),
    };
    assert_eq!(store.import_progress(id).await.unwrap(), Some(progress));
    let more = ImportUsers { step: step(5, 6, 0, false), ..batch(tenant, vec![row(tenant)]) };
    assert_eq!(store.import_users(&ctx(T), more).await.unwrap(), ImportOutcome::Stale, "it is through");
    store.forget_import(id).await.unwrap();
    assert_eq!(store.import_progress(id).await.unwrap(), None);
    assert_eq!(store.import_users(&ctx(T), first).await.unwrap(), done(&[IsMember, IsMember]));
}

pub(crate) async fn the_outcomes_of_the_last_steps_are_kept(store: S) {
    let (tenant, id) = (company(&store).await, import_id());
    for n in 0..10 {
        let step = ImportStep { id, from: 5 * n, next: 5 * n + 5, refused: 3, unfit: vec![], finished: false };
        let cmd = ImportUsers { step: Some(step), ..batch(tenant, vec![row(tenant), row(tenant)]) };
        assert_eq!(store.import_users(&ctx(T), cmd).await.unwrap(), done(&[Created, Created]));
        let progress = store.import_progress(id).await.unwrap().unwrap();
        let first = (n + 1).saturating_sub(RECENT as u64);
        assert_eq!((progress.recent_from, progress.recent.0.len() as u64), (5 * first, 2 * (n + 1 - first)));
        assert_eq!((progress.next, progress.created, progress.refused), (5 * n + 5, 2 * n + 2, 3 * n + 3));
    }
}

pub(crate) async fn one_step_8_at_once(store: S) {
    let (tenant, id) = (company(&store).await, import_id());
    let outcomes = at_once(8, |_| {
        let store = store.clone();
        async move {
            let step = ImportStep { id, from: 0, next: 1, refused: 0, unfit: vec![], finished: false };
            store.import_users(&ctx(T), ImportUsers { step: Some(step), ..batch(tenant, vec![row(tenant)]) }).await.unwrap()
        }
    })
    .await;
    assert_eq!((count(&outcomes, &done(&[Created])), count(&outcomes, &ImportOutcome::Stale)), (1, 7));
}

pub(crate) async fn kinds_of_imported_hashes_are_counted(store: S) {
    let tenant = company(&store).await;
    let mut row = row(tenant);
    row.user.password_hash = Some(crate::domain::hash::PasswordHash::new("$scrypt$ln=11,r=7,p=3$c2FsdHNhbHQ$dGFndGFndGFndGFndGFn"));
    store.import_users(&ctx(T), batch(tenant, vec![row])).await.unwrap();
    assert!(store.hash_census().await.unwrap().contains(&"scrypt:ln=11,r=7,p=3".to_owned()));
}
