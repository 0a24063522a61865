//! Hashes as other systems write them, into what is stored: kept as they are, brought into the form of [`Stored`], or (weak ones)
//! to be wrapped.

use super::{
    BadHash, LONGEST_MS, Stored, base64,
    pbkdf2::Prf,
    wrapped::{Digest, Weak},
};
use crate::domain::hash::PasswordHash;
use ::base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// A hash that somebody brings along.
#[derive(Debug, Clone)]
pub enum Imported {
    /// Strong enough: stored as it is.
    Kept(PasswordHash),
    /// Too weak to be stored: wrap it first.
    Weak(Weak),
}

impl Imported {
    /// Reads a hash in any supported spelling: PHC strings, crypt strings of bcrypt, PBKDF2 of Passlib and Django, and the
    /// `{SCHEME}` values of LDAP (RFC 2307: `{SSHA}`, `{SMD5}`, `{SHA}`, `{MD5}`, `{SHA256}`, `{SSHA256}`, `{SHA512}`,
    /// `{SSHA512}`, in base64 or, unsalted, in hex; `{CRYPT}` with bcrypt).
    ///
    /// # Errors
    /// [`BadHash`]; nothing was computed.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        if text.len() > super::MAX_LENGTH {
            return Err(BadHash::Malformed);
        }
        if let Some((scheme, value)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            return match scheme.to_ascii_uppercase().as_str() {
                "CRYPT" | "BLF-CRYPT" | "ARGON2" | "ARGON2ID" | "ARGON2I" | "BCRYPT" => Self::of(value.to_owned()),
                scheme => ldap(scheme, value).map(Self::Weak),
            };
        }
        match passlib(text).or_else(|| django(text)) {
            Some(canonical) => Self::of(canonical?),
            None => Self::of(text.to_owned()),
        }
    }

    /// Takes a hash of a stored form, if a refusal can wait until it is checked.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn of(text: String) -> Result<Self, BadHash> {
        let hash = PasswordHash::new(text);
        let stored = Stored::parse(&hash)?;
        let kind = stored.kind();
        if kind.on_a_slow_core() > LONGEST_MS {
            return Err(BadHash::TooMuch(kind.ceiling()));
        }
        if stored.is_weak() { Weak::slow(&hash, &stored).map(Self::Weak) } else { Ok(Self::Kept(hash)) }
    }

    /// PBKDF2 of its parts.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn pbkdf2(prf: Prf, rounds: u64, salt: &[u8], tag: &[u8]) -> Result<Self, BadHash> {
        Self::of(phc(prf, &rounds.to_string(), salt, tag))
    }
}

fn phc(prf: Prf, rounds: &str, salt: &[u8], tag: &[u8]) -> String {
    let name = match prf {
        Prf::Sha1 => "sha1",
        Prf::Sha256 => "sha256",
        Prf::Sha512 => "sha512",
    };
    let b64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    format!("$pbkdf2-{name}$i={rounds},l={}${}${}", tag.len(), b64(salt), b64(tag))
}

/// `$pbkdf2-sha256$29000$salt$tag`, in base64 with `.` for `+`; `$pbkdf2$` is SHA-1.
fn passlib(text: &str) -> Option<Result<String, BadHash>> {
    let [name, rounds, salt, tag] = text.strip_prefix('$')?.split('$').collect::<Vec<_>>().try_into().ok()?;
    let prf = if name == "pbkdf2" { Prf::Sha1 } else { Prf::from_name(name)? };
    if rounds.starts_with("i=") {
        return None;
    }
    let bytes = |text: &str| base64(&text.replace('.', "+"));
    Some(bytes(salt).and_then(|salt| Ok(phc(prf, rounds, &salt, &bytes(tag)?))))
}

/// `pbkdf2_sha256$600000$salt$tag`: the salt is text.
fn django(text: &str) -> Option<Result<String, BadHash>> {
    let [name, rounds, salt, tag] = text.split('$').collect::<Vec<_>>().try_into().ok()?;
    let prf = match name {
        "pbkdf2_sha1" => Prf::Sha1,
        "pbkdf2_sha256" => Prf::Sha256,
        _ => return None,
    };
    Some(base64(tag).map(|tag| phc(prf, rounds, salt.as_bytes(), &tag)))
}

/// The digest, and what is behind it is the salt.
fn ldap(scheme: &str, value: &str) -> Result<Weak, BadHash> {
    let (digest, salted) = match scheme {
        "MD5" => (Digest::Md5, false),
        "SMD5" => (Digest::Md5, true),
        "SHA" | "SHA1" => (Digest::Sha1, false),
        "SSHA" | "SSHA1" => (Digest::Sha1, true),
        "SHA256" | "SHA-256" => (Digest::Sha256, false),
        "SSHA256" | "SSHA-256" => (Digest::Sha256, true),
        "SHA512" | "SHA-512" => (Digest::Sha512, false),
        "SSHA512" | "SSHA-512" => (Digest::Sha512, true),
        _ => return Err(BadHash::Unknown),
    };
    let mut tag = if !salted && value.len() == 2 * digest.length() { hex(value)? } else { base64(value)? };
    if tag.len() < digest.length() || (!salted && tag.len() > digest.length()) {
        return Err(BadHash::Malformed);
    }
    let salt = tag.split_off(digest.length());
    Weak::new(digest, tag, salt, false)
}

/// Bytes of hex digits, of either case.
///
/// # Errors
/// It isn't hex.
pub fn hex(text: &str) -> Result<Vec<u8>, BadHash> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().ok_or(BadHash::Malformed)
}
