//! [`Store`], command by command: which unit is the home of each.

use super::{
    ScyllaStore,
    accounts::ONE,
    email_change,
    email_change::{PENDING, UNDO},
    outbox,
    passwords::RESET,
    revocations, signups,
    unit::Unit,
};
use crate::{
    domain::{
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
    },
    store::{Result, Store, StoreError, commands::*},
};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Store for ScyllaStore {
    async fn create_user(&self, ctx: &Ctx, cmd: CreateUser) -> Result<CreateUserOutcome> {
        let claim = Unit::email(&cmd.user.email.digest());
        self.engine.command(ctx, claim, cmd).await
    }
    async fn made_by_another_run(&self, ctx: &Ctx, digest: &ContactDigest) -> Result<()> {
        self.engine.read(self.engine.made_by_another_run(ctx, &Unit::email(digest))).await
    }
    async fn begin_signup(&self, ctx: &Ctx, signup: PendingSignup, job: Job) -> Result<()> {
        let claim = Unit::email(&signup.email.digest());
        self.engine.command(ctx, claim, signups::Begin { signup, job }).await
    }
    async fn pending_signup(&self, id: PendingSignupId) -> Result<Option<PendingSignup>> {
        self.engine.read(self.engine.pending_signup(id)).await
    }
    async fn count_signup_try(&self, id: PendingSignupId) -> Result<Option<u32>> {
        self.engine.count_signup_try(id).await
    }
    async fn user(&self, id: UserId) -> Result<Option<User>> {
        self.engine.read(self.engine.user(id)).await
    }
    async fn user_by_email(&self, digest: &ContactDigest) -> Result<Option<User>> {
        self.engine.read(self.engine.user_by_email(digest)).await
    }
    async fn login_lookup(&self, digest: &ContactDigest, network: Network) -> Result<LoginLookup> {
        self.engine.read(self.engine.login_lookup(digest, network)).await
    }
    async fn update_profile(&self, ctx: &Ctx, cmd: UpdateProfile) -> Result<Cas<User>> {
        // The record holds no personal data: the account as it is now, with what the command itself says, is what it gave.
        let done = self.engine.command(ctx, Unit::user(cmd.user_id), cmd.clone()).await?;
        let Cas::Done(version) = done else { return Ok(Cas::Stale) };
        let Some(user) = self.user(cmd.user_id).await? else { return Ok(Cas::Stale) };
        let UpdateProfile { display_name, locale, .. } = cmd;
        Ok(Cas::Done(User { version, display_name, locale, updated_at: ctx.now, ..user }))
    }
    async fn delete_user(&self, ctx: &Ctx, cmd: DeleteUser) -> Result<Cas<DeleteOutcome>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }

    async fn change_password(&self, ctx: &Ctx, cmd: ChangePassword) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn rehash(&self, ctx: &Ctx, cmd: Rehash) -> Result<bool> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn create_reset_link(&self, ctx: &Ctx, link: ResetLink) -> Result<bool> {
        self.engine.command(ctx, Unit::user(link.user_id), link).await
    }
    async fn reset_link(&self, user: UserId, link: LinkId) -> Result<Option<ResetLink>> {
        self.engine.read(self.engine.cql.peek(&Unit::user(user), RESET, link.as_bytes())).await
    }
    async fn complete_reset(&self, ctx: &Ctx, cmd: CompleteReset) -> Result<Cas<ResetOutcome>> {
        let user = cmd.user_id;
        let outcome = self.engine.command(ctx, Unit::user(user), cmd).await?;
        if matches!(outcome, Cas::Done(_)) {
            self.engine.recovered(ctx.now, user).await;
        }
        Ok(outcome)
    }
    async fn hash_census(&self) -> Result<Vec<String>> {
        self.engine.read(self.engine.hash_census()).await
    }

    async fn create_session(&self, ctx: &Ctx, cmd: CreateSession) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.session.user_id), cmd).await
    }
    async fn session(&self, user: UserId, session: SessionId) -> Result<Option<SessionView>> {
        self.engine.read(self.engine.session(user, session)).await
    }
    async fn rotate_session(&self, ctx: &Ctx, cmd: RotateSession) -> Result<Cas<()>> {
        self.engine.change(ctx.now, Unit::user(cmd.user_id), cmd).await
    }
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        self.engine.read(self.engine.sessions(user)).await
    }
    async fn revoke_sessions(&self, ctx: &Ctx, cmd: RevokeSessions) -> Result<u64> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn revocations_since(&self, cursor: u64) -> Result<(Vec<Revocation>, u64)> {
        self.engine.read(revocations::since(&self.engine, cursor)).await
    }

    async fn confirm_email(&self, ctx: &Ctx, cmd: ConfirmEmail) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn confirm_phone(&self, ctx: &Ctx, cmd: ConfirmPhone) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn begin_email_change(&self, ctx: &Ctx, change: PendingEmailChange, job: Job) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(change.user_id), email_change::Begin { change, job }).await
    }
    async fn pending_email_change(&self, user: UserId) -> Result<Option<PendingEmailChange>> {
        self.engine.read(self.engine.cql.peek(&Unit::user(user), PENDING, ONE)).await
    }
    async fn confirm_email_change(&self, ctx: &Ctx, cmd: ConfirmEmailChange) -> Result<Cas<EmailChangeOutcome>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn undo_link(&self, user: UserId, link: LinkId) -> Result<Option<UndoLink>> {
        self.engine.read(self.engine.cql.peek(&Unit::user(user), UNDO, link.as_bytes())).await
    }
    async fn undo_email_change(&self, ctx: &Ctx, cmd: UndoEmailChange) -> Result<Cas<EmailChangeOutcome>> {
        let user = cmd.user_id;
        let outcome = self.engine.command(ctx, Unit::user(user), cmd).await?;
        if matches!(outcome, Cas::Done(EmailChangeOutcome::Changed)) {
            self.engine.recovered(ctx.now, user).await;
        }
        Ok(outcome)
    }
    async fn secure_account(&self, ctx: &Ctx, cmd: SecureAccount) -> Result<Cas<()>> {
        let user = cmd.user_id;
        let outcome = self.engine.command(ctx, Unit::user(user), cmd).await?;
        if matches!(outcome, Cas::Done(())) {
            self.engine.recovered(ctx.now, user).await;
        }
        Ok(outcome)
    }
    async fn restore_account(&self, ctx: &Ctx, cmd: RestoreAccount) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn sign_in_again(&self, ctx: &Ctx, cmd: SignInAgain) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }

    async fn create_tenant(&self, ctx: &Ctx, cmd: CreateTenant) -> Result<CreateTenantOutcome> {
        // Not the slug's: one that nobody chose is random.
        self.engine.command(ctx, Unit::user(cmd.membership.user_id), cmd).await
    }
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>> {
        self.engine.read(self.engine.tenant(id)).await
    }
    async fn memberships(&self, user: UserId) -> Result<Vec<(Tenant, Membership)>> {
        self.engine.read(self.engine.memberships(user)).await
    }
    async fn membership(&self, user: UserId, tenant: TenantId) -> Result<Option<Membership>> {
        self.engine.read(self.engine.membership(user, tenant)).await
    }
    async fn membership_kept(&self, user: UserId, tenant: TenantId) -> Result<Option<(Membership, Option<Metadata>)>> {
        self.engine.read(self.engine.membership_kept(user, tenant)).await
    }
    async fn leave_tenant(&self, ctx: &Ctx, cmd: LeaveTenant) -> Result<LeaveOutcome> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }

    async fn enqueue(&self, ctx: &Ctx, job: Job) -> Result<()> {
        self.engine.command(ctx, Unit::job(job.id), outbox::Enqueue(job)).await
    }
    async fn lease_jobs(&self, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Job>> {
        self.engine.read(self.engine.lease_jobs(now, lease, limit)).await
    }
    async fn finish_job(&self, id: JobId) -> Result<()> {
        self.engine.finish_job(id).await
    }
    async fn retry_job(&self, id: JobId, at: Timestamp, error: &str) -> Result<()> {
        self.engine.retry_job(id, at, error).await
    }
    async fn park_job(&self, id: JobId, error: &str) -> Result<()> {
        self.engine.park_job(id, error).await
    }
    async fn outbox_counts(&self) -> Result<OutboxCounts> {
        self.engine.read(self.engine.outbox_counts()).await
    }

    async fn signing_keys(&self) -> Result<Vec<StoredKey>> {
        self.engine.read(self.engine.signing_keys()).await
    }
    async fn revoke_signing_key(&self, kid: &str, now: Timestamp) -> Result<bool> {
        self.engine.revoke_signing_key(kid, now).await
    }
    async fn add_signing_key(&self, key: StoredKey, only_if_none: bool) -> Result<bool> {
        self.engine.add_signing_key(key, only_if_none).await
    }
    async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        // Longer than other calls: nobody waits for it, and each command in it is bounded.
        self.engine.sweep(now).await.map_err(StoreError::maybe)
    }
    async fn ping(&self) -> Result<()> {
        self.engine.ping().await
    }
    async fn clock_ahead(&self) -> Result<Option<i64>> {
        self.engine.clock_ahead().await.map(Some)
    }
}
