//! Accounts that go for good. A mark comes first, and with it the account is gone for everybody; then what others keep about
//! it, then its own rows, and with the last of them the claim of its address. Whoever marked it goes on to the end; if he dies,
//! a sweep does.

use super::{
    ScyllaStore,
    accounts::{ACCOUNT, Account, HOLDER, ONE, account},
    admin::{NOTHING, fenced},
    api_keys::{self, KeyRow, Made},
    audit::END,
    authority::MADE,
    email_change::{self, PENDING, UNDO},
    engine::{Engine, RECORD},
    invites::{Orphan, RemoveAll},
    invites_of, member_lists,
    passwords::RESET,
    sessions::{KNOWN, SESSION},
    signups, tenants,
    tx::{Plan, Planned, Tx, parse},
    unit::{Family, List, Name, Unit, name},
    upkeep::{self, What},
    withdrawal::{self, WITHDRAWN},
};
use crate::{
    domain::{
        api_key::ApiKey,
        audit::AuditEvent,
        authority::Action,
        context::Ctx,
        ids::{ApiKeyId, InviteId, TenantId, UserId},
        time::Timestamp,
    },
    store::{Result, StoreError, admin::*, commands::Cas},
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::time::Duration;

/// What is left to do of a purge.
const PURGE: &str = "purge";
/// Invites that are seen to at once.
const AT_ONCE: usize = 16;
/// Rows that are removed at a time.
const ROWS: usize = 200;
/// Entries that are read at once.
const PAGE: u32 = 500;
/// How long the caller waits for the end; it is reached without him.
const PATIENCE: Duration = Duration::from_secs(6);

#[derive(Debug, Serialize, Deserialize)]
struct Purge {
    marked_at: Timestamp,
    /// The receipt: written with the last of the rows, as what was written before is erased.
    audit: Vec<AuditEvent>,
}

/// The account is gone for everybody but those who see to the rest.
fn mark(tx: &mut Tx<'_>, account: Account, audit: &[AuditEvent]) -> Planned<()> {
    let (id, unit) = (account.user.id, Unit::user(account.user.id));
    member_lists::no_longer_due(tx, &account.user);
    tx.put(&unit, ACCOUNT, ONE, &Account { purging: true, ..account })?;
    tx.put(&unit, PURGE, ONE, &Purge { marked_at: tx.now, audit: audit.to_vec() })?;
    tx.effect(upkeep::look_at(&What::Purge(id), tx.now)?);
    Ok(())
}

/// By an admin.
struct ByAdmin(ChangeMember);

#[async_trait]
impl Plan for ByAdmin {
    type Out = MemberOutcome;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<MemberOutcome> {
        match fenced(tx, self.0.by, self.0.user_id, true, |_| Action::Purge).await? {
            Ok((account, _)) => mark(tx, account, &self.0.audit).map(|()| NOTHING),
            Err(why) => Ok(why),
        }
    }
}

/// Because its time has come.
struct ByTime {
    user: UserId,
    audit: Vec<AuditEvent>,
}

#[async_trait]
impl Plan for ByTime {
    type Out = Cas<()>;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let now = tx.now;
        let over = account(tx, self.user).await?.filter(|a| a.user.deleted_at.is_some() && a.user.purge_after.is_some_and(|at| at <= now));
        let Some(account) = over else { return Ok(Cas::Stale) };
        mark(tx, account, &self.audit)?;
        Ok(Cas::Done(()))
    }
}

impl ScyllaStore {
    /// The account's own unit won't be there to tell of the outcome.
    fn apart(ctx: &Ctx) -> Unit {
        Unit { family: Family::Commands, key: ctx.command.as_bytes().into() }
    }

    pub(super) async fn purge_by_admin(&self, ctx: &Ctx, cmd: ChangeMember) -> Result<MemberOutcome> {
        let user = cmd.user_id;
        let outcome = self.engine.command(ctx, Self::apart(ctx), ByAdmin(cmd)).await?;
        if outcome == NOTHING {
            self.purged(ctx.now, user).await?;
        }
        Ok(outcome)
    }

    pub(super) async fn purge_by_time(&self, ctx: &Ctx, user: UserId, audit: Vec<AuditEvent>) -> Result<Cas<()>> {
        let outcome = self.engine.command(ctx, Self::apart(ctx), ByTime { user, audit }).await?;
        if outcome == Cas::Done(()) {
            self.purged(ctx.now, user).await?;
        }
        Ok(outcome)
    }

    /// Waits for the end of a purge that is marked, for a while: it is surely reached.
    async fn purged(&self, now: Timestamp, user: UserId) -> Result<()> {
        let engine = self.engine.clone();
        let task = tokio::spawn(async move { engine.finish_purge(now, user).await });
        match self.engine.in_time(PATIENCE, task).await {
            Some(Ok(done)) => done.map_err(StoreError::maybe),
            Some(Err(e)) => Err(StoreError::maybe(e)),
            None => Ok(()),
        }
    }
}

/// API keys whose maker is gone: they stay, and nobody made them.
struct Unmake {
    user: UserId,
    tenant: TenantId,
    keys: Vec<ApiKeyId>,
}

#[async_trait]
impl Plan for Unmake {
    type Out = ();
    fn first(&self) -> Vec<Name> {
        self.keys.iter().map(|key| name(api_keys::KEY, key.as_bytes())).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = Unit::tenant(self.tenant);
        let withdrawn = withdrawal::of(tx.cql(), self.user).await?;
        let personal = tenants::is_personal(tx, self.tenant).await?;
        for id in &self.keys {
            let row: Option<KeyRow> = tx.get(&unit, api_keys::KEY, id.as_bytes()).await?;
            if let Some(row) = row.filter(|row| row.key.user_id == Some(self.user)) {
                // Nobody takes over what they took back.
                let key = row.into_key(&withdrawn, personal);
                let unmade = ApiKey { user_id: None, stopped_at: key.stopped_at.or(Some(tx.now)), ..key };
                tx.put(&unit, api_keys::KEY, id.as_bytes(), &unmade)?;
            }
        }
        Ok(())
    }
}

