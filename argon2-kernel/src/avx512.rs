//! G with 512 bits at once.
//!
//! The block is a matrix of 8 × 8 cells of two words; the permutation P goes over each row, then over each column. A row's 16
//! words are the a, b, c and d of P, four words each. A register holds the a (or b, c, d) of **two neighbouring rows**. P of the
//! columns then finds its a in the first pair of rows, its b in the second and so on: the register that was the a of the rows
//! 2k and 2k+1 is the k-th of a, b, c, d for two columns. So nothing is regrouped between the two halves, only rotated within
//! the registers. Blocks are kept in memory in this order.

use crate::{
    Block, Input,
    fill::{self, Isa},
    shape::Shape,
};
use std::{
    arch::x86_64::{
        __m512i, _mm_cvtsi128_si64, _mm512_add_epi64, _mm512_castsi512_si128, _mm512_load_si512, _mm512_mul_epu32, _mm512_permutex_epi64,
        _mm512_permutexvar_epi64, _mm512_ror_epi64, _mm512_setr_epi64, _mm512_shuffle_i64x2, _mm512_store_si512, _mm512_ternarylogic_epi64,
        _mm512_xor_si512,
    },
    array::from_fn,
};

/// A block. The first four registers are a, b, c, d of the first two rows.
type State = [__m512i; 16];

/// All of Argon2.
///
/// # Safety
/// The processor has AVX-512F, and the memory is of `shape.blocks`.
#[target_feature(enable = "avx512f")]
pub unsafe fn compute(shape: &Shape, input: &Input<'_>, memory: &mut [Block], tag: &mut [u8]) {
    // SAFETY: as promised.
    unsafe { fill::compute::<Avx512>(shape, input, memory, tag) }
}

struct Avx512;

impl Isa for Avx512 {
    #[inline(always)]
    unsafe fn compress<const XOR: bool>(last: *const Block, reference: *const Block, new: *mut Block, ready: impl FnOnce(u64)) {
        // SAFETY: as promised to this function. A block is 16 registers large, and aligned like one.
        unsafe { compress::<XOR>(last.cast(), reference.cast(), new.cast(), ready) }
    }

    #[inline(always)]
    fn position(word: usize) -> usize {
        let (pair, row, letter, column) = (word / 32, word / 16 % 2, word / 4 % 4, word % 4);
        32 * pair + 8 * letter + 4 * row + column
    }
}

/// # Safety
/// The processor has AVX-512F; each pointer is to 16 registers, aligned as they are.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn compress<const XOR: bool>(last: *const __m512i, reference: *const __m512i, new: *mut __m512i, ready: impl FnOnce(u64)) {
    let start: State = from_fn(|n| {
        // SAFETY: `n` is below 16.
        let (last, reference) = unsafe { (_mm512_load_si512(last.add(n)), _mm512_load_si512(reference.add(n))) };
        _mm512_xor_si512(last, reference)
    });
    let state = rows(start);
    // The first two columns before the others: they make the first word. The processor, which has all of this in its window,
    // fills the gaps that their latency leaves with the other columns.
    // SAFETY: as promised to this function, and so below.
    let first = unsafe { columns::<XOR, 0, 1>(&state, &start, new) };
    ready(_mm_cvtsi128_si64(_mm512_castsi512_si128(first)).cast_unsigned());
    // SAFETY: as above.
    unsafe { columns::<XOR, 1, 3>(&state, &start, new) };
}

/// P of all rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn rows(mut state: State) -> State {
    let letter = |n: usize| -> [__m512i; 4] { from_fn(|pair| state[4 * pair + n]) };
    let (mut a, mut b, mut c, mut d) = (letter(0), letter(1), letter(2), letter(3));
    quarter(&mut a, &mut b, &mut c, &mut d);
    b = b.map(|r| _mm512_permutex_epi64::<0b00_11_10_01>(r));
    c = c.map(|r| _mm512_permutex_epi64::<0b01_00_11_10>(r));
    d = d.map(|r| _mm512_permutex_epi64::<0b10_01_00_11>(r));
    quarter(&mut a, &mut b, &mut c, &mut d);
    b = b.map(|r| _mm512_permutex_epi64::<0b10_01_00_11>(r));
    c = c.map(|r| _mm512_permutex_epi64::<0b01_00_11_10>(r));
    d = d.map(|r| _mm512_permutex_epi64::<0b00_11_10_01>(r));
    for (n, letter) in [a, b, c, d].into_iter().enumerate() {
        for (pair, register) in letter.into_iter().enumerate() {
            state[4 * pair + n] = register;
        }
    }
    state
}

