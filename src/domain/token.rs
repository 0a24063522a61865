//! Tokens and codes that are derived, never stored: HMACs, under a secret that is not in the store, of rows that hold
//! only ids, counters and nonces.

use super::{
    ids::{InviteId, JobId, LinkId, PendingSignupId, SessionId, TenantId, UserId},
    keyring::{KeyId, Keyring, Label},
    secret::SecretText,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const BODY: usize = 1 + 4 + 16 + 16 + 8;
const LENGTH: usize = BODY + 32;

/// The nonce of tokens that need nothing at rest to be good, such as [`NotMeToken`].
pub const NO_NONCE: [u8; 16] = [0; 16];

/// The nonce of tokens that die with the account's credential epoch: the epoch in 16 bytes, big-endian.
pub fn nonce_of_epoch(epoch: u64) -> [u8; 16] {
    u128::from(epoch).to_be_bytes()
}

/// What all derived tokens have in common: `prefix_` + base64url(version ‖ key id ‖ a ‖ b ‖ number ‖ HMAC-SHA-256).
/// The HMAC also covers a nonce. For most kinds it is the random part of the row that the ids name, so that whoever has our secrets
/// still can't make a token from ids alone; a kind that takes another nonce says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    key: KeyId,
    a: [u8; 16],
    b: [u8; 16],
    number: u64,
}

impl Parts {
    fn body(&self) -> [u8; BODY] {
        let mut body = [0; BODY];
        body[0] = VERSION;
        body[1..5].copy_from_slice(&self.key.0);
        body[5..21].copy_from_slice(&self.a);
        body[21..37].copy_from_slice(&self.b);
        body[37..].copy_from_slice(&self.number.to_be_bytes());
        body
    }

    fn issue(&self, ring: &Keyring, label: Label, prefix: &str, nonce: &[u8]) -> SecretText {
        let body = self.body();
        let tag = ring.mac(self.key, label, &[&body, nonce]).expect("a key of this ring");
        let mut whole = Zeroizing::new([0; LENGTH]);
        whole[..BODY].copy_from_slice(&body);
        whole[BODY..].copy_from_slice(&tag);
        let mut text = String::with_capacity(prefix.len() + LENGTH.div_ceil(3) * 4);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(*whole, &mut text);
        SecretText::new(text)
    }
}

/// A token as a client sent it, taken apart but not yet verified: that needs the row's nonce.
#[derive(Clone)]
struct Presented {
    parts: Parts,
    tag: [u8; 32],
}

impl Presented {
    fn parse(text: &str, prefix: &str) -> Option<Self> {
        let text = text.strip_prefix(prefix)?;
        let mut raw = [0; LENGTH + 2];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut raw).ok()? != LENGTH || raw[0] != VERSION {
            return None;
        }
        let take = |from: usize| -> [u8; 16] { raw[from..from + 16].try_into().expect("16 bytes") };
        let parts = Parts {
            key: KeyId(raw[1..5].try_into().expect("4 bytes")),
            a: take(5),
            b: take(21),
            number: u64::from_be_bytes(raw[37..BODY].try_into().expect("8 bytes")),
        };
        Some(Self { parts, tag: raw[BODY..LENGTH].try_into().expect("32 bytes") })
    }

    fn genuine(&self, ring: &Keyring, label: Label, nonce: &[u8]) -> bool {
        ring.verify(self.parts.key, label, &[&self.parts.body(), nonce], &self.tag)
    }
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident { $label:ident, $prefix:literal, $a:ident: $A:ty, $b:ident: $B:ty, $n:ident }),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Presented);

        impl $name {
            /// Derives the token. `nonce` is the random part of the row that it stands for, or what the kind takes instead.
            pub fn issue(ring: &Keyring, $a: $A, $b: $B, $n: u64, nonce: &[u8]) -> SecretText {
                Parts { key: ring.current(), a: *$a.as_bytes(), b: *$b.as_bytes(), number: $n }
                    .issue(ring, Label::$label, $prefix, nonce)
            }
            /// Takes apart what a client sent; `None` if it never was such a token.
            pub fn parse(text: &str) -> Option<Self> {
                Presented::parse(text, $prefix).map(Self)
            }
            #[doc = concat!("The `", stringify!($a), "` it names, not yet verified.")]
            pub fn $a(&self) -> $A {
                <$A>::from_bytes(self.0.parts.a)
            }
            #[doc = concat!("The `", stringify!($b), "` it names, not yet verified.")]
            pub fn $b(&self) -> $B {
                <$B>::from_bytes(self.0.parts.b)
            }
            #[doc = concat!("The `", stringify!($n), "` it carries, not yet verified.")]
            pub fn $n(&self) -> u64 {
                self.0.parts.number
            }
            /// Whether we made it, in constant time.
            pub fn genuine(&self, ring: &Keyring, nonce: &[u8]) -> bool {
                self.0.genuine(ring, Label::$label, nonce)
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "[hidden]"))
            }
        }
    )*};
}

