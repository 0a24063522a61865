//! The block of memory that a hashing thread owns: mapped once, on huge pages where the system allows it, wiped with care.

use argon2::Block;
use std::{io, ptr::NonNull, slice};

/// Huge pages of x86-64 and AArch64 (with 4 KiB base pages) are 2 MiB; elsewhere the alignment does no harm.
const HUGE: usize = 2 << 20;

/// Anonymous memory of a number of Argon2 blocks (1 KiB each), zeroed at first.
#[derive(Debug)]
pub struct Memory {
    /// Where the mapping lies, and how long it is (with what was needed to align it).
    mapping: NonNull<libc::c_void>,
    mapped: usize,
    /// The first block, aligned to a huge page.
    start: NonNull<Block>,
    blocks: usize,
}

// SAFETY: the mapping is private to this value, and reached only through `&mut self` or at its end.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps `blocks` KiB. Nothing of it is resident before it is written.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn map(blocks: usize) -> io::Result<Self> {
        let bytes = blocks.max(1).checked_mul(Block::SIZE).filter(|bytes| *bytes <= isize::MAX as usize - HUGE);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mapped = bytes + HUGE;
        // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(address).ok_or_else(|| io::Error::other("mmap gave the null page"))?;
        let skip = mapping.as_ptr().align_offset(HUGE);
        // SAFETY: `skip` is below HUGE, and the mapping is HUGE longer than what is used of it.
        let start = unsafe { mapping.byte_add(skip) }.cast::<Block>();
        #[cfg(target_os = "linux")]
        // SAFETY: both advices concern only the mapping made above. Where they aren't known nothing is lost but speed (huge
        // pages) or a little secrecy (core dumps), so the answer is not looked at.
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTDUMP);
        }
        Ok(Self { mapping, mapped, start, blocks })
    }
    /// How many blocks of 1 KiB.
    pub const fn len(&self) -> usize {
        self.blocks
    }
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.blocks == 0
    }
    /// The blocks.
    pub fn blocks(&mut self) -> &mut [Block] {
        // SAFETY: `start` is aligned beyond what a Block asks for, `blocks` KiB from it lie in the mapping, every bit pattern is a
        // Block (an array of u64), and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.blocks) }
    }
    /// Overwrites the first `blocks` with zeros: what a password was hashed in shall not wait there to be read.
    pub fn wipe(&mut self, blocks: usize) {
        let count = blocks.min(self.blocks);
        let blocks = &mut self.blocks()[..count];
        // SAFETY: a zero Block is a Block, and the slice is exclusively ours.
        unsafe { std::ptr::write_bytes(blocks.as_mut_ptr(), 0, blocks.len()) };
        // The compiler may not take the writes for dead: the pointer has been handed to the system and is handed to it again.
        std::hint::black_box(blocks);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The system zeroes pages before it gives them to anybody else.
        // SAFETY: exactly the mapping made in `map`, and nobody refers to it any more.
        unsafe { libc::munmap(self.mapping.as_ptr(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zero_writable_and_wiped() {
        let mut memory = Memory::map(3_000).unwrap();
        assert_eq!(memory.blocks().len(), 3_000);
        assert_eq!(memory.blocks().as_ptr() as usize % HUGE, 0);
        assert!(memory.blocks().iter().all(|b| b.as_ref().iter().all(|w| *w == 0)));
        memory.blocks()[2_999] = Block::new();
        for block in memory.blocks() {
            block.as_mut().fill(u64::MAX);
        }
        memory.wipe(2);
        assert!(memory.blocks()[..2].iter().all(|b| b.as_ref().iter().all(|w| *w == 0)));
        assert!(memory.blocks()[2].as_ref().iter().all(|w| *w == u64::MAX));
        memory.wipe(usize::MAX);
        assert!(memory.blocks().iter().all(|b| b.as_ref().iter().all(|w| *w == 0)));
    }

    #[test]
    fn what_the_system_has_not_is_an_error() {
        assert!(Memory::map(1 << 50).is_err());
    }
}
