//! The real binary on SQLite and Redis: what goes on without Redis, what waits for it, and what it must not be able to undo.

use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    client::Reply,
    redis::RedisServer,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PHONE: &str = "+4915112345678";
/// Half a second is promised; a debug build takes its time for the rest.
const REFUSED_WITHIN: Duration = Duration::from_millis(500 + 300);
/// A service is ready so soon after its Redis is there again, on a machine that has nothing else to do …
const SOON: Duration = Duration::from_secs(5);
/// … and on any.
const PATIENCE: Duration = Duration::from_secs(60);

async fn app(server: &RedisServer) -> App {
    let app = App::builder().env("QEETID_EPHEMERAL_URL", server.url()).env("QEETID_LIMITS", "on").start().await;
    // Numbering plans are read at the first number, for a second in a debug build.
    let warm = app.signup().await;
    let path = format!("/v1/users/{}/verify/phone/start", warm.user_id);
    app.post_as(&warm.access, &path, json!({"phone": "+19002345678"})).await.expect(422);
    app
}

async fn timed(call: impl Future<Output = Reply>) -> (Duration, Reply) {
    let begun = Instant::now();
    let reply = call.await;
    (begun.elapsed(), reply)
}

async fn start_email(app: &App, who: &Account) -> Reply {
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await
}

async fn start_phone(app: &App, who: &Account) -> Reply {
    app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/start", who.user_id), json!({"phone": PHONE})).await
}

async fn confirm_phone(app: &App, who: &Account, code: &str) -> Reply {
    app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/confirm", who.user_id), json!({"code": code})).await
}

async fn signup_once(app: &App, key: &str, body: &Value) -> Reply {
    app.post_keyed(key, "/v1/auth/signup", None, body).await
}

/// The refusal of what can't do without: in time, and with `Retry-After` (which every reply of the tests is searched for).
#[track_caller]
fn refused_in_time((took, reply): (Duration, Reply)) {
    reply.refused(503, "unavailable");
    assert!(took < REFUSED_WITHIN, "{took:?}");
}

/// What needs the store alone, and what needs a code or a key as well.
async fn the_store_goes_on_and_the_rest_says_503(app: &App, who: &Account, other: &Account) {
    app.login(&who.email, &who.password).await.expect(200);
    let refreshed = app.refresh(&who.refresh).await.expect(200).pair();
    app.me(&refreshed.access).await.expect(200);
    app.post("/v1/auth/forgot-password", json!({"email": who.email})).await.expect(202);
    app.signup().await;
    // Twice: a start that failed must not make the next one wait for a message that never went out.
    for _ in 0..2 {
        refused_in_time(timed(start_email(app, other)).await);
        refused_in_time(timed(start_phone(app, other)).await);
        refused_in_time(timed(confirm_phone(app, other, "000000")).await);
        let newcomer = json!({"email": fresh_email(), "password": fresh_password()});
        refused_in_time(timed(signup_once(app, "a-key", &newcomer)).await);
    }
    let ready = app.get("/readyz").await.refused(503, "unavailable");
    assert_eq!(ready.body["error"]["fields"], json!({"redis": "not ready"}));
    app.get("/healthz").await.expect(200);
}

async fn is_ready_again(app: &App, within: Duration) {
    let begun = Instant::now();
    while app.get("/readyz").await.status != 200 {
        assert!(begun.elapsed() < within, "not back after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_redis() {
    let mut server = RedisServer::start().await;
    server.kill9();
    let app = app(&server).await;
    let who = app.signup().await;
    app.login(&who.email, &who.password).await.expect(200);
    app.get("/readyz").await.refused(503, "unavailable");
    server.start_again().await;
    is_ready_again(&app, PATIENCE).await;
    app.verify(&who).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_whatever_redis_remembers() {
    let mut server = RedisServer::start().await;
    let app = App::builder().env("QEETID_EPHEMERAL_URL", server.url()).start().await;
    let who = app.signup().await;
    start_phone(&app, &who).await.expect(200);
    let code = app.code(PHONE, 1).await;
    let with_the_code = server.dump();
    confirm_phone(&app, &who, &code).await.expect(200);

    server.put_back(&with_the_code).await;
    is_ready_again(&app, PATIENCE).await;
    confirm_phone(&app, &who, &code).await.refused(400, "code_invalid");
    // A new one works, here and after a loss of all.
    for count in [2, 3] {
        start_phone(&app, &who).await.expect(200);
        let code = app.code(PHONE, count).await;
        confirm_phone(&app, &who, &code).await.expect(200);
        confirm_phone(&app, &who, &code).await.refused(400, "code_invalid");
        server.lose_all().await;
        is_ready_again(&app, PATIENCE).await;
    }
    // A code that Redis has lost is one that nobody has.
    start_phone(&app, &who).await.expect(200);
    let code = app.code(PHONE, 4).await;
    server.lose_all().await;
    is_ready_again(&app, PATIENCE).await;
    confirm_phone(&app, &who, &code).await.refused(400, "code_invalid");
}

/// What an answer says, apart from times and from the tokens, which are issued anew for the same session.
fn what_stays(body: &Value) -> Value {
    match body {
        Value::Object(fields) => {
            let stays = |name: &str| !name.ends_with("_at") && !["access_token", "refresh_token", "expires_in"].contains(&name);
            fields.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), what_stays(value))).collect()
        }
        other => other.clone(),
    }
}

