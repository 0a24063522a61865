use super::*;
use crate::{
    domain::{
        audit::AuditEvent,
        authority::By,
        context::Actor,
        ids::{RoleId, TenantId, UserId},
    },
    sqlite::{OptionalExtension, params, rusqlite},
    store::{
        Store,
        commands::*,
        conformance::{
            audit::{linked_up, walked},
            fixture::*,
            store_conformance_suite,
        },
    },
};
use std::sync::Arc;

async fn store() -> (SqliteStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = File::open(&dir.path().join("t.db"), 2).unwrap();
    (SqliteStore::open(file).await.unwrap(), dir)
}

async fn make() -> (S, tempfile::TempDir) {
    let (store, dir) = store().await;
    (Arc::new(store), dir)
}

/// The trait has no command yet that gives an organization a second member.
async fn join(raw: &SqliteStore, user: UserId, tenant: TenantId, roles: &'static [RoleId]) {
    let joining = move |c: &Connection| {
        let at = T.plus(secs(1)).millis();
        let ids = params![user.as_bytes(), tenant.as_bytes(), at];
        c.execute("INSERT INTO memberships (user_id, tenant_id, joined_at) VALUES (?1, ?2, ?3)", ids)?;
        for role in roles {
            let ids = [user.as_bytes(), tenant.as_bytes(), role.as_bytes()];
            c.execute("INSERT INTO member_roles (user_id, tenant_id, role_id) VALUES (?1, ?2, ?3)", ids)?;
        }
        Ok(())
    };
    raw.write(joining).await.unwrap();
}

mod conformance {
    use super::*;
    store_conformance_suite!(make().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_becomes_a_store_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(File::open(&dir.path().join("t.db"), 1).unwrap());
    open().await.unwrap();
    let store = open().await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.outbox_counts().await.unwrap(), Default::default());
}

