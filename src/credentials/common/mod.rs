//! The most common passwords of eight characters or more (11,611 of them), sorted by bytes, one a line; LICENSE.txt
//! says where they come from. Looked up where they lie in the binary: no start-up cost, no memory.

static LIST: &str = include_str!("passwords.txt");

/// Whether a password, lower-cased, is one of the list (NIST SP 800-63B-4, 3.1.1.2 asks for such a blocklist).
pub fn contains(password: &str) -> bool {
    // Nothing on the list is longer; the common long password is no password of the list at all.
    if password.len() > 64 {
        return false;
    }
    let wanted = password.to_lowercase();
    let (mut rest, wanted) = (LIST, wanted.as_str());
    // A binary search over the text: cut at the line that the middle falls into, go on in one half.
    while !rest.is_empty() {
        // The list is ASCII (a test says so), so every byte is a place to cut.
        let middle = rest.len() / 2;
        let from = rest[..middle].rfind('\n').map_or(0, |at| at + 1);
        let to = rest[from..].find('\n').map_or(rest.len(), |at| from + at);
        match wanted.cmp(&rest[from..to]) {
            std::cmp::Ordering::Equal => return !wanted.is_empty(),
            std::cmp::Ordering::Less => rest = &rest[..from],
            std::cmp::Ordering::Greater => rest = rest.get(to + 1..).unwrap_or(""),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_ascii_and_every_line_is_found() {
        assert!(LIST.is_ascii() && LIST.ends_with('\n'));
        let lines: Vec<&str> = LIST.lines().collect();
        assert_eq!(lines.len(), 11_611);
        assert!(lines.windows(2).all(|w| w[0] < w[1]));
        for line in lines {
            assert!(line.len() >= 8 && line.len() <= 64, "{line}");
            assert!(contains(line), "{line}");
            assert!(!contains(&format!("{line}\u{1}")) && !contains(&line[..line.len() - 1].repeat(2)), "{line}");
        }
    }

    #[test]
    fn case_does_not_matter_and_others_are_not_found() {
        assert!(contains("Password1") && contains("TRUSTNO1"));
        for other in ["", "\n", "a", "zzzzzzzzzzzzzzzzzzzz", "correct horse battery staple", "\u{10FFFF}", &"password".repeat(100)] {
            assert!(!contains(other), "{other:?}");
        }
    }
}
