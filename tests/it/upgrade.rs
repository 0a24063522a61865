//! Installations of former versions (`tests/rows`), taken into use by this one.

use crate::support::{
    app::{App, command, fresh_password},
    stack::{Place, address, cql},
};
use qeetid::sqlite::rusqlite;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The secret of all samples.
fn secret() -> String {
    "5a".repeat(32)
}

fn sample(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rows/2026-11-30").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A server on a SQLite file of the former version, and what is in that.
async fn embedded(dir: &Path) -> (App, Value) {
    std::fs::create_dir_all(dir).unwrap();
    let file = rusqlite::Connection::open(dir.join("qeetid.db")).unwrap();
    file.execute_batch(&sample("sqlite.sql")).unwrap();
    drop(file);
    let app = App::builder().data_dir(dir).on(&Place::default()).env("QEETID_SECRET", secret()).start().await;
    (app, serde_json::from_str(&sample("sqlite.json")).unwrap())
}

/// A server on a keyspace of the former version, and what is in that.
async fn distributed() -> (App, Value, String) {
    let (place, dir) = (Place::distributed(), tempfile::tempdir().unwrap());
    let migrate = || {
        let mut migrate = command(&[]);
        migrate.arg("migrate").envs(place.env.iter().cloned()).env("QEETID_DATA_DIR", dir.path());
        let output = migrate.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let keyspace = place.keyspace().unwrap().to_owned();
    migrate();
    // The schema is only added to: rows of before fit into that of today. What ran then, and no more, is noted.
    cql(&address("QEETID_TEST_CQL"), &format!("TRUNCATE {keyspace}.schema_migrations")).unwrap();
    for statement in sample("cassandra.cql").lines() {
        cql(&address("QEETID_TEST_CQL"), &statement.replacen("{ks}", &keyspace, 1)).unwrap_or_else(|e| panic!("{e}: {statement}"));
    }
    let told = migrate();
    let app = App::builder().on(&place).start().await;
    (app, serde_json::from_str(&sample("cassandra.json")).unwrap(), told)
}

/// Keys that end with the upgrade: their makers are gone, and nothing shows that the operator made them.
const ENDED_KEYS: [&str; 2] = ["henry_key", "ops_child_key"];

/// What the former version would have answered, but for those keys.
async fn everybody_is_there(app: &App, sample: &Value) {
    for (name, person) in sample["people"].as_object().unwrap() {
        let (Some(email), Some(password)) = (person["email"].as_str(), person["password"].as_str()) else { continue };
        let reply = app.login(email, password).await;
        assert_eq!(u64::from(reply.status), person["login"].as_u64().unwrap(), "{name}: {}", reply.text);
    }
    for (name, key) in sample["keys"].as_object().unwrap() {
        let me = app.send_key(Method::GET, "/v1/auth/me", key["secret"].as_str().unwrap(), None).await;
        let works = key["works"] == true && !ENDED_KEYS.contains(&name.as_str());
        assert_eq!(me.status, if works { 200 } else { 401 }, "{name}: {}", me.text);
    }
    let oscar = &sample["people"]["oscar"];
    app.refresh(oscar["refresh_token"].as_str().unwrap()).await.expect(200);
    let ada = &sample["people"]["ada"];
    let token = app.login(ada["email"].as_str().unwrap(), ada["password"].as_str().unwrap()).await.expect(200).str("access_token");
    let acme = sample["tenants"]["Acme"]["id"].as_str().unwrap();
    let there = app.post_as(&token, "/v1/auth/switch-tenant", json!({"tenant_id": acme})).await.expect(200).str("access_token");
    let policy = app.get_as(&there, &format!("/v1/tenants/{acme}/auth-policy")).await.expect(200);
    for (field, value) in sample["tenants"]["Acme"]["policy"].as_object().unwrap() {
        assert_eq!(&policy.body[field], value, "{field}");
    }
    let mut members: Vec<String> = Vec::new();
    let list = app.get_as(&there, "/v1/users?limit=200").await.expect(200);
    members.extend(list.body["items"].as_array().unwrap().iter().map(|u| u["email"].as_str().unwrap().to_owned()));
    for email in sample["tenants"]["Acme"]["members"].as_array().unwrap() {
        assert!(members.contains(&email.as_str().unwrap().to_owned()), "{email} in {members:?}");
    }
    let output = app.command().args(["audit", "verify"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Organizations of before have no power over credentials until the operator says so; what the operator's command made has it.
async fn power_is_where_the_operator_has_put_it(app: &App, sample: &Value, told: &str) {
    let (ada, bob) = (&sample["people"]["ada"], &sample["people"]["bob"]);
    let acme = sample["tenants"]["Acme"]["id"].as_str().unwrap();
    let token = app.login(ada["email"].as_str().unwrap(), ada["password"].as_str().unwrap()).await.expect(200).str("access_token");
    let there = app.post_as(&token, "/v1/auth/switch-tenant", json!({"tenant_id": acme})).await.expect(200).str("access_token");
    let set = async || {
        let path = format!("/v1/users/{}/password", bob["user_id"].as_str().unwrap());
        app.post_as(&there, &path, json!({"password": fresh_password()})).await
    };
    assert!(told.contains("power over credentials"), "{told}");
    let list = app.command().args(["tenant", "list"]).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let line = |tenant: &str| list.lines().find(|l| l.contains(tenant)).unwrap_or_else(|| panic!("{tenant} in {list}")).to_owned();
    assert!(!line(acme).contains("managed"), "{list}");
    assert!(line(sample["tenants"]["Ops"]["id"].as_str().unwrap()).contains("managed"), "{list}");
    let refused = set().await.refused(403, "forbidden");
    assert!(refused.text.contains("no power over credentials"), "{}", refused.text);
    let manage = app.command().args(["tenant", "manage", acme]).output().unwrap();
    assert!(manage.status.success(), "{}", String::from_utf8_lossy(&manage.stderr));
    set().await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_former_version_is_taken_into_use() {
    let dir = tempfile::tempdir().unwrap();
    let (app, sample) = embedded(&dir.path().join("data")).await;
    everybody_is_there(&app, &sample).await;
    power_is_where_the_operator_has_put_it(&app, &sample, &app.output()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_the_former_version_is_taken_into_use() {
    let (app, sample, told) = distributed().await;
    everybody_is_there(&app, &sample).await;
    power_is_where_the_operator_has_put_it(&app, &sample, &told).await;
}
