//! What a recovery ends, however much there is of it; and commands about a tenant, asked for by those who may no longer.

use super::{
    access::role,
    authority::*,
    fixture::*,
    keys_of_makers::{plan, row},
    members::joined,
};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::{Authority, By, Denied, Permitted},
        ids::{RoleId, TenantId},
        invite::{Invite, InviteStatus},
        permission::Permission,
        policy::AuthPolicy,
        time::Timestamp,
    },
    store::{access::*, admin::*, commands::*, invites::*, policy::SetPolicy},
};

/// An invite that somebody makes in person.
async fn offered(store: &S, by: &CreateUser, tenant: TenantId, at: Timestamp) -> Invite {
    let cmd = offer(in_person(by, tenant), by.user.id);
    let cmd = CreateInvite { invite: Invite { created_at: at, ..cmd.invite }, ..cmd };
    assert_eq!(store.create_invite(&ctx(at), cmd.clone()).await.unwrap(), CreateInviteOutcome::Created);
    cmd.invite
}

pub(crate) async fn a_recovery_ends_however_many_keys_and_invites(store: S) {
    many(store, 100).await;
}

/// So many keys in each of two tenants, some of them ended, and so many invites: none keeps the account from its owner.
pub(crate) async fn many(store: S, n: usize) {
    let ((boss, tenant), p) = (org(&store, true).await, person(&store).await);
    joined(&store, tenant, &p, RoleId::ADMIN).await;
    let since = T.plus(secs(60));
    let key = |tenant, at| ApiKey { created_at: at, ..plan(tenant, Some(p.user.id)) };
    let (mut ended, mut keys, mut invites) = (vec![], vec![], vec![]);
    let before = keyed(&store, key(tenant, T), in_person(&p, tenant)).await;
    for n in 0..n {
        for tenant in [tenant, p.tenant.id] {
            keys.push(keyed(&store, key(tenant, since), in_person(&p, tenant)).await);
        }
        if n % 4 == 0 {
            let key_id = keys.pop().unwrap().id;
            let revoke = RevokeApiKey { tenant_id: p.tenant.id, key_id, by: in_person(&p, p.tenant.id), audit: vec![] };
            assert_eq!(store.revoke_api_key(&ctx(T), revoke).await.unwrap(), Ok(Cas::Done(vec![key_id])));
            ended.push(key_id);
        }
        invites.push(offered(&store, &p, tenant, since).await);
    }
    let secure = SecureAccount { user_id: p.user.id, made_at: since, job: job(T, p.user.id), audit: vec![] };
    assert_eq!(store.secure_account(&ctx(since.plus(secs(1))), secure).await.unwrap(), Cas::Done(()));
    for key in &keys {
        assert!(row(&store, key).await.revoked_at.is_some());
    }
    assert_eq!(row(&store, &before).await.revoked_at, None);
    for invite in &invites {
        let found = store.invite(tenant, invite.id).await.unwrap().unwrap();
        assert_eq!(found.status, InviteStatus::Revoked);
    }
    assert_eq!(store.invites(tenant, Some(InviteStatus::Pending), None, 2000, since).await.unwrap(), []);
    // Their purge leaves nobody's name on those that ended before, either.
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 2)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    while store.purge_overdue(&ctx(T.plus(days(31))), p.user.id, vec![]).await.unwrap() != Cas::Done(()) {}
    let nobodys = async || store.api_keys(tenant, None, 2000).await.unwrap().iter().all(|k| k.user_id.is_none());
    // Of very many, the rest follows.
    let begun = std::time::Instant::now();
    while !nobodys().await {
        assert!(begun.elapsed() < secs(300), "the purge does not end");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(store.user(boss.user.id).await.unwrap().map(|u| u.id), Some(boss.user.id));
}

