//! One actor per tenant: what belongs to it changes in one order, so that two last owners can't leave at once, and two commands that
//! would only meet in the store wait for one another here.

use super::{
    entity::{Entity, Me, Next, ReplyTo, next_after, settled},
    placement::Placement,
};
use crate::{
    domain::{
        authority::Permitted,
        context::Ctx,
        ids::{ApiKeyId, TenantId},
    },
    store::{Store, StoreError, access::*, admin::*, commands::*, invites::*, policy::*},
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
    /// [`AdminStore::update_tenant`].
    Update(Box<(Ctx, UpdateTenant)>),
    /// [`AdminStore::delete_tenant`].
    Delete(Box<(Ctx, DeleteTenant)>),
    /// [`PolicyStore::set_policy`].
    SetPolicy(Box<(Ctx, SetPolicy)>),
    /// [`AccessStore::create_role`].
    CreateRole(Box<(Ctx, CreateRole)>),
    /// [`AdminStore::create_member`].
    CreateMember(Box<(Ctx, CreateMember)>),
    /// [`AccessStore::create_api_key`].
    CreateKey(Box<(Ctx, CreateApiKey)>),
    /// [`AccessStore::revoke_api_key`].
    RevokeKey(Box<(Ctx, RevokeApiKey)>),
    /// [`AccessStore::take_over_key`].
    TakeOverKey(Box<(Ctx, TakeOverKey)>),
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
    InviteRevoked(Permitted<RevokeOutcome>),
    /// How the acceptance of an invite ended.
    InviteAccepted(AcceptOutcome),
    /// How the declining of an invite ended.
    InviteDeclined(Cas<()>),
    /// How the change of the tenant ended.
    Updated(Permitted<UpdateTenantOutcome>),
    /// How the deletion ended.
    Deleted(Permitted<Cas<()>>),
    /// How the change of the policy ended.
    Policy(Permitted<Cas<()>>),
    /// How the making of a role ended.
    RoleMade(Permitted<CreateRoleOutcome>),
    /// How the making of an account ended.
    MemberMade(CreateMemberOutcome),
    /// How the making of an API key ended.
    KeyMade(CreateApiKeyOutcome),
    /// How the ending of an API key ended.
    KeyRevoked(Permitted<Cas<Vec<ApiKeyId>>>),
    /// How the taking over of an API key ended.
    KeyTakenOver(Cas<TakeOverOutcome>),
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
            TenantCommand::Update(work) => settled(|| self.store.update_tenant(&work.0, work.1.clone())).await.map(TenantReply::Updated),
            TenantCommand::Delete(work) => settled(|| self.store.delete_tenant(&work.0, work.1.clone())).await.map(TenantReply::Deleted),
            TenantCommand::SetPolicy(work) => settled(|| self.store.set_policy(&work.0, work.1.clone())).await.map(TenantReply::Policy),
            TenantCommand::CreateRole(work) => settled(|| self.store.create_role(&work.0, work.1.clone())).await.map(TenantReply::RoleMade),
            TenantCommand::CreateMember(work) => {
                settled(|| self.store.create_member(&work.0, work.1.clone())).await.map(TenantReply::MemberMade)
            }
            TenantCommand::CreateKey(work) => {
                settled(|| self.store.create_api_key(&work.0, work.1.clone())).await.map(TenantReply::KeyMade)
            }
            TenantCommand::RevokeKey(work) => {
                settled(|| self.store.revoke_api_key(&work.0, work.1.clone())).await.map(TenantReply::KeyRevoked)
            }
            TenantCommand::TakeOverKey(work) => {
                settled(|| self.store.take_over_key(&work.0, work.1.clone())).await.map(TenantReply::KeyTakenOver)
            }
        };
        let next = next_after(&outcome);
        reply.send(outcome.unwrap_or_else(TenantReply::Store));
        next
    }
}
