//! Combinations that are impossible, or that nobody wants on a public address.

use super::{ConfigError, EphemeralUrl, MailUrl, Settings, SmsUrl, StoreUrl};
use reqwest::Url;
use std::net::IpAddr;

impl Settings {
    /// Both the listening address and the public URL lead to this machine alone.
    pub fn is_private(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback() && is_loopback_url(&self.public_url)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !self.is_private() {
            let mailbox = "the development mailbox shows every code to whoever asks, and listen or public_url isn't loopback; \
                           set a real sender, or QEETID_DEV=1 if nobody else can reach this machine";
            if matches!(self.mail, MailUrl::Mailbox) && !self.dev {
                return Err(self.error("mail_url", mailbox));
            }
            if matches!(self.sms, SmsUrl::Mailbox) && !self.dev {
                return Err(self.error("sms_url", mailbox));
            }
            if !self.limits.on {
                return Err(self.error("limits", "can be off only while listen and public_url are loopback: it is for load tests"));
            }
        }
        if self.metrics_listen.is_some_and(|m| m == self.listen && m.port() != 0) {
            return Err(self.error("metrics_listen", "is the address of the API; leave it out to have metrics there"));
        }
        self.check_stores()
    }

    /// Which of the stores go together, and what they need.
    fn check_stores(&self) -> Result<(), ConfigError> {
        let StoreUrl::Scylla(_) = self.store else {
            let problem = "makes this one of several nodes, and store_url is sqlite://, a file of one; set scylla://…";
            return if self.cluster.is_some() { Err(self.error("cluster_listen", problem)) } else { Ok(()) };
        };
        if matches!(self.ephemeral, EphemeralUrl::Embedded) {
            let problem = "embedded:// keeps codes in the SQLite file and counters in one process, and store_url is scylla://, \
                           which several nodes share; set redis://…";
            return Err(self.error("ephemeral_url", problem));
        }
        if self.secret.is_none() {
            let problem = "must be set with store_url scylla://, the same on all nodes: one of each node's own would make \
                           tokens that the others refuse; `openssl rand -hex 32` makes one";
            return Err(self.error("secret", problem));
        }
        Ok(())
    }
}

fn is_loopback_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // RFC 6761, 6.3: localhost and everything under it is loopback.
    ip.map_or(host == "localhost" || host.ends_with(".localhost"), |ip| ip.to_canonical().is_loopback())
}
