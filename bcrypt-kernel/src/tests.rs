//! Against the crate that computes one at a time, and against pi.

use super::*;
use proptest::prelude::*;

/// What costs no time.
const COST: u32 = 4;

fn agree(cost: u32, keys: &[Vec<u8>], salts: &[[u8; 16]]) {
    let inputs: Vec<_> = keys.iter().zip(salts).map(|(key, salt)| Input { key, salt: *salt }).collect();
    let one_by_one: Vec<_> = inputs.iter().map(|input| ::bcrypt::bcrypt(cost, input.salt, input.key)).collect();
    for lanes in 0..=inputs.len() {
        assert_eq!(bcrypt(cost, &inputs[..lanes]), one_by_one[..lanes], "{lanes} in turn, cost {cost}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_lane_makes_the_tag_that_the_crate_makes(
        keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=72), LANES + 1),
        salts in any::<[[u8; 16]; LANES + 1]>(),
        cost in COST..6,
    ) {
        agree(cost, &keys, &salts);
    }
}

#[test]
fn lanes_are_apart_and_what_is_beyond_72_bytes_does_not_count() {
    let (short, long) = ([b'x'; 72], [b'x'; 80]);
    let tags =
        bcrypt(COST, &[Input { key: &short, salt: [1; 16] }, Input { key: &long, salt: [1; 16] }, Input { key: &short, salt: [2; 16] }]);
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[0], tags[2]);
}

/// Of crypt_blowfish's own tests (wrapper.c): `$2a$05$CCCCCCCCCCCCCCCCCCCCC.`, "U*U".
#[test]
fn a_vector_of_crypt_blowfish() {
    // bcrypt's own base64.
    const DIGITS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let read = |text: &str| {
        let (mut bits, mut held, mut out) = (0_u32, 0, Vec::new());
        for digit in text.bytes() {
            let value = DIGITS.iter().position(|d| *d == digit).expect("a digit");
            (bits, held) = (bits << 6 | u32::try_from(value).expect("below 64"), held + 6);
            if held >= 8 {
                held -= 8;
                out.push((bits >> held & 0xFF) as u8);
            }
        }
        out
    };
    let salt = read("CCCCCCCCCCCCCCCCCCCCC.").try_into().expect("16 bytes");
    let tags = bcrypt(5, &[Input { key: b"U*U\0", salt }]);
    assert_eq!(tags[0][..23], read("E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
}

#[test]
fn the_tables_are_the_digits_of_pi() {
    let digits = digits_of_pi();
    assert_eq!(digits[..18], pi::P);
    assert_eq!(digits[18..], *pi::S.as_flattened());
}

/// The first fractional digits, 32 bits each, by Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239).
fn digits_of_pi() -> Vec<u32> {
    const WORDS: usize = 18 + 4 * 256;
    // One word before the point, two for what rounding takes.
    let mut sum = vec![0_u32; WORDS + 3];
    for (factor, x, minus) in [(16, 5_u64, false), (4, 239, true)] {
        let mut power = vec![0_u32; sum.len()];
        power[0] = factor;
        divide(&mut power, x);
        for n in 0.. {
            let mut term = power.clone();
            divide(&mut term, 2 * n + 1);
            if term.iter().all(|word| *word == 0) {
                break;
            }
            add(&mut sum, &term, minus != (n % 2 == 1));
            divide(&mut power, x * x);
        }
    }
    sum[1..=WORDS].to_vec()
}

fn divide(number: &mut [u32], by: u64) {
    let mut rest = 0;
    for word in number {
        let now = rest << 32 | u64::from(*word);
        *word = u32::try_from(now / by).expect("the rest is less than the divisor");
        rest = now % by;
    }
}

fn add(sum: &mut [u32], term: &[u32], minus: bool) {
    let mut carry = 0_i64;
    for (a, b) in sum.iter_mut().zip(term).rev() {
        let now = i64::from(*a) + if minus { -i64::from(*b) } else { i64::from(*b) } + carry;
        *a = u32::try_from(now & 0xffff_ffff).expect("32 bits");
        carry = now >> 32;
    }
}
