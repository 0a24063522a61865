//! Does it pay to check several bcrypt hashes in turn on one thread? Blowfish waits for its tables at every step, so that another chain
//! could run meanwhile, as long as the tables of all of them (4 KiB each) stay in the first cache.
//!
//! bcrypt in lockstep lanes here (Provos and Mazières 1999) beside the crate that the service uses, which it has to agree with. Times
//! are of one hash: that of a round divided by its lanes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::{
    array::from_fn,
    hint::black_box,
    time::{Duration, Instant},
};

/// Of the check that all agree: a debug build does it too.
const LOW_COST: u32 = 4;
/// What other systems' hashes usually have.
const COST: u32 = if cfg!(debug_assertions) { LOW_COST } else { 10 };

/// The tables of one or several Blowfish ciphers.
#[derive(Clone)]
struct Lanes<const N: usize> {
    p: [[u32; 18]; N],
    s: [[[u32; 256]; 4]; N],
}

/// Passwords with their final NUL, as bcrypt takes them, repeated to 72 bytes.
type Key = [u32; 18];
type Salt = [u32; 4];

impl<const N: usize> Lanes<N> {
    /// The state before any key: the digits of pi.
    fn new(pi: &[u32]) -> Self {
        let p = from_fn(|n| pi[n]);
        let s = from_fn(|table| from_fn(|n| pi[18 + table * 256 + n]));
        Self { p: [p; N], s: [s; N] }
    }

    #[inline(always)]
    fn encipher(&self, l: &mut [u32; N], r: &mut [u32; N]) {
        for round in (0..16).step_by(2) {
            self.half(l, r, round);
            self.half(r, l, round + 1);
        }
        for n in 0..N {
            let left = l[n];
            l[n] = r[n] ^ self.p[n][17];
            r[n] = left ^ self.p[n][16];
        }
    }

    #[inline(always)]
    fn half(&self, l: &mut [u32; N], r: &mut [u32; N], round: usize) {
        for n in 0..N {
            l[n] ^= self.p[n][round];
            let [a, b, c, d] = l[n].to_be_bytes().map(usize::from);
            let [s0, s1, s2, s3] = &self.s[n];
            r[n] ^= (s0[a].wrapping_add(s1[b]) ^ s2[c]).wrapping_add(s3[d]);
        }
    }

    /// Mixes keys in, and salts where there are any.
    fn expand(&mut self, keys: &[Key; N], salts: Option<&[Salt; N]>) {
        for (p, key) in self.p.iter_mut().zip(keys) {
            for (p, key) in p.iter_mut().zip(key) {
                *p ^= key;
            }
        }
        let (mut l, mut r) = ([0; N], [0; N]);
        let mut step = |lanes: &Self, at: usize| {
            if let Some(salts) = salts {
                for n in 0..N {
                    l[n] ^= salts[n][at % 4];
                    r[n] ^= salts[n][at % 4 + 1];
                }
            }
            lanes.encipher(&mut l, &mut r);
            (l, r)
        };
        for at in (0..18).step_by(2) {
            let (l, r) = step(self, at);
            for n in 0..N {
                (self.p[n][at], self.p[n][at + 1]) = (l[n], r[n]);
            }
        }
        for table in 0..4 {
            for at in (0..256).step_by(2) {
                // 18 words of P were first.
                let (l, r) = step(self, table * 256 + at + 18);
                for n in 0..N {
                    (self.s[n][table][at], self.s[n][table][at + 1]) = (l[n], r[n]);
                }
            }
        }
    }
}

