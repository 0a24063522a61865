//! The table of what can be set, and the names that one setting has in each source.

use std::{collections::BTreeMap, fmt};

/// Every key, as the file has it. In the environment `QEETID_` stands before it, in capitals, and `__` for the dot.
pub(super) const KEYS: &[&str] = &[
    "listen",
    "public_url",
    "app_url",
    "secret",
    "metrics_listen",
    "cors_origins",
    "audience",
    "data_dir",
    "store_url",
    "ephemeral_url",
    "mail_url",
    "mail_from",
    "sms_url",
    "sms_daily_budget",
    "breach_url",
    "dns",
    "hash_threads",
    "hash_queue",
    "hash_deadline_ms",
    "argon2",
    "signup_mode",
    "organizations",
    "trusted_proxies",
    "proxy_header",
    "limits",
    "log",
    "log_format",
    "templates_dir",
    "dev",
    "otlp_endpoint",
    "cluster_listen",
    "cluster_seeds",
    "cluster_node",
    "cluster_cert",
    "cluster_key",
    "cluster_ca",
    "cluster_names",
    "cluster_cookie",
];

/// Keys that can also be given as `<key>_file`: the value is what the file holds, without the line end.
pub(super) const FROM_FILE: &[&str] = &["secret", "mail_url", "sms_url", "store_url", "ephemeral_url", "cluster_cookie"];

/// The one variable that has its name from elsewhere (the OpenTelemetry specification).
pub(super) const OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(String),
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Where each value that was set came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(pub BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
    /// The name under which the one who set it knows it.
    pub(super) fn label(&self, key: &str) -> String {
        match self.of(key) {
            Origin::Default | Origin::Environment => variable(key),
            Origin::File(path) => format!("{key} in {path}"),
            Origin::Flag => format!("--set {key}"),
        }
    }
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    if key == "otlp_endpoint" {
        return OTLP_VARIABLE.into();
    }
    format!("QEETID_{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The known key nearest to `wrong`, if one is near enough to have been meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, key) = known.map(|k| (distance(wrong, k), k)).min()?;
    (distance <= wrong.len() / 3 + 1).then_some(key)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn a_slip_of_the_finger_is_understood_and_nonsense_is_not() {
        let near = |s| nearest(s, KEYS.iter().copied());
        assert_eq!(near("listne"), Some("listen"));
        assert_eq!(near("stor_url"), Some("store_url"));
        assert_eq!(near("zzzzzzzz"), None);
    }

    #[test]
    fn names_in_the_environment() {
        assert_eq!(variable("policy.password_min_length"), "QEETID_POLICY__PASSWORD_MIN_LENGTH");
        assert_eq!(variable("listen"), "QEETID_LISTEN");
    }
}
