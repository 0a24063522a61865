//! A keep-alive HTTP/1.1 connection that costs the machine as little as possible: the service under load shares it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// One answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// What `Retry-After` asks to wait.
    pub retry_after: Option<Duration>,
    pub took: Duration,
}

impl Answer {
    /// A text field of the JSON body; empty if there is none.
    pub fn text(&self, field: &str) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json[field].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection; opened anew when the other side closed it.
pub struct Client {
    address: SocketAddr,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    async fn connect(&mut self) -> Result<&mut http1::SendRequest<Full<Bytes>>, String> {
        if self.sender.as_ref().is_none_or(|s| s.is_closed()) {
            let socket = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
            socket.set_nodelay(true).map_err(|e| e.to_string())?;
            let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().ok_or_else(|| "no connection".into())
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&mut self, method: Method, path: &str, bearer: Option<&str>, body: Option<String>) -> Result<Answer, String> {
        self.send_as(method, path, bearer.map(|token| format!("Bearer {token}")), body).await
    }

    /// The same, with whatever proves who asks.
    pub async fn send_as(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<String>,
        body: Option<String>,
    ) -> Result<Answer, String> {
        let host = self.address.to_string();
        let sender = self.connect().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if let Some(shown) = authorization {
            request = request.header("authorization", shown);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default())).map_err(|e| e.to_string())?;
        // The connection has to take notice of the last answer's end first.
        sender.ready().await.map_err(|e| e.to_string())?;
        let began = Instant::now();
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let body = answer.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Answer { status, body, retry_after, took: began.elapsed() })
    }

    pub async fn post(&mut self, path: &str, body: serde_json::Value) -> Result<Answer, String> {
        self.send(Method::POST, path, None, Some(body.to_string())).await
    }
}
