//! The error table: every code of the contract with its status and text, and which of them each error of the service is.

use crate::{
    domain::{authority::Denied, secret::SecretText},
    service,
};
use poem::{
    error::ResponseError,
    http::{HeaderValue, StatusCode},
};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $message:literal;)*) => {
        /// A row of the table. Two rows may share a code (`invalid_credentials` is 401 at sign-in and 403 for a wrong current password).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* #[doc = concat!("`", $code, "`: ", $message)] $variant,)*
        }

        impl Code {
            /// Every row.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The stable name that clients match on.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
            /// For people.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

codes! {
    MalformedRequest = "malformed_request", BAD_REQUEST, "The request could not be read.";
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "Some fields are missing or not as they should be.";
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "The cursor is not one that this service gave out.";
    Unauthorized = "unauthorized", UNAUTHORIZED, "Sign in first: no token, or one that is not valid (any more).";
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "The e-mail address or the password is wrong.";
    WrongPassword = "invalid_credentials", FORBIDDEN, "The current password is wrong.";
    AccountSuspended = "account_suspended", FORBIDDEN, "This account is suspended.";
    ReauthenticationRequired = "reauthentication_required", FORBIDDEN, "Sign in again, or give the current password.";
    PasswordChangeRequired = "password_change_required", FORBIDDEN, "Set a new password first, with the change token.";
    Forbidden = "forbidden", FORBIDDEN, "You may not do this.";
    NotFound = "not_found", NOT_FOUND, "There is nothing here.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This route does not take that method.";
    Conflict = "conflict", CONFLICT, "This does not go with the present state.";
    IdempotencyConflict = "idempotency_conflict", CONFLICT, "This idempotency key was used with another request.";
    EmailTaken = "email_taken", CONFLICT, "This e-mail address belongs to another account.";
    SignupUnavailable = "signup_unavailable", UNPROCESSABLE_ENTITY, "An account can't be made with this e-mail address. If it is yours, sign in or reset the password.";
    WeakPassword = "weak_password", UNPROCESSABLE_ENTITY, "This password is too easy to guess.";
    BreachedPassword = "breached_password", UNPROCESSABLE_ENTITY, "This password is known from a data breach. Choose another one.";
    CodeInvalid = "code_invalid", BAD_REQUEST, "The code is wrong.";
    CodeExpired = "code_expired", BAD_REQUEST, "The code is no longer valid. Ask for a new one.";
    LinkInvalid = "link_invalid", BAD_REQUEST, "This link is not valid, or no longer. Ask for a new one.";
    InviteInvalid = "invite_invalid", BAD_REQUEST, "This invitation is not valid, or no longer.";
    InviteAccountExists = "invite_account_exists", CONFLICT, "There is an account for this address: give its password to join.";
    SessionRevoked = "session_revoked", UNAUTHORIZED, "This session has ended. Sign in again.";
    TokenReused = "token_reused", UNAUTHORIZED, "This refresh token was used before. The session has been ended.";
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, "The request body is too large.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The request body must be application/json.";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests. Try again later.";
    AccountLocked = "account_locked", TOO_MANY_REQUESTS, "Too many wrong passwords. Try again later, or reset the password.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is busy. Try again soon.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "A part of the service can't be reached. Try again soon.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side.";
}

/// What an unavailable store asks clients to wait.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);

/// An answer that is an error. Everything in it but `log` is for the client.
#[derive(Debug, thiserror::Error)]
#[error("{}", code.name())]
pub struct ApiError {
    /// Its row.
    pub code: Code,
    /// More for people, if there is more to say.
    pub detail: Option<Cow<'static, str>>,
    /// Field → problem, on a 422.
    pub fields: BTreeMap<String, String>,
    /// `Retry-After`, on 429 and 503.
    pub retry_after: Option<Duration>,
    /// `Allow`, on a 405.
    pub allow: Option<Box<HeaderValue>>,
    /// A token that sets a new password, on a `password_change_required`.
    pub change_token: Option<Box<SecretText>>,
    /// For the log only.
    pub log: Option<String>,
}

impl ApiError {
    /// Just the code.
    pub fn new(code: Code) -> Self {
        Self { code, detail: None, fields: BTreeMap::new(), retry_after: None, allow: None, change_token: None, log: None }
    }
    /// With more to say.
    pub fn detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }
    /// With a text for the log.
    pub fn logged(code: Code, log: impl Into<String>) -> Self {
        Self { log: Some(log.into()), ..Self::new(code) }
    }
    /// 422 `validation_failed`.
    pub fn fields(fields: BTreeMap<String, String>) -> Self {
        Self { fields, ..Self::new(Code::ValidationFailed) }
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.code.status()
    }
}

