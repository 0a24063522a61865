//! Installations of former versions (`tests/rows`), taken into use by this one.

use crate::support::{
    app::{App, command},
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
async fn distributed() -> (App, Value) {
    let (place, dir) = (Place::distributed(), tempfile::tempdir().unwrap());
    let migrate = || {
        let mut migrate = command(&[]);
        migrate.arg("migrate").envs(place.env.iter().cloned()).env("QEETID_DATA_DIR", dir.path());
        let output = migrate.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let keyspace = place.keyspace().unwrap().to_owned();
    migrate();
    // The schema is only added to: rows of before fit into that of today. What ran then, and no more, is noted.
    cql(&address("QEETID_TEST_CQL"), &format!("TRUNCATE {keyspace}.schema_migrations")).unwrap();
    for statement in sample("cassandra.cql").lines() {
        cql(&address("QEETID_TEST_CQL"), &statement.replacen("{ks}", &keyspace, 1)).unwrap_or_else(|e| panic!("{e}: {statement}"));
    }
    migrate();
    let app = App::builder().on(&place).start().await;
    (app, serde_json::from_str(&sample("cassandra.json")).unwrap())
}

/// What the former version would have answered.
async fn everybody_is_there(app: &App, sample: &Value) {
    for (name, person) in sample["people"].as_object().unwrap() {
        let (Some(email), Some(password)) = (person["email"].as_str(), person["password"].as_str()) else { continue };
        let reply = app.login(email, password).await;
        assert_eq!(u64::from(reply.status), person["login"].as_u64().unwrap(), "{name}: {}", reply.text);
    }
    for (name, key) in sample["keys"].as_object().unwrap() {
        let me = app.send_key(Method::GET, "/v1/auth/me", key["secret"].as_str().unwrap(), None).await;
        assert_eq!(me.status == 200, key["works"] == true, "{name}: {}", me.text);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_former_version_is_taken_into_use() {
    let dir = tempfile::tempdir().unwrap();
    let (app, sample) = embedded(&dir.path().join("data")).await;
    everybody_is_there(&app, &sample).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_the_former_version_is_taken_into_use() {
    let (app, sample) = distributed().await;
    everybody_is_there(&app, &sample).await;
}
