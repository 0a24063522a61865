//! Cassandra nodes of a test's own, which may be killed and stopped: `tests/servers/cassandra` starts them.

use super::links::Links;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// One node, or several that keep a copy of each row on each.
pub struct Cassandra {
    dir: tempfile::TempDir,
    port: u16,
    nodes: usize,
    env: Vec<(String, String)>,
    links: Option<Links>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/cassandra")
}

impl Cassandra {
    /// Starts them, and waits until each serves.
    pub async fn start(nodes: usize) -> Self {
        Self::with(nodes, &[]).await
    }

    /// With variables that the script knows.
    pub async fn with(nodes: usize, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { dir: tempfile::tempdir().unwrap(), port: 0, nodes, env, links: None }.up().await
    }

    /// With lines between the nodes that can be cut.
    pub async fn linked(nodes: usize, env: &[(&str, &str)]) -> Self {
        let mut env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        env.push(("CASSANDRA_BROADCAST".into(), "127.0.1".into()));
        let dir = tempfile::tempdir().unwrap();
        let (cql, storage) = (super::ports::free().port(), super::ports::free().port());
        std::fs::write(dir.path().join("ports"), format!("{cql} {storage}\n")).unwrap();
        let links = Some(Links::between(nodes, storage).expect("nobody else listens on 127.0.1.x"));
        Self { dir, port: 0, nodes, env, links }.up().await
    }

    async fn up(mut self) -> Self {
        let (server, nodes) = (&self, self.nodes);
        let mut up = server.try_run("up", nodes).await;
        // Another one that is being started may have been given a port of these, and have been faster.
        if up.as_ref().is_err_and(|said| said.contains("in use") || said.contains("Failed to bind")) {
            server.run("down", nodes).await;
            up = server.try_run("up", nodes).await;
        }
        let address = up.unwrap_or_else(|said| panic!("{said}"));
        self.port = address.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("{address:?}"));
        self
    }

    /// Those of [`Cassandra::linked`].
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the nodes are linked")
    }

    async fn run(&self, verb: &str, number: usize) -> String {
        self.try_run(verb, number).await.unwrap_or_else(|said| panic!("{said}"))
    }

    /// What the script says, or why it can't.
    async fn try_run(&self, verb: &str, number: usize) -> Result<String, String> {
        let mut command = Command::new(script());
        let variables = self.env.iter().map(|(name, value)| (name, value));
        command.env("CASSANDRA_FLUSH_SCHEMA", "true").envs(variables).arg(verb).arg(self.dir.path()).arg(number.to_string());
        let out = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }

    /// The addresses of all nodes.
    pub fn hosts(&self) -> String {
        (1..=self.nodes).map(|n| format!("127.0.0.{n}:{}", self.port)).collect::<Vec<_>>().join(",")
    }

    /// A keyspace on all nodes; `more` are parameters that begin with `&`.
    pub fn url(&self, keyspace: &str, more: &str) -> String {
        format!("scylla://{}/{keyspace}?rf={}{more}", self.hosts(), self.nodes)
    }

    pub async fn kill9(&self, node: usize) {
        self.run("kill", node).await;
    }

    /// With the data that it had.
    pub async fn start_again(&self, node: usize) {
        self.run("start", node).await;
    }

    /// It hangs: connections stay, and nothing is answered.
    pub fn hang(&self, node: usize) {
        self.signal(node, libc::SIGSTOP);
    }

    pub fn go_on(&self, node: usize) {
        self.signal(node, libc::SIGCONT);
    }

    fn signal(&self, node: usize, signal: libc::c_int) {
        let pid = std::fs::read_to_string(self.dir.path().join(format!("node{node}/pid"))).unwrap();
        // SAFETY: a signal to a process that the script started and has not stopped.
        assert_eq!(unsafe { libc::kill(pid.trim().parse().unwrap(), signal) }, 0);
    }
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        // Whatever is wrong with it, it has to go.
        let _ = Command::new(script()).arg("down").arg(self.dir.path()).output();
    }
}
