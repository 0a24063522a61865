//! People, sessions and jobs for the cases, each with ids and an address of its own.

use crate::{
    domain::{
        audit::AuditEvent,
        contact::{Email, Phone},
        context::{Actor, Ctx},
        hash::PasswordHash,
        ids::*,
        network::Network,
        outbox::{Job, Message},
        policy::AuthPolicy,
        rng::{self, SystemRng},
        session::Session,
        tenant::{Tenant, TenantKind},
        time::{SystemClock, Timestamp},
        user::{CodeSerials, Membership, User, UserStatus},
    },
    store::{Store, admin::Newcomers, commands::*},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) type S = Arc<dyn Store>;

/// The present of most cases: 2026-01-01.
pub(crate) const T: Timestamp = Timestamp::from_millis(1_767_225_600_000);
pub(crate) const HOME: Network = Network::V4([192, 0, 2, 1]);
pub(crate) const AWAY: Network = Network::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]);

/// A year of its own, long before [`T`], for a case that takes jobs or sweeps: it touches no rows of later years. And such
/// cases run one after another, and begin without jobs, because they would touch each other's.
pub(crate) async fn era(store: &S, n: u32) -> (Timestamp, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let start = Timestamp::from_millis(365 * 86_400_000).plus(days(365 * u64::from(n)));
    while let left = store.lease_jobs(start, Duration::ZERO, 100).await.unwrap()
        && !left.is_empty()
    {
        for job in left {
            store.finish_job(job.id).await.unwrap();
        }
    }
    (start, alone)
}
pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
pub(crate) const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

macro_rules! fresh {
    ($($name:ident: $Id:ident),*) => {$(
        pub(crate) fn $name() -> $Id {
            $Id::new(&SystemClock, &SystemRng)
        }
    )*};
}
fresh!(user_id: UserId, tenant_id: TenantId, session_id: SessionId, link_id: LinkId, job_id: JobId, pending_id: PendingSignupId, command_id: CommandId,
    role_id: RoleId, api_key_id: ApiKeyId, audit_id: AuditId, invite_id: InviteId);

pub(crate) fn nonce() -> [u8; 16] {
    rng::bytes(&SystemRng)
}
pub(crate) fn ctx(now: Timestamp) -> Ctx {
    Ctx { command: command_id(), now, actor: Actor::Anonymous, network: Some(HOME), seed: None, request_id: Some("r".into()) }
}
pub(crate) fn address() -> Email {
    format!("{}@example.com", user_id()).parse().unwrap()
}
pub(crate) fn phone() -> Phone {
    "+14155550100".parse().unwrap()
}
pub(crate) fn hash(tag: &str) -> PasswordHash {
    PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2Fs${tag}"))
}
pub(crate) fn job(now: Timestamp, user_id: UserId) -> Job {
    Job { id: job_id(), message: Message::PasswordChanged { user_id }, created_at: now, attempts: 0 }
}

/// An event by nobody known, from [`HOME`].
pub(crate) fn event(tenant_id: TenantId, user_id: Option<UserId>, name: &str) -> AuditEvent {
    let (network, request_id) = (Some(HOME), Some("r".into()));
    AuditEvent { user_id, network, request_id, ..AuditEvent::new(audit_id(), tenant_id, name, Actor::Anonymous, T) }
}

pub(crate) fn tenant(kind: TenantKind, now: Timestamp) -> Tenant {
    let id = tenant_id();
    Tenant {
        id,
        slug: format!("t-{id}"),
        name: "T".into(),
        kind,
        // As the operator makes them: admins have power over the accounts that belong there alone.
        managed: kind == TenantKind::Organization,
        domains: Vec::new(),
        metadata: Default::default(),
        policy: AuthPolicy::default(),
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    }
}

pub(crate) fn session(user_id: UserId, tenant_id: TenantId, epoch: u64, now: Timestamp) -> Session {
    Session {
        id: session_id(),
        user_id,
        tenant_id,
        nonce: nonce(),
        generation: 0,
        credential_epoch: epoch,
        ip: "192.0.2.1".into(),
        user_agent: Some("agent".into()),
        created_at: now,
        signed_in_at: None,
        last_seen_at: now,
        turned_at: now,
        turned_by: HOME,
        expires_at: now.plus(days(90)),
        idle_days: 30,
        revoked_at: None,
    }
}

