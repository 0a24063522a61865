//! The one thread that writes. Whatever waits when it is free is written in one transaction (group commit): each write
//! in a savepoint of its own, one fsync for all, and then everybody is answered. The first one needs no savepoint: if it fails
//! the transaction is rolled back, and another one begun for the rest. (A write of many rows is half as fast in a savepoint:
//! SQLite then walks the list of all pages changed so far at each row.)

use super::{
    Error, Memory, Stats, connection,
    error::spoils_connection,
    wipe::{self, Wiped},
};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Places in the queue.
pub(super) const QUEUE: usize = 4096;
/// How long to wait for a place.
pub(super) const QUEUE_WAIT: Duration = Duration::from_millis(1500);
/// How long to wait for the answer; with a living disk it comes within milliseconds.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// A write that waited this long in the queue isn't begun: its caller has given up, or soon will.
const STALE: Duration = Duration::from_secs(5);
/// Writes in one transaction.
const GROUP: usize = 256;
/// A transaction that has taken this long takes no more writes: those behind a long one wait for its commit, not it for theirs.
const LONG: Duration = Duration::from_millis(20);

/// One write: the closure, then its result, then whom to tell.
trait Job: Send {
    fn run(&mut self, conn: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, fate: Result<(), Error>);
    fn waited(&self) -> Duration;
    /// It can't run inside a transaction, and gets the connection for itself.
    fn outside(&self) -> bool {
        false
    }
}

/// A step of [`super::File::wipe`].
struct Wipe {
    log: PathBuf,
    from: u32,
    done: Wiped,
    since: Instant,
    reply: oneshot::Sender<Result<Wiped, Error>>,
}

impl Job for Wipe {
    fn run(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.done = wipe::step(conn, &self.log, self.from)?;
        Ok(())
    }
    fn answer(self: Box<Self>, fate: Result<(), Error>) {
        let _ = self.reply.send(fate.map(|()| self.done));
    }
    fn waited(&self) -> Duration {
        self.since.elapsed()
    }
    fn outside(&self) -> bool {
        true
    }
}

struct Write<T, F> {
    f: Option<F>,
    value: Option<T>,
    since: Instant,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Connection) -> rusqlite::Result<T> + Send> Job for Write<T, F> {
    fn run(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if let Some(f) = self.f.take() {
            self.value = Some(f(conn)?);
        }
        Ok(())
    }
    fn answer(self: Box<Self>, fate: Result<(), Error>) {
        let value = self.value.ok_or_else(|| Error::refused("not run"));
        // Whoever asked may be gone; the write stands all the same.
        let _ = self.reply.send(fate.and(value));
    }
    fn waited(&self) -> Duration {
        self.since.elapsed()
    }
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    writes: AtomicU64,
}

