//! Tenants.

use super::{
    ids::TenantId,
    mail_domain::{self, DomainName, TenantDomain},
    policy::AuthPolicy,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What kind of tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantKind {
    /// Made at sign-up, one member for ever.
    Personal,
    /// Made by a member, who invites others.
    Organization,
}

impl TenantKind {
    /// Stable name, in rows and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Organization => "organization",
        }
    }
    /// The reverse of [`TenantKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Personal, Self::Organization].into_iter().find(|k| k.name() == name)
    }
}

/// A tenant: the scope of every access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique; 3 to 63 of `a-z0-9-`, no `-` at an end.
    pub slug: String,
    /// 1 to 200 characters, no controls.
    pub name: String,
    /// Personal or organization.
    pub kind: TenantKind,
    /// The operator has given its admins power over the credentials of accounts that belong to it alone.
    #[serde(default)]
    pub managed: bool,
    /// The domains that it has entered, in that order; at most [`super::mail_domain::DOMAINS_OF_A_TENANT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<TenantDomain>,
    /// A JSON object, at most 16 KiB.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What its members' passwords and codes must obey.
    pub policy: AuthPolicy,
    /// Raised by every write.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// Deleted (soft) since.
    pub deleted_at: Option<Timestamp>,
}

impl Tenant {
    /// The domains that it has proved.
    pub fn proved_domains(&self) -> impl Iterator<Item = &DomainName> {
        mail_domain::proved(&self.domains)
    }
    /// The tenant of one person.
    pub fn personal(id: TenantId, policy: AuthPolicy, now: Timestamp) -> Self {
        Self {
            id,
            slug: format!("u-{}", id.to_string().replace('-', "")),
            name: "Personal".into(),
            kind: TenantKind::Personal,
            managed: false,
            domains: Vec::new(),
            metadata: serde_json::Map::new(),
            policy,
            version: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }
}

/// Whether text that somebody chose could pass for a link in a mail: it has a scheme, `www`, or a dot between letters or digits. Mail programs
/// make links of such text by themselves.
pub fn looks_like_link(text: &str) -> bool {
    // Dots of other scripts that host names may be written with (IDNA, RFC 3490, 3.1).
    let text: Vec<char> = text.to_lowercase().chars().map(|c| if "。．｡".contains(c) { '.' } else { c }).collect();
    let whole: String = text.iter().collect();
    let dotted = text.windows(3).any(|w| w[1] == '.' && w[0].is_alphanumeric() && w[2].is_alphanumeric());
    dotted || whole.contains("://") || whole.split(|c: char| !c.is_alphanumeric()).any(|word| word == "www")
}

/// Whether `slug` may be one: 3 to 63 of `a-z0-9-`, no `-` at an end (a DNS label, RFC 1035).
pub fn valid_slug(slug: &str) -> bool {
    (3..=63).contains(&slug.len())
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{looks_like_link, valid_slug};

    #[test]
    fn what_mail_programs_make_links_of() {
        for link in ["evil.example", "http://x", "see WWW now", "Acme (acme.io)", "pay at acme．io", "1.2.3.4", "mailto://a"] {
            assert!(looks_like_link(link), "{link}");
        }
        for name in ["Acme", "St. Gallen", "Acme Inc.", "J. R. & Sons", "Dr.", "50% more", "wwwild", "Ünal, Öz & Co."] {
            assert!(!looks_like_link(name), "{name}");
        }
    }

    #[test]
    fn slugs_are_dns_labels() {
        assert!(valid_slug("acme-1"));
        for bad in ["", "ab", "-abc", "abc-", "Abc", "a_c", "ä-cc", &"a".repeat(64)] {
            assert!(!valid_slug(bad), "{bad}");
        }
    }
}
