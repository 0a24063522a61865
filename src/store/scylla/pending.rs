//! The other half of the trait, in tests only and until it is ported: each answers that it isn't there.

use super::ScyllaStore;
use crate::{
    domain::{
        api_key::ApiKey,
        audit::{AuditEvent, ChainRow},
        contact::ContactDigest,
        context::Ctx,
        ids::*,
        invite::*,
        permission::Role,
        tenant::Tenant,
        time::Timestamp,
        user::User,
    },
    store::{Result, StoreError, access::*, admin::*, audit::*, commands::*, imports::*, invites::*, policy::*},
};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl AccessStore for ScyllaStore {
    async fn grant(&self, _user: UserId, _tenant: TenantId) -> Result<Option<Grant>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn roles(&self, _tenant: TenantId) -> Result<Vec<Role>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn create_role(&self, _ctx: &Ctx, _cmd: CreateRole) -> Result<CreateRoleOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn give_role(&self, _ctx: &Ctx, _cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn take_role(&self, _ctx: &Ctx, _cmd: ChangeRole) -> Result<ChangeRoleOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn create_api_key(&self, _ctx: &Ctx, _cmd: CreateApiKey) -> Result<CreateApiKeyOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn found_tenant(&self, _ctx: &Ctx, _cmd: FoundTenant) -> Result<CreateTenantOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn tenant_by_slug(&self, _slug: &str) -> Result<Option<Tenant>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn api_key(&self, _prefix: &str) -> Result<Option<ApiKey>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn api_keys(&self, _tenant: TenantId, _after: Option<ApiKeyId>, _limit: u32) -> Result<Vec<ApiKey>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn revoke_api_key(&self, _ctx: &Ctx, _cmd: RevokeApiKey) -> Result<Cas<()>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn touch_api_key(&self, _key: ApiKeyId, _at: Timestamp) -> Result<()> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
#[async_trait]
impl AdminStore for ScyllaStore {
    async fn create_member(&self, _ctx: &Ctx, _cmd: CreateMember) -> Result<CreateMemberOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn member(&self, _tenant: TenantId, _user: UserId) -> Result<Option<Member>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn members(&self, _filter: MemberFilter, _after: Option<MemberPosition>, _limit: u32) -> Result<MemberPage> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn deleted_members(&self, _tenant: TenantId, _after: Option<(Timestamp, UserId)>, _limit: u32) -> Result<Vec<User>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn change_member(&self, _ctx: &Ctx, _cmd: ChangeMember) -> Result<MemberOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn kept_about(&self, _user: UserId) -> Result<Option<Kept>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn overdue_users(&self, _now: Timestamp, _limit: u32) -> Result<Vec<Overdue>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn purge_overdue(&self, _ctx: &Ctx, _user: UserId, _audit: Vec<AuditEvent>) -> Result<Cas<()>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn update_tenant(&self, _ctx: &Ctx, _cmd: UpdateTenant) -> Result<UpdateTenantOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn delete_tenant(&self, _ctx: &Ctx, _cmd: DeleteTenant) -> Result<Cas<()>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn end_tenants(&self, _now: Timestamp) -> Result<EndedTenants> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn scrub(&self) -> Result<bool> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
#[async_trait]
impl AuditStore for ScyllaStore {
    async fn write_audit(&self, _ctx: &Ctx, _events: Vec<AuditEvent>) -> Result<()> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn audit_events(&self, _tenant: TenantId, _after: Option<AuditId>, _limit: u32) -> Result<Vec<Shown>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn audit_waits(&self) -> Result<bool> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn lease_audit(&self, _holder: [u8; 16], _now: Timestamp, _lease: Duration) -> Result<Option<u64>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn link_audit(&self, _fence: u64, _limit: u32) -> Result<Cas<u64>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn erase_from_audit(&self, _user: UserId) -> Result<()> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn audited_tenant(&self, _after: Option<TenantId>) -> Result<Option<TenantId>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn chain_state(&self, _tenant: TenantId) -> Result<ChainState> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn chain(&self, _tenant: TenantId, _after: u64, _limit: u32) -> Result<Vec<ChainRow>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
#[async_trait]
impl ImportStore for ScyllaStore {
    async fn import_users(&self, _ctx: &Ctx, _cmd: ImportUsers) -> Result<ImportOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn import_progress(&self, _id: ImportId) -> Result<Option<ImportProgress>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn forget_import(&self, _id: ImportId) -> Result<()> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn holders(&self, _tenant: TenantId, _digests: Vec<ContactDigest>) -> Result<Vec<Holder>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
#[async_trait]
impl InviteStore for ScyllaStore {
    async fn create_invite(&self, _ctx: &Ctx, _cmd: CreateInvite) -> Result<CreateInviteOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn resend_invite(&self, _ctx: &Ctx, _cmd: ResendInvite) -> Result<Cas<ResendOutcome>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn revoke_invite(&self, _ctx: &Ctx, _cmd: RevokeInvite) -> Result<RevokeOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn invite(&self, _tenant: TenantId, _id: InviteId) -> Result<Option<Invite>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn invites(
        &self,
        _tenant: TenantId,
        _status: Option<InviteStatus>,
        _after: Option<InviteId>,
        _limit: u32,
        _now: Timestamp,
    ) -> Result<Vec<Invite>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn open_invites(&self, _email: &ContactDigest, _now: Timestamp) -> Result<Vec<(Invite, Tenant)>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn open_invite(&self, _email: &ContactDigest, _id: InviteId, _now: Timestamp) -> Result<Option<(Invite, Tenant)>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn accept_invite(&self, _ctx: &Ctx, _cmd: AcceptInvite) -> Result<AcceptOutcome> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
    async fn decline_invite(&self, _ctx: &Ctx, _cmd: DeclineInvite) -> Result<Cas<()>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
#[async_trait]
impl PolicyStore for ScyllaStore {
    async fn set_policy(&self, _ctx: &Ctx, _cmd: SetPolicy) -> Result<Cas<()>> {
        Err(StoreError::certainly_not("not on this store yet"))
    }
}
