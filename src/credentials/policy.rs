//! What makes a password good enough: NIST SP 800-63B-4, 3.1.1.2: length, a blocklist, what an attacker would try first.

use super::{
    common,
    pool::{Class, Flow, Pool, PoolError},
    strength::Guess,
};
use crate::domain::{contact::Email, policy::AuthPolicy, secret::Password};

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
    fn too_weak() -> Self {
        Self::new("too_weak", "The password is easy to guess: use more words, or less usual ones.")
    }
}

/// Checks a new password: the cheap rules here, and then its strength on a thread of `pool`, where it waits like a hash of the same `flow`.
///
/// # Errors
/// [`PoolError`]: the strength was not looked at. Within, the first rule that the password breaks.
pub async fn check(
    pool: &Pool,
    password: &Password,
    policy: &AuthPolicy,
    email: &Email,
    flow: Flow,
    class: Class,
) -> Result<Result<(), Weak>, PoolError> {
    if let Err(weak) = check_cheaply(password, policy, email) {
        return Ok(Err(weak));
    }
    let strong = match guess(password, policy, email) {
        Some(guess) => pool.estimate(guess, flow, class).await?,
        None => true,
    };
    Ok(if strong { Ok(()) } else { Err(Weak::too_weak()) })
}

/// What is asked about the password's strength, if the policy asks at all.
fn guess(password: &Password, policy: &AuthPolicy, email: &Email) -> Option<Guess> {
    let least = policy.password_min_strength;
    (least > 0).then(|| Guess::new(password, email, least))
}

/// All rules but the strength.
fn check_cheaply(password: &Password, policy: &AuthPolicy, email: &Email) -> Result<(), Weak> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::strength::warm_up, *};
    use std::time::Duration;

    /// What [`check`] finds, without a pool.
    fn check_here(password: &Password, policy: &AuthPolicy, email: &Email) -> Result<(), Weak> {
        check_cheaply(password, policy, email)?;
        if guess(password, policy, email).is_none_or(|guess| guess.is_strong()) { Ok(()) } else { Err(Weak::too_weak()) }
    }

    fn reason(password: &str, policy: &AuthPolicy) -> Option<&'static str> {
        let email = "margaret.hamilton@apollo.example".parse().unwrap();
        check_here(&Password::new(password).unwrap(), policy, &email).err().map(|weak| {
            assert!(password == "password" || !weak.detail.contains(password), "{}", weak.detail);
            weak.reason
        })
    }

    #[test]
    fn each_rule_has_its_reason_and_good_ones_pass() {
        let policy = AuthPolicy { password_min_strength: 2, ..AuthPolicy::default() };
        for (password, expected) in [
            ("kd8$Qx", Some("too_short")),
            ("🦀🦀🦀🦀🦀🦀🦀", Some("too_short")),
            ("password", Some("common")),
            ("TrustNo1", Some("common")),
            ("ｐａｓｓｗｏｒｄ", Some("common")),
            ("Margaret.Hamilton@apollo.EXAMPLE", Some("same_as_email")),
            ("MARGARET.hamilton", Some("same_as_email")),
            ("aaaaaaaaaaaa", Some("too_weak")),
            ("abcdefghijkl", Some("too_weak")),
            ("margaret.hamilton1", Some("too_weak")),
            ("correct horse battery staple", None),
            ("kd8$Qxv2p!", None),
            ("пароль от сейфа 7", None),
            ("   spaces count   ", None),
        ] {
            assert_eq!(reason(password, &policy), expected, "{password}");
        }
    }

    #[test]
    fn classes_are_asked_for_only_by_policy() {
        let all = AuthPolicy {
            password_require_uppercase: true,
            password_require_number: true,
            password_require_symbol: true,
            password_min_length: 12,
            ..AuthPolicy::default()
        };
        assert_eq!(reason("kd8$qxv2p!", &all), Some("too_short"));
        assert_eq!(reason("kd8$qxv2p!kk", &all), Some("missing_uppercase"));
        assert_eq!(reason("kd$qxvp!kkQx", &all), Some("missing_number"));
        assert_eq!(reason("kd8qxv2pkkQx", &all), Some("missing_symbol"));
        assert_eq!(reason("kd8$qxv2p!kQ", &all), None);
    }

    #[test]
    fn the_score_asked_for_is_the_policys_and_long_tails_count() {
        let lax = AuthPolicy { password_min_strength: 0, ..AuthPolicy::default() };
        assert_eq!(reason("aaaaaaaaaaaa", &lax), None);
        let strict = AuthPolicy { password_min_strength: 4, ..AuthPolicy::default() };
        assert_eq!(reason("kd8$Qxv2", &strict), Some("too_weak"));
        assert_eq!(reason(&format!("{}kd8$Qxv2p!zW7#", "a".repeat(60)), &strict), None);
    }

    /// Of this thread: what others do on this machine meanwhile is not in it.
    fn time_of_work() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes one value, to a place of ours.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    }

    #[test]
    fn no_password_takes_long() {
        warm_up();
        let policy = AuthPolicy { password_min_strength: 4, ..AuthPolicy::default() };
        let dense = "4@8({[<3691!|1|7059$5+7%2";
        // Weak at first and last, dense between; and what is read in just under DENSE ways.
        let (between, below) = (format!("{}{dense}{}", "a".repeat(20), "a".repeat(20)), "4@({69!|xyab".repeat(22));
        let pieces = [
            "a",
            "ab",
            "1",
            "1990",
            "31.12.1999",
            "p4$$w0rd",
            "qwerty",
            "(){}",
            "passwordpassword1",
            "ß",
            dense,
            &between,
            &below,
            "é🦀",
            " ",
        ];
        for piece in pieces {
            let text: String = piece.chars().cycle().take(256).collect();
            // The best of three: others empty the caches of this machine.
            let took = (0..3).map(|_| {
                let began = time_of_work();
                let _ = reason(&text, &policy);
                time_of_work() - began
            });
            let took = took.min().unwrap_or_default();
            assert!(took < Duration::from_millis(30), "{took:?} for {piece}");
        }
    }
}
