//! The URLs that name a mail or SMS service. They hold passwords, so nothing here repeats what was given.

use crate::domain::secret::SecretText;
use std::net::IpAddr;

/// A service URL that can't be used. The text says what is wrong and never repeats the URL: it holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(pub String);

pub(super) fn bad(why: impl Into<String>) -> BadUrl {
    BadUrl(why.into())
}

/// A URL taken apart: user, password and parameters percent-decoded (`+` stays `+`: phone numbers hold it).
pub(super) struct ServiceUrl {
    pub scheme: String,
    pub user: Option<String>,
    pub password: Option<SecretText>,
    pub host: String,
    pub port: Option<u16>,
    query: Vec<(String, String)>,
}

impl ServiceUrl {
    /// Parses `scheme://user:password@host:port?a=b`; parameters not in `known`, twice given, or with controls are refused.
    pub fn parse(text: &SecretText, known: &[&str]) -> Result<Self, BadUrl> {
        let url = reqwest::Url::parse(text.reveal().trim()).map_err(|e| bad(format!("is not a URL ({e})")))?;
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(bad("has a path or fragment; if the password holds / ? or #, write them as %2F %3F %23"));
        }
        let user = Some(url.username()).filter(|u| !u.is_empty()).map(decode).transpose()?;
        let password = url.password().map(decode).transpose()?.map(SecretText::new);
        let mut query: Vec<(String, String)> = Vec::new();
        for pair in url.query().unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                return Err(bad(format!("has an unknown parameter; known are {}", known.join(", "))));
            }
            if query.iter().any(|(n, _)| n == name) {
                return Err(bad(format!("gives {name} twice")));
            }
            query.push((name.to_owned(), decode(value)?));
        }
        Ok(Self { scheme: url.scheme().to_owned(), user, password, host, port: url.port(), query })
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// `localhost`, 127.0.0.0/8 or ::1.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Percent-decodes; refuses broken escapes, what isn't UTF-8, and control characters (they would end an SMTP or HTTP line).
fn decode(text: &str) -> Result<String, BadUrl> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(bad("has a % that is no escape; write %25")) };
        out.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(out).map_err(|_| bad("has escapes that are not UTF-8"))?;
    if text.chars().any(char::is_control) { Err(bad("holds control characters")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServiceUrl, BadUrl> {
        ServiceUrl::parse(&SecretText::new(text), &["from", "tls"])
    }

    #[test]
    fn parts_are_percent_decoded_and_plus_stays() {
        let url = parse("smtp://ada%40x:p%2Fw%25d+@mail.example:2525?from=+1555&tls=a%20b").unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_ref().map(|p| p.reveal())), (Some("ada@x"), Some("p/w%d+")));
        assert_eq!((url.host.as_str(), url.port), ("mail.example", Some(2525)));
        assert_eq!((url.get("from"), url.get("tls"), url.get("ca")), (Some("+1555"), Some("a b"), None));
        assert!(parse("smtp://[::1]:25").unwrap().is_loopback());
        assert!(parse("smtp://127.0.0.1").unwrap().is_loopback());
        assert!(!parse("smtp://mail.example").unwrap().is_loopback());
    }

    #[test]
    fn refusals_never_repeat_the_url() {
        for text in [
            "planted",
            "smtp://user:planted@",
            "smtp://user:planted@host/path",
            "smtp://user:plan/ted@host",
            "smtp://user:planted%zz@host",
            "smtp://user:planted%0a@host",
            "smtp://user:planted%ff@host",
            "smtp://user:planted@host?planted=1",
            "smtp://user:planted@host?tls=planted&tls=b",
        ] {
            let Err(e) = parse(text) else { panic!("{text} was taken") };
            assert!(!format!("{e} {e:?}").contains("plan"), "{text}: {e}");
        }
    }
}
