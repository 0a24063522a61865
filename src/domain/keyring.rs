//! `QEETID_SECRET` and everything derived from it by HKDF (RFC 5869): MACs and sealed boxes, each under a label of its own.
//!
//! The secret is a list. The first one makes; all of them verify, so that a new secret can be put in front without
//! breaking what the old one made. A [`KeyId`] in each token and box tells which one it was.

use super::{rng::Rng, secret::SecretText};
use aws_lc_rs::{aead, hkdf, hmac};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// What a derived key is for. Keys of two labels have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Refresh tokens.
    Refresh,
    /// Password-reset links.
    ResetLink,
    /// Links that undo an e-mail change.
    UndoLink,
    /// Sign-up tokens of `verify_first`.
    SignupToken,
    /// One-time codes.
    Code,
    /// Boxes around ES256 private keys.
    SigningKey,
    /// Boxes around contacts that no account holds.
    Contact,
    /// List cursors.
    Cursor,
    /// Tokens of invites that are mailed: they prove the mailbox.
    InviteMailed,
    /// Tokens of invites that are handed over: they prove nothing.
    InviteHanded,
    /// Names, fingerprints and answers of idempotent requests.
    Idempotency,
    /// Links by which owners say that a change was not theirs.
    NotMeLink,
    /// Links that bring a deleted account back.
    RestoreLink,
    /// Tokens that let somebody who gave the right password set a new one.
    ChangeToken,
    /// Records by which tenants prove domains.
    MailDomain,
}

impl Label {
    const ALL: [Label; 15] = [
        Self::Refresh,
        Self::ResetLink,
        Self::UndoLink,
        Self::SignupToken,
        Self::Code,
        Self::SigningKey,
        Self::Contact,
        Self::Cursor,
        Self::InviteMailed,
        Self::InviteHanded,
        Self::Idempotency,
        Self::NotMeLink,
        Self::RestoreLink,
        Self::ChangeToken,
        Self::MailDomain,
    ];
    fn info(self) -> &'static [u8] {
        match self {
            Self::Refresh => b"qeetid v1 refresh token",
            Self::ResetLink => b"qeetid v1 reset link",
            Self::UndoLink => b"qeetid v1 undo link",
            Self::SignupToken => b"qeetid v1 signup token",
            Self::Code => b"qeetid v1 one-time code",
            Self::SigningKey => b"qeetid v1 signing key",
            Self::Contact => b"qeetid v1 contact",
            Self::Cursor => b"qeetid v1 cursor",
            Self::InviteMailed => b"qeetid v1 invite, mailed",
            Self::InviteHanded => b"qeetid v1 invite, handed over",
            Self::Idempotency => b"qeetid v1 idempotency",
            Self::NotMeLink => b"qeetid v1 not-me link",
            Self::RestoreLink => b"qeetid v1 restore link",
            Self::ChangeToken => b"qeetid v1 change token",
            Self::MailDomain => b"qeetid v1 mail domain",
        }
    }
}

/// Names one secret of the list, without revealing anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 4]);

/// Why `QEETID_SECRET` can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Neither base64 nor hex.
    #[error("is neither base64 nor hex")]
    Encoding,
    /// Under 32 bytes.
    #[error("has fewer than 32 bytes")]
    Short,
    /// An empty list.
    #[error("is empty")]
    Empty,
}

/// The box was made under another secret, for another purpose, or was tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value can't be opened with the secrets configured")]
pub struct CannotOpen;

struct Derived {
    id: KeyId,
    macs: Vec<hmac::Key>,
    boxes: Vec<aead::LessSafeKey>,
}

/// All keys of all secrets.
pub struct Keyring(Vec<Derived>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|d| d.id)).finish()
    }
}

struct Length(usize);
impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &hkdf::Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    // Fails only past 255 hash lengths.
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut *out)).expect("a short output");
    out
}

