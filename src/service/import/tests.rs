//! Files of each source, whole, broken and hostile.

use super::{
    split::{MAX_RECORD, Raw, Record, Splitter},
    *,
};
use crate::{
    credentials::{Argon2Params, kernel::Memory},
    domain::rng::SystemRng,
};
use proptest::prelude::*;
use serde_json::json;

fn raws(source: Source, text: &[u8], chunk: usize) -> Vec<Raw> {
    let (mut splitter, mut out) = (Splitter::new(source), Vec::new());
    for piece in text.chunks(chunk.max(1)) {
        splitter.feed(piece, &mut |raw| out.push(raw));
    }
    splitter.finish(&mut |raw| out.push(raw));
    out
}

fn read(source: Source, firebase: Option<FirebaseParams>, text: &str) -> Vec<Result<NewUser, Refusal>> {
    let mut rows = Rows::new(source, firebase);
    raws(source, text.as_bytes(), 7).iter().filter_map(|raw| rows.read(raw).unwrap()).collect()
}
/// Line and reason of each refused row, `None` for a good one.
fn refusals(source: Source, text: &str) -> Vec<Option<(u64, String)>> {
    read(source, None, text).into_iter().map(|row| row.err().map(|r| (r.line, r.message))).collect()
}
fn one(source: Source, row: serde_json::Value) -> NewUser {
    read(source, None, &format!("[{row}]")).remove(0).unwrap()
}
fn why(source: Source, row: serde_json::Value) -> String {
    read(source, None, &format!("[{row}]")).remove(0).unwrap_err().message
}
fn kept(user: &NewUser) -> &str {
    match &user.secret {
        Secret::Hash(Imported::Kept(hash)) => hash.reveal(),
        other => panic!("{other:?}"),
    }
}
/// What a weak hash is stored as.
fn wrapped(user: &NewUser) -> String {
    let Secret::Hash(Imported::Weak(weak)) = &user.secret else { panic!("{:?}", user.secret) };
    let mut memory = Memory::map(19_456).unwrap();
    weak.wrap(&Argon2Params::default(), &SystemRng, &mut memory).unwrap().reveal().to_owned()
}

const BCRYPT: &str = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

