//! What is promised in seconds, which a busy machine may not have: these run with nothing beside them.

use super::*;

/// A peer that is frozen or cut off is out of the ring within this.
const EVICTED: Duration = Duration::from_secs(5);
/// What it may cost a caller.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn one_turn_at_a_time_whoever_owns_the_key() {
    let (mut a, mut b) = two();
    for key in keys() {
        assert!(a.take(&key).held, "{key}");
        b.ask(&key);
        // Asked for later, and had.
        let beside = format!("{key}-beside");
        assert!(b.take(&beside).held, "{beside}");
        assert!(b.waits(&key), "{key}: two have it");
        b.give(&beside);
        a.give(&key);
        assert!(b.took(&key).held, "{key}");
        b.give(&key);
    }
    // Who has it for long makes the other go without, which waits no longer than it may.
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
    // Long enough for its connection to be closed as well, which can't be seen.
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
