//! Domains of mail addresses that organizations prove. Whoever controls the DNS of a domain could have its mail redirected, and with it any
//! password reset: so an organization that has proved the domain by a record has power over the accounts of its members there.

use super::{
    ids::{DomainId, TenantId},
    keyring::{Keyring, Label},
    time::Timestamp,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt, str::FromStr, sync::OnceLock, time::Duration};

/// Domains of one tenant at most.
pub const DOMAINS_OF_A_TENANT: usize = 20;
/// A proved domain is looked up again this long after the last time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(86_400);
/// Looks that follow each other sooner count as one: clocks are off, and a look can be asked for.
const APART: Duration = Duration::from_secs(20 * 3600);
/// One whose record has been absent for this long is lost, if it was looked for so often …
const LOST_AFTER: Duration = Duration::from_secs(3 * 86_400);
const LOST_LOOKS: u32 = 4;
/// … and never longer apart than this: nobody knows what was there while nobody looked.
const ABSENT_GAP: Duration = Duration::from_secs(60 * 3600);
/// One is lost, too, if no DNS server has said anything about it for this long, although it was asked so often: its name servers are gone.
const SILENT_AFTER: Duration = Duration::from_secs(30 * 86_400);
const SILENT_LOOKS: u32 = 20;
const SILENT_GAP: Duration = Duration::from_secs(7 * 86_400);
/// The label of the record below the domain.
const RECORD: &str = "_qeetid";
/// With [`RECORD`] and a dot before it, a name in DNS has at most 253 characters (RFC 1035, 2.3.4).
const LONGEST: usize = 253 - RECORD.len() - 1;

/// Why a domain was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDomain {
    /// It is none, or has one label only.
    #[error("is not a domain such as example.com")]
    NotADomain,
    /// Anybody can have an address there.
    #[error("is a public mail provider's, where anybody can have an address")]
    PublicProvider,
}

/// A domain in the form of [`super::contact::Email`]: lower case, A-labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DomainName(String);

impl DomainName {
    /// Takes over a name that a store holds.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }
    /// The name, without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Where its record is looked for.
    pub fn record_name(&self) -> String {
        format!("{RECORD}.{}", self.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = BadDomain;

    fn from_str(typed: &str) -> Result<Self, BadDomain> {
        let text = typed.trim_matches([' ', '\t']);
        if text.len() > 4 * LONGEST {
            return Err(BadDomain::NotADomain);
        }
        let name = idna::domain_to_ascii_strict(text).map_err(|_| BadDomain::NotADomain)?;
        let (_, last) = name.rsplit_once('.').ok_or(BadDomain::NotADomain)?;
        // An IPv4 address is no domain (RFC 3696, 2: a top-level domain is not all numeric).
        if name.len() > LONGEST || name.split('.').any(str::is_empty) || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadDomain::NotADomain);
        }
        if is_public_provider(&name) {
            return Err(BadDomain::PublicProvider);
        }
        Ok(Self(name))
    }
}

/// Whether anybody can have an address there: of a list, see `assets/README.md`.
fn is_public_provider(domain: &str) -> bool {
    static PROVIDERS: OnceLock<HashSet<&str>> = OnceLock::new();
    PROVIDERS.get_or_init(|| include_str!("../../assets/mail-providers.txt").lines().collect()).contains(domain)
}

/// The value of the record by which a tenant proves a domain. It is no secret, and is stored with the domain: it stays the same when the
/// keyring turns.
pub fn record_value(keyring: &Keyring, tenant: TenantId, domain: &DomainName) -> String {
    let mac = keyring.mac(keyring.current(), Label::MailDomain, &[tenant.as_bytes(), domain.as_str().as_bytes()]);
    format!("qeetid-domain-verification={}", URL_SAFE_NO_PAD.encode(mac.expect("a key of this ring")))
}

/// Where a domain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainStatus {
    /// Its record has not been found yet.
    Pending,
    /// Its record was found.
    Proved,
    /// It was found once, and then not for three days; or another tenant proved the domain meanwhile.
    Lost,
}

/// What a look at the record of a domain gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The record is there.
    Present,
    /// The domain has no such record.
    Absent,
    /// No DNS server said anything.
    Unknown,
}

/// Looks one after the other that found the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// The first of them.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// How many, those that came too soon after another not counted.
    pub looks: u32,
}

