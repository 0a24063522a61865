//! Finds (or starts) the actor of a key, and lets in only as many as may wait.

use super::{
    entity::{Entity, Envelope, Shell},
    supervisor::Supervisor,
};
use crate::domain::network::Network;
use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

const SHARDS: usize = 16;

/// Bounds of one directory.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At most this many commands wait for one actor.
    pub places: usize,
    /// At most this many actors live; idle ones stop first.
    pub actors: usize,
    /// An actor that nobody asked for this long stops.
    pub idle: Duration,
    /// An answer that takes longer is given up.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { places: 2048, actors: 50_000, idle: Duration::from_secs(60), patience: Duration::from_secs(10) }
    }
}

/// Why an actor did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// All places are taken, or too many actors are busy.
    #[error("too many commands wait for one actor")]
    Full,
    /// The caller's network holds half of the places.
    #[error("one network holds half of an actor's places")]
    NetworkShare,
    /// The actor failed while it ran this very command.
    #[error("the actor failed")]
    Failed,
    /// No answer in time.
    #[error("the actor took too long")]
    TooSlow,
}

/// Who waits for one actor.
struct Waiting {
    total: usize,
    by_network: HashMap<Network, usize>,
    last_used: Instant,
}

struct Entry<E: Entity> {
    actor: ActorRef<Envelope<E>>,
    waiting: Mutex<Waiting>,
}

/// A place at an actor; given back when dropped.
struct Place<E: Entity> {
    entry: Arc<Entry<E>>,
    network: Option<Network>,
}

impl<E: Entity> Drop for Place<E> {
    fn drop(&mut self) {
        let mut w = lock(&self.entry.waiting);
        w.total -= 1;
        w.last_used = Instant::now();
        if let Some(network) = self.network
            && let Some(n) = w.by_network.get_mut(&network)
        {
            *n -= 1;
            if *n == 0 {
                w.by_network.remove(&network);
            }
        }
    }
}

type Shard<E> = HashMap<<E as Entity>::Key, Arc<Entry<E>>>;

/// All live actors of one kind.
pub struct Directory<E: Entity> {
    shards: Vec<Mutex<Shard<E>>>,
    make: Box<dyn Fn(E::Key) -> E + Send + Sync>,
    supervisor: ActorCell,
    bounds: Bounds,
}

// A panic while a lock is held leaves maps and counters whole: no step between its lines can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Entity> Directory<E> {
    /// An empty directory; `make` makes the state of a new actor. Idle actors are stopped by a task that ends with the directory.
    pub fn new(supervisor: &Supervisor, bounds: Bounds, make: impl Fn(E::Key) -> E + Send + Sync + 'static) -> Arc<Self> {
        let directory = Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            make: Box::new(make),
            supervisor: supervisor.cell(),
            bounds,
        });
        let weak = Arc::downgrade(&directory);
        let period = (bounds.idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(15));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(directory) = weak.upgrade() else { return };
                directory.stop_idle(directory.bounds.idle);
                metrics::gauge!("qeetid_actors_live", "kind" => E::KIND).set(directory.live() as f64);
            }
        });
        directory
    }

    /// Asks the actor of `key`. A command that had not begun when its actor went is handed to the successor.
    ///
    /// # Errors
    /// [`AskError`]; after `Failed` and `TooSlow` the command may have been done.
    pub async fn ask(&self, key: E::Key, network: Option<Network>, command: E::Command) -> Result<E::Reply, AskError> {
        for _ in 0..3 {
            let place = self.enter(key, network)?;
            let (envelope, answer, begun) = Envelope::pack(command.clone());
            if place.entry.actor.send_message(envelope).is_ok() {
                match tokio::time::timeout(self.bounds.patience, answer).await {
                    Ok(Ok(reply)) => return Ok(reply),
                    Ok(Err(_gone)) if begun.load(Ordering::Acquire) => {
                        self.forget(key, place.entry.actor.get_id());
                        return Err(AskError::Failed);
                    }
                    Ok(Err(_gone)) => {}
                    Err(_elapsed) => return Err(AskError::TooSlow),
                }
            }
            self.forget(key, place.entry.actor.get_id());
        }
        Err(AskError::Failed)
    }

    /// How many live.
    pub fn live(&self) -> usize {
        self.shards.iter().map(|s| lock(s).len()).sum()
    }

    fn shard(&self, key: E::Key) -> MutexGuard<'_, Shard<E>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        lock(&self.shards[hasher.finish() as usize % SHARDS])
    }

    /// Takes a place. Counting happens under the shard's lock, as does stopping idle actors: an actor with a place taken is never stopped.
    fn enter(&self, key: E::Key, network: Option<Network>) -> Result<Place<E>, AskError> {
        let mut shard = self.shard(key);
        if !shard.contains_key(&key) && shard.len() >= self.bounds.actors.div_ceil(SHARDS) {
            evict_oldest(&mut shard)?;
        }
        let entry = match shard.get(&key) {
            Some(entry) => entry.clone(),
            None => {
                let spawned = ActorRuntime::spawn_linked_instant(None, Shell::default(), (self.make)(key), self.supervisor.clone());
                // Fails only for a name that is taken, and these have none.
                let (actor, _) = spawned.map_err(|_| AskError::Failed)?;
                let waiting = Waiting { total: 0, by_network: HashMap::new(), last_used: Instant::now() };
                let entry = Arc::new(Entry { actor, waiting: Mutex::new(waiting) });
                shard.insert(key, entry.clone());
                entry
            }
        };
        {
            let mut w = lock(&entry.waiting);
            if w.total >= self.bounds.places {
                return Err(AskError::Full);
            }
            if let Some(network) = network {
                let held = w.by_network.entry(network).or_default();
                if *held >= self.bounds.places.div_ceil(2) {
                    return Err(AskError::NetworkShare);
                }
                *held += 1;
            }
            w.total += 1;
        }
        Ok(Place { entry, network })
    }

    fn forget(&self, key: E::Key, actor: ActorId) {
        let mut shard = self.shard(key);
        if shard.get(&key).is_some_and(|e| e.actor.get_id() == actor) {
            shard.remove(&key);
        }
    }

    fn stop_idle(&self, idle: Duration) {
        for shard in &self.shards {
            lock(shard).retain(|_, entry| {
                let w = lock(&entry.waiting);
                let keep = w.total > 0 || w.last_used.elapsed() < idle;
                if !keep {
                    entry.actor.stop(None);
                }
                keep
            });
        }
    }
}

impl<E: Entity> Drop for Directory<E> {
    fn drop(&mut self) {
        self.stop_idle(Duration::ZERO);
    }
}

/// Stops the idle actor of the shard that was asked longest ago.
fn evict_oldest<E: Entity>(shard: &mut Shard<E>) -> Result<(), AskError> {
    let idle = shard.iter().filter_map(|(key, entry)| {
        let w = lock(&entry.waiting);
        (w.total == 0).then_some((w.last_used, *key))
    });
    let (_, oldest) = idle.min_by_key(|(at, _)| *at).ok_or(AskError::Full)?;
    if let Some(entry) = shard.remove(&oldest) {
        entry.actor.stop(None);
    }
    Ok(())
}
