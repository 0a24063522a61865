//! What the store's statements cost, for the metrics: handles are made once.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::time::Duration;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads.
    Read,
    /// Reads behind whatever is on its way: as dear as a conditional write.
    SerialRead,
    /// Writes, whatever is there.
    Write,
    /// Writes on a condition: a lightweight transaction.
    Conditional,
}

/// The handles.
pub(super) struct Meter {
    kinds: [(Histogram, Counter); 4],
    conflicts: Counter,
    maybes: Counter,
    refused: Counter,
    breaker: Gauge,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    pub(super) fn new() -> Self {
        let kinds = ["read", "serial_read", "write", "conditional"];
        Self {
            kinds: kinds.map(|kind| {
                (histogram!("qeetid_store_statement_seconds", "kind" => kind), counter!("qeetid_store_errors_total", "kind" => kind))
            }),
            conflicts: counter!("qeetid_store_conflicts_total"),
            maybes: counter!("qeetid_store_maybe_total"),
            refused: counter!("qeetid_store_refused_total"),
            breaker: gauge!("qeetid_store_breaker_open"),
        }
    }

    /// A statement has ended.
    pub(super) fn sent(&self, kind: Kind, took: Duration, failed: bool) {
        let (seconds, errors) = &self.kinds[kind as usize];
        seconds.record(took);
        if failed {
            errors.increment(1);
        }
    }
    /// A condition didn't hold.
    pub(super) fn conflict(&self) {
        self.conflicts.increment(1);
    }
    /// Nobody knows whether a conditional write was done.
    pub(super) fn maybe(&self) {
        self.maybes.increment(1);
    }
    /// Nothing was sent, because the store didn't answer lately.
    pub(super) fn refused(&self) {
        self.refused.increment(1);
    }
    /// Whether statements are being refused.
    pub(super) fn breaker(&self, open: bool) {
        self.breaker.set(f64::from(u8::from(open)));
    }
}
