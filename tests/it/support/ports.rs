//! Addresses for servers that are started by a test, and perhaps started again.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Below those that `tests/servers` takes, and below those that the system gives to outgoing connections: a port must still be free after
/// a restart.
const PORTS: Range<u16> = 10_000..15_000;
/// So many a process takes at once.
const BLOCK: u16 = 100;

/// Ports of this process alone. It listens on the first one for as long as it lives, by which other processes know.
struct Block {
    _first: TcpListener,
    rest: Range<u16>,
}

impl Block {
    fn take() -> Self {
        let blocks = PORTS.len() / usize::from(BLOCK);
        // Processes begin at different ones: somebody may look who has not listened yet.
        let from = std::process::id() as usize;
        let mut starts = (0..blocks).map(|n| PORTS.start + BLOCK * u16::try_from((from + n) % blocks).unwrap());
        let free = |start| Some(Self { _first: TcpListener::bind(at(start)).ok()?, rest: start + 1..start + BLOCK });
        starts.find_map(free).unwrap_or_else(|| panic!("all ports of {PORTS:?} are taken"))
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A loopback address that nobody listens on, and that nobody else is given.
pub fn free() -> SocketAddr {
    static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // A server that outlived its test may be there. Asked by connecting: a listener of ours, however short, might be in another
        // test's child process for a moment, and in the way of who is given the port.
        let free = blocks.last_mut().and_then(|block| block.rest.find(|port| is_closed(at(*port))));
        match free {
            Some(port) => return at(port),
            None => blocks.push(Block::take()),
        }
    }
}

fn is_closed(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

/// Waits until nobody listens there any more: a child process that another test is starting has the listener, too, until it is the
/// program that it is to be.
pub async fn closed(address: SocketAddr) {
    let begun = Instant::now();
    while !is_closed(address) {
        assert!(begun.elapsed() < Duration::from_secs(60), "somebody still listens on {address}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_port_is_given_once_and_not_while_somebody_listens_there() {
    let given: std::collections::BTreeSet<_> = (0..3 * BLOCK).map(|_| free().port()).collect();
    assert!(given.len() == usize::from(3 * BLOCK) && given.iter().all(|port| PORTS.contains(port)), "{given:?}");
    // As another process would: none of the blocks that this one has.
    let other = Block::take();
    assert!(given.iter().all(|port| !other.rest.contains(port)));
    let listener = TcpListener::bind(free()).unwrap();
    assert!(!is_closed(listener.local_addr().unwrap()));
}
