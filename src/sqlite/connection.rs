//! Opening connections: their settings, and the mode of the file.

use super::Error;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

/// Statements that a connection keeps prepared. There are fewer in the whole program.
const STATEMENTS: usize = 256;

/// How long to wait for a lock: only another process can hold the one to write (`qeetid migrate`, a backup).
pub(super) const BUSY: Duration = Duration::from_millis(1500);

/// Makes the file if it isn't there, readable for its owner only; SQLite gives the log beside it the same mode.
pub(super) fn make_private(path: &Path) -> Result<(), Error> {
    let file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let private = file.and_then(|file| {
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        // The name of a new file is durable once its directory is.
        match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => fs::File::open(".")?.sync_all(),
        }
    });
    private.map_err(|e| Error::refused(format!("{}: {e}", path.display())))
}

/// What the writer's connection holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// 16 MiB.
    #[default]
    Usual,
    /// 96 MiB, and a log of 1 GB between checkpoints: for a command that writes many rows to places all over the file, so that a page
    /// is copied once for many rows.
    Bulk,
}

/// The writer's connection.
pub(super) fn writer(path: &Path, memory: Memory) -> rusqlite::Result<Connection> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!("the file system offers no write-ahead log (journal_mode is {mode})")),
        ));
    }
    // FULL: an fsync in each commit, so that what was acknowledged survives a power cut.
    // secure_delete: what is deleted is overwritten, so that erased data is gone from the file.
    // The checkpoint copies the log into the file once in 4,000 pages (16 MB): a page that changed often is copied once.
    // Measured with 64 refreshes at once: a quarter more of them than at SQLite's 1,000 pages, no more at 16,000.
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    let (pages, kib) = match memory {
        Memory::Usual => (4000, 16 * 1024),
        Memory::Bulk => (256_000, 96 * 1024),
    };
    conn.pragma_update(None, "wal_autocheckpoint", pages)?;
    conn.pragma_update(None, "cache_size", -kib)?;
    Ok(conn)
}

/// A reader's connection.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")?;
    Ok(conn)
}

fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    // NO_MUTEX: a connection is used by one thread at a time, which the borrow checker sees to.
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without it SQLite plans by the values of parameters, and parses some prepared statements anew at each run (20 µs).
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // mmap is left off: a failing disk would be a SIGBUS instead of an error, for a gain of 2 µs a read (of 6).
    conn.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;")?;
    Ok(conn)
}
