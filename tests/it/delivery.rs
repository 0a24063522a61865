//! The ways out against real servers on loopback: refused, slow, hanging, gone, encrypted, signed in, and what of it is kept.

use crate::support::{
    smtp::{Act, Security, SmtpServer, Stage},
    twilio::{Answer, SID, TwilioServer},
};
use futures_util::future::join_all;
use qeetid::{
    domain::{
        breaker::Breaker,
        contact::{Email, Phone},
        ids::JobId,
        secret::SecretText,
    },
    gateway::{DeliveryError, Mail, Mailer, Sms, SmsSender, smtp::SmtpMailer, twilio::TwilioSender},
};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const FROM: &str = "Qeet ID <no-reply@qeet.example>";
const EVER: usize = usize::MAX;
/// Of whom no time-out is tested: longer than anything takes on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

fn mail_to(n: u8, to: &str) -> Mail {
    Mail {
        job: JobId::from_bytes([n; 16]),
        to: Email::from_stored(to.into()),
        subject: "Your code ✓".into(),
        text: SecretText::new("Your code is\n\n123456\n.\nA line that is only a dot stood above."),
        html: SecretText::new("<p>Your code is <b>123456</b> – “ok”</p>"),
    }
}

fn mail(n: u8) -> Mail {
    mail_to(n, "ada@example.com")
}

fn mailer(url: &str) -> SmtpMailer {
    let mailer = SmtpMailer::from_url(&SecretText::new(url), FROM).unwrap_or_else(|e| panic!("{e}"));
    mailer.with_timeouts(PATIENT, PATIENT)
}

/// What an engineer on call sees: the kind of failure, and nothing of whom or what.
fn checked(result: Result<(), DeliveryError>, permanent: bool) -> String {
    let e = result.expect_err("it can't have been delivered");
    assert_eq!(e.permanent, permanent, "{e}");
    for secret in ["ada", "example.com", "1415", "123456", "planted", "tok/en", "tok%2F", SID] {
        assert!(!e.detail.contains(secret) && !format!("{e:?}").contains(secret), "{e}");
    }
    e.detail
}

#[tokio::test]
async fn a_mail_arrives_whole_whatever_the_encryption() {
    for (security, more, encrypted) in [
        (Security::Plain, "", false),
        (Security::StartTls, "", true),
        (Security::StartTls, "&tls=required", true),
        (Security::StartTls, "&tls=none", false),
        (Security::Implicit, "", true),
    ] {
        let server = SmtpServer::start(security, Some(("user@x", "p/w:%"))).await;
        let mailer = mailer(&server.url(more));
        assert_eq!(mailer.check().await.unwrap(), encrypted);
        mailer.send(mail(1)).await.unwrap();
        let got = server.received().remove(0);
        assert_eq!((got.encrypted, got.user.as_deref()), (encrypted, Some("user@x")));
        assert_eq!((got.from.as_str(), got.to.as_slice()), ("no-reply@qeet.example", &["ada@example.com".to_owned()][..]));
        assert_eq!(got.subject, "Your code ✓");
        assert_eq!(got.text.trim_end(), mail(1).text.reveal());
        assert_eq!(got.html.trim_end(), mail(1).html.reveal());
        assert_eq!(got.headers["message-id"], "<01010101-0101-0101-0101-010101010101@qeet.example>");
        assert_eq!(got.headers["auto-submitted"], "auto-generated");
        assert_eq!(got.headers["from"], "\"Qeet ID\" <no-reply@qeet.example>");
        assert!(got.headers.contains_key("date") && got.headers["content-type"].starts_with("multipart/alternative"));
    }
}

#[tokio::test]
async fn addresses_beyond_ascii_arrive() {
    let server = SmtpServer::start(Security::Plain, None).await;
    mailer(&server.url("")).send(mail_to(1, "jürgen@xn--bcher-kva.example")).await.unwrap();
    assert_eq!(server.received()[0].to, ["jürgen@xn--bcher-kva.example"]);
}