impl Streak {
    /// With one more look; one that comes after a longer gap begins anew.
    fn and(streak: Option<Self>, now: Timestamp, gap: Duration) -> Self {
        match streak {
            Some(s) if now.since(s.last) < APART => s,
            Some(s) if now.since(s.last) <= gap => Self { last: now, looks: s.looks + 1, ..s },
            _ => Self { since: now, last: now, looks: 1 },
        }
    }
    fn is(self, length: Duration, looks: u32) -> bool {
        self.last.since(self.since) >= length && self.looks >= looks
    }
}

/// A domain of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantDomain {
    /// Its id.
    pub id: DomainId,
    /// The domain; of exactly this domain are the addresses.
    pub name: DomainName,
    /// What the TXT record must say.
    pub value: String,
    /// Where it stands.
    pub status: DomainStatus,
    /// When it was entered.
    pub created_at: Timestamp,
    /// Since when it is proved (or was, when it was lost).
    pub verified_at: Option<Timestamp>,
    /// When a DNS server last said whether the record is there.
    pub checked_at: Option<Timestamp>,
    /// Looks at a proved domain that found no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<Streak>,
    /// Looks at a proved domain about which no DNS server said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Streak>,
}

impl TenantDomain {
    /// Its record was found, and nobody else has it.
    pub fn proved(self, now: Timestamp) -> Self {
        let verified_at = if self.status == DomainStatus::Proved { self.verified_at } else { Some(now) };
        Self { status: DomainStatus::Proved, verified_at, ..self }.after(Found::Present, now)
    }
    /// As it stands after a look at its record, which proves nothing that was not proved before.
    pub fn after(self, found: Found, now: Timestamp) -> Self {
        let proved = self.status == DomainStatus::Proved;
        match found {
            Found::Present => Self { checked_at: Some(now), absent: None, silent: None, ..self },
            Found::Absent if proved => {
                let absent = Streak::and(self.absent, now, ABSENT_GAP);
                let seen = Self { checked_at: Some(now), absent: Some(absent), silent: None, ..self };
                if absent.is(LOST_AFTER, LOST_LOOKS) { seen.lost() } else { seen }
            }
            Found::Absent => Self { checked_at: Some(now), ..self },
            Found::Unknown if proved => {
                let silent = Streak::and(self.silent, now, SILENT_GAP);
                let seen = Self { silent: Some(silent), ..self };
                if silent.is(SILENT_AFTER, SILENT_LOOKS) { seen.lost() } else { seen }
            }
            Found::Unknown => self,
        }
    }
    /// Another tenant has it now, or its record is gone.
    pub fn lost(self) -> Self {
        Self { status: DomainStatus::Lost, absent: None, silent: None, ..self }
    }
    /// Whether it is time to look a proved domain up again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let looked_at = [self.checked_at, self.silent.map(|s| s.last)].into_iter().flatten().max();
        self.status == DomainStatus::Proved && looked_at.is_none_or(|at| now.since(at) >= LOOK_AGAIN)
    }
}

