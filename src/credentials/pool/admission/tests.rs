//! The decisions, with time as an argument and no hashing.

use super::*;
use crate::domain::network::Network;
use tokio::sync::oneshot;

fn job(group: u8, cost: f64, at: Instant) -> Job {
    // The answers are of no interest here: the receiver is dropped.
    let (reply, _) = oneshot::channel();
    let work = Work::Hash { password: Password::new("x").unwrap(), reply };
    Job { work, cost, large: false, turn: None, flow: Flow { group: [group; 16], network: Network::V4([192, 0, 2, 1]) }, at, expected: 0.0 }
}

/// Enters and says whether it got in, and how many gave way.
fn enter(admission: &mut Admission, job: Job, class: Class) -> (Result<u64, Refused>, usize) {
    let mut displaced = Vec::new();
    let entered = admission.enter(job, class, &mut displaced);
    (entered, displaced.len())
}

const DEADLINE: Duration = Duration::from_millis(1000);

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Threads that are busy for so many milliseconds.
fn busy(threads: usize, capacity: usize, cost: f64, now: Instant) -> Admission {
    let mut admission = Admission::new(threads, capacity, DEADLINE);
    for thread in 0..threads {
        enter(&mut admission, job(200, cost, now), Class::Interactive).0.unwrap();
        assert!(matches!(admission.next(thread, now), Next::Run(_)));
    }
    admission
}

#[test]
fn what_cannot_start_in_time_is_refused_at_once() {
    let now = Instant::now();
    let mut admission = busy(2, 1000, 100.0, now);
    let mut entered = 0;
    while enter(&mut admission, job(1, 100.0, now), Class::Interactive).0.is_ok() {
        entered += 1;
    }
    // Two threads are free after 100 ms, and every 100 ms from then on; whoever starts at 0.9 s on average is the last.
    assert_eq!(entered, 17);
    // Half a second later the threads have done four more each.
    for step in 1..=4 {
        for thread in 0..2 {
            admission.finished(thread, false, 1);
            assert!(matches!(admission.next(thread, after(now, step * 100)), Next::Run(_)));
        }
    }
    assert_eq!(enter(&mut admission, job(1, 100.0, after(now, 400)), Class::Interactive).0, Ok(19));
}

#[test]
fn an_idle_thread_takes_what_comes_however_long_the_other_is_busy() {
    let now = Instant::now();
    let mut admission = Admission::new(2, 10, DEADLINE);
    enter(&mut admission, job(1, 60_000.0, now), Class::Interactive).0.unwrap();
    assert!(matches!(admission.next(0, now), Next::Run(_)));
    assert!(enter(&mut admission, job(1, 10.0, now), Class::Interactive).0.is_ok());
}

#[test]
fn a_place_is_given_up_for_whoever_has_less_and_not_for_whoever_has_more() {
    let now = Instant::now();
    let mut admission = busy(1, 4, 10.0, now);
    for _ in 0..4 {
        assert_eq!(enter(&mut admission, job(1, 10.0, now), Class::Interactive).1, 0);
    }
    assert_eq!(enter(&mut admission, job(1, 10.0, now), Class::Interactive), (Err(Refused::Full), 0));
    assert_eq!(enter(&mut admission, job(2, 10.0, now), Class::Interactive).1, 1);
    assert_eq!(enter(&mut admission, job(2, 10.0, now), Class::Interactive).1, 1);
    assert_eq!(enter(&mut admission, job(2, 10.0, now), Class::Interactive), (Err(Refused::Full), 0), "they have two each");
    assert_eq!(enter(&mut admission, job(3, 10.0, now), Class::Interactive).1, 1);
    assert_eq!(admission.depth(), 4);
}

#[test]
fn what_waited_too_long_all_the_same_is_not_hashed() {
    let now = Instant::now();
    let mut admission = busy(1, 10, 10.0, now);
    enter(&mut admission, job(1, 10.0, now), Class::Interactive).0.unwrap();
    enter(&mut admission, job(1, 10.0, after(now, 500)), Class::Interactive).0.unwrap();
    // The estimate was wrong: the thread comes back only now.
    admission.finished(0, false, 1);
    assert!(matches!(admission.next(0, after(now, 1001)), Next::Late(_)));
    assert!(matches!(admission.next(0, after(now, 1001)), Next::Run(_)));
}

