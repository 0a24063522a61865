//! Lines on stderr that say how far something is: once a second on a terminal, each over the one before; every ten seconds elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

pub(super) struct Ticker {
    shown: Instant,
    terminal: bool,
}

impl Ticker {
    pub(super) fn new() -> Self {
        Self { shown: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows a line, if it is time for one.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if now - self.shown < Duration::from_secs(if self.terminal { 1 } else { 10 }) {
            return;
        }
        self.shown = now;
        let end = if self.terminal { "\r" } else { "\n" };
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "{}{end}", line());
    }

    /// The last line, which stays.
    pub(super) fn end(&self, line: &str) {
        let end = if self.terminal { "\n" } else { "" };
        let _ = writeln!(std::io::stderr(), "{end}{line}");
    }
}
