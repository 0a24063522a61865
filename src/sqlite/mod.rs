//! One SQLite file, shared by whoever keeps something in it. Knows nothing of what that is.
//!
//! `writer` is the one thread that writes, in groups, and answers after the fsync; `readers` are connections of their
//! own; `frozen` reads a file that nobody writes; `connection` holds the settings of all, `wipe` removes what deleted rows left, `error` says whether a failed write may have happened, `migrate`
//! brings a schema up to date.

mod connection;
mod error;
mod frozen;
pub mod migrate;
mod readers;
mod wipe;
mod writer;

#[cfg(test)]
mod tests;

pub use connection::Memory;
pub use error::Error;
pub use frozen::Frozen;
pub use rusqlite::{self, Connection, OptionalExtension, params};

use readers::Readers;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use wipe::Wiped;
use writer::Writer;

/// How long [`File::wipe`] waits for readers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many groups were committed, and how many writes were in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions committed, each with one fsync.
    pub commits: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
}

/// An open SQLite file: WAL, `synchronous=FULL`, one writer, some readers. Cheap to clone. The last clone to go waits
/// until what was accepted is written, and closes the file.
#[derive(Clone)]
pub struct File(Arc<Inner>);

struct Inner {
    // The readers go first: a connection closed last checkpoints the log into the file, and only the writer may.
    readers: Readers,
    writer: Writer,
}

impl File {
    /// Opens the file, made (mode 0600) if it isn't there, with `readers` threads for [`File::read`] (at least one).
    ///
    /// # Errors
    /// It can't be made or opened, or is no SQLite file.
    pub fn open(path: &Path, readers: usize) -> Result<Self, Error> {
        Self::open_with(path, readers, Memory::Usual)
    }

    /// Opens the file for a writer with more or less memory.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open_with(path: &Path, readers: usize, memory: Memory) -> Result<Self, Error> {
        connection::make_private(path)?;
        let writer = Writer::start(path, memory)?;
        let readers = Readers::start(path, readers.max(1))?;
        Ok(Self(Arc::new(Inner { readers, writer })))
    }

    /// Runs `f` on the writer's thread, in a savepoint of a transaction that it shares with other writes, and answers
    /// after that is durable. If `f` fails or panics its savepoint is rolled back, and nobody else's. Once it has
    /// started to run it goes on, also if this future is dropped.
    ///
    /// `f` must not begin, commit or block on anything: all writers wait for it.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no place in the queue for 1.5 s; [`Error::Refused`] if nothing was written;
    /// [`Error::Unknown`] if it may have been (the disk failed in the commit, or gave no answer for 10 s).
    pub async fn write<T, F>(&self, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.0.writer.write(f).await
    }

    /// Wipes what is left in unused space of rows that were deleted, and empties the log. It goes through the file in steps, between
    /// which everybody writes (a step holds writers up for some 20 ms), and takes a fifth of the time at most.
    ///
    /// A page that changes its number behind the back of a pass may be missed by it. So another pass follows one during which
    /// somebody wrote, three in all: what is left to chance is that such a page escapes each of them.
    ///
    /// # Errors
    /// [`Error::Busy`] if the log can't be emptied for [`PATIENCE`], as somebody reads; [`Error::Refused`].
    pub async fn wipe(&self) -> Result<(), Error> {
        for _ in 0..3 {
            let before = self.stats().commits;
            let steps = self.wipe_once().await?;
            if steps == 1 || self.stats().commits == before {
                break;
            }
        }
        Ok(())
    }

    /// One pass; in how many steps.
    async fn wipe_once(&self) -> Result<u32, Error> {
        let (mut from, mut steps, mut waiting) = (0, 0, None::<Instant>);
        loop {
            let began = Instant::now();
            match self.0.writer.wipe(from).await? {
                Wiped::Through => return Ok(steps + 1),
                Wiped::Next(page) => (from, steps, waiting) = (page, steps + 1, None),
                Wiped::Busy if waiting.get_or_insert(began).elapsed() > PATIENCE => return Err(Error::Busy("somebody reads without end")),
                Wiped::Busy => {}
            }
            tokio::time::sleep(4 * began.elapsed()).await;
        }
    }

    /// Runs `f` on a reader's thread, in a transaction of its own: it sees one state of the file, in which every write
    /// acknowledged before is there. For what may take long; see [`File::read_here`] for what doesn't.
    ///
    /// # Errors
    /// As [`File::write`], but never [`Error::Unknown`].
    pub async fn read<T, F>(&self, f: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.0.readers.read(f).await
    }

    /// Runs `f` at once, on the calling thread, in a transaction of its own, as [`File::read`] does. Only for a few rows
    /// found by their keys: that takes less time (some µs) than to wake another thread and be woken by it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn read_here<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.0.readers.read_here(f)
    }

    /// Answers if the file can be written (an empty transaction takes the write lock) and read.
    ///
    /// # Errors
    /// As [`File::write`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await?;
        self.read_here(|c| c.prepare_cached("SELECT count(*) FROM sqlite_schema")?.query_row([], |_| Ok(())))
    }

    /// What was committed since it was opened.
    pub fn stats(&self) -> Stats {
        self.0.writer.stats()
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.stats()).finish()
    }
}
