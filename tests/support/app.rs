//! The real binary on a free port, in a data directory of its own.

use super::{
    client::{Client, Reply},
    stack::Place,
    watch::Watch,
};
use qeetid::sqlite::rusqlite;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How long a server may take until it listens (a debug build on a busy machine).
const START: Duration = Duration::from_secs(60);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that nobody else in this run of the tests has.
pub fn unique() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An address that nobody has yet.
pub fn fresh_email() -> String {
    format!("person{}@example.com", unique())
}

/// A good password that nobody has yet.
pub fn fresh_password() -> String {
    format!("violet harbour {} tangent", unique())
}

/// A server to be started.
pub struct Builder {
    env: Vec<(String, String)>,
    dir: Option<PathBuf>,
    place: Option<Place>,
    /// A program to start the server with, and its arguments.
    wrapper: Vec<String>,
}

impl Builder {
    /// Sets a variable; a later one replaces an earlier one.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.into(), value.to_string()));
        self
    }
    /// Uses this data directory instead of a new one.
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }
    /// Uses these stores, whatever the run's are; several servers may share them.
    pub fn on(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }
    /// Starts the server through another program, such as `prlimit`.
    pub fn wrapped_in(mut self, program: &[&str]) -> Self {
        self.wrapper = program.iter().map(ToString::to_string).collect();
        self
    }
    /// Starts, and waits until it listens.
    pub async fn start(self) -> App {
        let mut app = self.stopped();
        app.start().await;
        app
    }
    /// Not started yet.
    pub fn stopped(self) -> App {
        let temp = tempfile::tempdir().unwrap();
        let dir = self.dir.clone().unwrap_or_else(|| temp.path().join("data"));
        let watch = Arc::new(Watch::default());
        let client = Client::new(String::new(), watch);
        // Its signing keys can be opened by nobody else; mail that waits since the test before would come to its mail server.
        let apart = self.env.iter().any(|(name, _)| ["QEETID_SECRET", "QEETID_MAIL_URL", "QEETID_SMS_URL"].contains(&&**name));
        let place = self.place.clone().unwrap_or_else(|| Place::of(&dir, apart));
        App { client, builder: self, dir, place, child: None, output: Arc::default(), readers: Vec::new(), _temp: temp }
    }
}

/// A running server. When it is dropped it is killed, and all that it wrote is searched for secrets.
pub struct App {
    client: Client,
    builder: Builder,
    dir: PathBuf,
    place: Place,
    child: Option<Child>,
    output: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    _temp: tempfile::TempDir,
}

impl Deref for App {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
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

impl App {
    /// With rate limits off, so that a test may sign up as many people as it likes.
    pub fn builder() -> Builder {
        let env = [
            ("QEETID_LISTEN", "127.0.0.1:0"),
            ("QEETID_LIMITS", "off"),
            ("QEETID_LOG", "qeetid=trace,info"),
            ("QEETID_LOG_FORMAT", "json"),
            ("QEETID_HASH_THREADS", "2"),
            // The machine that runs the tests may be slow, and they run side by side.
            ("QEETID_HASH_DEADLINE_MS", "30000"),
        ];
        Builder { env: env.map(|(n, v)| (n.into(), v.into())).into(), dir: None, place: None, wrapper: Vec::new() }
    }

    /// A server with the settings of [`App::builder`].
    pub async fn new() -> Self {
        Self::builder().start().await
    }

    /// The program, to be run on this server's stores.
    pub fn command(&self) -> Command {
        let mut command = command(&[]);
        command.envs(self.stores());
        command
    }

    /// The settings that lead to this server's stores.
    pub fn stores(&self) -> Vec<(String, String)> {
        let mut env = self.place.env.clone();
        env.push(("QEETID_DATA_DIR".into(), self.dir.to_str().unwrap().into()));
        // What the test says stands above.
        env.extend(self.builder.env.iter().filter(|(n, _)| n == "QEETID_SECRET").cloned());
        env
    }

