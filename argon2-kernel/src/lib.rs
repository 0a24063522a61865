//! Argon2 (RFC 9106) over memory that the caller owns and uses again, hash after hash.
//!
//! Three ways lead to the same tags: AVX-512 and AVX2 by intrinsics, chosen when the program runs, and the `argon2` crate for
//! every other machine. Lanes are computed one after the other.
//!
//! What was secret on the stack is overwritten before a function returns; vector registers and what the compiler spilled of
//! them are not. The caller wipes the blocks.

mod fill;
mod long;
mod memory;
mod shape;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub use argon2::Block;
pub use memory::Memory;

use shape::Shape;
use std::fmt;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadInput;

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("input outside of what the kernel computes")
    }
}

impl std::error::Error for BadInput {}

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

/// By which instructions to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// The `argon2` crate.
    Portable,
    /// 256 bits at once.
    Avx2,
    /// 512 bits at once (only the foundation, AVX-512F, is needed).
    Avx512,
}

impl Path {
    /// All, the slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => true,
            // Both are asked of the processor once in a process.
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Portable)
    }
    /// The fastest of this machine.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|path| path.is_available()).unwrap_or(Self::Portable)
    }
}

/// Fills `tag` (4 bytes or more) by the best [`Path`]. `memory` is as it was filled afterwards, but that the first two blocks of
/// each lane are wiped after a single pass: they would be a fast hash of the password.
///
/// # Errors
/// [`BadInput`].
pub fn argon2(input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) -> Result<(), BadInput> {
    argon2_by(Path::best(), input, memory, tag)
}

/// [`argon2`] by a given path, or by the portable one if the machine doesn't have it.
///
/// # Errors
/// [`BadInput`].
pub fn argon2_by(path: Path, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) -> Result<(), BadInput> {
    let shape = Shape::of(input)?;
    if !lengths_are_right(input, tag) {
        return Err(BadInput);
    }
    let memory = memory.get_mut(..shape.blocks).ok_or(BadInput)?;
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX-512F: that is what `is_available` asks. The memory has just been cut to its length.
        Path::Avx512 if path.is_available() => unsafe { avx512::compute(&shape, input, memory, tag) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise, AVX2.
        Path::Avx2 if path.is_available() => unsafe { avx2::compute(&shape, input, memory, tag) },
        _ => portable::compute(input, memory, tag)?,
    }
    if shape.t == 1 {
        for lane in memory.chunks_exact_mut(shape.lane) {
            lane[..2].fill(Block::new());
        }
    }
    Ok(())
}

fn lengths_are_right(input: &Input<'_>, tag: &[u8]) -> bool {
    let fits = |bytes: &[u8]| u32::try_from(bytes.len()).is_ok();
    input.salt.len() >= 8
        && tag.len() >= 4
        && input.data.len() <= 32
        && [input.password, input.salt, input.secret, tag].into_iter().all(fits)
}

#[cfg(test)]
mod tests;