/// Those of a tenant's domains that are proved.
pub fn proved(domains: &[TenantDomain]) -> impl Iterator<Item = &DomainName> {
    domains.iter().filter(|d| d.status == DomainStatus::Proved).map(|d| &d.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn hours(n: u64) -> Duration {
        Duration::from_secs(n * 3600)
    }

    fn proved() -> TenantDomain {
        let (name, at) = ("example.org".parse().unwrap(), Some(T));
        let (id, value) = (DomainId::from_bytes([1; 16]), "v".to_owned());
        TenantDomain {
            id,
            name,
            value,
            status: DomainStatus::Proved,
            created_at: T,
            verified_at: at,
            checked_at: at,
            absent: None,
            silent: None,
        }
    }

    #[test]
    fn names_are_those_of_addresses() {
        for (typed, stored) in
            [("Example.ORG", "example.org"), (" bücher.example ", "xn--bcher-kva.example"), ("a.b.c.example", "a.b.c.example")]
        {
            let name: DomainName = typed.parse().unwrap();
            assert_eq!(name.as_str(), stored);
            let email: crate::domain::contact::Email = format!("me@{}", typed.trim()).parse().unwrap();
            assert_eq!(email.domain(), stored, "an address there has it");
        }
        let long = format!("{}example", "a123456789.".repeat(30));
        for bad in
            ["", "localhost", "a..example", ".example.org", "example.org.", "192.0.2.1", "[192.0.2.1]", "a b.example", "a@b.example", &long]
        {
            assert_eq!(bad.parse::<DomainName>(), Err(BadDomain::NotADomain), "{bad}");
        }
    }

    #[test]
    fn public_providers_are_refused_however_they_are_written() {
        assert!(include_str!("../../assets/mail-providers.txt").lines().count() >= 4000);
        for name in ["gmail.com", "GMX.de", "outlook.com", "web.de", "proton.me", "tuta.com", "qq.com", "yahoo.co.jp", "icloud.com"] {
            assert_eq!(name.parse::<DomainName>(), Err(BadDomain::PublicProvider), "{name}");
        }
        assert!("mail.example.com".parse::<DomainName>().is_ok());
    }

    /// As it stands after looks that found the same, at these hours.
    fn after(domain: TenantDomain, found: Found, at: impl IntoIterator<Item = u64>) -> TenantDomain {
        at.into_iter().fold(domain, |domain, n| domain.after(found, T.plus(hours(n))))
    }

    #[test]
    fn a_domain_is_lost_after_three_days_without_its_record() {
        let absent = after(proved(), Found::Absent, [24, 48, 72]);
        assert_eq!((absent.status, absent.absent.unwrap().looks), (DomainStatus::Proved, 3));
        // It came back: the count begins anew.
        let back = absent.clone().after(Found::Present, T.plus(hours(80)));
        assert_eq!((back.status, back.absent, back.verified_at), (DomainStatus::Proved, None, Some(T)));
        let lost = absent.after(Found::Absent, T.plus(hours(96)));
        assert_eq!((lost.status, lost.absent), (DomainStatus::Lost, None));
        // Nothing but a proof brings it back, and it is proved from then on.
        assert_eq!(after(lost.clone(), Found::Present, [120]).status, DomainStatus::Lost);
        let again = lost.clone().proved(T.plus(hours(200)));
        assert_eq!((again.status, again.verified_at), (DomainStatus::Proved, Some(T.plus(hours(200)))));
        assert_eq!(after(lost, Found::Absent, [900]).status, DomainStatus::Lost);
    }

    #[test]
    fn many_looks_at_once_and_looks_far_apart_are_not_days_of_absence() {
        let often = after(proved(), Found::Absent, 24..44);
        assert_eq!(often.absent.unwrap().looks, 1);
        // One answer that was wrong, days of silence, and one more.
        let silent = after(after(proved(), Found::Absent, [24]), Found::Unknown, (2..20).map(|day| day * 24));
        let absent = silent.after(Found::Absent, T.plus(hours(24 * 20)));
        assert_eq!((absent.status, absent.absent.unwrap().looks), (DomainStatus::Proved, 1));
        // Nobody looked for a month: one look takes nothing.
        for found in [Found::Absent, Found::Unknown] {
            assert_eq!(after(proved(), found, [24 * 60]).status, DomainStatus::Proved);
        }
    }

    #[test]
    fn servers_that_say_nothing_take_nothing_for_a_month() {
        let silent = after(proved(), Found::Unknown, (1..=30).map(|day| day * 24));
        assert_eq!((silent.status, silent.checked_at), (DomainStatus::Proved, Some(T)));
        assert_eq!(silent.after(Found::Unknown, T.plus(hours(24 * 31))).status, DomainStatus::Lost);
        let pending = TenantDomain { status: DomainStatus::Pending, checked_at: None, verified_at: None, ..proved() };
        assert_eq!(after(pending.clone(), Found::Unknown, [24 * 90]), pending);
        assert_eq!(after(pending, Found::Present, [24]).status, DomainStatus::Pending, "a look proves nothing");
    }

    #[test]
    fn it_is_looked_up_once_a_day_also_if_nobody_answers() {
        assert!(!proved().is_due(T.plus(hours(23))) && proved().is_due(T.plus(hours(24))));
        let silent = proved().after(Found::Unknown, T.plus(hours(24)));
        assert!(!silent.is_due(T.plus(hours(47))) && silent.is_due(T.plus(hours(48))));
        assert!(!proved().lost().is_due(T.plus(hours(99))));
    }
}
