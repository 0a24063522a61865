//! The suite on a real server, and what is true of this backend alone.

use super::*;
use crate::ephemeral::conformance::ephemeral_conformance_suite;

/// The server that the tests share.
fn shared() -> Address {
    let server = std::env::var("QEETID_TEST_REDIS").expect("QEETID_TEST_REDIS must name a Redis as host:port; ./test starts one");
    let (host, port) = server.rsplit_once(':').unwrap();
    Address {
        hosts: vec![(host.into(), port.parse().unwrap())],
        cluster: false,
        tls: false,
        ca: None,
        user: None,
        password: None,
        database: 0,
        prefix: "conformance".into(),
    }
}

/// With much patience: the machine that runs the tests may be busy.
async fn make() -> (Arc<dyn Ephemeral>, ()) {
    (Arc::new(Redis::with_patience(&shared(), Duration::from_secs(20)).unwrap()), ())
}

ephemeral_conformance_suite!(make().await);
