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
    /// The request, as in logs and error bodies; at most 128 characters.
    pub request_id: Option<String>,
}