impl Keyring {
    /// Reads a comma-separated list of secrets in base64 (either alphabet) or hex; the first one makes.
    ///
    /// # Errors
    /// [`BadSecret`] if one of them isn't at least 32 bytes.
    pub fn parse(list: &SecretText) -> Result<Self, BadSecret> {
        let mut secrets = Vec::new();
        for item in list.reveal().split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let bytes = Zeroizing::new(decode(item).ok_or(BadSecret::Encoding)?);
            if bytes.len() < 32 {
                return Err(BadSecret::Short);
            }
            secrets.push(bytes);
        }
        if secrets.is_empty() { Err(BadSecret::Empty) } else { Ok(Self::new(secrets.iter().map(|s| s.as_slice()))) }
    }

    /// From raw secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(
            secrets
                .into_iter()
                .map(|secret| {
                    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"qeetid").extract(secret);
                    let mac = |l: Label| hmac::Key::new(hmac::HMAC_SHA256, &*expand::<32>(&prk, &[l.info(), b" mac"]));
                    let sealing = |l: Label| {
                        let key = expand::<32>(&prk, &[l.info(), b" seal"]);
                        aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &*key).expect("32 bytes"))
                    };
                    Derived {
                        id: KeyId(*expand::<4>(&prk, &[b"qeetid v1 key id"])),
                        macs: Label::ALL.map(mac).into(),
                        boxes: Label::ALL.map(sealing).into(),
                    }
                })
                .collect(),
        )
    }

    fn by_id(&self, id: KeyId) -> Option<&Derived> {
        self.0.iter().find(|d| d.id == id)
    }

    /// The secret that makes new tokens.
    pub fn current(&self) -> KeyId {
        self.0[0].id
    }

    /// HMAC-SHA-256 over `parts` (each framed by its length) under the key of `label`; `None` for an unknown `key`.
    pub fn mac(&self, key: KeyId, label: Label, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let mut ctx = hmac::Context::with_key(&self.by_id(key)?.macs[label as usize]);
        for part in parts {
            ctx.update(&(part.len() as u64).to_le_bytes());
            ctx.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(ctx.sign().as_ref());
        Some(out)
    }

    /// Compares in constant time.
    pub fn verify(&self, key: KeyId, label: Label, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.mac(key, label, parts).is_some_and(|m| aws_lc_rs::constant_time::verify_slices_are_equal(&m, tag).is_ok())
    }

    /// Seals with AES-256-GCM under the current secret: `key id ‖ nonce ‖ ciphertext ‖ tag`. `context` must be given again to open.
    pub fn seal(&self, label: Label, context: &[u8], plain: &[u8], rng: &dyn Rng) -> Vec<u8> {
        let derived = &self.0[0];
        seal(derived.id, &derived.boxes[label as usize], context, plain, rng)
    }

    /// As [`Keyring::seal`], under a key made of the secret `key` and of `extra`, which the box doesn't hold: whoever has all
    /// our secrets, and not that, can't open it. `None` for an unknown `key`.
    pub fn seal_with(&self, key: KeyId, label: Label, extra: &[&[u8]], context: &[u8], plain: &[u8], rng: &dyn Rng) -> Option<Vec<u8>> {
        Some(seal(key, &self.box_with(key, label, extra)?, context, plain, rng))
    }

    /// Opens what [`Keyring::seal_with`] made.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn open_with(&self, label: Label, extra: &[&[u8]], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or(CannotOpen)?;
        open(&self.box_with(KeyId(*id), label, extra).ok_or(CannotOpen)?, context, rest)
    }

    fn box_with(&self, key: KeyId, label: Label, extra: &[&[u8]]) -> Option<aead::LessSafeKey> {
        let key = Zeroizing::new(self.mac(key, label, &[&[b"sealing key".as_slice()], extra].concat())?);
        Some(aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &*key).expect("32 bytes")))
    }

    /// All secrets, the one that makes first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|d| d.id)
    }

    /// Opens what [`Keyring::seal`] made, under any of the secrets.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn open(&self, label: Label, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or(CannotOpen)?;
        open(&self.by_id(KeyId(*id)).ok_or(CannotOpen)?.boxes[label as usize], context, rest)
    }
}

fn seal(id: KeyId, with: &aead::LessSafeKey, context: &[u8], plain: &[u8], rng: &dyn Rng) -> Vec<u8> {
    let mut nonce = [0; 12];
    rng.fill_once(&mut nonce);
    let mut text = plain.to_vec();
    with.seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(context), &mut text)
        .expect("a text far below the limit of GCM");
    [&id.0[..], &nonce, &text].concat()
}

