//! What moves when an installation moves to another backend: all that lasts, as things that a backend can write one by one, in
//! an order that a copy can go on in.
//!
//! Not moved, because nobody misses it: outcomes of commands (only a request under way asks for them again), the leases of who does
//! what for all, and what can be derived from the rest.

use super::{
    commands::{PendingEmailChange, PendingSignup, ResetLink, UndoLink},
    imports::{ImportId, Outcomes},
};
use crate::domain::{
    api_key::ApiKey,
    audit::{AuditEntry, Head},
    contact::{ContactDigest, Email},
    ids::{AuditId, JobId, RoleId, TenantId, UserId},
    invite::Invite,
    jwt::StoredKey,
    network::Network,
    permission::Role,
    session::Session,
    tenant::{Tenant, TenantKind},
    time::Timestamp,
    user::{Metadata, User},
};
use std::collections::BTreeMap;

/// A part of a copy: things of one kind, in the order of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// [`Item::SigningKey`].
    SigningKeys,
    /// [`Item::HashKind`].
    HashKinds,
    /// [`Item::Tenant`].
    Tenants,
    /// [`Item::User`].
    Users,
    /// [`Item::Signup`].
    Signups,
    /// [`Item::Invites`].
    Invites,
    /// [`Item::Job`].
    Jobs,
    /// [`Item::Event`].
    Events,
    /// [`Item::Link`].
    Links,
    /// [`Item::Chain`].
    Chains,
    /// [`Item::Import`].
    Imports,
}

impl Phase {
    /// All, in the order of the copy.
    pub const ALL: [Self; 11] = [
        Self::SigningKeys,
        Self::HashKinds,
        Self::Tenants,
        Self::Users,
        Self::Signups,
        Self::Invites,
        Self::Jobs,
        Self::Events,
        Self::Links,
        Self::Chains,
        Self::Imports,
    ];
    /// For people, and for the note of how far a copy has come.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SigningKeys => "signing keys",
            Self::HashKinds => "kinds of hashes",
            Self::Tenants => "tenants",
            Self::Users => "users",
            Self::Signups => "sign-ups under way",
            Self::Invites => "invites",
            Self::Jobs => "messages to be sent",
            Self::Events => "audit events",
            Self::Links => "audit links",
            Self::Chains => "audit chains",
            Self::Imports => "imports",
        }
    }
    /// The reverse of [`Phase::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// One thing.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A signing key, sealed as it is.
    SigningKey(StoredKey),
    /// A kind of password hash that was ever stored.
    HashKind(String),
    /// A tenant with what is its own.
    Tenant(Box<MovedTenant>),
    /// An account with what is its own.
    User(Box<MovedUser>),
    /// A sign-up that waits for its code.
    Signup(PendingSignup),
    /// What an address has in a tenant.
    Invites(MovedInvites),
    /// A message that is still to be sent, or was given up.
    Job(MovedJob),
    /// An audit event as it lies there, and its link if it has one.
    Event(Box<AuditEntry>, Option<[u8; 32]>),
    /// A link of an audit chain.
    Link(MovedLink),
    /// The end of an audit chain, and where its events and links lie.
    Chain(MovedChain),
    /// How far an import has come.
    Import(MovedImport),
}

/// See [`Item::Tenant`].
#[derive(Debug, Clone, PartialEq)]
pub struct MovedTenant {
    /// The tenant; deleted ones too.
    pub tenant: Tenant,
    /// Its own roles.
    pub roles: Vec<Role>,
    /// Its keys; revoked ones too.
    pub keys: Vec<ApiKey>,
    /// Its owners, and whether each can act (isn't suspended, nor in the recycle bin).
    pub owners: Vec<(UserId, bool)>,
    /// It is on its way out.
    pub ending: Option<MovedEnding>,
}

/// A deleted tenant's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedEnding {
    /// Since when.
    pub deleted_at: Timestamp,
    /// Its invites are revoked, and its members let go.
    pub members_gone: bool,
}

/// See [`Item::User`].
#[derive(Debug, Clone, PartialEq)]
pub struct MovedUser {
    /// The account; in the recycle bin too.
    pub user: User,
    /// The epoch under which the password was set.
    pub password_epoch: Option<u64>,
    /// Networks that it signed in from, and when last.
    pub networks: Vec<(Network, Timestamp)>,
    /// Where it belongs.
    pub memberships: Vec<MovedMembership>,
    /// Its sessions; ended ones too, until they are swept.
    pub sessions: Vec<Session>,
    /// Its pending change of address.
    pub pending_change: Option<PendingEmailChange>,
    /// Its reset links.
    pub reset_links: Vec<ResetLink>,
    /// Its undo links.
    pub undo_links: Vec<UndoLink>,
    /// Addresses of before that stay taken while those links are good.
    pub reserved: Vec<Email>,
}