/// An organization of `owner`.
async fn organization_of(store: &S, owner: &CreateUser) -> TenantId {
    let cmd = organization(owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    cmd.tenant.id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_of_others_can_neither_go_nor_leave() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let (owner, member, second) = (person(&store).await, person(&store).await, person(&store).await);
    let tenant_id = organization_of(&store, &owner).await;
    join(&raw, member.user.id, tenant_id, &[RoleId::MEMBER]).await;
    let leave = async |p: &CreateUser| {
        let cmd = LeaveTenant { user_id: p.user.id, tenant_id, personal: spare(), audit: vec![] };
        store.leave_tenant(&ctx(T), cmd).await.unwrap()
    };
    let last = Cas::Done(DeleteOutcome::LastOwner);
    assert_eq!(store.delete_user(&ctx(T), delete(&owner, 1)).await.unwrap(), last);
    assert_eq!(user(&store, owner.user.id).await, owner.user, "nothing was written");
    assert_eq!(leave(&owner).await, LeaveOutcome::LastOwner);
    // With a second owner either may leave; one in the recycle bin doesn't count.
    join(&raw, second.user.id, tenant_id, &[RoleId::OWNER]).await;
    assert_eq!(store.delete_user(&ctx(T), delete(&second, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!(store.delete_user(&ctx(T), delete(&owner, 1)).await.unwrap(), last);
    assert_eq!(leave(&owner).await, LeaveOutcome::LastOwner);
    // The member leaves: his session there dies, the one at home doesn't, and he signs in at home again.
    let at = T.plus(secs(2));
    let cmd = CreateSession { session: session(member.user.id, tenant_id, 1, at), network: HOME, is_login: false, audit: vec![] };
    assert_eq!(store.create_session(&ctx(at), cmd.clone()).await.unwrap(), Cas::Done(()));
    assert_eq!(leave(&member).await, LeaveOutcome::Left);
    assert!(!lives(&store, &cmd.session).await && refused(&store, &cmd.session).await);
    assert!(lives(&store, &member.session).await && !refused(&store, &member.session).await);
    assert_eq!(user(&store, member.user.id).await.last_tenant, None);
    assert_eq!(store.membership(member.user.id, tenant_id).await.unwrap(), None);
    assert_eq!(leave(&member).await, LeaveOutcome::NotMember);
    // Nobody living is left behind, so the owner may go.
    assert_eq!(store.delete_user(&ctx(T), delete(&owner, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_proof_by_a_reset_takes_no_role_from_others() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let (owner, stranger, plain) = (person(&store).await, person(&store).await, person(&store).await);
    let (mine, his) = (organization_of(&store, &owner).await, organization_of(&store, &stranger).await);
    join(&raw, stranger.user.id, mine, &[RoleId::OWNER, RoleId::ADMIN]).await;
    join(&raw, plain.user.id, mine, &[RoleId::ADMIN]).await;
    join(&raw, owner.user.id, his, &[RoleId::MEMBER]).await;
    let link = linked(&store, &owner, 1, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "x")).await.unwrap(), Cas::Done(_)));
    let roles = async |user: &CreateUser, tenant| store.membership(user.user.id, tenant).await.unwrap().unwrap().roles;
    assert_eq!(roles(&stranger, mine).await, [RoleId::OWNER, RoleId::ADMIN], "whoever made the account may be the stranger");
    assert_eq!(roles(&owner, mine).await, [RoleId::OWNER]);
    assert_eq!(roles(&plain, mine).await, [RoleId::ADMIN], "not an owner");
    assert_eq!(roles(&stranger, his).await, [RoleId::OWNER], "not a tenant of the user");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_events_come_with_their_command_or_not_at_all() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let p = person(&store).await;
    let event = || AuditEvent {
        actor: Actor::User(p.user.id),
        network: Some(AWAY),
        request_id: Some("r-1".into()),
        ..event(p.tenant.id, Some(p.user.id), "password.changed")
    };
    let count = || raw.get(|c| c.query_row("SELECT count(*) FROM audit", [], |r| r.get::<_, i64>(0))).unwrap();
    let cmd = |epoch| ChangePassword { audit: vec![event(), event()], ..change_password(&p, epoch, "x", None) };
    assert_eq!(store.change_password(&ctx(T), cmd(9)).await.unwrap(), Cas::Stale);
    assert_eq!(count(), 0);
    let (ctx_again, again) = (ctx(T), cmd(1));
    for _ in 0..2 {
        assert_eq!(store.change_password(&ctx_again, again.clone()).await.unwrap(), Cas::Done(()));
        assert_eq!(count(), 2, "a rerun writes none");
    }
    let nothing = RevokeSessions { audit: vec![event()], ..revoke(&p, Which::All) };
    assert_eq!(store.revoke_sessions(&ctx(T), nothing).await.unwrap(), 0);
    assert_eq!(count(), 2, "no session was alive");
    let row = raw.get(|c| {
        c.query_row("SELECT actor, actor_id, user_id, network, request_id, at FROM audit LIMIT 1", [], |r| {
            Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?, r.get::<_, Vec<u8>>(3)?, r.get::<_, String>(4)?, r.get::<_, i64>(5)?))
        })
    });
    let id = *p.user.id.as_bytes();
    assert_eq!(row.unwrap(), ("user".into(), id, id, AWAY.as_bytes().to_vec(), "r-1".into(), T.millis()));
}

/// As an older version left the events of before, and those that it linked.
#[tokio::test(flavor = "multi_thread")]
async fn audit_events_of_format_1_stay_whole() {
    const AS_OF_OLD: &str = "UPDATE audit SET format = 1, resource_type = NULL, changed = NULL, user_agent = NULL, agent_seal = NULL";
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let (tenant, who) = (tenant_id(), user_id());
    let write = async || {
        let e = event(tenant, Some(who), "user.updated").changing(["phone"]);
        let e = AuditEvent { actor: Actor::User(who), user_agent: Some("agent".into()), ..e };
        store.write_audit(&ctx(T), vec![e]).await.unwrap();
    };
    let run = async |sql: &'static str| assert!(raw.write(move |c| c.execute(sql, [])).await.unwrap() > 0);
    write().await;
    write().await;
    run(AS_OF_OLD).await;
    let old = store.audit_events(tenant, None, 9).await.unwrap();
    assert!(old.iter().all(|(e, _)| e.format == 1 && e.resource_type.is_none() && e.changed.is_empty() && e.agent_seal.is_none()));
    linked_up(&store).await;
    assert_eq!(walked(&store, tenant).await.len(), 2);
    // The last link of format 1 may be that of an event of format 2.
    run("UPDATE audit SET format = 2, resource_type = 'user', changed = '[\"phone\"]', user_agent = 'agent', agent_seal = randomblob(16)
         WHERE seq = 2")
    .await;
    write().await;
    linked_up(&store).await;
    assert_eq!(walked(&store, tenant).await.len(), 3);
    store.erase_from_audit(who).await.unwrap();
    assert_eq!(walked(&store, tenant).await.len(), 3);
    let shown = store.audit_events(tenant, None, 9).await.unwrap();
    assert!(shown.iter().all(|(e, _)| e.actor_id.is_none() && e.user_id.is_none() && e.user_agent.is_none()), "{shown:?}");
    let sealed = |seq| shown.iter().find(|(e, _)| e.seq == Some(seq)).unwrap().0.agent_seal.map(|seal| seal.is_erased());
    assert_eq!([1, 2, 3].map(sealed), [None, Some(true), Some(true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_newer_version_holds_up_no_other() {
    let (raw, _dir) = store().await;
    let t = T;
    raw.write(move |c| {
        let ids = params![[9u8; 16], t.millis()];
        let sql = "INSERT INTO outbox VALUES (?1, '{\"kind\":\"pigeon\"}', ?2, 0, ?2, 0, NULL)";
        c.execute(sql, ids)
    })
    .await
    .unwrap();
    let job = job(t, user_id());
    raw.enqueue(&ctx(t), job.clone()).await.unwrap();
    let leased = raw.lease_jobs(t, secs(60), 10).await.unwrap();
    assert_eq!(leased.into_iter().map(|j| j.id).collect::<Vec<_>>(), [job.id]);
    assert_eq!(raw.outbox_counts().await.unwrap(), OutboxCounts { pending: 2, parked: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn records_hold_no_personal_data_and_no_hash() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let p = person(&store).await;
    let name = || Some("Planted Name".to_owned());
    let cmd = UpdateProfile { user_id: p.user.id, expect_version: 1, display_name: name(), locale: None };
    assert!(matches!(store.update_profile(&ctx(T), cmd).await.unwrap(), Cas::Done(u) if u.display_name == name()));
    let moved = moved(&store, &p, 1, T).await;
    assert!(matches!(store.undo_email_change(&ctx(T), undo(&p, moved.id)).await.unwrap(), Cas::Done(_)));
    let records: Vec<String> =
        raw.get(|c| c.prepare("SELECT outcome FROM commands")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()).unwrap();
    assert!(records.len() >= 4);
    assert!(records.iter().all(|r| r.len() < 60 && !r.contains("Planted") && !r.contains("argon2") && !r.contains('@')), "{records:?}");
}

/// Statements that run often or hold up all writers: none may read a whole table.
#[tokio::test(flavor = "multi_thread")]
async fn sweeps_and_lookups_go_by_index() {
    let (raw, _dir) = store().await;
    for sql in [
        "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = ?1 AND s.id = ?2",
        "SELECT id FROM users WHERE email_digest >= ?1 ORDER BY email_digest LIMIT 1",
        "DELETE FROM sessions WHERE (user_id, id) IN (SELECT user_id, id FROM sessions WHERE sweep_day <= ?1 LIMIT ?2)",
        "DELETE FROM reset_links WHERE (user_id, id) IN (SELECT user_id, id FROM reset_links WHERE sweep_at <= ?1 LIMIT ?2)",
        "DELETE FROM commands WHERE rowid IN (SELECT rowid FROM commands WHERE at <= ?1 LIMIT ?2)",
        "SELECT id FROM invites WHERE tenant_id = ?1 AND status = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4",
        "SELECT i.id FROM invites i JOIN tenants t ON t.id = i.tenant_id WHERE i.email_digest = ?1 AND i.status = 'pending'",
        "UPDATE invites SET status = 'revoked' WHERE inviter = ?1 AND status IN ('pending', 'expired')",
        "DELETE FROM invites WHERE rowid IN (SELECT rowid FROM invites WHERE sweep_at <= ?1 AND status <> 'pending' LIMIT ?2)",
        "SELECT id FROM outbox WHERE parked = 0 AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
        "SELECT user_id FROM member_roles WHERE tenant_id = ?1 AND role_id = ?2 AND user_id <> ?3",
        "SELECT user_id FROM memberships WHERE tenant_id = ?1 AND user_id > ?2 ORDER BY user_id LIMIT 50",
        admin::BY_STATUS,
        admin::BY_TERM,
    ] {
        let plan: Vec<String> = raw
            .get(|c| {
                let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let n = plan.parameter_count();
                plan.query_map(rusqlite::params_from_iter(vec![1; n]), |r| r.get(3))?.collect::<rusqlite::Result<_>>()
            })
            .unwrap();
        assert!(!plan.is_empty() && plan.iter().all(|step| !step.starts_with("SCAN")), "{sql}: {plan:?}");
    }
    let foreign_keys = raw.write(|c| c.query_row("PRAGMA foreign_key_check", [], |_| Ok(())).optional()).await.unwrap();
    assert_eq!(foreign_keys, None);
}

/// SQLite would plan by the values of parameters and parse this join anew at each run: 25 µs instead of 6.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_is_parsed_once() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    for _ in 0..3 {
        let p = person(&store).await;
        assert!(lives(&store, &p.session).await);
    }
    let (runs, parsed) = raw
        .get(|c| {
            let view = c.prepare_cached(sessions::VIEW)?;
            Ok((view.get_status(rusqlite::StatementStatus::Run), view.get_status(rusqlite::StatementStatus::RePrepare)))
        })
        .unwrap();
    assert!(runs >= 3 && parsed == 0, "{runs} runs, parsed anew {parsed} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_field_of_a_newer_version_survives() {
    let (raw, _dir) = store().await;
    let store: S = Arc::new(raw.clone());
    let p = person(&store).await;
    let id = p.tenant.id;
    let planted = r#"{"password_min_length": 9, "of_tomorrow": {"kept": [1, 2]}}"#;
    raw.write(move |c| c.execute("UPDATE tenants SET policy = ?2 WHERE id = ?1", params![id.as_bytes(), planted])).await.unwrap();
    let read = store.tenant(id).await.unwrap().unwrap();
    assert_eq!(read.policy.password_min_length, 9);
    let policy = crate::domain::policy::AuthPolicy { password_min_length: 20, ..read.policy };
    let set = crate::store::policy::SetPolicy {
        tenant_id: id,
        expect_version: read.version,
        policy: policy.clone(),
        by: By::operator(id),
        audit: vec![],
    };
    assert_eq!(store.set_policy(&ctx(T), set).await.unwrap(), Ok(Cas::Done(())));
    let text: String = raw.get(|c| c.query_row("SELECT policy FROM tenants WHERE id = ?1", [id.as_bytes()], |row| row.get(0))).unwrap();
    assert!(text.contains(r#""of_tomorrow":{"kept":[1,2]}"#), "{text}");
    assert_eq!(store.tenant(id).await.unwrap().unwrap().policy, policy);
}
