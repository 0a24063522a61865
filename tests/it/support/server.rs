//! The real binary as a process, on a free port, in a data directory of its own.

use super::{
    mail::Mail,
    stack::Place,
    watch::{Watch, test_name},
};
use qeetid::sqlite::rusqlite;
use serde_json::Value;
use std::{
    collections::HashMap,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

/// How long a server may take until it listens (a debug build on a busy machine).
const START: Duration = Duration::from_secs(60);

/// What a server is started with.
#[derive(Clone, Default)]
pub struct Settings {
    pub env: Vec<(String, String)>,
    pub dir: Option<PathBuf>,
    pub place: Option<Place>,
    /// A program to start the server with, and its arguments.
    pub wrapper: Vec<String>,
}

impl Settings {
    /// With rate limits off, so that a test may sign up as many people as it likes.
    pub fn of_tests() -> Self {
        let env = [
            ("QEETID_LISTEN", "127.0.0.1:0"),
            ("QEETID_LIMITS", "off"),
            ("QEETID_LOG", "qeetid=trace,info"),
            ("QEETID_LOG_FORMAT", "json"),
            ("QEETID_HASH_THREADS", "2"),
            // The machine that runs the tests may be slow, and they run side by side.
            ("QEETID_HASH_DEADLINE_MS", "60000"),
            ("QEETID_HASH_QUEUE", "1000"),
        ];
        Self { env: env.map(|(n, v)| (n.into(), v.into())).into(), ..Self::default() }
    }
}

/// The command with an empty environment but for `PATH`.
pub fn command(wrapper: &[String]) -> Command {
    let binary = env!("CARGO_BIN_EXE_qeetid");
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// A server, running or not.
pub struct Server {
    settings: Settings,
    dir: PathBuf,
    place: Place,
    /// `http://` and where it listens, once it has started.
    base: String,
    child: Option<Child>,
    output: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    /// By name of the file in the development mailbox.
    mails: Mutex<HashMap<OsString, Mail>>,
    _temp: tempfile::TempDir,
}

impl Server {
    /// Not started yet.
    pub fn new(settings: Settings) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = settings.dir.clone().unwrap_or_else(|| temp.path().join("data"));
        // Its signing keys can be opened by nobody else; mail that waits since the test before would come to its mail server.
        let apart = settings.env.iter().any(|(name, _)| ["QEETID_SECRET", "QEETID_MAIL_URL", "QEETID_SMS_URL"].contains(&&**name));
        let place = settings.place.clone().unwrap_or_else(|| Place::of(&dir, apart));
        let (base, output, readers, mails) = (String::new(), Arc::default(), Vec::new(), Mutex::default());
        Self { settings, dir, place, base, child: None, output, readers, mails, _temp: temp }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// The settings that lead to its stores.
    pub fn stores(&self) -> Vec<(String, String)> {
        let mut env = self.place.env.clone();
        env.push(("QEETID_DATA_DIR".into(), self.dir.to_str().unwrap().into()));
        // What the test says stands above.
        env.extend(self.settings.env.iter().filter(|(n, _)| n == "QEETID_SECRET").cloned());
        env
    }

    /// The program, to be run on its stores.
    pub fn command(&self) -> Command {
        let mut command = command(&[]);
        command.envs(self.stores());
        command
    }

    /// Starts it (again), on the same stores. They may be out of reach: then it isn't running.
    pub async fn start(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "it is running");
        // A shared store is not brought up to date by whoever starts first.
        if self.place.needs_schema() {
            let mut command = self.command();
            let migrated = tokio::task::spawn_blocking(move || command.arg("migrate").output().unwrap()).await.unwrap();
            if !migrated.status.success() {
                return Err(String::from_utf8_lossy(&migrated.stderr).into_owned());
            }
            self.place.has_schema();
        }
        let mut child = command(&self.settings.wrapper)
            .arg("serve")
            .envs(self.settings.env.iter().map(|(n, v)| (n, v)))
            .envs(self.stores())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (found, address) = mpsc::channel();
        self.follow(child.stdout.take().unwrap(), found.clone());
        self.follow(child.stderr.take().unwrap(), found);
        self.child = Some(child);
        let address = tokio::task::spawn_blocking(move || address.recv_timeout(START)).await.unwrap();
        let Ok(address) = address else {
            self.kill9();
            return Err(format!("the server does not listen:\n{}", self.output(0)));
        };
        self.base = format!("http://{address}");
        Ok(())
    }

    /// Collects what it writes; tells the address once it is said.
    fn follow(&mut self, from: impl Read + Send + 'static, found: mpsc::Sender<String>) {
        let output = self.output.clone();
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if line.contains("\"listening\"") {
                    let record: Value = serde_json::from_str(&line).unwrap_or_default();
                    if let (Some("listening"), Some(address)) = (record["message"].as_str(), record["address"].as_str()) {
                        // Nobody waits any more after the first.
                        let _ = found.send(address.to_owned());
                    }
                }
                let mut output = output.lock().unwrap();
                output.push_str(&line);
                output.push('\n');
            }
        }));
    }

    /// How many bytes it has written, over all its starts.
    pub fn written(&self) -> usize {
        self.output.lock().unwrap().len()
    }

    /// What it wrote from byte `from` on.
    pub fn output(&self, from: usize) -> String {
        self.output.lock().unwrap()[from..].to_owned()
    }

    /// What the development mailbox holds for `to`, oldest first.
    pub fn messages(&self, to: &str) -> Vec<Mail> {
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in std::fs::read_dir(self.dir.join("mailbox")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if entry.path().extension().is_some_and(|e| e == "json") && !mails.contains_key(&name) {
                // One that is taken away while we read is none.
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                mails.extend(serde_json::from_str::<Mail>(&text).ok().map(|mail| (name, mail)));
            }
        }
        let mut found: Vec<Mail> = mails.values().filter(|m| m.to == to).cloned().collect();
        found.sort_by(|a, b| (&a.at, &a.id).cmp(&(&b.at, &b.id)));
        found
    }

    /// The SQLite file.
    pub fn database(&self) -> rusqlite::Connection {
        let file = self.dir.join("qeetid.db");
        assert!(file.exists(), "{} is not there: does this test belong into a module `embedded`?", file.display());
        let database = rusqlite::Connection::open(file).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        database
    }

    /// SIGKILL: whatever it was doing, it does no more.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().expect("running").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < within, "still running after {within:?}:\n{}", self.output(0));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The metrics, over a bare connection: this also runs while a test is being torn down. Empty if there are none.
    pub fn metrics(&self) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(self.base.strip_prefix("http://")?).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        if self.is_running() { ask().unwrap_or_default() } else { String::new() }
    }

    /// Whoever was given a directory may be followed by another on it.
    pub fn leaves_its_stores(&self) -> bool {
        self.settings.dir.is_some()
    }

    /// Keeps the whole log of a test that fails, and shows its end.
    pub fn tell_failure(&self, from: usize) {
        let output = self.output(from);
        let lines: Vec<&str> = output.lines().collect();
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("logs").join(format!("{}-{}.log", test_name(), std::process::id()));
        let written = std::fs::create_dir_all(kept.parent().unwrap()).and_then(|()| std::fs::write(&kept, &output));
        let place = written.map_or_else(|e| format!("not kept: {e}"), |()| kept.display().to_string());
        eprintln!("the end of what the server wrote ({place}):\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
    }
}

