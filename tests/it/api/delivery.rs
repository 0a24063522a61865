//! Mail and text messages that can't leave: nobody waits for them, and they leave later.

use crate::{
    api::until,
    support::{
        app::{Account, App, fresh_email},
        smtp::{Act, Security, SmtpServer, Stage},
        twilio::{Answer, TwilioServer},
    },
};
use serde_json::json;
use std::time::{Duration, Instant};

const PHONE: &str = "+4915112345678";

async fn with_smtp(server: &SmtpServer) -> App {
    App::builder().env("QEETID_MAIL_URL", server.url("&tls=none")).start().await
}

/// Asks for a code and a link by mail; says how long the answers took.
async fn ask(app: &App, who: &Account) -> Duration {
    let start = Instant::now();
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
    app.post("/v1/auth/forgot-password", json!({"email": who.email})).await.expect(202);
    start.elapsed()
}

/// Plants what a mail carries, so that the log is searched for it.
fn plant(app: &App, text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("token=") {
        let token: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
        app.watch.plant(&token);
    }
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|w| w.len() == 6)?;
    app.watch.plant(code);
    Some(code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_server_that_is_gone_also_over_kill_9() {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mut app = with_smtp(&server).await;
    server.go_away().await;
    let who = app.signup().await;
    ask(&app, &who).await;
    until("not tried", async || app.output().matches("message not delivered").count(), |tried| *tried >= 2).await;
    app.kill9();
    server.come_back().await;
    app.start().await;
    let mut code = None;
    for mail in until("mails are missing", async || server.received(), |mails| mails.len() >= 2).await {
        assert_eq!(mail.to, std::slice::from_ref(&who.email));
        assert!(!mail.text.is_empty() && mail.html.contains("<html"), "text and HTML");
        if mail.text.contains("token=") {
            plant(&app, &mail.text);
        } else {
            code = plant(&app, &mail.text);
        }
    }
    let body = json!({"code": code.expect("a code")});
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_holds_nobody_up() {
    let server = SmtpServer::start(Security::Plain, None).await;
    server.rule(Stage::Greeting, "", Act::Hang, usize::MAX);
    let app = with_smtp(&server).await;
    let mut took = Duration::ZERO;
    for _ in 0..5 {
        took += ask(&app, &app.signup().await).await;
    }
    // A connection to such a server is given up after five seconds: if only one of the two answers waited for that, they would take longer.
    assert!(took < Duration::from_secs(10), "took {took:?}");
    app.get("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_refused_for_good_is_parked_and_the_others_get_theirs() {
    let server = SmtpServer::start(Security::Plain, None).await;
    server.rule(Stage::Rcpt, "refused@example.com", Act::Reply("550 5.1.1 no such user refused@example.com"), usize::MAX);
    let app = with_smtp(&server).await;
    let refused = app.signup_as("refused@example.com").await;
    ask(&app, &refused).await;
    let other = app.signup_as(&fresh_email()).await;
    ask(&app, &other).await;
    for mail in server.wait_for(2).await {
        assert_eq!(mail.to, std::slice::from_ref(&other.email));
        plant(&app, &mail.text);
    }
    let line = app.logged("parked").await;
    assert!(line.contains("answered 550"), "{line}");
    assert!(!line.contains("refused@example.com"), "addresses stay out of the log: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_messages_survive_a_twilio_that_fails_in_every_way() {
    let server = TwilioServer::start().await;
    let app = App::builder().env("QEETID_SMS_URL", server.url()).start().await;
    let who = app.signup().await;
    // The first number that a process looks at has it unpack all numbering plans: seconds, in a build without optimisation.
    let none = json!({"phone": "+4900000000"});
    app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/start", who.user_id), none).await.refused(422, "validation_failed");
    server.always(Some(Answer::Error(503, 20503)));
    let start = Instant::now();
    let asked = app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/start", who.user_id), json!({"phone": PHONE})).await;
    asked.expect(200);
    // Nothing is sent as long as the test does not say so: an answer that waited for that would never come.
    assert!(start.elapsed() < Duration::from_secs(20));
    until("not asked", async || server.requests(), |requests| !requests.is_empty()).await;
    server.always(None);
    let text = until("not sent again", async || server.taken(), |taken| !taken.is_empty()).await[0].clone();
    assert_eq!(text.to, PHONE);
    let code = plant(&app, &text.body).expect("a code");
    app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/confirm", who.user_id), json!({"code": code})).await.expect(200);

    for answer in [Answer::Error(400, 21211), Answer::Hang, Answer::Redirect, Answer::Huge, Answer::Html(502)] {
        server.always(Some(answer));
        let heard = async || (server.requests().len(), server.written());
        let before = heard().await;
        let start = Instant::now();
        let body = json!({"phone": "+4915112345679"});
        app.post_as(&who.access, &format!("/v1/users/{}/verify/phone/start", who.user_id), body).await.expect(200);
        // Twilio has 15 seconds to answer.
        assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}");
        app.me(&who.access).await.expect(200);
        until("not asked", heard, |now| *now != before).await;
    }
    // Two more were asked for after the redirect.
    assert!(!server.requests().iter().any(|r| r == "/redirected"), "redirects are not followed");
    app.get("/readyz").await.expect(200);
}
