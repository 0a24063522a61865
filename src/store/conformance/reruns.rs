//! Commands run again with the id of a run whose answer was lost: the first outcome, and nothing changes.

use super::fixture::*;
use crate::{
    domain::{
        context::{Ctx, Seed},
        ids::UserId,
        session::Session,
        tenant::Tenant,
        user::{Membership, User},
    },
    store::{Certainty, StoreError, commands::*},
};

/// All that can be read of a user.
type State = (Option<User>, Vec<Session>, Vec<(Tenant, Membership)>, Option<PendingEmailChange>, Vec<Revocation>);

async fn state(store: &S, id: UserId) -> State {
    let sessions = store.sessions(id).await.unwrap();
    let mine = |r: &Revocation| match r {
        Revocation::Session(session) => sessions.iter().any(|s| s.id == *session),
        Revocation::ApiKey(_) | Revocation::SigningKey(_) => false,
        Revocation::Epoch { user_id, .. } => *user_id == id,
    };
    let revocations = revocations(store).await.into_iter().filter(mine).collect();
    let user = store.user(id).await.unwrap();
    (user, sessions.clone(), store.memberships(id).await.unwrap(), store.pending_email_change(id).await.unwrap(), revocations)
}

/// Runs a command twice, then once more after something else has changed; each time the first outcome, and no change.
macro_rules! thrice {
    ($store:ident, $user:expr, $first:pat, $meanwhile:expr, $method:ident($($arg:expr),*)) => {{
        let ctx = ctx(T);
        let first = $store.$method(&ctx, $($arg.clone()),*).await.unwrap();
        let $first = first.clone() else { panic!("{first:?}") };
        let after = state(&$store, $user).await;
        assert_eq!($store.$method(&ctx, $($arg.clone()),*).await.unwrap(), first);
        assert_eq!(state(&$store, $user).await, after);
        $meanwhile;
        let later = state(&$store, $user).await;
        assert_eq!($store.$method(&ctx, $($arg.clone()),*).await.unwrap(), first);
        assert_eq!(state(&$store, $user).await, later);
    }};
}

async fn new_password(store: &S, p: &CreateUser, epoch: u64) {
    let tag = format!("meanwhile{epoch}");
    assert_eq!(store.change_password(&ctx(T), super::fixture::change_password(p, epoch, &tag, None)).await.unwrap(), Cas::Done(()));
}
async fn new_name(store: &S, p: &CreateUser) {
    let expect_version = user(store, p.user.id).await.version;
    let cmd = UpdateProfile { user_id: p.user.id, expect_version, display_name: Some("meanwhile".into()), locale: None };
    assert!(matches!(store.update_profile(&ctx(T), cmd).await.unwrap(), Cas::Done(_)));
}

