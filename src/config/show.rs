//! The effective settings as a file that could be given back with `--config`, secrets hidden.

use super::{EphemeralUrl, MailUrl, Settings, SmsUrl, StoreUrl, layers::policy_fields, urls::without_credentials};
use serde_json::Value as Json;
use std::fmt::{self, Write};

impl Settings {
    /// One line a setting: `key = value  # where it came from`.
    pub fn show(&self) -> String {
        let mut out = String::new();
        for (key, value) in self.values() {
            self.line(&mut out, key, key, value);
        }
        out.push_str("\n[policy]\n");
        let policy = serde_json::to_value(&self.policy).unwrap_or_default();
        for field in policy_fields().into_keys() {
            self.line(&mut out, &field, &format!("policy.{field}"), Some(policy[&field].to_string()));
        }
        out.push_str("\n[limit]\n");
        for (name, rate) in self.limits.rates() {
            self.line(&mut out, name, &format!("limit.{name}"), Some(quoted(rate)));
        }
        out
    }

    fn line(&self, out: &mut String, name: &str, key: &str, value: Option<String>) {
        let (comment, text) = match value {
            Some(value) => ("", format!("{name} = {value}")),
            None => ("# ", format!("{name} is not set")),
        };
        // Writing to a String can't fail.
        let _ = writeln!(out, "{comment}{text:<60} # {}", self.origins.of(key));
    }

    fn values(&self) -> Vec<(&'static str, Option<String>)> {
        let store = match &self.store {
            StoreUrl::Sqlite(path) => format!("sqlite://{}", path.display()),
            StoreUrl::Scylla(url) => url.to_string(),
        };
        let ephemeral = match &self.ephemeral {
            EphemeralUrl::Embedded => "embedded://".to_owned(),
            EphemeralUrl::Redis(url) => url.to_string(),
        };
        let mail = match &self.mail {
            MailUrl::Mailbox => "mailbox://".to_owned(),
            MailUrl::Smtp(url) => without_credentials(url.reveal()),
        };
        let sms = match &self.sms {
            SmsUrl::Mailbox => "mailbox://".to_owned(),
            SmsUrl::Twilio { from, base, .. } => format!("twilio://[hidden]@{}?from={from}&base={base}", host(base)),
        };
        let list = |items: &[String]| Some(Json::from(items).to_string());
        let proxies: Vec<String> = self.trusted_proxies.iter().map(ToString::to_string).collect();
        let switch = |on: bool| Some(quoted(if on { "on" } else { "off" }));
        let cluster = self.cluster.as_ref();
        let tls = cluster.and_then(|c| c.tls.as_ref());
        let seeds = cluster.map(|c| c.seeds.iter().map(ToString::to_string).collect::<Vec<_>>());
        vec![
            ("listen", Some(quoted(self.listen))),
            ("public_url", Some(quoted(&self.public_url))),
            ("app_url", Some(quoted(&self.app_url))),
            ("secret", self.secret.as_ref().map(|_| quoted("[hidden]"))),
            ("metrics_listen", self.metrics_listen.map(quoted)),
            ("cors_origins", list(&self.cors_origins)),
            ("audience", Some(quoted(&self.audience))),
            ("data_dir", Some(quoted(self.data_dir.display()))),
            ("store_url", Some(quoted(store))),
            ("ephemeral_url", Some(quoted(ephemeral))),
            ("mail_url", Some(quoted(mail))),
            ("mail_from", Some(quoted(&self.mail_from))),
            ("sms_url", Some(quoted(sms))),
            ("sms_daily_budget", Some(self.sms_daily_budget.to_string())),
            ("breach_url", Some(quoted(&self.breach_url))),
            ("dns", self.dns.as_ref().map(quoted)),
            ("hash_threads", Some(self.hash_threads.to_string())),
            ("hash_queue", Some(self.hash_queue.to_string())),
            ("hash_deadline_ms", Some(self.hash_deadline.as_millis().to_string())),
            ("argon2", Some(quoted(self.argon2))),
            ("signup_mode", Some(quoted(self.signup_mode.name()))),
            ("organizations", Some(quoted(self.organizations.name()))),
            ("trusted_proxies", list(&proxies)),
            ("proxy_header", Some(quoted(self.proxy_header.name()))),
            ("limits", switch(self.limits.on)),
            ("log", Some(quoted(&self.log))),
            ("log_format", Some(quoted(self.log_format.name()))),
            ("templates_dir", self.templates_dir.as_ref().map(|d| quoted(d.display()))),
            ("dev", switch(self.dev)),
            ("otlp_endpoint", self.otlp_endpoint.as_ref().map(quoted)),
            ("cluster_listen", cluster.map(|c| quoted(c.listen))),
            ("cluster_seeds", seeds.and_then(|s| list(&s))),
            ("cluster_node", cluster.map(|c| quoted(&c.node))),
            ("cluster_cert", tls.map(|t| quoted(t.cert.display()))),
            ("cluster_key", tls.map(|t| quoted(t.key.display()))),
            ("cluster_ca", tls.map(|t| quoted(t.ca.display()))),
            ("cluster_names", tls.and_then(|t| list(&t.names))),
            ("cluster_cookie", cluster.map(|_| quoted("[hidden]"))),
        ]
    }
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(value: impl fmt::Display) -> String {
    Json::from(value.to_string()).to_string()
}

fn host(base: &str) -> &str {
    base.split_once("://").map_or(base, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use std::collections::BTreeMap;

    fn env(pairs: &[(&str, &str)]) -> Sources {
        let env: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.into())).collect();
        Sources { env, cores: 2, ..Default::default() }
    }

