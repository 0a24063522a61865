//! The distributed backend: ScyllaDB or Apache Cassandra, the schema of `schema/scylla`.
//!
//! All that lasts lies in **units** ([`unit`]): partitions of rows, each row a kind, a key and a JSON body. A unit has a version,
//! and every write is conditional on it. Decisions are made here, on what was read, and hold because the version is still
//! that of the reading: so there is one condition for all commands, and no column for each thing that decides.
//!
//! How to write a command:
//!
//! 1. Implement [`tx::Plan`] for what goes into it. `run` reads ([`tx::Tx::get`], [`tx::Tx::scan`]: conditions of the commit, absent rows
//!    too; [`tx::Tx::peek`]: none), decides, and writes (`put`, `del`). It may run several times, and does nothing else. Its type
//!    of outcome implements [`tx::Outcome`].
//! 2. Run it by `engine.command(ctx, home, plan)`. `home` is the unit in which the outcome is recorded for reruns; it must be the
//!    same at each rerun, so it is named by what the command is about, not by what is found. `engine.change` keeps no record.
//! 3. One unit read or written: one conditional batch. Several: the engine makes a saga of it ([`saga`]), with a journal. Both are
//!    atomic. A read of a unit that is only a condition costs a lock of that unit: for what many commands read and hardly any
//!    writes (is the tenant live?), `peek`, if a race is harmless.
//! 4. Two commands that each rely on what the other changes must both *write* the unit in which they meet: a condition alone
//!    leaves the version as it was. (Owners: every change of who can act as owner is written into the tenant's unit.)
//! 5. **Lists** ([`unit::List`]) lead to units: members of a tenant, jobs by the hour, what is to be swept. They are written after
//!    the commit by effects ([`effects::Effect`], `tx.effect`): surely, but a moment later, and perhaps twice. Whoever reads a list checks
//!    each entry against its unit. No command may rely on an entry being absent.
//! 6. Jobs, audit events and revocations: `tx.job`, `tx.audit`, `tx.revoke`.
//! 7. A read of the trait: `engine.read(…)` around `engine.cql.peek`, `peek_all`, `entries`.
//!
//! Uniqueness is a unit of [`unit::Family::Claims`]: a row `holder` says who has it. A new table or list is a new file in the schema and
//! a new line in [`unit`]. A batch should stay under 50 KB: what grows without bound is done in several commands.
//!
//! `cql` sends `statements` (`secure`: over TLS; `meter` counts them, `pulse` knows whether any is answered), `tx` is what plans see,
//! `engine` runs them, `saga` commits over several units, `effects` does what follows; `revocations`, `outbox` and `chain` (of `audit`)
//! are lists with an order of their own; `invites_of` reads what `invites` writes; `copy` takes over what another backend holds.

mod access;
mod accounts;
mod admin;
mod api_keys;
mod audit;
mod authority;
mod chain;
mod change;
pub mod copy;
mod cql;
mod decode;
mod domains;
mod effects;
mod email_change;
mod endings;
mod engine;
mod fail;
mod imports;
mod invites;
mod invites_of;
mod kept;
mod leases;
mod member_lists;
mod members;
mod meter;
mod migrate;
mod outbox;
mod passwords;
mod policy;
mod profile;
mod proofs;
mod pulse;
mod purge;
mod revocations;
mod saga;
mod secure;
mod sessions;
mod signups;
mod statements;
mod store_impl;
mod tenants;
mod tx;
mod unchain;
mod unit;
mod upgrade;
mod upkeep;
mod withdrawal;

#[cfg(test)]
mod tests;

use super::{Result, StoreError};
use crate::domain::{rng::Rng, secret::SecretText, time::Clock};
use cql::Cql;
use engine::{Engine, Inner};
use profile::{Agreement, Times};
use scylla::{
    client::{PoolSize, session::Session, session_builder::SessionBuilder},
    cluster::metadata::Strategy,
};
pub use secure::{Names, Tls};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Arc, Weak},
    time::Duration,
};

/// Connections to a node (or to each shard of one).
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

/// Pause between attempts to reconnect.
const REVIVE: Duration = Duration::from_millis(500);
/// Of one attempt: a node that was just started takes seconds to tell of its tables.
const PATIENCE: Duration = Duration::from_secs(8);
/// Attempts at once: one that hangs must not keep the next one from trying.
const ATTEMPTS: usize = 4;

/// The store on ScyllaDB or Apache Cassandra.
#[derive(Clone)]
pub struct ScyllaStore {
    engine: Engine,
}

/// Where a store lies.
#[derive(Debug, Clone)]
pub struct Place {
    /// `host:port` of some nodes; the others are learned from them.
    pub nodes: Vec<String>,
    /// Letters a-z, digits and underscores, a letter first.
    pub keyspace: String,
    /// The data centre whose nodes are asked; `None`: there is but one.
    pub datacenter: Option<String>,
    /// Copies of each row (in that data centre) in a keyspace that is made; one that exists keeps its own.
    pub replication: u8,
    /// How long one call may take, retries included.
    pub timeout: Duration,
    /// User name and password.
    pub credentials: Option<(String, SecretText)>,
    /// TLS to the nodes; `None`: the bare protocol.
    pub tls: Option<Tls>,
}

