//! The one place that computes Argon2 (RFC 9106). Everything else asks here; the work is done by the workspace's `argon2-kernel`.

use super::Argon2Params;
pub use argon2_kernel::{BadInput, Input, Memory, Variant};
use std::time::{Duration, Instant};

/// Fills `tag` (4 bytes or more). `memory` is as it was filled afterwards: the caller wipes it when it is done hashing. (After a
/// single pass the first two blocks of a lane are wiped at once: they are a fast hash of the password.)
///
/// # Errors
/// [`BadInput`].
pub fn argon2(input: &Input<'_>, memory: &mut Memory, tag: &mut [u8]) -> Result<(), BadInput> {
    argon2_kernel::argon2(input, memory.blocks(), tag)
}

/// Hashes per second of the bare kernel: `threads` threads, a block each, for `time`. What a pool can be measured against.
///
/// # Panics
/// If there is no memory for the blocks: this is for benches.
pub fn raw_rate(params: Argon2Params, threads: usize, time: Duration) -> f64 {
    let began = Instant::now();
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let run = || {
            let input = Input {
                variant: Variant::Id,
                version: 0x13,
                m_kib: params.m_kib(),
                t: params.t(),
                p: params.p(),
                password: b"measured password",
                salt: b"measured salt 16",
                secret: b"",
                data: b"",
            };
            let mut memory = Memory::map(input.blocks()).expect("memory for a bench");
            let mut done = 0;
            while began.elapsed() < time {
                argon2(&input, &mut memory, &mut [0; 32]).expect("parameters were checked when made");
                done += 1;
            }
            done
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().expect("the loop above does not panic")).collect()
    });
    f64::from(counts.iter().sum::<u32>()) / began.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106, section 5: 32 KiB, 3 passes, 4 lanes, with secret and associated data.
    fn rfc(variant: Variant) -> String {
        let input =
            Input { variant, version: 0x13, m_kib: 32, t: 3, p: 4, password: &[1; 32], salt: &[2; 16], secret: &[3; 8], data: &[4; 12] };
        let mut tag = [0; 32];
        argon2(&input, &mut Memory::map(input.blocks()).unwrap(), &mut tag).unwrap();
        tag.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_vectors_of_rfc_9106() {
        assert_eq!(rfc(Variant::D), "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb");
        assert_eq!(rfc(Variant::I), "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8");
        assert_eq!(rfc(Variant::Id), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }
}
