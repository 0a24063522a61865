//! `$wrapped-argon2id$v=19$m=19456,t=2,p=1$salt$tag$sha1-after$c2FsdA`: Argon2id over a fast hash of an old system. Such a hash
//! is never stored bare: it is wrapped as it comes in. The last two fields say what was wrapped: which digest, of the password
//! with the old salt before or after it (nothing, if there was none).

use super::{BadHash, Kind, argon2, base64};
use crate::{
    credentials::{
        Argon2Params,
        kernel::{self, BadInput, Input, Memory, Variant},
    },
    domain::{
        hash::PasswordHash,
        rng::{self, Rng},
    },
};
use ::base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use md5::{Digest as _, Md5};
use std::fmt;
use zeroize::Zeroizing;

/// The longest salt of an old system.
const MAX_SALT: usize = 64;

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

/// Which digest of what.
#[derive(Clone, PartialEq, Eq)]
struct Recipe {
    digest: Digest,
    salt: Vec<u8>,
    salt_first: bool,
}

impl Recipe {
    fn of(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        if self.salt_first { self.digest.of(&self.salt, password) } else { self.digest.of(password, &self.salt) }
    }
    fn input<'a>(costs: &argon2::Costs, password: &'a [u8], salt: &'a [u8]) -> Input<'a> {
        let argon2::Costs { m_kib, t, p } = *costs;
        Input { variant: Variant::Id, version: 0x13, m_kib, t, p, password, salt, secret: b"", data: b"" }
    }
}

/// A fast hash as an old system stored it. It only waits to be wrapped: it can't be stored, and shows nothing in `Debug`.
#[derive(Clone)]
pub struct Weak {
    recipe: Recipe,
    tag: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Weak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weak[hidden]")
    }
}

impl Weak {
    /// `tag` is the digest of the password with `salt` before (`salt_first`) or after it.
    ///
    /// # Errors
    /// The tag is not of the digest's length, or the salt is longer than 64 bytes.
    pub fn new(digest: Digest, tag: Vec<u8>, salt: Vec<u8>, salt_first: bool) -> Result<Self, BadHash> {
        let tag = Zeroizing::new(tag);
        if tag.len() != digest.length() || salt.len() > MAX_SALT {
            return Err(BadHash::Malformed);
        }
        Ok(Self { recipe: Recipe { digest, salt_first: salt_first && !salt.is_empty(), salt }, tag })
    }

    /// Argon2id over it, with a new salt.
    ///
    /// # Errors
    /// The memory is smaller than the parameters ask for.
    pub fn wrap(&self, params: &Argon2Params, rng: &dyn Rng, memory: &mut Memory) -> Result<PasswordHash, BadInput> {
        let salt: [u8; 16] = rng::bytes(rng);
        let costs = argon2::Costs { m_kib: params.m_kib(), t: params.t(), p: params.p() };
        let mut tag = [0; 32];
        kernel::argon2(&Recipe::input(&costs, &self.tag, &salt), memory, &mut tag)?;
        let b64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        let (digest, place) = (self.recipe.digest.name(), if self.recipe.salt_first { "before" } else { "after" });
        let inner = b64(&self.recipe.salt);
        Ok(PasswordHash::new(format!("$wrapped-argon2id$v=19${params}${}${}${digest}-{place}${inner}", b64(&salt), b64(&tag))))
    }
}

/// A stored wrapped hash.
pub struct Stored {
    costs: argon2::Costs,
    salt: Vec<u8>,
    tag: Vec<u8>,
    recipe: Recipe,
}

impl Stored {
    /// Reads the string.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut fields = text.split('$').skip(2);
        let mut next = || fields.next().ok_or(BadHash::Malformed);
        if next()? != "v=19" {
            return Err(BadHash::Malformed);
        }
        let costs = argon2::Costs::parse(next()?)?;
        let (salt, tag) = (base64(next()?)?, base64(next()?)?);
        let (digest, place) = next()?.split_once('-').ok_or(BadHash::Malformed)?;
        let inner = base64(next()?)?;
        let digest = Digest::from_name(digest).ok_or(BadHash::Unknown)?;
        let salt_first = match place {
            "before" => true,
            "after" => false,
            _ => return Err(BadHash::Malformed),
        };
        if fields.next().is_some() || !(8..=64).contains(&salt.len()) || !(12..=64).contains(&tag.len()) || inner.len() > MAX_SALT {
            return Err(BadHash::Malformed);
        }
        Ok(Self { costs, salt, tag, recipe: Recipe { digest, salt: inner, salt_first } })
    }
    /// What it costs: the digest within adds nothing that could be measured.
    pub const fn kind(&self) -> Kind {
        Kind::Argon2 { m_kib: self.costs.m_kib, t: self.costs.t }
    }
    /// KiB needed.
    pub fn blocks(&self) -> usize {
        Recipe::input(&self.costs, b"", b"").blocks()
    }
    /// Whether `password` is the one.
    ///
    /// # Errors
    /// Too little memory.
    pub fn check(&self, password: &[u8], memory: &mut Memory) -> Result<bool, BadInput> {
        let mut tag = Zeroizing::new([0; 64]);
        let tag = &mut tag[..self.tag.len()];
        kernel::argon2(&Recipe::input(&self.costs, &self.recipe.of(password), &self.salt), memory, tag)?;
        Ok(verify_slices_are_equal(tag, &self.tag).is_ok())
    }
}
