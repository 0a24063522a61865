//! Clients that take their time, connections that rest, HTTP/2, and the end.

use super::*;
use crate::http::{connection::Patience, peers::Exempt};
use tokio::net::TcpSocket;

const HEAD: Duration = Duration::from_millis(300);
/// So much longer that a busy machine doesn't take the one for the other.
const IDLE: Duration = Duration::from_secs(4);
/// Times are kept in whole milliseconds.
const ROUNDED: Duration = Duration::from_millis(20);

fn impatient() -> ServerConfig {
    let patience = Patience { head: HEAD, idle: IDLE, rest: LONG, write: LONG };
    ServerConfig { patience, ..ServerConfig::default() }
}

/// How long the server keeps a connection on which `first` was sent and then `drip` again and again.
async fn kept(server: &Running, first: &[u8], drip: &[u8]) -> Duration {
    let began = Instant::now();
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(first).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let drip = drip.to_owned();
    let dripping = tokio::spawn(async move {
        while !drip.is_empty() && write.write_all(&drip).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Held open: the server is to end it.
        std::future::pending::<()>().await;
        drop(write);
    });
    let mut all = Vec::new();
    let _ = tokio::time::timeout(LONG / 2, read.read_to_end(&mut all)).await.expect("the server never closed");
    dripping.abort();
    began.elapsed()
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_pauses_between_requests_are_not_heads() {
    let server = start(impatient()).await;
    let get = b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
    let and_begun = [get, b"GET / HT"].concat();
    let heads = futures_util::future::join_all([
        kept(&server, b"", b""),
        kept(&server, b"PRI * HT", b""),
        kept(&server, b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"y"),
        kept(&server, get, b"z"),
    ]);
    let pauses = futures_util::future::join_all([kept(&server, get, b""), kept(&server, &and_begun, b"")]);
    let (heads, pauses) = tokio::join!(heads, pauses);
    assert!(heads.iter().all(|took| *took >= HEAD - ROUNDED && *took < IDLE), "{heads:?}, not {HEAD:?}");
    assert!(pauses.iter().all(|took| *took >= IDLE - ROUNDED), "{pauses:?}, not {IDLE:?}");
}

/// Reads from `socket` until `wanted` answers of 404 have come.
async fn answers(socket: &mut TcpStream, wanted: usize) {
    let mut all = Vec::new();
    while String::from_utf8_lossy(&all).matches("HTTP/1.1 404").count() < wanted || !all.ends_with(b"}}") {
        let read = tokio::time::timeout(LONG, socket.read_buf(&mut all)).await.expect("no answer").unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&all));
    }
}

#[tokio::test]
async fn a_connection_that_rested_goes_on_where_it_was() {
    let rest = Duration::from_millis(50);
    let patient = Patience { rest, head: LONG, ..Patience::default() };
    let server = start(ServerConfig { patience: patient, ..ServerConfig::default() }).await;
    // Four times what it takes to come to rest, which nobody outside can see: what is asked after a shorter one gets its answer too.
    let pause = || tokio::time::sleep(rest * 4);
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let get = b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
    for _ in 0..3 {
        socket.write_all(get).await.unwrap();
        answers(&mut socket, 1).await;
        pause().await;
    }
    // A part of the next head came with the last request, and was read with it.
    let (begin, end) = get.split_at(9);
    socket.write_all(&[get, get, begin].concat()).await.unwrap();
    answers(&mut socket, 2).await;
    pause().await;
    socket.write_all(end).await.unwrap();
    answers(&mut socket, 1).await;
    // What can't be read still gets its answer.
    pause().await;
    socket.write_all(b"GET / HTTP/9.9\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed_request"), "{answer}");
    // The time between requests has its end.
    let idle = Duration::from_secs(1);
    let hasty = start(ServerConfig { patience: Patience { idle, ..patient }, ..ServerConfig::default() }).await;
    let took = kept(&hasty, get, b"").await;
    assert!(took >= idle - ROUNDED, "{took:?}");
    // A rest is no place to hide from a drain, which would wait for 20 seconds.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(get).await.unwrap();
    answers(&mut socket, 1).await;
    pause().await;
    server.stop.send(()).unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(15), server.task).await.expect("the drain goes on").unwrap(), 0);
}

