//! Who has the turn at which key, and who waits for it. Nothing here waits or sends: the host does.

use super::wire::{Answer, Seat, Ticket};
use crate::actors::placement::LEASE;
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// Nodes that may wait for one turn; one that is there asks once at a time for each key.
const WAITING: usize = 256;
/// Turns at once.
const SEATS: usize = 100_000;

struct Holder {
    ticket: Ticket,
    node: String,
    until: Instant,
}

struct Waiter<W> {
    ticket: Ticket,
    node: String,
    until: Instant,
    port: W,
}

struct Row<W> {
    holder: Holder,
    waiting: VecDeque<Waiter<W>>,
    /// When it is looked at again.
    look: Option<Instant>,
}

/// Answers to be sent, in this order.
pub(super) type Said<W> = Vec<(W, Answer)>;

/// All turns that this node gives.
pub(super) struct Seats<W> {
    rows: HashMap<Seat, Row<W>>,
}

impl<W> Seats<W> {
    pub(super) fn new() -> Self {
        Self { rows: HashMap::new() }
    }

    /// Somebody asks, and waits until `until`.
    pub(super) fn take(&mut self, seat: Seat, ticket: Ticket, node: String, until: Instant, port: W, now: Instant) -> Said<W> {
        if now >= until {
            return vec![(port, Answer::Busy)];
        }
        let full = self.rows.len() >= SEATS;
        match self.rows.get_mut(&seat) {
            Some(row) if row.waiting.len() >= WAITING => vec![(port, Answer::Full)],
            Some(row) => {
                row.waiting.push_back(Waiter { ticket, node, until, port });
                self.look(seat, now)
            }
            None if full => vec![(port, Answer::Full)],
            None => {
                let holder = Holder { ticket, node, until: now + LEASE };
                self.rows.insert(seat, Row { holder, waiting: VecDeque::new(), look: None });
                vec![(port, Answer::Turn)]
            }
        }
    }

    /// Somebody is done, or doesn't wait any more.
    pub(super) fn give(&mut self, seat: Seat, ticket: Ticket, now: Instant) -> Said<W> {
        let Some(row) = self.rows.get_mut(&seat) else { return Vec::new() };
        row.waiting.retain(|w| w.ticket != ticket);
        if row.holder.ticket == ticket {
            row.holder.until = now;
        }
        self.look(seat, now)
    }

    /// Passes on what somebody has for too long, and tells those whose time is over.
    pub(super) fn look(&mut self, seat: Seat, now: Instant) -> Said<W> {
        let mut said = Vec::new();
        let Some(row) = self.rows.get_mut(&seat) else { return said };
        while let Some(late) = row.waiting.iter().position(|w| w.until <= now) {
            said.extend(row.waiting.remove(late).map(|w| (w.port, Answer::Busy)));
        }
        if row.holder.until <= now {
            match row.waiting.pop_front() {
                Some(next) => {
                    row.holder = Holder { ticket: next.ticket, node: next.node, until: now + LEASE };
                    said.push((next.port, Answer::Turn));
                }
                None => drop(self.rows.remove(&seat)),
            }
        }
        said
    }

    /// A node is gone, and with it what it had and what it waited for.
    pub(super) fn gone(&mut self, node: &str, now: Instant) -> Said<W> {
        let mut touched = Vec::new();
        for (seat, row) in &mut self.rows {
            let before = row.waiting.len();
            row.waiting.retain(|w| w.node != node);
            if row.holder.node == node {
                row.holder.until = now;
            }
            if row.holder.until <= now || row.waiting.len() != before {
                touched.push(*seat);
            }
        }
        touched.into_iter().flat_map(|seat| self.look(seat, now)).collect()
    }

    /// Turns that nobody gave back, and nobody waits for.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.rows.retain(|_, row| row.holder.until > now || !row.waiting.is_empty());
    }

    /// When this turn has to be looked at again, if nobody has been told so yet.
    pub(super) fn next_look(&mut self, seat: Seat) -> Option<Instant> {
        let row = self.rows.get_mut(&seat)?;
        let at = row.waiting.iter().map(|w| w.until).min()?.min(row.holder.until);
        if row.look.is_some_and(|known| known <= at) {
            return None;
        }
        row.look = Some(at);
        Some(at)
    }

    /// The look that [`Seats::next_look`] asked for is being taken.
    pub(super) fn looked(&mut self, seat: Seat) {
        if let Some(row) = self.rows.get_mut(&seat) {
            row.look = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const S: Seat = Seat(1);
    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        seats: Seats<u128>,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { seats: Seats::new(), now: Instant::now() }
        }
        fn take(&mut self, n: u128, node: &str, wait: Duration) -> Said<u128> {
            self.seats.take(S, Ticket(n), node.into(), self.now + wait, n, self.now)
        }
        fn give(&mut self, n: u128) -> Said<u128> {
            self.seats.give(S, Ticket(n), self.now)
        }
    }

    #[test]
    fn one_at_a_time_in_the_order_in_which_they_came() {
        let mut w = World::new();
        assert_eq!(w.take(1, "a", SECOND), [(1, Answer::Turn)]);
        assert_eq!(w.take(2, "b", SECOND), []);
        assert_eq!(w.take(3, "c", SECOND), []);
        assert_eq!(w.give(1), [(2, Answer::Turn)]);
        assert_eq!(w.give(1), [], "given back once");
        assert_eq!(w.give(2), [(3, Answer::Turn)]);
        assert_eq!(w.give(3), []);
        assert!(w.seats.rows.is_empty());
    }

    #[test]
    fn who_waited_long_enough_is_told_and_who_left_is_passed_over() {
        let mut w = World::new();
        w.take(1, "a", SECOND);
        w.take(2, "b", SECOND);
        w.take(3, "c", SECOND * 3);
        w.take(4, "d", SECOND * 3);
        assert_eq!(w.seats.next_look(S), Some(w.now + SECOND));
        assert_eq!(w.seats.next_look(S), None, "asked for once");
        w.now += SECOND;
        w.seats.looked(S);
        assert_eq!(w.seats.look(S, w.now), [(2, Answer::Busy)]);
        assert_eq!(w.seats.next_look(S), Some(w.now + SECOND * 2));
        assert_eq!(w.give(3), []);
        assert_eq!(w.give(1), [(4, Answer::Turn)]);
        assert_eq!(w.take(5, "e", Duration::ZERO), [(5, Answer::Busy)], "too late already");
    }

    #[test]
    fn a_turn_is_not_kept_for_ever_and_a_node_that_is_gone_has_none() {
        let mut w = World::new();
        w.take(1, "a", SECOND);
        w.take(2, "b", SECOND * 10);
        w.take(3, "b", SECOND * 10);
        w.take(4, "c", SECOND * 10);
        w.now += LEASE;
        assert_eq!(w.seats.look(S, w.now), [(2, Answer::Turn)]);
        assert_eq!(w.give(1), [], "its time was over");
        assert_eq!(w.seats.gone("b", w.now), [(4, Answer::Turn)]);
        w.now += LEASE;
        w.seats.tidy(w.now);
        assert!(w.seats.rows.is_empty());
    }

    #[test]
    fn so_many_and_no_more() {
        let mut w = World::new();
        w.take(0, "a", SECOND);
        for n in 1..=WAITING as u128 {
            assert_eq!(w.take(n, "b", SECOND), []);
        }
        assert_eq!(w.take(9999, "b", SECOND), [(9999, Answer::Full)]);
    }
}
