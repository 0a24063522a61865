//! Requests that are made once, however often they are sent: who runs one, and what came of it.

use super::Result;
use crate::domain::{context::Seed, time::Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long an answer is given again.
pub const ANSWER_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a run without an answer is remembered, from its beginning: shorter than the store remembers commands, so that
/// a rerun with its ids finds what it wrote.
pub const RUN_KEPT: Duration = Duration::from_secs(50 * 60);
/// A run that wasn't renewed for so long has died: another one may take its place.
pub const RUN_LEASE: Duration = Duration::from_secs(30);

/// Names a request: an HMAC over caller, route and key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestName(pub [u8; 32]);

impl fmt::Debug for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestName")
    }
}

/// Names one run of a request: random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunId(pub [u8; 16]);

/// Somebody who wants to run a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRun {
    /// Who.
    pub run: RunId,
    /// An HMAC over the whole request.
    pub fingerprint: [u8; 32],
    /// Random; kept if this is the first run.
    pub salt: [u8; 16],
}

/// What he is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Run it. Salt and beginning are those of the first run, which may have written something before it died.
    Run {
        /// Of the first run.
        salt: [u8; 16],
        /// Of the first run.
        began_at: Timestamp,
    },
    /// Somebody runs it.
    Busy,
    /// It was answered: the sealed answer.
    Answered(Vec<u8>),
    /// The name was used with another fingerprint.
    Conflict,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has sent it, or it is forgotten.
    Unknown,
    /// Somebody runs it.
    Busy,
    /// A run died, or gave up.
    Left,
    /// It was answered.
    Answered,
}

/// Idempotent requests. The rules of [`super::Ephemeral`] hold.
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Takes the request, if nobody has it: for [`RUN_LEASE`]. Whoever has it already gets it again.
    async fn begin_run(&self, name: &RequestName, new: NewRun, now: Timestamp) -> Result<Begun>;
    /// Holds it for another [`RUN_LEASE`]; `false` if it is another's (or answered, or forgotten) by now.
    async fn renew_run(&self, name: &RequestName, run: RunId, now: Timestamp) -> Result<bool>;
    /// Keeps the answer for [`ANSWER_KEPT`], if `run` still holds the request; `false` otherwise. Again with the same answer: `true`.
    async fn finish_run(&self, name: &RequestName, run: RunId, answer: Vec<u8>, now: Timestamp) -> Result<bool>;
    /// Gives an unanswered request back, if `run` still holds it. `forget`: as if it had never been sent; otherwise
    /// fingerprint, salt and beginning stay for the next run.
    async fn leave_run(&self, name: &RequestName, run: RunId, forget: bool) -> Result<()>;
    /// Gives an unanswered request back as one that began with that seed, if `run` still holds it.
    async fn reseed_run(&self, name: &RequestName, run: RunId, seed: Seed) -> Result<()>;
    /// How it stands; changes nothing.
    async fn standing(&self, name: &RequestName, now: Timestamp) -> Result<Standing>;
}
