//! Signing keys, and the removal of what has had its time: a list of days says what to look at.

use super::{
    accounts::{ACCOUNT, Account, HOLDER, ONE},
    change::Entry,
    effects::{Effect, number, ordered},
    email_change::{self, PENDING, UNDO, sweep_at},
    engine::{self, Engine, sweep_records},
    invites, invites_of,
    passwords::RESET,
    revocations, sessions, signups,
    tx::{Outcome, Plan, Planned, Tx, json, parse},
    unit::{Bytes, List, Unit},
};
use crate::{
    domain::{
        contact::ContactDigest,
        ids::{TenantId, UserId},
        jwt::StoredKey,
        time::Timestamp,
    },
    store::{Result, commands::*},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const DAY: i64 = 86_400_000;
/// Entries of a day that are looked at in a call.
const LOOKED_AT: u32 = 500;
/// Units that are looked at at once.
const AT_ONCE: usize = 8;
/// Rows that are removed from a unit at a time.
const ROWS: usize = 100;
/// A call that has taken this long gives what it has.
const LONG: Duration = Duration::from_millis(1200);
/// What commands leave for longer than this is somebody's who died.
const LEFT: Duration = Duration::from_secs(15);
const OUTCOMES_KEPT: Duration = Duration::from_secs(86_400);
/// When a claim is looked at again that nobody has: by then all outcomes of its commands are gone.
const AGAIN: Duration = Duration::from_secs(25 * 3600);
pub(super) const KEY: &str = "key";

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Sessions, links and the pending e-mail change of a user.
    User(UserId),
    /// Sign-ups that wait for an address.
    Claim(ContactDigest),
    /// Invites of an address to a tenant.
    Invites(TenantId, ContactDigest),
    /// A purge that may not have come to its end.
    Purge(UserId),
    /// Keys that may not be marked since their maker took them back.
    Withdrawn(UserId),
}

impl What {
    fn unit(&self) -> Unit {
        match self {
            Self::User(id) | Self::Purge(id) | Self::Withdrawn(id) => Unit::user(*id),
            Self::Claim(digest) => Unit::email(digest),
            Self::Invites(tenant, digest) => invites_of::unit(*tenant, digest),
        }
    }
    fn entry(&self, at: Timestamp) -> (Bytes, Bytes) {
        let (time, day) = (ordered(at.millis()), ordered(at.millis().div_euclid(DAY)));
        let key = match self {
            Self::User(id) => Bytes::join(&[&time, id.as_bytes()]),
            Self::Purge(id) => Bytes::join(&[&time, id.as_bytes(), b"purge"]),
            Self::Withdrawn(id) => Bytes::join(&[&time, id.as_bytes(), b"withdrawn"]),
            Self::Claim(digest) => Bytes::join(&[&time, digest.as_bytes()]),
            Self::Invites(tenant, digest) => Bytes::join(&[&time, tenant.as_bytes(), digest.as_bytes()]),
        };
        (Bytes::from(&day), key)
    }
}

/// Has something looked at when its time may be over.
pub(super) fn look_at(what: &What, at: Timestamp) -> Result<Effect> {
    let (bucket, key) = what.entry(at);
    Ok(Effect::Put { list: List::Sweeps, bucket, key, body: json(what)?, ttl: 0, noted: true })
}

