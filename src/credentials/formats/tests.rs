//! Vectors made by others (the reference C of Argon2, libxcrypt), hostile hashes, and properties.

use super::*;
use crate::domain::rng::{SeededRng, SystemRng};
use proptest::prelude::*;
use std::time::{Duration, Instant};

pub(super) fn verified(text: &str, hash: &str) -> Checked {
    let stored = Stored::parse(&PasswordHash::new(hash)).unwrap();
    let mut memory = Memory::map(stored.blocks()).unwrap();
    verify(&Password::new(text).unwrap(), &stored, &Argon2Params::default(), &mut memory).unwrap()
}

/// Matches the one password and not one that differs in its last character.
pub(super) fn good(text: &str, hash: &str) {
    assert!(verified(text, hash).matches, "{hash} is of {text}");
    assert!(!verified(&format!("{text}x"), hash).matches || text.len() >= 72, "{hash} is of {text} alone");
    let mut other = text.to_owned();
    other.pop();
    assert!(!verified(&other, hash).matches || text.len() > 72, "{hash} is not of {other}");
}

#[test]
fn argon2_as_the_reference_c_writes_it() {
    let salt = "c29tZXNhbHQxMjM0NTY3OA";
    good("correct horse", &format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$oVLnFW4Vdd+KZaNyuHNZYDlTeeRDSkyoACLFGAAhgLc"));
    good("correct horse", &format!("$argon2d$v=19$m=4096,t=3,p=4${salt}$Pxn/fRuf6VySF/qp0/Y2lfMk+L3KiLCr0uhVhPzzsUk"));
    good("correct horse", &format!("$argon2i$v=19$m=4096,t=3,p=2${salt}$Pq1auM9wZlRchdCY8OuHdI3wtZkXKIGlT4eyMkE6etA"));
    good("pässword", &format!("$argon2id$v=16$m=8192,t=1,p=1${salt}$bwXeemg1/qChZ4uJvhUaDDIRHNH39mbI0bFgzt/a+Lg"));
    good("correct horse", &format!("$argon2id$v=19$m=65536,t=3,p=4${salt}$B/amrRUxAwSCPRgKPr7MsU9bSHzgXripXVHqfXK0H2I"));
    // Before 2016: no version field.
    good("password", "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ");
}

#[test]
fn bcrypt_of_every_prefix_as_libxcrypt_writes_it() {
    for prefix in ["2a", "2b", "2x", "2y"] {
        good("U*U", &format!("${prefix}$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
    }
    for prefix in ["2a", "2b", "2y"] {
        good("£5 note ÿ", &format!("${prefix}$05$abcdefghijklmnopqrstuufhKrcTW4EWXqiAQKeN/APRlNEH5fbIu"));
        good("é€😀x", &format!("${prefix}$06$/OK.fbVrR/bpIqNJ5ianF..UxeHtoEMpVuIT70c8oVrVBVB3hZhHC"));
    }
    good("correct horse", "$2y$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu");
}

#[test]
fn the_old_sign_extension_is_kept_for_2x_alone() {
    good("£5 note ÿ", "$2x$05$abcdefghijklmnopqrstuudMO63JxpupWdI4VqD7mrzxZx3K4YqWK");
    good("é€😀x", "$2x$06$/OK.fbVrR/bpIqNJ5ianF.JWxddA0Q3NIlKW5hxTaweoUGSVDHiKq");
    assert!(!verified("é€😀x", "$2b$06$/OK.fbVrR/bpIqNJ5ianF.JWxddA0Q3NIlKW5hxTaweoUGSVDHiKq").matches);
    let across_the_end = format!("{}é", "a".repeat(71));
    good(&across_the_end, "$2x$05$abcdefghijklmnopqrstuuDw5vnEW8KuMTCIwNLJzRI9De7Kmgr9u");
    good(&across_the_end, "$2b$05$abcdefghijklmnopqrstuuWuTLr7hESMgw017Si3HXBBpD0nkpizy");
}

#[test]
fn bcrypt_reads_72_bytes() {
    let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored";
    for prefix in ["2a", "2b", "2x", "2y"] {
        let hash = format!("${prefix}$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui");
        assert!(verified(long, &hash).matches && verified(&long[..72], &hash).matches);
        assert!(!verified(&long[..71], &hash).matches);
    }
}

#[test]
fn foreign_hashes_are_tried_as_typed_and_in_nfkc_and_are_outdated() {
    // Of the full-width letters as typed, and of their NFKC form.
    let (typed, normal) =
        ("$2b$05$abcdefghijklmnopqrstuug8ng66Y6j/9MfT.M60LbZQjDloLpIs6", "$2b$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K");
    let right = Checked { matches: true, outdated: true };
    assert_eq!(verified("ｐａｓｓ", typed), right);
    assert_eq!(verified("ｐａｓｓ", normal), right);
    assert_eq!(verified("pass", normal), right);
    assert_eq!(verified("pass", typed), Checked { matches: false, outdated: false });
}

#[test]
fn ours_by_todays_parameters_but_not_of_the_normal_form_is_outdated() {
    let (today, mut memory) = (Argon2Params::default(), Memory::map(19_456).unwrap());
    let full_width = Password::new("ｐａｓｓｗｏｒｄ").unwrap();
    let salt = [7; 16];
    let mut tag = [0; 32];
    kernel(&ours(&today, full_width.as_typed().as_bytes(), &salt), &mut memory, &mut tag).unwrap();
    let foreign = format!("$argon2id$v=19${today}${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag));
    assert_eq!(verified("ｐａｓｓｗｏｒｄ", &foreign), Checked { matches: true, outdated: true });
    let own = make(&full_width, &today, &SystemRng, &mut memory).unwrap();
    assert_eq!(verified("password", own.reveal()), Checked { matches: true, outdated: false });
    assert_eq!(verified("ｐａｓｓｗｏｒｄ", own.reveal()), Checked { matches: true, outdated: false });
}

#[test]
fn only_todays_form_is_not_outdated() {
    let (today, mut memory) = (Argon2Params::default(), Memory::map(19_456).unwrap());
    let hash = make(&Password::new("x").unwrap(), &today, &SystemRng, &mut memory).unwrap();
    assert!(!outdated(&hash, &today));
    assert!(outdated(&hash, &Argon2Params::new(19_456, 3, 1).unwrap()));
    assert!(outdated(&PasswordHash::new(hash.reveal().replace("argon2id", "argon2i")), &today));
    assert!(outdated(&PasswordHash::new(hash.reveal().replace("v=19", "v=16")), &today));
    assert!(outdated(&PasswordHash::new("$2b$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu"), &today));
    assert!(outdated(&PasswordHash::new("garbage"), &today));
}

const SALT_TAG: &str = "c29tZXNhbHQxMjM0NTY3OA$oVLnFW4Vdd+KZaNyuHNZYDlTeeRDSkyoACLFGAAhgLc";

#[test]
fn hostile_hashes_are_refused_at_once() {
    let argon2 = |params: &str| format!("$argon2id$v=19${params}${SALT_TAG}");
    let began = Instant::now();
    let of = |text: &str| Stored::parse(&PasswordHash::new(text)).err();
    for params in [
        "m=131073,t=1,p=1",
        "m=4294967295,t=1,p=1",
        "m=4294967296,t=1,p=1",
        "m=99999999999999999999,t=1,p=1",
        "m=131072,t=9,p=1",
        "m=8,t=4294967295,p=1",
        "m=65536,t=1,p=256",
        "m=19456,t=2,p=4294967295",
    ] {
        assert_eq!(of(&argon2(params)), Some(BadHash::TooMuch(super::argon2::CEILING)), "{params}");
    }
    for params in
        ["m=0,t=1,p=1", "m=19456,t=0,p=1", "m=19456,t=2,p=0", "m=15,t=1,p=2", "m=-1,t=1,p=1", "m=+8,t=1,p=1", "m=08,t=1,p=1", "m=8,t=1", ""]
    {
        assert_eq!(of(&argon2(params)), Some(BadHash::Malformed), "{params}");
    }
    for params in ["m=8,t=1,p=1,keyid=AAAA", "m=8,t=1,p=1,data=AAAA", "t=1,m=8,p=1", "m=8,t=1,p=1,", "m=8,m=8,t=1,p=1", "m= 8,t=1,p=1"] {
        assert_eq!(of(&argon2(params)), Some(BadHash::Malformed), "{params}");
    }
    let tail = "abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu";
    for cost in ["15", "31", "99"] {
        assert_eq!(of(&format!("$2b${cost}${tail}")), Some(BadHash::TooMuch(super::bcrypt::CEILING)), "{cost}");
    }
    for cost in ["00", "03", "5", "005", "-5", "+5", "0x", ""] {
        assert_eq!(of(&format!("$2b${cost}${tail}")), Some(BadHash::Malformed), "{cost}");
    }
    let unknown =
        ["", "$", "$$", "plain", "$1$salt$hash", "$2$05$x", "$2c$05$x", "$argon2$v=19$m=8,t=1,p=1$x$y", "$6$x$y", "argon2id$v=19"];
    for text in unknown {
        assert_eq!(of(text), Some(BadHash::Unknown), "{text}");
    }
    for text in [
        "$argon2id".to_owned(),
        "$argon2id$v=19".to_owned(),
        "$argon2id$v=20$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA".to_owned(),
        // Tags that match by chance, no salt, padding, characters of no base64, one field more.
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZQ".to_owned(),
        "$argon2id$v=19$m=8,t=1,p=1$$c29tZXNhbHRzb21lc2FsdA".to_owned(),
        format!("$argon2id$v=19$m=8,t=1,p=1${SALT_TAG}="),
        format!("$argon2id$v=19$m=8,t=1,p=1${SALT_TAG}$x"),
        format!("$argon2id$v=19$m=8,t=1,p=1$ü{SALT_TAG}"),
        format!("$2b$05${}", "ü".repeat(26)),
        "$2b$05$abcdefghijklmnopqrst$u23JPZtHcGhwXSF41f93o/7vBdDut3Xu".to_owned(),
        "$2b$05$".to_owned(),
        format!("$argon2id{}", "$".repeat(1 << 20)),
        format!("$2b$05${}", "a".repeat(1 << 20)),
    ] {
        assert_eq!(of(&text), Some(BadHash::Malformed), "{}", text.chars().take(60).collect::<String>());
    }
    assert_eq!(of(&"$".repeat(1 << 20)), Some(BadHash::Malformed));
    // Milliseconds on an idle machine. To look at each character of a MiB once more for each other one would take minutes.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn what_is_just_within_the_ceilings_is_taken() {
    for params in ["m=131072,t=8,p=1", "m=8,t=131072,p=1", "m=2040,t=1,p=255"] {
        assert!(Stored::parse(&PasswordHash::new(format!("$argon2id$v=19${params}${SALT_TAG}"))).is_ok(), "{params}");
    }
    assert!(Stored::parse(&PasswordHash::new("$2b$14$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu")).is_ok());
    // A salt whose last character has bits that stand for nothing.
    good("correct horse", "$2y$10$abcdefghijklmnopqrstuv23JPZtHcGhwXSF41f93o/7vBdDut3Xu");
}

#[test]
fn the_census_says_the_kind_that_the_hash_has() {
    for text in [
        format!("$argon2id$v=19$m=19456,t=2,p=1${SALT_TAG}"),
        format!("$argon2i$m=4096,t=3,p=2${SALT_TAG}"),
        "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
    ] {
        let hash = PasswordHash::new(text);
        assert_eq!(Kind::of_census(&hash.census()), Some(Stored::parse(&hash).unwrap().kind()), "{}", hash.census());
    }
    for nothing in ["unknown:", "", "bcrypt:31", "argon2id:m=4294967295,t=1,p=1", "scrypt:x", "argon2id"] {
        assert_eq!(Kind::of_census(nothing), None, "{nothing}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_password_is_verified_and_no_other(text in "\\PC{1,60}", other in "\\PC{1,60}", seed: u64) {
        let (Ok(password), Ok(other)) = (Password::new(text), Password::new(other)) else { return Ok(()) };
        let (today, mut memory) = (Argon2Params::default(), Memory::map(19_456).unwrap());
        let hash = make(&password, &today, &SeededRng::new(seed), &mut memory).unwrap();
        let stored = Stored::parse(&hash).unwrap();
        prop_assert_eq!(verify(&password, &stored, &today, &mut memory).unwrap(), Checked { matches: true, outdated: false });
        let same = *other.normalized() == *password.normalized() || *other.as_typed() == *password.normalized();
        prop_assert_eq!(verify(&other, &stored, &today, &mut memory).unwrap().matches, same);
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_within_the_ceilings(text in "(\\$(argon2id|argon2i|2b|2x|v=19|m=[0-9]{1,6},t=[0-9]{1,3},p=[0-9]{1,3}|[./A-Za-z0-9]{0,60})){0,6}|\\PC{0,80}") {
        if let Ok(stored) = Stored::parse(&PasswordHash::new(text)) {
            prop_assert!(stored.blocks() <= 131_072);
        }
    }
}

/// What goes in turn is found like what goes alone, whatever is put together: right and wrong passwords, other costs, other formats,
/// passwords of two forms, `$2x$`.
#[test]
fn in_turn_and_alone_find_the_same() {
    let params = Argon2Params::default();
    let mut memory = Memory::map(blocks(&params)).unwrap();
    let read = |text: &str| Stored::parse(&PasswordHash::new(text)).unwrap();
    let stored = [
        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaRyNkIpLY7hvgjtOWbyfkPxK",
        "$2y$04$abcdefghijklmnopqrstuu3W1e7pqcCAPzNGHeDh0PUzhSQtKPS1O",
        "$argon2i$m=256,t=1,p=1$c29tZXNhbHQ$Z3Vlc3NlZCB0YWcgMTY",
    ]
    .map(read);
    let passwords = ["U*U", "U*V", "Ｕ*U", &"x".repeat(80)].map(|text| Password::new(text).unwrap());
    let checks: Vec<_> = passwords.iter().flat_map(|password| stored.iter().map(move |stored| (password, stored))).collect();
    let alone: Vec<_> = checks.iter().map(|(password, stored)| verify(password, stored, &params, &mut memory).unwrap()).collect();
    assert_eq!(alone.iter().filter(|checked| checked.matches).count(), 4, "U*U, and its other form, for two of them");
    let mut find_the_same = |some: &[usize]| {
        let together: Vec<_> = some.iter().map(|n| checks[*n]).collect();
        let expected: Vec<_> = some.iter().map(|n| alone[*n]).collect();
        assert_eq!(verify_in_turn(&together, &params, &mut memory).unwrap(), expected, "{some:?}");
    };
    for a in 0..checks.len() {
        find_the_same(&[a]);
        for b in 0..checks.len() {
            find_the_same(&[a, b]);
            find_the_same(&[a, b, (a + b) % checks.len()]);
        }
    }
}
