//! Browsers of listed origins may call `/v1` (the Fetch standard's CORS protocol). No cookies are used, so nothing here
//! allows credentials.

use poem::{
    Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, X-Request-Id, \
     X-Firebase-Signer-Key, X-Firebase-Salt-Separator, X-Firebase-Rounds, X-Firebase-Mem-Cost",
);
const EXPOSED: HeaderValue =
    HeaderValue::from_static("X-Request-Id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Idempotent-Replayed");
/// A day; browsers cap it themselves.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The origins that may call.
#[derive(Debug, Clone, Default)]
pub struct Cors(Vec<HeaderValue>);

impl Cors {
    /// Origins as browsers send them: `https://app.example.com`, no path. Others never match.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Self {
        Self(origins.into_iter().filter_map(|o| HeaderValue::from_str(o.as_ref().trim_end_matches('/')).ok()).collect())
    }

    /// The request's origin, if it is listed.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().find(|o| *o == origin).cloned()
    }

    /// Whether answers depend on the `Origin` header.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Marks an answer as readable by `origin`.
    pub fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether this is a preflight.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of a listed origin.
pub fn preflight() -> Response {
    let mut response = Response::from(());
    response.set_status(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}
