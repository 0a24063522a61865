//! `$argon2id$v=19$m=19456,t=2,p=1$salt$tag`: the PHC string format for Argon2, as its reference implementation writes it.

use super::{BadHash, Kind, number};
use crate::{
    credentials::kernel::{self, BadInput, Input, Memory, Variant},
    domain::argon2::{Argon2Params, MAX_M_KIB, MAX_M_TIMES_T_KIB, is_strong},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Lanes are computed one after the other, so many cost no more than few; Go libraries take a byte of them.
const MAX_P: u32 = 255;
/// The ceilings in words.
pub const CEILING: &str = "of Argon2, m is at most 131072 and p at most 255, and m times t is at most 1048576";

/// What it costs, within the ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl Costs {
    /// Reads `m=19456,t=2,p=1`, in this order and spelling.
    ///
    /// # Errors
    /// Another spelling (`keyid` and `data` too: they need what the string doesn't hold), or above the ceilings.
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut parts = text.split(',');
        let mut next = |key: &str| number(parts.next().and_then(|part| part.strip_prefix(key)).ok_or(BadHash::Malformed)?, CEILING);
        let costs = Self { m_kib: next("m=")?, t: next("t=")?, p: next("p=")? };
        if parts.next().is_some() || costs.t == 0 || costs.p == 0 {
            return Err(BadHash::Malformed);
        }
        if costs.m_kib > MAX_M_KIB || costs.p > MAX_P || u64::from(costs.m_kib) * u64::from(costs.t) > MAX_M_TIMES_T_KIB {
            return Err(BadHash::TooMuch(CEILING));
        }
        // RFC 9106, 3.1.
        if costs.m_kib < 8 * costs.p {
            return Err(BadHash::Malformed);
        }
        Ok(costs)
    }
}

/// A stored Argon2 hash.
pub struct Stored {
    variant: Variant,
    version: u32,
    costs: Costs,
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
        let variant = match next()? {
            "argon2id" => Variant::Id,
            "argon2i" => Variant::I,
            "argon2d" => Variant::D,
            _ => return Err(BadHash::Unknown),
        };
        let mut field = next()?;
        // Strings of before 2016 have no version, and are of 1.0 (0x10).
        let mut version = 0x10;
        if let Some(v) = field.strip_prefix("v=") {
            version = match v {
                "16" => 0x10,
                "19" => 0x13,
                _ => return Err(BadHash::Malformed),
            };
            field = next()?;
        }
        let costs = Costs::parse(field)?;
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| BadHash::Malformed);
        let (salt, tag) = (bytes(next()?)?, bytes(next()?)?);
        // RFC 9106 asks for 8 bytes of salt; the PHC format for at most 48 and a tag of 12 to 64. A shorter tag would match by chance.
        if fields.next().is_some() || !(8..=64).contains(&salt.len()) || !(12..=64).contains(&tag.len()) {
            return Err(BadHash::Malformed);
        }
        Ok(Self { variant, version, costs, salt, tag })
    }
    /// What it costs.
    pub const fn kind(&self) -> Kind {
        Kind::Argon2 { m_kib: self.costs.m_kib, t: self.costs.t }
    }
    /// KiB needed.
    pub const fn blocks(&self) -> usize {
        self.input(b"").blocks()
    }
    /// Whether new hashes by `params` look like it.
    pub fn is_todays(&self, params: &Argon2Params) -> bool {
        self.variant == Variant::Id
            && self.version == 0x13
            && self.costs == Costs { m_kib: params.m_kib(), t: params.t(), p: params.p() }
            && self.salt.len() >= 16
            && self.tag.len() == 32
    }
    /// Whether it is weaker than each line of OWASP's list. That is for Argon2id; of the other two as much is asked.
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
        let mut tag = Zeroizing::new(vec![0; self.tag.len()]);
        kernel::argon2(&self.input(password), memory, &mut tag)?;
        Ok(tag)
    }
    const fn input<'a>(&'a self, password: &'a [u8]) -> Input<'a> {
        let Costs { m_kib, t, p } = self.costs;
        Input { variant: self.variant, version: self.version, m_kib, t, p, password, salt: self.salt.as_slice(), secret: b"", data: b"" }
    }
}
