//! What lies in the tables, as it is read, and how a unit changes by one conditional write.

use super::unit::{Bytes, Name};
use uuid::Uuid;

/// What lies beside the rows of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// `None`: nothing was ever written, or it was forgotten.
    pub(super) version: Option<i64>,
    /// The journal entry that holds it.
    pub(super) lock: Option<Uuid>,
    /// The command that wrote last.
    pub(super) tx: Option<Uuid>,
}

/// A row as read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) name: Name,
    pub(super) body: String,
    pub(super) head: Head,
}

/// An entry of a list, as read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Bytes,
    pub(super) body: String,
    /// When it was written, in microseconds: by the clock of whoever wrote it, or above the version of what they wrote it with.
    pub(super) at: i64,
}

/// A row to be written, or (without `body`) removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Write {
    #[serde(flatten)]
    pub(super) name: Name,
    pub(super) body: Option<String>,
    /// Seconds; 0: for ever.
    pub(super) ttl: i32,
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Applied,
    /// The condition didn't hold; what was there instead.
    Refused(Head),
    /// No answer came: it may have been done, or may yet be.
    Unknown(String),
}

/// The change of a unit's head by one conditional write, and its condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// If `seen` is still its version and nobody holds it: a new version, by `tx`, leaving `todo` (or what there was).
    Commit { seen: Option<i64>, version: i64, tx: Uuid, todo: Option<&'a str> },
    /// If `seen` is still its version and nobody holds it: a new version, and nothing else, by `tx`. Of a unit that was never written, or was
    /// forgotten, it stays for a day.
    Fence { seen: Option<i64>, version: i64, tx: Uuid },
    /// If `seen` is still its version and nobody holds it: nothing is left beside the rows.
    Forget { seen: Option<i64> },
    /// If `seen` is still its version and nobody holds it: `tx` holds it.
    Lock { seen: Option<i64>, tx: Uuid },
    /// If `tx` holds it: a new version, and nobody holds it.
    Apply { version: i64, tx: Uuid },
    /// If `tx` holds it: nothing is left beside the rows.
    ApplyForget { tx: Uuid },
    /// If `tx` holds it: nobody holds it.
    Unlock { tx: Uuid },
    /// If `tx` holds it: it goes on to.
    Hold { tx: Uuid },
}
