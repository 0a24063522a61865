//! Runs the release build of the service under load, all in one run on one machine, and prints what matters as ratios.
//!
//! What was measured goes into docs/performance.md with its charts, beside what the last run on such a machine had; what got worse by
//! more than the noise is said at the end. `BENCH_SHORT` and `BENCH_LONG` are the seconds of a measurement.
//!
//! With `BENCH_USERS=1000000` it measures what a tenant of so many costs instead: their import, lists of them, API keys. With
//! `BENCH_SIZES=1000,100000,1000000`: what grows with the number of users, in docs/performance-sizes.md. Both take what they import
//! from `BENCH_CROWDS`, a directory, if it is there from an earlier run.
//!
//! `cargo run --release -p bench-report` builds the service first; `--profile dist` measures what is deployed, and takes longer to build.
//! Absolute figures depend on the machine and on who else uses it; the ratios are what to compare.

mod bare;
mod charts;
mod client;
mod crowd;
mod figures;
mod load;
mod page;
mod server;
mod sizes;
mod stacks;

use bare::Bare;
use client::Client;
use figures::{Better, Book, median};
use hyper::Method;
use load::{Seen, open, run};
use qeetid::credentials::{Argon2Params, kernel::raw_rate};
use serde_json::json;
use server::Server;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

const USERS: usize = 256;
const IDLE: usize = 10_000;
/// Of what is measured more than once, so that it shows how far chance goes.
const ROUNDS: usize = 3;

/// Sections of the report.
pub const START: &str = "Start and memory";
pub const LIGHT: &str = "Light operations";
pub const HASHING: &str = "Passwords";
pub const STORMS: &str = "Past saturation";

fn password(n: usize) -> String {
    format!("bench-{n}-correct-horse")
}
fn email(n: usize) -> String {
    format!("bench-{n}@example.com")
}

fn seconds(name: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default))
}

/// What is measured: the service, and the same with a hash that costs nothing.
struct Binaries {
    service: PathBuf,
    stub: PathBuf,
}

/// The profile by which this program was built, and builds the service: cargo calls the folder by it, but for that of `dev`.
pub fn profile() -> String {
    let folder = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.file_name()?.to_string_lossy().into_owned()));
    folder.map_or_else(|| "release".into(), |name| if name == "debug" { "dev".into() } else { name })
}

/// Builds both, in the folder of this program. With `BENCH_NO_BUILD` they are there already.
fn binaries() -> Result<Binaries, String> {
    let folder = std::env::current_exe().map_err(|e| e.to_string())?;
    let binaries = Binaries { service: folder.with_file_name("qeetid"), stub: folder.with_file_name("qeetid-stub-hash") };
    if std::env::var_os("BENCH_NO_BUILD").is_some() {
        return Ok(binaries);
    }
    let build = |more: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Together with this program, so that what both depend on is built once, with the features of both.
        let status = Command::new(env!("CARGO"))
            .args(["build", "--profile", &profile(), "-p", "qeetid", "-p", "bench-report"])
            .args(more)
            .current_dir(root)
            .status();
        if status.map_err(|e| e.to_string())?.success() { Ok(()) } else { Err("the service did not build".to_owned()) }
    };
    // Both have one name there: the service comes last, and stays.
    build(&["--features", "qeetid/stub-hash"])?;
    std::fs::copy(&binaries.service, &binaries.stub).map_err(|e| format!("{}: {e}", binaries.stub.display()))?;
    build(&[])?;
    Ok(binaries)
}

