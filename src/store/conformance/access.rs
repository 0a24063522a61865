//! Roles and API keys; `members` has what needs several members.

use super::fixture::*;
use crate::{
    domain::{
        api_key::{self, ApiKey, Origin},
        authority::By,
        ids::{ApiKeyId, RoleId, TenantId, UserId},
        permission::{Permission, PermissionSet, Role},
        rng::SystemRng,
        tenant::TenantKind,
    },
    store::{access::*, commands::*},
};

pub(crate) fn role(tenant: TenantId, name: &str, allows: &[Permission]) -> Role {
    Role {
        id: role_id(),
        tenant_id: Some(tenant),
        name: name.into(),
        description: Some("What for.".into()),
        permissions: allows.iter().copied().collect(),
        created_at: Some(T),
    }
}
async fn made(store: &S, role: Role) -> Role {
    let cmd = CreateRole { role: role.clone(), by: By::operator(role.tenant_id.unwrap()), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), cmd).await.unwrap(), Ok(CreateRoleOutcome::Created));
    role
}
pub(crate) fn key(tenant: TenantId) -> ApiKey {
    key_of(tenant, Some(user_id()))
}
/// A key that `user_id` made.
pub(crate) fn key_of(tenant: TenantId, user_id: Option<UserId>) -> ApiKey {
    let (prefix, secret_digest, _) = api_key::generate(&SystemRng);
    ApiKey {
        id: api_key_id(),
        tenant_id: tenant,
        origin: if user_id.is_some() { Origin::User } else { Origin::Operator },
        parent_id: None,
        stopped_at: None,
        taken_over_at: None,
        user_id,
        name: "Billing".into(),
        prefix,
        secret_digest,
        scopes: [Permission::UserRead, Permission::UserWrite].into_iter().collect(),
        expires_at: Some(T.plus(days(90))),
        last_used_at: None,
        revoked_at: None,
        created_at: T,
    }
}
/// A key of the command line that may do everything in a tenant, for what somebody must have given.
pub(crate) async fn giver(store: &S, tenant: TenantId) -> ApiKeyId {
    keyed(store, ApiKey { scopes: PermissionSet::all(), expires_at: None, ..key_of(tenant, None) }).await.id
}
async fn keyed(store: &S, key: ApiKey) -> ApiKey {
    let cmd = CreateApiKey { by: By::operator(key.tenant_id), key: key.clone(), audit: vec![] };
    assert_eq!(store.create_api_key(&ctx(T), cmd).await.unwrap(), CreateApiKeyOutcome::Created);
    key
}
/// An organization, and who owns it.
async fn owned(store: &S) -> (CreateUser, TenantId) {
    let owner = person(store).await;
    let cmd = organization(&owner, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    (owner, cmd.tenant.id)
}
/// Names of the tenant's events, in no order.
async fn events(store: &S, tenant: TenantId) -> Vec<String> {
    store.audit_events(tenant, None, 200).await.unwrap().into_iter().map(|(e, _)| e.event).collect()
}

pub(crate) async fn a_grant_is_what_all_roles_allow_together(store: S) {
    let (owner, tenant) = owned(&store).await;
    let grant = store.grant(owner.user.id, tenant).await.unwrap().unwrap();
    assert_eq!((grant.roles, grant.permissions, grant.place.kind), (vec![RoleId::OWNER], PermissionSet::all(), TenantKind::Organization));
    let home = store.grant(owner.user.id, owner.tenant.id).await.unwrap().unwrap();
    assert_eq!(home.place.kind, TenantKind::Personal);
    let stranger = person(&store).await;
    assert_eq!(store.grant(stranger.user.id, tenant).await.unwrap(), None);
    assert_eq!(store.grant(owner.user.id, tenant_id()).await.unwrap(), None);
}

pub(crate) async fn roles_are_listed_by_name(store: S) {
    let (_, tenant) = owned(&store).await;
    let b = made(&store, role(tenant, "Support", &[Permission::UserRead])).await;
    let a = made(&store, role(tenant, "Billing", &[])).await;
    assert_eq!(store.roles(tenant).await.unwrap(), [a, b], "every field survives");
    assert_eq!(store.roles(tenant_id()).await.unwrap(), []);
}

pub(crate) async fn a_name_is_taken_once(store: S) {
    let ((_, tenant), (_, other)) = (owned(&store).await, owned(&store).await);
    made(&store, role(tenant, "Support", &[])).await;
    for name in ["support", "SUPPORT", "owner", "Admin", "member"] {
        let cmd = CreateRole { role: role(tenant, name, &[]), by: By::operator(tenant), audit: vec![event(tenant, None, "role.created")] };
        assert_eq!(store.create_role(&ctx(T), cmd).await.unwrap(), Ok(CreateRoleOutcome::NameTaken), "{name}");
    }
    assert_eq!(events(&store, tenant).await, [""; 0]);
    made(&store, role(other, "Support", &[])).await;
    let outcomes = at_once(16, |_| {
        let store = store.clone();
        async move {
            store
                .create_role(&ctx(T), CreateRole { role: role(tenant, "Sales", &[]), by: By::operator(tenant), audit: vec![] })
                .await
                .unwrap()
        }
    });
    assert_eq!(count(&outcomes.await, &Ok(CreateRoleOutcome::Created)), 1);
    assert_eq!(store.roles(tenant).await.unwrap().len(), 2);
}

pub(crate) async fn a_tenant_has_at_most_100_roles(store: S) {
    let (_, tenant) = owned(&store).await;
    for n in 0..100 {
        made(&store, role(tenant, &format!("r{n}"), &[])).await;
    }
    let one_more = CreateRole { role: role(tenant, "one more", &[]), by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), one_more).await.unwrap(), Ok(CreateRoleOutcome::TooMany));
}

