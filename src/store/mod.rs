//! What lasts. [`Store`] has one method for one whole business command; there is no begin or commit in it.
//!
//! `commands` holds what goes in and comes out, `error` says whether a failed write may have happened, `deadline` how long a request waits, `conformance`
//! is the suite that every backend passes unchanged, `sqlite` is the embedded backend, `scylla` the distributed one, `copy` what
//! moves from the one to the other.

pub mod access;
pub mod admin;
pub mod audit;
pub mod commands;
#[cfg(test)]
pub(crate) mod conformance;
pub mod copy;
pub mod deadline;
pub mod domains;
pub mod error;
pub mod imports;
pub mod invites;
pub mod leases;
pub mod policy;
pub mod recovery;
pub mod scylla;
pub mod sqlite;
mod unknown;

use crate::domain::{
    contact::ContactDigest,
    context::Ctx,
    ids::{JobId, LinkId, PendingSignupId, SessionId, TenantId, UserId},
    jwt::StoredKey,
    network::Network,
    outbox::Job,
    session::Session,
    tenant::Tenant,
    time::Timestamp,
    user::{Membership, Metadata, User},
};
use access::AccessStore;
use admin::AdminStore;
use async_trait::async_trait;
use audit::AuditStore;
use commands::*;
use domains::DomainStore;
pub use error::{Certainty, StoreError};
use imports::ImportStore;
use invites::InviteStore;
use leases::LeaseStore;
use policy::PolicyStore;