#[test]
fn background_goes_last_but_not_never_and_has_no_deadline() {
    let now = Instant::now();
    let mut admission = Admission::new(1, 200, Duration::from_secs(60));
    enter(&mut admission, job(9, 10.0, now), Class::Background).0.unwrap();
    for _ in 0..100 {
        enter(&mut admission, job(1, 10.0, now), Class::Interactive).0.unwrap();
    }
    let mut served = Vec::new();
    while let Next::Run(job) = admission.next(0, now) {
        served.push(job.flow.group[0]);
        admission.finished(0, false, 1);
    }
    assert_eq!(served.iter().position(|group| *group == 9), Some(BACKGROUND_TURN as usize));
    enter(&mut admission, job(9, 10.0, now), Class::Background).0.unwrap();
    assert!(matches!(admission.next(0, after(now, 3_600_000)), Next::Run(_)), "an hour late is not too late");
    for _ in 0..200 {
        enter(&mut admission, job(9, 10.0, now), Class::Background).0.unwrap();
    }
    assert_eq!(enter(&mut admission, job(9, 10.0, now), Class::Background).0, Err(Refused::Full));
}

#[test]
fn one_at_a_time_has_the_large_block() {
    let now = Instant::now();
    let mut admission = Admission::new(2, 10, DEADLINE);
    for _ in 0..2 {
        enter(&mut admission, Job { large: true, ..job(1, 400.0, now) }, Class::Interactive).0.unwrap();
    }
    assert!(matches!(admission.next(0, now), Next::Run(_)));
    assert!(matches!(admission.next(1, now), Next::Nothing));
    // Small ones go on meanwhile.
    enter(&mut admission, job(2, 10.0, now), Class::Interactive).0.unwrap();
    assert!(matches!(admission.next(1, now), Next::Run(_)));
    admission.finished(1, false, 1);
    assert!(matches!(admission.next(1, now), Next::Nothing));
    admission.finished(0, true, 1);
    assert!(matches!(admission.next(1, now), Next::Run(_)));
    // Those who would wait for it beyond the deadline are told so.
    for _ in 0..3 {
        enter(&mut admission, Job { large: true, ..job(1, 400.0, now) }, Class::Interactive).0.unwrap();
    }
    assert_eq!(enter(&mut admission, Job { large: true, ..job(1, 400.0, now) }, Class::Interactive).0, Err(Refused::Full));
    assert!(enter(&mut admission, job(1, 10.0, now), Class::Interactive).0.is_ok());
}

#[test]
fn stopping_lets_nobody_in_and_does_what_is_queued() {
    let now = Instant::now();
    let mut admission = busy(1, 10, 10.0, now);
    enter(&mut admission, job(1, 10.0, now), Class::Interactive).0.unwrap();
    admission.stop();
    assert_eq!(enter(&mut admission, job(1, 10.0, now), Class::Interactive).0, Err(Refused::Stopping));
    admission.finished(0, false, 1);
    assert!(matches!(admission.next(0, now), Next::Run(_)));
    assert!(matches!(admission.next(0, now), Next::Stop));
}

/// Ten times what two threads can do, for 20 s: 95 % of it from one tenant (out of many networks), the rest from ten others,
/// who together would need half of the machine.
#[test]
fn a_tenant_with_95_percent_of_the_attempts_leaves_the_others_theirs() {
    let start = Instant::now();
    let mut admission = Admission::new(2, 128, DEADLINE);
    let mut free_at = [0u64; 2];
    let (mut quiet_tried, mut quiet_served, mut served, mut late, mut vain, mut longest) = (0, 0, 0, 0, 0, Duration::ZERO);
    for millis in 0..20_000u64 {
        let now = after(start, millis);
        // 1,000 attempts a second.
        let quiet = millis % 20 == 0;
        quiet_tried += u32::from(quiet);
        let group = if quiet { 1 + (millis / 20 % 10) as u8 } else { 0 };
        let mut job = job(group, 20.0, now);
        job.flow.network = Network::V4([192, 0, (millis % 7) as u8, (millis % 251) as u8]);
        let place = admission.has_place(job.flow, job.cost, now);
        let entered = enter(&mut admission, job, Class::Interactive).0.is_ok();
        assert!(place || !entered, "there was a place all the same");
        vain += u32::from(place && !entered);
        for (thread, free_at) in free_at.iter_mut().enumerate() {
            if *free_at > millis {
                continue;
            }
            if *free_at != 0 {
                admission.finished(thread, false, 1);
                *free_at = 0;
            }
            loop {
                match admission.next(thread, now) {
                    Next::Run(job) => {
                        *free_at = millis + 20;
                        served += 1;
                        quiet_served += u32::from(job.flow.group != [0; 16]);
                        longest = longest.max(now - job.at);
                    }
                    Next::Late(_) => {
                        // In the first seconds it isn't known yet how many overtake the noisy one.
                        late += u32::from(millis > 3_000);
                        continue;
                    }
                    Next::Nothing | Next::Stop => {}
                }
                break;
            }
        }
    }
    assert!(f64::from(quiet_served) >= 0.99 * f64::from(quiet_tried), "{quiet_served} of {quiet_tried}");
    assert!(vain < 200, "{vain} of 20,000 were told of a place that they did not get");
    assert!(served >= 1_990, "the threads were never idle: {served}");
    assert!(late * 100 <= served && longest <= DEADLINE, "{late} were let in for nothing, the longest wait was {longest:?}");
}

