//! What follows a command comes with it, whatever fails: its audit event and its message exactly once, its revocation at least once. Of every
//! command, at each of its conditional statements and writes, in each way; a few in the gate.

use super::{
    deaths::{Heir, Reach, WAYS, at_points_of, store},
    *,
};
use crate::{
    domain::{
        audit::AuditEvent,
        authority::By,
        context::Ctx,
        ids::{JobId, RoleId, TenantId},
        invite::Invite,
        mail_domain::DomainStatus,
        outbox::Job,
        time::Timestamp,
        user::UserStatus,
    },
    store::{
        access::*,
        admin::*,
        commands::*,
        conformance::{
            access::{self, key_of},
            authority::{self, in_person, keyed, leaving},
            domains,
            invites::{company, invite, invited},
            members::joined,
        },
        domains::*,
        imports::*,
        invites::*,
        policy::SetPolicy,
        scylla::fail::Points,
    },
};
use futures_util::future::BoxFuture;
use std::collections::HashMap;

type Run = Arc<dyn Fn(S, Ctx) -> BoxFuture<'static, Result<bool>> + Send + Sync>;

/// A command, and what follows it.
#[derive(Clone)]
struct Case {
    ctx: Ctx,
    /// Whether it is done.
    run: Run,
    event: Option<AuditEvent>,
    job: Option<JobId>,
    /// The tokens of one of these are refused.
    ended: Vec<Revocation>,
}

/// What there is of all that, as somebody sees it who has settled what was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    events: usize,
    jobs: usize,
    ended: bool,
}

