//! What decides how long a hash takes to check, and how long that is on a slow core: the ceiling for what may come in.

use super::{argon2, bcrypt, pbkdf2, pbkdf2::Prf, scrypt};

/// A refused password is answered after so many times what the slowest hash in the store takes.
pub const DELAY_FACTOR: f64 = 1.5;
/// No refusal waits longer than this, in milliseconds. Whoever has a hash that takes longer is told apart from the others.
pub const MAX_DELAY_MS: f64 = 2000.0;
/// So what would take longer than this on a slow core doesn't come in. A fixed figure, and not what this machine has measured: the same file
/// is taken by every node, whatever else it does at the moment.
pub const LONGEST_MS: f64 = MAX_DELAY_MS / DELAY_FACTOR;

/// Milliseconds of a slow core for one MiB that Argon2 fills once.
pub const ARGON2_MIB: f64 = 0.6;
/// And for one round of bcrypt.
pub const BCRYPT_ROUND: f64 = 0.07;
/// And for one MiB that scrypt mixes.
const SCRYPT_MIB: f64 = 6.0;
/// And for one iteration of HMAC with SHA-1 or SHA-256, and with SHA-512.
const PBKDF2_ROUND: (f64, f64) = (0.0008, 0.0012);

/// What decides how long a hash takes to check. Few of them; the timer for refusals and the queue's estimates go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Memory in KiB and passes.
    Argon2 {
        /// Memory in KiB.
        m_kib: u32,
        /// Passes.
        t: u32,
    },
    /// Two to this power rounds.
    Bcrypt {
        /// Logarithm of the rounds.
        cost: u32,
    },
    /// 128·N·r bytes, mixed p times.
    Scrypt {
        /// Logarithm of N.
        log_n: u32,
        /// Block size.
        r: u32,
        /// Lanes.
        p: u32,
    },
    /// Iterations of HMAC.
    Pbkdf2 {
        /// Of this.
        prf: Prf,
        /// How many.
        rounds: u32,
    },
    /// Argon2 over another hash, which is computed first. (A fast one adds nothing that could be measured: then it is the Argon2 alone.)
    Wrapped {
        /// Memory in KiB of the outer one.
        m_kib: u32,
        /// Its passes.
        t: u32,
        /// What is within.
        inner: Inner,
    },
}

/// A [`Kind`] that can be within another: each but [`Kind::Wrapped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inner {
    /// Memory in KiB and passes.
    Argon2 {
        /// Memory in KiB.
        m_kib: u32,
        /// Passes.
        t: u32,
    },
    /// Two to this power rounds.
    Bcrypt {
        /// Logarithm of the rounds.
        cost: u32,
    },
    /// 128·N·r bytes, mixed p times.
    Scrypt {
        /// Logarithm of N.
        log_n: u32,
        /// Block size.
        r: u32,
        /// Lanes.
        p: u32,
    },
    /// Iterations of HMAC.
    Pbkdf2 {
        /// Of this.
        prf: Prf,
        /// How many.
        rounds: u32,
    },
}

impl Inner {
    /// `None` for one that is wrapped: nothing is wrapped twice.
    pub const fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Argon2 { m_kib, t } => Self::Argon2 { m_kib, t },
            Kind::Bcrypt { cost } => Self::Bcrypt { cost },
            Kind::Scrypt { log_n, r, p } => Self::Scrypt { log_n, r, p },
            Kind::Pbkdf2 { prf, rounds } => Self::Pbkdf2 { prf, rounds },
            Kind::Wrapped { .. } => return None,
        })
    }
    /// The same hash, not wrapped.
    pub const fn alone(self) -> Kind {
        match self {
            Self::Argon2 { m_kib, t } => Kind::Argon2 { m_kib, t },
            Self::Bcrypt { cost } => Kind::Bcrypt { cost },
            Self::Scrypt { log_n, r, p } => Kind::Scrypt { log_n, r, p },
            Self::Pbkdf2 { prf, rounds } => Kind::Pbkdf2 { prf, rounds },
        }
    }
}

impl Kind {
    /// From what [`crate::domain::hash::PasswordHash::census`] says; `None` for what is not accepted, and so costs what an unknown address
    /// costs.
    pub fn of_census(text: &str) -> Option<Self> {
        let (name, params) = text.split_once(':')?;
        match name {
            "wrapped-argon2id" => match params.split_once('+') {
                None => Self::argon2(params),
                Some((outer, inner)) => {
                    let (costs, inner) = (argon2::Costs::parse(outer).ok()?, Inner::of(Self::of_census(inner)?)?);
                    Some(Self::Wrapped { m_kib: costs.m_kib, t: costs.t, inner })
                }
            },
            "argon2id" | "argon2i" | "argon2d" => Self::argon2(params),
            "bcrypt" => bcrypt::cost(params).ok().map(|cost| Self::Bcrypt { cost }),
            "scrypt" => scrypt::Costs::parse(params, "ln").ok().map(Self::scrypt),
            "fbscrypt" => scrypt::Costs::parse(params, "n").ok().map(Self::scrypt),
            _ => {
                let prf = Prf::from_name(name)?;
                pbkdf2::costs(params).ok().map(|(rounds, _)| Self::Pbkdf2 { prf, rounds })
            }
        }
    }
    fn argon2(params: &str) -> Option<Self> {
        argon2::Costs::parse(params).ok().map(|c| Self::Argon2 { m_kib: c.m_kib, t: c.t })
    }
    const fn scrypt(costs: scrypt::Costs) -> Self {
        Self::Scrypt { log_n: costs.log_n, r: costs.r, p: costs.p }
    }

    /// How much work it is, within its family: MiB that are filled or mixed, or rounds. Of a wrapped one, the outer work.
    pub fn scale(self) -> f64 {
        match self {
            Self::Argon2 { m_kib, t } | Self::Wrapped { m_kib, t, .. } => f64::from(m_kib) * f64::from(t) / 1024.0,
            Self::Bcrypt { cost } => f64::from(1u32 << cost.min(31)),
            Self::Scrypt { log_n, r, p } => f64::from(1u32 << log_n.min(31)) * f64::from(r) * f64::from(p) / 8192.0,
            Self::Pbkdf2 { rounds, .. } => f64::from(rounds),
        }
    }
    /// Milliseconds on a slow core.
    pub fn on_a_slow_core(self) -> f64 {
        match self {
            Self::Argon2 { .. } => self.scale() * ARGON2_MIB,
            Self::Bcrypt { .. } => self.scale() * BCRYPT_ROUND,
            Self::Scrypt { .. } => self.scale() * SCRYPT_MIB,
            Self::Pbkdf2 { prf: Prf::Sha512, .. } => self.scale() * PBKDF2_ROUND.1,
            Self::Pbkdf2 { .. } => self.scale() * PBKDF2_ROUND.0,
            Self::Wrapped { inner, .. } => self.scale() * ARGON2_MIB + inner.alone().on_a_slow_core(),
        }
    }
    /// For whoever brings one that is above the ceilings: the parameters, and how far they go.
    pub const fn ceiling(self) -> &'static str {
        match self {
            Self::Argon2 { .. } => argon2::CEILING,
            Self::Bcrypt { .. } => bcrypt::CEILING,
            Self::Scrypt { .. } => scrypt::CEILING,
            Self::Pbkdf2 { .. } => pbkdf2::CEILING,
            Self::Wrapped { .. } => "the costs of the hash that is wrapped and those of the wrapping Argon2id count together",
        }
    }
}
