//! A small mail server: EHLO, STARTTLS, implicit TLS, AUTH PLAIN and LOGIN, 8BITMIME, SMTPUTF8. It records what it takes,
//! and misbehaves where a [`Rule`] tells it to.

mod parse;

use super::ports;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};

/// How the server is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    StartTls,
    Implicit,
}

/// Where in the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Greeting,
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    /// After the final dot, before the mail is recorded.
    Dot,
    /// After the mail was recorded, before the answer.
    Taken,
}

/// What happens there instead of the usual answer (after [`Act::Hold`]: before it).
#[derive(Clone, Debug)]
pub enum Act {
    Reply(&'static str),
    /// Until [`SmtpServer::release`].
    Hold,
    Hang,
    Drop,
}

/// Misbehaviour. `to` is matched against the recipient ("" matches all, also before there is one).
#[derive(Clone, Debug)]
pub struct Rule {
    pub at: Stage,
    pub to: &'static str,
    pub act: Act,
    /// How often; `usize::MAX` for ever.
    pub times: usize,
}

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub raw: String,
    pub headers: BTreeMap<String, String>,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub encrypted: bool,
    pub user: Option<String>,
}

struct Shared {
    security: Security,
    login: Option<(String, String)>,
    mechanisms: Mutex<&'static str>,
    rules: Mutex<Vec<Rule>>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    held: AtomicUsize,
    acceptor: TlsAcceptor,
    hang_up: watch::Sender<()>,
    release: watch::Sender<()>,
}

/// Takes one off a count at its end.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for a state, with patience: the machine may be busy.
async fn until(reached: impl Fn() -> bool, now: impl Fn() -> String) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The running server; it stops when dropped.
pub struct SmtpServer {
    pub addr: SocketAddr,
    /// PEM of the authority that signed its certificate (for localhost and 127.0.0.1).
    pub ca_file: PathBuf,
    shared: Arc<Shared>,
    accepting: Mutex<Option<tokio::task::JoinHandle<()>>>,
    _dir: tempfile::TempDir,
}

impl SmtpServer {
    pub async fn start(security: Security, login: Option<(&str, &str)>) -> Self {
        let (acceptor, ca) = tls();
        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let shared = Arc::new(Shared {
            security,
            login: login.map(|(u, p)| (u.to_owned(), p.to_owned())),
            mechanisms: Mutex::new("PLAIN LOGIN"),
            rules: Mutex::default(),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            acceptor,
            hang_up: watch::Sender::new(()),
            release: watch::Sender::new(()),
        });
        // Nobody else gets it while the server is away.
        let addr = ports::free();
        let listener = TcpListener::bind(addr).await.unwrap();
        let accepting = Mutex::new(Some(tokio::spawn(accept(listener, shared.clone()))));
        Self { addr, ca_file, shared, accepting, _dir: dir }
    }

    /// `smtp[s]://[user:password@]127.0.0.1:port?ca=…`, and more parameters (`&tls=none`).
    pub fn url(&self, more: &str) -> String {
        let scheme = if self.shared.security == Security::Implicit { "smtps" } else { "smtp" };
        let login = self.shared.login.as_ref().map(|(u, p)| format!("{}:{}@", escape(u), escape(p))).unwrap_or_default();
        format!("{scheme}://{login}127.0.0.1:{}?ca={}{more}", self.addr.port(), self.ca_file.display())
    }

    pub fn rule(&self, at: Stage, to: &'static str, act: Act, times: usize) {
        self.shared.rules.lock().unwrap().push(Rule { at, to, act, times });
    }