#[tokio::test]
async fn http2_without_tls_is_spoken_and_idle_ones_end() {
    let server = start(impatient()).await;
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = http.get(server.url("/v1/nowhere")).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 404));
    let many = futures_util::future::join_all((0..50).map(|_| http.get(server.url("/v1/slow")).send()));
    let (answered, ()) = tokio::join!(many, async {
        server.slow.holds(50).await;
        server.slow.open();
    });
    assert!(answered.into_iter().all(|r| r.unwrap().status() == 204));
    // Only a preface and empty settings, then nothing.
    let took = kept(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"").await;
    assert!(took < IDLE, "{took:?}");
}

#[tokio::test]
async fn a_drain_lets_open_requests_finish_and_closes_idle_connections_at_once() {
    // Nothing else ends before the test does.
    let patience = Patience { head: LONG * 2, ..Patience::default() };
    let server = start(ServerConfig { patience, drain: LONG * 2, ..ServerConfig::default() }).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    let fresh = TcpStream::connect(server.address).await.unwrap();
    let open = tokio::spawn(reqwest::get(server.url("/v1/slow")));
    server.slow.holds(1).await;
    let began = Instant::now();
    server.stop.send(()).unwrap();
    for mut quiet in [idle, fresh] {
        assert_eq!(quiet.read(&mut [0; 16]).await.unwrap(), 0);
    }
    assert!(began.elapsed() < LONG && !open.is_finished(), "{:?}", began.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err());
    server.slow.open();
    assert_eq!(open.await.unwrap().unwrap().status(), 204);
    assert_eq!(server.task.await.unwrap(), 0);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_drain_ends_and_connections_are_bounded() {
    let config = ServerConfig { drain: Duration::from_millis(100), max_connections: 1, ..ServerConfig::default() };
    let server = start(config).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /v1/slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.slow.holds(1).await;
    // The kernel takes it, but nobody answers while the only place is in use, however long that is.
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), second.read(&mut [0; 1])).await.is_err());
    server.stop.send(()).unwrap();
    assert_eq!(server.task.await.unwrap(), 1);
    assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 0);
}

/// A connection from this address of the machine, if it is taken: a request on it was answered.
async fn taken(server: &Running, from: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.address).await.ok()?;
    stream.write_all(b"GET /v1/nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
    let read = tokio::time::timeout(LONG, stream.read(&mut [0; 4096])).await.expect("neither answered nor closed");
    matches!(read, Ok(1..)).then_some(stream)
}

#[tokio::test]
async fn one_peer_holds_a_quarter_of_the_connections_and_leaves_the_rest_to_others() {
    let server = start(ServerConfig { max_connections: 8, exempt: Exempt::Networks(Vec::new()), ..ServerConfig::default() }).await;
    let mut held = vec![taken(&server, "127.0.0.1").await, taken(&server, "127.0.0.1").await];
    assert!(held.iter().all(Option::is_some));
    for _ in 0..20 {
        assert!(taken(&server, "127.0.0.1").await.is_none(), "a third one");
    }
    held.extend([taken(&server, "127.0.0.2").await, taken(&server, "127.0.0.2").await]);
    assert!(held.iter().all(Option::is_some), "those that were refused have taken no place");
    assert!(taken(&server, "127.0.0.2").await.is_none());
    drop(held.remove(0));
    // The server sees a moment later that it was closed.
    let began = Instant::now();
    while taken(&server, "127.0.0.1").await.is_none() {
        assert!(began.elapsed() < LONG, "its place is not given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Loopback addresses are exempt, unless a test says otherwise.
    let server = start(ServerConfig { max_connections: 8, ..ServerConfig::default() }).await;
    for _ in 0..4 {
        held.push(taken(&server, "127.0.0.1").await);
    }
    assert!(held.iter().all(Option::is_some));
}
