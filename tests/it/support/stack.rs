//! On which stores the servers of a test run: `QEETID_TEST_STACK`. Each server has stores of its own, whatever they are.
//!
//! - `embedded` (the default): one SQLite file.
//! - `redis`: the SQLite file, and a database of the Redis at `QEETID_TEST_REDIS`.
//! - `distributed`: a keyspace of the Cassandra at `QEETID_TEST_CQL`, and a database of the Redis.
//!
//! Tests that look into the SQLite file or bring it to its limits stand in modules that are called `embedded`; a run on other
//! stores leaves them out by that name.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Databases of the test's Redis (see `tests/servers/redis`); 0 is the one in which they are counted.
const DATABASES: u64 = 4096;

/// What a run uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    Embedded,
    Redis,
    Distributed,
}

impl Stack {
    /// Of this run.
    pub fn of_run() -> Self {
        match std::env::var("QEETID_TEST_STACK").as_deref() {
            Err(_) | Ok("" | "embedded") => Self::Embedded,
            Ok("redis") => Self::Redis,
            Ok("distributed") => Self::Distributed,
            Ok(other) => panic!("QEETID_TEST_STACK={other}: there are embedded, redis and distributed"),
        }
    }
}

/// The stores of one server, or of several.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The settings that lead there.
    pub env: Vec<(String, String)>,
    keyspace: Option<Arc<Keyspace>>,
}

/// A keyspace of the run's Cassandra. When the last who knows of it goes, it waits for the next test, or is left where it is: the server goes
/// with all its data after the run, and to drop the tables of one keyspace has Cassandra write those of all others to the disk.
#[derive(Debug)]
struct Keyspace {
    name: String,
    /// Its schema is up to date.
    migrated: AtomicBool,
    /// Another test may use it afterwards, with people and tenants of its own: to make one takes many changes of the schema.
    goes_on: AtomicBool,
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        if self.goes_on.load(Ordering::Relaxed) && self.migrated.load(Ordering::Relaxed) && !std::thread::panicking() {
            locked(&WAITING).push(name);
        }
    }
}

/// Keyspaces that a test has done with.
static WAITING: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// By data directory: who is started there again finds what it left.
static PLACES: LazyLock<Mutex<HashMap<PathBuf, Place>>> = LazyLock::new(Mutex::default);

