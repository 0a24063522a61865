//! What goes wrong when.

use qeetid::domain::rng::{self, SeededRng};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something that goes wrong, and is well again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9`; started again at its end.
    Kill {
        node: usize,
    },
    /// It does nothing, and its connections stay.
    Freeze {
        node: usize,
    },
    /// What one sends to the other vanishes.
    Cut {
        from: usize,
        to: usize,
    },
    /// It is told of no revocations.
    Deaf {
        node: usize,
    },
    /// One node's connections to Redis are cut.
    NoRedis {
        node: usize,
    },
    RedisHangs,
    /// Killed, and back with nothing in it.
    RedisForgets,
    StoreHangs,
}

impl Fault {
    /// Two of one of these aren't at once.
    fn place(self) -> (u8, usize) {
        match self {
            Self::Kill { node } | Self::Freeze { node } => (0, node),
            Self::Cut { from, to } => (1, from * 3 + to),
            Self::Deaf { node } | Self::NoRedis { node } => (2, node),
            Self::RedisHangs | Self::RedisForgets => (3, 0),
            Self::StoreHangs => (4, 0),
        }
    }
}

/// One of a schedule; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub at: u64,
    pub lasts: u64,
    pub fault: Fault,
}

/// About one fault in two seconds, of up to seven seconds each: often several at once. The same seed makes the same ones.
pub fn schedule(seed: u64, length: Duration) -> Vec<Step> {
    let rng = SeededRng::new(seed);
    let below = |n: u64| u64::from_be_bytes(rng::bytes(&rng)) % n;
    let node = || usize::try_from(below(3)).unwrap();
    let (mut steps, mut at): (Vec<Step>, u64) = (Vec::new(), 2_000);
    let end = u64::try_from(length.as_millis()).unwrap();
    while at + 10_000 < end {
        let fault = match below(16) {
            0..3 => Fault::Kill { node: node() },
            3..6 => Fault::Freeze { node: node() },
            6..10 => {
                let from = node();
                Fault::Cut { from, to: (from + 1 + usize::try_from(below(2)).unwrap()) % 3 }
            }
            10 => Fault::Deaf { node: node() },
            11 => Fault::NoRedis { node: node() },
            12 => Fault::RedisHangs,
            13 => Fault::RedisForgets,
            _ => Fault::StoreHangs,
        };
        let step = Step { at, lasts: 500 + below(6_500), fault };
        // A node takes some seconds until it is there again.
        let busy = |s: &Step| s.fault.place() == fault.place() && at < s.at + s.lasts + 5_000;
        if !steps.iter().any(busy) {
            steps.push(step);
        }
        at += 500 + below(3_500);
    }
    steps
}

#[test]
fn a_seed_makes_one_schedule_with_all_that_there_is() {
    let length = Duration::from_secs(3600);
    let steps = schedule(1, length);
    assert_eq!(steps, schedule(1, length));
    assert_ne!(steps, schedule(2, length));
    assert!(steps.len() > 600, "{}", steps.len());
    let kinds: std::collections::HashSet<_> = steps.iter().map(|s| std::mem::discriminant(&s.fault)).collect();
    assert_eq!(kinds.len(), 8);
    let text = serde_json::to_string(&steps).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Step>>(&text).unwrap(), steps);
}
