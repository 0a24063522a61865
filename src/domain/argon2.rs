//! The parameters that new hashes are made with, and the ceilings for all.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The most memory that a stored hash may ask for: 128 MiB.
pub const MAX_M_KIB: u32 = 131_072;
/// The most that it may fill in all its passes: 1 GiB.
pub const MAX_M_TIMES_T_KIB: u64 = 1 << 20;

/// Argon2id parameters for new hashes, written `m=19456,t=2,p=1` (KiB, passes, lanes). Never weaker than the list of the
/// OWASP Password Storage Cheat Sheet, never above what is accepted for stored hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Argon2Params {
    m_kib: u32,
    t: u32,
    p: u32,
}

/// Why parameters were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadParams {
    /// Not of the form.
    #[error("must look like m=19456,t=2,p=1")]
    Syntax,
    /// Below every line of OWASP's list.
    #[error("is weaker than each of m=47104,t=1; m=19456,t=2; m=12288,t=3; m=9216,t=4; m=7168,t=5 (OWASP)")]
    Weak,
    /// Above the ceilings.
    #[error("is above the ceilings: m 131072 (128 MiB), m times t 1048576 (1 GiB), p from 1 to 16")]
    TooMuch,
}

/// (m in KiB, t): <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id>. Equal in strength.
const OWASP: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// What is accepted at least. A build for benches takes the smallest Argon2 that there is, which costs nothing.
const LEAST: &[(u32, u32)] = if cfg!(feature = "stub-hash") { &[(8, 1)] } else { &OWASP };

/// Whether so much memory, filled so often, is as strong as a line of the list at least. Lanes only divide the memory.
pub fn is_strong(m_kib: u32, t: u32) -> bool {
    LEAST.iter().any(|&(m, passes)| m_kib >= m && t >= passes)
}

impl Argon2Params {
    /// Takes parameters: `m_kib` KiB of memory, `t` passes, `p` lanes (computed one after the other).
    ///
    /// # Errors
    /// [`BadParams::Weak`] and [`BadParams::TooMuch`].
    pub fn new(m_kib: u32, t: u32, p: u32) -> Result<Self, BadParams> {
        let too_much = m_kib > MAX_M_KIB || u64::from(m_kib) * u64::from(t) > MAX_M_TIMES_T_KIB;
        if too_much || !(1..=16).contains(&p) {
            return Err(BadParams::TooMuch);
        }
        if !is_strong(m_kib, t) {
            return Err(BadParams::Weak);
        }
        // RFC 9106, 3.1; only what benches take is so small.
        if m_kib < 8 * p {
            return Err(BadParams::TooMuch);
        }
        Ok(Self { m_kib, t, p })
    }
    /// Memory in KiB.
    pub const fn m_kib(&self) -> u32 {
        self.m_kib
    }
    /// Passes.
    pub const fn t(&self) -> u32 {
        self.t
    }
    /// Lanes.
    pub const fn p(&self) -> u32 {
        self.p
    }
}

impl Default for Argon2Params {
    /// The middle line of OWASP's list: 19 MiB, two passes.
    fn default() -> Self {
        Self { m_kib: 19_456, t: 2, p: 1 }
    }
}

impl fmt::Display for Argon2Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.m_kib, self.t, self.p)
    }
}

impl FromStr for Argon2Params {
    type Err = BadParams;

    fn from_str(text: &str) -> Result<Self, BadParams> {
        let (mut m, mut t, mut p) = (None, None, None);
        for part in text.split(',') {
            let (key, value) = part.trim().split_once('=').ok_or(BadParams::Syntax)?;
            let slot = match key {
                "m" => &mut m,
                "t" => &mut t,
                "p" => &mut p,
                _ => return Err(BadParams::Syntax),
            };
            if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
                return Err(BadParams::Syntax);
            }
            let number = value.parse::<u32>().map_err(|_| BadParams::TooMuch)?;
            if slot.replace(number).is_some() {
                return Err(BadParams::Syntax);
            }
        }
        match (m, t, p) {
            (Some(m), Some(t), Some(p)) => Self::new(m, t, p),
            _ => Err(BadParams::Syntax),
        }
    }
}

impl TryFrom<String> for Argon2Params {
    type Error = BadParams;
    fn try_from(text: String) -> Result<Self, BadParams> {
        text.parse()
    }
}
impl From<Argon2Params> for String {
    fn from(params: Argon2Params) -> Self {
        params.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let params: Argon2Params = "m=19456,t=2,p=1".parse().unwrap();
        assert_eq!(params, Argon2Params::default());
        assert_eq!(params.to_string(), "m=19456,t=2,p=1");
        assert_eq!(" p=2, m=65536,t=3".parse::<Argon2Params>().unwrap().to_string(), "m=65536,t=3,p=2");
    }

    #[test]
    fn every_line_of_the_list_is_taken_and_one_less_is_weak() {
        for (m, t) in OWASP {
            assert!(Argon2Params::new(m, t, 1).is_ok());
            assert_eq!(Argon2Params::new(m - 1, t, 1), Err(BadParams::Weak), "m={m} t={t}");
            assert!(is_strong(m, t) && is_strong(m + 1, t + 1) && !is_strong(m - 1, t), "m={m} t={t}");
        }
        assert_eq!(Argon2Params::new(7_168, 4, 1), Err(BadParams::Weak));
        assert_eq!(Argon2Params::new(0, 0, 1), Err(BadParams::Weak));
    }

    #[test]
    fn nonsense_and_too_much_are_refused() {
        for bad in
            ["", "m=19456", "m=19456,t=2", "m=19456,t=2,p=1,x=1", "m=19456,t=2,t=2,p=1", "m=+19456,t=2,p=1", "m=,t=2,p=1", "19456,2,1"]
        {
            assert_eq!(bad.parse::<Argon2Params>(), Err(BadParams::Syntax), "{bad}");
        }
        for bad in ["m=131073,t=1,p=1", "m=131072,t=9,p=1", "m=99999999999,t=2,p=1", "m=19456,t=2,p=0", "m=19456,t=2,p=17"] {
            assert_eq!(bad.parse::<Argon2Params>(), Err(BadParams::TooMuch), "{bad}");
        }
        assert!("m=131072,t=8,p=1".parse::<Argon2Params>().is_ok());
    }
}
