//! How many users there are, when: the steps for goose, and which part of the run a moment belongs to.

use std::time::Duration;

/// How many times the usual users a spike has.
pub const SPIKE: usize = 10;
/// Users come and go over so many seconds.
const RAMP: u64 = 2;
/// goose looks twice a second whether a step is over, so that its steps come late: this much at both ends of a part isn't counted.
const EDGE: Duration = Duration::from_millis(500);

/// Of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// As many users as usual: all of a run without a spike, and what comes before one.
    Steady,
    /// Ten times as many.
    Spike,
    /// As many as usual again.
    Recovery,
    /// Users come or go.
    Between,
}

/// The steps of a run: how many users, and after how many seconds more.
#[derive(Debug, Clone)]
pub struct Plan {
    steps: Vec<(usize, u64)>,
    spike: bool,
    each: Duration,
}

impl Plan {
    /// So many users for so long.
    pub fn steady(users: usize, seconds: u64) -> Self {
        Self { steps: vec![(users, RAMP), (users, seconds), (0, 0)], spike: false, each: Duration::from_secs(seconds) }
    }
    /// The same with ten times as many in the middle; each part lasts so long.
    pub fn spike(users: usize, seconds: u64) -> Self {
        let many = users * SPIKE;
        let steps = vec![(users, RAMP), (users, seconds), (many, RAMP), (many, seconds), (users, RAMP), (users, seconds), (0, 0)];
        Self { steps, spike: true, each: Duration::from_secs(seconds) }
    }
    /// As goose reads it.
    pub fn text(&self) -> String {
        self.steps.iter().map(|(users, seconds)| format!("{users},{seconds}s")).collect::<Vec<_>>().join(";")
    }
    /// The most users at a time.
    pub fn most(&self) -> usize {
        self.steps.iter().map(|(users, _)| *users).max().unwrap_or(0)
    }
    /// Of all of it.
    pub fn length(&self) -> Duration {
        Duration::from_secs(self.steps.iter().map(|(_, seconds)| seconds).sum())
    }
    /// Which part is on, so long after the start.
    pub fn part(&self, since: Duration) -> Part {
        if !self.spike {
            return Part::Steady;
        }
        let mut begins = Duration::from_secs(RAMP);
        for part in [Part::Steady, Part::Spike, Part::Recovery] {
            if since >= begins + EDGE && since < begins + self.each - EDGE {
                return part;
            }
            begins += self.each + Duration::from_secs(RAMP);
        }
        Part::Between
    }
    /// How long each part counts.
    pub fn counted(&self) -> Duration {
        if self.spike { self.each - EDGE * 2 } else { self.length() }
    }
    pub fn has_spike(&self) -> bool {
        self.spike
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_ten_times_the_users_between_two_quiet_parts() {
        let plan = Plan::spike(4, 10);
        assert_eq!(plan.text(), "4,2s;4,10s;40,2s;40,10s;4,2s;4,10s;0,0s");
        assert_eq!((plan.most(), plan.length()), (40, Duration::from_secs(36)));
        let parts =
            [(1, Part::Between), (3, Part::Steady), (13, Part::Between), (15, Part::Spike), (25, Part::Between), (27, Part::Recovery)];
        for (second, part) in parts {
            assert_eq!(plan.part(Duration::from_secs(second)), part, "at {second} s");
        }
        assert_eq!(plan.counted(), Duration::from_secs(9));
    }
}
