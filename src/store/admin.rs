//! What admins do to the users of their tenant, and to the tenant itself.

use super::{
    Result,
    commands::{Cas, PendingEmailChange, UndoLink},
};
use crate::domain::{
    api_key::ApiKey,
    audit::{AuditEntry, AuditEvent},
    authority::{Action, By, Denied, Elsewhere, Permitted, Target},
    contact::{Email, Phone},
    context::Ctx,
    hash::PasswordHash,
    ids::{RoleId, TenantId, UserId},
    network::Network,
    outbox::Job,
    permission::PermissionSet,
    policy::AuthPolicy,
    session::Session,
    tenant::Tenant,
    time::Timestamp,
    user::{Membership, User, UserStatus},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Logs what a migration has left without power that had it before.
pub(crate) fn without_power(organizations: u64, keys: u64) {
    if organizations + keys > 0 {
        tracing::warn!(
            organizations,
            api_keys_ended = keys,
            "organizations no longer have power over credentials, and keys without a maker have ended: see qeetid tenant list and qeetid tenant manage"
        );
    }
}

/// A user as a member of one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The account; it may be in the recycle bin. Its `metadata` are what this tenant keeps about it.
    pub user: User,
    /// Its roles in the tenant.
    pub roles: Vec<RoleId>,
    /// What they allow together.
    pub permissions: PermissionSet,
    /// Where else it belongs.
    pub elsewhere: Elsewhere,
}

impl Member {
    /// To whoever decides what may be done to them.
    pub fn target(&self) -> Target<'_> {
        let owner = self.roles.contains(&RoleId::OWNER);
        let Self { user, permissions, elsewhere, .. } = self;
        Target { user: user.id, permissions: *permissions, owner, email: &user.email, elsewhere: *elsewhere, independent: user.independent }
    }
}

/// Which members of a tenant. None of them is in the recycle bin.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberFilter {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Only those whose address or name begins so; in lower case, not empty.
    pub prefix: Option<String>,
    /// Only those with this status.
    pub status: Option<UserStatus>,
}

/// Where a page of members ended: the term under which the last one was found (empty without a prefix), and who it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPosition {
    /// The term.
    pub term: String,
    /// Who.
    pub user_id: UserId,
}

/// A page of members.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberPage {
    /// At most as many as asked for.
    pub members: Vec<Member>,
    /// Where to go on, if there may be more. A page of a search may hold fewer than asked for (even none) and still not be
    /// the last: a call looks at a bounded number of rows.
    pub next: Option<MemberPosition>,
}

/// A user made by an admin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateMember {
    /// The account, complete. Its address is claimed; its home is the tenant.
    pub user: User,
    /// In the tenant.
    pub membership: Membership,
    /// Who makes it.
    pub by: By,
    /// It has a password, a phone number, or an address that the admin says is right: only a managed tenant may make such.
    pub vouched: bool,
    /// The mail with the link to set a password.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateMember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateMemberOutcome {
    /// It is there.
    Created,
    /// A member of the tenant (perhaps in the bin) has the address.
    TakenInside,
    /// Somebody else has it.
    TakenOutside,
    /// The tenant is gone, or is a personal one.
    NoTenant,
    /// The tenant has no such role.
    NoRole,
    /// Whoever asked may not: nothing was written.
    Denied(Denied),
}

/// A change of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MemberChange {
    /// The whole new values, if the version is still the one read. A number that changes is unproved. Suspending raises the epoch, and all sessions end.
    Update {
        /// The version read.
        expect_version: u64,
        /// New value.
        display_name: Option<String>,
        /// New value.
        phone: Option<Phone>,
        /// New value.
        status: UserStatus,
        /// New value.
        metadata: serde_json::Map<String, serde_json::Value>,
    },
    /// A new password: epoch up, all sessions end.
    SetPassword {
        /// Of the new one.
        hash: PasswordHash,
        /// Its owner has to change it before they sign in.
        must_change: bool,
        /// The notice.
        job: Option<Job>,
    },
    /// Into the recycle bin: epoch up, all sessions end.
    Delete {
        /// When it leaves the bin.
        purge_after: Timestamp,
        /// The notice.
        job: Option<Job>,
    },
    /// Out of the bin, with its memberships and the status it had, and without its password: epoch up.
    Restore {
        /// The mail with a link to set a password.
        job: Option<Job>,
    },
    /// Out of the bin for good: every row of it goes, the address is free.
    Purge,
    /// All sessions end.
    EndSessions,
}

