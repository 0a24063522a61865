//! What nodes say to each other: one byte of version, then JSON.
//!
//! A message of another version is answered with [`Answer::Version`], in the one form that all versions read: its first byte is 0, the
//! second the version spoken. Who gets that runs his command himself.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version spoken here. Change it with the meaning of any message; nodes of two versions order their commands apart.
pub const VERSION: u8 = 1;
/// Begins the answer to a message of another version.
const OTHER: u8 = 0;

/// Names the turn at a key: the beginning of a digest of kind and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seat(pub u128);

/// Names one holder of a turn; made at random by who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u128);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The turn at a key.
    Take {
        /// Which.
        seat: Seat,
        /// Whose it will be.
        ticket: Ticket,
        /// The node that asks.
        node: String,
        /// Milliseconds since the epoch; later, nobody waits for the answer.
        until: i64,
    },
    /// Are you there?
    Ping {
        /// The node that asks.
        node: String,
    },
}

/// What is told, with no answer expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// A turn was used, or isn't wanted any more.
    Give {
        /// Which.
        seat: Seat,
        /// Whose it was.
        ticket: Ticket,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is yours.
    Turn,
    /// Somebody has it, and had it until your time was over.
    Busy,
    /// Too many wait.
    Full,
    /// I am.
    Pong {
        /// The name of the node.
        node: String,
        /// It is about to stop, and owns nothing any more.
        leaving: bool,
    },
    /// Not said in JSON: the other one speaks this version.
    #[serde(skip)]
    Version(u8),
}

/// Why a message can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is of this version.
    #[error("a message of version {0}")]
    Version(u8),
    /// It is no message of its version.
    #[error("not a message")]
    Garbage,
}

/// A message as bytes.
pub fn write(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Into memory, of plain fields: it can't fail.
    let _ = serde_json::to_writer(&mut bytes, message);
    bytes
}

/// The answer to a message of another version.
pub fn other_version() -> Vec<u8> {
    vec![OTHER, VERSION]
}

/// Reads a question, or what was told.
///
/// # Errors
/// [`Unread`].
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unread> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => serde_json::from_slice(rest).map_err(|_| Unread::Garbage),
        Some((&other, _)) => Err(Unread::Version(other)),
        None => Err(Unread::Garbage),
    }
}

/// Reads an answer.
///
/// # Errors
/// [`Unread`].
pub fn read_answer(bytes: &[u8]) -> Result<Answer, Unread> {
    match bytes {
        [OTHER, version] => Ok(Answer::Version(*version)),
        _ => read(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ask = Ask::Take { seat: Seat(u128::MAX), ticket: Ticket(1 << 100), node: "a".into(), until: 1_700_000_000_000 };
        assert_eq!(read::<Ask>(&write(&ask)), Ok(ask));
        let tell = Tell::Give { seat: Seat(7), ticket: Ticket(0) };
        assert_eq!(read::<Tell>(&write(&tell)), Ok(tell));
        for answer in [Answer::Turn, Answer::Busy, Answer::Full, Answer::Pong { node: "b".into(), leaving: true }] {
            assert_eq!(read_answer(&write(&answer)), Ok(answer));
        }
    }

    #[test]
    fn the_bytes_of_this_version_stay_as_they_are() {
        let ask = Ask::Take { seat: Seat(1), ticket: Ticket(2), node: "a".into(), until: 3 };
        assert_eq!(write(&ask), b"\x01{\"take\":{\"seat\":1,\"ticket\":2,\"node\":\"a\",\"until\":3}}");
        assert_eq!(write(&Answer::Turn), b"\x01\"turn\"");
    }

    #[test]
    fn what_is_not_understood_is_said_to_be_so() {
        assert_eq!(read::<Ask>(b"\x02{}"), Err(Unread::Version(2)));
        for garbage in [&b""[..], b"\x01", b"\x01{", b"\x01{\"take\":{}}", b"\x01\xff\xff"] {
            assert_eq!(read::<Ask>(garbage), Err(Unread::Garbage), "{garbage:?}");
        }
        assert_eq!(read_answer(&other_version()), Ok(Answer::Version(VERSION)));
    }
}
