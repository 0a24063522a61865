//! `qeetid doctor --enumeration`: asks a running server, from outside, whether addresses with an account can be told from others.
//!
//! Known and unknown addresses come in random order, several at once, so that whatever else the machines do meets both
//! alike. Times are compared by the area under the ROC curve, whose band by chance is known; answers are compared as they are.

pub mod stats;

use super::AppError;
use crate::domain::{
    rng::{self, Rng},
    secret::SecretText,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Accounts that are made where none are given.
const MADE: usize = 64;
/// Requests of each flow that are not counted: connections, caches and branch predictors warm up on them.
const WARM_UP: usize = 20;
/// Requests under way at once, of both kinds: a refused sign-in may take two seconds, and a thousand of them should not take an hour.
const AT_ONCE: usize = 8;
/// A flow tells if it is further from a half than this many standard deviations: by chance, one of a thousand does.
const TELLS: f64 = 3.29;

/// What is asked.
#[derive(Debug)]
pub struct Order {
    /// The server, as `https://id.example.com`.
    pub url: String,
    /// Requests of each kind in each flow.
    pub samples: usize,
    /// A file with addresses that have accounts, one a line; without one, accounts are made by sign-up.
    pub known: Option<PathBuf>,
    /// A file with an access token of somebody who may invite people in an organization; without one, flows that need it are left out.
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Login,
    Forgot,
    Signup,
    /// Needs a token.
    Invite,
    /// A token that was handed over, with a wrong password. Needs a token, and a server in `verify_first`.
    HandedInvite,
    /// A code to a new address of one's own. Needs a token.
    EmailChange,
}

impl Flow {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login, wrong password",
            Self::Forgot => "forgot password",
            Self::Signup => "sign-up and its code",
            Self::Invite => "invite",
            Self::HandedInvite => "invite, handed over",
            Self::EmailChange => "code to a new address",
        }
    }
}

struct Found {
    flow: Flow,
    known: Vec<f64>,
    unknown: Vec<f64>,
    /// How the answers look, without what differs in any two.
    answers: [BTreeSet<String>; 2],
}

/// Runs all flows. The report, and whether nothing could be told.
///
/// # Errors
/// The server can't be reached, limits requests (its limits must be off for this), or no accounts can be made.
pub async fn enumeration(order: Order, rng: &dyn Rng) -> Result<(String, bool), AppError> {
    let client = Client::builder().timeout(Duration::from_secs(30)).build().map_err(|e| AppError::new("client", e))?;
    let token = match &order.token_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| AppError::new(&file.display().to_string(), e))?;
            Some(SecretText::new(text.trim()))
        }
        None => None,
    };
    let asking = Asking { client, base: order.url.trim_end_matches('/').to_owned(), token, rng };
    let known = match &order.known {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| AppError::new(&file.display().to_string(), e))?;
            text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
        }
        None => asking.sign_up().await?,
    };
    if known.is_empty() {
        return Err("no addresses with accounts".to_owned().into());
    }
    let mut flows = vec![Flow::Login, Flow::Forgot];
    let mut text = String::new();
    let verify_first = asking.send(Flow::Signup, &asking.stranger()).await?.status() == 202;
    if asking.token.is_some() {
        flows.extend([Flow::Invite, Flow::EmailChange]);
    }
    if verify_first {
        flows.push(Flow::Signup);
        flows.extend(asking.token.is_some().then_some(Flow::HandedInvite));
    } else {
        text.push_str("sign-up: makes accounts at once here, so its answer itself tells of a taken address (signup_mode = \"verify_first\" hides it)\n");
    }
    // Writing into a String can't fail.
    let _ = writeln!(text, "{:<24}{:>9}{:>12}{:>12}{:>8}{:>17}  ", "flow", "samples", "known", "unknown", "AUC", "by chance (95 %)");
    let mut silent = true;
    for flow in flows {
        let found = asking.run(flow, &known, order.samples).await?;
        let (line, tells) = found.line();
        text.push_str(&line);
        silent &= !tells;
    }
    Ok((text, silent))
}