#[test]
fn lines_arrays_and_wrapped_arrays_give_the_same_rows() {
    let rows = [r#"{"email":"a@example.com","x":"]},{[\"\\"}"#, r#"{"email":"b@example.com","users":[1,2]}"#];
    let lines = format!("\u{FEFF}\r\n{}\r\n\r\n{}", rows[0], rows[1]);
    let array = format!(" [\n{} ,\n\n{}\n]\n", rows[0], rows[1]);
    let wrapped = format!("{{\"realm\":\"x\",\"a\":[{{\"users\":[0]}}],\n\"users\":[{},{}],\"b\":{{}}}}", rows[0], rows[1]);
    for (source, text) in [(Source::Qeet, lines), (Source::Auth0, array), (Source::Keycloak, wrapped)] {
        for chunk in [1, 2, 3, 1000] {
            let found = raws(source, text.as_bytes(), chunk);
            let texts: Vec<_> = found
                .iter()
                .map(|r| match &r.record {
                    Ok(Record::Json(bytes)) => String::from_utf8_lossy(bytes).trim().to_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(texts, rows, "{text}");
        }
    }
}

#[test]
fn malformed_rows_are_told_by_line_and_the_rest_goes_in() {
    let text = "{\"email\":\"a@example.com\"}\nnonsense\n\n{\"email\":\n{\"email\":\"b@example.com\"}\n[1]\n{\"email\":\"c@example.com\"}";
    let found = refusals(Source::Qeet, text);
    let lines: Vec<_> = found.iter().map(|r| r.as_ref().map(|(line, _)| *line)).collect();
    assert_eq!(lines, [None, Some(2), Some(4), None, Some(6), None]);
    let array = "[{\"email\":\"a@example.com\"},\n{\"email\" \"x\"},\n7,\n{\"email\":\"b@example.com\"}]\nbehind\nit";
    let lines: Vec<_> = refusals(Source::Qeet, array).iter().map(|r| r.as_ref().map(|(line, _)| *line)).collect();
    assert_eq!(lines, [None, Some(2), Some(3), None, Some(5)]);
    let cut = "[{\"email\":\"a@example.com\"},\n{\"email\":\"b@exa";
    assert_eq!(refusals(Source::Qeet, cut)[1], Some((2, "is cut off: the JSON has no end".into())));
}

#[test]
fn csv_has_quotes_line_ends_within_and_names_in_the_first_line() {
    let text = "Email,display_name,metadata\r\na@example.com,\"Ada, \"\"the\"\"\nfirst\",\r\n\r\nb@example.com,Bob,\"{\"\"k\"\": 1}\"\n";
    let found = read(Source::Qeet, None, text);
    assert_eq!(
        found[0].as_ref().unwrap_err(),
        &Refusal { line: 2, email: Some("a@example.com".into()), message: "the name holds control characters".into() }
    );
    let bob = found[1].as_ref().unwrap();
    assert_eq!((bob.display_name.as_deref(), &bob.metadata["k"]), (Some("Bob"), &json!(1)));
    let text =
        "email,display_name\n\"a@example.com\"x,A\nb@example.com,B,C\nc@example.com,\"never closed\nd@example.com,D\ne@example.com,\"E\"\n";
    let found = refusals(Source::Qeet, text);
    let lines: Vec<_> = found.iter().map(|r| r.as_ref().map(|(line, _)| *line)).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4), None, None], "{found:?}");
    // Without a second quote in the file the rest of it goes in.
    let text = "email,display_name\na@example.com,\"never closed\nb@example.com,B\nc@example.com,C";
    let lines: Vec<_> = refusals(Source::Qeet, text).iter().map(|r| r.as_ref().map(|(line, _)| *line)).collect();
    assert_eq!(lines, [Some(2), None, None]);
    let mut rows = Rows::new(Source::Cognito, None);
    let raw = &raws(Source::Cognito, b"name,mail\n", 3)[0];
    assert!(rows.read(raw).is_err(), "no column email");
}

#[test]
fn huge_records_are_refused_without_being_kept() {
    let good = r#"{"email":"a@example.com"}"#;
    let long = "x".repeat(3 * MAX_RECORD);
    for (source, text) in [
        (Source::Qeet, format!("{good}\n{{\"email\":\"{long}\"}}\n{good}\n")),
        (Source::Qeet, format!("[{good},\n{{\"email\":\"{long}\"}},\n{good}]")),
        (Source::Firebase, format!("{{\"{long}\":1,\"users\":[{good},\n\"{long}\",\n{good}]}}")),
        (Source::Qeet, format!("email\na@example.com\n{long}\na@example.com\n")),
        (Source::Qeet, format!("email\na@example.com\n\"{long}\na@example.com\n")),
    ] {
        let (mut splitter, mut most, mut found) = (Splitter::new(source), 0, Vec::new());
        for byte in text.as_bytes() {
            splitter.feed(&[*byte], &mut |raw| found.push(raw));
            most = most.max(splitter.held());
        }
        splitter.finish(&mut |raw| found.push(raw));
        assert!(most <= 2 * MAX_RECORD + 1024, "{most} bytes held");
        let bad: Vec<_> = found.iter().filter(|r| r.record.is_err()).map(|r| r.line).collect();
        assert_eq!((bad.len(), bad[0]), (1, if text.starts_with("email") { 3 } else { 2 }), "{:?}", &text[..40]);
        assert!(found.len() >= 3);
    }
}

