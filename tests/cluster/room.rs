//! Who is there, and whose turn it is.

use super::{
    node::{Config, Node},
    proxy::Proxy,
    rogue::{Manner, Rogue},
    support::certs::Authority,
};
use crate::support::ports::free;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// For what happens by itself, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// A peer that is frozen or cut off is out of the ring within this.
const EVICTED: Duration = Duration::from_secs(5);
/// What it may cost a caller.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys enough that each of three nodes owns some.
fn keys() -> impl Iterator<Item = String> {
    (0..24).map(|n| format!("key{n}"))
}

fn two() -> (Node, Node) {
    let (at_a, at_b) = (free(), free());
    let mut nodes = (Node::start(Config::new("a", at_a, &[at_a, at_b])), Node::start(Config::new("b", at_b, &[at_a])));
    nodes.0.sees("a,b", SOON);
    nodes.1.sees("a,b", SOON);
    nodes
}

/// All turns can be had, once connections that were made twice have been sorted out.
fn all_held(node: &mut Node) {
    let began = Instant::now();
    loop {
        let held = keys().filter(|key| node.take(key).held).count();
        keys().for_each(|key| node.give(&key));
        if held == keys().count() {
            return;
        }
        assert!(began.elapsed() < SOON, "{held} of {}", keys().count());
    }
}

#[test]
fn one_turn_at_a_time_whoever_owns_the_key() {
    let (mut a, mut b) = two();
    for key in keys() {
        assert!(a.take(&key).held, "{key}");
        b.ask(&key);
        std::thread::sleep(Duration::from_millis(20));
        assert!(b.waits(&key), "{key}: two have it");
        a.give(&key);
        assert!(b.took(&key).held, "{key}");
        b.give(&key);
    }
    // Who has it for long makes the other go without, and no longer wait than he may.
    assert!(a.take("long").held);
    let took = b.take("long");
    assert!(!took.held && took.time < PATIENCE, "{took:?}");
}

#[test]
fn a_node_that_is_killed_leaves_at_once_and_is_back_after_its_restart() {
    let (mut a, mut b) = two();
    for key in keys() {
        assert!(b.take(&key).held);
    }
    for key in keys() {
        a.ask(&key);
    }
    let b_again = b.restart();
    // What it had is free.
    for key in keys() {
        let took = a.took(&key);
        assert!(took.time < PATIENCE, "{key}: {took:?}");
        a.give(&key);
    }
    b = b_again;
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    all_held(&mut a);
}

#[test]
fn a_shard_host_that_fails_has_a_successor() {
    let (mut a, mut b) = two();
    keys().for_each(|key| assert!(b.take(&key).held, "{key}"));
    b.break_host();
    // What it had to give is free, and all that is asked of it meanwhile costs the order.
    for key in keys() {
        let took = a.take(&key);
        assert!(took.time < PATIENCE, "{key}: {took:?}");
        a.give(&key);
        b.give(&key);
    }
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    all_held(&mut a);
    all_held(&mut b);
}

/// One name, and behind it the addresses of all nodes; a third comes later.
#[test]
fn a_name_that_stands_for_many_addresses_leads_to_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    let name = |addresses: &[u8]| {
        let lines: String = addresses.iter().map(|n| format!("127.0.0.{n} nodes.test\n")).collect();
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    };
    let port = free().port();
    let node = |node: &str, n: u8| {
        let mut config = Config::new(node, SocketAddr::from(([127, 0, 0, n], port)), &[]);
        (config.seeds, config.hosts) = (vec![format!("nodes.test:{port}")], Some(hosts.clone()));
        Node::start(config)
    };
    // No address yet: nobody is there to be found.
    name(&[]);
    let mut a = node("a", 1);
    name(&[1, 2]);
    let mut b = node("b", 2);
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    name(&[1, 2, 3]);
    let mut c = node("c", 3);
    for node in [&mut a, &mut b, &mut c] {
        node.sees("a,b,c", SOON);
    }
    all_held(&mut c);
}

#[test]
fn a_frozen_node_leaves_the_ring_costs_nobody_two_seconds_and_comes_back() {
    let (mut a, mut b) = two();
    b.signal(libc::SIGSTOP);
    let frozen = Instant::now();
    for key in keys() {
        a.ask(&key);
    }
    for key in keys() {
        let took = a.took(&key);
        assert!(took.time < PATIENCE, "{key}: {took:?}");
        a.give(&key);
    }
    a.sees("a", EVICTED);
    assert!(frozen.elapsed() < EVICTED, "{:?}", frozen.elapsed());
    // Long enough for its connection to be closed as well.
    std::thread::sleep(EVICTED.saturating_sub(frozen.elapsed()));
    b.signal(libc::SIGCONT);
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    all_held(&mut a);
}

