//! Three real servers while one of them is killed, frozen or restarted.

use crate::{
    cluster::{
        load::{People, crowd, patiently, revocation, signup},
        three::{SOON, Three, metric},
    },
    support::app::{fresh_email, fresh_password},
};
use serde_json::json;
use std::time::Duration;

/// One of them is killed, and frozen, in the middle of a crowd: no 500, one 201 at most, an account that was told of is there; and a
/// session that ends on one node is refused on the others within a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_or_freezes_takes_no_account_along_and_makes_none_twice() {
    let mut three = Three::start().await;
    for fault in ["kill", "freeze"] {
        let emails: Vec<String> = (0..4).map(|_| fresh_email()).collect();
        let tries: Vec<_> = (0..24)
            .map(|n| {
                let (client, email) = (three.nodes[n % 3].other_client(), emails[n % 4].clone());
                (n, tokio::spawn(async move { tokio::time::timeout(SOON, signup(client, email)).await }))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(60)).await;
        if fault == "kill" {
            three.nodes[2].kill9();
        } else {
            three.signal(2, libc::SIGSTOP);
        }
        three.sees(0, 2).await;
        three.sees(1, 2).await;
        if fault == "kill" {
            three.nodes[2].start().await;
        } else {
            three.signal(2, libc::SIGCONT);
        }
        let mut made = [0; 4];
        for (n, t) in tries {
            match t.await.unwrap() {
                Ok(Ok((status, _))) => {
                    assert!([201, 422, 503].contains(&status), "{fault}: {status}");
                    made[n % 4] += usize::from(status == 201);
                }
                // Its connection died with the node.
                Ok(Err(_)) if n % 3 == 2 => {}
                other => panic!("{fault}: request {n} at a node that lived: {other:?}"),
            }
        }
        assert!(made.iter().all(|m| *m <= 1), "{fault}: {made:?}");
        for node in 0..3 {
            three.sees(node, 3).await;
        }
        // Whatever became of the crowd, every address has its account now, or can have it.
        for email in &emails {
            let body = json!({"email": email, "password": fresh_password()});
            let reply = patiently(async || three.nodes[0].post("/v1/auth/signup", body.clone()).await).await;
            assert!(reply.status == 422 || reply.status == 201, "{fault}: {}", reply.text);
        }
        revocation(&three.clients()).await;
    }
}

/// All of it has to be answered in time, which a busy machine may not have.
mod alone {
    use super::*;

    /// Thirty sign-ups of one address, ten on each node: one account; afterwards its owner signs in nowhere but with the winner's password.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_address_signed_up_on_three_nodes_at_once_has_one_account() {
        let three = Three::start().await;
        for _ in 0..3 {
            assert_eq!(crowd(&three.clients(), 30).await, 0);
        }
        let mut forwarded = 0.0;
        for node in &three.nodes {
            forwarded += metric(node, "qeetid_cluster_forwarded_total").await;
        }
        assert!(forwarded > 0.0, "no turn was asked of another node");
    }

    /// One node after the other is told to stop, and started again: no request fails, and what was acknowledged by one node is read on
    /// the next.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_rolling_restart_fails_no_request_and_loses_no_write() {
        let mut three = Three::start().await;
        let people = People::start(&three, 4).await;
        for node in 0..3 {
            three.nodes[node].sigterm();
            let status = three.nodes[node].exit(SOON).await;
            assert!(status.success(), "{status}");
            three.sees((node + 1) % 3, 2).await;
            three.nodes[node].start().await;
            three.sees(node, 3).await;
            three.sees((node + 1) % 3, 3).await;
        }
        people.stop().await;
    }
}