#[test]
fn our_own_format() {
    let role = "00000000-0000-7000-8000-000000000002";
    let user = one(
        Source::Qeet,
        json!({"email": " Ada@Example.com", "password_hash": BCRYPT, "display_name": "Ada", "phone": "+1 415 555 0123",
        "locale": "en_GB", "email_verified": true, "status": "suspended", "metadata": {"plan": "pro"}, "role_id": role, "more": 1}),
    );
    assert_eq!((user.email.as_str(), kept(&user), user.email_verified, user.suspended), ("ada@example.com", BCRYPT, true, true));
    assert_eq!(user.phone.as_ref().map(Phone::as_str), Some("+14155550123"));
    assert_eq!((user.locale.as_deref(), user.role.map(|r| r.to_string()).as_deref()), (Some("en-GB"), Some(role)));
    assert!(matches!(one(Source::Qeet, json!({"email": "a@example.com", "password": " "})).secret, Secret::Password(_)));
    assert!(matches!(one(Source::Qeet, json!({"email": "a@example.com", "password_hash": null})).secret, Secret::None));
    for (row, word) in [
        (json!({}), "e-mail"),
        (json!({"email": 7}), "email"),
        (json!({"email": "x"}), "email"),
        (json!({"email": "a@example.com", "password": "x", "password_hash": BCRYPT}), "both"),
        (json!({"email": "a@example.com", "password": "x".repeat(300)}), "password"),
        (json!({"email": "a@example.com", "password_hash": "plain secret"}), "no supported format"),
        (json!({"email": "a@example.com", "password_hash": BCRYPT.replace("$10$", "$15$")}), "cost is at most 14"),
        (json!({"email": "a@example.com", "phone": "123"}), "phone"),
        (json!({"email": "a@example.com", "display_name": "x".repeat(201)}), "200"),
        (json!({"email": "a@example.com", "metadata": {"k": "x".repeat(17_000)}}), "16 KiB"),
        (json!({"email": "a@example.com", "metadata": []}), "metadata"),
        (json!({"email": "a@example.com", "status": "gone"}), "status"),
        (json!({"email": "a@example.com", "role_id": "owner"}), "role_id"),
        (json!({"email": "a@example.com", "email_verified": 3}), "email_verified"),
    ] {
        let message = why(Source::Qeet, row.clone());
        assert!(message.contains(word), "{row}: {message}");
        assert!(!message.contains("plain secret"), "{message}");
    }
}

