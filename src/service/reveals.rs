//! Answers that tell an organization of accounts elsewhere: organizations are free to make, and nobody may find out with one who has an account.

use super::{
    Services,
    access::Operator,
    api::Caller,
    error::{Error, Result},
    limits::Limits,
};
use crate::{
    domain::{
        audit::AuditEvent,
        contact::ContactDigest,
        ids::{TenantId, UserId},
        time::Timestamp,
    },
    ephemeral::{Limit, Subject},
};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// To one tenant, and to one person in all of theirs.
const REVEALED: Limit = Limit { name: "accounts_revealed", max: 20, window: Duration::from_secs(86_400) };
/// Once that is used up, an hour's refusals are one event.
const REFUSAL_AUDITED: Limit = Limit { name: "accounts_revealed_audit", max: 1, window: Duration::from_secs(3600) };
/// What one tenant was told of one address: the same again tells nothing.
const TOLD: Limit = Limit { name: "account_revealed", max: 1, window: Duration::from_secs(86_400) };
/// How long a request waits for others that may tell nothing, and give their places back: so many times, each twice as long as before (3.2 s in all).
const WAITS: u32 = 7;
const PAUSE: Duration = Duration::from_millis(25);

/// Who is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// The tenant.
    pub tenant: TenantId,
    /// The person who acts there, or who made the API key, or who invited; `None`: the operator.
    pub person: Option<UserId>,
}

impl Told {
    pub(super) fn of(by: &Operator) -> Self {
        Self { tenant: by.tenant_id, person: by.user_id() }
    }
    fn subjects(self) -> Vec<Subject> {
        let person = self.person.map(|p| Subject::of(&[p.as_bytes()]));
        [Some(Subject::of(&[self.tenant.as_bytes()])), person].into_iter().flatten().collect()
    }
}

/// A place among the day's answers: taken before anything is looked up, so that requests at once are told no more than one after the other. It is
/// given back when it is dropped, unless something may be told by then.
pub(super) struct Place {
    limits: Limits,
    background: TaskTracker,
    taken: Vec<Subject>,
    used: bool,
    now: Timestamp,
}

impl Place {
    /// From now on the answer may tell of an account, or what comes of a request whose answer nobody waits for.
    pub(super) fn is_used(&mut self) {
        self.used = true;
    }
    /// It told of none.
    pub(super) fn told_nothing(&mut self) {
        self.used = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (taken, limits, now) = (std::mem::take(&mut self.taken), self.limits.clone(), self.now);
        if self.used || taken.is_empty() {
            return;
        }
        self.background.spawn(async move {
            for who in taken {
                // Best effort: until tomorrow there is one place less.
                let _ = limits.give_back(&REVEALED, &who, now).await;
            }
        });
    }
}

impl Services {
    /// Takes a place.
    ///
    /// # Errors
    /// `RateLimited` if the day's answers are used up.
    pub(super) async fn place_to_tell(&self, told: Told) -> Result<Place> {
        let now = self.clock.now();
        let mut waits = 0;
        loop {
            let mut place = Place { limits: self.limits.clone(), background: self.background.clone(), taken: Vec::new(), used: false, now };
            let mut refused = None;
            for who in told.subjects() {
                match self.limits.by_subject(&REVEALED, &who, now).await {
                    Ok(()) => place.taken.push(who),
                    Err(e) => {
                        refused = Some(e);
                        break;
                    }
                }
            }
            match refused {
                None => return Ok(place),
                Some(Error::RateLimited { .. }) if waits < WAITS => {
                    drop(place);
                    tokio::time::sleep(PAUSE * (1 << waits)).await;
                    waits += 1;
                }
                Some(e) => return Err(e),
            }
        }
    }

    /// Whether a tenant was told within the day that an address has an account.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn was_told(&self, tenant: TenantId, email: &ContactDigest) -> Result<bool> {
        match self.limits.within(&TOLD, &Subject::of(&[tenant.as_bytes(), email.as_bytes()]), self.clock.now()).await {
            Ok(()) => Ok(false),
            Err(Error::RateLimited { .. }) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// It is told now.
    pub(super) async fn note_told(&self, tenant: TenantId, email: &ContactDigest) {
        // Best effort: else the next time takes a place, too.
        let _ = self.limits.by_subject(&TOLD, &Subject::of(&[tenant.as_bytes(), email.as_bytes()]), self.clock.now()).await;
    }

    /// The same for an operator; that it is refused is audited.
    ///
    /// # Errors
    /// `RateLimited`.
    pub(super) async fn may_reveal(&self, caller: &Caller, by: &Operator) -> Result<Place> {
        let refused = match self.place_to_tell(Told::of(by)).await {
            Err(refused @ Error::RateLimited { .. }) => refused,
            other => return other,
        };
        if self.refusal_is_news(by.tenant_id).await? {
            let audit: Vec<AuditEvent> = vec![self.audit_of(caller, by, None, "tenant.probing_refused")];
            self.note(&self.ctx_of(caller, by), audit).await?;
        }
        Err(refused)
    }

    /// Whether the audit has not told of it within the hour.
    pub(super) async fn refusal_is_news(&self, tenant: TenantId) -> Result<bool> {
        Ok(self.ephemeral.hit(&REFUSAL_AUDITED, &Subject::of(&[tenant.as_bytes()]), self.clock.now()).await?.allowed)
    }

    /// Whether there is a place; takes none.
    ///
    /// # Errors
    /// `RateLimited`.
    pub(super) async fn may_still_reveal(&self, by: &Operator) -> Result<()> {
        for who in Told::of(by).subjects() {
            self.limits.within(&REVEALED, &who, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Counts one answer that tells of an account elsewhere.
    ///
    /// # Errors
    /// `RateLimited`: others took the last one meanwhile.
    pub(super) async fn count_revealed(&self, by: &Operator) -> Result<()> {
        for who in Told::of(by).subjects() {
            self.limits.by_subject(&REVEALED, &who, self.clock.now()).await?;
        }
        Ok(())
    }
}