impl MemberChange {
    /// What it is, to whoever decides whether it may be. Writing what was there before changes nothing.
    pub fn action(&self, before: &User) -> Action {
        match self {
            Self::Update { display_name, phone, status, .. } => {
                let same = *display_name == before.display_name && *phone == before.phone && *status == before.status;
                if same { Action::SetMetadata } else { Action::Update }
            }
            Self::SetPassword { .. } => Action::SetPassword,
            Self::Delete { .. } => Action::Delete,
            Self::Restore { .. } => Action::Restore,
            Self::Purge => Action::Purge,
            Self::EndSessions => Action::EndSessions,
        }
    }
}

/// A change of one user by an admin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeMember {
    /// Whose.
    pub user_id: UserId,
    /// By whom.
    pub by: By,
    /// What.
    pub what: MemberChange,
    /// Written with it. For [`MemberChange::Purge`] it is the receipt, and must hold nothing personal.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`ChangeMember`]. Nothing was written but with `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberOutcome {
    /// It is so now.
    Done {
        /// The epoch, if it was raised: tokens of older ones are to be refused.
        raised_to: Option<u64>,
        /// How many live sessions ended.
        revoked: u64,
    },
    /// No such member (for restore and purge: of all, bin or not).
    NotFound,
    /// Whoever asked may not.
    Denied(Denied),
    /// The last active owner can't be suspended or deleted.
    LastOwner,
    /// Restore and purge are for the recycle bin only; all else for users outside it.
    WrongPlace,
    /// The version has moved on.
    Stale,
}

/// All that is kept about one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The account.
    pub user: User,
    /// Where it belongs, deleted tenants too.
    pub memberships: Vec<(Tenant, Membership)>,
    /// Sessions, newest first, at most 200.
    pub sessions: Vec<Session>,
    /// Networks that it signed in from.
    pub networks: Vec<(Network, Timestamp)>,
    /// An e-mail change that waits for its code.
    pub pending_change: Option<PendingEmailChange>,
    /// Undo links, which hold former addresses.
    pub undo_links: Vec<UndoLink>,
    /// API keys that the user made.
    pub api_keys: Vec<ApiKey>,
    /// Invites to its address: of which tenant, when.
    pub invites: Vec<(TenantId, Timestamp)>,
    /// What it did, and what was done to it: the latest 10,000, newest first.
    pub audit: Vec<AuditEntry>,
}

/// A user whose time in the recycle bin is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Who.
    pub user_id: UserId,
    /// Whose audit gets the receipt.
    pub home_tenant: TenantId,
    /// The address that is about to be free.
    pub email: Email,
}

/// The whole new values of a tenant, if the version is still the one read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateTenant {
    /// Which.
    pub tenant_id: TenantId,
    /// The version read.
    pub expect_version: u64,
    /// New value.
    pub name: String,
    /// New value.
    pub slug: String,
    /// New value.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Who asks.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`UpdateTenant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateTenantOutcome {
    /// It is so now.
    Done,
    /// Another tenant has the slug.
    SlugTaken,
    /// The version has moved on, or the tenant is gone.
    Stale,
}

/// The end of an organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeleteTenant {
    /// Which.
    pub tenant_id: TenantId,
    /// Who asks: an owner, in person, or the operator.
    pub by: By,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// The operator's word on a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManageTenant {
    /// Which.
    pub tenant_id: TenantId,
    /// Its admins have power over credentials from now on, or no longer.
    pub managed: bool,
    /// Written with it, if it changes something.
    pub audit: Vec<AuditEvent>,
}

/// The operator makes somebody an owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MakeOwner {
    /// Of which organization.
    pub tenant_id: TenantId,
    /// Whom.
    pub user_id: UserId,
    /// Written with it, if it changes something.
    pub audit: Vec<AuditEvent>,
}

/// What personal tenants are made of where no command brings one.
#[derive(Debug, Clone, PartialEq)]
pub struct Newcomers {
    /// What they start with.
    pub policy: AuthPolicy,
    /// Random part of their ids.
    pub salt: [u8; 16],
}

