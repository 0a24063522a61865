//! Invites: an address is asked to join a tenant, with a role.

use super::{
    contact::Email,
    ids::{ApiKeyId, InviteId, RoleId, TenantId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What became of an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteStatus {
    /// It waits for an answer.
    Pending,
    /// Somebody joined by it.
    Accepted,
    /// The tenant took it back, or a newer invite took its place.
    Revoked,
    /// Nobody answered in time.
    Expired,
    /// The invited person said no.
    Declined,
}

impl InviteStatus {
    /// All of them.
    pub const ALL: [InviteStatus; 5] = [Self::Pending, Self::Accepted, Self::Revoked, Self::Expired, Self::Declined];

    /// Stable name, in rows and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }
    /// The reverse of [`InviteStatus::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// An invite. Its two tokens are derived from it and never stored: [`crate::domain::token::MailedInvite`] goes to the address
/// and so proves the mailbox, [`crate::domain::token::HandedInvite`] is shown to the inviter and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// The tenant to join.
    pub tenant_id: TenantId,
    /// Who is invited.
    pub email: Email,
    /// As what.
    pub role_id: RoleId,
    /// As the row says: an invite whose time is over stays `Pending` until it is swept. See [`Invite::status_at`].
    pub status: InviteStatus,
    /// The person who invited (or sent it again last), or who made the API key that did; `None`: a key of the command line.
    pub inviter: Option<UserId>,
    /// The API key that invited; `None`: the person did it himself. Whoever invited must still hold what the role allows when
    /// the invite is accepted: who is gone, suspended or demoted by then, or whose key has ended, gives nothing any more.
    pub inviter_key: Option<ApiKeyId>,
    /// Random part of the tokens' HMACs.
    pub nonce: [u8; 16],
    /// Raised each time it is sent again; the tokens carry it, so that those of before die.
    pub serial: u64,
    /// When it is void.
    pub expires_at: Timestamp,
    /// When somebody joined by it.
    pub accepted_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was sent again last, by whoever answers for it since.
    #[serde(default)]
    pub sent_again_at: Option<Timestamp>,
}

impl Invite {
    /// What it is at `now`.
    pub fn status_at(&self, now: Timestamp) -> InviteStatus {
        if self.status == InviteStatus::Pending && now >= self.expires_at { InviteStatus::Expired } else { self.status }
    }
    /// When whoever answers for it offered it.
    pub fn offered_at(&self) -> Timestamp {
        self.sent_again_at.unwrap_or(self.created_at)
    }
    /// May it be accepted or declined?
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.status_at(now) == InviteStatus::Pending
    }
    /// May it be sent again? Nobody answered it, and nobody took it back.
    pub fn can_be_sent_again(&self) -> bool {
        matches!(self.status, InviteStatus::Pending | InviteStatus::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_open_until_its_time_is_over() {
        let t = Timestamp::from_millis(1_700_000_000_000);
        let end = Timestamp::from_millis(1_700_000_001_000);
        let pending = Invite {
            id: InviteId::from_bytes([1; 16]),
            tenant_id: TenantId::from_bytes([2; 16]),
            email: "ada@example.com".parse().unwrap(),
            role_id: RoleId::MEMBER,
            status: InviteStatus::Pending,
            inviter: None,
            inviter_key: None,
            nonce: [3; 16],
            serial: 1,
            expires_at: end,
            accepted_at: None,
            created_at: t,
            sent_again_at: None,
        };
        assert!(pending.is_open(t) && pending.can_be_sent_again());
        assert_eq!(pending.status_at(end), InviteStatus::Expired);
        for status in InviteStatus::ALL {
            let invite = Invite { status, ..pending.clone() };
            assert_eq!(invite.is_open(t), status == InviteStatus::Pending);
            assert_eq!(InviteStatus::from_name(status.name()), Some(status));
        }
    }
}