/// What was offered again since a break-in goes, by whomever it had been made; what was offered before it stays, and so does what is offered
/// after the recovery.
pub(crate) async fn a_recovery_takes_back_what_was_sent_again_since(store: S) {
    let ((boss, tenant), p) = (org(&store, true).await, person(&store).await);
    joined(&store, tenant, &p, RoleId::ADMIN).await;
    let (long_ago, since) = (T, T.plus(secs(3600)));
    let offered = async |by: &CreateUser| offered(&store, by, tenant, long_ago).await;
    let again = async |i: &Invite, by: &CreateUser, epoch_of: By, at: Timestamp| {
        let (serial, inviter) = (store.invite(tenant, i.id).await.unwrap().unwrap().serial, Some(by.user.id));
        let cmd = ResendInvite {
            tenant_id: tenant,
            invite_id: i.id,
            expect_serial: serial,
            expires_at: at.plus(days(7)),
            by: epoch_of,
            inviter,
            inviter_key: None,
            job: None,
            audit: vec![],
        };
        store.resend_invite(&ctx(at), cmd).await.unwrap()
    };
    const SENT: Cas<ResendOutcome> = Cas::Done(ResendOutcome::Sent);
    let (kept, own, other) = (offered(&p).await, offered(&p).await, offered(&boss).await);
    for i in [&own, &other] {
        assert_eq!(again(i, &p, in_person(&p, tenant), since).await, SENT);
    }
    // One that the boss takes over after that is theirs.
    let boss_s = offered(&p).await;
    assert_eq!(again(&boss_s, &p, in_person(&p, tenant), since).await, SENT);
    assert_eq!(again(&boss_s, &boss, in_person(&boss, tenant), since.plus(secs(1))).await, SENT);
    for round in 1..=12 {
        // More than are kept apart; each covers what the one before did.
        let at = since.plus(secs(round * 60));
        let secure =
            SecureAccount { user_id: p.user.id, made_at: if round == 1 { since } else { at }, job: job(T, p.user.id), audit: vec![] };
        assert_eq!(store.secure_account(&ctx(at.plus(secs(1))), secure).await.unwrap(), Cas::Done(()));
    }
    let now = since.plus(secs(3600));
    for (i, status) in
        [(&kept, InviteStatus::Pending), (&own, InviteStatus::Revoked), (&other, InviteStatus::Revoked), (&boss_s, InviteStatus::Pending)]
    {
        assert_eq!(store.invite(tenant, i.id).await.unwrap().unwrap().status, status);
        let open = store.open_invite(&i.email.digest(), i.id, now).await.unwrap();
        assert_eq!(open.is_some(), status == InviteStatus::Pending);
        if status == InviteStatus::Revoked {
            assert_eq!(again(i, &boss, in_person(&boss, tenant), now).await, Cas::Stale);
        }
    }
    // Whoever has the account again offers as before.
    let session = signed_in(&store, &p, user(&store, p.user.id).await.credential_epoch, now).await;
    let by = By { tenant_id: tenant, authority: Authority::Person { user: p.user.id, session: session.id } };
    assert_eq!(again(&kept, &p, by, now).await, SENT);
    assert_eq!(store.invite(tenant, kept.id).await.unwrap().unwrap().status, InviteStatus::Pending);
}

/// Every command about a tenant, in somebody's name: whether all were done, or why each was not; then nothing was written.
async fn commands(store: &S, by: By, n: usize, key: &ApiKey, invite: &Invite) -> Permitted<()> {
    let tenant_id = by.tenant_id;
    let version = store.tenant(tenant_id).await.unwrap().unwrap().version;
    let told = |what| vec![event(tenant_id, None, what)];
    let before = store.audit_events(tenant_id, None, 99).await.unwrap().len();
    let create = CreateRole { role: role(tenant_id, &format!("Role {n}"), &[Permission::UserRead]), by, audit: told("role.created") };
    let policy = AuthPolicy { invite_ttl_hours: 7, ..AuthPolicy::default() };
    let set = SetPolicy { tenant_id, expect_version: version, policy, by, audit: told("policy.changed") };
    let update = |expect_version| UpdateTenant {
        tenant_id,
        expect_version,
        name: format!("Name {n}"),
        slug: format!("s-{tenant_id}"),
        metadata: Default::default(),
        by,
        audit: told("tenant.updated"),
    };
    let revoke = RevokeApiKey { tenant_id, key_id: key.id, by, audit: told("api_key.revoked") };
    let take_back = RevokeInvite { tenant_id, invite_id: invite.id, by, audit: told("invite.revoked") };
    let role = store.create_role(&ctx(T), create).await.unwrap().map(|o| assert_eq!(o, CreateRoleOutcome::Created));
    let set = store.set_policy(&ctx(T), set).await.unwrap().map(|o| assert_eq!(o, Cas::Done(())));
    let next = version + u64::from(set.is_ok());
    let updated = store.update_tenant(&ctx(T), update(next)).await.unwrap().map(|o| assert_eq!(o, UpdateTenantOutcome::Done));
    let revoked = store.revoke_api_key(&ctx(T), revoke).await.unwrap().map(|o| assert_eq!(o, Cas::Done(vec![key.id])));
    let taken = store.revoke_invite(&ctx(T), take_back).await.unwrap().map(|o| assert_eq!(o, RevokeOutcome::Revoked));
    let all = [role, set, updated, revoked, taken];
    assert!(all.iter().all(|one| *one == role), "{all:?}");
    let written = store.audit_events(tenant_id, None, 99).await.unwrap().len() - before;
    assert_eq!(written, if role.is_ok() { 5 } else { 0 });
    role
}

