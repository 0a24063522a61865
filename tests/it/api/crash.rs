//! `kill -9` at any moment, and a disk that takes no more.

use crate::{
    api::until,
    support::{
        app::{App, fresh_email, fresh_password},
        client::Reply,
        stack::Stack,
    },
};
use serde_json::json;
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What became of one sign-up, as its client saw it.
struct Attempt {
    email: String,
    password: String,
    acknowledged: bool,
}

/// Eight people sign up one after the other until the connection breaks; `done` counts those who are in.
async fn sign_ups_until_broken(app: &App, done: &Arc<AtomicUsize>) -> Vec<tokio::task::JoinHandle<Vec<Attempt>>> {
    let run = |client: crate::support::client::Client, done: Arc<AtomicUsize>| async move {
        let mut attempts = Vec::new();
        loop {
            let (email, password) = (fresh_email(), fresh_password());
            let body = json!({"email": email, "password": password});
            let reply = client.try_send(reqwest::Method::POST, "/v1/auth/signup", None, Some(body)).await;
            let acknowledged = matches!(&reply, Ok(r) if r.status == 201);
            done.fetch_add(usize::from(acknowledged), Ordering::SeqCst);
            attempts.push(Attempt { email, password, acknowledged });
            match reply {
                Ok(r) => assert!(matches!(r.status, 201 | 503), "{}", r.text),
                Err(_) => return attempts,
            }
        }
    };
    (0..8).map(|_| tokio::spawn(run(app.other_client(), done.clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_sign_up_and_no_address_is_stuck() {
    killed_among_sign_ups(2).await;
}

/// So many rounds take tens of seconds.
mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn kill_9_again_and_again_loses_no_acknowledged_sign_up_and_no_address_is_stuck() {
        killed_among_sign_ups(5).await;
    }
}

async fn killed_among_sign_ups(rounds: u64) {
    let mut app = App::own().await;
    let (mut acknowledged, mut broken) = (0, 0);
    for round in 0..rounds {
        let done = Arc::new(AtomicUsize::new(0));
        let tasks = sign_ups_until_broken(&app, &done).await;
        until("too few are in", async || done.load(Ordering::SeqCst), |done| *done >= 5).await;
        // Any moment is right.
        tokio::time::sleep(Duration::from_millis(round * 137)).await;
        app.kill9();
        let mut attempts = Vec::new();
        for task in tasks {
            attempts.extend(task.await.unwrap());
        }
        app.start().await;
        for Attempt { email, password, acknowledged: was } in attempts {
            if was {
                acknowledged += 1;
                app.login(&email, &password).await.expect(200);
                continue;
            }
            // Nobody said yes: it is there whole, or it is not there at all.
            broken += 1;
            // Where several nodes share the store, a dead one's claim is taken from it after ten seconds.
            let begun = Instant::now();
            let again = loop {
                let again = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await;
                if again.status != 503 || Stack::of_run() != Stack::Distributed || begun.elapsed() > Duration::from_secs(60) {
                    break again;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            match again.status {
                201 => (),
                422 => assert_eq!(again.code(), "signup_unavailable"),
                _ => panic!("{email} is stuck: {}", again.text),
            }
            let session = app.login(&email, &password).await.expect(200);
            app.get_as(&session.str("access_token"), "/v1/me").await.expect(200);
            let tenants = app.get_as(&session.str("access_token"), "/v1/tenants").await.expect(200);
            assert_eq!(tenants.body["items"].as_array().unwrap().len(), 1);
        }
    }
    let enough = 4 * rounds;
    assert!(acknowledged >= enough && broken >= enough, "{acknowledged} acknowledged, {broken} broken off: the test saw too little");
}

async fn signup(app: &App) -> (String, String, Reply) {
    let (email, password) = (fresh_email(), fresh_password());
    let reply = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await;
    (email, password, reply)
}

fn limit_files(app: &App, bytes: &str) {
    let status = Command::new("prlimit").args(["--pid", &app.pid().to_string(), &format!("--fsize={bytes}:unlimited")]).status();
    assert!(status.expect("prlimit (util-linux) is there").success());
}

/// The file may not grow.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_503_and_what_was_acknowledged_stays() {
        // A limit on the size of files stands for the full disk; without the signal that would come with it.
        let shell = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let mut app = App::builder().wrapped_in(&["sh", "-c", shell]).start().await;
        let first = app.signup().await;
        limit_files(&app, "400000");
        let mut made = Vec::new();
        let mut refused = 0;
        for _ in 0..2000 {
            let (email, password, reply) = signup(&app).await;
            match reply.status {
                201 => made.push((email, password)),
                503 => refused += 1,
                _ => panic!("{}", reply.text),
            }
            if refused >= 5 {
                break;
            }
        }
        assert!(refused >= 5, "the disk never was full: {} made", made.len());
        // A smaller write may still have found its room: from here on there is none at all.
        limit_files(&app, "1");
        // Reads go on, writes are refused, nothing falls over.
        app.me(&first.access).await.expect(200);
        app.get_as(&first.access, "/v1/me").await.expect(200);
        // A write so small that it fits into what the log has left may be done: then it is answered, and stays.
        let small = app.refresh(&first.refresh).await;
        assert!(matches!(small.status, 200 | 503), "{}", small.text);
        let refresh = if small.status == 200 { small.str("refresh_token") } else { first.refresh.clone() };
        app.get("/healthz").await.expect(200);
        let forgot = app.post("/v1/auth/forgot-password", json!({"email": first.email})).await;
        assert!(matches!(forgot.status, 202 | 503), "{}", forgot.text);
        // Room again: it goes on by itself.
        limit_files(&app, "unlimited");
        let (email, password, _) = until("nobody can sign up", async || signup(&app).await, |(.., reply)| reply.status == 201).await;
        made.push((email, password));
        app.refresh(&refresh).await.expect(200);
        app.restart().await;
        for (email, password) in made {
            app.login(&email, &password).await.expect(200);
        }
    }
}
