//! How far it is, on stderr: once a second on a terminal, every ten seconds elsewhere.

use super::Tally;
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

pub(super) struct Progress {
    size: u64,
    read: u64,
    /// Records that were settled before: they are passed over, and count for no speed.
    skipped: u64,
    began: Instant,
    /// Bytes read when the first record of this run came.
    start: Option<(Instant, u64)>,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(size: u64, skipped: u64) -> Self {
        let now = Instant::now();
        Self { size, read: 0, skipped, began: now, start: None, shown: now, terminal: std::io::stderr().is_terminal() }
    }

    /// So many bytes more were read.
    pub(super) fn show(&mut self, bytes: usize, records: u64, tally: Tally) {
        self.read += bytes as u64;
        if records < self.skipped {
            return;
        }
        let now = Instant::now();
        let &mut (start, offset) = self.start.get_or_insert((now, self.read));
        let every = Duration::from_secs(if self.terminal { 1 } else { 10 });
        if now - self.shown < every {
            return;
        }
        self.shown = now;
        let line = line(now - start, records, self.skipped, (self.read, offset, self.size), tally);
        let end = if self.terminal { "\r" } else { "\n" };
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "{line}{end}");
    }

    /// It is through.
    pub(super) fn end(&self) {
        let end = if self.terminal { "\n" } else { "" };
        let _ = writeln!(std::io::stderr(), "{end}took {:.1} s", self.began.elapsed().as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, in three digits")]
fn line(took: Duration, records: u64, skipped: u64, (read, offset, size): (u64, u64, u64), tally: Tally) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let rate = (records - skipped) as f64 / seconds;
    let bytes = (read - offset) as f64 / seconds;
    let left = if bytes > 0.0 { format!("{:.0} s left", size.saturating_sub(read) as f64 / bytes) } else { "no end in sight".into() };
    let part = 100.0 * read as f64 / (size.max(1)) as f64;
    format!("{records} rows ({part:.0} %), {} made, {} refused, {rate:.0} rows/s, {left}  ", tally.created, tally.refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_a_second_and_the_time_left_are_those_of_this_run() {
        let tally = Tally { created: 2_990, refused: 10 };
        let text = line(Duration::from_secs(2), 3_000, 1_000, (600, 200, 1_000), tally);
        assert_eq!(text.trim_end(), "3000 rows (60 %), 2990 made, 10 refused, 1000 rows/s, 2 s left");
        assert!(line(Duration::ZERO, 0, 0, (0, 0, 0), tally).contains("no end in sight"));
    }
}
