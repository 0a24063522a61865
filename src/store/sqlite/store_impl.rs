//! The trait's methods, each one line: which function of this folder, and whether it writes.

use super::{SqliteStore, access, command, email_change, outbox, passwords, proofs, rows, sessions, tenants, upkeep, users};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::Permitted,
        contact::ContactDigest,
        context::Ctx,
        ids::{ApiKeyId, JobId, LinkId, PendingSignupId, SessionId, TenantId, UserId},
        jwt::StoredKey,
        network::Network,
        outbox::Job,
        permission::Role,
        session::Session,
        tenant::Tenant,
        time::Timestamp,
        user::{Membership, Metadata, User},
    },
    store::{Result, Store, StoreError, access::*, commands::*},
};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Store for SqliteStore {
    async fn create_user(&self, ctx: &Ctx, cmd: CreateUser) -> Result<CreateUserOutcome> {
        self.command(ctx, move |c, now| users::create(c, now, &cmd)).await
    }
    async fn made_by_another_run(&self, ctx: &Ctx, _: &ContactDigest) -> Result<()> {
        let named = ctx.into();
        self.get(|c| command::of_another_run(c, named))?.map_or(Ok(()), |theirs| Err(StoreError::another_run(theirs)))
    }
    async fn begin_signup(&self, ctx: &Ctx, pending: PendingSignup, job: Job) -> Result<()> {
        self.command(ctx, move |c, now| users::begin_signup(c, now, &pending, &job)).await
    }
    async fn pending_signup(&self, id: PendingSignupId) -> Result<Option<PendingSignup>> {
        self.get(|c| users::pending(c, id))
    }
    async fn count_signup_try(&self, id: PendingSignupId) -> Result<Option<u32>> {
        self.write(move |c| users::count_signup_try(c, id)).await
    }
    async fn user(&self, id: UserId) -> Result<Option<User>> {
        self.get(|c| rows::user_by_id(c, id))
    }
    async fn user_by_email(&self, digest: &ContactDigest) -> Result<Option<User>> {
        self.get(|c| users::by_email(c, digest))
    }
    async fn login_lookup(&self, digest: &ContactDigest, network: Network) -> Result<LoginLookup> {
        self.get(|c| users::login_lookup(c, digest, network))
    }
    async fn update_profile(&self, ctx: &Ctx, cmd: UpdateProfile) -> Result<Cas<User>> {
        self.update_profile_once(ctx, cmd).await
    }
    async fn delete_user(&self, ctx: &Ctx, cmd: DeleteUser) -> Result<Cas<DeleteOutcome>> {
        self.command(ctx, move |c, now| users::delete(c, now, &cmd)).await
    }
    async fn change_password(&self, ctx: &Ctx, cmd: ChangePassword) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| passwords::change(c, now, &cmd)).await
    }
    async fn rehash(&self, ctx: &Ctx, cmd: Rehash) -> Result<bool> {
        self.command(ctx, move |c, _| passwords::rehash(c, &cmd)).await
    }
    async fn create_reset_link(&self, ctx: &Ctx, link: ResetLink) -> Result<bool> {
        self.command(ctx, move |c, _| passwords::create_link(c, &link)).await
    }
    async fn reset_link(&self, user: UserId, link: LinkId) -> Result<Option<ResetLink>> {
        self.get(|c| passwords::link(c, user, link))
    }
    async fn complete_reset(&self, ctx: &Ctx, cmd: CompleteReset) -> Result<Cas<ResetOutcome>> {
        self.command(ctx, move |c, now| passwords::complete_reset(c, now, &cmd)).await
    }
    async fn hash_census(&self) -> Result<Vec<String>> {
        self.get(passwords::hash_census)
    }
    async fn create_session(&self, ctx: &Ctx, cmd: CreateSession) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| sessions::create(c, now, &cmd)).await
    }
    async fn session(&self, user: UserId, session: SessionId) -> Result<Option<SessionView>> {
        self.get(|c| sessions::view(c, user, session))
    }
    async fn rotate_session(&self, ctx: &Ctx, cmd: RotateSession) -> Result<Cas<()>> {
        let now = ctx.now;
        self.write(move |c| sessions::rotate(c, now, &cmd)).await
    }
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        self.read(move |c| sessions::list(c, user)).await
    }
    async fn revoke_sessions(&self, ctx: &Ctx, cmd: RevokeSessions) -> Result<u64> {
        self.command(ctx, move |c, now| sessions::revoke(c, now, &cmd)).await
    }
    async fn revocations_since(&self, cursor: u64) -> Result<(Vec<Revocation>, u64)> {
        self.read(move |c| sessions::revocations_since(c, cursor)).await
    }
    async fn confirm_email(&self, ctx: &Ctx, cmd: ConfirmEmail) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| proofs::confirm_email(c, now, &cmd)).await
    }
    async fn confirm_phone(&self, ctx: &Ctx, cmd: ConfirmPhone) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| proofs::confirm_phone(c, now, &cmd)).await
    }
    async fn begin_email_change(&self, ctx: &Ctx, change: PendingEmailChange, job: Job) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| email_change::begin(c, now, &change, &job)).await
    }
    async fn pending_email_change(&self, user: UserId) -> Result<Option<PendingEmailChange>> {
        self.get(|c| email_change::pending(c, user))
    }
    async fn confirm_email_change(&self, ctx: &Ctx, cmd: ConfirmEmailChange) -> Result<Cas<EmailChangeOutcome>> {
        self.command(ctx, move |c, now| email_change::confirm(c, now, &cmd)).await
    }
    async fn undo_link(&self, user: UserId, link: LinkId) -> Result<Option<UndoLink>> {
        self.get(|c| email_change::undo_link(c, user, link))
    }
    async fn undo_email_change(&self, ctx: &Ctx, cmd: UndoEmailChange) -> Result<Cas<EmailChangeOutcome>> {
        self.command(ctx, move |c, now| email_change::undo(c, now, &cmd)).await
    }
    async fn secure_account(&self, ctx: &Ctx, cmd: SecureAccount) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| passwords::secure(c, now, &cmd)).await
    }
    async fn restore_account(&self, ctx: &Ctx, cmd: RestoreAccount) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| passwords::restore(c, now, &cmd)).await
    }
    async fn sign_in_again(&self, ctx: &Ctx, cmd: SignInAgain) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| sessions::sign_in_again(c, now, &cmd)).await
    }
    async fn create_tenant(&self, ctx: &Ctx, cmd: CreateTenant) -> Result<CreateTenantOutcome> {
        self.command(ctx, move |c, _| tenants::create(c, &cmd)).await
    }
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>> {
        self.get(|c| tenants::get(c, id))
    }
    async fn memberships(&self, user: UserId) -> Result<Vec<(Tenant, Membership)>> {
        self.read(move |c| tenants::memberships(c, user)).await
    }
    async fn membership(&self, user: UserId, tenant: TenantId) -> Result<Option<Membership>> {
        self.get(|c| tenants::membership(c, user, tenant))
    }
    async fn membership_kept(&self, user: UserId, tenant: TenantId) -> Result<Option<(Membership, Option<Metadata>)>> {
        self.get(|c| {
            let Some(membership) = tenants::membership(c, user, tenant)? else { return Ok(None) };
            Ok(Some((membership, tenants::kept(c, user, tenant)?)))
        })
    }
    async fn leave_tenant(&self, ctx: &Ctx, cmd: LeaveTenant) -> Result<LeaveOutcome> {
        self.command(ctx, move |c, now| tenants::leave(c, now, &cmd)).await
    }
    async fn enqueue(&self, ctx: &Ctx, job: Job) -> Result<()> {
        self.command(ctx, move |c, now| outbox::put(c, now, &job)).await
    }
    async fn lease_jobs(&self, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Job>> {
        self.write(move |c| outbox::lease(c, now, lease, limit)).await
    }
    async fn finish_job(&self, id: JobId) -> Result<()> {
        self.write(move |c| outbox::finish(c, id)).await
    }
    async fn retry_job(&self, id: JobId, at: Timestamp, error: &str) -> Result<()> {
        let error = error.to_owned();
        self.write(move |c| outbox::retry(c, id, at, &error)).await
    }
    async fn park_job(&self, id: JobId, error: &str) -> Result<()> {
        let error = error.to_owned();
        self.write(move |c| outbox::park(c, id, &error)).await
    }
    async fn outbox_counts(&self) -> Result<OutboxCounts> {
        self.read(outbox::counts).await
    }
    async fn signing_keys(&self) -> Result<Vec<StoredKey>> {
        self.get(upkeep::signing_keys)
    }
    async fn revoke_signing_key(&self, kid: &str, now: Timestamp) -> Result<bool> {
        let kid = kid.to_owned();
        self.write(move |c| upkeep::revoke_signing_key(c, &kid, now)).await
    }
    async fn add_signing_key(&self, key: StoredKey, only_if_none: bool) -> Result<bool> {
        self.write(move |c| upkeep::add_signing_key(c, &key, only_if_none)).await
    }
    async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        self.write(move |c| upkeep::sweep(c, now)).await
    }
    async fn ping(&self) -> Result<()> {
        self.file.ping().await.map_err(super::store_error)
    }
    async fn clock_ahead(&self) -> Result<Option<i64>> {
        Ok(None)
    }
}

