//! Wiping what pages hold beside their rows. `secure_delete` overwrites rows where they are deleted, but when SQLite moves rows
//! between pages (a page is full, or too empty), their former bytes stay in the unused middle of the page they left. Here those
//! middles are overwritten with zeros, in the file itself, which changes nothing that anybody could read.

use super::connection::BUSY;
use rusqlite::{Connection, ffi};
use std::{
    ffi::{c_int, c_void},
    ops::Range,
    path::Path,
    ptr::{self, NonNull},
    time::Duration,
};

/// Pages of one step (32 MiB of the usual 4 KiB): all writers wait meanwhile, for some 20 ms if the system has the file in memory.
pub(super) const STEP: u32 = 8192;
/// Pages read at once.
const STRIDE: u32 = 256;
/// How long a step waits for readers in the middle of something; they keep the log from being emptied.
const PATIENCE: Duration = Duration::from_millis(20);
/// From this number on a page's own number could be taken for the mark of a b-tree page: where the file is larger than 128 GB.
const TOO_MANY: u32 = 0x0200_0000;

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wiped {
    /// The last page is done.
    Through,
    /// Pages before this one (counted from 0) are done.
    Next(u32),
    /// Somebody reads, or another process writes: nothing was done.
    Busy,
}

/// Wipes [`STEP`] pages from page `from` (counted from 0) on. `log` is the path of the write-ahead log.
///
/// It empties the log into the file first. While the log is empty and we hold the lock to write to it, nobody writes to the file:
/// neither this program nor another one. Readers don't look at what is wiped.
pub(super) fn step(conn: &Connection, log: &Path, from: u32) -> rusqlite::Result<Wiped> {
    conn.busy_timeout(PATIENCE)?;
    let wiped = empty_log(conn).and_then(|empty| if empty { locked(conn, log, from) } else { Ok(Wiped::Busy) });
    conn.busy_timeout(BUSY)?;
    // Pages that it holds in memory were read before, and would be written with their middles.
    conn.execute_batch("PRAGMA shrink_memory")?;
    wiped
}

/// Copies the log into the file and cuts it to nothing; `false`: somebody needs it.
fn empty_log(conn: &Connection) -> rusqlite::Result<bool> {
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

fn locked(conn: &Connection, log: &Path, from: u32) -> rusqlite::Result<Wiped> {
    match conn.execute_batch("BEGIN IMMEDIATE") {
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => return Ok(Wiped::Busy),
        other => other?,
    }
    // Another process may have been faster.
    let wiped = match std::fs::metadata(log).map_or(0, |m| m.len()) {
        0 => pages(conn, from),
        _ => Ok(Wiped::Busy),
    };
    conn.execute_batch("ROLLBACK")?;
    wiped
}

fn pages(conn: &Connection, from: u32) -> rusqlite::Result<Wiped> {
    let number = |pragma: &str| conn.query_row(pragma, [], |row| row.get::<_, u32>(0));
    let (size, count) = (number("PRAGMA page_size")?, number("PRAGMA page_count")?);
    if count >= TOO_MANY {
        return Err(failed(ffi::SQLITE_TOOBIG, "the file is too large to be wiped: run VACUUM"));
    }
    let file = Opened::of(conn)?;
    let end = count.min(from.saturating_add(STEP));
    let mut buffer = vec![0; (STRIDE * size) as usize];
    let mut written = false;
    for first in (from..end).step_by(STRIDE as usize) {
        let some = &mut buffer[..((end - first).min(STRIDE) * size) as usize];
        file.read(some, u64::from(first) * u64::from(size))?;
        for (number, page) in (first..).zip(some.chunks_exact(size as usize)) {
            if let Some(middle) = unused(page, number == 0)
                && page[middle.clone()].iter().any(|byte| *byte != 0)
            {
                let zeros = vec![0; middle.len()];
                file.write(&zeros, u64::from(number) * u64::from(size) + middle.start as u64)?;
                written = true;
            }
        }
    }
    if written {
        file.sync()?;
    }
    Ok(if end == count { Wiped::Through } else { Wiped::Next(end) })
}

/// The unused middle of a b-tree page, between the list of its rows and the rows; `None` for other pages, which have none (freed
/// ones and the ends of long values are overwritten whole by `secure_delete`). `first`: the page begins with the file's header.
fn unused(page: &[u8], first: bool) -> Option<Range<usize>> {
    let header = if first { 100 } else { 0 };
    let list = match page.get(header)? {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(header + at)?, *page.get(header + at + 1)?])));
    let rows = match number(5)? {
        0 => 65536,
        at => at,
    };
    let end = list + 2 * number(3)?;
    (end <= rows && rows <= page.len()).then_some(end..rows)
}

