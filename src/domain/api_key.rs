//! API keys: `qk_<prefix>.<secret>`, for servers. Only a digest of the secret is stored.

use super::{
    ids::{ApiKeyId, TenantId, UserId},
    permission::PermissionSet,
    rng::{self, Rng},
    secret::SecretText,
    time::Timestamp,
};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Letters and digits that nobody takes for another one.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
const PREFIX: usize = 12;

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person made it, or a key that comes from a person: it may do no more than that person may do at the moment.
    #[default]
    User,
    /// The operator made it at the command line, or a key that comes from there.
    Operator,
}

impl Origin {
    /// Stable name, in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
    /// The reverse of [`Origin::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Operator].into_iter().find(|o| o.name() == name)
    }
}

/// A key whose maker has left is refused, and ends after this time unless an owner takes it over.
pub const STANDS_FOR: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// A key as stored. The secret has 256 random bits, so that a plain SHA-256 of it is enough: there is nothing to guess.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The tenant in which it acts.
    pub tenant_id: TenantId,
    /// Where it comes from.
    #[serde(default)]
    pub origin: Origin,
    /// Who made it, or made the key that made it; `None`: the command line, or somebody who is gone.
    pub user_id: Option<UserId>,
    /// The key that made it: it ends with that.
    #[serde(default)]
    pub parent_id: Option<ApiKeyId>,
    /// Since when its maker is gone (has left the tenant, is deleted or purged): it is refused until an owner takes it over, and ends
    /// after [`STANDS_FOR`].
    #[serde(default)]
    pub stopped_at: Option<Timestamp>,
    /// When whoever answers for it now took it over: for their recovery it is as if it were made then.
    #[serde(default)]
    pub taken_over_at: Option<Timestamp>,
    /// 1 to 200 characters.
    pub name: String,
    /// 12 characters, unique; shown in lists so that people can tell keys apart.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub secret_digest: [u8; 32],
    /// What it may do.
    pub scopes: PermissionSet,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// The last use, at most a minute behind.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A new prefix, the digest of a new secret, and the whole key, which is shown once.
pub fn generate(rng: &dyn Rng) -> (String, [u8; 32], SecretText) {
    let prefix: String = rng::bytes::<PREFIX>(rng).iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect();
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(Zeroizing::new(rng::bytes::<32>(rng)).as_slice()));
    let whole = SecretText::new(format!("qk_{prefix}.{}", *secret));
    (prefix, secret_digest(&secret), whole)
}

/// SHA-256.
pub fn secret_digest(secret: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    out
}

/// Takes `qk_<prefix>.<secret>` apart; `None` if it never was one.
pub fn parse(text: &str) -> Option<(&str, &str)> {
    let (prefix, secret) = text.strip_prefix("qk_")?.split_once('.')?;
    let fits = prefix.len() == PREFIX && prefix.bytes().all(|b| ALPHABET.contains(&b)) && secret.len() == 43;
    fits.then_some((prefix, secret))
}

impl ApiKey {
    /// Is it good at `now`?
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && self.expires_at.is_none_or(|end| now < end)
            && self.stopped_at.is_none_or(|at| now < at.plus(STANDS_FOR))
    }
    /// Is `secret` its secret? In constant time.
    pub fn accepts(&self, secret: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&secret_digest(secret), &self.secret_digest).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rng::SystemRng;

    #[test]
    fn a_key_comes_apart_and_its_digest_matches() {
        let (prefix, digest, whole) = generate(&SystemRng);
        let (p, s) = parse(whole.reveal()).unwrap();
        assert_eq!(p, prefix);
        assert_eq!(secret_digest(s), digest);
        for bad in ["", "qk_", "qk_abc.def", "rt_abc", &whole.reveal()[..50], &format!("{}x", whole.reveal())] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