#[tokio::test]
async fn login_is_used_where_plain_is_not_offered_and_a_wrong_password_parks_no_mail() {
    let server = SmtpServer::start(Security::StartTls, Some(("ada", "right"))).await;
    server.offer("LOGIN");
    mailer(&server.url("")).send(mail(1)).await.unwrap();
    let wrong = mailer(&server.url("").replace("right", "planted"));
    let detail = checked(wrong.send(mail(2)).await, false);
    assert!(detail.contains("535 5.7.8"), "{detail}");
    assert!(!format!("{wrong:?}").contains("planted"));
    assert!(wrong.check().await.is_err());
    let nobody = server.url("").replace("ada:right@", "");
    let detail = checked(mailer(&nobody).send(mail(3)).await, false);
    assert!(detail.contains("530"), "{detail}");
}

#[tokio::test]
async fn encryption_can_be_insisted_on_and_certificates_are_checked() {
    let server = SmtpServer::start(Security::Plain, None).await;
    checked(mailer(&server.url("&tls=required")).send(mail(1)).await, false);
    assert!(server.received().is_empty());
    let (one, other) = (SmtpServer::start(Security::StartTls, None).await, SmtpServer::start(Security::StartTls, None).await);
    for trusting in [format!("?ca={}", other.ca_file.display()), String::new()] {
        let url = format!("smtp://127.0.0.1:{}{trusting}", one.addr.port());
        let detail = checked(mailer(&url).send(mail(1)).await, false);
        assert!(detail.contains("TLS"), "{detail}");
    }
    assert!(one.received().is_empty());
    // Elsewhere than on this machine STARTTLS is required if nothing else is said.
    assert!(SmtpMailer::from_url(&SecretText::new("smtp://u:p@mail.example?tls=maybe"), FROM).is_err());
    assert!(SmtpMailer::from_url(&SecretText::new("smtps://u:p@mail.example?tls=none"), FROM).is_err());
    assert!(SmtpMailer::from_url(&SecretText::new("smtp://u@mail.example"), FROM).is_err());
    assert!(SmtpMailer::from_url(&SecretText::new("smtp://mail.example"), "a@b.example\r\nBcc: c@d.example").is_err());
    assert!(SmtpMailer::from_url(&SecretText::new("smtp://mail.example?ca=/nonexistent"), FROM).is_err());
}

