//! The few pages: what a mailed link opens when the service is its own front end, the document to read and try, and a home
//! page. Opening a page never consumes a link (scanners of mail open every link): its button does.
//!
//! Pages hold no text of a request: the script reads the token from the address. So each is made once, at the start.

use super::routes::single;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use poem::{
    Response, Route,
    http::{HeaderValue, header},
};
use poem_openapi::OpenApiService;
use std::sync::OnceLock;

/// The style of all pages.
pub const CSS: &str = include_str!("pages/page.css");
const LINK_JS: &str = include_str!("pages/link.js");
const INVITE_JS: &str = include_str!("pages/invite.js");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A page of our own making with the policy that lets it run and nothing else.
#[derive(Clone)]
struct Page {
    body: Bytes,
    policy: HeaderValue,
}

impl Page {
    fn new(template: &str, script: &str, connect: &str) -> Self {
        let body = template.replace("{css}", CSS).replace("{js}", script);
        let script = if script.is_empty() { "'none'".to_owned() } else { hash(script) };
        Self { body: body.into(), policy: policy(&script, &hash(CSS), connect) }
    }

    fn answer(&self) -> Response {
        page(self.body.clone(), self.policy.clone())
    }
}

/// An HTML answer under a content security policy.
pub fn page(body: impl Into<poem::Body>, policy: HeaderValue) -> Response {
    let mut response = Response::from(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HTML);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// `'sha256-…'` of an inline script or style (CSP level 3, section 2.3.1).
pub fn hash(inline: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, inline.as_bytes())))
}

/// A policy that allows only what is named: these scripts and styles, and calls to `connect`.
pub fn policy(script: &str, style: &str, connect: &str) -> HeaderValue {
    let text = format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src 'self' data:; connect-src {connect}; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(text).expect("sources and base64: ASCII")
}

/// Adds the pages. `document` is the OpenAPI document; `mailbox` says that there is a development mailbox to link to.
pub fn add(route: Route, document: &'static str, mailbox: bool) -> Route {
    let mailbox = if mailbox { "<li><a href=\"dev/mailbox\">The development mailbox</a></li>\n" } else { "" };
    let home = Page::new(&include_str!("pages/home.html").replace("{mailbox}", mailbox), "", "'none'");
    let reset = Page::new(include_str!("pages/reset.html"), LINK_JS, "'self'");
    let undo = Page::new(include_str!("pages/undo.html"), LINK_JS, "'self'");
    let not_me = Page::new(include_str!("pages/not_me.html"), LINK_JS, "'self'");
    let restore = Page::new(include_str!("pages/restore.html"), LINK_JS, "'self'");
    let invite = Page::new(include_str!("pages/invite.html"), INVITE_JS, "'self'");
    let route = single(route, "/", move |_| home.answer());
    let route = single(route, "/reset-password", move |_| reset.answer());
    let route = single(route, "/undo-email-change", move |_| undo.answer());
    let route = single(route, "/not-me", move |_| not_me.answer());
    let route = single(route, "/restore-account", move |_| restore.answer());
    let route = single(route, "/invite", move |_| invite.answer());
    let route = single(route, "/openapi.json", move |_| {
        let mut response = Response::from(poem::Body::from(document));
        response.headers_mut().insert(header::CONTENT_TYPE, super::envelope::JSON);
        response
    });
    docs(route)
}

/// Swagger UI, cut out of the one page that poem-openapi makes: as files of their own its script and style are cached, and
/// the policy of the page needs no exception for a script of 1.4 MB.
struct Swagger {
    script: &'static str,
    style: &'static str,
}

fn swagger() -> &'static Swagger {
    static PARTS: OnceLock<Swagger> = OnceLock::new();
    PARTS.get_or_init(|| {
        // Once a process, and only if somebody asks for it.
        let html: &'static str = Box::leak(OpenApiService::new((), "", "").swagger_ui_html().into_boxed_str());
        let between = |from: &str, to: &str| {
            let rest = html.split_once(from).map_or("", |(_, rest)| rest);
            rest.split_once(to).map_or("", |(part, _)| part)
        };
        Swagger {
            script: between("<script charset=\"UTF-8\">", "</script>\n</head>"),
            style: between("<style charset=\"UTF-8\">", "</style>"),
        }
    })
}

const DOCS: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>qeetid API</title>\
    <link rel=\"stylesheet\" href=\"docs/swagger-ui.css\"></head><body><div id=\"ui\"></div>\
    <script src=\"docs/swagger-ui.js\"></script><script src=\"docs/start.js\"></script></body></html>";
const START: &str = "SwaggerUIBundle({ dom_id: '#ui', url: 'openapi.json', deepLinking: true, validatorUrl: null });";

fn docs(route: Route) -> Route {
    // Swagger UI sets style attributes.
    let policy = policy("'self'", "'self' 'unsafe-inline'", "'self'");
    let file = |body: &'static str, kind: &'static str| {
        let mut response = Response::from(poem::Body::from(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        response
    };
    let route = single(route, "/docs", move |_| page(DOCS, policy.clone()));
    let route = single(route, "/docs/swagger-ui.js", move |_| file(swagger().script, "text/javascript; charset=utf-8"));
    let route = single(route, "/docs/swagger-ui.css", move |_| file(swagger().style, "text/css; charset=utf-8"));
    single(route, "/docs/start.js", move |_| file(START, "text/javascript; charset=utf-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swagger_ui_is_whole_and_asks_no_other_host() {
        let parts = swagger();
        assert!(parts.script.len() > 1_000_000 && parts.script.contains("SwaggerUIBundle"));
        assert!(parts.style.len() > 100_000 && parts.style.contains(".swagger-ui"));
        assert!(!parts.style.contains("url(http"), "a style that fetches");
    }

    #[test]
    fn pages_run_only_their_own_script() {
        let reset = Page::new(include_str!("pages/reset.html"), LINK_JS, "'self'");
        let policy = reset.policy.to_str().unwrap();
        assert!(policy.contains("default-src 'none'; script-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
        let html = std::str::from_utf8(&reset.body).unwrap();
        assert!(html.contains(LINK_JS) && !html.contains("{js}") && !html.contains("{css}"));
    }
}