/// The account as it lies there, if it is being purged.
async fn marked(tx: &mut Tx<'_>, user: UserId) -> Planned<Option<Account>> {
    Ok(tx.get::<Account>(&Unit::user(user), ACCOUNT, ONE).await?.filter(|a| a.purging))
}

struct Leave {
    user: UserId,
    tenant: TenantId,
}

#[async_trait]
impl Plan for Leave {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        match marked(tx, self.user).await? {
            Some(mut account) => tenants::end_membership(tx, &mut account, self.tenant).await,
            None => Ok(()),
        }
    }
}

/// Removes rows of the account, and with the last ones frees the address: whether there are more.
struct Rows(UserId);

#[async_trait]
impl Plan for Rows {
    type Out = bool;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let (id, unit) = (self.0, Unit::user(self.0));
        let Some(account) = marked(tx, id).await? else { return Ok(false) };
        for (_, link) in
            tx.scan::<crate::store::commands::UndoLink>(&unit, UNDO).await?.into_iter().filter(|(_, link)| link.used_at.is_none())
        {
            email_change::release(tx, id, &link, &account.user.email).await?;
        }
        let mut many = Vec::new();
        for kind in [SESSION, RESET, UNDO, RECORD] {
            many.extend(tx.scan::<IgnoredAny>(&unit, kind).await?.into_iter().map(|(key, _)| (kind, key)));
        }
        for (kind, key) in many.iter().take(ROWS) {
            tx.del(&unit, kind, &key.0);
        }
        if many.len() > ROWS {
            return Ok(true);
        }
        let claim = Unit::email(&account.user.email.digest());
        if tx.get::<UserId>(&claim, HOLDER, ONE).await? == Some(id) {
            tx.del(&claim, HOLDER, ONE);
        }
        signups::forget(tx, &claim).await?;
        if let Some(Purge { marked_at, audit }) = tx.get(&unit, PURGE, ONE).await? {
            tx.audit(&audit)?;
            tx.effect(upkeep::no_look_at(&What::Purge(id), marked_at));
        }
        for kind in [KNOWN, PENDING, PURGE, MADE, WITHDRAWN, ACCOUNT] {
            tx.del(&unit, kind, ONE);
        }
        tx.forget(&unit);
        Ok(false)
    }
}

impl Engine {
    /// Brings a marked purge to its end; each step may be done twice, and by anybody.
    pub(super) async fn finish_purge(&self, now: Timestamp, user: UserId) -> Result<()> {
        let unit = Unit::user(user);
        let marked: Option<Account> = self.cql.peek(&unit, ACCOUNT, ONE).await?;
        let Some(account) = marked.filter(|a| a.purging) else { return Ok(()) };
        let digest = account.user.email.digest();
        self.forget_parked(user, &digest).await?;
        let (mut from, mut more) = (Vec::new(), true);
        while more {
            let page = self.cql.timed(List::InvitesTo, digest.as_bytes(), &from, END, PAGE).await?;
            more = page.len() == PAGE as usize;
            for entry in page {
                let tenant = parse::<TenantId>(&entry.body)?;
                self.change(now, invites_of::unit(tenant, &digest), RemoveAll { tenant, digest }).await?;
                self.cql.del(List::InvitesTo, digest.as_bytes(), &entry.key.0, entry.at).await?;
                from = [entry.key.0.as_slice(), &[0]].concat();
            }
        }
        for some in api_keys::made(&self.cql, user, invites_of::INVITE).await?.chunks(AT_ONCE) {
            try_join_all(some.iter().map(async |made| {
                let (tenant, id) = (made.tenant, InviteId::from_bytes(made.id));
                if let Some(digest) = invites_of::digest_of(&self.cql, tenant, id).await? {
                    self.change(now, invites_of::unit(tenant, &digest), Orphan { tenant, digest, id, inviter: user }).await?;
                }
                self.forget_made(user, invites_of::INVITE, made).await
            }))
            .await?;
        }
        for kind in [api_keys::KEY, api_keys::ENDED_KEY] {
            let made = api_keys::made(&self.cql, user, kind).await?;
            for some in made.chunk_by(|a, b| a.tenant == b.tenant).flat_map(|of_tenant| of_tenant.chunks(ROWS)) {
                let Some(tenant) = some.first().map(|made| made.tenant) else { continue };
                let keys = some.iter().map(|made| ApiKeyId::from_bytes(made.id)).collect();
                self.change(now, Unit::tenant(tenant), Unmake { user, tenant, keys }).await?;
                try_join_all(some.iter().map(|made| self.forget_made(user, kind, made))).await?;
            }
        }
        self.erase_from_audit(user).await?;
        for (tenant, _) in self.cql.peek_all::<IgnoredAny>(&unit, tenants::MEMBER).await? {
            let Ok(tenant) = tenant.0.as_slice().try_into().map(TenantId::from_bytes) else { continue };
            // Before he leaves: whoever goes on after a crash finds his membership still.
            self.without_members(now, tenant, user).await?;
            self.change(now, unit.clone(), Leave { user, tenant }).await?;
        }
        while self.change(now, unit.clone(), Rows(user)).await? {}
        Ok(())
    }

    async fn forget_made(&self, user: UserId, kind: &str, made: &Made) -> Result<()> {
        let (bucket, key) = api_keys::made_by(user, kind, made.tenant, &made.id);
        self.cql.del(List::MadeBy, &bucket.0, &key.0, made.at).await
    }
}
