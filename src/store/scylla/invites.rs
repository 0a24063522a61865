//! Invites. All that an address has in one tenant is one unit, so that one is pending at most. Lists lead there from the
//! tenant, from the address, and from who invited.

use super::{
    ScyllaStore, access,
    accounts::{self, HOLDER, ONE, account, put_account},
    api_keys::made_by,
    authority,
    effects::Effect,
    invites_of::{self, INVITE, Row, as_it_is, digest_of, given, takes_members, unit},
    sessions, signups,
    tenants::{self, TENANT},
    tx::{Halt, Outcome, Plan, Planned, Tx, json},
    unit::{Bytes, List, Unit},
    upkeep::{self, What},
    withdrawal::{self, Since},
};
use crate::{
    domain::{
        authority::{By, Denied, Permitted, Place, is_proved, needs_proof},
        contact::ContactDigest,
        context::Ctx,
        ids::{InviteId, RoleId, TenantId, UserId},
        invite::{Invite, InviteStatus},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User},
    },
    store::{Result, StoreError, commands::*, invites::*},
};
use async_trait::async_trait;

impl Outcome for CreateInviteOutcome {}
impl Outcome for RevokeOutcome {}
impl Outcome for AcceptOutcome {
    // After `EmailTaken` they join in another way: nothing was written.
    fn recorded(&self) -> bool {
        !matches!(self, AcceptOutcome::Stale | AcceptOutcome::EmailTaken(_))
    }
}

