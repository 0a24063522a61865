//! BLAKE2b around the memory: H0, and the hash of any length H' (RFC 9106, 3.2 and 3.3).

use crate::{Block, Input, Variant};
use blake2::{
    Blake2b512, Blake2bVarCore,
    digest::{
        Digest, Output,
        block_api::{UpdateCore, VariableOutputCore},
        block_buffer::LazyBuffer,
    },
};
use zeroize::Zeroize;

/// H0: everything that was put in, in 64 bytes. The caller overwrites it.
pub fn h0(input: &Input<'_>, tag_len: usize) -> [u8; 64] {
    let variant: u32 = match input.variant {
        Variant::D => 0,
        Variant::I => 1,
        Variant::Id => 2,
    };
    let mut digest = Blake2b512::new();
    for number in [input.p, tag_len as u32, input.m_kib, input.t, input.version, variant] {
        digest.update(number.to_le_bytes());
    }
    for bytes in [input.password, input.salt, input.secret, input.data] {
        digest.update((bytes.len() as u32).to_le_bytes());
        digest.update(bytes);
    }
    let mut out = digest.finalize();
    let bytes = out.into();
    out.zeroize();
    bytes
}

/// H' of the parts one after the other, as many bytes as `out` holds: 1 or more.
pub fn long(parts: &[&[u8]], out: &mut [u8]) {
    let length = (out.len() as u32).to_le_bytes();
    if out.len() <= 64 {
        let all: Vec<&[u8]> = [&length[..]].into_iter().chain(parts.iter().copied()).collect();
        return short(&all, out);
    }
    let mut digest = Blake2b512::new_with_prefix(length);
    for part in parts {
        digest.update(part);
    }
    let mut v: Output<Blake2b512> = digest.finalize();
    let mut rest = out;
    loop {
        let (chunk, tail) = rest.split_at_mut(32);
        chunk.copy_from_slice(&v[..32]);
        rest = tail;
        if rest.len() <= 64 {
            break;
        }
        v = Blake2b512::digest(v);
    }
    short(&[&v], rest);
    v.zeroize();
}

/// BLAKE2b with a digest of 1 to 64 bytes.
fn short(parts: &[&[u8]], out: &mut [u8]) {
    let mut hasher = Blake2bVarCore::new(out.len()).expect("1 to 64 bytes are asked for");
    let mut buffer = LazyBuffer::default();
    for part in parts {
        buffer.digest_blocks(part, |blocks| hasher.update_blocks(blocks));
    }
    let mut full = Output::<Blake2bVarCore>::default();
    hasher.finalize_variable_core(&mut buffer, &mut full);
    out.copy_from_slice(&full[..out.len()]);
    full.zeroize();
}

/// One of the first two blocks of a lane; `position` says where a word of the block is kept.
pub fn first_block(h0: &[u8; 64], index: u32, lane: u32, block: &mut Block, position: impl Fn(usize) -> usize) {
    let mut bytes = [0; Block::SIZE];
    long(&[h0, &index.to_le_bytes(), &lane.to_le_bytes()], &mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    for (word, bytes) in words.iter().enumerate() {
        block.as_mut()[position(word)] = u64::from_le_bytes(*bytes);
    }
    bytes.zeroize();
}

/// The tag, of the last blocks of all lanes.
pub fn tag<'a>(last: impl Iterator<Item = &'a Block>, out: &mut [u8], position: impl Fn(usize) -> usize) {
    let mut sum = [0; Block::SIZE / 8];
    for block in last {
        for (word, of_block) in sum.iter_mut().zip(block.as_ref()) {
            *word ^= of_block;
        }
    }
    let mut bytes = [0; Block::SIZE];
    for (word, bytes) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = sum[position(word)].to_le_bytes();
    }
    long(&[&bytes], out);
    sum.zeroize();
    bytes.zeroize();
}