/// A sign-up, not yet written.
pub(crate) fn newcomer(now: Timestamp) -> CreateUser {
    let (id, tenant) = (user_id(), tenant(TenantKind::Personal, now));
    let user = User {
        id,
        home_tenant: tenant.id,
        last_tenant: None,
        email: address(),
        email_verified_at: None,
        email_asserted_at: None,
        phone: None,
        phone_verified_at: None,
        display_name: None,
        locale: None,
        status: UserStatus::Active,
        metadata: Default::default(),
        password_hash: Some(hash("first")),
        credential_epoch: 1,
        version: 1,
        code_serials: CodeSerials::default(),
        last_login_at: Some(now),
        created_at: now,
        updated_at: now,
        deleted_at: None,
        independent: false,
        must_change: false,
        not_me_at: None,
        purge_after: None,
    };
    let membership = Membership { user_id: id, tenant_id: tenant.id, roles: vec![RoleId::OWNER], joined_at: now };
    let session = session(id, tenant.id, 1, now);
    CreateUser { user, tenant, membership, session, network: HOME, consumes: None, audit: vec![] }
}

/// Writes a sign-up.
pub(crate) async fn signed_up(store: &S, cmd: CreateUser) -> CreateUser {
    assert_eq!(store.create_user(&ctx(cmd.user.created_at), cmd.clone()).await.unwrap(), CreateUserOutcome::Created);
    cmd
}
/// A person with one session, since [`T`].
pub(crate) async fn person(store: &S) -> CreateUser {
    signed_up(store, newcomer(T)).await
}
pub(crate) async fn user(store: &S, id: UserId) -> User {
    store.user(id).await.unwrap().expect("a user")
}

pub(crate) fn sign_in(p: &CreateUser, epoch: u64, now: Timestamp) -> CreateSession {
    let session = session(p.user.id, p.tenant.id, epoch, now);
    CreateSession { session, network: HOME, is_login: true, audit: vec![] }
}
/// One more session of a person whose epoch is `epoch`.
pub(crate) async fn signed_in(store: &S, p: &CreateUser, epoch: u64, now: Timestamp) -> Session {
    let cmd = sign_in(p, epoch, now);
    assert_eq!(store.create_session(&ctx(now), cmd.clone()).await.unwrap(), Cas::Done(()));
    cmd.session
}
/// Whether a refresh token of the session would be honoured.
pub(crate) async fn lives(store: &S, s: &Session) -> bool {
    let Some(view) = store.session(s.user_id, s.id).await.unwrap() else { return false };
    view.session.revoked_at.is_none() && view.session.credential_epoch == view.user_epoch && !view.user_deleted
}
/// Whether the session's access tokens are on the list of those to be refused, as the service reads it.
pub(crate) async fn refused(store: &S, s: &Session) -> bool {
    revocations(store).await.iter().any(|r| match r {
        Revocation::Session(id) => *id == s.id,
        Revocation::ApiKey(_) | Revocation::SigningKey(_) => false,
        Revocation::Epoch { user_id, below, keep } => *user_id == s.user_id && s.credential_epoch < *below && *keep != Some(s.id),
    })
}
pub(crate) async fn revocations(store: &S) -> Vec<Revocation> {
    let (mut all, mut cursor) = (vec![], 0);
    loop {
        let (some, next) = store.revocations_since(cursor).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
        cursor = next;
    }
}

pub(crate) fn reset_link(p: &CreateUser, epoch: u64, now: Timestamp) -> ResetLink {
    let expires_at = now.plus(secs(3600));
    ResetLink { id: link_id(), user_id: p.user.id, nonce: nonce(), epoch, created_at: now, expires_at, used_at: None, made_by: None }
}
/// A link that lies in the store.
pub(crate) async fn linked(store: &S, p: &CreateUser, epoch: u64, now: Timestamp) -> ResetLink {
    let link = reset_link(p, epoch, now);
    assert!(store.create_reset_link(&ctx(now), link.clone()).await.unwrap());
    link
}
pub(crate) fn reset(link: &ResetLink, tag: &str) -> CompleteReset {
    CompleteReset {
        user_id: link.user_id,
        link_id: link.id,
        new_hash: hash(tag),
        network: None,
        end_keys_since: None,
        personal: Some(spare()),
        jobs: vec![],
        audit: vec![],
    }
}
pub(crate) fn change_password(p: &CreateUser, epoch: u64, tag: &str, keep: Option<SessionId>) -> ChangePassword {
    ChangePassword { user_id: p.user.id, expect_epoch: epoch, new_hash: hash(tag), keep, job: None, audit: vec![] }
}
pub(crate) fn delete(p: &CreateUser, epoch: u64) -> DeleteUser {
    DeleteUser { user_id: p.user.id, expect_epoch: epoch, purge_after: T.plus(days(30)), job: None, audit: vec![] }
}
pub(crate) fn rotate(s: &Session, expect: u64, epoch: u64) -> RotateSession {
    let (user_id, session_id) = (s.user_id, s.id);
    RotateSession { user_id, session_id, expect, to: expect + 1, epoch, ip: "198.51.100.9".into(), network: AWAY }
}
pub(crate) fn revoke(p: &CreateUser, which: Which) -> RevokeSessions {
    RevokeSessions { user_id: p.user.id, which, audit: vec![] }
}

