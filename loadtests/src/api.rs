//! One request: sent, judged, counted here and by goose, and waited for as told when the service is full.

use crate::{
    Run,
    tally::{Operation, Outcome},
};
use goose::prelude::{GooseMethod, GooseUser, TransactionError};
use reqwest::RequestBuilder;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What is sent.
pub struct Ask<'a> {
    pub operation: Operation,
    pub path: &'a str,
    pub bearer: Option<&'a str>,
    /// A body makes it a POST.
    pub body: Option<Value>,
}

/// After a connection that broke: a server that is gone isn't asked a million times.
pub const BROKEN: Duration = Duration::from_millis(100);

/// Something that stops a user: goose counts it as a failed transaction.
pub type Stop = Box<TransactionError>;

/// How an answer is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub outcome: Outcome,
    /// To be kept away for so long.
    pub wait: Duration,
}

/// A 503 that says when to come again is the answer of a full service; without that it is as wrong as any other.
pub fn judge(operation: Operation, status: u16, retry_after: Option<&str>) -> Judged {
    let wait = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (outcome, wait) = match (status, wait) {
        (status, _) if status == operation.expected() => (Outcome::Good, Duration::ZERO),
        (503, Some(wait)) => (Outcome::Refused, wait),
        _ => (Outcome::Unexpected, Duration::ZERO),
    };
    Judged { outcome, wait }
}

/// What came back, read to its end.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    /// Null if the body is no JSON.
    pub json: Value,
}

impl Answer {
    /// For people: the status, and the code of an error.
    pub fn told(&self) -> String {
        format!("{} {}", self.status, self.json["error"]["code"].as_str().unwrap_or("no error code"))
    }
}

/// Sends a request, and reads its answer.
pub async fn answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    let json = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Ok(Answer { status, retry_after, json })
}

/// Sends it. The body of the answer if it was good, and nothing if the service is full (then it has waited as told) or the answer was
/// unexpected.
pub async fn send(user: &mut GooseUser, run: &Run, ask: Ask<'_>) -> Result<Option<Value>, Stop> {
    let operation = ask.operation;
    let method = if operation == Operation::Me { GooseMethod::Get } else { GooseMethod::Post };
    let mut request = user.get_request_builder(&method, ask.path)?;
    if let Some(token) = ask.bearer {
        request = request.bearer_auth(token);
    }
    if let Some(body) = &ask.body {
        request = request.json(body);
    }
    let began = Instant::now();
    let (status, judged, error, json) = match answer(request).await {
        Ok(answer) => {
            let judged = judge(operation, answer.status, answer.retry_after.as_deref());
            (Some(answer.status), judged, answer.told(), answer.json)
        }
        Err(error) => {
            let judged = Judged { outcome: Outcome::Unexpected, wait: BROKEN };
            (None, judged, error.without_url().to_string(), Value::Null)
        }
    };
    note(user, run, operation, judged.outcome, began.elapsed(), status, &error).await?;
    if !judged.wait.is_zero() {
        tokio::time::sleep(judged.wait.min(run.left(user))).await;
    }
    Ok((judged.outcome == Outcome::Good).then_some(json))
}

/// Counts one, under a name of its own if it was refused: what goose says of times is then of those that were let in.
pub async fn note(
    user: &mut GooseUser,
    run: &Run,
    operation: Operation,
    outcome: Outcome,
    took: Duration,
    status: Option<u16>,
    error: &str,
) -> Result<(), Stop> {
    run.tally.add(operation, outcome, run.plan.part(user.started.elapsed()), took);
    if outcome == Outcome::Unexpected {
        run.tally.remember(operation, error);
    }
    let name = match outcome {
        Outcome::Refused => format!("{}, refused for now", operation.name()),
        _ => operation.name().to_owned(),
    };
    let method = if operation == Operation::Mail { "MAIL" } else { "HTTP" };
    user.record_custom_request_duration(method, &name, took, outcome != Outcome::Unexpected, status, Some(error)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_503_that_says_when_to_come_again_is_a_refusal() {
        let outcome = |status, after| judge(Operation::Login, status, after).outcome;
        assert_eq!(outcome(200, None), Outcome::Good);
        assert_eq!(outcome(201, None), Outcome::Unexpected);
        assert_eq!(judge(Operation::Login, 503, Some("3")), Judged { outcome: Outcome::Refused, wait: Duration::from_secs(3) });
        assert_eq!(outcome(503, None), Outcome::Unexpected);
        assert_eq!(outcome(503, Some("soon")), Outcome::Unexpected);
        assert_eq!(outcome(429, Some("3")), Outcome::Unexpected);
        assert_eq!(judge(Operation::SignUp, 201, None).outcome, Outcome::Good);
    }
}
