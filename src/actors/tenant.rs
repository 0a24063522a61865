//! One actor per tenant: memberships change one after the other, so that two last owners can't leave at once.

use super::{
    entity::{Entity, Me, Next, ReplyTo, next_after, settled},
    placement::Placement,
};
use crate::{
    domain::{context::Ctx, ids::TenantId},
    store::{
        Store, StoreError,
        access::{ChangeRole, ChangeRoleOutcome},
        commands::*,
        invites::*,
    },
};
use std::sync::Arc;

/// What it takes.
#[derive(Clone)]
pub enum TenantCommand {
    /// [`Store::create_tenant`].
    Create(Box<(Ctx, CreateTenant)>),
    /// [`Store::leave_tenant`].
    Leave(Box<(Ctx, LeaveTenant)>),
    /// Gives (or takes) a role: [`crate::store::access::AccessStore::give_role`], `take_role`.
    ChangeRole(bool, Box<(Ctx, ChangeRole)>),
    /// [`InviteStore::create_invite`].
    Invite(Box<(Ctx, CreateInvite)>),
    /// [`InviteStore::resend_invite`].
    ResendInvite(Box<(Ctx, ResendInvite)>),
    /// [`InviteStore::revoke_invite`].
    RevokeInvite(Box<(Ctx, RevokeInvite)>),
    /// [`InviteStore::accept_invite`].
    AcceptInvite(Box<(Ctx, AcceptInvite)>),
    /// [`InviteStore::decline_invite`].
    DeclineInvite(Box<(Ctx, DeclineInvite)>),
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum TenantReply {
    /// How the creation ended.
    Created(CreateTenantOutcome),
    /// How the leaving ended.
    Left(LeaveOutcome),
    /// How the change of a role ended.
    Role(ChangeRoleOutcome),
    /// How the making of an invite ended.
    Invited(CreateInviteOutcome),
    /// How the sending again of an invite ended.
    InviteResent(Cas<ResendOutcome>),
    /// How the taking back of an invite ended.
    InviteRevoked(RevokeOutcome),
    /// How the acceptance of an invite ended.
    InviteAccepted(AcceptOutcome),
    /// How the declining of an invite ended.
    InviteDeclined(Cas<()>),
    /// The store could not do it.
    Store(StoreError),
}

/// The actor's state.
pub struct TenantActor {
    id: TenantId,
    store: Arc<dyn Store>,
    placement: Arc<dyn Placement>,
}

impl TenantActor {
    /// The state of a new actor.
    pub fn new(id: TenantId, store: Arc<dyn Store>, placement: Arc<dyn Placement>) -> Self {
        Self { id, store, placement }
    }
}

impl Entity for TenantActor {
    const KIND: &'static str = "tenant";
    type Key = TenantId;
    type Command = TenantCommand;
    type Reply = TenantReply;

    async fn handle(&mut self, command: TenantCommand, reply: ReplyTo<TenantReply>, _: &Me<Self>) -> Next {
        let _turn = self.placement.turn(Self::KIND, self.id.as_bytes()).await;
        let outcome = match command {
            TenantCommand::Create(work) => settled(|| self.store.create_tenant(&work.0, work.1.clone())).await.map(TenantReply::Created),
            TenantCommand::Leave(work) => settled(|| self.store.leave_tenant(&work.0, work.1.clone())).await.map(TenantReply::Left),
            TenantCommand::ChangeRole(true, work) => settled(|| self.store.give_role(&work.0, work.1.clone())).await.map(TenantReply::Role),
            TenantCommand::ChangeRole(false, work) => {
                settled(|| self.store.take_role(&work.0, work.1.clone())).await.map(TenantReply::Role)
            }
            TenantCommand::Invite(work) => settled(|| self.store.create_invite(&work.0, work.1.clone())).await.map(TenantReply::Invited),
            TenantCommand::ResendInvite(work) => {
                settled(|| self.store.resend_invite(&work.0, work.1.clone())).await.map(TenantReply::InviteResent)
            }
            TenantCommand::RevokeInvite(work) => {
                settled(|| self.store.revoke_invite(&work.0, work.1.clone())).await.map(TenantReply::InviteRevoked)
            }
            TenantCommand::AcceptInvite(work) => {
                settled(|| self.store.accept_invite(&work.0, work.1.clone())).await.map(TenantReply::InviteAccepted)
            }
            TenantCommand::DeclineInvite(work) => {
                settled(|| self.store.decline_invite(&work.0, work.1.clone())).await.map(TenantReply::InviteDeclined)
            }
        };
        let next = next_after(&outcome);
        reply.send(outcome.unwrap_or_else(TenantReply::Store));
        next
    }
}