/// One of bcrypt, by cost.
fn turning(group: u8, cost: u32, at: Instant) -> Job {
    Job { turn: Some(Turn { kind: Kind::Bcrypt { cost }, lanes: 3, walls: [70.0, 80.0, 100.0] }), ..job(group, 70.0, at) }
}

/// The first that thread 0 gets, and what goes in turn with it: groups and how much later they would have begun.
fn taken(admission: &mut Admission, now: Instant) -> (u8, Vec<(u8, f64)>) {
    let Next::Run(first) = admission.next(0, now) else { panic!("nobody waits") };
    let along = admission.along(0, &first, now);
    (first.flow.group[0], along.iter().map(|(job, later)| (job.flow.group[0], *later)).collect())
}

#[test]
fn those_of_a_kind_go_in_turn_as_far_as_they_are_next() {
    let now = Instant::now();
    let mut admission = busy(1, 100, 10.0, now);
    for (group, cost) in [(1, 10), (2, 10), (3, 10), (4, 10), (5, 12), (6, 10)] {
        enter(&mut admission, turning(group, cost, now), Class::Interactive).0.unwrap();
    }
    enter(&mut admission, job(7, 10.0, now), Class::Interactive).0.unwrap();
    enter(&mut admission, turning(8, 10, now), Class::Interactive).0.unwrap();
    let expected: [(u8, &[(u8, f64)]); 5] = [(1, &[(2, 70.0), (3, 80.0)]), (4, &[]), (5, &[]), (6, &[]), (7, &[])];
    for (first, along) in expected {
        admission.finished(0, false, 1);
        assert_eq!(taken(&mut admission, now), (first, along.to_vec()));
        if first == 1 {
            // Who comes now waits for all three, and for those before it.
            let waits = 100.0 + admission.interactive.cost();
            enter(&mut admission, job(9, 10.0, now), Class::Background).0.unwrap();
            assert!((admission.wait(now, false, admission.interactive.cost()) - waits).abs() < 0.001);
        }
    }
}

#[test]
fn nobody_goes_in_turn_while_a_thread_is_idle_or_when_too_late() {
    let now = Instant::now();
    let mut admission = Admission::new(2, 100, DEADLINE);
    for group in 1..=3 {
        enter(&mut admission, turning(group, 10, now), Class::Interactive).0.unwrap();
    }
    assert_eq!(taken(&mut admission, now), (1, vec![]), "the other thread is about to take the next");
    let Next::Run(other) = admission.next(1, now) else { panic!("one waits") };
    assert_eq!(other.flow.group[0], 2);
    assert_eq!(admission.along(1, &other, now).len(), 1);
    admission.finished(0, false, 1);
    for at in [now, after(now, 500)] {
        enter(&mut admission, turning(4, 10, at), Class::Interactive).0.unwrap();
        enter(&mut admission, turning(5, 10, now), Class::Interactive).0.unwrap();
    }
    // The other thread has 80 ms for two: what goes along would have begun there, 20 ms before this one is done with the first.
    let late = after(now, 60);
    assert_eq!(taken(&mut admission, late), (4, vec![(5, 20.0), (4, 20.0)]));
    admission.finished(0, false, 3);
    // One that is past its time is left to be refused.
    let mut admission = busy(1, 100, 10.0, now);
    for at in [after(now, 100), now] {
        enter(&mut admission, turning(1, 10, at), Class::Interactive).0.unwrap();
    }
    admission.finished(0, false, 1);
    assert_eq!(taken(&mut admission, after(now, 1001)), (1, vec![]));
    admission.finished(0, false, 1);
    assert!(matches!(admission.next(0, after(now, 1001)), Next::Late(_)));
}
