//! What a run has to keep to. A broken one fails it.

use crate::{
    plan::{Part, Plan},
    tally::{Operation, Outcome, Tally},
};
use std::str::FromStr;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The share of answers that were unexpected.
    Unexpected,
    /// p99 of the good answers to what hashes nothing, ms.
    LightP99,
    /// p99 of sign-ins and sign-ups that were let in, ms.
    HashP99,
    /// p99 of refusals, ms.
    RefusedP99,
    /// Good answers a second.
    Goodput,
    /// Sign-ins a second that succeed during the spike, as a share of those before it.
    SpikeGoodput,
    /// p99 of others' `me` beside a noisy neighbour, less twice what it was before, ms.
    NoiseMe,
    /// The same of their sign-ins.
    NoiseLogin,
    /// How many answers to others had a status of 500 or above: a 503 is one, whatever it says.
    NoiseOthers,
    /// How many answers to the neighbour had one, a 503 left out.
    NoiseOwn,
    /// By how much the server's memory grew in the second half of the noise.
    NoiseMemory,
}

/// What is known of a run with a noisy neighbour beside the times of the others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// Answers of 500 and above to others.
    pub others: u64,
    /// Those to the neighbour, without 503.
    pub neighbour: u64,
    /// Of the server's memory in the second half, as a share of what it had in the middle.
    pub growth: Option<f64>,
}

impl Measure {
    const ALL: [(Self, &str, &str, f64); 11] = [
        (Self::Unexpected, "unexpected", "", 0.001),
        (Self::LightP99, "light-p99", "ms", 250.0),
        // The pool's deadline of 2 s, and a hash.
        (Self::HashP99, "hash-p99", "ms", 2500.0),
        (Self::RefusedP99, "refused-p99", "ms", 250.0),
        (Self::Goodput, "goodput", "/s", 1.0),
        (Self::SpikeGoodput, "spike-goodput", "", 0.9),
        (Self::NoiseMe, "noise-me", "ms", 5.0),
        (Self::NoiseLogin, "noise-login", "ms", 5.0),
        (Self::NoiseOthers, "noise-others-5xx", "answers", 0.0),
        (Self::NoiseOwn, "noise-own-5xx", "answers", 0.0),
        (Self::NoiseMemory, "noise-memory", "", 0.1),
    ];
    /// More is better.
    fn at_least(self) -> bool {
        matches!(self, Self::Goodput | Self::SpikeGoodput)
    }
    /// It is about a run with a noisy neighbour.
    fn is_of_noise(self) -> bool {
        matches!(self, Self::NoiseMe | Self::NoiseLogin | Self::NoiseOthers | Self::NoiseOwn | Self::NoiseMemory)
    }
    /// A run that gave nothing to measure it by has not kept to it.
    fn is_needed(self) -> bool {
        matches!(self, Self::Unexpected | Self::NoiseMe | Self::NoiseLogin)
    }
    /// What the run came to; `None` if there was nothing to measure.
    fn of(self, tally: &Tally, plan: &Plan) -> Option<f64> {
        let p99 = |wanted: fn(Operation) -> bool, which: Outcome| {
            tally.times(|operation, outcome, _| wanted(operation) && outcome == which).quantile_ms(0.99)
        };
        match self {
            Self::Unexpected => unexpected(tally),
            Self::LightP99 => p99(Operation::is_light, Outcome::Good),
            Self::HashP99 => p99(Operation::hashes, Outcome::Good),
            Self::RefusedP99 => p99(|_| true, Outcome::Refused),
            Self::Goodput => Some(tally.times(|_, outcome, _| outcome == Outcome::Good).count() as f64 / plan.length().as_secs_f64()),
            Self::SpikeGoodput => {
                let sign_ins = |when: Part| {
                    let good = |operation, outcome, part| operation == Operation::Login && outcome == Outcome::Good && part == when;
                    tally.times(good).count() as f64
                };
                let usual = sign_ins(Part::Steady);
                plan.has_spike().then_some(if usual > 0.0 { sign_ins(Part::Spike) / usual } else { 0.0 })
            }
            Self::NoiseMe | Self::NoiseLogin | Self::NoiseOthers | Self::NoiseOwn | Self::NoiseMemory => None,
        }
    }
    /// What a run with a noisy neighbour came to; `None` if there was nothing to measure.
    fn of_noise(self, tally: &Tally, beside: &Beside) -> Option<f64> {
        let beyond_twice = |of: Operation| {
            let good = |when: Part| tally.times(|operation, outcome, part| operation == of && outcome == Outcome::Good && part == when);
            Some(good(Part::Noisy).quantile_ms(0.99)? - 2.0 * good(Part::Idle).quantile_ms(0.99)?)
        };
        match self {
            Self::Unexpected => unexpected(tally),
            Self::NoiseMe => beyond_twice(Operation::Me),
            Self::NoiseLogin => beyond_twice(Operation::Login),
            Self::NoiseOthers => Some(beside.others as f64),
            Self::NoiseOwn => Some(beside.neighbour as f64),
            Self::NoiseMemory => beside.growth,
            Self::LightP99 | Self::HashP99 | Self::RefusedP99 | Self::Goodput | Self::SpikeGoodput => None,
        }
    }
}

