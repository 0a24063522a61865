//! What makes a password good enough: NIST SP 800-63B-4, 3.1.1.2: length, a blocklist, what an attacker would try first.

use super::{
    common,
    pool::{Class, Flow, Pool, PoolError},
    strength::Guess,
};
use crate::domain::{contact::Email, policy::AuthPolicy, secret::Password};
use zeroize::Zeroizing;

/// Why a password is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weak {
    /// Stable, snake_case: `too_short`, `common`, `same_as_email`, `context_word`, `missing_uppercase`, `missing_number`, `missing_symbol`, `too_weak`.
    pub reason: &'static str,
    /// For the person: says which rule, never repeats the password.
    pub detail: String,
}

impl Weak {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
    fn context_word() -> Self {
        let detail = "The password is mostly made of names that an attacker would try first: of the service, the organization, or yours. Add other words.";
        Self::new("context_word", detail)
    }
    fn too_weak() -> Self {
        Self::new("too_weak", "The password is easy to guess: use more words, or less usual ones.")
    }
}

/// Words have at least this many letters to count as names: shorter ones are in too many good passwords.
const CONTEXT_WORD: usize = 4;

/// Whose password it is: what an attacker who knows that would try (OWASP ASVS 5.0, 6.1.2 and 6.2.11).
#[derive(Debug, Clone)]
pub struct Owner<'a> {
    /// The address.
    pub email: &'a Email,
    /// In lower case: the names of the service, of the organizations and of the person, and what policies add.
    words: Vec<String>,
}

impl<'a> Owner<'a> {
    /// With the words of these names.
    pub fn new<'n>(email: &'a Email, names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut words: Vec<String> = names
            .into_iter()
            .flat_map(|name| name.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>())
            .filter(|word| word.chars().count() >= CONTEXT_WORD)
            .collect();
        // The longest first: of "acmecorp" and "acme" all of the former goes.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        Self { email, words }
    }

    /// What is left of a password, in lower case, without those words; `None` if none is in it.
    fn without_words(&self, text: &str) -> Option<Zeroizing<String>> {
        let lower = Zeroizing::new(text.to_lowercase());
        let mut rest = lower.clone();
        for word in &self.words {
            rest = Zeroizing::new(rest.replace(word.as_str(), ""));
        }
        (*rest != *lower).then_some(rest)
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
    owner: &Owner<'_>,
    flow: Flow,
    class: Class,
) -> Result<Result<(), Weak>, PoolError> {
    if let Err(weak) = check_cheaply(password, policy, owner) {
        return Ok(Err(weak));
    }
    let (guess, weak) = guess(password, policy, owner);
    let strong = match guess {
        Some(guess) => pool.estimate(guess, flow, class).await?,
        None => true,
    };
    Ok(if strong { Ok(()) } else { Err(weak) })
}

/// What is asked about the password's strength, if the policy asks at all, and what it is if it has none. Where there are names in it, the rest must
/// be strong by itself.
fn guess(password: &Password, policy: &AuthPolicy, owner: &Owner<'_>) -> (Option<Guess>, Weak) {
    let least = policy.password_min_strength;
    match owner.without_words(&password.normalized()) {
        Some(rest) => ((least > 0).then(|| Guess::of(rest, owner.email, least)), Weak::context_word()),
        None => ((least > 0).then(|| Guess::new(password, owner.email, least)), Weak::too_weak()),
    }
}

/// All rules but the strength.
fn check_cheaply(password: &Password, policy: &AuthPolicy, owner: &Owner<'_>) -> Result<(), Weak> {
    let (text, email) = (password.normalized(), owner.email);
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
    if owner.without_words(&text).is_some_and(|rest| rest.chars().count() < min) {
        return Err(Weak::context_word());
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
        check_of(password, policy, &Owner::new(email, []))
    }
    fn check_of(password: &Password, policy: &AuthPolicy, owner: &Owner<'_>) -> Result<(), Weak> {
        check_cheaply(password, policy, owner)?;
        let (guess, weak) = guess(password, policy, owner);
        if guess.is_none_or(|guess| guess.is_strong()) { Ok(()) } else { Err(weak) }
    }

    fn reason(password: &str, policy: &AuthPolicy) -> Option<&'static str> {
        let email = "margaret.hamilton@apollo.example".parse().unwrap();
        check_here(&Password::new(password).unwrap(), policy, &email).err().map(|weak| {
            assert!(password == "password" || !weak.detail.contains(password), "{}", weak.detail);
            weak.reason
        })
    }

    #[test]
    fn names_are_refused_only_if_the_rest_would_not_do() {
        let email = "margaret.hamilton@apollo.example".parse().unwrap();
        let owner = Owner::new(&email, ["Analytical Engines", "acme-corp", "Ada Lovelace", "id.service.example"]);
        let policy = AuthPolicy::default();
        let reason = |password: &str| check_of(&Password::new(password).unwrap(), &policy, &owner).err().map(|weak| weak.reason);
        for names in ["Analytical2024", "LOVELACE-lovelace", "acmecorp1", "engines-service", "Lovelace12345678"] {
            assert_eq!(reason(names), Some("context_word"), "{names}");
        }
        // Three letters are no name, and what is good without names is good.
        for good in ["Ada violet harbour", "lovelace kd8$Qxv2p!", "acme violet harbour tangent", "violet anchor meadow"] {
            assert_eq!(reason(good), None, "{good}");
        }
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
