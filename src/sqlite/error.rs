//! What can go wrong, sorted by whether a write may have happened all the same.

use rusqlite::ErrorCode;

/// A failure. The text is for the log; SQLite's own messages name tables and columns, never values.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too many wait. Nothing was written.
    #[error("sqlite: busy: {0}")]
    Busy(&'static str),
    /// Nothing was written.
    #[error("sqlite: {0}")]
    Refused(String),
    /// It may have been written.
    #[error("sqlite: outcome unknown: {0}")]
    Unknown(String),
}

impl Error {
    /// Nothing was written, for certain.
    pub fn certainly_not(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Nothing was written, and this is why.
    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused(why.to_string())
    }

    /// Sorts the failure of a COMMIT that was rolled back afterwards. SQLite writes the frame that commits last: where it
    /// says that it couldn't write all (no space), or didn't begin to, that frame isn't whole. After any other failure
    /// (fsync above all) it may be on the disk, and count after a crash.
    pub(super) fn of_commit(e: &rusqlite::Error, rolled_back: bool) -> Self {
        let harmless = matches!(
            e.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::ConstraintViolation
            )
        );
        if harmless && rolled_back { Self::refused(e) } else { Self::Unknown(e.to_string()) }
    }
}

/// After these a connection is not to be trusted any more: it is opened anew. One opened while the file was read-only would
/// stay so for ever.
pub(super) fn spoils_connection(e: &rusqlite::Error) -> bool {
    matches!(
        e.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::InternalMalfunction
        )
    )
}
