//! Remembers every secret that a test sends or receives, and looks for them in what the service wrote.

use serde_json::Value;
use std::{collections::BTreeSet, path::Path, sync::Mutex};

/// Fields whose values nobody may see, in requests and in responses.
const SECRET_FIELDS: [&str; 9] =
    ["password", "new_password", "current_password", "token", "code", "access_token", "refresh_token", "signup_token", "secret"];

/// The secrets known so far.
#[derive(Default)]
pub struct Watch(Mutex<BTreeSet<String>>);

impl Watch {
    /// Remembers one. What is too short to be told from chance is left out.
    pub fn plant(&self, secret: &str) {
        if secret.len() >= 12 || is_code(secret) {
            self.0.lock().unwrap().insert(secret.to_owned());
        }
    }

    /// Remembers the secrets of a JSON body.
    pub fn plant_json(&self, body: &Value) {
        match body {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        // The `code` of an error is no secret.
                        Some(text) if name == "code" && !is_code(text) => {}
                        Some(text) if SECRET_FIELDS.contains(&name.as_str()) => self.plant(text),
                        _ => self.plant_json(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.plant_json(item)),
            _ => {}
        }
    }

    /// The first line of `output` that shows a secret or a password hash.
    pub fn find_in(&self, output: &str) -> Option<String> {
        let secrets = self.0.lock().unwrap();
        output
            .lines()
            .find(|line| {
                secrets.iter().any(|s| if is_code(s) { has_word(line, s) } else { line.contains(s.as_str()) })
                    || ["$argon2", "$2a$", "$2b$", "$2y$"].iter().any(|hash| line.contains(hash))
            })
            .map(str::to_owned)
    }

    /// The first file under `dir` (the development mailbox aside, which is there to show them) that holds a password or token.
    pub fn find_at_rest(&self, dir: &Path) -> Option<String> {
        let secrets = self.0.lock().unwrap();
        for entry in std::fs::read_dir(dir).ok()?.flatten() {
            if !entry.path().is_file() {
                continue;
            }
            let bytes = not_empty(&std::fs::read(entry.path()).unwrap_or_default());
            // Six digits stand in any large file by chance.
            let found = secrets.iter().filter(|s| !is_code(s)).find(|s| contains(&bytes, s.as_bytes()));
            if let Some(secret) = found {
                return Some(format!("{} holds {secret}", entry.path().display()));
            }
        }
        None
    }
}

/// Without the pages of nothing but zeros, of which a large file has many.
pub fn not_empty(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(4096).filter(|page| *page != [0; 4096]).collect::<Vec<_>>().concat()
}

fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())
}

/// As a word of its own: six digits are also the microseconds of every timestamp.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '-') && !after.is_some_and(|c| c.is_alphanumeric() || c == '-')
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w[0] == needle[0] && w == needle)
}

#[test]
fn the_watch_sees_what_is_planted_and_no_more() {
    let watch = Watch::default();
    watch.plant_json(&serde_json::json!({"user": {"password": "planted-password"}, "code": "123456", "email": "seen@example.com"}));
    assert!(watch.find_in("a\nlogin with planted-password failed").is_some());
    assert!(watch.find_in("code=123456").is_some() && watch.find_in("{\"code\":\"123456\"}").is_some());
    assert!(watch.find_in("12:00:00.123456Z seen@example.com id 0123456 7-123456").is_none());
    assert!(watch.find_in("hash $argon2id$v=19$m=1").is_some());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("db"), b"\0\0planted-password\0").unwrap();
    assert!(watch.find_at_rest(dir.path()).is_some());
}
