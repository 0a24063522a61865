//! How hard a password is to guess, as zxcvbn estimates it: some milliseconds of work, which are for the pool's threads.

use crate::domain::{contact::Email, secret::Password};
use zeroize::Zeroizing;

/// zxcvbn looks at this many characters at a time: the first ones and the last ones. Its time grows with the square of the length.
const WINDOW: usize = 32;
/// And at this many, if they can be read as letters in many ways (see [`readings`]): it tries them all, so that 32 characters took 50 ms.
const DENSE_WINDOW: usize = 16;
/// From so many ways on. Measured: below it 32 characters take 3 ms at most, above it 16 take 4 (debug build).
const DENSE: usize = 32;

/// One password, whose strength is to be estimated.
pub struct Guess {
    /// What is hashed of it.
    text: Zeroizing<String>,
    /// What an attacker would try, too.
    known: [String; 2],
    /// The score that is asked for.
    least: u8,
}

impl Guess {
    /// Whether `password`, chosen by whoever has `email`, reaches a score of `least`.
    pub fn new(password: &Password, email: &Email, least: u8) -> Self {
        Self::of(password.normalized(), email, least)
    }
    /// The same of a part of a password.
    pub fn of(text: Zeroizing<String>, email: &Email, least: u8) -> Self {
        Self { text, known: [email.as_str().to_owned(), email.local_part().to_owned()], least }
    }

    /// Whether zxcvbn gives the first or the last characters at least that score: what is strong in part is strong.
    pub fn is_strong(&self) -> bool {
        let text = self.text.as_str();
        let window = if readings(text) > DENSE { DENSE_WINDOW } else { WINDOW };
        let known = self.known.each_ref().map(String::as_str);
        let good = |part: &str| u8::from(zxcvbn::zxcvbn(part, &known).score()) >= self.least;
        let cut = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let length = text.chars().count();
        good(&text[..cut(window)]) || (length > window && good(&text[cut(length - window)..]))
    }
}

/// Loads zxcvbn's dictionaries, so that the first sign-up needn't wait for it (some ten milliseconds).
pub fn warm_up() {
    zxcvbn::zxcvbn("warm", &[]);
}

/// In how many ways the signs in it stand for letters: zxcvbn's table of them (`4` and `@` for a, and so on).
fn readings(text: &str) -> usize {
    const SIGNS: [&str; 12] = ["4@", "8", "({[<", "3", "69", "1!|", "1|7", "0", "$5", "+7", "%", "2"];
    SIGNS.iter().map(|signs| signs.chars().filter(|sign| text.contains(*sign)).count().max(1)).product()
}
