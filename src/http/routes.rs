//! One path of the API: which methods it takes, and its clocks. It knows its own template, so that logs and metrics never
//! need the raw path (ids in it would be labels without end).

use super::{
    errors::{ApiError, Code},
    idempotency,
    operations::{self, Access, Operation, Shape},
};
use metrics::Histogram;
use poem::{
    Body, Endpoint, EndpointExt, Request, Response, Result, Route,
    endpoint::BoxEndpoint,
    http::{HeaderValue, Method, StatusCode, header},
};
use poem_openapi::{__private::UrlQuery, OpenApi, registry::MetaParamIn};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
const STATUSES: [u16; 20] = [200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 301, 302, 0];

/// A path template, what its operations may answer, and the histograms of its requests.
pub struct RouteEntry {
    template: String,
    /// Of each operation of the document: its method, its row of the table, and its error codes.
    documented: Vec<(Method, &'static Operation, Vec<Code>)>,
    histograms: [[OnceLock<Histogram>; STATUSES.len()]; METHODS.len()],
}

impl RouteEntry {
    /// A template such as `/v1/auth/sessions/{id}`.
    pub fn new(template: impl Into<String>) -> Arc<Self> {
        Self::documented(template, Vec::new())
    }
    fn documented(template: impl Into<String>, documented: Vec<(Method, &'static Operation, Vec<Code>)>) -> Arc<Self> {
        Arc::new(Self { template: template.into(), documented, histograms: Default::default() })
    }
    /// The template.
    pub fn template(&self) -> &str {
        &self.template
    }
    /// Whether the document says that an operation may answer with `code`. What is not an operation (a method that the path
    /// doesn't take) has nothing to say.
    pub fn documents(&self, method: &Method, code: Code) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.documented.iter().find(|(m, ..)| m == method).is_none_or(|(.., codes)| codes.contains(&code))
    }
    /// Whether anybody may call an operation; `None` for what is none.
    pub fn is_public(&self, method: &Method) -> Option<bool> {
        self.operation(method).map(|row| row.access == Access::Public)
    }
    /// The row of an operation; `None` for what is none.
    pub fn operation(&self, method: &Method) -> Option<&'static Operation> {
        self.documented.iter().find(|(m, ..)| m == method).map(|(_, row, _)| *row)
    }
    /// Counts a request.
    pub fn observe(&self, method: &Method, status: StatusCode, took: Duration) {
        let m = METHODS.iter().position(|m| *m == method.as_str()).unwrap_or(METHODS.len() - 1);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            metrics::counter!("qeetid_http_internal_errors_total").increment(1);
        }
        let s = STATUSES.iter().position(|s| *s == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.histograms[m][s]
            .get_or_init(|| {
                metrics::histogram!("qeetid_http_request_duration_seconds",
                    "route" => self.template.clone(), "method" => METHODS[m], "status" => STATUSES[s].to_string())
            })
            .record(took);
    }
}

/// Says on an answer (or an error) which route gave it.
#[derive(Clone)]
pub struct Matched(pub Arc<RouteEntry>);

