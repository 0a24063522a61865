//! E-mail addresses and phone numbers in the one form that is stored, and the digests that stand for them.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Why an address or number was refused. The text is for the person who typed it and never repeats what he typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadContact {
    /// Not `local@domain`.
    #[error("is not an e-mail address")]
    NotAnEmail,
    /// Over 254 octets, or a local part over 64 (RFC 5321, 4.5.3.1).
    #[error("is too long for an e-mail address")]
    EmailTooLong,
    /// Control characters or line ends.
    #[error("holds control characters")]
    Control,
    /// The domain has no form in A-labels (RFC 5891).
    #[error("has an invalid domain")]
    BadDomain,
    /// Not a number that can be dialled, or not written with `+` and country code.
    #[error("is not a phone number in E.164 form, such as +14155550100")]
    NotAPhone,
}

/// SHA-256 of a contact in its stored form: names its actor, its partition and its counters without showing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContactDigest([u8; 32]);

impl ContactDigest {
    fn of(kind: &[u8], text: &str) -> Self {
        let mut sha = digest::Context::new(&digest::SHA256);
        sha.update(kind);
        sha.update(text.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(sha.finish().as_ref());
        Self(out)
    }
    /// Stands for text that is no address: it will match none, and costs what an address costs.
    pub fn of_unknown(text: &str) -> Self {
        Self::of(b"qeetid unknown v1\0", text)
    }
    /// Takes over what a row holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ContactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContactDigest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// An e-mail address: lower case, domain as A-labels, at most 254 octets with a local part of 64.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Takes over an address that a store holds, already in stored form.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }
    /// What stands behind the `@`, as A-labels.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
    /// The key of its claim, actor and counters.
    pub fn digest(&self) -> ContactDigest {
        ContactDigest::of(b"qeetid email v1\0", &self.0)
    }
}

impl FromStr for Email {
    type Err = BadContact;

    fn from_str(typed: &str) -> Result<Self, BadContact> {
        let text = typed.trim_matches([' ', '\t']);
        if text.chars().any(char::is_control) {
            return Err(BadContact::Control);
        }
        if text.len() > 1024 {
            return Err(BadContact::EmailTooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(BadContact::NotAnEmail)?;
        // Quoted local parts and address literals are legal and used by nobody who signs up; scripts use them to slip things in.
        if local.is_empty() || local.contains(['"', ' ', '@', ',', ';', '<', '>', '\\']) || domain.starts_with('[') {
            return Err(BadContact::NotAnEmail);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| BadContact::BadDomain)?;
        if domain.is_empty() || domain.ends_with('.') {
            return Err(BadContact::BadDomain);
        }
        let local = local.to_lowercase();
        if local.len() > 64 {
            return Err(BadContact::EmailTooLong);
        }
        let whole = format!("{local}@{domain}");
        if whole.len() > 254 {
            return Err(BadContact::EmailTooLong);
        }
        if !email_address::EmailAddress::is_valid(&whole) {
            return Err(BadContact::NotAnEmail);
        }
        Ok(Self(whole))
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email[hidden]")
    }
}

/// A phone number in E.164 form: `+`, country code, number; at most 15 digits (ITU-T E.164).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phone(String);

impl Phone {
    /// Takes over a number that a store holds.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }
    /// The number, `+` first.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The key of its counters.
    pub fn digest(&self) -> ContactDigest {
        ContactDigest::of(b"qeetid phone v1\0", &self.0)
    }
    /// ISO 3166-1 alpha-2 code of its country, where the numbering plan tells; and whether calls or texts to it cost a premium.
    pub fn plan(&self) -> (Option<String>, bool) {
        let Ok(number) = phonenumber::parse(None, &self.0) else { return (None, true) };
        let country = number.country().id().map(|id| id.as_ref().to_owned());
        let premium =
            matches!(number.number_type(&phonenumber::metadata::DATABASE), phonenumber::Type::PremiumRate | phonenumber::Type::SharedCost);
        (country, premium)
    }
}

impl FromStr for Phone {
    type Err = BadContact;

    fn from_str(typed: &str) -> Result<Self, BadContact> {
        let text = typed.trim_matches([' ', '\t']);
        // The parser takes extensions, letters and national forms; the contract takes E.164 with common separators.
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
        let plain = digits.len() >= 8 && digits.len() <= 16 && digits.starts_with('+') && digits[1..].bytes().all(|b| b.is_ascii_digit());
        if !plain {
            return Err(BadContact::NotAPhone);
        }
        let number = phonenumber::parse(None, &digits).map_err(|_| BadContact::NotAPhone)?;
        if !number.is_valid() {
            return Err(BadContact::NotAPhone);
        }
        Ok(Self(number.format().mode(phonenumber::Mode::E164).to_string()))
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn email(text: &str) -> Result<String, BadContact> {
        text.parse::<Email>().map(|e| e.0)
    }

    #[test]
    fn addresses_get_one_form() {
        assert_eq!(email(" \tAda@Example.COM "), Ok("ada@example.com".into()));
        assert_eq!(email("ada@bücher.example"), Ok("ada@xn--bcher-kva.example".into()));
        assert_eq!(email("ada+tag@example.com"), Ok("ada+tag@example.com".into()));
        assert_eq!(email("jürgen@example.com"), Ok("jürgen@example.com".into()));
    }

    #[test]
    fn bad_addresses_are_refused() {
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a b@example.com",
            "ada@exa mple.com",
            "\"a\"@example.com",
            "ada@[127.0.0.1]",
            "a@b@example.com",
            "ada@-x.com",
            ".ada@example.com",
        ] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
        for bad in ["ada@example.com\n", "ada\0@example.com", "ada@example.com\r\nBcc: x@example.com", "\u{85}ada@example.com"] {
            assert_eq!(email(bad), Err(BadContact::Control), "{bad:?}");
        }
        assert_eq!(email(&format!("{}@example.com", "a".repeat(65))), Err(BadContact::EmailTooLong));
        assert_eq!(email(&"a".repeat(1_000_000)), Err(BadContact::EmailTooLong));
    }

    #[test]
    fn numbers_are_e164() {
        let phone = |s: &str| s.parse::<Phone>().map(|p| p.0);
        assert_eq!(phone("+1 (415) 555-0100"), Ok("+14155550100".into()));
        assert_eq!(phone("+49 30 901820"), Ok("+4930901820".into()));
        for bad in ["", "4155550100", "+1415", "+1415555010000000000", "+1415555010x", "+0000000000", "+١٤١٥٥٥٥٠١٠٠"] {
            assert_eq!(phone(bad), Err(BadContact::NotAPhone), "{bad:?}");
        }
    }

    #[test]
    fn premium_numbers_are_known() {
        assert!("+19002345678".parse::<Phone>().unwrap().plan().1);
        assert_eq!("+14155550100".parse::<Phone>().unwrap().plan(), (Some("US".into()), false));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_has_a_stable_form(text in ".{0,80}") {
            if let Ok(e) = text.parse::<Email>() {
                prop_assert_eq!(email(e.as_str()), Ok(e.as_str().to_owned()));
                prop_assert!(e.as_str().len() <= 254);
                prop_assert!(!e.as_str().chars().any(char::is_control));
            }
            let _ = text.parse::<Phone>();
        }

        #[test]
        fn likely_addresses_have_a_stable_form(text in "[A-Za-zß+._-]{1,10}@[a-zA-Zü0-9-]{1,10}\\.[a-z]{2,5}") {
            if let Ok(e) = text.parse::<Email>() {
                prop_assert_eq!(email(e.as_str()), Ok(e.as_str().to_owned()));
            }
        }
    }
}
