//! The other half of the trait, in tests only and until it is ported: each answers that it isn't there.

use super::ScyllaStore;
use crate::{
    domain::{audit::AuditEvent, context::Ctx, ids::*, time::Timestamp, user::User},
    store::{Result, StoreError, admin::*, commands::*},
};
use async_trait::async_trait;

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
