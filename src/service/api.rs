//! What callers of the service room give and get: plain types, no wire names and no HTTP in them.

use crate::domain::{
    contact::{Email, Phone},
    ids::{SessionId, TenantId, UserId},
    network::Network,
    secret::{Password, SecretText},
    tenant::Tenant,
    time::Timestamp,
    token::CodeLength,
    user::User,
};
use std::net::IpAddr;

pub use crate::{ephemeral::Decision, store::audit::Shown as AuditShown};

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client's address, proxies already looked through.
    pub ip: IpAddr,
    /// What it is counted as.
    pub network: Network,
    /// The User-Agent header, cut at 512 characters.
    pub user_agent: Option<String>,
    /// As in the response, the log and the audit.
    pub request_id: String,
}

/// Who a good access token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The person.
    pub user_id: UserId,
    /// The scope.
    pub tenant_id: TenantId,
    /// The session.
    pub session_id: SessionId,
    /// The account's credential epoch that the token was made under.
    pub epoch: u64,
}

/// A pair of tokens.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// The JWT.
    pub access_token: SecretText,
    /// When that ends.
    pub expires_at: Timestamp,
    /// Opaque; turns at each use.
    pub refresh_token: SecretText,
    /// The session.
    pub session_id: SessionId,
    /// The person.
    pub user_id: UserId,
    /// The scope.
    pub tenant_id: TenantId,
}

/// A user as seen from one tenant.
#[derive(Debug, Clone)]
pub struct UserView {
    /// The account.
    pub user: User,
    /// The tenant it is seen from.
    pub tenant_id: TenantId,
    /// Names of its roles there.
    pub roles: Vec<String>,
}

/// A sign-up.
#[derive(Debug, Clone)]
pub struct SignupInput {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Password,
    /// At most 200 characters.
    pub display_name: Option<String>,
}

/// What a sign-up gives.
#[derive(Debug, Clone)]
pub enum SignupOutcome {
    /// `instant`: the account is there.
    Created(Box<NewAccount>),
    /// `verify_first`: a mail is on its way; the token goes with its code.
    Pending {
        /// Binds the confirmation to the password typed.
        signup_token: SecretText,
        /// How many digits the code has; alike for all addresses that are treated so.
        code_length: CodeLength,
    },
}

/// A new account.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its first session.
    pub pair: TokenPair,
    /// The user.
    pub user: UserView,
    /// Its personal tenant.
    pub tenant: Tenant,
}

/// A change of the profile; the outer `None` keeps, the inner one clears.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    /// At most 200 characters.
    pub display_name: Option<Option<String>>,
    /// BCP 47 tag.
    pub locale: Option<Option<String>>,
}

/// A phone verification: the number given, or the one on file.
#[derive(Debug, Clone)]
pub struct PhoneStart {
    /// The number.
    pub phone: Option<Phone>,
}

/// One part of the readiness check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Stable name: `store`, `ephemeral` or `redis`, `keys`, `revocations`, `clock`, `draining`.
    pub name: &'static str,
    /// Does it answer?
    pub ok: bool,
}
