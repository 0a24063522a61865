//! Runs the release build of the service under load, all in one run on one machine, and prints what matters as ratios.
//!
//! With `BENCH_USERS=1000000` it measures what a tenant of so many costs instead: their import, lists of them, API keys.
//!
//! `cargo run --release -p bench-report` builds the service first if `cargo build --release` has not been run.
//! Absolute figures depend on the machine and on who else uses it; the ratios are what to compare.

mod client;
mod crowd;
mod load;
mod server;

use client::Client;
use hyper::Method;
use load::{Seen, run};
use qeetid::credentials::{kernel::raw_rate, params::Argon2Params};
use serde_json::json;
use server::Server;
use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

const USERS: usize = 256;

fn password(n: usize) -> String {
    format!("bench-{n}-correct-horse")
}
fn email(n: usize) -> String {
    format!("bench-{n}@example.com")
}

fn seconds(name: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default))
}

fn binary() -> Result<PathBuf, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    if std::env::var_os("BENCH_NO_BUILD").is_some() {
        return Ok(std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("qeetid"));
    }
    let status = Command::new(env!("CARGO")).args(["build", "--release", "-p", "qeetid"]).current_dir(&root).status();
    if !status.map_err(|e| e.to_string())?.success() {
        return Err("the service did not build".into());
    }
    let target = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(target.with_file_name("qeetid"))
}

/// Signs everybody up; gives each one's access and refresh token.
async fn sign_up(server: &Server) -> Result<Vec<(String, String)>, String> {
    let mut tasks = Vec::new();
    for lane in 0..8 {
        let address = server.address;
        tasks.push(tokio::spawn(async move {
            let mut client = Client::new(address);
            let mut pairs = Vec::new();
            for n in (lane..USERS).step_by(8) {
                let answer = client.post("/v1/auth/signup", json!({"email": email(n), "password": password(n)})).await?;
                if answer.status != 201 {
                    return Err(format!("sign-up answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
                }
                pairs.push((n, answer.text("access_token"), answer.text("refresh_token")));
            }
            Ok(pairs)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.map_err(|e| e.to_string())??);
    }
    all.sort();
    Ok(all.into_iter().map(|(_, access, refresh)| (access, refresh)).collect())
}

/// Sign-ins. A `polite` client waits as long as a 503 asks it to; the others come back at once.
async fn logins(server: &Server, connections: usize, time: Duration, polite: bool) -> Seen {
    run(server.address, connections, time, move |number, round, mut client| async move {
        let n = (number + round * connections) % USERS;
        let answer = client.post("/v1/auth/login", json!({"email": email(n), "password": password(n)})).await;
        if let Ok(a) = &answer
            && let Some(wait) = a.retry_after.filter(|_| polite)
        {
            tokio::time::sleep(wait).await;
        }
        (client, answer)
    })
    .await
}

async fn me(server: &Server, tokens: Arc<Vec<(String, String)>>, connections: usize, time: Duration, pause: Duration) -> Seen {
    run(server.address, connections, time, move |number, _, mut client| {
        let tokens = tokens.clone();
        async move {
            let answer = client.send(Method::GET, "/v1/auth/me", Some(&tokens[number].0), None).await;
            tokio::time::sleep(pause).await;
            (client, answer)
        }
    })
    .await
}

async fn refreshes(server: &Server, tokens: &[(String, String)], connections: usize, time: Duration) -> Seen {
    let tokens: Arc<Vec<tokio::sync::Mutex<String>>> = Arc::new(tokens.iter().map(|(_, r)| tokio::sync::Mutex::new(r.clone())).collect());
    run(server.address, connections, time, move |number, _, mut client| {
        let tokens = tokens.clone();
        async move {
            let mut token = tokens[number].lock().await;
            let answer = client.post("/v1/auth/refresh", json!({"refresh_token": *token})).await;
            if let Ok(a) = &answer
                && a.status == 200
            {
                *token = a.text("refresh_token");
            }
            drop(token);
            (client, answer)
        }
    })
    .await
}

fn report(name: &str, seen: &Seen) {
    println!(
        "{name:<44} {:>9.1}/s   p50 {:>8.2} ms   p99 {:>8.2} ms   ({})",
        seen.rate(200),
        seen.ms(200, 0.5),
        seen.ms(200, 0.99),
        seen.statuses()
    );
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let binary = binary()?;
    let size = std::fs::metadata(&binary).map_err(|e| e.to_string())?.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if let Ok(users) = std::env::var("BENCH_USERS") {
        return crowd::measure(&binary, users.parse().map_err(|e| format!("BENCH_USERS: {e}"))?).await;
    }
    let (short, long) = (seconds("BENCH_SHORT", 8), seconds("BENCH_LONG", 15));

    let raw = raw_rate(Argon2Params::default(), threads, short);
    println!("raw rate of the kernel, {threads} threads                {raw:>9.1}/s");
    let server = Server::start(&binary, &[]).await?;
    println!("start to ready {:.0} ms, binary {:.1} MiB", server.to_ready.as_secs_f64() * 1000.0, size as f64 / 1048576.0);
    let tokens = Arc::new(sign_up(&server).await?);
    println!("resident after {USERS} sign-ups {:.0} MiB", server.resident_mib());

    let pause = Duration::from_millis(2);
    let idle = me(&server, tokens.clone(), 8, short, pause).await;
    report("me, 8 connections, idle", &idle);
    let flat_out = me(&server, tokens.clone(), 64, short, Duration::ZERO).await;
    report("me, 64 connections, flat out", &flat_out);

    let cpu = server.cpu_seconds();
    let refreshed = refreshes(&server, &tokens, 64, short).await;
    report("refresh, 64 connections", &refreshed);
    let cost = (server.cpu_seconds() - cpu) / refreshed.count(200) as f64;
    println!("  CPU of the service per refresh {:.0} µs; resident {:.0} MiB", cost * 1e6, server.resident_mib());

    let login = logins(&server, 64, long, true).await;
    report("login, 64 connections", &login);
    let raw_after = raw_rate(Argon2Params::default(), threads, short);
    let raw_mean = (raw + raw_after) / 2.0;
    println!("  raw rate again {raw_after:.1}/s; login ÷ raw = {:.2}", login.rate(200) / raw_mean);

    let (busy, under) = tokio::join!(logins(&server, 64, long, true), me(&server, tokens.clone(), 8, long, pause));
    report("login, 64 connections, with me beside", &busy);
    report("me, 8 connections, logins saturate the pool", &under);
    println!("  p99 of me, saturated ÷ idle = {:.1}", under.ms(200, 0.99) / idle.ms(200, 0.99));

    for (name, polite) in [("2,000 connections that wait as told", true), ("2,000 that come back at once", false)] {
        let storm = logins(&server, 2000, long, polite).await;
        report(&format!("login, {name}"), &storm);
        println!("  successes ÷ those of 64 connections = {:.2}", storm.rate(200) / login.rate(200));
        println!("  refused (503): {:.0}/s, p50 {:.1} ms, p99 {:.1} ms", storm.rate(503), storm.ms(503, 0.5), storm.ms(503, 0.99));
        println!("  resident {:.0} MiB, peak so far {:.0} MiB", server.resident_mib(), server.peak_mib());
    }
    println!("  peak resident {:.0} MiB ({threads} threads × 19 MiB = {} MiB)", server.peak_mib(), threads * 19);
    Ok(())
}
