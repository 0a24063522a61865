//! What a hash takes on this machine, kind by kind: measured at the start, then a moving average of what is seen.

use super::admission::{Turn, Work};
use crate::credentials::{
    Argon2Params,
    formats::{self, ARGON2_MIB, BCRYPT_ROUND, DELAY_FACTOR, IN_TURN, Kind, MAX_DELAY_MS},
};
use std::{collections::HashMap, time::Duration};

/// The weight of one measurement: the average follows within some tens of hashes.
const WEIGHT: f64 = 0.05;
/// Kinds kept; a store has a handful. Beyond it they are estimated by scale, and of the census the slowest stay.
const MAX_KINDS: usize = 256;
/// Going in turn pays if it saves so much of a hash.
const PAYS: f64 = 0.9;
/// What goes in turn has to be done in this part of the time that refusals take.
const WITHIN: f64 = 0.95;
/// Milliseconds that zxcvbn takes for a password, until some have been seen.
const ESTIMATE_MS: f64 = 3.0;

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
    /// How long one bcrypt hash, two in turn, three take from begin to end, in times of one.
    in_turn: [f64; IN_TURN],
    /// What a thread spends on a bcrypt hash, in times of one alone: less when many come.
    bcrypt_share: f64,
    /// Milliseconds that an estimate of a password's strength takes.
    strength: f64,
}

impl Costs {
    /// Before anything was measured: figures of a slow core, so that the first timers are rather too long.
    pub fn new(params: &Argon2Params) -> Self {
        let today = Kind::Argon2 { m_kib: params.m_kib(), t: params.t() };
        Self {
            today,
            measured: HashMap::new(),
            census: vec![today],
            argon2_mib: ARGON2_MIB,
            bcrypt_round: BCRYPT_ROUND,
            in_turn: ALONE,
            bcrypt_share: 1.0,
            strength: ESTIMATE_MS,
        }
    }
    /// One measurement of so many hashes in turn (0 counts as one), from the begin of the first to the end of all.
    pub fn observe_in_turn(&mut self, kind: Kind, hashes: usize, millis: f64) {
        let factor = self.in_turn[hashes.clamp(1, IN_TURN) - 1];
        self.observe(kind, millis / factor);
        for _ in 0..hashes {
            self.bcrypt_share += WEIGHT * (factor / count(hashes) - self.bcrypt_share);
        }
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
    /// One measurement of an estimate of a password's strength.
    pub fn observe_strength(&mut self, millis: f64) {
        self.strength += WEIGHT * (millis - self.strength);
    }
    /// The measurement at the start: both families, nothing else running; `bcrypt` for one hash, two in turn, three.
    pub fn calibrate(&mut self, argon2: f64, bcrypt_cost: u32, [bcrypt, two, three]: [f64; IN_TURN]) {
        self.in_turn = [bcrypt, two, three].map(|wall| (wall / bcrypt).max(1.0));
        self.argon2_mib = argon2 / self.today.scale();
        self.bcrypt_round = bcrypt / Kind::Bcrypt { cost: bcrypt_cost }.scale();
        self.measured.insert(self.today, argon2);
    }
    /// A kind that is in the store. Past [`MAX_KINDS`] the fastest goes (an import of hashes that no two are alike of must not hide a slow
    /// kind, by which refusals are timed).
    pub fn note(&mut self, kind: Kind) {
        if self.census.contains(&kind) {
            return;
        }
        if self.census.len() < MAX_KINDS {
            return self.census.push(kind);
        }
        let by_estimate = |a: &usize, b: &usize| self.estimate(self.census[*a]).total_cmp(&self.estimate(self.census[*b]));
        let fastest = (0..self.census.len()).filter(|i| self.census[*i] != self.today).min_by(by_estimate);
        if let Some(i) = fastest.filter(|i| self.estimate(self.census[*i]) < self.estimate(kind)) {
            self.census[i] = kind;
        }
    }
    /// Milliseconds for one hash: as measured, else by scale.
    pub fn estimate(&self, kind: Kind) -> f64 {
        self.measured.get(&kind).copied().unwrap_or_else(|| match kind {
            Kind::Argon2 { .. } => kind.scale() * self.argon2_mib,
            Kind::Bcrypt { .. } => kind.scale() * self.bcrypt_round,
            // Neither is calibrated: by what a slow core takes, until some have been seen.
            Kind::Scrypt { .. } | Kind::Pbkdf2 { .. } => kind.on_a_slow_core(),
            Kind::Wrapped { m_kib, t, inner } => self.estimate(Kind::Argon2 { m_kib, t }) + self.estimate(inner.alone()),
        })
    }
    /// Milliseconds for a job (a refusal costs every form of the password), and whether it goes in turn.
    pub fn of_work(&self, work: &Work) -> (f64, Option<Turn>) {
        match work {
            Work::Hash { .. } | Work::Wrap { .. } => (self.estimate(self.today), None),
            Work::Estimate { .. } => (self.strength, None),
            Work::Verify { password, stored, .. } => {
                let kind = stored.as_ref().map_or(self.today, formats::Stored::kind);
                let turn = self.turn(work);
                let share = if turn.is_some() { self.bcrypt_share } else { 1.0 };
                (self.estimate(kind) * f64::from(formats::forms(password)) * share, turn)
            }
        }
    }
    /// Whether a job can go in turn with others like it, and with how many: all of them have to be done before a refusal is
    /// answered.
    fn turn(&self, work: &Work) -> Option<Turn> {
        let Work::Verify { password, stored: Some(stored), .. } = work else { return None };
        if !formats::goes_in_turn(password, stored) {
            return None;
        }
        let kind = stored.kind();
        let walls = self.in_turn.map(|factor| self.estimate(kind) * factor);
        let time = self.refusal_delay().as_secs_f64() * 1000.0 * WITHIN;
        let lanes = (2..=IN_TURN).rev().find(|lanes| self.in_turn[lanes - 1] <= PAYS * count(*lanes) && walls[lanes - 1] <= time)?;
        Some(Turn { kind, lanes, walls })
    }
    /// What a thread spends on one of the latest bcrypt hashes, in times of one that is alone.
    #[cfg(test)]
    pub const fn bcrypt_share(&self) -> f64 {
        self.bcrypt_share
    }
    /// One hash by today's parameters.
    pub fn today(&self) -> Duration {
        Duration::from_secs_f64(self.estimate(self.today) / 1000.0)
    }
    /// Which kind that is.
    pub const fn todays_kind(&self) -> Kind {
        self.today
    }
    /// 1.5 × the slowest kind in the store, as measured, at most 2 s. What may come in is limited so that it fits in there on a slow core.
    pub fn refusal_delay(&self) -> Duration {
        let slowest = self.census.iter().map(|kind| self.estimate(*kind)).fold(0.0, f64::max);
        Duration::from_secs_f64((DELAY_FACTOR * slowest).min(MAX_DELAY_MS) / 1000.0)
    }
}

/// Until it has been measured nothing goes in turn.
const ALONE: [f64; IN_TURN] = [1.0, f64::INFINITY, f64::INFINITY];

/// Few, as a divisor.
#[expect(clippy::cast_precision_loss, reason = "hashes in turn are few")]
const fn count(hashes: usize) -> f64 {
    hashes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hash::PasswordHash, secret::Password};

