use crate::{
    copy::{Target, embedded, stop},
    support::{
        app::{App, fresh_email},
        cassandra::Cassandra,
        stack::{address, cql},
    },
};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Users that were imported: more than fit into some steps of a copy.
const USERS: usize = 2500;

/// A server whose organization has many members.
async fn crowded() -> App {
    let app = embedded().await;
    let owner = app.signup().await;
    let tenant = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Crowd"})).await.expect(201).str("id");
    let file = app.data_dir().join("crowd.ndjson");
    let bcrypt = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let rows = (0..USERS).map(|_| json!({"email": fresh_email(), "password_hash": bcrypt, "display_name": "Ada"}).to_string() + "\n");
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    let imported = app.command().args(["import", file.to_str().unwrap(), "--source", "qeet", "--tenant", &tenant]).output().unwrap();
    assert!(imported.status.success(), "{}", crate::copy::err(&imported));
    app
}

/// A copy that has read its source and begins to write, what it says, and what it has said.
fn begun(mut copy: Command) -> (Child, BufReader<ChildStderr>, String) {
    let mut copy = copy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stderr, mut said) = (BufReader::new(copy.stderr.take().unwrap()), String::new());
    while !said.contains("read the source:") && stderr.read_line(&mut said).unwrap() > 0 {}
    (copy, stderr, said)
}

/// Waits until a copy has written down so many more steps, or has ended.
async fn further(steps: usize, copy: &mut Child, target: &Target) {
    let (waiting, mut reached) = (Instant::now(), Vec::new());
    while reached.len() <= steps && copy.try_wait().unwrap().is_none() {
        assert!(waiting.elapsed() < Duration::from_secs(120), "it does not go on: {reached:?}");
        if let Some(now) = target.reached().await
            && reached.last() != Some(&now)
        {
            reached.push(now);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Kills a copy so many steps after it has read its source; what it said, and how it ended if it was faster.
async fn killed_after(steps: usize, copy: Command, target: &Target) -> (String, Option<ExitStatus>) {
    let (mut copy, mut stderr, mut said) = begun(copy);
    if steps > 0 {
        further(steps, &mut copy, target).await;
    }
    let ended = copy.try_wait().unwrap();
    copy.kill().unwrap();
    copy.wait().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    (said, ended)
}

/// Copies, killed so many times, have all of it there in the end, and the next one finds what is changed there.
async fn killed_and_changed(times: usize) {
    let mut app = crowded().await;
    let target = Target::fresh();
    let (said, _) = target.fails(&app);
    assert!(said.contains(&format!("is open in process {}", app.pid())), "{said}");
    stop(&mut app).await;

    let (mut killed, mut went_on) = (0, 0);
    // Sooner or later: whatever it is at.
    for steps in [3, 0, 1, 2].into_iter().cycle().take(times) {
        let (said, ended) = killed_after(steps, target.copy(&app), &target).await;
        went_on += usize::from(said.contains("goes on with"));
        if let Some(status) = ended {
            assert!(status.success(), "{said}");
            break;
        }
        killed += 1;
        if killed == 1 {
            // A part of it: nobody serves that.
            let served = target.run("keys rotate");
            assert_eq!(served.status.code(), Some(1));
            assert!(crate::copy::err(&served).contains("has not come to its end"), "{}", crate::copy::err(&served));
        }
    }
    assert!(killed > 0 && went_on > 0);
    println!("killed {killed} times, went on {went_on} times");
    let report = target.copied(&app);
    assert!(report.contains("All of it is there, and the same"), "{report}");
    let line = report.lines().find(|l| l.starts_with("users account")).unwrap();
    assert!(line.contains(&(USERS + 1).to_string()) && line.ends_with("same"), "{report}");

    // Somebody changes one row, and adds another.
    let server = address("QEETID_TEST_CQL");
    let kind: String = app.database().query_row("SELECT hex(kind) FROM hash_census LIMIT 1", [], |row| row.get(0)).unwrap();
    cql(&server, &format!("INSERT INTO {}.hash_census (bucket, key, body) VALUES (0x6b696e6473, 0x{kind}, 'x')", target.keyspace)).unwrap();
    cql(&server, &format!("INSERT INTO {}.users (part, kind, key, body) VALUES (0x01, 'session', 0x02, 'x')", target.keyspace)).unwrap();
    let (said, report) = target.fails(&app);
    let different: Vec<_> = report.lines().filter(|l| l.contains("DIFFERENT")).map(|l| l.split("  ").next().unwrap().trim()).collect();
    assert_eq!(different, ["hash_census", "users session"], "{report}");
    assert!(said.contains("the two sides differ"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_goes_on_and_a_difference_is_found() {
    killed_and_changed(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_keyspace_or_the_beginning_of_the_same_copy_is_written_to() {
    let mut app = embedded().await;
    app.signup().await;
    stop(&mut app).await;
    let target = Target::fresh();
    assert!(target.run("keys rotate").status.success());
    let (said, _) = target.fails(&app);
    assert!(said.contains("is not empty: there is something in table"), "{said}");

    // What was copied is no beginning of the copy of another source, and a source that was served again is another one.
    let target = Target::fresh();
    target.copied(&app);
    app.start().await;
    app.signup().await;
    stop(&mut app).await;
    let (said, _) = target.fails(&app);
    assert!(said.contains("another source, or the source has changed"), "{said}");
}

/// Copies that are killed again and again, and a Cassandra of its own that hangs, take a minute.
mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_that_is_killed_again_and_again_goes_on() {
        killed_and_changed(12).await;
    }

    /// The store hangs as the copy begins, and again in the middle: it waits, and all of it is there in the end.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_outlives_an_outage_of_its_store() {
        let mut app = crowded().await;
        stop(&mut app).await;
        let cassandra = Cassandra::start(1).await;
        let target = Target::on(cassandra.hosts());
        let (mut copy, mut stderr, mut said) = begun(target.copy(&app));
        for steps in [0, 3] {
            further(steps, &mut copy, &target).await;
            cassandra.hang(1);
            // Longer than its calls wait.
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(copy.try_wait().unwrap().is_none(), "it was done before the outage: {said}");
            cassandra.go_on(1);
        }
        let hung = Instant::now();
        let output = copy.wait_with_output().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let report = crate::copy::out(&output);
        assert!(output.status.success() && report.contains("All of it is there, and the same"), "{said}{report}");
        println!("{:?} after the outage: {said}", hung.elapsed());
    }
}
