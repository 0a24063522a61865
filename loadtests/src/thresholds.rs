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
}

impl Measure {
    const ALL: [(Self, &str, &str, f64); 6] = [
        (Self::Unexpected, "unexpected", "", 0.001),
        (Self::LightP99, "light-p99", "ms", 250.0),
        // The pool's deadline of 2 s, and a hash.
        (Self::HashP99, "hash-p99", "ms", 2500.0),
        (Self::RefusedP99, "refused-p99", "ms", 250.0),
        (Self::Goodput, "goodput", "/s", 1.0),
        (Self::SpikeGoodput, "spike-goodput", "", 0.9),
    ];
    /// More is better.
    fn at_least(self) -> bool {
        matches!(self, Self::Goodput | Self::SpikeGoodput)
    }
    /// What the run came to; `None` if there was nothing to measure.
    fn of(self, tally: &Tally, plan: &Plan) -> Option<f64> {
        let p99 = |wanted: fn(Operation) -> bool, which: Outcome| {
            tally.times(|operation, outcome, _| wanted(operation) && outcome == which).quantile_ms(0.99)
        };
        match self {
            Self::Unexpected => {
                let all = tally.times(|_, _, _| true).count();
                let wrong = tally.times(|_, outcome, _| outcome == Outcome::Unexpected).count();
                (all > 0).then(|| wrong as f64 / all as f64)
            }
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
        }
    }
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
    let mut verdicts = Vec::new();
    for (measure, name, unit, default) in Measure::ALL {
        let changed = changes.iter().rev().find(|change| change.measure == measure);
        let Some(limit) = changed.map_or(Some(default), |change| change.limit) else { continue };
        let seen = measure.of(tally, plan);
        let passed = match seen {
            Some(seen) if measure.at_least() => seen >= limit,
            Some(seen) => seen <= limit,
            None => measure != Measure::Unexpected,
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
    fn a_misspelt_threshold_is_told() {
        for bad in ["light", "lights-p99=1", "light-p99=-1", "light-p99=NaN", "light-p99=fast"] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
        assert!("lights-p99=1".parse::<Change>().unwrap_err().contains("light-p99"));
    }
}
