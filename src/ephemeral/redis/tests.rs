//! The suite on a real server, and what is true of this backend alone.

use super::*;
use crate::ephemeral::conformance::ephemeral_conformance_suite;
use std::sync::Arc;

/// The server that the tests share.
fn shared() -> String {
    let server = std::env::var("QEETID_TEST_REDIS").expect("QEETID_TEST_REDIS must name a Redis as host:port; ./test starts one");
    format!("redis://{server}/0?prefix=conformance")
}

/// With much patience: the machine that runs the tests may be busy.
fn open(url: &str) -> Redis {
    Redis::with_patience(url, Duration::from_secs(20)).unwrap()
}

async fn make() -> (Arc<dyn Ephemeral>, ()) {
    (Arc::new(open(&shared())), ())
}

ephemeral_conformance_suite!(make().await);