    /// Starts it (again), on the same stores.
    pub async fn start(&mut self) {
        if let Err(why) = self.try_start().await {
            panic!("{why}");
        }
    }

    /// As [`App::start`], but its stores may be out of reach: then it isn't running.
    pub async fn try_start(&mut self) -> Result<(), String> {
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
        let mut child = command(&self.builder.wrapper)
            .arg("serve")
            .envs(self.builder.env.iter().map(|(n, v)| (n, v)))
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
            return Err(format!("the server does not listen:\n{}", self.output()));
        };
        self.client.base = format!("http://{address}");
        Ok(())
    }

    /// Collects what it writes; tells the address once it is said.
    fn follow(&mut self, from: impl Read + Send + 'static, found: mpsc::Sender<String>) {
        let output = self.output.clone();
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let record: Value = serde_json::from_str(&line).unwrap_or_default();
                if let (Some("listening"), Some(address)) = (record["message"].as_str(), record["address"].as_str()) {
                    // Nobody waits any more after the first.
                    let _ = found.send(address.to_owned());
                }
                let mut output = output.lock().unwrap();
                output.push_str(&line);
                output.push('\n');
            }
        }));
    }

    /// Everything it wrote so far, over all its starts.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits for a line of the log that has `text` in it: an answer may be here before what was written about it.
    pub async fn logged(&self, text: &str) -> String {
        for _ in 0..200 {
            if let Some(line) = self.output().lines().find(|l| l.contains(text)) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log has no {text:?}:\n{}", self.output());
    }

    pub fn data_dir(&self) -> &Path {
        &self.dir
    }

    /// Where its stores are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The SQLite file, for tests that look or reach into it: they stand in modules called `embedded`.
    pub fn database(&self) -> rusqlite::Connection {
        let file = self.dir.join("qeetid.db");
        assert!(file.exists(), "{} is not there: does this test belong into a module `embedded`?", file.display());
        let database = rusqlite::Connection::open(file).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        database
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// A client with connections of its own.
    pub fn other_client(&self) -> Client {
        Client::new(self.client.base.clone(), self.client.watch.clone())
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

    /// SIGTERM.
    pub fn sigterm(&self) {
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().expect("running").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < within, "still running after {within:?}:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills and starts again.
    pub async fn restart(&mut self) {
        self.kill9();
        self.start().await;
    }

    /// The metrics, over a bare connection: this also runs while a test is being torn down.
    fn metrics(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.base.strip_prefix("http://")?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let metrics = self.child.is_some().then(|| self.metrics()).flatten().unwrap_or_default();
        self.kill9();
        // Who was given a directory may be followed by another on it.
        if self.builder.dir.is_none() {
            Place::remove(&self.dir);
        }
        let output = self.output();
        if std::thread::panicking() {
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("the end of what the server wrote:\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
            return;
        }
        for (what, text) in [("log", &output), ("metrics", &metrics)] {
            if let Some(line) = self.watch.find_in(text) {
                panic!("a secret in the {what}: {line}");
            }
        }
        if let Some(found) = self.watch.find_at_rest(&self.dir) {
            panic!("a secret at rest: {found}");
        }
        let panicked = output.lines().find(|l| l.contains("panicked at") || l.contains("\"message\":\"panic"));
        assert!(panicked.is_none(), "the server panicked: {}", panicked.unwrap_or_default());
    }
}

/// A person that has signed up.
#[derive(Debug, Clone)]
pub struct Account {
    pub email: String,
    pub password: String,
    pub user_id: String,
    pub tenant_id: String,
    pub session_id: String,
    pub access: String,
    pub refresh: String,
}

/// A pair of tokens out of a reply.
#[derive(Debug, Clone)]
pub struct Pair {
    pub access: String,
    pub refresh: String,
    pub session_id: String,
}

impl Reply {
    #[track_caller]
    pub fn pair(&self) -> Pair {
        Pair { access: self.str("access_token"), refresh: self.str("refresh_token"), session_id: self.str("session_id") }
    }
}

impl Client {
    /// Signs a new person up.
    pub async fn signup(&self) -> Account {
        self.signup_as(&fresh_email()).await
    }

    /// Signs a person up with this address.
    pub async fn signup_as(&self, email: &str) -> Account {
        let password = fresh_password();
        let reply = self.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(201);
        Account {
            email: email.into(),
            password,
            user_id: reply.str("user_id"),
            tenant_id: reply.str("tenant_id"),
            session_id: reply.str("session_id"),
            access: reply.str("access_token"),
            refresh: reply.str("refresh_token"),
        }
    }

    pub async fn login(&self, email: &str, password: &str) -> Reply {
        self.post("/v1/auth/login", json!({"email": email, "password": password})).await
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.post("/v1/auth/refresh", json!({"refresh_token": token})).await
    }

    pub async fn me(&self, access: &str) -> Reply {
        self.get_as(access, "/v1/auth/me").await
    }

    /// Waits until an access token is refused: it must be within a second (some slack for a busy machine is not given away).
    pub async fn is_refused_within_a_second(&self, access: &str) {
        let start = Instant::now();
        loop {
            let asked = start.elapsed();
            let reply = self.me(access).await;
            if reply.status == 401 {
                return;
            }
            assert!(asked < Duration::from_secs(1), "still honoured after {asked:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A message of the development mailbox.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Message {
    pub id: String,
    pub kind: String,
    pub to: String,
    pub subject: Option<String>,
    pub text: String,
    pub html: Option<String>,
    pub code: Option<String>,
    pub link: Option<String>,
    pub at: String,
}

impl Message {
    /// The token in its link.
    #[track_caller]
    pub fn token(&self) -> String {
        self.any_token().unwrap_or_else(|| panic!("no token in {}", self.text))
    }
    fn any_token(&self) -> Option<String> {
        Some(self.link.as_deref()?.split_once("token=")?.1.to_owned())
    }
}

impl App {
    /// What the mailbox holds for `to`, oldest first.
    pub fn messages(&self, to: &str) -> Vec<Message> {
        let mut found: Vec<Message> = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("mailbox")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "json") {
                // One that is taken away while we read is none.
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(serde_json::from_str::<Message>(&text).ok().filter(|m| m.to == to));
            }
        }
        found.sort_by(|a, b| (&a.at, &a.id).cmp(&(&b.at, &b.id)));
        for message in &found {
            message.code.iter().for_each(|c| self.watch.plant(c));
            message.any_token().iter().for_each(|t| self.watch.plant(t));
        }
        found
    }

    /// Waits until `to` has at least `count` messages; gives the newest.
    pub async fn message(&self, to: &str, count: usize) -> Message {
        for _ in 0..600 {
            let found = self.messages(to);
            if found.len() >= count {
                return found.last().unwrap().clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{to} has {} of {count} messages", self.messages(to).len());
    }

    /// The newest code in the `count`th message to `to` or a later one: messages of other kinds may come in between.
    pub async fn code(&self, to: &str, count: usize) -> String {
        for _ in 0..600 {
            let found = self.messages(to);
            if let Some(code) = found.iter().skip(count - 1).rev().find_map(|m| m.code.clone()) {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no code in the {} messages to {to}", self.messages(to).len());
    }

    /// Asks for a reset and gives the token of its link; `count` as in [`App::message`].
    pub async fn reset_token(&self, email: &str, count: usize) -> String {
        self.post("/v1/auth/forgot-password", json!({"email": email})).await.expect(202);
        self.message(email, count).await.token()
    }

    /// Has the address on file proved.
    pub async fn verify(&self, who: &Account) {
        let before = self.messages(&who.email).len();
        self.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
        let code = self.code(&who.email, before + 1).await;
        self.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), json!({"code": code})).await.expect(200);
    }
}