/// Signs everybody up; gives each one's access and refresh token.
async fn sign_up(address: SocketAddr) -> Result<Vec<(String, String)>, String> {
    let mut tasks = Vec::new();
    for lane in 0..8 {
        tasks.push(tokio::spawn(async move {
            let mut client = Client::new(address);
            let mut pairs = Vec::new();
            for n in (lane..USERS).step_by(8) {
                let body = json!({"email": email(n), "password": password(n)});
                let mut answer = client.post("/v1/auth/signup", body.clone()).await?;
                // A store that was just started may ask to come again.
                for _ in 0..20 {
                    let Some(wait) = answer.retry_after else { break };
                    tokio::time::sleep(wait).await;
                    answer = client.post("/v1/auth/signup", body.clone()).await?;
                }
                // What was told to come again may have been done.
                if answer.status == 422 {
                    answer = client.post("/v1/auth/login", body).await?;
                }
                if !matches!(answer.status, 200 | 201) {
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
async fn logins(addresses: &[SocketAddr], connections: usize, time: Duration, polite: bool) -> Seen {
    run(addresses, connections, time, move |number, round, mut client| async move {
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

async fn me(addresses: &[SocketAddr], tokens: Arc<Vec<(String, String)>>, connections: usize, time: Duration, pause: Duration) -> Seen {
    run(addresses, connections, time, move |number, _, mut client| {
        let tokens = tokens.clone();
        async move {
            let answer = client.send(Method::GET, "/v1/auth/me", Some(&tokens[number].0), None).await;
            // A sleep of no time lasts until the timer's next tick, up to a millisecond.
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            (client, answer)
        }
    })
    .await
}

/// Everybody's refresh token, of which each is good once.
type Turning = Arc<Vec<tokio::sync::Mutex<String>>>;

fn turning(tokens: &[(String, String)]) -> Turning {
    Arc::new(tokens.iter().map(|(_, refresh)| tokio::sync::Mutex::new(refresh.clone())).collect())
}

async fn refreshes(addresses: &[SocketAddr], tokens: Turning, connections: usize, time: Duration) -> Seen {
    run(addresses, connections, time, move |number, _, mut client| {
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

/// Sign-ins at a rate, over as many connections as it takes for none to be busy.
async fn login_storm(server: &Server, rate: f64, time: Duration) -> Seen {
    open(server.address, 4000, rate, time, move |request, mut client| async move {
        let n = request % USERS;
        let answer = client.post("/v1/auth/login", json!({"email": email(n), "password": password(n)})).await;
        (client, answer)
    })
    .await
}

/// Sign-ups of addresses never seen.
async fn sign_ups(addresses: &[SocketAddr], connections: usize, time: Duration, round: usize) -> Seen {
    run(addresses, connections, time, move |number, n, mut client| async move {
        let email = format!("new-{round}-{number}-{n}@example.com");
        let answer = client.post("/v1/auth/signup", json!({"email": email, "password": "violet harbour lantern"})).await;
        (client, answer)
    })
    .await
}

/// Opens so many connections, asks once on each, and lets them be.
async fn open_idle(address: SocketAddr, connections: usize) -> Result<Vec<Client>, String> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = Client::new(address);
        let answer = client.send(Method::GET, "/healthz", None, None).await?;
        if answer.status != 200 {
            return Err(format!("/healthz answered {}", answer.status));
        }
        open.push(client);
    }
    Ok(open)
}

/// The successes of one kind of load, round by round.
struct Rounds(Vec<Seen>);

impl Rounds {
    fn rates(&self, status: u16) -> Vec<f64> {
        self.0.iter().map(|s| s.rate(status)).collect()
    }
    fn ms(&self, status: u16, quantile: f64) -> Vec<f64> {
        self.0.iter().map(|s| s.ms(status, quantile)).collect()
    }
}

fn each(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

#[tokio::main]
async fn main() -> Result<(), String> {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare::serve().await;
    }
    let Binaries { service: binary, stub } = binaries()?;
    if let Ok(users) = std::env::var("BENCH_USERS") {
        return crowd::measure(&binary, users.parse().map_err(|e| format!("BENCH_USERS: {e}"))?).await;
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    if let Ok(sizes) = std::env::var("BENCH_SIZES") {
        let sizes = sizes.split(',').map(|n| n.trim().parse().map_err(|e| format!("BENCH_SIZES: {e}"))).collect::<Result<Vec<_>, _>>()?;
        return sizes::measure(&binary, &root.join("docs"), &sizes).await;
    }
    if let (Ok(cql), Ok(redis)) = (std::env::var("BENCH_CQL"), std::env::var("BENCH_REDIS")) {
        return stacks::measure(
            &binary,
            &root.join("docs"),
            &stacks::Stores { several: std::env::var("BENCH_CQL_SEVERAL").unwrap_or_else(|_| cql.clone()), cql, redis },
            seconds("BENCH_LONG", 15),
        )
        .await;
    }
    let mut book = Book::default();
    measure(&binary, &stub, &mut book).await?;
    page::write(&root.join("docs"), &book)
}

/// The whole run, in one order: what is cheap first, the storms last.
async fn measure(binary: &Path, stub: &Path, book: &mut Book) -> Result<(), String> {
    use Better::{Higher, Lower};
    let size = std::fs::metadata(binary).map_err(|e| e.to_string())?.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (short, long) = (seconds("BENCH_SHORT", 5), seconds("BENCH_LONG", 15));
    let raw_now = || raw_rate(Argon2Params::default(), threads, short);

    let raw = raw_now();
    let server = Server::start(binary, &[]).await?;
    book.add(START, "start to ready", "ms", Lower, vec![server.to_ready.as_secs_f64() * 1000.0]);
    book.add(START, "binary", "MiB", Lower, vec![size as f64 / 1_048_576.0]);
    let tokens = Arc::new(sign_up(server.address).await?);
    book.add(START, "resident after 256 sign-ups", "MiB", Lower, vec![server.resident_mib()]);

    let quiet = Server::start(binary, &[]).await?;
    let before = quiet.resident_mib();
    let open = open_idle(quiet.address, IDLE).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    book.add(START, "10,000 open connections that have asked once", "MiB", Lower, vec![quiet.resident_mib() - before]);
    drop((open, quiet));

    let first = Client::new(server.address).send(Method::GET, "/v1/auth/me", Some(&tokens[0].0), None).await?;
    let pair = Client::new(server.address).post("/v1/auth/login", json!({"email": email(0), "password": password(0)})).await?;
    let signed_up =
        Client::new(server.address).post("/v1/auth/signup", json!({"email": email(USERS), "password": password(USERS)})).await?;
    let bare = Bare::start(&first.body, &pair.body, &signed_up.body).await?;
    let stubbed = Server::start(stub, &[("QEETID_ARGON2", "m=8,t=1,p=1")]).await?;

    let at = [server.address];
    let pause = Duration::from_millis(2);
    let idle = me(&at, tokens.clone(), 8, short, pause).await;
    book.add(LIGHT, "me, 8 connections that pause 2 ms: p50", "ms", Lower, vec![idle.ms(200, 0.5)]);
    book.add(LIGHT, "me, 8 connections that pause 2 ms: p99", "ms", Lower, vec![idle.ms(200, 0.99)]);

    let [mut mes, mut turns, mut bare_mes, mut bare_turns, mut signs, mut stub_signs, mut bare_signs] = [const { Rounds(vec![]) }; 7];
    let mut costs = vec![];
    let (ours, theirs) = (turning(&tokens), turning(&tokens));
    for round in 0..ROUNDS {
        mes.0.push(me(&at, tokens.clone(), 64, short, Duration::ZERO).await);
        bare_mes.0.push(me(&[bare.address], tokens.clone(), 64, short, Duration::ZERO).await);
        let cpu = server.cpu_seconds();
        let turned = refreshes(&at, ours.clone(), 64, short).await;
        costs.push((server.cpu_seconds() - cpu) / turned.count(200) as f64 * 1e6);
        turns.0.push(turned);
        bare_turns.0.push(refreshes(&[bare.address], theirs.clone(), 64, short).await);
        signs.0.push(sign_ups(&at, 64, short, round).await);
        stub_signs.0.push(sign_ups(&[stubbed.address], 64, short, round).await);
        bare_signs.0.push(sign_ups(&[bare.address], 64, short, round).await);
    }
    drop((bare, stubbed));
    book.add(LIGHT, "me, 64 connections", "/s", Higher, mes.rates(200));
    book.add(LIGHT, "me, a bare poem handler of the same bytes", "/s", Higher, bare_mes.rates(200));
    book.add(LIGHT, "me ÷ bare", "", Higher, each(&mes.rates(200), &bare_mes.rates(200), |a, b| a / b));
    book.add(LIGHT, "refresh, 64 connections", "/s", Higher, turns.rates(200));
    book.add(LIGHT, "refresh, a bare poem handler of the same bytes", "/s", Higher, bare_turns.rates(200));
    book.add(LIGHT, "refresh ÷ bare", "", Higher, each(&turns.rates(200), &bare_turns.rates(200), |a, b| a / b));
    book.add(LIGHT, "refresh: p99", "ms", Lower, turns.ms(200, 0.99));
    book.add(LIGHT, "CPU of the service for a refresh", "µs", Lower, costs);
    book.add(LIGHT, "sign-up with a hash that costs nothing, 64 connections", "/s", Higher, stub_signs.rates(201));
    book.add(LIGHT, "sign-up, a bare poem handler of the same bytes", "/s", Higher, bare_signs.rates(201));
    book.add(
        LIGHT,
        "sign-up with a hash that costs nothing ÷ bare",
        "",
        Higher,
        each(&stub_signs.rates(201), &bare_signs.rates(201), |a, b| a / b),
    );

    let mut peaks = Rounds(vec![]);
    let mut raws = vec![raw];
    for _ in 0..ROUNDS {
        peaks.0.push(logins(&at, 64, short, true).await);
        raws.push(raw_now());
    }
    let raw = median(&raws);
    let peak = median(&peaks.rates(200));
    book.add(HASHING, "raw rate of the kernel on all threads", "/s", Higher, raws);
    book.add(HASHING, "login, 64 connections", "/s", Higher, peaks.rates(200));
    book.add(HASHING, "login ÷ raw", "", Higher, peaks.rates(200).iter().map(|l| l / raw).collect());
    book.add(HASHING, "login: p99", "ms", Lower, peaks.ms(200, 0.99));
    book.add(HASHING, "sign-up, 64 connections", "/s", Higher, signs.rates(201));

    let (busy, under) = tokio::join!(logins(&at, 64, long, true), me(&at, tokens.clone(), 8, long, pause));
    book.add(STORMS, "login with me beside", "/s", Higher, vec![busy.rate(200)]);
    book.add(STORMS, "me while logins saturate the pool: p99", "ms", Lower, vec![under.ms(200, 0.99)]);

    for (name, polite) in [("2,000 connections that wait as told", true), ("2,000 that come back at once", false)] {
        server.forget_peak();
        let storm = logins(&at, 2000, long, polite).await;
        println!("  {}", storm.statuses());
        book.add(STORMS, &format!("{name}: peak resident"), "MiB", Lower, vec![server.peak_mib()]);
        book.add(STORMS, &format!("{name}: goodput ÷ peak"), "", Higher, vec![storm.rate(200) / peak]);
        book.add(STORMS, &format!("{name}: refused"), "/s", Higher, vec![storm.rate(503)]);
        book.add(STORMS, &format!("{name}: refused, p99"), "ms", Lower, vec![storm.ms(503, 0.99)]);
        book.add(STORMS, &format!("{name}: resident afterwards"), "MiB", Lower, vec![server.resident_mib()]);
    }

    server.forget_peak();
    let (storm, under) = tokio::join!(login_storm(&server, peak * 10.0, long), me(&at, tokens.clone(), 8, long, pause));
    println!("  {}; asked to wait (s: times): {:?}", storm.statuses(), storm.asked_to_wait);
    book.add(STORMS, "ten times what can be done, open loop: goodput ÷ peak", "", Higher, vec![storm.rate(200) / peak]);
    book.add(STORMS, "ten times, admitted: p99", "ms", Lower, vec![storm.ms(200, 0.99)]);
    book.add(STORMS, "ten times, refused: p50", "ms", Lower, vec![storm.ms(503, 0.5)]);
    book.add(STORMS, "ten times, refused: p99", "ms", Lower, vec![storm.ms(503, 0.99)]);
    book.add(STORMS, "ten times, me beside: p99", "ms", Lower, vec![under.ms(200, 0.99)]);
    book.add(STORMS, "ten times, over 4,000 connections: peak resident", "MiB", Lower, vec![server.peak_mib()]);

    Ok(())
}
