//! Three real servers on one Cassandra and one Redis, as nodes of one cluster, while one of them is killed, frozen or restarted.

use crate::{
    node::free,
    support::{
        app::{App, fresh_email, fresh_password},
        client::Client,
        stack::Place,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(30);

/// Stores of their own, and the nodes on them.
struct Three {
    nodes: Vec<App>,
    _temp: tempfile::TempDir,
}

impl Three {
    async fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let place = Place::distributed();
        let at: Vec<SocketAddr> = (0..3).map(|_| free()).collect();
        let seeds = at.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut nodes = Vec::new();
        for (n, listen) in at.iter().enumerate() {
            let builder = App::builder()
                .on(&place)
                .data_dir(&temp.path().join(n.to_string()))
                // The same after a restart, as behind a load balancer.
                .env("QEETID_LISTEN", free())
                .env("QEETID_CLUSTER_LISTEN", listen)
                .env("QEETID_CLUSTER_NODE", format!("node-{n}"))
                .env("QEETID_CLUSTER_SEEDS", &seeds)
                .env("QEETID_CLUSTER_COOKIE", crate::node::COOKIE);
            nodes.push(builder.start().await);
        }
        let three = Self { nodes, _temp: temp };
        for node in 0..3 {
            three.sees(node, 3).await;
        }
        three
    }

    /// Waits until a node counts so many.
    async fn sees(&self, node: usize, members: usize) {
        let began = Instant::now();
        let line = format!("qeetid_cluster_members {members}\n");
        while !self.nodes[node]
            .http
            .get(format!("{}/metrics", self.nodes[node].base))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains(&line)
        {
            assert!(began.elapsed() < SOON, "node {node} does not see {members}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn signup(client: Client, email: String) -> Result<(u16, Value), reqwest::Error> {
    let body = json!({"email": email, "password": fresh_password()});
    client.try_send(Method::POST, "/v1/auth/signup", None, Some(body)).await.map(|r| (r.status, r.body))
}

/// Thirty sign-ups of one address, ten on each node: one account; afterwards its owner signs in nowhere but with the winner's password.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_signed_up_on_three_nodes_at_once_has_one_account() {
    let three = Three::start().await;
    for _ in 0..3 {
        let email = fresh_email();
        let tries: Vec<_> = (0..30).map(|n| tokio::spawn(signup(three.nodes[n % 3].other_client(), email.clone()))).collect();
        let mut statuses = Vec::new();
        for t in tries {
            statuses.push(t.await.unwrap().unwrap().0);
        }
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, &[422; 29][..]), "{statuses:?}");
    }
    let mut forwarded = 0.0;
    for node in &three.nodes {
        let metrics = node.http.get(format!("{}/metrics", node.base)).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|l| l.strip_prefix("qeetid_cluster_forwarded_total ")).unwrap_or("0");
        forwarded += line.parse::<f64>().unwrap();
    }
    assert!(forwarded > 0.0, "no turn was asked of another node");
}

/// One of them is killed, and frozen, in the middle of a crowd: no 500, one 201 at most, an account that was told of is there; and a
/// session that ends on one node is refused on the others within a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_or_freezes_takes_no_account_along_and_makes_none_twice() {
    let mut three = Three::start().await;
    for fault in ["kill", "freeze"] {
        let emails: Vec<String> = (0..4).map(|_| fresh_email()).collect();
        let tries: Vec<_> = (0..24)
            .map(|n| {
                let (client, email) = (three.nodes[n % 3].other_client(), emails[n % 4].clone());
                (n, tokio::spawn(async move { tokio::time::timeout(SOON, signup(client, email)).await }))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(60)).await;
        let pid = i32::try_from(three.nodes[2].pid()).unwrap();
        // SAFETY: a signal to a child that has not been waited for.
        let signal = |s| assert_eq!(unsafe { libc::kill(pid, s) }, 0);
        if fault == "kill" {
            three.nodes[2].kill9();
        } else {
            signal(libc::SIGSTOP);
        }
        three.sees(0, 2).await;
        three.sees(1, 2).await;
        if fault == "kill" {
            three.nodes[2].start().await;
        } else {
            signal(libc::SIGCONT);
        }
        let mut made = [0; 4];
        for (n, t) in tries {
            match t.await.unwrap() {
                Ok(Ok((status, _))) => {
                    assert!([201, 422, 503].contains(&status), "{fault}: {status}");
                    made[n % 4] += usize::from(status == 201);
                }
                // Its connection died with the node.
                Ok(Err(_)) if n % 3 == 2 => {}
                other => panic!("{fault}: request {n} at a node that lived: {other:?}"),
            }
        }
        assert!(made.iter().all(|m| *m <= 1), "{fault}: {made:?}");
        for node in 0..3 {
            three.sees(node, 3).await;
        }
        // Whatever became of the crowd, every address has its account now, or can have it.
        for email in &emails {
            let (status, _) = signup(three.nodes[0].other_client(), email.clone()).await.unwrap();
            assert!(status == 422 || status == 201, "{fault}: {status}");
        }
        let who = three.nodes[0].signup().await;
        three.nodes[1].me(&who.access).await.expect(200);
        three.nodes[2].me(&who.access).await.expect(200);
        three.nodes[0].post_as(&who.access, "/v1/auth/logout", json!({})).await.expect(200);
        tokio::join!(three.nodes[1].is_refused_within_a_second(&who.access), three.nodes[2].is_refused_within_a_second(&who.access));
    }
}

/// Sends to one node after the other until one answers; goes on to the next only if a connection ended before a byte of an answer.
async fn send(clients: &[Client], first: usize, method: Method, path: &str, token: Option<&str>, body: Value) -> Value {
    for n in first..first + 50 {
        match clients[n % clients.len()].try_send(method.clone(), path, token, Some(body.clone())).await {
            Ok(reply) => return reply.expect(200).body,
            Err(e) if e.is_connect() || e.is_request() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{path}: {e:?}"),
        }
    }
    panic!("{path}: no node answers");
}

/// People refresh and change their names while one node after the other is told to stop, and started again: no request fails, and
/// what was acknowledged by one node is read on the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_and_loses_no_write() {
    let mut three = Three::start().await;
    let clients: Vec<Client> = three.nodes.iter().map(|n| n.other_client()).collect();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut people = Vec::new();
    for person in 0..4 {
        let (who, clients, done) = (three.nodes[0].signup().await, clients.clone(), done.clone());
        people.push(tokio::spawn(async move {
            let (mut access, mut refresh, mut round) = (who.access, who.refresh, person);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let name = format!("name {round}");
                let wanted = json!({"display_name": name});
                send(&clients, round, Method::PATCH, "/v1/me", Some(&access), wanted).await;
                let read = send(&clients, round + 1, Method::GET, "/v1/me", Some(&access), json!({})).await;
                assert_eq!(read["display_name"], json!(name), "an acknowledged write is lost");
                let pair = send(&clients, round + 2, Method::POST, "/v1/auth/refresh", None, json!({"refresh_token": refresh})).await;
                (access, refresh) = (pair["access_token"].as_str().unwrap().into(), pair["refresh_token"].as_str().unwrap().into());
            }
            round - person
        }));
    }
    for node in 0..3 {
        three.nodes[node].sigterm();
        let status = three.nodes[node].exit(Duration::from_secs(20)).await;
        assert!(status.success(), "{status}");
        three.sees((node + 1) % 3, 2).await;
        three.nodes[node].start().await;
        three.sees(node, 3).await;
        three.sees((node + 1) % 3, 3).await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for person in people {
        assert!(person.await.unwrap() > 5, "hardly anything was asked for");
    }
}
