//! What one process at a time does: it goes on elsewhere when that process dies or freezes, and comes back with nobody doing it twice.

use crate::{
    cluster::three::{Three, metric},
    support::client::Client,
};
use std::time::{Duration, Instant};

/// Fifteen seconds until the lease is over, five until somebody looks; the rest is for a busy machine.
const TAKEN_OVER: Duration = Duration::from_secs(60);
/// Of one that stopped: others look every five seconds, and its lease would be over no sooner than after ten.
const HANDED_OVER: Duration = Duration::from_secs(9);
const DUTIES: [&str; 2] = ["sweep", "bins"];

async fn fence(node: &Client, duty: &str) -> f64 {
    metric(node, &format!("qeetid_duty_fence{{duty=\"{duty}\"}}")).await
}

/// Waits until exactly one of these nodes does it, and gives that with its fence.
async fn holder(three: &Three, among: &[usize], duty: &str) -> (usize, f64) {
    let began = Instant::now();
    loop {
        let mut holders = Vec::new();
        for &node in among {
            let fence = fence(&three.nodes[node], duty).await;
            if fence > 0.0 {
                holders.push((node, fence));
            }
        }
        if let [holder] = holders[..] {
            return holder;
        }
        assert!(began.elapsed() < TAKEN_OVER, "{duty} is done by {holders:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Audit events are linked, whoever does it.
async fn are_linked(three: &Three, node: usize) {
    let who = three.nodes[node].signup().await;
    let began = Instant::now();
    loop {
        let out = three.nodes[node].command().args(["audit", "verify", "--tenant", &who.tenant_id]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        if said.contains(", 0 wait for their link") && !said.contains("whole, 0 events") {
            return;
        }
        assert!(began.elapsed() < TAKEN_OVER, "{said}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_dies_or_freezes_is_followed_by_another() {
    let mut three = Three::start().await;
    let (mut first, mut before) = (0, [0.0; 2]);
    for (n, duty) in DUTIES.iter().enumerate() {
        (first, before[n]) = holder(&three, &[0, 1, 2], duty).await;
    }
    three.nodes[first].kill9();
    let left: Vec<usize> = (0..3).filter(|n| *n != first).collect();
    let mut second = 0;
    for (n, duty) in DUTIES.iter().enumerate() {
        let (node, fence) = holder(&three, &left, duty).await;
        // Whoever did only the other one goes on.
        assert!(fence >= before[n] && (node != first), "{duty}: {fence} after {}", before[n]);
        (second, before[n]) = (node, fence);
    }
    are_linked(&three, second).await;
    three.nodes[first].start().await;
    three.signal(second, libc::SIGSTOP);
    let awake: Vec<usize> = (0..3).filter(|n| *n != second).collect();
    let (third, fence_of_third) = holder(&three, &awake, "bins").await;
    assert!(fence_of_third > before[1], "{fence_of_third} after {}", before[1]);
    are_linked(&three, third).await;
    three.signal(second, libc::SIGCONT);
    // It believes that it is the one until its next step, which is to ask.
    let began = Instant::now();
    while fence(&three.nodes[second], "bins").await > 0.0 {
        assert!(began.elapsed() < TAKEN_OVER, "it goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(holder(&three, &[0, 1, 2], "bins").await, (third, fence_of_third), "who was frozen takes nothing back");
    are_linked(&three, second).await;
    // One that is stopped leaves its duties to the others at once, not when its leases (renewed every five seconds) would be over.
    three.nodes[third].sigterm();
    assert!(three.nodes[third].exit(TAKEN_OVER).await.success());
    let began = Instant::now();
    let left: Vec<usize> = (0..3).filter(|n| *n != third).collect();
    let (_, fence_of_fourth) = holder(&three, &left, "bins").await;
    assert!(fence_of_fourth > fence_of_third, "{fence_of_fourth} after {fence_of_third}");
    assert!(began.elapsed() < HANDED_OVER, "nobody began for {:?}", began.elapsed());
}
