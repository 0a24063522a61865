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
    sync::{LazyLock, Mutex, MutexGuard},
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

/// The stores of one server.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The settings that lead there.
    pub env: Vec<(String, String)>,
    keyspace: Option<String>,
}

/// By data directory: who is started there again finds what it left.
static PLACES: LazyLock<Mutex<HashMap<PathBuf, Place>>> = LazyLock::new(Mutex::default);

fn places() -> MutexGuard<'static, HashMap<PathBuf, Place>> {
    // A test that fails while it holds them has hurt nothing.
    PLACES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Place {
    /// That of a data directory; a new one is made for a new directory.
    pub fn of(dir: &Path) -> Self {
        places().entry(dir.to_owned()).or_insert_with(|| Self::new(Stack::of_run())).clone()
    }

    /// A keyspace that `url` leads to, and a database of the run's Redis, whatever the run's stack is.
    pub fn at(url: &str) -> Self {
        let redis = address("QEETID_TEST_REDIS");
        let number = fresh_database(&redis);
        let set = [
            ("QEETID_EPHEMERAL_URL", format!("redis://{redis}/{number}")),
            ("QEETID_STORE_URL", url.to_owned()),
            ("QEETID_SECRET", "5a".repeat(32)),
        ];
        Self { env: set.map(|(name, value)| (name.to_owned(), value)).into(), keyspace: None }
    }

    fn new(stack: Stack) -> Self {
        let mut place = Self::default();
        if stack == Stack::Embedded {
            return place;
        }
        let redis = address("QEETID_TEST_REDIS");
        let mut set = |name: &str, value: String| place.env.push((name.into(), value));
        let number = fresh_database(&redis);
        set("QEETID_EPHEMERAL_URL", format!("redis://{redis}/{number}"));
        if stack == Stack::Distributed {
            let keyspace = format!("t{number}_{}", std::process::id());
            set("QEETID_STORE_URL", format!("scylla://{}/{keyspace}?rf=1", address("QEETID_TEST_CQL")));
            set("QEETID_SECRET", "5a".repeat(32));
            place.keyspace = Some(keyspace);
        }
        place
    }

    /// One place for several data directories: those of nodes of one cluster.
    pub fn share<'a>(dirs: impl IntoIterator<Item = &'a Path>) {
        let place = Self::new(Stack::Distributed);
        places().extend(dirs.into_iter().map(|dir| (dir.to_owned(), place.clone())));
    }

    /// The stores go; nobody is started there again.
    pub fn remove(dir: &Path) {
        let place = places().remove(dir);
        if let Some(keyspace) = place.and_then(|p| p.keyspace) {
            // A server that hangs is another test's failure.
            let _ = cql(&address("QEETID_TEST_CQL"), &format!("DROP KEYSPACE IF EXISTS {keyspace}"));
        }
    }
}

/// `host:port` of a server that the test needs.
pub fn address(variable: &str) -> String {
    let hint = "start one with tests/servers, as ./test does";
    std::env::var(variable).ok().filter(|a| !a.is_empty()).unwrap_or_else(|| panic!("{variable} is not set: {hint}"))
}

/// The number of a database that nobody has used since this Redis began.
fn fresh_database(redis: &str) -> u64 {
    let mut stream = connect(redis);
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
    let mut stream = connect(address);
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

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}
