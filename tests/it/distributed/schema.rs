//! A keyspace of another version than the program: it doesn't start, and says what to do.

use crate::support::{
    app::{App, command},
    stack::{Place, address, cql},
};
use std::{path::Path, time::Duration};

/// Runs a command that ends with this status; gives what it said.
async fn ends(place: &Place, dir: &Path, what: &str, status: i32) -> String {
    let mut command = command(&[]);
    command.arg(what).envs(place.env.iter().cloned()).env("QEETID_DATA_DIR", dir).env("QEETID_LISTEN", "127.0.0.1:0");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(180), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(status), "{what}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_another_version_is_refused_with_what_to_do() {
    let (place, dir) = (Place::distributed(), tempfile::tempdir().unwrap());
    let keyspace = place.keyspace().unwrap();
    let tell = |statement: &str| cql(&address("QEETID_TEST_CQL"), statement).unwrap();
    let said = ends(&place, dir.path(), "serve", 1).await;
    assert!(said.contains(keyspace) && said.contains("no schema") && said.contains("run `qeetid migrate` first"), "{said}");

    let app = App::builder().on(&place).start().await;
    let who = app.signup().await;
    drop(app);
    let row = |number: i32| format!("{keyspace}.schema_migrations WHERE room = 'store' AND number = {number}");
    let newest = newest();
    tell(&format!("DELETE FROM {}", row(newest)));
    let said = ends(&place, dir.path(), "serve", 1).await;
    assert!(said.contains(&format!("needs {newest}")) && said.contains("run `qeetid migrate` first"), "{said}");

    // What it asks for helps, and nothing is lost.
    ends(&place, dir.path(), "migrate", 0).await;
    let app = App::builder().on(&place).start().await;
    app.login(&who.email, &who.password).await.expect(200);
    drop(app);
    tell(&format!("INSERT INTO {keyspace}.schema_migrations (room, number, name) VALUES ('store', {}, 'of_tomorrow')", newest + 1));
    for what in ["serve", "migrate"] {
        let said = ends(&place, dir.path(), what, 1).await;
        let clear = said.contains(&format!("migration {}", newest + 1)) && said.contains("a newer version of qeetid");
        assert!(clear, "{what}: {said}");
    }
    // A step of tomorrow that says whom it lets serve: not this version, or this one too.
    let note = |oldest: i32| {
        let values = format!("('store:oldest', {}, '{oldest}')", newest + 1);
        tell(&format!("INSERT INTO {keyspace}.schema_migrations (room, number, name) VALUES {values}"));
    };
    note(newest + 1);
    ends(&place, dir.path(), "serve", 1).await;
    note(newest);
    ends(&place, dir.path(), "migrate", 0).await;
    App::builder().on(&place).start().await.login(&who.email, &who.password).await.expect(200);
    tell(&format!("DELETE FROM {}", row(newest + 1)));
    App::builder().on(&place).start().await.login(&who.email, &who.password).await.expect(200);
}

/// The number of the newest file of the schema.
fn newest() -> i32 {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/scylla")).unwrap();
    let numbers = files.filter_map(|f| f.unwrap().file_name().to_str()?.split('_').next()?.parse().ok());
    numbers.max().expect("there are files")
}
