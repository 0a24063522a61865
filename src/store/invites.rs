//! Invites: made, sent again, taken back, answered.

use super::{Result, commands::Cas};
use crate::domain::{
    audit::AuditEvent,
    authority::{By, Denied, Permitted},
    contact::ContactDigest,
    context::Ctx,
    ids::{ApiKeyId, InviteId, TenantId, UserId},
    invite::{Invite, InviteStatus},
    network::Network,
    outbox::Job,
    session::Session,
    tenant::Tenant,
    time::Timestamp,
    user::User,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An invite that was answered, taken back or let expire stays in the lists this long.
pub const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// A new invite. A pending one to the same address in the same tenant is revoked by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateInvite {
    /// The invite.
    pub invite: Invite,
    /// Who invites.
    pub by: By,
    /// Its mail, if one may go out.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateInvite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateInviteOutcome {
    /// It is there.
    Created,
    /// The tenant is gone, or has one member for ever.
    NoTenant,
    /// The tenant has no such role.
    NoRole,
    /// Whoever invites may not: nothing was written.
    Denied(Denied),
}

/// Sends an invite again: the serial goes up by one, so that the tokens of before die. Conditional on the serial, and on
/// nobody having answered it or taken it back. An expired one is pending again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResendInvite {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Which.
    pub invite_id: InviteId,
    /// The serial read.
    pub expect_serial: u64,
    /// When it is void now.
    pub expires_at: Timestamp,
    /// Who sends it.
    pub by: By,
    /// Who answers for it from now on; see [`Invite::inviter`].
    pub inviter: Option<UserId>,
    /// See [`Invite::inviter_key`].
    pub inviter_key: Option<ApiKeyId>,
    /// Its mail, if one may go out.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`ResendInvite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResendOutcome {
    /// It was written.
    Sent,
    /// It had expired, and there is a newer one to the address.
    Superseded,
    /// Whoever sends it may not: nothing was written.
    Denied(Denied),
}

/// Takes an invite back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokeInvite {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Which.
    pub invite_id: InviteId,
    /// Who asks.
    pub by: By,
    /// Written with it, if it was not revoked before.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`RevokeInvite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeOutcome {
    /// It is revoked (or was before).
    Revoked,
    /// The tenant has no such invite.
    NotFound,
    /// It was accepted or declined: nothing was written.
    Answered,
}

/// What an acceptance has to do with the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mailbox {
    /// The token was mailed: the address counts as proved from now on.
    ProvedNow,
    /// The account must have proved the address before.
    ProvedBefore,
    /// The token was handed over: nothing is proved.
    NotProved,
}

/// Who joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Joins {
    /// A new account, with its first session. Its address is claimed.
    New {
        /// The account, complete; its home is the inviting tenant.
        user: Box<User>,
        /// Its first session.
        session: Box<Session>,
        /// Known from now on.
        network: Network,
    },
    /// An account that exists: conditional on its epoch, and on its being able to sign in.
    Account {
        /// Who.
        user_id: UserId,
        /// The epoch that it was read (and its password verified) under.
        epoch: u64,
        /// About the mailbox.
        mailbox: Mailbox,
        /// A session in the tenant, if it signs in with it, and the network that is known from now on.
        sign_in: Option<(Box<Session>, Network)>,
    },
}

/// Accepts an invite, all in one: the account if it is new, the membership, the role, the session, the end of the invite.
/// Conditional on the invite being pending, in time and of this serial, and on the account having its address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptInvite {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Which.
    pub invite_id: InviteId,
    /// The serial read.
    pub serial: u64,
    /// Who joins.
    pub joins: Joins,
    /// The personal tenant of who joins, if this is the first proof of an account that an organization without power makes or made.
    pub personal: Option<Box<Tenant>>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`AcceptInvite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcceptOutcome {
    /// A member now, with the role.
    Joined,
    /// The invite is no longer open, its tenant or role is gone, or whoever invited may no longer give that role.
    Gone,
    /// A new account was to be made, and somebody has the address.
    EmailTaken(UserId),
    /// The account is no longer as it was read, or its address is not the invited one.
    Stale,
    /// Only somebody with a proved address may have the role: nothing was written.
    Denied(Denied),
}

/// Declines an invite to the account's proved address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeclineInvite {
    /// Of which tenant.
    pub tenant_id: TenantId,
    /// Which.
    pub invite_id: InviteId,
    /// Who.
    pub user_id: UserId,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Invites. The rules of [`super::Store`] hold.
#[async_trait]
pub trait InviteStore: Send + Sync + 'static {
    /// Makes an invite.
    async fn create_invite(&self, ctx: &Ctx, cmd: CreateInvite) -> Result<CreateInviteOutcome>;
    /// Sends one again; `Stale` if it is gone, answered, revoked, or of another serial.
    async fn resend_invite(&self, ctx: &Ctx, cmd: ResendInvite) -> Result<Cas<ResendOutcome>>;
    /// Takes one back.
    async fn revoke_invite(&self, ctx: &Ctx, cmd: RevokeInvite) -> Result<Permitted<RevokeOutcome>>;
    /// An invite of a tenant, whatever became of it.
    async fn invite(&self, tenant: TenantId, id: InviteId) -> Result<Option<Invite>>;
    /// Invites of a tenant, newest first, those made before `after` (the last id of the page before), at most `limit`; with
    /// `status`, those that are so at `now`.
    async fn invites(
        &self,
        tenant: TenantId,
        status: Option<InviteStatus>,
        after: Option<InviteId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Invite>>;
    /// What an address could accept at `now`, with the (live) tenants, newest first, at most 200.
    async fn open_invites(&self, email: &ContactDigest, now: Timestamp) -> Result<Vec<(Invite, Tenant)>>;
    /// One of them.
    async fn open_invite(&self, email: &ContactDigest, id: InviteId, now: Timestamp) -> Result<Option<(Invite, Tenant)>>;
    /// Accepts one.
    async fn accept_invite(&self, ctx: &Ctx, cmd: AcceptInvite) -> Result<AcceptOutcome>;
    /// Declines one; `Stale` if it isn't open, or not to the account's proved address.
    async fn decline_invite(&self, ctx: &Ctx, cmd: DeclineInvite) -> Result<Cas<()>>;
}
