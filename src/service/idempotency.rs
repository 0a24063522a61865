//! Requests with an `Idempotency-Key`: run once, answered as often as they are sent.
//!
//! What is stored shows nothing: the name and the fingerprint of a request are HMACs under the server's secret, its answer is
//! sealed under a key that is derived from the secret and from the `Idempotency-Key`, which itself is stored nowhere.
//!
//! A run that dies may have written something. The next run makes the same ids as the first ([`RunRng`]), so that the store
//! knows each command again and gives what it gave then: nothing is done twice.
//!
//! That holds although the ephemeral store may lose everything (a failover to a replica that is behind). The ids of commands follow from
//! the `Idempotency-Key` and the request alone ([`command_id`]). All other ids and secrets follow from the [`Seed`] of the first run as
//! well, which the store records with each command. A run that begins anew with another seed meets such a record: it is given up
//! ([`begins_anew`]), the caller is told to send the request again, and the next run has the seed of the first.

use super::{
    Services,
    error::{Error, Result},
};
use crate::{
    domain::{
        context::Seed,
        ids::{ApiKeyId, CommandId, TenantId, UserId},
        keyring::{KeyId, Label},
        network::Network,
        rng::{self, Rng},
        secret::SecretText,
        time::{Clock, Timestamp},
    },
    ephemeral::{
        Limit, Subject,
        idempotency::{Begun, NewRun, RUN_LEASE, RequestName, RunId, Standing},
    },
};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A second request waits this long for the first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers up to this size are kept: a caller may have 50,000 of them an hour.
const LARGEST_KEPT: usize = 64 * 1024;
/// New keys of somebody who isn't signed in: each is a row for a day.
const KEYS_OF_NETWORK: Limit = Limit { name: "idempotency_keys_of_network", max: 1000, window: Duration::from_secs(3600) };
/// New keys of a person, or of an API key.
const KEYS_OF_CALLER: Limit = Limit { name: "idempotency_keys_of_caller", max: 50_000, window: Duration::from_secs(3600) };

/// Whose request it is. Two of them never share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Of a public route.
    Network(Network),
    /// A signed-in person in a tenant.
    Person(UserId, TenantId),
    /// A server.
    Server(ApiKeyId),
}

impl Asker {
    fn name(&self) -> Vec<u8> {
        match self {
            Self::Network(network) => [b"network ", network.as_bytes()].concat(),
            Self::Person(user, tenant) => [&b"person "[..], user.as_bytes(), tenant.as_bytes()].concat(),
            Self::Server(key) => [&b"server "[..], key.as_bytes()].concat(),
        }
    }
}

/// A request with a key.
pub struct Asked<'a> {
    /// Whose.
    pub asker: Asker,
    /// Its method and path: one key stands for one request on each.
    pub route: &'a str,
    /// The `Idempotency-Key`.
    pub key: SecretText,
    /// Everything else that must be alike the second time.
    pub content: &'a [&'a [u8]],
}

/// An answer as it is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body; `None`: it was too large to be kept.
    pub body: Option<Vec<u8>>,
}

/// What stands before the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Those of the route, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What is to be done with a request.
pub enum Turn {
    /// Run it, and then [`Run::keep`] or [`Run::forget`] it.
    Run(Run),
    /// Answer it with this.
    Answered(Answer),
}

/// The turn of one request. Dropped without an answer (a panic, a client that left), it is given back at once.
pub struct Run {
    names: Names,
    fingerprint: [u8; 32],
    ids: Arc<Ids>,
    held: Held,
}

/// A turn that is taken, or is just being taken.
struct Held {
    services: Arc<Services>,
    name: RequestName,
    id: RunId,
    over: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.over {
            let (services, name, id) = (self.services.clone(), self.name, self.id);
            // If this fails the lease ends by itself.
            tokio::spawn(async move { services.ephemeral.leave_run(&name, id, false).await });
        }
    }
}

struct Names {
    name: RequestName,
    /// The secret that the name is made with.
    secret: KeyId,
    key: SecretText,
}

impl Names {
    fn extra(&self) -> [&[u8]; 2] {
        [&self.name.0, self.key.reveal().as_bytes()]
    }
}

