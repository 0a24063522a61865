//! Who may do what how often. One method a rule; `off` lifts them all (the tries of a code are counted elsewhere, and stay).

#[cfg(test)]
mod tests;

mod heavy;
mod inviting;

pub use heavy::Heavy;
pub use inviting::Inviting;

use super::{
    api::Caller,
    error::{Error, Result},
};
use crate::{
    domain::{
        contact::{ContactDigest, Email},
        ids::{TenantId, UserId},
        network::{Network, Wider},
        time::Timestamp,
        token::CodePurpose,
    },
    ephemeral::{Decision, Ephemeral, Limit, Subject, counters::Counters},
};
use heavy::{HEAVY_OF_ALL, HEAVY_OF_ANYBODY, HeavyWork};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What kind of caller asks an admin route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// A person with an access token.
    Person,
    /// A server with an API key.
    Server,
}

/// The numbers. All configurable.
#[derive(Debug, Clone, Copy)]
pub struct LimitRules {
    /// `false` lifts them all.
    pub on: bool,
    /// Wrong passwords for one address from one network.
    pub wrong_passwords: Limit,
    /// Wrong passwords for one address from all networks that it hasn't signed in from.
    pub wrong_passwords_everywhere: Limit,
    /// The same in a day: guessing has a bound that patience does not move.
    pub wrong_passwords_a_day: Limit,
    /// Requests to `/v1/auth/*` from one network.
    pub auth_requests: Limit,
    /// Sign-ups from one network.
    pub signups: Limit,
    /// Reset mails to one address.
    pub forgot_password: Limit,
    /// The pause between two codes of one user and purpose.
    pub code_pause: Limit,
    /// Codes of one user.
    pub codes_of_user: Limit,
    /// Codes to one address or number.
    pub codes_to_destination: Limit,
    /// Codes asked for by one network.
    pub codes_from_network: Limit,
    /// Invites of one tenant.
    pub invites_of_tenant: Limit,
    /// Invites of one tenant to one address.
    pub invites_to_address: Limit,
    /// Invites of one person in all their organizations, but for managed ones.
    pub invites_of_person: Limit,
    /// Invites from one network, by organizations that are not managed.
    pub invites_from_network: Limit,
    /// Invite mails to one address.
    pub invite_mails: Limit,
    /// Reset mails asked for by one network.
    pub forgot_password_from_network: Limit,
    /// Requests of one signed-in person, counted by this node alone.
    pub person_requests: Limit,
    /// Requests to the admin routes of one tenant without power over credentials, counted by this node alone.
    pub admin_requests: Limit,
}

/// A note that the address has an account goes out at most once a day.
const ACCOUNT_EXISTS: Limit = Limit { name: "account_exists_note", max: 1, window: Duration::from_secs(86_400) };
/// Refused passwords of one address that the audit tells of: who guesses must not fill it.
const REFUSALS: Limit = Limit { name: "refusals_told", max: 10, window: Duration::from_secs(3600) };
/// Locks of one address that it tells of.
const LOCKS: Limit = Limit { name: "locks_told", max: 1, window: Duration::from_secs(15 * 60) };
/// Wrong passwords for one address from one network that its account doesn't know, in a day: four networks, not one, use up what all have together.
const WRONG_A_DAY_FROM_ONE: Limit = Limit { name: "wrong_passwords_a_day_from_one", max: 30, window: Duration::from_secs(86_400) };
/// How many sign-ins of one address from one network may wait for each other.
const WAITING_ATTEMPTS: usize = 16;

/// Asks the counters.
#[derive(Clone)]
pub struct Limits {
    rules: LimitRules,
    ephemeral: Arc<dyn Ephemeral>,
    attempts: Arc<Mutex<HashMap<Subject, Attempts>>>,
    /// What is asked at each request: no other process is, nor the store.
    here: Arc<Counters>,
    heavy: HeavyWork,
}

struct Attempts {
    one: Arc<Semaphore>,
    waiting: usize,
}

/// The right to try one password; the next one for the same address and network begins when it is dropped.
pub struct Attempt {
    _permit: Option<OwnedSemaphorePermit>,
    _waiting: Option<WaitingAttempt>,
}

struct WaitingAttempt {
    attempts: Arc<Mutex<HashMap<Subject, Attempts>>>,
    who: Subject,
}

impl Drop for WaitingAttempt {
    fn drop(&mut self) {
        let mut map = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(a) = map.get_mut(&self.who) {
            a.waiting -= 1;
            if a.waiting == 0 {
                map.remove(&self.who);
            }
        }
    }
}