#[async_trait]
impl InviteStore for ScyllaStore {
    async fn create_invite(&self, ctx: &Ctx, cmd: CreateInvite) -> Result<CreateInviteOutcome> {
        self.engine.command(ctx, unit(cmd.invite.tenant_id, &cmd.invite.email.digest()), cmd).await
    }
    async fn resend_invite(&self, ctx: &Ctx, cmd: ResendInvite) -> Result<Cas<ResendOutcome>> {
        match self.home(cmd.tenant_id, cmd.invite_id).await? {
            Some(home) => self.engine.command(ctx, home.clone(), At { home, cmd }).await,
            None => Ok(Cas::Stale),
        }
    }
    async fn revoke_invite(&self, ctx: &Ctx, cmd: RevokeInvite) -> Result<Permitted<RevokeOutcome>> {
        match self.home(cmd.tenant_id, cmd.invite_id).await? {
            Some(home) => self.engine.command(ctx, home.clone(), At { home, cmd }).await,
            None => Ok(Ok(RevokeOutcome::NotFound)),
        }
    }
    async fn invite(&self, tenant: TenantId, id: InviteId) -> Result<Option<Invite>> {
        self.engine.read(invites_of::get(&self.engine.cql, tenant, id)).await
    }
    async fn invites(
        &self,
        tenant: TenantId,
        status: Option<InviteStatus>,
        after: Option<InviteId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Invite>> {
        self.engine.read(invites_of::list(&self.engine.cql, tenant, status, after, limit as usize, now)).await
    }
    async fn open_invites(&self, email: &ContactDigest, now: Timestamp) -> Result<Vec<(Invite, Tenant)>> {
        self.engine.read(invites_of::open_to(&self.engine.cql, email, now)).await
    }
    async fn open_invite(&self, email: &ContactDigest, id: InviteId, now: Timestamp) -> Result<Option<(Invite, Tenant)>> {
        self.engine.read(invites_of::open_one(&self.engine.cql, email, id, now)).await
    }
    async fn accept_invite(&self, ctx: &Ctx, cmd: AcceptInvite) -> Result<AcceptOutcome> {
        match self.home(cmd.tenant_id, cmd.invite_id).await? {
            Some(home) => self.engine.command(ctx, home.clone(), At { home, cmd }).await,
            None => Ok(AcceptOutcome::Gone),
        }
    }
    async fn decline_invite(&self, ctx: &Ctx, cmd: DeclineInvite) -> Result<Cas<()>> {
        match self.home(cmd.tenant_id, cmd.invite_id).await? {
            Some(home) => self.engine.command(ctx, home.clone(), At { home, cmd }).await,
            None => Ok(Cas::Stale),
        }
    }
}

impl ScyllaStore {
    /// The unit that an invite is in.
    async fn home(&self, tenant: TenantId, id: InviteId) -> Result<Option<Unit>> {
        let read = async { Ok(digest_of(&self.engine.cql, tenant, id).await?.map(|digest| unit(tenant, &digest))) };
        self.engine.read(read).await
    }
}

/// A command about an invite, with the unit that it is in.
struct At<C> {
    home: Unit,
    cmd: C,
}

async fn read(tx: &mut Tx<'_>, home: &Unit, id: InviteId) -> Planned<Option<Invite>> {
    match tx.get::<Row>(home, INVITE, id.as_bytes()).await? {
        Some(row) => Ok(Some(as_it_is(tx.cql(), row).await?)),
        None => Ok(None),
    }
}

/// Writes an invite, and when to look at it: when it expires, or some time after its end.
fn put(tx: &mut Tx<'_>, invite: &Invite, offered: i64) -> Planned<()> {
    let digest = invite.email.digest();
    let at = if invite.status == InviteStatus::Pending { invite.expires_at } else { tx.now.plus(KEPT) };
    tx.put(&unit(invite.tenant_id, &digest), INVITE, invite.id.as_bytes(), &Row { invite: invite.clone(), sweep_at: at, offered })?;
    tx.effect(upkeep::look_at(&What::Invites(invite.tenant_id, digest), at)?);
    Ok(())
}

/// Writes an invite that somebody offers now. They are a condition of the commit.
async fn offer(tx: &mut Tx<'_>, invite: &Invite) -> Planned<()> {
    let mut offered = 0;
    if let Some(inviter) = invite.inviter {
        let unit = Unit::user(inviter);
        tx.touch(&unit).await?;
        offered = tx.version(&unit);
    }
    put(tx, invite, offered)
}

/// Leads from who answers for an invite to it.
fn from_inviter(invite: &Invite) -> Option<Effect> {
    let (bucket, key) = made_by(invite.inviter?, INVITE, invite.tenant_id, invite.id.as_bytes());
    Some(Effect::Put { list: List::MadeBy, bucket, key, body: String::new(), ttl: 0, noted: false })
}

/// Leads from the tenant, the address and the inviter to an invite.
pub(super) fn lists(invite: &Invite) -> Result<Vec<Effect>> {
    let digest = invite.email.digest();
    let put = |list, bucket: &[u8], body| Effect::Put {
        list,
        bucket: bucket.into(),
        key: invite.id.as_bytes().into(),
        body,
        ttl: 0,
        noted: false,
    };
    let of = put(List::InvitesOf, invite.tenant_id.as_bytes(), json(&Bytes::from(digest.as_bytes()))?);
    let to = put(List::InvitesTo, digest.as_bytes(), json(&invite.tenant_id)?);
    Ok([Some(of), Some(to), from_inviter(invite)].into_iter().flatten().collect())
}

/// The invite has ended; it stays in the lists for a while.
async fn end(tx: &mut Tx<'_>, invite: Invite, how: InviteStatus) -> Planned<()> {
    let accepted_at = if how == InviteStatus::Accepted { Some(tx.now) } else { invite.accepted_at };
    let home = unit(invite.tenant_id, &invite.email.digest());
    let offered = tx.get::<Row>(&home, INVITE, invite.id.as_bytes()).await?.map_or(0, |row| row.offered);
    put(tx, &Invite { status: how, accepted_at, ..invite }, offered)
}

#[async_trait]
impl Plan for CreateInvite {
    type Out = CreateInviteOutcome;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<CreateInviteOutcome> {
        let i = &self.invite;
        if !takes_members(tx.cql(), i.tenant_id).await? {
            return Ok(CreateInviteOutcome::NoTenant);
        }
        let inviter = match may_invite(tx, self.by, i.role_id).await? {
            None => return Ok(CreateInviteOutcome::NoRole),
            Some(Err(why)) => return Ok(CreateInviteOutcome::Denied(why)),
            Some(Ok(person)) => person.or(i.inviter),
        };
        let i = &Invite { inviter, ..i.clone() };
        let digest = i.email.digest();
        for (_, row) in tx.scan::<Row>(&unit(i.tenant_id, &digest), INVITE).await? {
            if row.invite.status == InviteStatus::Pending {
                let former = as_it_is(tx.cql(), row).await?;
                let expired = former.status_at(tx.now) == InviteStatus::Expired;
                end(tx, former, if expired { InviteStatus::Expired } else { InviteStatus::Revoked }).await?;
            }
        }
        offer(tx, i).await?;
        tx.effects.extend(lists(i)?);
        if let Some(job) = &self.job {
            tx.job(job)?;
        }
        tx.audit(&self.audit)?;
        Ok(CreateInviteOutcome::Created)
    }
}

#[async_trait]
impl Plan for At<ResendInvite> {
    type Out = Cas<ResendOutcome>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<ResendOutcome>> {
        let cmd = &self.cmd;
        let invite = read(tx, &self.home, cmd.invite_id).await?.filter(|i| i.serial == cmd.expect_serial && i.can_be_sent_again());
        let Some(invite) = invite else { return Ok(Cas::Stale) };
        if !takes_members(tx.cql(), cmd.tenant_id).await? {
            return Ok(Cas::Stale);
        }
        let inviter = match may_invite(tx, cmd.by, invite.role_id).await? {
            None => return Ok(Cas::Stale),
            Some(Err(why)) => return Ok(Cas::Done(ResendOutcome::Denied(why))),
            Some(Ok(person)) => person.or(cmd.inviter),
        };
        for (_, row) in tx.scan::<Row>(&self.home, INVITE).await? {
            let pending = row.invite.status == InviteStatus::Pending && row.invite.id != invite.id;
            if pending && as_it_is(tx.cql(), row).await?.status == InviteStatus::Pending {
                return Ok(Cas::Done(ResendOutcome::Superseded));
            }
        }
        let sent = Invite {
            status: InviteStatus::Pending,
            serial: invite.serial + 1,
            expires_at: cmd.expires_at,
            inviter,
            inviter_key: cmd.inviter_key,
            sent_again_at: Some(tx.now),
            ..invite
        };
        offer(tx, &sent).await?;
        tx.effects.extend(from_inviter(&sent));
        if let Some(job) = &cmd.job {
            tx.job(job)?;
        }
        tx.audit(&cmd.audit)?;
        Ok(Cas::Done(ResendOutcome::Sent))
    }
}

#[async_trait]
impl Plan for At<RevokeInvite> {
    type Out = Permitted<RevokeOutcome>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Permitted<RevokeOutcome>> {
        let Some(invite) = read(tx, &self.home, self.cmd.invite_id).await? else { return Ok(Ok(RevokeOutcome::NotFound)) };
        if let Err(why) = authority::permitted(tx, self.cmd.by, Permission::InviteWrite).await? {
            return Ok(Err(why));
        }
        Ok(Ok(match invite.status {
            InviteStatus::Accepted | InviteStatus::Declined => RevokeOutcome::Answered,
            InviteStatus::Revoked => RevokeOutcome::Revoked,
            InviteStatus::Pending | InviteStatus::Expired => {
                end(tx, invite, InviteStatus::Revoked).await?;
                tx.audit(&self.cmd.audit)?;
                RevokeOutcome::Revoked
            }
        }))
    }
}

#[async_trait]
impl Plan for At<DeclineInvite> {
    type Out = Cas<()>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let Some(invite) = read(tx, &self.home, self.cmd.invite_id).await?.filter(|i| i.is_open(tx.now)) else { return Ok(Cas::Stale) };
        let his = |u: &User| u.may_sign_in() && u.email == invite.email && u.email_verified_at.is_some();
        if !account(tx, self.cmd.user_id).await?.is_some_and(|a| his(&a.user)) {
            return Ok(Cas::Stale);
        }
        end(tx, invite, InviteStatus::Declined).await?;
        tx.audit(&self.cmd.audit)?;
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for At<AcceptInvite> {
    type Out = AcceptOutcome;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<AcceptOutcome> {
        let cmd = &self.cmd;
        let row: Option<Row> = tx.get(&self.home, INVITE, cmd.invite_id.as_bytes()).await?;
        let Some(row) = row.filter(|row| row.invite.serial == cmd.serial) else { return Ok(AcceptOutcome::Gone) };
        // Whoever answers for it is a condition of the commit: an owner who leaves as the only one, while somebody joins by an invite of
        // theirs, comes before or after that.
        if let Some(inviter) = row.invite.inviter {
            // And so is what they take back.
            tx.touch(&Unit::user(inviter)).await?;
        }
        if row.invite.inviter_key.is_some() || row.invite.inviter.is_none() {
            // Of a key: an owner's row is there, and the key's.
            tx.touch(&Unit::tenant(row.invite.tenant_id)).await?;
        }
        let tenant: Option<Tenant> = tx.peek(&Unit::tenant(row.invite.tenant_id), TENANT, ONE).await?;
        let Some(tenant) = tenant.filter(|t| row.invite.is_open(tx.now) && t.deleted_at.is_none() && t.kind == TenantKind::Organization)
        else {
            return Ok(AcceptOutcome::Gone);
        };
        let Some((giver, allows)) = given(tx.cql(), tx.now, &row).await? else { return Ok(AcceptOutcome::Gone) };
        let invite = row.invite;
        let needs_proof = needs_proof(invite.role_id, allows);
        // Of a key of the operator's it is enough that somebody says that the address is right.
        let operators = giver.actor.person.is_none();
        let proved = |u: &User| is_proved(u, &tenant) || (operators && u.email_asserted_at.is_some());
        match &cmd.joins {
            Joins::New { user, session, network } => {
                if user.email != invite.email {
                    return Ok(AcceptOutcome::Stale);
                }
                let claim = Unit::email(&user.email.digest());
                if let Some(owner) = tx.get::<UserId>(&claim, HOLDER, ONE).await? {
                    return Ok(AcceptOutcome::EmailTaken(owner));
                }
                if needs_proof && !proved(user) {
                    return Ok(AcceptOutcome::Denied(Denied::TakerUnproved));
                }
                let personal = cmd.personal.as_deref().filter(|_| !tenant.managed && user.email_verified_at.is_some());
                let home_tenant = personal.map_or(user.home_tenant, |p| p.id);
                let independent = Place::of(&tenant).makes_independent(&user.email);
                accounts::insert(tx, &User { independent, home_tenant, ..(**user).clone() })?;
                join(tx, user.id, &invite).await?;
                if let Some(personal) = personal {
                    tenants::insert(tx, personal).await?;
                    let membership = Membership { user_id: user.id, tenant_id: personal.id, roles: vec![RoleId::OWNER], joined_at: tx.now };
                    tenants::join(tx, &membership, TenantKind::Personal).await?;
                }
                sessions::insert(tx, session)?;
                sessions::know(tx, user.id, *network).await?;
                signups::forget(tx, &claim).await?;
            }
            Joins::Account { user_id, epoch, mailbox, sign_in } => {
                let fits = |u: &User| u.credential_epoch == *epoch && u.may_sign_in() && u.email == invite.email;
                let Some(mut account) = account(tx, *user_id).await?.filter(|a| fits(&a.user)) else { return Ok(AcceptOutcome::Stale) };
                match mailbox {
                    Mailbox::ProvedBefore if account.user.email_verified_at.is_none() => return Ok(AcceptOutcome::Stale),
                    Mailbox::NotProved if needs_proof && !proved(&account.user) => {
                        return Ok(AcceptOutcome::Denied(Denied::TakerUnproved));
                    }
                    Mailbox::ProvedNow if account.user.email_verified_at.is_none() => {
                        tenants::first_proof(tx, &mut account, cmd.personal.as_deref()).await?;
                        withdrawal::withdraw(tx, *user_id, Since::Never).await?;
                        (account.user.email_verified_at, account.user.updated_at) = (Some(tx.now), tx.now);
                    }
                    _ => {}
                }
                // Whoever decided on the old roles decides again.
                put_account(tx, account).await?;
                join(tx, *user_id, &invite).await?;
                if let Some((session, network)) = sign_in {
                    let enter = CreateSession { session: (**session).clone(), network: *network, is_login: true, audit: Vec::new() };
                    if enter.run(tx).await? == Cas::Stale {
                        // The tenant was deleted since it was looked at.
                        return Err(Halt::Failed(StoreError::certainly_not("a session that doesn't go with its account")));
                    }
                }
            }
        }
        end(tx, invite, InviteStatus::Accepted).await?;
        tx.audit(&cmd.audit)?;
        Ok(AcceptOutcome::Joined)
    }
}

/// Whether whoever asks may invite with a role now, and who that is (`None`: the operator); `None`: there is no such role. A person is a condition of the commit: what they offer
/// is taken back with their credentials.
async fn may_invite(tx: &mut Tx<'_>, by: By, role: RoleId) -> Planned<Option<Permitted<Option<UserId>>>> {
    let acting = match authority::permitted_surely(tx, by, Permission::InviteWrite).await? {
        Ok(acting) => acting,
        Err(why) => return Ok(Some(Err(why))),
    };
    let given = authority::givable(tx.cql(), &acting, by.tenant_id, role, None).await?;
    if matches!(given, Some(Ok(_))) {
        authority::makes(tx, &acting)?;
    }
    Ok(given.map(|given| given.map(|_| acting.actor.person)))
}

/// A member with the role of the invite. Who was one before keeps what he had.
async fn join(tx: &mut Tx<'_>, user_id: UserId, invite: &Invite) -> Planned<()> {
    match tenants::member(tx, user_id, invite.tenant_id).await? {
        None => {
            let (roles, joined_at) = (vec![invite.role_id], tx.now);
            let membership = Membership { user_id, tenant_id: invite.tenant_id, roles, joined_at };
            tenants::join(tx, &membership, TenantKind::Organization).await
        }
        Some(member) => access::add_role(tx, user_id, invite.tenant_id, member, invite.role_id).await.map(drop),
    }
}

/// An invite whose inviter is gone: it names nobody, and what he offered by hand is revoked (what his API keys offered is theirs).
pub(super) struct Orphan {
    pub(super) tenant: TenantId,
    pub(super) digest: ContactDigest,
    pub(super) id: InviteId,
    pub(super) inviter: UserId,
}

#[async_trait]
impl Plan for Orphan {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let home = unit(self.tenant, &self.digest);
        let row: Option<Row> = tx.get(&home, INVITE, self.id.as_bytes()).await?;
        let Some(mut row) = row.filter(|row| row.invite.inviter == Some(self.inviter)) else { return Ok(()) };
        let taken_back = as_it_is(tx.cql(), row.clone()).await?.status == InviteStatus::Revoked;
        row.invite.inviter = None;
        if row.invite.can_be_sent_again() && (taken_back || row.invite.inviter_key.is_none()) {
            return end(tx, row.invite, InviteStatus::Revoked).await;
        }
        tx.put(&home, INVITE, self.id.as_bytes(), &row)
    }
}

/// Revokes an invite of a tenant that is gone, if it is pending.
pub(super) struct RevokePending {
    pub(super) tenant: TenantId,
    pub(super) digest: ContactDigest,
    pub(super) id: InviteId,
}

#[async_trait]
impl Plan for RevokePending {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        match read(tx, &unit(self.tenant, &self.digest), self.id).await?.filter(|i| i.status == InviteStatus::Pending) {
            Some(invite) => end(tx, invite, InviteStatus::Revoked).await,
            None => Ok(()),
        }
    }
}

