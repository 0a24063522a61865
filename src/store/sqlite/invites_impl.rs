//! [`InviteStore`], each method one line.

use super::{SqliteStore, invites};
use crate::{
    domain::{
        authority::Permitted,
        contact::ContactDigest,
        context::Ctx,
        ids::{InviteId, TenantId},
        invite::{Invite, InviteStatus},
        tenant::Tenant,
        time::Timestamp,
    },
    store::{Result, commands::Cas, invites::*},
};
use async_trait::async_trait;

#[async_trait]
impl InviteStore for SqliteStore {
    async fn create_invite(&self, ctx: &Ctx, cmd: CreateInvite) -> Result<CreateInviteOutcome> {
        self.command(ctx, move |c, now| invites::create(c, now, &cmd)).await
    }
    async fn resend_invite(&self, ctx: &Ctx, cmd: ResendInvite) -> Result<Cas<ResendOutcome>> {
        self.command(ctx, move |c, now| invites::resend(c, now, &cmd)).await
    }
    async fn revoke_invite(&self, ctx: &Ctx, cmd: RevokeInvite) -> Result<Permitted<RevokeOutcome>> {
        self.command(ctx, move |c, now| invites::revoke(c, now, &cmd)).await
    }
    async fn invite(&self, tenant: TenantId, id: InviteId) -> Result<Option<Invite>> {
        self.get(|c| invites::get(c, tenant, id))
    }
    async fn invites(
        &self,
        tenant: TenantId,
        status: Option<InviteStatus>,
        after: Option<InviteId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Invite>> {
        self.read(move |c| invites::list(c, tenant, status, after, limit, now)).await
    }
    async fn open_invites(&self, email: &ContactDigest, now: Timestamp) -> Result<Vec<(Invite, Tenant)>> {
        let email = *email;
        self.read(move |c| invites::open_to(c, &email, now)).await
    }
    async fn open_invite(&self, email: &ContactDigest, id: InviteId, now: Timestamp) -> Result<Option<(Invite, Tenant)>> {
        self.get(|c| invites::open_one(c, email, id, now))
    }
    async fn accept_invite(&self, ctx: &Ctx, cmd: AcceptInvite) -> Result<AcceptOutcome> {
        self.command(ctx, move |c, now| invites::accept(c, now, &cmd)).await
    }
    async fn decline_invite(&self, ctx: &Ctx, cmd: DeclineInvite) -> Result<Cas<()>> {
        self.command(ctx, move |c, now| invites::decline(c, now, &cmd)).await
    }
}
