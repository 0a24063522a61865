//! `Idempotency-Key`: what is sent again is done once.

use crate::{
    api::{all, count},
    support::{
        app::{App, fresh_email, fresh_password, unique},
        client::Reply,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn fresh_key() -> String {
    format!("key-{}-{}", std::process::id(), unique())
}

fn newcomer() -> Value {
    json!({"email": fresh_email(), "password": fresh_password(), "display_name": "Ada"})
}

#[track_caller]
fn again(first: &Reply, second: &Reply) {
    assert_eq!((second.status, &second.text), (first.status, &first.text));
    assert_eq!((first.header("idempotent-replayed"), second.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(first.header("content-type"), second.header("content-type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_comes_again_byte_for_byte() {
    let mut app = App::own().await;
    let (body, key) = (newcomer(), fresh_key());
    let first = app.post_keyed(&key, "/v1/auth/signup", None, &body).await.expect(201);
    again(&first, &app.post_keyed(&key, "/v1/auth/signup", None, &body).await);
    // Errors too, but for 401 and 429: what was refused for who asked may be asked again.
    let bad = json!({"email": "nobody", "password": "x"});
    let key_of_bad = fresh_key();
    let refused = app.post_keyed(&key_of_bad, "/v1/auth/signup", None, &bad).await.refused(422, "validation_failed");
    again(&refused, &app.post_keyed(&key_of_bad, "/v1/auth/signup", None, &bad).await);

    // Another body, or another route.
    app.post_keyed(&key, "/v1/auth/signup", None, &newcomer()).await.refused(409, "idempotency_conflict");
    let login = json!({"email": body["email"], "password": "wrong"});
    app.post_keyed(&key, "/v1/auth/login", None, &login).await.refused(401, "invalid_credentials");
    let login = json!({"email": body["email"], "password": body["password"]});
    let signed_in = app.post_keyed(&key, "/v1/auth/login", None, &login).await.expect(200);
    assert_eq!(signed_in.header("idempotent-replayed"), None, "the 401 was not kept");

    // Neither a restart nor kill -9 forgets.
    app.kill9();
    app.start().await;
    again(&first, &app.post_keyed(&key, "/v1/auth/signup", None, &body).await);
    again(&signed_in, &app.post_keyed(&key, "/v1/auth/login", None, &login).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_apart_by_caller_and_must_be_keys() {
    let app = App::new().await;
    let (one, other, key) = (app.signup().await, app.signup().await, fresh_key());
    let body = json!({"name": "Acme"});
    let first = app.post_keyed(&key, "/v1/tenants", Some(&one.access), &body).await.expect(201);
    let theirs = app.post_keyed(&key, "/v1/tenants", Some(&other.access), &body).await.expect(201);
    assert_ne!(first.str("id"), theirs.str("id"));
    again(&first, &app.post_keyed(&key, "/v1/tenants", Some(&one.access), &body).await);
    // Another session of the same person is the same caller; nobody, and somebody who has signed out, is none.
    let later = app.login(&one.email, &one.password).await.expect(200).str("access_token");
    again(&first, &app.post_keyed(&key, "/v1/tenants", Some(&later), &body).await);
    app.post_keyed(&key, "/v1/tenants", None, &body).await.refused(401, "unauthorized");
    app.post_as(&later, "/v1/auth/logout", json!({})).await.expect(200);
    app.is_refused_within_a_second(&later).await;
    app.post_keyed(&key, "/v1/tenants", Some(&later), &body).await.refused(401, "unauthorized");

    for bad in ["", " ", "a b", "é", &"k".repeat(256)] {
        let request = app.request(Method::POST, "/v1/tenants").bearer_auth(&one.access).json(&body);
        let request = request.header("Idempotency-Key", reqwest::header::HeaderValue::from_bytes(bad.as_bytes()).unwrap());
        app.run(request).await.unwrap().refused(400, "malformed_request");
    }
    let twice = app.request(Method::POST, "/v1/tenants").bearer_auth(&one.access).json(&body);
    let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    app.run(twice).await.unwrap().refused(400, "malformed_request");
    let longest = "k".repeat(255);
    app.post_keyed(&longest, "/v1/tenants", Some(&one.access), &body).await.expect(201);
    // No route for it, no harm.
    app.post_keyed(&key, "/v1/nothing", None, &body).await.refused(404, "not_found");
    let get = app.request(Method::GET, "/v1/tenants").bearer_auth(&one.access).header("Idempotency-Key", &key);
    let listed = app.run(get).await.unwrap().expect(200);
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 3, "{}", listed.text);
    let large = json!({"name": "Acme", "more": "x".repeat(2 * 1024 * 1024)});
    app.post_keyed(&fresh_key(), "/v1/tenants", Some(&one.access), &large).await.refused(413, "payload_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_at_once_are_one() {
    let app = App::new().await;
    let (who, key) = (app.signup().await, fresh_key());
    let role = json!({"name": "Helper", "permissions": ["user.read"]});
    let path = format!("/v1/tenants/{}/roles", who.tenant_id);
    let (body, signup) = (newcomer(), "/v1/auth/signup");
    let api_key = json!({"name": "Billing", "scopes": ["user.read"]});
    for (token, path, body) in
        [(None, signup, &body), (Some(who.access.clone()), &*path, &role), (Some(who.access.clone()), "/v1/api-keys", &api_key)]
    {
        let replies = all((0..8).map(|_| {
            let (client, token, path, key, body) = (app.other_client(), token.clone(), path.to_owned(), key.clone(), body.clone());
            async move { client.post_keyed(&key, &path, token.as_deref(), &body).await }
        }))
        .await;
        assert_eq!(count(&replies, 201), 8, "{replies:?}");
        assert!(replies.iter().all(|r| r.text == replies[0].text), "one answer");
        assert_eq!(replies.iter().filter(|r| r.header("idempotent-replayed").is_none()).count(), 1, "one did it");
    }
    let keys = app.get_as(&who.access, &format!("/v1/tenants/{}/api-keys", who.tenant_id)).await.expect(200);
    assert_eq!(keys.body["items"].as_array().unwrap().len(), 1, "{}", keys.text);
}

/// As if the server had died between what a request wrote and the keeping of its answer.
fn unanswered(app: &App) {
    let changed = app.database().execute("UPDATE idempotent_requests SET answer = NULL, lease_until = 0", []).unwrap();
    assert!(changed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_may_come_back_at_once() {
    let app = App::new().await;
    for round in 0..10 {
        let (body, key) = (newcomer(), fresh_key());
        let client = app.other_client();
        let request = client.request(Method::POST, "/v1/auth/signup").header("Idempotency-Key", &key).json(&body);
        // Any moment is right.
        let left = tokio::time::timeout(Duration::from_millis(5 + 12 * round), request.send()).await;
        drop((left, client));
        let came_back = std::time::Instant::now();
        let reply = app.post_keyed(&key, "/v1/auth/signup", None, &body).await.expect(201);
        // A turn that was not given back would be taken for half a minute.
        assert!(came_back.elapsed() < Duration::from_secs(20), "{:?}", came_back.elapsed());
        app.me(&reply.str("access_token")).await.expect(200);
    }
}

/// Requests are looked for, and made unanswered, in the file.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rerun_finds_what_the_run_that_died_wrote() {
        let mut app = App::own().await;
        let who = app.signup().await;
        let (token, key, person) = (who.access.clone(), fresh_key(), newcomer());
        let roles = format!("/v1/tenants/{}/roles", who.tenant_id);
        let requests = [
            (None, "/v1/auth/signup", person.clone(), "user_id"),
            (Some(&*token), "/v1/tenants", json!({"name": "Acme"}), "slug"),
            (Some(&*token), &*roles, json!({"name": "Helper", "permissions": ["user.read"]}), "id"),
            (Some(&*token), "/v1/api-keys", json!({"name": "Billing", "scopes": ["user.read"]}), "secret"),
        ];
        let mut first = Vec::new();
        for (token, path, body, _) in &requests {
            first.push(app.post_keyed(&key, path, *token, body).await.expect(201));
        }
        app.kill9();
        unanswered(&app);
        app.start().await;
        for ((token, path, body, field), first) in requests.iter().zip(&first) {
            let second = app.post_keyed(&key, path, *token, body).await.expect(201);
            assert_eq!(second.str(field), first.str(field), "{path}");
            assert_eq!(second.header("idempotent-replayed"), None, "{path}: it ran once more");
            again(&second, &app.post_keyed(&key, path, *token, body).await);
            let other = json!({"name": "another"});
            app.post_keyed(&key, path, *token, &other).await.refused(409, "idempotency_conflict");
        }
        // The tokens of the rerun are good, its key too, and nothing is there twice.
        let second = app.post_keyed(&key, "/v1/auth/signup", None, &person).await;
        app.me(&second.str("access_token")).await.expect(200);
        app.refresh(&second.str("refresh_token")).await.expect(200);
        app.login(person["email"].as_str().unwrap(), person["password"].as_str().unwrap()).await.expect(200);
        let by_key = app.request(Method::GET, "/v1/permissions").header("Authorization", format!("ApiKey {}", first[3].str("secret")));
        app.run(by_key).await.unwrap().refused(403, "forbidden");
        let rows = |sql: &str| app.database().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(rows("SELECT count(*) FROM users"), 2);
        assert_eq!(rows("SELECT count(*) FROM tenants"), 3);
        assert_eq!(rows("SELECT count(*) FROM roles"), 1);
        assert_eq!(rows("SELECT count(*) FROM api_keys"), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_is_too_large_is_given_once() {
        let app = App::new().await;
        let who = app.signup().await;
        app.verify(&who).await;
        let org = app.post_as(&who.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
        let token = app.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
        let key = fresh_key();
        let member = json!({"email": who.email});
        let list = |rows: usize| json!({"users": vec![member.clone(); rows]});
        let large = app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list(1000)).await.expect(200);
        assert!(large.text.len() > 64 * 1024 && large.body["failed"] == 1000, "{}", large.text.len());
        let again = app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list(1000)).await.refused(409, "idempotency_conflict");
        assert!(again.text.contains("too large to be given again"), "{}", again.text);
        let key = fresh_key();
        let small = app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list(100)).await.expect(200);
        assert_eq!(app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list(100)).await.expect(200).text, small.text);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rerun_of_a_list_reports_what_the_run_that_died_made() {
        let mut app = App::own().await;
        let who = app.signup().await;
        let org = app.post_as(&who.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
        app.verify(&who).await;
        app.manage(&org).await;
        let token = app.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
        let key = fresh_key();
        let list = json!({"users": [newcomer(), newcomer(), json!({"email": fresh_email()})]});
        let first = app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list).await.expect(200);
        assert_eq!(first.body["succeeded"], 3, "{}", first.text);
        app.kill9();
        unanswered(&app);
        app.start().await;
        let second = app.post_keyed(&key, "/v1/users/bulk", Some(&token), &list).await.expect(200);
        assert_eq!((second.header("idempotent-replayed"), &second.body), (None, &first.body));
        assert_eq!(app.database().query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap(), 4);
        // Another request finds them there.
        let third = app.post_keyed(&fresh_key(), "/v1/users/bulk", Some(&token), &list).await.expect(200);
        assert_eq!((&third.body["succeeded"], &third.body["failed"]), (&json!(0), &json!(3)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kill_9_at_any_moment_and_sent_again_makes_one_account() {
        killed_among_requests(3).await;
    }

    /// So many rounds take tens of seconds.
    mod long {
        use super::*;

        #[tokio::test(flavor = "multi_thread")]
        async fn kill_9_again_and_again_and_sent_again_makes_one_account() {
            killed_among_requests(8).await;
        }
    }

    async fn killed_among_requests(rounds: u64) {
        let mut app = App::own().await;
        for round in 0..rounds {
            let people: Vec<_> = (0..6).map(|_| (newcomer(), fresh_key())).collect();
            let sending = all(people.clone().into_iter().map(|(body, key)| {
                let client = app.other_client();
                async move { client.try_post_keyed(&key, "/v1/auth/signup", None, &body).await.ok() }
            }));
            // Any moment is right.
            tokio::time::sleep(Duration::from_millis(40 + 60 * round)).await;
            app.kill9();
            let before = sending.await;
            // Half a minute has passed.
            app.database().execute("UPDATE idempotent_requests SET lease_until = 0", []).unwrap();
            app.start().await;
            for ((body, key), before) in people.iter().zip(before) {
                let reply = app.post_keyed(key, "/v1/auth/signup", None, body).await.expect(201);
                if let Some(before) = before {
                    again(&before.expect(201), &reply);
                }
                app.me(&reply.str("access_token")).await.expect(200);
                let signed_in = app.login(body["email"].as_str().unwrap(), body["password"].as_str().unwrap()).await.expect(200);
                assert_eq!(signed_in.str("user_id"), reply.str("user_id"));
            }
        }
        let users = app.database().query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(users, i64::try_from(6 * rounds).unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_file_shows_nothing_of_requests_and_answers() {
        let mut app = App::own().await;
        let (body, key) = (newcomer(), fresh_key());
        let reply = app.post_keyed(&key, "/v1/auth/signup", None, &body).await.expect(201);
        app.kill9();
        let conn = app.database();
        let mut rows = conn.prepare("SELECT name, fingerprint, salt, answer FROM idempotent_requests").unwrap();
        let row: [Vec<u8>; 4] = rows.query_row([], |r| Ok([r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?])).unwrap();
        let all = row.concat();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        for secret in
            [key, text(&body["email"]), text(&body["password"]), reply.str("refresh_token"), reply.str("user_id"), "user_id".into()]
        {
            assert!(!all.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret}");
        }
    }
}
