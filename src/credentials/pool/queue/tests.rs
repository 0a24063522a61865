use super::*;

#[derive(Debug, PartialEq, Clone, Copy)]
struct Job {
    group: u8,
    network: u8,
    cost: f64,
    large: bool,
}

impl Item for Job {
    fn flow(&self) -> Flow {
        flow(self.group, self.network)
    }
    fn cost(&self) -> f64 {
        self.cost
    }
    fn large(&self) -> bool {
        self.large
    }
}

fn flow(group: u8, network: u8) -> Flow {
    Flow { group: [group; 16], network: Network::V4([192, 0, 2, network]) }
}

fn job(group: u8, network: u8, cost: f64) -> Job {
    Job { group, network, cost, large: false }
}

fn filled(jobs: &[Job]) -> FairQueue<Job> {
    let mut queue = FairQueue::default();
    for (id, job) in (0u64..).zip(jobs) {
        queue.push(id, *job);
    }
    queue
}

fn order(queue: &mut FairQueue<Job>) -> Vec<(u8, u8)> {
    std::iter::from_fn(|| queue.pop(true)).map(|job| (job.group, job.network)).collect()
}

#[test]
fn groups_take_turns_and_networks_within_them() {
    let mut queue = filled(&[job(1, 1, 10.0), job(1, 1, 10.0), job(1, 1, 10.0), job(1, 2, 10.0), job(2, 9, 10.0), job(2, 9, 10.0)]);
    assert_eq!(order(&mut queue), [(1, 1), (2, 9), (1, 2), (2, 9), (1, 1), (1, 1)]);
    assert_eq!((queue.len(), queue.cost()), (0, 0.0));
}

#[test]
fn turns_are_counted_in_milliseconds() {
    let mut queue = filled(&[[job(1, 1, 40.0); 4].as_slice(), &[job(2, 1, 10.0); 16]].concat());
    let first: Vec<_> = order(&mut queue).into_iter().take(10).collect();
    let heavy = first.iter().filter(|(group, _)| *group == 1).count();
    assert_eq!(heavy, 2, "one of 40 ms for four of 10: {first:?}");
}

#[test]
fn whoever_comes_back_at_once_does_not_overtake_those_who_wait() {
    let mut queue = filled(&[job(1, 1, 10.0), job(2, 1, 10.0), job(2, 1, 10.0), job(3, 1, 10.0), job(3, 1, 10.0)]);
    let mut served = Vec::new();
    for id in 100..106 {
        let group = queue.pop(true).unwrap().group;
        served.push(group);
        if group == 1 {
            queue.push(id, job(1, 1, 10.0));
        }
    }
    // It owes for its first turn; of equals the one that waits longest goes first.
    assert_eq!(served, [1, 2, 3, 2, 3, 1]);
}

#[test]
fn without_the_large_block_those_who_need_it_wait_and_the_others_go_on() {
    let large = |group, network| Job { large: true, ..job(group, network, 100.0) };
    let mut queue = filled(&[large(1, 1), job(1, 1, 10.0), job(1, 2, 10.0), large(2, 1)]);
    assert_eq!(queue.large_cost(), 200.0);
    assert_eq!(queue.pop(false).map(|j| (j.group, j.network)), Some((1, 2)));
    assert_eq!(queue.pop(false), None, "what is left is large, or behind it in its flow");
    assert_eq!(order(&mut queue).len(), 3);
    assert_eq!(queue.large_cost(), 0.0);
}

#[test]
fn the_newest_of_whoever_has_most_gives_way_to_whoever_has_less() {
    let mut queue = filled(&[job(1, 1, 10.0), job(1, 2, 10.0), job(1, 2, 11.0), job(2, 1, 10.0)]);
    assert_eq!(queue.displace(flow(1, 2), 10.0), None, "it has most itself");
    assert_eq!(queue.displace(flow(2, 1), 10.0).map(|j| j.cost), Some(11.0));
    assert_eq!(queue.displace(flow(2, 1), 10.0), None, "now they have alike");
    assert_eq!(queue.displace(flow(1, 3), 10.0), None, "of one group, but nobody has two");
    queue.push(9, job(1, 2, 10.0));
    assert_eq!(queue.displace(flow(1, 3), 10.0).map(|j| j.network), Some(2));
    assert_eq!(queue.len(), 3);
}

#[test]
fn what_is_ahead_is_what_turns_give() {
    let queue = filled(&[[job(1, 1, 10.0); 50].as_slice(), &[job(2, 1, 10.0); 2], &[job(2, 2, 10.0)]].concat());
    assert_eq!(queue.ahead(flow(3, 1), 10.0), 20.0, "one of each group");
    assert_eq!(queue.ahead(flow(2, 2), 10.0), 10.0 + 20.0 + 40.0, "its own, as much of its neighbour, as much of the other group");
    assert_eq!(queue.ahead(flow(1, 1), 10.0), 530.0, "all");
}

#[test]
fn one_in_the_middle_can_leave() {
    let mut queue = filled(&[job(1, 1, 10.0), job(1, 1, 20.0), job(1, 1, 30.0)]);
    assert_eq!(queue.remove(flow(1, 1), 1).map(|j| j.cost), Some(20.0));
    assert_eq!(queue.remove(flow(1, 1), 1), None);
    assert_eq!(queue.remove(flow(1, 2), 0), None);
    assert_eq!((queue.len(), queue.cost()), (2, 40.0));
    assert_eq!(order(&mut queue).len(), 2);
}

#[test]
fn flows_that_wait_for_nothing_are_forgotten() {
    let mut queue = filled(&[job(255, 255, 10.0)]);
    for id in 1..100_000u64 {
        let [_, _, _, _, _, a, b, c] = id.to_be_bytes();
        queue.push(id, Job { group: c, network: a ^ b, ..job(0, 0, 10.0) });
        queue.pop(true);
    }
    let lanes: usize = queue.groups.values().map(|group| group.networks.len()).sum();
    assert!(queue.groups.len() <= MAX_IDLE + 2 && lanes <= 2 * (MAX_IDLE + 2), "{} groups, {lanes} lanes", queue.groups.len());
    assert_eq!(queue.len(), 1);
}
