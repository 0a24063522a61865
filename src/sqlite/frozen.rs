//! A file that is read as it stands: nothing is written to it, and whoever reads sees one state of it all the time.

use super::{Error, connection};
use rusqlite::Connection;
use std::{fs, os::fd::AsRawFd, path::Path};

/// Where SQLite's locks lie in a file: `PENDING_BYTE`, the reserved byte and the shared range behind it.
const LOCKS_FROM: libc::off_t = 0x4000_0000;
const LOCKS: libc::off_t = 512;

/// An open file in a read transaction that lasts as long as this.
#[derive(Debug)]
pub struct Frozen {
    conn: Connection,
}

impl Frozen {
    /// Opens a file that nobody else has open.
    ///
    /// # Errors
    /// It isn't there, is no SQLite file, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Before SQLite opens it: closing any other descriptor of a file drops all locks that this process has on it.
        match holder(path).map_err(|e| Error::refused(format!("{}: {e}", path.display())))? {
            Some(pid) if pid > 0 => return Err(Error::refused(format!("{} is open in process {pid}", path.display()))),
            Some(_) => return Err(Error::refused(format!("{} is open in another process", path.display()))),
            None => {}
        }
        let conn = connection::reader(path).map_err(Error::refused)?;
        conn.execute_batch("BEGIN").map_err(Error::refused)?;
        // The first read is what makes the transaction see this state and no other.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(Error::refused)?;
        Ok(Self { conn })
    }

    /// Runs a read.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        f(&self.conn).map_err(Error::refused)
    }

    /// Ends the transaction, and says whether anybody has written since it began.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn was_written(self) -> Result<bool, Error> {
        let version = |conn: &Connection| conn.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).map_err(Error::refused);
        let before = version(&self.conn)?;
        self.conn.execute_batch("ROLLBACK").map_err(Error::refused)?;
        // Outside a transaction it looks at the file anew.
        self.conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(Error::refused)?;
        Ok(version(&self.conn)? != before)
    }
}

/// Which other process has the file open with SQLite. (One that does, in WAL mode, holds a lock in the shared range all the time.)
fn holder(path: &Path) -> std::io::Result<Option<libc::pid_t>> {
    let file = fs::File::open(path)?;
    // SAFETY: plain old data, for which all zeros is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    {
        (lock.l_type, lock.l_whence) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
    }
    (lock.l_start, lock.l_len) = (LOCKS_FROM, LOCKS);
    // SAFETY: an open descriptor, and a structure that lives through the call. Nothing is locked by it.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}
