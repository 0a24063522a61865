//! The range API on loopback: `GET /range/{5 hex}`, and the ways in which it fails.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// How it answers.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// As the real one: rows of what is in the corpus, and padding.
    #[default]
    Rows,
    /// As above, after a while.
    Slow(Duration),
    /// As above, after [`BreachServer::release`].
    Held,
    /// A status, and a page instead of rows.
    Status(u16),
    /// 302 to the same range elsewhere on this server.
    Redirect,
    /// Rows without an end: 64 MiB.
    Huge,
    /// 200, and a proxy's page.
    Page,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Answer>,
    /// Prefix → rows.
    corpus: Mutex<HashMap<String, Vec<String>>>,
    requests: Mutex<Vec<(String, bool)>>,
    released: watch::Sender<bool>,
}

/// The running server.
pub struct BreachServer {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl BreachServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { addr, shared, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Puts a password into the corpus, seen `count` times; 0 makes it padding.
    pub fn breach(&self, password: &str, count: u32) {
        let hex = sha1_hex(password);
        let row = format!("{}:{count}", &hex[5..]);
        self.shared.corpus.lock().unwrap().entry(hex[..5].to_owned()).or_default().push(row);
    }

    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// Lets each [`Answer::Held`] go, from now on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Path of each request, and whether padding was asked for.
    pub fn requests(&self) -> Vec<(String, bool)> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for BreachServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Upper case, as the API has it.
pub fn sha1_hex(text: &str) -> String {
    let sha = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    sha.as_ref().iter().map(|b| format!("{b:02X}")).collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let padded = request.headers().get("add-padding").is_some_and(|v| v == "true");
    shared.requests.lock().unwrap().push((path.clone(), padded));
    let how = shared.answer.lock().unwrap().clone();
    let with = |status: u16, body: Bytes| Response::builder().status(status).body(Full::new(body)).unwrap();
    Ok(match how {
        Answer::Status(status) => with(status, "<html>sorry</html>".into()),
        Answer::Page => with(200, "<html>please sign in</html>".into()),
        Answer::Redirect => Response::builder().status(302).header("location", format!("/elsewhere{path}")).body(Full::default()).unwrap(),
        Answer::Huge => with(200, format!("{}:9\r\n", "A".repeat(35)).repeat(64 * 1024 * 1024 / 39).into()),
        Answer::Rows | Answer::Slow(_) | Answer::Held => {
            match how {
                Answer::Slow(wait) => tokio::time::sleep(wait).await,
                Answer::Held => drop(shared.released.subscribe().wait_for(|released| *released).await),
                _ => {}
            }
            let prefix = path.rsplit('/').next().unwrap_or_default();
            let mut rows = shared.corpus.lock().unwrap().get(prefix).cloned().unwrap_or_default();
            rows.extend((0..800).map(|n| format!("{}:0", &sha1_hex(&format!("padding {n}"))[5..])));
            with(200, rows.join("\r\n").into())
        }
    })
}
