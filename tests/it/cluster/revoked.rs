//! What was revoked on one node is refused on the others within a second, also where nobody is told of it. That holds on a busy machine too:
//! a node that doesn't know what was revoked up to a second ago answers 503.

use crate::{
    cluster::{
        load::{patiently, revocation},
        three::{SOON, Three},
    },
    support::{
        app::fresh_password,
        client::{Client, Reply},
    },
};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

async fn key_is_refused_within_a_second(client: &Client, key: &str) {
    let began = Instant::now();
    loop {
        let asked = began.elapsed();
        let status = use_key(client, key).await.status;
        if status == 401 {
            return;
        }
        let late = if status == 503 { SOON } else { SECOND };
        assert!(asked < late, "{status} after {asked:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn use_key(client: &Client, key: &str) -> Reply {
    client.send_key(Method::GET, "/v1/auth/me", key, None).await
}

/// Waits until something lies unread in so many sockets of a server.
async fn lies_in_sockets(server: &Client, wanted: usize) {
    let port: u16 = server.base.rsplit_once(':').unwrap().1.parse().unwrap();
    let local = format!(":{port:04X}");
    let unread = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().skip(1).take(4).collect::<Vec<_>>());
        // Local address, remote address, state (01: established), bytes to be sent and to be read.
        lines.filter(|l| l[0].ends_with(&local) && l[2] == "01" && !l[3].ends_with(":00000000")).count()
    };
    let began = Instant::now();
    while unread() < wanted {
        assert!(began.elapsed() < SOON, "something lies in {} of {wanted} sockets", unread());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Redis takes the message of the one, and the others never hear it.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_users_and_keys_also_when_the_message_is_lost() {
    let three = Three::start().await;
    let clients = three.clients();
    let [here, others] = [&clients[..1], &clients[1..]];
    let here = &here[0];
    let deaf = &three.redis[1..];
    deaf.iter().for_each(|redis| redis.deafen(true));

    revocation(&clients).await;

    // All sessions of a user but one, by his credential epoch.
    let who = here.signup().await;
    let elsewhere = here.login(&who.email, &who.password).await.expect(200).pair();
    let access = &elsewhere.access;
    for other in others {
        patiently(async || other.me(access).await).await.expect(200);
    }
    let change = json!({"current_password": who.password, "new_password": fresh_password()});
    here.post_as(&who.access, "/v1/auth/password", change).await.expect(200);
    tokio::join!(others[0].is_refused_within_a_second(access), others[1].is_refused_within_a_second(access));

    // A key that both have checked, and know by heart.
    let org = here.post_as(&who.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201);
    let token = here.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.str("id")})).await.expect(200).pair().access;
    let made = here.post_as(&token, "/v1/api-keys", json!({"name": "k", "scopes": ["role.read"]})).await.expect(201);
    let (id, key) = (made.body["api_key"]["id"].as_str().unwrap(), made.str("secret"));
    for other in others {
        patiently(async || use_key(other, &key).await).await.expect(200);
    }
    here.delete_as(&token, &format!("/v1/api-keys/{id}")).await.expect(204);
    tokio::join!(key_is_refused_within_a_second(&others[0], &key), key_is_refused_within_a_second(&others[1], &key));

    for redis in deaf {
        assert!(redis.untold() > 0, "nothing was lost");
    }
}

/// A node that was frozen while a session ended honours its token no more, not even in the first request after it woke up.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_that_wakes_up_honours_nothing_of_before() {
    let three = Three::start().await;
    let clients = three.clients();
    for _ in 0..3 {
        let who = clients[0].signup().await;
        patiently(async || clients[2].me(&who.access).await).await.expect(200);
        three.signal(2, libc::SIGSTOP);
        clients[0].post_as(&who.access, "/v1/auth/logout", json!({})).await.expect(200);
        // For so long it may be honoured.
        tokio::time::sleep(SECOND).await;
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let (client, access) = (clients[2].clone(), who.access.clone());
                tokio::spawn(async move { client.me(&access).await.status })
            })
            .collect();
        lies_in_sockets(&clients[2], asked.len()).await;
        three.signal(2, libc::SIGCONT);
        for reply in asked {
            // Or it can't know in time: its store is slow.
            let status = reply.await.unwrap();
            assert!(status == 401 || status == 503, "{status}");
        }
    }
}
