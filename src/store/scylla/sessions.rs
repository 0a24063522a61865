//! Sessions: opened, turned, listed, ended.
//!
//! A session that ends alone gets a mark in its row. What ends many at once (an epoch raised, all sessions ended) is one
//! entry in the account's row: which ones, when. So it is one small write, however many they are.

use super::{
    accounts::{ACCOUNT, Account, ONE, account, ones, put_account},
    email_change,
    engine::Engine,
    tenants,
    tx::{Plan, Planned, Tx, parse},
    unit::{Name, Unit, name},
    upkeep::{self, What},
};
use crate::{
    domain::{
        ids::{SessionId, TenantId, UserId},
        network::Network,
        session::{LIVE_AT_MOST, Session, idle},
        time::Timestamp,
    },
    store::{Result, commands::*},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) const SESSION: &str = "session";
pub(super) const KNOWN: &str = "networks";
/// Networks of an account that are kept.
const NETWORKS: usize = 16;
/// Sessions in a list.
const LISTED: usize = 200;
/// At one in so many sign-ins of an account it is looked whether it has too many sessions: it may have as many more, which saves the others the
/// reading.
const LOOKED_AT: u32 = 25;
/// So many end, and so many old ones are removed, with one sign-in.
const ENDED_AT_ONCE: usize = 40;
const REMOVED_AT_ONCE: usize = 200;
/// Sessions stay in the list this long after their end.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: i64 = 86_400_000;
/// Entries of endings in an account; of older ones, two become one (and the older gets the time of the younger).
const ENDINGS: usize = 64;

/// Networks that an account has signed in from, and when last.
pub(super) type Known = Vec<(Network, Timestamp)>;

/// How many sessions ended at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    /// Those opened when the unit's version was lower …
    before: i64,
    /// … but for this one …
    keep: Option<SessionId>,
    /// … and of this tenant only.
    tenant: Option<TenantId>,
    at: Timestamp,
}

/// A session's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    session: Session,
    /// The unit's version when it was opened.
    opened: i64,
}

impl Row {
    /// Of a session that was opened elsewhere, before anything that may end it here.
    pub(super) fn moved(session: Session) -> Self {
        Self { session, opened: 0 }
    }
    fn ended_by(&self, e: &Ending) -> bool {
        self.opened < e.before && e.keep != Some(self.session.id) && e.tenant.is_none_or(|t| t == self.session.tenant_id)
    }
    /// With its end, if it has one.
    pub(super) fn shown(self, endings: &[Ending]) -> Session {
        let ended = endings.iter().filter(|e| self.ended_by(e)).map(|e| e.at).min();
        let revoked_at = [self.session.revoked_at, ended].into_iter().flatten().min();
        Session { revoked_at, ..self.session }
    }
}

/// When a session that isn't refreshed any more is to be swept: a whole day, rounded up.
pub(super) fn sweep_at(s: &Session) -> Timestamp {
    let end = s.last_seen_at.plus(idle(s.idle_days)).min(s.expires_at).min(s.revoked_at.unwrap_or(s.expires_at));
    Timestamp::from_millis((end.plus(KEPT).millis().div_euclid(DAY) + 1) * DAY)
}

pub(super) fn insert(tx: &mut Tx<'_>, session: &Session) -> Planned<()> {
    let unit = Unit::user(session.user_id);
    // The version that this very write gives is higher: endings of before don't reach it.
    let row = Row { session: session.clone(), opened: tx.version(&unit) };
    put_row(tx, &unit, &row)?;
    tx.effect(upkeep::look_at(&What::User(session.user_id), sweep_at(session))?);
    Ok(())
}

fn put_row(tx: &mut Tx<'_>, unit: &Unit, row: &Row) -> Planned<()> {
    tx.put(unit, SESSION, row.session.id.as_bytes(), row)
}

/// Notes a network as known. Only the latest stay.
pub(super) async fn know(tx: &mut Tx<'_>, user: UserId, network: Network) -> Planned<()> {
    let unit = Unit::user(user);
    let mut known: Known = tx.get(&unit, KNOWN, ONE).await?.unwrap_or_default();
    known.retain(|(n, _)| *n != network);
    known.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
    // Room first, so that the new one stays whatever its time is.
    known.truncate(NETWORKS - 1);
    known.push((network, tx.now));
    tx.put(&unit, KNOWN, ONE, &known)
}