/// Nothing is to be seen there any more.
pub(super) fn no_look_at(what: &What, at: Timestamp) -> Effect {
    let (bucket, key) = what.entry(at);
    Effect::Del { list: List::Sweeps, bucket, key, at: 0 }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Removed {
    pending: u64,
    sessions: u64,
    links: u64,
    records: u64,
    invites: u64,
    more: bool,
    /// When to look again.
    next: Option<Timestamp>,
}
impl Outcome for Removed {}

struct Look {
    what: What,
}

#[async_trait]
impl Plan for Look {
    type Out = Removed;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Removed> {
        let (unit, mut removed) = (self.what.unit(), Removed::default());
        removed.records = sweep_records(tx, &unit, tx.now.minus(OUTCOMES_KEPT), ROWS).await?;
        match &self.what {
            What::Claim(_) => {
                removed.pending = signups::sweep(tx, &unit).await?;
                removed.next = forget_unless_needed(tx, &unit).await?;
                return Ok(removed);
            }
            What::Invites(tenant, digest) => {
                (removed.invites, removed.next) = invites::sweep(tx, *tenant, digest).await?;
                return Ok(removed);
            }
            What::User(_) | What::Purge(_) | What::Withdrawn(_) => {}
        }
        if tx.get::<PendingEmailChange>(&unit, PENDING, ONE).await?.is_some_and(|p| p.expires_at <= tx.now) {
            tx.del(&unit, PENDING, ONE);
            removed.pending += 1;
        }
        for (key, link) in tx.scan::<ResetLink>(&unit, RESET).await? {
            if sweep_at(link.used_at.unwrap_or(link.expires_at)) <= tx.now && removed.links < ROWS as u64 {
                tx.del(&unit, RESET, &key.0);
                removed.links += 1;
            }
        }
        for (key, link) in tx.scan::<UndoLink>(&unit, UNDO).await? {
            if sweep_at(link.used_at.unwrap_or(link.expires_at)) <= tx.now && removed.links < ROWS as u64 {
                if link.used_at.is_none()
                    && let Some(account) = tx.get::<Account>(&unit, ACCOUNT, ONE).await?
                {
                    email_change::release(tx, link.user_id, &link, &account.user.email).await?;
                }
                tx.del(&unit, UNDO, &key.0);
                removed.links += 1;
            }
        }
        let endings = tx.get::<Account>(&unit, ACCOUNT, ONE).await?.map(|a| a.endings).unwrap_or_default();
        let (swept, next) = sessions::sweep(tx, &unit, &endings, ROWS).await?;
        removed.sessions = swept;
        removed.more = [removed.links, removed.records, swept].iter().any(|n| *n >= ROWS as u64);
        // A session that was refreshed lives longer than it was noted for.
        removed.next = next;
        Ok(removed)
    }
}

/// Forgets the claim of an address that nobody has and for which nothing waits: whoever types addresses leaves nothing behind. Outcomes of
/// commands are needed for a day; as long as there are some, it says when to look again.
async fn forget_unless_needed(tx: &mut Tx<'_>, claim: &Unit) -> Planned<Option<Timestamp>> {
    let held = tx.get::<serde_json::Value>(claim, HOLDER, ONE).await?.is_some();
    // Those that wait have an entry of their own.
    if held || signups::some_wait(tx, claim).await? {
        return Ok(None);
    }
    if engine::has_records(tx, claim).await? {
        return Ok(Some(tx.now.plus(AGAIN)));
    }
    if tx.version(claim) > 0 {
        tx.forget(claim);
    }
    Ok(None)
}

struct AddKey {
    key: StoredKey,
    only_if_none: bool,
}

#[async_trait]
impl Plan for AddKey {
    type Out = bool;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let unit = keys();
        let there = tx.scan::<StoredKey>(&unit, KEY).await?;
        if (self.only_if_none && !there.is_empty()) || there.iter().any(|(_, k)| k.kid == self.key.kid) {
            return Ok(false);
        }
        tx.put(&unit, KEY, self.key.kid.as_bytes(), &self.key)?;
        Ok(true)
    }
}

struct RevokeKey(String);

#[async_trait]
impl Plan for RevokeKey {
    type Out = bool;
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<bool> {
        let unit = keys();
        let Some(mut key) = tx.get::<StoredKey>(&unit, KEY, self.0.as_bytes()).await? else { return Ok(false) };
        key.revoked_at = key.revoked_at.or(Some(tx.now));
        tx.put(&unit, KEY, self.0.as_bytes(), &key)?;
        tx.revoke(Revocation::SigningKey(self.0.clone()));
        Ok(true)
    }
}

pub(super) fn keys() -> Unit {
    Unit::single("signing keys")
}

impl Engine {
    pub(super) async fn signing_keys(&self) -> Result<Vec<StoredKey>> {
        let mut all: Vec<StoredKey> = self.cql.peek_all(&keys(), KEY).await?.into_iter().map(|(_, key)| key).collect();
        all.sort_by(|a, b| (a.signs_from, &a.kid).cmp(&(b.signs_from, &b.kid)));
        Ok(all)
    }

    pub(super) async fn revoke_signing_key(&self, kid: &str, now: Timestamp) -> Result<bool> {
        self.change(now, keys(), RevokeKey(kid.to_owned())).await
    }

