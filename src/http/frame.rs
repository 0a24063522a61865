//! The one layer around all routes: request id, client address, network limit, panics, error bodies, headers, the access log
//! and the clock of each route. One layer rather than ten, because each costs every request.

use super::{
    cors::{self, Cors},
    envelope,
    errors::{ApiError, Code},
    request::{self, Proxies, X_REQUEST_ID},
    routes::{Matched, RouteEntry},
};
use crate::{
    domain::{network::Network, rng::Rng, time::Clock},
    service::{
        api::{Caller, Decision},
        of_request,
    },
};
use futures_util::FutureExt;
use poem::{
    Addr, Endpoint, Request, Response, Result,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Instant,
};
use tracing::Instrument;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Two years (RFC 6797); what it says of other names under this one is for their owner to decide.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Counts a request against its network.
pub trait NetworkLimit: Send + Sync + 'static {
    /// `None`: there is no limit (or it can't be asked, which is no reason to refuse everybody).
    fn decide(&self, network: Network) -> impl Future<Output = Option<Decision>> + Send;
}

/// Stands for a request whose head could not be read, so that its answer is like any other: with the status that hyper had for it.
#[derive(Debug, Clone, Copy)]
pub struct Unreadable {
    /// hyper's.
    pub status: StatusCode,
    /// Who sent it.
    pub peer: IpAddr,
}

impl Unreadable {
    fn answer(self) -> ApiError {
        ApiError::detail(
            Code::MalformedRequest,
            match self.status {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The headers are too many, or too large together.",
                StatusCode::URI_TOO_LONG => "The path is too long.",
                _ => "This is no request of HTTP/1.1.",
            },
        )
    }
}

/// What the layer needs.
pub struct Frame<E, L> {
    /// The routes.
    pub inner: E,
    /// The limit of `/v1/auth/*`.
    pub limit: L,
    /// Who says for whom they ask.
    pub proxies: Proxies,
    /// The public URL is https: browsers are told to use nothing else.
    pub https: bool,
    /// Who may call `/v1` from a browser.
    pub cors: Cors,
    /// For request ids.
    pub clock: Arc<dyn Clock>,
    /// For request ids.
    pub rng: Arc<dyn Rng>,
    /// What is counted for paths that lead nowhere.
    pub unmatched: Arc<RouteEntry>,
}

/// Routes that the network limit counts.
pub fn is_limited(path: &str) -> bool {
    path.starts_with("/v1/auth/") || path == "/v1/invites/accept"
}

impl<E: Endpoint<Output = Response>, L: NetworkLimit> Frame<E, L> {
    /// The routes, or the answer that comes before them.
    async fn inside(&self, mut request: Request, caller: Caller, decision: &mut Option<Decision>) -> Result<Response> {
        if let Some(unreadable) = request.extensions().get::<Unreadable>() {
            return Err(unreadable.answer().into());
        }
        if is_limited(request.uri().path()) {
            *decision = self.limit.decide(caller.network).await;
            if let Some(Decision { allowed: false, reset_after, .. }) = *decision {
                return Err(ApiError { retry_after: Some(reset_after), ..ApiError::new(Code::RateLimited) }.into());
            }
        }
        request.set_data(caller);
        self.inner.call(request).await
    }

    fn peer(request: &Request) -> IpAddr {
        if let Some(unreadable) = request.extensions().get::<Unreadable>() {
            return unreadable.peer;
        }
        match &request.remote_addr().0 {
            Addr::SocketAddr(address) => address.ip(),
            // Only a test without a socket gets here.
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

impl<E: Endpoint<Output = Response>, L: NetworkLimit> Endpoint for Frame<E, L> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = request::request_id(request.headers(), &*self.clock, &*self.rng);
        let caller = request::caller(request.headers(), Self::peer(&request), &self.proxies, &id);
        let method = request.method().clone();
        let is_api = request.uri().path().starts_with("/v1/");
        let origin = if is_api { self.cors.origin(request.headers()) } else { None };
        let presented = request.headers().contains_key(header::AUTHORIZATION);
        let ends_if_refused = request.version() <= Version::HTTP_11 && request::may_be_left_unread(request.headers());
        let span = tracing::info_span!(
            "request",
            request_id = %caller.request_id,
            http.request.method = %method,
            http.route = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        );

        let mut decision = None;
        let (mut response, route) = if origin.is_some() && cors::is_preflight(&method, request.headers()) {
            (cors::preflight(), None)
        } else {
            let answer = AssertUnwindSafe(of_request(started, self.inside(request, caller, &mut decision)))
                .catch_unwind()
                .instrument(span.clone())
                .await;
            let _in_span = span.enter();
            match answer {
                Ok(Ok(mut response)) => {
                    let route = response.extensions_mut().remove::<Matched>();
                    (response, route)
                }
                Ok(Err(error)) => {
                    let route = error.data::<Matched>().cloned();
                    (refuse(checked(envelope::classify(error, route.as_ref()), route.as_ref(), &method), &id, presented), route)
                }
                Err(panic) => (refuse(ApiError::logged(Code::Internal, panic_text(&*panic)), &id, presented), None),
            }
        };

        let status = response.status();
        let route = route.map_or_else(|| self.unmatched.clone(), |m| m.0);
        span.record("http.route", route.template());
        span.record("http.response.status_code", status.as_u16());
        let took = started.elapsed();
        let millis = took.as_micros() as f64 / 1000.0;
        span.in_scope(|| tracing::info!(route = route.template(), method = %method, status = status.as_u16(), ms = millis, "request"));
        route.observe(&method, status, took);

        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if self.https {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        if ends_if_refused && status.as_u16() >= 400 {
            // hyper closes a connection whose request was left unread; said in advance, so that no client sends its next one there.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if is_api {
            headers.insert(header::CACHE_CONTROL, NO_STORE);
            if self.cors.is_on() {
                headers.append(header::VARY, ORIGIN);
            }
            if let Some(origin) = origin {
                Cors::allow(origin, headers);
            }
        } else {
            headers.insert(header::REFERRER_POLICY, NO_REFERRER);
        }
        if let Some(decision) = decision {
            rate_headers(headers, &decision);
        }
        Ok(response)
    }
}

/// In a debug build, an error that the document doesn't list for its operation becomes a 500: the tests see it.
pub(super) fn checked(error: ApiError, route: Option<&Matched>, method: &Method) -> ApiError {
    let Some(route) = route.filter(|r| cfg!(debug_assertions) && !r.0.documents(method, error.code)) else { return error };
    ApiError::logged(Code::Internal, format!("{method} {} gave {error}, which the document doesn't list", route.0.template()))
}

/// Logs what the client isn't told, and makes the answer.
pub(super) fn refuse(mut error: ApiError, id: &HeaderValue, presented: bool) -> Response {
    let code = error.code.name();
    match error.log.take() {
        Some(why) if error.code == Code::Internal => tracing::error!(code, why, "failed"),
        Some(why) => tracing::warn!(code, why, "refused"),
        None => {}
    }
    envelope::response(error, id.to_str().unwrap_or_default(), presented)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}

fn rate_headers(headers: &mut HeaderMap, decision: &Decision) {
    headers.insert(RATE_LIMIT, HeaderValue::from(decision.limit));
    headers.insert(RATE_REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RATE_RESET, HeaderValue::from(decision.reset_after.as_millis().div_ceil(1000) as u64));
}