/// Removes all invites of an address to a tenant.
pub(super) struct RemoveAll {
    pub(super) tenant: TenantId,
    pub(super) digest: ContactDigest,
}

#[async_trait]
impl Plan for RemoveAll {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let home = unit(self.tenant, &self.digest);
        for (key, row) in tx.scan::<Row>(&home, INVITE).await? {
            remove(tx, self.tenant, &self.digest, key);
            if let Some(maker) = row.invite.inviter {
                let (bucket, key) = made_by(maker, INVITE, self.tenant, row.invite.id.as_bytes());
                tx.effect(Effect::Del { list: List::MadeBy, bucket, key, at: 0 });
            }
        }
        Ok(())
    }
}

fn remove(tx: &mut Tx<'_>, tenant: TenantId, digest: &ContactDigest, key: Bytes) {
    tx.del(&unit(tenant, digest), INVITE, &key.0);
    tx.effect(Effect::Del { list: List::InvitesOf, bucket: tenant.as_bytes().into(), key: key.clone(), at: 0 });
    tx.effect(Effect::Del { list: List::InvitesTo, bucket: digest.as_bytes().into(), key, at: 0 });
}

/// Marks what has expired, removes what was kept long enough: how many, and when to look again.
pub(super) async fn sweep(tx: &mut Tx<'_>, tenant: TenantId, digest: &ContactDigest) -> Planned<(u64, Option<Timestamp>)> {
    let (unit, mut swept, mut next) = (unit(tenant, digest), 0, None::<Timestamp>);
    for (key, row) in tx.scan::<Row>(&unit, INVITE).await? {
        let mut at = row.sweep_at;
        if at <= tx.now {
            swept += 1;
            if row.invite.status != InviteStatus::Pending {
                remove(tx, tenant, digest, key);
                continue;
            }
            at = tx.now.plus(KEPT);
            let invite = Invite { status: InviteStatus::Expired, ..row.invite.clone() };
            tx.put(&unit, INVITE, &key.0, &Row { invite, sweep_at: at, ..row })?;
        }
        next = Some(next.map_or(at, |n| n.min(at)));
    }
    Ok((swept, next))
}
