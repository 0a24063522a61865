//! The ways out: mail over SMTP, text messages over the Twilio Messages API, and the development mailbox that stands in for both;
//! the range API that knows breached passwords; and the DNS servers that know who holds a domain.

pub mod breach;
pub mod dns;
pub mod mailbox;
pub mod smtp;
pub mod templates;
pub mod twilio;
mod url;

pub use crate::domain::breaker;
pub use url::BadUrl;

use crate::domain::{
    contact::{Email, Phone},
    ids::JobId,
    secret::SecretText,
};
use async_trait::async_trait;

/// A mail, ready to go. Bodies hold codes and links: no `Debug`.
#[derive(Clone)]
pub struct Mail {
    /// Makes the Message-ID: the same for every attempt.
    pub job: JobId,
    /// To whom.
    pub to: Email,
    /// Subject line, one line.
    pub subject: String,
    /// text/plain part.
    pub text: SecretText,
    /// text/html part.
    pub html: SecretText,
}

/// A text message, ready to go.
#[derive(Clone)]
pub struct Sms {
    /// Names the message: the same for every attempt.
    pub job: JobId,
    /// To whom.
    pub to: Phone,
    /// The text; its last line is `@host #code` (the WICG origin-bound one-time code format).
    pub text: SecretText,
}

/// Why a message did not leave. `detail` is for the outbox row and the log: no secrets, no addresses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct DeliveryError {
    /// Trying again won't help (5xx of SMTP, 4xx of Twilio).
    pub permanent: bool,
    /// What happened.
    pub detail: String,
}

/// Sends mail.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Hands one mail over; `Ok` once the other side has taken it. Bounded in time (30 s).
    async fn send(&self, mail: Mail) -> Result<(), DeliveryError>;
}

/// Sends text messages.
#[async_trait]
pub trait SmsSender: Send + Sync + 'static {
    /// Hands one message over; `Ok` once the other side has taken it. Bounded in time (15 s).
    async fn send(&self, sms: Sms) -> Result<(), DeliveryError>;
}
