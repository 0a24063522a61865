//! What expires: one-time codes, counters, and idempotent requests (`idempotency`). `conformance` is the suite that every backend passes unchanged,
//! `embedded` is the backend for one node, `redis` the one that several share; both count limits in memory (`counters`), `redis` only
//! while its server can't be asked. `wrong_codes` says how long codes are, `wake` tells the nodes to look at the store.

#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod counters;
pub mod embedded;
pub mod idempotency;
pub mod redis;
pub mod wake;
pub mod wrong_codes;

use crate::domain::{
    contact::ContactDigest,
    keyring::KeyId,
    time::Timestamp,
    token::{CodeLength, CodePurpose},
};
use async_trait::async_trait;
use idempotency::IdempotencyStore;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The ephemeral store could not be asked. What needs it answers 503, what can do without goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("ephemeral store: {0}")]
pub struct EphemeralError(pub String);

/// Result of every method.
pub type Result<T> = std::result::Result<T, EphemeralError>;

/// How long a code is good for.
pub const CODE_TTL: Duration = Duration::from_secs(600);
/// A record is kept this long past its end, so that an expired code can be told from a wrong one.
pub const CODE_LINGER: Duration = Duration::from_secs(600);

/// Limits up to this `max` are counted exactly.
pub const EXACT_UP_TO: u32 = 32;

/// Whose code, and for what: there is one live code for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeKey {
    /// What it is for.
    pub purpose: CodePurpose,
    /// Whose: the 16 bytes of a user id, or the 32 of a contact digest.
    pub subject: Vec<u8>,
}

/// A live (or lately expired) code. The digits are derived from it and the secret, so it opens nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    /// Which secret derives it.
    pub key: KeyId,
    /// Random.
    pub nonce: [u8; 16],
    /// How many digits it has.
    #[serde(default)]
    pub length: CodeLength,
    /// Ever growing for one key: at least the millisecond of its start, above every earlier one.
    pub serial: u64,
    /// The account's epoch it was made under.
    pub epoch: u64,
    /// The address or number that it proves: sealed text, so that this store shows none.
    pub target: Vec<u8>,
    /// Wrong tries so far, this one included.
    pub tries: u32,
    /// When it is void.
    pub expires_at: Timestamp,
}

/// A new code; it replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCode {
    /// Which secret derives it.
    pub key: KeyId,
    /// Random.
    pub nonce: [u8; 16],
    /// How many digits it has.
    #[serde(default)]
    pub length: CodeLength,
    /// See [`CodeRecord::epoch`].
    pub epoch: u64,
    /// See [`CodeRecord::target`].
    pub target: Vec<u8>,
    /// When it is void.
    pub expires_at: Timestamp,
    /// The serial of the last code that was used, as the account remembers it: the new one's is above it, whatever this store has forgotten.
    pub above: u64,
}

/// A sliding window: at most `max` in any `window`. Up to a `max` of [`EXACT_UP_TO`] it is exact (the times are kept: a cool-down is
/// `max: 1`); above, it is estimated from two fixed windows, the older weighted by its overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Stable name, part of the key.
    pub name: &'static str,
    /// How many.
    pub max: u32,
    /// In how long.
    pub window: Duration,
}

/// What a counter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Within the limit; if not, nothing was counted.
    pub allowed: bool,
    /// The limit.
    pub limit: u32,
    /// What is left after this one.
    pub remaining: u32,
    /// When (at the latest) one more will be allowed, or the window has slid past all, if one is allowed now.
    pub reset_after: Duration,
}

/// Who is counted: a digest of the pieces that make the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(pub [u8; 32]);

impl Subject {
    /// From its pieces, framed by length.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut sha = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            sha.update(&(part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(sha.finish().as_ref());
        Self(out)
    }
    /// A contact.
    pub fn contact(digest: &ContactDigest) -> Self {
        Self::of(&[b"contact", digest.as_bytes()])
    }
}

/// The ephemeral store. Every method is one atomic step, also between nodes. It asks no clock.
///
/// Limits go on without it: a backend that can't reach its server counts them in this node's memory meanwhile.
#[async_trait]
pub trait Ephemeral: IdempotencyStore + Send + Sync + 'static {
    /// Starts a code; the serial is `max(now in ms, last serial + 1, above + 1)`.
    async fn start_code(&self, key: &CodeKey, new: NewCode, now: Timestamp) -> Result<CodeRecord>;
    /// Counts a try first, then gives the record (with this try in it); `None` if there is none. Expired ones are given (and
    /// not counted) for [`CODE_LINGER`]. Past `max_tries` the count stays and the record is still given: `tries > max_tries` is dead.
    async fn try_code(&self, key: &CodeKey, max_tries: u32, now: Timestamp) -> Result<Option<CodeRecord>>;
    /// The record, nothing counted.
    async fn peek_code(&self, key: &CodeKey, now: Timestamp) -> Result<Option<CodeRecord>>;
    /// Removes the code if its serial is still `serial`.
    async fn drop_code(&self, key: &CodeKey, serial: u64) -> Result<()>;
    /// Counts one, if it is within the limit.
    async fn hit(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision>;
    /// Asks without counting.
    async fn peek(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision>;
    /// Gives one back (a password that was right); never below zero.
    async fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()>;
    /// Removes expired codes and requests.
    async fn sweep(&self, now: Timestamp) -> Result<()>;
    /// Answers if it can be asked.
    async fn ping(&self) -> Result<()>;
}
