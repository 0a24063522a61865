//! Invites: made, sent again, taken back, listed by a tenant; listed, accepted and declined by the person they are for.

use super::{
    Services,
    access::Operator,
    api::{Caller, Principal},
    error::{Error, Result},
    idempotency,
    limits::Inviting,
    page::{Listed, Page, id_position},
    tenant::unexpected,
};
use crate::{
    actors::tenant::{TenantCommand, TenantReply},
    domain::{
        contact::Email,
        context::Actor,
        ids::{InviteId, RoleId, TenantId},
        invite::{Invite, InviteStatus},
        outbox::Message,
        rng,
        secret::SecretText,
        tenant::Tenant,
        time::Timestamp,
        token::HandedInvite,
        user::User,
    },
    store::{commands::Cas, invites::*},
};
use std::time::Duration;

/// An invite, and the token of it that is for handing over.
pub type Invited = (Invite, SecretText);

impl Services {
    /// Invites an address, with a role that the inviter holds. Nothing about the address is looked up: whether it has an account
    /// shows in no answer. A pending invite of the tenant to it is revoked.
    ///
    /// # Errors
    /// `Validation` for a personal tenant, `NotFound` for no such role, `Forbidden` for one that allows more than the inviter holds,
    /// `RateLimited`.
    pub async fn create_invite(&self, caller: &Caller, by: &Operator, email: Email, role: Option<RoleId>) -> Result<Invited> {
        takes_members(by)?;
        let role_id = role.unwrap_or(RoleId::MEMBER);
        self.givable_role(by, role_id).await?;
        let tenant = self.scope(by.tenant_id).await?;
        let now = self.clock.now();
        let may_mail = self.limits.invite(&Inviting::of(by, caller), &email.digest(), now).await?;
        let invite = Invite {
            id: InviteId::new(&*self.clock, &*self.rng),
            tenant_id: tenant.id,
            email,
            role_id,
            status: InviteStatus::Pending,
            inviter: by.user_id(),
            inviter_key: by.key_id(),
            nonce: rng::bytes(&*self.rng),
            serial: 1,
            expires_at: now.plus(ttl(&tenant)),
            accepted_at: None,
            created_at: now,
            sent_again_at: None,
        };
        let job = may_mail.then(|| self.invite_mail(&invite));
        let audit = self.audit_of(caller, by, None, "invite.created").about_resource("invite", invite.id.as_bytes());
        let cmd = CreateInvite { invite: invite.clone(), by: by.by(), job, audit: vec![audit] };
        let command = TenantCommand::Invite(Box::new((self.ctx_of(caller, by), cmd)));
        match self.ask_tenant(caller, tenant.id, command).await? {
            TenantReply::Invited(CreateInviteOutcome::Created) => Ok(self.sent(invite)),
            TenantReply::Invited(CreateInviteOutcome::Denied(why)) => Err(why.into()),
            TenantReply::Invited(CreateInviteOutcome::NoTenant | CreateInviteOutcome::NoRole) => Err(Error::NotFound),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends an invite again, with a new time to live; the tokens of before die. An expired one is pending again. Whoever does it
    /// gets a token of his own, and so must hold what the invite gives; it is his invite from now on.
    ///
    /// # Errors
    /// `NotFound` for another tenant's, `Conflict` if it was answered or revoked, `Forbidden` for a role that allows more than the
    /// operator holds, `RateLimited`.
    pub async fn resend_invite(&self, caller: &Caller, by: &Operator, id: InviteId) -> Result<Invited> {
        let tenant = self.scope(by.tenant_id).await?;
        // One id for all tries: nothing is recorded of one that came too late.
        let ctx = self.ctx_of(caller, by);
        // Twice: another one may be sending it at the same time.
        for _ in 0..2 {
            let invite = self.store.invite(tenant.id, id).await?.ok_or(Error::NotFound)?;
            if !invite.can_be_sent_again() {
                return Err(Error::Conflict("the invite was answered or revoked: make a new one"));
            }
            self.givable_role(by, invite.role_id).await?;
            let now = self.clock.now();
            let may_mail = self.limits.invite(&Inviting::of(by, caller), &invite.email.digest(), now).await?;
            let expect_serial = invite.serial;
            let (status, serial) = (InviteStatus::Pending, expect_serial + 1);
            let (inviter, inviter_key) = (by.user_id(), by.key_id());
            let invite = Invite { status, serial, expires_at: now.plus(ttl(&tenant)), inviter, inviter_key, ..invite };
            let cmd = ResendInvite {
                tenant_id: tenant.id,
                invite_id: id,
                expect_serial,
                expires_at: invite.expires_at,
                by: by.by(),
                inviter,
                inviter_key,
                job: may_mail.then(|| self.invite_mail(&invite)),
                audit: vec![self.audit_of(caller, by, None, "invite.resent").about_resource("invite", id.as_bytes())],
            };
            let command = TenantCommand::ResendInvite(Box::new((ctx.clone(), cmd)));
            match self.ask_tenant(caller, tenant.id, command).await? {
                TenantReply::InviteResent(Cas::Done(ResendOutcome::Sent)) => {
                    // A run before may have sent it: the token is that of the invite as it is.
                    let rerun = idempotency::may_be_rerun();
                    let stored = if rerun { self.store.invite(tenant.id, id).await?.ok_or(Error::NotFound)? } else { invite };
                    return Ok(self.sent(stored));
                }
                TenantReply::InviteResent(Cas::Done(ResendOutcome::Superseded)) => {
                    return Err(Error::Conflict("there is a newer invite to this address"));
                }
                TenantReply::InviteResent(Cas::Done(ResendOutcome::Denied(why))) => return Err(why.into()),
                TenantReply::InviteResent(Cas::Stale) => continue,
                other => return Err(unexpected(&other)),
            }
        }
        Err(Error::Conflict("the invite has changed meanwhile"))
    }

    fn invite_mail(&self, invite: &Invite) -> crate::domain::outbox::Job {
        self.job(Message::Invite { tenant_id: invite.tenant_id, invite_id: invite.id, serial: invite.serial })
    }

    fn sent(&self, invite: Invite) -> Invited {
        let token = HandedInvite::issue(&self.keyring, invite.tenant_id, invite.id, invite.serial, &invite.nonce);
        (invite, token)
    }

    /// Takes an invite back; revoked before is as good.
    ///
    /// # Errors
    /// `NotFound` for another tenant's, `Conflict` if it was accepted or declined.
    pub async fn revoke_invite(&self, caller: &Caller, by: &Operator, id: InviteId) -> Result<()> {
        let audit = vec![self.audit_of(caller, by, None, "invite.revoked").about_resource("invite", id.as_bytes())];
        let cmd = RevokeInvite { tenant_id: by.tenant_id, invite_id: id, by: by.by(), audit };
        let command = TenantCommand::RevokeInvite(Box::new((self.ctx_of(caller, by), cmd)));
        match self.ask_tenant(caller, by.tenant_id, command).await? {
            TenantReply::InviteRevoked(Ok(RevokeOutcome::Revoked)) => Ok(()),
            TenantReply::InviteRevoked(Ok(RevokeOutcome::NotFound)) => Err(Error::NotFound),
            TenantReply::InviteRevoked(Err(why)) => Err(why.into()),
            TenantReply::InviteRevoked(Ok(RevokeOutcome::Answered)) => Err(Error::Conflict("the invite was accepted or declined")),
            other => Err(unexpected(&other)),
        }
    }

    /// The tenant's invites, newest first; with a status, those that are so now.
    ///
    /// # Errors
    /// `NotFound` for another tenant, `InvalidCursor`.
    pub async fn invites(&self, by: &Operator, tenant: TenantId, status: Option<InviteStatus>, page: &Page) -> Result<Listed<Invite>> {
        by.in_tenant(tenant)?;
        let scope: [&[u8]; 3] = [b"invites", tenant.as_bytes(), status.map_or("", InviteStatus::name).as_bytes()];
        let after = id_position(self.position(&scope, page)?)?.map(InviteId::from_bytes);
        let invites = self.store.invites(tenant, status, after, page.limit + 1, self.clock.now()).await?;
        self.listed(&scope, page, invites, |i| i.id.as_bytes().to_vec())
    }

    /// The present time, for what invites are now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is open to the caller's address, newest first, with the tenants; nothing while the address isn't proved.
    ///
    /// # Errors
    /// `Unauthorized` if the account is gone.
    pub async fn my_invites(&self, who: &Principal) -> Result<Vec<(Invite, Tenant)>> {
        match self.proved(who).await? {
            Some(user) => Ok(self.store.open_invites(&user.email.digest(), self.clock.now()).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Joins by an invite to the caller's proved address. The session stays where it is: `switch_tenant` goes there.
    ///
    /// # Errors
    /// `NotFound` if no such invite is open to the caller, `Conflict` if it or the account changes meanwhile.
    pub async fn accept_my_invite(&self, caller: &Caller, who: &Principal, id: InviteId) -> Result<(Invite, Tenant)> {
        let (user, invite, tenant) = self.mine(who, id).await?;
        let audit = self.audit(caller, Actor::User(user.id), tenant.id, user.id, "invite.accepted");
        let cmd = AcceptInvite {
            tenant_id: tenant.id,
            invite_id: id,
            serial: invite.serial,
            joins: Joins::Account { user_id: user.id, epoch: user.credential_epoch, mailbox: Mailbox::ProvedBefore, sign_in: None },
            personal: None,
            audit: vec![audit.about_resource("invite", id.as_bytes())],
        };
        let ctx = self.ctx(caller, Actor::User(user.id));
        let accepted_at = Some(ctx.now);
        match self.ask_tenant(caller, tenant.id, TenantCommand::AcceptInvite(Box::new((ctx, cmd)))).await? {
            TenantReply::InviteAccepted(AcceptOutcome::Joined) => {
                Ok((Invite { status: InviteStatus::Accepted, accepted_at, ..invite }, tenant))
            }
            TenantReply::InviteAccepted(AcceptOutcome::Gone) => Err(Error::NotFound),
            TenantReply::InviteAccepted(AcceptOutcome::Denied(why)) => Err(why.into()),
            TenantReply::InviteAccepted(AcceptOutcome::Stale) => Err(Error::Conflict("the account has changed meanwhile")),
            other => Err(unexpected(&other)),
        }
    }

    /// Declines an invite to the caller's proved address.
    ///
    /// # Errors
    /// `NotFound` if no such invite is open to the caller.
    pub async fn decline_my_invite(&self, caller: &Caller, who: &Principal, id: InviteId) -> Result<(Invite, Tenant)> {
        let (user, invite, tenant) = self.mine(who, id).await?;
        let audit = self.audit(caller, Actor::User(user.id), tenant.id, user.id, "invite.declined");
        let audit = vec![audit.about_resource("invite", id.as_bytes())];
        let cmd = DeclineInvite { tenant_id: tenant.id, invite_id: id, user_id: user.id, audit };
        let command = TenantCommand::DeclineInvite(Box::new((self.ctx(caller, Actor::User(user.id)), cmd)));
        match self.ask_tenant(caller, tenant.id, command).await? {
            TenantReply::InviteDeclined(Cas::Done(())) => Ok((Invite { status: InviteStatus::Declined, ..invite }, tenant)),
            TenantReply::InviteDeclined(Cas::Stale) => Err(Error::NotFound),
            other => Err(unexpected(&other)),
        }
    }

    async fn mine(&self, who: &Principal, id: InviteId) -> Result<(User, Invite, Tenant)> {
        let user = self.proved(who).await?.ok_or(Error::NotFound)?;
        let open = self.store.open_invite(&user.email.digest(), id, self.clock.now()).await?;
        let (invite, tenant) = open.ok_or(Error::NotFound)?;
        Ok((user, invite, tenant))
    }

    /// The caller's account, if its address is proved.
    async fn proved(&self, who: &Principal) -> Result<Option<User>> {
        Ok(Some(self.account(who).await?).filter(|u| u.email_verified_at.is_some()))
    }
}

fn ttl(tenant: &Tenant) -> Duration {
    Duration::from_secs(u64::from(tenant.policy.invite_ttl_hours) * 3600)
}

fn takes_members(by: &Operator) -> Result<()> {
    if by.is_personal() {
        return Err(Error::field("tenant_id", "is a personal tenant, which has one member: invite to an organization"));
    }
    Ok(())
}
