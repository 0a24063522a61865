//! `$pbkdf2-sha256$i=600000,l=32$salt$tag`: PBKDF2 (RFC 8018) as RustCrypto writes it; `sha1` and `sha512` too.

use super::{BadHash, Kind, base64, number};
use aws_lc_rs::pbkdf2;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// The most iterations of a stored hash. Fewer may come in ([`super::LONGEST_MS`]); those with more came in before that was asked.
const MAX_ROUNDS: u32 = 2_000_000;
/// The ceiling for what comes in, in words.
pub const CEILING: &str = "of PBKDF2, i is at most 1666666, with SHA-512 at most 1111111";

/// The function that PBKDF2 iterates: HMAC of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prf {
    /// Old Keycloaks and Auth0s.
    Sha1,
    /// The usual one.
    Sha256,
    /// Keycloak since 22.
    Sha512,
}

impl Prf {
    /// From the name of the format.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "pbkdf2-sha1" => Some(Self::Sha1),
            "pbkdf2-sha256" => Some(Self::Sha256),
            "pbkdf2-sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
    /// The fewest iterations that OWASP's cheat sheet takes.
    const fn floor(self) -> u32 {
        match self {
            Self::Sha1 => 1_300_000,
            Self::Sha256 => 600_000,
            Self::Sha512 => 210_000,
        }
    }
    fn of(self) -> (pbkdf2::Algorithm, usize) {
        match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        }
    }
}

/// Reads `i=600000,l=32`; gives the iterations and the length.
///
/// # Errors
/// Another spelling, or above the ceiling.
pub fn costs(text: &str) -> Result<(u32, u32), BadHash> {
    let (rounds, length) = text.strip_prefix("i=").and_then(|t| t.split_once(",l=")).ok_or(BadHash::Malformed)?;
    match number(rounds, CEILING)? {
        0 => Err(BadHash::Malformed),
        rounds @ 1..=MAX_ROUNDS => Ok((rounds, number(length, CEILING).map_err(|_| BadHash::Malformed)?)),
        _ => Err(BadHash::TooMuch(CEILING)),
    }
}

/// A stored PBKDF2 hash.
pub struct Stored {
    prf: Prf,
    rounds: NonZeroU32,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl Stored {
    /// Reads the PHC string.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut fields = text.split('$').skip(1);
        let mut next = || fields.next().ok_or(BadHash::Malformed);
        let prf = Prf::from_name(next()?).ok_or(BadHash::Unknown)?;
        let (rounds, length) = costs(next()?)?;
        let (salt, tag) = (base64(next()?)?, base64(next()?)?);
        let rounds = NonZeroU32::new(rounds).ok_or(BadHash::Malformed)?;
        if fields.next().is_some() || salt.len() > 64 || !(16..=64).contains(&tag.len()) || tag.len() != length as usize {
            return Err(BadHash::Malformed);
        }
        Ok(Self { prf, rounds, salt, tag })
    }
    /// What it costs.
    pub const fn kind(&self) -> Kind {
        Kind::Pbkdf2 { prf: self.prf, rounds: self.rounds.get() }
    }
    /// Whether it is weaker than OWASP's cheat sheet asks for.
    pub const fn is_weak(&self) -> bool {
        self.rounds.get() < self.prf.floor()
    }
    /// Of the password. Of a tag longer than the function's output only the first part is looked at: it is as hard to meet, each
    /// further part would cost all the iterations again, and so would let a stored hash ask for four times the ceiling.
    pub fn tag(&self) -> &[u8] {
        let (_, output) = self.prf.of();
        &self.tag[..self.tag.len().min(output)]
    }
    /// Of another one.
    pub fn tag_of(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        let (algorithm, _) = self.prf.of();
        let mut made = Zeroizing::new(vec![0; self.tag().len()]);
        pbkdf2::derive(algorithm, self.rounds, &self.salt, password, &mut made);
        made
    }
}
