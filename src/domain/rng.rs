//! Randomness as an argument: the system's for the service, a seeded one for tests.

use super::time::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills `into` with random bytes.
    fn fill(&self, into: &mut [u8]);
    /// Random bytes that no other call ever gets: the nonces of ciphers. A source that repeats itself on purpose (a request that
    /// runs again, and is to make the same ids) doesn't repeat these.
    fn fill_once(&self, into: &mut [u8]) {
        self.fill(into);
    }
    /// The time that goes into an id made at `now`: another one only where a request runs again.
    fn id_time(&self, now: Timestamp) -> Timestamp {
        now
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>(rng: &dyn Rng) -> [u8; N] {
    let mut out = [0u8; N];
    rng.fill(&mut out);
    out
}

/// The cryptographic generator of aws-lc, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system is asked")]
    fn fill(&self, into: &mut [u8]) {
        // It fails only where the operating system has no entropy source at all; going on would be worse.
        aws_lc_rs::rand::fill(into).expect("the operating system gives randomness");
    }
}

/// Repeatable bytes (SplitMix64). For tests only: it is no cryptographic generator.
#[derive(Debug)]
pub struct SeededRng(AtomicU64);

impl SeededRng {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Rng for SeededRng {
    fn fill(&self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