    const KIB19: Kind = Kind::Argon2 { m_kib: 19_456, t: 2 };

    fn calibrated() -> Costs {
        let mut costs = Costs::new(&Argon2Params::default());
        costs.calibrate(20.0, 5, [2.0, 2.2, 2.8]);
        costs
    }

    #[test]
    fn the_timer_is_one_and_a_half_times_the_slowest_kind_and_never_above_2_s() {
        let mut costs = calibrated();
        assert_eq!(costs.refusal_delay(), Duration::from_millis(30));
        costs.note(Kind::Bcrypt { cost: 6 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(30), "4 ms are not the slowest");
        costs.note(Kind::Bcrypt { cost: 10 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(96), "2 ms × 2^5 × 1.5");
        costs.note(Kind::Bcrypt { cost: 13 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(768), "whoever has cost 13 is not told apart");
        costs.note(Kind::Bcrypt { cost: 14 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(1536));
        // It goes by what was measured: here half of that and half of what scale says.
        costs.observe(Kind::Bcrypt { cost: 14 }, 1176.0);
        assert_eq!(costs.refusal_delay(), Duration::from_millis(1650));
        for _ in 0..200 {
            costs.observe(Kind::Bcrypt { cost: 14 }, 3000.0);
        }
        assert_eq!(costs.refusal_delay(), Duration::from_millis(2000));
    }

    #[test]
    fn many_fast_kinds_hide_no_slow_one() {
        let mut costs = calibrated();
        for m_kib in 8..8 + 2 * MAX_KINDS as u32 {
            costs.note(Kind::Argon2 { m_kib, t: 1 });
        }
        costs.note(Kind::Bcrypt { cost: 10 });
        costs.note(Kind::Argon2 { m_kib: 7, t: 1 });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(96));
        assert!(costs.census.contains(&KIB19) && costs.census.len() == MAX_KINDS);
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
    fn what_is_wrapped_takes_both_hashes() {
        let mut costs = calibrated();
        let inner = formats::Inner::of(Kind::Bcrypt { cost: 9 }).unwrap();
        costs.note(Kind::Wrapped { m_kib: 19_456, t: 2, inner });
        assert_eq!(costs.refusal_delay(), Duration::from_millis(78), "20 ms and 32, × 1.5");
    }

    #[test]
    fn an_estimate_of_strength_costs_what_the_latest_took() {
        let mut costs = calibrated();
        for _ in 0..200 {
            costs.observe_strength(8.0);
        }
        let email = "ada@example.com".parse().unwrap();
        let guess = crate::credentials::strength::Guess::new(&Password::new("x").unwrap(), &email, 2);
        let work = Work::Estimate { guess, reply: tokio::sync::oneshot::channel().0 };
        assert!((costs.of_work(&work).0 - 8.0).abs() < 0.01);
    }

    fn check(hash: &str) -> Work {
        let stored = Some(formats::Stored::parse(&PasswordHash::new(hash)).unwrap());
        Work::Verify { password: Password::new("correct horse").unwrap(), stored, reply: tokio::sync::oneshot::channel().0 }
    }

    #[test]
    fn in_turn_go_as_many_as_are_done_before_a_refusal_is_answered() {
        let bcrypt = |cost: u32| check(&format!("$2b${cost:02}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
        let mut costs = calibrated();
        assert!(costs.turn(&bcrypt(10)).is_none(), "refusals take 30 ms as long as no bcrypt is known, one hash 64");
        costs.note(Kind::Bcrypt { cost: 10 });
        let turn = costs.turn(&bcrypt(10)).unwrap();
        assert_eq!((turn.kind, turn.lanes), (Kind::Bcrypt { cost: 10 }, 3));
        assert!(turn.walls.iter().zip([64.0, 70.4, 89.6]).all(|(wall, expected)| (wall - expected).abs() < 0.001), "{:?}", turn.walls);
        // 1,024 ms alone, 1,434 ms three; refusals take 1,536 ms. They never take more than 2,000, of which 1,900 count.
        let slow = Kind::Bcrypt { cost: 14 };
        costs.note(slow);
        assert_eq!(costs.turn(&bcrypt(14)).map(|turn| turn.lanes), Some(3));
        for _ in 0..200 {
            costs.observe_in_turn(slow, 1, 1400.0);
        }
        assert_eq!(costs.turn(&bcrypt(14)).map(|turn| turn.lanes), Some(2), "1,960 ms for three");
        for _ in 0..200 {
            costs.observe_in_turn(slow, 1, 1800.0);
        }
        assert!(costs.turn(&bcrypt(14)).is_none(), "1,980 ms for two");
        assert!(costs.turn(&check("$argon2i$m=256,t=1,p=1$c29tZXNhbHQ$Z3Vlc3NlZCB0YWcgMTY")).is_none());
        // A machine on which it doesn't pay.
        costs.calibrate(20.0, 5, [2.0, 3.8, 5.6]);
        assert!(costs.turn(&bcrypt(10)).is_none());
    }

    #[test]
    fn many_at_once_cost_less_and_tell_what_one_takes() {
        let mut costs = calibrated();
        let kind = Kind::Bcrypt { cost: 10 };
        costs.note(kind);
        let work = check("$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        assert!((costs.of_work(&work).0 - 64.0).abs() < 0.001);
        for _ in 0..200 {
            costs.observe_in_turn(kind, 3, 1.4 * 100.0);
        }
        assert!((costs.estimate(kind) - 100.0).abs() < 0.1, "alone: {}", costs.estimate(kind));
        assert!((costs.of_work(&work).0 - 140.0 / 3.0).abs() < 0.1, "in a crowd: {}", costs.of_work(&work).0);
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
