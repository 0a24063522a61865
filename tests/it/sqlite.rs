//! The SQLite room against what machines do to it: killed at any moment, a full disk, a disk that fails, read-only mounts.
//! Each runs in a child process: this very binary again, asked for the same test, which by [`PATH`] knows that it is the child.

use qeetid::sqlite::{Connection, Error, File, rusqlite};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicI64, Ordering::SeqCst},
    time::Duration,
};

const PATH: &str = "QEETID_TEST_SQLITE_PATH";

fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", test]).env(PATH, path);
    command
}

/// Where the child works; `None` in the parent.
fn as_child() -> Option<PathBuf> {
    std::env::var_os(PATH).map(Into::into)
}

fn passed(out: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

/// Two tables, so that half a write would show.
async fn open(path: &Path) -> File {
    let file = File::open(path, 1).unwrap();
    let sql = "CREATE TABLE IF NOT EXISTS a (n INTEGER PRIMARY KEY) STRICT; CREATE TABLE IF NOT EXISTS b (n INTEGER, fill BLOB) STRICT;";
    file.write(move |c| c.execute_batch(sql)).await.unwrap();
    file
}

async fn put(file: &File, n: i64, bytes: usize) -> Result<(), Error> {
    file.write(move |c| {
        c.prepare_cached("INSERT INTO a (n) VALUES (?1)")?.execute([n])?;
        c.prepare_cached("INSERT INTO b (n, fill) VALUES (?1, zeroblob(?2))")?.execute((n, bytes as i64)).map(drop)
    })
    .await
}

fn all(c: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let (a, b) = ("SELECT n FROM a", "SELECT n FROM b");
    let read = |sql| c.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<HashSet<i64>>>();
    assert_eq!(read(a)?, read(b)?, "no write is there by half");
    assert_eq!(c.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))?, "ok");
    read(a)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(path) = as_child() {
        return writes_until_it_is_killed(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = HashSet::new();
    for round in 0..15 {
        let mut writer = child("sqlite::what_was_acknowledged_survives_kill_9", &path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap());
        // Early, late, and in between: at its first acknowledgement, its 21st, its 41st, and in whatever it is at a little later.
        let (mut said, mut acks) = (String::new(), 0);
        while acks <= 20 * round {
            let from = said.len();
            assert!(lines.read_line(&mut said).unwrap() > 0, "the writer ended by itself");
            acks += u32::from(said[from..].starts_with("ack "));
        }
        std::thread::sleep(Duration::from_micros(700) * (round % 5));
        writer.kill().unwrap();
        writer.wait().unwrap();
        lines.read_to_string(&mut said).unwrap();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let before = acknowledged.len();
        acknowledged.extend(whole.lines().filter_map(|line| line.strip_prefix("ack ")).map(|n| n.parse::<i64>().unwrap()));
        assert!(acknowledged.len() > before + 20 * round as usize, "each is acknowledged once");
        let file = runtime.block_on(open(&path));
        let there = file.read_here(all).unwrap();
        let lost: Vec<&i64> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and not there: {lost:?}");
    }
}

fn writes_until_it_is_killed(path: &Path) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let file = open(path).await;
        let next = file.read_here(|c| c.query_row("SELECT coalesce(max(n), 0) + 1 FROM a", [], |row| row.get(0))).unwrap();
        let next: &AtomicI64 = Box::leak(Box::new(AtomicI64::new(next)));
        for _ in 0..16 {
            let file = file.clone();
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, SeqCst);
                    put(&file, n, 300).await.unwrap();
                    // One call for one line, so that no line is torn by another.
                    std::io::stdout().lock().write_all(format!("ack {n}\n").as_bytes()).unwrap();
                }
            });
        }
        std::future::pending::<()>().await;
    });
}

/// A mount namespace of its own, with a small disk: as root, or as root of a user namespace.
#[test]
fn a_full_disk_refuses_and_recovers() {
    if let Some(path) = as_child() {
        return fills_its_disk(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    // SAFETY: geteuid has no preconditions and can't fail.
    let namespaces = if unsafe { libc::geteuid() } == 0 { "-m" } else { "-rm" };
    let part = child("sqlite::a_full_disk_refuses_and_recovers", &dir.path().join("t.db"));
    let script = r#"mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", script, "sh"]).arg(dir.path()).arg(part.get_program()).args(part.get_args());
    passed(&command.env(PATH, dir.path().join("t.db")).output().unwrap());
}

fn fills_its_disk(path: &Path) {
    let remount = |how: &str| {
        assert!(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(path.parent().unwrap()).status().unwrap().success());
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let filler = path.with_file_name("filler");
        std::fs::write(&filler, vec![1; 1 << 20]).unwrap();
        let file = open(path).await;
        let (mut there, mut refused) = (HashSet::new(), 0);
        for n in 0..2000 {
            match put(&file, n, 5000).await {
                Ok(()) => drop(there.insert(n)),
                Err(e) => {
                    assert!(e.certainly_not(), "{e}");
                    refused += 1;
                }
            }
            if refused == 20 {
                break;
            }
        }
        assert!(refused == 20 && there.len() > 50, "{refused} refused, {} written", there.len());
        assert_eq!(file.read(all).await.unwrap(), there, "reads go on, and what was refused isn't there");
        std::fs::remove_file(&filler).unwrap();
        for n in 10_000..10_010 {
            put(&file, n, 5000).await.unwrap();
            there.insert(n);
        }
        assert_eq!(file.read(all).await.unwrap(), there);
        drop(file);
        remount("ro");
        let error = File::open(path, 1).unwrap_err();
        assert!(error.certainly_not() && error.to_string().contains("Read-only"), "{error}");
        remount("rw");
        assert_eq!(open(path).await.read_here(all).unwrap(), there);
    });
}

#[test]
fn a_disk_that_fails_is_told_apart_and_recovers() {
    if let Some(path) = as_child() {
        return writes_past_its_limit(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    passed(&child("sqlite::a_disk_that_fails_is_told_apart_and_recovers", &dir.path().join("t.db")).output().unwrap());
}

/// RLIMIT_FSIZE makes write(2) fail with EFBIG: to SQLite an I/O error, in the midst of a commit.
fn writes_past_its_limit(path: &Path) {
    let limit = |bytes: u64| {
        let to = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `to` is a whole rlimit that outlives the call; ignoring SIGXFSZ installs no handler.
        let done = unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const to)
        };
        assert_eq!(done, 0);
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let file = open(path).await;
        let mut there = HashSet::new();
        let mut unknown = HashSet::new();
        for round in 0..20i64 {
            let size = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
            // The limit cuts off this commit's frames at another place each time.
            limit(size + 1000 * round as u64);
            let n = round * 100;
            match put(&file, n, 20_000).await {
                Ok(()) => drop(there.insert(n)),
                Err(e) if e.certainly_not() => {}
                Err(_) => drop(unknown.insert(n)),
            }
            limit(libc::RLIM_INFINITY);
            put(&file, n + 1, 100).await.expect("it recovers by itself");
            there.insert(n + 1);
            let found = file.read(all).await.unwrap();
            assert!(there.is_subset(&found), "what was acknowledged stays");
            assert!(found.iter().all(|n| there.contains(n) || unknown.contains(n)), "what certainly wasn't written isn't there");
        }
        assert!(!unknown.is_empty(), "the limit never struck in a commit");
        let before = file.read(all).await.unwrap();
        drop(file);
        assert_eq!(open(path).await.read_here(all).unwrap(), before, "nothing comes up later");
    });
}
