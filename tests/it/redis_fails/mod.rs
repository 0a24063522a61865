//! What becomes of the service when its Redis fails: `backend` asks the backend alone, `cluster` one of three, `wake` the knock at all nodes,
//! `service` the real binary, `behind` it under traffic while an older Redis comes back.

mod backend;
mod behind;
mod cluster;
mod service;
mod wake;

use qeetid::ephemeral::redis::Address;

/// Without TLS and credentials.
fn address(hosts: &[u16]) -> Address {
    Address {
        hosts: hosts.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect(),
        cluster: hosts.len() > 1,
        tls: false,
        ca: None,
        user: None,
        password: None,
        database: 0,
        prefix: "test".into(),
    }
}