pub(crate) async fn roles_are_given_and_taken(store: S) {
    let (owner, tenant) = owned(&store).await;
    let extra = made(&store, role(tenant, "Extra", &[Permission::AuditRead])).await;
    let foreign = made(&store, role(owned(&store).await.1, "Foreign", &[])).await;
    let change = |role_id, name| ChangeRole {
        user_id: owner.user.id,
        tenant_id: tenant,
        role_id,
        by: By::operator(tenant),
        personal: None,
        audit: vec![event(tenant, None, name)],
    };
    let give = async |id| store.give_role(&ctx(T), change(id, "role.given")).await.unwrap();
    let take = async |id| store.take_role(&ctx(T), change(id, "role.taken")).await.unwrap();
    let roles = async || store.membership(owner.user.id, tenant).await.unwrap().unwrap().roles;
    assert_eq!(give(foreign.id).await, ChangeRoleOutcome::NoRole);
    assert_eq!(take(role_id()).await, ChangeRoleOutcome::NoRole);
    let stranger = person(&store).await;
    let cmd = ChangeRole { user_id: stranger.user.id, ..change(extra.id, "x") };
    assert_eq!(store.give_role(&ctx(T), cmd.clone()).await.unwrap(), ChangeRoleOutcome::NotMember);
    assert_eq!(store.take_role(&ctx(T), cmd).await.unwrap(), ChangeRoleOutcome::NotMember);
    let version = user(&store, owner.user.id).await.version;
    for _ in 0..2 {
        assert_eq!(give(extra.id).await, ChangeRoleOutcome::Done);
    }
    assert_eq!(roles().await, [RoleId::OWNER, extra.id]);
    assert_eq!(take(RoleId::OWNER).await, ChangeRoleOutcome::LastOwner);
    for _ in 0..2 {
        assert_eq!(take(extra.id).await, ChangeRoleOutcome::Done);
    }
    assert_eq!(roles().await, [RoleId::OWNER]);
    assert_eq!(take(RoleId::OWNER).await, ChangeRoleOutcome::LastOwner);
    let mut told = events(&store, tenant).await;
    told.sort();
    assert_eq!(told, ["role.given", "role.taken"], "only what changed something");
    assert!(user(&store, owner.user.id).await.version > version, "whoever decided on the old roles decides again");
}

pub(crate) async fn every_field_of_a_key_survives(store: S) {
    let (_, tenant) = owned(&store).await;
    let key = keyed(&store, key(tenant)).await;
    assert_eq!(store.api_key(&key.prefix).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_key("nobodyhasit2").await.unwrap(), None);
    let nowhere = CreateApiKey { key: self::key(tenant_id()), by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.create_api_key(&ctx(T), nowhere).await.unwrap(), CreateApiKeyOutcome::NoTenant);
}

