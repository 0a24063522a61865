//! Idempotent requests.

use super::{Redis, Script, unreadable};
use crate::{
    domain::{context::Seed, time::Timestamp},
    ephemeral::{
        Result,
        idempotency::{ANSWER_KEPT, Begun, IdempotencyStore, NewRun, RUN_KEPT, RUN_LEASE, RequestName, RunId, Standing},
    },
};
use async_trait::async_trait;
use std::sync::LazyLock;

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/begin_run.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/renew_run.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/finish_run.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/leave_run.lua")));
static RESEED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/reseed_run.lua")));

impl Redis {
    fn request_key(&self, name: &RequestName) -> String {
        self.key(&name.0, "request", "")
    }
}

fn begun(answer: &[Vec<u8>]) -> Option<Begun> {
    match answer {
        [what, salt, began_at] if what == b"run" => Some(Begun::Run {
            salt: salt.as_slice().try_into().ok()?,
            began_at: Timestamp::from_millis(std::str::from_utf8(began_at).ok()?.parse().ok()?),
        }),
        [what] if what == b"busy" => Some(Begun::Busy),
        [what] if what == b"conflict" => Some(Begun::Conflict),
        [what, answer] if what == b"answered" => Some(Begun::Answered(answer.clone())),
        _ => None,
    }
}

#[async_trait]
impl IdempotencyStore for Redis {
    async fn begin_run(&self, name: &RequestName, new: NewRun, now: Timestamp) -> Result<Begun> {
        let [at, lease, ends, over] = [now, now.plus(RUN_LEASE), now.plus(RUN_KEPT), self.over(now)].map(|t| t.millis().to_string());
        let args = [&new.fingerprint[..], &new.salt, &new.run.0, at.as_bytes(), lease.as_bytes(), ends.as_bytes(), over.as_bytes()];
        let answer: Vec<Vec<u8>> = self.link.run(&BEGIN, &self.request_key(name), &args).await?;
        begun(&answer).ok_or_else(unreadable)
    }

    async fn renew_run(&self, name: &RequestName, run: RunId, now: Timestamp) -> Result<bool> {
        let [at, lease, over] = [now, now.plus(RUN_LEASE), self.over(now)].map(|t| t.millis().to_string());
        self.link.run(&RENEW, &self.request_key(name), &[&run.0, at.as_bytes(), lease.as_bytes(), over.as_bytes()]).await
    }

    async fn finish_run(&self, name: &RequestName, run: RunId, answer: Vec<u8>, now: Timestamp) -> Result<bool> {
        let [at, ends, over] = [now, now.plus(ANSWER_KEPT), self.over(now)].map(|t| t.millis().to_string());
        self.link.run(&FINISH, &self.request_key(name), &[&run.0, &answer, at.as_bytes(), ends.as_bytes(), over.as_bytes()]).await
    }

    async fn leave_run(&self, name: &RequestName, run: RunId, forget: bool) -> Result<()> {
        self.link.run(&LEAVE, &self.request_key(name), &[&run.0, if forget { b"1" } else { b"0" }]).await
    }

    async fn reseed_run(&self, name: &RequestName, run: RunId, seed: Seed) -> Result<()> {
        let began_at = seed.began_at.millis().to_string();
        self.link.run(&RESEED, &self.request_key(name), &[&run.0, &seed.salt, began_at.as_bytes()]).await
    }

    async fn standing(&self, name: &RequestName, now: Timestamp) -> Result<Standing> {
        let key = self.request_key(name);
        let (answered, lease, ends): (Option<String>, Option<i64>, Option<i64>) =
            self.link.command("HMGET", &[&key, "done", "lease", "ends"]).await?;
        Ok(match (answered, lease) {
            _ if ends.is_none_or(|ends| ends <= self.over(now).millis()) => Standing::Unknown,
            (Some(_), _) => Standing::Answered,
            (None, Some(lease)) if lease > now.millis() => Standing::Busy,
            _ => Standing::Left,
        })
    }
}