/// P of `K` times two columns, and the end of G for them: XORed with what there was at the `start` (and before, if `XOR`), and
/// written to `new`. Gives the first register of it.
///
/// # Safety
/// The processor has AVX-512F; `new` points to 16 registers, aligned as they are.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn columns<const XOR: bool, const FROM: usize, const K: usize>(state: &State, start: &State, new: *mut __m512i) -> __m512i {
    // In a register: words 0 1 of the left column, 0 1 of the right, 2 3 of the left, 2 3 of the right.
    let forth = _mm512_setr_epi64(1, 4, 3, 6, 5, 0, 7, 2);
    let back = _mm512_setr_epi64(5, 0, 7, 2, 1, 4, 3, 6);
    let letter = |n: usize| -> [__m512i; K] { from_fn(|k| state[4 * n + FROM + k]) };
    let (mut a, mut b, mut c, mut d) = (letter(0), letter(1), letter(2), letter(3));
    quarter(&mut a, &mut b, &mut c, &mut d);
    b = b.map(|r| _mm512_permutexvar_epi64(forth, r));
    c = c.map(|r| _mm512_shuffle_i64x2::<0b01_00_11_10>(r, r));
    d = d.map(|r| _mm512_permutexvar_epi64(back, r));
    quarter(&mut a, &mut b, &mut c, &mut d);
    b = b.map(|r| _mm512_permutexvar_epi64(back, r));
    c = c.map(|r| _mm512_shuffle_i64x2::<0b01_00_11_10>(r, r));
    d = d.map(|r| _mm512_permutexvar_epi64(forth, r));
    let mut first = a[0];
    for (n, letter) in [a, b, c, d].into_iter().enumerate() {
        for (k, permuted) in letter.into_iter().enumerate() {
            let at = 4 * n + FROM + k;
            let mixed = if XOR {
                // SAFETY: `at` is below 16.
                let old = unsafe { _mm512_load_si512(new.add(at)) };
                _mm512_ternarylogic_epi64::<0x96>(permuted, start[at], old)
            } else {
                _mm512_xor_si512(permuted, start[at])
            };
            if (n, k) == (0, 0) {
                first = mixed;
            }
            // SAFETY: `at` is below 16.
            unsafe { _mm512_store_si512(new.add(at), mixed) };
        }
    }
    first
}

/// The four steps of P on all columns (or diagonals) of its matrix, for `2·K` matrices at once: the latency of the
/// multiplication hides behind the others.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter<const K: usize>(a: &mut [__m512i; K], b: &mut [__m512i; K], c: &mut [__m512i; K], d: &mut [__m512i; K]) {
    add(a, b);
    turn::<32, K>(d, a);
    add(c, d);
    turn::<24, K>(b, c);
    add(a, b);
    turn::<16, K>(d, a);
    add(c, d);
    turn::<63, K>(b, c);
}

/// x + y + 2·(low half of x)·(low half of y)
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const K: usize>(x: &mut [__m512i; K], y: &[__m512i; K]) {
    let product: [__m512i; K] = from_fn(|n| _mm512_mul_epu32(x[n], y[n]));
    let sum: [__m512i; K] = from_fn(|n| _mm512_add_epi64(x[n], y[n]));
    let twice: [__m512i; K] = from_fn(|n| _mm512_add_epi64(product[n], product[n]));
    *x = from_fn(|n| _mm512_add_epi64(sum[n], twice[n]));
}

/// (x ⊕ y) rotated to the right
#[inline]
#[target_feature(enable = "avx512f")]
fn turn<const RIGHT: i32, const K: usize>(x: &mut [__m512i; K], y: &[__m512i; K]) {
    *x = from_fn(|n| _mm512_ror_epi64::<RIGHT>(_mm512_xor_si512(x[n], y[n])));
}
