//! A tenant of many: how fast they come in, that the last page of them costs what the first does, and what an API key costs.

use crate::{client::Client, server::Server};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// Requests of each kind.
const ROUNDS: usize = 400;
/// Keys that are used for the first time; a tenant may have 1,000.
const KEYS: usize = 400;

/// Rows with a hash that is kept as it is, in no order of their addresses.
fn write_rows(file: &Path, users: usize) -> Result<(), String> {
    let mut out = BufWriter::new(std::fs::File::create(file).map_err(|e| e.to_string())?);
    for n in 0..users {
        let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let hash = format!("$2b$10$abcdefghijklmnopqrstuu{mixed:031}");
        let row =
            json!({"email": format!("{mixed:x}.{n}@example.com"), "password_hash": hash, "display_name": format!("Person {mixed:x}")});
        writeln!(out, "{row}").map_err(|e| e.to_string())?;
    }
    out.flush().map_err(|e| e.to_string())
}

/// What a command of the service did.
pub struct Ran {
    pub said: String,
    pub about: String,
    pub took: Duration,
    /// The most memory that it had.
    pub peak_mib: f64,
}

/// Runs a command of the service, with settings.
pub async fn run(binary: &Path, settings: &[(&str, String)], arguments: &[&str]) -> Result<Ran, String> {
    let began = Instant::now();
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .env("QEETID_LOG", "warn")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().map_err(|e| e.to_string())?;
    let status = format!("/proc/{}/status", child.id().unwrap_or(0));
    let output = child.wait_with_output();
    tokio::pin!(output);
    let mut peak = 0.0_f64;
    let output = loop {
        tokio::select! {
            done = &mut output => break done.map_err(|e| e.to_string())?,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
                peak = peak.max(line.unwrap_or(0.0) / 1024.0);
            }
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ran = Ran { said: text(&output.stdout), about: text(&output.stderr), took: began.elapsed(), peak_mib: peak };
    if output.status.success() { Ok(ran) } else { Err(ran.about) }
}

/// Half of the requests took less, in µs.
pub async fn p50(client: &mut Client, path: &str, keys: &[String]) -> Result<f64, String> {
    let mut times = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        let answer = client.send_as(Method::GET, path, keys.get(n % keys.len().max(1)).map(|k| format!("ApiKey {k}")), None).await?;
        if answer.status != 200 {
            return Err(format!("{path} answered {}", answer.status));
        }
        times.push(answer.took);
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2].as_secs_f64() * 1e6)
}

/// Cursors of the page in the middle and of the last one.
async fn cursors(client: &mut Client, key: &str, users: usize) -> Result<(String, String), String> {
    let (mut at, mut middle, mut last, mut seen) = (String::new(), String::new(), String::new(), 0);
    loop {
        let path = format!("/v1/users?limit=200&cursor={at}");
        let answer = client.send_as(Method::GET, &path, Some(format!("ApiKey {key}")), None).await?;
        let page: Value = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        seen += page["items"].as_array().map_or(0, Vec::len);
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut at);
        if middle.is_empty() && seen >= users / 2 {
            next.clone_into(&mut middle);
        }
        next.clone_into(&mut last);
    }
    if seen == users { Ok((middle, last)) } else { Err(format!("{seen} of {users} were listed")) }
}

/// A data directory with one tenant of many.
pub struct Tenant {
    pub data: PathBuf,
    /// An API key of it that may do everything.
    pub key: String,
    /// What became of the import.
    pub import: Ran,
    /// Unless it is kept.
    pub _dir: Option<tempfile::TempDir>,
}

/// How a kept tenant was made.
#[derive(Serialize, Deserialize)]
struct Made {
    key: String,
    import_seconds: f64,
    import_peak_mib: f64,
}