async fn connect(place: &Place) -> Result<Session> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&place.nodes)
        .tcp_nodelay(true)
        .connection_timeout(Duration::from_secs(2))
        .keepalive_interval(Duration::from_secs(2))
        .keepalive_timeout(Duration::from_secs(2))
        .pool_size(PoolSize::PerHost(CONNECTIONS));
    if let Some(dc) = &place.datacenter {
        builder = builder.prefer_datacenter(dc.clone());
    }
    if let Some((user, password)) = &place.credentials {
        builder = builder.user(user, password.reveal());
    }
    if let Some(tls) = &place.tls {
        builder = builder.tls_context(Some(tls.context().map_err(StoreError::certainly_not)?));
    }
    builder.build().await.map_err(|e| StoreError::certainly_not(format!("no connection to {}: {e}", place.nodes.join(", "))))
}

/// Data centres that have copies of what is written with a strategy; `of_nodes`: those of the nodes.
fn centres<'a>(strategy: &'a Strategy, of_nodes: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    match strategy {
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            datacenter_repfactors.iter().filter(|(_, copies)| **copies > 0).map(|(name, _)| name.as_str()).collect()
        }
        // It looks at no data centre.
        _ => of_nodes.collect(),
    }
}

/// With copies in several data centres, each of which would count a majority of its own, one address could get two accounts.
fn refuse_split(session: &Session, place: &Place) -> Result<()> {
    let cluster = session.get_cluster_state();
    let Some(keyspace) = cluster.get_keyspace(&place.keyspace) else { return Ok(()) };
    let centres = centres(&keyspace.strategy, cluster.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()));
    if place.datacenter.is_some() || centres.len() < 2 {
        return Ok(());
    }
    let names = centres.into_iter().collect::<Vec<_>>().join(", ");
    Err(StoreError::certainly_not(format!(
        "keyspace {} has copies in several data centres ({names}): say with dc= in QEETID_STORE_URL in which one this node is",
        place.keyspace
    )))
}

/// The driver waits for up to ten seconds between its attempts to reconnect. While the store doesn't answer, we try by ourselves,
/// and go on over the first connection that is made. One question is always out meanwhile: nobody else's answer is waited for.
async fn revive(inner: Weak<Inner>, place: Place) {
    let mut attempts = tokio::task::JoinSet::new();
    let mut probe = tokio::task::JoinSet::new();
    loop {
        tokio::time::sleep(REVIVE).await;
        let Some(inner) = inner.upgrade() else { return };
        if !inner.cql.is_failing() {
            attempts.abort_all();
            continue;
        }
        while probe.try_join_next().is_some() {}
        if probe.is_empty() {
            let inner = inner.clone();
            probe.spawn(async move { inner.cql.probe().await });
        }
        while let Some(done) = attempts.try_join_next() {
            if let Ok(Ok(Ok(session))) = done {
                inner.cql.reconnected(session);
            }
        }
        if attempts.len() < ATTEMPTS {
            let place = place.clone();
            attempts.spawn(async move { tokio::time::timeout(PATIENCE, connect(&place)).await });
        }
    }
}

impl ScyllaStore {
    /// Brings the schema up to date; any number of nodes may do so at once. Says how many steps ran here.
    ///
    /// # Errors
    /// The keyspace is of a newer version, or no node answers, or a step failed.
    pub async fn migrate(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<usize> {
        let millis = u64::try_from(clock.now().millis()).unwrap_or(0);
        let holder = uuid::Builder::from_unix_timestamp_millis(millis, &crate::domain::rng::bytes(&*rng)).into_uuid();
        migrate::migrate(&connect(place).await?, place, holder, || upgrade::authority(place, clock.clone(), rng.clone())).await
    }

    /// Takes a keyspace into use. `clock` is for locks and leftovers: commands bring their own time.
    ///
    /// # Errors
    /// No node answers, the keyspace isn't of this version, or a copy into it has not come to its end.
    pub async fn open(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self> {
        let store = Self::open_any(place, clock, rng).await?;
        copy::refuse_unfinished(&store.engine).await?;
        Ok(store)
    }

    async fn open_any(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self> {
        let session = connect(place).await?;
        if let Some(why) = migrate::refuses(&session, &place.keyspace).await? {
            return Err(StoreError::certainly_not(why));
        }
        Self::over(session, place, clock, rng).await
    }

    /// Whatever the version of the keyspace is.
    async fn at(place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self> {
        Self::over(connect(place).await?, place, clock, rng).await
    }

    async fn over(session: Session, place: &Place, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self> {
        refuse_split(&session, place)?;
        let agreement = if place.datacenter.is_some() { Agreement::Global } else { Agreement::Local };
        let times = Times::of(place.timeout);
        let cql = Cql::new(session, &place.keyspace, agreement, times).await?;
        let engine = Engine::new(cql, times, clock, rng);
        tokio::spawn(revive(engine.weak(), place.clone()));
        Ok(Self { engine })
    }
}
