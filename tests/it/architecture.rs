//! The rules of the house, read from the sources: who may import whom, how long a file may be, and that nothing is half done.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Room → the rooms it may import. The concrete backends of `store`, `ephemeral` and `gateway` may use `sqlite` as well.
const RULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("sqlite", &[]),
    ("store", &["domain"]),
    ("ephemeral", &["domain"]),
    ("credentials", &["domain"]),
    ("gateway", &["domain"]),
    ("actors", &["domain", "store", "ephemeral", "gateway"]),
    ("cluster", &["actors", "domain"]),
    ("service", &["domain", "store", "ephemeral", "credentials", "gateway", "actors"]),
    ("http", &["service", "domain"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
];

/// Backends: nobody outside their own room and the composition root may name them.
const BACKENDS: &[(&str, &str)] = &[
    ("store", "sqlite"),
    ("store", "scylla"),
    ("ephemeral", "embedded"),
    ("ephemeral", "redis"),
    ("gateway", "smtp"),
    ("gateway", "twilio"),
    ("gateway", "mailbox"),
];

/// Where sources are, of all packages of the workspace.
const SOURCES: &[&str] = &["src", "tests", "benches", "argon2-kernel", "bcrypt-kernel", "bench-report", "loadtests"];

/// Every source file: path from the root of the package, and its text.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.join(dir)]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found
}

/// `src/store/sqlite/mod.rs` → `["store", "sqlite"]`, `src/app.rs` → `["app"]`.
fn rooms(path: &Path) -> Vec<String> {
    let inner = path.strip_prefix("src").unwrap().with_extension("");
    inner.iter().map(|p| p.to_string_lossy().into_owned()).filter(|p| p != "mod").collect()
}

/// The module paths after `crate::` in a text, comments left out, groups taken apart: `crate::{a::b, c}` → `a::b`, `c`.
fn imports(text: &str) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        tree(&code[at + "crate::".len()..], &[], &mut found);
    }
    found
}

/// Reads one use tree; returns what is left after it.
fn tree<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = text.trim_start();
    let mut path = prefix.to_vec();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = inner.trim_start();
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
                let before = inner.len();
                inner = tree(inner, &path, found).trim_start();
                inner = inner.strip_prefix(',').unwrap_or(inner);
                assert!(inner.len() < before, "can't read the imports at {:?}", &inner[..inner.len().min(60)]);
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(after) => rest = after.trim_start(),
            None => {
                found.push(path);
                // `x as y` inside a group.
                return rest
                    .trim_start()
                    .strip_prefix("as ")
                    .map_or(rest, |r| r.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
            }
        }
    }
}

fn offences(path: &Path, text: &str) -> Vec<String> {
    let me = rooms(path);
    let Some((room, allowed)) = RULES.iter().find(|(room, _)| *room == me[0]) else { return Vec::new() };
    let concrete = me.len() > 1 && (*room == "ephemeral" || *room == "store");
    let mut out = Vec::new();
    for import in imports(text) {
        let target = import[0].as_str();
        let known = RULES.iter().any(|(room, _)| *room == target) || matches!(target, "app" | "main");
        let sqlite = target == "sqlite" && concrete;
        if known && target != *room && !allowed.contains(&target) && !sqlite {
            out.push(format!("{}: {room} may not import crate::{}", path.display(), import.join("::")));
        }
        let backend = BACKENDS.iter().any(|(room, backend)| target == *room && import.get(1).is_some_and(|i| i == backend));
        if backend && target != *room {
            out.push(format!("{}: crate::{} is a concrete backend", path.display(), import.join("::")));
        }
    }
    out
}

#[test]
fn rooms_import_only_what_they_may() {
    let files = sources("src");
    assert!(files.len() > 30, "only {} files found", files.len());
    for (path, _) in &files {
        let room = &rooms(path)[0];
        let known = RULES.iter().any(|(r, _)| r == room) || matches!(room.as_str(), "app" | "main" | "lib");
        assert!(known, "{}: a room without a rule", path.display());
    }
    let offences: Vec<String> = files.iter().flat_map(|(path, text)| offences(path, text)).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn an_offence_is_seen() {
    let seen = |path: &str, text: &str| offences(Path::new(path), text).len();
    assert_eq!(seen("src/domain/x.rs", "use crate::store::Store;"), 1);
    assert_eq!(seen("src/domain/x.rs", "use crate::domain::ids::UserId; // crate::store"), 0);
    assert_eq!(
        seen("src/http/x.rs", "use crate::{\n    domain::{ids::{A, B as C}, time},\n    service::{self, x},\n    store::{Store},\n};"),
        1
    );
    assert_eq!(seen("src/service/x.rs", "fn f() -> crate::store::sqlite::SqliteStore {}"), 1);
    assert_eq!(seen("src/service/x.rs", "use crate::{gateway::{Mailer, smtp::Smtp}, store::Store};"), 1);
    assert_eq!(seen("src/store/sqlite/x.rs", "use crate::sqlite::Database;"), 0);
    assert_eq!(seen("src/service/x.rs", "use crate::sqlite::Database;"), 1);
    assert_eq!(seen("src/app.rs", "use crate::{store::sqlite::SqliteStore, http};"), 0);
}

#[test]
fn files_are_short() {
    let long: Vec<String> = SOURCES
        .iter()
        .flat_map(|dir| sources(dir))
        .filter_map(|(path, text)| Some((path, text.lines().count())).filter(|(_, n)| *n > 500))
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than 500 lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_half_done() {
    // Written in two pieces, so that this file is none of the offenders.
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("#[ig", "nore")];
    let found: Vec<String> = SOURCES
        .iter()
        .flat_map(|dir| sources(dir))
        .filter(|(_, text)| marks.iter().any(|m| text.contains(m)))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
