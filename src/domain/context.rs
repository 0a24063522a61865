//! What travels with every store command: when, by whom, from where, and under which id.

use super::{
    ids::{ApiKeyId, CommandId, UserId},
    network::Network,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// Somebody who isn't signed in.
    Anonymous,
    /// A signed-in person.
    User(UserId),
    /// A server with an API key.
    ApiKey(ApiKeyId),
    /// The service itself: sweepers, the outbox, a command line.
    System,
}

/// What all ids and secrets that a request with an `Idempotency-Key` makes follow from, beside its key and its body. It is recorded with
/// what its commands gave: a rerun that began anew, because the ephemeral store had lost the request, learns it from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// When the first run began, which is the time in the ids.
    pub began_at: Timestamp,
    /// Random.
    pub salt: [u8; 16],
}

/// The context of one store command. A rerun carries the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ctx {
    /// Names this command; the store knows by it that a rerun was done before.
    pub command: CommandId,
    /// The time that the command counts as; the store asks no clock.
    pub now: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From which network, if over the API.
    pub network: Option<Network>,
    /// That of the request, if it has an `Idempotency-Key`: a record of the same command with another one belongs to another run of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// The request, as in logs and error bodies; at most 128 characters.
    pub request_id: Option<String>,
}