/// Redis loses everything between a request and its repetition, as it does when a replica is promoted that never heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loses_all_makes_nothing_twice() {
    let mut server = RedisServer::start().await;
    let app = App::builder().env("QEETID_EPHEMERAL_URL", server.url()).start().await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (tenant, scoped) = app.organization_of(&owner, "Ours").await;
    let (invited, roles) = (fresh_email(), format!("/v1/tenants/{tenant}/roles"));
    let signup = json!({"email": fresh_email(), "password": fresh_password()});
    let login = json!({"email": owner.email, "password": owner.password});
    let sent: [(&str, _, _, _); 6] = [
        ("/v1/auth/signup", None, signup.clone(), 201),
        ("/v1/auth/login", None, login.clone(), 200),
        ("/v1/tenants", Some(&owner.access), json!({"name": "Twice?"}), 201),
        ("/v1/api-keys", Some(&scoped.access), json!({"name": "k", "scopes": ["user.read"]}), 201),
        ("/v1/invites", Some(&scoped.access), json!({"email": invited}), 201),
        (&roles, Some(&scoped.access), json!({"name": "readers", "permissions": ["user.read"]}), 201),
    ];
    let send = async |n: usize| {
        let (path, access, body, _) = &sent[n];
        app.post_keyed(&format!("key-{n}"), path, access.map(String::as_str), body).await
    };
    let mut first = Vec::new();
    for (n, (.., status)) in sent.iter().enumerate() {
        first.push(send(n).await.expect(*status));
    }
    let sessions = async || app.get_as(&owner.access, "/v1/auth/sessions").await.expect(200).body["items"].as_array().unwrap().len();
    // Its mail may go out after the answer, and before it what was written earlier.
    app.message(&invited, 1).await;
    app.mails_are_out().await;
    let (before, mails) = (sessions().await, app.messages(&invited).len());

    server.lose_all().await;
    is_ready_again(&app, PATIENCE).await;
    for (n, (path, .., status)) in sent.iter().enumerate() {
        // Told to send it again, as all clients of such keys do.
        let told = send(n).await.refused(503, "unavailable");
        assert!(told.header("retry-after").is_some(), "{path}");
        let again = send(n).await.expect(*status);
        assert_eq!(what_stays(&again.body), what_stays(&first[n].body), "{path}");
        assert_eq!(send(n).await.expect(*status).text, again.text, "{path}: kept again");
    }
    app.mails_are_out().await;
    assert_eq!((sessions().await, app.messages(&invited).len()), (before, mails));
    let tenants = app.get_as(&owner.access, "/v1/tenants").await.expect(200);
    assert_eq!(tenants.body["items"].as_array().unwrap().iter().filter(|t| t["tenant"]["name"] == "Twice?").count(), 1, "{}", tenants.text);
    // Another body under the key is another request: nobody knows the first one any more.
    server.lose_all().await;
    is_ready_again(&app, PATIENCE).await;
    let other = json!({"email": fresh_email(), "password": fresh_password()});
    signup_once(&app, "key-0", &other).await.expect(201);
    // A refused sign-in is one each time.
    let wrong = json!({"email": owner.email, "password": fresh_password()});
    for _ in 0..2 {
        app.post_keyed("wrong", "/v1/auth/login", None, &wrong).await.refused(401, "invalid_credentials");
    }
}

