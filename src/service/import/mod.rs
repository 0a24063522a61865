//! Accounts of other systems, taken over with their passwords. `split` cuts the file into records in constant memory, `rows` makes
//! accounts of them (a file for each source), `batch` hashes what must be and writes.

pub mod batch;
mod json;
mod qeet;
mod rows;
mod sources;
pub mod split;
#[cfg(test)]
mod tests;
mod values;

use crate::{
    credentials::formats::foreign::Imported,
    domain::{
        contact::{Email, Phone},
        ids::RoleId,
        secret::{Password, SecretText},
    },
};
pub use rows::{BadFile, Rows, row, shown};
use std::str::FromStr;

/// Whose export it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Our own format: NDJSON, a JSON array, or CSV with a header.
    Qeet,
    /// Auth0's user export (NDJSON) or import file (JSON array), bcrypt and `custom_password_hash`.
    Auth0,
    /// `firebase auth:export`, JSON or CSV.
    Firebase,
    /// The CSV of Cognito user pools; it holds no passwords.
    Cognito,
    /// A realm or users file of Keycloak.
    Keycloak,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Qeet, Self::Auth0, Self::Firebase, Self::Cognito, Self::Keycloak];

    /// As requests and the command line name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qeet => "qeet",
            Self::Auth0 => "auth0",
            Self::Firebase => "firebase",
            Self::Cognito => "cognito",
            Self::Keycloak => "keycloak",
        }
    }
}

impl FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| "must be one of qeet, auth0, firebase, cognito, keycloak".to_owned())
    }
}

/// The password hash parameters of a Firebase project (Authentication → Users → ⋮ → Password hash parameters).
#[derive(Debug, Clone)]
pub struct FirebaseParams {
    /// `base64_signer_key`.
    pub signer_key: SecretText,
    /// `base64_salt_separator`.
    pub salt_separator: String,
    /// `rounds`.
    pub rounds: u32,
    /// `mem_cost`.
    pub mem_cost: u32,
}

/// How an account's password comes.
#[derive(Debug, Clone)]
pub enum Secret {
    /// Not at all: the person sets one with "forgot password".
    None,
    /// In clear; it must obey the policy.
    Password(Password),
    /// As a hash.
    Hash(Imported),
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Its address.
    pub email: Email,
    /// Whether the source says that the address is proved.
    pub email_verified: bool,
    /// Its password.
    pub secret: Secret,
    /// At most 200 characters, no controls.
    pub display_name: Option<String>,
    /// Its phone number; unproved.
    pub phone: Option<Phone>,
    /// BCP 47.
    pub locale: Option<String>,
    /// It may not sign in.
    pub suspended: bool,
    /// At most 16 KiB.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Its role; none: member.
    pub role: Option<RoleId>,
}

impl NewUser {
    /// It has a password, a phone number, an address that the source says is proved, or may not sign in.
    pub fn vouched(&self) -> bool {
        !matches!(self.secret, Secret::None) || self.phone.is_some() || self.email_verified || self.suspended
    }
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Counted from 1, as editors do; of `users` in a request, their number.
    pub line: u64,
    /// Whose row it is, where that could be read.
    pub email: Option<String>,
    /// Why; never with anything secret in it.
    pub message: String,
}
