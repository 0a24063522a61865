//! Security notices: who is mailed of what, and who is not.

use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    client::Reply,
    mail::Mail,
};
use reqwest::Method;
use serde_json::json;

const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0";
const CHROME: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
/// It wants its words in a mail.
const HOSTILE: &str = "Your account is blocked: visit http://evil.example";

async fn start() -> App {
    App::builder().env("QEETID_TRUSTED_PROXIES", "127.0.0.1").start().await
}

async fn sign_in(app: &App, who: &Account, ip: &str, agent: &str) -> Reply {
    let body = json!({"email": who.email, "password": who.password});
    let request = app.request(Method::POST, "/v1/auth/login").header("x-forwarded-for", ip).header("user-agent", agent).json(&body);
    app.run(request).await.unwrap().expect(200)
}

async fn proved(app: &App) -> Account {
    let who = app.signup().await;
    app.verify(&who).await;
    who
}

fn is_notice(what: &'static str) -> impl Fn(&Mail) -> bool {
    move |mail| mail.text.contains(what) && mail.link.as_ref().is_some_and(|l| l.contains("/not-me?token="))
}
fn notices(app: &App, who: &str) -> usize {
    app.messages(who).iter().filter(|m| m.link.as_ref().is_some_and(|l| l.contains("/not-me?token="))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_new_in_every_way_is_told_once_a_day() {
    let app = start().await;
    let who = proved(&app).await;
    // Another program in the network of the sign-up, another network with that program, and another program there.
    sign_in(&app, &who, "127.0.0.9", FIREFOX).await;
    sign_in(&app, &who, "203.0.113.7", FIREFOX).await;
    sign_in(&app, &who, "203.0.113.8", "curl/8.10").await;
    app.mails_are_out().await;
    let before = notices(&app, &who.email);
    sign_in(&app, &who, "198.51.100.1", CHROME).await;
    let mail = app.mail(&who.email, 1, "a new sign-in", is_notice("from a network and with a program")).await;
    assert!(mail.text.contains("198.51.x.x, Chrome on Android") && mail.text.contains(" UTC"), "{}", mail.text);
    assert!(!mail.text.contains("198.51.100"), "{}", mail.text);
    sign_in(&app, &who, "2001:db8::1", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15")
        .await;
    app.mails_are_out().await;
    assert_eq!((before, notices(&app, &who.email)), (0, 1), "once a day");
    // Its button secures the account.
    app.post("/v1/auth/not-me", json!({"token": mail.token()})).await.expect(200);
    app.login(&who.email, &who.password).await.refused(401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_whoever_signs_in_says_goes_into_a_mail() {
    let app = start().await;
    let who = proved(&app).await;
    sign_in(&app, &who, "203.0.113.7", FIREFOX).await;
    sign_in(&app, &who, "198.51.100.1", CHROME).await;
    app.mail(&who.email, 1, "a new sign-in", is_notice("from a network and with a program")).await;
    let other = proved(&app).await;
    sign_in(&app, &other, "203.0.113.7", FIREFOX).await;
    sign_in(&app, &other, "198.51.100.1", HOSTILE).await;
    app.mails_are_out().await;
    for mail in app.messages(&other.email) {
        assert!(!mail.text.contains("evil") && !mail.html.unwrap_or_default().contains("evil"), "{}", mail.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_twice_is_told() {
    let app = start().await;
    let who = proved(&app).await;
    let first = app.login(&who.email, &who.password).await.expect(200).pair();
    let mut refresh = first.refresh.clone();
    for _ in 0..3 {
        refresh = app.refresh(&refresh).await.expect(200).pair().refresh;
    }
    app.refresh(&first.refresh).await.refused(401, "token_reused");
    app.mail(&who.email, 1, "a reused token", is_notice("used a second time")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_refused_sign_ins_are_told_to_whoever_has_proved_the_address() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__AUTH_REQUESTS", "10000/1m").start().await;
    let (who, unproved, unknown) = (proved(&app).await, app.signup().await, fresh_email());
    for email in [&who.email, &unproved.email, &unknown] {
        for _ in 0..10 {
            app.login(email, "not the password").await.refused(401, "invalid_credentials");
        }
        app.login(email, "not the password").await.refused(429, "account_locked");
    }
    let mail = app.mail(&who.email, 1, "refused sign-ins", is_notice("wrong password were refused")).await;
    assert!(mail.text.contains("Nobody got in"), "{}", mail.text);
    app.mails_are_out().await;
    assert_eq!((notices(&app, &who.email), notices(&app, &unproved.email), app.messages(&unknown).len()), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_phone_number_takes_a_fresh_sign_in_and_is_told() {
    let app = start().await;
    let who = proved(&app).await;
    let path = |step: &str| format!("/v1/users/{}/verify/phone/{step}", who.user_id);
    let numbers = ["+4915112345678", "+4915112345679"];
    for number in numbers {
        app.post_as(&who.access, &path("start"), json!({"phone": number})).await.expect(200);
        let code = app.code(number, 1).await;
        app.post_as(&who.access, &path("confirm"), json!({"code": code})).await.expect(200);
    }
    app.mail(&who.email, 1, "another number", is_notice("Another phone number")).await;
    app.mails_are_out().await;
    assert_eq!(notices(&app, &who.email), 1, "the first number is no change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_tenant_may_have_some_notices_off() {
    let app = start().await;
    let owner = proved(&app).await;
    let (tenant, scoped) = app.organization_of(&owner, "Ours").await;
    app.manage(&tenant).await;
    let policy = format!("/v1/tenants/{tenant}/auth-policy");
    let shown = app.get_as(&scoped.access, &policy).await.expect(200);
    assert_eq!(shown.body["notices"], json!(["new_sign_in", "token_reused", "phone_changed", "sign_ins_refused"]));
    for bad in [json!(["password_changed"]), json!(["new_sign_in", "nonsense"])] {
        let refused =
            app.send(Method::PUT, &policy, Some(&scoped.access), Some(json!({"notices": bad}))).await.refused(422, "validation_failed");
        assert!(refused.body["error"]["fields"]["notices"].is_string(), "{}", refused.text);
    }
    app.send(Method::PUT, &policy, Some(&scoped.access), Some(json!({"notices": ["token_reused"]}))).await.expect(200);
    let (email, password) = (fresh_email(), fresh_password());
    app.post_as(&scoped.access, "/v1/users", json!({"email": email, "password": password})).await.expect(201);
    let pair = app.login(&email, &password).await.expect(200);
    let [user_id, tenant_id, session_id, access, refresh] =
        ["user_id", "tenant_id", "session_id", "access_token", "refresh_token"].map(|field| pair.str(field));
    let member = Account { email, password, user_id, tenant_id, session_id, access, refresh };
    app.verify(&member).await;
    sign_in(&app, &member, "203.0.113.7", FIREFOX).await;
    sign_in(&app, &member, "198.51.100.1", CHROME).await;
    let mut refresh = member.refresh.clone();
    for _ in 0..3 {
        refresh = app.refresh(&refresh).await.expect(200).pair().refresh;
    }
    app.refresh(&member.refresh).await.refused(401, "token_reused");
    app.mail(&member.email, 1, "a reused token", is_notice("used a second time")).await;
    app.mails_are_out().await;
    assert_eq!(notices(&app, &member.email), 1, "and no other");
}
