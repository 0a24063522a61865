//! Before the load: is it a server that can take it, and people who have accounts there.

use crate::scenarios::Scenario;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A code that takes longer to the mailbox is no answer.
pub const MAIL: Duration = Duration::from_secs(30);
/// Requests at a time.
const LANES: usize = 8;
/// So often a request is sent again that a full service put off.
pub const TRIES: usize = 20;
/// Of requests to `/v1/auth/*` from one network, a noisy neighbour and the others together.
const REQUESTS: u64 = 1_000_000;

/// The tokens of one session.
#[derive(Debug, Clone)]
pub struct Pair {
    pub access: String,
    pub refresh: String,
    pub user_id: String,
}

impl Pair {
    /// From the answer to a sign-up, a sign-in or a refresh.
    pub fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), user_id: text("user_id") }
    }
}

/// Somebody with an account.
#[derive(Debug)]
pub struct Person {
    pub email: String,
    pub password: String,
    /// From the sign-up, for the first who takes it: a refresh token has one user.
    pair: Mutex<Option<Pair>>,
}

impl Person {
    pub fn take_pair(&self) -> Option<Pair> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Where the mails to an address are shown.
pub fn mailbox(email: &str) -> String {
    format!("/dev/mailbox/messages?to={email}")
}

/// The latest code in there.
pub async fn code(client: &Client, url: &str) -> Option<String> {
    let seen: Value = client.get(url).send().await.ok()?.json().await.ok()?;
    seen["items"][0]["code"].as_str().map(str::to_owned)
}

/// Looks whether the server is there and fit for the scenario.
pub async fn look(client: &Client, host: &str, scenario: Scenario) -> Result<(), String> {
    let ready = get(client, host, "/readyz").await?;
    if ready.status() != 200 {
        return Err(format!("{host} is not ready: GET /readyz answers {}", ready.status()));
    }
    if matches!(scenario, Scenario::Journey | Scenario::NoisyNeighbour) {
        let answer = get(client, host, &mailbox("nobody@example.com")).await?;
        if answer.status() != 200 {
            return Err(no_mailbox(&format!("has no development mailbox: GET /dev/mailbox/messages answers {}", answer.status()), host));
        }
    }
    if scenario == Scenario::NoisyNeighbour {
        // Refused without a token, and counted against the network all the same.
        let answer = get(client, host, "/v1/auth/me").await?;
        return limits_fit(answer.headers().get("ratelimit-limit").and_then(|v| v.to_str().ok()?.parse().ok()));
    }
    Ok(())
}

/// The limits have to be on; but the one of a network must not stand for those of the account, since all of it comes from one address.
fn limits_fit(of_network: Option<u64>) -> Result<(), String> {
    let raised = "QEETID_LIMIT__AUTH_REQUESTS=10000000/1m and QEETID_LIMIT__SIGNUPS=100000/1h";
    match of_network {
        None => Err(format!("the server's limits are off, and they are what is tested. Start it with QEETID_LIMITS=on, {raised}")),
        Some(few) if few < REQUESTS => {
            Err(format!("{few} requests to /v1/auth/* are too few for all who come from this address. Start the server with {raised}"))
        }
        Some(_) => Ok(()),
    }
}

fn no_mailbox(what: &str, host: &str) -> String {
    format!(
        "{host} {what}. The scenario reads a code there. Start the server with QEETID_MAIL_URL=mailbox:// (the default) on a \
         loopback address or with QEETID_DEV=on, or run another scenario"
    )
}

/// Has a code mailed, and looks whether it comes to the development mailbox: that may be there for text messages alone.
pub async fn mail_comes(client: &Client, host: &str, person: &Person) -> Result<(), String> {
    let access =
        person.pair.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|pair| (pair.access.clone(), pair.user_id.clone()));
    let (access, user_id) = access.ok_or("nobody has signed up")?;
    code_of(client, host, &person.email, &access, &user_id).await.map(drop)
}

/// Has a code mailed to the address of an account, and reads it in the development mailbox.
pub async fn code_of(client: &Client, host: &str, email: &str, access: &str, user_id: &str) -> Result<String, String> {
    let start = client.post(format!("{host}/v1/users/{user_id}/verify/email/start")).bearer_auth(access);
    let status = start.send().await.map_err(|e| format!("verify: {}", e.without_url()))?.status();
    if status != 200 {
        return Err(format!("verify, start answers {status}"));
    }
    let (url, began) = (format!("{host}{}", mailbox(email)), Instant::now());
    loop {
        if let Some(code) = code(client, &url).await {
            return Ok(code);
        }
        if began.elapsed() > MAIL {
            return Err(no_mailbox("sends its mails elsewhere than to its development mailbox", host));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn get(client: &Client, host: &str, path: &str) -> Result<Response, String> {
    client.get(format!("{host}{path}")).send().await.map_err(|e| format!("no server at {host}: {}", e.without_url()))
}

/// Signs so many people up, whose addresses begin with `name`.
pub async fn people(client: &Client, host: &str, name: &str, number: usize) -> Result<Vec<Person>, String> {
    let (client, host, name) = (client.clone(), Arc::<str>::from(host), Arc::<str>::from(name));
    let lanes: Vec<_> = (0..LANES.min(number))
        .map(|lane| {
            let (client, host, name) = (client.clone(), host.clone(), name.clone());
            tokio::spawn(async move {
                let mut people = Vec::new();
                for n in (lane..number).step_by(LANES) {
                    let (email, password) = (format!("{name}-{n}@example.com"), format!("seeded {name} harbour {n}"));
                    let pair = Mutex::new(Some(sign_up(&client, &host, &email, &password).await?));
                    people.push(Person { email, password, pair });
                }
                Ok::<_, String>(people)
            })
        })
        .collect();
    let mut all = Vec::new();
    for lane in lanes {
        all.extend(lane.await.map_err(|e| e.to_string())??);
    }
    Ok(all)
}

async fn sign_up(client: &Client, host: &str, email: &str, password: &str) -> Result<Pair, String> {
    for _ in 0..TRIES {
        let request = client.post(format!("{host}/v1/auth/signup")).json(&json!({"email": email, "password": password}));
        let answer = request.send().await.map_err(|e| format!("sign-up: {}", e.without_url()))?;
        let wait = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        match (answer.status().as_u16(), wait) {
            (201, _) => return Ok(Pair::of(&answer.json().await.map_err(|e| format!("sign-up: {}", e.without_url()))?)),
            (503, Some(seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            (202, _) => {
                return Err("sign-up answers 202: the server is in verify_first mode. Start it with QEETID_SIGNUP_MODE=instant".into());
            }
            (429, _) => {
                let why = "sign-up answers 429: the server limits it. Start it with QEETID_LIMITS=off (for noisy-neighbour, whose limits \
                           have to be on, with QEETID_LIMIT__SIGNUPS=100000/1h)";
                return Err(why.into());
            }
            (status, _) => return Err(format!("sign-up answers {status}: {}", answer.text().await.unwrap_or_default())),
        }
    }
    Err(format!("the server was full {TRIES} times in a row: nobody could be signed up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_neighbour_needs_limits_and_room_for_all_in_one_network() {
        assert!(limits_fit(None).unwrap_err().contains("QEETID_LIMITS=on"));
        assert!(limits_fit(Some(100)).unwrap_err().contains("QEETID_LIMIT__AUTH_REQUESTS"));
        assert_eq!(limits_fit(Some(10_000_000)), Ok(()));
    }
}