    pub fn behave(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// The mechanisms it offers: "PLAIN LOGIN", "LOGIN".
    pub fn offer(&self, mechanisms: &'static str) {
        *self.shared.mechanisms.lock().unwrap() = mechanisms;
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` mails are there.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        until(|| self.received().len() >= count, || format!("{} of {count} mails came", self.received().len())).await;
        self.received()
    }

    /// Waits until so many conversations stand at an [`Act::Hold`].
    pub async fn holds(&self, count: usize) {
        let held = || self.shared.held.load(Ordering::SeqCst);
        until(|| held() == count, || format!("{} conversations are held, not {count}", held())).await;
    }

    /// Lets those at an [`Act::Hold`] go on, and waits until they have their answers.
    pub async fn release(&self) {
        let _ = self.shared.release.send(());
        self.holds(0).await;
    }

    /// Closes all open connections, as servers do with idle ones, and waits until they are closed.
    pub async fn hang_up(&self) {
        let _ = self.shared.hang_up.send(());
        let open = || self.shared.open.load(Ordering::SeqCst);
        until(|| open() == 0, || format!("{} connections are open", open())).await;
    }

    /// Nobody listens any more: connections are refused. Open ones live on.
    pub async fn go_away(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(task) = accepting {
            task.abort();
            let _ = task.await;
        }
        ports::closed(self.addr).await;
    }

    /// Listens again on the same port.
    pub async fn come_back(&self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        *self.accepting.lock().unwrap() = Some(tokio::spawn(accept(listener, self.shared.clone())));
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.lock().unwrap().take() {
            task.abort();
        }
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// An authority of its own, and a certificate by it.
fn tls() -> (TlsAcceptor, String) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca_pem)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let (shared, mut hang_up) = (shared.clone(), shared.hang_up.subscribe());
        tokio::spawn(async move {
            let _open = Leaving(&shared.open);
            tokio::select! {
                _ = serve(stream, shared.clone()) => {}
                _ = hang_up.changed() => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    if shared.security == Security::Implicit {
        let stream = shared.acceptor.clone().accept(stream).await?;
        return Session::new(stream, &shared, true).run(true).await.map(drop);
    }
    if let Some(stream) = Session::new(stream, &shared, false).run(true).await? {
        let stream = shared.acceptor.clone().accept(stream).await?;
        Session::new(stream, &shared, true).run(false).await?;
    }
    Ok(())
}

struct Session<'a, S> {
    stream: BufReader<S>,
    shared: &'a Shared,
    encrypted: bool,
    user: Option<String>,
    from: String,
    to: Vec<String>,
}

fn hung_up() -> std::io::Error {
    std::io::ErrorKind::ConnectionAborted.into()
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    fn new(stream: S, shared: &'a Shared, encrypted: bool) -> Self {
        Self { stream: BufReader::new(stream), shared, encrypted, user: None, from: String::new(), to: Vec::new() }
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        if self.stream.read_until(b'\n', &mut bytes).await? == 0 {
            return Err(hung_up());
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The usual answer, or what a rule says. `false`: refused.
    async fn answer(&mut self, at: Stage, usual: &str) -> std::io::Result<bool> {
        let act = {
            let mut rules = self.shared.rules.lock().unwrap();
            let matches = |r: &&mut Rule| r.at == at && r.times > 0 && (r.to.is_empty() || self.to.iter().any(|t| t.contains(r.to)));
            rules.iter_mut().find(matches).map(|r| {
                r.times = r.times.saturating_sub(usize::from(r.times != usize::MAX));
                r.act.clone()
            })
        };
        let (shared, mut _held) = (self.shared, None);
        match act {
            Some(Act::Reply(text)) => {
                self.say(text).await?;
                return Ok(text.starts_with('2'));
            }
            Some(Act::Hang) => std::future::pending::<()>().await,
            Some(Act::Drop) => return Err(hung_up()),
            Some(Act::Hold) => {
                let mut released = shared.release.subscribe();
                shared.held.fetch_add(1, Ordering::SeqCst);
                _held = Some(Leaving(&shared.held));
                let _ = released.changed().await;
            }
            None => {}
        }
        if !usual.is_empty() {
            self.say(usual).await?;
        }
        Ok(true)
    }

    /// Gives the stream back for STARTTLS.
    async fn run(mut self, greet: bool) -> std::io::Result<Option<S>> {
        if greet && !self.answer(Stage::Greeting, "220 test.local ESMTP").await? {
            return Ok(None);
        }
        loop {
            let line = self.line().await?;
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let mut lines = vec!["test.local".to_owned(), "8BITMIME".into(), "SMTPUTF8".into()];
                    if self.shared.security == Security::StartTls && !self.encrypted {
                        lines.push("STARTTLS".into());
                    }
                    if self.shared.login.is_some() {
                        lines.push(format!("AUTH {}", self.shared.mechanisms.lock().unwrap()));
                    }
                    let last = lines.len() - 1;
                    let lines: Vec<_> =
                        lines.iter().enumerate().map(|(i, l)| format!("250{}{l}", if i == last { ' ' } else { '-' })).collect();
                    self.answer(Stage::Ehlo, &lines.join("\r\n")).await?;
                }
                "STARTTLS" if self.shared.security == Security::StartTls && !self.encrypted => {
                    self.say("220 go ahead").await?;
                    return Ok(Some(self.stream.into_inner()));
                }
                "AUTH" => self.auth(rest).await?,
                "MAIL" if self.shared.login.is_some() && self.user.is_none() => self.say("530 5.7.0 sign in first").await?,
                "MAIL" => {
                    self.from = address(rest);
                    self.to.clear();
                    self.answer(Stage::Mail, "250 ok").await?;
                }
                "RCPT" => {
                    self.to.push(address(rest));
                    if !self.answer(Stage::Rcpt, "250 ok").await? {
                        self.to.pop();
                    }
                }
                "DATA" if self.to.is_empty() => self.say("503 5.5.1 no recipients").await?,
                "DATA" => self.data().await?,
                "RSET" | "NOOP" => self.say("250 ok").await?,
                "QUIT" => {
                    self.say("221 bye").await?;
                    return Ok(None);
                }
                _ => self.say("502 5.5.2 what?").await?,
            }
        }
    }

    async fn auth(&mut self, rest: &str) -> std::io::Result<()> {
        let decode = |t: &str| String::from_utf8(STANDARD.decode(t).unwrap_or_default()).unwrap_or_default();
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = match mechanism {
            "PLAIN" => {
                let text = decode(initial);
                let mut parts = text.split('\0').skip(1).map(str::to_owned);
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            "LOGIN" => {
                self.say(&format!("334 {}", STANDARD.encode("Username:"))).await?;
                let user = decode(&self.line().await?);
                self.say(&format!("334 {}", STANDARD.encode("Password:"))).await?;
                (user, decode(&self.line().await?))
            }
            _ => return self.say("504 5.5.4 unknown mechanism").await,
        };
        if self.shared.login.as_ref() == Some(&given) {
            if self.answer(Stage::Auth, "235 2.7.0 welcome").await? {
                self.user = Some(given.0);
            }
            Ok(())
        } else {
            self.say(&format!("535 5.7.8 wrong password for {}", given.0)).await
        }
    }

    async fn data(&mut self) -> std::io::Result<()> {
        self.say("354 go on").await?;
        let mut raw = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
        }
        if !self.answer(Stage::Dot, "").await? {
            return Ok(());
        }
        let mail = parse::mail(&raw, &self.from, &self.to, self.encrypted, self.user.clone());
        self.shared.received.lock().unwrap().push(mail);
        self.answer(Stage::Taken, "250 2.0.0 taken").await.map(drop)
    }
}

fn address(rest: &str) -> String {
    rest.split_once('<').and_then(|(_, r)| r.split_once('>')).map(|(a, _)| a.to_owned()).unwrap_or_default()
}
