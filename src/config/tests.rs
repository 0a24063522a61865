//! The whole way from sources to settings.

use super::*;
use std::collections::BTreeMap;

fn sources(env: &[(&str, &str)]) -> Sources {
    let env: BTreeMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), v.into())).collect();
    Sources { env, cores: 3, ..Default::default() }
}

fn load(env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::load(sources(env))
}

#[track_caller]
fn refused(env: &[(&str, &str)], words: &[&str]) {
    let error = load(env).expect_err("to be refused").0;
    for word in words {
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn the_defaults_are_those_of_the_readme() {
    let s = load(&[]).unwrap();
    assert_eq!(s.listen.to_string(), "127.0.0.1:4001");
    assert_eq!((&*s.public_url, &*s.app_url, &*s.audience), ("http://localhost:4001", "http://localhost:4001", "http://localhost:4001"));
    assert_eq!(s.store, StoreUrl::Sqlite("./data/qeetid.db".into()));
    assert_eq!((s.hash_threads, s.hash_queue, s.hash_deadline.as_millis()), (3, 64, 2000));
    assert_eq!(s.argon2.to_string(), "m=19456,t=2,p=1");
    assert_eq!(s.policy, AuthPolicy::default());
    assert_eq!(s.limits, Limits::default());
    assert_eq!((s.signup_mode, s.log_format, s.dev), (SignupMode::Instant, LogFormat::Json, false));
    assert!(s.secret.is_none() && s.templates_dir.is_none() && s.otlp_endpoint.is_none() && s.metrics_listen.is_none());
}

#[test]
fn flags_lie_over_the_environment_over_the_file_over_the_defaults() {
    let file = file(
        "listen = \"127.0.0.1:1\"\nhash_threads = 7\nlog = \"warn\"\n[policy]\npassword_min_length = 12\nsms_countries = [\"DE\", \"FR\"]\n",
    );
    let mut from = sources(&[("QEETID_HASH_THREADS", "8"), ("QEETID_LOG", "debug"), ("QEETID_POLICY__PASSWORD_REQUIRE_NUMBER", "on")]);
    from.file = Some(file.path().to_owned());
    from.flags = vec![("log".into(), "error".into())];
    let s = Settings::load(from).unwrap();
    assert_eq!((s.listen.port(), s.hash_threads, &*s.log), (1, 8, "error"));
    assert_eq!((s.policy.password_min_length, s.policy.password_require_number), (12, true));
    assert_eq!(s.policy.sms_countries, ["DE", "FR"]);
}

#[test]
fn what_follows_from_other_settings_follows() {
    let s = load(&[("QEETID_PUBLIC_URL", "http://127.0.0.1:9/"), ("QEETID_DATA_DIR", "/d")]).unwrap();
    assert_eq!((&*s.app_url, &*s.audience), ("http://127.0.0.1:9", "http://127.0.0.1:9"));
    assert_eq!(s.store, StoreUrl::Sqlite("/d/qeetid.db".into()));
}

#[test]
fn unknown_keys_are_refused_by_name_and_the_nearest_is_told() {
    refused(&[("QEETID_LISTNE", "x")], &["QEETID_LISTNE", "QEETID_LISTEN?"]);
    refused(&[("QEETID_POLICY__PASSWORD_MIN_LENGHT", "9")], &["QEETID_POLICY__PASSWORD_MIN_LENGHT", "QEETID_POLICY__PASSWORD_MIN_LENGTH?"]);
    refused(&[("QEETID_LISTEN_FILE", "x")], &["QEETID_LISTEN_FILE"]);
    let file = file("[policy]\npasword_min_length = 9\n");
    let error = Settings::load(Sources { file: Some(file.path().to_owned()), ..Default::default() }).unwrap_err().0;
    assert!(error.contains("policy.pasword_min_length in /") && error.contains("policy.password_min_length?"), "{error}");
    let error = Settings::load(Sources { flags: vec![("nonsense".into(), "1".into())], ..Default::default() }).unwrap_err().0;
    assert!(error.contains("--set nonsense"), "{error}");
}

#[test]
fn what_kubernetes_injects_is_passed_over() {
    let env = [("QEETID_PORT", "tcp://10.0.0.1:4001"), ("QEETID_PORT_4001_TCP_ADDR", "10.0.0.1"), ("QEETID_SERVICE_HOST", "10.0.0.1")];
    assert!(load(&env).is_ok());
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (key, value) in [
        ("QEETID_LISTEN", "localhost"),
        ("QEETID_PUBLIC_URL", "https://id.example.com/auth"),
        ("QEETID_PUBLIC_URL", "ftp://id.example.com"),
        ("QEETID_STORE_URL", "postgres://h/k"),
        ("QEETID_STORE_URL", "scylla://h"),
        ("QEETID_EPHEMERAL_URL", "memcached://h"),
        ("QEETID_SECRET", "abcd"),
        ("QEETID_SECRET", ""),
        ("QEETID_ARGON2", "m=4096,t=1,p=1"),
        ("QEETID_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("QEETID_SIGNUP_MODE", "maybe"),
        ("QEETID_HASH_THREADS", "0"),
        ("QEETID_HASH_DEADLINE_MS", "soon"),
        ("QEETID_MAIL_FROM", "nobody"),
        ("QEETID_TEMPLATES_DIR", "/no/such/directory"),
        ("QEETID_LOG", "qeetid=loud"),
        ("QEETID_DEV", "perhaps"),
        ("QEETID_POLICY__PASSWORD_MIN_LENGTH", "7"),
        ("QEETID_POLICY__PRESET", "nist"),
        ("QEETID_POLICY__PASSWORD_CONTEXT_WORDS", "abc"),
        ("QEETID_DNS", "127.0.0.1"),
        ("QEETID_POLICY__SMS_COUNTRIES", "Germany"),
        ("QEETID_LIMIT__SIGNUPS", "many"),
    ] {
        refused(&[(key, value)], &[key]);
    }
}

#[test]
fn a_preset_is_what_the_other_settings_of_passwords_change() {
    let preset = ("QEETID_POLICY__PRESET", "nist-800-63b-4");
    let nist = load(&[preset]).unwrap().policy;
    assert_eq!((nist.password_min_length, nist.session_ttl_days, nist.breached_password_check.name()), (15, 30, "on"));
    let longer = load(&[preset, ("QEETID_POLICY__PASSWORD_MIN_LENGTH", "20")]).unwrap().policy;
    assert_eq!((longer.password_min_length, longer.breached_password_check.name()), (20, "on"));
}

#[test]
fn secrets_come_from_files_too_but_never_from_flags() {
    let good = "ab".repeat(32);
    let file = file(&format!("{good}\n"));
    let path = file.path().to_str().unwrap();
    assert_eq!(load(&[("QEETID_SECRET_FILE", path)]).unwrap().secret.unwrap().reveal(), good);
    refused(&[("QEETID_SECRET_FILE", path), ("QEETID_SECRET", &good)], &["QEETID_SECRET_FILE", "as well"]);
    refused(&[("QEETID_SECRET_FILE", "/no/such/file")], &["QEETID_SECRET_FILE", "/no/such/file"]);
    let error = Settings::load(Sources { flags: vec![("secret".into(), good.clone())], ..Default::default() }).unwrap_err().0;
    assert!(error.contains("QEETID_SECRET_FILE") && !error.contains(&good), "{error}");
}

#[test]
fn errors_never_show_a_secret() {
    for (key, value) in [
        ("QEETID_SECRET", "planted"),
        ("QEETID_MAIL_URL", "smtq://u:planted@h"),
        ("QEETID_SMS_URL", "twilio://u:planted@h"),
        ("QEETID_STORE_URL", "scylla://u:planted@h"),
        ("QEETID_EPHEMERAL_URL", "redis://u:planted@h/x"),
    ] {
        let error = load(&[(key, value)]).unwrap_err().0;
        assert!(error.contains(key) && !error.contains("planted"), "{error}");
    }
    let broken = file("listen = \"127.0.0.1:1\"\nsecret = \"planted\n");
    let error = Settings::load(Sources { file: Some(broken.path().to_owned()), ..Default::default() }).unwrap_err().0;
    assert!(error.contains("line 2") && !error.contains("planted"), "{error}");
}

#[test]
fn the_mailbox_and_public_addresses_do_not_go_together() {
    let public =
        [("QEETID_LISTEN", "0.0.0.0:4001"), ("QEETID_MAIL_URL", "smtp://h"), ("QEETID_SMS_URL", "twilio://a:b@h?from=+15551234567")];
    assert!(load(&public).is_ok());
    refused(&[public[0], public[2]], &["QEETID_MAIL_URL", "QEETID_DEV"]);
    refused(&[public[0], public[1]], &["QEETID_SMS_URL", "QEETID_DEV"]);
    refused(&[("QEETID_PUBLIC_URL", "https://id.example.com")], &["QEETID_MAIL_URL"]);
    assert!(load(&[public[0], ("QEETID_DEV", "1")]).is_ok());
    for private in ["http://127.0.0.1:1", "http://[::1]:1", "http://id.localhost"] {
        assert!(load(&[("QEETID_PUBLIC_URL", private)]).is_ok(), "{private}");
    }
    refused(&[("QEETID_PUBLIC_URL", "http://127.0.0.1.example.com")], &["QEETID_MAIL_URL"]);
}

#[test]
fn a_shared_store_asks_for_what_nodes_share() {
    let secret = "ab".repeat(32);
    let shared = [("QEETID_STORE_URL", "scylla://h/k"), ("QEETID_EPHEMERAL_URL", "redis://h"), ("QEETID_SECRET", &secret)];
    let s = load(&shared).unwrap();
    assert!(matches!(s.store, StoreUrl::Scylla(_)) && matches!(s.ephemeral, EphemeralUrl::Redis(_)));
    refused(&[shared[0], shared[2]], &["QEETID_EPHEMERAL_URL", "embedded://", "redis://"]);
    refused(&shared[..2], &["QEETID_SECRET", "scylla://"]);
    // One node may have its counters and codes in Redis.
    assert!(load(&shared[1..2]).is_ok());
}

#[test]
fn limits_can_be_off_only_in_private() {
    assert!(!load(&[("QEETID_LIMITS", "off")]).unwrap().limits.on);
    refused(&[("QEETID_LIMITS", "off"), ("QEETID_LISTEN", "[::]:0"), ("QEETID_DEV", "1")], &["QEETID_LIMITS"]);
    let off = file("limits = false\n");
    assert!(!Settings::load(Sources { file: Some(off.path().to_owned()), ..Default::default() }).unwrap().limits.on);
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_an_error() {
    let broken = file("listen = ");
    for path in [broken.path(), std::path::Path::new("/no/such/file.toml")] {
        let error = Settings::load(Sources { file: Some(path.to_owned()), ..Default::default() }).unwrap_err().0;
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
