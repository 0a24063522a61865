//! A server as a test sees it, and the people who use it.

pub use super::server::command;
use super::{
    client::{Client, Reply},
    server::{Server, Settings, Shared, panicked},
    stack::Place,
};
use qeetid::sqlite::rusqlite;
use serde_json::json;
use std::{
    ops::Deref,
    path::Path,
    process::{Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

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
pub struct Builder(Settings);

impl Builder {
    /// Sets a variable; a later one replaces an earlier one.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.0.env.retain(|(n, _)| n != name);
        self.0.env.push((name.into(), value.to_string()));
        self
    }
    /// Uses this data directory instead of a new one.
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.0.dir = Some(dir.to_owned());
        self
    }
    /// Uses these stores, whatever the run's are; several servers may share them.
    pub fn on(mut self, place: &Place) -> Self {
        self.0.place = Some(place.clone());
        self
    }
    /// Starts the server through another program, such as `prlimit`.
    pub fn wrapped_in(mut self, program: &[&str]) -> Self {
        self.0.wrapper = program.iter().map(ToString::to_string).collect();
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
        let client = Client::new(String::new(), Arc::default());
        App { client, process: Process::Own(Box::new(Server::new(self.0))), from: 0 }
    }
}

enum Process {
    Own(Box<Server>),
    Shared(&'static Server),
}

/// A server as a test sees it. When it is dropped, all that it wrote is searched for secrets; one of the test's own is killed before.
pub struct App {
    client: Client,
    process: Process,
    /// What it had written before the test.
    from: usize,
}

impl Deref for App {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl App {
    /// With rate limits off, so that a test may sign up as many people as it likes.
    pub fn builder() -> Builder {
        Builder(Settings::of_tests())
    }

    /// The server with the settings of [`App::builder`] that all tests share which ask for no more: it stays up, and others use it meanwhile.
    pub async fn new() -> Self {
        let server = Shared::get().server().await;
        let client = Client::new(server.base().to_owned(), Arc::default());
        Self { client, process: Process::Shared(server), from: server.written() }
    }

    /// One with the same settings that nobody else uses: it can be killed, and its stores hold nothing but what the test made.
    pub async fn own() -> Self {
        Self::builder().start().await
    }

    pub(super) fn server(&self) -> &Server {
        match &self.process {
            Process::Own(server) => server,
            Process::Shared(server) => server,
        }
    }

    fn own_server(&mut self) -> &mut Server {
        match &mut self.process {
            Process::Own(server) => server,
            Process::Shared(_) => panic!("other tests use this server: a test that stops it asks for `App::own()`"),
        }
    }

    /// The program, to be run on this server's stores.
    pub fn command(&self) -> Command {
        self.server().command()
    }

    /// Starts it (again), on the same stores.
    pub async fn start(&mut self) {
        if let Err(why) = self.try_start().await {
            panic!("{why}");
        }
    }

    /// As [`App::start`], but its stores may be out of reach: then it isn't running.
    pub async fn try_start(&mut self) -> Result<(), String> {
        let server = self.own_server();
        server.start().await?;
        self.client.base = server.base().to_owned();
        Ok(())
    }

    /// Everything it wrote so far, over all its starts; of the shared one, since the test began.
    pub fn output(&self) -> String {
        self.server().output(self.from)
    }

    /// Waits for a line of the log that has `text` in it: an answer may be here before what was written about it.
    pub async fn logged(&self, text: &str) -> String {
        for _ in 0..1200 {
            if let Some(line) = self.output().lines().find(|l| l.contains(text)) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log has no {text:?}:\n{}", self.output());
    }

    pub fn data_dir(&self) -> &Path {
        self.server().dir()
    }

    /// Where its stores are.
    pub fn place(&self) -> &Place {
        self.server().place()
    }

    /// The SQLite file, for tests that look or reach into it: they stand in modules called `embedded`.
    pub fn database(&self) -> rusqlite::Connection {
        self.server().database()
    }

    pub fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// A client with connections of its own.
    pub fn other_client(&self) -> Client {
        Client::new(self.client.base.clone(), self.client.watch.clone())
    }

    /// SIGKILL: whatever it was doing, it does no more.
    pub fn kill9(&mut self) {
        self.own_server().kill9();
    }

    /// SIGTERM.
    pub fn sigterm(&mut self) {
        let pid = i32::try_from(self.own_server().pid()).unwrap();
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        self.own_server().exit(within).await
    }

    /// Kills and starts again.
    pub async fn restart(&mut self) {
        self.kill9();
        self.start().await;
    }

    /// Nothing of what a test knows may be seen.
    fn end_of_own(&mut self) {
        let server = self.own_server();
        let metrics = server.metrics();
        server.kill9();
        if !server.leaves_its_stores() {
            Place::remove(server.dir());
        }
        if std::thread::panicking() {
            return server.tell_failure(0);
        }
        let output = server.output(0);
        for (what, text) in [("log", &output), ("metrics", &metrics)] {
            if let Some(line) = self.watch.find_in(text) {
                panic!("a secret in the {what}: {line}");
            }
        }
        if let Some(found) = self.watch.find_at_rest(self.data_dir()) {
            panic!("a secret at rest: {found}");
        }
        let panic = panicked(&output);
        assert!(panic.is_none(), "the server panicked: {}", panic.unwrap_or_default());
    }
}

impl Drop for App {
    fn drop(&mut self) {
        match &self.process {
            Process::Own(_) => self.end_of_own(),
            Process::Shared(server) if std::thread::panicking() => server.tell_failure(self.from),
            Process::Shared(_) => {
                // Codes are looked for while they are few; the rest when all tests are over.
                Shared::get().remember(&self.watch);
                let output = self.output();
                let seen = self.watch.find_code_in(&output);
                assert!(seen.is_none(), "a code in the log: {}", seen.unwrap_or_default());
                let panic = panicked(&output);
                assert!(panic.is_none(), "the server panicked: {}", panic.unwrap_or_default());
            }
        }
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

    /// Waits until an access token is refused: it is honoured for no longer than a second.
    pub async fn is_refused_within_a_second(&self, access: &str) {
        let start = Instant::now();
        loop {
            let asked = start.elapsed();
            let status = self.me(access).await.status;
            if status == 401 {
                return;
            }
            // Whoever is told to come again has not been let in.
            let late = Duration::from_secs(if status == 503 { 60 } else { 1 });
            assert!(asked < late, "{status} after {asked:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl App {
    /// Founds an organization: its id, and a pair of its owner's scoped to it.
    pub async fn organization_of(&self, owner: &Account, name: &str) -> (String, Pair) {
        let id = self.post_as(&owner.access, "/v1/tenants", json!({"name": name})).await.expect(201).str("id");
        let scoped = self.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": id})).await.expect(200).pair();
        (id, scoped)
    }
    /// Has the address on file proved.
    pub async fn verify(&self, who: &Account) {
        let before = self.messages(&who.email).len();
        self.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
        let code = self.code(&who.email, before + 1).await;
        self.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), json!({"code": code})).await.expect(200);
    }
}