pub(super) struct Writer {
    log: PathBuf,
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(path: &Path, memory: Memory) -> Result<Self, Error> {
        let conn = connection::writer(path, memory).map_err(Error::refused)?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let worker = Worker { path: path.into(), memory, conn: Some(conn), counters: counters.clone() };
        let thread = std::thread::Builder::new().name("sqlite-write".into()).spawn(move || worker.serve(jobs));
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self { log: log.into(), queue: Some(queue), counters, thread: Some(thread.map_err(Error::refused)?) })
    }

    pub(super) async fn write<T, F>(&self, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { f: Some(f), value: None, since: Instant::now(), reply });
        let queue = self.queue.as_ref().ok_or(Error::Busy("closed"))?;
        queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| Error::Busy("too many writes wait"))?;
        match timeout(ANSWER_WAIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Unknown("the writer is gone".into())),
            Err(_) => Err(Error::Unknown("the disk gives no answer".into())),
        }
    }

    /// One step of wiping, from page `from` on.
    pub(super) async fn wipe(&self, from: u32) -> Result<Wiped, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Wipe { log: self.log.clone(), from, done: Wiped::Busy, since: Instant::now(), reply });
        let queue = self.queue.as_ref().ok_or(Error::Busy("closed"))?;
        queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| Error::Busy("too many writes wait"))?;
        // It changes nothing that anybody could read: if it failed, or nobody knows, it may be done again.
        answer.await.unwrap_or_else(|_| Err(Error::refused("the writer is gone")))
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { commits: self.counters.commits.load(Relaxed), writes: self.counters.writes.load(Relaxed) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// What became of one write inside the transaction.
enum Tried {
    Good,
    /// Rolled back alone.
    Bad(Error),
    /// It took the whole transaction with it.
    AllLost(Error),
}

struct Worker {
    path: PathBuf,
    memory: Memory,
    conn: Option<Connection>,
    counters: Arc<Counters>,
}

impl Worker {
    fn serve(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut waiting = Vec::with_capacity(GROUP);
        while jobs.blocking_recv_many(&mut waiting, GROUP) > 0 {
            let mut group = waiting.drain(..).peekable();
            // More than once only if a write takes the transaction of those before it down with it.
            while let Some(next) = group.peek() {
                if next.outside() {
                    group.next().into_iter().for_each(|job| self.alone(job));
                } else {
                    let mut inside = std::iter::from_fn(|| group.next_if(|job| !job.outside()));
                    self.transaction(&mut inside);
                }
            }
        }
    }

    /// The connection; opened anew if the disk failed under the last one.
    fn connection(&mut self) -> rusqlite::Result<&Connection> {
        if self.conn.is_none() {
            let conn = connection::writer(&self.path, self.memory)?;
            // A commit that failed in its fsync may have left a whole frame in the log, behind those that count. Nobody
            // sees it now, but a crash would make it count. Any commit on top of it settles that.
            let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            conn.pragma_update(None, "user_version", version)?;
            self.conn = Some(conn);
        }
        Ok(self.conn.as_ref().expect("opened above"))
    }

    fn alone(&mut self, mut job: Box<dyn Job>) {
        let fate = match self.connection() {
            Ok(conn) => job.run(conn),
            Err(e) => Err(e),
        };
        if fate.as_ref().is_err_and(spoils_connection) {
            self.conn = None;
        }
        job.answer(fate.map_err(|e| Error::refused(&e)));
    }

    fn transaction(&mut self, group: &mut dyn Iterator<Item = Box<dyn Job>>) {
        let begun = match self.connection() {
            Ok(conn) => execute(conn, "BEGIN IMMEDIATE"),
            Err(e) => Err(e),
        };
        if let Err(e) = begun {
            if spoils_connection(&e) {
                self.conn = None;
            }
            return group.for_each(|job| job.answer(Err(Error::refused(&e))));
        }
        let conn = self.conn.as_ref().expect("begun above");
        let since = Instant::now();
        let mut done: Vec<Box<dyn Job>> = Vec::with_capacity(GROUP);
        for mut job in group {
            if job.waited() > STALE {
                job.answer(Err(Error::Busy("waited too long for its turn")));
                continue;
            }
            let tried = if done.is_empty() { first(conn, job.as_mut()) } else { attempt(conn, job.as_mut()) };
            match tried {
                Tried::Good => {
                    done.push(job);
                    if since.elapsed() > LONG {
                        break;
                    }
                }
                Tried::Bad(e) => job.answer(Err(e)),
                Tried::AllLost(e) => {
                    let rolled_back = roll_back(conn);
                    job.answer(Err(e.clone()));
                    done.into_iter().for_each(|job| job.answer(Err(e.clone())));
                    if !rolled_back {
                        self.conn = None;
                    }
                    return;
                }
            }
        }
        let fate = execute(conn, "COMMIT").map_err(|e| {
            let rolled_back = roll_back(conn);
            (Error::of_commit(&e, rolled_back), spoils_connection(&e) || !rolled_back)
        });
        let fate = match fate {
            Ok(()) => {
                self.counters.commits.fetch_add(1, Relaxed);
                self.counters.writes.fetch_add(done.len() as u64, Relaxed);
                Ok(())
            }
            Err((error, spoiled)) => {
                if spoiled {
                    self.conn = None;
                    // Settled at once if the disk works again; else by whoever writes next.
                    let _ = self.connection();
                }
                Err(error)
            }
        };
        done.into_iter().for_each(|job| job.answer(fate.clone()));
    }
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// Ends the transaction, if SQLite hasn't by itself. Nothing of it was committed if this is `true`.
fn roll_back(conn: &Connection) -> bool {
    conn.is_autocommit() || execute(conn, "ROLLBACK").is_ok()
}

fn run(conn: &Connection, job: &mut dyn Job) -> Result<(), Error> {
    match catch_unwind(AssertUnwindSafe(|| job.run(conn))) {
        Ok(result) => result.map_err(Error::refused),
        Err(_) => Err(Error::refused("a write panicked")),
    }
}

/// The first one of a transaction: there is nothing beside it that could be lost.
fn first(conn: &Connection, job: &mut dyn Job) -> Tried {
    run(conn, job).map_or_else(Tried::AllLost, |()| Tried::Good)
}

fn attempt(conn: &Connection, job: &mut dyn Job) -> Tried {
    if let Err(e) = execute(conn, "SAVEPOINT one") {
        return Tried::AllLost(Error::refused(e));
    }
    let error = match run(conn, job).and_then(|()| execute(conn, "RELEASE one").map_err(Error::refused)) {
        Ok(()) => return Tried::Good,
        Err(e) => e,
    };
    // Without space, memory or a disk SQLite may have rolled back everything by itself.
    let alone = !conn.is_autocommit() && execute(conn, "ROLLBACK TO one").and_then(|()| execute(conn, "RELEASE one")).is_ok();
    if alone { Tried::Bad(error) } else { Tried::AllLost(error) }
}
