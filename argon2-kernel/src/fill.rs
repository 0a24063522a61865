//! The order in which blocks are filled, the same for all instruction sets.

use crate::{
    Block, Input, long,
    shape::{SLICES, Segment, Shape},
};
use zeroize::Zeroize;

/// Addresses that one address block holds.
const ADDRESSES: usize = Block::SIZE / 8;
/// So many blocks before it is written to, a block is asked for.
const WRITE_AHEAD: usize = 2;

/// The compression function G by some instructions.
///
/// A block may be kept with its words in another order, as long as the first stays the first.
pub trait Isa {
    /// `new = G(last, reference)`, XORed with what `new` held if `XOR`. Calls `ready` with the new block's first word as soon as
    /// that is known: what it refers to is fetched while the rest is computed.
    ///
    /// # Safety
    /// The processor has the instructions; all three point to blocks; `last` and `reference` may be the same, `new` is another.
    unsafe fn compress<const XOR: bool>(last: *const Block, reference: *const Block, new: *mut Block, ready: impl FnOnce(u64));

    /// Where a word of the block is kept.
    fn position(word: usize) -> usize;
}

/// All of Argon2.
///
/// # Safety
/// The processor has the instructions of `I`, and the memory is of `shape.blocks`.
#[inline(always)]
pub unsafe fn compute<I: Isa>(shape: &Shape, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) {
    let mut h0 = long::h0(input, tag.len());
    for (number, lane) in memory.chunks_exact_mut(shape.lane).enumerate() {
        long::first_block(&h0, 0, number as u32, &mut lane[0], I::position);
        long::first_block(&h0, 1, number as u32, &mut lane[1], I::position);
    }
    h0.zeroize();
    let blocks = memory.as_mut_ptr();
    for pass in 0..shape.t {
        for slice in 0..SLICES {
            for lane in 0..shape.p {
                let segment = Segment { shape, pass, slice, lane };
                // SAFETY: as promised to this function; the pointer is to the whole memory, which nobody else uses meanwhile.
                unsafe {
                    match (segment.independent(), segment.xors()) {
                        (false, false) => dependent::<I, false>(&segment, blocks),
                        (false, true) => dependent::<I, true>(&segment, blocks),
                        (true, false) => independent::<I, false>(&segment, blocks),
                        (true, true) => independent::<I, true>(&segment, blocks),
                    }
                }
            }
        }
    }
    let last = memory.chunks_exact(shape.lane).filter_map(<[Block]>::last);
    long::tag(last, tag, I::position);
}

/// A segment whose addresses depend on the data: the next one is known when a block is ready.
///
/// # Safety
/// The processor has the instructions of `I`, and `blocks` points to `shape.blocks` of them.
#[inline(always)]
unsafe fn dependent<I: Isa, const XOR: bool>(segment: &Segment<'_>, blocks: *mut Block) {
    let (first, end) = (segment.first(), segment.shape.segment);
    let mut before = segment.before(first);
    // SAFETY: `before` is below `shape.blocks`, and a block begins with a word.
    let word = unsafe { blocks.add(before).cast::<u64>().read() };
    let mut reference = segment.reference(first, word);
    for index in first..end {
        let (at, to) = (segment.at(index), reference);
        let ready = |word| {
            // At the end of the segment it is not used, but only asked for.
            reference = segment.reference(index + 1, word);
            prefetch(blocks.wrapping_add(reference));
            prefetch_to_write(blocks.wrapping_add(at + WRITE_AHEAD));
        };
        // SAFETY: all three are below `shape.blocks`, and `at` is neither of the other two: a block refers to none that is not
        // ready yet, and in later passes to none that is about to be overwritten.
        unsafe { I::compress::<XOR>(blocks.add(before), blocks.add(to), blocks.add(at), ready) };
        before = at;
    }
}

/// A segment whose addresses come from a counter: they are known long before. None of it is secret.
///
/// # Safety
/// The processor has the instructions of `I`, and `blocks` points to `shape.blocks` of them.
#[inline(always)]
unsafe fn independent<I: Isa, const XOR: bool>(segment: &Segment<'_>, blocks: *mut Block) {
    let (first, end) = (segment.first(), segment.shape.segment);
    let mut before = segment.before(first);
    let zero = Block::new();
    let (mut counter, mut half, mut words) = (Block::new(), Block::new(), Block::new());
    for (word, value) in segment.counter().into_iter().enumerate() {
        counter.as_mut()[I::position(word)] = value;
    }
    for begin in (0..end).step_by(ADDRESSES) {
        counter.as_mut()[I::position(6)] += 1;
        // SAFETY: four blocks of this function, and none of them is read and written at once.
        unsafe {
            I::compress::<false>(&raw const zero, &raw const counter, &raw mut half, |_| ());
            I::compress::<false>(&raw const zero, &raw const half, &raw mut words, |_| ());
        }
        let stop = end.min(begin + ADDRESSES);
        let reference = |index: usize| segment.reference(index, words.as_ref()[I::position(index - begin)]);
        for index in begin.max(first)..stop {
            let (at, to) = (segment.at(index), reference(index));
            // SAFETY: all three are below `shape.blocks`, and `at` is neither of the other two, as above.
            unsafe { I::compress::<XOR>(blocks.add(before), blocks.add(to), blocks.add(at), |_| ()) };
            if index + 2 < stop {
                prefetch(blocks.wrapping_add(reference(index + 2)));
            }
            prefetch_to_write(blocks.wrapping_add(at + WRITE_AHEAD));
            before = at;
        }
    }
}

/// Asks for a block that will be read. A hint: no address is wrong.
#[inline(always)]
fn prefetch(block: *const Block) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..Block::SIZE / 64 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(block.cast::<i8>().wrapping_add(64 * line)) };
    }
}

/// Asks for a block that will be written.
#[inline(always)]
fn prefetch_to_write(block: *const Block) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..Block::SIZE / 64 {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(block.cast::<i8>().wrapping_add(64 * line)) };
    }
}
