//! The HTTP side of the tests: each reply is checked against the conventions of the API before a test sees it.

use super::watch::Watch;
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use std::sync::Arc;

/// A reply, already known to follow the conventions.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Reply {
    /// Fails unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "body: {}", self.text);
        self
    }
    /// Fails unless it is this error.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "body: {}", self.text);
        self
    }
    /// The error code, or "" if it is no error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
    /// A text field of the body.
    #[track_caller]
    pub fn str(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {}", self.text)).to_owned()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// Talks to one server.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    pub http: reqwest::Client,
    pub watch: Arc<Watch>,
}

impl Client {
    pub fn new(base: String, watch: Arc<Watch>) -> Self {
        Self { base, http: reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(60)).build().unwrap(), watch }
    }

    /// A request that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends, and checks what holds for every reply.
    pub async fn run(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let request = request.build()?;
        let (path, asked_id) = (request.url().path().to_owned(), request.headers().get("x-request-id").cloned());
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        self.watch.plant_json(&body);
        let reply = Reply { status, headers, text, body };
        follows_conventions(&path, &reply);
        if let Some(id) = asked_id {
            let good = id.len() <= 128 && !id.is_empty() && id.as_bytes().iter().all(|b| b.is_ascii_graphic());
            assert_eq!(reply.headers["x-request-id"] == id, good, "{path}: only a good X-Request-Id comes back");
        }
        Ok(reply)
    }

    /// Sends JSON (or nothing), with a bearer token (or without).
    pub async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Reply {
        self.try_send(method, path, token, body).await.unwrap_or_else(|e| panic!("{path}: {e:?}"))
    }

    /// As [`Client::send`]; a broken connection is no failure of the test.
    pub async fn try_send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Result<Reply, reqwest::Error> {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            self.watch.plant_json(&body);
            request = request.json(&body);
        }
        self.run(request).await
    }

    /// As [`Client::send`], with an API key.
    pub async fn send_key(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> Reply {
        self.watch.plant(key);
        let mut request = self.request(method, path).header("authorization", format!("ApiKey {key}"));
        if let Some(body) = body {
            self.watch.plant_json(&body);
            request = request.json(&body);
        }
        self.run(request).await.unwrap_or_else(|e| panic!("{path}: {e:?}"))
    }

    /// POSTs JSON with an `Idempotency-Key`, with a bearer token (or without).
    pub async fn post_keyed(&self, key: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
        self.try_post_keyed(key, path, token, body).await.unwrap_or_else(|e| panic!("{path}: {e:?}"))
    }

    /// As [`Client::post_keyed`]; a broken connection is no failure of the test.
    pub async fn try_post_keyed(&self, key: &str, path: &str, token: Option<&str>, body: &Value) -> Result<Reply, reqwest::Error> {
        self.watch.plant_json(body);
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        self.run(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, None).await
    }
    pub async fn get_as(&self, token: &str, path: &str) -> Reply {
        self.send(Method::GET, path, Some(token), None).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, None, Some(body)).await
    }
    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(token), Some(body)).await
    }
    pub async fn delete_as(&self, token: &str, path: &str) -> Reply {
        self.send(Method::DELETE, path, Some(token), None).await
    }
}

/// What every reply of every test must keep to.
#[track_caller]
fn follows_conventions(path: &str, reply: &Reply) {
    let Reply { status, headers, text, body } = reply;
    let id = headers.get("x-request-id").unwrap_or_else(|| panic!("{path} {status}: no X-Request-Id"));
    if path.starts_with("/v1/") {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path} {status}");
    }
    if *status >= 400 {
        let error = &body["error"];
        assert!(error["code"].is_string() && error["message"].is_string(), "{path} {status}: not the envelope: {text:?}");
        // An answer that is given again is that of another request, byte for byte.
        let again = headers.contains_key("idempotent-replayed");
        assert!(again || error["request_id"].as_str() == id.to_str().ok(), "{path} {status}");
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"), "{path} {status}");
        let known: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            known.iter().all(|k| ["code", "message", "detail", "request_id", "fields", "change_token"].contains(k)),
            "{path}: {known:?}"
        );
    }
    if matches!(status, 429 | 503) && path.starts_with("/v1/") {
        let retry = reply.header("retry-after").unwrap_or_else(|| panic!("{path} {status}: no Retry-After"));
        assert!(retry.parse::<u64>().is_ok_and(|s| s >= 1), "{path} {status}: Retry-After: {retry}");
    }
}
