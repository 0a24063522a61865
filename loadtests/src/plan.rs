//! How many users there are, when: the steps for goose, and which part of the run a moment belongs to. The phases of a run with a noisy
//! neighbour, which goose does not pace.

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
    /// Users come or go; nothing is counted yet.
    Between,
    /// Nobody makes noise yet.
    Idle,
    /// One account makes noise.
    Noisy,
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

/// An idle server is watched for at least so long.
const IDLE: Duration = Duration::from_secs(20);
/// What comes first isn't counted: connections are made, and the server still sends the mails of the seeding.
const WARM_UP: Duration = Duration::from_secs(3);
/// The memory of the server is looked at so often while there is noise.
const LOOKS: Duration = Duration::from_secs(10);

/// Of a run with a noisy neighbour: when the memory of the server is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Start,
    /// The idle phase is over.
    NoiseBegins,
    During,
    /// Half of the noise is over.
    Middle,
    End,
}

/// A run with a noisy neighbour: first the others alone, then the others beside it.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    pub idle: Duration,
    pub noise: Duration,
}

impl Phases {
    /// So many seconds of noise; before it, a third of that without.
    pub fn of(seconds: u64) -> Self {
        let noise = Duration::from_secs(seconds);
        Self { idle: (noise / 3).max(IDLE), noise }
    }
    pub fn noise_begins(&self) -> Duration {
        WARM_UP + self.idle
    }
    /// Of all of it.
    pub fn length(&self) -> Duration {
        self.noise_begins() + self.noise
    }
    /// Which part is on, so long after the start.
    pub fn part(&self, since: Duration) -> Part {
        if since < WARM_UP {
            Part::Between
        } else if since < self.noise_begins() {
            Part::Idle
        } else {
            Part::Noisy
        }
    }
    /// When the memory of the server is looked at, in order.
    pub fn looks(&self) -> Vec<(Duration, Moment)> {
        let (begins, middle) = (self.noise_begins(), self.noise / 2);
        let mut looks = vec![(Duration::ZERO, Moment::Start), (begins, Moment::NoiseBegins)];
        looks.extend([(begins + middle, Moment::Middle), (self.length(), Moment::End)]);
        let during = (1_u32..).map(|n| LOOKS * n).take_while(|at| *at < self.noise).filter(|at| *at != middle);
        looks.extend(during.map(|at| (begins + at, Moment::During)));
        looks.sort_by_key(|(at, _)| *at);
        looks
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

    #[test]
    fn before_the_noise_the_server_is_idle_for_a_third_of_it_and_no_less_than_20_s() {
        let seconds = Duration::from_secs;
        for (noise, idle) in [(2, 20), (60, 20), (90, 30)] {
            let phases = Phases::of(noise);
            assert_eq!((phases.idle, phases.length()), (seconds(idle), seconds(3 + idle + noise)), "{noise} s");
        }
        let phases = Phases::of(60);
        for (second, part) in [(0, Part::Between), (3, Part::Idle), (22, Part::Idle), (23, Part::Noisy), (83, Part::Noisy)] {
            assert_eq!(phases.part(seconds(second)), part, "at {second} s");
        }
    }

    #[test]
    fn memory_is_looked_at_every_10_s_of_noise_and_in_its_middle() {
        let looks = |noise| Phases::of(noise).looks().into_iter().map(|(at, moment)| (at.as_secs(), moment)).collect::<Vec<_>>();
        use Moment::{During, End, Middle, NoiseBegins, Start};
        assert_eq!(looks(4), [(0, Start), (23, NoiseBegins), (25, Middle), (27, End)]);
        let minute = [(0, Start), (23, NoiseBegins), (33, During), (43, During), (53, Middle), (63, During), (73, During), (83, End)];
        assert_eq!(looks(60), minute);
        assert_eq!(looks(30), [(0, Start), (23, NoiseBegins), (33, During), (38, Middle), (43, During), (53, End)]);
    }
}