impl Found {
    fn line(&self) -> (String, bool) {
        let told = stats::auc(&self.known, &self.unknown);
        let deviation = stats::deviation(self.known.len(), self.unknown.len());
        let (by_time, by_answer) = ((told - 0.5).abs() > TELLS * deviation, self.answers[0] != self.answers[1]);
        let verdict = match (by_answer, by_time) {
            (true, _) => "TELLS by its answer",
            (false, true) => "TELLS by its time",
            (false, false) => "nothing to be told",
        };
        let band = format!("{:.3} to {:.3}", 0.5 - 1.96 * deviation, 0.5 + 1.96 * deviation);
        let (known, unknown) = (stats::median(&self.known) * 1000.0, stats::median(&self.unknown) * 1000.0);
        let name = self.flow.name();
        let mut line = format!("{name:<24}{:>9}{known:>9.2} ms{unknown:>9.2} ms{told:>8.3}{band:>17}  {verdict}\n", self.known.len());
        if by_answer {
            let [known, unknown] = &self.answers;
            let _ = writeln!(line, "  known:   {known:?}\n  unknown: {unknown:?}");
        }
        (line, by_answer || by_time)
    }
}

struct Asking<'a> {
    client: Client,
    base: String,
    token: Option<SecretText>,
    rng: &'a dyn Rng,
}

