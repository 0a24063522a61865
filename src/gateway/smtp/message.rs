//! The MIME message: multipart/alternative, text first. The same job always gives the same Message-ID and Date, so that a
//! second delivery is visible as a duplicate.

use crate::{
    domain::ids::JobId,
    gateway::{DeliveryError, Mail},
};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{Header, HeaderName, HeaderValue},
    },
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `Auto-Submitted: auto-generated` (RFC 3834): no vacation notes, please.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

pub(super) fn build(from: &Mailbox, mail: &Mail) -> Result<Message, DeliveryError> {
    let refused = |detail: &str| DeliveryError { permanent: true, detail: detail.into() };
    let to = mail.to.as_str();
    if to.chars().any(char::is_control) {
        return Err(refused("the recipient's address holds control characters"));
    }
    let to: Address = to.parse().map_err(|_| refused("the recipient's address is none that SMTP takes"))?;
    let body = MultiPart::alternative()
        .boundary(format!("=_{}", mail.job))
        .singlepart(SinglePart::plain(mail.text.reveal().to_owned()))
        .singlepart(SinglePart::html(mail.html.reveal().to_owned()));
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(one_line(&mail.subject))
        .date(made_at(mail.job))
        .message_id(Some(format!("<{}@{}>", mail.job, from.email.domain())))
        .header(AutoSubmitted)
        .multipart(body)
        .map_err(|_| refused("the message can't be built"))
}

/// A subject can't begin a header of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// When the job was made: a UUID v7 begins with its milliseconds.
fn made_at(job: JobId) -> SystemTime {
    let millis = job.as_bytes()[..6].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{contact::Email, secret::SecretText};

    const JOB: JobId = JobId::from_bytes(*b"\x01\x8b\xcf\xe5\x68\x00\x70\0\x80\0\0\0\0\0\0\x01");

    fn mail(to: &str, subject: &str) -> Mail {
        let text = SecretText::new("Your code is 123456\n.\nnot the end");
        Mail { job: JOB, to: Email::from_stored(to.into()), subject: subject.into(), text, html: SecretText::new("<p>é</p>") }
    }

    fn build_text(mail: &Mail) -> Result<String, DeliveryError> {
        build(&"Qeet ID <no-reply@qeet.example>".parse().unwrap(), mail).map(|m| String::from_utf8(m.formatted()).unwrap())
    }

    #[test]
    fn the_same_job_gives_the_same_bytes() {
        let text = build_text(&mail("ada@example.com", "Hello")).unwrap();
        assert_eq!(text, build_text(&mail("ada@example.com", "Hello")).unwrap());
        assert!(text.contains("Message-ID: <018bcfe5-6800-7000-8000-000000000001@qeet.example>\r\n"), "{text}");
        assert!(text.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
        assert!(text.contains("multipart/alternative"), "{text}");
    }

    #[test]
    fn nothing_can_begin_a_header_of_its_own() {
        let text = build_text(&mail("ada@example.com", "Hello\r\nBcc: eve@example.com\r\n\r\nbody")).unwrap();
        assert!(!text.lines().any(|l| l.starts_with("Bcc")), "{text}");
        for to in ["ada@example.com\r\nBcc: eve@example.com", "ada@example.com>\r\nRCPT TO:<eve@example.com", "a b@example.com", ""] {
            assert!(build_text(&mail(to, "Hello")).is_err_and(|e| e.permanent && !e.detail.contains("example.com")), "{to:?}");
        }
    }
}
