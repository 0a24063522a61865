//! Many accounts at once: a batch is one command, and notes how far its import has come.

use super::Result;
use crate::domain::{
    audit::AuditEvent,
    authority::{By, Denied},
    contact::ContactDigest,
    context::Ctx,
    ids::{RoleId, TenantId},
    outbox::Job,
    time::Timestamp,
    user::{User, UserStatus},
};
use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Rows in one command at most.
pub const MAX_ROWS: usize = 4000;

/// Steps whose outcomes are kept: so many may be on their way at once, and whoever goes on can say what became of each row.
pub const RECENT: usize = 4;

/// Names an import: a digest of its tenant, source and file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImportId(pub [u8; 32]);

/// One account, with its membership in the tenant of the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportUser {
    /// The account, complete.
    pub user: User,
    /// Its role in the tenant.
    pub role: RoleId,
    /// The mail that tells of it, if it is made.
    #[serde(default)]
    pub job: Option<Job>,
    /// Written with it, if it is made.
    pub audit: Vec<AuditEvent>,
}

impl ImportUser {
    /// It has a password, a phone number, or an address that somebody says is right, or may not sign in: only a managed tenant (and the
    /// operator) may make such.
    pub fn vouched(&self) -> bool {
        let u = &self.user;
        u.password_hash.is_some() || u.phone.is_some() || u.email_asserted_at.is_some() || u.status != UserStatus::Active
    }
}

/// What a batch settles of an import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportStep {
    /// Which import.
    pub id: ImportId,
    /// The first record of the step: the import must have come so far, and no further.
    pub from: u64,
    /// The first record that is not settled by it.
    pub next: u64,
    /// How many records in between were refused before they got here, for whatever reason.
    pub refused: u64,
    /// Those of them that could be read (their passwords would not do): their places among all that could, ascending.
    pub unfit: Vec<u32>,
    /// There are no more.
    pub finished: bool,
}

/// Accounts for one tenant, each on its own; at most [`MAX_ROWS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportUsers {
    /// An organization.
    pub tenant_id: TenantId,
    /// Who makes them.
    pub by: By,
    /// The accounts.
    pub users: Vec<ImportUser>,
    /// The import that they are a step of, if it keeps count.
    pub step: Option<ImportStep>,
    /// Written with it, whatever becomes of the rows.
    pub audit: Vec<AuditEvent>,
}

/// What became of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// It is there.
    Created,
    /// A member of the tenant has the address.
    IsMember,
    /// Somebody elsewhere has the address.
    EmailTaken,
    /// The tenant has no such role, or whoever acts may not give it to this account.
    NoRole,
    /// Its password would not do: it never came to the store.
    Unfit,
    /// It has a password, a phone number or an assertion, and the tenant has no power over credentials.
    NotManaged,
    /// Whoever acts has not proved their own address.
    GiverUnproved,
}

impl RowOutcome {
    const LETTERS: [(Self, char); 7] = [
        (Self::GiverUnproved, 'g'),
        (Self::NotManaged, 'n'),
        (Self::Unfit, 'p'),
        (Self::Created, '+'),
        (Self::IsMember, 'm'),
        (Self::EmailTaken, 't'),
        (Self::NoRole, 'r'),
    ];
    fn letter(self) -> char {
        Self::LETTERS.iter().find(|(outcome, _)| *outcome == self).map_or('?', |(_, letter)| *letter)
    }
}

/// Outcomes, a letter each: a thousand of them are recorded for reruns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes(pub Vec<RowOutcome>);

impl Outcomes {
    /// For rows.
    pub fn letters(&self) -> String {
        self.0.iter().map(|o| o.letter()).collect()
    }
    /// The reverse of [`Outcomes::letters`]; `None` for other letters.
    pub fn from_letters(letters: &str) -> Option<Self> {
        let outcome = |c: char| RowOutcome::LETTERS.iter().find(|(_, letter)| *letter == c).map(|(outcome, _)| *outcome);
        letters.chars().map(outcome).collect::<Option<_>>().map(Self)
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.letters())
    }
}
impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let letters = String::deserialize(d)?;
        Self::from_letters(&letters).ok_or_else(|| serde::de::Error::custom("no outcomes"))
    }
}

/// Outcome of [`ImportUsers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportOutcome {
    /// Row by row.
    Done(Outcomes),
    /// The tenant is gone, or is a personal one: nothing was written.
    NoTenant,
    /// The import has not come so far, or further: nothing was written.
    Stale,
    /// Whoever asked may not: nothing was written.
    Denied(Denied),
}

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportProgress {
    /// The first record that is not settled.
    pub next: u64,
    /// Accounts made so far.
    pub created: u64,
    /// Records refused so far, for whatever reason.
    pub refused: u64,
    /// The first record of the last [`RECENT`] steps.
    pub recent_from: u64,
    /// What became of those steps' accounts.
    pub recent: Outcomes,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was through.
    pub finished_at: Option<Timestamp>,
}

/// Who has an address, as seen from a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A member of the tenant.
    Member,
    /// Somebody who isn't.
    Elsewhere,
}

/// Imports. The rules of [`super::Store`] hold.
#[async_trait]
pub trait ImportStore: Send + Sync + 'static {
    /// Writes accounts and their memberships, each on its own: one whose address is taken keeps none of the others out.
    async fn import_users(&self, ctx: &Ctx, cmd: ImportUsers) -> Result<ImportOutcome>;
    /// How far an import has come; `None` if it hasn't begun.
    async fn import_progress(&self, id: ImportId) -> Result<Option<ImportProgress>>;
    /// Forgets how far it has come: it begins anew. What it made stays.
    async fn forget_import(&self, id: ImportId) -> Result<()>;
    /// Who has each of these addresses, at most [`MAX_ROWS`].
    async fn holders(&self, tenant: TenantId, digests: Vec<ContactDigest>) -> Result<Vec<Holder>>;
}