// A test that fails while it holds one has hurt nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// That of a data directory; a new one is made for a new directory. `apart`: other tests have none of it, before or after.
    pub fn of(dir: &Path, apart: bool) -> Self {
        locked(&PLACES).entry(dir.to_owned()).or_insert_with(|| Self::new(Stack::of_run(), apart)).clone()
    }

    /// A keyspace that `url` leads to, and a database of the run's Redis, whatever the run's stack is.
    pub fn at(url: &str) -> Self {
        Self::on_redis(fresh_database()).with_store(url)
    }

    /// A new keyspace of the run's Cassandra and a database of its Redis, whatever the run's stack is.
    pub fn distributed() -> Self {
        let database = fresh_database();
        let name = format!("t{database}_{}", std::process::id());
        Self::on_keyspace(database, Keyspace { name, migrated: false.into(), goes_on: false.into() })
    }

    fn new(stack: Stack, apart: bool) -> Self {
        match stack {
            Stack::Embedded => Self::default(),
            Stack::Redis => Self::on_redis(fresh_database()),
            Stack::Distributed if apart => Self::distributed(),
            Stack::Distributed => {
                let waiting = locked(&WAITING).pop();
                let place = match waiting {
                    Some(name) => Self::on_keyspace(fresh_database(), Keyspace { name, migrated: true.into(), goes_on: true.into() }),
                    None => Self::distributed(),
                };
                place.goes_on(true);
                place
            }
        }
    }

    fn on_keyspace(database: u64, keyspace: Keyspace) -> Self {
        // A store that answers late on a busy machine is no failure of a test.
        let url = format!("scylla://{}/{}?rf=1&timeout=10000", address("QEETID_TEST_CQL"), keyspace.name);
        Self { keyspace: Some(Arc::new(keyspace)), ..Self::on_redis(database).with_store(&url) }
    }

    fn on_redis(database: u64) -> Self {
        let url = format!("redis://{}/{database}", address("QEETID_TEST_REDIS"));
        Self { env: vec![("QEETID_EPHEMERAL_URL".into(), url)], keyspace: None }
    }

    fn with_store(mut self, url: &str) -> Self {
        let set = [("QEETID_STORE_URL", url.to_owned()), ("QEETID_SECRET", "5a".repeat(32))];
        self.env.extend(set.map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// The name of its keyspace on the run's Cassandra, if it has one there.
    pub fn keyspace(&self) -> Option<&str> {
        self.keyspace.as_ref().map(|k| k.name.as_str())
    }

    /// Whether another test may go on with its keyspace.
    pub fn goes_on(&self, may: bool) {
        if let Some(keyspace) = &self.keyspace {
            keyspace.goes_on.store(may, Ordering::Relaxed);
        }
    }

    /// Whether `migrate` has to run before a server starts there.
    pub fn needs_schema(&self) -> bool {
        match &self.keyspace {
            Some(keyspace) => !keyspace.migrated.load(Ordering::Relaxed),
            None => self.env.iter().any(|(name, _)| name == "QEETID_STORE_URL"),
        }
    }

    /// It has run.
    pub fn has_schema(&self) {
        if let Some(keyspace) = &self.keyspace {
            keyspace.migrated.store(true, Ordering::Relaxed);
        }
    }

    /// Where its Redis is, to be put elsewhere.
    pub fn redis(&mut self) -> Option<&mut String> {
        self.env.iter_mut().find(|(name, _)| name == "QEETID_EPHEMERAL_URL").map(|(_, url)| url)
    }

    /// Nobody is started in that data directory again.
    pub fn remove(dir: &Path) {
        // It is let go of once the map can be used again: a keyspace takes a while to go.
        let gone = locked(&PLACES).remove(dir);
        drop(gone);
    }
}

/// A data directory for servers that come one after the other. It goes at the end, with its stores.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    /// Not there yet.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        Place::remove(&self.path());
    }
}

/// `host:port` of a server that the test needs.
pub fn address(variable: &str) -> String {
    let hint = "start one with tests/servers, as ./test does";
    std::env::var(variable).ok().filter(|a| !a.is_empty()).unwrap_or_else(|| panic!("{variable} is not set: {hint}"))
}

/// The number of a database that nobody has used since this Redis began.
fn fresh_database() -> u64 {
    let redis = &address("QEETID_TEST_REDIS");
    let mut stream = connect(redis).unwrap();
    let reply = (|| {
        stream.write_all(b"INCR databases\r\n")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).map(|_| line)
    })();
    let reply = reply.unwrap_or_else(|e| panic!("Redis at {redis}: {e}"));
    let n: u64 = reply.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("Redis said {reply:?}"));
    n % (DATABASES - 1) + 1
}

/// Runs one statement: the native protocol, version 4, without what a driver adds.
pub fn cql(address: &str, statement: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    let mut startup = b"\0\x01\0\x0bCQL_VERSION\0\x05".to_vec();
    startup.extend(b"3.0.0");
    let mut query = u32::try_from(statement.len()).unwrap().to_be_bytes().to_vec();
    query.extend(statement.as_bytes());
    // Consistency ONE, no flags.
    query.extend([0, 1, 0]);
    for (opcode, body) in [(1, startup), (7, query)] {
        let mut frame = vec![4, 0, 0, 0, opcode];
        frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend(body);
        let mut head = [0; 9];
        let answer = stream.write_all(&frame).and_then(|()| stream.read_exact(&mut head)).and_then(|()| {
            let mut answer = vec![0; u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize];
            stream.read_exact(&mut answer).map(|()| answer)
        });
        let answer = answer.map_err(|e| format!("Cassandra at {address}: {e}"))?;
        if head[4] == 0 {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
    }
    Ok(())
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| format!("{address}: {e}"))?;
    Ok(stream)
}
