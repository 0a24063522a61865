//! The reading connections: some with a thread each, for what may take long, and a pool for short reads on the spot.

use super::{
    Error, connection,
    error::spoils_connection,
    writer::{ANSWER_WAIT, QUEUE, QUEUE_WAIT},
};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

type Job = Box<dyn FnOnce(&mut Slot) + Send>;

/// Connections that lie ready for [`Readers::read_here`]; more are opened when more threads read at once, and closed after.
const SPARE: usize = 16;

pub(super) struct Readers {
    path: PathBuf,
    queue: Option<mpsc::Sender<Job>>,
    spare: Mutex<Vec<Connection>>,
    threads: Vec<JoinHandle<()>>,
}

/// A connection, or the place of one that failed and is opened anew when it is needed.
struct Slot {
    path: PathBuf,
    conn: Option<Connection>,
}

impl Slot {
    fn run<T>(&mut self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => connection::reader(&self.path).map_err(Error::refused)?,
        };
        let (result, good) = snapshot(&conn, f);
        if good {
            self.conn = Some(conn);
        }
        result
    }
}

/// Runs `f` in a read transaction; also says whether the connection can be used again.
fn snapshot<T>(conn: &Connection, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> (Result<T, Error>, bool) {
    let run = || {
        conn.prepare_cached("BEGIN")?.execute([])?;
        f(conn)
    };
    let result = catch_unwind(AssertUnwindSafe(run));
    let ended = conn.is_autocommit() || conn.prepare_cached("ROLLBACK").and_then(|mut s| s.execute([])).is_ok();
    match result {
        Ok(Ok(value)) => (Ok(value), ended),
        Ok(Err(e)) => (Err(Error::refused(&e)), ended && !spoils_connection(&e)),
        Err(_) => (Err(Error::refused("a read panicked")), false),
    }
}

impl Readers {
    pub(super) fn start(path: &Path, count: usize) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::with_capacity(count);
        for n in 0..count {
            let mut slot = Slot { path: path.into(), conn: Some(connection::reader(path).map_err(Error::refused)?) };
            let jobs = jobs.clone();
            let thread = std::thread::Builder::new().name(format!("sqlite-read-{n}")).spawn(move || {
                loop {
                    // Whoever has the lock waits for the next job; the others wait for the lock.
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    let Some(job) = job else { return };
                    job(&mut slot);
                }
            });
            threads.push(thread.map_err(Error::refused)?);
        }
        Ok(Self { path: path.into(), queue: Some(queue), spare: Mutex::default(), threads })
    }

    pub(super) async fn read<T, F>(&self, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |slot| {
            // Nobody waits any more: don't read for nobody.
            if !reply.is_closed() {
                let _ = reply.send(slot.run(f));
            }
        });
        let queue = self.queue.as_ref().ok_or(Error::Busy("closed"))?;
        queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| Error::Busy("too many reads wait"))?;
        match timeout(ANSWER_WAIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::refused("the reader is gone")),
            Err(_) => Err(Error::Busy("the disk gives no answer")),
        }
    }

    pub(super) fn read_here<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match spare {
            Some(conn) => conn,
            None => connection::reader(&self.path).map_err(Error::refused)?,
        };
        let (result, good) = snapshot(&conn, f);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if good && spare.len() < SPARE {
            spare.push(conn);
        }
        result
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
