//! The command line: what it prints, and how it ends.

use crate::support::{
    app::{App, command},
    stack::Home,
};
use serde_json::Value;
use std::process::Output;

fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    command(&[]).args(arguments).envs(env.iter().copied()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn config_prints_the_effective_settings_with_secrets_hidden() {
    let secret = "ab".repeat(32);
    let env = [("QEETID_SECRET", &*secret), ("QEETID_MAIL_URL", "smtp://user:planted@mail.example:25"), ("QEETID_LOG", "warn")];
    let printed = run(&["config", "--listen", "127.0.0.1:9", "--set", "hash_threads=3"], &env);
    assert_eq!(printed.status.code(), Some(0), "{}", err(&printed));
    let text = out(&printed);
    assert!(!text.contains(&secret) && !text.contains("planted"), "{text}");
    for (line, from) in [
        ("listen = \"127.0.0.1:9\"", "# flag"),
        ("hash_threads = 3", "# flag"),
        ("log = \"warn\"", "# environment"),
        ("dev = \"off\"", "# default"),
    ] {
        assert!(text.lines().any(|l| l.starts_with(line) && l.ends_with(from)), "{line} {from}: {text}");
    }
}

#[test]
fn wrong_usage_and_wrong_settings_end_with_2_and_name_what_is_wrong() {
    for (arguments, env, word) in [
        (&["nonsense"][..], &[][..], "nonsense"),
        (&["serve", "--nonsense"], &[], "--nonsense"),
        (&["config", "--set", "x"], &[], "NAME=VALUE"),
        (&["copy", "--from", "scylla://h/k", "--to", "scylla://h/k"], &[], "--from"),
        (&["copy", "--from", "sqlite://x"], &[], "--to"),
        (&["config", "--config", "/no/such/file"], &[], "/no/such/file"),
        (&["serve"], &[("QEETID_LISTNE", "127.0.0.1:0")], "QEETID_LISTEN?"),
        (&[], &[("QEETID_STORE_URL", "postgres://h/k")], "QEETID_STORE_URL: must be sqlite://"),
        (&["migrate"], &[("QEETID_SECRET", "short")], "QEETID_SECRET"),
        (&["serve"], &[("QEETID_LISTEN", "0.0.0.0:0")], "QEETID_MAIL_URL"),
        (&["serve"], &[("QEETID_LISTEN", "0.0.0.0:0"), ("QEETID_DEV", "1"), ("QEETID_LIMITS", "off")], "QEETID_LIMITS"),
    ] {
        let output = run(arguments, env);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {env:?}: {}", err(&output));
        assert!(err(&output).contains(word), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn what_fails_ends_with_1_and_says_why() {
    let output = run(&["migrate"], &[("QEETID_DATA_DIR", "/dev/null/x")]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("/dev/null/x"), "{}", err(&output));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["serve", "--listen", &address, "--data-dir", dir.path().to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains(&address), "{}", err(&output));
}

#[test]
fn help_names_every_command() {
    let help = out(&run(&["--help"], &[]));
    for command in ["serve", "migrate", "openapi", "config", "keys", "copy"] {
        assert!(help.contains(command), "{command}: {help}");
    }
    assert!(out(&run(&["keys", "rotate", "--help"], &[])).contains("JWKS"));
}

#[test]
fn the_committed_document_is_what_the_program_prints() {
    let printed = out(&run(&["openapi"], &[]));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let committed = std::fs::read_to_string(path).expect("openapi/openapi.json is committed");
    assert!(committed == printed, "openapi/openapi.json is out of date: `cargo run -- openapi > openapi/openapi.json`");
    assert!(serde_json::from_str::<Value>(&printed).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_can_be_run_again_and_again_and_before_serve() {
    let home = Home::new();
    let data = home.path();
    for _ in 0..2 {
        let output = run(&["migrate"], &[("QEETID_DATA_DIR", data.to_str().unwrap())]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
    App::builder().data_dir(&data).start().await.signup().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_published_before_it_signs_and_old_tokens_stay_good() {
    let mut app = App::own().await;
    let who = app.signup().await;
    let kids = async |app: &App| {
        let keys = app.get("/.well-known/jwks.json").await.expect(200);
        keys.body["keys"].as_array().unwrap().iter().map(|k| k["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = kids(&app).await;
    assert_eq!(before.len(), 1);
    app.place().goes_on(false);
    let output = app.command().args(["keys", "rotate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    app.restart().await;
    let after = kids(&app).await;
    assert!(after.len() == 2 && after.contains(&before[0]), "{after:?}");
    app.me(&who.access).await.expect(200);
    let fresh = app.login(&who.email, &who.password).await.expect(200).pair();
    assert_eq!(kid_of(&fresh.access), before[0], "the new key does not sign yet");
    app.me(&fresh.access).await.expect(200);
}

fn kid_of(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// The service runs on: it learns of it as it learns of sessions that ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_is_revoked_with_all_that_it_signed() {
    let app = App::own().await;
    let who = app.signup().await;
    app.me(&who.access).await.expect(200);
    let stolen = kid_of(&who.access);
    let rotate = |kid: &str| app.command().args(["keys", "rotate", "--revoke", kid]).output().unwrap();
    let unknown = rotate("nobodys");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("there is no key nobodys"), "{}", err(&unknown));
    // An id is base64url: one in 64 begins with a hyphen.
    let hyphen = rotate("-nobodys");
    assert_eq!(hyphen.status.code(), Some(1));
    assert!(err(&hyphen).contains("there is no key -nobodys"), "{}", err(&hyphen));
    let done = rotate(&stolen);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(out(&done).contains(&format!("Key {stolen} is revoked")), "{}", out(&done));
    app.is_refused_within_a_second(&who.access).await;
    let shown = app.get("/.well-known/jwks.json").await.expect(200);
    assert!(!shown.text.contains(&stolen) && shown.body["keys"].as_array().unwrap().len() == 1, "{}", shown.text);
    // The session lives on: it gets tokens of the key that has taken over.
    let fresh = app.refresh(&who.refresh).await.expect(200).pair();
    assert_ne!(kid_of(&fresh.access), stolen);
    app.me(&fresh.access).await.expect(200);
    // Another one is ended before it signs: the present one goes on.
    let next = out(&app.command().args(["keys", "rotate"]).output().unwrap()).split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(rotate(&next).status.code(), Some(0));
    app.me(&fresh.access).await.expect(200);
    let again = app.login(&who.email, &who.password).await.expect(200).pair();
    assert_eq!(kid_of(&again.access), kid_of(&fresh.access));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_put_in_front_keeps_what_the_old_one_made() {
    let (old, new) = ("ab".repeat(32), "cd".repeat(32));
    let home = Home::new();
    let app = App::builder().data_dir(&home.path()).env("QEETID_SECRET", &old).start().await;
    let who = app.signup().await;
    let reset = app.reset_token(&who.email, 1).await;
    drop(app);
    let app = App::builder().data_dir(&home.path()).env("QEETID_SECRET", format!("{new},{old}")).start().await;
    app.me(&who.access).await.expect(200);
    app.refresh(&who.refresh).await.expect(200);
    let body = serde_json::json!({"token": reset, "new_password": crate::support::app::fresh_password()});
    app.post("/v1/auth/reset-password", body).await.expect(200);
    let mut command = app.command();
    drop(app);
    // Without any secret that opens its keys it does not start.
    command.arg("serve").env("QEETID_SECRET", "ef".repeat(32)).env("QEETID_LISTEN", "127.0.0.1:0");
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
}
