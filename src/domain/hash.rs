//! Password hashes as rows hold them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A stored password hash: a PHC string (or one of its manner: `credentials::formats`), or the crypt form of bcrypt (`$2b$…`).
/// Shows nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes over a hash.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The string itself, for the store and the verifier.
    pub fn reveal(&self) -> &str {
        &self.0
    }
    /// What kind of hash it is, without salt and tag: `argon2id:m=19456,t=2,p=1`, `bcrypt:12`. At most 64 characters.
    /// The store keeps the set of these, and the timer for refused passwords goes by the slowest of them. So what a slow hash within a
    /// wrapped one costs is told too: `wrapped-argon2id:m=19456,t=2,p=1+bcrypt:08`.
    pub fn census(&self) -> String {
        let mut text = kind(&self.0);
        if let Some(within) = self.within() {
            text = format!("{text}+{}", kind(within));
        }
        text.chars().take(64).collect()
    }
    /// The slow hash that is wrapped, from its `$` on, without its tag: behind the six fields of the wrapping, and before `$l=`, which
    /// the wrapping of a fast hash doesn't have.
    fn within(&self) -> Option<&str> {
        let wrapped = self.0.strip_prefix("$wrapped-argon2id$")?;
        let (fourth, _) = wrapped.match_indices('$').nth(3)?;
        wrapped[fourth..].rsplit_once("$l=").map(|(within, _)| within)
    }
}

/// The name of a format, and its costs.
fn kind(text: &str) -> String {
    let mut fields = text.split('$').skip(1);
    let kind = fields.next().unwrap_or("unknown");
    match kind {
        "2a" | "2b" | "2x" | "2y" => format!("bcrypt:{}", fields.next().unwrap_or("")),
        // What follows the costs is the project's salt separator and signer key: nothing to be kept apart from the hash.
        "fbscrypt" => {
            let params = fields.next().unwrap_or("").strip_prefix("v=1,").unwrap_or("");
            format!("fbscrypt:{}", params.split(",ss=").next().unwrap_or(""))
        }
        _ => {
            let params = fields.find(|f| f.contains('=') && !f.starts_with("v=")).unwrap_or("");
            format!("{kind}:{params}")
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash[hidden]")
    }
}

// Rows and commands between nodes carry it; DTOs of the API have no field of this type.
impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}
impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_census_names_the_kind_and_nothing_of_the_hash() {
        let of = |s: &str| PasswordHash::new(s).census();
        assert_eq!(of("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn"), "argon2id:m=19456,t=2,p=1");
        assert_eq!(of("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"), "bcrypt:12");
        assert_eq!(of("$scrypt$ln=15,r=8,p=1$c2FsdA$dGFn"), "scrypt:ln=15,r=8,p=1");
        assert_eq!(of("$pbkdf2-sha256$i=600000,l=32$c2FsdA$dGFn"), "pbkdf2-sha256:i=600000,l=32");
        assert_eq!(of("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=c2lnbmVy$c2FsdA==$dGFn"), "fbscrypt:n=14,r=8,p=1");
        let wrapped = "$wrapped-argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn$sha1-after$c2FsdA";
        assert_eq!(of(wrapped), "wrapped-argon2id:m=19456,t=2,p=1");
        let wrapped = |within: &str| of(&format!("$wrapped-argon2id$v=19$m=19456,t=2,p=1$c2FsdA$dGFn${within}"));
        assert_eq!(wrapped("2y$08$abcdefghijklmnopqrstuu$l=23"), "wrapped-argon2id:m=19456,t=2,p=1+bcrypt:08");
        assert_eq!(wrapped("argon2i$m=8,t=1,p=1$c2FsdA$l=32"), "wrapped-argon2id:m=19456,t=2,p=1+argon2i:m=8,t=1,p=1");
        let firebase = wrapped("fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=c2lnbmVy$c2FsdA==$l=64");
        assert_eq!(firebase, "wrapped-argon2id:m=19456,t=2,p=1+fbscrypt:n=14,r=8,p=1");
        assert_eq!(of("garbage"), "unknown:");
    }
}
