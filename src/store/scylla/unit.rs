//! The names of things: units and their rows, lists and their entries.

use crate::domain::{
    contact::ContactDigest,
    ids::{JobId, TenantId, UserId},
    mail_domain::DomainName,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes of a key. In JSON they are base64url.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    /// Joins parts of fixed lengths.
    pub(super) fn join(parts: &[&[u8]]) -> Self {
        Self(parts.concat())
    }
}
impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}
impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}
impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

macro_rules! tables {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $table:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub(super) enum $name { $($(#[$each])* $variant,)* }
        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];
            pub(super) const fn table(self) -> &'static str {
                match self { $(Self::$variant => $table,)* }
            }
        }
    };
}

tables! {
    /// Tables of units: see the schema.
    Family {
        /// By user id.
        Users = "users",
        /// By tenant id.
        Tenants = "tenants",
        /// By what is claimed.
        Claims = "claims",
        /// By job id.
        Jobs = "jobs",
        /// By tens of minutes since 1970.
        Revocations = "revocations",
        /// By name.
        Singles = "singles",
        /// By tenant and address.
        Invites = "invites",
        /// By tenant id: the ends of audit chains.
        Chains = "chains",
        /// By command id: outcomes of commands that belong to no other unit.
        Commands = "commands",
    }
}

impl Family {
    /// Seconds that anything in such a unit lives; 0: for ever.
    pub(super) const fn ttl(self) -> i32 {
        match self {
            Self::Revocations | Self::Commands => 7200,
            // A day longer than it is remembered that a job is done. One that is not done is written more often.
            Self::Jobs => 12 * 86_400,
            _ => 0,
        }
    }
}

tables! {
    /// Lists: see the schema.
    List {
        /// Commands that may have left something undone.
        Intents = "intents",
        /// Buckets that aren't empty, by list.
        Buckets = "buckets",
        /// Jobs by the hour.
        JobsDue = "jobs_due",
        /// What jobs send.
        JobBodies = "job_bodies",
        /// Waiting sign-ups by their ids.
        SignupIds = "signup_ids",
        /// What is to be looked at by the day.
        Sweeps = "sweeps",
        /// Members by tenant and state.
        Members = "members",
        /// Members by what they are searched for.
        MemberTerms = "member_terms",
        /// Accounts by when they leave the recycle bin.
        PurgesDue = "purges_due",
        /// Deleted tenants by when there is something to do.
        TenantsEnding = "tenants_ending",
        /// Kinds of password hashes.
        HashCensus = "hash_census",
        /// Events by tenant and day.
        Audit = "audit",
        /// Where events have their places in the chains, by tenant and day.
        AuditPlaces = "audit_places",
        /// Events that wait for their links, by the minute.
        AuditWaiting = "audit_waiting",
        /// What people did and what was done to them.
        AuditAbout = "audit_about",
        /// Links by tenant and block.
        AuditChain = "audit_chain",
        /// Tenants that have a chain.
        AuditTenants = "audit_tenants",
        /// API keys by prefix, and by id.
        KeyPlaces = "key_places",
        /// When API keys were used last.
        KeyUses = "key_uses",
        /// Invites by tenant.
        InvitesOf = "invites_of",
        /// Invites by address.
        InvitesTo = "invites_to",
        /// Keys and invites by who made them.
        MadeBy = "made_by",
        /// Proved domains by their names.
        ProvedDomains = "proved_domains",
    }
}

/// One unit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) family: Family,
    pub(super) key: Bytes,
}

impl Unit {
    pub(super) fn user(id: UserId) -> Self {
        Self { family: Family::Users, key: id.as_bytes().into() }
    }
    pub(super) fn tenant(id: TenantId) -> Self {
        Self { family: Family::Tenants, key: id.as_bytes().into() }
    }
    pub(super) fn job(id: JobId) -> Self {
        Self { family: Family::Jobs, key: id.as_bytes().into() }
    }
    /// The claim of an e-mail address.
    pub(super) fn email(digest: &ContactDigest) -> Self {
        Self { family: Family::Claims, key: Bytes::join(&[b"email/", digest.as_bytes()]) }
    }
    /// The claim of a tenant's slug.
    pub(super) fn slug(slug: &str) -> Self {
        Self { family: Family::Claims, key: Bytes::join(&[b"slug/", slug.as_bytes()]) }
    }
    /// The claim of a proved domain.
    pub(super) fn domain(name: &DomainName) -> Self {
        Self { family: Family::Claims, key: Bytes::join(&[b"domain/", name.as_str().as_bytes()]) }
    }
    pub(super) fn single(name: &str) -> Self {
        Self { family: Family::Singles, key: name.as_bytes().into() }
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.family.table(), self.key)
    }
}

/// Names a row of a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) kind: String,
    pub(super) key: Bytes,
}

/// A name; `key` is empty for rows of which a unit has one.
pub(super) fn name(kind: &str, key: &[u8]) -> Name {
    Name { kind: kind.into(), key: key.into() }
}
