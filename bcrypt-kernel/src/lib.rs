//! bcrypt (Provos and Mazières 1999) of several passwords in turn on one thread: Blowfish waits for its tables at every step, and
//! another chain can go on meanwhile, as long as the tables of all of them (4 KiB each) stay in the first cache.
//!
//! One password alone is as fast with the `bcrypt` crate, which this one has to agree with.

mod pi;
#[cfg(test)]
mod tests;

use std::array::from_fn;
use zeroize::Zeroize;

/// bcrypt reads no more bytes of a key.
const KEY: usize = 72;

/// One password to hash.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// As bcrypt reads it: with its final NUL, unless it has 72 bytes or more. Not empty.
    pub key: &'a [u8],
    /// 16 bytes.
    pub salt: [u8; 16],
}

/// So many go in turn; more do so in groups.
pub const LANES: usize = 4;

/// The tags (24 bytes, of which crypt strings keep 23) of passwords with one cost: 2^`cost` rounds, at most 31.
///
/// What was secret on the stack is overwritten, but for registers and what the compiler spilled of them.
///
/// # Panics
/// An empty key, or a cost above 31.
pub fn bcrypt(cost: u32, inputs: &[Input<'_>]) -> Vec<[u8; 24]> {
    let mut tags = Vec::with_capacity(inputs.len());
    for group in inputs.chunks(LANES) {
        match *group {
            [a, b] => tags.extend(in_turn(cost, &[a, b])),
            [a, b, c] => tags.extend(in_turn(cost, &[a, b, c])),
            [a, b, c, d] => tags.extend(in_turn(cost, &[a, b, c, d])),
            _ => tags.extend(group.iter().flat_map(|alone| in_turn(cost, &[*alone]))),
        }
    }
    tags
}

/// The lanes are known to the compiler, which keeps the halves of all of them in registers.
fn in_turn<const N: usize>(cost: u32, inputs: &[Input<'_>; N]) -> [[u8; 24]; N] {
    assert!(cost < 32, "the cost of bcrypt ends at 31");
    let mut keys: [Key; N] = from_fn(|n| {
        assert!(!inputs[n].key.is_empty(), "a key has its NUL at least");
        words(inputs[n].key.iter().copied().take(KEY).cycle())
    });
    let salts: [Key; N] = from_fn(|n| words(inputs[n].salt.into_iter().cycle()));
    let mut lanes = Lanes::new();
    lanes.expand(&keys, Some(&salts));
    for _ in 0..1_u64 << cost {
        lanes.expand(&keys, None);
        lanes.expand(&salts, None);
    }
    keys.zeroize();
    let mut tags = [[0; 24]; N];
    for (at, text) in b"OrpheanBeholderScryDoubt".chunks_exact(8).enumerate() {
        let [left, right] = words(text.iter().copied());
        let (mut l, mut r) = ([left; N], [right; N]);
        for _ in 0..64 {
            lanes.encipher(&mut l, &mut r);
        }
        for n in 0..N {
            tags[n][at * 8..at * 8 + 4].copy_from_slice(&l[n].to_be_bytes());
            tags[n][at * 8 + 4..at * 8 + 8].copy_from_slice(&r[n].to_be_bytes());
        }
    }
    lanes.p.zeroize();
    lanes.s.zeroize();
    tags
}

/// As many words as the key schedule reads.
type Key = [u32; 18];

/// Big-endian words; missing bytes are zero.
fn words<const W: usize>(mut bytes: impl Iterator<Item = u8>) -> [u32; W] {
    from_fn(|_| u32::from_be_bytes(from_fn(|_| bytes.next().unwrap_or(0))))
}

/// The tables of `N` Blowfish ciphers.
struct Lanes<const N: usize> {
    p: [[u32; 18]; N],
    s: [[[u32; 256]; 4]; N],
}

impl<const N: usize> Lanes<N> {
    /// The state before any key.
    fn new() -> Self {
        Self { p: [pi::P; N], s: [pi::S; N] }
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
    fn expand(&mut self, keys: &[Key; N], salts: Option<&[Key; N]>) {
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
