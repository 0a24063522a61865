//! Is there an order of these calls, each between its beginning and its end, in which a plain sequential object gives the same answers?
//! The search of Wing and Gong (1993), with states that were seen before left out (Lowe, 2017).

use std::{
    collections::HashSet,
    fmt::Debug,
    hash::Hash,
    time::{Duration, Instant},
};

/// What is observed, as one thing after the other would go.
pub trait Model {
    type State: Clone + Eq + Hash + Debug + Default;
    /// A call with its answer.
    type Call: Debug;
    /// The states that this call may lead to with that answer; none: it can't give it.
    fn step(state: &Self::State, call: &Self::Call) -> Vec<Self::State>;
}

/// One call as its caller saw it.
#[derive(Debug)]
pub struct Event<C> {
    pub call: C,
    pub began: Instant,
    /// `None`: nobody knows what became of it: it may happen at any time after it began, or never.
    pub ended: Option<Instant>,
}

/// At most 128 calls.
pub fn is_linearizable<M: Model>(history: &[Event<M::Call>]) -> bool {
    assert!(history.len() <= 128, "{} calls", history.len());
    let all = history.iter().enumerate().filter(|(_, e)| e.ended.is_some()).fold(0_u128, |mask, (i, _)| mask | 1 << i);
    let (mut open, mut seen) = (vec![(0_u128, M::State::default())], HashSet::new());
    while let Some((done, state)) = open.pop() {
        if done & all == all {
            return true;
        }
        let left = || history.iter().enumerate().filter(|(i, _)| done & (1 << i) == 0);
        // Whatever began after another had ended comes after it.
        let first_end = left().filter_map(|(_, e)| e.ended).min();
        for (i, event) in left().filter(|(_, e)| first_end.is_none_or(|end| e.began <= end)) {
            for next in M::step(&state, &event.call) {
                let node = (done | 1 << i, next);
                if seen.insert(node.clone()) {
                    open.push(node);
                }
            }
        }
    }
    false
}

/// Fails with the history, told in milliseconds.
#[track_caller]
pub fn check<M: Model>(what: &str, history: &[Event<M::Call>]) {
    if is_linearizable::<M>(history) {
        return;
    }
    let start = history.iter().map(|e| e.began).min().unwrap();
    let ms = |at: Instant| at.saturating_duration_since(start).max(Duration::ZERO).as_secs_f64() * 1000.0;
    let mut events: Vec<_> = history.iter().collect();
    events.sort_by_key(|e| e.began);
    for e in events {
        eprintln!("{:>9.1} … {:>9.1} {:?}", ms(e.began), e.ended.map_or(f64::INFINITY, ms), e.call);
    }
    panic!("{what}: no order of these calls explains their answers");
}

/// A history from (call, began, ended) in milliseconds; `None`: no answer.
#[cfg(test)]
pub fn told<C>(events: Vec<(C, u64, Option<u64>)>) -> Vec<Event<C>> {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    events.into_iter().map(|(call, began, ended)| Event { call, began: at(began), ended: ended.map(at) }).collect()
}
