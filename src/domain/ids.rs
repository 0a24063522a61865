//! Every kind of id, in one list. All are UUID v7 (RFC 9562), made from a [`Clock`] and an [`Rng`].

use super::{
    rng::Rng,
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// The text was not a hyphenated UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct BadId;

fn parse(text: &str) -> Result<Uuid, BadId> {
    // `Uuid::from_str` also takes braces, URNs and bare hex: one spelling on the wire is enough.
    if text.len() != 36 {
        return Err(BadId);
    }
    Uuid::try_parse(text).map_err(|_| BadId)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: milliseconds of `clock`, then 74 random bits.
            pub fn new(clock: &dyn Clock, rng: &dyn Rng) -> Self {
                let mut random = [0u8; 10];
                rng.fill(&mut random);
                Self::of(rng.id_time(clock.now()), &random)
            }
            /// The id of a moment and of random bits.
            pub fn of(at: Timestamp, random: &[u8; 10]) -> Self {
                let millis = u64::try_from(at.millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
            }
            /// Takes over an id that a store or a token holds.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
            /// The 16 bytes, as stores and tokens keep them.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                parse(text).map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }
    )*};
}

ids! {
    /// A person's account; global, not per tenant.
    UserId;
    /// A tenant: personal (one member) or an organization.
    TenantId;
    /// A session: one sign-in on one device.
    SessionId;
    /// A role; the system roles have fixed ids, see [`RoleId::OWNER`].
    RoleId;
    /// One store command; a rerun carries the same id and so knows its own work.
    CommandId;
    /// A row of the outbox.
    JobId;
    /// A password-reset or undo link.
    LinkId;
    /// A sign-up that waits for its code (`verify_first`).
    PendingSignupId;
    /// An API key.
    ApiKeyId;
    /// A domain that a tenant has entered.
    DomainId;
    /// An invite.
    InviteId;
    /// An audit event.
    AuditId;
    /// A request whose client gave no `X-Request-Id`.
    RequestId;
}

impl RoleId {
    /// System role: may do everything in its tenant, and is counted: the last one can't go.
    pub const OWNER: RoleId = RoleId::from_bytes(*b"\0\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x01");
    /// System role: manages users, invites and settings.
    pub const ADMIN: RoleId = RoleId::from_bytes(*b"\0\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x02");
    /// System role: belongs to the tenant, manages nothing.
    pub const MEMBER: RoleId = RoleId::from_bytes(*b"\0\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x03");

    /// The name of a system role; `None` for a custom one.
    pub fn system_name(self) -> Option<&'static str> {
        match self {
            Self::OWNER => Some("owner"),
            Self::ADMIN => Some("admin"),
            Self::MEMBER => Some("member"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{rng::SeededRng, time::ManualClock};

    #[test]
    fn an_id_is_a_v7_uuid_of_its_time_and_survives_text() {
        let clock = ManualClock::at_millis(1_700_000_000_000);
        let id = UserId::new(&clock, &SeededRng::new(7));
        let text = id.to_string();
        assert_eq!(&text[..13], "018bcfe5-6800");
        assert_eq!(&text[14..15], "7");
        assert_eq!(text.parse::<UserId>(), Ok(id));
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in ["", "x", "{018bcfe5-6800-7000-8000-000000000000}", "018bcfe5680070008000000000000000"] {
            assert_eq!(bad.parse::<UserId>(), Err(BadId));
        }
    }
}
