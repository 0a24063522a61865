//! Mail over SMTP (lettre, rustls). `pool` keeps connections and their time-outs, `message` builds the MIME message,
//! `failure` says what went wrong without saying to whom.

mod failure;
mod message;
mod pool;

use super::{
    DeliveryError, Mail, Mailer,
    url::{BadUrl, ServiceUrl, bad},
};
use crate::domain::{breaker::Breaker, secret::SecretText};
use async_trait::async_trait;
use lettre::{
    message::Mailbox,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, TlsParameters},
    },
};
use pool::{Pool, Tls};
use std::{
    fmt, fs,
    time::{Duration, Instant},
};
use tokio::time::timeout_at;

/// Sends mail over SMTP.
///
/// The URL: `smtp://` is plain TCP with STARTTLS (RFC 3207), port 587, or 25 on this machine; `smtps://` is TLS from the
/// first byte (RFC 8314), port 465. User and password are percent-encoded. Parameters:
/// - `tls`: `required` (`smtp://`'s default; no STARTTLS, no mail), `opportunistic` (default where the host is this
///   machine: STARTTLS if offered; a password for another machine is not sent without it), or `none`.
/// - `ca`: a PEM file; certificates must then come from one of its authorities, and from no other.
pub struct SmtpMailer {
    pool: Pool,
    from: Mailbox,
    breaker: Breaker,
    whole: Duration,
}

impl SmtpMailer {
    /// Takes the settings apart and reads the CA file; connects to nothing. `from` is `Name <address>` or an address.
    ///
    /// # Errors
    /// [`BadUrl`], which never repeats the URL.
    pub fn from_url(url: &SecretText, from: &str) -> Result<Self, BadUrl> {
        let url = ServiceUrl::parse(url, &["tls", "ca"])?;
        if from.chars().any(char::is_control) {
            return Err(bad("the sender holds control characters"));
        }
        let from: Mailbox = from.parse().map_err(|_| bad("the sender is not `Name <address>`"))?;
        let local = url.is_loopback();
        let tls = match (url.scheme.as_str(), url.get("tls")) {
            ("smtps", None | Some("required")) => Tls::Implicit(tls_parameters(&url)?),
            ("smtps", Some(_)) => return Err(bad("smtps:// is always encrypted: tls= has no place in it")),
            ("smtp", Some("required")) => Tls::Required(tls_parameters(&url)?),
            ("smtp", Some("opportunistic")) => Tls::Opportunistic(tls_parameters(&url)?),
            ("smtp", Some("none")) => Tls::None,
            ("smtp", None) if local => Tls::Opportunistic(tls_parameters(&url)?),
            ("smtp", None) => Tls::Required(tls_parameters(&url)?),
            ("smtp", Some(_)) => return Err(bad("tls is required, opportunistic or none")),
            _ => return Err(bad("is neither smtp:// nor smtps://")),
        };
        let credentials = match (url.user, url.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user, password.reveal().to_owned())),
            (None, None) => None,
            _ => return Err(bad("has a user without a password, or a password without a user")),
        };
        let port = url.port.unwrap_or(match tls {
            Tls::Implicit(_) => 465,
            _ if local => 25,
            _ => 587,
        });
        let pool = Pool::new(url.host, port, tls, credentials, local, Duration::from_secs(5));
        Ok(Self { pool, from, breaker: Breaker::new(8, Duration::from_secs(10)), whole: Duration::from_secs(30) })
    }

    /// Other time-outs: for the TCP connection (5 s), and for all of a delivery (30 s, which the outbox's lease outlasts).
    pub fn with_timeouts(mut self, connect: Duration, whole: Duration) -> Self {
        self.pool.connect_timeout = connect;
        self.whole = whole;
        self
    }

    /// Connects, greets, encrypts and signs in as configured, and hangs up: for `doctor`. Says whether it was encrypted.
    ///
    /// # Errors
    /// What went wrong, without secrets.
    pub async fn check(&self) -> Result<bool, DeliveryError> {
        tokio::time::timeout(self.whole, self.pool.check()).await.unwrap_or_else(|_| Err(failure::timed_out(self.whole)))
    }
}

fn tls_parameters(url: &ServiceUrl) -> Result<TlsParameters, BadUrl> {
    let mut tls = TlsParameters::builder(url.host.clone());
    if let Some(path) = url.get("ca") {
        let pem = fs::read(path).map_err(|e| bad(format!("the file that ca= names can't be read: {}", e.kind())))?;
        let authorities = Certificate::from_pem(&pem).map_err(|_| bad("the file that ca= names is not PEM"))?;
        tls = tls.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    tls.build_rustls().map_err(|_| bad("TLS can't be set up: unusable certificates in the file that ca= names, or in the system's store"))
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: Mail) -> Result<(), DeliveryError> {
        let message = message::build(&self.from, &mail)?;
        self.breaker.allow(Instant::now()).map_err(|_| failure::resting())?;
        let deadline = tokio::time::Instant::now() + self.whole;
        let opened = timeout_at(deadline, self.pool.connection()).await;
        let connection = opened.unwrap_or_else(|_| Err(failure::timed_out(self.whole))).inspect_err(|_| {
            self.breaker.failed(Instant::now());
        })?;
        match timeout_at(deadline, self.pool.send(connection, message.envelope(), &message.formatted())).await {
            Ok(Ok(())) => self.breaker.alive(),
            Ok(Err(f)) if f.server_is_down => {
                self.breaker.failed(Instant::now());
                return Err(f.error);
            }
            // Cut off or hanging in the middle of one mail: may be that mail's fault, and the others' connections work.
            Ok(Err(f)) => {
                if f.error.permanent {
                    self.breaker.alive();
                }
                return Err(f.error);
            }
            Err(_) => return Err(failure::timed_out(self.whole)),
        }
        Ok(())
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpMailer({})", self.pool.server())
    }
}