/// `rest`: what comes after the key's id.
fn open(with: &aead::LessSafeKey, context: &[u8], rest: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let (nonce, text) = rest.split_first_chunk::<12>().ok_or(CannotOpen)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = aead::Nonce::assume_unique_for_key(*nonce);
    let plain = with.open_in_place(nonce, aead::Aad::from(context), &mut text).map_err(|_| CannotOpen)?.len();
    text.truncate(plain);
    Ok(text)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // Hex first: 64 hex digits are also valid base64, and nobody means that.
    if text.len() >= 32 && text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect();
    }
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rng::SystemRng;

    fn ring(texts: &[&[u8; 32]]) -> Keyring {
        Keyring::new(texts.iter().map(|t| t.as_slice()))
    }

    #[test]
    fn labels_and_framing_separate() {
        let k = ring(&[&[1; 32]]);
        let id = k.current();
        for (place, label) in Label::ALL.into_iter().enumerate() {
            assert_eq!(label as usize, place, "keys are found by the label's place");
            assert!(Label::ALL[..place].iter().all(|other| k.mac(id, *other, &[b"a"]) != k.mac(id, label, &[b"a"])), "{label:?}");
        }
        assert_ne!(k.mac(id, Label::Code, &[b"a"]), k.mac(id, Label::Refresh, &[b"a"]));
        assert_ne!(k.mac(id, Label::Code, &[b"ab", b"c"]), k.mac(id, Label::Code, &[b"a", b"bc"]));
    }

    #[test]
    fn a_new_secret_in_front_still_opens_the_old_ones() {
        let old = ring(&[&[1; 32]]);
        let sealed = old.seal(Label::SigningKey, b"kid", b"private", &SystemRng);
        let both = ring(&[&[2; 32], &[1; 32]]);
        assert_eq!(both.open(Label::SigningKey, b"kid", &sealed).unwrap().as_slice(), b"private");
        assert_eq!(both.open(Label::SigningKey, b"other", &sealed), Err(CannotOpen));
        assert_eq!(both.open(Label::Contact, b"kid", &sealed), Err(CannotOpen));
        assert_eq!(ring(&[&[2; 32]]).open(Label::SigningKey, b"kid", &sealed), Err(CannotOpen));
        for n in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[n] ^= 1;
            assert_eq!(both.open(Label::SigningKey, b"kid", &bad), Err(CannotOpen));
            assert_eq!(both.open(Label::SigningKey, b"kid", &sealed[..n]), Err(CannotOpen));
        }
    }

    #[test]
    fn a_box_with_something_extra_opens_with_that_alone() {
        let k = ring(&[&[1; 32]]);
        let sealed = k.seal_with(k.current(), Label::Idempotency, &[b"a", b"bc"], b"context", b"plain", &SystemRng).unwrap();
        let open = |label, extra: &[&[u8]], context| k.open_with(label, extra, context, &sealed).map(|t| t.to_vec());
        assert_eq!(open(Label::Idempotency, &[b"a", b"bc"], b"context"), Ok(b"plain".to_vec()));
        assert_eq!(open(Label::Idempotency, &[b"ab", b"c"], b"context"), Err(CannotOpen));
        assert_eq!(open(Label::Idempotency, &[b"a", b"bc"], b"other"), Err(CannotOpen));
        assert_eq!(open(Label::Contact, &[b"a", b"bc"], b"context"), Err(CannotOpen));
        assert_eq!(k.open(Label::Idempotency, b"context", &sealed), Err(CannotOpen));
    }

    #[test]
    fn secrets_are_base64_or_hex_of_32_bytes() {
        let parse = |s: &str| Keyring::parse(&SecretText::new(s)).map(|k| k.0.len());
        assert_eq!(parse(&"ab".repeat(32)), Ok(1));
        assert_eq!(parse(&format!("{}, {}", "ab".repeat(32), STANDARD.encode([7; 32]))), Ok(2));
        assert_eq!(parse(&"ab".repeat(16)), Err(BadSecret::Short));
        assert_eq!(parse("not a secret!"), Err(BadSecret::Encoding));
        assert_eq!(parse(" , "), Err(BadSecret::Empty));
    }
}
