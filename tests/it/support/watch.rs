//! Remembers every secret that a test sends or receives, and looks for them in what the service wrote.

use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Mutex,
};

/// Fields whose values nobody may see, in requests and in responses.
const SECRET_FIELDS: [&str; 10] = [
    "change_token",
    "password",
    "new_password",
    "current_password",
    "token",
    "code",
    "access_token",
    "refresh_token",
    "signup_token",
    "secret",
];

/// The test that this thread runs.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("unknown").replace("::", "-")
}

/// The secrets known so far, and the tests that planted them.
#[derive(Default)]
pub struct Watch(Mutex<BTreeMap<String, String>>);

impl Watch {
    /// Remembers one. What is too short to be told from chance is left out.
    pub fn plant(&self, secret: &str) {
        if secret.len() >= 12 || is_code(secret) {
            self.0.lock().unwrap().insert(secret.to_owned(), test_name());
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

    /// Takes what another knows, but for codes: where there are many, one of them stands by chance in whatever is long.
    pub fn add(&self, other: &Self) {
        let other = other.0.lock().unwrap();
        self.0.lock().unwrap().extend(other.iter().filter(|(s, _)| !is_code(s)).map(|(s, t)| (s.clone(), t.clone())));
    }

    /// The first line of `output` that shows a secret or a password hash.
    pub fn find_in(&self, output: &str) -> Option<String> {
        self.find_code_in(output).or_else(|| {
            let secrets = self.0.lock().unwrap();
            let longer = Sought::new(&secrets);
            output.lines().find_map(|line| {
                let hash = ["$argon2", "$2a$", "$2b$", "$2y$"].into_iter().find(|hash| line.contains(hash));
                let found = longer.find_in(line.as_bytes()).map(|secret| format!("of {}", secrets[secret]));
                found.or(hash.map(str::to_owned)).map(|what| format!("{line} ({what})"))
            })
        })
    }

    /// The first line of `output` that shows a code.
    pub fn find_code_in(&self, output: &str) -> Option<String> {
        let secrets = self.0.lock().unwrap();
        let codes: Vec<&String> = secrets.keys().filter(|s| is_code(s)).collect();
        output.lines().find(|line| codes.iter().any(|code| has_word(line, code))).map(str::to_owned)
    }

    /// The first file under `dir` (the development mailbox aside, which is there to show them) that holds a password or token.
    pub fn find_at_rest(&self, dir: &Path) -> Option<String> {
        let secrets = self.0.lock().unwrap();
        // Six digits stand in any large file by chance.
        let sought = Sought::new(&secrets);
        for entry in std::fs::read_dir(dir).ok()?.flatten() {
            if !entry.path().is_file() {
                continue;
            }
            let bytes = not_empty(&std::fs::read(entry.path()).unwrap_or_default());
            if let Some(secret) = sought.find_in(&bytes) {
                return Some(format!("{} holds {secret} (of {})", entry.path().display(), secrets[secret]));
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

/// Thousands of secrets looked for at once: by their first eight bytes, before which the first two are looked at.
struct Sought<'a> {
    first_two: Vec<bool>,
    by_start: HashMap<[u8; 8], Vec<&'a str>>,
}

impl<'a> Sought<'a> {
    /// All but codes: those are too short.
    fn new(secrets: &'a BTreeMap<String, String>) -> Self {
        let mut sought = Self { first_two: vec![false; 1 << 16], by_start: HashMap::new() };
        for secret in secrets.keys().filter(|s| !is_code(s)) {
            let start: [u8; 8] = secret.as_bytes()[..8].try_into().unwrap();
            sought.first_two[two(&start)] = true;
            sought.by_start.entry(start).or_default().push(secret);
        }
        sought
    }

    fn find_in(&self, bytes: &[u8]) -> Option<&'a str> {
        for at in 0..bytes.len().saturating_sub(7) {
            let rest = &bytes[at..];
            if self.first_two[two(rest)]
                && let Some(secrets) = self.by_start.get(&rest[..8])
                && let Some(secret) = secrets.iter().find(|s| rest.starts_with(s.as_bytes()))
            {
                return Some(secret);
            }
        }
        None
    }
}

fn two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
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
