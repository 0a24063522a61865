//! What admins do to the users of their tenant, within the fence; and [`AdminStore`]: which unit is the home of each command.

use super::{
    ScyllaStore,
    accounts::{self, ACCOUNT, Account, HOLDER, ONE, account, count_kind, into_bin, ones, out_of_bin, put_account},
    authority, email_change,
    invites_of::takes_members,
    members, passwords,
    policy::{live, put_tenant},
    sessions, signups, tenants,
    tenants::{MEMBER, TENANT},
    tx::{Outcome, Plan, Planned, Tx},
    unit::{Name, Unit, name},
    upkeep::{self, What},
};
use crate::{
    domain::{
        audit::AuditEvent,
        authority::{Action, By, Denied, Permitted, Place, is_proved, may, needs_proof},
        context::Ctx,
        ids::{RoleId, TenantId, UserId},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User, UserStatus},
    },
    store::{Result, StoreError, admin::*, commands::*},
};
use async_trait::async_trait;
use std::time::Duration;

impl Outcome for CreateMemberOutcome {}
impl Outcome for MemberOutcome {
    fn recorded(&self) -> bool {
        // Nothing is written about users who aren't there.
        !matches!(self, MemberOutcome::Stale | MemberOutcome::NotFound)
    }
}

/// Done, and nothing ended.
pub(super) const NOTHING: MemberOutcome = MemberOutcome::Done { raised_to: None, revoked: 0 };

#[async_trait]
impl AdminStore for ScyllaStore {
    async fn create_member(&self, ctx: &Ctx, cmd: CreateMember) -> Result<CreateMemberOutcome> {
        self.engine.command(ctx, Unit::email(&cmd.user.email.digest()), cmd).await
    }
    async fn member(&self, tenant: TenantId, user: UserId) -> Result<Option<Member>> {
        self.engine.read(members::member(&self.engine.cql, tenant, user)).await
    }
    async fn members(&self, filter: MemberFilter, after: Option<MemberPosition>, limit: u32) -> Result<MemberPage> {
        self.engine.read(members::members(&self.engine.cql, &filter, after.as_ref(), limit)).await
    }
    async fn deleted_members(&self, tenant: TenantId, after: Option<(Timestamp, UserId)>, limit: u32) -> Result<Vec<User>> {
        self.engine.read(members::deleted(&self.engine.cql, tenant, after, limit)).await
    }
    async fn change_member(&self, ctx: &Ctx, cmd: ChangeMember) -> Result<MemberOutcome> {
        match cmd.what {
            MemberChange::Purge => self.purge_by_admin(ctx, cmd).await,
            _ => self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await,
        }
    }
    async fn kept_about(&self, user: UserId) -> Result<Option<Kept>> {
        // Longer than other calls: it reads thousands of events, each statement in bounded time.
        self.engine.kept_about(user).await
    }
    async fn overdue_users(&self, now: Timestamp, limit: u32) -> Result<Vec<Overdue>> {
        self.engine.read(members::overdue(&self.engine, now, limit)).await
    }
    async fn purge_overdue(&self, ctx: &Ctx, user: UserId, audit: Vec<AuditEvent>) -> Result<Cas<()>> {
        self.purge_by_time(ctx, user, audit).await
    }
    async fn update_tenant(&self, ctx: &Ctx, cmd: UpdateTenant) -> Result<Permitted<UpdateTenantOutcome>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn delete_tenant(&self, ctx: &Ctx, cmd: DeleteTenant) -> Result<Permitted<Cas<()>>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn end_tenants(&self, now: Timestamp, newcomers: &Newcomers) -> Result<EndedTenants> {
        // Longer than other calls: nobody waits for it, and each command in it is bounded.
        self.engine.end_tenants(now, newcomers).await.map_err(StoreError::maybe)
    }
    async fn manage_tenant(&self, ctx: &Ctx, cmd: ManageTenant) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::tenant(cmd.tenant_id), cmd).await
    }
    async fn make_owner(&self, ctx: &Ctx, cmd: MakeOwner) -> Result<Cas<()>> {
        self.engine.command(ctx, Unit::user(cmd.user_id), cmd).await
    }
    async fn organizations(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<Tenant>> {
        self.engine.organizations(after, limit).await
    }
    async fn owners(&self, tenant: TenantId) -> Result<Vec<UserId>> {
        self.engine.read(tenants::owners(&self.engine.cql, tenant, 100)).await
    }
    async fn scrub(&self) -> Result<bool> {
        // What is erased goes with the next compactions, which are the server's.
        Ok(false)
    }
}

