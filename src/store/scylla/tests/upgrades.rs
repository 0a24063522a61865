//! Two versions on one keyspace: what a newer one wrote survives this one's writes.

use super::*;
use crate::{
    domain::{
        authority::By,
        ids::{ApiKeyId, TenantId},
        policy::AuthPolicy,
    },
    store::{access::*, conformance::access::key, policy::SetPolicy},
};
use serde_json::{Value, json};

/// Puts fields of tomorrow into every object of every row of a unit.
async fn touched_by_a_newer_version(raw: &ScyllaStore, unit: &Unit, kinds: &[&str]) {
    for kind in kinds {
        for read in raw.engine.cql.scan(unit, kind, &[]).await.unwrap() {
            let Ok(mut body @ Value::Object(_)) = serde_json::from_str::<Value>(&read.body) else { continue };
            plant(&mut body);
            let seen = raw.engine.cql.head(unit, true).await.unwrap().version;
            let change = change::Change::Commit {
                seen,
                version: seen.unwrap_or(0) + 1,
                tx: uuid::Uuid::from_bytes(crate::domain::rng::bytes(&crate::domain::rng::SystemRng)),
                todo: None,
            };
            let write = change::Write { name: read.name, body: Some(body.to_string()), ttl: 0 };
            assert_eq!(raw.engine.cql.change(unit, &change, &[write]).await.unwrap(), change::Answer::Applied);
        }
    }
}

fn plant(value: &mut Value) {
    if let Value::Object(fields) = value {
        for (name, inner) in fields.iter_mut() {
            // Structs; what else is an object is a choice of an enum, or free.
            if ["user", "session", "policy", "code_serials"].contains(&name.as_str()) {
                plant(inner);
            }
        }
        fields.insert("of_tomorrow".into(), json!({"kept": true}));
    }
}

/// How many fields of tomorrow the rows of a unit hold.
async fn planted(raw: &ScyllaStore, unit: &Unit, kinds: &[&str]) -> usize {
    let mut found = 0;
    for kind in kinds {
        for read in raw.engine.cql.scan(unit, kind, &[]).await.unwrap() {
            found += read.body.matches("of_tomorrow").count();
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_of_rows_survive_the_writes_of_this_version() {
    let raw = store().await;
    let store: S = Arc::new(raw.clone());
    let p = person(&store).await;
    let org = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), org.clone()).await.unwrap(), CreateTenantOutcome::Created);
    let tenant: TenantId = org.tenant.id;
    let made = CreateApiKey { key: key(tenant), by: crate::domain::authority::By::operator(tenant), audit: vec![] };
    let key_id: ApiKeyId = made.key.id;
    assert_eq!(store.create_api_key(&ctx(T), made).await.unwrap(), CreateApiKeyOutcome::Created);

    let (user, place) = (Unit::user(p.user.id), Unit::tenant(tenant));
    let (of_user, of_tenant) = ([accounts::ACCOUNT, sessions::SESSION, tenants::MEMBER], [tenants::TENANT, api_keys::KEY]);
    touched_by_a_newer_version(&raw, &user, &of_user).await;
    touched_by_a_newer_version(&raw, &place, &of_tenant).await;
    let (before_user, before_tenant) = (planted(&raw, &user, &of_user).await, planted(&raw, &place, &of_tenant).await);
    assert!(before_user >= 4 && before_tenant >= 3, "{before_user}, {before_tenant}");

    // Commands that write each of those rows.
    let version = super::user(&store, p.user.id).await.version;
    let profile = UpdateProfile { user_id: p.user.id, expect_version: version, display_name: Some("New".into()), locale: None };
    assert!(matches!(store.update_profile(&ctx(T), profile).await.unwrap(), Cas::Done(_)));
    assert_eq!(store.rotate_session(&ctx(T), rotate(&p.session, 0, 1)).await.unwrap(), Cas::Done(()));
    let changed = change_password(&p, 1, "second", Some(p.session.id));
    assert_eq!(store.change_password(&ctx(T), changed).await.unwrap(), Cas::Done(()));
    let policy = AuthPolicy { password_min_length: 20, ..AuthPolicy::default() };
    let version = store.tenant(tenant).await.unwrap().unwrap().version;
    let set = SetPolicy { tenant_id: tenant, expect_version: version, policy: policy.clone(), by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.set_policy(&ctx(T), set).await.unwrap(), Ok(Cas::Done(())));
    let revoke = RevokeApiKey { tenant_id: tenant, key_id, by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.revoke_api_key(&ctx(T), revoke).await.unwrap(), Ok(Cas::Done(vec![key_id])));

    let now = super::user(&store, p.user.id).await;
    assert_eq!((now.display_name.as_deref(), now.credential_epoch), (Some("New"), 2), "and what was to be written is");
    assert_eq!(store.tenant(tenant).await.unwrap().unwrap().policy, policy);
    assert!(store.api_keys(tenant, None, 9).await.unwrap()[0].revoked_at.is_some());
    assert_eq!(planted(&raw, &user, &of_user).await, before_user);
    assert_eq!(planted(&raw, &place, &of_tenant).await, before_tenant);
}