#[test]
fn auth0() {
    let user = one(
        Source::Auth0,
        json!({"_id": {"$oid": "60425dc43519d90068f82973"}, "email": "a@example.com", "email_verified": true,
        "passwordHash": BCRYPT, "nickname": "ada", "app_metadata": {"plan": "pro"}}),
    );
    assert_eq!((kept(&user), user.display_name.as_deref(), user.email_verified), (BCRYPT, Some("ada"), true));
    assert_eq!(user.metadata["auth0_user_id"], "60425dc43519d90068f82973");
    let custom = |hash| one(Source::Auth0, json!({"email": "a@example.com", "custom_password_hash": hash}));
    let weak = |user: NewUser| matches!(user.secret, Secret::Hash(Imported::Weak(_)));
    let md5 = json!({"algorithm": "md5", "hash": {"value": "5f4dcc3b5aa765d61d8327deb882cf99", "encoding": "hex"},
        "salt": {"value": "NaCl", "position": "suffix"}});
    assert!(weak(custom(md5)));
    assert!(weak(custom(json!({"algorithm": "sha1", "hash": {"value": "W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "encoding": "base64"}}))));
    assert!(weak(custom(json!({"algorithm": "ldap", "hash": {"value": "{MD5}X03MO1qnZdYdgyfeuILPmQ=="}}))));
    let scrypt = custom(json!({"algorithm": "scrypt", "hash": {"value": "00112233445566778899aabbccddeeff", "encoding": "hex"},
        "salt": {"value": "TmFDbA==", "encoding": "base64"}, "cost": 1024, "blockSize": 8, "parallelization": 2}));
    assert!(wrapped(&scrypt).ends_with("$scrypt$ln=10,r=8,p=2$TmFDbA$l=16"));
    let scrypt = custom(json!({"algorithm": "scrypt", "hash": {"value": "00112233445566778899aabbccddeeff", "encoding": "hex"},
        "salt": {"value": "TmFDbA==", "encoding": "base64"}, "cost": 131_072, "blockSize": 8, "parallelization": 1}));
    assert_eq!(kept(&scrypt), "$scrypt$ln=17,r=8,p=1$TmFDbA$ABEiM0RVZneImaq7zN3u/w");
    for hash in [
        json!({"algorithm": "md4", "hash": {"value": "x"}}),
        json!({"algorithm": "md5", "hash": {"value": "zz"}}),
        json!({"algorithm": "sha256", "hash": {"value": "5f", "encoding": "hex"}, "password": {"encoding": "utf16le"}}),
        json!({"algorithm": "scrypt", "hash": {"value": "00"}, "cost": 1000}),
        json!({"hash": {"value": "00"}}),
    ] {
        assert!(why(Source::Auth0, json!({"email": "a@example.com", "custom_password_hash": hash})).contains("hash"));
    }
}

fn project() -> FirebaseParams {
    FirebaseParams {
        signer_key: SecretText::new("jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="),
        salt_separator: "Bw==".into(),
        rounds: 8,
        mem_cost: 14,
    }
}

#[test]
fn firebase() {
    assert_eq!(project().check(), Ok(()));
    assert!(FirebaseParams { mem_cost: 40, ..project() }.check().is_err());
    assert!(FirebaseParams { signer_key: SecretText::new("???"), ..project() }.check().is_err());
    let (hash, salt) = ("lSrfV15cpx95_sZS2W9c9Kp6i_LVgQNDNC_qzrCnh1SAyZvqmZqAjTdn3aoItz-VHjoZilo78198JAdRuid5lQ==", "42xEC-ixf3L2lw==");
    let json = json!({"users": [{"localId": "u1", "email": "a@example.com", "emailVerified": true, "passwordHash": hash, "salt": salt,
        "disabled": true, "customAttributes": "{\"admin\":true}", "providerUserInfo": []}]});
    let user = read(Source::Firebase, Some(project()), &json.to_string()).remove(0).unwrap();
    let stored = wrapped(&user);
    assert!(stored.contains("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki") && stored.ends_with("$42xEC+ixf3L2lw==$l=64"), "{stored}");
    assert_eq!((user.suspended, &user.metadata["custom_claims"]["admin"]), (true, &json!(true)));
    let mut cells = vec![""; 28];
    (cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[25], cells[26]) =
        ("u1", "a@example.com", "true", hash, salt, "\"Ada, A\"", "+14155550123", "false");
    let user = read(Source::Firebase, Some(project()), &format!("{}\n", cells.join(","))).remove(0).unwrap();
    assert_eq!((user.display_name.as_deref(), user.email_verified, user.suspended), (Some("Ada, A"), true, false));
    let without = read(Source::Firebase, None, &json.to_string()).remove(0).unwrap_err();
    assert!(without.message.contains("hash parameters"), "{}", without.message);
}

#[test]
fn cognito_has_no_passwords() {
    let text = "name,given_name,family_name,email,email_verified,phone_number,custom:team,cognito:mfa_enabled,cognito:username\n\
                ,Ada,Lovelace,a@example.com,TRUE,+14155550123,blue,false,ada\n";
    let user = read(Source::Cognito, None, text).remove(0).unwrap();
    assert!(matches!(user.secret, Secret::None) && user.email_verified);
    assert_eq!((user.display_name.as_deref(), &user.metadata["attributes"]["custom:team"]), (Some("Ada Lovelace"), &json!("blue")));
}

#[test]
fn keycloak() {
    let credential = |data: serde_json::Value, secret: serde_json::Value| {
        json!({"id": "k1", "username": "ada", "email": "a@example.com", "emailVerified": true, "enabled": true, "firstName": "Ada",
            "attributes": {"locale": ["de"], "team": ["blue", "red"]},
            "credentials": [{"type": "otp"}, {"type": "password", "credentialData": data.to_string(), "secretData": secret.to_string()}]})
    };
    let (salt, tag) = ("MDEyMzQ1Njc4OWFiY2RlZg==", "AAECAwQFBgcICQoLDA0ODw==");
    let secret = json!({"value": tag, "salt": salt, "additionalParameters": {}});
    let user = one(Source::Keycloak, credential(json!({"hashIterations": 27500, "algorithm": "pbkdf2-sha256"}), secret.clone()));
    assert!(wrapped(&user).ends_with("$pbkdf2-sha256$i=27500,l=16$MDEyMzQ1Njc4OWFiY2RlZg$l=16"));
    assert_eq!(
        (user.locale.as_deref(), user.suspended, &user.metadata["attributes"]["team"]),
        (Some("de"), false, &json!(["blue", "red"]))
    );
    let sha1 = one(Source::Keycloak, credential(json!({"hashIterations": 20000, "algorithm": "pbkdf2"}), secret.clone()));
    assert!(wrapped(&sha1).contains("$pbkdf2-sha1$i=20000,l=16$"));
    let sha512 = one(Source::Keycloak, credential(json!({"hashIterations": 210_000, "algorithm": "pbkdf2-sha512"}), secret.clone()));
    assert_eq!(kept(&sha512), "$pbkdf2-sha512$i=210000,l=16$MDEyMzQ1Njc4OWFiY2RlZg$AAECAwQFBgcICQoLDA0ODw");
    let more = json!({"hashLength": ["16"], "memory": ["7168"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]});
    let argon2 = json!({"hashIterations": 5, "algorithm": "argon2", "additionalParameters": more});
    let user = one(Source::Keycloak, credential(argon2, secret.clone()));
    assert_eq!(kept(&user), "$argon2id$v=19$m=7168,t=5,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAECAwQFBgcICQoLDA0ODw");
    let plain = json!({"email": "a@example.com", "credentials": [{"type": "password", "value": "correct horse"}]});
    assert!(matches!(one(Source::Keycloak, plain).secret, Secret::Password(_)));
    assert!(matches!(one(Source::Keycloak, json!({"email": "a@example.com"})).secret, Secret::None));
    for data in
        [json!({"hashIterations": 3_000_000, "algorithm": "pbkdf2-sha512"}), json!({"algorithm": "md5"}), json!({"hashIterations": 0})]
    {
        assert!(why(Source::Keycloak, credential(data, secret.clone())).starts_with("the credential"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read_alike_in_any_pieces(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"\"\n,[]{}:\\ e".to_vec())], 0..400), source in 0..5usize, chunk in 1..50usize) {
        let source = Source::ALL[source];
        let whole = raws(source, &bytes, bytes.len());
        prop_assert_eq!(&whole, &raws(source, &bytes, chunk));
        let mut rows = Rows::new(source, Some(project()));
        for raw in &whole {
            prop_assert!(raw.line >= 1);
            if rows.read(raw).is_err() {
                break;
            }
        }
    }

    #[test]
    fn rows_of_any_shape_are_read_or_refused(text in "(email|a@example\\.com|\"|,|\n|\\{|\\}|\\[|\\]|:|password_hash|users|credentials|null|[0-9]{1,5}|\\$2b\\$05\\$| ){0,40}", source in 0..5usize) {
        let mut rows = Rows::new(Source::ALL[source], Some(project()));
        for raw in raws(Source::ALL[source], text.as_bytes(), 9) {
            if rows.read(&raw).is_err() {
                break;
            }
        }
    }

    #[test]
    fn good_rows_survive_any_line_between_them(line in "[^\n]{0,200}") {
        let text = format!("{{\"email\":\"a@example.com\"}}\n{line}\n{{\"email\":\"b@example.com\"}}\n");
        let good = read(Source::Auth0, None, &text).into_iter().filter_map(Result::ok).map(|u| u.email.as_str().to_owned()).collect::<Vec<_>>();
        prop_assert!(good.starts_with(&["a@example.com".into()]) && good.ends_with(&["b@example.com".into()]));
    }
}
