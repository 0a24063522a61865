//! Commands by which people get their accounts back.

use crate::domain::{
    audit::AuditEvent,
    ids::{LinkId, SessionId, UserId},
    outbox::Job,
    tenant::Tenant,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Puts the old address back, all in one: conditional on the link being unused and in time; claims the old address and
/// frees the present one; proved (the link proved it); epoch up; the password, all sessions, reset links, the pending change, the phone
/// number, keys of the personal tenant and those made since the change, and the user's undo links made after this one go: whoever made
/// the change may know or have made them. Works from the recycle bin, and takes the account out of it. If the old address had never been
/// proved, it is unproved as before: the account may have been made in advance by a stranger, and the reset that follows is its first proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoEmailChange {
    /// Whose.
    pub user_id: UserId,
    /// The link.
    pub link_id: LinkId,
    /// The personal tenant, if no tenant of theirs is left.
    pub personal: Box<Tenant>,
    /// The mail with a link to set a password.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// The person says, by the link in a security mail, that a change was not theirs: the password goes, all sessions, the pending e-mail
/// change, keys of the personal tenant and those made since the mail; links of mails that were written before are dead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecureAccount {
    /// Whose.
    pub user_id: UserId,
    /// When the mail was written; `Stale` if another such link was used since.
    pub made_at: Timestamp,
    /// The mail with a link to set a password.
    pub job: Job,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// The person takes their account out of the recycle bin, by the link in the mail that told them of the deletion: without its password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreAccount {
    /// Whose.
    pub user_id: UserId,
    /// The epoch that the deletion gave it.
    pub epoch: u64,
    /// The personal tenant, if no tenant of theirs is left.
    pub personal: Box<Tenant>,
    /// The mail with a link to set a password.
    pub job: Job,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// The password was given again in a session: it counts as signed in now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInAgain {
    /// Whose.
    pub user_id: UserId,
    /// Which session.
    pub session_id: SessionId,
    /// The epoch that the password was verified under.
    pub epoch: u64,
}
