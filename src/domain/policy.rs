//! The auth policy of a tenant, and its limits.

use super::{notice::NoticeKind, session::IDLE_DAYS};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, str::FromStr, time::Duration};

/// Whether passwords are looked up in the breach corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachCheck {
    /// Never.
    #[default]
    Off,
    /// Whenever one is set.
    On,
}

impl BreachCheck {
    /// Stable name, on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

impl FromStr for BreachCheck {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Off, Self::On].into_iter().find(|c| c.name() == name).ok_or(())
    }
}

/// A named set of password rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// [`AuthPolicy::default`]'s.
    Default,
    /// NIST SP 800-63B-4, 3.1.1.2, for a password that is the only factor: 15 characters, a blocklist (common ones, and those
    /// known from breaches), no composition rules.
    Nist800_63B4,
}

impl Preset {
    /// Stable name, on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Nist800_63B4 => "nist-800-63b-4",
        }
    }
}

impl FromStr for Preset {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Default, Self::Nist800_63B4].into_iter().find(|p| p.name() == name).ok_or(())
    }
}

/// What passwords and codes must obey. The defaults follow NIST SP 800-63B-4 where the password is one of several means
/// (8 characters, a blocklist, no composition rules).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthPolicy {
    /// 8..=64 characters.
    pub password_min_length: u32,
    /// An upper-case letter is asked for.
    pub password_require_uppercase: bool,
    /// A digit is asked for.
    pub password_require_number: bool,
    /// A character that is neither letter nor digit is asked for.
    pub password_require_symbol: bool,
    /// zxcvbn score 0..=4.
    pub password_min_strength: u8,
    /// Off, or on.
    pub breached_password_check: BreachCheck,
    /// Words that a password must not be made of, beside the names of the service, the tenant and the person; at most 100, of 4 to 64 characters.
    pub password_context_words: Vec<String>,
    /// Codes by mail may be asked for.
    pub otp_email_enabled: bool,
    /// Codes by SMS may be asked for.
    pub otp_sms_enabled: bool,
    /// 1..=720 hours.
    pub invite_ttl_hours: u32,
    /// 1..=365 days: the absolute end of a session.
    pub session_ttl_days: u32,
    /// 1..=365 days: a session that isn't refreshed for so long is over.
    pub session_idle_days: u32,
    /// 1..=365 days.
    pub recycle_bin_days: u32,
    /// At most this many text messages a day, 0..=1,000,000.
    pub sms_daily_budget: u32,
    /// ISO 3166-1 alpha-2 codes that texts may go to; empty: all but premium numbers.
    pub sms_countries: Vec<String>,
    /// Names of the security notices that members get ([`NoticeKind`]). It binds in managed tenants only.
    pub notices: Vec<String>,
}

impl Default for AuthPolicy {
    fn default() -> Self {
        Self {
            password_min_length: 8,
            password_require_uppercase: false,
            password_require_number: false,
            password_require_symbol: false,
            password_min_strength: 1,
            breached_password_check: BreachCheck::Off,
            password_context_words: Vec::new(),
            otp_email_enabled: true,
            otp_sms_enabled: true,
            invite_ttl_hours: 168,
            session_ttl_days: 90,
            session_idle_days: IDLE_DAYS,
            recycle_bin_days: 30,
            sms_daily_budget: 100,
            sms_countries: Vec::new(),
            notices: NoticeKind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
        }
    }
}