pub(crate) async fn keys_are_listed_newest_first(store: S) {
    let ((_, tenant), (_, other)) = (owned(&store).await, owned(&store).await);
    keyed(&store, key(other)).await;
    let mut all = vec![];
    for n in 0..5u8 {
        let id = ApiKeyId::from_bytes([n; 16]);
        all.insert(0, keyed(&store, ApiKey { id: if n == 4 { api_key_id() } else { unlike(id) }, ..key(tenant) }).await);
    }
    all.sort_by_key(|k| std::cmp::Reverse(k.id));
    assert_eq!(store.api_keys(tenant, None, 50).await.unwrap(), all);
    assert_eq!(store.api_keys(tenant, None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.api_keys(tenant, Some(all[1].id), 2).await.unwrap(), all[2..4]);
    assert_eq!(store.api_keys(tenant, Some(all[4].id), 2).await.unwrap(), []);
}
/// As small as `id`, but nobody else's.
fn unlike(id: ApiKeyId) -> ApiKeyId {
    let (mut small, fresh) = (*id.as_bytes(), api_key_id());
    small[1..].copy_from_slice(&fresh.as_bytes()[1..]);
    ApiKeyId::from_bytes(small)
}

pub(crate) async fn a_revoked_key_is_told_to_all_nodes_once(store: S) {
    let ((_, tenant), (_, other)) = (owned(&store).await, owned(&store).await);
    let key = keyed(&store, key(tenant)).await;
    let foreign =
        RevokeApiKey { tenant_id: other, key_id: key.id, by: By::operator(other), audit: vec![event(other, None, "api_key.revoked")] };
    assert_eq!(store.revoke_api_key(&ctx(T), foreign).await.unwrap(), Ok(Cas::Stale));
    assert_eq!(store.api_key(&key.prefix).await.unwrap(), Some(key.clone()));
    let revoke = move |key_id| RevokeApiKey {
        tenant_id: tenant,
        key_id,
        by: By::operator(tenant),
        audit: vec![event(tenant, None, "api_key.revoked")],
    };
    let outcomes = at_once(16, |n| {
        let store = store.clone();
        let at = T.plus(secs(n as u64));
        async move { store.revoke_api_key(&ctx(at), revoke(key.id)).await.unwrap() }
    });
    let outcomes = outcomes.await;
    assert_eq!((count(&outcomes, &Ok(Cas::Done(vec![key.id]))), count(&outcomes, &Ok(Cas::Done(vec![])))), (1, 15));
    let first = store.api_key(&key.prefix).await.unwrap().unwrap().revoked_at.expect("revoked");
    assert_eq!(store.revoke_api_key(&ctx(T.plus(days(1))), revoke(key.id)).await.unwrap(), Ok(Cas::Done(vec![])));
    assert_eq!(store.api_key(&key.prefix).await.unwrap().unwrap().revoked_at, Some(first), "the first time stays");
    assert_eq!(count(&revocations(&store).await, &Revocation::ApiKey(key.id)), 1);
    assert_eq!(events(&store, tenant).await, ["api_key.revoked"]);
    assert_eq!(store.revoke_api_key(&ctx(T), revoke(api_key_id())).await.unwrap(), Ok(Cas::Stale));
}

pub(crate) async fn uses_only_move_on(store: S) {
    let (_, tenant) = owned(&store).await;
    let key = keyed(&store, key(tenant)).await;
    for (at, noted) in [(60, 60), (120, 120), (90, 120)] {
        store.touch_api_key(key.id, T.plus(secs(at))).await.unwrap();
        assert_eq!(store.api_key(&key.prefix).await.unwrap().unwrap().last_used_at, Some(T.plus(secs(noted))));
    }
    store.touch_api_key(api_key_id(), T).await.unwrap();
}

pub(crate) async fn a_tenant_has_at_most_1000_live_keys(store: S) {
    let (_, tenant) = owned(&store).await;
    keyed(&store, ApiKey { expires_at: Some(T), ..key(tenant) }).await;
    let mut last = keyed(&store, key(tenant)).await;
    for _ in 1..1000 {
        last = keyed(&store, key(tenant)).await;
    }
    let one_more = || CreateApiKey { key: key(tenant), by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.create_api_key(&ctx(T), one_more()).await.unwrap(), CreateApiKeyOutcome::TooMany);
    let revoke = RevokeApiKey { tenant_id: tenant, key_id: last.id, by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.revoke_api_key(&ctx(T), revoke).await.unwrap(), Ok(Cas::Done(vec![last.id])));
    assert_eq!(store.create_api_key(&ctx(T), one_more()).await.unwrap(), CreateApiKeyOutcome::Created);
}

pub(crate) async fn a_tenant_is_founded_with_its_key(store: S) {
    let tenant = tenant(TenantKind::Organization, T);
    let found = || FoundTenant {
        tenant: tenant.clone(),
        key: Some(key(tenant.id)),
        owner: None,
        audit: vec![event(tenant.id, None, "tenant.created")],
    };
    let (cmd, first) = (found(), ctx(T));
    for _ in 0..2 {
        assert_eq!(store.found_tenant(&first, cmd.clone()).await.unwrap(), CreateTenantOutcome::Created, "a rerun changes nothing");
        assert_eq!(store.tenant(tenant.id).await.unwrap(), Some(tenant.clone()));
        assert_eq!(store.api_keys(tenant.id, None, 9).await.unwrap(), std::slice::from_ref(cmd.key.as_ref().unwrap()));
        assert_eq!(events(&store, tenant.id).await, ["tenant.created"]);
    }
    assert_eq!(store.tenant_by_slug(&tenant.slug).await.unwrap(), Some(tenant.clone()));
    assert_eq!(store.tenant_by_slug("nobody-has-this-slug").await.unwrap(), None);
    let again = found();
    assert_eq!(store.found_tenant(&ctx(T), again.clone()).await.unwrap(), CreateTenantOutcome::SlugTaken);
    assert_eq!(store.api_key(&again.key.as_ref().unwrap().prefix).await.unwrap(), None, "nothing was written");
}

/// Each command again with its id: the first outcome, no second row, no second event.
pub(crate) async fn reruns_give_the_first_outcome(store: S) {
    let (owner, tenant) = owned(&store).await;
    let told = |name| vec![event(tenant, None, name)];
    let extra = role(tenant, "Extra", &[]);
    let create = CreateRole { role: extra.clone(), by: By::operator(extra.tenant_id.unwrap()), audit: told("role.created") };
    let change = |name| ChangeRole {
        user_id: owner.user.id,
        tenant_id: tenant,
        role_id: extra.id,
        by: By::operator(tenant),
        personal: None,
        audit: told(name),
    };
    let key = key(tenant);
    let make = CreateApiKey { by: By::operator(key.tenant_id), key: key.clone(), audit: told("api_key.created") };
    let revoke = RevokeApiKey { tenant_id: tenant, key_id: key.id, by: By::operator(tenant), audit: told("api_key.revoked") };
    let (a, b, c, d, e) = (ctx(T), ctx(T), ctx(T), ctx(T), ctx(T));
    let (given, taken) = (change("role.given"), change("role.taken"));
    for _ in 0..3 {
        assert_eq!(store.create_role(&a, create.clone()).await.unwrap(), Ok(CreateRoleOutcome::Created));
        assert_eq!(store.give_role(&b, given.clone()).await.unwrap(), ChangeRoleOutcome::Done);
        assert_eq!(store.create_api_key(&d, make.clone()).await.unwrap(), CreateApiKeyOutcome::Created);
    }
    assert_eq!(store.membership(owner.user.id, tenant).await.unwrap().unwrap().roles, [RoleId::OWNER, extra.id]);
    for _ in 0..3 {
        assert_eq!(store.take_role(&c, taken.clone()).await.unwrap(), ChangeRoleOutcome::Done);
        assert_eq!(store.revoke_api_key(&e, revoke.clone()).await.unwrap(), Ok(Cas::Done(vec![key.id])));
        assert_eq!(store.give_role(&b, given.clone()).await.unwrap(), ChangeRoleOutcome::Done);
    }
    assert_eq!(store.membership(owner.user.id, tenant).await.unwrap().unwrap().roles, [RoleId::OWNER], "a rerun gives nothing back");
    let mut told = events(&store, tenant).await;
    told.sort();
    assert_eq!(told, ["api_key.created", "api_key.revoked", "role.created", "role.given", "role.taken"]);
    assert_eq!(count(&revocations(&store).await, &Revocation::ApiKey(key.id)), 1);
}