/// The file as SQLite has it open. A descriptor of our own would not do: closing it would give up SQLite's locks.
struct Opened<'c> {
    file: NonNull<ffi::sqlite3_file>,
    methods: &'c ffi::sqlite3_io_methods,
}

impl<'c> Opened<'c> {
    fn of(conn: &'c Connection) -> rusqlite::Result<Self> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open for as long as it is borrowed; this call writes one pointer to where it is told to.
        let code = unsafe {
            ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast::<c_void>())
        };
        done(code)?;
        let file = NonNull::new(file).ok_or_else(|| failed(ffi::SQLITE_ERROR, "there is no file"))?;
        // SAFETY: SQLite's open file, which lives as long as its connection, as do the methods that it points to (or none).
        let methods = unsafe { file.as_ref().pMethods.as_ref() }.ok_or_else(|| failed(ffi::SQLITE_ERROR, "the file is not open"))?;
        Ok(Self { file, methods })
    }

    fn read(&self, into: &mut [u8], at: u64) -> rusqlite::Result<()> {
        let read = self.methods.xRead.ok_or_else(|| failed(ffi::SQLITE_IOERR_READ, "no read"))?;
        // SAFETY: `into` has as many bytes as are asked for; the file is open, see `of`.
        done(unsafe { read(self.file.as_ptr(), into.as_mut_ptr().cast(), length(into), at.cast_signed()) })
    }

    fn write(&self, bytes: &[u8], at: u64) -> rusqlite::Result<()> {
        let write = self.methods.xWrite.ok_or_else(|| failed(ffi::SQLITE_IOERR_WRITE, "no write"))?;
        // SAFETY: `bytes` has as many as are said; the file is open, see `of`.
        done(unsafe { write(self.file.as_ptr(), bytes.as_ptr().cast(), length(bytes), at.cast_signed()) })
    }

    fn sync(&self) -> rusqlite::Result<()> {
        let sync = self.methods.xSync.ok_or_else(|| failed(ffi::SQLITE_IOERR_FSYNC, "no sync"))?;
        // SAFETY: the file is open, see `of`.
        done(unsafe { sync(self.file.as_ptr(), ffi::SQLITE_SYNC_NORMAL) })
    }
}

fn length(bytes: &[u8]) -> c_int {
    c_int::try_from(bytes.len()).expect("16 MiB at most: 256 pages of 64 KiB")
}

fn done(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(failed(code, "the file can't be wiped")) }
}

fn failed(code: c_int, why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kind: u8, rows: u16, start: u16, first: bool) -> Vec<u8> {
        let mut page = vec![7; 512];
        let at = if first { 100 } else { 0 };
        page[at] = kind;
        page[at + 3..at + 5].copy_from_slice(&rows.to_be_bytes());
        page[at + 5..at + 7].copy_from_slice(&start.to_be_bytes());
        page
    }

    #[test]
    fn only_the_middle_of_a_page_of_rows_is_unused() {
        assert_eq!(unused(&page(13, 3, 400, false), false), Some(14..400));
        assert_eq!(unused(&page(10, 3, 400, true), true), Some(114..400));
        assert_eq!(unused(&page(5, 3, 400, false), false), Some(18..400));
        assert_eq!(unused(&page(2, 0, 512, false), false), Some(12..512));
        assert_eq!(unused(&page(2, 250, 512, false), false), Some(512..512), "full");
        // No such page, or a damaged one.
        for odd in
            [page(0, 3, 400, false), page(1, 3, 400, false), page(13, 300, 400, false), page(13, 3, 513, false), page(13, 3, 0, false)]
        {
            assert_eq!(unused(&odd, false), None);
        }
        assert_eq!(unused(&[13, 0, 0], false), None);
    }
}
