//! The Twilio Messages API (2010-04-01) on loopback: basic auth, form in, JSON out, and the ways in which it fails.

use super::ports;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, LOCATION},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

pub const SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const TOKEN: &str = "tok/en+%";

/// An answer other than 201.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Status and Twilio's error number; the text names the recipient, as the real one does.
    Error(u16, u32),
    /// A proxy's page, say: no JSON.
    Html(u16),
    /// Never answers.
    Hang,
    /// 307 to somewhere else on this machine; the redirected request would be recorded as `redirected`.
    Redirect,
    /// A 500 with a body of 64 MiB.
    Huge,
    /// Takes the message, and breaks the connection instead of answering.
    TakeAndDrop,
}

/// A message as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub from: Option<String>,
    pub service: Option<String>,
    pub to: String,
    pub body: String,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    always: Mutex<Option<Answer>>,
    taken: Mutex<Vec<Taken>>,
    requests: Mutex<Vec<String>>,
    /// Bytes of a huge body that were written.
    written: Mutex<usize>,
}

/// The running server.
pub struct TwilioServer {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl TwilioServer {
    pub async fn start() -> Self {
        // Nobody else gets it once the server is gone.
        let addr = ports::free();
        let listener = TcpListener::bind(addr).await.unwrap();
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { addr, shared, accepting }
    }

    pub fn url(&self) -> String {
        self.url_with("tok%2Fen%2B%25")
    }

    /// With another token (percent-encoded).
    pub fn url_with(&self, token: &str) -> String {
        format!("twilio://{SID}:{token}@api.twilio.com?from=+15550006789&base=http://{}", self.addr)
    }

    /// The next answer.
    pub fn next(&self, answer: Answer) {
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// All answers; `None`: 201 again.
    pub fn always(&self, answer: Option<Answer>) {
        *self.shared.always.lock().unwrap() = answer;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Paths of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn written(&self) -> usize {
        *self.shared.written.lock().unwrap()
    }

    /// Waits until `count` messages were taken.
    pub async fn wait_for(&self, count: usize) -> Vec<Taken> {
        let begun = Instant::now();
        loop {
            let got = self.taken();
            if got.len() >= count {
                return got;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} messages came", got.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Nobody listens any more: connections are refused. Open ones live on.
    pub async fn go_away(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        ports::closed(self.addr).await;
    }
}

impl Drop for TwilioServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let shared = shared.clone();
        tokio::spawn(async move {
            // A body without end is written by hand: hyper would be too polite.
            if matches!(*shared.always.lock().unwrap(), Some(Answer::Huge)) {
                let _ = read_request(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 67108864\r\n\r\n").await;
                for _ in 0..1024 {
                    if stream.write_all(&[b'x'; 65_536]).await.is_err() {
                        return;
                    }
                    *shared.written.lock().unwrap() += 65_536;
                }
                return;
            }
            let service = service_fn(|request| answer(request, shared.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 65_536];
    stream.read(&mut buffer).await.map(drop)
}

#[derive(Debug, thiserror::Error)]
#[error("dropped")]
struct Dropped;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Dropped> {
    let path = request.uri().path().to_owned();
    shared.requests.lock().unwrap().push(path.clone());
    let authorized = request.headers().get(AUTHORIZATION).is_some_and(|h| {
        h.to_str().ok().and_then(|h| h.strip_prefix("Basic ")).and_then(|b| STANDARD.decode(b).ok())
            == Some(format!("{SID}:{TOKEN}").into_bytes())
    });
    let body = request.into_body().collect().await.map_err(|_: hyper::Error| Dropped)?.to_bytes();
    let form = form(&body);
    let field = |name: &str| form.get(name).cloned();
    let act = shared.answers.lock().unwrap().pop_front().or(*shared.always.lock().unwrap());
    if !authorized {
        return Ok(problem(401, 20003, "Authenticate"));
    }
    if path != format!("/2010-04-01/Accounts/{SID}/Messages.json") {
        return Ok(problem(404, 20404, "The requested resource was not found"));
    }
    let (Some(to), Some(text)) = (field("To"), field("Body")) else {
        return Ok(problem(400, 21604, "A 'To' phone number is required."));
    };
    let (from, service) = (field("From"), field("MessagingServiceSid"));
    if from.is_none() && service.is_none() {
        return Ok(problem(400, 21603, "A 'From' phone number is required."));
    }
    let take = || shared.taken.lock().unwrap().push(Taken { from: from.clone(), service: service.clone(), to: to.clone(), body: text });
    match act {
        None => take(),
        Some(Answer::Error(status, code)) => {
            return Ok(problem(status, code, &format!("The 'To' number {to} is not a valid phone number.")));
        }
        Some(Answer::Html(status)) => return Ok(respond(status, "<html>no</html>".into())),
        Some(Answer::Hang) => std::future::pending::<()>().await,
        Some(Answer::Redirect) => {
            let mut response = respond(307, String::new());
            response.headers_mut().insert(LOCATION, "/redirected".parse().unwrap());
            return Ok(response);
        }
        Some(Answer::TakeAndDrop) => {
            take();
            return Err(Dropped);
        }
        Some(Answer::Huge) => unreachable!("answered before"),
    }
    let json = serde_json::json!({
        "account_sid": SID, "api_version": "2010-04-01", "body": "", "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
        "date_sent": null, "direction": "outbound-api", "error_code": null, "error_message": null, "from": from,
        "messaging_service_sid": service, "num_media": "0", "num_segments": "1", "price": null, "price_unit": null,
        "sid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "status": "queued", "to": to,
    });
    Ok(respond(201, json.to_string()))
}

fn problem(status: u16, code: u32, message: &str) -> Response<Full<Bytes>> {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let json = serde_json::json!({ "code": code, "message": message, "more_info": more_info, "status": status });
    respond(status, json.to_string())
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while let [b, tail @ ..] = rest {
            rest = tail;
            match b {
                b'+' => out.push(b' '),
                b'%' => {
                    out.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                    rest = &tail[2..];
                }
                b => out.push(*b),
            }
        }
        String::from_utf8(out).unwrap()
    };
    let text = std::str::from_utf8(body).unwrap();
    let pairs = text.split('&').filter_map(|p| p.split_once('='));
    pairs.map(|(n, v)| (decode(n), decode(v))).collect()
}
