//! `qeetid doctor --enumeration`: asks a running server, from outside, whether addresses with an account can be told from others.
//!
//! Known and unknown addresses come in random order over one connection, so that whatever else the machines do meets both
//! alike. Times are compared by the area under the ROC curve, whose band by chance is known; answers are compared as they are.

pub mod stats;

use super::AppError;
use crate::domain::rng::{self, Rng};
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Login,
    Forgot,
    Signup,
}

impl Flow {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login, wrong password",
            Self::Forgot => "forgot password",
            Self::Signup => "sign-up and its code",
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
    let asking = Asking { client, base: order.url.trim_end_matches('/').to_owned(), rng };
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
    if asking.send(Flow::Signup, &asking.stranger()).await?.status() == 202 {
        flows.push(Flow::Signup);
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
            Flow::Login => ("login", json!({"email": email, "password": self.password()})),
            Flow::Forgot => ("forgot-password", json!({"email": email})),
            Flow::Signup => ("signup", json!({"email": email, "password": self.password()})),
        };
        let request = self.client.post(format!("{}/v1/auth/{path}", self.base)).json(&body);
        request.send().await.map_err(|e| AppError::new("request", e.without_url()))
    }

    async fn run(&self, flow: Flow, known: &[String], samples: usize) -> Result<Found, AppError> {
        let mut found = Found { flow, known: Vec::new(), unknown: Vec::new(), answers: Default::default() };
        let mut at = usize::from(u16::from_le_bytes(rng::bytes(self.rng)));
        for (n, is_known) in self.schedule(samples).into_iter().enumerate() {
            at += usize::from(is_known);
            let email = if is_known { known[at % known.len()].clone() } else { self.stranger() };
            let began = Instant::now();
            let answer = self.send(flow, &email).await?;
            let status = answer.status().as_u16();
            let mut headers: Vec<_> = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
            headers.sort();
            let body = answer.text().await.map_err(|e| AppError::new("answer", e))?;
            let took = began.elapsed().as_secs_f64();
            if status == 429 || status >= 500 {
                let why = "the server must have its limits off (QEETID_LIMITS=off) and be idle";
                return Err(format!("{} answered {status}; {why}", flow.name()).into());
            }
            if n >= WARM_UP {
                if is_known { &mut found.known } else { &mut found.unknown }.push(took);
                found.answers[usize::from(!is_known)].insert(format!("{status} {} {}", headers.join(","), shape(&body)));
            }
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
