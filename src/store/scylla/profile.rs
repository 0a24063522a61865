//! How statements are sent: how many copies have to agree, for how long we wait, and what is sent twice.

use scylla::{
    client::execution_profile::ExecutionProfile,
    policies::{retry::FallthroughRetryPolicy, speculative_execution::SimpleSpeculativeExecutionPolicy},
    statement::{Consistency, SerialConsistency},
};
use std::{sync::Arc, time::Duration};

/// Of one statement.
const TIMEOUT: Duration = Duration::from_millis(1500);
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
pub(super) fn profiles(agreement: Agreement) -> (ExecutionProfile, ExecutionProfile) {
    let plain = ExecutionProfile::builder()
        .consistency(agreement.quorum())
        .request_timeout(Some(TIMEOUT))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SPECULATE })))
        .build();
    // Nothing conditional is idempotent: sent once, never to two nodes.
    let conditional = ExecutionProfile::builder()
        .consistency(agreement.quorum())
        .serial_consistency(Some(agreement.serial()))
        .request_timeout(Some(TIMEOUT))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .build();
    (plain, conditional)
}
