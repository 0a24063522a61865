//! How the memory is divided, and which block a new one refers to (RFC 9106, 3.2 to 3.4).

use crate::{BadInput, Input, Variant};

/// Slices of a pass: whoever refers to another lane refers to what was finished in an earlier slice.
pub const SLICES: usize = 4;

/// The parameters, checked, and what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub variant: Variant,
    /// 0x10: later passes overwrite; 0x13: they XOR.
    pub version: u32,
    /// Passes.
    pub t: usize,
    /// Lanes.
    pub p: usize,
    /// Blocks in a segment: one lane of one slice.
    pub segment: usize,
    /// Blocks in a lane.
    pub lane: usize,
    /// Blocks in all.
    pub blocks: usize,
}

impl Shape {
    pub fn of(input: &Input<'_>) -> Result<Self, BadInput> {
        let &Input { variant, version, m_kib, t, p, .. } = input;
        let lanes_fit = (1..1 << 24).contains(&p) && u64::from(m_kib) >= 8 * u64::from(p);
        if !lanes_fit || t == 0 || !matches!(version, 0x10 | 0x13) {
            return Err(BadInput);
        }
        let blocks = input.blocks();
        let lane = blocks / p as usize;
        Ok(Self { variant, version, t: t as usize, p: p as usize, segment: lane / SLICES, lane, blocks })
    }
}

/// The segment that is being filled.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub shape: &'a Shape,
    pub pass: usize,
    pub slice: usize,
    pub lane: usize,
}

impl Segment<'_> {
    /// The first block to fill: the first two of a lane come from H0.
    pub const fn first(&self) -> usize {
        if self.pass == 0 && self.slice == 0 { 2 } else { 0 }
    }
    /// Where the block of a number in this segment lies.
    pub const fn at(&self, index: usize) -> usize {
        self.lane * self.shape.lane + self.slice * self.shape.segment + index
    }
    /// Where the one before it lies: the last of the lane before its first.
    pub const fn before(&self, index: usize) -> usize {
        let at = self.at(index);
        if self.slice == 0 && index == 0 { at + self.shape.lane - 1 } else { at - 1 }
    }
    /// The new block is XORed into the old one.
    pub const fn xors(&self) -> bool {
        self.pass > 0 && self.shape.version == 0x13
    }
    /// Addresses come from a counter, not from the data.
    pub const fn independent(&self) -> bool {
        match self.shape.variant {
            Variant::D => false,
            Variant::I => true,
            Variant::Id => self.pass == 0 && self.slice < SLICES / 2,
        }
    }
    /// The first words of the block that independent addresses are made of, but for the counter that follows them.
    pub const fn counter(&self) -> [u64; 6] {
        let variant = match self.shape.variant {
            Variant::D => 0,
            Variant::I => 1,
            Variant::Id => 2,
        };
        let Shape { blocks, t, .. } = *self.shape;
        [self.pass as u64, self.lane as u64, self.slice as u64, blocks as u64, t as u64, variant]
    }
    /// The block that the one with number `index` refers to, by a pseudo-random `word` (J2 and J1). Always below
    /// `shape.blocks`, whatever the word.
    #[inline(always)]
    pub const fn reference(&self, index: usize, word: u64) -> usize {
        let Shape { p, segment, lane: length, .. } = *self.shape;
        let lane = if p == 1 || self.pass == 0 && self.slice == 0 { self.lane } else { (word >> 32) as usize % p };
        let finished = if self.pass == 0 { self.slice * segment } else { length - segment };
        let area = if lane == self.lane {
            finished + index - 1
        } else if index == 0 {
            finished - 1
        } else {
            finished
        };
        let j1 = word & 0xffff_ffff;
        let back = (area as u64 * ((j1 * j1) >> 32)) >> 32;
        let start = if self.pass == 0 || self.slice == SLICES - 1 { 0 } else { (self.slice + 1) * segment };
        let within = start + area - 1 - back as usize;
        lane * length + if within >= length { within - length } else { within }
    }
}
