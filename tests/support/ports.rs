//! Addresses for servers that are started by a test, and perhaps started again.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// A loopback address that nobody listens on, below those that the system gives to outgoing connections: it must still be free after
/// a restart.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        // Room for the second port of a node of a Redis cluster, 10,000 above.
        let port = 12_000 + (start + NEXT.fetch_add(7, Ordering::Relaxed)) % 8_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
