//! Text messages over the Twilio Messages API (2010-04-01).

use super::{
    DeliveryError, Sms, SmsSender,
    url::{BadUrl, ServiceUrl, bad, is_loopback},
};
use crate::domain::{breaker::Breaker, secret::SecretText};
use async_trait::async_trait;
use reqwest::{StatusCode, redirect};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// No honest answer of the API comes near it.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends text messages.
///
/// The URL: `twilio://SID:TOKEN@api.twilio.com?from=+15550006789`. `from` is a number, a Messaging Service (`MG…`) or an
/// alphanumeric sender id. `base` puts another server in place of `https://<host>`; without TLS only on this machine.
pub struct TwilioSender {
    http: reqwest::Client,
    endpoint: reqwest::Url,
    account: String,
    token: SecretText,
    from: String,
    breaker: Breaker,
    whole: Duration,
}

impl TwilioSender {
    /// Takes the settings apart; connects to nothing.
    ///
    /// # Errors
    /// [`BadUrl`], which never repeats the URL.
    pub fn from_url(url: &SecretText) -> Result<Self, BadUrl> {
        let url = ServiceUrl::parse(url, &["from", "base"])?;
        if url.scheme != "twilio" {
            return Err(bad("is not twilio://"));
        }
        let from = url.get("from").unwrap_or_default();
        let base = match (url.get("base"), url.port) {
            (Some(base), _) => base.to_owned(),
            (None, Some(port)) => format!("https://{}:{port}", url.host),
            (None, None) => format!("https://{}", url.host),
        };
        let (Some(account), Some(token)) = (&url.user, &url.password) else { return Err(bad("needs SID:TOKEN before the @")) };
        Self::new(account, token.clone(), from, &base)
    }

    /// From the parts of the URL; `base` is that of the API, such as `https://api.twilio.com`.
    ///
    /// # Errors
    /// [`BadUrl`], as above.
    pub fn new(account: &str, token: SecretText, from: &str, base: &str) -> Result<Self, BadUrl> {
        let base = base.trim_end_matches('/');
        if !is_sender(from) {
            return Err(bad(
                "needs from=: a number in E.164 form, a Messaging Service (MG and 32 hex digits), or 1 to 11 letters and digits",
            ));
        }
        if account.is_empty() || !account.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(bad("has an account SID that isn't letters and digits"));
        }
        let endpoint: reqwest::Url =
            format!("{base}/2010-04-01/Accounts/{account}/Messages.json").parse().map_err(|_| bad("has a base= that is no URL"))?;
        let local = endpoint.host_str().is_some_and(|h| is_loopback(h.trim_matches(['[', ']'])));
        if endpoint.scheme() != "https" && !(endpoint.scheme() == "http" && local) {
            return Err(bad("has a base= that isn't https:// (http:// is for this machine only)"));
        }
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .user_agent(concat!("qeetid/", env!("CARGO_PKG_VERSION")));
        if local {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|_| bad("can't be used: no TLS on this system"))?;
        Ok(Self {
            http,
            endpoint,
            account: account.to_owned(),
            token,
            from: from.to_owned(),
            breaker: Breaker::new(5, Duration::from_secs(20)),
            whole: Duration::from_secs(15),
        })
    }

    /// Another time-out for all of a delivery (15 s).
    pub fn with_timeout(mut self, whole: Duration) -> Self {
        self.whole = whole;
        self
    }

    /// Another breaker (opens after 5 failures in a row, for 20 s).
    pub fn with_breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }

    async fn post(&self, sms: &Sms) -> Result<(), DeliveryError> {
        let sender = if is_service(&self.from) { "MessagingServiceSid" } else { "From" };
        let form = [("To", sms.to.as_str()), (sender, &self.from), ("Body", sms.text.reveal())];
        let request = self.http.post(self.endpoint.clone()).timeout(self.whole);
        let answer = request.basic_auth(&self.account, Some(self.token.reveal())).form(&form).send().await;
        let mut answer = answer.map_err(|e| transient(describe(&e)))?;
        let status = answer.status();
        if status == StatusCode::CREATED || status == StatusCode::OK {
            return Ok(());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| transient(describe(&e)))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                body.clear();
                break;
            }
            body.extend_from_slice(&chunk);
        }
        // Of the body only the number: its text names the recipient.
        let code = serde_json::from_slice::<Problem>(&body).ok().and_then(|p| p.code);
        let detail = match code {
            Some(code) => format!("twilio: http {}, error {code}", status.as_u16()),
            None => format!("twilio: http {}", status.as_u16()),
        };
        // 401: a wrong token is a matter of settings, not of this message. 408, 429: come back later.
        let later = matches!(status.as_u16(), 401 | 408 | 429);
        Err(DeliveryError { permanent: status.is_client_error() && !later, detail })
    }
}

#[derive(serde::Deserialize)]
struct Problem {
    code: Option<u32>,
}

fn is_service(from: &str) -> bool {
    from.len() == 34 && from.starts_with("MG") && from[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_sender(from: &str) -> bool {
    let number = from.strip_prefix('+').is_some_and(|d| (3..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()));
    let name = (1..=11).contains(&from.len()) && from.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    number || name || is_service(from)
}

fn transient(detail: impl Into<String>) -> DeliveryError {
    DeliveryError { permanent: false, detail: detail.into() }
}

/// What kind of failure; the error's own text would name the URL, and with it the account.
fn describe(e: &reqwest::Error) -> &'static str {
    if e.is_timeout() {
        "twilio: no answer in time"
    } else if e.is_connect() {
        "twilio: can't connect"
    } else {
        "twilio: the connection broke"
    }
}

#[async_trait]
impl SmsSender for TwilioSender {
    async fn send(&self, sms: Sms) -> Result<(), DeliveryError> {
        let resting = |_| transient("twilio: the service kept failing and is left alone for some seconds");
        self.breaker.allow(Instant::now()).map_err(resting)?;
        let result = self.post(&sms).await;
        match &result {
            Err(e) if !e.permanent => self.breaker.failed(Instant::now()),
            _ => self.breaker.alive(),
        }
        result
    }
}

impl fmt::Debug for TwilioSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TwilioSender({})", self.endpoint.host_str().unwrap_or("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_url(url: &str) -> Result<TwilioSender, BadUrl> {
        TwilioSender::from_url(&SecretText::new(url))
    }

    #[test]
    fn urls() {
        let ok = from_url("twilio://AC1:planted@api.twilio.com?from=+15550006789").unwrap();
        assert_eq!(ok.endpoint.as_str(), "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json");
        assert!(!format!("{ok:?}").contains("planted"));
        assert!(from_url("twilio://AC1:t@x?from=+15550006789&base=http://127.0.0.1:9").is_ok());
        assert!(from_url("twilio://AC1:t@x?from=+15550006789&base=http://[::1]:9").is_ok());
        for bad in [
            "https://AC1:planted@api.twilio.com?from=+15550006789",
            "twilio://AC1:planted@api.twilio.com",
            "twilio://AC1:planted@api.twilio.com?from=planted-and-too-long",
            "twilio://AC1@api.twilio.com?from=+15550006789",
            "twilio://AC1:planted@x?from=+15550006789&base=http://planted.example",
            "twilio://AC%2F..%2F1:planted@x?from=+15550006789",
        ] {
            let Err(e) = from_url(bad) else { panic!("{bad} was taken") };
            assert!(!e.to_string().contains("planted"), "{e}");
        }
    }
}