fn unexpected(tally: &Tally) -> Option<f64> {
    let all = tally.times(|_, _, _| true).count();
    let wrong = tally.times(|_, outcome, _| outcome == Outcome::Unexpected).count();
    (all > 0).then(|| wrong as f64 / all as f64)
}

/// `NAME=VALUE` as it is typed; `NAME=off` takes one away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    measure: Measure,
    limit: Option<f64>,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
        let known = Measure::ALL.iter().find(|(_, known, ..)| *known == name);
        let names = || Measure::ALL.map(|(_, known, ..)| known).join(", ");
        let (measure, ..) = known.ok_or_else(|| format!("there is no threshold {name}; there are {}", names()))?;
        let limit = match value {
            "off" => None,
            number => Some(number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0).ok_or("VALUE is a number, or off")?),
        };
        Ok(Self { measure: *measure, limit })
    }
}

/// One row of the verdict.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub name: &'static str,
    pub limit: String,
    pub seen: String,
    pub passed: bool,
}

/// Judges the run. What could not be measured is kept to, but for a run without any answer at all.
pub fn judge(changes: &[Change], tally: &Tally, plan: &Plan) -> Vec<Verdict> {
    verdicts(changes, |measure| !measure.is_of_noise(), |measure| measure.of(tally, plan))
}

/// Judges a run with a noisy neighbour, in which `tally` has what others asked for.
pub fn judge_noise(changes: &[Change], tally: &Tally, beside: &Beside) -> Vec<Verdict> {
    let wanted = |measure: Measure| measure.is_of_noise() || measure == Measure::Unexpected;
    verdicts(changes, wanted, |measure| measure.of_noise(tally, beside))
}

