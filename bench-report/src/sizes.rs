//! What grows with the number of users: the same operations in stores of several sizes.

use crate::{charts, client::Client, crowd, figures::number, server::Server};
use hyper::Method;
use qeetid::credentials::{Argon2Params, kernel::raw_rate};
use serde_json::json;
use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// Operations of a kind, one after the other; the middle one counts.
const TIMES: usize = 60;

/// One row of the table, in the order of [`COLUMNS`].
struct Size {
    users: usize,
    cells: Vec<f64>,
}

const COLUMNS: [&str; 8] = [
    "import, rows/s",
    "start to ready, ms",
    "resident, MiB",
    "sign-up less the hash, ms",
    "login less the hash, ms",
    "refresh, ms",
    "me, ms",
    "list of 50, ms",
];

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// One operation, [`TIMES`] times.
async fn posts(client: &mut Client, path: &str, status: u16, body: impl Fn(usize) -> serde_json::Value) -> Result<f64, String> {
    let mut times = Vec::with_capacity(TIMES);
    for n in 0..TIMES {
        let answer = client.post(path, body(n)).await?;
        if answer.status != status {
            return Err(format!("{path} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        times.push(answer.took);
    }
    Ok(middle(times))
}

async fn one(binary: &Path, users: usize) -> Result<Size, String> {
    let crowd::Tenant { data, key, import, _dir } = crowd::Tenant::of(binary, users).await?;
    let server = Server::start_in(binary, &data, &[]).await?;
    let mut client = Client::new(server.address);
    let hash = 1000.0 / raw_rate(Argon2Params::default(), 1, Duration::from_secs(3));
    // A kept one may have those of an earlier run.
    let run = std::process::id();
    let person = |n: usize| json!({"email": format!("size-{run}-{n}@example.com"), "password": "violet harbour lantern"});
    let sign_up = posts(&mut client, "/v1/auth/signup", 201, person).await?;
    let login = posts(&mut client, "/v1/auth/login", 200, person).await?;
    let pair = client.post("/v1/auth/login", person(0)).await?;
    let (access, mut turning) = (pair.text("access_token"), pair.text("refresh_token"));
    let (mut refreshes, mut mes) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let answer = client.post("/v1/auth/refresh", json!({"refresh_token": turning})).await?;
        turning = answer.text("refresh_token");
        refreshes.push(answer.took);
        mes.push(client.send(Method::GET, "/v1/auth/me", Some(&access), None).await?.took);
    }
    let list = crowd::p50(&mut client, "/v1/users?limit=50", std::slice::from_ref(&key)).await? / 1000.0;
    let rate = users as f64 / import.took.as_secs_f64();
    let resident = server.resident_mib();
    drop(server);
    // Started again, with the file as it is after use.
    let again = Instant::now();
    let server = Server::start_in(binary, &data, &[]).await?;
    let ready = server.to_ready.min(again.elapsed()).as_secs_f64() * 1000.0;
    let cells = vec![rate, ready, resident, sign_up - hash, login - hash, middle(refreshes), middle(mes), list];
    Ok(Size { users, cells })
}

/// Measures every size, and writes the table and the chart into `docs`.
pub async fn measure(binary: &Path, docs: &Path, sizes: &[usize]) -> Result<(), String> {
    let mut all = Vec::new();
    for &users in sizes {
        let size = one(binary, users).await?;
        for (name, cell) in COLUMNS.iter().zip(&size.cells) {
            println!("{users:>9} users: {name:<28} {:>10}", number(*cell));
        }
        all.push(size);
    }
    all.sort_by_key(|size| size.users);
    let mut page = format!(
        "# What grows with the number of users\n\n\
        Written by `BENCH_SIZES=… cargo run --release -p bench-report`: the embedded store, one request at a time, medians of {TIMES}. The hash \
        is taken off by the rate of one thread of the kernel alone.\n\n| users | {} |\n|{}\n",
        COLUMNS.join(" | "),
        " ---: |".repeat(COLUMNS.len() + 1)
    );
    for size in &all {
        let cells = size.cells.iter().map(|c| number(*c)).collect::<Vec<_>>().join(" | ");
        let _ = writeln!(page, "| {} | {cells} |", size.users);
    }
    page += "\n![Time over the number of users](performance/sizes.svg)\n";
    let lines = COLUMNS.iter().enumerate().skip(3).map(|(n, name)| {
        let name = name.trim_end_matches(", ms").to_owned();
        (name, all.iter().map(|s| (s.users as f64, s.cells[n])).collect())
    });
    let pictures = docs.join("performance");
    std::fs::create_dir_all(&pictures).map_err(|e| e.to_string())?;
    charts::over_sizes(&pictures.join("sizes.svg"), "Time of an operation", "ms", &lines.collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    std::fs::write(docs.join("performance-sizes.md"), page).map_err(|e| e.to_string())
}
