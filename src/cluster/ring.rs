//! Who owns what: rendezvous hashing by the names of the nodes, so that a node that comes or goes moves its own keys and no others.

use super::{host::HostMessage, wire::Seat};
use aws_lc_rs::digest;
use ractor::ActorRef;

/// A node that owns keys.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its shard host; for this node, the local one.
    pub(super) host: ActorRef<HostMessage>,
}

/// Who owns keys, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Ring(Vec<Member>);

impl Ring {
    pub(super) fn new(mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        Self(members)
    }
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|m| m.name.clone()).collect()
    }
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
    /// Whose key it is; `None` if there is nobody.
    pub(super) fn owner(&self, seat: Seat) -> Option<&Member> {
        self.0.iter().max_by_key(|m| weight(&m.name, seat))
    }
}

/// The turn at a key: the first half of SHA-256 over kind and key.
pub(super) fn seat(kind: &str, key: &[u8]) -> Seat {
    let mut sha = digest::Context::new(&digest::SHA256);
    sha.update(b"qeetid seat v1\0");
    sha.update(kind.as_bytes());
    sha.update(b"\0");
    sha.update(key);
    Seat(first(sha.finish().as_ref()))
}

/// All nodes must come to the same, whatever they were compiled with: so it is no hasher of the standard library.
fn weight(name: &str, seat: Seat) -> u128 {
    let mut sha = digest::Context::new(&digest::SHA256);
    sha.update(&seat.0.to_be_bytes());
    sha.update(name.as_bytes());
    first(sha.finish().as_ref())
}

fn first(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).fold(0, |n, b| (n << 8) | u128::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn owner<'a>(names: &[&'a str], seat: Seat) -> &'a str {
        names.iter().max_by_key(|n| weight(n, seat)).unwrap()
    }

    #[test]
    fn a_node_that_goes_moves_its_own_keys_alone_and_all_have_their_share() {
        let (three, two) = (["a", "b", "c"], ["a", "c"]);
        let mut share = BTreeMap::new();
        for n in 0..3000u32 {
            let seat = seat("user", &n.to_be_bytes());
            let before = owner(&three, seat);
            *share.entry(before).or_insert(0) += 1;
            let after = owner(&two, seat);
            assert!(before == after || before == "b", "{n}: {before} → {after}");
        }
        assert!(share.values().all(|n| (900..1100).contains(n)), "{share:?}");
    }

    #[test]
    fn kinds_are_apart_and_the_digest_stays_as_it_is() {
        assert_ne!(seat("user", b"x"), seat("tenant", b"x"));
        assert_eq!(format!("{:032x}", seat("user", b"x").0), "68028076a1690cb8c6e724f26d11e2cc");
        assert_eq!(format!("{:032x}", weight("a", seat("user", b"x"))), "1d837cbf316cd3cf5f8e8b6e35979021");
    }
}
