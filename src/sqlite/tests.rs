use super::{migrate::*, *};
use std::{future::poll_fn, os::unix::fs::PermissionsExt, pin::pin, sync::mpsc, task::Poll, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

fn open(dir: &tempfile::TempDir) -> File {
    File::open(&dir.path().join("t.db"), 2).unwrap()
}

async fn with_table() -> (File, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = open(&dir);
    file.write(|c| c.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT")).await.unwrap();
    (file, dir)
}

async fn put(file: &File, n: i64) -> Result<(), Error> {
    file.write(move |c| c.prepare_cached("INSERT INTO t (n) VALUES (?1)")?.execute([n]).map(drop)).await
}

fn all(c: &Connection) -> rusqlite::Result<Vec<i64>> {
    c.prepare_cached("SELECT n FROM t ORDER BY n")?.query_map([], |row| row.get(0))?.collect()
}

/// Holds the writer until told otherwise, so that what comes meanwhile waits.
async fn hold(file: &File) -> (mpsc::Sender<()>, JoinHandle<Result<(), Error>>) {
    let (go, gate) = mpsc::channel();
    let (running, started) = oneshot::channel();
    let file = file.clone();
    let held = tokio::spawn(async move {
        file.write(move |_| {
            running.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        })
        .await
    });
    started.await.unwrap();
    (go, held)
}

/// Asks the writer for something in a task of its own, and tells when that is in the queue: where there is a place it is put there at once.
fn in_queue<T: Send + 'static>(asking: impl Future<Output = T> + Send + 'static) -> (JoinHandle<T>, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut asking = pin!(asking);
        let first = poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await;
        // Nobody has to wait for it.
        let _ = tell.send(());
        match first {
            Poll::Ready(out) => out,
            Poll::Pending => asking.await,
        }
    });
    (task, told)
}

/// Comes back when it is in the queue.
async fn queued<T: Send + 'static>(asking: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let (task, told) = in_queue(asking);
    told.await.unwrap();
    task
}

