//! An embedded installation moves to Cassandra: `grown` is one made through the API, and what people find after the move; `broken` is
//! a copy that is killed, waits for its store, comes to the wrong place, or finds a difference.

mod broken;
mod grown;

use crate::support::{
    app::{App, command, unique},
    rows::copied_up_to,
    stack::{Place, address},
};
use std::process::{Command, Output};

/// A keyspace to copy into, with its schema.
struct Target {
    server: String,
    keyspace: String,
    url: String,
}

impl Target {
    /// On the run's Cassandra.
    fn fresh() -> Self {
        Self::on(address("QEETID_TEST_CQL"))
    }

    fn on(server: String) -> Self {
        let keyspace = format!("c{}_{}", unique(), std::process::id());
        let url = format!("scylla://{server}/{keyspace}?rf=1");
        let target = Self { server, keyspace, url };
        let migrated = target.run("migrate");
        assert!(migrated.status.success(), "{}", err(&migrated));
        target
    }

    /// A command on the keyspace.
    fn run(&self, verb: &str) -> Output {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(&[]);
        command.args(verb.split(' ')).envs(Place::at(&self.url).env).env("QEETID_DATA_DIR", dir.path());
        command.output().unwrap()
    }

    /// A copy of a server's file, not started yet.
    fn copy(&self, app: &App) -> Command {
        let from = format!("sqlite://{}", app.data_dir().join("qeetid.db").display());
        let mut command = command(&[]);
        command.args(["copy", "--from", &from, "--to", &self.url]);
        command
    }

    /// How far copies have come.
    async fn reached(&self) -> Option<String> {
        copied_up_to(&self.server, &self.keyspace).await
    }

    /// Runs one that must succeed; its report.
    fn copied(&self, app: &App) -> String {
        let output = self.copy(app).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
        out(&output)
    }

    /// Runs one that must not; what it says, and what it reports.
    fn fails(&self, app: &App) -> (String, String) {
        let output = self.copy(app).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}{}", out(&output), err(&output));
        (err(&output), out(&output))
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A server on a SQLite file, whatever the run's stack is.
async fn embedded() -> App {
    App::builder().on(&Place::default()).start().await
}

/// Ends it as an operator does.
async fn stop(app: &mut App) {
    app.sigterm();
    assert!(app.exit(std::time::Duration::from_secs(60)).await.success());
}
