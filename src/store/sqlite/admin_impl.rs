//! [`AdminStore`]: which function of this folder does it.

use super::{SqliteStore, admin, admin_write, erase, store_error, tenants};
use crate::{
    domain::{
        audit::AuditEvent,
        authority::Permitted,
        context::Ctx,
        ids::{TenantId, UserId},
        tenant::Tenant,
        time::Timestamp,
        user::User,
    },
    store::{Result, admin::*, commands::Cas},
};
use async_trait::async_trait;

#[async_trait]
impl AdminStore for SqliteStore {
    async fn create_member(&self, ctx: &Ctx, cmd: CreateMember) -> Result<CreateMemberOutcome> {
        self.command(ctx, move |c, now| admin_write::create(c, now, &cmd)).await
    }
    async fn member(&self, tenant: TenantId, user: UserId) -> Result<Option<Member>> {
        self.get(|c| admin::member(c, tenant, user))
    }
    async fn members(&self, filter: MemberFilter, after: Option<MemberPosition>, limit: u32) -> Result<MemberPage> {
        self.read(move |c| admin::members(c, &filter, after.as_ref(), limit)).await
    }
    async fn deleted_members(&self, tenant: TenantId, after: Option<(Timestamp, UserId)>, limit: u32) -> Result<Vec<User>> {
        self.read(move |c| admin::deleted(c, tenant, after, limit)).await
    }
    async fn change_member(&self, ctx: &Ctx, cmd: ChangeMember) -> Result<MemberOutcome> {
        self.command(ctx, move |c, now| admin_write::change(c, now, &cmd)).await
    }
    async fn kept_about(&self, user: UserId) -> Result<Option<Kept>> {
        self.read(move |c| admin::kept_about(c, user)).await
    }
    async fn overdue_users(&self, now: Timestamp, limit: u32) -> Result<Vec<Overdue>> {
        self.get(|c| admin::overdue(c, now, limit))
    }
    async fn purge_overdue(&self, ctx: &Ctx, user: UserId, audit: Vec<AuditEvent>) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| admin_write::purge_overdue(c, now, user, &audit)).await
    }
    async fn update_tenant(&self, ctx: &Ctx, cmd: UpdateTenant) -> Result<Permitted<UpdateTenantOutcome>> {
        self.command(ctx, move |c, now| admin_write::update_tenant(c, now, &cmd)).await
    }
    async fn delete_tenant(&self, ctx: &Ctx, cmd: DeleteTenant) -> Result<Permitted<Cas<()>>> {
        self.command(ctx, move |c, now| admin_write::delete_tenant(c, now, &cmd)).await
    }
    async fn end_tenants(&self, now: Timestamp, newcomers: &Newcomers) -> Result<EndedTenants> {
        let newcomers = newcomers.clone();
        self.write(move |c| erase::end_tenants(c, now, &newcomers)).await
    }
    async fn manage_tenant(&self, ctx: &Ctx, cmd: ManageTenant) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| admin_write::manage(c, now, &cmd)).await
    }
    async fn make_owner(&self, ctx: &Ctx, cmd: MakeOwner) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| admin_write::make_owner(c, now, &cmd)).await
    }
    async fn organizations(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<Tenant>> {
        self.get(|c| tenants::organizations(c, after, limit))
    }
    async fn owners(&self, tenant: TenantId) -> Result<Vec<UserId>> {
        self.get(|c| tenants::owners(c, tenant, 100))
    }
    async fn scrub(&self) -> Result<bool> {
        let erased = self.get(admin::erased)?;
        if erased == 0 {
            return Ok(false);
        }
        self.file.wipe().await.map_err(store_error)?;
        // What was erased meanwhile asks for another time.
        self.write(move |c| c.execute("UPDATE scrubbing SET erased = 0 WHERE erased = ?1", [erased])).await?;
        Ok(true)
    }
}
