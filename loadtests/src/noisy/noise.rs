//! What the account asks for, each task one kind of request, the next as soon as the last has been answered.

use super::neighbour::Neighbour;
use crate::{api::BROKEN, seed::Pair, tally::Times};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Rows of a list: the most that one takes.
const ROWS: u64 = 1_000;
/// Of an answer no more is kept; exports have megabytes.
const KEPT: usize = 16 * 1024;
/// Invites that a tenant may send in a day.
const INVITES: u64 = 1_000;

/// What a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Profile,
    Tenant,
    Policy,
    Export,
    Bulk,
    SignIn,
    Invite,
    Code,
    Audit,
    Users,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Profile,
        Self::Tenant,
        Self::Policy,
        Self::Export,
        Self::Bulk,
        Self::SignIn,
        Self::Invite,
        Self::Code,
        Self::Audit,
        Self::Users,
    ];
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile, change",
            Self::Tenant => "tenant, change",
            Self::Policy => "auth policy, change",
            Self::Export => "export",
            Self::Bulk => "bulk",
            Self::SignIn => "sign-in",
            Self::Invite => "invite",
            Self::Code => "code, start",
            Self::Audit => "audit, list",
            Self::Users => "users, list",
        }
    }
}

/// The end of a session that a sign-in began.
const END: &str = "session, end";

/// What so many tasks ask for. One has lists and the others of its kind have exports: of both together a person may have two under way, and
/// two lists would leave no place to exports.
pub fn tasks(number: usize) -> Vec<Kind> {
    let first = Kind::ALL.len();
    let kinds = Kind::ALL.into_iter().cycle().take(number).enumerate();
    kinds.map(|(n, kind)| if kind == Kind::Bulk && n >= first { Kind::Export } else { kind }).collect()
}

/// What came back to one kind of request.
#[derive(Debug, Clone, Default)]
pub struct Count {
    pub times: Times,
    /// How often each status; `None`: the connection broke.
    pub statuses: BTreeMap<Option<u16>, u64>,
}

