//! What can be wrong between nodes, under load: cut connections, nodes of another version, and nodes that don't belong here.

use crate::{
    cluster::{
        load::{People, crowd, revocation},
        node::COOKIE,
        proxy::Proxy,
        rogue::{Manner, Rogue},
        three::{NAME, Three, metric},
    },
    support::{certs::Authority, client::Client},
};

/// All that must hold whatever is wrong between nodes: they order their commands apart then, and the store keeps them right.
async fn all_holds(clients: &[Client]) {
    crowd(clients, clients.len() * 4).await;
    revocation(clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_between_nodes_no_request_fails() {
    let three = Three::start().await;
    let people = People::start(&three, 3).await;
    let mut clients = three.clients();
    // Both ways, and one way each.
    for cuts in [&[(0, 1), (1, 0)][..], &[(0, 1)], &[(1, 0)]] {
        cuts.iter().for_each(|(from, to)| three.cut(*from, *to, true));
        // Nobody has noticed yet; then both have, and the third sees all.
        all_holds(&clients).await;
        for (node, members) in [(0, 2), (1, 2), (2, 3)] {
            three.sees(node, members).await;
        }
        all_holds(&clients).await;
        cuts.iter().for_each(|(from, to)| three.cut(*from, *to, false));
        for node in 0..3 {
            three.sees(node, 3).await;
        }
    }
    // Another cookie, another authority: each stands alone on the same stores.
    for (cookie, authority) in [("a cookie that nobody else here knows", &three.authority), (COOKIE, &Authority::new())] {
        let (fourth, ways) = three.fourth(cookie, authority).await;
        clients.push(fourth.other_client());
        all_holds(&clients).await;
        // It tries once more when something has come of the try before.
        Proxy::are_called(&ways.iter().collect::<Vec<_>>(), 2);
        let mut seen = vec![metric(&fourth, "qeetid_cluster_members").await];
        for node in &three.nodes {
            seen.push(metric(node, "qeetid_cluster_members").await);
        }
        assert_eq!(seen, [1.0, 3.0, 3.0, 3.0]);
        clients.pop();
    }
    // The same with what all others have, so that it was that.
    let (fourth, _ways) = three.fourth(COOKIE, &three.authority).await;
    for node in 0..3 {
        three.sees(node, 4).await;
    }
    drop(fourth);
    for node in 0..3 {
        three.sees(node, 3).await;
    }
    let certs = three.certs(&three.authority, 3);
    let rogues: Vec<Rogue> = three.at.iter().map(|at| Rogue::start_tls(Manner::OtherVersion, *at, &certs, NAME)).collect();
    all_holds(&clients).await;
    // Each has answered twice.
    rogues.iter().for_each(|rogue| rogue.is_asked(3));
    all_holds(&clients).await;
    for node in 0..3 {
        three.sees(node, 3).await;
    }
    people.stop().await;
}
