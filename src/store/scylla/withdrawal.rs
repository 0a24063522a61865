//! What a person takes back with a recovery of their account: API keys and invites that somebody else may have made in their name. One row of
//! the person's unit says since when and up to which version of the unit, so that a recovery is one write, however much there is, and whoever
//! writes to the tenants concerned does not stand in its way. Whoever reads a key or an invite asks that row. The rows of the keys are marked
//! after it, and the owners of their tenants told.

use super::{
    accounts::ONE,
    api_keys::{self, KeyRow, Made},
    cql::Cql,
    engine::Engine,
    tenants,
    tx::{Plan, Planned, Tx},
    unit::{Name, Unit, name},
    upkeep::{self, What},
};
use crate::{
    domain::{
        ids::{TenantId, UserId},
        outbox::Job,
        time::Timestamp,
    },
    store::Result,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a person has taken back: a row of their unit.
pub(super) const WITHDRAWN: &str = "withdrawn";
/// Entries of it; of older ones, two become one.
const WITHDRAWALS: usize = 64;
/// Keys that are marked by one command, and tenants that are seen to at once.
const MARKED_AT_ONCE: usize = 100;
const TENANTS_AT_ONCE: usize = 4;
/// After this time somebody looks whether all keys are marked.
const LOOK: Duration = Duration::from_secs(60);
/// So long a recovery waits until they are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which of a person's API keys in organizations, and which of their invites, a recovery takes back, by the time at which they were made.
/// Keys of the personal tenant are taken back whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Since {
    /// All of it.
    Ever,
    /// What was made, taken over, offered or sent again then or later.
    At(Timestamp),
    /// Nothing of it.
    Never,
}

impl Since {
    fn reaches(self, at: Timestamp) -> bool {
        match self {
            Self::Ever => true,
            Self::At(since) => at >= since,
            Self::Never => false,
        }
    }
    fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ever, _) | (_, Self::Never) => true,
            (Self::At(this), Self::At(other)) => this <= other,
            _ => false,
        }
    }
}

/// One recovery: the keys and invites that it takes back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Withdrawal {
    since: Since,
    /// Keys and invites carry the version that the person's unit had when they were made: a lower one than this is from before the recovery.
    before: i64,
    /// When that was.
    at: Timestamp,
}

impl Withdrawal {
    /// An invite that was offered (or sent again) then, when the inviter's unit had this version.
    pub(super) fn covers(&self, at: Timestamp, version: i64) -> bool {
        version < self.before && self.since.reaches(at)
    }
    fn covers_key(&self, row: &KeyRow, personal: bool) -> bool {
        let made = row.key.created_at.max(row.key.taken_over_at.unwrap_or(row.key.created_at));
        row.offered < self.before && (personal || self.since.reaches(made))
    }
}

/// When a key of theirs was taken back, if it was.
pub(super) fn key_taken_back(all: &[Withdrawal], row: &KeyRow, personal: bool) -> Option<Timestamp> {
    all.iter().find(|w| w.covers_key(row, personal)).map(|w| w.at)
}

/// What a person has taken back so far.
pub(super) async fn of(cql: &Cql, user: UserId) -> Result<Vec<Withdrawal>> {
    Ok(cql.peek(&Unit::user(user), WITHDRAWN, ONE).await?.unwrap_or_default())
}

/// Takes back, in all tenants, what a person made by hand or by their API keys: the account's maker may not have been its owner. Their unit
/// is written by the same command.
pub(super) async fn withdraw(tx: &mut Tx<'_>, user: UserId, since: Since) -> Planned<()> {
    let unit = Unit::user(user);
    let mut all: Vec<Withdrawal> = tx.get(&unit, WITHDRAWN, ONE).await?.unwrap_or_default();
    // What is made from now on is made at the version that this command gives the unit, or a later one.
    let new = Withdrawal { since, before: tx.version(&unit) + 1, at: tx.now };
    all.retain(|old| !new.since.includes(old.since));
    all.push(new);
    if all.len() > WITHDRAWALS {
        // Two become one, which covers a little more.
        let (first, second) = (all.remove(0), all.remove(0));
        let since = if first.since.includes(second.since) { first.since } else { second.since };
        all.insert(0, Withdrawal { since, before: first.before.max(second.before), at: second.at });
    }
    tx.put(&unit, WITHDRAWN, ONE, &all)?;
    if since != Since::Never {
        tx.effect(upkeep::look_at(&What::Withdrawn(user), tx.now.plus(LOOK))?);
    }
    Ok(())
}

/// Marks keys of a tenant that their maker has taken back, and tells the owners.
struct Mark {
    user: UserId,
    tenant: TenantId,
    made: Vec<Made>,
    /// The first some of them: the owners are told of these.
    told: bool,
}

#[async_trait]
impl Plan for Mark {
    type Out = ();
    fn first(&self) -> Vec<Name> {
        self.made.iter().map(|made| name(api_keys::KEY, &made.id)).collect()
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let (unit, mut ended) = (Unit::tenant(self.tenant), Vec::new());
        let withdrawn = of(tx.cql(), self.user).await?;
        let personal = tenants::is_personal(tx, self.tenant).await?;
        for made in &self.made {
            let row: Option<KeyRow> = tx.get(&unit, api_keys::KEY, &made.id).await?;
            let Some(row) = row.filter(|row| row.key.user_id == Some(self.user) && row.key.revoked_at.is_none()) else { continue };
            if key_taken_back(&withdrawn, &row, personal).is_some() {
                if row.key.is_live(tx.now) && !personal {
                    ended.push(row.key.clone());
                }
                api_keys::revoke(tx, row.key)?;
            }
        }
        if self.told { api_keys::tell_owners(tx, self.user, self.tenant, &ended, Job::key_ended).await } else { Ok(()) }
    }
}

impl Engine {
    /// Marks all keys that a person has taken back; any number of processes may do so at once.
    pub(super) async fn mark_withdrawn(&self, now: Timestamp, user: UserId) -> Result<()> {
        let made = api_keys::made(&self.cql, user, api_keys::KEY).await?;
        let of_tenants: Vec<Vec<Made>> = made.chunk_by(|a, b| a.tenant == b.tenant).map(<[Made]>::to_vec).collect();
        let marked: Vec<Result<()>> = stream::iter(of_tenants)
            .map(async |of_tenant| {
                for (n, some) in of_tenant.chunks(MARKED_AT_ONCE).enumerate() {
                    let Some(tenant) = some.first().map(|made| made.tenant) else { continue };
                    self.change(now, Unit::tenant(tenant), Mark { user, tenant, made: some.to_vec(), told: n == 0 }).await?;
                }
                Ok(())
            })
            .buffer_unordered(TENANTS_AT_ONCE)
            .collect()
            .await;
        // The other tenants don't wait for one that can't be written.
        marked.into_iter().collect()
    }

    /// The same; whether it is done. Nothing depends on it, so a failure is logged, and somebody looks again.
    pub(super) async fn try_to_mark_withdrawn(&self, now: Timestamp, user: UserId) -> bool {
        let marked = self.mark_withdrawn(now, user).await;
        if let Err(e) = &marked {
            tracing::warn!(error = %e, "API keys that ended with a recovery could not be marked yet; they do nothing");
        }
        marked.is_ok()
    }

    /// After a recovery: waits for the marks for a moment. They are made in any case, by whoever looks, and nothing depends on them.
    pub(super) async fn recovered(&self, now: Timestamp, user: UserId) {
        let engine = self.clone();
        let task = tokio::spawn(async move { engine.try_to_mark_withdrawn(now, user).await });
        self.in_time(PATIENCE, task).await;
    }
}
