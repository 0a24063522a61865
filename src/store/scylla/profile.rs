//! How statements are sent: how many copies have to agree, for how long we wait, and what is sent twice.

use scylla::{
    client::execution_profile::ExecutionProfile,
    policies::{retry::FallthroughRetryPolicy, speculative_execution::SimpleSpeculativeExecutionPolicy},
    statement::{Consistency, SerialConsistency},
};
use std::{sync::Arc, time::Duration};

/// How long is waited for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Deadline of a whole call, retries included.
    pub(super) whole: Duration,
    /// Of one statement.
    pub(super) statement: Duration,
    /// Of a store that answers nobody, once the time of the request is over.
    pub(super) quiet: Duration,
}

impl Times {
    /// 1,500 ms and 600 ms of the usual 1,900 ms.
    pub(super) fn of(whole: Duration) -> Self {
        Self { whole, statement: whole * 15 / 19, quiet: whole * 6 / 19 }
    }
}

/// A read that takes this long is asked of another node as well.
const SPECULATE: Duration = Duration::from_millis(150);

/// How many copies have to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Most of the one data centre there is.
    Local,
    /// Most of all: with several data centres nothing less makes an address unique.
    Global,
}

impl Agreement {
    const fn quorum(self) -> Consistency {
        match self {
            Self::Local => Consistency::LocalQuorum,
            Self::Global => Consistency::Quorum,
        }
    }
    const fn serial(self) -> SerialConsistency {
        match self {
            Self::Local => SerialConsistency::LocalSerial,
            Self::Global => SerialConsistency::Serial,
        }
    }
    /// Of reads that finish what is on its way.
    pub(super) const fn reading(self) -> Consistency {
        match self {
            Self::Local => Consistency::LocalSerial,
            Self::Global => Consistency::Serial,
        }
    }
}

/// How plain statements are sent, and conditional ones.
pub(super) fn profiles(agreement: Agreement, times: Times) -> (ExecutionProfile, ExecutionProfile) {
    let plain = ExecutionProfile::builder()
        .consistency(agreement.quorum())
        .request_timeout(Some(times.statement))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SPECULATE })))
        .build();
    // Nothing conditional is idempotent: sent once, never to two nodes.
    let conditional = ExecutionProfile::builder()
        .consistency(agreement.quorum())
        .serial_consistency(Some(agreement.serial()))
        .request_timeout(Some(times.statement))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .build();
    (plain, conditional)
}