impl Case {
    fn new<F>(at: Timestamp, run: impl Fn(S, Ctx) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<bool>> + Send + 'static,
    {
        Self { ctx: ctx(at), run: Arc::new(move |store, ctx| Box::pin(run(store, ctx))), event: None, job: None, ended: vec![] }
    }
    fn told(self, event: &[AuditEvent]) -> Self {
        Self { event: event.first().cloned(), ..self }
    }
    fn mailed(self, job: &Job) -> Self {
        Self { job: Some(job.id), ..self }
    }
    fn ends(self, what: Revocation) -> Self {
        Self { ended: vec![what], ..self }
    }

    /// Takes the messages that are due.
    async fn found(&self, store: &S, before: &mut HashMap<JobId, usize>) -> Found {
        for job in store.lease_jobs(self.ctx.now, days(1), 1000).await.unwrap() {
            *before.entry(job.id).or_default() += 1;
        }
        let events = match &self.event {
            Some(event) => {
                let all = store.audit_events(event.tenant_id, None, 1000).await.unwrap();
                all.iter().filter(|(e, _)| e.id == event.id).count()
            }
            None => 0,
        };
        let told = if self.ended.is_empty() { vec![] } else { revocations(store).await };
        let jobs = self.job.map_or(0, |id| before.get(&id).copied().unwrap_or(0));
        Found { events, jobs, ended: self.ended.iter().all(|what| told.contains(what)) }
    }
    fn all(&self) -> Found {
        Found { events: usize::from(self.event.is_some()), jobs: usize::from(self.job.is_some()), ended: true }
    }
    fn none(&self) -> Found {
        Found { events: 0, jobs: 0, ended: self.ended.is_empty() }
    }
}

async fn check(name: &str, heir: Arc<ScyllaStore>, case: Case, out: Option<bool>) {
    let (heir, mut seen): (S, _) = (heir, HashMap::new());
    assert!(out != Some(false), "{name} is refused");
    let found = case.found(&heir, &mut seen).await;
    assert!(
        found == case.all() || (out.is_none() && found == case.none()),
        "{name} gave {out:?}, and there is {found:?} of {:?}",
        case.all()
    );
    // Its caller comes again.
    assert!((case.run)(heir.clone(), case.ctx.clone()).await.unwrap(), "{name} is refused the second time");
    assert_eq!(case.found(&heir, &mut seen).await, case.all(), "{name} again");
    for id in seen.into_keys() {
        heir.finish_job(id).await.unwrap();
    }
}

fn user_event(tenant: TenantId, p: &CreateUser) -> Vec<AuditEvent> {
    vec![event(tenant, Some(p.user.id), "told")]
}
fn ended(p: &CreateUser, below: u64) -> Revocation {
    Revocation::Epoch { user_id: p.user.id, below, keep: None }
}
/// A case whose command `$call` is run with a clone of its arguments; `$done` says whether an outcome is the one that is looked for.
macro_rules! case {
    ($at:expr, $method:ident($($arg:ident),+), $done:pat) => {{
        let args = ($($arg.clone(),)+);
        Case::new($at, move |store, ctx| {
            let ($($arg,)+) = args.clone();
            async move { Ok(matches!(store.$method(&ctx, $($arg),+).await?, $done)) }
        })
    }};
}

const PEOPLE: &[&str] = &[
    "create_user",
    "begin_signup",
    "update_profile",
    "delete_user",
    "change_password",
    "rehash",
    "create_reset_link",
    "complete_reset",
    "create_session",
    "revoke_sessions",
    "confirm_email",
    "confirm_phone",
    "begin_email_change",
    "confirm_email_change",
    "undo_email_change",
    "secure_account",
    "restore_account",
    "sign_in_again",
    "enqueue",
    "write_audit",
];

/// Makes a person's command ready to run.
async fn of_people(name: &str, store: &S, at: Timestamp) -> Case {
    if name == "create_user" {
        let new = newcomer(at);
        let cmd = CreateUser { audit: user_event(new.tenant.id, &new), ..new };
        return case!(at, create_user(cmd), CreateUserOutcome::Created).told(&cmd.audit);
    }
    let p = person(store).await;
    let (user_id, audit, job) = (p.user.id, user_event(p.tenant.id, &p), job(at, p.user.id));
    match name {
        "begin_signup" => {
            let pending = waiting(address(), at);
            case!(at, begin_signup(pending, job), ()).mailed(&job)
        }
        "update_profile" => {
            let cmd = UpdateProfile { user_id, expect_version: 1, display_name: Some("Ada".into()), locale: None };
            case!(at, update_profile(cmd), Cas::Done(_))
        }
        "delete_user" => {
            let cmd = DeleteUser { job: Some(job.clone()), audit, ..delete(&p, 1) };
            case!(at, delete_user(cmd), Cas::Done(DeleteOutcome::Deleted)).told(&cmd.audit).mailed(&job).ends(ended(&p, 2))
        }
        "change_password" => {
            let cmd = ChangePassword { job: Some(job.clone()), audit, ..change_password(&p, 1, "new", None) };
            case!(at, change_password(cmd), Cas::Done(())).told(&cmd.audit).mailed(&job).ends(ended(&p, 2))
        }
        "rehash" => {
            let cmd = Rehash { user_id, expect_hash: hash("first"), new_hash: hash("today") };
            Case::new(at, move |store, ctx| {
                let cmd = cmd.clone();
                async move { store.rehash(&ctx, cmd).await }
            })
        }
        "create_reset_link" => {
            let link = reset_link(&p, 1, at);
            Case::new(at, move |store, ctx| {
                let link = link.clone();
                async move { store.create_reset_link(&ctx, link).await }
            })
        }
        "complete_reset" => {
            let link = linked(store, &p, 1, at).await;
            let cmd = CompleteReset { jobs: vec![job.clone()], audit, ..reset(&link, "reset") };
            case!(at, complete_reset(cmd), Cas::Done(_)).told(&cmd.audit).mailed(&job).ends(ended(&p, 2))
        }
        "create_session" => {
            let cmd = CreateSession { audit, ..sign_in(&p, 1, at) };
            case!(at, create_session(cmd), Cas::Done(())).told(&cmd.audit)
        }
        "revoke_sessions" => {
            let cmd = RevokeSessions { audit, ..revoke(&p, Which::All) };
            case!(at, revoke_sessions(cmd), 1).told(&cmd.audit).ends(Revocation::Session(p.session.id))
        }
        "confirm_email" => {
            let cmd = ConfirmEmail { user_id, epoch: 1, serial: 5, personal: None, audit };
            case!(at, confirm_email(cmd), Cas::Done(())).told(&cmd.audit)
        }
        "confirm_phone" => {
            let cmd = ConfirmPhone { user_id, epoch: 1, serial: 5, phone: phone(), job: Some(job.clone()), audit };
            case!(at, confirm_phone(cmd), Cas::Done(())).told(&cmd.audit).mailed(&job)
        }
        "begin_email_change" => {
            let change = email_change(&p, 1, 5, at);
            case!(at, begin_email_change(change, job), Cas::Done(())).mailed(&job)
        }
        "confirm_email_change" => {
            let change = begun(store, email_change(&p, 1, 5, at)).await;
            let cmd = ConfirmEmailChange { audit, ..confirm_change(&change, None) };
            let case = case!(at, confirm_email_change(cmd), Cas::Done(EmailChangeOutcome::Changed));
            case.told(&cmd.audit).mailed(&cmd.job).ends(ended(&p, 2))
        }
        "undo_email_change" => {
            let link = moved(store, &p, 1, at).await;
            let cmd = UndoEmailChange { job: Some(job.clone()), audit, ..undo(&p, link.id) };
            let case = case!(at, undo_email_change(cmd), Cas::Done(EmailChangeOutcome::Changed));
            case.told(&cmd.audit).mailed(&job).ends(ended(&p, 3))
        }
        "secure_account" => {
            let cmd = SecureAccount { user_id, made_at: T, job: job.clone(), audit };
            case!(at, secure_account(cmd), Cas::Done(())).told(&cmd.audit).mailed(&job).ends(ended(&p, 2))
        }
        "restore_account" => {
            assert_eq!(store.delete_user(&ctx(at), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
            let cmd = RestoreAccount { user_id, epoch: 2, personal: Box::new(p.tenant.clone()), job: job.clone(), audit };
            case!(at, restore_account(cmd), Cas::Done(())).told(&cmd.audit).mailed(&job)
        }
        "sign_in_again" => {
            let cmd = SignInAgain { user_id, session_id: p.session.id, epoch: 1 };
            case!(at, sign_in_again(cmd), Cas::Done(()))
        }
        "enqueue" => case!(at, enqueue(job), ()).mailed(&job),
        "write_audit" => case!(at, write_audit(audit), ()).told(&audit),
        other => panic!("{other}?"),
    }
}

const TENANTS: &[&str] = &[
    "create_tenant",
    "found_tenant",
    "leave_tenant",
    "create_role",
    "give_role",
    "take_role",
    "create_api_key",
    "revoke_api_key",
    "take_over_key",
    "create_member",
    "suspend",
    "set_password",
    "bin",
    "restore",
    "end_sessions",
    "update_tenant",
    "delete_tenant",
    "manage_tenant",
    "make_owner",
    "set_policy",
    "set_domains",
    "create_invite",
    "resend_invite",
    "revoke_invite",
    "accept_invite",
    "decline_invite",
    "import_users",
];

/// Makes a command about a tenant ready to run.
async fn of_tenants(name: &str, store: &S, at: Timestamp) -> Case {
    let (owner, id) = authority::org(store, true).await;
    let (by, boss) = (By::operator(id), in_person(&owner, id));
    let p = person(store).await;
    let (user_id, tenant_id, audit) = (p.user.id, id, user_event(id, &p));
    match name {
        "create_tenant" => {
            let new = organization(&p, at);
            let cmd = CreateTenant { audit: user_event(new.tenant.id, &p), ..new };
            case!(at, create_tenant(cmd), CreateTenantOutcome::Created).told(&cmd.audit)
        }
        "found_tenant" => {
            let new = organization(&p, at);
            let key = Some(key_of(new.tenant.id, None));
            let cmd = FoundTenant { audit: user_event(new.tenant.id, &p), tenant: new.tenant, key, owner: None };
            case!(at, found_tenant(cmd), CreateTenantOutcome::Created).told(&cmd.audit)
        }
        "leave_tenant" => {
            joined(store, id, &p, RoleId::MEMBER).await;
            let cmd = LeaveTenant { audit, ..leaving(&p, id) };
            case!(at, leave_tenant(cmd), LeaveOutcome::Left).told(&cmd.audit)
        }
        "create_role" => {
            let cmd = CreateRole { role: access::role(id, "Extra", &[]), by, audit };
            case!(at, create_role(cmd), Ok(CreateRoleOutcome::Created)).told(&cmd.audit)
        }
        "give_role" => {
            joined(store, id, &p, RoleId::MEMBER).await;
            // Who can give roles has a proved address.
            prove(store, user_id).await;
            let cmd = ChangeRole { audit, ..authority::of_role(by, &p, RoleId::ADMIN) };
            case!(at, give_role(cmd), ChangeRoleOutcome::Done).told(&cmd.audit)
        }
        "take_role" => {
            joined(store, id, &p, RoleId::OWNER).await;
            let cmd = ChangeRole { audit, personal: Some(spare()), ..authority::of_role(by, &owner, RoleId::OWNER) };
            case!(at, take_role(cmd), ChangeRoleOutcome::Removed).told(&cmd.audit)
        }
        "create_api_key" => {
            let cmd = CreateApiKey { key: key_of(id, None), by, audit };
            case!(at, create_api_key(cmd), CreateApiKeyOutcome::Created).told(&cmd.audit)
        }
        "revoke_api_key" => {
            let key = keyed(store, key_of(id, None), by).await;
            let cmd = RevokeApiKey { tenant_id, key_id: key.id, by, audit };
            case!(at, revoke_api_key(cmd), Ok(Cas::Done(_))).told(&cmd.audit).ends(Revocation::ApiKey(key.id))
        }
        "take_over_key" => {
            joined(store, id, &p, RoleId::ADMIN).await;
            let key = keyed(store, key_of(id, Some(user_id)), in_person(&p, id)).await;
            assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, id)).await.unwrap(), LeaveOutcome::Left);
            let cmd = TakeOverKey { key_id: key.id, by: boss, audit };
            case!(at, take_over_key(cmd), Cas::Done(TakeOverOutcome::Taken)).told(&cmd.audit)
        }
        "create_member" => {
            let new = authority::newcomer_to(id, RoleId::MEMBER);
            let cmd = CreateMember { audit, ..authority::making(&new, by, true) };
            case!(at, create_member(cmd), CreateMemberOutcome::Created).told(&cmd.audit)
        }
        "suspend" | "set_password" | "bin" | "restore" | "end_sessions" => of_members(name, store, at, id).await,
        "update_tenant" => {
            let was = store.tenant(id).await.unwrap().unwrap();
            let (slug, metadata) = (format!("new-{}", was.slug), was.metadata);
            let cmd = UpdateTenant { tenant_id, expect_version: was.version, name: "New".into(), slug, metadata, by, audit };
            case!(at, update_tenant(cmd), Ok(UpdateTenantOutcome::Done)).told(&cmd.audit)
        }
        "delete_tenant" => {
            let key = keyed(store, key_of(id, None), by).await;
            let cmd = DeleteTenant { tenant_id, by, audit };
            case!(at, delete_tenant(cmd), Ok(Cas::Done(()))).told(&cmd.audit).ends(Revocation::ApiKey(key.id))
        }
        "manage_tenant" => {
            let cmd = ManageTenant { tenant_id, managed: false, audit };
            case!(at, manage_tenant(cmd), Cas::Done(())).told(&cmd.audit)
        }
        "make_owner" => {
            joined(store, id, &p, RoleId::MEMBER).await;
            let cmd = MakeOwner { tenant_id, user_id, audit };
            case!(at, make_owner(cmd), Cas::Done(())).told(&cmd.audit)
        }
        "set_policy" => {
            let was = store.tenant(id).await.unwrap().unwrap();
            let cmd = SetPolicy { tenant_id, expect_version: was.version, policy: was.policy, by, audit };
            case!(at, set_policy(cmd), Ok(Cas::Done(()))).told(&cmd.audit)
        }
        "set_domains" => {
            // One that another tenant has, and loses by it.
            let (_, loser) = authority::org(store, true).await;
            let name = domains::some_name();
            let theirs = domains::set_to(store, By::operator(loser), vec![domains::entered(&name, DomainStatus::Proved)]).await;
            assert_eq!(domains::set(store, &theirs).await, SetDomainsOutcome::Done);
            let cmd = domains::set_to(store, by, vec![domains::entered(&name, DomainStatus::Proved)]).await;
            let displaces = Some(Displaced { name, tenant_id: loser, audit: user_event(loser, &p) });
            let cmd = SetDomains { displaces, audit, ..cmd };
            case!(at, set_domains(cmd), Ok(SetDomainsOutcome::Done)).told(&cmd.audit)
        }
        _ => of_invites(name, store, at).await,
    }
}