impl SqliteStore {
    /// The record holds the new version only: the rest of what was written is in the command, and no personal data is to
    /// outlive its row in a record.
    async fn update_profile_once(&self, ctx: &Ctx, cmd: UpdateProfile) -> Result<Cas<User>> {
        let named = command::Named::from(ctx);
        let written = self.write(move |c| {
            let version = match command::once(c, named, |c, now| users::update_profile(c, now, &cmd))? {
                Ok(Cas::Done(version)) => version,
                Ok(Cas::Stale) => return Ok(Ok(Cas::Stale)),
                Err(theirs) => return Ok(Err(theirs)),
            };
            let written = |user| User { display_name: cmd.display_name, locale: cmd.locale, version, updated_at: named.now, ..user };
            Ok(Ok(rows::user_by_id(c, cmd.user_id)?.map_or(Cas::Stale, |user| Cas::Done(written(user)))))
        });
        written.await?.map_err(StoreError::another_run)
    }
}

#[async_trait]
impl AccessStore for SqliteStore {
    async fn grant(&self, user: UserId, tenant: TenantId) -> Result<Option<Grant>> {
        self.get(|c| access::grant(c, user, tenant))
    }
    async fn roles(&self, tenant: TenantId) -> Result<Vec<Role>> {
        self.get(|c| access::roles(c, tenant))
    }
    async fn create_role(&self, ctx: &Ctx, cmd: CreateRole) -> Result<Permitted<CreateRoleOutcome>> {
        self.command(ctx, move |c, now| access::create_role(c, now, &cmd)).await
    }
    async fn give_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        self.command(ctx, move |c, now| access::give_role(c, now, &cmd)).await
    }
    async fn take_role(&self, ctx: &Ctx, cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        self.command(ctx, move |c, now| access::take_role(c, now, &cmd)).await
    }
    async fn create_api_key(&self, ctx: &Ctx, cmd: CreateApiKey) -> Result<CreateApiKeyOutcome> {
        self.command(ctx, move |c, now| access::create_key(c, now, &cmd)).await
    }
    async fn found_tenant(&self, ctx: &Ctx, cmd: FoundTenant) -> Result<CreateTenantOutcome> {
        self.command(ctx, move |c, now| access::found_tenant(c, now, &cmd)).await
    }
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        self.get(|c| tenants::by_slug(c, slug))
    }
    async fn api_key(&self, prefix: &str) -> Result<Option<ApiKey>> {
        self.get(|c| access::key_by_prefix(c, prefix))
    }
    async fn api_keys(&self, tenant: TenantId, after: Option<ApiKeyId>, limit: u32) -> Result<Vec<ApiKey>> {
        self.get(|c| access::keys(c, tenant, after, limit))
    }
    async fn revoke_api_key(&self, ctx: &Ctx, cmd: RevokeApiKey) -> Result<Permitted<Cas<Vec<ApiKeyId>>>> {
        self.command(ctx, move |c, now| access::revoke_key(c, now, &cmd)).await
    }
    async fn api_key_by_id(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.get(|c| access::key_by_id(c, tenant, id))
    }
    async fn standing(&self, key: &ApiKey) -> Result<Option<Standing>> {
        self.get(|c| access::standing(c, key))
    }
    async fn take_over_key(&self, ctx: &Ctx, cmd: TakeOverKey) -> Result<Cas<TakeOverOutcome>> {
        self.command(ctx, move |c, now| access::take_over(c, now, &cmd)).await
    }
    async fn touch_api_key(&self, key: ApiKeyId, at: Timestamp) -> Result<()> {
        self.write(move |c| access::touch_key(c, key, at)).await
    }
}