/// Sessions that were just ended.
pub(super) struct Ended {
    /// Those that may have left an access token.
    tokens: Vec<SessionId>,
    /// How many were alive; the others had expired.
    alive: u64,
}

/// Which of a user's sessions.
pub(super) enum Among {
    Which(Which),
    Tenant(TenantId),
}

/// Ends sessions: in `account`, which the caller writes, or in their rows.
pub(super) async fn end(tx: &mut Tx<'_>, account: &mut Account, among: &Among) -> Planned<Ended> {
    let unit = Unit::user(account.user.id);
    let (epoch, now) = (account.user.credential_epoch, tx.now);
    let (mut ended, mut any) = (Ended { tokens: Vec::new(), alive: 0 }, false);
    let rows = match among {
        Among::Which(Which::One(id)) => tx.get::<Row>(&unit, SESSION, id.as_bytes()).await?.into_iter().collect(),
        _ => tx.scan::<Row>(&unit, SESSION).await?.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
    };
    for row in rows {
        let s = row.clone().shown(&account.endings);
        let hit = match among {
            Among::Which(Which::All | Which::One(_)) => true,
            Among::Which(Which::AllBut(keep)) => s.id != *keep,
            Among::Tenant(tenant) => s.tenant_id == *tenant,
        };
        if !hit || s.revoked_at.is_some() {
            continue;
        }
        any = true;
        ended.alive += u64::from(s.is_live(epoch, now));
        if s.may_have_a_token(now) {
            ended.tokens.push(s.id);
        }
        if matches!(among, Among::Which(Which::One(_))) {
            let session = Session { revoked_at: Some(now), ..row.session };
            put_row(tx, &unit, &Row { session, opened: row.opened })?;
        }
    }
    let (keep, tenant) = match among {
        Among::Which(Which::One(_)) => (None, None),
        Among::Which(Which::All) => (None, None),
        Among::Which(Which::AllBut(keep)) => (Some(*keep), None),
        Among::Tenant(tenant) => (None, Some(*tenant)),
    };
    if any {
        if !matches!(among, Among::Which(Which::One(_))) {
            account.endings.push(Ending { before: tx.version(&unit) + 1, keep, tenant, at: now });
            shorten(&mut account.endings);
        }
        let over = Timestamp::from_millis((now.plus(KEPT).millis().div_euclid(DAY) + 1) * DAY);
        tx.effect(upkeep::look_at(&What::User(account.user.id), over)?);
    }
    Ok(ended)
}

fn shorten(endings: &mut Vec<Ending>) {
    while endings.len() > ENDINGS {
        let Some(i) = endings.windows(2).position(|w| w[0].tenant == w[1].tenant) else { return };
        endings.remove(i);
    }
}

/// Writes the account with its epoch raised, and what follows: all sessions but `keep`, which gets the new epoch, and the
/// pending e-mail change end. Reset links need no mark: they carry the old epoch. Gives how many sessions were alive.
pub(super) async fn raise_epoch(tx: &mut Tx<'_>, mut account: Account, keep: Option<SessionId>) -> Planned<u64> {
    let (id, before) = (account.user.id, account.user.credential_epoch);
    let unit = Unit::user(id);
    let kept = match keep {
        Some(keep) => tx
            .get::<Row>(&unit, SESSION, keep.as_bytes())
            .await?
            .filter(|row| row.session.credential_epoch == before && row.clone().shown(&account.endings).revoked_at.is_none()),
        None => None,
    };
    let keep = kept.as_ref().map(|row| row.session.id);
    let ended = end(tx, &mut account, &Among::Which(keep.map_or(Which::All, Which::AllBut))).await?;
    if let Some(Row { mut session, opened }) = kept {
        session.credential_epoch = before + 1;
        put_row(tx, &unit, &Row { session, opened })?;
    }
    account.user.credential_epoch = before + 1;
    put_account(tx, account).await?;
    email_change::drop_pending(tx, id);
    tx.revoke(Revocation::Epoch { user_id: id, below: before + 1, keep });
    Ok(ended.alive)
}

