//! Stored password hashes: parsed once within ceilings (`argon2`, `bcrypt`, `scrypt`, `pbkdf2`, `wrapped`), then checked. A format
//! is one variant of [`Stored`] and one of [`Kind`]. `foreign` brings in what other systems wrote.
//!
//! What comes in has a floor and a ceiling:
//!
//! | | wrapped in Argon2id if weaker than (OWASP's Password Storage Cheat Sheet) | refused above |
//! | --- | --- | --- |
//! | Argon2 | each of m=47104,t=1; m=19456,t=2; m=12288,t=3; m=9216,t=4; m=7168,t=5 | m 131072 (128 MiB), m times t 1048576 (1 GiB), p 255 |
//! | bcrypt | cost 10 | cost 14 |
//! | scrypt, Firebase's too | each of ln=17,p=1; ln=16,p=2; ln=15,p=3; ln=14,p=5; ln=13,p=10, with r=8 | N times r times p 1048576 (128 MiB mixed once) |
//! | PBKDF2 | i=1300000 for SHA-1, 600000 for SHA-256, 210000 for SHA-512 | i 1666666, for SHA-512 1111111 |
//!
//! By these ceilings no hash takes longer than [`LONGEST_MS`] on a slow core, so that its check is done before a refusal is answered. What
//! was stored under earlier rules is still checked, and hashed anew at the next sign-in.

pub mod argon2;
pub mod bcrypt;
pub mod foreign;
mod kind;
pub mod pbkdf2;
pub mod scrypt;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
pub mod wrapped;

pub use kind::{ARGON2_MIB, BCRYPT_ROUND, DELAY_FACTOR, Inner, Kind, LONGEST_MS, MAX_DELAY_MS};

use super::{
    Argon2Params,
    kernel::{BadInput, Input, Memory, Variant, argon2 as kernel},
};
use crate::domain::{
    hash::PasswordHash,
    rng::{self, Rng},
    secret::Password,
};
use ::base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Longer stored hashes are refused unread: the longest of ours has 98 characters, the longest sensible foreign one under 300.
const MAX_LENGTH: usize = 512;

/// Base64 of the standard alphabet; padded by some, by others not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// The bytes of it.
fn base64(text: &str) -> Result<Vec<u8>, BadHash> {
    BASE64.decode(text).map_err(|_| BadHash::Malformed)
}

/// Decimal as PHC strings have it: no sign, no leading zero. What doesn't fit 32 bits is above the ceiling of any format.
fn number(text: &str, ceiling: &'static str) -> Result<u32, BadHash> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return Err(BadHash::Malformed);
    }
    text.parse().map_err(|_| BadHash::TooMuch(ceiling))
}

/// Why a stored hash is not taken. The texts are for an admin who imports it (422), and show nothing of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// No format that is known.
    #[error("is of no supported format")]
    Unknown,
    /// Of a known format, but not well-formed.
    #[error("is malformed")]
    Malformed,
    /// It would cost more to check than the ceilings allow; which they are.
    #[error("asks for more memory or time than the ceilings allow: {0}")]
    TooMuch(&'static str),
    /// Wrapped already, and by less than new hashes have: it could only be wrapped once more.
    #[error("is wrapped in an Argon2id that is weaker than new hashes may be")]
    WeaklyWrapped,
}

/// A stored hash, parsed and within the ceilings.
pub enum Stored {
    /// Argon2id, Argon2i, Argon2d.
    Argon2(argon2::Stored),
    /// bcrypt, every prefix.
    Bcrypt(bcrypt::Stored),
    /// scrypt, Firebase's too.
    Scrypt(scrypt::Stored),
    /// PBKDF2.
    Pbkdf2(pbkdf2::Stored),
    /// Argon2id over a weak hash.
    Wrapped(wrapped::Stored),
}