/// Whose password is tried, and from where.
#[derive(Clone, Copy)]
pub struct PasswordOf {
    /// The address.
    pub email: ContactDigest,
    /// From where.
    pub network: Network,
    /// The account has signed in from there.
    pub known_network: bool,
    /// The account's epoch; 0 without one. A reset raises it: what all networks had counted against the old password counts no more.
    pub epoch: u64,
}

/// Whether the audit tells of a refused password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has told of enough within the hour.
    No,
    /// It does.
    Yes,
    /// It does, and of no more within the hour: the owner is mailed.
    AsTheLast,
}

impl PasswordOf {
    fn here(&self) -> Subject {
        Subject::of(&[self.email.as_bytes(), &self.epoch.to_le_bytes(), self.network.as_bytes()])
    }
    fn everywhere(&self) -> Subject {
        Subject::of(&[self.email.as_bytes(), &self.epoch.to_le_bytes()])
    }
}

/// What a block of IPv6 may do where `limit` is that of a /64, and as whom it is counted.
fn of_block(limit: &Limit, block: Wider) -> (Limit, Subject) {
    let max = limit.max.saturating_mul(block.times());
    (Limit { max, ..*limit }, Subject::of(&[block.tag().as_bytes(), block.as_bytes()]))
}

impl Limits {
    /// With the rules given.
    pub fn new(rules: LimitRules, ephemeral: Arc<dyn Ephemeral>) -> Self {
        Self { rules, ephemeral, attempts: Arc::default(), here: Arc::default(), heavy: HeavyWork::default() }
    }

    /// One of whatever `limit` counts for `who`.
    pub async fn by_subject(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        self.allow(limit, who, now).await
    }

    /// Whether one more would be within `limit`; counts nothing.
    ///
    /// # Errors
    /// `RateLimited` if not.
    pub async fn within(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        if !self.rules.on {
            return Ok(());
        }
        let decision = self.ephemeral.peek(limit, who, now).await?;
        if decision.allowed { Ok(()) } else { Err(Error::RateLimited { retry_after: decision.reset_after }) }
    }

    async fn allow(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        if !self.rules.on {
            return Ok(());
        }
        let decision = self.ephemeral.hit(limit, who, now).await?;
        if decision.allowed { Ok(()) } else { Err(Error::RateLimited { retry_after: decision.reset_after }) }
    }

    /// One of whatever `limit` counts for a client network, and for the blocks of IPv6 around it.
    ///
    /// # Errors
    /// `RateLimited`.
    pub async fn by_network(&self, limit: &Limit, network: Network, now: Timestamp) -> Result<()> {
        match self.decide_for(limit, network, now).await? {
            Some(Decision { allowed: false, reset_after, .. }) => Err(Error::RateLimited { retry_after: reset_after }),
            _ => Ok(()),
        }
    }

    /// Counts one for the network, and one for each block around it; `None` where limits are off. One that is refused is counted nowhere: what
    /// the smaller networks had counted before a wider one refused is given back. The answer is the network's own, or that of who refused.
    async fn decide_for(&self, limit: &Limit, network: Network, now: Timestamp) -> Result<Option<Decision>> {
        if !self.rules.on {
            return Ok(None);
        }
        let own = Subject::of(&[network.as_bytes()]);
        let decision = self.ephemeral.hit(limit, &own, now).await?;
        if !decision.allowed {
            return Ok(Some(decision));
        }
        for (counted, block) in network.wider().enumerate() {
            let (wider, whose) = of_block(limit, block);
            let decided = self.ephemeral.hit(&wider, &whose, now).await?;
            if decided.allowed {
                continue;
            }
            self.ephemeral.give_back(limit, &own, now).await?;
            for smaller in network.wider().take(counted) {
                let (limit, whose) = of_block(limit, smaller);
                self.ephemeral.give_back(&limit, &whose, now).await?;
            }
            return Ok(Some(decided));
        }
        Ok(Some(decision))
    }

    fn here(&self, limit: &Limit, whose: &[&[u8]], now: Timestamp) -> Result<()> {
        if !self.rules.on {
            return Ok(());
        }
        let decision = self.here.decide(limit, &Subject::of(whose), now, true);
        if decision.allowed { Ok(()) } else { Err(Error::RateLimited { retry_after: decision.reset_after }) }
    }

    /// One request of a signed-in person.
    ///
    /// # Errors
    /// `RateLimited`.
    pub fn person_request(&self, user: UserId, now: Timestamp) -> Result<()> {
        self.here(&self.rules.person_requests, &[user.as_bytes()], now)
    }