impl From<service::error::Error> for ApiError {
    fn from(e: service::error::Error) -> Self {
        use service::error::Error as E;
        let wait = |code, retry_after| Self { retry_after: Some(retry_after), ..Self::new(code) };
        match e {
            E::Validation(fields) => Self::fields(fields),
            E::Unauthorized => Self::new(Code::Unauthorized),
            E::InvalidCredentials => Self::new(Code::InvalidCredentials),
            E::WrongPassword => Self::new(Code::WrongPassword),
            E::AccountSuspended => Self::new(Code::AccountSuspended),
            E::ReauthenticationRequired => Self::new(Code::ReauthenticationRequired),
            E::Forbidden | E::Denied(Denied::NoPermission) => Self::new(Code::Forbidden),
            E::Denied(why) => Self::detail(Code::Forbidden, why.text()),
            E::PasswordChangeRequired(token) => Self { change_token: Some(Box::new(token)), ..Self::new(Code::PasswordChangeRequired) },
            E::NotFound => Self::new(Code::NotFound),
            E::Conflict(what) => Self::detail(Code::Conflict, what),
            E::IdempotencyConflict => Self::new(Code::IdempotencyConflict),
            E::EmailTaken => Self::new(Code::EmailTaken),
            E::SignupUnavailable => Self::new(Code::SignupUnavailable),
            E::WeakPassword { field, detail, reason } => {
                // The rule's stable name first: programs read up to the colon, people go on.
                let told = format!("{reason}: {detail}");
                let fields = BTreeMap::from([(field.to_owned(), detail)]);
                Self { detail: Some(told.into()), fields, ..Self::new(Code::WeakPassword) }
            }
            E::BreachedPassword { field } => {
                let fields = BTreeMap::from([(field.to_owned(), Code::BreachedPassword.message().to_owned())]);
                Self { fields, ..Self::new(Code::BreachedPassword) }
            }
            E::CodeInvalid => Self::new(Code::CodeInvalid),
            E::CodeExpired => Self::new(Code::CodeExpired),
            E::LinkInvalid => Self::new(Code::LinkInvalid),
            E::InviteInvalid => Self::new(Code::InviteInvalid),
            E::InviteAccountExists => Self::new(Code::InviteAccountExists),
            E::InvalidCursor => Self::new(Code::InvalidCursor),
            E::SessionRevoked => Self::new(Code::SessionRevoked),
            E::TokenReused => Self::new(Code::TokenReused),
            E::RateLimited { retry_after } => wait(Code::RateLimited, retry_after),
            E::AccountLocked { retry_after } => wait(Code::AccountLocked, retry_after),
            E::Overloaded { retry_after } => wait(Code::Overloaded, retry_after),
            E::Unavailable(log) => Self { retry_after: Some(UNAVAILABLE_RETRY), ..Self::logged(Code::Unavailable, log) },
            E::Internal(log) => Self::logged(Code::Internal, log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients may match on.
    const PROMISED: &str = "malformed_request validation_failed invalid_cursor unauthorized invalid_credentials account_suspended \
        reauthentication_required password_change_required forbidden not_found method_not_allowed conflict idempotency_conflict email_taken signup_unavailable \
        weak_password breached_password code_invalid code_expired link_invalid invite_invalid invite_account_exists session_revoked \
        token_reused payload_too_large unsupported_media_type rate_limited account_locked overloaded unavailable internal";

    #[test]
    fn every_code_of_the_contract_has_its_row_and_no_other() {
        let mut rows: Vec<_> = Code::ALL.iter().map(|c| c.name()).collect();
        rows.dedup();
        rows.sort_unstable();
        rows.dedup();
        let mut contract: Vec<_> = PROMISED.split_whitespace().collect();
        contract.sort_unstable();
        assert_eq!(rows, contract);
    }

    #[test]
    fn what_the_log_gets_the_client_does_not() {
        let e = ApiError::from(service::error::Error::Unavailable("disk full at /var/lib".into()));
        assert_eq!((e.code, e.detail.is_none(), e.retry_after), (Code::Unavailable, true, Some(UNAVAILABLE_RETRY)));
        assert!(e.log.is_some_and(|l| l.contains("disk full")));
    }
}
