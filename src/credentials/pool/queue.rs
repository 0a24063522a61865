//! Who comes next: groups take turns, and within a group its networks (start-time fair queueing: each has a clock that runs by the
//! milliseconds it has been served, and the one furthest behind goes first). Linear in the flows that wait; those are few.

use super::Flow;
use crate::domain::network::Network;
use std::collections::{HashMap, VecDeque};

/// So many flows that wait for nothing are remembered, for what they have had lately; with more of them it doesn't matter.
const MAX_IDLE: usize = 64;

/// What waits: whose, and what it will cost.
pub trait Item {
    /// Whose it is.
    fn flow(&self) -> Flow;
    /// Milliseconds, estimated.
    fn cost(&self) -> f64;
    /// Whether it needs the large block.
    fn large(&self) -> bool;
}

/// A queue of flows.
pub struct FairQueue<T> {
    groups: HashMap<[u8; 16], Group<T>>,
    now: f64,
    len: usize,
    cost: f64,
    large_cost: f64,
}

struct Group<T> {
    networks: HashMap<Network, Lane<T>>,
    turn: f64,
    now: f64,
    cost: f64,
}

struct Lane<T> {
    jobs: VecDeque<(u64, T)>,
    turn: f64,
    cost: f64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { groups: HashMap::new(), now: 0.0, len: 0, cost: 0.0, large_cost: 0.0 }
    }
}