pub(crate) async fn commands_about_a_tenant_ask_who_may(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (former, plain) = (member(&store, tenant, RoleId::OWNER, true).await, member(&store, tenant, RoleId::MEMBER, true).await);
    let mine = ApiKey { scopes: [Permission::UserRead].into_iter().collect(), ..plan(tenant, Some(owner.user.id)) };
    let (mine, theirs) = (keyed(&store, mine, in_person(&owner, tenant)).await, in_person(&former, tenant));
    let (key, invite) = (keyed(&store, plan(tenant, None), By::operator(tenant)).await, offered(&store, &owner, tenant, T).await);
    let delete = async |by: By| {
        let cmd = DeleteTenant { tenant_id: tenant, by, audit: vec![] };
        store.delete_tenant(&ctx(T), cmd).await.unwrap()
    };
    // Demoted since their request was let in.
    assert_eq!(give(&store, By::operator(tenant), &former, RoleId::MEMBER).await, ChangeRoleOutcome::Done);
    assert_eq!(take(&store, By::operator(tenant), &former, RoleId::OWNER).await, ChangeRoleOutcome::Done);
    let elsewhere = By { tenant_id: tenant, ..in_person(&person(&store).await, tenant) };
    for by in [theirs, in_person(&plain, tenant), through(&mine), elsewhere] {
        assert_eq!(commands(&store, by, 1, &key, &invite).await, Err(Denied::NoPermission));
        assert_eq!(delete(by).await, Err(Denied::NoPermission));
    }
    // Signed out since.
    let gone = member(&store, tenant, RoleId::OWNER, true).await;
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&gone, Which::All)).await.unwrap(), 1);
    assert_eq!(commands(&store, in_person(&gone, tenant), 2, &key, &invite).await, Err(Denied::NoPermission));
    assert_eq!(delete(in_person(&gone, tenant)).await, Err(Denied::NoPermission));
    // Nobody makes a role of more than they hold.
    let desk = custom(&store, tenant, "Desk", &[Permission::RoleWrite]).await.id;
    assert_eq!(give(&store, By::operator(tenant), &plain, desk).await, ChangeRoleOutcome::Done);
    let more = CreateRole { role: role(tenant, "More", &[Permission::ApiKeyWrite]), by: in_person(&plain, tenant), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), more).await.unwrap(), Err(Denied::NoPermission));
    assert_eq!(commands(&store, in_person(&owner, tenant), 3, &key, &invite).await, Ok(()));
    // A key deletes no tenant, whatever it may do.
    let all = ApiKey { scopes: crate::domain::permission::PermissionSet::all(), ..plan(tenant, None) };
    let all = keyed(&store, all, By::operator(tenant)).await;
    assert_eq!(delete(through(&all)).await, Err(Denied::InPerson));
    assert_eq!(delete(in_person(&owner, tenant)).await, Ok(Cas::Done(())));
    assert_eq!(delete(in_person(&owner, tenant)).await, Ok(Cas::Stale));
}
