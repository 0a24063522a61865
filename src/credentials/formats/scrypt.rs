//! `$scrypt$ln=15,r=8,p=1$salt$tag` (as Passlib and RustCrypto write scrypt, RFC 7914), and Firebase's scrypt with the
//! parameters of its project: `$fbscrypt$v=1,n=14,r=8,p=1,ss=…,sk=…$salt$tag` (as Supabase Auth writes it).

use super::{BadHash, Kind, base64, number};
use crate::credentials::kernel::BadInput;
use ::scrypt::Params;
use aws_lc_rs::{
    cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
};
use zeroize::Zeroizing;

/// The most that 128·N·r·p may be: 128 MiB, so the most that N·r·p may be.
const MAX_NRP: u64 = 1 << 20;
/// The ceiling in words.
pub const CEILING: &str = "of scrypt, N times r times p is at most 1048576";

/// The weakest that OWASP's cheat sheet takes, equal in strength: the logarithm of N, and p. With r=8.
const OWASP: [(u32, u32); 5] = [(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)];

/// What it costs, within the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Logarithm of N.
    pub log_n: u32,
    /// Block size.
    pub r: u32,
    /// Lanes, computed one after the other.
    pub p: u32,
}

impl Costs {
    /// Checks them.
    ///
    /// # Errors
    /// Above the ceiling, or outside of RFC 7914.
    pub fn new(log_n: u32, r: u32, p: u32) -> Result<Self, BadHash> {
        if log_n == 0 || r == 0 || p == 0 {
            return Err(BadHash::Malformed);
        }
        if log_n > 20 || (1u64 << log_n).saturating_mul(u64::from(r)).saturating_mul(u64::from(p)) > MAX_NRP {
            return Err(BadHash::TooMuch(CEILING));
        }
        // RFC 7914, 2: N < 2^(128 · r / 8).
        if log_n >= 16 * r { Err(BadHash::Malformed) } else { Ok(Self { log_n, r, p }) }
    }
    /// Reads `ln=15,r=8,p=1`; with `n` for the first name, Firebase's.
    ///
    /// # Errors
    /// Another spelling, or [`Costs::new`].
    pub fn parse(text: &str, first: &str) -> Result<Self, BadHash> {
        let mut parts = text.split(',');
        let mut next =
            |key: &str| number(parts.next().and_then(|p| p.strip_prefix(key)?.strip_prefix('=')).ok_or(BadHash::Malformed)?, CEILING);
        let (log_n, r, p) = (next(first)?, next("r")?, next("p")?);
        if parts.next().is_some() { Err(BadHash::Malformed) } else { Self::new(log_n, r, p) }
    }
    /// Whether they are weaker than each line of the list. Half of N with twice r fills as much.
    fn are_weak(&self) -> bool {
        let filled = u64::from(self.r) << self.log_n;
        !OWASP.iter().any(|&(log_n, p)| filled >= 8 << log_n && self.p >= p)
    }
    /// KiB that one lane fills.
    pub const fn blocks(&self) -> usize {
        ((1 << self.log_n) * self.r as usize).div_ceil(8)
    }
}

/// What a Firebase project adds.
struct Project {
    separator: Vec<u8>,
    signer: Zeroizing<Vec<u8>>,
}

/// A stored scrypt hash.
pub struct Stored {
    costs: Costs,
    salt: Vec<u8>,
    tag: Vec<u8>,
    project: Option<Project>,
}

impl Stored {
    /// Reads either form.
    ///
    /// # Errors
    /// [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut fields = text.split('$').skip(1);
        let mut next = || fields.next().ok_or(BadHash::Malformed);
        let (kind, params) = (next()?, next()?);
        let (salt, tag) = (base64(next()?)?, base64(next()?)?);
        if fields.next().is_some() || salt.len() > 64 {
            return Err(BadHash::Malformed);
        }
        if kind == "scrypt" {
            // A shorter tag would match by chance.
            let good = (16..=64).contains(&tag.len());
            return Ok(Self { costs: Costs::parse(params, "ln")?, salt, tag, project: None })
                .and_then(|s| if good { Ok(s) } else { Err(BadHash::Malformed) });
        }
        let params = params.strip_prefix("v=1,").ok_or(BadHash::Malformed)?;
        let (costs, project) = params.split_once(",ss=").ok_or(BadHash::Malformed)?;
        let (separator, signer) = project.split_once(",sk=").ok_or(BadHash::Malformed)?;
        let project = Project { separator: base64(separator)?, signer: Zeroizing::new(base64(signer)?) };
        // The tag is the signer key, encrypted: as long, and 64 bytes with every project.
        if project.signer.len() != tag.len() || !(32..=128).contains(&tag.len()) || project.separator.len() > 16 {
            return Err(BadHash::Malformed);
        }
        Ok(Self { costs: Costs::parse(costs, "n")?, salt, tag, project: Some(project) })
    }
    /// What it costs.
    pub const fn kind(&self) -> Kind {
        let Costs { log_n, r, p } = self.costs;
        Kind::Scrypt { log_n, r, p }
    }
    /// KiB needed; taken from the system for each check, not out of a thread's block.
    pub const fn blocks(&self) -> usize {
        self.costs.blocks()
    }
    /// Whether it is weaker than OWASP's cheat sheet asks for.
    pub fn is_weak(&self) -> bool {
        self.costs.are_weak()
    }
    /// Of the password.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }
    /// Of another one.
    ///
    /// # Errors
    /// The library takes no such costs.
    pub fn tag_of(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadInput> {
        let Some(project) = &self.project else {
            let mut made = Zeroizing::new(vec![0; self.tag.len()]);
            self.derive(password, &self.salt, &mut made)?;
            return Ok(made);
        };
        let salt = [&*self.salt, &*project.separator].concat();
        let mut key = Zeroizing::new([0; 32]);
        self.derive(password, &salt, &mut *key)?;
        // The signer key under AES-256 in counter mode from zero: https://github.com/firebase/scrypt
        let mut made = Zeroizing::new(project.signer.to_vec());
        let cipher = UnboundCipherKey::new(&AES_256, &*key).and_then(EncryptingKey::ctr).map_err(|_| BadInput)?;
        let from_zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        cipher.less_safe_encrypt(&mut made, from_zero).map_err(|_| BadInput)?;
        Ok(made)
    }
    fn derive(&self, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), BadInput> {
        let log_n = u8::try_from(self.costs.log_n).map_err(|_| BadInput)?;
        let params = Params::new(log_n, self.costs.r, self.costs.p).map_err(|_| BadInput)?;
        ::scrypt::scrypt(password, salt, &params, out).map_err(|_| BadInput)
    }
}
