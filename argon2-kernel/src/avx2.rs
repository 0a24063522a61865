//! G with 256 bits at once, for processors without AVX-512. Blocks are kept in the order of the RFC.

use crate::{
    Block, Input,
    fill::{self, Isa},
    shape::Shape,
};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_alignr_epi8, _mm256_load_si256, _mm256_mul_epu32, _mm256_or_si256, _mm256_permute4x64_epi64,
    _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_srli_epi64, _mm256_store_si256,
    _mm256_xor_si256,
};

/// The same letter of two computations of P.
type Two = [__m256i; 2];

/// All of Argon2.
///
/// # Safety
/// The processor has AVX2, and the memory is of `shape.blocks`.
#[target_feature(enable = "avx2")]
pub unsafe fn compute(shape: &Shape, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) {
    // SAFETY: as promised.
    unsafe { fill::compute::<Avx2>(shape, input, memory, tag) }
}

struct Avx2;

impl Isa for Avx2 {
    #[inline(always)]
    unsafe fn compress<const XOR: bool>(last: *const Block, reference: *const Block, new: *mut Block, ready: impl FnOnce(u64)) {
        // SAFETY: as promised to this function. A block is 32 registers large, and aligned better than one.
        unsafe { compress::<XOR>(last.cast(), reference.cast(), new.cast(), ready) }
    }

    #[inline(always)]
    fn position(word: usize) -> usize {
        word
    }
}

/// # Safety
/// The processor has AVX2; each pointer is to 32 registers, aligned as they are; `new` is neither of the others.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn compress<const XOR: bool>(last: *const __m256i, reference: *const __m256i, new: *mut __m256i, ready: impl FnOnce(u64)) {
    // Read again at the end: with 16 registers it would have to be kept in memory anyhow.
    let start = |n: usize| {
        // SAFETY: `n` is below 32 wherever this is called.
        let (last, reference) = unsafe { (_mm256_load_si256(last.add(n)), _mm256_load_si256(reference.add(n))) };
        _mm256_xor_si256(last, reference)
    };

    let mut state: [__m256i; 32] = [_mm256_setzero_si256(); 32];
    for pair in 0..4 {
        // Two rows: four registers each, one for each letter.
        let row = 8 * pair;
        let two = |n: usize| [start(row + n), start(row + 4 + n)];
        let (mut a, mut b, mut c, mut d) = (two(0), two(1), two(2), two(3));
        quarter(&mut a, &mut b, &mut c, &mut d);
        b = b.map(|r| _mm256_permute4x64_epi64::<0b00_11_10_01>(r));
        c = c.map(|r| _mm256_permute4x64_epi64::<0b01_00_11_10>(r));
        d = d.map(|r| _mm256_permute4x64_epi64::<0b10_01_00_11>(r));
        quarter(&mut a, &mut b, &mut c, &mut d);
        b = b.map(|r| _mm256_permute4x64_epi64::<0b10_01_00_11>(r));
        c = c.map(|r| _mm256_permute4x64_epi64::<0b01_00_11_10>(r));
        d = d.map(|r| _mm256_permute4x64_epi64::<0b00_11_10_01>(r));
        for (n, letter) in [a, b, c, d].into_iter().enumerate() {
            state[row + n] = letter[0];
            state[row + 4 + n] = letter[1];
        }
    }
    for column in 0..4 {
        // Two columns: a register holds words 0 1 (or 2 3) of a letter for both.
        let two = |n: usize| [state[8 * n + column], state[8 * n + 4 + column]];
        let (mut a, mut b, mut c, mut d) = (two(0), two(1), two(2), two(3));
        quarter(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (left(b), [c[1], c[0]], right(d));
        quarter(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (right(b), [c[1], c[0]], left(d));
        for (n, letter) in [a, b, c, d].into_iter().enumerate() {
            for (half, permuted) in letter.into_iter().enumerate() {
                let at = 8 * n + 4 * half + column;
                let mut mixed = _mm256_xor_si256(permuted, start(at));
                if XOR {
                    // SAFETY: `at` is below 32.
                    mixed = _mm256_xor_si256(mixed, unsafe { _mm256_load_si256(new.add(at)) });
                }
                // SAFETY: `at` is below 32; `new` is neither of the two blocks that are still read.
                unsafe { _mm256_store_si256(new.add(at), mixed) };
            }
        }
    }
    // SAFETY: just written, and larger than a word.
    ready(unsafe { new.cast::<u64>().read() });
}

/// The four words of a letter, two in each register, each one place to the left.
#[inline]
#[target_feature(enable = "avx2")]
fn left([low, high]: Two) -> Two {
    [_mm256_alignr_epi8::<8>(high, low), _mm256_alignr_epi8::<8>(low, high)]
}

/// The reverse.
#[inline]
#[target_feature(enable = "avx2")]
fn right([low, high]: Two) -> Two {
    [_mm256_alignr_epi8::<8>(low, high), _mm256_alignr_epi8::<8>(high, low)]
}

/// The four steps of the quarter round on all columns (or diagonals) of two computations.
#[inline]
#[target_feature(enable = "avx2")]
fn quarter(a: &mut Two, b: &mut Two, c: &mut Two, d: &mut Two) {
    let by_24 =
        _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
    let by_16 =
        _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    add(a, b);
    *d = xor(d, a).map(|r| _mm256_shuffle_epi32::<0b10_11_00_01>(r));
    add(c, d);
    *b = xor(b, c).map(|r| _mm256_shuffle_epi8(r, by_24));
    add(a, b);
    *d = xor(d, a).map(|r| _mm256_shuffle_epi8(r, by_16));
    add(c, d);
    *b = xor(b, c).map(|r| _mm256_or_si256(_mm256_srli_epi64::<63>(r), _mm256_add_epi64(r, r)));
}

/// x + y + 2·(low half of x)·(low half of y)
#[inline]
#[target_feature(enable = "avx2")]
fn add(x: &mut Two, y: &Two) {
    let product: Two = std::array::from_fn(|n| _mm256_mul_epu32(x[n], y[n]));
    let sum: Two = std::array::from_fn(|n| _mm256_add_epi64(x[n], y[n]));
    let twice: Two = std::array::from_fn(|n| _mm256_add_epi64(product[n], product[n]));
    *x = std::array::from_fn(|n| _mm256_add_epi64(sum[n], twice[n]));
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(x: &Two, y: &Two) -> Two {
    std::array::from_fn(|n| _mm256_xor_si256(x[n], y[n]))
}