/// The first line of a server's log that tells of a panic.
pub fn panicked(output: &str) -> Option<&str> {
    output.lines().find(|l| l.contains("panicked at") || l.contains("\"message\":\"panic"))
}

/// The server that all tests share which ask for no setting of their own, and the secrets of those that are over.
pub struct Shared {
    server: tokio::sync::OnceCell<Server>,
    secrets: Watch,
}

impl Shared {
    pub fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            // SAFETY: a function that takes nothing and stays; it runs after the last test.
            unsafe { libc::atexit(end_of_shared) };
            Self { server: tokio::sync::OnceCell::new(), secrets: Watch::default() }
        })
    }

    pub async fn server(&self) -> &Server {
        let start = async || {
            let mut server = Server::new(Settings::of_tests());
            server.start().await.unwrap_or_else(|why| panic!("{why}"));
            server
        };
        self.server.get_or_init(start).await
    }

    /// Secrets that must be found nowhere when all tests are over.
    pub fn remember(&self, secrets: &Watch) {
        self.secrets.add(secrets);
    }
}

/// What each server of a test's own is asked when it is dropped, for that of all: no secret in its log, metrics and files, no panic.
extern "C" fn end_of_shared() {
    let shared = Shared::get();
    let Some(server) = shared.server.get() else { return };
    let metrics = server.metrics();
    // SAFETY: a signal to a child that nobody has waited for: a static is never dropped.
    unsafe { libc::kill(i32::try_from(server.pid()).unwrap(), libc::SIGKILL) };
    let output = server.output(0);
    let log = shared.secrets.find_in(&output).map(|line| format!("a secret in the log: {line}"));
    let metrics = shared.secrets.find_in(&metrics).map(|line| format!("a secret in the metrics: {line}"));
    let at_rest = shared.secrets.find_at_rest(server.dir()).map(|what| format!("a secret at rest: {what}"));
    let panic = panicked(&output).map(|line| format!("the server panicked: {line}"));
    let _ = std::fs::remove_dir_all(server.dir());
    let found: Vec<String> = [log, metrics, at_rest, panic].into_iter().flatten().collect();
    if !found.is_empty() {
        eprintln!("\ntest result: FAILED. The server that all tests share: {}", found.join("; "));
        // SAFETY: ends the process, which is ending.
        unsafe { libc::_exit(101) };
    }
}
