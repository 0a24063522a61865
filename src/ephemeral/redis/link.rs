//! The connection: made when it is needed, thrown away when it fails, and bounded in time. A server that can't be asked is left alone
//! for a moment by a breaker, so that callers learn of it at once instead of piling up.

use super::address::Address;
use crate::{
    domain::breaker::Breaker,
    ephemeral::{EphemeralError, Result},
};
use ::redis::{
    Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, aio::MultiplexedConnection, cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A call ends within this, connecting and sending again included: what needs the store is answered within half a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
/// So long the server is left alone after a failure; then one call asks it.
const PAUSE: Duration = Duration::from_millis(250);

/// A Redis that refuses what it is asked is told of no oftener.
const REFUSAL_SAID_EVERY: Duration = Duration::from_secs(60);

/// A Lua script. It is sent by its hash, and whole if the server doesn't know it (any more).
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { hash: ::redis::Script::new(code).get_hash().to_owned(), code }
    }

    /// The command that runs it on one key: all it reads and writes is there, so that a cluster can place it.
    fn command(&self, whole: bool, key: &str, args: &[&[u8]]) -> Cmd {
        let mut cmd = if whole { ::redis::cmd("EVAL") } else { ::redis::cmd("EVALSHA") };
        cmd.arg(if whole { self.code } else { &self.hash }).arg(1).arg(key);
        for arg in args {
            cmd.arg(*arg);
        }
        cmd
    }
}

enum Target {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn query<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => cmd.query_async(connection).await,
            Self::Cluster(connection) => cmd.query_async(connection).await,
        }
    }
}

/// One server or cluster.
pub(super) struct Link {
    target: Target,
    /// With its number: who throws it away must not hit the next one.
    current: Mutex<Option<(u64, Connection)>>,
    made: AtomicU64,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
    breaker: Breaker,
    patience: Duration,
    down: AtomicBool,
    /// When it was last said that it answers with errors.
    refusal_said: Mutex<Option<Instant>>,
}

impl Link {
    /// Connects to nobody yet.
    pub(super) fn new(address: &Address, patience: Duration) -> Result<Self> {
        let bad = |e: RedisError| EphemeralError(e.to_string());
        let target = if address.cluster {
            // Who waits does so for `patience` at most, whatever is tried again in it.
            let client = address.cluster_builder().map_err(bad)?.connection_timeout(patience).response_timeout(patience);
            Target::Cluster(Box::new(client.retries(3).min_retry_wait(5).max_retry_wait(50).build().map_err(bad)?))
        } else {
            Target::One(Box::new(address.client(0).map_err(bad)?))
        };
        Ok(Self {
            target,
            current: Mutex::default(),
            made: AtomicU64::new(0),
            connecting: tokio::sync::Mutex::default(),
            // One failure is enough: it took as long as a caller may wait.
            breaker: Breaker::new(1, PAUSE),
            patience,
            down: AtomicBool::new(false),
            refusal_said: Mutex::default(),
        })
    }

    /// Runs a script on one key.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &Script, key: &str, args: &[&[u8]]) -> Result<T> {
        self.bounded(async {
            match self.query(&script.command(false, key, args)).await {
                Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => self.query(&script.command(true, key, args)).await,
                answer => answer,
            }
        })
        .await
    }

    /// Runs a command.
    pub(super) async fn command<T: FromRedisValue>(&self, name: &str, args: &[&str]) -> Result<T> {
        let mut cmd = ::redis::cmd(name);
        cmd.arg(args);
        self.bounded(self.query(&cmd)).await
    }

    async fn bounded<T>(&self, call: impl Future<Output = RedisResult<T>>) -> Result<T> {
        if self.breaker.allow(Instant::now()).is_err() {
            return Err(EphemeralError("Redis could not be asked a moment ago".into()));
        }
        let why = match tokio::time::timeout(self.patience, call).await {
            Ok(Ok(value)) => {
                self.alive();
                return Ok(value);
            }
            Ok(Err(e)) if !is_failure(&e) => {
                self.alive();
                self.say_refusal(&e);
                return Err(EphemeralError(e.to_string()));
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {:?}", self.patience),
        };
        // A new one may lead to another server, and one that hangs is never heard of again.
        self.throw_away(None);
        self.breaker.failed(Instant::now());
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %why, "Redis can't be asked: codes and idempotency keys are refused, limits are counted by this node alone");
        }
        Err(EphemeralError(why))
    }

    fn alive(&self) {
        self.breaker.alive();
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
    }

    /// It answers, and does not do it: it is full, say, or lets us do less than we need.
    fn say_refusal(&self, e: &RedisError) {
        let mut said = self.refusal_said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() > REFUSAL_SAID_EVERY) {
            *said = Some(Instant::now());
            tracing::error!(error = %e, "Redis refuses commands");
        }
    }

    /// Asks; once more over a new connection if the one there was has broken.
    async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> RedisResult<T> {
        let (number, mut connection) = self.connection().await?;
        match connection.query(cmd).await {
            Err(e) if e.is_io_error() && !e.is_timeout() => self.throw_away(Some(number)),
            answer => return answer,
        }
        self.connection().await?.1.query(cmd).await
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        if let Some(connection) = self.held() {
            return Ok(connection);
        }
        let _one = self.connecting.lock().await;
        if let Some(connection) = self.held() {
            return Ok(connection);
        }
        let connection = match &self.target {
            Target::One(client) => {
                // `bounded` is the limit for both.
                let config = ::redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Target::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        let made = (self.made.fetch_add(1, Ordering::Relaxed), connection);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }

    fn held(&self) -> Option<(u64, Connection)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn throw_away(&self, number: Option<u64>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_none() || current.as_ref().map(|(n, _)| *n) == number {
            *current = None;
        }
    }
}

/// Whether the server can't be asked, as opposed to one that answers with an error.
fn is_failure(e: &RedisError) -> bool {
    match e.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::TryAgain
        ),
        ErrorKind::Extension | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}