async fn of_members(name: &str, store: &S, at: Timestamp, tenant: TenantId) -> Case {
    let account = authority::account(store, tenant, RoleId::MEMBER, true).await;
    let (by, id, job) = (By::operator(tenant), account.user.id, job(at, account.user.id));
    let mut ends = Some(ended(&account, 2));
    let mut mailed = None;
    let what = match name {
        "suspend" => authority::with_status(&user(store, id).await, UserStatus::Suspended),
        "set_password" => {
            mailed = Some(job.clone());
            MemberChange::SetPassword { hash: hash("set"), must_change: false, job: Some(job) }
        }
        "bin" => authority::bin(),
        "restore" => {
            assert!(matches!(authority::change(store, id, by, authority::bin()).await, MemberOutcome::Done { .. }));
            (ends, mailed) = (None, Some(job.clone()));
            MemberChange::Restore { job: Some(job) }
        }
        _ => {
            ends = None;
            MemberChange::EndSessions
        }
    };
    let cmd = ChangeMember { user_id: id, by, what, audit: user_event(tenant, &account) };
    let mut case = case!(at, change_member(cmd), MemberOutcome::Done { .. }).told(&cmd.audit);
    case.job = mailed.map(|job| job.id);
    case.ended = ends.into_iter().collect();
    case
}