#[async_trait]
impl Plan for CreateMember {
    type Out = CreateMemberOutcome;
    fn first(&self) -> Vec<Name> {
        ones(&[HOLDER])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateMemberOutcome> {
        let (tenant, email) = (self.membership.tenant_id, self.user.email.digest());
        if !takes_members(tx.cql(), tenant).await? {
            return Ok(CreateMemberOutcome::NoTenant);
        }
        let Some(found) = tx.peek::<Tenant>(&Unit::tenant(tenant), TENANT, ONE).await? else { return Ok(CreateMemberOutcome::NoTenant) };
        let acting = match authority::permitted_surely(tx, self.by, Permission::UserWrite).await? {
            Ok(acting) => acting,
            Err(why) => return Ok(CreateMemberOutcome::Denied(why)),
        };
        if self.vouched
            && let Err(why) = Place::of(&found).may_make_credentials(&self.user.email)
        {
            return Ok(CreateMemberOutcome::Denied(why));
        }
        for role in &self.membership.roles {
            let allows = match authority::givable(tx.cql(), &acting, tenant, *role, None).await? {
                None => return Ok(CreateMemberOutcome::NoRole),
                Some(Err(why)) => return Ok(CreateMemberOutcome::Denied(why)),
                Some(Ok(allows)) => allows,
            };
            if needs_proof(*role, allows) && !is_proved(&self.user, &found) {
                return Ok(CreateMemberOutcome::Denied(Denied::TakerUnproved));
            }
        }
        let claim = Unit::email(&email);
        if let Some(holder) = tx.get::<UserId>(&claim, HOLDER, ONE).await? {
            let inside = tx.peek::<tenants::Member>(&Unit::user(holder), MEMBER, tenant.as_bytes()).await?.is_some();
            return Ok(if inside { CreateMemberOutcome::TakenInside } else { CreateMemberOutcome::TakenOutside });
        }
        accounts::insert(tx, &User { independent: Place::of(&found).makes_independent(&self.user.email), ..self.user.clone() })?;
        tenants::join(tx, &self.membership, crate::domain::tenant::TenantKind::Organization).await?;
        signups::forget(tx, &claim).await?;
        // What is recorded there is looked at again when a rerun can no longer come.
        tx.effect(upkeep::look_at(&What::Claim(email), tx.now.plus(Duration::from_secs(86_400)))?);
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(CreateMemberOutcome::Created)
    }
}

/// The account and the membership of who is to be changed, if whoever asks may do so; if not, why.
pub(super) async fn fenced(
    tx: &mut Tx<'_>,
    by: By,
    user: UserId,
    in_bin: bool,
    action: impl FnOnce(&User) -> Action,
) -> Planned<std::result::Result<(Account, tenants::Member), MemberOutcome>> {
    let tenant = by.tenant_id;
    let (Some(account), Some(member)) = (account(tx, user).await?, tenants::member(tx, user, tenant).await?) else {
        return Ok(Err(MemberOutcome::NotFound));
    };
    // Whether the tenant has power is a condition of the commit, and so is what whoever acts may do.
    tx.touch(&Unit::tenant(tenant)).await?;
    let found: Option<Tenant> = tx.peek(&Unit::tenant(tenant), TENANT, ONE).await?;
    let (Some(found), Some(target)) = (found.filter(|t| t.deleted_at.is_none()), passwords::target(tx, by, &account.user).await?) else {
        return Ok(Err(MemberOutcome::NotFound));
    };
    let acting = match authority::permitted_surely(tx, by, Permission::UserWrite).await? {
        Ok(acting) => acting,
        Err(why) => return Ok(Err(MemberOutcome::Denied(why))),
    };
    if let Err(why) = may(&acting.actor, action(&account.user), &target, &Place::of(&found)) {
        return Ok(Err(MemberOutcome::Denied(why)));
    }
    if account.user.deleted_at.is_some() != in_bin {
        return Ok(Err(MemberOutcome::WrongPlace));
    }
    Ok(Ok((account, member)))
}

async fn is_last_owner(tx: &mut Tx<'_>, by: By, user: UserId, member: &tenants::Member) -> Planned<bool> {
    Ok(member.roles.contains(&RoleId::OWNER) && !tenants::has_other_owner(tx, by.tenant_id, user).await?)
}

#[async_trait]
impl Plan for ChangeMember {
    type Out = MemberOutcome;
    fn first(&self) -> Vec<Name> {
        vec![name(super::accounts::ACCOUNT, ONE), name(MEMBER, self.by.tenant_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<MemberOutcome> {
        let (id, by) = (self.user_id, self.by);
        let in_bin = matches!(self.what, MemberChange::Restore { .. } | MemberChange::Purge);
        let (mut account, member) = match fenced(tx, by, id, in_bin, |before| self.what.action(before)).await? {
            Ok(found) => found,
            Err(why) => return Ok(why),
        };
        let epoch = account.user.credential_epoch;
        let outcome = match &self.what {
            MemberChange::Update { expect_version, display_name, phone, status, metadata } => {
                if *expect_version != account.user.version {
                    return Ok(MemberOutcome::Stale);
                }
                let suspending = account.user.status == UserStatus::Active && *status == UserStatus::Suspended;
                if suspending && is_last_owner(tx, by, id, &member).await? {
                    return Ok(MemberOutcome::LastOwner);
                }
                let u = &mut account.user;
                if u.phone != *phone {
                    u.phone_verified_at = None;
                }
                if u.status != *status {
                    tenants::act_as_owner(tx, id, *status == UserStatus::Active).await?;
                }
                (u.display_name, u.phone, u.status) = (display_name.clone(), phone.clone(), *status);
                u.updated_at = tx.now;
                if u.metadata_in(by.tenant_id, member.metadata.clone()) != *metadata {
                    let member = tenants::Member { metadata: Some(metadata.clone()), ..member };
                    tenants::put_member(tx, id, by.tenant_id, &member).await?;
                }
                if suspending {
                    let revoked = sessions::raise_epoch(tx, account, None).await?;
                    MemberOutcome::Done { raised_to: Some(epoch + 1), revoked }
                } else {
                    put_account(tx, account).await?;
                    NOTHING
                }
            }
            MemberChange::SetPassword { hash, must_change, job } => {
                account.user.password_hash = Some(hash.clone());
                account.user.must_change = *must_change;
                account.password_epoch = Some(epoch + 1);
                account.user.updated_at = tx.now;
                count_kind(tx, hash);
                let revoked = sessions::raise_epoch(tx, account, None).await?;
                if let Some(job) = job {
                    tx.job(job)?;
                }
                MemberOutcome::Done { raised_to: Some(epoch + 1), revoked }
            }
            MemberChange::Delete { purge_after, job } => {
                if is_last_owner(tx, by, id, &member).await? {
                    return Ok(MemberOutcome::LastOwner);
                }
                let email = account.user.email.clone();
                let revoked = into_bin(tx, account, *purge_after).await?;
                // Whom an admin has deleted doesn't come back by a link.
                email_change::use_up(tx, id, 0, &email).await?;
                if let Some(job) = job {
                    tx.job(job)?;
                }
                MemberOutcome::Done { raised_to: Some(epoch + 1), revoked }
            }
            MemberChange::Restore { job } => {
                let revoked = out_of_bin(tx, account).await?;
                if let Some(job) = job {
                    tx.job(job)?;
                }
                MemberOutcome::Done { raised_to: Some(epoch + 1), revoked }
            }
            MemberChange::EndSessions => {
                let all = RevokeSessions { user_id: id, which: Which::All, audit: Vec::new() };
                MemberOutcome::Done { raised_to: None, revoked: all.run(tx).await? }
            }
            // A command of its own.
            MemberChange::Purge => return Ok(MemberOutcome::WrongPlace),
        };
        tx.audit(&self.audit)?;
        Ok(outcome)
    }
}

#[async_trait]
impl Plan for ManageTenant {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        ones(&[TENANT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let Some(tenant) = live(tx, self.tenant_id).await?.filter(|t| t.kind == TenantKind::Organization) else { return Ok(Cas::Stale) };
        if tenant.managed != self.managed {
            put_tenant(tx, Tenant { managed: self.managed, ..tenant })?;
            tx.audit(&self.audit)?;
        }
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for MakeOwner {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        vec![name(ACCOUNT, ONE), name(MEMBER, self.tenant_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let (user_id, tenant_id) = (self.user_id, self.tenant_id);
        let Some(account) = account(tx, user_id).await?.filter(|a| a.user.may_sign_in()) else { return Ok(Cas::Stale) };
        if live(tx, tenant_id).await?.is_none_or(|t| t.kind != TenantKind::Organization) {
            return Ok(Cas::Stale);
        }
        match tenants::member(tx, user_id, tenant_id).await? {
            Some(member) if member.roles.contains(&RoleId::OWNER) => return Ok(Cas::Done(())),
            Some(mut member) => {
                member.roles.push(RoleId::OWNER);
                tenants::put_member(tx, user_id, tenant_id, &member).await?;
            }
            None => {
                let membership = Membership { user_id, tenant_id, roles: vec![RoleId::OWNER], joined_at: tx.now };
                tenants::join(tx, &membership, TenantKind::Organization).await?;
            }
        }
        put_account(tx, account).await?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}
