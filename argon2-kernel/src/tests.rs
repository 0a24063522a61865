//! Identical tags on every path: the vectors of RFC 9106, and the `argon2` crate (the portable path) as the oracle.

use super::*;
use proptest::prelude::*;

/// Those that this machine has, beside the portable one.
fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

fn tag_of(path: Path, input: &Input<'_>, length: usize) -> Vec<u8> {
    let mut tag = vec![0; length];
    argon2_by(path, input, &mut vec![Block::new(); input.blocks()], &mut tag).unwrap();
    tag
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// RFC 9106, section 5: 32 KiB, 3 passes, 4 lanes, with secret and associated data.
#[test]
fn the_vectors_of_rfc_9106() {
    for path in paths() {
        for (variant, tag) in [
            (Variant::D, "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb"),
            (Variant::I, "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"),
            (Variant::Id, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"),
        ] {
            let input = Input {
                variant,
                version: 0x13,
                m_kib: 32,
                t: 3,
                p: 4,
                password: &[1; 32],
                salt: &[2; 16],
                secret: &[3; 8],
                data: &[4; 12],
            };
            assert_eq!(hex(&tag_of(path, &input, 32)), tag, "{path:?} {variant:?}");
        }
    }
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tags_are_those_of_the_crate(
        variant in prop::sample::select(vec![Variant::D, Variant::I, Variant::Id]),
        version in prop::sample::select(vec![0x10, 0x13]),
        (p, m_kib) in (1_u32..6).prop_flat_map(|p| (Just(p), 8 * p..8 * p + 900)),
        t in 1_u32..5,
        (password, salt, secret, data) in (bytes(0..300), bytes(8..70), bytes(0..70), bytes(0..33)),
        length in 4_usize..200,
    ) {
        let input = Input { variant, version, m_kib, t, p, password: &password, salt: &salt, secret: &secret, data: &data };
        let expected = tag_of(Path::Portable, &input, length);
        for path in paths() {
            prop_assert_eq!(&tag_of(path, &input, length), &expected, "{:?}", path);
            // What the memory held before makes no difference, and what is beyond it stays.
            let mut memory = vec![Block::new(); input.blocks() + 3];
            memory.iter_mut().for_each(|block| block.as_mut().fill(u64::MAX));
            let mut tag = vec![0; length];
            argon2_by(path, &input, &mut memory, &mut tag).unwrap();
            prop_assert_eq!(&tag, &expected, "{:?}, used memory", path);
            prop_assert!(memory[input.blocks()..].iter().all(|b| b.as_ref().iter().all(|w| *w == u64::MAX)));
        }
    }

    #[test]
    fn references_stay_in_memory_and_are_ready(
        (p, m_kib) in (1_u32..5).prop_flat_map(|p| (Just(p), 8 * p..8 * p + 400)),
        (pass, slice, at, word) in (0_usize..3, 0_usize..4, any::<prop::sample::Index>(), any::<u64>()),
        lane in any::<prop::sample::Index>(),
    ) {
        let input =
            Input { variant: Variant::Id, version: 0x13, m_kib, t: 3, p, password: b"", salt: b"12345678", secret: b"", data: b"" };
        let shape = Shape::of(&input).unwrap();
        let segment = shape::Segment { shape: &shape, pass, slice, lane: lane.index(p as usize) };
        let index = segment.first() + at.index((shape.segment - segment.first()).max(1));
        prop_assume!(index < shape.segment);
        for word in [word, 0, u64::MAX, word & 0xffff_ffff, word | 0xffff_ffff] {
            let to = segment.reference(index, word);
            prop_assert!(to < shape.blocks);
            prop_assert_ne!(to, segment.at(index));
            prop_assert_ne!(to, segment.before(index));
            let (of_lane, within) = (to / shape.lane, to % shape.lane);
            // In the slice that is being filled nobody refers to another lane, nor to what is not ready.
            if within / shape.segment == slice {
                prop_assert!(of_lane == segment.lane && within % shape.segment < index);
            }
        }
    }
}

const GOOD: Input<'_> =
    Input { variant: Variant::Id, version: 0x13, m_kib: 64, t: 1, p: 1, password: b"p", salt: b"12345678", secret: b"", data: b"" };

#[test]
fn the_parameters_of_everyday() {
    let input = Input { m_kib: 19_456, t: 2, ..GOOD };
    let expected = tag_of(Path::Portable, &input, 32);
    for path in paths() {
        assert_eq!(tag_of(path, &input, 32), expected, "{path:?}");
    }
}

#[test]
fn impossible_input_is_an_error_and_no_panic() {
    let mut memory = vec![Block::new(); 64];
    for path in paths() {
        let mut run = |input: Input<'_>, tag: usize| argon2_by(path, &input, &mut memory, &mut vec![0; tag]);
        assert_eq!(run(GOOD, 32), Ok(()));
        assert_eq!(run(Input { version: 0x12, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { m_kib: 7, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { m_kib: 65_536, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { m_kib: u32::MAX, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { t: 0, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { p: 0, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { p: 9, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { p: u32::MAX, ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { salt: b"1234567", ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(Input { data: &[0; 33], ..GOOD }, 32), Err(BadInput));
        assert_eq!(run(GOOD, 3), Err(BadInput));
    }
}

#[test]
fn one_pass_leaves_no_fast_hash_behind() {
    for path in paths() {
        let input = Input { variant: Variant::I, p: 2, ..GOOD };
        let mut memory = vec![Block::new(); 64];
        argon2_by(path, &input, &mut memory, &mut [0; 32]).unwrap();
        for (at, wiped) in [(0, true), (1, true), (2, false), (31, false), (32, true), (33, true), (34, false)] {
            assert_eq!(memory[at].as_ref().iter().all(|w| *w == 0), wiped, "{path:?}, block {at}");
        }
    }
}
