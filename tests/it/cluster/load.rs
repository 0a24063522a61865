//! People at work while something goes wrong, none of whose requests may fail.

use crate::{
    cluster::three::{SOON, Three},
    support::{
        app::{fresh_email, fresh_password},
        client::{Client, Reply},
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// People who refresh and change their names: no request of theirs fails, and what one node acknowledged is read on the next.
pub struct People {
    done: Arc<AtomicBool>,
    people: Vec<JoinHandle<usize>>,
}

impl People {
    pub async fn start(three: &Three, count: usize) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let mut people = Vec::new();
        for person in 0..count {
            let (who, clients, done) = (three.nodes[0].signup().await, three.clients(), done.clone());
            people.push(tokio::spawn(async move {
                let (mut access, mut refresh, mut round) = (who.access, who.refresh, person);
                while !done.load(Ordering::Relaxed) {
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
        Self { done, people }
    }

    /// They have done something, all of them, and nothing in vain.
    pub async fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        for person in self.people {
            assert!(person.await.unwrap() > 5, "hardly anything was asked for");
        }
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

/// A sign-up; the status and the password, or how the connection ended.
pub async fn signup(client: Client, email: String) -> Result<(u16, String), reqwest::Error> {
    let password = fresh_password();
    let body = json!({"email": email, "password": password});
    client.try_send(Method::POST, "/v1/auth/signup", None, Some(body)).await.map(|r| (r.status, password))
}

/// So many sign-ups of one address, round the nodes, at once: one account, and its owner signs in with the winner's password. Gives how
/// many were refused with 503: a busy machine may be too slow for some.
pub async fn crowd(clients: &[Client], size: usize) -> usize {
    let email = fresh_email();
    let tries: Vec<_> = (0..size).map(|n| tokio::spawn(signup(clients[n % clients.len()].clone(), email.clone()))).collect();
    let (mut statuses, mut winner) = (Vec::new(), None);
    for t in tries {
        let (status, password) = t.await.unwrap().unwrap();
        statuses.push(status);
        if status == 201 {
            winner = Some(password);
        }
    }
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    let [made, taken, refused] = [201, 422, 503].map(count);
    assert!(made + taken + refused == size && made <= 1 && made + refused > 0, "{statuses:?}");
    match winner {
        Some(password) => drop(clients[0].login(&email, &password).await.expect(200)),
        // Whoever was refused may have made it all the same.
        None => assert!(matches!(signup(clients[0].clone(), email).await, Ok((201 | 422, _)))),
    }
    refused
}

/// Asks once more while the store of a busy machine is too slow for an answer.
pub async fn patiently(ask: impl AsyncFn() -> Reply) -> Reply {
    let began = Instant::now();
    loop {
        let reply = ask().await;
        if reply.status != 503 || began.elapsed() > SOON {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A session that ends on the first of them is refused on the others within a second.
pub async fn revocation(clients: &[Client]) {
    let who = clients[0].signup().await;
    let access = &who.access;
    for other in &clients[1..] {
        patiently(async move || other.me(access).await).await.expect(200);
    }
    clients[0].post_as(access, "/v1/auth/logout", json!({})).await.expect(200);
    futures_util::future::join_all(clients[1..].iter().map(|other| other.is_refused_within_a_second(access))).await;
}
