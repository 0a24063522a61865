//! `$wrapped-argon2id$v=19$m=19456,t=2,p=1$salt$tag$sha1-after$c2FsdA`: Argon2id over a weak hash of an old system. Such a hash
//! is never stored bare: it is wrapped as it comes in. The last fields say what was wrapped. Of a fast hash that is which digest, of
//! the password with the old salt before or after it (nothing, if there was none).
//!
//! `…$tag$pbkdf2-sha256$i=1000,l=32$c2FsdA$l=32`: of a hash of a slow format whose costs are too low it is the whole hash, but for its
//! tag, whose length in bytes stands in its place.

use super::{BadHash, Inner, Kind, argon2, base64};
use crate::{
    credentials::{
        Argon2Params,
        kernel::{self, BadInput, Input, Memory, Variant},
    },
    domain::{
        argon2::is_strong,
        hash::PasswordHash,
        rng::{self, Rng},
    },
};
use ::base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use aws_lc_rs::digest;
use md5::{Digest as _, Md5};
use std::fmt;
use zeroize::Zeroizing;

/// The longest salt of an old system.
const MAX_SALT: usize = 64;
/// The longest tag of any format is one of Firebase's.
const MAX_TAG: usize = 128;
/// The tag of bcrypt: bytes, and characters. They follow upon the salt without a `$`.
const BCRYPT_TAG: (usize, usize) = (23, 31);

/// A fast digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// RFC 1321.
    Md5,
    /// FIPS 180-4, as the others.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl Digest {
    const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// As import formats name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
    /// The reverse of [`Digest::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
    /// Bytes of its output.
    pub const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
    #[cfg(test)]
    pub(super) fn of_bytes(self, bytes: &[u8]) -> Vec<u8> {
        self.of(bytes, b"").to_vec()
    }
    fn of(self, first: &[u8], second: &[u8]) -> Zeroizing<Vec<u8>> {
        let algorithm = match self {
            Self::Md5 => return Zeroizing::new(Md5::new().chain_update(first).chain_update(second).finalize().to_vec()),
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        let mut context = digest::Context::new(algorithm);
        context.update(first);
        context.update(second);
        Zeroizing::new(context.finish().as_ref().to_vec())
    }
}

/// What is wrapped.
enum Within {
    /// The digest of the password with a salt before or after it.
    Fast { digest: Digest, salt: Vec<u8>, salt_first: bool },
    /// A hash of another format. Its tag was wrapped and isn't stored; here stand zeroes for it, as many as it had.
    Slow(Box<super::Stored>),
}

impl Within {
    fn parse(text: &str) -> Result<Self, BadHash> {
        if let Some((slow, length)) = text.rsplit_once("$l=") {
            return Self::slow(slow, length);
        }
        let (recipe, salt) = text.split_once('$').ok_or(BadHash::Malformed)?;
        let (digest, place) = recipe.split_once('-').ok_or(BadHash::Malformed)?;
        let salt = base64(salt)?;
        let digest = Digest::from_name(digest).ok_or(BadHash::Unknown)?;
        let salt_first = match place {
            "before" => true,
            "after" => false,
            _ => return Err(BadHash::Malformed),
        };
        if salt.len() > MAX_SALT { Err(BadHash::Malformed) } else { Ok(Self::Fast { digest, salt, salt_first }) }
    }
    /// Reads what stands before a tag with the ceilings of its own format.
    fn slow(text: &str, length: &str) -> Result<Self, BadHash> {
        let length = length.parse::<usize>().ok().filter(|length| *length <= MAX_TAG).ok_or(BadHash::Malformed)?;
        // Nothing is wrapped twice.
        if text.starts_with("wrapped") {
            return Err(BadHash::Malformed);
        }
        let whole = if text.starts_with('2') {
            format!("${text}{}", ".".repeat(BCRYPT_TAG.1))
        } else {
            format!("${text}${}", STANDARD_NO_PAD.encode(vec![0; length]))
        };
        super::Stored::parse(&PasswordHash::new(whole)).map(|stored| Self::Slow(Box::new(stored)))
    }
    /// What was wrapped, of a password.
    fn tag_of(&self, password: &[u8], memory: &mut Memory) -> Result<Zeroizing<Vec<u8>>, BadInput> {
        match self {
            Self::Fast { digest, salt, salt_first: true } => Ok(digest.of(salt, password)),
            Self::Fast { digest, salt, salt_first: false } => Ok(digest.of(password, salt)),
            Self::Slow(stored) => stored.tag_of(password, memory),
        }
    }
}

fn outer<'a>(costs: &argon2::Costs, tag: &'a [u8], salt: &'a [u8]) -> Input<'a> {
    let argon2::Costs { m_kib, t, p } = *costs;
    Input { variant: Variant::Id, version: 0x13, m_kib, t, p, password: tag, salt, secret: b"", data: b"" }
}

/// A weak hash as an old system stored it. It only waits to be wrapped: it can't be stored, and shows nothing in `Debug`.
#[derive(Clone)]
pub struct Weak {
    /// The last fields of the string that it becomes: all but the tag.
    within: String,
    tag: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weak[hidden]")
    }
}

