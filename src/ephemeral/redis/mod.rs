//! The backend that several nodes share: Redis, alone or as a cluster. Every read-modify-write is one Lua script on one key (`scripts`);
//! what is over goes by its time to live. `address` says where it is, `link` holds the connection, `idempotency` the requests, `wake` knocks at all nodes.
//!
//! It may lose everything, or come back with what it held an hour ago: that a code is used once is kept by the store. While it can't be asked,
//! limits are counted in this node's memory, and all else fails at once.

mod address;
mod idempotency;
mod link;
#[cfg(test)]
mod tests;
mod wake;

pub use address::Address;
pub use wake::RedisWake;

use super::{
    CODE_LINGER, CodeKey, CodeRecord, Decision, EXACT_UP_TO, Ephemeral, EphemeralError, Limit, NewCode, Result, Subject,
    counters::{Counters, millis},
};
use crate::domain::{keyring::KeyId, time::Timestamp, token::CodeLength};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use link::{Link, PATIENCE, Script};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

static START_CODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/start_code.lua")));
static TRY_CODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/try_code.lua")));
static DROP_CODE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/drop_code.lua")));
static DECIDE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("scripts/count.lua"), include_str!("scripts/decide.lua"))));
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("scripts/count.lua"), include_str!("scripts/give_back.lua"))));

/// The fields of a code, as `scripts/try_code.lua` gives them.
const FIELDS: [&str; 9] = ["key", "nonce", "serial", "epoch", "target", "tries", "ends", "live", "digits"];

/// Codes, counters and idempotent requests in Redis.
pub struct Redis {
    link: Arc<Link>,
    address: Address,
    prefix: String,
    /// Counts while Redis can't be asked.
    local: Counters,
    /// The latest sweep. What was over then stays gone, whatever clock asks later: Redis goes by its own.
    swept: AtomicI64,
}

impl Redis {
    /// Connects at the first call, and again whenever that is needed.
    ///
    /// # Errors
    /// What is wrong with the address: certificates that can't be read.
    pub fn at(address: &Address) -> Result<Self> {
        Self::with_patience(address, PATIENCE)
    }

    fn with_patience(address: &Address, patience: Duration) -> Result<Self> {
        let link = Arc::new(Link::new(address, patience)?);
        Ok(Self {
            link,
            address: address.clone(),
            prefix: address.prefix.clone(),
            local: Counters::default(),
            swept: AtomicI64::new(i64::MIN),
        })
    }

    /// In a cluster, all of one subject is on one node: what is in the braces decides.
    fn key(&self, subject: &[u8], kind: &str, name: &str) -> String {
        format!("{}:{{{}}}:{kind}:{name}", self.prefix, URL_SAFE_NO_PAD.encode(subject))
    }

    fn code_key(&self, key: &CodeKey) -> String {
        self.key(&key.subject, "code", key.purpose.name())
    }

    fn limit_key(&self, limit: &Limit, who: &Subject) -> String {
        self.key(&who.0, "limit", limit.name)
    }

    /// What ended by then is not there any more.
    fn over(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.millis().max(self.swept.load(Ordering::Relaxed)))
    }

    async fn decide(&self, limit: &Limit, who: &Subject, now: Timestamp, count: bool) -> Decision {
        if limit.max == 0 {
            return self.local.decide(limit, who, now, count);
        }
        let args =
            [i64::from(limit.max), millis(limit.window), now.millis(), i64::from(count), i64::from(EXACT_UP_TO)].map(|n| n.to_string());
        let asked = self.link.run(&DECIDE, &self.limit_key(limit, who), &args.each_ref().map(|a| a.as_bytes())).await;
        let Ok((allowed, remaining, reset)) = asked.map(|a: (bool, u32, i64)| a) else {
            return self.local.decide(limit, who, now, count);
        };
        let reset_after = Duration::from_millis(u64::try_from(reset).unwrap_or(0));
        Decision { allowed, limit: limit.max, remaining, reset_after }
    }
}

/// Milliseconds from `now` to `end`, as a time to live.
fn ttl(end: Timestamp, now: Timestamp) -> String {
    end.millis().saturating_sub(now.millis()).max(1).to_string()
}

fn unreadable() -> EphemeralError {
    EphemeralError("a record in Redis can't be read".into())
}