impl AuthPolicy {
    /// Field by field, what is impossible about it; empty if it can be used.
    pub fn problems(&self) -> BTreeMap<&'static str, String> {
        let mut out = BTreeMap::new();
        let mut range = |field, value: u32, from: u32, to: u32| {
            if !(from..=to).contains(&value) {
                out.insert(field, format!("must be from {from} to {to}"));
            }
        };
        range("password_min_length", self.password_min_length, 8, 64);
        range("password_min_strength", self.password_min_strength.into(), 0, 4);
        range("invite_ttl_hours", self.invite_ttl_hours, 1, 720);
        range("session_ttl_days", self.session_ttl_days, 1, 365);
        range("session_idle_days", self.session_idle_days, 1, 365);
        range("recycle_bin_days", self.recycle_bin_days, 1, 365);
        range("sms_daily_budget", self.sms_daily_budget, 0, 1_000_000);
        let iso = |c: &String| c.parse::<phonenumber::country::Id>().is_ok_and(|id| id.as_ref() == c);
        if self.sms_countries.len() > 250 || !self.sms_countries.iter().all(iso) {
            out.insert("sms_countries", "must be ISO 3166-1 alpha-2 codes, such as US".into());
        }
        let word = |w: &String| (4..=64).contains(&w.chars().count()) && w.chars().all(char::is_alphanumeric);
        if self.password_context_words.len() > 100 || !self.password_context_words.iter().all(word) {
            out.insert("password_context_words", "must be at most 100 words of 4 to 64 letters and digits".into());
        }
        if self.notices.len() > NoticeKind::ALL.len() || self.notices.iter().any(|name| NoticeKind::from_name(name).is_none()) {
            out.insert("notices", format!("must be among {}, each once", NoticeKind::ALL.map(NoticeKind::name).join(", ")));
        }
        out
    }

    /// Whether members of a managed tenant with this policy get such notices.
    pub fn sends(&self, what: NoticeKind) -> bool {
        self.notices.iter().any(|name| name == what.name())
    }

    /// With the password rules of a preset, and the longest life of a session that it allows (63B-4, 2.1.3: 30 days); everything else stays.
    pub fn with_preset(mut self, preset: Preset) -> Self {
        let rules = Self::default();
        self.password_min_length = rules.password_min_length;
        self.password_require_uppercase = rules.password_require_uppercase;
        self.password_require_number = rules.password_require_number;
        self.password_require_symbol = rules.password_require_symbol;
        self.password_min_strength = rules.password_min_strength;
        self.breached_password_check = rules.breached_password_check;
        self.session_ttl_days = rules.session_ttl_days;
        if preset == Preset::Nist800_63B4 {
            self.password_min_length = 15;
            self.session_ttl_days = 30;
            self.breached_password_check = BreachCheck::On;
        }
        self
    }

    /// Names of the fields in which it differs from another one.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |policy: &Self| match serde_json::to_value(policy) {
            Ok(serde_json::Value::Object(fields)) => fields,
            // A policy is always an object.
            _ => serde_json::Map::new(),
        };
        let others = fields(other);
        fields(self).into_iter().filter(|(name, value)| others.get(name) != Some(value)).map(|(name, _)| name).collect()
    }

    /// What a password must obey whose owner belongs to both tenants. All but the rules of passwords is of `self`.
    pub fn and_passwords_of(mut self, other: &Self) -> Self {
        self.password_min_length = self.password_min_length.max(other.password_min_length);
        self.password_require_uppercase |= other.password_require_uppercase;
        self.password_require_number |= other.password_require_number;
        self.password_require_symbol |= other.password_require_symbol;
        self.password_min_strength = self.password_min_strength.max(other.password_min_strength);
        self.password_context_words.extend(other.password_context_words.iter().cloned());
        if other.breached_password_check == BreachCheck::On {
            self.breached_password_check = BreachCheck::On;
        }
        self
    }

    /// The longest that a session of this tenant may live.
    pub fn session_ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_ttl_days) * 86_400)
    }

    /// How long a deleted account stays in the recycle bin.
    pub fn recycle_bin(&self) -> Duration {
        Duration::from_secs(u64::from(self.recycle_bin_days) * 86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_sets_the_rules_of_passwords_and_the_life_of_sessions_alone() {
        let odd = AuthPolicy { password_require_symbol: true, password_min_strength: 4, invite_ttl_hours: 5, ..Default::default() };
        let nist = odd.clone().with_preset(Preset::Nist800_63B4);
        assert_eq!((nist.password_min_length, nist.password_require_symbol, nist.breached_password_check), (15, false, BreachCheck::On));
        assert_eq!(nist.session_ttl_days, 30);
        assert_eq!(nist.invite_ttl_hours, 5);
        assert_eq!(nist.with_preset(Preset::Default), AuthPolicy { invite_ttl_hours: 5, ..Default::default() });
        for preset in [Preset::Default, Preset::Nist800_63B4] {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
    }

    #[test]
    fn fields_that_differ_are_named() {
        let policy = AuthPolicy::default();
        assert!(policy.differences(&policy).is_empty());
        let other = AuthPolicy { sms_countries: vec!["US".into()], breached_password_check: BreachCheck::On, ..policy.clone() };
        let mut names = policy.differences(&other);
        names.sort();
        assert_eq!(names, ["breached_password_check", "sms_countries"]);
    }

    #[test]
    fn the_password_of_a_member_of_two_tenants_obeys_both() {
        let long = AuthPolicy { password_min_length: 20, password_require_number: true, ..Default::default() };
        let strong = AuthPolicy {
            password_min_strength: 4,
            password_require_uppercase: true,
            password_require_symbol: true,
            breached_password_check: BreachCheck::On,
            session_ttl_days: 1,
            ..Default::default()
        };
        let expected = AuthPolicy { session_ttl_days: 90, password_min_length: 20, password_require_number: true, ..strong.clone() };
        assert_eq!(long.clone().and_passwords_of(&strong), expected);
        assert_eq!(AuthPolicy { session_ttl_days: 90, ..strong.and_passwords_of(&long) }, expected);
    }

    #[test]
    fn the_default_is_possible_and_impossible_values_are_named() {
        assert!(AuthPolicy::default().problems().is_empty());
        let bad = AuthPolicy { password_min_length: 7, password_min_strength: 5, sms_countries: vec!["us".into()], ..Default::default() };
        for impossible in ["us", "U", "USA", "ZZ", ""] {
            let bad = AuthPolicy { sms_countries: vec!["US".into(), impossible.into()], ..Default::default() };
            assert!(bad.problems().contains_key("sms_countries"), "{impossible}");
        }
        assert!(AuthPolicy { sms_countries: vec!["US".into(), "CH".into()], ..Default::default() }.problems().is_empty());
        assert_eq!(bad.problems().into_keys().collect::<Vec<_>>(), ["password_min_length", "password_min_strength", "sms_countries"]);
    }
}
