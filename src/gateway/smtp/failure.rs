//! Maps what lettre reports to [`DeliveryError`]. Replies of servers often quote the recipient, so of a reply only its
//! code and its enhanced status (RFC 3463) are kept.

use crate::gateway::DeliveryError;
use lettre::transport::smtp::Error;
use std::{error::Error as _, io, time::Duration};

/// A failure in the conversation about a mail, and whether the server said that it can't be used by anybody now.
pub(super) struct Failure {
    pub error: DeliveryError,
    pub server_is_down: bool,
}

fn transient(detail: impl Into<String>) -> DeliveryError {
    DeliveryError { permanent: false, detail: detail.into() }
}

pub(super) fn timed_out(after: Duration) -> DeliveryError {
    transient(format!("smtp: no answer within {} ms", after.as_millis()))
}

pub(super) fn resting() -> DeliveryError {
    transient("smtp: the server kept failing and is left alone for some seconds")
}

pub(super) fn no_encryption() -> DeliveryError {
    transient("smtp: the server offers no encryption, and the password is not sent without it")
}

/// From opening a connection: greeting, TLS, sign-in. Never the fault of one mail, so never permanent: a wrong password
/// must not park every mail of an hour.
pub(super) fn opening(e: &Error) -> DeliveryError {
    transient(format!("smtp, connecting: {}", describe(e)))
}

/// From the conversation about one mail.
pub(super) fn sending(e: &Error) -> Failure {
    let code = e.status().map(u16::from);
    // 530, 534, 535, 538 (RFC 4954): the server wants another sign-in: a matter of settings, not of this mail.
    let settings = matches!(code, Some(530 | 534 | 535 | 538));
    // 421 (RFC 5321): going down.
    let server_is_down = settings || code == Some(421);
    let permanent = (e.is_permanent() && !settings) || e.is_client();
    Failure { error: DeliveryError { permanent, detail: format!("smtp: {}", describe(e)) }, server_is_down }
}

fn describe(e: &Error) -> String {
    if let Some(code) = e.status() {
        let text = e.source().map(ToString::to_string).unwrap_or_default();
        return match enhanced_status(&text) {
            Some(status) => format!("the server answered {code} {status}"),
            None => format!("the server answered {code}"),
        };
    }
    if e.is_client() {
        // lettre's own fixed texts ("STARTTLS is not supported on this server", …).
        return e.source().map(ToString::to_string).unwrap_or_else(|| "refused by the client".into());
    }
    if e.is_response() {
        return "the server hung up, or what it said is not SMTP".into();
    }
    let mut cause = e.source();
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<io::Error>() {
            // TLS failures come wrapped in an io::Error of this kind; their text names certificates and hosts only.
            return match io.kind() {
                io::ErrorKind::InvalidData => format!("TLS failed: {io}"),
                kind => kind.to_string(),
            };
        }
        cause = c.source();
    }
    if e.is_tls() { "TLS failed".into() } else { "the connection failed".into() }
}

/// The `5.1.1` at the start of a reply's text.
fn enhanced_status(text: &str) -> Option<&str> {
    let first = text.split_ascii_whitespace().next()?;
    let mut parts = first.split('.');
    let number = |p: Option<&str>| p.is_some_and(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
    (number(parts.next()) && number(parts.next()) && number(parts.next()) && parts.next().is_none()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enhanced_status_is_taken_from_a_reply() {
        assert_eq!(enhanced_status("5.1.1 <ada@example.com> unknown"), Some("5.1.1"));
        for text in ["", "ada@example.com unknown", "5.1", "5.1.1.1", "1234.1.1", "5.1.x no"] {
            assert_eq!(enhanced_status(text), None, "{text}");
        }
    }
}