/// A code out of its [`FIELDS`]; `None` if it is dropped, or over.
fn record(fields: &[Option<Vec<u8>>], over: Timestamp) -> Result<Option<CodeRecord>> {
    fn text(field: Option<&Vec<u8>>) -> Option<&str> {
        std::str::from_utf8(field?).ok()
    }
    let [key, nonce, serial, epoch, target, tries, ends, live, digits] = fields else { return Err(unreadable()) };
    if live.is_none() {
        return Ok(None);
    }
    let read = || {
        Some(CodeRecord {
            key: KeyId(key.as_deref()?.try_into().ok()?),
            nonce: nonce.as_deref()?.try_into().ok()?,
            // Of an older version: six.
            length: text(digits.as_ref()).and_then(|n| n.parse().ok()).and_then(CodeLength::of).unwrap_or_default(),
            serial: text(serial.as_ref())?.parse().ok()?,
            epoch: text(epoch.as_ref())?.parse().ok()?,
            target: target.clone()?,
            tries: text(tries.as_ref())?.parse().ok()?,
            expires_at: Timestamp::from_millis(text(ends.as_ref())?.parse().ok()?),
        })
    };
    let record = read().ok_or_else(unreadable)?;
    Ok(Some(record).filter(|r| r.expires_at > over.minus(CODE_LINGER)))
}

#[async_trait]
impl Ephemeral for Redis {
    async fn start_code(&self, key: &CodeKey, new: NewCode, now: Timestamp) -> Result<CodeRecord> {
        let lowest = u64::try_from(now.millis()).unwrap_or(0).max(1).max(new.above.saturating_add(1)).to_string();
        let (ttl, epoch, ends) = (ttl(new.expires_at.plus(CODE_LINGER), now), new.epoch.to_string(), new.expires_at.millis().to_string());
        let digits = new.length.digits().to_string();
        let args =
            [lowest.as_bytes(), ttl.as_bytes(), &new.key.0, &new.nonce, epoch.as_bytes(), &new.target, ends.as_bytes(), digits.as_bytes()];
        let serial = self.link.run(&START_CODE, &self.code_key(key), &args).await?;
        let NewCode { key, nonce, length, epoch, target, expires_at, .. } = new;
        Ok(CodeRecord { key, nonce, length, serial, epoch, target, tries: 0, expires_at })
    }

    async fn try_code(&self, key: &CodeKey, max_tries: u32, now: Timestamp) -> Result<Option<CodeRecord>> {
        let over = self.over(now);
        let args = [max_tries.to_string(), now.millis().to_string(), over.minus(CODE_LINGER).millis().to_string()];
        let fields: Option<Vec<Option<Vec<u8>>>> =
            self.link.run(&TRY_CODE, &self.code_key(key), &args.each_ref().map(|a| a.as_bytes())).await?;
        fields.map_or(Ok(None), |fields| record(&fields, over))
    }

    async fn peek_code(&self, key: &CodeKey, now: Timestamp) -> Result<Option<CodeRecord>> {
        let key = self.code_key(key);
        let fields: Vec<Option<Vec<u8>>> = self.link.command("HMGET", &[&[key.as_str()][..], &FIELDS].concat()).await?;
        record(&fields, self.over(now))
    }

    async fn drop_code(&self, key: &CodeKey, serial: u64) -> Result<()> {
        self.link.run(&DROP_CODE, &self.code_key(key), &[serial.to_string().as_bytes()]).await
    }

    async fn hit(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision> {
        Ok(self.decide(limit, who, now, true).await)
    }

    async fn peek(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<Decision> {
        Ok(self.decide(limit, who, now, false).await)
    }

    async fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        let args = [millis(limit.window).to_string(), now.millis().to_string()];
        let asked: Result<bool> = self.link.run(&GIVE_BACK, &self.limit_key(limit, who), &args.each_ref().map(|a| a.as_bytes())).await;
        // What Redis hasn't counted was counted here, perhaps.
        if !matches!(asked, Ok(true)) {
            self.local.give_back(limit, who, now);
        }
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<()> {
        self.local.sweep(now);
        self.swept.fetch_max(now.millis(), Ordering::Relaxed);
        Ok(())
    }

    /// By a write: a server that is full, or a replica, answers a `PING`.
    async fn ping(&self) -> Result<()> {
        self.link.command("SET", &[&self.key(b"", "ping", ""), "1", "PX", "1000"]).await
    }
}