fn bcrypt<const N: usize>(pi: &[u32], cost: u32, passwords: &[&[u8]; N], salts: &[[u8; 16]; N]) -> [[u8; 24]; N] {
    let words = |bytes: &mut dyn Iterator<Item = u8>| bytes.take(4).fold(0, |word, byte| word << 8 | u32::from(byte));
    let keys: [Key; N] = from_fn(|n| {
        let mut bytes = passwords[n].iter().copied().chain([0]).cycle();
        from_fn(|_| words(&mut bytes))
    });
    let salts: [Salt; N] = from_fn(|n| {
        let mut bytes = salts[n].iter().copied();
        from_fn(|_| words(&mut bytes))
    });
    let salt_keys: [Key; N] = from_fn(|n| from_fn(|at| salts[n][at % 4]));
    let mut lanes = Lanes::new(pi);
    lanes.expand(&keys, Some(&salts));
    for _ in 0..1_u32 << cost {
        lanes.expand(&keys, None);
        lanes.expand(&salt_keys, None);
    }
    let mut out = [[0; 24]; N];
    for (at, text) in b"OrpheanBeholderScryDoubt".chunks(8).enumerate() {
        let mut text = text.iter().copied();
        let (mut l, mut r) = ([words(&mut text); N], [words(&mut text); N]);
        for _ in 0..64 {
            lanes.encipher(&mut l, &mut r);
        }
        for n in 0..N {
            out[n][at * 8..at * 8 + 4].copy_from_slice(&l[n].to_be_bytes());
            out[n][at * 8 + 4..at * 8 + 8].copy_from_slice(&r[n].to_be_bytes());
        }
    }
    out
}

/// The first fractional digits of pi, 32 bits each, by Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239).
fn pi() -> Vec<u32> {
    const WORDS: usize = 18 + 4 * 256;
    // One word before the point, two for what rounding takes.
    let mut sum = vec![0_u32; WORDS + 3];
    for (factor, x, minus) in [(16, 5_u64, false), (4, 239, true)] {
        let mut power = vec![0_u32; sum.len()];
        power[0] = factor;
        divide(&mut power, x);
        for n in 0.. {
            let mut term = power.clone();
            divide(&mut term, 2 * n + 1);
            if term.iter().all(|word| *word == 0) {
                break;
            }
            add(&mut sum, &term, minus != (n % 2 == 1));
            divide(&mut power, x * x);
        }
    }
    sum[1..=WORDS].to_vec()
}

fn divide(number: &mut [u32], by: u64) {
    let mut rest = 0;
    for word in number {
        let now = rest << 32 | u64::from(*word);
        *word = u32::try_from(now / by).expect("the rest is less than the divisor");
        rest = now % by;
    }
}

fn add(sum: &mut [u32], term: &[u32], minus: bool) {
    let mut carry = 0_i64;
    for (a, b) in sum.iter_mut().zip(term).rev() {
        let now = i64::from(*a) + if minus { -i64::from(*b) } else { i64::from(*b) } + carry;
        *a = u32::try_from(now & 0xffff_ffff).expect("32 bits");
        carry = now >> 32;
    }
}

fn lanes<const N: usize>(c: &mut Criterion, pi: &[u32]) {
    let passwords: [Vec<u8>; N] = from_fn(|n| format!("correct horse {n}").into_bytes());
    let passwords: [&[u8]; N] = from_fn(|n| &passwords[n][..]);
    let salts: [[u8; 16]; N] = from_fn(|n| from_fn(|at| (n * 16 + at) as u8));
    let ours = bcrypt(pi, LOW_COST, &passwords, &salts);
    for n in 0..N {
        let with_nul = [passwords[n], &[0]].concat();
        assert_eq!(ours[n], ::bcrypt::bcrypt(LOW_COST, salts[n], &with_nul), "lane {n} of {N}");
    }
    c.benchmark_group("bcrypt").sample_size(20).bench_function(BenchmarkId::new("lanes", N), |b| {
        b.iter_custom(|times| {
            let began = Instant::now();
            for _ in 0..times {
                black_box(bcrypt(pi, COST, black_box(&passwords), &salts));
            }
            began.elapsed() / u32::try_from(N).expect("few")
        });
    });
}

fn compare(c: &mut Criterion) {
    let pi = pi();
    c.benchmark_group("bcrypt")
        .sample_size(20)
        .measurement_time(Duration::from_secs(8))
        .bench_function("the crate", |b| b.iter(|| ::bcrypt::bcrypt(COST, [7; 16], black_box(b"correct horse 0\0"))));
    lanes::<1>(c, &pi);
    lanes::<2>(c, &pi);
    lanes::<3>(c, &pi);
    lanes::<4>(c, &pi);
}

criterion_group!(benches, compare);
criterion_main!(benches);