/// One membership of a [`MovedUser`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedMembership {
    /// Where.
    pub tenant: TenantId,
    /// What kind of tenant that is.
    pub kind: TenantKind,
    /// As what.
    pub roles: Vec<RoleId>,
    /// Since when.
    pub joined_at: Timestamp,
    /// What the tenant keeps about them.
    pub metadata: Option<Metadata>,
}

/// See [`Item::Invites`].
#[derive(Debug, Clone, PartialEq)]
pub struct MovedInvites {
    /// The tenant.
    pub tenant: TenantId,
    /// Of the address.
    pub digest: ContactDigest,
    /// The invites, and when each is to be looked at.
    pub invites: Vec<(Invite, Timestamp)>,
}

/// See [`Item::Job`].
#[derive(Debug, Clone, PartialEq)]
pub struct MovedJob {
    /// Its id.
    pub id: JobId,
    /// What to send, as it lies there: perhaps of a kind that this version doesn't know.
    pub message: serde_json::Value,
    /// When it was written.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is due.
    pub due_at: Timestamp,
    /// It was given up.
    pub parked: bool,
    /// What went wrong the last time.
    pub error: Option<String>,
}

/// See [`Item::Link`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedLink {
    /// Whose chain.
    pub tenant: TenantId,
    /// Its place, counted from 1.
    pub seq: u64,
    /// The event that it names.
    pub event: AuditId,
    /// When that happened; of an event that is gone, when its id was made.
    pub at: Timestamp,
    /// The link.
    pub link: [u8; 32],
}

/// See [`Item::Chain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedChain {
    /// Whose.
    pub tenant: TenantId,
    /// The end as noted; `None`: there is no note.
    pub head: Option<Head>,
    /// Places of links, one of each thousand that has any (1 to 1000, 1001 to 2000, …).
    pub seqs: Vec<u64>,
    /// Days (since 1970) on which something happened.
    pub days: Vec<i64>,
}

/// See [`Item::Import`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedImport {
    /// Names it.
    pub id: ImportId,
    /// Whose members its users become.
    pub tenant: TenantId,
    /// The first record that is not settled.
    pub next: u64,
    /// Accounts made so far.
    pub created: u64,
    /// Records refused so far.
    pub refused: u64,
    /// The first record of each of the last steps, and what became of its accounts.
    pub recent: Vec<(u64, Outcomes)>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was through.
    pub finished_at: Option<Timestamp>,
}

/// How many of something.
pub type Counts = BTreeMap<&'static str, u64>;

impl Item {
    /// Counts what is in it: to be compared with what the source says that it has.
    pub fn count(&self, counts: &mut Counts) {
        let mut add = |what, n: usize| *counts.entry(what).or_default() += n as u64;
        match self {
            Self::SigningKey(_) => add("signing_keys", 1),
            Self::HashKind(_) => add("hash_census", 1),
            Self::Tenant(t) => {
                add("tenants", 1);
                add("proved_domains", if t.tenant.deleted_at.is_some() { 0 } else { t.tenant.proved_domains().count() });
                add("roles", t.roles.len());
                add("api_keys", t.keys.len());
                add("tenant_endings", usize::from(t.ending.is_some()));
            }
            Self::User(u) => {
                add("users", 1);
                add("known_networks", u.networks.len());
                add("memberships", u.memberships.len());
                add("member_roles", u.memberships.iter().map(|m| m.roles.len()).sum());
                add("sessions", u.sessions.len());
                add("pending_email_changes", usize::from(u.pending_change.is_some()));
                add("reset_links", u.reset_links.len());
                add("undo_links", u.undo_links.len());
            }
            Self::Signup(_) => add("pending_signups", 1),
            Self::Invites(i) => add("invites", i.invites.len()),
            Self::Job(_) => add("outbox", 1),
            Self::Event(..) => add("audit", 1),
            Self::Link(_) => add("audit_chain", 1),
            Self::Chain(c) => add("audit_heads", usize::from(c.head.is_some())),
            Self::Import(_) => add("imports", 1),
        }
    }
}
