//! Parsers of single values: text in, value or what is wrong with it out.

use crate::domain::{keyring::Keyring, network::ProxyHeader, secret::SecretText};
use ipnet::IpNet;
use serde_json::Value as Json;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// How people sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignupMode {
    /// At once; the address is verified later.
    #[default]
    Instant,
    /// After a code from the mailbox; nothing about existing accounts can be learned.
    VerifyFirst,
}

impl SignupMode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::VerifyFirst => "verify_first",
        }
    }
}

/// Who makes organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Organizations {
    /// Everybody may.
    #[default]
    Open,
    /// The operator, at the command line.
    Closed,
}

impl Organizations {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

pub(super) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("is empty, or holds control characters".into());
    }
    Ok(text.to_owned())
}

/// `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_and_port(value: &str) -> Result<String, String> {
    let good = value.rsplit_once(':').is_some_and(|(host, port)| {
        let whole = !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
        whole && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good { text(value) } else { Err(format!("{value:?} is not host:port, such as 127.0.0.1:53")) }
}

pub(super) fn path(value: &str) -> Result<PathBuf, String> {
    text(value).map(PathBuf::from)
}

pub(super) fn directory(value: &str) -> Result<PathBuf, String> {
    let path = path(value)?;
    if path.is_dir() { Ok(path) } else { Err(format!("{value} is not a directory")) }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, such as 127.0.0.1:4001 or [::1]:4001"))
}

/// A whole number from `from` to `to`.
pub(super) fn number<T: TryFrom<u64>>(from: u64, to: u64) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let number = text.trim().parse::<u64>().ok().filter(|n| (from..=to).contains(n));
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("{text:?} is not a number from {from} to {to}"))
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

pub(super) fn secret(text: &str) -> Result<SecretText, String> {
    let secret = SecretText::new(text);
    Keyring::parse(&secret)
        .map_err(|e| format!("{e}; it takes 32 bytes or more in base64 or hex, such as `openssl rand -hex 32` prints"))?;
    Ok(secret)
}

pub(super) fn signup_mode(text: &str) -> Result<SignupMode, String> {
    [SignupMode::Instant, SignupMode::VerifyFirst]
        .into_iter()
        .find(|m| m.name() == text)
        .ok_or_else(|| format!("{text:?} is neither instant nor verify_first"))
}

pub(super) fn organizations(text: &str) -> Result<Organizations, String> {
    [Organizations::Open, Organizations::Closed]
        .into_iter()
        .find(|o| o.name() == text)
        .ok_or_else(|| format!("{text:?} is neither open nor closed"))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    [LogFormat::Text, LogFormat::Json].into_iter().find(|m| m.name() == text).ok_or_else(|| format!("{text:?} is neither text nor json"))
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| format!("{text:?} is not a log filter: {e}"))
}

pub(super) fn mail_from(text: &str) -> Result<String, String> {
    text.parse::<lettre::message::Mailbox>()
        .map(|_| text.to_owned())
        .map_err(|e| format!("{text:?} is not a sender such as `Qeet ID <no-reply@example.com>`: {e}"))
}

/// Items between commas; empty text is an empty list.
pub(super) fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(item).collect()
}

pub(super) fn proxy_header(text: &str) -> Result<ProxyHeader, String> {
    [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded]
        .into_iter()
        .find(|header| header.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("{text:?} is neither x-forwarded-for nor forwarded"))
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    list(text, |item| {
        let whole = || item.parse::<IpAddr>().ok().map(IpNet::from);
        let net = item.parse::<IpNet>().ok().or_else(whole).ok_or_else(|| format!("{item:?} is not a network such as 10.0.0.0/8"))?;
        // 10.1.2.3/8 is a slip: which did he mean, the host or the network?
        if net.addr() == net.network() {
            Ok(net)
        } else {
            Err(format!("{item:?} has bits behind its prefix; did you mean {}?", net.trunc()))
        }
    })
}

/// Text as a value of the type that `sample` has.
pub(super) fn like(sample: &Json, text: &str) -> Result<Json, String> {
    Ok(match sample {
        Json::Bool(_) => switch(text)?.into(),
        Json::Number(_) => number::<u32>(0, u32::MAX.into())(text)?.into(),
        Json::Array(_) => list(text, |item| Ok(Json::from(item)))?.into(),
        // The one choice among the policy's fields.
        _ => if switch(text)? { "on" } else { "off" }.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_cidrs_or_single_addresses() {
        assert_eq!(networks("10.0.0.0/8, ::1").unwrap(), ["10.0.0.0/8".parse().unwrap(), "::1/128".parse::<IpNet>().unwrap()]);
        assert!(networks("").unwrap().is_empty());
        for bad in ["10.0.0.0/33", "10.1.2.3/8", "example.com", "10.0.0.0/8;::1"] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(number::<usize>(1, 8)("8"), Ok(8));
        for bad in ["0", "9", "-1", "1.5", "", "1e3", "99999999999999999999999"] {
            assert!(number::<usize>(1, 8)(bad).is_err(), "{bad}");
        }
    }
}