    /// One request to the admin routes of a tenant without power: everybody can make those. Servers are counted apart from people: whoever has a
    /// stolen key can't keep its owners from revoking it.
    ///
    /// # Errors
    /// `RateLimited`.
    pub fn admin_request(&self, tenant: TenantId, by: Requester, now: Timestamp) -> Result<()> {
        let by: &[u8] = match by {
            Requester::Server => b"server",
            Requester::Person => b"person",
        };
        self.here(&self.rules.admin_requests, &[tenant.as_bytes(), by], now)
    }

    /// Begins an export or a list for a managed tenant.
    ///
    /// # Errors
    /// `RateLimited` while two of its own, or eight in all, are under way.
    pub fn heavy_of_managed(&self, tenant: TenantId) -> Result<Option<Heavy>> {
        self.heavy(tenant.as_bytes(), HEAVY_OF_ALL)
    }

    /// Begins an export or a list for anybody else: a person in all their tenants, or a tenant whose key nobody made.
    ///
    /// # Errors
    /// `RateLimited` while two of theirs, or six in all, are under way.
    pub fn heavy_of_anybody(&self, whose: &[u8; 16]) -> Result<Option<Heavy>> {
        self.heavy(whose, HEAVY_OF_ANYBODY)
    }

    fn heavy(&self, whose: &[u8; 16], of_all: usize) -> Result<Option<Heavy>> {
        if !self.rules.on {
            return Ok(None);
        }
        self.heavy.begin(whose, of_all).map(Some).ok_or(Error::RateLimited { retry_after: Duration::from_secs(1) })
    }

    /// Forgets counters that are over.
    pub fn sweep(&self, now: Timestamp) {
        self.here.sweep(now);
    }

    /// One request to `/v1/auth/*`; `None` where limits are off.
    pub async fn auth_request(&self, network: Network, now: Timestamp) -> Result<Option<Decision>> {
        self.decide_for(&self.rules.auth_requests, network, now).await
    }

    /// One sign-up.
    pub async fn signup(&self, caller: &Caller, now: Timestamp) -> Result<()> {
        self.by_network(&self.rules.signups, caller.network, now).await
    }

    /// Counts one try of a password before it is hashed; the same for known and unknown addresses. A network that the
    /// account has signed in from answers only for itself: a stranger can't lock the owner out.
    pub async fn password_try(&self, whose: &PasswordOf, now: Timestamp) -> Result<()> {
        let locked = |e| match e {
            Error::RateLimited { retry_after } => Error::AccountLocked { retry_after },
            other => other,
        };
        let counters = self.password_counters(whose);
        for (n, (limit, who)) in counters.iter().enumerate() {
            if let Err(e) = self.allow(limit, who, now).await {
                for (limit, who) in &counters[..n] {
                    self.give_back(limit, who, now).await?;
                }
                return Err(locked(e));
            }
        }
        Ok(())
    }

    /// The password was right (or was never tried): the try is given back.
    pub async fn password_right(&self, whose: &PasswordOf, now: Timestamp) -> Result<()> {
        for (limit, who) in self.password_counters(whose) {
            self.give_back(limit, &who, now).await?;
        }
        Ok(())
    }

    /// What counts the tries of a password, in the order in which they are asked.
    fn password_counters(&self, whose: &PasswordOf) -> Vec<(&Limit, Subject)> {
        let (here, everywhere) = (whose.here(), whose.everywhere());
        let mut counters = vec![(&self.rules.wrong_passwords, here)];
        if !whose.known_network {
            counters.extend([
                (&WRONG_A_DAY_FROM_ONE, here),
                (&self.rules.wrong_passwords_everywhere, everywhere),
                (&self.rules.wrong_passwords_a_day, everywhere),
            ]);
        }
        counters
    }

    /// One attempt at a time for each address and network; 429 past the few that may wait.
    pub async fn one_attempt(&self, email: &ContactDigest, network: Network) -> Result<Attempt> {
        if !self.rules.on {
            return Ok(Attempt { _permit: None, _waiting: None });
        }
        let who = Subject::of(&[email.as_bytes(), network.as_bytes()]);
        let one = {
            let mut map = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            let a = map.entry(who).or_insert_with(|| Attempts { one: Arc::new(Semaphore::new(1)), waiting: 0 });
            if a.waiting >= WAITING_ATTEMPTS {
                return Err(Error::RateLimited { retry_after: Duration::from_secs(1) });
            }
            a.waiting += 1;
            a.one.clone()
        };
        let waiting = WaitingAttempt { attempts: self.attempts.clone(), who };
        let permit = one.acquire_owned().await.map_err(|e| Error::Internal(e.to_string()))?;
        Ok(Attempt { _permit: Some(permit), _waiting: Some(waiting) })
    }

