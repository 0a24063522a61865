//! Redis servers of a test's own, which may be killed, stopped and given old data.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
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

    /// With more arguments, made of its port and of its directory; anew with another port if somebody has one of those.
    pub async fn with(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            let (port, dir) = (super::ports::free().port(), tempfile::tempdir().unwrap());
            let mut server = Self { port, arguments: arguments(port, dir.path()), dir, child: None };
            match server.try_start().await {
                Ok(()) => return server,
                Err(why) => said = why,
            }
            assert!(said.contains("Address already in use"), "redis-server does not start: {said}");
        }
        panic!("redis-server finds no port: {said}");
    }

    /// Starts it, with what is in its directory.
    pub async fn start_again(&mut self) {
        if let Err(said) = self.try_start().await {
            panic!("redis-server on port {} does not start: {said}", self.port);
        }
    }

    /// If it ends, or does not answer: what it said.
    async fn try_start(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "it is running");
        let log = self.dir.path().join("log");
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--port", &self.port.to_string()])
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed: apt-get install redis-server");
        self.child = Some(child);
        let begun = Instant::now();
        loop {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
            if ended || begun.elapsed() > Duration::from_secs(60) {
                self.kill9();
                return Err(said);
            }
            // What answers on its port may be another's: it has the port once it says so.
            if said.contains("Ready to accept connections")
                && self.try_command("PING").is_some_and(|said| said.contains("PONG") || said.contains("NOAUTH"))
            {
                return Ok(());
            }
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
        self.lines(command, 1)?.pop()
    }

    /// So many lines of what it says to a command.
    fn lines(&self, command: &str, count: usize) -> Option<Vec<String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        write!(stream, "{command}\r\n").ok()?;
        let lines: Vec<String> = BufReader::new(stream).lines().take(count).map_while(Result::ok).collect();
        (lines.len() == count).then_some(lines)
    }

    /// How many subscribe to a channel.
    pub fn subscribers(&self, channel: &str) -> usize {
        // Two things: the channel (its length, and its name) and the number.
        let lines = self.lines(&format!("PUBSUB NUMSUB {channel}"), 4);
        let number = lines.as_ref().and_then(|lines| lines[3].strip_prefix(':')?.parse().ok());
        number.unwrap_or_else(|| panic!("{channel}: {lines:?}"))
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
    /// All since the last time and up to now; without what scripts do on the server.
    pub async fn take(&self, server: &RedisServer) -> Vec<String> {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        // It tells of its commands in their order: once it tells of this one, all that it did before is here.
        server.command(&format!("ECHO {mark}"));
        let (mark, begun) = (format!("\"{mark}\""), Instant::now());
        loop {
            if let Some(mut seen) = self.up_to(&mark) {
                seen.retain(|line| !line.contains(" lua]"));
                return seen;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the server tells nothing of what it does");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What came before a line, if that has come.
    fn up_to(&self, mark: &str) -> Option<Vec<String>> {
        let mut seen = self.0.lock().unwrap();
        let at = seen.iter().position(|line| line.contains(mark))?;
        let before = seen.drain(..at).collect();
        seen.remove(0);
        Some(before)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill9();
    }
}
