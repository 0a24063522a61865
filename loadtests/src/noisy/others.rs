//! What the others ask for: a steady stream, each request at its moment, whatever became of the ones before it. A time is counted from that
//! moment on: a server that answers late can't put off what would have shown it.

use crate::{
    api::{answer, judge},
    plan::{Part, Phases},
    seed::{Pair, Person},
    tally::{Operation, Outcome, Tally, Times},
};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many they are. Each signs in every 16 s, so that their access tokens stay fresh.
pub const PEOPLE: usize = 64;
/// Requests a second of all of them.
pub const ME: u32 = 20;
pub const LOGINS: u32 = 4;

/// Somebody else, and their latest access token.
struct Other {
    person: Person,
    access: Mutex<String>,
}

/// The others, and what came back to them.
pub struct Others {
    host: String,
    people: Vec<Other>,
    pub tally: Tally,
    /// Answers of 500 and above, a 503 that says when to come again among them.
    errors: AtomicU64,
    /// How long after its moment a request was sent: what the load generator itself adds.
    late: Mutex<BTreeMap<Part, Times>>,
}

impl Others {
    pub fn new(host: String, people: Vec<Person>) -> Self {
        let other = |person: Person| {
            let access = person.take_pair().map_or_else(String::new, |pair| pair.access);
            Other { person, access: Mutex::new(access) }
        };
        let people = people.into_iter().map(other).collect();
        Self { host, people, tally: Tally::default(), errors: AtomicU64::new(0), late: Mutex::default() }
    }
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
    pub fn late(&self, part: Part) -> Times {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).get(&part).cloned().unwrap_or_default()
    }

    /// Signing in, or who one is: by turns from memory and from the store.
    fn request(&self, client: &Client, operation: Operation, n: u32) -> RequestBuilder {
        let Other { person, access } = self.other(n);
        if operation == Operation::Login {
            let body = json!({"email": person.email, "password": person.password});
            return client.post(format!("{}/v1/auth/login", self.host)).json(&body);
        }
        let path = if n.is_multiple_of(2) { "/v1/auth/me" } else { "/v1/me" };
        let access = access.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.get(format!("{}{path}", self.host)).bearer_auth(access)
    }
    fn other(&self, n: u32) -> &Other {
        &self.people[n as usize % self.people.len()]
    }
}

/// When the request with this number goes out, at so many a second.
fn moment(n: u32, a_second: u32) -> Duration {
    Duration::from_secs(n.into()) / a_second
}

/// Sends all of it, from `began` until the phases are over, on a thread of its own: whoever makes the noise has to wait for no turn here.
pub fn start(others: Arc<Others>, phases: Phases, began: Instant) -> JoinHandle<Result<(), String>> {
    std::thread::spawn(move || -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let client = crate::client()?;
            let stream = |operation, a_second| pace(others.clone(), client.clone(), operation, a_second, phases, began);
            tokio::join!(stream(Operation::Me, ME), stream(Operation::Login, LOGINS));
            Ok::<_, String>(())
        })
    })
}

async fn pace(others: Arc<Others>, client: Client, operation: Operation, a_second: u32, phases: Phases, began: Instant) {
    let mut under_way = JoinSet::new();
    let moments = (0_u32..).map(|n| (n, moment(n, a_second))).take_while(|(_, at)| *at < phases.length());
    for (n, at) in moments {
        tokio::time::sleep_until((began + at).into()).await;
        // What has ended is let go of.
        while under_way.try_join_next().is_some() {}
        under_way.spawn(one(others.clone(), client.clone(), operation, n, began + at, phases.part(at)));
    }
    while under_way.join_next().await.is_some() {}
}

async fn one(others: Arc<Others>, client: Client, operation: Operation, n: u32, due: Instant, part: Part) {
    let request = others.request(&client, operation, n);
    others.late.lock().unwrap_or_else(PoisonError::into_inner).entry(part).or_default().add(due.elapsed());
    let answered = answer(request).await;
    let took = due.elapsed();
    let (outcome, told) = match answered {
        Ok(answer) => {
            if answer.status >= 500 && part != Part::Between {
                others.errors.fetch_add(1, Ordering::Relaxed);
            }
            let outcome = judge(operation, answer.status, answer.retry_after.as_deref()).outcome;
            if operation == Operation::Login && outcome == Outcome::Good {
                *others.other(n).access.lock().unwrap_or_else(PoisonError::into_inner) = Pair::of(&answer.json).access;
            }
            (outcome, answer.told())
        }
        Err(error) => (Outcome::Unexpected, error.without_url().to_string()),
    };
    others.tally.add(operation, outcome, part, took);
    if outcome == Outcome::Unexpected {
        others.tally.remember(operation, &told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced() {
        let millis = |a_second| (0..5).map(|n| moment(n, a_second).as_millis()).collect::<Vec<_>>();
        assert_eq!(millis(ME), [0, 50, 100, 150, 200]);
        assert_eq!(millis(LOGINS), [0, 250, 500, 750, 1000]);
        assert_eq!(moment(20 * 3_600, ME), Duration::from_secs(3_600));
    }
}
