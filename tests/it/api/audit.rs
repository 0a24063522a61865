//! The audit list, and the chain that shows whether anybody changed it.

use crate::{
    api::until,
    support::app::{Account, App},
};
use qeetid::sqlite::rusqlite::Connection;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    process::Output,
    time::{Duration, Instant},
};

fn verify(app: &App, more: &[&str]) -> Output {
    app.command().args(["audit", "verify"]).args(more).output().unwrap()
}
fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
/// The chains must be whole.
#[track_caller]
fn whole(app: &App) -> String {
    let output = verify(app, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), String::from_utf8_lossy(&output.stderr));
    out(&output)
}
/// All events of the tenant.
async fn all(app: &App, who: &Account) -> Vec<Value> {
    list(app, who, "?limit=200").await
}
fn have_links(events: &[Value]) -> bool {
    events.iter().all(|e| e["seq"].is_u64() && e["hash"].is_string())
}
/// Waits until all events of the tenant have their links.
async fn linked(app: &App, who: &Account) -> Vec<Value> {
    until("unlinked", async || all(app, who).await, |events| have_links(events)).await
}
async fn list(app: &App, who: &Account, query: &str) -> Vec<Value> {
    let page = app.get_as(&who.access, &format!("/v1/tenants/{}/audit{query}", who.tenant_id)).await.expect(200);
    page.body["items"].as_array().unwrap().clone()
}
fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["event"].as_str().unwrap()).collect()
}
fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|e| e["event"] == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_listed_newest_first_with_who_where_and_in_which_request() {
    let app = App::new().await;
    let who = app.signup().await;
    let create = json!({"name": "k", "scopes": ["audit.read"]});
    let request = app.request(Method::POST, "/v1/api-keys").bearer_auth(&who.access).header("x-request-id", "asked-by-test").json(&create);
    let key = app.run(request.header("user-agent", "test-agent")).await.unwrap().expect(201);
    let secret = key.str("secret");
    app.login(&who.email, &who.password).await.expect(200);
    let events = list(&app, &who, "").await;
    assert_eq!(names(&events), ["session.started", "api_key.created", "user.signed_up"]);
    let e = &events[1];
    assert_eq!(e["actor"], json!({"type": "user", "id": who.user_id}));
    assert_eq!((&e["network"], &e["request_id"], &e["erased"]), (&json!("127.0.0.1"), &json!("asked-by-test"), &json!(false)));
    assert_eq!((&e["tenant_id"], &events[2]["user_id"]), (&json!(who.tenant_id), &json!(who.user_id)));
    assert_eq!((&e["user_agent"], &e["changed"]), (&json!("test-agent"), &json!([])));
    assert_eq!((&e["resource_type"], &e["resource_id"]), (&json!("api_key"), &key.body["api_key"]["id"]));
    assert_eq!((&events[2]["resource_type"], &events[2]["resource_id"]), (&json!("user"), &json!(who.user_id)));
    assert_eq!((&events[0]["resource_type"], events[0]["resource_id"].is_string()), (&json!("session"), true));
    // A server reads it, too, and stands in it as what it is.
    let path = format!("/v1/tenants/{}/audit", who.tenant_id);
    let page = app.send_key(Method::GET, &path, &secret, None).await.expect(200);
    assert_eq!(page.body["items"].as_array().unwrap().len(), 3);
    // By pages, each event once.
    let (mut seen, mut cursor) = (vec![], String::new());
    loop {
        let page = app.get_as(&who.access, &format!("{path}?limit=2{cursor}")).await.expect(200);
        seen.extend(page.body["items"].as_array().unwrap().iter().map(|e| e["id"].clone()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, events.iter().map(|e| e["id"].clone()).collect::<Vec<_>>());
    app.get_as(&who.access, &format!("{path}?limit=0")).await.refused(422, "validation_failed");
    app.get_as(&who.access, &format!("{path}?cursor=AAAA")).await.refused(400, "invalid_cursor");
    let other = app.signup().await;
    app.get_as(&other.access, &path).await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_the_lock_are_told_and_do_not_fill_the_list() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__WRONG_PASSWORDS", "14/15m").start().await;
    let who = app.signup().await;
    for _ in 0..14 {
        app.login(&who.email, "not the password").await.refused(401, "invalid_credentials");
        app.login("nobody@example.com", "not the password").await.refused(401, "invalid_credentials");
    }
    for _ in 0..3 {
        app.login(&who.email, &who.password).await.refused(429, "account_locked");
    }
    // The signed-in person's own try counts with them.
    let change = json!({"current_password": "not it", "new_password": "violet anchor meadow 93"});
    app.post_as(&who.access, "/v1/auth/password", change).await.refused(429, "account_locked");
    let told = |events: &[Value]| (count(events, "sign_in.refused"), count(events, "sign_in.locked"));
    until("not told", async || all(&app, &who).await, |events| told(events).0 >= 10 && told(events).1 >= 1).await;
    // Once what was refused afterwards is told, all of these are that will be.
    let other = app.signup().await;
    app.login(&other.email, "not the password").await.refused(401, "invalid_credentials");
    until("not told", async || all(&app, &other).await, |events| told(events).0 == 1).await;
    let events = all(&app, &who).await;
    assert_eq!((told(&events), count(&events, "user.signed_up")), ((10, 1), 1), "{:?}", names(&events));
    let refused = events.iter().find(|e| e["event"] == "sign_in.refused").unwrap();
    assert_eq!(
        (&refused["actor"]["type"], &refused["user_id"], &refused["network"]),
        (&json!("anonymous"), &json!(who.user_id), &json!("127.0.0.1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_linked_also_through_a_kill() {
    let mut app = App::own().await;
    let who = app.signup().await;
    let first = linked(&app, &who).await;
    assert_eq!(first[0]["seq"], 1);
    for _ in 0..3 {
        // Killed at any moment of the chainer's second, with events that wait.
        for _ in 0..5 {
            app.login(&who.email, &who.password).await.expect(200);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.restart().await;
    }
    let events = linked(&app, &who).await;
    assert_eq!(events.len(), 16);
    let mut places: Vec<_> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=16).collect::<Vec<_>>(), "one chain, each event once");
    assert_eq!(events.last().unwrap()["hash"], first[0]["hash"], "what was linked stays");
    let said = whole(&app);
    assert!(said.contains(&format!("{}: whole, 16 events", who.tenant_id)) && said.contains(" chains, 0 broken"), "{said}");
    let last = events.iter().find(|e| e["seq"] == 16).unwrap();
    assert!(said.contains(last["hash"].as_str().unwrap()), "the head: {said}");
}

/// The file is changed behind the service.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_changes_the_file_is_found_out() {
        let mut app = App::own().await;
        let (who, other) = (app.signup().await, app.signup().await);
        for _ in 0..5 {
            app.login(&who.email, &who.password).await.expect(200);
        }
        linked(&app, &who).await;
        linked(&app, &other).await;
        whole(&app);
        app.kill9();
        let file = app.data_dir().join("qeetid.db");
        let at = |seq: u64| format!("tenant_id = x'{}' AND seq = {seq}", who.tenant_id.replace('-', ""));
        let place = |seq: u64| format!("BROKEN at {seq} ");
        let tampering = [
            (format!("UPDATE audit SET event = 'x.y' WHERE {}", at(3)), place(3)),
            (format!("UPDATE audit SET at = at + 1 WHERE {}", at(2)), place(2)),
            (format!("UPDATE audit SET network = x'01020304' WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET user_id = NULL WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET actor = 'system', actor_id = NULL WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET subject_seal = randomblob(32), user_id = NULL WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET resource_type = 'role' WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET resource_id = randomblob(16) WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET changed = '[\"name\"]' WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET user_agent = 'another' WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET agent_seal = randomblob(16) WHERE {}", at(4)), place(4)),
            (format!("UPDATE audit SET format = 1 WHERE {}", at(4)), place(4)),
            (format!("DELETE FROM audit WHERE {}", at(5)), place(5)),
            (format!("DELETE FROM audit_chain WHERE {}", at(1)), place(2)),
            (format!("DELETE FROM audit_chain WHERE {}", at(6)), place(6).trim_end().into()),
            (format!("DELETE FROM audit_chain WHERE {0}; DELETE FROM audit WHERE {0}", at(6)), place(6).trim_end().into()),
            (format!("UPDATE audit_heads SET seq = 5 WHERE {}", at(6)), place(5).trim_end().into()),
            (format!("DELETE FROM audit_heads WHERE {}", at(6)), place(0).trim_end().into()),
            (format!("UPDATE audit_chain SET link = randomblob(32) WHERE {}", at(3)), place(3)),
            (format!("UPDATE audit SET seq = 7 WHERE {}", at(3)), place(3)),
            // An event slipped in, that says it was linked.
            (
                format!(
                    "INSERT INTO audit (tenant_id, id, event, actor, actor_id, user_id, network, request_id, at, actor_seal, subject_seal, \
                     seq, format, agent_seal) SELECT tenant_id, randomblob(16), event, actor, actor_id, user_id, network, request_id, at, \
                     actor_seal, subject_seal, seq, format, agent_seal FROM audit WHERE {}",
                    at(3)
                ),
                "BROKEN (event".into(),
            ),
        ];
        for (sql, found) in tampering {
            let connection = Connection::open(&file).unwrap();
            let copy = app.data_dir().join("before.db");
            // WAL is read in first: the copy holds everything.
            connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
            connection.execute_batch(&sql).unwrap();
            assert!(connection.changes() > 0, "{sql} changed nothing");
            drop(connection);
            let output = verify(&app, &[]);
            let said = out(&output);
            assert_eq!(output.status.code(), Some(1), "{sql}: {said}");
            let line = said.lines().find(|l| l.contains(&who.tenant_id)).unwrap_or_else(|| panic!("{sql}: {said}"));
            assert!(line.contains(&found), "{sql}: {found:?} not in {line}");
            assert!(said.lines().any(|l| l.contains(&other.tenant_id) && l.contains("whole")), "{sql}: {said}");
            // The other tenant's alone is whole.
            assert_eq!(verify(&app, &["--tenant", &other.tenant_id]).status.code(), Some(0));
            assert_eq!(verify(&app, &["--tenant", &who.tenant_id]).status.code(), Some(1));
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(app.data_dir().join(format!("qeetid.db{end}")));
            }
            std::fs::rename(&copy, &file).unwrap();
        }
        whole(&app);
    }
}

/// The promise is five seconds.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn events_are_linked_within_five_seconds_also_after_a_kill() {
        let mut app = App::own().await;
        let who = app.signup().await;
        let linked = async |app: &App| {
            let start = Instant::now();
            loop {
                let asked = start.elapsed();
                let events = all(app, &who).await;
                if have_links(&events) {
                    return;
                }
                assert!(asked < Duration::from_secs(5), "unlinked after {asked:?}: {events:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        linked(&app).await;
        for round in 1..=3 {
            for _ in 0..5 {
                app.login(&who.email, &who.password).await.expect(200);
            }
            // Any moment of the chainer's second is right.
            tokio::time::sleep(Duration::from_millis(round * 250)).await;
            app.restart().await;
            linked(&app).await;
        }
    }
}
