//! Who is there, and whose turn it is.

mod alone;

use super::{
    node::{Config, Node},
    proxy::Proxy,
    rogue::{Manner, Rogue},
};
use crate::support::{certs::Authority, ports::free};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// For what happens by itself, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

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
fn who_does_not_know_the_cookie_is_not_let_in() {
    let (at_a, at_b, at_c) = (free(), free(), free());
    let (to_a, to_b) = (Proxy::to(at_a), Proxy::to(at_b));
    let mut a = Node::start(Config::new("a", at_a, &[to_b.address, at_c]));
    let wrong = Config { cookie: "another cookie, also long enough".into(), ..Config::new("b", at_b, &[to_a.address]) };
    let mut b = Node::start(wrong);
    let _c = Node::start(Config::new("c", at_c, &[at_a]));
    // Both sides try once more when something has come of the try before.
    Proxy::are_called(&[&to_a, &to_b], 2);
    assert_eq!(b.members(), "b");
    assert!(!a.members().contains('b'), "{}", a.members());
    a.sees("a,c", SOON);
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
    let [at_a, at_b, at_c, at_d, at_e] = [(); 5].map(|()| free());
    // From the first to those who are not let in, and from each of these to the first.
    let to = [at_c, at_d, at_e].map(Proxy::to);
    let from = [at_a; 3].map(Proxy::to);
    let seeds = [at_a, at_b, to[0].address, to[1].address, to[2].address];
    let mut a = Node::start(Config::new("a", at_a, &seeds).tls(&place("a"), &names));
    let mut unlisted = Node::start(Config::new("c", at_c, &[from[0].address]).tls(&place("unlisted"), &["nodes.example"]));
    let mut foreign = Node::start(Config::new("d", at_d, &[from[1].address, at_b]).tls(&place("foreign"), &names));
    let mut open = Node::start(Config::new("e", at_e, &[from[2].address]));
    let mut b = Node::start(Config::new("b", at_b, &[at_a]).tls(&place("b"), &names));
    a.sees("a,b", SOON);
    b.sees("a,b", SOON);
    all_held(&mut a);
    // All of them try once more when something has come of the try before.
    Proxy::are_called(&to.iter().chain(&from).collect::<Vec<_>>(), 2);
    assert_eq!([unlisted.members(), foreign.members(), open.members()], ["c", "d", "e"]);
    assert!(!a.members().contains(['c', 'd', 'e']), "{}", a.members());
    a.sees("a,b", SOON);
    // A new certificate, under a process that runs on.
    ours.write(&place("foreign"), "more.nodes.example");
    a.sees("a,b,d", SOON);
    foreign.sees("a,b,d", SOON);
}

#[test]
fn a_node_of_another_version_orders_nothing_here() {
    let at = free();
    let mut a = Node::start(Config::new("a", at, &[]));
    let rogue = Rogue::start(Manner::OtherVersion, at);
    let _b = Node::start(Config::new("b", free(), &[at]));
    // It has answered twice.
    rogue.is_asked(3);
    assert!(!a.members().contains("rogue"), "{}", a.members());
    a.sees("a,b", SOON);
    all_held(&mut a);
}
