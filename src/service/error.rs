//! Everything that a use case can answer but success. One table in the http room maps it to status, code and text.

use crate::{
    credentials::pool::PoolError,
    domain::{authority::Denied, secret::SecretText},
    ephemeral::EphemeralError,
    store::{Certainty, StoreError},
};
use std::{collections::BTreeMap, time::Duration};

/// Why a use case did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// 422 `validation_failed`: field → its problem.
    #[error("validation failed")]
    Validation(BTreeMap<String, String>),
    /// 400 `invalid_cursor`.
    #[error("invalid cursor")]
    InvalidCursor,
    /// 401 `unauthorized`.
    #[error("unauthorized")]
    Unauthorized,
    /// 401 `invalid_credentials`: a sign-in was refused, for whatever reason.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// 403 `invalid_credentials`: a signed-in person gave a wrong current password.
    #[error("wrong current password")]
    WrongPassword,
    /// 403 `account_suspended`.
    #[error("account suspended")]
    AccountSuspended,
    /// 403 `reauthentication_required`.
    #[error("reauthentication required")]
    ReauthenticationRequired,
    /// 403 `forbidden`.
    #[error("forbidden")]
    Forbidden,
    /// 403 `forbidden`, with why.
    #[error("forbidden: {0:?}")]
    Denied(Denied),
    /// 403 `password_change_required`: the password is right, and its owner must set another one first, with this token.
    #[error("password change required")]
    PasswordChangeRequired(SecretText),
    /// 404 `not_found`.
    #[error("not found")]
    NotFound,
    /// 409 `conflict`, with what conflicts.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// 409 `idempotency_conflict`.
    #[error("the idempotency key was used with another request")]
    IdempotencyConflict,
    /// 409 `email_taken`.
    #[error("e-mail taken")]
    EmailTaken,
    /// 422 `signup_unavailable`, neutral.
    #[error("sign-up unavailable")]
    SignupUnavailable,
    /// 422 `weak_password`; which field, which rule, in words.
    #[error("weak password: {reason}")]
    WeakPassword {
        /// The field of the request.
        field: &'static str,
        /// Stable name of the rule.
        reason: &'static str,
        /// For people.
        detail: String,
    },
    /// 422 `breached_password`; which field.
    #[error("breached password")]
    BreachedPassword {
        /// The field of the request.
        field: &'static str,
    },
    /// 400 `code_invalid`.
    #[error("code invalid")]
    CodeInvalid,
    /// 400 `code_expired`.
    #[error("code expired")]
    CodeExpired,
    /// 400 `link_invalid`.
    #[error("link invalid")]
    LinkInvalid,
    /// 400 `invite_invalid`.
    #[error("invite invalid")]
    InviteInvalid,
    /// 409 `invite_account_exists`: the invited address, which the caller has proved, has an account.
    #[error("the invited address has an account")]
    InviteAccountExists,
    /// 401 `session_revoked`.
    #[error("session revoked")]
    SessionRevoked,
    /// 401 `token_reused`.
    #[error("token reused")]
    TokenReused,
    /// 429 `rate_limited`.
    #[error("rate limited")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// 429 `account_locked`.
    #[error("account locked")]
    AccountLocked {
        /// When to try again.
        retry_after: Duration,
    },
    /// 503 `overloaded`: refused before any work.
    #[error("overloaded")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// 503 `unavailable`; the text is for the log.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// 500 `internal`; the text is for the log.
    #[error("internal: {0}")]
    Internal(String),
}

/// Result of every use case.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// One field is wrong.
    pub fn field(name: &str, problem: impl Into<String>) -> Self {
        Self::Validation(BTreeMap::from([(name.to_owned(), problem.into())]))
    }
}

impl From<Denied> for Error {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        if let Certainty::AnotherRun(seed) = e.certainty {
            super::idempotency::begins_anew(seed);
        }
        Self::Unavailable(e.to_string())
    }
}

impl From<EphemeralError> for Error {
    fn from(e: EphemeralError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<PoolError> for Error {
    fn from(e: PoolError) -> Self {
        match e {
            PoolError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            PoolError::Stopped => Self::Unavailable("the hashing pool has stopped".into()),
        }
    }
}
