//! A node that only takes turns: a process of its own, because the registry of actors is a process's.

use qeetid::{
    actors::placement::{NodeTurn, Placement},
    cluster::{Cluster, ClusterConfig, GROUP, TlsFiles},
    domain::{rng::SystemRng, secret::SecretText, time::SystemClock},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const COOKIE: &str = "a cookie that all nodes of a test know";
/// Of what a process of a test says, lines that begin so are for the test.
const MARK: char = '@';
const TOLD: &str = "QEETID_TEST_NODE";

/// What a node is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub name: String,
    pub listen: SocketAddr,
    pub seeds: Vec<String>,
    pub cookie: String,
    /// A file that stands for `/etc/hosts` in the process.
    pub hosts: Option<PathBuf>,
    /// Directory of its certificates, and the names that it lets in.
    pub tls: Option<(PathBuf, Vec<String>)>,
}

impl Config {
    pub fn new(name: &str, listen: SocketAddr, seeds: &[SocketAddr]) -> Self {
        let seeds = seeds.iter().map(ToString::to_string).collect();
        Self { name: name.into(), listen, seeds, cookie: COOKIE.into(), hosts: None, tls: None }
    }
    pub fn tls(mut self, dir: &Path, names: &[&str]) -> Self {
        self.tls = Some((dir.into(), names.iter().map(ToString::to_string).collect()));
        self
    }
}

/// Runs one of the tests of this program that are processes (`cluster::node::the_process`, `cluster::rogue::the_process`), told `what`.
pub fn spawn(test: &str, what: &impl Serialize) -> Child {
    spawn_by(Command::new(std::env::current_exe().unwrap()), test, what)
}

/// The program, with another file for `/etc/hosts`: in a mount namespace of its own.
fn with_hosts(hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts).arg(std::env::current_exe().unwrap());
    command
}

fn spawn_by(mut command: Command, test: &str, what: &impl Serialize) -> Child {
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(TOLD, serde_json::to_string(what).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What this process was told to be, if it was.
pub fn told<T: for<'a> Deserialize<'a>>() -> Option<T> {
    let text = std::env::var(TOLD).ok()?;
    if let Ok(filter) = std::env::var("RUST_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    Some(serde_json::from_str(&text).unwrap())
}

/// Says something to the test.
pub fn tell(text: std::fmt::Arguments) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n{MARK}{text}").and_then(|()| out.flush());
}

/// Not a test of its own: what [`Node::start`] starts.
#[test]
fn the_process() {
    let Some(config) = told::<Config>() else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(serve(config));
    std::process::exit(0);
}

async fn serve(config: Config) {
    let tls =
        config.tls.map(|(dir, names)| TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem"), ca: dir.join("ca.pem"), names });
    let name = config.name.clone();
    let config =
        ClusterConfig { listen: config.listen, seeds: config.seeds, node: config.name, cookie: SecretText::new(config.cookie), tls };
    let cluster = Cluster::start(config, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap();
    let held: Arc<Mutex<HashMap<String, NodeTurn>>> = Arc::default();
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    tell(format_args!("up"));
    while let Some(line) = lines.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("members", _) => tell(format_args!("members {}", cluster.members().join(","))),
            ("leave", _) => cluster.leave(),
            // As a panic would end it.
            ("break", _) => ractor::registry::where_is(format!("{GROUP}/{name}")).expect("a shard host").kill(),
            ("give", key) => drop(held.lock().unwrap().remove(key)),
            ("take", key) => {
                let (cluster, held, key) = (cluster.clone(), held.clone(), key.to_owned());
                tokio::spawn(async move {
                    let began = Instant::now();
                    let turn = cluster.turn("test", key.as_bytes()).await;
                    let (how, took) = (format!("{turn:?}").contains("held"), began.elapsed().as_millis());
                    held.lock().unwrap().insert(key.clone(), turn);
                    tell(format_args!("turn {key} {how} {took}"));
                });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// How a turn was had.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub held: bool,
    pub time: Duration,
}

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process has told the test, line by line.
pub fn heard(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let stdout = child.stdout.take().unwrap();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            into.lock().unwrap().extend(line.strip_prefix(MARK).map(str::to_owned));
        }
    });
    said
}

/// A running node; killed when dropped.
pub struct Node {
    pub config: Config,
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
}

impl Node {
    pub fn start(config: Config) -> Self {
        let mut child = match &config.hosts {
            None => spawn("cluster::node::the_process", &config),
            Some(hosts) => spawn_by(with_hosts(hosts), "cluster::node::the_process", &config),
        };
        let (stdin, said) = (child.stdin.take().unwrap(), heard(&mut child));
        let node = Self { config, child, stdin, said };
        node.wait_for("up");
        node
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits for a line that begins so, and takes it.
    fn wait_for(&self, start: &str) -> String {
        let began = Instant::now();
        loop {
            let mut said = self.said.lock().unwrap();
            if let Some(at) = said.iter().position(|l| l.starts_with(start)) {
                return said.remove(at);
            }
            drop(said);
            assert!(began.elapsed() < PATIENCE, "{} does not say {start:?}", self.config.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn members(&mut self) -> String {
        self.send("members");
        self.wait_for("members ")["members ".len()..].to_owned()
    }

    /// Waits until it sees these, and no others; says how long that took.
    pub fn sees(&mut self, members: &str, within: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let seen = self.members();
            if seen == members {
                return began.elapsed();
            }
            assert!(began.elapsed() < within, "{} sees {seen}, not {members}, after {within:?}", self.config.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks for a turn.
    pub fn ask(&mut self, key: &str) {
        self.send(&format!("take {key}"));
    }
    /// Waits for the answer.
    pub fn took(&self, key: &str) -> Took {
        let line = self.wait_for(&format!("turn {key} "));
        let mut words = line.split(' ').skip(2);
        let (held, millis) = (words.next().unwrap() == "true", words.next().unwrap().parse().unwrap());
        Took { held, time: Duration::from_millis(millis) }
    }
    pub fn take(&mut self, key: &str) -> Took {
        self.ask(key);
        self.took(key)
    }
    /// Whether it has an answer yet.
    pub fn waits(&self, key: &str) -> bool {
        !self.said.lock().unwrap().iter().any(|l| l.starts_with(&format!("turn {key} ")))
    }
    pub fn give(&mut self, key: &str) {
        self.send(&format!("give {key}"));
    }
    pub fn leave(&mut self) {
        self.send("leave");
    }
    /// Ends its shard host, not the node.
    pub fn break_host(&mut self) {
        self.send("break");
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), signal) }, 0);
    }
    /// Ends it as `kill -9` does, and starts it again.
    pub fn restart(self) -> Self {
        let config = self.config.clone();
        drop(self);
        Self::start(config)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL, which ends stopped ones too.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