impl Tenant {
    /// Makes one, and imports so many users. With `BENCH_CROWDS` it stays in that directory, for later runs: millions take an hour.
    pub async fn of(binary: &Path, users: usize) -> Result<Self, String> {
        let kept = std::env::var_os("BENCH_CROWDS").map(|dir| Path::new(&dir).join(users.to_string()));
        let Some(kept) = kept else {
            let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
            let tenant = Self::make(binary, users, dir.path()).await?;
            return Ok(Self { _dir: Some(dir), ..tenant });
        };
        let note = kept.join("made.json");
        if let Ok(made) = std::fs::read_to_string(&note) {
            let Made { key, import_seconds, import_peak_mib } = serde_json::from_str(&made).map_err(|e| e.to_string())?;
            let took = Duration::from_secs_f64(import_seconds);
            let import = Ran { said: String::new(), about: String::new(), took, peak_mib: import_peak_mib };
            return Ok(Self { data: kept.join("data"), key, import, _dir: None });
        }
        std::fs::create_dir_all(&kept).map_err(|e| e.to_string())?;
        let tenant = Self::make(binary, users, &kept).await?;
        let made =
            Made { key: tenant.key.clone(), import_seconds: tenant.import.took.as_secs_f64(), import_peak_mib: tenant.import.peak_mib };
        std::fs::write(note, serde_json::to_string(&made).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        Ok(tenant)
    }

    async fn make(binary: &Path, users: usize, dir: &Path) -> Result<Self, String> {
        let (rows, data) = (dir.join("rows.ndjson"), dir.join("data"));
        write_rows(&rows, users)?;
        let settings = [("QEETID_DATA_DIR", data.to_string_lossy().into_owned())];
        let made = run(binary, &settings, &["api-key", "create", "--tenant", "new:Bench", "--scope", "all"]).await?;
        let id = made.about.split_once("of tenant ").and_then(|(_, rest)| rest.split_whitespace().next()).ok_or("no tenant was named")?;
        let file = rows.to_str().ok_or("a path that is no text")?;
        let import = run(binary, &settings, &["import", file, "--source", "qeet", "--tenant", id]).await?;
        std::fs::remove_file(&rows).map_err(|e| e.to_string())?;
        Ok(Self { data, key: made.said.trim().to_owned(), import, _dir: None })
    }
}

/// Measures all of it.
pub async fn measure(binary: &Path, users: usize) -> Result<(), String> {
    let Tenant { data, key, import, _dir } = Tenant::of(binary, users).await?;
    let size = std::fs::metadata(data.join("qeetid.db")).map_or(0, |m| m.len());
    println!(
        "import of {users} users: {:.0} rows/s, peak {:.0} MiB, file {:.0} MiB",
        users as f64 / import.took.as_secs_f64(),
        import.peak_mib,
        size as f64 / 1048576.0
    );

    let server = Server::start_in(binary, &data, &[]).await?;
    let mut client = Client::new(server.address);
    let (middle, last) = cursors(&mut client, &key, users).await?;
    // Twice, so that it shows how far chance goes.
    for _ in 0..2 {
        for (name, cursor) in [("first", ""), ("middle", &*middle), ("last", &*last)] {
            let path = format!("/v1/users?limit=50&cursor={cursor}");
            println!("GET /v1/users?limit=50, {name:<6} page: p50 {:>6.0} µs", p50(&mut client, &path, std::slice::from_ref(&key)).await?);
        }
    }

    let mut keys = Vec::with_capacity(KEYS);
    for n in 0..KEYS {
        let body = json!({"name": format!("key {n}"), "scopes": ["user.read"]}).to_string();
        let answer = client.send_as(Method::POST, "/v1/api-keys", Some(format!("ApiKey {key}")), Some(body)).await?;
        keys.push(answer.text("secret"));
    }
    // All that a request costs with nothing to check, and what a key adds to it.
    let plain = p50(&mut client, "/healthz", &[]).await?;
    let first = p50(&mut client, "/v1/auth/me", &keys).await?;
    let again = p50(&mut client, "/v1/auth/me", &keys).await?;
    println!(
        "GET /healthz p50 {plain:.0} µs; GET /v1/auth/me by a key never seen {first:.0} µs, by one seen within a minute {again:.0} µs"
    );
    Ok(())
}