impl Weak {
    /// A fast one: `tag` is the digest of the password with `salt` before (`salt_first`) or after it.
    ///
    /// # Errors
    /// The tag is not of the digest's length, or the salt is longer than 64 bytes.
    pub fn new(digest: Digest, tag: Vec<u8>, salt: Vec<u8>, salt_first: bool) -> Result<Self, BadHash> {
        let tag = Zeroizing::new(tag);
        if tag.len() != digest.length() || salt.len() > MAX_SALT {
            return Err(BadHash::Malformed);
        }
        let place = if salt_first && !salt.is_empty() { "before" } else { "after" };
        Ok(Self { within: format!("{}-{place}${}", digest.name(), STANDARD_NO_PAD.encode(&salt)), tag })
    }

    /// One of a slow format, whose costs are too low: `stored` is what was read of `hash`.
    ///
    /// # Errors
    /// It is wrapped already.
    pub fn slow(hash: &PasswordHash, stored: &super::Stored) -> Result<Self, BadHash> {
        let text = hash.reveal().strip_prefix('$').ok_or(BadHash::Malformed)?;
        let (before, length) = match stored {
            super::Stored::Wrapped(_) => return Err(BadHash::WeaklyWrapped),
            super::Stored::Bcrypt(_) => {
                let salt_ends = text.len().checked_sub(BCRYPT_TAG.1).ok_or(BadHash::Malformed)?;
                (text.get(..salt_ends).ok_or(BadHash::Malformed)?, BCRYPT_TAG.0)
            }
            super::Stored::Argon2(_) | super::Stored::Scrypt(_) | super::Stored::Pbkdf2(_) => {
                let (before, tag) = text.rsplit_once('$').ok_or(BadHash::Malformed)?;
                (before, base64(tag)?.len())
            }
        };
        Ok(Self { within: format!("{before}$l={length}"), tag: Zeroizing::new(stored.tag().to_vec()) })
    }

    /// Argon2id over it, with a new salt.
    ///
    /// # Errors
    /// The memory is smaller than the parameters ask for.
    pub fn wrap(&self, params: &Argon2Params, rng: &dyn Rng, memory: &mut Memory) -> Result<PasswordHash, BadInput> {
        let salt: [u8; 16] = rng::bytes(rng);
        let costs = argon2::Costs { m_kib: params.m_kib(), t: params.t(), p: params.p() };
        let mut tag = [0; 32];
        kernel::argon2(&outer(&costs, &self.tag, &salt), memory, &mut tag)?;
        let (salt, tag, within) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag), &self.within);
        Ok(PasswordHash::new(format!("$wrapped-argon2id$v=19${params}${salt}${tag}${within}")))
    }
}

/// A stored wrapped hash.
pub struct Stored {
    costs: argon2::Costs,
    salt: Vec<u8>,
    tag: Vec<u8>,
    within: Within,
}

impl Stored {
    /// Reads the string.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut fields = text.splitn(7, '$').skip(2);
        let mut next = || fields.next().ok_or(BadHash::Malformed);
        if next()? != "v=19" {
            return Err(BadHash::Malformed);
        }
        let costs = argon2::Costs::parse(next()?)?;
        let (salt, tag) = (base64(next()?)?, base64(next()?)?);
        if !(8..=64).contains(&salt.len()) || !(12..=64).contains(&tag.len()) {
            return Err(BadHash::Malformed);
        }
        Ok(Self { costs, salt, tag, within: Within::parse(next()?)? })
    }
    /// What it costs. A digest within adds nothing that could be measured.
    pub fn kind(&self) -> Kind {
        let argon2::Costs { m_kib, t, .. } = self.costs;
        let inner = self.slow().and_then(|stored| Inner::of(stored.kind()));
        inner.map_or(Kind::Argon2 { m_kib, t }, |inner| Kind::Wrapped { m_kib, t, inner })
    }
    /// KiB needed: the two are computed one after the other.
    pub fn blocks(&self) -> usize {
        outer(&self.costs, b"", b"").blocks().max(self.slow().map_or(0, super::Stored::blocks))
    }
    /// Those of a thread's block.
    pub fn own_blocks(&self) -> usize {
        outer(&self.costs, b"", b"").blocks().max(self.slow().map_or(0, super::Stored::own_blocks))
    }
    fn slow(&self) -> Option<&super::Stored> {
        match &self.within {
            Within::Fast { .. } => None,
            Within::Slow(stored) => Some(stored.as_ref()),
        }
    }
    /// Whether the wrapping is weaker than each line of OWASP's list.
    pub fn is_weak(&self) -> bool {
        !is_strong(self.costs.m_kib, self.costs.t)
    }
    /// Of the password.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }
    /// Of another one.
    ///
    /// # Errors
    /// Too little memory.
    pub fn tag_of(&self, password: &[u8], memory: &mut Memory) -> Result<Zeroizing<Vec<u8>>, BadInput> {
        let within = self.within.tag_of(password, memory)?;
        let mut tag = Zeroizing::new(vec![0; self.tag.len()]);
        kernel::argon2(&outer(&self.costs, &within, &self.salt), memory, &mut tag)?;
        Ok(tag)
    }
}
