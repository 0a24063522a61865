//! Redis servers of a test's own, which may be killed, stopped and given old data.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A `redis-server` from `PATH` on loopback, which writes nothing to disk unless it is told to.
pub struct RedisServer {
    pub port: u16,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::with(|_, _| Vec::new()).await
    }

    /// With more arguments, made of its port and of its directory.
    pub async fn with(arguments: impl FnOnce(u16, &std::path::Path) -> Vec<String>) -> Self {
        let (port, dir) = (super::ports::free().port(), tempfile::tempdir().unwrap());
        let mut server = Self { port, arguments: arguments(port, dir.path()), dir, child: None };
        server.start_again().await;
        server
    }

    /// Starts it, with what is in its directory.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--port", &self.port.to_string()])
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed: apt-get install redis-server");
        self.child = Some(child);
        let begun = Instant::now();
        while !self.try_command("PING").is_some_and(|said| said.contains("PONG") || said.contains("NOAUTH")) {
            assert!(begun.elapsed() < Duration::from_secs(30), "redis-server on port {} does not answer", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// It hangs: connections stay, and nothing is answered.
    pub fn hang(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.as_ref().expect("running").id()).unwrap();
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// The first line that it says to a command.
    pub fn command(&self, command: &str) -> String {
        self.try_command(command).unwrap_or_else(|| panic!("{command}: no answer"))
    }

    fn try_command(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "{command}\r\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    /// What it holds now, as a file that [`RedisServer::put_back`] takes.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.command("SAVE"), "+OK");
        std::fs::read(self.file()).unwrap()
    }

    /// Kills it, and starts it again with old data.
    pub async fn put_back(&mut self, dump: &[u8]) {
        self.kill9();
        std::fs::write(self.file(), dump).unwrap();
        self.start_again().await;
    }

    /// Kills it, and starts it again with none.
    pub async fn lose_all(&mut self) {
        self.kill9();
        let _ = std::fs::remove_file(self.file());
        self.start_again().await;
    }

    /// Writes down each command from now on.
    pub fn watch(&self) -> Commands {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("+OK"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = seen.clone();
        // Ends with the server.
        std::thread::spawn(move || lines.for_each(|line| to.lock().unwrap().push(line)));
        Commands(seen)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("dump.rdb")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// What a server was asked to do.
pub struct Commands(Arc<Mutex<Vec<String>>>);

impl Commands {
    /// Since the last time; without what scripts do on the server.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().filter(|line| !line.contains(" lua]")).collect()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill9();
    }
}
