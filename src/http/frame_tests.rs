//! The frame over a real listener: every error in the envelope, limits, ids. `time` is slow clients, rests, HTTP/2, drain.

mod time;

use super::{
    cors::Cors,
    errors::{ApiError, Code},
    frame::{Frame, NetworkLimit},
    payload::{In, NoContent, Out},
    request::Proxies,
    routes::{RouteEntry, router},
    server::{ServerConfig, serve},
    types::{EmailText, PasswordText},
};
use crate::{
    domain::{
        ids::UserId,
        network::{Network, ProxyHeader},
        rng::SeededRng,
        time::{ManualClock, Timestamp},
    },
    service::api::{Caller, Decision},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path};
use serde::Serialize;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

/// Longer than anything takes here, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);

#[derive(Object)]
struct Login {
    email: EmailText,
    password: PasswordText,
    tenant_id: Option<UserId>,
}

#[derive(Object, Serialize)]
struct Seen {
    ip: String,
    length: u64,
}

/// Holds requests until it is opened.
struct Gate {
    held: AtomicU32,
    latch: Semaphore,
}

impl Gate {
    async fn pass(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        // An error says that it is open.
        let _ = self.latch.acquire().await;
    }
    /// Waits until so many have come to it.
    async fn holds(&self, many: u32) {
        let began = Instant::now();
        while self.held.load(Ordering::SeqCst) < many {
            assert!(began.elapsed() < LONG, "{} of {many} requests have come", self.held.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    fn open(&self) {
        self.latch.close();
    }
}

struct Api {
    slow: Arc<Gate>,
}

#[OpenApi]
impl Api {
    #[oai(path = "/v1/login", method = "post", operation_id = "login")]
    async fn login(&self, caller: Data<&Caller>, body: In<Login>) -> Result<Out<Seen, 201>, ApiError> {
        let _ = (body.0.tenant_id, body.0.email.reveal());
        Ok(Out(Seen { ip: caller.ip.to_string(), length: body.0.password.reveal().len() as u64 }))
    }
    #[oai(path = "/v1/things/:id", method = "get", operation_id = "thing")]
    async fn thing(&self, id: Path<UserId>) -> Result<Out<Seen>, ApiError> {
        Ok(Out(Seen { ip: id.0.to_string(), length: 0 }))
    }
    #[oai(path = "/v1/panic", method = "get", operation_id = "panic")]
    async fn panic(&self) -> NoContent {
        panic!("planted panic text")
    }
    #[oai(path = "/v1/slow", method = "get", operation_id = "slow")]
    async fn slow(&self) -> NoContent {
        self.slow.pass().await;
        NoContent
    }
    #[oai(path = "/v1/auth/thing", method = "get", operation_id = "auth_thing")]
    async fn auth_thing(&self) -> NoContent {
        NoContent
    }
}

/// Has the id of an operation that lists no 404.
struct Undocumented;

#[OpenApi]
impl Undocumented {
    #[oai(path = "/v1/undocumented", method = "get", operation_id = "getHealth")]
    async fn it(&self) -> Result<NoContent, ApiError> {
        Err(ApiError::new(Code::NotFound))
    }
}

struct AtMost(u32, AtomicU32);

impl NetworkLimit for AtMost {
    async fn decide(&self, _: Network) -> Option<Decision> {
        let used = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        let left = self.0.saturating_sub(used);
        Some(Decision { allowed: used <= self.0, limit: self.0, remaining: left, reset_after: Duration::from_millis(7_100) })
    }
}

struct Running {
    address: SocketAddr,
    /// What `/v1/slow` waits for.
    slow: Arc<Gate>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

async fn start(config: ServerConfig) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = Arc::new(Gate { held: AtomicU32::new(0), latch: Semaphore::new(0) });
    let frame = Frame {
        inner: router((Api { slow: slow.clone() }, Undocumented)),
        limit: AtMost(2, AtomicU32::new(0)),
        proxies: Proxies { trusted: vec!["127.0.0.0/8".parse().unwrap()], header: ProxyHeader::XForwardedFor },
        https: true,
        cors: Cors::new(["https://app.example.com"]),
        clock: Arc::new(ManualClock::at_millis(Timestamp::from_millis(1_700_000_000_000).millis())),
        rng: Arc::new(SeededRng::new(1)),
        unmatched: RouteEntry::new("unmatched"),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, frame, config, async {
        let _ = stopped.await;
    }));
    Running { address, slow, stop, task }
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Sends a request; gives the status, the headers and, if there is a body, its `error` object (checked for its shape) or itself.
async fn ask(request: reqwest::RequestBuilder) -> (u16, reqwest::header::HeaderMap, Value) {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    if body.is_empty() {
        return (status, headers, Value::Null);
    }
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    let body: Value = serde_json::from_slice(&body).unwrap();
    if status < 400 {
        return (status, headers, body);
    }
    let error = body["error"].clone();
    assert_eq!(error["request_id"], headers["x-request-id"].to_str().unwrap());
    assert!(error["message"].is_string(), "{body}");
    (status, headers, error)
}

#[tokio::test]
async fn every_error_of_the_framework_has_the_envelope() {
    let server = start(ServerConfig::default()).await;
    let http = reqwest::Client::new();
    let post = |body: &str| http.post(server.url("/v1/login")).header("content-type", "application/json").body(body.to_owned());
    let good = r#"{"email":"a@b.c","password":"pass","unknown":1}"#;
    let (status, headers, body) = ask(post(good)).await;
    assert_eq!((status, &body["length"], &headers["cache-control"]), (201, &4.into(), &"no-store".parse().unwrap()));

    let deep = "[".repeat(100_000);
    let cases: Vec<(reqwest::RequestBuilder, u16, &str)> = vec![
        (http.get(server.url("/v1/nowhere")), 404, "not_found"),
        (http.get(server.url("/")), 404, "not_found"),
        (http.delete(server.url("/v1/login")), 405, "method_not_allowed"),
        (http.get(server.url("/v1/things/not-a-uuid")), 400, "malformed_request"),
        (http.get(server.url("/v1/panic")), 500, "internal"),
        (post("{"), 400, "malformed_request"),
        (post(""), 400, "malformed_request"),
        (post(&deep), 400, "malformed_request"),
        (post(&format!("{{\"email\":{deep}")), 400, "malformed_request"),
        (
            http.post(server.url("/v1/login")).header("content-type", "application/json").body(vec![b'"', 0xff, b'"']),
            400,
            "malformed_request",
        ),
        (http.post(server.url("/v1/login")).body(good), 415, "unsupported_media_type"),
        (http.post(server.url("/v1/login")).header("content-type", "text/plain").body(good), 415, "unsupported_media_type"),
        (
            http.post(server.url("/v1/login")).header("content-type", "application/json; charset=latin1").body(good),
            415,
            "unsupported_media_type",
        ),
        (post(&format!("\"{}\"", "x".repeat(1 << 21))), 413, "payload_too_large"),
        (post("[]"), 422, "validation_failed"),
    ];
    for (request, status, code) in cases {
        let shown = format!("{request:?}").chars().take(200).collect::<String>();
        let (got, headers, error) = ask(request).await;
        assert_eq!((got, error["code"].as_str().unwrap()), (status, code), "{shown}: {error}");
        assert!(!error.to_string().contains("planted"), "{error}");
        if status == 405 {
            assert_eq!(headers["allow"], "POST");
        }
    }
}

#[tokio::test]
async fn a_debug_build_gives_no_error_that_the_document_does_not_list() {
    let server = start(ServerConfig::default()).await;
    let (status, ..) = ask(reqwest::Client::new().get(server.url("/v1/undocumented"))).await;
    assert_eq!(status, if cfg!(debug_assertions) { 500 } else { 404 });
}

#[tokio::test]
async fn all_bad_fields_are_named_and_none_is_repeated() {
    let server = start(ServerConfig::default()).await;
    let body = r#"{"password":["planted"],"tenant_id":"planted"}"#;
    let request = reqwest::Client::new().post(server.url("/v1/login")).header("content-type", "application/json").body(body);
    let (status, _, error) = ask(request).await;
    assert_eq!((status, error["code"].as_str().unwrap()), (422, "validation_failed"));
    assert_eq!(error["fields"], serde_json::json!({"email": "is missing", "password": "must be a string", "tenant_id": "must be a UUID"}));
    assert!(!error.to_string().contains("planted"));
}

/// Sends all of a request before it reads, as simple clients do; gives the status.
async fn stubborn(server: &Running, head: &str, body: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(format!("POST /v1/{head}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    socket.write_all(body).await.expect("the server reads on while it is sent to");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("the answer, not a reset");
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_its_answer() {
    let server = start(ServerConfig::default()).await;
    let body = vec![b'x'; 3 << 20];
    let long = format!("content-length: {}", body.len());
    assert_eq!(stubborn(&server, &format!("login HTTP/1.1\r\ncontent-type: application/json\r\n{long}"), &body).await, "413");
    assert_eq!(stubborn(&server, &format!("login HTTP/1.1\r\n{long}"), &body).await, "415");
    assert_eq!(stubborn(&server, &format!("nowhere HTTP/1.1\r\n{long}"), &body).await, "404");
    // Without its length being said.
    let chunks = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).repeat(64) + "0\r\n\r\n";
    let head = "login HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked";
    assert_eq!(stubborn(&server, head, chunks.as_bytes()).await, "413");
}

#[tokio::test]
async fn request_ids_proxies_and_limits() {
    let server = start(ServerConfig::default()).await;
    let http = reqwest::Client::new();
    let request = http.post(server.url("/v1/login")).json(&serde_json::json!({"email": "", "password": ""}));
    let (_, headers, body) = ask(request.header("x-request-id", "mine-1").header("x-forwarded-for", "6.6.6.6, 192.0.2.7")).await;
    assert_eq!((&headers["x-request-id"], &body["ip"]), (&"mine-1".parse().unwrap(), &"192.0.2.7".into()));
    assert!(!headers.contains_key("ratelimit-limit"));

    let auth = || http.get(server.url("/v1/auth/thing"));
    let (status, headers, _) = ask(auth()).await;
    assert_eq!((status, &headers["ratelimit-limit"], &headers["ratelimit-remaining"]), (204, &"2".parse().unwrap(), &"1".parse().unwrap()));
    ask(auth()).await;
    let (status, headers, error) = ask(auth()).await;
    assert_eq!((status, error["code"].as_str().unwrap(), &headers["retry-after"]), (429, "rate_limited", &"8".parse().unwrap()));
    assert_eq!((&headers["ratelimit-remaining"], &headers["ratelimit-reset"]), (&"0".parse().unwrap(), &"8".parse().unwrap()));
}

#[tokio::test]
async fn browsers_of_listed_origins_may_call() {
    let server = start(ServerConfig::default()).await;
    let http = reqwest::Client::new();
    let preflight = |origin: &str| {
        let request = http.request(reqwest::Method::OPTIONS, server.url("/v1/login")).header("origin", origin);
        ask(request.header("access-control-request-method", "POST"))
    };
    let (status, headers, _) = preflight("https://app.example.com").await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (204, &"https://app.example.com".parse().unwrap()));
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
    let (status, headers, _) = preflight("https://evil.example.com").await;
    assert_eq!((status, headers.contains_key("access-control-allow-origin")), (405, false));
    // An error too must be readable by the page.
    let (status, headers, _) = ask(http.get(server.url("/v1/nowhere")).header("origin", "https://app.example.com")).await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"], &headers["vary"]),
        (404, &"https://app.example.com".parse().unwrap(), &"Origin".parse().unwrap())
    );
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = start(ServerConfig::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = "HEAD /v1/things/018bcfe5-6800-7000-8000-000000000000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let length = r#"{"ip":"018bcfe5-6800-7000-8000-000000000000","length":0}"#.len();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("content-length: {length}\r\n")), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request_gets_the_same_body_as_every_error() {
    let server = start(ServerConfig::default()).await;
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "x".repeat(400_000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(66_000));
    let after = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/9.9\r\n\r\n";
    let broken = ["hello\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "\0\u{1}\r\n\r\n"];
    let all = broken.iter().map(|sent| (*sent, "400")).chain([(&*many, "431"), (&*long, "431"), (&*path, "4"), (after, "400")]);
    for (sent, status) in all {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let what = sent.chars().take(60).collect::<String>();
        // The last of them, if there are two.
        let at = answer.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("{what:?}: {answer:?}"));
        let (head, body) = answer[at..].split_once("\r\n\r\n").unwrap();
        assert!(head["HTTP/1.1 ".len()..].starts_with(status), "{what:?}: {head}");
        assert!(head.contains("connection: close") && head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{what:?}: {head}");
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], "malformed_request", "{what:?}: {error}");
        assert!(head.contains(error["error"]["request_id"].as_str().unwrap()), "{head}");
    }
}
