//! The one place that computes Argon2 (RFC 9106). Everything else asks here, so that a faster kernel has one door to come in by.

use super::{memory::Memory, params::Argon2Params};
use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
use std::time::{Duration, Instant};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Addresses depend on the data.
    D,
    /// They don't.
    I,
    /// First half of the first pass like I, the rest like D.
    Id,
}

/// One computation. Lengths in bytes are those of RFC 9106, 3.1, unless said otherwise.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Which function.
    pub variant: Variant,
    /// 0x10 or 0x13.
    pub version: u32,
    /// Memory in KiB, 8·p or more.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes; computed one after the other.
    pub p: u32,
    /// The password.
    pub password: &'a [u8],
    /// 8 bytes or more.
    pub salt: &'a [u8],
    /// A key, mostly empty.
    pub secret: &'a [u8],
    /// Associated data, mostly empty; at most 32 bytes.
    pub data: &'a [u8],
}

/// The input is outside of what RFC 9106 (or this kernel) allows, or the memory is too small. Nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("input outside of what the kernel computes")]
pub struct BadInput;

impl Input<'_> {
    /// How many blocks of 1 KiB it needs: `m` rounded down to a multiple of 4·p (RFC 9106, 3.2).
    pub const fn blocks(&self) -> usize {
        let unit = 4 * self.p as usize;
        match (self.m_kib as usize).checked_div(unit) {
            Some(units) => units * unit,
            None => 0,
        }
    }
}

/// Fills `tag` (4 bytes or more). `memory` is as it was filled afterwards: the caller wipes it when it is done hashing.
///
/// # Errors
/// [`BadInput`].
pub fn argon2(input: &Input<'_>, memory: &mut Memory, tag: &mut [u8]) -> Result<(), BadInput> {
    let algorithm = match input.variant {
        Variant::D => Algorithm::Argon2d,
        Variant::I => Algorithm::Argon2i,
        Variant::Id => Algorithm::Argon2id,
    };
    let version = Version::try_from(input.version).map_err(|_| BadInput)?;
    let mut params = ParamsBuilder::new();
    params.m_cost(input.m_kib).t_cost(input.t).p_cost(input.p).output_len(tag.len());
    params.data(AssociatedData::new(input.data).map_err(|_| BadInput)?);
    let params = params.build().map_err(|_| BadInput)?;
    let context = match input.secret {
        [] => Argon2::new(algorithm, version, params),
        secret => Argon2::new_with_secret(secret, algorithm, version, params).map_err(|_| BadInput)?,
    };
    let blocks = memory.blocks().get_mut(..input.blocks()).ok_or(BadInput)?;
    context.hash_password_into_with_memory(input.password, input.salt, tag, blocks).map_err(|_| BadInput)?;
    if input.t == 1 {
        // After a single pass the first two blocks of a lane are a fast hash of the password; later passes overwrite them.
        let lane = input.blocks() / input.p as usize;
        for first in memory.blocks()[..input.blocks()].chunks_exact_mut(lane) {
            first[..2].fill(argon2::Block::new());
        }
    }
    Ok(())
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

    #[test]
    fn impossible_input_is_an_error_and_no_panic() {
        let good =
            Input { variant: Variant::Id, version: 0x13, m_kib: 64, t: 1, p: 1, password: b"p", salt: b"12345678", secret: b"", data: b"" };
        let mut memory = Memory::map(64).unwrap();
        let mut run = |input: Input<'_>, tag: usize| argon2(&input, &mut memory, &mut vec![0; tag]);
        assert_eq!(run(good, 32), Ok(()));
        assert_eq!(run(Input { version: 0x12, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { m_kib: 7, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { m_kib: 65_536, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { t: 0, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { p: 0, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { p: 9, ..good }, 32), Err(BadInput));
        assert_eq!(run(Input { salt: b"1234567", ..good }, 32), Err(BadInput));
        assert_eq!(run(good, 3), Err(BadInput));
    }

    #[test]
    fn one_pass_leaves_no_fast_hash_behind() {
        let input =
            Input { variant: Variant::I, version: 0x13, m_kib: 64, t: 1, p: 2, password: b"p", salt: b"12345678", secret: b"", data: b"" };
        let mut memory = Memory::map(64).unwrap();
        argon2(&input, &mut memory, &mut [0; 32]).unwrap();
        let zero = |memory: &mut Memory, at: usize| memory.blocks()[at].as_ref().iter().all(|w| *w == 0);
        for (at, wiped) in [(0, true), (1, true), (2, false), (31, false), (32, true), (33, true), (34, false)] {
            assert_eq!(zero(&mut memory, at), wiped, "block {at}");
        }
    }
}
