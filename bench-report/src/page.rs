//! docs/performance.md, its charts, and the figures that the next run compares itself with.

use crate::{
    HASHING, LIGHT, STORMS, charts,
    figures::{Book, Last},
};
use std::{fs, path::Path, process::Command};

/// What the figures depend on most.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(':'));
        line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cpu = read("/proc/cpuinfo");
    let kib: u64 = field(&read("/proc/meminfo"), "MemTotal").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let flags = field(&cpu, "flags");
    let wide = if flags.split(' ').any(|f| f == "avx512f") { "AVX-512" } else { "no AVX-512" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {} ({wide}), {} GiB", field(&cpu, "model name"), (kib + (1 << 19)) >> 20)
}

fn said_by(command: &str, argument: &str) -> String {
    let output = Command::new(command).arg(argument).output();
    output.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Writes all of it into `docs`, and says what got worse since the last run.
pub fn write(docs: &Path, book: &Book) -> Result<(), String> {
    let pictures = docs.join("performance");
    fs::create_dir_all(&pictures).map_err(|e| e.to_string())?;
    let machine = machine();
    let file = pictures.join("last.json");
    let mut last = Last::read(&file);
    if !last.compares(&machine) {
        last = Last::default();
    }
    draw(&pictures, book).map_err(|e| e.to_string())?;
    fs::write(docs.join("performance.md"), page(book, &last, &machine)).map_err(|e| e.to_string())?;
    let json = serde_json::to_string_pretty(&book.to_json(&machine)).map_err(|e| e.to_string())?;
    fs::write(&file, json + "\n").map_err(|e| e.to_string())?;
    let worse = last.worse(book);
    println!("\n{} figures in docs/performance.md", book.figures.len());
    if !worse.is_empty() {
        println!("worse than the last run by more than the noise:\n  {}", worse.join("\n  "));
    }
    Ok(())
}

fn draw(pictures: &Path, book: &Book) -> Result<(), Box<dyn std::error::Error>> {
    let bar = |label: &str, name: &str| (label.to_owned(), book.get(name));
    charts::bars(
        &pictures.join("light.svg"),
        "Requests a second, 64 connections",
        "/s",
        &[
            bar("me", "me, 64 connections"),
            bar("bare handler, same bytes", "me, a bare poem handler of the same bytes"),
            bar("refresh", "refresh, 64 connections"),
            bar("bare handler, same bytes", "refresh, a bare poem handler of the same bytes"),
            bar("sign-up without the hash", "sign-up with a hash that costs nothing, 64 connections"),
            bar("bare handler, same bytes", "sign-up, a bare poem handler of the same bytes"),
        ],
    )?;
    charts::bars(
        &pictures.join("passwords.svg"),
        "Passwords a second",
        "/s",
        &[
            bar("the kernel alone, all threads", "raw rate of the kernel on all threads"),
            bar("login, 64 connections", "login, 64 connections"),
            bar("sign-up, 64 connections", "sign-up, 64 connections"),
        ],
    )?;
    charts::bars(
        &pictures.join("saturation.svg"),
        "Goodput past saturation, as a share of the peak",
        "",
        &[
            ("64 connections".into(), 1.0),
            bar("ten times the rate, open loop", "ten times what can be done, open loop: goodput ÷ peak"),
            bar("2,000 connections that wait as told", "2,000 connections that wait as told: goodput ÷ peak"),
            bar("2,000 that come back at once", "2,000 that come back at once: goodput ÷ peak"),
        ],
    )?;
    charts::bars(
        &pictures.join("beside.svg"),
        "p99 of me, in ms",
        "ms",
        &[
            bar("idle service", "me, 8 connections that pause 2 ms: p99"),
            bar("64 connections sign in", "me while logins saturate the pool: p99"),
            bar("ten times what can be done", "ten times, me beside: p99"),
        ],
    )
}

fn page(book: &Book, last: &Last, machine: &str) -> String {
    let mut page = format!(
        "# How fast it is\n\n\
        Written by `cargo run --profile {} -p bench-report`, which runs the service and the load on the same cores, with the embedded store, \
        `synchronous=FULL` and the limits off. The absolute figures are of one machine, which others use too; the ratios are of one run \
        and say more. Where several rounds were measured the one in the middle stands first. *Last run* is what the run before had, if it was \
        on a machine like this; a change is named where it is more than 5 % and more than the rounds of either run lie apart.\n\n\
        Machine: {machine}, {} {}, {}.\n",
        crate::profile(),
        said_by("uname", "-s"),
        said_by("uname", "-r"),
        said_by("rustc", "--version"),
    );
    for (section, table) in book.tables(last) {
        let (picture, about) = match section {
            LIGHT => (
                "light",
                "A *bare handler* is a poem server of its own that answers the same bytes and does nothing else. \
                A *hash that costs nothing* is Argon2id with m=8,t=1,p=1, which only a build for benches takes (`--features stub-hash`).",
            ),
            HASHING => ("passwords", "Argon2id with m=19456, t=2, p=1. The load generator has its share of the cores too."),
            STORMS => (
                "saturation",
                "In an *open loop* requests come at a rate, whether the service keeps up or not, as people do; their times count from when they \
                were due. *Goodput* is what succeeds.",
            ),
            _ => ("", ""),
        };
        page += &format!("\n## {section}\n\n");
        if !about.is_empty() {
            page += &format!("{about}\n\n");
        }
        page += &table;
        if !picture.is_empty() {
            page += &format!("\n![{section}](performance/{picture}.svg)\n");
        }
        if section == STORMS {
            page += "\n![Light requests beside the storm](performance/beside.svg)\n";
        }
    }
    page
}