/// Result of every store method.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store. Rules that every backend keeps, and that the conformance suite checks:
///
/// - A method is one atomic command: all of it is there afterwards, or nothing.
/// - It answers after the write is durable. An `Err` says by [`Certainty`] whether it may have happened all the same.
/// - A command that takes a [`Ctx`] records `ctx.command` with its outcome (for at least an hour): run again with the
///   same id it changes nothing and gives the first outcome again.
/// - Writes are conditional (compare-and-set) on what the caller read: version, epoch, generation or serial.
/// - Audit events of a command are written with it.
/// - The store asks no clock: `ctx.now` and arguments are the time.
/// - Reads see every write acknowledged before they began.
#[async_trait]
pub trait Store:
    AccessStore + AdminStore + AuditStore + DomainStore + ImportStore + InviteStore + LeaseStore + PolicyStore + Send + Sync + 'static
{
    // ---- accounts ----

    /// Claims the address and writes user, tenant, membership, session (and consumes the pending sign-up), or says who has the address.
    async fn create_user(&self, ctx: &Ctx, cmd: CreateUser) -> Result<CreateUserOutcome>;
    /// Whether this very command, run as [`Store::create_user`], made the account that has an address, in another run of its request.
    ///
    /// # Errors
    /// [`Certainty::AnotherRun`], if so.
    async fn made_by_another_run(&self, ctx: &Ctx, digest: &ContactDigest) -> Result<()>;
    /// Writes a sign-up that waits for its code, and its job.
    async fn begin_signup(&self, ctx: &Ctx, pending: PendingSignup, job: Job) -> Result<()>;
    /// A sign-up that waits; `None` if unknown or consumed. Expired ones are given until swept.
    async fn pending_signup(&self, id: PendingSignupId) -> Result<Option<PendingSignup>>;
    /// Counts one try of the code against the pending sign-up, atomically; gives the new count, or `None` if it is gone.
    async fn count_signup_try(&self, id: PendingSignupId) -> Result<Option<u32>>;
    /// An account, deleted ones too.
    async fn user(&self, id: UserId) -> Result<Option<User>>;
    /// The account that has an address (deleted ones too, until purged).
    async fn user_by_email(&self, digest: &ContactDigest) -> Result<Option<User>>;
    /// For a sign-in: the account of an address, and whether it has signed in from `network` before. Does the same reads for an unknown address.
    async fn login_lookup(&self, digest: &ContactDigest, network: Network) -> Result<LoginLookup>;
    /// Changes the profile if the version is still the one read.
    async fn update_profile(&self, ctx: &Ctx, cmd: UpdateProfile) -> Result<Cas<User>>;
    /// Soft delete: epoch up, sessions die, links die.
    async fn delete_user(&self, ctx: &Ctx, cmd: DeleteUser) -> Result<Cas<DeleteOutcome>>;

    // ---- passwords ----

    /// Sets a new password: epoch up; every session but `keep` dies, pending e-mail change and reset links too; writes the notice.
    async fn change_password(&self, ctx: &Ctx, cmd: ChangePassword) -> Result<Cas<()>>;
    /// Puts today's hash in the place of the very hash that was verified. No epoch change. `false`: it was another one by then.
    async fn rehash(&self, ctx: &Ctx, cmd: Rehash) -> Result<bool>;
    /// Writes a reset link if the account's epoch is still `link.epoch` and it may sign in; `false` otherwise.
    async fn create_reset_link(&self, ctx: &Ctx, link: ResetLink) -> Result<bool>;
    /// A reset link, used ones too until swept.
    async fn reset_link(&self, user: UserId, link: LinkId) -> Result<Option<ResetLink>>;
    /// Uses a reset link: see [`CompleteReset`]. `Stale` if it was used, has expired, or the epoch has moved.
    async fn complete_reset(&self, ctx: &Ctx, cmd: CompleteReset) -> Result<Cas<ResetOutcome>>;
    /// The kinds of hashes ([`crate::domain::hash::PasswordHash::census`]) ever written; few.
    async fn hash_census(&self) -> Result<Vec<String>>;

    // ---- sessions ----

    /// Opens a session if the account may sign in, belongs to the (live) tenant of the session, and its epoch is still the one that the password was verified under;
    /// notes the network as known (the latest 16 are kept), `last_login_at` and `last_tenant`.
    async fn create_session(&self, ctx: &Ctx, cmd: CreateSession) -> Result<Cas<()>>;
    /// A session with what decides about it in its account.
    async fn session(&self, user: UserId, session: SessionId) -> Result<Option<SessionView>>;
    /// Turns the refresh token: generation from `expect` to `to`, if neither that, nor the epoch, nor the account's state, nor `revoked_at` has changed.
    async fn rotate_session(&self, ctx: &Ctx, cmd: RotateSession) -> Result<Cas<()>>;
    /// The user's sessions, newest first, at most 200; revoked and expired ones too until swept.
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>>;
    /// Ends sessions and writes their revocations; says how many were alive.
    async fn revoke_sessions(&self, ctx: &Ctx, cmd: RevokeSessions) -> Result<u64>;
    /// Revocations written after `cursor` (0: all that are kept), at most 10,000, with the cursor to go on from.
    async fn revocations_since(&self, cursor: u64) -> Result<(Vec<Revocation>, u64)>;

    // ---- proofs ----

    /// Marks the address on file as proved, single use by `serial`.
    async fn confirm_email(&self, ctx: &Ctx, cmd: ConfirmEmail) -> Result<Cas<()>>;
    /// Stores the number as proved, single use by `serial`.
    async fn confirm_phone(&self, ctx: &Ctx, cmd: ConfirmPhone) -> Result<Cas<()>>;
    /// Writes the pending change (one a user, a new one replaces it) and its job, if the epoch is still `change.epoch`.
    async fn begin_email_change(&self, ctx: &Ctx, change: PendingEmailChange, job: Job) -> Result<Cas<()>>;
    /// The pending change of a user.
    async fn pending_email_change(&self, user: UserId) -> Result<Option<PendingEmailChange>>;
    /// Moves the account to the pending address: see [`ConfirmEmailChange`].
    async fn confirm_email_change(&self, ctx: &Ctx, cmd: ConfirmEmailChange) -> Result<Cas<EmailChangeOutcome>>;
    /// An undo link, used ones too until swept.
    async fn undo_link(&self, user: UserId, link: LinkId) -> Result<Option<UndoLink>>;
    /// Puts the old address back: see [`UndoEmailChange`].
    async fn undo_email_change(&self, ctx: &Ctx, cmd: UndoEmailChange) -> Result<Cas<EmailChangeOutcome>>;
    /// The person says that a change was not theirs: see [`SecureAccount`].
    async fn secure_account(&self, ctx: &Ctx, cmd: SecureAccount) -> Result<Cas<()>>;
    /// The person takes their account out of the recycle bin: see [`RestoreAccount`].
    async fn restore_account(&self, ctx: &Ctx, cmd: RestoreAccount) -> Result<Cas<()>>;
    /// The session counts as signed in now; `Stale` if it has ended, or the epoch has moved on.
    async fn sign_in_again(&self, ctx: &Ctx, cmd: SignInAgain) -> Result<Cas<()>>;

    // ---- tenants ----

    /// Creates an organization owned by its maker.
    async fn create_tenant(&self, ctx: &Ctx, cmd: CreateTenant) -> Result<CreateTenantOutcome>;
    /// A tenant, deleted ones too.
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>>;
    /// The live tenants a user belongs to, oldest membership first, at most 1,000.
    async fn memberships(&self, user: UserId) -> Result<Vec<(Tenant, Membership)>>;
    /// One membership, if the tenant is live.
    async fn membership(&self, user: UserId, tenant: TenantId) -> Result<Option<Membership>>;
    /// The same, with what the tenant keeps about its member, if something is noted there ([`User::metadata_in`]).
    async fn membership_kept(&self, user: UserId, tenant: TenantId) -> Result<Option<(Membership, Option<Metadata>)>>;
    /// Ends a membership; the sessions scoped to the tenant die. The last owner stays, and so does who belongs to no other live tenant.
    async fn leave_tenant(&self, ctx: &Ctx, cmd: LeaveTenant) -> Result<LeaveOutcome>;

    // ---- outbox ----

    /// Writes a job that belongs to no other command.
    async fn enqueue(&self, ctx: &Ctx, job: Job) -> Result<()>;
    /// Takes up to `limit` due jobs (oldest first) for `lease`, and counts an attempt on each. Nobody else gets them before it ends.
    async fn lease_jobs(&self, now: Timestamp, lease: std::time::Duration, limit: u32) -> Result<Vec<Job>>;
    /// The job is done (or was found dead): the row goes.
    async fn finish_job(&self, id: JobId) -> Result<()>;
    /// Try again at `at`; `error` is at most 500 characters without secrets.
    async fn retry_job(&self, id: JobId, at: Timestamp, error: &str) -> Result<()>;
    /// No more tries: the row stays, with its error, for the engineer on call.
    async fn park_job(&self, id: JobId, error: &str) -> Result<()>;
    /// How many wait, and how many are parked.
    async fn outbox_counts(&self) -> Result<OutboxCounts>;

    // ---- upkeep ----

    /// All signing keys.
    async fn signing_keys(&self) -> Result<Vec<StoredKey>>;
    /// Adds a signing key. With `only_if_none` it is not added if there is one (ten nodes may start at once); `false` then.
    async fn add_signing_key(&self, key: StoredKey, only_if_none: bool) -> Result<bool>;
    /// Revokes a signing key, and has all nodes read the keys again; `false`: there is no such key. Again is as good.
    async fn revoke_signing_key(&self, kid: &str, now: Timestamp) -> Result<bool>;
    /// Removes what has had its time (see [`Swept`]); at most a few thousand rows a call, so call again while `more`.
    async fn sweep(&self, now: Timestamp) -> Result<Swept>;
    /// Answers if the store can be read and written.
    async fn ping(&self) -> Result<()>;
    /// How far the clock of this process is ahead of the store's, in milliseconds (behind: below 0), as far as is sure whatever time the question
    /// took; `None`: it is the same clock.
    async fn clock_ahead(&self) -> Result<Option<i64>>;
}
