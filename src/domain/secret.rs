//! Types for what must never be printed: passwords, hashes, tokens, codes.

use std::fmt;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Text that shows nothing in `Debug`, is not `Display` or `Serialize`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Wraps.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
    /// The text itself. Each caller is a place to look at in a review.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// The longest password taken, in Unicode scalar values (NIST SP 800-63B-4 asks for at least 64; longer than this is an attack).
pub const MAX_PASSWORD_CHARS: usize = 256;

/// The password was longer than [`MAX_PASSWORD_CHARS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("longer than {MAX_PASSWORD_CHARS} characters")]
pub struct PasswordTooLong;

/// A password as somebody typed it: never trimmed, never cut, any character, at most [`MAX_PASSWORD_CHARS`].
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes the text as it is.
    ///
    /// # Errors
    /// [`PasswordTooLong`], counted in Unicode scalar values before and after NFKC.
    pub fn new(text: impl Into<String>) -> Result<Self, PasswordTooLong> {
        let text = Zeroizing::new(text.into());
        // Four bytes a character at most; a 10 MB text is refused without being counted.
        if text.len() > MAX_PASSWORD_CHARS * 4 || text.chars().count() > MAX_PASSWORD_CHARS {
            return Err(PasswordTooLong);
        }
        let password = Self(text);
        if password.normalized().chars().count() > MAX_PASSWORD_CHARS {
            return Err(PasswordTooLong);
        }
        Ok(password)
    }
    /// The text as typed: what a foreign hash was made of.
    pub fn as_typed(&self) -> &str {
        &self.0
    }
    /// NFKC (RFC 8265 and NIST SP 800-63B-4, 3.1.1.2): what our own hashes are made of.
    pub fn normalized(&self) -> Zeroizing<String> {
        if self.0.is_ascii() { self.0.clone() } else { Zeroizing::new(self.0.nfkc().collect()) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let planted = "planted-secret-value";
        let shown = format!("{:?} {:?}", SecretText::new(planted), Password::new(planted));
        assert!(!shown.contains("planted"), "{shown}");
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert!(Password::new("🦀".repeat(256)).is_ok());
        assert!(Password::new("🦀".repeat(257)).is_err());
        // U+FDFA becomes 18 characters under NFKC.
        assert!(Password::new("\u{FDFA}".repeat(100)).is_err());
    }

    #[test]
    fn full_width_and_ascii_are_one_password() {
        assert_eq!(*Password::new("ｐａｓｓ").unwrap().normalized(), *"pass");
    }
}