    /// Whether a reset mail may go to this address; the caller answers the same either way.
    ///
    /// # Errors
    /// `RateLimited` for the network, whatever the address.
    pub async fn forgot_password(&self, email: &ContactDigest, network: Network, now: Timestamp) -> Result<bool> {
        self.by_network(&self.rules.forgot_password_from_network, network, now).await?;
        Ok(self.reset_mail(email, now).await.is_ok())
    }

    /// A reset mail to this address, for a caller who may know of it.
    pub async fn reset_mail(&self, email: &ContactDigest, now: Timestamp) -> Result<()> {
        self.allow(&self.rules.forgot_password, &Subject::contact(email), now).await
    }

    /// Whether the audit tells of one more refused password, or of the lock that came of them.
    pub async fn refusal_told(&self, email: &ContactDigest, locked: bool, now: Timestamp) -> Result<Told> {
        let counted = self.ephemeral.hit(if locked { &LOCKS } else { &REFUSALS }, &Subject::contact(email), now).await?;
        Ok(match counted.allowed {
            false => Told::No,
            true if counted.remaining == 0 && !locked => Told::AsTheLast,
            true => Told::Yes,
        })
    }

    /// Whether the owner of an address may be told (again) that somebody signed up with it.
    pub async fn account_exists_note(&self, email: &ContactDigest, now: Timestamp) -> Result<bool> {
        Ok(self.ephemeral.hit(&ACCOUNT_EXISTS, &Subject::contact(email), now).await?.allowed)
    }

    /// One code for a user: the pause, then his hourly share, the destination's and the network's. Nothing is counted where no code can be
    /// made: whoever tries again would be told to wait for a message that never went out.
    ///
    /// # Errors
    /// `Unavailable` if the ephemeral store can't be asked, `RateLimited`.
    pub async fn code(
        &self,
        user: UserId,
        purpose: CodePurpose,
        destination: &ContactDigest,
        network: Network,
        now: Timestamp,
    ) -> Result<()> {
        self.ephemeral.ping().await?;
        let pause = Subject::of(&[user.as_bytes(), purpose.name().as_bytes()]);
        self.allow(&self.rules.code_pause, &pause, now).await?;
        self.allow(&self.rules.codes_of_user, &Subject::of(&[user.as_bytes()]), now).await?;
        // Anybody may ask for a change to any address: that uses up nothing of what its owner may ask for.
        let whose = match purpose {
            CodePurpose::EmailChange => Subject::of(&[b"email change", destination.as_bytes()]),
            _ => Subject::contact(destination),
        };
        self.allow(&self.rules.codes_to_destination, &whose, now).await?;
        self.by_network(&self.rules.codes_from_network, network, now).await
    }

    /// Whether a sign-up of `verify_first` may send (another) code to its address; the answer is the same either way. As with
    /// [`Limits::code`], nothing is counted where no code can be made.
    ///
    /// # Errors
    /// `Unavailable` if the ephemeral store can't be asked.
    pub async fn signup_code(&self, email: &Email, now: Timestamp) -> Result<bool> {
        self.ephemeral.ping().await?;
        let who = Subject::contact(&email.digest());
        Ok(self.allow(&self.rules.code_pause, &who, now).await.is_ok()
            // Anybody may sign up with any address: that uses up nothing of what its owner may ask for.
            && self.allow(&self.rules.codes_to_destination, &Subject::of(&[b"sign-up", email.digest().as_bytes()]), now).await.is_ok())
    }

    /// Gives one back.
    pub(super) async fn give_back(&self, limit: &Limit, who: &Subject, now: Timestamp) -> Result<()> {
        if self.rules.on {
            self.ephemeral.give_back(limit, who, now).await?;
        }
        Ok(())
    }

    /// One text message out of what the whole deployment sends in a day: everybody can make tenants, each with a budget of its own.
    pub async fn sms_of_all(&self, a_day: u32, now: Timestamp) -> Result<()> {
        let budget = Limit { name: "sms_of_all", max: a_day, window: Duration::from_secs(86_400) };
        let decided = self.allow(&budget, &Subject::of(&[b"all"]), now).await;
        if matches!(decided, Err(Error::RateLimited { .. })) {
            metrics::counter!("qeetid_sms_budget_refused_total").increment(1);
            tracing::warn!(a_day, "the text messages of the day are used up: QEETID_SMS_DAILY_BUDGET");
        }
        decided
    }

    /// One text message out of the tenant's budget of the day.
    pub async fn sms_budget(&self, tenant: TenantId, a_day: u32, now: Timestamp) -> Result<()> {
        let budget = Limit { name: "sms_budget", max: a_day, window: Duration::from_secs(86_400) };
        self.allow(&budget, &Subject::of(&[tenant.as_bytes()]), now).await
    }
}