/// The endpoints of one path.
struct Path {
    entry: Arc<RouteEntry>,
    methods: Vec<(Method, BoxEndpoint<'static>)>,
    allow: HeaderValue,
    /// Some operation reads the query string.
    queries: bool,
}

impl Path {
    async fn dispatch(&self, mut request: Request) -> Result<Response> {
        if let Some(row) = self.entry.operation(if request.method() == Method::HEAD { &Method::GET } else { request.method() }) {
            request.set_data(row);
        }
        let find = |method: &Method| self.methods.iter().find(|(m, _)| m == method).map(|(_, e)| e);
        if let Some(endpoint) = find(request.method()) {
            return if idempotency::asks(&request) {
                idempotency::call(endpoint, request, &self.entry).await
            } else {
                endpoint.call(request).await
            };
        }
        if request.method() == Method::HEAD
            && let Some(endpoint) = find(&Method::GET)
        {
            request.set_method(Method::GET);
            return endpoint.call(request).await.map(without_body);
        }
        Err(ApiError { allow: Some(Box::new(self.allow.clone())), ..ApiError::new(Code::MethodNotAllowed) }.into())
    }
}

/// The answer to HEAD: the length of what GET would give, and nothing of it (RFC 9110, 9.3.2).
fn without_body(mut response: Response) -> Response {
    let body: http_body_util::combinators::BoxBody<_, _> = response.take_body().into();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.set_body(Body::empty());
    response
}

impl Endpoint for Path {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let matched = Matched(self.entry.clone());
        if self.queries {
            // What poem-openapi's own service would have put there; its `Query` extractors rely on it.
            let query: Vec<(String, String)> = request.params().unwrap_or_default();
            request.set_data(UrlQuery(query));
        }
        match self.dispatch(request).await {
            Ok(mut response) => {
                response.set_data(matched);
                Ok(response)
            }
            Err(mut error) => {
                error.set_data(matched);
                Err(error)
            }
        }
    }
}

/// The router of an API.
pub fn router<A: OpenApi>(api: A) -> Route {
    let mut known = HashMap::new();
    for path in A::meta().into_iter().flat_map(|api| api.paths) {
        let queries = path.operations.iter().flat_map(|o| &o.params).any(|p| p.in_type == MetaParamIn::Query);
        let documented = path.operations.iter().filter_map(|o| {
            let row = operations::find(o.operation_id?)?;
            let shape = Shape {
                body: o.request.is_some(),
                parameters: !o.params.is_empty(),
                service: path.path.starts_with("/v1/"),
                post: o.method == Method::POST,
            };
            Some((o.method.clone(), row, operations::codes(row, shape)))
        });
        let documented = documented.collect::<Vec<_>>();
        known.insert(pattern(&path.path), (path.path, queries, documented));
    }
    let mut table = HashMap::new();
    api.add_routes(&mut table);
    table.into_iter().fold(Route::new(), |route, (path, methods)| {
        // A hidden operation has no meta: its path is its own name.
        let (template, queries, documented) = known.remove(&path).unwrap_or_else(|| (path.clone(), true, Vec::new()));
        let mut methods: Vec<_> = methods.into_iter().collect();
        methods.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let mut allow: Vec<_> = methods.iter().map(|(m, _)| m.as_str()).collect();
        if allow.contains(&"GET") {
            allow.push("HEAD");
        }
        let allow = HeaderValue::try_from(allow.join(", ")).expect("names of methods");
        route.at(&path, Path { entry: RouteEntry::documented(template, documented), methods, allow, queries })
    })
}

/// How poem-openapi spells a template for poem: `/a/{id}` becomes `/a/:param0`.
fn pattern(template: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&format!(":param{count}"));
        count += 1;
        rest = after;
    }
    out + rest
}

/// Adds a path that only GET reads, outside the document.
pub fn single(route: Route, path: &'static str, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Route {
    let endpoint = poem::endpoint::make_sync(move |request| answer(&request)).boxed();
    let allow = HeaderValue::from_static("GET, HEAD");
    route.at(path, Path { entry: RouteEntry::new(path), methods: vec![(Method::GET, endpoint)], allow, queries: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undocumented_error_is_noticed() {
        let entry = RouteEntry::documented("/v1/x", vec![(Method::GET, &operations::OPERATIONS[0], vec![Code::Internal])]);
        assert!(entry.documents(&Method::GET, Code::Internal) && entry.documents(&Method::HEAD, Code::Internal));
        assert!(!entry.documents(&Method::GET, Code::NotFound));
        assert!(entry.documents(&Method::PUT, Code::MethodNotAllowed), "no operation, nothing to document");
    }

    #[test]
    fn templates_are_spelled_as_poem_wants_them() {
        assert_eq!(pattern("/a/{id}/b/{tenantID}"), "/a/:param0/b/:param1");
        assert_eq!(pattern("/a"), "/a");
    }
}
