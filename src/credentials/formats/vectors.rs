//! scrypt, PBKDF2 and wrapped hashes: vectors of the RFCs and of other implementations (Passlib, Firebase, Python's hashlib). What of them
//! comes in, and as what.

use super::{
    foreign::Imported,
    tests::{good, verified},
    wrapped::{Digest, Weak},
    *,
};
use crate::domain::rng::{SeededRng, SystemRng};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const ZEROES: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn kept(text: &str) -> String {
    match Imported::parse(text) {
        Ok(Imported::Kept(hash)) => hash.reveal().to_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

/// What another system stored, as it is stored here.
fn stored(text: &str) -> String {
    match Imported::parse(text) {
        Ok(Imported::Kept(hash)) => hash.reveal().to_owned(),
        Ok(Imported::Weak(weak)) => wrap(&weak),
        Err(error) => panic!("{text}: {error}"),
    }
}
/// The same, of one that has to be wrapped.
fn wrapped(text: &str) -> String {
    let Ok(Imported::Weak(weak)) = Imported::parse(text) else { panic!("{text} is not one to wrap") };
    wrap(&weak)
}
fn wrap(weak: &Weak) -> String {
    let mut memory = Memory::map(19_456).unwrap();
    weak.wrap(&Argon2Params::default(), &SystemRng, &mut memory).unwrap().reveal().to_owned()
}

#[test]
fn scrypt_of_rfc_7914_and_passlib() {
    good(
        "pleaseletmein",
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw",
    );
    good(
        "password",
        "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
    );
    good("password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E");
}

/// The example of <https://github.com/firebase/scrypt>.
#[test]
fn scrypt_of_firebase_with_its_projects_parameters() {
    let signer = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";
    let tag = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";
    let hash = format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={signer}$42xEC+ixf3L2lw==${tag}");
    good("user1password", &hash);
    assert!(verified("user1password", &hash).outdated);
    let other = hash.replace(",ss=Bw==", ",ss=CA==");
    assert!(!verified("user1password", &other).matches, "the separator counts");
}

#[test]
fn pbkdf2_of_rfc_6070_passlib_django_and_keycloak() {
    good("password", "$pbkdf2-sha1$i=4096,l=20$c2FsdA$SwB5AbdlSJq+rUnZJvch0GWkKcE");
    good("password", &stored("$pbkdf2-sha256$6400$.6UI/S.nXIk8jcbdHx3Fhg$98jZicV16ODfEsEZeYPGHU3kbrUrvUEXOPimVSQDD44"));
    good("correct horse", &stored("pbkdf2_sha256$1000$seasalt2$oksQ9Bdi8Bce0okH61Cis7qICJfP+cYfDOnMdNPMzK8="));
    let salt = "MDEyMzQ1Njc4OWFiY2RlZg";
    // Keycloak's are 64 bytes long whatever the function gives at a time.
    let of = |name: &str, rounds: u32, tag: &str| good("correct horse", &format!("$pbkdf2-{name}$i={rounds},l=64${salt}${tag}"));
    of("sha1", 20_000, "3j/kSXDCFGf+gK+IC5hDJD7B63eDRKJWnhTpQ3Nh9Yn4EIxpeBgLSZpVdl9LMnC6x+tygyctTfXI4xPArxGXMQ");
    of("sha256", 27_500, "H5R9LZ0QvKxHLm1Lg0IeQXdtUAa+9gf2NeOZns+WHBTpnlaWE/+JwnJ/2OXEjNPW5EusP1xxGLqEqjWDbIcGlg");
    of("sha512", 30_000, "EZdYedjJ9LINuCEWb/obgbC2etwQSY8+K/kV9Sbe4upwijP8unRux35qRxFax9VOayhTRti9uKhJLnaJW9awyQ");
}

#[test]
fn fast_hashes_of_old_systems_are_wrapped_and_verified() {
    for text in [
        "{MD5}X03MO1qnZdYdgyfeuILPmQ==",
        "{md5}5f4dcc3b5aa765d61d8327deb882cf99",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "{SHA}5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8",
    ] {
        good("password", &wrapped(text));
    }
    for text in [
        "{SMD5}WvNhLLitFNNM0XshzutEnU5hQ2w=",
        "{SSHA256}RZt1ffPUBCPIm1ExiBme2/Pq6LjxmOV+UuwTDxYUEXlOYUNs",
        "{SSHA512}xdqJoPZy0z2ISyVALjTvBo5x9AkjiFnWKH0NsOP4U82KzmxCREKHlAwAwogawzZlmhW7qTj1fJZE7cutApWFGE5hQ2w=",
        "{SHA256}4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631",
    ] {
        let stored = wrapped(text);
        good("correct horse", &stored);
        assert!(stored.starts_with("$wrapped-argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verified("correct horse", &stored).outdated);
        let digest = text.split_once('}').unwrap().1;
        assert!(!stored.contains(&digest[..20]), "the old hash is in no part of it");
    }
    let tag = foreign::hex("cc0c19e7e854dad3a1ac59d270a830024c7d2efa248ea80d0a27223f30bbf504").unwrap();
    good("correct horse", &wrap(&Weak::new(Digest::Sha256, tag.clone(), b"NaCl".to_vec(), true).unwrap()));
    assert!(!verified("correct horse", &wrap(&Weak::new(Digest::Sha256, tag, b"NaCl".to_vec(), false).unwrap())).matches);
}

#[test]
fn other_spellings_of_what_is_known_are_taken() {
    let bcrypt = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    assert_eq!(kept(&format!("{{CRYPT}}{bcrypt}")), bcrypt);
    assert_eq!(kept(bcrypt), bcrypt);
    for unknown in ["{CRYPT}$6$salt$hash", "{NTLM}x", "{}", "plain", "", "5f4dcc3b5aa765d61d8327deb882cf99", "md5$a$b"] {
        assert_eq!(Imported::parse(unknown).err(), Some(BadHash::Unknown), "{unknown}");
    }
    for bad in ["{SSHA}", "{SSHA}AAAA", "{MD5}zz", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9gAAAA=", "{MD5}ZZ4dcc3b5aa765d61d8327deb882cf99"] {
        assert_eq!(Imported::parse(bad).err(), Some(BadHash::Malformed), "{bad}");
    }
    assert_eq!(format!("{:?}", Imported::parse("{MD5}X03MO1qnZdYdgyfeuILPmQ==").unwrap()), "Weak(Weak[hidden])");
}

#[test]
fn hostile_hashes_of_these_formats_are_refused_at_once() {
    let began = Instant::now();
    let of = |text: &str| Stored::parse(&PasswordHash::new(text)).err();
    for params in ["ln=18,r=8,p=1", "ln=17,r=8,p=2", "ln=31,r=8,p=1", "ln=1,r=4294967295,p=4294967295", "ln=14,r=8,p=99999999999"] {
        assert_eq!(of(&format!("$scrypt${params}${ZEROES}${ZEROES}")), Some(BadHash::TooMuch(super::scrypt::CEILING)), "{params}");
    }
    for params in ["ln=0,r=8,p=1", "ln=14,r=0,p=1", "ln=14,r=8,p=0", "ln=16,r=1,p=1", "ln=14,r=8", "r=8,ln=14,p=1", "ln=14,r=8,p=1,x=1", ""]
    {
        assert_eq!(of(&format!("$scrypt${params}${ZEROES}${ZEROES}")), Some(BadHash::Malformed), "{params}");
    }
    for params in ["i=2000001,l=16", "i=4294967295,l=16", "i=99999999999,l=16"] {
        assert_eq!(of(&format!("$pbkdf2-sha256${params}${ZEROES}${ZEROES}")), Some(BadHash::TooMuch(super::pbkdf2::CEILING)), "{params}");
    }
    for params in ["i=0,l=16", "i=1000,l=32", "i=1000", "l=16,i=1000", "i=-1,l=16", "i=1000,l=16,x=1"] {
        assert_eq!(of(&format!("$pbkdf2-sha256${params}${ZEROES}${ZEROES}")), Some(BadHash::Malformed), "{params}");
    }
    for text in [
        format!("$scrypt$ln=14,r=8,p=1${ZEROES}$AAAA"),
        format!("$scrypt$ln=14,r=8,p=1${ZEROES}${ZEROES}$x"),
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=AAAA${ZEROES}${ZEROES}"),
        format!("$fbscrypt$n=14,r=8,p=1${ZEROES}${ZEROES}"),
        format!("$wrapped-argon2id$v=19$m=8,t=1,p=1${ZEROES}${ZEROES}$sha1-beside$"),
        format!("$wrapped-argon2id$v=19$m=8,t=1,p=1${ZEROES}${ZEROES}"),
        format!("$wrapped-argon2id$v=16$m=8,t=1,p=1${ZEROES}${ZEROES}$sha1-after$"),
        wrapping("sha1-after$c2FsdA$x"),
        wrapping("pbkdf2-sha256$i=1000,l=16$c2FsdA"),
        wrapping("pbkdf2-sha256$i=1000,l=16$c2FsdA$l=32"),
        wrapping("pbkdf2-sha256$i=1000,l=16$c2FsdA$l=99999999999999999999"),
        wrapping("argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$l=11"),
        wrapping("argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$l=129"),
        wrapping("2b$05$abcdefghijklmnopqrstu$l=23"),
        wrapping(&format!("{}$l=32", &wrapping("pbkdf2-sha256$i=1000,l=16$c2FsdA$l=16")[1..])),
    ] {
        assert_eq!(of(&text), Some(BadHash::Malformed), "{text}");
    }
    assert_eq!(of(&wrapping("plain$l=32")), Some(BadHash::Unknown));
    let too_much = |ceiling| Some(BadHash::TooMuch(ceiling));
    let outer = format!("$wrapped-argon2id$v=19$m=131073,t=1,p=1${ZEROES}${ZEROES}$sha1-after$");
    assert_eq!(of(&outer), too_much(super::argon2::CEILING));
    // What is within has the ceilings of its format.
    assert_eq!(of(&wrapping("pbkdf2-sha1$i=2000001,l=20$c2FsdA$l=20")), too_much(super::pbkdf2::CEILING));
    assert_eq!(of(&wrapping("argon2id$m=8,t=131073,p=1$c29tZXNhbHQ$l=32")), too_much(super::argon2::CEILING));
    assert_eq!(of(&wrapping("scrypt$ln=10,r=8,p=129$c2FsdA$l=32")), too_much(super::scrypt::CEILING));
    assert_eq!(of(&wrapping("2b$15$CCCCCCCCCCCCCCCCCCCCC.$l=23")), too_much(super::bcrypt::CEILING));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
}

/// A wrapped hash of zeroes.
fn wrapping(within: &str) -> String {
    format!("$wrapped-argon2id$v=19$m=19456,t=2,p=1${ZEROES}${ZEROES}${within}")
}

/// Each with its password and what the census says of it alone: slow formats whose costs are below the floors.
const BELOW_THE_FLOORS: [(&str, &str, &str); 11] = [
    ("password", "$pbkdf2-sha1$i=4096,l=20$c2FsdA$SwB5AbdlSJq+rUnZJvch0GWkKcE", "pbkdf2-sha1:i=4096,l=20"),
    (
        "correct horse",
        "$pbkdf2-sha256$i=27500,l=64$MDEyMzQ1Njc4OWFiY2RlZg$H5R9LZ0QvKxHLm1Lg0IeQXdtUAa+9gf2NeOZns+WHBTpnlaWE/+JwnJ/2OXEjNPW5EusP1xxGLqEqjWDbIcGlg",
        "pbkdf2-sha256:i=27500,l=64",
    ),
    (
        "correct horse",
        "$pbkdf2-sha512$i=30000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$EZdYedjJ9LINuCEWb/obgbC2etwQSY8+K/kV9Sbe4upwijP8unRux35qRxFax9VOayhTRti9uKhJLnaJW9awyQ",
        "pbkdf2-sha512:i=30000,l=64",
    ),
    (
        "correct horse",
        "$argon2d$v=19$m=4096,t=3,p=4$c29tZXNhbHQxMjM0NTY3OA$Pxn/fRuf6VySF/qp0/Y2lfMk+L3KiLCr0uhVhPzzsUk",
        "argon2d:m=4096,t=3,p=4",
    ),
    (
        "correct horse",
        "$argon2i$v=19$m=4096,t=3,p=2$c29tZXNhbHQxMjM0NTY3OA$Pq1auM9wZlRchdCY8OuHdI3wtZkXKIGlT4eyMkE6etA",
        "argon2i:m=4096,t=3,p=2",
    ),
    (
        "pässword",
        "$argon2id$v=16$m=8192,t=1,p=1$c29tZXNhbHQxMjM0NTY3OA$bwXeemg1/qChZ4uJvhUaDDIRHNH39mbI0bFgzt/a+Lg",
        "argon2id:m=8192,t=1,p=1",
    ),
    (
        "pleaseletmein",
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw",
        "scrypt:ln=14,r=8,p=1",
    ),
    ("password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E", "scrypt:ln=16,r=8,p=1"),
    (
        "user1password",
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
        "fbscrypt:n=14,r=8,p=1",
    ),
    ("U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt:05"),
    ("£5 note ÿ", "$2x$05$abcdefghijklmnopqrstuudMO63JxpupWdI4VqD7mrzxZx3K4YqWK", "bcrypt:05"),
];

#[test]
fn what_is_below_the_floors_is_wrapped_and_verified() {
    for (password, bare, census) in BELOW_THE_FLOORS {
        let hash = wrapped(bare);
        assert!(hash.starts_with("$wrapped-argon2id$v=19$m=19456,t=2,p=1$") && hash.len() <= MAX_LENGTH, "{hash}");
        assert!(!hash.contains(&bare[bare.len() - 20..]), "the old tag is in no part of it: {hash}");
        good(password, &hash);
        assert_eq!(verified(password, &hash), Checked { matches: true, outdated: true }, "{hash}");
        // What was stored bare before is still checked, and hashed anew.
        assert_eq!(verified(password, bare), Checked { matches: true, outdated: true }, "{bare}");
        // Its own kind, which tells that two hashes are computed.
        let (bare, hash) = (PasswordHash::new(bare), PasswordHash::new(hash));
        assert_eq!(hash.census(), format!("wrapped-argon2id:m=19456,t=2,p=1+{census}"));
        assert_eq!(bare.census(), census);
        let (inner, kind) = (Stored::parse(&bare).unwrap().kind(), Stored::parse(&hash).unwrap().kind());
        assert_eq!(kind, Kind::Wrapped { m_kib: 19_456, t: 2, inner: Inner::of(inner).unwrap() });
        assert_eq!(Kind::of_census(&hash.census()), Some(kind));
    }
}

#[test]
fn what_is_wrapped_has_the_memory_of_both() {
    let of = |within: &str| Stored::parse(&PasswordHash::new(wrapping(within))).unwrap();
    let sizes = |stored: Stored| (stored.own_blocks(), stored.blocks());
    assert_eq!(sizes(of("pbkdf2-sha1$i=1,l=20$c2FsdA$l=20")), (19_456, 19_456));
    assert_eq!(sizes(of("argon2id$v=19$m=40000,t=1,p=1$c29tZXNhbHQ$l=32")), (40_000, 40_000));
    assert_eq!(sizes(of("scrypt$ln=16,r=8,p=1$c2FsdA$l=32")), (19_456, 65_536));
}

#[test]
fn what_reaches_the_floor_is_kept() {
    let argon2 = |costs: &str| format!("$argon2id$v=19${costs}${ZEROES}${ZEROES}");
    let scrypt = |costs: &str| format!("$scrypt${costs}${ZEROES}${ZEROES}");
    let pbkdf2 = |name: &str, rounds: u32| format!("$pbkdf2-{name}$i={rounds},l=16${ZEROES}${ZEROES}");
    let bcrypt = |cost: u32| format!("$2b${cost:02}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
    let mut pairs = vec![(bcrypt(10), bcrypt(9)), (bcrypt(14), bcrypt(4))];
    for (m, t) in [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)] {
        pairs.push((argon2(&format!("m={m},t={t},p=1")), argon2(&format!("m={},t={t},p=1", m - 1))));
    }
    pairs.push((argon2("m=131072,t=1,p=8"), argon2("m=8,t=1,p=1")));
    for (ln, p) in [(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)] {
        pairs.push((scrypt(&format!("ln={ln},r=8,p={p}")), scrypt(&format!("ln={},r=8,p={p}", ln - 1))));
    }
    pairs.push((scrypt("ln=16,r=16,p=1"), scrypt("ln=17,r=4,p=1")));
    for (name, floor) in [("sha1", 1_300_000), ("sha256", 600_000), ("sha512", 210_000)] {
        pairs.push((pbkdf2(name, floor), pbkdf2(name, floor - 1)));
        pairs.push((pbkdf2(name, floor + 1), pbkdf2(name, 1)));
    }
    for (strong, weak) in pairs {
        assert_eq!(kept(&strong), strong);
        assert!(matches!(Imported::parse(&weak), Ok(Imported::Weak(_))), "{weak}");
    }
    // Wrapped ones are taken as they are, or not at all.
    for within in ["sha1-after$", "pbkdf2-sha1$i=1,l=20$c2FsdA$l=20"] {
        assert_eq!(kept(&wrapping(within)), wrapping(within));
        let thin = wrapping(within).replace("m=19456,t=2", "m=19455,t=2");
        assert_eq!(Imported::parse(&thin).err(), Some(BadHash::WeaklyWrapped));
    }
}

/// 1.5 times what the slowest takes on a slow core is within the 2 s that a refusal may wait.
#[test]
fn what_comes_in_is_checked_before_a_refusal_is_answered() {
    let in_time = |kind: Kind| DELAY_FACTOR * kind.on_a_slow_core() <= MAX_DELAY_MS;
    let at_the_ceilings = [
        Kind::Argon2 { m_kib: 131_072, t: 8 },
        Kind::Bcrypt { cost: 14 },
        Kind::Scrypt { log_n: 17, r: 8, p: 1 },
        Kind::Pbkdf2 { prf: super::pbkdf2::Prf::Sha1, rounds: 1_666_666 },
        Kind::Pbkdf2 { prf: super::pbkdf2::Prf::Sha256, rounds: 1_666_666 },
        Kind::Pbkdf2 { prf: super::pbkdf2::Prf::Sha512, rounds: 1_111_111 },
    ];
    assert!(at_the_ceilings.into_iter().all(in_time));
    for (name, most) in [("sha1", 1_666_666), ("sha256", 1_666_666), ("sha512", 1_111_111)] {
        let of = |rounds: u32| format!("$pbkdf2-{name}$i={rounds},l=16${ZEROES}${ZEROES}");
        assert_eq!(kept(&of(most)), of(most));
        let error = Imported::parse(&of(most + 1)).unwrap_err();
        assert_eq!(error, BadHash::TooMuch(super::pbkdf2::CEILING), "{name}");
        assert!(error.to_string().contains(&most.to_string()), "{error}");
        // One that was stored before there was this ceiling.
        assert!(Stored::parse(&PasswordHash::new(of(2_000_000))).is_ok());
    }
    for (text, parameter) in [
        (format!("$2b$15$CCCCCCCCCCCCCCCCCCCCC.{}", ".".repeat(31)), "cost is at most 14"),
        (format!("$argon2id$v=19$m=131072,t=9,p=1${ZEROES}${ZEROES}"), "m times t is at most 1048576"),
        (format!("$argon2id$v=19$m=131073,t=1,p=1${ZEROES}${ZEROES}"), "m is at most 131072"),
        (format!("$scrypt$ln=18,r=8,p=1${ZEROES}${ZEROES}"), "N times r times p is at most 1048576"),
        // Either would do alone.
        (
            format!("$wrapped-argon2id$v=19$m=131072,t=8,p=1${ZEROES}${ZEROES}$pbkdf2-sha1$i=1200000,l=20$c2FsdA$l=20"),
            "wrapping Argon2id count together",
        ),
    ] {
        let error = Imported::parse(&text).unwrap_err();
        assert!(matches!(error, BadHash::TooMuch(_)) && error.to_string().contains(parameter), "{text}: {error}");
    }
}

#[test]
fn the_census_says_the_kind_that_these_hashes_have() {
    for text in [
        format!("$scrypt$ln=17,r=8,p=1${ZEROES}${ZEROES}"),
        format!("$pbkdf2-sha512$i=210000,l=16${ZEROES}${ZEROES}"),
        format!("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={0}${ZEROES}${0}", "A".repeat(86)),
        format!("$wrapped-argon2id$v=19$m=19456,t=2,p=1${ZEROES}${ZEROES}$sha1-after$"),
    ] {
        let hash = PasswordHash::new(text);
        assert_eq!(Kind::of_census(&hash.census()), Some(Stored::parse(&hash).unwrap().kind()), "{}", hash.census());
        assert!(!hash.census().contains("AAA"), "{}", hash.census());
    }
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "(\\{(SSHA|MD5|sha512|CRYPT|x)\\})?(\\$|pbkdf2_sha256\\$|\\$(scrypt|pbkdf2|pbkdf2-sha1|fbscrypt|wrapped-argon2id)\\$)?((v=1,n=[0-9]{1,2},r=8,p=1,ss=,sk=|ln=[0-9]{1,2},r=[0-9]{1,9},p=1|i=[0-9]{1,9},l=[0-9]{1,3}|v=19|[0-9]{1,7}|[./A-Za-z0-9=+]{0,90})\\$?){0,6}|\\PC{0,80}") {
        if let Ok(Imported::Kept(hash)) = Imported::parse(&text) {
            let stored = Stored::parse(&hash).unwrap();
            prop_assert!(stored.blocks() <= 131_072);
            prop_assert!(hash.reveal().len() <= MAX_LENGTH);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_wrapped_is_verified(text in "\\PC{1,40}", salt in proptest::collection::vec(any::<u8>(), 0..64), first: bool, seed: u64) {
        let Ok(password) = Password::new(text) else { return Ok(()) };
        let digest = [Digest::Md5, Digest::Sha1, Digest::Sha256, Digest::Sha512][seed as usize % 4];
        let typed = password.as_typed().as_bytes();
        let input = if first { [&salt, typed].concat() } else { [typed, &salt].concat() };
        let weak = Weak::new(digest, digest.of_bytes(&input), salt, first).unwrap();
        let mut memory = Memory::map(19_456).unwrap();
        let hash = weak.wrap(&Argon2Params::default(), &SeededRng::new(seed), &mut memory).unwrap();
        prop_assert!(verify(&password, &Stored::parse(&hash).unwrap(), &Argon2Params::default(), &mut memory).unwrap().matches);
    }
}