tokens! {
    /// A refresh token: names a session and the generation it may turn.
    RefreshToken { Refresh, "rt_", user_id: UserId, session_id: SessionId, generation },
    /// The token of a password-reset link; carries the credential epoch it was made under.
    ResetToken { ResetLink, "rl_", user_id: UserId, link_id: LinkId, epoch },
    /// The token of a link that undoes an e-mail change.
    UndoToken { UndoLink, "ul_", user_id: UserId, link_id: LinkId, epoch },
    /// The token that binds a sign-up of `verify_first` to the password typed with it; the number is unused (0).
    SignupToken { SignupToken, "st_", pending_id: PendingSignupId, same_id: PendingSignupId, zero },
    /// The token of an invite that goes to the invited address by mail, and so proves it.
    MailedInvite { InviteMailed, "im_", tenant_id: TenantId, invite_id: InviteId, serial },
    /// The token of an invite that is shown to the inviter, for a link to hand over. It proves no mailbox.
    HandedInvite { InviteHanded, "ih_", tenant_id: TenantId, invite_id: InviteId, serial },
    /// The token of a link by which owners say that a change of their account was not theirs; names the job that mailed it, and when that
    /// was made, in milliseconds. Its nonce is [`NO_NONCE`]: nothing at rest is needed, as a use raises a mark in the account that
    /// kills all tokens made before.
    NotMeToken { NotMeLink, "nm_", user_id: UserId, job_id: JobId, made_at },
    /// The token of a link that brings a deleted account back; carries the credential epoch that the deletion raised the account to. Its
    /// nonce is [`nonce_of_epoch`] of the account's epoch: whatever raises that kills the token.
    RestoreToken { RestoreLink, "rs_", user_id: UserId, same_id: UserId, epoch },
    /// The token that lets somebody who gave the right password set a new one; carries nothing but its end, in milliseconds. Its nonce is
    /// [`nonce_of_epoch`] of the account's epoch: a change of password kills the token.
    ChangeToken { ChangeToken, "pc_", user_id: UserId, same_id: UserId, expires_at },
}

/// What a one-time code is for. A code of one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum CodePurpose {
    /// Proves the address on file.
    Email,
    /// Proves a phone number.
    Phone,
    /// Proves the new address of an e-mail change.
    EmailChange,
    /// Proves the address of a sign-up in `verify_first`.
    Signup,
}

impl CodePurpose {
    /// Stable name, for keys and rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::EmailChange => "email_change",
            Self::Signup => "signup",
        }
    }
}

/// How many digits a code has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CodeLength {
    /// As everybody's.
    #[default]
    Six,
    /// Where many wrong ones were typed.
    Eight,
}

impl CodeLength {
    /// The number.
    pub const fn digits(self) -> u8 {
        match self {
            Self::Six => 6,
            Self::Eight => 8,
        }
    }
    /// The reverse of [`CodeLength::digits`].
    pub const fn of(digits: u8) -> Option<Self> {
        match digits {
            6 => Some(Self::Six),
            8 => Some(Self::Eight),
            _ => None,
        }
    }
}