impl Stored {
    /// Reads a stored hash. Cheap whatever the text: nothing is computed, less than a kilobyte is allocated.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(hash: &PasswordHash) -> Result<Self, BadHash> {
        let text = hash.reveal();
        if text.len() > MAX_LENGTH {
            return Err(BadHash::Malformed);
        }
        let kind = text.strip_prefix('$').and_then(|rest| rest.split('$').next()).ok_or(BadHash::Unknown)?;
        match kind {
            "argon2id" | "argon2i" | "argon2d" => argon2::Stored::parse(text).map(Self::Argon2),
            "2a" | "2b" | "2x" | "2y" => bcrypt::Stored::parse(text).map(Self::Bcrypt),
            "scrypt" | "fbscrypt" => scrypt::Stored::parse(text).map(Self::Scrypt),
            "pbkdf2-sha1" | "pbkdf2-sha256" | "pbkdf2-sha512" => pbkdf2::Stored::parse(text).map(Self::Pbkdf2),
            "wrapped-argon2id" => wrapped::Stored::parse(text).map(Self::Wrapped),
            _ => Err(BadHash::Unknown),
        }
    }
    /// What it costs to check.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Argon2(stored) => stored.kind(),
            Self::Bcrypt(stored) => stored.kind(),
            Self::Scrypt(stored) => stored.kind(),
            Self::Pbkdf2(stored) => stored.kind(),
            Self::Wrapped(stored) => stored.kind(),
        }
    }
    /// How many KiB a check takes, of a thread's block or of the system; 0 for formats that need none. What takes more than
    /// a thread's block has to wait for its turn.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Scrypt(stored) => stored.blocks(),
            Self::Wrapped(stored) => stored.blocks(),
            Self::Argon2(_) | Self::Bcrypt(_) | Self::Pbkdf2(_) => self.own_blocks(),
        }
    }
    /// How many of them are of the block that [`verify`] is given.
    pub fn own_blocks(&self) -> usize {
        match self {
            Self::Argon2(stored) => stored.blocks(),
            Self::Wrapped(stored) => stored.own_blocks(),
            Self::Bcrypt(_) | Self::Scrypt(_) | Self::Pbkdf2(_) => 0,
        }
    }
    /// Whether it is weaker than OWASP's Password Storage Cheat Sheet asks for: then it is wrapped as it comes in.
    /// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
    pub fn is_weak(&self) -> bool {
        match self {
            Self::Argon2(stored) => stored.is_weak(),
            Self::Bcrypt(stored) => stored.is_weak(),
            Self::Scrypt(stored) => stored.is_weak(),
            Self::Pbkdf2(stored) => stored.is_weak(),
            Self::Wrapped(stored) => stored.is_weak(),
        }
    }
    /// What is stored of the password.
    fn tag(&self) -> &[u8] {
        match self {
            Self::Argon2(stored) => stored.tag(),
            Self::Bcrypt(stored) => stored.tag(),
            Self::Scrypt(stored) => stored.tag(),
            Self::Pbkdf2(stored) => stored.tag(),
            Self::Wrapped(stored) => stored.tag(),
        }
    }
    /// The same of another password, in exactly these bytes.
    fn tag_of(&self, password: &[u8], memory: &mut Memory) -> Result<Zeroizing<Vec<u8>>, BadInput> {
        match self {
            Self::Argon2(stored) => stored.tag_of(password, memory),
            Self::Bcrypt(stored) => Ok(stored.tag_of(password)),
            Self::Scrypt(stored) => stored.tag_of(password),
            Self::Pbkdf2(stored) => Ok(stored.tag_of(password)),
            Self::Wrapped(stored) => stored.tag_of(password, memory),
        }
    }
    /// Whether `password`, in exactly these bytes, is the one. Compared in constant time.
    fn check(&self, password: &[u8], memory: &mut Memory) -> Result<bool, BadInput> {
        Ok(verify_slices_are_equal(&self.tag_of(password, memory)?, self.tag()).is_ok())
    }
    /// Whether it is what [`make`] makes by these parameters.
    pub fn is_todays(&self, params: &Argon2Params) -> bool {
        matches!(self, Self::Argon2(stored) if stored.is_todays(params))
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The password was right.
    pub matches: bool,
    /// It was right, and should be hashed anew.
    pub outdated: bool,
}

/// How often a password has to be hashed to refuse it: twice if it isn't in normal form (as typed, and NFKC). It depends on the
/// password alone, never on the account.
pub fn forms(password: &Password) -> u32 {
    if *password.normalized() == *password.as_typed() { 1 } else { 2 }
}