impl Asking<'_> {
    /// An address that nobody has.
    fn stranger(&self) -> String {
        format!("doctor-{:016x}@example.com", u64::from_le_bytes(rng::bytes(self.rng)))
    }

    /// Long, and of no list.
    fn password(&self) -> String {
        format!("doctor {:032x}", u128::from_le_bytes(rng::bytes(self.rng)))
    }

    async fn sign_up(&self) -> Result<Vec<String>, AppError> {
        let mut made = Vec::new();
        while made.len() < MADE {
            let email = self.stranger();
            let answer = self.send(Flow::Signup, &email).await?;
            match answer.status().as_u16() {
                201 => made.push(email),
                202 => {
                    return Err("this server makes accounts only after a mailed code: give addresses that have one by --known"
                        .to_owned()
                        .into());
                }
                status => return Err(format!("sign-up answered {status}: {}", answer.text().await.unwrap_or_default()).into()),
            }
        }
        Ok(made)
    }

    async fn send(&self, flow: Flow, email: &str) -> Result<Response, AppError> {
        let (path, body) = match flow {
            Flow::Login => ("auth/login", json!({"email": email, "password": self.password()})),
            Flow::Forgot => ("auth/forgot-password", json!({"email": email})),
            Flow::Signup => ("auth/signup", json!({"email": email, "password": self.password()})),
            Flow::Invite => ("invites", json!({"email": email})),
            Flow::EmailChange => ("me/email/change/start", json!({"email": email})),
            // Its token is made first, see `ask`.
            Flow::HandedInvite => ("invites/accept", json!({"token": email, "password": self.password()})),
        };
        let mut request = self.client.post(format!("{}/v1/{path}", self.base)).json(&body);
        if let (Flow::Invite | Flow::EmailChange, Some(token)) = (flow, &self.token) {
            request = request.bearer_auth(token.reveal());
        }
        request.send().await.map_err(|e| AppError::new("request", e.without_url()))
    }

    /// One request: how long it took, and how its answer looks.
    async fn ask(&self, flow: Flow, email: String) -> Result<(f64, String), AppError> {
        let what = if flow == Flow::HandedInvite { self.handed_over(&email).await? } else { email };
        let began = Instant::now();
        let answer = self.send(flow, &what).await?;
        let status = answer.status().as_u16();
        let mut headers: Vec<_> = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
        headers.sort();
        let body = answer.text().await.map_err(|e| AppError::new("answer", e))?;
        let took = began.elapsed().as_secs_f64();
        if status == 429 || status >= 500 || (status == 401 && flow != Flow::Login) {
            let why = "the server must have its limits off (QEETID_LIMITS=off) and be idle, and the token must be good";
            return Err(format!("{} answered {status}; {why}", flow.name()).into());
        }
        Ok((took, format!("{status} {} {}", headers.join(","), shape(&body))))
    }

    /// The token of a new invite that is for handing over.
    async fn handed_over(&self, email: &str) -> Result<String, AppError> {
        let answer = self.send(Flow::Invite, email).await?;
        let body: Value = answer.json().await.map_err(|e| AppError::new("answer", e.without_url()))?;
        body["token"].as_str().map(str::to_owned).ok_or_else(|| format!("no invite can be made: {body}").into())
    }

    async fn run(&self, flow: Flow, known: &[String], samples: usize) -> Result<Found, AppError> {
        let mut found = Found { flow, known: Vec::new(), unknown: Vec::new(), answers: Default::default() };
        let mut at = usize::from(u16::from_le_bytes(rng::bytes(self.rng)));
        // What a server keeps for addresses that were asked about before must be the same for both: as many strangers, as often.
        let strangers: Vec<String> = known.iter().map(|_| self.stranger()).collect();
        let again = matches!(flow, Flow::Invite | Flow::HandedInvite | Flow::EmailChange);
        let asked: Vec<(bool, String)> = self
            .schedule(samples)
            .into_iter()
            .map(|is_known| {
                at += 1;
                let email = match (is_known, again) {
                    (true, _) => known[at % known.len()].clone(),
                    (false, true) => strangers[at % strangers.len()].clone(),
                    (false, false) => self.stranger(),
                };
                (is_known, email)
            })
            .collect();
        // Codes to one person's new address replace each other, so they come one after the other.
        let at_once = if flow == Flow::EmailChange { 1 } else { AT_ONCE };
        let answers = stream::iter(asked).map(async |(is_known, email)| Ok::<_, AppError>((is_known, self.ask(flow, email).await?)));
        let answers: Vec<_> = answers.buffered(at_once).try_collect().await?;
        for (is_known, (took, looks)) in answers.into_iter().skip(WARM_UP) {
            if is_known { &mut found.known } else { &mut found.unknown }.push(took);
            found.answers[usize::from(!is_known)].insert(looks);
        }
        Ok(found)
    }

    /// Who comes when, `true` for a known address. All orders are as likely: in pairs, an unknown address would follow a known one more
    /// often than its like, and meet what the server still does for that one.
    fn schedule(&self, samples: usize) -> Vec<bool> {
        let mut all: Vec<bool> = (0..2 * samples).map(|n| n % 2 == 0).collect();
        for n in (1..all.len()).rev() {
            // Of 64 bits: the remainder favours nobody that could be seen.
            let other = u64::from_le_bytes(rng::bytes(self.rng)) % (n as u64 + 1);
            all.swap(n, usize::try_from(other).unwrap_or(0));
        }
        (0..WARM_UP).map(|n| n % 2 == 0).chain(all).collect()
    }
}

/// An answer without what differs in any two: ids, tokens and times become their length.
fn shape(body: &str) -> String {
    fn plain(value: &mut Value, name: &str) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(name, inner)| plain(inner, name)),
            Value::Array(all) => all.iter_mut().for_each(|inner| plain(inner, name)),
            // It is the address that was asked for.
            Value::String(text) if name == "email" => *text = "an address".to_owned(),
            Value::String(text) if name != "code" && name != "message" => *text = format!("{} bytes", text.len()),
            _ => {}
        }
    }
    match serde_json::from_str::<Value>(body) {
        Ok(mut value) => {
            plain(&mut value, "");
            value.to_string()
        }
        Err(_) => body.to_owned(),
    }
}