impl<T: Item> FairQueue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Milliseconds of work that wait.
    pub fn cost(&self) -> f64 {
        self.cost
    }
    /// Of these, what needs the large block.
    pub fn large_cost(&self) -> f64 {
        self.large_cost
    }

    /// Puts one at the end of its flow. `id` is larger than all before.
    pub fn push(&mut self, id: u64, item: T) {
        let (flow, cost) = (item.flow(), item.cost());
        self.count(1, cost, item.large());
        let group =
            self.groups.entry(flow.group).or_insert_with(|| Group { networks: HashMap::new(), turn: self.now, now: 0.0, cost: 0.0 });
        group.turn = if group.cost > 0.0 { group.turn } else { group.turn.max(self.now) };
        group.cost += cost;
        let lane = group.networks.entry(flow.network).or_insert_with(|| Lane { jobs: VecDeque::new(), turn: group.now, cost: 0.0 });
        lane.turn = if lane.cost > 0.0 { lane.turn } else { lane.turn.max(group.now) };
        lane.cost += cost;
        lane.jobs.push_back((id, item));
    }

    /// Takes the next; without `large`, the next that needs no large block.
    pub fn pop(&mut self, large: bool) -> Option<T> {
        let (group, network) = self.next(large)?;
        self.serve(group, network)
    }

    /// Takes the next if it is a wanted one. Nobody goes before his turn.
    pub fn pop_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let (group, network) = self.next(true)?;
        let (_, item) = self.groups.get(&group)?.networks.get(&network)?.jobs.front()?;
        if wanted(item) { self.serve(group, network) } else { None }
    }

    /// Whose turn it is.
    fn next(&self, large: bool) -> Option<([u8; 16], Network)> {
        let ready = |lane: &Lane<T>| lane.jobs.front().is_some_and(|(_, item)| large || !item.large());
        // Ties go to whoever came first.
        let first = |lane: &Lane<T>| lane.jobs.front().map_or(u64::MAX, |(id, _)| *id);
        self.groups
            .iter()
            .filter_map(|(key, group)| {
                let lane = group.networks.iter().filter(|(_, lane)| ready(lane));
                let (network, lane) = lane.min_by(|(_, a), (_, b)| a.turn.total_cmp(&b.turn).then(first(a).cmp(&first(b))))?;
                Some((key, group.turn, *network, first(lane)))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1).then(a.3.cmp(&b.3)))
            .map(|(key, _, network, _)| (*key, network))
    }

    fn serve(&mut self, group: [u8; 16], network: Network) -> Option<T> {
        let groups = self.groups.values().filter(|group| group.cost > 0.0).count();
        let group = self.groups.get_mut(&group)?;
        let lanes = group.networks.values().filter(|lane| !lane.jobs.is_empty()).count();
        let lane = group.networks.get_mut(&network)?;
        let (_, item) = lane.jobs.pop_front()?;
        let cost = item.cost();
        // The clock that newcomers start at: that of the one served, and never slower than fair shares would make it go. Else
        // newcomers without end would keep those away who have been served once.
        group.now = lane.turn.max(group.now + cost / share(lanes));
        self.now = group.turn.max(self.now + cost / share(groups));
        group.turn += cost;
        lane.turn += cost;
        self.taken(&item);
        Some(item)
    }

    /// Takes one out of the middle.
    pub fn remove(&mut self, flow: Flow, id: u64) -> Option<T> {
        let lane = self.groups.get_mut(&flow.group)?.networks.get_mut(&flow.network)?;
        let at = lane.jobs.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, item) = lane.jobs.remove(at)?;
        self.taken(&item);
        Some(item)
    }

    /// Takes out what [`FairQueue::gives_way`].
    pub fn displace(&mut self, flow: Flow, cost: f64) -> Option<T> {
        let (flow, id) = self.gives_way(flow, cost)?;
        self.remove(flow, id)
    }

    /// The newest job of whoever has most, if a newcomer of `flow` with `cost` has so much less that giving its place away is fair:
    /// afterwards the newcomer must not have more than the one that gave way.
    pub fn gives_way(&self, flow: Flow, cost: f64) -> Option<(Flow, u64)> {
        // Of equals the one who came last: others of them may be about to be served.
        let newest = |lane: &Lane<T>| lane.jobs.back().map(|(id, _)| *id);
        let last = |group: &Group<T>| group.networks.values().filter_map(newest).max();
        let (&key, group) = self.groups.iter().max_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then_with(|| last(a).cmp(&last(b))))?;
        let lanes = group.networks.iter();
        let (&network, lane) = lanes.max_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then_with(|| newest(a).cmp(&newest(b))))?;
        let &(id, ref newest) = lane.jobs.back()?;
        let own = self.groups.get(&flow.group);
        let (most, mine) = if key == flow.group {
            (lane.cost, own.and_then(|g| g.networks.get(&flow.network)).map_or(0.0, |l| l.cost))
        } else {
            (group.cost, own.map_or(0.0, |g| g.cost))
        };
        (mine + cost <= most - newest.cost() + 0.001).then_some((Flow { group: key, network }, id))
    }

    /// Milliseconds of work that would be done before a newcomer of `flow` with `cost`, if nobody else came.
    pub fn ahead(&self, flow: Flow, cost: f64) -> f64 {
        let own = self.groups.get(&flow.group);
        let in_lane = own.and_then(|g| g.networks.get(&flow.network)).map_or(0.0, |lane| lane.cost);
        let turns = own.into_iter().flat_map(|g| &g.networks).filter(|(network, _)| **network != flow.network);
        let in_group = in_lane + turns.map(|(_, lane)| lane.cost.min(in_lane + cost)).sum::<f64>();
        let others = self.groups.iter().filter(|(key, _)| **key != flow.group);
        in_group + others.map(|(_, group)| group.cost.min(in_group + cost)).sum::<f64>()
    }

    fn count(&mut self, by: isize, cost: f64, large: bool) {
        self.len = self.len.saturating_add_signed(by);
        self.cost += cost;
        self.large_cost += if large { cost } else { 0.0 };
    }

    /// Books one out, and forgets flows that are empty and whose clocks owe nothing.
    fn taken(&mut self, item: &T) {
        let flow = item.flow();
        self.count(-1, -item.cost(), item.large());
        if self.len == 0 {
            // Nothing waits, so nothing is owed; and sums of fractions start from a clean zero.
            *self = Self::default();
            return;
        }
        if let Some(group) = self.groups.get_mut(&flow.group) {
            group.cost -= item.cost();
            if let Some(lane) = group.networks.get_mut(&flow.network) {
                lane.cost = if lane.jobs.is_empty() { 0.0 } else { lane.cost - item.cost() };
            }
            if group.networks.values().all(|lane| lane.jobs.is_empty()) {
                group.cost = 0.0;
            }
        }
        let (now, mut kept) = (self.now, 0);
        let mut keep = |busy: bool, owes: bool| {
            kept += usize::from(!busy);
            busy || (owes && kept <= MAX_IDLE)
        };
        for group in self.groups.values_mut() {
            let now = group.now;
            group.networks.retain(|_, lane| keep(!lane.jobs.is_empty(), lane.turn > now));
        }
        self.groups.retain(|_, group| keep(group.cost > 0.0, group.turn > now));
    }
}

/// How many share, as a divisor.
fn share(flows: usize) -> f64 {
    f64::from(u32::try_from(flows.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