/// A sign-up that waits for ten minutes.
pub(crate) fn waiting(email: Email, at: Timestamp) -> PendingSignup {
    PendingSignup {
        id: pending_id(),
        nonce: nonce(),
        email,
        password_hash: hash("p"),
        display_name: None,
        tries: 0,
        created_at: at,
        expires_at: at.plus(secs(600)),
    }
}

pub(crate) fn email_change(p: &CreateUser, epoch: u64, serial: u64, now: Timestamp) -> PendingEmailChange {
    let expires_at = now.plus(secs(600));
    PendingEmailChange { user_id: p.user.id, new_email: address(), epoch, serial, created_at: now, expires_at }
}
/// A change that waits in the store.
pub(crate) async fn begun(store: &S, change: PendingEmailChange) -> PendingEmailChange {
    let job = job(change.created_at, change.user_id);
    assert_eq!(store.begin_email_change(&ctx(change.created_at), change.clone(), job).await.unwrap(), Cas::Done(()));
    change
}
pub(crate) fn confirm_change(change: &PendingEmailChange, keep: Option<SessionId>) -> ConfirmEmailChange {
    let user_id = change.user_id;
    let undo = NewUndoLink { id: link_id(), nonce: nonce(), expires_at: change.created_at.plus(secs(72 * 3600)) };
    let job = job(change.created_at, user_id);
    ConfirmEmailChange { user_id, epoch: change.epoch, serial: change.serial, keep, undo, job, audit: vec![] }
}
/// The account's address was changed at `now`, from epoch `epoch` on; gives the undo link.
pub(crate) async fn moved(store: &S, p: &CreateUser, epoch: u64, now: Timestamp) -> NewUndoLink {
    let change = begun(store, email_change(p, epoch, epoch * 1000, now)).await;
    let cmd = confirm_change(&change, None);
    assert_eq!(store.confirm_email_change(&ctx(now), cmd.clone()).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
    cmd.undo
}
pub(crate) fn undo(p: &CreateUser, link: LinkId) -> UndoEmailChange {
    UndoEmailChange { user_id: p.user.id, link_id: link, personal: Box::new(p.tenant.clone()), job: None, audit: vec![] }
}

pub(crate) fn organization(p: &CreateUser, now: Timestamp) -> CreateTenant {
    let tenant = tenant(TenantKind::Organization, now);
    let membership = Membership { user_id: p.user.id, tenant_id: tenant.id, roles: vec![RoleId::OWNER], joined_at: now };
    CreateTenant { tenant, membership, audit: vec![] }
}

/// A personal tenant that may be needed.
pub(crate) fn spare() -> Box<Tenant> {
    Box::new(tenant(TenantKind::Personal, T))
}
pub(crate) fn newcomers() -> Newcomers {
    Newcomers { policy: AuthPolicy::default(), salt: nonce() }
}
/// Has an address proved by a code.
pub(crate) async fn prove(store: &S, id: UserId) {
    let u = user(store, id).await;
    let (epoch, serial) = (u.credential_epoch, u.code_serials.email + 1);
    let cmd = ConfirmEmail { user_id: id, epoch, serial, personal: Some(spare()), audit: vec![] };
    assert_eq!(store.confirm_email(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
}

/// Runs `n` at once and gives what they gave.
pub(crate) async fn at_once<F, T>(n: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(n));
    let tasks: Vec<_> = (0..n)
        .map(|i| {
            let (start, work) = (start.clone(), make(i));
            tokio::spawn(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    let mut out = Vec::with_capacity(n);
    for task in tasks {
        out.push(task.await.unwrap());
    }
    out
}
/// How many of them are `what`.
pub(crate) fn count<T: PartialEq>(all: &[T], what: &T) -> usize {
    all.iter().filter(|one| *one == what).count()
}