impl Services {
    /// Whether the request is to be run, or was answered before. Waits while another one runs it, at most a minute.
    ///
    /// # Errors
    /// `IdempotencyConflict` for a key that was used with another request, `RateLimited` for too many keys, `Overloaded` if
    /// the other one takes too long, `Unavailable` if the ephemeral store can't be asked.
    pub async fn take_turn(self: &Arc<Self>, asked: Asked<'_>) -> Result<Turn> {
        let names = self.names(&asked).await?;
        let mac = |purpose: &[u8], parts: &[&[u8]]| self.mac(&names, purpose, parts);
        let fingerprint = mac(b"fingerprint", asked.content)?;
        // Of the generator that never repeats itself: two runs are two.
        let id = RunId(rng::bytes(&*self.rng));
        let new = NewRun { run: id, fingerprint, salt: rng::bytes(&*self.rng) };
        if self.ephemeral.standing(&names.name, self.clock.now()).await? == Standing::Unknown {
            let now = self.clock.now();
            match asked.asker {
                Asker::Network(network) => self.limits.by_network(&KEYS_OF_NETWORK, network, now).await?,
                Asker::Person(..) | Asker::Server(_) => {
                    self.limits.by_subject(&KEYS_OF_CALLER, &Subject::of(&[&asked.asker.name()]), now).await?;
                }
            }
        }
        // From here on: the client may leave while the turn is being taken.
        let mut held = Held { services: self.clone(), name: names.name, id, over: false };
        let waiting = async {
            loop {
                match self.ephemeral.begin_run(&names.name, new, self.clock.now()).await? {
                    Begun::Busy => self.wait(&names.name).await?,
                    other => return Ok(other),
                }
            }
        };
        let begun = tokio::time::timeout(PATIENCE, waiting).await;
        let begun = begun.unwrap_or_else(|_| Err(Error::Overloaded { retry_after: Duration::from_secs(5) }))?;
        held.over = !matches!(begun, Begun::Run { .. });
        match begun {
            Begun::Run { salt, began_at } => {
                let seed = Seed { began_at, salt };
                let all = Stream::new(&mac(b"ids", &[&salt, &began_at.millis().to_le_bytes()])?);
                let commands = Stream::new(&self.commands_of(&asked)?);
                let ids = Arc::new(Ids { seed, all, commands, first: OnceLock::new() });
                Ok(Turn::Run(Run { names, fingerprint, ids, held }))
            }
            Begun::Answered(sealed) => self.unseal(&names, &sealed).map(Turn::Answered),
            Begun::Conflict | Begun::Busy => Err(Error::IdempotencyConflict),
        }
    }

    async fn wait(&self, name: &RequestName) -> Result<()> {
        let mut pause = Duration::from_millis(10);
        while self.ephemeral.standing(name, self.clock.now()).await? == Standing::Busy {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(160));
        }
        Ok(())
    }

    /// Under the secret that makes; or under an older one, if the request is known by that.
    async fn names(&self, asked: &Asked<'_>) -> Result<Names> {
        let asker = asked.asker.name();
        let parts = [b"name".as_slice(), &asker, asked.route.as_bytes(), asked.key.reveal().as_bytes()];
        let name = |secret| self.keyring.mac(secret, Label::Idempotency, &parts).map(RequestName).ok_or_else(no_secret);
        let mut secret = self.keyring.current();
        for older in self.keyring.ids().skip(1) {
            if self.ephemeral.standing(&name(older)?, self.clock.now()).await? != Standing::Unknown {
                secret = older;
            }
        }
        Ok(Names { name: name(secret)?, secret, key: asked.key.clone() })
    }

    /// The ids of a request's commands are made with the oldest secret, whichever one the request is known by: a secret that is put in front
    /// of it changes none.
    fn commands_of(&self, asked: &Asked<'_>) -> Result<[u8; 32]> {
        let oldest = self.keyring.ids().last().unwrap_or_else(|| self.keyring.current());
        let asker = asked.asker.name();
        let whose: [&[u8]; 4] = [b"commands", &asker, asked.route.as_bytes(), asked.key.reveal().as_bytes()];
        self.keyring.mac(oldest, Label::Idempotency, &[&whose, asked.content].concat()).ok_or_else(no_secret)
    }

    fn mac(&self, names: &Names, purpose: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
        let parts = [&[purpose][..], &names.extra(), parts].concat();
        self.keyring.mac(names.secret, Label::Idempotency, &parts).ok_or_else(no_secret)
    }

    fn seal(&self, names: &Names, answer: &Answer) -> Option<Vec<u8>> {
        let head = serde_json::to_vec(&(&answer.head, answer.body.is_some())).ok()?;
        let length = u32::try_from(head.len()).ok()?;
        let plain = [&length.to_le_bytes()[..], &head, answer.body.as_deref().unwrap_or_default()].concat();
        self.keyring.seal_with(names.secret, Label::Idempotency, &names.extra(), b"answer", &plain, &*self.rng)
    }

    fn unseal(&self, names: &Names, sealed: &[u8]) -> Result<Answer> {
        let broken = || Error::Internal("a kept answer can't be read".into());
        let plain = self.keyring.open_with(Label::Idempotency, &names.extra(), b"answer", sealed).map_err(|_| broken())?;
        let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(broken)?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(broken)?;
        let (head, whole): (Head, bool) = serde_json::from_slice(head).map_err(|_| broken())?;
        Ok(Answer { head, body: whole.then(|| body.to_vec()) })
    }
}