impl Newcomers {
    /// The personal tenant of a user. Its id follows from who it is for: two runs make the same.
    pub fn personal(&self, user: UserId, now: Timestamp) -> Tenant {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[&self.salt[..], user.as_bytes()].concat());
        let mut random = [0; 10];
        random.copy_from_slice(&digest.as_ref()[..10]);
        Tenant::personal(TenantId::of(now, &random), self.policy.clone(), now)
    }
}

/// What a step of [`AdminStore::end_tenants`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedTenants {
    /// Members seen to.
    pub members: u64,
    /// Tenants removed for good.
    pub purged: u64,
    /// There is more to do.
    pub more: bool,
}

/// Users and tenants as admins see them. The rules of [`super::Store`] hold.
#[async_trait]
pub trait AdminStore: Send + Sync + 'static {
    /// Makes a user, or says who has the address. Sign-ups of the address that wait for their code end.
    async fn create_member(&self, ctx: &Ctx, cmd: CreateMember) -> Result<CreateMemberOutcome>;
    /// One member of a live tenant, in the recycle bin or not.
    async fn member(&self, tenant: TenantId, user: UserId) -> Result<Option<Member>>;
    /// Members: without a prefix by id (which is the order of their making), with one by the term found. The first page costs what the last does.
    async fn members(&self, filter: MemberFilter, after: Option<MemberPosition>, limit: u32) -> Result<MemberPage>;
    /// Members in the recycle bin, the latest deletion first.
    async fn deleted_members(&self, tenant: TenantId, after: Option<(Timestamp, UserId)>, limit: u32) -> Result<Vec<User>>;
    /// Changes one user, if whoever asks may do that ([`crate::domain::authority::may`]).
    async fn change_member(&self, ctx: &Ctx, cmd: ChangeMember) -> Result<MemberOutcome>;
    /// All that is kept about one user.
    async fn kept_about(&self, user: UserId) -> Result<Option<Kept>>;
    /// Users whose `purge_after` has come, the longest overdue first.
    async fn overdue_users(&self, now: Timestamp, limit: u32) -> Result<Vec<Overdue>>;
    /// Purges one of them, if its time has come (`ctx.now`) and it is still in the bin; `audit` is the receipt.
    async fn purge_overdue(&self, ctx: &Ctx, user: UserId, audit: Vec<AuditEvent>) -> Result<Cas<()>>;
    /// Changes a tenant.
    async fn update_tenant(&self, ctx: &Ctx, cmd: UpdateTenant) -> Result<Permitted<UpdateTenantOutcome>>;
    /// Deletes an organization, softly: its API keys die with it. `Stale`: there is none. Members, sessions and invites follow by [`AdminStore::end_tenants`].
    async fn delete_tenant(&self, ctx: &Ctx, cmd: DeleteTenant) -> Result<Permitted<Cas<()>>>;
    /// A step towards the end of deleted tenants, a few hundred rows: their pending invites are revoked, sessions scoped to them end. Members who belong nowhere else go to the recycle bin
    /// if the tenant was managed; the others get a personal tenant. After 30 days the tenants are removed, chains of audit events from their ends, so that they are whole at each step. Call again while `more`.
    async fn end_tenants(&self, now: Timestamp, newcomers: &Newcomers) -> Result<EndedTenants>;
    /// Says whether a tenant's admins have power over the credentials of its accounts; `Stale`: there is no such organization.
    async fn manage_tenant(&self, ctx: &Ctx, cmd: ManageTenant) -> Result<Cas<()>>;
    /// Makes an account an owner of an organization, whether it belonged there or not; `Stale`: one of them is not there.
    async fn make_owner(&self, ctx: &Ctx, cmd: MakeOwner) -> Result<Cas<()>>;
    /// Live organizations by id, at most `limit`, after the last one of the page before. For the operator: it may read all tenants.
    async fn organizations(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<Tenant>>;
    /// The owners of a tenant, at most 100.
    async fn owners(&self, tenant: TenantId) -> Result<Vec<UserId>>;
    /// Wipes what is left of erased rows in unused space and logs, if something was erased since; `false`: nothing to do.
    async fn scrub(&self) -> Result<bool>;
}