/// A request with an `Idempotency-Key` whose first run the ephemeral store has forgotten: the ids of its commands are the same, all others are
/// new. It is told of the first run, and writes nothing.
pub(crate) async fn another_run_is_told_of_the_first(store: S) {
    let seeded = |command, salt| Ctx { command, seed: Some(Seed { began_at: T, salt: [salt; 16] }), ..ctx(T) };
    let told = |e: StoreError| assert_eq!(e.certainty, Certainty::AnotherRun(seeded(command_id(), 1).seed.unwrap()));
    let p = newcomer(T);
    let digest = p.user.email.digest();
    let first = seeded(command_id(), 1);
    store.made_by_another_run(&first, &digest).await.unwrap();
    assert_eq!(store.create_user(&first, p.clone()).await.unwrap(), CreateUserOutcome::Created);
    assert_eq!(store.create_user(&first, p.clone()).await.unwrap(), CreateUserOutcome::Created);
    store.made_by_another_run(&first, &digest).await.unwrap();
    let second = seeded(first.command, 2);
    let mut again = newcomer(T);
    again.user.email = p.user.email.clone();
    told(store.create_user(&second, again.clone()).await.unwrap_err());
    told(store.made_by_another_run(&second, &digest).await.unwrap_err());
    assert!(store.user(again.user.id).await.unwrap().is_none());
    // Of a version that recorded no seeds; and of another request.
    assert_eq!(store.create_user(&Ctx { seed: None, ..first.clone() }, p.clone()).await.unwrap(), CreateUserOutcome::Created);
    store.made_by_another_run(&seeded(command_id(), 2), &digest).await.unwrap();

    let (first, cmd) = (seeded(command_id(), 1), organization(&p, T));
    assert_eq!(store.create_tenant(&first, cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    let again = organization(&p, T);
    assert!(again.tenant.slug != cmd.tenant.slug, "one that nobody chose");
    told(store.create_tenant(&seeded(first.command, 2), again.clone()).await.unwrap_err());
    assert!(store.tenant(again.tenant.id).await.unwrap().is_none());
    assert_eq!(store.create_tenant(&first, cmd).await.unwrap(), CreateTenantOutcome::Created);

    let (first, name) = (seeded(command_id(), 1), |name: &str| UpdateProfile {
        user_id: p.user.id,
        expect_version: 1,
        display_name: Some(name.into()),
        locale: None,
    });
    let expect_version = user(&store, p.user.id).await.version;
    let done = store.update_profile(&first, UpdateProfile { expect_version, ..name("one") }).await.unwrap();
    assert!(matches!(done, Cas::Done(_)));
    told(store.update_profile(&seeded(first.command, 2), UpdateProfile { expect_version, ..name("two") }).await.unwrap_err());
    assert_eq!(user(&store, p.user.id).await.display_name.as_deref(), Some("one"));
}

pub(crate) async fn create_user(store: S) {
    let p = newcomer(T);
    thrice!(store, p.user.id, CreateUserOutcome::Created, new_password(&store, &p, 1).await, create_user(p));
    let mut taken = newcomer(T);
    taken.user.email = p.user.email.clone();
    thrice!(store, taken.user.id, CreateUserOutcome::EmailTaken(_), moved(&store, &p, 2, T).await, create_user(taken));
}
pub(crate) async fn begin_signup(store: S) {
    let email = address();
    let pending = waiting(email.clone(), T);
    let (ctx, job) = (ctx(T), job(T, user_id()));
    store.begin_signup(&ctx, pending.clone(), job.clone()).await.unwrap();
    assert_eq!(store.count_signup_try(pending.id).await.unwrap(), Some(1));
    store.begin_signup(&ctx, pending.clone(), job.clone()).await.unwrap();
    assert_eq!(store.pending_signup(pending.id).await.unwrap().unwrap().tries, 1);
    let mut cmd = newcomer(T);
    cmd.user.email = email;
    cmd.consumes = Some(pending.id);
    signed_up(&store, cmd).await;
    store.begin_signup(&ctx, pending.clone(), job).await.unwrap();
    assert_eq!(store.pending_signup(pending.id).await.unwrap(), None, "consumed is consumed");
}
pub(crate) async fn update_profile(store: S) {
    let p = person(&store).await;
    let cmd = UpdateProfile { user_id: p.user.id, expect_version: 1, display_name: Some("Ada".into()), locale: None };
    thrice!(store, p.user.id, Cas::Done(_), new_name(&store, &p).await, update_profile(cmd));
}
pub(crate) async fn delete_user(store: S) {
    let p = person(&store).await;
    let cmd = delete(&p, 1);
    thrice!(store, p.user.id, Cas::Done(DeleteOutcome::Deleted), new_name(&store, &p).await, delete_user(cmd));
}
pub(crate) async fn change_password(store: S) {
    let p = person(&store).await;
    let cmd = super::fixture::change_password(&p, 1, "a", Some(p.session.id));
    let cmd = ChangePassword { job: Some(job(T, p.user.id)), ..cmd };
    thrice!(store, p.user.id, Cas::Done(()), new_password(&store, &p, 2).await, change_password(cmd));
    assert_eq!(user(&store, p.user.id).await.password_hash, Some(hash("meanwhile2")));
}
pub(crate) async fn rehash(store: S) {
    let p = person(&store).await;
    let cmd = Rehash { user_id: p.user.id, expect_hash: hash("first"), new_hash: hash("today") };
    thrice!(store, p.user.id, true, new_password(&store, &p, 1).await, rehash(cmd));
}
pub(crate) async fn create_reset_link(store: S) {
    let p = person(&store).await;
    let link = reset_link(&p, 1, T);
    thrice!(store, p.user.id, true, new_password(&store, &p, 1).await, create_reset_link(link));
}
pub(crate) async fn complete_reset(store: S) {
    let p = person(&store).await;
    let cmd = reset(&linked(&store, &p, 1, T).await, "reset");
    let cmd = CompleteReset { jobs: vec![job(T, p.user.id)], ..cmd };
    thrice!(store, p.user.id, Cas::Done(ResetOutcome { revoked: 1, .. }), new_password(&store, &p, 2).await, complete_reset(cmd));
}
pub(crate) async fn create_session(store: S) {
    let p = person(&store).await;
    let cmd = sign_in(&p, 1, T);
    thrice!(store, p.user.id, Cas::Done(()), new_password(&store, &p, 1).await, create_session(cmd));
}
/// Its conditional generation is its record: the rerun finds the token turned.
pub(crate) async fn rotate_session(store: S) {
    let p = person(&store).await;
    let (ctx, cmd) = (ctx(T), rotate(&p.session, 0, 1));
    assert_eq!(store.rotate_session(&ctx, cmd.clone()).await.unwrap(), Cas::Done(()));
    let after = state(&store, p.user.id).await;
    assert_eq!(store.rotate_session(&ctx, cmd).await.unwrap(), Cas::Stale);
    assert_eq!(state(&store, p.user.id).await, after);
}
pub(crate) async fn revoke_sessions(store: S) {
    let p = person(&store).await;
    let cmd = revoke(&p, Which::All);
    thrice!(store, p.user.id, 1, signed_in(&store, &p, 1, T).await, revoke_sessions(cmd));
}
pub(crate) async fn confirm_email(store: S) {
    let p = person(&store).await;
    let cmd = ConfirmEmail { user_id: p.user.id, epoch: 1, serial: 5, personal: None, audit: vec![] };
    thrice!(store, p.user.id, Cas::Done(()), new_password(&store, &p, 1).await, confirm_email(cmd));
}
pub(crate) async fn confirm_phone(store: S) {
    let p = person(&store).await;
    let cmd = ConfirmPhone { user_id: p.user.id, epoch: 1, serial: 5, phone: phone(), job: None, audit: vec![] };
    thrice!(store, p.user.id, Cas::Done(()), new_password(&store, &p, 1).await, confirm_phone(cmd));
}
pub(crate) async fn begin_email_change(store: S) {
    let p = person(&store).await;
    let (change, job) = (email_change(&p, 1, 5, T), job(T, p.user.id));
    thrice!(store, p.user.id, Cas::Done(()), new_password(&store, &p, 1).await, begin_email_change(change, job));
}
pub(crate) async fn confirm_email_change(store: S) {
    let p = person(&store).await;
    let cmd = confirm_change(&begun(&store, email_change(&p, 1, 5, T)).await, Some(p.session.id));
    let meanwhile = async { moved(&store, &p, 2, T).await };
    thrice!(store, p.user.id, Cas::Done(EmailChangeOutcome::Changed), meanwhile.await, confirm_email_change(cmd));
}
pub(crate) async fn undo_email_change(store: S) {
    let p = person(&store).await;
    let cmd = undo(&p, moved(&store, &p, 1, T).await.id);
    let meanwhile = async { moved(&store, &p, 3, T).await };
    thrice!(store, p.user.id, Cas::Done(EmailChangeOutcome::Changed), meanwhile.await, undo_email_change(cmd));
}
pub(crate) async fn create_tenant(store: S) {
    let p = person(&store).await;
    let cmd = organization(&p, T);
    thrice!(store, p.user.id, CreateTenantOutcome::Created, new_name(&store, &p).await, create_tenant(cmd));
}
pub(crate) async fn leave_tenant(store: S) {
    let p = person(&store).await;
    let cmd = LeaveTenant { user_id: p.user.id, tenant_id: p.tenant.id, personal: spare(), audit: vec![] };
    thrice!(store, p.user.id, LeaveOutcome::LastOwner, new_name(&store, &p).await, leave_tenant(cmd));
}
pub(crate) async fn enqueue(store: S) {
    let (t, _alone) = era(&store, 7).await;
    let (ctx, job) = (ctx(t), job(t, user_id()));
    store.enqueue(&ctx, job.clone()).await.unwrap();
    store.enqueue(&ctx, job.clone()).await.unwrap();
    let leased = store.lease_jobs(t, secs(60), 10).await.unwrap();
    assert_eq!(leased.iter().map(|j| j.id).collect::<Vec<_>>(), [job.id]);
    store.finish_job(job.id).await.unwrap();
    store.enqueue(&ctx, job).await.unwrap();
    assert_eq!(store.lease_jobs(t.plus(days(1)), secs(60), 10).await.unwrap(), [], "a job that is done isn't done again");
}
/// A caller that gave up waiting runs the command again while the first run is still on its way.
pub(crate) async fn reruns_at_once(store: S) {
    let p = newcomer(T);
    let ctx = ctx(T);
    let outcomes = at_once(8, |_| {
        let (store, ctx, p) = (store.clone(), ctx.clone(), p.clone());
        async move { store.create_user(&ctx, p).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &CreateUserOutcome::Created), 8);
    assert_eq!(store.sessions(p.user.id).await.unwrap().len(), 1);
}
