//! Messages to be delivered. A job holds ids, counters and digests only: the worker derives the code or link as it
//! sends, and sends nothing that is dead by then.

use super::{
    api_key::ApiKey,
    contact::ContactDigest,
    ids::{ApiKeyId, InviteId, JobId, LinkId, PendingSignupId, TenantId, UserId},
    network::Network,
    notice::NoticeKind,
    time::Timestamp,
    token::CodePurpose,
};
use serde::{Deserialize, Serialize};

/// Why the password of an account was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecuredBy {
    /// A change of its e-mail address was undone.
    Undone,
    /// Its owner said that a change was not theirs.
    NotMe,
    /// It came back from the recycle bin.
    Restored,
}

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
    /// An organization made an account for the address, without a password: a link to set one. It is sent while the account has no
    /// password and nobody has proved the address.
    AccountMade {
        /// Whose.
        user_id: UserId,
        /// The organization, whose policy says how long the link works.
        tenant_id: TenantId,
    },
    /// Somebody made an API key: a notice.
    ApiKeyMade {
        /// Who is told: who made the key, or an owner of the tenant.
        user_id: UserId,
        /// The key's tenant.
        tenant_id: TenantId,
        /// The key.
        key_id: ApiKeyId,
        /// The one who is told made the key, and can say that it was somebody else.
        maker: bool,
    },
    /// Whoever made an API key has left the tenant, so the key is refused until an owner takes it over: a notice to an owner.
    ApiKeyStopped {
        /// Who is told.
        user_id: UserId,
        /// The key's tenant.
        tenant_id: TenantId,
        /// The key.
        key_id: ApiKeyId,
    },
    /// An API key has ended because its maker secured their account: a notice to an owner.
    ApiKeyEnded {
        /// Who is told.
        user_id: UserId,
        /// The key's tenant.
        tenant_id: TenantId,
        /// The key.
        key_id: ApiKeyId,
    },
    /// The account went to the recycle bin: a notice to its address.
    AccountDeleted {
        /// Whose.
        user_id: UserId,
        /// The account's epoch since the deletion; it has another one: nothing is sent.
        epoch: u64,
        /// Its own session deleted it: the mail has a link that brings it back.
        own: bool,
    },
    /// Somebody did something that the account's owner should know of, see [`super::notice`]. It goes to a proved address, once a day of each kind.
    Notice {
        /// Whose address. Of refused sign-ins it is whatever was typed: the same row for addresses with and without an account.
        contact: ContactDigest,
        /// What.
        what: NoticeKind,
        /// From where.
        network: Option<Network>,
        /// With what, as [`super::notice::agent_family`] says.
        agent: Option<String>,
    },
    /// The password was removed to secure the account: a link to set a new one. It is sent while the account has no password.
    Secured {
        /// Whose.
        user_id: UserId,
        /// Why.
        why: SecuredBy,
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
            Self::AccountMade { .. } => "account_made",
            Self::ApiKeyMade { .. } => "api_key_made",
            Self::ApiKeyStopped { .. } => "api_key_stopped",
            Self::ApiKeyEnded { .. } => "api_key_ended",
            Self::AccountDeleted { .. } => "account_deleted",
            Self::Notice { .. } => "notice",
            Self::Secured { .. } => "secured",
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

impl Job {
    /// A job that a store writes by itself, with the command that makes it necessary: its id follows from what it is about, so that two
    /// runs of the command write one.
    pub fn of(about: &[&[u8]], message: Message, now: Timestamp) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &about.concat());
        let mut random = [0; 10];
        random.copy_from_slice(&digest.as_ref()[..10]);
        Self { id: JobId::of(now, &random), message, created_at: now, attempts: 0 }
    }
    /// To one of the owners of a tenant: a key's maker has left.
    pub fn key_stopped(owner: UserId, key: &ApiKey, now: Timestamp) -> Self {
        let message = Message::ApiKeyStopped { user_id: owner, tenant_id: key.tenant_id, key_id: key.id };
        Self::of(&[b"stopped", key.id.as_bytes(), owner.as_bytes()], message, now)
    }
    /// To one of the owners of a tenant: a key was ended because its maker secured their account.
    pub fn key_ended(owner: UserId, key: &ApiKey, now: Timestamp) -> Self {
        let message = Message::ApiKeyEnded { user_id: owner, tenant_id: key.tenant_id, key_id: key.id };
        Self::of(&[b"ended", key.id.as_bytes(), owner.as_bytes()], message, now)
    }
    /// To the maker of a key, or to one of the owners of its tenant.
    pub fn key_made(user: UserId, key: &ApiKey) -> Self {
        let maker = key.user_id == Some(user);
        let message = Message::ApiKeyMade { user_id: user, tenant_id: key.tenant_id, key_id: key.id, maker };
        // The time of the key: a link in the mail ends what was made since then, and so this key.
        Self::of(&[b"made", key.id.as_bytes(), user.as_bytes()], message, key.created_at)
    }
}

/// How many owners of a tenant are told of a key.
pub const OWNERS_TOLD: u32 = 20;
/// Of how many keys of a tenant one command tells an owner, when it ends or stops more: the list of keys shows them all.
pub const KEYS_TOLD: usize = 10;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_kind_as_metrics_do() {
        let (user_id, tenant_id) = (UserId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let key_id = ApiKeyId::from_bytes([3; 16]);
        let mut messages = vec![
            Message::EmailCode { user_id, serial: 1 },
            Message::PasswordChanged { user_id },
            Message::Invite { tenant_id, invite_id: InviteId::from_bytes([4; 16]), serial: 1 },
            Message::AccountMade { user_id, tenant_id },
            Message::ApiKeyMade { user_id, tenant_id, key_id, maker: true },
            Message::ApiKeyStopped { user_id, tenant_id, key_id },
            Message::ApiKeyEnded { user_id, tenant_id, key_id },
            Message::AccountDeleted { user_id, epoch: 2, own: false },
        ];
        messages.extend(NoticeKind::ALL.map(|what| Message::Notice {
            contact: ContactDigest::from_bytes([5; 32]),
            what,
            network: Some(Network::V4([192, 0, 2, 1])),
            agent: None,
        }));
        messages.extend([SecuredBy::Undone, SecuredBy::NotMe, SecuredBy::Restored].map(|why| Message::Secured { user_id, why }));
        for message in messages {
            let row = serde_json::to_value(&message).unwrap();
            assert_eq!(row["kind"], message.name());
            assert_eq!(serde_json::from_value::<Message>(row).unwrap(), message);
        }
        let row = serde_json::to_value(Message::Secured { user_id, why: SecuredBy::NotMe }).unwrap();
        assert_eq!(row["why"], "not_me");
    }
}