fn no_secret() -> Error {
    Error::Internal("a secret of the keyring is gone".into())
}

impl Run {
    /// Runs `work`: ids that it makes are those of the first run. Keeps the request taken meanwhile.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        let work = RUN.scope(self.ids.clone(), work);
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(RUN_LEASE / 3, &mut work).await {
                Ok(done) => return done,
                Err(_) => {
                    let renewed =
                        self.held.services.ephemeral.renew_run(&self.names.name, self.held.id, self.held.services.clock.now()).await;
                    if !matches!(renewed, Ok(true)) {
                        tracing::warn!(?renewed, "a long request with an Idempotency-Key could not keep its turn");
                    }
                }
            }
        }
    }

    /// Keeps the answer. Gives another one if this run was so slow that somebody else has answered meanwhile. If the
    /// answer can't be kept the request may be sent again, and its rerun finds what this one wrote.
    pub async fn keep(mut self, mut answer: Answer) -> Answer {
        if answer.body.as_ref().is_some_and(|b| b.len() > LARGEST_KEPT) {
            let whole = answer.clone();
            answer.body = None;
            self.finish(&answer).await;
            return whole;
        }
        self.finish(&answer).await.unwrap_or(answer)
    }

    async fn finish(&mut self, answer: &Answer) -> Option<Answer> {
        let (s, id, name) = (self.held.services.clone(), self.held.id, self.names.name);
        let sealed = s.seal(&self.names, answer)?;
        match s.ephemeral.finish_run(&name, id, sealed.clone(), s.clock.now()).await {
            Ok(true) => self.held.over = true,
            Ok(false) => {
                // Another run took over, and what it answered is what everybody gets; or the request is forgotten.
                let sent = NewRun { run: id, fingerprint: self.fingerprint, salt: self.ids.seed.salt };
                match s.ephemeral.begin_run(&name, sent, s.clock.now()).await {
                    Ok(Begun::Answered(sealed)) => {
                        self.held.over = true;
                        return s.unseal(&self.names, &sealed).ok();
                    }
                    // Nobody runs it: it is ours again. Where it is kept with another seed than ours it is given back as it is.
                    Ok(Begun::Run { salt, .. }) if salt == self.ids.seed.salt => {
                        self.held.over = matches!(s.ephemeral.finish_run(&name, id, sealed, s.clock.now()).await, Ok(true));
                    }
                    Ok(Begun::Run { .. }) | Err(_) => {}
                    Ok(Begun::Busy | Begun::Conflict) => self.held.over = true,
                }
            }
            Err(e) => tracing::warn!(error = %e, "the answer to a request with an Idempotency-Key could not be kept"),
        }
        None
    }

    /// The seed of another run of the request that did what this one was about to do; whatever this one says must not be kept.
    pub fn first(&self) -> Option<Seed> {
        self.ids.first.get().copied()
    }

    /// Gives the request back, to be run with that seed. If this fails, the next run finds it again.
    pub async fn leave_to(mut self, seed: Seed) {
        let left = self.held.services.ephemeral.reseed_run(&self.names.name, self.held.id, seed).await;
        self.held.over = left.is_ok();
    }

    /// The request was refused before it did anything: as if it had never been sent.
    pub async fn forget(mut self) {
        let left = self.held.services.ephemeral.leave_run(&self.names.name, self.held.id, true).await;
        self.held.over = left.is_ok();
    }
}

tokio::task_local! {
    static RUN: Arc<Ids>;
}

/// What the ids of a run are made of.
struct Ids {
    seed: Seed,
    /// Of everything but commands: of this seed.
    all: Stream,
    /// Of commands: of the request alone.
    commands: Stream,
    /// The seed of another run, once the store has shown it.
    first: OnceLock<Seed>,
}

/// Bytes that nobody knows without the secret, and that are the same at each run.
struct Stream {
    key: hmac::Key,
    calls: AtomicU64,
}

impl Stream {
    fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), calls: AtomicU64::new(0) }
    }
    fn fill(&self, into: &mut [u8]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (n, chunk) in (0_u64..).zip(into.chunks_mut(32)) {
            let block = hmac::sign(&self.key, &[call, n.to_le_bytes()].concat());
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
    }
}

