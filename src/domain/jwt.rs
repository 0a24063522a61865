//! Access tokens: ES256 JWTs (RFC 7519, RFC 7518 §3.4), signed with a parsed key, checked against a pinned header.

use super::{
    ids::{SessionId, TenantId, UserId},
    secret::SecretText,
    time::Timestamp,
};
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// How long an access token is good for.
pub const ACCESS_TTL: Duration = Duration::from_secs(15 * 60);
/// Clock difference that a check forgives.
pub const LEEWAY: Duration = Duration::from_secs(5);
/// A new key is in the JWKS this long before it signs, so that nobody meets a token of a key he hasn't read yet.
pub const PUBLISH_AHEAD: Duration = Duration::from_secs(10 * 60);
/// A token of a key that was replaced may say that it was made so much later: by a node whose clock is behind.
pub const TURN_LEEWAY: Duration = Duration::from_secs(60);
/// A key that another one replaced stays in the JWKS this long: the last token it signed, and caches of the JWKS.
pub const RETIRED_GRACE: Duration = Duration::from_secs(30 * 60);

/// What an access token says. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The issuer: `QEETID_PUBLIC_URL`.
    pub iss: String,
    /// The audience: `QEETID_AUDIENCE`, or the issuer.
    pub aud: String,
    /// The user, as `user_id`.
    pub sub: UserId,
    /// The user.
    pub user_id: UserId,
    /// The scope.
    pub tenant_id: TenantId,
    /// The session.
    pub sid: SessionId,
    /// When it was made.
    pub iat: i64,
    /// Not good before.
    pub nbf: i64,
    /// Not good from then on.
    pub exp: i64,
    /// Unique.
    pub jti: String,
    /// The account's credential epoch, so that our own API can refuse it once the epoch has passed.
    pub epoch: u64,
}

/// A public key as JWKS shows it (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    /// "EC".
    pub kty: String,
    /// "P-256".
    pub crv: String,
    /// base64url, 32 bytes.
    pub x: String,
    /// base64url, 32 bytes.
    pub y: String,
    /// "sig".
    #[serde(rename = "use")]
    pub usage: String,
    /// "ES256".
    pub alg: String,
    /// RFC 7638 thumbprint.
    pub kid: String,
}

/// A signing key that could not be read or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 key")]
pub struct BadKey;

/// A key that verifies; made from the 65 bytes of an uncompressed point.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: String,
    point: [u8; 65],
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.kid)
    }
}

impl VerifyingKey {
    /// From an uncompressed point (SEC 1, 2.3.3).
    ///
    /// # Errors
    /// [`BadKey`] if it has another length or form.
    pub fn from_point(point: &[u8]) -> Result<Self, BadKey> {
        let point: [u8; 65] = point.try_into().map_err(|_| BadKey)?;
        if point[0] != 4 {
            return Err(BadKey);
        }
        let mut key = Self { kid: String::new(), point };
        let (x, y) = key.coordinates();
        let thumb = digest::digest(&digest::SHA256, format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        key.kid = URL_SAFE_NO_PAD.encode(thumb);
        Ok(key)
    }
    fn coordinates(&self) -> (String, String) {
        (URL_SAFE_NO_PAD.encode(&self.point[1..33]), URL_SAFE_NO_PAD.encode(&self.point[33..]))
    }
    /// The RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }
    /// The 65 bytes that [`VerifyingKey::from_point`] takes.
    pub fn point(&self) -> &[u8; 65] {
        &self.point
    }
    /// As JWKS shows it.
    pub fn jwk(&self) -> PublicJwk {
        let (x, y) = self.coordinates();
        PublicJwk { kty: "EC".into(), crv: "P-256".into(), x, y, usage: "sig".into(), alg: "ES256".into(), kid: self.kid.clone() }
    }
}

/// A parsed private key with its ready-made header.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: VerifyingKey,
    header: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.kid)
    }
}

impl SigningKey {
    /// A new key in PKCS #8, to be sealed and stored.
    ///
    /// # Errors
    /// [`BadKey`] if the library can't make one.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, BadKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| BadKey)?;
        Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(|_| BadKey)?.as_ref().to_vec()))
    }
    /// Parses PKCS #8.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| BadKey)?;
        let public = VerifyingKey::from_point(pair.public_key().as_ref())?;
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{}"}}"#, public.kid));
        Ok(Self { pair, public, header })
    }
    /// The public half.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }
    /// Signs: about 17 µs of one core.
    ///
    /// # Errors
    /// [`BadKey`] if the library can't sign.
    pub fn sign(&self, claims: &AccessClaims) -> Result<SecretText, BadKey> {
        let body = serde_json::to_vec(claims).map_err(|_| BadKey)?;
        let mut token = String::with_capacity(self.header.len() + body.len().div_ceil(3) * 4 + 90);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&body, &mut token);
        let tag = self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| BadKey)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag.as_ref(), &mut token);
        Ok(SecretText::new(token))
    }
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// A public key, and since when another one signs in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: VerifyingKey,
    /// When another one takes over, if there is one. A token that says it was made later was made by somebody who has a copy of the old key.
    pub replaced_at: Option<Timestamp>,
}

