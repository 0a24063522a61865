//! The store hangs while requests are under way, at any moment of theirs: each is answered in time.

use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    cassandra::Cassandra,
    client::{Client, Reply},
    stack::Place,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    pin::Pin,
    time::{Duration, Instant},
};

/// Two seconds are promised, from the first to the last that the server has to do with it. (A hundred clients in one process on a busy
/// machine add what is no matter of the server's.) A debug build may be a little late.
const ANSWERED_WITHIN: f64 = 2000.0 + 300.0;
/// Of a kind of requests: so many begin one after the other before the store hangs, this far apart.
const APART: Duration = Duration::from_millis(12);

type Asking = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// One person's commands wait for each other, as do sign-ups of one address.
fn request(client: Client, kind: &'static str, who: &Account, address: &str, purged: Option<(String, String)>) -> Asking {
    let (who, address) = (who.clone(), address.to_owned());
    Box::pin(async move {
        match kind {
            "sign-up" => client.post("/v1/auth/signup", json!({"email": fresh_email(), "password": fresh_password()})).await,
            "crowd" => client.post("/v1/auth/signup", json!({"email": address, "password": fresh_password()})).await,
            "login" => client.login(&who.email, &who.password).await,
            "row" => client.send(Method::PATCH, "/v1/me", Some(&who.access), Some(json!({"display_name": "Ada"}))).await,
            "purge" => {
                let (token, user) = purged.expect("somebody is in the bin");
                client.delete_as(&token, &format!("/v1/users/{user}/purge")).await
            }
            other => panic!("{other}?"),
        }
    })
}

/// What the server says of its requests since then: how long each took in milliseconds, and its route. There are at least `count`.
async fn served(app: &App, since: usize, count: usize) -> Vec<(f64, String)> {
    let (mut served, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_secs(60) {
        let output = app.output();
        let lines = output[since..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let requests = lines.filter(|line| line["message"] == "request");
        served = requests.map(|line| (line["ms"].as_f64().unwrap(), line["route"].as_str().unwrap().to_owned())).collect();
        if served.len() >= count {
            return served;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} of {count} requests are in the log", served.len());
}

/// An organization's token, and people in its recycle bin.
async fn bin(app: &App, people: usize) -> (String, Vec<String>) {
    let owner = app.signup().await;
    app.verify(&owner).await;
    let org = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
    let manage = app.command().args(["tenant", "manage", &org]).output().unwrap();
    assert!(manage.status.success(), "{}", String::from_utf8_lossy(&manage.stderr));
    let token = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
    let mut users = Vec::new();
    for _ in 0..people {
        let user = app.post_as(&token, "/v1/users", json!({"email": fresh_email()})).await.expect(201).str("id");
        app.delete_as(&token, &format!("/v1/users/{user}")).await.expect(204);
        users.push(user);
    }
    (token, users)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_when_the_store_hangs_is_answered_in_time() {
    let _turn = crate::distributed::in_turn().await;
    let cassandra = Cassandra::start(1).await;
    let app = App::builder().on(&Place::at(&cassandra.url("in_time", ""))).start().await;
    let who = app.signup().await;
    let (token, binned) = bin(&app, 24).await;
    let mut binned = binned.into_iter();
    // One for all: to make another takes longer than a request.
    let client = app.other_client();
    for round in 0..3 {
        let (address, since) = (fresh_email(), app.output().len());
        let mut asked = Vec::new();
        for n in 0..8 {
            for (kind, many) in [("sign-up", 1), ("crowd", 6), ("login", 1), ("row", 4), ("purge", 1)] {
                let purged = (kind == "purge").then(|| (token.clone(), binned.next().unwrap()));
                for _ in 0..many {
                    let asking = request(client.clone(), kind, &who, &address, purged.clone());
                    asked.push(tokio::spawn(async move { (kind, asking.await) }));
                }
            }
            if n + 1 < 8 {
                tokio::time::sleep(APART).await;
            }
        }
        cassandra.hang(1);
        let (count, mut refused) = (asked.len(), 0);
        for each in asked {
            let (kind, reply) = each.await.unwrap();
            match reply.status {
                503 => refused += 1,
                // Done before; or a purge that goes on by itself; or an address that somebody of the crowd has got.
                200 | 201 | 204 | 422 => {}
                _ => panic!("{kind}: {}", reply.text),
            }
        }
        let served = served(&app, since, count).await;
        let slowest = served.iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("round {round}: {refused} of {count} refused, the slowest took {slowest:?}");
        cassandra.go_on(1);
        assert!(refused >= 20, "the store hung too late: {refused} refused");
        assert!(slowest.0 < ANSWERED_WITHIN, "{slowest:?}");
        let begun = Instant::now();
        while app.get("/readyz").await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(60), "not back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    app.login(&who.email, &who.password).await.expect(200);
}
