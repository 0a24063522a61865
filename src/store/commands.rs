//! What goes into the store's commands and what comes out.

pub use super::recovery::*;
use crate::domain::{
    audit::AuditEvent,
    authority::By,
    contact::{Email, Phone},
    hash::PasswordHash,
    ids::{ApiKeyId, LinkId, PendingSignupId, SessionId, TenantId, UserId},
    network::Network,
    outbox::Job,
    session::Session,
    tenant::Tenant,
    time::Timestamp,
    user::{Membership, User, UserStatus},
};
use serde::{Deserialize, Serialize};

/// Outcome of a conditional write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Cas<T> {
    /// It was written.
    Done(T),
    /// What it was conditional on no longer holds (or the row is gone): read again, decide again.
    Stale,
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateUser {
    /// The account, complete. Its address is claimed.
    pub user: User,
    /// The tenant to be made with it (the personal one).
    pub tenant: Tenant,
    /// Its membership in that tenant.
    pub membership: Membership,
    /// Its first session.
    pub session: Session,
    /// The network of that session: known from now on.
    pub network: Network,
    /// The pending sign-up this comes from; it and all other pending sign-ups of the address are removed.
    pub consumes: Option<PendingSignupId>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateUser`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateUserOutcome {
    /// All of it was written.
    Created,
    /// Somebody has the address.
    EmailTaken(UserId),
    /// `consumes` named a pending sign-up that is gone.
    PendingGone,
}

/// A sign-up that waits for its code (`verify_first`). Written alike for free and taken addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingSignup {
    /// Its id; the sign-up token names it.
    pub id: PendingSignupId,
    /// Random part of the sign-up token's HMAC.
    pub nonce: [u8; 16],
    /// The address, to be proved.
    pub email: Email,
    /// Of the password typed with it.
    pub password_hash: PasswordHash,
    /// As typed.
    pub display_name: Option<String>,
    /// Wrong codes so far.
    pub tries: u32,
    /// When it was typed.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
}

/// What a sign-in needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct LoginLookup {
    /// The account, if the address has one; deleted and suspended ones too.
    pub user: Option<User>,
    /// It has signed in from this network before.
    pub known_network: bool,
}

/// A change of the profile; the whole new values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateProfile {
    /// Whose.
    pub user_id: UserId,
    /// The version read.
    pub expect_version: u64,
    /// New value.
    pub display_name: Option<String>,
    /// New value.
    pub locale: Option<String>,
}

/// A soft delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeleteUser {
    /// Whose.
    pub user_id: UserId,
    /// The epoch read.
    pub expect_epoch: u64,
    /// When it leaves the recycle bin.
    pub purge_after: Timestamp,
    /// The notice.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`DeleteUser`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteOutcome {
    /// In the recycle bin.
    Deleted,
    /// It is the last owner of an organization that has other members: nothing was written.
    LastOwner,
}

/// A new password, set by its owner. Conditional on the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangePassword {
    /// Whose.
    pub user_id: UserId,
    /// The epoch that the current password was verified under.
    pub expect_epoch: u64,
    /// Of the new one.
    pub new_hash: PasswordHash,
    /// The session that lives on (it gets the new epoch).
    pub keep: Option<SessionId>,
    /// The notice.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Today's hash in place of an old one of the same password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehash {
    /// Whose.
    pub user_id: UserId,
    /// The very hash that was verified.
    pub expect_hash: PasswordHash,
    /// The new one.
    pub new_hash: PasswordHash,
}

/// A password-reset link; its token is derived ([`crate::domain::token::ResetToken`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetLink {
    /// Its id.
    pub id: LinkId,
    /// Whose.
    pub user_id: UserId,
    /// Random part of the token's HMAC.
    pub nonce: [u8; 16],
    /// The epoch it was made under, and dies with.
    pub epoch: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// The admin who made it, and in which tenant: whoever uses it learned of it from them, and has proved nothing. `None`: the person
    /// asked for it, and it was mailed.
    #[serde(default)]
    pub made_by: Option<By>,
}

/// Uses a reset link, all in one: conditional on the link being unused and in time and on the account's epoch being the
/// link's; sets the hash; epoch up; all sessions and the pending e-mail change die; the e-mail counts as proved. If it was
/// unproved until now, whoever made the account may not have been its owner: phone cleared, its API keys and
/// invites revoked. Keys of the personal tenant end in any case. A link that an admin made ([`ResetLink::made_by`]) proves nothing, has
/// none of these effects, and is good only while that admin may still set the password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompleteReset {
    /// Whose.
    pub user_id: UserId,
    /// The link.
    pub link_id: LinkId,
    /// Of the new password.
    pub new_hash: PasswordHash,
    /// Where the link was used: the account knows that network from then on, so that strangers' guesses don't lock its owner out there.
    pub network: Option<Network>,
    /// Keys that the user made in organizations since then end, too.
    pub end_keys_since: Option<Timestamp>,
    /// The personal tenant of an account that an organization without power made, for its first proof.
    pub personal: Option<Box<Tenant>>,
    /// The notices.
    pub jobs: Vec<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CompleteReset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetOutcome {
    /// How many live sessions ended.
    pub revoked: u64,
    /// The mailbox was unproved until now.
    pub first_proof: bool,
}

/// A sign-in or a switch of tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateSession {
    /// The session; its `credential_epoch` is the one that was verified.
    pub session: Session,
    /// Known from now on.
    pub network: Network,
    /// A sign-in by password (sets `last_login_at`), or only a switch.
    pub is_login: bool,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// A session, and what decides about it in its account.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// The session.
    pub session: Session,
    /// The account's epoch now.
    pub user_epoch: u64,
    /// The account's status.
    pub user_status: UserStatus,
    /// The account is in the recycle bin.
    pub user_deleted: bool,
}

/// One turn of a refresh token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RotateSession {
    /// Whose.
    pub user_id: UserId,
    /// Which.
    pub session_id: SessionId,
    /// The row's generation as read.
    pub expect: u64,
    /// The new one.
    pub to: u64,
    /// The account's epoch as read.
    pub epoch: u64,
    /// Address of the caller.
    pub ip: String,
    /// Network of the caller.
    pub network: Network,
}

/// Which sessions end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(SessionId),
    /// All.
    All,
}

/// Ends sessions of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokeSessions {
    /// Whose.
    pub user_id: UserId,
    /// Which.
    pub which: Which,
    /// Written with it, if any session was alive.
    pub audit: Vec<AuditEvent>,
}

/// Access tokens that our own API must refuse although they haven't expired. Kept 20 minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// Tokens of this session.
    Session(SessionId),
    /// This API key.
    ApiKey(ApiKeyId),
    /// Tokens of this user made under an epoch below `below`, but for those of the session `keep`.
    Epoch {
        /// Whose.
        user_id: UserId,
        /// The account's epoch now.
        below: u64,
        /// The session that lives on.
        keep: Option<SessionId>,
    },
    /// All tokens that this key has signed, by its id: keys are to be read again.
    SigningKey(String),
}

/// A code was right: the address on file is proved. `Stale` if the epoch moved or the serial isn't above the last one used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmEmail {
    /// Whose.
    pub user_id: UserId,
    /// The epoch that the code was made under.
    pub epoch: u64,
    /// The code's serial.
    pub serial: u64,
    /// The personal tenant of an account that an organization without power made, for its first proof.
    pub personal: Option<Box<Tenant>>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// A code was right: the number is stored as proved. Conditions as for [`ConfirmEmail`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmPhone {
    /// Whose.
    pub user_id: UserId,
    /// The epoch that the code was made under.
    pub epoch: u64,
    /// The code's serial.
    pub serial: u64,
    /// The number.
    pub phone: Phone,
    /// The notice.
    pub job: Option<Job>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// An e-mail change that waits for its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEmailChange {
    /// Whose.
    pub user_id: UserId,
    /// The new address.
    pub new_email: Email,
    /// The epoch it was started under, and dies with.
    pub epoch: u64,
    /// The serial of its code.
    pub serial: u64,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
}

/// Moves the account to its pending address, all in one: conditional on the epoch, the serial, and the pending change
/// being the one with this serial; claims the new address and frees the old one; the new one counts as proved; epoch up;
/// every session but `keep` dies, reset links too; writes the undo link and the notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmEmailChange {
    /// Whose.
    pub user_id: UserId,
    /// The epoch it was started under.
    pub epoch: u64,
    /// The code's serial.
    pub serial: u64,
    /// The session that lives on.
    pub keep: Option<SessionId>,
    /// The undo link; the store fills in the old address.
    pub undo: NewUndoLink,
    /// The notice to the old address.
    pub job: Job,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// An undo link to be written by [`ConfirmEmailChange`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUndoLink {
    /// Its id.
    pub id: LinkId,
    /// Random part of the token's HMAC.
    pub nonce: [u8; 16],
    /// When it is void.
    pub expires_at: Timestamp,
}

/// A link that undoes an e-mail change; its token is derived ([`crate::domain::token::UndoToken`] with `epoch`).
/// It does not die with the epoch: whoever took the account over could raise that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoLink {
    /// Its id.
    pub id: LinkId,
    /// Whose.
    pub user_id: UserId,
    /// Random part of the token's HMAC.
    pub nonce: [u8; 16],
    /// The account's epoch before the change.
    pub epoch: u64,
    /// The address to go back to.
    pub old_email: Email,
    /// Whether that one had been proved.
    pub old_verified_at: Option<Timestamp>,
    /// When the change was made.
    pub created_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

impl UndoLink {
    /// The address that it leads to stays taken for as long as it works.
    pub fn reserves(&self) -> bool {
        self.old_verified_at.is_some()
    }
}

/// Whether an address that an account leaves stays taken for as long as the account can move back: one that was proved (or that an admin
/// vouched for). Whoever made an account for somebody else's must not keep that from them.
pub fn reserves(verified_at: Option<Timestamp>, asserted_at: Option<Timestamp>) -> bool {
    verified_at.is_some() || asserted_at.is_some()
}

/// Outcome of an e-mail change or its undoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmailChangeOutcome {
    /// The account has the address now.
    Changed,
    /// Somebody else has it; nothing was written but the end of the pending change.
    Taken,
}

/// A new organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its maker's membership, as owner.
    pub membership: Membership,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`CreateTenant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateTenantOutcome {
    /// It is there.
    Created,
    /// Another tenant has the slug.
    SlugTaken,
}

/// Ends one's own membership.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaveTenant {
    /// Who.
    pub user_id: UserId,
    /// What.
    pub tenant_id: TenantId,
    /// Their personal tenant, if they belong nowhere else.
    pub personal: Box<Tenant>,
    /// Written with it.
    pub audit: Vec<AuditEvent>,
}

/// Outcome of [`LeaveTenant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaveOutcome {
    /// No longer a member.
    Left,
    /// Wasn't one, or there is no such tenant.
    NotMember,
    /// The only owner: nothing was written.
    LastOwner,
    /// Who leaves belongs nowhere else, and the tenant is managed, so that it keeps them: nothing was written.
    OnlyTenant,
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxCounts {
    /// Waiting for their time or being sent.
    pub pending: u64,
    /// Given up.
    pub parked: u64,
}

/// What one call of `sweep` removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Pending sign-ups and e-mail changes past their time.
    pub pending: u64,
    /// Sessions that ended (revoked, idle, expired) more than 30 days ago.
    pub sessions: u64,
    /// Links used or expired more than a day ago.
    pub links: u64,
    /// Revocations older than 20 minutes, and recorded command outcomes older than a day.
    pub records: u64,
    /// Invites that were marked as expired, and those removed 90 days after their end.
    pub invites: u64,
    /// There is more.
    pub more: bool,
}