    pub(super) async fn add_signing_key(&self, key: StoredKey, only_if_none: bool) -> Result<bool> {
        self.change(self.now(), keys(), AddKey { key, only_if_none }).await
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        let begun = Instant::now();
        let settled = self.settle_leftovers(LEFT).await?;
        if settled > 0 {
            tracing::info!(settled, "settled what commands had left undone");
        }
        let mut swept = Swept { records: revocations::sweep(self, now.minus(revocations::WANTED)).await?, ..Swept::default() };
        let (today, mut failed) = (now.millis().div_euclid(DAY), None);
        for bucket in self.buckets(List::Sweeps, &ordered(today + 1)).await? {
            let due = match self.cql.timed(List::Sweeps, &bucket.key.0, &[], &ordered(now.millis() + 1), LOOKED_AT).await {
                Ok(due) => due,
                // (One with too many tombstones, perhaps.) The others don't wait for it.
                Err(e) => {
                    failed.get_or_insert(e);
                    continue;
                }
            };
            if due.is_empty() && number(&bucket.key.0).is_some_and(|day| day < today - 1) {
                self.forget_bucket(List::Sweeps, &bucket).await?;
            }
            swept.more |= due.len() >= LOOKED_AT as usize;
            for some in due.chunks(AT_ONCE) {
                let looked = futures_util::future::join_all(some.iter().map(|entry| self.look(now, &bucket.key, entry))).await;
                for removed in looked {
                    let removed = removed?;
                    swept.pending += removed.pending;
                    swept.sessions += removed.sessions;
                    swept.links += removed.links;
                    swept.invites += removed.invites;
                    swept.records += removed.records;
                    swept.more |= removed.more;
                }
                if begun.elapsed() > LONG {
                    swept.more = true;
                    return Ok(swept);
                }
            }
        }
        failed.map_or(Ok(swept), Err)
    }

    async fn look(&self, now: Timestamp, bucket: &Bytes, entry: &Entry) -> Result<Removed> {
        let what: What = parse(&entry.body)?;
        let removed = self.change(now, what.unit(), Look { what }).await?;
        // After the look, which meets the lock of a purge that is being marked: before it, there would be nothing to finish, and the entry,
        // the last that tells of it, would go.
        match what {
            What::Purge(user) => self.finish_purge(now, user).await?,
            // The entry stays.
            What::Withdrawn(user) if !self.try_to_mark_withdrawn(now, user).await => return Ok(Removed::default()),
            _ => {}
        }
        // A recovery is looked at once; sessions have an entry of their own.
        let again = !matches!(what, What::Withdrawn(_));
        if let Some(next) = removed.next.filter(|at| again && *at > now) {
            self.effects(&[look_at(&what, next)?], self.micros()).await?;
        }
        if !removed.more {
            self.cql.del(List::Sweeps, &bucket.0, &entry.key.0, entry.at).await?;
        }
        Ok(removed)
    }

    /// See [`crate::store::Store::clock_ahead`]: by the clock of the one node that is asked.
    pub(super) async fn clock_ahead(&self) -> Result<i64> {
        let before = self.now().millis();
        let theirs = self.cql.clock().await?;
        Ok(surely_ahead(before, theirs, self.now().millis()))
    }

    pub(super) async fn ping(&self) -> Result<()> {
        // One of many, so that nodes that ask at the same time don't refuse each other.
        let [n] = self.random();
        self.change(self.now(), Unit::single(&format!("ping {n}")), Ping { n, at: self.micros() }).await
    }
}

/// How far our clock is surely ahead of another one, which was read after `before` and before `after`.
const fn surely_ahead(before: i64, theirs: i64, after: i64) -> i64 {
    if before > theirs {
        before - theirs
    } else if after < theirs {
        after - theirs
    } else {
        0
    }
}

/// Reads and writes one row.
struct Ping {
    n: u8,
    at: i64,
}

#[async_trait]
impl Plan for Ping {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = Unit::single(&format!("ping {}", self.n));
        tx.get::<i64>(&unit, KEY, ONE).await?;
        tx.put(&unit, KEY, ONE, &self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::surely_ahead;

    #[test]
    fn a_slow_answer_is_no_skew() {
        assert_eq!([surely_ahead(10, 12, 15), surely_ahead(10, 10, 10)], [0, 0]);
        assert_eq!((surely_ahead(10, 7, 15), surely_ahead(10, 17, 15)), (3, -2));
    }
}
