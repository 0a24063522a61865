//! What is measured is time.

use super::*;
use qeetid::app::doctor::stats::auc;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_inviting_tells_nothing() {
    let app = App::new().await;
    let org = org(&app).await;
    let known = app.signup().await.email;
    let unknown = fresh_email();
    let mut times = [const { Vec::new() }; 2];
    for round in 0..24 {
        for n in 0..2 {
            let who = (round + n) % 2;
            let start = Instant::now();
            org.invite(&app, [&known, &unknown][who]).await.expect(201);
            times[who].push(start.elapsed().as_secs_f64());
        }
    }
    // By chance alone 0.25 to 0.75 in all but 0.3 % of runs, and a machine is never quite still.
    let told = auc(&times[0], &times[1]);
    assert!((0.12..=0.88).contains(&told), "an account can be told by the time of an invite: AUC {told:.2}");
}