/// A write that waits, while somebody holds the writer.
async fn put_later(file: &File, n: i64) -> JoinHandle<Result<(), Error>> {
    let file = file.clone();
    queued(async move { put(&file, n).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_committed_together() {
    let (file, _dir) = with_table().await;
    let before = file.stats();
    let (go, held) = hold(&file).await;
    let mut writes = Vec::new();
    for n in 0..200 {
        writes.push(put_later(&file, n).await);
    }
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let after = file.stats();
    assert_eq!(after.writes - before.writes, 201);
    // The one that held, and all the others; a few more on a machine that takes long for them.
    assert!(after.commits - before.commits <= 10, "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_or_panic_takes_nobody_with_it() {
    let (file, _dir) = with_table().await;
    let (go, held) = hold(&file).await;
    let spawn = |n: i64, then: fn() -> rusqlite::Result<()>| {
        let file = file.clone();
        queued(async move {
            file.write(move |c| {
                c.execute("INSERT INTO t (n) VALUES (?1)", [n])?;
                then()
            })
            .await
        })
    };
    let good = [spawn(1, || Ok(())).await, spawn(2, || Ok(())).await];
    let failing = spawn(3, || Err(rusqlite::Error::QueryReturnedNoRows)).await;
    let panicking = spawn(4, || panic!("planted")).await;
    let last = spawn(5, || Ok(())).await;
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    for write in good {
        write.await.unwrap().unwrap();
    }
    assert!(failing.await.unwrap().unwrap_err().certainly_not());
    assert!(panicking.await.unwrap().unwrap_err().certainly_not());
    last.await.unwrap().unwrap();
    assert!(put(&file, 5).await.unwrap_err().certainly_not(), "a constraint");
    assert_eq!(file.read_here(all).unwrap(), [1, 2, 5]);
    assert!(file.read(|_| -> rusqlite::Result<()> { panic!("planted") }).await.is_err());
    assert!(file.read_here(|_| -> rusqlite::Result<()> { panic!("planted") }).is_err());
    assert_eq!(file.read(all).await.unwrap(), [1, 2, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_see_every_acknowledged_write() {
    let (file, _dir) = with_table().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let file = file.clone();
            tokio::spawn(async move {
                for n in (task * 1000)..(task * 1000 + 50) {
                    put(&file, n).await.unwrap();
                    assert!(file.read(all).await.unwrap().contains(&n));
                    assert!(file.read_here(all).unwrap().contains(&n));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_cannot_write() {
    let (file, _dir) = with_table().await;
    assert!(file.read(|c| c.execute("INSERT INTO t (n) VALUES (1)", [])).await.is_err());
    assert!(file.read_here(|c| c.execute("INSERT INTO t (n) VALUES (1)", [])).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_of_one_state() {
    let (file, _dir) = with_table().await;
    let (tell, told) = mpsc::channel();
    let (seen, saw) = oneshot::channel();
    let reading = tokio::spawn({
        let file = file.clone();
        async move {
            file.read(move |c| {
                let first = all(c)?;
                seen.send(()).unwrap();
                told.recv().unwrap();
                Ok((first, all(c)?))
            })
            .await
        }
    });
    saw.await.unwrap();
    put(&file, 1).await.unwrap();
    tell.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (vec![], vec![]));
    assert_eq!(file.read(all).await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_caller_left_is_written() {
    let (file, _dir) = with_table().await;
    let (go, held) = hold(&file).await;
    let gone = put_later(&file, 7).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    put(&file, 8).await.unwrap();
    assert_eq!(file.read_here(all).unwrap(), [7, 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_is_busy_after_a_while() {
    let (file, _dir) = with_table().await;
    let (go, held) = hold(&file).await;
    let begun = Instant::now();
    let (waiting, told): (Vec<_>, Vec<_>) = (0..writer::QUEUE as i64)
        .map(|n| {
            let file = file.clone();
            in_queue(async move { put(&file, n).await })
        })
        .unzip();
    for each in told {
        each.await.unwrap();
    }
    let since = Instant::now();
    let refused = put(&file, -1).await.unwrap_err();
    assert!(matches!(refused, Error::Busy(_)), "{refused}");
    assert!(since.elapsed() < writer::ANSWER_WAIT, "it waited for an answer, not for a place: {:?}", since.elapsed());
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    let mut written: Vec<i64> = Vec::new();
    for (n, write) in (0..).zip(waiting) {
        match write.await.unwrap() {
            Ok(()) => written.push(n),
            // Where all of it takes five seconds and more, the last ones have waited for too long.
            Err(e) => assert!(matches!(e, Error::Busy(_)) && begun.elapsed() > Duration::from_secs(5), "{e} after {:?}", begun.elapsed()),
        }
    }
    assert_eq!(file.read(all).await.unwrap(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_and_its_log_are_private() {
    let (file, dir) = with_table().await;
    for name in ["t.db", "t.db-wal", "t.db-shm"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    file.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_clone_closes_after_what_was_accepted() {
    let (file, dir) = with_table().await;
    put(&file, 1).await.unwrap();
    drop(file);
    assert!(!dir.path().join("t.db-wal").exists(), "the log is folded into the file at the end");
    assert_eq!(open(&dir).read_here(all).unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    assert!(File::open(&path, 1).is_err());
    assert!(File::open(&dir.path().join("none/t.db"), 1).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_file_refuses_and_recovers() {
    let (file, _dir) = with_table().await;
    put(&file, 1).await.unwrap();
    let pragma = |sql: &'static str| file.write(move |c| c.query_row(sql, [], |_| Ok(())).optional().map(drop));
    let big = |n: i64| {
        file.write(move |c| {
            c.execute("INSERT INTO t (n) VALUES (?1)", [n])?;
            c.execute("CREATE TABLE big AS SELECT zeroblob(100000) AS x", []).map(drop)
        })
    };
    pragma("PRAGMA max_page_count = 4").await.unwrap();
    let full = big(2).await.unwrap_err();
    assert!(full.certainly_not() && full.to_string().contains("full"), "{full}");
    pragma("PRAGMA max_page_count = 1000000").await.unwrap();
    big(2).await.unwrap();
    pragma("PRAGMA query_only = ON").await.unwrap();
    let read_only = put(&file, 3).await.unwrap_err();
    assert!(read_only.certainly_not() && read_only.to_string().contains("readonly"), "{read_only}");
    put(&file, 3).await.expect("by a new connection, which may write");
    assert_eq!(file.read(all).await.unwrap(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_that_writes_is_waited_for_and_then_told() {
    let (file, dir) = with_table().await;
    let other = Connection::open(dir.path().join("t.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn({
        let file = file.clone();
        async move { put(&file, 1).await }
    });
    // Whether it waits already can't be seen; each outcome is right.
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    let busy = put(&file, 2).await;
    other.execute_batch("COMMIT").unwrap();
    // The first got its turn between the two, or was told like the second, that nothing was written.
    let first = waiting.await.unwrap();
    assert!([&first, &busy].into_iter().all(|r| r.as_ref().is_ok() || r.as_ref().unwrap_err().certainly_not()));
    put(&file, 3).await.unwrap();
    let expected: Vec<i64> = [(first.is_ok(), 1), (busy.is_ok(), 2), (true, 3)].into_iter().filter(|(ok, _)| *ok).map(|(_, n)| n).collect();
    assert_eq!(file.read_here(all).unwrap(), expected);
}

const ONE: Migration = Migration { number: 1, name: "one", oldest: 1, sql: "CREATE TABLE a (x); CREATE TABLE b (x);" };
const BROKEN: Migration = Migration { number: 2, name: "broken", oldest: 2, sql: "CREATE TABLE c (x); CREATE TABLE a (x);" };
const TWO: Migration = Migration { number: 2, name: "two", oldest: 2, sql: "CREATE TABLE c (x);" };
const THREE: Migration = Migration { number: 3, name: "three", oldest: 2, sql: "CREATE TABLE d (x);" };

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_each_and_whole() {
    let (file, _dir) = with_table().await;
    let tables =
        || file.read_here(|c| c.query_row("SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b', 'c')", [], |r| r.get::<_, i64>(0)));
    assert_eq!(migrate(&file, "r", &[ONE]).await.unwrap(), 1);
    assert!(migrate(&file, "r", &[ONE, BROKEN]).await.unwrap_err().certainly_not());
    assert_eq!(tables().unwrap(), 2, "nothing of the broken one");
    assert_eq!(migrate(&file, "r", &[ONE, TWO]).await.unwrap(), 1);
    assert_eq!(migrate(&file, "r", &[ONE, TWO]).await.unwrap(), 0);
    assert_eq!(tables().unwrap(), 3);
    let older = migrate(&file, "r", &[ONE]).await.unwrap_err();
    assert!(older.to_string().contains("migration 2"), "{older}");
    // A step that is in nobody's way; the one of before still is.
    assert_eq!(migrate(&file, "r", &[ONE, TWO, THREE]).await.unwrap(), 1);
    assert_eq!(migrate(&file, "r", &[ONE, TWO]).await.unwrap(), 0);
    assert!(migrate(&file, "r", &[ONE]).await.unwrap_err().to_string().contains("migration 3"));
    assert_eq!(migrate(&file, "other room", &[]).await.unwrap(), 0);
}

/// How often the file and its log hold `what`. (As text: bytes one by one take seconds in a debug build.)
fn held(dir: &tempfile::TempDir, what: &str) -> usize {
    let files = ["t.db", "t.db-wal"].map(|name| std::fs::read(dir.path().join(name)).unwrap_or_default());
    files.iter().map(|bytes| String::from_utf8_lossy(bytes).matches(what).count()).sum()
}

/// Rows with keys in no order, of many sizes: pages are split and joined all the time. Every third one is to be deleted.
fn crowd(c: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    let mut insert = c.prepare_cached("INSERT OR REPLACE INTO w VALUES (?1, ?2)")?;
    for n in from..to {
        let key = n.wrapping_mul(-7_046_029_254_386_353_131);
        let what = if n % 3 == 0 { "planted-remnant" } else { "other" };
        insert.execute((key.to_be_bytes(), format!("{what}{}", "x".repeat(usize::try_from(n * 37 % 300).unwrap()))))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wiping_leaves_nothing_of_deleted_rows() {
    let (file, dir) = with_table().await;
    let table = "CREATE TABLE w (k BLOB PRIMARY KEY, v TEXT) STRICT, WITHOUT ROWID; CREATE INDEX by_v ON w (v);";
    file.write(|c| c.execute_batch(table)).await.unwrap();
    // More than one step: 40 MB of rows, most of them in a table that nobody touches.
    file.write(|c| {
        c.execute_batch("CREATE TABLE filler (bytes BLOB)")?;
        (0..40).try_for_each(|_| c.prepare_cached("INSERT INTO filler VALUES (zeroblob(1000000))")?.execute([]).map(drop))
    })
    .await
    .unwrap();
    for step in 0..20 {
        file.write(move |c| crowd(c, step * 500, step * 500 + 500)).await.unwrap();
    }
    file.write(|c| c.execute("DELETE FROM w WHERE v LIKE 'planted%'", []).map(drop)).await.unwrap();
    let rows =
        |c: &Connection| c.query_row("SELECT count(*), sum(length(v)) FROM w", [], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)));
    let before = file.read(rows).await.unwrap();
    let pages = |c: &Connection| c.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0));
    assert!(file.read(pages).await.unwrap() > wipe::STEP, "one step wipes it all");
    assert!(held(&dir, "planted-remnant") > 0, "SQLite leaves some: else this test shows nothing");
    // Others write and read meanwhile.
    let (stop, mut stopped) = oneshot::channel::<()>();
    let busy = tokio::spawn({
        let file = file.clone();
        async move {
            let mut n = 1_000;
            while stopped.try_recv().is_err() {
                put(&file, n).await.unwrap();
                file.read(all).await.unwrap();
                n += 1;
            }
            n
        }
    });
    file.wipe().await.unwrap();
    stop.send(()).unwrap();
    let put = busy.await.unwrap();
    assert!(put > 1_000, "nobody wrote meanwhile");
    assert_eq!(held(&dir, "planted-remnant"), 0);
    assert_eq!(file.read(rows).await.unwrap(), before);
    assert_eq!(file.read(all).await.unwrap().len() as i64, put - 1_000);
    let check = file.read(|c| c.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))).await.unwrap();
    assert_eq!(check, "ok");
    assert!(held(&dir, "other") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wiping_waits_for_readers() {
    let (file, dir) = with_table().await;
    put(&file, 1).await.unwrap();
    // A reader of another process, say, in the middle of something.
    let reader = Connection::open(dir.path().join("t.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT n FROM t;").unwrap();
    put(&file, 2).await.unwrap();
    let (unread, _dir) = with_table().await;
    let wiping = {
        let file = file.clone();
        queued(async move { file.wipe().await }).await
    };
    // It would be done when others are that began later.
    for n in 3..10 {
        put(&file, n).await.unwrap();
        put(&unread, n).await.unwrap();
        unread.wipe().await.unwrap();
    }
    assert!(!wiping.is_finished(), "the log can't be emptied");
    assert_eq!(reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    reader.execute_batch("COMMIT").unwrap();
    wiping.await.unwrap().unwrap();
}
