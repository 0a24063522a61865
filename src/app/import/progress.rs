//! How far it is.

use super::{super::ticker::Ticker, Tally};
use std::time::{Duration, Instant};

pub(super) struct Progress {
    size: u64,
    read: u64,
    /// Records that were settled before: they are passed over, and count for no speed.
    skipped: u64,
    began: Instant,
    /// Bytes read when the first record of this run came.
    start: Option<(Instant, u64)>,
    ticker: Ticker,
}

impl Progress {
    pub(super) fn new(size: u64, skipped: u64) -> Self {
        let now = Instant::now();
        Self { size, read: 0, skipped, began: now, start: None, ticker: Ticker::new() }
    }

    /// So many bytes more were read.
    pub(super) fn show(&mut self, bytes: usize, records: u64, tally: Tally) {
        self.read += bytes as u64;
        if records < self.skipped {
            return;
        }
        let now = Instant::now();
        let &mut (start, offset) = self.start.get_or_insert((now, self.read));
        let (skipped, bytes) = (self.skipped, (self.read, offset, self.size));
        self.ticker.show(|| line(now - start, records, skipped, bytes, tally));
    }

    /// It is through.
    pub(super) fn end(&self) {
        self.ticker.end(&format!("took {:.1} s", self.began.elapsed().as_secs_f64()));
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
