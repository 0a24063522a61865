//! `$2b$12$` + 22 characters of salt + 31 of tag: bcrypt as OpenBSD and crypt_blowfish write it.

use super::{BadHash, Kind};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bcrypt_kernel::Input;
use zeroize::Zeroizing;

/// The highest cost accepted: 16,384 rounds.
pub const MAX_COST: u32 = 14;
/// The ceiling in words.
pub const CEILING: &str = "of bcrypt, the cost is at most 14";
/// The lowest that OWASP's cheat sheet takes.
const MIN_COST: u32 = 10;
/// bcrypt reads 72 bytes of a key and no more.
const KEY: usize = 72;

/// Some libraries leave bits set in the last character of the salt, which stand for nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Reads the two digits of the cost.
///
/// # Errors
/// Not two digits, or out of 4..=14.
pub fn cost(text: &str) -> Result<u32, BadHash> {
    if text.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadHash::Malformed);
    }
    match text.parse() {
        Ok(cost @ 4..=MAX_COST) => Ok(cost),
        Ok(0..4) | Err(_) => Err(BadHash::Malformed),
        Ok(_) => Err(BadHash::TooMuch(CEILING)),
    }
}

/// A stored bcrypt hash.
pub struct Stored {
    /// `$2x$`: made by crypt_blowfish before 1.1, which took bytes above 127 for negative numbers (CVE-2011-2483).
    sign_extended: bool,
    cost: u32,
    salt: [u8; 16],
    tag: [u8; 23],
}

impl Stored {
    /// Reads the crypt string.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        if text.len() != 60 || !text.is_ascii() {
            return Err(BadHash::Malformed);
        }
        let mut fields = text.split('$').skip(1);
        let (Some(prefix), Some(rounds), Some(data), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return Err(BadHash::Malformed);
        };
        if !matches!(prefix, "2a" | "2b" | "2x" | "2y") || data.len() != 53 {
            return Err(BadHash::Malformed);
        }
        let cost = cost(rounds)?;
        let (mut salt, mut tag) = ([0; 16], [0; 23]);
        let read = |text: &str, into: &mut [u8]| BASE64.decode_slice(text, into).map_err(|_| BadHash::Malformed);
        if read(&data[..22], &mut salt)? != salt.len() || read(&data[22..], &mut tag)? != tag.len() {
            return Err(BadHash::Malformed);
        }
        Ok(Self { sign_extended: prefix == "2x", cost, salt, tag })
    }
    /// What it costs.
    pub const fn kind(&self) -> Kind {
        Kind::Bcrypt { cost: self.cost }
    }
    /// Whether it is weaker than OWASP's cheat sheet asks for.
    pub const fn is_weak(&self) -> bool {
        self.cost < MIN_COST
    }
    /// Of the password.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }
    /// Of another one. What is beyond 72 bytes doesn't count, as in every bcrypt: the hash was made so.
    pub fn tag_of(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let (key, used) = self.key(password);
        let made = Zeroizing::new(::bcrypt::bcrypt(self.cost, self.salt, &key[..used]));
        Zeroizing::new(made[..self.tag.len()].to_vec())
    }
    /// Whether each password is the one, for several with one cost, in turn on this thread. It is `None` if their costs differ, or there are
    /// none.
    pub fn check_in_turn(checks: &[(&[u8], &Self)]) -> Option<Vec<bool>> {
        let cost = checks.first()?.1.cost;
        if checks.iter().any(|(_, stored)| stored.cost != cost) {
            return None;
        }
        let keys: Vec<_> = checks.iter().map(|(password, stored)| stored.key(password)).collect();
        let inputs: Vec<_> =
            keys.iter().zip(checks).map(|((key, used), (_, stored))| Input { key: &key[..*used], salt: stored.salt }).collect();
        let made = Zeroizing::new(bcrypt_kernel::bcrypt(cost, &inputs));
        Some(checks.iter().zip(&*made).map(|((_, stored), made)| stored.is(made)).collect())
    }
    fn is(&self, made: &[u8; 24]) -> bool {
        verify_slices_are_equal(&made[..self.tag.len()], &self.tag).is_ok()
    }
    /// What bcrypt reads, and how many bytes of it.
    fn key(&self, password: &[u8]) -> (Zeroizing<[u8; KEY]>, usize) {
        let mut key = Zeroizing::new([0; KEY]);
        // A NUL ends the password, if there is room for it.
        let length = password.len().min(KEY);
        key[..length].copy_from_slice(&password[..length]);
        let mut used = (length + 1).min(KEY);
        if self.sign_extended {
            sign_extend(&mut key, used);
            used = KEY;
        }
        (key, used)
    }
}

/// Writes the key out in the 18 words that the key schedule reads (it goes round the key until it has them), each as the old
/// crypt_blowfish put it together: `word = word << 8 | (signed char) byte`, so a byte above 127 sets all bits before it.
fn sign_extend(key: &mut [u8; KEY], used: usize) {
    for i in used..KEY {
        key[i] = key[i - used];
    }
    for word in key.chunks_exact_mut(4) {
        if let Some(last) = word.iter().rposition(|byte| *byte > 127) {
            word[..last].fill(0xFF);
        }
    }
}
