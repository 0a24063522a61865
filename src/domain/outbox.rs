//! Messages to be delivered. A job holds ids, counters and digests only: the worker derives the code or link as it
//! sends, and sends nothing that is dead by then.

use super::{
    contact::ContactDigest,
    ids::{InviteId, JobId, LinkId, PendingSignupId, TenantId, UserId},
    time::Timestamp,
    token::CodePurpose,
};
use serde::{Deserialize, Serialize};

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// A code to the account's address on file ([`CodePurpose::Email`]).
    EmailCode {
        /// Whose.
        user_id: UserId,
        /// The code's serial; another one is live: nothing is sent.
        serial: u64,
    },
    /// A code to the new address of a pending e-mail change.
    EmailChangeCode {
        /// Whose.
        user_id: UserId,
        /// The code's serial.
        serial: u64,
    },
    /// A code by SMS to the number that the live code is for.
    PhoneCode {
        /// Whose.
        user_id: UserId,
        /// The code's serial.
        serial: u64,
        /// Whose SMS budget it came from.
        tenant_id: TenantId,
    },
    /// Somebody asked for a reset. Whether the address has an account is looked up by the worker, after the answer.
    ResetRequested {
        /// The address asked for.
        contact: ContactDigest,
    },
    /// Somebody signed up in `verify_first`. Code for a free address, "you have an account" for a taken one: the worker finds out.
    SignupRequested {
        /// The sign-up that waits.
        pending_id: PendingSignupId,
        /// The address's code serial.
        serial: u64,
    },
    /// Somebody signed up (`instant`) with an address that has an account.
    AccountExists {
        /// Whose.
        user_id: UserId,
    },
    /// The address was changed: a notice, with an undo link, to the old one.
    EmailChanged {
        /// Whose.
        user_id: UserId,
        /// The undo link, whose row holds the old address.
        link_id: LinkId,
    },
    /// The password was changed or reset: a notice.
    PasswordChanged {
        /// Whose.
        user_id: UserId,
    },
    /// Somebody is invited to a tenant: a link that proves the mailbox.
    Invite {
        /// The tenant.
        tenant_id: TenantId,
        /// The invite, whose row holds the address.
        invite_id: InviteId,
        /// The invite's serial; another one is live: nothing is sent.
        serial: u64,
    },
}

impl Message {
    /// Stable name, for metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EmailCode { .. } => "email_code",
            Self::EmailChangeCode { .. } => "email_change_code",
            Self::PhoneCode { .. } => "phone_code",
            Self::ResetRequested { .. } => "reset_requested",
            Self::SignupRequested { .. } => "signup_requested",
            Self::AccountExists { .. } => "account_exists",
            Self::EmailChanged { .. } => "email_changed",
            Self::PasswordChanged { .. } => "password_changed",
            Self::Invite { .. } => "invite",
        }
    }
    /// The code purpose whose live code this message carries.
    pub const fn code_purpose(&self) -> Option<CodePurpose> {
        match self {
            Self::EmailCode { .. } => Some(CodePurpose::Email),
            Self::EmailChangeCode { .. } => Some(CodePurpose::EmailChange),
            Self::PhoneCode { .. } => Some(CodePurpose::Phone),
            Self::SignupRequested { .. } => Some(CodePurpose::Signup),
            _ => None,
        }
    }
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; makes the Message-ID, so that a second delivery is visible as a duplicate.
    pub id: JobId,
    /// What to send.
    pub message: Message,
    /// When it was written.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
}