impl TrustedKey {
    /// Whether it may have made a token then: clocks of nodes differ, by at most [`TURN_LEEWAY`].
    fn signed_at(&self, iat: i64) -> bool {
        self.replaced_at.is_none_or(|at| iat <= at.plus(TURN_LEEWAY).seconds())
    }
}

/// Checks an access token: header pinned to ES256 and JWT, a kid of `keys`, signature, issuer, audience, times.
/// `None` for everything that isn't a good token now; callers answer 401 and never say why.
pub fn verify(token: &str, keys: &[TrustedKey], iss: &str, aud: &str, now: Timestamp) -> Option<AccessClaims> {
    if token.len() > 4096 {
        return None;
    }
    let (signed, tag) = token.rsplit_once('.')?;
    let (header, body) = signed.split_once('.')?;
    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    let header: Header<'_> = serde_json::from_slice(&header).ok()?;
    if header.alg != "ES256" || header.typ != "JWT" || header.crit.is_some() {
        return None;
    }
    let trusted = keys.iter().find(|k| k.key.kid == header.kid)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    let algorithm: &dyn signature::VerificationAlgorithm = &ECDSA_P256_SHA256_FIXED;
    UnparsedPublicKey::new(algorithm, &trusted.key.point).verify(signed.as_bytes(), &tag).ok()?;
    let claims: AccessClaims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    // Whoever has a copy of a replaced key says what they like, but not for longer than a token lives.
    let short = claims.exp.saturating_sub(claims.iat) <= ACCESS_TTL.as_secs() as i64;
    let ours = short && claims.iss == iss && claims.aud == aud && claims.sub == claims.user_id;
    (ours && trusted.signed_at(claims.iat) && current(&claims, now)).then_some(claims)
}

/// Whether the token's time is now, give or take [`LEEWAY`]. Asked again on each hit of the verification cache.
pub fn current(claims: &AccessClaims, now: Timestamp) -> bool {
    let leeway = LEEWAY.as_secs() as i64;
    now.seconds() < claims.exp.saturating_add(leeway) && now.seconds() >= claims.nbf.saturating_sub(leeway)
}

/// A stored signing key. The private half is sealed under `QEETID_SECRET`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The public point, 65 bytes.
    pub point: Vec<u8>,
    /// Sealed PKCS #8; the kid is the context.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it begins to sign; the key before it is retired then.
    pub signs_from: Timestamp,
    /// When it was revoked: nothing that it signs or has signed is good.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}

/// One of the stored keys, in its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Which of them.
    pub index: usize,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// When the next one does.
    pub replaced_at: Option<Timestamp>,
}

/// The keys that are to be shown in the JWKS, newest first: those that will sign, the one that does, and those that did lately.
pub fn terms(keys: &[StoredKey], now: Timestamp) -> Vec<Term> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse((keys[i].signs_from, keys[i].kid.clone())));
    let mut shown = Vec::new();
    let mut replaced_at: Option<Timestamp> = None;
    for index in order {
        let signs_from = keys[index].signs_from;
        if let Some(revoked_at) = keys[index].revoked_at {
            // The key before it was replaced all the same, unless this one never came to sign.
            if signs_from <= revoked_at {
                replaced_at = Some(signs_from);
            }
            continue;
        }
        if replaced_at.is_none_or(|at| now < at.plus(RETIRED_GRACE)) {
            shown.push(Term { index, signs_from, replaced_at });
        }
        replaced_at = Some(signs_from);
    }
    shown
}

