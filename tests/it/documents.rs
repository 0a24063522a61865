//! What documents say about the sources: the tests that they name exist.

use std::{fs, path::Path};

/// The files that a document names in backticks, each with the names of tests that follow it: `path` `one`, `another` and `a_third`. A name with fewer
/// than two underscores may be anything, and is left out.
fn named(document: &str) -> Vec<(&str, Vec<&str>)> {
    let (mut found, mut pieces, mut in_list) = (Vec::<(&str, Vec<&str>)>::new(), document.split('`'), false);
    while let (Some(text), Some(code)) = (pieces.next(), pieces.next()) {
        let goes_on = in_list && joins(text) && is_identifier(code);
        in_list = goes_on || is_source(code);
        if is_source(code) {
            found.push((code, Vec::new()));
        } else if goes_on
            && code.matches('_').count() >= 2
            && let Some((_, names)) = found.last_mut()
        {
            names.push(code);
        }
    }
    found
}

/// What may stand between two items of a list.
fn joins(text: &str) -> bool {
    !text.contains("\n\n") && text.split(|c: char| c.is_whitespace() || c == ',').all(|word| word.is_empty() || word == "and")
}

fn is_source(code: &str) -> bool {
    let starts = ["src/", "tests/", "loadtests/"].iter().any(|root| code.starts_with(root));
    starts && [".rs", ".txt"].iter().any(|end| code.ends_with(end))
}

fn is_identifier(code: &str) -> bool {
    !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The text of a file and, if it is a module with a directory, of all that lies in there; `None` if there is no such file.
fn source(path: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut text = fs::read_to_string(&file).ok()?;
    let mut open = vec![if file.ends_with("mod.rs") { file.parent()?.to_owned() } else { file.with_extension("") }];
    while let Some(dir) = open.pop() {
        // Most files have no directory.
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    Some(text)
}

fn offences(document: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut out = Vec::new();
    if !document.matches('`').count().is_multiple_of(2) {
        out.push("a backtick has no other one".to_owned());
    }
    for (path, names) in named(document) {
        match source(path) {
            None => out.push(format!("{path} is not there")),
            Some(text) => {
                let missing = names.iter().filter(|name| !text.contains(&format!("fn {name}(")));
                out.extend(missing.map(|name| format!("{path} has no test {name}")));
            }
        }
    }
    out
}

#[test]
fn tests_that_the_security_document_names_exist() {
    let path = "docs/security.md";
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let names: usize = named(&document).iter().map(|(_, names)| names.len()).sum();
    assert!(names > 150, "only {names} tests found in {path}");
    let offences = offences(&document, source);
    assert!(offences.is_empty(), "{path}:\n{}", offences.join("\n"));
}

#[test]
fn an_offence_is_seen() {
    let list = "Held by `src/a.rs` `it_is_there`, `one_underscore`,\n`ends` and `it_is_here`; `it_is_alone` | `tests/b/routes.txt`";
    assert_eq!(named(list), [("src/a.rs", vec!["it_is_there", "it_is_here"]), ("tests/b/routes.txt", vec![])]);

    let sources = |path: &str| (path == "src/a.rs").then(|| "fn it_is_there() {}\nasync fn it_is_here(x: u8) {}\n".to_owned());
    let seen = |document: &str| offences(document, sources);
    assert!(seen("| `src/a.rs` `it_is_there`, `it_is_here` | `email_verified_at` and `POST /v1/me`").is_empty());
    assert_eq!(seen("| `src/a.rs`\n`it_is_there` and `it_is_gone` |"), ["src/a.rs has no test it_is_gone"]);
    // A part of a name is not that name.
    assert_eq!(seen("`src/a.rs` `it_is_the`, `t_is_there`").len(), 2);
    assert_eq!(seen("`src/b.rs` `it_is_there`; `src/a.rs` `it_is_there`"), ["src/b.rs is not there"]);
    assert_eq!(seen("`tests/b/routes.txt`, `assets/b.txt`"), ["tests/b/routes.txt is not there"]);
    // What follows is about something else.
    assert!(seen("`src/a.rs`, where `it_is_gone`. `src/a.rs`\n\n`it_is_gone`; `it_is_gone`").is_empty());
    assert_eq!(seen("`src/a.rs` `it_is_there"), ["a backtick has no other one"]);
}
