//! What a hash takes on this machine, kind by kind: measured at the start, then a moving average of what is seen.

use super::admission::Work;
use crate::credentials::{
    formats::{self, Kind, pbkdf2::Prf},
    params::Argon2Params,
};
use std::{collections::HashMap, time::Duration};

/// The weight of one measurement: the average follows within some tens of hashes.
const WEIGHT: f64 = 0.05;
/// Kinds kept; a store has a handful. Beyond it they are estimated by scale.
const MAX_KINDS: usize = 256;
/// No refusal waits longer than this.
const MAX_DELAY_MS: f64 = 400.0;

/// Milliseconds a hash, by kind.
pub struct Costs {
    today: Kind,
    /// Averages of what was measured.
    measured: HashMap<Kind, f64>,
    /// In the store, as far as is known; today's kind always (an unknown address costs one).
    census: Vec<Kind>,
    /// Milliseconds for one MiB filled once by Argon2.
    argon2_mib: f64,
    /// Milliseconds for one round of bcrypt.
    bcrypt_round: f64,
}

impl Costs {
    /// Before anything was measured: figures of a slow core, so that the first timers are rather too long.
    pub fn new(params: &Argon2Params) -> Self {
        let today = Kind::Argon2 { m_kib: params.m_kib(), t: params.t() };
        Self { today, measured: HashMap::new(), census: vec![today], argon2_mib: 0.6, bcrypt_round: 0.07 }
    }
    /// One measurement.
    pub fn observe(&mut self, kind: Kind, millis: f64) {
        let known = self.measured.len();
        if let Some(average) = self.measured.get_mut(&kind) {
            *average += WEIGHT * (millis - *average);
            return;
        }
        if known < MAX_KINDS {
            // The first one may be a lucky or an unlucky one: it counts half against what scale says.
            let start = (self.estimate(kind) + millis) / 2.0;
            self.measured.insert(kind, start);
        }
    }
    /// The measurement at the start: both families, nothing else running.
    pub fn calibrate(&mut self, argon2: f64, bcrypt_cost: u32, bcrypt: f64) {
        self.argon2_mib = argon2 / scale(self.today);
        self.bcrypt_round = bcrypt / scale(Kind::Bcrypt { cost: bcrypt_cost });
        self.measured.insert(self.today, argon2);
    }
    /// A kind that is in the store.
    pub fn note(&mut self, kind: Kind) {
        if !self.census.contains(&kind) && self.census.len() < MAX_KINDS {
            self.census.push(kind);
        }
    }
    /// Milliseconds for one hash: as measured, else by scale.
    pub fn estimate(&self, kind: Kind) -> f64 {
        self.measured.get(&kind).copied().unwrap_or_else(|| {
            scale(kind)
                * match kind {
                    Kind::Argon2 { .. } => self.argon2_mib,
                    Kind::Bcrypt { .. } => self.bcrypt_round,
                    // Neither is calibrated: by what a slow core takes, until some have been seen.
                    Kind::Scrypt { .. } => 6.0,
                    Kind::Pbkdf2 { prf: Prf::Sha512, .. } => 0.0012,
                    Kind::Pbkdf2 { .. } => 0.0008,
                }
        })
    }
    /// Milliseconds for a job: a refusal costs every form of the password.
    pub fn of_work(&self, work: &Work) -> f64 {
        match work {
            Work::Hash { .. } | Work::Wrap { .. } => self.estimate(self.today),
            Work::Verify { password, stored, .. } => {
                self.estimate(stored.as_ref().map_or(self.today, formats::Stored::kind)) * f64::from(formats::forms(password))
            }
        }
    }
    /// One hash by today's parameters.
    pub fn today(&self) -> Duration {
        Duration::from_secs_f64(self.estimate(self.today) / 1000.0)
    }
    /// Which kind that is.
    pub const fn todays_kind(&self) -> Kind {
        self.today
    }
    /// 1.5 × the slowest kind in the store, at most 400 ms.
    pub fn refusal_delay(&self) -> Duration {
        let slowest = self.census.iter().map(|kind| self.estimate(*kind)).fold(0.0, f64::max);
        Duration::from_secs_f64((1.5 * slowest).min(MAX_DELAY_MS) / 1000.0)
    }
}

/// How much work it is, within its family.
fn scale(kind: Kind) -> f64 {
    match kind {
        Kind::Argon2 { m_kib, t } => f64::from(m_kib) * f64::from(t) / 1024.0,
        Kind::Bcrypt { cost } => f64::from(1u32 << cost.min(31)),
        // MiB mixed.
        Kind::Scrypt { log_n, r, p } => f64::from(1u32 << log_n.min(31)) * f64::from(r) * f64::from(p) / 8192.0,
        Kind::Pbkdf2 { rounds, .. } => f64::from(rounds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB19: Kind = Kind::Argon2 { m_kib: 19_456, t: 2 };

    fn calibrated() -> Costs {
        let mut costs = Costs::new(&Argon2Params::default());
        costs.calibrate(20.0, 5, 2.0);
        costs
    }

    #[test]
    fn the_timer_is_one_and_a_half_times_the_slowest_kind_and_never_above_400_ms() {
        let mut costs = calibrated();
        assert_eq!(costs.refusal_delay(), Duration::from_millis(30));
        costs.note(Kind::Bcrypt { cost: 6 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(30), "4 ms are not the slowest");
        costs.note(Kind::Bcrypt { cost: 10 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(96), "2 ms × 2^5 × 1.5");
        costs.note(Kind::Bcrypt { cost: 14 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(400));
    }

    #[test]
    fn what_is_seen_moves_the_estimate_and_what_is_not_in_the_store_moves_no_timer() {
        let mut costs = calibrated();
        for _ in 0..200 {
            costs.observe(KIB19, 40.0);
            costs.observe(Kind::Bcrypt { cost: 12 }, 900.0);
        }
        assert!((costs.estimate(KIB19) - 40.0).abs() < 0.1);
        assert!((costs.refusal_delay().as_secs_f64() * 1000.0 - 60.0).abs() < 0.1);
    }

    #[test]
    fn kinds_without_end_take_no_memory_without_end() {
        let mut costs = calibrated();
        for m_kib in 8..10_000 {
            costs.observe(Kind::Argon2 { m_kib, t: 1 }, 1.0);
            costs.note(Kind::Argon2 { m_kib, t: 1 });
        }
        assert!(costs.measured.len() <= MAX_KINDS && costs.census.len() <= MAX_KINDS);
    }
}