fn verdicts(changes: &[Change], wanted: impl Fn(Measure) -> bool, of: impl Fn(Measure) -> Option<f64>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (measure, name, unit, default) in Measure::ALL.into_iter().filter(|(measure, ..)| wanted(*measure)) {
        let changed = changes.iter().rev().find(|change| change.measure == measure);
        let Some(limit) = changed.map_or(Some(default), |change| change.limit) else { continue };
        let seen = of(measure);
        let passed = match seen {
            Some(seen) if measure.at_least() => seen >= limit,
            Some(seen) => seen <= limit,
            None => !measure.is_needed(),
        };
        let sign = if measure.at_least() { "≥" } else { "≤" };
        let seen = seen.map_or_else(|| "nothing measured".into(), |seen| with_unit(seen, unit));
        verdicts.push(Verdict { name, limit: format!("{sign} {}", with_unit(limit, unit)), seen, passed });
    }
    verdicts
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if unit.is_empty() { 4 } else { 1 };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// The names with their limits where nobody says another, for the help.
pub fn defaults() -> String {
    Measure::ALL.map(|(_, name, _, limit)| format!("{name}={limit}")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failed(changes: &[&str], tally: &Tally, plan: &Plan) -> Vec<&'static str> {
        let changes: Vec<Change> = changes.iter().map(|text| text.parse().unwrap()).collect();
        judge(&changes, tally, plan).into_iter().filter(|v| !v.passed).map(|v| v.name).collect()
    }

    #[test]
    fn each_threshold_can_fail_and_refusals_are_no_errors() {
        let plan = Plan::spike(4, 10);
        let tally = Tally::default();
        let add = |times: usize, operation, outcome, part, ms| {
            for _ in 0..times {
                tally.add(operation, outcome, part, Duration::from_millis(ms));
            }
        };
        assert_eq!(failed(&[], &tally, &plan), ["unexpected", "goodput", "spike-goodput"], "nothing came back");
        add(100, Operation::Login, Outcome::Good, Part::Steady, 100);
        add(95, Operation::Login, Outcome::Good, Part::Spike, 100);
        add(500, Operation::Login, Outcome::Refused, Part::Spike, 10);
        add(100, Operation::Me, Outcome::Good, Part::Spike, 5);
        assert!(failed(&[], &tally, &plan).is_empty());
        assert_eq!(failed(&["spike-goodput=0.96"], &tally, &plan), ["spike-goodput"]);
        assert_eq!(failed(&["light-p99=4", "hash-p99=90", "refused-p99=9"], &tally, &plan), ["light-p99", "hash-p99", "refused-p99"]);
        assert_eq!(failed(&["goodput=1000", "light-p99=4", "light-p99=off"], &tally, &plan), ["goodput"]);
        add(1, Operation::Me, Outcome::Unexpected, Part::Recovery, 5);
        assert_eq!(failed(&[], &tally, &plan), ["unexpected"]);
        assert!(failed(&["unexpected=0.01"], &tally, &plan).is_empty());
    }

    #[test]
    fn beside_noise_others_have_twice_the_time_and_5_ms() {
        let tally = Tally::default();
        let add = |times: usize, operation, part, micros| {
            for _ in 0..times {
                tally.add(operation, Outcome::Good, part, Duration::from_micros(micros));
            }
        };
        let failed = |changes: &[&str], beside: Beside| -> Vec<&'static str> {
            let changes: Vec<Change> = changes.iter().map(|text| text.parse().unwrap()).collect();
            judge_noise(&changes, &tally, &beside).into_iter().filter(|v| !v.passed).map(|v| v.name).collect()
        };
        let calm = Beside::default();
        assert_eq!(failed(&[], calm), ["unexpected", "noise-me", "noise-login"], "nothing came back");
        for (operation, micros) in [(Operation::Me, 2_000), (Operation::Login, 30_000)] {
            add(100, operation, Part::Idle, micros);
        }
        assert_eq!(failed(&[], calm), ["noise-me", "noise-login"], "nothing came back beside the noise");
        add(100, Operation::Me, Part::Noisy, 8_500);
        add(100, Operation::Login, Part::Noisy, 60_000);
        // What comes before the counting says nothing.
        add(100, Operation::Me, Part::Between, 900_000);
        assert!(failed(&[], calm).is_empty());
        assert_eq!(failed(&["noise-me=4"], calm), ["noise-me"]);
        add(3, Operation::Me, Part::Noisy, 10_000);
        add(3, Operation::Login, Part::Noisy, 70_000);
        assert_eq!(failed(&[], calm), ["noise-me", "noise-login"]);
        let off = ["noise-me=off", "noise-login=off"];
        assert_eq!(failed(&off, Beside { others: 1, ..calm }), ["noise-others-5xx"]);
        assert_eq!(failed(&off, Beside { neighbour: 1, ..calm }), ["noise-own-5xx"]);
        assert_eq!(failed(&off, Beside { growth: Some(0.11), ..calm }), ["noise-memory"]);
        assert!(failed(&off, Beside { growth: Some(-0.2), ..calm }).is_empty());
    }

    #[test]
    fn a_misspelt_threshold_is_told() {
        for bad in ["light", "lights-p99=1", "light-p99=-1", "light-p99=NaN", "light-p99=fast"] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
        assert!("lights-p99=1".parse::<Change>().unwrap_err().contains("light-p99"));
    }
}