/// Checks a password: a hash of ours is of the NFKC form, a foreign one of the bytes as typed. Which it is can't be seen, so both
/// forms are tried, the likely one first.
///
/// # Errors
/// The memory is smaller than [`Stored::own_blocks`].
pub fn verify(password: &Password, stored: &Stored, today: &Argon2Params, memory: &mut Memory) -> Result<Checked, BadInput> {
    let normalized = password.normalized();
    let typed = password.as_typed();
    let ours = stored.is_todays(today);
    let forms = if ours { [&**normalized, typed] } else { [typed, &**normalized] };
    let mut matches = stored.check(forms[0].as_bytes(), memory)?;
    let mut outdated = !ours;
    if !matches && forms[0] != forms[1] {
        matches = stored.check(forms[1].as_bytes(), memory)?;
        // Today's parameters, but not of the NFKC form: somebody else made it.
        outdated = true;
    }
    Ok(Checked { matches, outdated: matches && outdated })
}

/// So many bcrypt hashes go in turn at most: a fourth gains little (`cargo bench -p bcrypt-kernel`), and all wait for the slowest.
pub const IN_TURN: usize = 3;

/// Whether this check can go in turn with others of its [`Kind`].
pub fn goes_in_turn(password: &Password, stored: &Stored) -> bool {
    matches!(stored, Stored::Bcrypt(_)) && forms(password) == 1
}

/// What [`verify`] finds, for several that go in turn, on one thread. If they can't, they are checked one after the other.
///
/// # Errors
/// As there.
pub fn verify_in_turn(checks: &[(&Password, &Stored)], today: &Argon2Params, memory: &mut Memory) -> Result<Vec<Checked>, BadInput> {
    match in_turn(checks) {
        // bcrypt is never what new hashes are.
        Some(found) => Ok(found.into_iter().map(|matches| Checked { matches, outdated: matches }).collect()),
        None => checks.iter().map(|(password, stored)| verify(password, stored, today, memory)).collect(),
    }
}

/// `None`: one is alone (the crate is as fast), or not all can go in turn.
fn in_turn(checks: &[(&Password, &Stored)]) -> Option<Vec<bool>> {
    if checks.len() < 2 {
        return None;
    }
    let all_bcrypt = checks.iter().map(|(password, stored)| match stored {
        Stored::Bcrypt(hash) if goes_in_turn(password, stored) => Some((password.as_typed().as_bytes(), hash)),
        _ => None,
    });
    bcrypt::Stored::check_in_turn(&all_bcrypt.collect::<Option<Vec<_>>>()?)
}

/// Whether a stored hash is of another format or other parameters than new ones. One that can't be read is: but then
/// no password will ever match it.
pub fn outdated(hash: &PasswordHash, params: &Argon2Params) -> bool {
    !Stored::parse(hash).is_ok_and(|stored| stored.is_todays(params))
}

/// A new hash: Argon2id v=19 of the NFKC form, 16 random bytes of salt, a tag of 32 bytes, as a PHC string.
///
/// # Errors
/// The memory is smaller than the parameters ask for.
pub fn make(password: &Password, params: &Argon2Params, rng: &dyn Rng, memory: &mut Memory) -> Result<PasswordHash, BadInput> {
    let salt: [u8; 16] = rng::bytes(rng);
    let normalized = password.normalized();
    let mut tag = [0; 32];
    kernel(&ours(params, normalized.as_bytes(), &salt), memory, &mut tag)?;
    let (salt, tag) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag));
    Ok(PasswordHash::new(format!("$argon2id$v=19${params}${salt}${tag}")))
}

/// Does the work of a check by today's parameters and finds nothing: for addresses that nobody has, and hashes that can't be read.
///
/// # Errors
/// The memory is smaller than the parameters ask for.
pub fn waste(password: &Password, params: &Argon2Params, memory: &mut Memory) -> Result<(), BadInput> {
    let mut tag = [0; 32];
    for form in [&*password.normalized(), password.as_typed()].into_iter().take(forms(password) as usize) {
        kernel(&ours(params, form.as_bytes(), b"nobody's salt 16"), memory, &mut tag)?;
    }
    std::hint::black_box(tag);
    Ok(())
}

/// How many KiB hashing by `params` takes.
pub fn blocks(params: &Argon2Params) -> usize {
    ours(params, b"", b"").blocks()
}

fn ours<'a>(params: &Argon2Params, password: &'a [u8], salt: &'a [u8]) -> Input<'a> {
    Input {
        variant: Variant::Id,
        version: 0x13,
        m_kib: params.m_kib(),
        t: params.t(),
        p: params.p(),
        password,
        salt,
        secret: b"",
        data: b"",
    }
}
