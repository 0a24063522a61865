//! Hashes a second with m=19456, t=2, p=1, by everything there is, in one run: `cargo bench -p argon2-kernel`.
//!
//! The candidates take turns in short slices, only the processor time they get counts, and medians are compared: so what else
//! the machine does hits them alike. Memory is the same huge pages for all but the first line.
//! `COMPARE_ROUNDS` is how many turns each gets (25). `ARGON2_C` names a shared library of the reference implementation in C
//! (see `c-library` beside this file); without it that line is left out.

mod reference;

use argon2_kernel::{Input, Memory, Path, Variant, argon2_by};
use reference::Reference;
use std::{env, sync::Barrier, thread, time::Duration};

/// Today's parameters of the Password Storage Cheat Sheet.
const INPUT: Input<'_> = Input {
    variant: Variant::Id,
    version: 0x13,
    m_kib: 19_456,
    t: 2,
    p: 1,
    password: b"measured password",
    salt: b"measured salt 16",
    secret: b"",
    data: b"",
};
const SLICE: Duration = Duration::from_millis(120);

/// What takes turns.
#[derive(Clone, Copy)]
enum Candidate {
    /// Copies as much as a block of memory, to see what memory gives.
    Copy,
    /// The crate as most use it: memory from the allocator, given back after each hash.
    Fresh,
    /// One hash after the other in the same huge pages.
    One(Path),
    /// The reference implementation in C, in the same huge pages.
    C(Reference),
}

/// Memory of a thread: to hash in, and to copy to.
type Own = [Memory; 2];

fn own() -> Own {
    [(); 2].map(|()| Memory::map(INPUT.blocks()).expect("memory for a bench"))
}

impl Candidate {
    /// Does its work once.
    fn run(self, [one, two]: &mut Own, tag: &mut [u8; 32]) {
        match self {
            Self::Copy => two.blocks().copy_from_slice(one.blocks()),
            Self::Fresh => {
                let params = argon2::Params::new(INPUT.m_kib, INPUT.t, INPUT.p, Some(32)).expect("right parameters");
                let context = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
                context.hash_password_into(INPUT.password, INPUT.salt, tag).expect("right input");
            }
            Self::One(path) => argon2_by(path, &INPUT, one.blocks(), tag).expect("right input"),
            Self::C(reference) => reference.run(&INPUT, one.blocks(), tag),
        }
    }
    fn name(self) -> String {
        match self {
            Self::Copy => "copying 19 MiB".to_owned(),
            Self::Fresh => "argon2 crate, fresh memory".to_owned(),
            Self::One(Path::Portable) => "argon2 crate, reused, huge pages".to_owned(),
            Self::One(path) => format!("ours, {path:?}"),
            Self::C(_) => "C, reused, huge pages".to_owned(),
        }
    }
}

/// Processor time that this thread has had: what others take of the processor doesn't count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists wherever this runs (else the time stays zero and the bench would not end), and `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Units of work a second of so many threads at once, each for a slice.
fn slice(candidate: Candidate, memories: &mut [Own]) -> f64 {
    let barrier = &Barrier::new(memories.len());
    thread::scope(|scope| {
        let threads: Vec<_> = memories
            .iter_mut()
            .map(|own| {
                scope.spawn(move || {
                    barrier.wait();
                    let (began, mut done) = (cpu_time(), 0_u32);
                    while cpu_time() - began < SLICE {
                        candidate.run(own, &mut [0; 32]);
                        done += 1;
                    }
                    f64::from(done) / (cpu_time() - began).as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic in a slice")).sum()
    })
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// All of them compute the same.
fn check(candidates: &[Candidate]) {
    let (mut own, mut expected) = (own(), [0; 32]);
    Candidate::One(Path::Portable).run(&mut own, &mut expected);
    for candidate in candidates.iter().filter(|candidate| !matches!(candidate, Candidate::Copy)) {
        let mut tag = [0; 32];
        candidate.run(&mut own, &mut tag);
        assert_eq!(tag, expected, "{}", candidate.name());
    }
}

fn main() {
    let rounds = env::var("COMPARE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let mut candidates = vec![Candidate::Copy, Candidate::Fresh, Candidate::One(Path::Portable)];
    match env::var("ARGON2_C") {
        Ok(library) => {
            println!("C: {library}");
            candidates.push(Candidate::C(Reference::load(&library)));
        }
        Err(_) => println!("C: left out (ARGON2_C is not set)"),
    }
    for path in [Path::Avx2, Path::Avx512].into_iter().filter(|path| path.is_available()) {
        candidates.push(Candidate::One(path));
    }
    check(&candidates);
    for threads in [1, 2] {
        let mut memories: Vec<Own> = (0..threads).map(|_| own()).collect();
        let mut rates = vec![Vec::new(); candidates.len()];
        for _ in 0..=rounds {
            for (candidate, rates) in candidates.iter().zip(&mut rates) {
                rates.push(slice(*candidate, &mut memories));
            }
        }
        // The first round brings the pages in.
        let medians: Vec<f64> = rates.iter_mut().map(|rates| median(&mut rates[1..])).collect();
        report(threads, rounds, &candidates, &medians);
    }
}

fn report(threads: usize, rounds: usize, candidates: &[Candidate], medians: &[f64]) {
    let of = |is: fn(&Candidate) -> bool| candidates.iter().position(is).map(|at| medians[at]);
    let portable = of(|c| matches!(c, Candidate::One(Path::Portable))).unwrap_or(f64::NAN);
    let c = of(|c| matches!(c, Candidate::C(_)));
    // A copy reads and writes a block of memory. A hash reads one block for each that it fills in the first pass, two in the
    // second, and writes each: five times its memory in all.
    let copied = 2.0 * medians[0];
    let gigabytes = copied * INPUT.blocks() as f64 * 1024.0 / 1e9;
    println!("\n{threads} thread{}, medians of {rounds} slices of {} ms", if threads == 1 { "" } else { "s" }, SLICE.as_millis());
    println!("{:<34} {:>8} {:>8} {:>8} {:>10}", "", "a second", "÷ crate", "÷ C", "of memory");
    for (candidate, rate) in candidates.iter().zip(medians) {
        if matches!(candidate, Candidate::Copy) {
            println!("{:<34} {rate:>8.1} {:>8} {:>8} {gigabytes:>5.1} GB/s", candidate.name(), "", "");
            continue;
        }
        let to_c = c.map_or_else(|| "-".to_owned(), |c| format!("{:.2}", rate / c));
        println!("{:<34} {rate:>8.1} {:>8.2} {to_c:>8} {:>8.0} %", candidate.name(), rate / portable, 500.0 * rate / copied);
    }
}
