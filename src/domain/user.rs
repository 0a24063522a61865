//! Accounts: global, with memberships in tenants.

use super::{
    contact::{Email, Phone},
    hash::PasswordHash,
    ids::{RoleId, TenantId, UserId},
    time::Timestamp,
    token::CodePurpose,
};
use serde::{Deserialize, Serialize};

/// May it sign in?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// Yes.
    Active,
    /// No: an admin said so. Told (403) only after the right password.
    Suspended,
}

impl UserStatus {
    /// Stable name, in rows and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
    /// The reverse of [`UserStatus::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended].into_iter().find(|s| s.name() == name)
    }
}

/// For each purpose, the serial of the last one-time code that was used. A code with a serial that is not above it is
/// dead, even where the ephemeral store forgot, or went back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CodeSerials {
    /// [`CodePurpose::Email`].
    pub email: u64,
    /// [`CodePurpose::Phone`].
    pub phone: u64,
    /// [`CodePurpose::EmailChange`].
    pub email_change: u64,
}

impl CodeSerials {
    /// The last serial used; sign-ups have none: the account that they make is their single use.
    pub fn last(&self, purpose: CodePurpose) -> u64 {
        match purpose {
            CodePurpose::Email => self.email,
            CodePurpose::Phone => self.phone,
            CodePurpose::EmailChange => self.email_change,
            CodePurpose::Signup => 0,
        }
    }
}

/// A person's account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The personal tenant made at sign-up, or the tenant that invited or created the user.
    pub home_tenant: TenantId,
    /// Where the last sign-in or switch went; the scope of the next sign-in.
    pub last_tenant: Option<TenantId>,
    /// The address that mail goes to.
    pub email: Email,
    /// When a code or mailed token proved it.
    pub email_verified_at: Option<Timestamp>,
    /// When an admin (or an import) said that the address is right. Shown where nothing proved it; it is no proof, and opens nothing.
    pub email_asserted_at: Option<Timestamp>,
    /// A phone number, if one was given.
    pub phone: Option<Phone>,
    /// When a code proved it.
    pub phone_verified_at: Option<Timestamp>,
    /// At most 200 characters, no controls.
    pub display_name: Option<String>,
    /// BCP 47 tag, at most 35 characters.
    pub locale: Option<String>,
    /// Active or suspended.
    pub status: UserStatus,
    /// What the account was made with, at most 16 KiB: its home tenant's, until that notes something else ([`User::metadata_in`]).
    pub metadata: Metadata,
    /// `None`: no password set.
    pub password_hash: Option<PasswordHash>,
    /// Raised by every reset, password set or change, e-mail change, suspension and deletion.
    pub credential_epoch: u64,
    /// Raised by every write; each write is conditional on it or on a narrower value.
    pub version: u64,
    /// Single use of codes.
    pub code_serials: CodeSerials,
    /// The last sign-in.
    pub last_login_at: Option<Timestamp>,
    /// It was made by an organization without power over credentials: it belongs to whoever proves its address, who gets a personal
    /// tenant then.
    #[serde(default)]
    pub independent: bool,
    /// An admin set the password, and asked that its owner change it before they sign in.
    #[serde(default)]
    pub must_change: bool,
    /// When its owner last said that a change was not theirs: links of mails that were written before are dead.
    #[serde(default)]
    pub not_me_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change of what the API shows.
    pub updated_at: Timestamp,
    /// In the recycle bin since.
    pub deleted_at: Option<Timestamp>,
    /// When it leaves the bin for good.
    pub purge_after: Option<Timestamp>,
}

/// The form of a display name in which it is searched for.
pub fn name_key(name: &str) -> String {
    name.to_lowercase()
}

/// What a tenant keeps about somebody: any JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

impl User {
    /// What a tenant keeps about the account. `kept` stands in the membership; nothing there: what it was made with, in its home.
    pub fn metadata_in(&self, tenant: TenantId, kept: Option<Metadata>) -> Metadata {
        kept.unwrap_or_else(|| if self.home_tenant == tenant { self.metadata.clone() } else { Metadata::new() })
    }
    /// May a session be made or go on?
    pub fn may_sign_in(&self) -> bool {
        self.deleted_at.is_none() && self.status == UserStatus::Active
    }
}

/// That a user belongs to a tenant, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Who.
    pub user_id: UserId,
    /// Where.
    pub tenant_id: TenantId,
    /// As what; never empty.
    pub roles: Vec<RoleId>,
    /// Since when.
    pub joined_at: Timestamp,
}