/// A code, the rows of a list, a session that somebody has ended since.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_may_not_get_again_from_a_redis_that_lost_all() {
    let mut server = RedisServer::start().await;
    let app = App::builder().env("QEETID_EPHEMERAL_URL", server.url()).start().await;
    let owner = app.signup().await;
    app.verify(&owner).await;
    let (_, scoped) = app.organization_of(&owner, "Ours").await;
    let send = async |path: &str, access: Option<&str>, body: &Value| app.post_keyed("the-key", path, access, body).await;
    let who = app.signup().await;
    let (start, none) = (format!("/v1/users/{}/verify/email/start", who.user_id), json!({}));
    let (rows, login) = (
        json!({"users": [{"email": fresh_email()}, {"email": fresh_email()}, {"email": owner.email}]}),
        json!({"email": owner.email, "password": owner.password}),
    );
    send(&start, Some(&who.access), &none).await.expect(200);
    app.code(&who.email, 1).await;
    let first = send("/v1/users/bulk", Some(&scoped.access), &rows).await.expect(200);
    let session = send("/v1/auth/login", None, &login).await.expect(200);
    app.post_as(&session.str("access_token"), "/v1/auth/logout", json!({})).await.expect(200);

    server.lose_all().await;
    is_ready_again(&app, PATIENCE).await;
    // The code is lost: there is a new one, at once.
    send(&start, Some(&who.access), &none).await.expect(200);
    let confirm = json!({"code": app.code(&who.email, 2).await});
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), confirm).await.expect(200);
    // Each row is known by its address.
    assert_eq!(send("/v1/users/bulk", Some(&scoped.access), &rows).await.expect(200).body, first.body);
    // The session was ended: nobody gets tokens of it.
    send("/v1/auth/login", None, &login).await.refused(503, "unavailable");
    send("/v1/auth/login", None, &login).await.refused(401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_one_round_trip() {
    let server = RedisServer::start().await;
    let app = app(&server).await;
    let (who, body) = (app.signup().await, json!({"email": fresh_email(), "password": fresh_password()}));
    // The scripts are known after this: none is sent whole again.
    app.verify(&who).await;
    app.login(&who.email, &who.password).await.expect(200);
    signup_once(&app, "first", &body).await.expect(201);
    let watch = server.watch();
    let asked = async |what: &str, expected: &[&str]| {
        let (begun, mut seen) = (Instant::now(), watch.take(&server).await);
        // The outbox looks at a code that it sends, after the answer.
        while seen.len() < expected.len() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
            seen.extend(watch.take(&server).await);
        }
        // What is too much and comes later is found by the next.
        seen.extend(watch.take(&server).await);
        let names: Vec<&str> = seen.iter().map(|line| line.split('"').nth(1).unwrap_or_default()).collect();
        assert_eq!(names, expected, "{what}: {seen:#?}");
    };
    asked("nothing", &[]).await;
    app.login(&who.email, &who.password).await.expect(200);
    // The network's share of requests; the try, and the try given back.
    asked("sign-in from a known network", &["EVALSHA", "EVALSHA", "EVALSHA"]).await;
    app.refresh(&who.refresh).await.expect(200);
    asked("refresh", &["EVALSHA"]).await;
    app.me(&who.access).await.expect(200);
    asked("who am I", &["EVALSHA"]).await;
    start_phone(&app, &who).await.expect(200);
    let code = app.code(PHONE, 1).await;
    // Whether it can be asked; the pause, the user's share, the number's, the network's, the budgets of the tenant and of all; how long codes are;
    // the code; its message.
    asked("code", &["SET", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA", "HMGET"]).await;
    confirm_phone(&app, &who, &code).await.expect(200);
    // The try with its record, and the tidying after it.
    asked("confirm", &["EVALSHA", "EVALSHA"]).await;
    let other = json!({"email": fresh_email(), "password": fresh_password()});
    signup_once(&app, "second", &other).await.expect(201);
    // The network's share; how the request stands; new keys, the turn; sign-ups; the answer.
    asked("sign-up with a key", &["EVALSHA", "HMGET", "EVALSHA", "EVALSHA", "EVALSHA", "EVALSHA"]).await;
    signup_once(&app, "second", &other).await.expect(201);
    asked("the same again", &["EVALSHA", "HMGET", "EVALSHA"]).await;
    app.post_as(&who.access, "/v1/auth/logout", json!({})).await;
    asked("sign-out", &["EVALSHA", "PUBLISH"]).await;
    app.login(&who.email, &who.password).await.expect(200);
    asked("sign-in, and nothing late of all before", &["EVALSHA", "EVALSHA", "EVALSHA"]).await;
}

/// What can't do without Redis is refused within half a second.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_goes_and_comes_back() {
        let mut server = RedisServer::start().await;
        let app = app(&server).await;
        let ready = app.get("/readyz").await.expect(200);
        assert_eq!(ready.body["parts"]["redis"], "ok", "{}", ready.text);
        let (who, other) = (app.signup().await, app.signup().await);
        app.verify(&who).await;
        let body = json!({"email": fresh_email(), "password": fresh_password()});
        let first = signup_once(&app, "one-key", &body).await.expect(201);
        assert_eq!(signup_once(&app, "one-key", &body).await.expect(201).text, first.text);

        server.kill9();
        the_store_goes_on_and_the_rest_says_503(&app, &who, &other).await;
        // Limits of this node: ten wrong passwords, and then not even the right one.
        for _ in 0..10 {
            app.login(&other.email, "not the password").await.refused(401, "invalid_credentials");
        }
        app.login(&other.email, &other.password).await.refused(429, "account_locked");

        server.start_again().await;
        is_ready_again(&app, SOON).await;
        app.verify(&other).await;
        start_phone(&app, &who).await.expect(200);
        start_phone(&app, &who).await.refused(429, "rate_limited");
        let log = app.output();
        assert_eq!(log.matches("Redis can't be asked").count(), 1, "it is said once");
        assert!(log.contains("Redis answers again"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_hangs() {
        let server = RedisServer::start().await;
        let app = app(&server).await;
        let (who, other) = (app.signup().await, app.signup().await);
        server.hang();
        refused_in_time(timed(start_email(&app, &other)).await);
        the_store_goes_on_and_the_rest_says_503(&app, &who, &other).await;
        // Whoever comes finds the door shut, or knocks once for all: nobody queues.
        let begun = Instant::now();
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (client, access, path) =
                    (app.other_client(), other.access.clone(), format!("/v1/users/{}/verify/phone/start", other.user_id));
                tokio::spawn(async move { client.post_as(&access, &path, json!({"phone": PHONE})).await })
            })
            .collect();
        for reply in asked {
            assert_eq!(reply.await.unwrap().status, 503);
        }
        // One after another they would wait for a minute, and more on a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        server.go_on();
        is_ready_again(&app, SOON).await;
        app.verify(&other).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sign_up_is_confirmed_once_and_an_outage_costs_no_try() {
        let mut server = RedisServer::start().await;
        let app = App::builder().env("QEETID_EPHEMERAL_URL", server.url()).env("QEETID_SIGNUP_MODE", "verify_first").start().await;
        let (email, password) = (fresh_email(), fresh_password());
        let started = app.post("/v1/auth/signup", json!({"email": email, "password": password})).await.expect(202);
        let body = json!({"email": email, "code": app.code(&email, 1).await, "signup_token": started.str("signup_token")});
        let confirm = async || app.post("/v1/auth/signup/confirm", body.clone()).await;
        server.hang();
        for _ in 0..7 {
            refused_in_time(timed(confirm()).await);
        }
        server.go_on();
        is_ready_again(&app, SOON).await;
        let with_the_code = server.dump();
        let made = confirm().await.expect(201);
        server.put_back(&with_the_code).await;
        is_ready_again(&app, SOON).await;
        confirm().await.refused(400, "code_invalid");
        // The same code with a token of somebody else's password.
        let started = app.post("/v1/auth/signup", json!({"email": email, "password": fresh_password()})).await.expect(202);
        server.put_back(&with_the_code).await;
        is_ready_again(&app, SOON).await;
        let again = json!({"email": email, "code": body["code"], "signup_token": started.str("signup_token")});
        let refused = app.post("/v1/auth/signup/confirm", again).await;
        assert!((400..500).contains(&refused.status), "{}", refused.text);
        app.login(&email, &password).await.expect(200);
        app.me(&made.str("access_token")).await.expect(200);
    }
}