#[tokio::test]
async fn refusals_are_permanent_or_not_as_the_server_says() {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mailer = mailer(&server.url(""));
    for (at, reply, permanent, shown) in [
        (Stage::Rcpt, "550 5.1.1 <ada@example.com> unknown", true, "550 5.1.1"),
        (Stage::Rcpt, "451 4.7.1 greylisted, ada@example.com", false, "451 4.7.1"),
        (Stage::Mail, "452 4.3.1 full", false, "452 4.3.1"),
        (Stage::Dot, "554 ada@example.com looks like spam", true, "554"),
        (Stage::Dot, "421 4.3.2 going down", false, "421 4.3.2"),
        (Stage::Greeting, "554 5.7.1 not you", false, "554 5.7.1"),
    ] {
        server.rule(at, "", Act::Reply(reply), 1);
        let detail = checked(mailer.send(mail(1)).await, permanent);
        assert!(detail.ends_with(shown), "{detail}");
        server.behave();
    }
    assert!(server.received().is_empty());
    mailer.send(mail(2)).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

/// One mail fails in time, whatever the server does to it, and the next one arrives.
async fn fails_in_time(at: Stage, act: Act) {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mailer = mailer(&server.url("")).with_timeouts(Duration::from_secs(5), Duration::from_secs(5));
    server.rule(at, "", act.clone(), 1);
    // Below the 30 s of a mailer that nobody told a time-out.
    let sent = timeout(Duration::from_secs(20), mailer.send(mail(1))).await;
    checked(sent.unwrap_or_else(|_| panic!("{at:?}, {act:?}: it takes too long")), false);
    mailer.send(mail(2)).await.unwrap();
    let got = server.received();
    assert!(got.len() == 1 && got[0].headers["message-id"].starts_with("<0202"), "{at:?}, {act:?}: {got:?}");
}

#[tokio::test]
async fn a_server_that_drops_or_hangs_costs_bounded_time() {
    let stages = [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Dot];
    join_all(stages.into_iter().flat_map(|at| [fails_in_time(at, Act::Drop), fails_in_time(at, Act::Hang)])).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_asked_again() {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mailer = mailer(&server.url(""));
    mailer.send(mail(2)).await.unwrap();
    server.go_away().await;
    // The kept connection still answers; a new one does not.
    mailer.send(mail(3)).await.unwrap();
    let fresh = self::mailer(&server.url(""));
    assert!(checked(fresh.send(mail(4)).await, false).contains("refused"));
    server.come_back().await;
    fresh.send(mail(4)).await.unwrap();
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn an_answer_that_comes_late_is_not_taken_for_the_next_mails() {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mailer = mailer(&server.url("")).with_timeouts(PATIENT, Duration::from_secs(5));
    mailer.send(mail(1)).await.unwrap();
    server.rule(Stage::Taken, "", Act::Hold, 1);
    checked(mailer.send(mail(2)).await, false);
    server.holds(1).await;
    // Would the next mail go over that connection, it would read "250 taken" of the mail before, and be called delivered.
    server.rule(Stage::Rcpt, "", Act::Reply("550 5.1.1 no"), 1);
    server.release().await;
    checked(mailer.send(mail(3)).await, true);
}

#[tokio::test]
async fn connections_are_kept_and_one_slow_mail_stalls_nobody() {
    let server = SmtpServer::start(Security::StartTls, None).await;
    let mailer = mailer(&server.url(""));
    for n in 0..10 {
        mailer.send(mail(n)).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    // One that the server closed meanwhile costs no mail an attempt.
    server.hang_up().await;
    mailer.send(mail(10)).await.unwrap();
    assert_eq!(server.connections(), 2);
    // The slow one ends only once the others are through.
    server.rule(Stage::Rcpt, "slow@", Act::Hold, EVER);
    let (slow, ()) = tokio::join!(mailer.send(mail_to(1, "slow@example.com")), async {
        server.holds(1).await;
        for n in 0..10 {
            mailer.send(mail(n)).await.unwrap();
        }
        server.release().await;
    });
    slow.unwrap();
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn nothing_in_a_mail_becomes_a_header_or_a_command() {
    let server = SmtpServer::start(Security::Plain, None).await;
    let mailer = mailer(&server.url(""));
    let mut evil = mail(1);
    evil.subject = "Hi\r\nBcc: eve@evil.example\r\n\r\nbody".into();
    evil.text = SecretText::new("x\r\n.\r\nMAIL FROM:<eve@evil.example>\r\nRCPT TO:<eve@evil.example>\n.\nDATA");
    mailer.send(evil).await.unwrap();
    for to in ["a@example.com>\r\nRCPT TO:<eve@evil.example", "a@example.com\nBcc: eve@evil.example", "<eve@evil.example>", "@", ""] {
        checked(mailer.send(mail_to(2, to)).await, true);
    }
    let got = server.received();
    assert_eq!((got.len(), got[0].to.len()), (1, 1));
    assert!(!got[0].headers.contains_key("bcc"), "{:?}", got[0].headers);
    assert!(got[0].text.contains("MAIL FROM:<eve@evil.example>"), "{}", got[0].text);
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_alone() {
    let server = SmtpServer::start(Security::Plain, None).await;
    server.rule(Stage::Greeting, "", Act::Drop, EVER);
    let mailer = mailer(&server.url(""));
    for n in 0..20 {
        checked(mailer.send(mail(n)).await, false);
    }
    assert_eq!(server.connections(), 8);
}

fn sms(n: u8) -> Sms {
    let text = SecretText::new("123456 is your code & more + ü.\n\n@app.example #123456");
    Sms { job: JobId::from_bytes([n; 16]), to: Phone::from_stored("+14155550100".into()), text }
}

fn sender(url: &str) -> TwilioSender {
    let sender = TwilioSender::from_url(&SecretText::new(url)).unwrap_or_else(|e| panic!("{e}"));
    sender.with_timeout(PATIENT).with_breaker(Breaker::new(100, Duration::from_secs(1)))
}

#[tokio::test]
async fn a_text_message_arrives_by_number_or_by_service() {
    let server = TwilioServer::start().await;
    sender(&server.url()).send(sms(1)).await.unwrap();
    let service = "MG0123456789abcdef0123456789abcdef";
    sender(&server.url().replace("+15550006789", service)).send(sms(2)).await.unwrap();
    let got = server.taken();
    assert_eq!((got[0].from.as_deref(), got[0].service.as_deref()), (Some("+15550006789"), None));
    assert_eq!((got[1].from.as_deref(), got[1].service.as_deref()), (None, Some(service)));
    for taken in got {
        assert_eq!((taken.to.as_str(), taken.body.as_str()), ("+14155550100", sms(1).text.reveal()));
    }
}

#[tokio::test]
async fn answers_of_twilio_are_permanent_or_not() {
    let mut server = TwilioServer::start().await;
    let sender = sender(&server.url());
    for (answer, permanent, shown) in [
        (Answer::Error(400, 21211), true, "http 400, error 21211"),
        (Answer::Error(403, 20403), true, "http 403, error 20403"),
        (Answer::Error(429, 20429), false, "http 429, error 20429"),
        (Answer::Error(500, 20500), false, "http 500, error 20500"),
        (Answer::Html(503), false, "http 503"),
        (Answer::Html(404), true, "http 404"),
        (Answer::Redirect, false, "http 307"),
        (Answer::TakeAndDrop, false, "the connection broke"),
    ] {
        server.next(answer);
        // Below the time-out of the sender: each of these is told at once.
        let sent = timeout(PATIENT / 2, sender.send(sms(1))).await.unwrap_or_else(|_| panic!("{answer:?}: it takes too long"));
        let detail = checked(sent, permanent);
        assert!(detail.ends_with(shown), "{answer:?}: {detail}");
    }
    assert!(server.requests().iter().all(|p| p.ends_with("/Messages.json")), "the redirect was not followed");
    let wrong = self::sender(&server.url_with("planted"));
    assert!(checked(wrong.send(sms(2)).await, false).ends_with("http 401, error 20003"));
    assert!(!format!("{wrong:?}").contains("planted"));
    let url = server.url();
    server.go_away().await;
    assert!(checked(self::sender(&url).send(sms(3)).await, false).contains("can't connect"));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let server = TwilioServer::start().await;
    server.always(Some(Answer::Hang));
    let sender = sender(&server.url()).with_timeout(Duration::from_secs(2));
    // Below the 15 s of a sender that nobody told a time-out.
    let sent = timeout(Duration::from_secs(12), sender.send(sms(1))).await.expect("it takes too long");
    assert!(checked(sent, false).ends_with("no answer in time"));
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let server = TwilioServer::start().await;
    server.always(Some(Answer::Huge));
    assert!(checked(sender(&server.url()).send(sms(1)).await, false).ends_with("http 500"));
    assert!(server.written() < 16 << 20, "{} bytes were taken", server.written());
}

#[tokio::test]
async fn the_breaker_opens_and_asks_again_later() {
    let server = TwilioServer::start().await;
    let sender = sender(&server.url()).with_breaker(Breaker::new(3, Duration::from_secs(2)));
    server.always(Some(Answer::Error(503, 20503)));
    for n in 0..10 {
        checked(sender.send(sms(n)).await, false);
    }
    assert_eq!(server.requests().len(), 3);
    server.always(None);
    let begun = Instant::now();
    while let Err(e) = sender.send(sms(1)).await {
        assert!(e.detail.contains("left alone") && begun.elapsed() < Duration::from_secs(30), "{e}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.requests().len(), 4, "while it was left alone nobody asked");
    sender.send(sms(2)).await.unwrap();
    assert_eq!(server.taken().len(), 2);
    // A refusal of one message says nothing against the service.
    for n in 0..5 {
        server.next(Answer::Error(400, 21211));
        checked(sender.send(sms(n)).await, true);
    }
    sender.send(sms(3)).await.unwrap();
}
