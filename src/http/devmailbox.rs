//! The development mailbox, as a page and as JSON: what would have been sent. It is there only where no real way out is set.

use super::{
    envelope::JSON,
    pages::{self, CSS},
    routes::single,
};
use minijinja::{Environment, context};
use poem::{
    Request, Response, Route,
    http::{HeaderValue, header},
};
use serde::Serialize;
use std::sync::Arc;

/// A message that would have been sent.
#[derive(Clone, Serialize)]
pub struct Sent {
    /// Names it.
    pub id: String,
    /// `mail` or `sms`.
    pub kind: String,
    /// Address or number.
    pub to: String,
    /// Of a mail.
    pub subject: Option<String>,
    /// The plain text.
    pub text: String,
    /// Of a mail.
    pub html: Option<String>,
    /// The digits, if it carries a code.
    pub code: Option<String>,
    /// The link, if it carries one.
    pub link: Option<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// Lists what was sent, newest first.
pub type Mailbox = Arc<dyn Fn() -> Vec<Sent> + Send + Sync>;

#[derive(Serialize)]
struct Items {
    items: Vec<Sent>,
    next_cursor: Option<String>,
}

/// Adds `/dev/mailbox` and `/dev/mailbox/messages`; both take `?to=`.
pub fn add(route: Route, mailbox: Mailbox) -> Route {
    let mut templates = Environment::new();
    // The ending `.html` switches escaping on. The template is ours: a test renders it.
    templates.add_template("mailbox.html", include_str!("pages/mailbox.html")).expect("a good template");
    let policy = pages::policy("'none'", &pages::hash(CSS), "'none'");
    let box_for_page = mailbox.clone();
    let route = single(route, "/dev/mailbox", move |request| {
        let to = to(request);
        let html = render(&templates, &list(&box_for_page, to.as_deref()), to.as_deref().unwrap_or_default());
        pages::page(html, policy.clone())
    });
    single(route, "/dev/mailbox/messages", move |request| {
        let items = list(&mailbox, to(request).as_deref());
        let mut response = Response::from(serde_json::to_vec(&Items { items, next_cursor: None }).unwrap_or_default());
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

fn to(request: &Request) -> Option<String> {
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    query.into_iter().find(|(name, value)| name == "to" && !value.trim().is_empty()).map(|(_, value)| value)
}

fn list(mailbox: &Mailbox, to: Option<&str>) -> Vec<Sent> {
    let mut all = mailbox();
    if let Some(to) = to {
        let to = to.trim().to_lowercase();
        all.retain(|m| m.to == to);
    }
    all
}

fn render(templates: &Environment<'_>, messages: &[Sent], to: &str) -> String {
    // Only links that a browser opens as a page: the text of a message is nothing to run.
    let messages: Vec<_> = messages
        .iter()
        .map(|m| {
            let link = m.link.as_deref().filter(|l| l.starts_with("http://") || l.starts_with("https://"));
            context! { subject => m.subject.as_deref(), at => &*m.at, kind => &*m.kind, to => &*m.to, code => m.code.as_deref(), link, text => &*m.text }
        })
        .collect();
    let page = templates.get_template("mailbox.html").and_then(|t| t.render(context! { css => CSS, messages, to }));
    page.unwrap_or_else(|e| format!("The page could not be made: {}", e.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_code_and_link_and_escapes_the_rest() {
        let mut templates = Environment::new();
        templates.add_template("mailbox.html", include_str!("pages/mailbox.html")).unwrap();
        let sent = Sent {
            id: "1".into(),
            kind: "mail".into(),
            to: "ada@example.com".into(),
            subject: Some("<b>Hello</b>".into()),
            text: "</pre><script>alert(1)</script>".into(),
            html: None,
            code: Some("042917".into()),
            link: Some("http://localhost:4001/reset-password?token=a&b".into()),
            at: "2026-11-24T09:30:00.000Z".into(),
        };
        let script = Sent { link: Some("javascript:alert(1)".into()), ..sent.clone() };
        let html = render(&templates, &[sent, script], "\"><script>");
        assert!(html.contains("<p class=\"code\">042917</p>") && html.contains("reset-password?token=a"));
        assert!(!html.contains("<script>") && !html.contains("href=\"javascript:") && !html.contains("<b>Hello"), "{html}");
    }
}