/// Derives the digits for `(purpose, subject, target, serial, nonce)`, uniform over all numbers of that length; `None` for an unknown key.
/// `subject` is whose code it is (user id or contact digest), `target` what it proves (the digest of the address or number).
#[expect(clippy::too_many_arguments, reason = "all that the digits follow from")]
pub fn one_time_code(
    ring: &Keyring,
    key: KeyId,
    purpose: CodePurpose,
    subject: &[u8],
    target: &[u8],
    serial: u64,
    nonce: &[u8],
    length: CodeLength,
) -> Option<SecretText> {
    let numbers = 10u64.pow(u32::from(length.digits()));
    // 2^64 is no multiple of a power of ten: draws from the ragged end are thrown away, or low codes would be likelier.
    let fair = u64::MAX - u64::MAX % numbers;
    for round in 0u8..=255 {
        let mac = ring.mac(key, Label::Code, &[purpose.name().as_bytes(), subject, target, &serial.to_be_bytes(), nonce, &[round]])?;
        let draw = u64::from_be_bytes(mac[..8].try_into().expect("8 bytes"));
        if draw < fair {
            return Some(SecretText::new(format!("{:0width$}", draw % numbers, width = usize::from(length.digits()))));
        }
    }
    None
}

/// Compares two codes in constant time.
pub fn codes_equal(a: &SecretText, b: &SecretText) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.reveal().as_bytes(), b.reveal().as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring() -> Keyring {
        Keyring::new([[3u8; 32].as_slice()])
    }
    const USER: UserId = UserId::from_bytes([1; 16]);
    const SESSION: SessionId = SessionId::from_bytes([2; 16]);

    #[test]
    fn a_refresh_token_names_its_session_and_needs_the_rows_nonce() {
        let text = RefreshToken::issue(&ring(), USER, SESSION, 7, &[9; 16]);
        let token = RefreshToken::parse(text.reveal()).unwrap();
        assert_eq!((token.user_id(), token.session_id(), token.generation()), (USER, SESSION, 7));
        assert!(token.genuine(&ring(), &[9; 16]));
        assert!(!token.genuine(&ring(), &[8; 16]));
        assert!(!token.genuine(&Keyring::new([[4u8; 32].as_slice()]), &[9; 16]));
        assert!(ResetToken::parse(text.reveal()).is_none());
    }

    #[test]
    fn an_invite_that_was_handed_over_never_passes_for_a_mailed_one() {
        let (tenant, invite) = (TenantId::from_bytes([5; 16]), InviteId::from_bytes([6; 16]));
        let handed = HandedInvite::issue(&ring(), tenant, invite, 1, &[9; 16]);
        assert!(HandedInvite::parse(handed.reveal()).unwrap().genuine(&ring(), &[9; 16]));
        assert!(MailedInvite::parse(handed.reveal()).is_none());
        let renamed = handed.reveal().replacen("ih_", "im_", 1);
        assert!(!MailedInvite::parse(&renamed).unwrap().genuine(&ring(), &[9; 16]));
    }

    type Passes = fn(&str, &[u8]) -> bool;

    /// Every kind: its prefix, and whether a text passes for one.
    const KINDS: [(&str, Passes); 9] = [
        ("rt_", |text, nonce| RefreshToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("rl_", |text, nonce| ResetToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("ul_", |text, nonce| UndoToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("st_", |text, nonce| SignupToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("im_", |text, nonce| MailedInvite::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("ih_", |text, nonce| HandedInvite::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("nm_", |text, nonce| NotMeToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("rs_", |text, nonce| RestoreToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
        ("pc_", |text, nonce| ChangeToken::parse(text).is_some_and(|t| t.genuine(&ring(), nonce))),
    ];

    /// One token of every kind, in the order of [`KINDS`], all of the same bytes, number and nonce.
    fn issued(nonce: &[u8]) -> [SecretText; 9] {
        let (ring, same) = (ring(), [1; 16]);
        let (user, tenant) = (UserId::from_bytes(same), TenantId::from_bytes(same));
        let (link, invite) = (LinkId::from_bytes(same), InviteId::from_bytes(same));
        let pending = PendingSignupId::from_bytes(same);
        [
            RefreshToken::issue(&ring, user, SessionId::from_bytes(same), 7, nonce),
            ResetToken::issue(&ring, user, link, 7, nonce),
            UndoToken::issue(&ring, user, link, 7, nonce),
            SignupToken::issue(&ring, pending, pending, 7, nonce),
            MailedInvite::issue(&ring, tenant, invite, 7, nonce),
            HandedInvite::issue(&ring, tenant, invite, 7, nonce),
            NotMeToken::issue(&ring, user, JobId::from_bytes(same), 7, nonce),
            RestoreToken::issue(&ring, user, user, 7, nonce),
            ChangeToken::issue(&ring, user, user, 7, nonce),
        ]
    }

    #[test]
    fn every_changed_character_is_noticed() {
        for ((prefix, passes), text) in KINDS.into_iter().zip(issued(&[9; 16])) {
            assert!(passes(text.reveal(), &[9; 16]) && !passes(text.reveal(), &[8; 16]), "{prefix}");
            for i in 0..text.reveal().len() {
                let mut bad: Vec<char> = text.reveal().chars().collect();
                bad[i] = if bad[i] == 'A' { 'B' } else { 'A' };
                let bad: String = bad.into_iter().collect();
                assert!(!passes(&bad, &[9; 16]), "{prefix}, character {i}");
            }
        }
    }

    #[test]
    fn no_kind_passes_for_another() {
        for (one, text) in issued(&NO_NONCE).iter().enumerate() {
            for (other, (prefix, passes)) in KINDS.into_iter().enumerate() {
                assert_eq!(passes(text.reveal(), &NO_NONCE), one == other, "{} as {prefix}", KINDS[one].0);
                let renamed = format!("{prefix}{}", &text.reveal()[3..]);
                assert_eq!(passes(&renamed, &NO_NONCE), one == other, "{} renamed {prefix}", KINDS[one].0);
            }
        }
    }

    #[test]
    fn a_not_me_token_names_its_job_and_needs_no_row() {
        let job = JobId::from_bytes([4; 16]);
        let text = NotMeToken::issue(&ring(), USER, job, 1_700_000_000_000, &NO_NONCE);
        let token = NotMeToken::parse(text.reveal()).unwrap();
        assert_eq!((token.user_id(), token.job_id(), token.made_at()), (USER, job, 1_700_000_000_000));
        assert!(token.genuine(&ring(), &NO_NONCE));
        assert!(!token.genuine(&Keyring::new([[4u8; 32].as_slice()]), &NO_NONCE));
    }

    #[test]
    fn tokens_of_an_epoch_die_with_it() {
        assert_eq!(nonce_of_epoch(0), NO_NONCE);
        assert_eq!(nonce_of_epoch(0x0102), *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02");
        assert_eq!(nonce_of_epoch(u64::MAX)[..8], [0; 8]);
        let restore = RestoreToken::issue(&ring(), USER, USER, 2, &nonce_of_epoch(2));
        let restore = RestoreToken::parse(restore.reveal()).unwrap();
        assert_eq!((restore.user_id(), restore.same_id(), restore.epoch()), (USER, USER, 2));
        let change = ChangeToken::issue(&ring(), USER, USER, 1_700_000_000_000, &nonce_of_epoch(2));
        let change = ChangeToken::parse(change.reveal()).unwrap();
        assert_eq!((change.user_id(), change.same_id(), change.expires_at()), (USER, USER, 1_700_000_000_000));
        for epoch in 0..5 {
            let nonce = nonce_of_epoch(epoch);
            assert_eq!((restore.genuine(&ring(), &nonce), change.genuine(&ring(), &nonce)), (epoch == 2, epoch == 2), "epoch {epoch}");
        }
    }

    #[test]
    fn codes_are_uniform_enough_and_depend_on_everything() {
        let k = ring();
        let code =
            |serial, nonce: &[u8]| one_time_code(&k, k.current(), CodePurpose::Email, b"s", b"t", serial, nonce, CodeLength::Six).unwrap();
        let long = one_time_code(&k, k.current(), CodePurpose::Email, b"s", b"t", 1, b"n", CodeLength::Eight).unwrap();
        assert!(long.reveal().len() == 8 && long.reveal().bytes().all(|b| b.is_ascii_digit()));
        assert_eq!(code(1, b"n"), code(1, b"n"));
        let mut tens = [0u32; 10];
        for serial in 0..10_000 {
            let c = code(serial, b"n");
            assert_eq!(c.reveal().len(), 6);
            tens[usize::from(c.reveal().as_bytes()[0] - b'0')] += 1;
        }
        // 1,000 expected in each, standard deviation 30.
        assert!(tens.iter().all(|n| (800..1200).contains(n)), "{tens:?}");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_not_without_panic(text in ".{0,150}") {
            let _ = RefreshToken::parse(&text);
            let _ = RefreshToken::parse(&format!("rt_{text}"));
        }
    }
}
