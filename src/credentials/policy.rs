//! What makes a password good enough: NIST SP 800-63B-4, 3.1.1.2: length, a blocklist, what an attacker would try first.

use super::common;
use crate::domain::{contact::Email, policy::AuthPolicy, secret::Password};

/// zxcvbn looks at this many characters. Its time grows with the square of the length and more; a password whose first
/// characters are strong is strong, and one that only becomes so later gets its second chance by its last ones.
const SCORED_CHARS: usize = 32;

/// Why a password is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weak {
    /// Stable, snake_case: `too_short`, `common`, `same_as_email`, `missing_uppercase`, `missing_number`, `missing_symbol`, `too_weak`.
    pub reason: &'static str,
    /// For the person: says which rule, never repeats the password.
    pub detail: String,
}

impl Weak {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Checks a new password, the cheap rules first. Takes a few milliseconds at most, whatever the password.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(password: &Password, policy: &AuthPolicy, email: &Email) -> Result<(), Weak> {
    let text = password.normalized();
    let min = policy.password_min_length as usize;
    if text.chars().count() < min {
        return Err(Weak::new("too_short", format!("The password must have at least {min} characters.")));
    }
    let lower = zeroize::Zeroizing::new(text.to_lowercase());
    if *lower == email.as_str() || *lower == email.local_part() {
        return Err(Weak::new("same_as_email", "The password must not be the e-mail address or a part of it."));
    }
    if common::contains(&lower) {
        return Err(Weak::new("common", "The password is one of the most common ones, which are tried first."));
    }
    let has = |class: fn(char) -> bool| text.chars().any(class);
    if policy.password_require_uppercase && !has(char::is_uppercase) {
        return Err(Weak::new("missing_uppercase", "The password must have an upper-case letter."));
    }
    if policy.password_require_number && !has(char::is_numeric) {
        return Err(Weak::new("missing_number", "The password must have a digit."));
    }
    if policy.password_require_symbol && !has(|c| !c.is_alphanumeric()) {
        return Err(Weak::new("missing_symbol", "The password must have a character that is neither letter nor digit."));
    }
    if strength(&text, email) < policy.password_min_strength {
        return Err(Weak::new("too_weak", "The password is easy to guess: use more words, or less usual ones."));
    }
    Ok(())
}

/// Loads zxcvbn's dictionaries, so that the first sign-up needn't wait for it (some ten milliseconds).
pub fn warm_up() {
    zxcvbn::zxcvbn("warm", &[]);
}

/// zxcvbn's score, 0..=4: the better one of the first and the last [`SCORED_CHARS`] characters.
fn strength(text: &str, email: &Email) -> u8 {
    let known = [email.as_str(), email.local_part()];
    let cut = |from: usize| text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    let first = u8::from(zxcvbn::zxcvbn(&text[..cut(SCORED_CHARS)], &known).score());
    let length = text.chars().count();
    if first == 4 || length <= SCORED_CHARS {
        return first;
    }
    first.max(u8::from(zxcvbn::zxcvbn(&text[cut(length - SCORED_CHARS)..], &known).score()))
}