/// The id of a command, and the seed that is recorded with it. Within [`Run::scope`] the id says nothing about time.
pub(super) fn command_id(clock: &dyn Clock, rng: &dyn Rng) -> (CommandId, Option<Seed>) {
    let of_run = |ids: &Arc<Ids>| {
        let mut random = [0; 10];
        ids.commands.fill(&mut random);
        (CommandId::of(Timestamp::from_millis(0), &random), Some(ids.seed))
    };
    RUN.try_with(of_run).unwrap_or_else(|_| (CommandId::new(clock, rng), None))
}

/// The store knows a command of this request from another run, which had that seed.
pub(super) fn begins_anew(seed: Seed) {
    // Outside of a run no command has a seed.
    let _ = RUN.try_with(|ids| ids.first.set(seed));
}

/// Whether what runs here may be the rerun of a request that wrote something and died.
pub(super) fn may_be_rerun() -> bool {
    RUN.try_with(|_| ()).is_ok()
}

/// The generator of the use cases. Within [`Run::scope`] it repeats, call by call, what it gave to the first run of the
/// request; everywhere else, and for nonces, it is `inner`.
pub(super) struct RunRng(pub Arc<dyn Rng>);

impl Rng for RunRng {
    fn fill(&self, into: &mut [u8]) {
        if RUN.try_with(|ids| ids.all.fill(into)).is_err() {
            self.0.fill(into);
        }
    }
    fn fill_once(&self, into: &mut [u8]) {
        self.0.fill_once(into);
    }
    fn id_time(&self, now: Timestamp) -> Timestamp {
        RUN.try_with(|ids| ids.seed.began_at).unwrap_or(now)
    }
}

/// Randomness of what belongs to one run of a request, and is another's at the next run.
pub(super) struct OfThisRun(pub Arc<dyn Rng>);

impl Rng for OfThisRun {
    fn fill(&self, into: &mut [u8]) {
        self.0.fill_once(into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{rng::SystemRng, time::ManualClock};

    fn ids(secret: u8) -> Arc<Ids> {
        let seed = Seed { began_at: Timestamp::from_millis(1_700_000_000_000), salt: [secret; 16] };
        Arc::new(Ids { seed, all: Stream::new(&[secret; 32]), commands: Stream::new(&[0; 32]), first: OnceLock::new() })
    }

    #[tokio::test]
    async fn ids_of_commands_are_those_of_the_request_whatever_its_seed() {
        let rng = RunRng(Arc::new(SystemRng));
        let run = async |secret: u8, now: i64| {
            let clock = ManualClock::at_millis(now);
            let made = async {
                let one = command_id(&clock, &rng);
                // What else is made between them does not count.
                let _: [u8; 8] = rng::bytes(&rng);
                (one, command_id(&clock, &rng))
            };
            RUN.scope(ids(secret), made).await
        };
        let (first, again) = (run(1, 1_700_000_000_000).await, run(2, 1_800_000_000_000).await);
        assert_eq!((first.0.0, first.1.0), (again.0.0, again.1.0));
        assert_ne!(first.0.0, first.1.0);
        assert_eq!((first.0.1, again.1.1), (Some(ids(1).seed), Some(ids(2).seed)));
        let clock = ManualClock::at_millis(1_700_000_000_000);
        assert!(command_id(&clock, &rng) != command_id(&clock, &rng) && command_id(&clock, &rng).1.is_none());
    }

    #[tokio::test]
    async fn a_rerun_makes_the_ids_of_the_first_run_and_nonces_of_its_own() {
        let rng = RunRng(Arc::new(SystemRng));
        let run = async |secret: u8, now: i64| {
            let clock = ManualClock::at_millis(now);
            let made = async {
                let mut nonce = [0; 12];
                rng.fill_once(&mut nonce);
                let (one, long, two) = (CommandId::new(&clock, &rng), rng::bytes::<80>(&rng), CommandId::new(&clock, &rng));
                ((one, long, two), nonce)
            };
            RUN.scope(ids(secret), made).await
        };
        let (first, again, other) = (run(1, 1_700_000_000_000).await, run(1, 1_700_000_099_000).await, run(2, 1_700_000_000_000).await);
        assert_eq!(first.0, again.0);
        assert_ne!(first.1, again.1);
        let ((one, long, two), _) = first;
        assert!(one != two && long[..32] != long[32..64] && one != other.0.0);
        let clock = ManualClock::at_millis(1_700_000_000_000);
        assert_ne!(CommandId::new(&clock, &rng), one, "outside of a run it never repeats itself");
        assert_ne!(CommandId::new(&clock, &rng), CommandId::new(&clock, &rng));
    }
}