impl Count {
    pub fn add(&mut self, status: Option<u16>, took: Duration) {
        self.times.add(took);
        *self.statuses.entry(status).or_default() += 1;
    }
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        for (status, times) in &other.statuses {
            *self.statuses.entry(*status).or_default() += times;
        }
    }
    /// Answers of 500 and above; a 503 says that the service is full, which is no failure towards whoever fills it.
    pub fn failures(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| status.is_some_and(|s| s >= 500 && s != 503)).map(|(_, times)| times).sum()
    }
    /// Such as `200: 17, 429: 4`.
    pub fn told(&self) -> String {
        let one = |(status, times): (&Option<u16>, &u64)| match status {
            Some(status) => format!("{status}: {times}"),
            None => format!("no answer: {times}"),
        };
        self.statuses.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Status and the beginning of the body.
type Reply = (u16, Vec<u8>);

/// The account at work.
pub struct Noise {
    who: Neighbour,
    /// Before a task asks again that was told 429.
    pause: Duration,
    /// How many requests there were, by kind.
    next: [AtomicU64; Kind::ALL.len()],
    counts: Mutex<BTreeMap<&'static str, Count>>,
}

impl Noise {
    pub fn new(who: Neighbour, pause: Duration) -> Self {
        Self { who, pause, next: std::array::from_fn(|_| AtomicU64::new(0)), counts: Mutex::default() }
    }
    /// By the name of what was asked for.
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does each once, so that none is refused all along for a reason that has nothing to do with noise. Nothing of it is counted.
    pub async fn rehearse(&self) -> Result<(), String> {
        for kind in Kind::ALL {
            let (status, body) = self.once(kind, 1).await.ok_or_else(|| format!("the neighbour's {}: no answer", kind.name()))?;
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            if !(200..300).contains(&status) || (kind == Kind::Bulk && told["succeeded"] != 1) {
                return Err(format!("the neighbour's {}: {status} {told}", kind.name()));
            }
        }
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Asks again and again, until it is aborted.
    pub async fn go_on(self: Arc<Self>, kind: Kind) {
        loop {
            match self.once(kind, ROWS).await {
                Some((429, _)) if !self.pause.is_zero() => tokio::time::sleep(self.pause).await,
                Some(_) => {}
                None => tokio::time::sleep(BROKEN).await,
            }
        }
    }

    async fn once(&self, kind: Kind, rows: u64) -> Option<Reply> {
        let n = self.next[kind as usize].fetch_add(1, Ordering::Relaxed);
        let reply = self.send(kind.name(), self.request(kind, n, rows)).await?;
        if kind == Kind::SignIn && reply.0 == 200 {
            let answer: Value = serde_json::from_slice(&reply.1).unwrap_or_default();
            let path = format!("/v1/auth/sessions/{}", answer["session_id"].as_str().unwrap_or_default());
            self.send(END, self.who.as_anybody(Method::DELETE, &path).bearer_auth(Pair::of(&answer).access)).await;
        }
        Some(reply)
    }

    async fn send(&self, what: &'static str, request: RequestBuilder) -> Option<Reply> {
        let began = Instant::now();
        let answered = async {
            let mut response = request.send().await?;
            let mut beginning = Vec::new();
            while let Some(part) = response.chunk().await? {
                if beginning.len() + part.len() <= KEPT {
                    beginning.extend_from_slice(&part);
                }
            }
            Ok::<_, reqwest::Error>((response.status().as_u16(), beginning))
        };
        let reply = answered.await.ok();
        let (status, took) = (reply.as_ref().map(|(status, _)| *status), began.elapsed());
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default().add(status, took);
        reply
    }

    fn request(&self, kind: Kind, n: u64, rows: u64) -> RequestBuilder {
        let (who, at) = (&self.who, self.who.by_turns(n));
        match kind {
            Kind::Profile => who.as_person(Method::PATCH, "/v1/me").json(&json!({"display_name": format!("Neighbour {n}")})),
            Kind::Tenant => {
                // As much as may be kept there, nearly.
                let body = json!({"name": format!("Noise {n}"), "metadata": {"noise": "x".repeat(12_000)}});
                who.in_organization(at, Method::PATCH, &format!("/v1/tenants/{}", at.id)).json(&body)
            }
            Kind::Policy => {
                // Another value each time: what changes nothing is not written.
                let body = json!({"invite_ttl_hours": 1 + n % 720});
                who.in_organization(at, Method::PUT, &format!("/v1/tenants/{}/auth-policy", at.id)).json(&body)
            }
            Kind::Export => {
                // By turns for a fresh sign-in, and for the password, which has to be hashed.
                let body = if n.is_multiple_of(2) { json!({}) } else { json!({"current_password": who.password}) };
                who.as_person(Method::POST, "/v1/me/export").json(&body)
            }
            Kind::Bulk => {
                let row = |row: u64| json!({"email": format!("{}-made-{n}-{row}@example.com", who.name), "display_name": "Somebody"});
                let users: Vec<Value> = (0..rows).map(row).collect();
                who.in_organization(at, Method::POST, "/v1/users/bulk").json(&json!({"users": users}))
            }
            Kind::SignIn => {
                let body = json!({"email": who.email, "password": who.password});
                who.as_anybody(Method::POST, "/v1/auth/login").json(&body)
            }
            Kind::Invite => {
                // All that one organization may send, then the next one; from the far end, since the lists count as invites, too.
                let all = who.organizations() as u64;
                let at = who.by_turns(all - 1 - n / INVITES % all);
                let body = json!({"email": format!("{}-invited-{n}@example.com", who.name)});
                who.in_organization(at, Method::POST, "/v1/invites").json(&body)
            }
            Kind::Code => match n % 3 {
                0 => who.as_person(Method::POST, &format!("/v1/users/{}/verify/email/start", who.user_id)),
                1 => {
                    let path = format!("/v1/users/{}/verify/phone/start", who.user_id);
                    who.as_person(Method::POST, &path).json(&json!({"phone": "+14155550100"}))
                }
                _ => {
                    let body = json!({"email": format!("{}-moved-{n}@example.com", who.name)});
                    who.as_person(Method::POST, "/v1/me/email/change/start").json(&body)
                }
            },
            Kind::Audit => who.in_organization(at, Method::GET, &format!("/v1/tenants/{}/audit?limit=200", at.id)),
            Kind::Users => who.in_organization(at, Method::GET, "/v1/users?limit=200"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_task_and_lists_have_one() {
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n, "the place of its number");
        }
        assert_eq!(tasks(10), Kind::ALL);
        let many = tasks(40);
        let of = |wanted: Kind| many.iter().filter(|kind| **kind == wanted).count();
        assert_eq!((many.len(), of(Kind::Bulk), of(Kind::Export), of(Kind::SignIn)), (40, 1, 7, 4));
        assert_eq!(tasks(3), [Kind::Profile, Kind::Tenant, Kind::Policy]);
    }

    #[test]
    fn a_full_service_is_no_failure_towards_whoever_fills_it() {
        let mut count = Count::default();
        for status in [Some(200), Some(429), Some(429), Some(503), None] {
            count.add(status, Duration::from_millis(1));
        }
        assert_eq!((count.failures(), count.times.count()), (0, 5));
        let mut both = count.clone();
        both.merge(&count);
        both.add(Some(500), Duration::from_millis(1));
        assert_eq!((both.failures(), both.times.count()), (1, 11));
        assert_eq!(both.told(), "no answer: 2, 200: 2, 429: 4, 500: 1, 503: 2");
    }
}
