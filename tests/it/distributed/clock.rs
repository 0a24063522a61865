//! A node whose clock is not the store's.

use crate::support::{app::App, stack::Place};
use serde_json::json;
use std::time::{Duration, Instant};

/// Starts a node by whose clock it is so much later (or earlier) than by the store's.
async fn node(place: &Place, shift: &str) -> App {
    // Only the time of day: the other clock goes on while a process is frozen, and is nobody's to set. ($LIB is for the loader.)
    let library = "/usr/$LIB/faketime/libfaketime.so.1";
    let app = App::builder().on(place).env("LD_PRELOAD", library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", 1);
    app.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_off_is_not_ready() {
    let place = Place::distributed();
    let right = App::builder().on(&place).start().await;
    let ready = right.get("/readyz").await.expect(200);
    assert_eq!((&ready.body["parts"]["clock"], &ready.body["parts"]["revocations"]), (&json!("ok"), &json!("ok")), "{}", ready.text);
    for (shift, ahead) in [("+10s", 10.0), ("-10s", -10.0)] {
        let off = node(&place, shift).await;
        let begun = Instant::now();
        let refused = loop {
            let reply = off.get("/readyz").await;
            if reply.status != 200 {
                break reply;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "a node {shift} is ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!((refused.status, &refused.body["error"]["fields"]), (503, &json!({"clock": "not ready"})), "{}", refused.text);
        let metrics = off.get("/metrics").await.expect(200).text;
        let line = metrics.lines().find(|line| line.starts_with("qeetid_clock_ahead_seconds ")).expect("a metric");
        let found: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((found - ahead).abs() < 2.0, "{line}");
    }
    right.get("/readyz").await.expect(200);
}
