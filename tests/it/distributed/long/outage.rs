//! The store hangs, dies, and comes back.

use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    cassandra::Cassandra,
    client::{Client, Reply},
    stack::Place,
};
use reqwest::Method;
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Two seconds are promised; a debug build on a busy machine takes its time for hashing and the rest.
const REFUSED_WITHIN: Duration = Duration::from_millis(2000 + 2000);
/// While nothing is sent to the store at all.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Addresses and passwords of those who were told that they are signed up.
type Told = Arc<Mutex<Vec<(String, String)>>>;

/// Signs people up until it is told to stop.
async fn sign_ups(client: Client, stop: Arc<AtomicBool>, told: Told) {
    while !stop.load(Ordering::SeqCst) {
        let (email, password) = (fresh_email(), fresh_password());
        let begun = Instant::now();
        let reply = client.post("/v1/auth/signup", json!({"email": email, "password": password})).await;
        let took = begun.elapsed();
        match reply.status {
            201 => told.lock().unwrap().push((email, password)),
            _ => {
                refused(&reply);
                // What was under way when it began had taken some time before, and hashing is in it.
                assert!(took < REFUSED_WITHIN * 2, "{took:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits until so many more are signed up.
async fn so_many_more(told: &Told, more: usize) {
    let count = || told.lock().unwrap().len();
    let (begun, enough) = (Instant::now(), count() + more);
    while count() < enough {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} people are told that they are in, not {enough}", count());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[track_caller]
fn refused(reply: &Reply) {
    assert_eq!((reply.status, reply.code()), (503, "unavailable"), "{}", reply.text);
    assert!(reply.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok_and(|s| s >= 1)), "{:?}", reply.headers);
}

async fn metric(app: &App, name: &str) -> f64 {
    let text = app.get("/metrics").await.text;
    let line = text.lines().find_map(|l| l.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    line.and_then(|v| v.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in the metrics"))
}

fn resident_mib(app: &App) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Everything that needs the store is refused in time, until the circuit opens: then at once, however many come.
async fn all_is_refused(app: &App, who: &Account) {
    let begun = Instant::now();
    while metric(app, "qeetid_store_breaker_open").await < 1.0 {
        let asked = Instant::now();
        refused(&app.refresh(&who.refresh).await);
        assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(20), "the circuit doesn't open");
    }
    // One pool of connections for all: to make a client, a debug build works longer than the request takes.
    let client = app.other_client();
    let (mut slow, mut resident) = (0, Vec::new());
    for _ in 0..15 {
        let crowd: Vec<_> = (0..200)
            .map(|n| {
                let (client, who) = (client.clone(), who.clone());
                tokio::spawn(async move {
                    let asked = Instant::now();
                    let reply = match n % 3 {
                        0 => client.refresh(&who.refresh).await,
                        1 => client.login(&who.email, &who.password).await,
                        _ => client.get_as(&who.access, "/v1/me").await,
                    };
                    refused(&reply);
                    asked.elapsed()
                })
            })
            .collect();
        for each in crowd {
            let took = each.await.unwrap();
            assert!(took < REFUSED_WITHIN, "{took:?}");
            slow += usize::from(took > AT_ONCE);
        }
        resident.push(resident_mib(app));
    }
    // One a second is sent, to see whether the store is back.
    println!("3,000 requests refused, {slow} of them after more than {AT_ONCE:?}; resident, MiB: {resident:?}");
    assert!(slow < 900, "{slow} of 3,000 waited");
    // What one crowd needs goes up and down; what crowds leave behind only adds up. There are 1,200 requests between the fifth and
    // the eleventh: 28 KiB left by each would be seen.
    let (first, last) = (resident[..5].iter().max(), resident[10..].iter().min());
    assert!(last < first.map(|mib| mib + 32).as_ref(), "the crowds leave something behind: {resident:?}");
    // What was revoked was last read when the store still answered; five seconds later that shows, too.
    let begun = Instant::now();
    loop {
        let ready = app.get("/readyz").await.refused(503, "unavailable");
        let fields = &ready.body["error"]["fields"];
        if *fields == json!({"revocations": "not ready", "store": "not ready"}) {
            break;
        }
        assert_eq!(*fields, json!({"store": "not ready"}));
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", ready.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.get("/healthz").await.expect(200);
}

async fn is_back(app: &App) {
    let begun = Instant::now();
    while app.get("/readyz").await.status != 200 {
        // The driver alone would wait for up to ten seconds between its attempts.
        assert!(begun.elapsed() < Duration::from_secs(10), "not back after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("back after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_hangs_dies_and_comes_back() {
    let _turn = crate::distributed::in_turn().await;
    // There is no other node that has what this one is killed with.
    let cassandra = Cassandra::with(1, &[("CASSANDRA_SYNC", "batch")]).await;
    let app = App::builder().on(&Place::at(&cassandra.url("outage", ""))).start().await;
    let ready = app.get("/readyz").await.expect(200);
    assert_eq!(ready.body["parts"]["store"], "ok", "{}", ready.text);
    let who = app.signup().await;
    let told: Told = Arc::new(Mutex::new(vec![(who.email.clone(), who.password.clone())]));
    for kill in [false, true] {
        let stop = Arc::new(AtomicBool::new(false));
        let people: Vec<_> = (0..6).map(|_| tokio::spawn(sign_ups(app.other_client(), stop.clone(), told.clone()))).collect();
        so_many_more(&told, 24).await;
        if kill {
            cassandra.kill9(1).await;
        } else {
            cassandra.hang(1);
        }
        all_is_refused(&app, &who).await;
        if kill {
            cassandra.start_again(1).await;
        } else {
            cassandra.go_on(1);
        }
        is_back(&app).await;
        // They sign up again, by themselves.
        so_many_more(&told, 12).await;
        stop.store(true, Ordering::SeqCst);
        for each in people {
            each.await.unwrap();
        }
        println!("killed: {kill}; {} people were told that they are in", told.lock().unwrap().len());
    }
    let told = told.lock().unwrap().clone();
    for (email, password) in &told {
        app.login(email, password).await.expect(200);
    }
    let refreshed = app.refresh(&who.refresh).await.expect(200).pair();
    app.send(Method::GET, "/v1/me", Some(&refreshed.access), None).await.expect(200);
}