/// Which of keys, newest first, signs now, by when they begin to. If no key's time has come, the oldest one does: it was to sign from the moment
/// at which it was made, by the clock of a node that is ahead of ours.
pub fn signer<T>(newest_first: &[T], signs_from: impl Fn(&T) -> Timestamp, now: Timestamp) -> Option<&T> {
    newest_first.iter().find(|key| signs_from(key) <= now).or(newest_first.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn claims() -> AccessClaims {
        let user = UserId::from_bytes([1; 16]);
        AccessClaims {
            iss: "http://localhost:4001".into(),
            aud: "aud".into(),
            sub: user,
            user_id: user,
            tenant_id: TenantId::from_bytes([2; 16]),
            sid: SessionId::from_bytes([3; 16]),
            iat: T.seconds(),
            nbf: T.seconds(),
            exp: T.seconds() + 900,
            jti: "j".into(),
            epoch: 1,
        }
    }
    fn trusted(key: &SigningKey) -> TrustedKey {
        TrustedKey { key: key.public().clone(), replaced_at: None }
    }
    fn check(token: &str, keys: &[TrustedKey], now: Timestamp) -> Option<AccessClaims> {
        verify(token, keys, "http://localhost:4001", "aud", now)
    }

    /// Somebody has a copy of it.
    #[test]
    fn a_key_that_was_replaced_signs_nothing_new() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let keys = [TrustedKey { replaced_at: Some(T), ..trusted(&key) }];
        for (seconds, good) in [(-600, true), (0, true), (60, true), (61, false), (600, false)] {
            let iat = T.seconds() + seconds;
            let token = key.sign(&AccessClaims { iat, nbf: iat, exp: iat + 900, ..claims() }).unwrap();
            let now = Timestamp::from_millis(iat * 1000);
            assert_eq!(check(token.reveal(), &keys, now).is_some(), good, "{seconds} s after it was replaced");
        }
        let long = key.sign(&AccessClaims { exp: T.seconds() + 901, ..claims() }).unwrap();
        assert!(
            check(long.reveal(), &keys, T).is_none() && check(long.reveal(), &[trusted(&key)], T).is_none(),
            "longer than the life of an access token"
        );
    }

    #[test]
    fn what_is_signed_verifies_until_it_ends() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let keys = [trusted(&key)];
        let token = key.sign(&claims()).unwrap();
        let token = token.reveal();
        assert_eq!(check(token, &keys, T), Some(claims()));
        assert!(check(token, &keys, T.plus(Duration::from_secs(904))).is_some());
        assert!(check(token, &keys, T.plus(Duration::from_secs(905))).is_none());
        assert!(check(token, &keys, T.minus(Duration::from_secs(6))).is_none());
        assert!(check(token, &[], T).is_none());
        assert!(verify(token, &keys, "http://other", "aud", T).is_none());
        assert!(verify(token, &keys, "http://localhost:4001", "other", T).is_none());
        let other = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        assert!(check(token, &[trusted(&other)], T).is_none());
    }

    #[test]
    fn other_headers_are_refused() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let keys = [trusted(&key)];
        let good = key.sign(&claims()).unwrap();
        let rest = good.reveal().split_once('.').unwrap().1.to_owned();
        for header in [
            r#"{"alg":"none","typ":"JWT","kid":"K"}"#,
            r#"{"alg":"HS256","typ":"JWT","kid":"K"}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"K"}"#,
            r#"{"alg":"ES256","typ":"JWT","kid":"K","crit":["x"]}"#,
            r#"{"alg":"ES256","typ":"JWT"}"#,
        ] {
            let header = header.replace('K', key.public().kid());
            let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert!(check(&token, &keys, T).is_none());
        }
        for bad in ["", ".", "..", "a.b.c", &"x".repeat(10_000)] {
            assert!(check(bad, &keys, T).is_none());
        }
    }

    #[test]
    fn the_thumbprint_is_rfc_7638s() {
        // The required members in lexicographic order, no white space, then SHA-256.
        let point: Vec<u8> = std::iter::once(4).chain(1..=64).collect();
        let key = VerifyingKey::from_point(&point).unwrap();
        let json = r#"{"crv":"P-256","kty":"EC","x":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA","y":"ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-P0A"}"#;
        assert_eq!(key.kid(), URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, json.as_bytes())));
        assert!(VerifyingKey::from_point(&point[1..]).is_err());
    }

    #[test]
    fn a_new_key_is_shown_before_it_signs_and_an_old_one_after() {
        let key = |n: u8, from: Timestamp| StoredKey {
            kid: n.to_string(),
            point: vec![],
            sealed: vec![],
            created_at: T,
            signs_from: from,
            revoked_at: None,
        };
        let keys = [key(0, T), key(1, T.plus(PUBLISH_AHEAD))];
        let roles = |keys: &[StoredKey], now| {
            let terms = terms(keys, now);
            let signer = signer(&terms, |term| term.signs_from, now).map(|term| term.index);
            (signer, terms.iter().map(|term| (term.index, term.replaced_at)).collect::<Vec<_>>())
        };
        let turn = T.plus(PUBLISH_AHEAD);
        assert_eq!(roles(&keys, T), (Some(0), vec![(1, None), (0, Some(turn))]));
        assert_eq!(roles(&keys, turn.minus(Duration::from_millis(1))).0, Some(0));
        assert_eq!(roles(&keys, turn), (Some(1), vec![(1, None), (0, Some(turn))]));
        assert_eq!(roles(&keys, turn.plus(RETIRED_GRACE)), (Some(1), vec![(1, None)]));
        assert_eq!(roles(&[], T), (None, vec![]));
        assert_eq!(roles(&keys, T.minus(Duration::from_secs(10))).0, Some(0), "the first one, by a clock that is behind");
        // The second one is stolen while it signs: a third one takes over at once, and the first one stays replaced when it was.
        let stolen = turn.plus(Duration::from_secs(60));
        let revoked = StoredKey { revoked_at: Some(stolen), ..key(1, turn) };
        let keys = [key(0, T), revoked.clone(), key(2, stolen)];
        assert_eq!(roles(&keys, stolen), (Some(2), vec![(2, None), (0, Some(turn))]));
        // Before it ever signs.
        let keys = [key(0, T), StoredKey { revoked_at: Some(T), ..revoked }];
        assert_eq!(roles(&keys, turn), (Some(0), vec![(0, None)]));
    }
}