#[test]
fn a_node_that_leaves_is_asked_for_nothing_more() {
    let (mut a, mut b) = two();
    b.leave();
    b.sees("a", SOON);
    a.sees("a", SOON);
    assert!(a.take("k").time < PATIENCE && b.take("k").time < PATIENCE);
}

/// Both ways, and one way each.
#[test]
fn a_cut_connection_parts_two_nodes_until_it_is_mended() {
    let (at_a, at_b) = (free(), free());
    let (to_a, to_b) = (Proxy::to(at_a), Proxy::to(at_b));
    let mut a = Node::start(Config::new("a", at_a, &[to_b.address]));
    let mut b = Node::start(Config::new("b", at_b, &[to_a.address]));
    // Towards b, and towards a.
    for (towards_b, towards_a) in [(true, true), (true, false), (false, true)] {
        a.sees("a,b", SOON);
        b.sees("a,b", SOON);
        to_b.cut(towards_b, towards_a);
        to_a.cut(towards_a, towards_b);
        let cut = Instant::now();
        for node in [&mut a, &mut b] {
            keys().for_each(|key| node.ask(&key));
            for key in keys() {
                let took = node.took(&key);
                assert!(took.time < PATIENCE, "{key}: {took:?}");
                node.give(&key);
            }
        }
        a.sees("a", EVICTED);
        b.sees("b", EVICTED);
        assert!(cut.elapsed() < EVICTED, "{:?}", cut.elapsed());
        to_a.cut(false, false);
        to_b.cut(false, false);
    }
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
}

#[test]
fn who_does_not_know_the_cookie_is_not_let_in() {
    let (at_a, at_b, at_c) = (free(), free(), free());
    let mut a = Node::start(Config::new("a", at_a, &[at_b, at_c]));
    let wrong = Config { cookie: "another cookie, also long enough".into(), ..Config::new("b", at_b, &[at_a]) };
    let mut b = Node::start(wrong);
    let _c = Node::start(Config::new("c", at_c, &[at_a]));
    // By then both sides have tried more than once.
    a.sees("a,c", SOON);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((a.members(), b.members()), ("a,c".into(), "b".into()));
}

#[test]
fn certificates_of_the_authority_for_listed_names_let_in_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let place = |name: &str| dir.path().join(name);
    ours.write(&place("a"), "nodes.example");
    ours.write(&place("b"), "more.nodes.example");
    ours.write(&place("unlisted"), "somebody.example");
    theirs.write(&place("foreign"), "nodes.example");
    // It believes in our authority, so that it is not the one who refuses.
    std::fs::copy(place("a").join("ca.pem"), place("foreign").join("ca.pem")).unwrap();
    let names = ["nodes.example", "more.nodes.example"];
    let at: Vec<_> = (0..5).map(|_| free()).collect();
    let mut a = Node::start(Config::new("a", at[0], &at).tls(&place("a"), &names));
    let mut unlisted = Node::start(Config::new("c", at[2], &at[..1]).tls(&place("unlisted"), &["nodes.example"]));
    let mut foreign = Node::start(Config::new("d", at[3], &at[..2]).tls(&place("foreign"), &names));
    let mut open = Node::start(Config::new("e", at[4], &at[..1]));
    let mut b = Node::start(Config::new("b", at[1], &at[..1]).tls(&place("b"), &names));
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    assert!(keys().all(|key| a.take(&key).held));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!([unlisted.members(), foreign.members(), open.members(), a.members()], ["c", "d", "e", "a,b"]);
    // A new certificate, under a process that runs on.
    ours.write(&place("foreign"), "more.nodes.example");
    a.sees("a,b,d", SOON);
    foreign.sees("a,b,d", SOON);
}

#[test]
fn a_node_of_another_version_orders_nothing_here() {
    let at = free();
    let mut a = Node::start(Config::new("a", at, &[]));
    let _rogue = Rogue::start(Manner::OtherVersion, at);
    let _b = Node::start(Config::new("b", free(), &[at]));
    a.sees("a,b", SOON);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(a.members(), "a,b");
    assert!(keys().all(|key| a.take(&key).held));
}

#[test]
fn an_owner_that_talks_nonsense_or_not_at_all_costs_the_order_and_nothing_else() {
    for manner in [Manner::Garbage, Manner::Silent] {
        let at = free();
        let mut a = Node::start(Config::new("a", at, &[]));
        let _rogue = Rogue::start(manner, at);
        a.sees("a,rogue", SOON);
        keys().for_each(|key| a.ask(&key));
        let took: Vec<_> = keys().map(|key| a.took(&key)).collect();
        let without = took.iter().filter(|t| !t.held).count();
        assert!(took.iter().all(|t| t.time < PATIENCE), "{manner:?}: {took:?}");
        assert!(0 < without && without < took.len(), "{manner:?}: {without} of {}", took.len());
    }
}