/// Ends the live sessions that are too many, but for the one that begins, and removes ended ones that no list shows any more: one account's
/// sessions stay few, however often somebody signs in.
async fn keep_to_the_limit(tx: &mut Tx<'_>, account: &Account, new: SessionId) -> Planned<()> {
    let (unit, now, epoch) = (Unit::user(account.user.id), tx.now, account.user.credential_epoch);
    let rows = tx.scan::<Row>(&unit, SESSION).await?.into_iter().map(|(_, row)| row).filter(|row| row.session.id != new);
    let (mut live, mut dead): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.clone().shown(&account.endings).is_live(epoch, now));
    live.sort_by_key(|row| std::cmp::Reverse((row.session.last_seen_at, row.session.id)));
    for row in live.into_iter().skip(LIVE_AT_MOST - 1).take(ENDED_AT_ONCE) {
        if row.session.may_have_a_token(now) {
            tx.revoke(Revocation::Session(row.session.id));
        }
        put_row(tx, &unit, &Row { session: Session { revoked_at: Some(now), ..row.session }, opened: row.opened })?;
    }
    dead.sort_by_key(|row| std::cmp::Reverse((row.session.created_at, row.session.id)));
    for row in dead.iter().skip(LISTED).take(REMOVED_AT_ONCE) {
        tx.del(&unit, SESSION, row.session.id.as_bytes());
    }
    Ok(())
}

/// Ends those scoped to a tenant that the user leaves. The caller writes the account.
pub(super) async fn revoke_in_tenant(tx: &mut Tx<'_>, account: &mut Account, tenant: TenantId) -> Planned<()> {
    for id in end(tx, account, &Among::Tenant(tenant)).await?.tokens {
        tx.revoke(Revocation::Session(id));
    }
    Ok(())
}

/// Removes sessions that have been over for thirty days; gives how many, and when to look again.
pub(super) async fn sweep(tx: &mut Tx<'_>, unit: &Unit, endings: &[Ending], limit: usize) -> Planned<(u64, Option<Timestamp>)> {
    let (mut swept, mut next) = (0, None::<Timestamp>);
    for (key, row) in tx.scan::<Row>(unit, SESSION).await? {
        let at = sweep_at(&row.shown(endings));
        if at <= tx.now && swept < limit as u64 {
            tx.del(unit, SESSION, &key.0);
            swept += 1;
        } else {
            next = Some(next.map_or(at, |n| n.min(at)));
        }
    }
    Ok((swept, next))
}

#[async_trait]
impl Plan for CreateSession {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        let member = name(tenants::MEMBER, self.session.tenant_id.as_bytes());
        ones(&[ACCOUNT, KNOWN]).into_iter().chain([member]).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let s = &self.session;
        let Some(mut account) = account(tx, s.user_id).await? else { return Ok(Cas::Stale) };
        if account.user.credential_epoch != s.credential_epoch || !account.user.may_sign_in() {
            return Ok(Cas::Stale);
        }
        // A switch that raced the end of the membership: its sessions were ended before this one came. That the tenant is
        // live is no condition of the commit: many sign in, and in a deleted tenant no session gets anything.
        let member = tenants::member(tx, s.user_id, s.tenant_id).await?;
        if member.is_none() || !tenants::is_live(tx, s.tenant_id).await? {
            return Ok(Cas::Stale);
        }
        insert(tx, s)?;
        know(tx, s.user_id, self.network).await?;
        account.opened += 1;
        if account.opened.is_multiple_of(LOOKED_AT) {
            keep_to_the_limit(tx, &account, s.id).await?;
        }
        account.user.last_tenant = Some(s.tenant_id);
        if self.is_login {
            account.user.last_login_at = Some(tx.now);
        }
        put_account(tx, account).await?;
        tx.audit(&self.audit)?;
        Ok(Cas::Done(()))
    }
}

