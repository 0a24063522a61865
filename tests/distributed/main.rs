//! The service on Cassandra and Redis where something goes wrong, or two processes don't know of each other: `outage` is a store that
//! hangs and dies, `nodes` one of three that is killed, `histories` what two processes did, checked by `linear` against the rules in `models`.

#[path = "../support/mod.rs"]
mod support;

mod histories;
mod linear;
mod models;
mod nodes;
mod outage;

use crate::support::{app::unique, stack::Place};

/// A keyspace of the Cassandra that all tests share.
fn shared() -> Place {
    let keyspace = format!("d{}_{}", unique(), std::process::id());
    Place::at(&format!("scylla://{}/{keyspace}?rf=1", support::stack::address("QEETID_TEST_CQL")))
}
