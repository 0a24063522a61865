//! How many connections each peer holds. Whoever only opens connections and waits pays nothing for them, and must not hold all that there
//! are. A peer is what the socket says: no header has been read yet.

use ipnet::IpNet;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Peers that may hold any number of connections.
#[derive(Debug, Clone)]
pub enum Exempt {
    /// All of them.
    Everybody,
    /// Those with an address in these networks.
    Networks(Vec<IpNet>),
}

impl Exempt {
    /// This machine, and the proxies that are trusted: many clients come by one of them.
    pub fn loopback_and(proxies: &[IpNet]) -> Self {
        let loopback: [IpNet; 2] = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("this is how networks are written"));
        Self::Networks([&loopback[..], proxies].concat())
    }

    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Self::Everybody => true,
            Self::Networks(networks) => networks.iter().any(|net| net.contains(&ip)),
        }
    }
}

/// Who is counted as one peer. For IPv6 it is the largest block that one customer usually gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 48 bits of an IPv6 address.
    V6([u8; 6]),
}

impl Peer {
    /// Of an address that is no IPv4 address mapped into IPv6.
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

type Counts = HashMap<Peer, usize>;

/// The connections of all peers that are not exempt.
pub struct Peers {
    share: usize,
    exempt: Exempt,
    held: Arc<Mutex<Counts>>,
}

// A panic while it is held leaves the map whole: no step between its lines can panic.
fn lock(held: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Each peer may hold a quarter of `connections`, and one at least.
    pub fn new(connections: usize, exempt: Exempt) -> Self {
        Self { share: (connections / 4).max(1), exempt, held: Arc::default() }
    }

    /// A place for one more connection from `ip`; `None` while its peer holds its share.
    pub fn place(&self, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        if self.exempt.has(ip) {
            return Some(Place(None));
        }
        let (peer, mut held) = (Peer::of(ip), lock(&self.held));
        let count = held.entry(peer).or_default();
        // A share is one or more, so that no count of 0 stays behind here.
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.held.clone(), peer))))
    }
}

/// The place of one connection; another one may have it once this is dropped.
pub struct Place(Option<(Arc<Mutex<Counts>>, Peer)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((held, peer)) = &self.0 else { return };
        let mut held = lock(held);
        if let Some(count) = held.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_quarter_each_and_a_place_that_is_left_is_free() {
        let peers = Peers::new(9, Exempt::loopback_and(&[]));
        let (first, second) = (peers.place(ip("192.0.2.1")), peers.place(ip("::ffff:192.0.2.1")));
        assert!(first.is_some() && second.is_some());
        assert!(peers.place(ip("192.0.2.1")).is_none(), "two of nine are a quarter");
        let neighbour = peers.place(ip("192.0.2.2"));
        assert!(neighbour.is_some());
        drop(first);
        let third = peers.place(ip("192.0.2.1"));
        assert!(third.is_some() && peers.place(ip("192.0.2.1")).is_none());
        drop((second, third, neighbour));
        assert!(lock(&peers.held).is_empty(), "nothing is left of whoever has gone");
        let few = Peers::new(1, Exempt::loopback_and(&[]));
        let only = few.place(ip("192.0.2.1"));
        assert!(only.is_some() && few.place(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn an_ipv6_peer_is_its_48() {
        let peers = Peers::new(8, Exempt::loopback_and(&[]));
        let held = [peers.place(ip("2001:db8:1::1")), peers.place(ip("2001:db8:1:ffff::2"))];
        assert!(held.iter().all(Option::is_some) && peers.place(ip("2001:db8:1:8000::3")).is_none());
        assert!(peers.place(ip("2001:db8:2::1")).is_some());
    }

    #[test]
    fn a_connection_that_panics_gives_its_place_back() {
        let peers = Peers::new(4, Exempt::loopback_and(&[]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _place = peers.place(ip("192.0.2.1")).expect("the first one");
            resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err() && lock(&peers.held).is_empty());
    }

    #[test]
    fn this_machine_and_trusted_proxies_hold_what_they_like() {
        let networks: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let peers = Peers::new(4, Exempt::loopback_and(&networks));
        for exempt in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fd00::7"] {
            let held: Vec<_> = (0..10).map(|_| peers.place(ip(exempt))).collect();
            assert!(held.iter().all(Option::is_some), "{exempt}");
        }
        assert!(lock(&peers.held).is_empty());
        let everybody = Peers::new(4, Exempt::Everybody);
        let held: Vec<_> = (0..10).map(|_| everybody.place(ip("192.0.2.1"))).collect();
        assert!(held.iter().all(Option::is_some));
        let nobody = Peers::new(4, Exempt::Networks(Vec::new()));
        let held = nobody.place(ip("127.0.0.1"));
        assert!(held.is_some() && nobody.place(ip("127.0.0.1")).is_none());
    }
}
