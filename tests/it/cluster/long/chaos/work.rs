//! People at work while anything may happen: requests may be refused with 503 or lose their connection, and then nobody knows what became of
//! them. What was acknowledged holds.

use crate::{
    cluster::{load::signup, three::Three},
    support::{
        app::{Account, fresh_email, fresh_password},
        client::Client,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A revoked token is honoured no longer than this.
const SECOND: Duration = Duration::from_secs(1);
/// Accounts whose owners sign in at the end, of all that were told of.
const ASKED_AT_THE_END: usize = 300;

/// What was seen.
#[derive(Default)]
pub struct Ledger {
    statuses: Mutex<BTreeMap<(&'static str, u16), usize>>,
    wrong: Mutex<Vec<String>>,
    /// Who was told that he has an account.
    told: Mutex<Vec<(String, String)>>,
}

impl Ledger {
    fn is_wrong(&self, what: String) {
        println!("WRONG: {what}");
        self.wrong.lock().unwrap().push(what);
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// One line: what was asked for, and how it was answered (0: not at all).
    pub fn report(&self) -> String {
        let statuses = self.statuses.lock().unwrap();
        let all: usize = statuses.values().sum();
        let good: usize = statuses.iter().filter(|((_, status), _)| (200..500).contains(status)).map(|(_, n)| n).sum();
        format!("{all} requests, {good} answered; {statuses:?}")
    }

    /// Sends; `None`: nobody knows what became of it.
    async fn send(
        &self,
        client: &Client,
        what: &'static str,
        (method, path): (Method, &str),
        token: Option<&str>,
        body: Value,
    ) -> Option<(u16, Value)> {
        let body = (method != Method::GET).then_some(body);
        let reply = client.try_send(method, path, token, body).await;
        let status = reply.as_ref().map_or(0, |r| r.status);
        self.count(what, status);
        let reply = reply.ok().filter(|r| r.status != 503)?;
        if reply.status >= 500 {
            self.is_wrong(format!("{what}: {} {}", reply.status, reply.text));
            return None;
        }
        Some((reply.status, reply.body))
    }

    fn count(&self, what: &'static str, status: u16) {
        *self.statuses.lock().unwrap().entry((what, status)).or_default() += 1;
    }

    /// All is well: whoever was told that he has an account signs in.
    pub async fn settle(&self, client: &Client) {
        let told = self.told.lock().unwrap().clone();
        let step = told.len().div_ceil(ASKED_AT_THE_END).max(1);
        println!("{} were told that they have an account; every {step}. of them signs in", told.len());
        for (email, password) in told.iter().step_by(step) {
            let status = client.login(email, password).await.status;
            if status != 200 {
                self.is_wrong(format!("{email} has no account any more: {status}"));
            }
        }
    }
}

/// Those who work, until they are told to stop.
pub struct Work {
    done: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Work {
    pub fn start(three: &Three, ledger: &Arc<Ledger>) -> Self {
        let (done, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for n in 0..8 {
            let worker = Worker { clients: three.clients(), ledger: ledger.clone(), done: done.clone(), round: n };
            match n {
                0..4 => tasks.spawn(worker.lives()),
                4..6 => tasks.spawn(worker.crowds()),
                _ => tasks.spawn(worker.leaves()),
            };
        }
        Self { done, tasks }
    }

    pub async fn stop(mut self) {
        self.done.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
    }
}

struct Worker {
    clients: Vec<Client>,
    ledger: Arc<Ledger>,
    done: Arc<AtomicBool>,
    round: usize,
}

impl Worker {
    fn goes_on(&mut self) -> bool {
        self.round += 1;
        !self.done.load(Ordering::Relaxed)
    }

    /// The next node in the row.
    fn client(&mut self) -> Client {
        self.round += 1;
        self.clients[self.round % self.clients.len()].clone()
    }

    async fn breathes() {
        tokio::time::sleep(Duration::from_millis(40)).await;
    }

    /// Somebody new, whenever that can be.
    async fn account(&mut self) -> Option<Account> {
        while self.goes_on() {
            let (email, client) = (fresh_email(), self.client());
            let password = fresh_password();
            let wanted = json!({"email": email, "password": password});
            let made = self.ledger.send(&client, "sign-up", (Method::POST, "/v1/auth/signup"), None, wanted).await;
            if let Some((201, body)) = made {
                self.ledger.told.lock().unwrap().push((email.clone(), password.clone()));
                let text = |field: &str| body[field].as_str().unwrap().to_owned();
                return Some(Account {
                    email,
                    password,
                    user_id: text("user_id"),
                    tenant_id: text("tenant_id"),
                    session_id: text("session_id"),
                    access: text("access_token"),
                    refresh: text("refresh_token"),
                });
            }
            Self::breathes().await;
        }
        None
    }

    /// Changes his name, reads it elsewhere and refreshes. A name that he was told of, or one that nobody knows about since, is what he
    /// reads; his session ends only if he came back with a token that may have been used.
    async fn lives(mut self) {
        let Some(mut who) = self.account().await else { return };
        let mut names = vec![Value::Null];
        let mut doubt = false;
        while self.goes_on() {
            Self::breathes().await;
            let (name, client) = (json!(format!("name {}", self.round)), self.client());
            let wanted = json!({"display_name": name});
            match self.ledger.send(&client, "write", (Method::PATCH, "/v1/me"), Some(&who.access), wanted).await {
                Some((200, _)) => names = vec![name],
                Some((401, _)) => doubt = self.must_be(doubt, "write"),
                Some((status, body)) => self.ledger.is_wrong(format!("write: {status} {body}")),
                None => names.push(name),
            }
            let client = self.client();
            match self.ledger.send(&client, "read", (Method::GET, "/v1/me"), Some(&who.access), Value::Null).await {
                Some((200, body)) if names.contains(&body["display_name"]) => {}
                Some((200, body)) => self.ledger.is_wrong(format!("{} is read where {names:?} may be", body["display_name"])),
                Some((401, _)) => doubt = self.must_be(doubt, "read"),
                Some((status, body)) => self.ledger.is_wrong(format!("read: {status} {body}")),
                None => {}
            }
            let (client, wanted) = (self.client(), json!({"refresh_token": who.refresh}));
            let pair = match doubt {
                false => self.ledger.send(&client, "refresh", (Method::POST, "/v1/auth/refresh"), None, wanted).await,
                true => {
                    let wanted = json!({"email": who.email, "password": who.password});
                    self.ledger.send(&client, "sign-in", (Method::POST, "/v1/auth/login"), None, wanted).await
                }
            };
            match pair {
                Some((200, body)) => {
                    let text = |field: &str| body[field].as_str().unwrap().to_owned();
                    (who.access, who.refresh, doubt) = (text("access_token"), text("refresh_token"), false);
                }
                Some((status, body)) => {
                    self.ledger.is_wrong(format!("{}: {status} {body}", if doubt { "sign-in" } else { "refresh" }));
                    doubt = true;
                }
                None => doubt = true,
            }
        }
    }

    /// A session that ended is in doubt, or something is wrong.
    fn must_be(&self, doubt: bool, what: &str) -> bool {
        if !doubt {
            self.ledger.is_wrong(format!("{what}: 401, and no token of this session was used twice"));
        }
        true
    }

    /// Crowds at one address, at all nodes at once: one of them has an account, at most.
    async fn crowds(mut self) {
        while self.goes_on() {
            let email = fresh_email();
            let tries: Vec<_> = (0..6).map(|_| tokio::spawn(signup(self.client(), email.clone()))).collect();
            let mut winners = Vec::new();
            for each in tries {
                let outcome = each.await.unwrap();
                let status = outcome.as_ref().map_or(0, |(status, _)| *status);
                self.ledger.count("crowd", status);
                match outcome {
                    Ok((201, password)) => winners.push(password),
                    Ok((422 | 503, _)) | Err(_) => {}
                    Ok((status, _)) => self.ledger.is_wrong(format!("crowd: {status}")),
                }
            }
            if winners.len() > 1 {
                self.ledger.is_wrong(format!("{} have the account of {email}", winners.len()));
            }
            self.ledger.told.lock().unwrap().extend(winners.into_iter().map(|password| (email.clone(), password)));
            Self::breathes().await;
        }
    }

    /// Sessions that end: no node honours their tokens a second later, whether it was told or not.
    async fn leaves(mut self) {
        while let Some(who) = self.account().await {
            for client in &self.clients {
                self.ledger.send(client, "warm", (Method::GET, "/v1/auth/me"), Some(&who.access), Value::Null).await;
            }
            let client = self.client();
            let ended = self.ledger.send(&client, "logout", (Method::POST, "/v1/auth/logout"), Some(&who.access), json!({})).await;
            let Some((200, _)) = ended else { continue };
            let ended = Instant::now();
            tokio::time::sleep(SECOND).await;
            while ended.elapsed() < SECOND * 2 {
                let asked = ended.elapsed();
                let asking =
                    self.clients.iter().map(|c| self.ledger.send(c, "after", (Method::GET, "/v1/auth/me"), Some(&who.access), Value::Null));
                for (node, reply) in futures_util::future::join_all(asking).await.into_iter().enumerate() {
                    if let Some((200, _)) = reply {
                        self.ledger.is_wrong(format!("node {node} honours a token {asked:?} after its session ended"));
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