    #[test]
    fn what_is_shown_can_be_given_back() {
        let pairs = [
            ("QEETID_LISTEN", "[::1]:0"),
            ("QEETID_CORS_ORIGINS", "http://a.example,http://b.example"),
            ("QEETID_MAIL_FROM", "\"A \\\"B\\\"\" <a@b.example>"),
            ("QEETID_TRUSTED_PROXIES", "10.0.0.0/8"),
            ("QEETID_POLICY__SMS_COUNTRIES", "DE,FR"),
            ("QEETID_POLICY__BREACHED_PASSWORD_CHECK", "on"),
            ("QEETID_LIMIT__SIGNUPS", "7/2h"),
            ("QEETID_SIGNUP_MODE", "verify_first"),
        ];
        let first = Settings::load(env(&pairs)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), first.show()).unwrap();
        let again = Settings::load(Sources { file: Some(file.path().to_owned()), cores: 9, ..Default::default() }).unwrap();
        let values = |s: &Settings| s.show().lines().map(|l| l.rsplit_once(" # ").map_or(l, |x| x.0).to_owned()).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&first));
        assert_eq!(again.policy, first.policy);
    }

    #[test]
    fn secrets_are_hidden_and_origins_told() {
        let planted = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";
        let pairs = [
            ("QEETID_SECRET", planted),
            ("QEETID_MAIL_URL", "smtp://planted:planted@mail.example:25"),
            ("QEETID_SMS_URL", "twilio://planted:planted@api.twilio.com?from=+15551234567"),
            ("QEETID_STORE_URL", "scylla://planted:planted@db1,db2/qeetid"),
            ("QEETID_EPHEMERAL_URL", "redis://planted:planted@cache.example"),
        ];
        let settings = Settings::load(env(&pairs)).unwrap();
        for shown in [settings.show(), format!("{settings:?}")] {
            assert!(!shown.contains(planted) && !shown.contains(":planted"), "{shown}");
        }
        let shown = settings.show();
        assert!(shown.lines().any(|l| l.starts_with("secret = \"[hidden]\"") && l.ends_with("# environment")), "{shown}");
        assert!(shown.contains("smtp://[hidden]@mail.example:25"), "{shown}");
        assert!(shown.contains("scylla://[hidden]@db1:9042,db2:9042/qeetid?rf=3"), "{shown}");
        assert!(shown.contains("redis://[hidden]@cache.example"), "{shown}");
        assert!(shown.lines().any(|l| l.starts_with("listen = ") && l.ends_with("# default")), "{shown}");
    }
}