/// Not recorded: the generation is its record, a rerun of one that was done is `Stale`.
#[async_trait]
impl Plan for RotateSession {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        vec![name(ACCOUNT, ONE), name(SESSION, self.session_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let unit = Unit::user(self.user_id);
        let row: Option<Row> = tx.get(&unit, SESSION, self.session_id.as_bytes()).await?;
        let (Some(account), Some(mut row)) = (account(tx, self.user_id).await?, row) else { return Ok(Cas::Stale) };
        let u = &account.user;
        let s = row.clone().shown(&account.endings);
        let may = u.may_sign_in() && u.credential_epoch == self.epoch && s.credential_epoch == self.epoch;
        if !may || s.revoked_at.is_some() || s.generation != self.expect {
            return Ok(Cas::Stale);
        }
        row.session.generation = self.to;
        row.session.ip = self.ip.clone();
        (row.session.last_seen_at, row.session.turned_at, row.session.turned_by) = (tx.now, tx.now, self.network);
        put_row(tx, &unit, &row)?;
        Ok(Cas::Done(()))
    }
}

#[async_trait]
impl Plan for RevokeSessions {
    type Out = u64;
    fn first(&self) -> Vec<Name> {
        ones(&[ACCOUNT])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<u64> {
        let Some(mut account) = account(tx, self.user_id).await? else { return Ok(0) };
        let before = account.endings.len();
        let ended = end(tx, &mut account, &Among::Which(self.which.clone())).await?;
        for id in &ended.tokens {
            tx.revoke(Revocation::Session(*id));
        }
        if ended.alive > 0 {
            tx.audit(&self.audit)?;
        }
        // The account itself is not changed, so its version stays.
        if account.endings.len() != before || account.endings.len() == ENDINGS {
            tx.put(&Unit::user(self.user_id), ACCOUNT, ONE, &account)?;
        }
        Ok(ended.alive)
    }
}

impl Engine {
    pub(super) async fn session(&self, user: UserId, session: SessionId) -> Result<Option<SessionView>> {
        let names = [name(ACCOUNT, ONE), name(SESSION, session.as_bytes())];
        let (mut account, mut row) = (None, None);
        for read in self.cql.rows(&Unit::user(user), &names, false).await? {
            match read.name.kind.as_str() {
                ACCOUNT => account = Some(parse::<Account>(&read.body)?),
                _ => row = Some(parse::<Row>(&read.body)?),
            }
        }
        Ok(account.zip(row).map(|(account, row)| SessionView {
            session: row.shown(&account.endings),
            user_epoch: account.user.credential_epoch,
            user_status: account.user.status,
            user_deleted: account.user.deleted_at.is_some(),
        }))
    }

    pub(super) async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        let unit = Unit::user(user);
        let (account, rows) = tokio::join!(self.cql.peek::<Account>(&unit, ACCOUNT, ONE), self.cql.peek_all::<Row>(&unit, SESSION));
        let endings = account?.map(|a| a.endings).unwrap_or_default();
        let mut all: Vec<_> = rows?.into_iter().map(|(_, row)| row.shown(&endings)).collect();
        all.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.id)));
        all.truncate(LISTED);
        Ok(all)
    }
}

#[async_trait]
impl Plan for SignInAgain {
    type Out = Cas<()>;
    fn first(&self) -> Vec<Name> {
        vec![name(ACCOUNT, ONE), name(SESSION, self.session_id.as_bytes())]
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Cas<()>> {
        let unit = Unit::user(self.user_id);
        let row: Option<Row> = tx.get(&unit, SESSION, self.session_id.as_bytes()).await?;
        let (Some(account), Some(mut row)) = (account(tx, self.user_id).await?, row) else { return Ok(Cas::Stale) };
        let shown = row.clone().shown(&account.endings);
        let epochs = [account.user.credential_epoch, shown.credential_epoch];
        if !account.user.may_sign_in() || shown.revoked_at.is_some() || epochs != [self.epoch; 2] {
            return Ok(Cas::Stale);
        }
        row.session.signed_in_at = Some(tx.now);
        put_row(tx, &unit, &row)?;
        Ok(Cas::Done(()))
    }
}