async fn of_invites(name: &str, store: &S, at: Timestamp) -> Case {
    let id = company(store).await.1.id;
    let (by, p) = (By::operator(id), person(store).await);
    prove(store, p.user.id).await;
    let (audit, job) = (user_event(id, &p), job(at, p.user.id));
    let i = invite(id, p.user.email.clone(), at);
    if name == "import_users" {
        let new = authority::newcomer_to(id, RoleId::MEMBER);
        let row = ImportUser { user: new.user.clone(), role: RoleId::MEMBER, job: Some(job.clone()), audit };
        let cmd = ImportUsers { tenant_id: id, by, users: vec![row.clone()], step: None, audit: vec![] };
        return case!(at, import_users(cmd), ImportOutcome::Done(_)).told(&row.audit).mailed(&job);
    }
    if name == "create_invite" {
        let cmd = CreateInvite { by, invite: i, job: Some(job.clone()), audit };
        return case!(at, create_invite(cmd), CreateInviteOutcome::Created).told(&cmd.audit).mailed(&job);
    }
    let Invite { id: invite_id, tenant_id, serial, inviter, inviter_key, .. } = invited(store, i).await;
    match name {
        "resend_invite" => {
            let (expect_serial, expires_at, sent) = (serial, at.plus(days(8)), Some(job.clone()));
            let cmd = ResendInvite { tenant_id, invite_id, expect_serial, expires_at, by, inviter, inviter_key, job: sent, audit };
            case!(at, resend_invite(cmd), Cas::Done(ResendOutcome::Sent)).told(&cmd.audit).mailed(&job)
        }
        "revoke_invite" => {
            let cmd = RevokeInvite { tenant_id, invite_id, by, audit };
            case!(at, revoke_invite(cmd), Ok(RevokeOutcome::Revoked)).told(&cmd.audit)
        }
        "accept_invite" => {
            let joins = Joins::Account { user_id: p.user.id, epoch: 1, mailbox: Mailbox::ProvedBefore, sign_in: None };
            let cmd = AcceptInvite { tenant_id, invite_id, serial, joins, personal: Some(spare()), audit };
            case!(at, accept_invite(cmd), AcceptOutcome::Joined).told(&cmd.audit)
        }
        "decline_invite" => {
            let cmd = DeclineInvite { tenant_id, invite_id, user_id: p.user.id, audit };
            case!(at, decline_invite(cmd), Cas::Done(())).told(&cmd.audit)
        }
        other => panic!("{other}?"),
    }
}

async fn of(names: &[&str], era_of_its_own: u32, reach: Reach) {
    let alone: S = Arc::new(store().await);
    let (at, _alone) = era(&alone, era_of_its_own).await;
    for name in names {
        println!("{name}");
        at_points_of(
            (WAYS, Points::Writes, reach),
            Heir::Sweeps,
            async |store| {
                if PEOPLE.contains(name) { of_people(name, &store, at).await } else { of_tenants(name, &store, at).await }
            },
            |store, case: Case| async move { (case.run)(store, case.ctx).await },
            async |heir, case, out| check(name, heir, case, out).await,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_reset_and_a_revoked_key_comes_with_it() {
    of(&["complete_reset", "revoke_api_key"], 34, Reach::Few).await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_follows_a_command_of_a_person_comes_with_it() {
        of(PEOPLE, 35, Reach::All).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_follows_a_command_about_a_tenant_comes_with_it() {
        of(TENANTS, 36, Reach::All).await;
    }
}
