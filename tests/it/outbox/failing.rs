//! What happens when a message can't be sent: tried again, parked, sent twice rather than never, and in nobody's way.

use crate::{
    outbox::world::World,
    support::{
        smtp::{Act, Stage},
        twilio::Answer,
    },
};
use futures_util::FutureExt;
use qeetid::domain::{
    ids::{JobId, TenantId},
    outbox::Message,
    token::CodePurpose,
};
use std::time::Duration;

const EVER: usize = usize::MAX;

async fn reset_for(w: &World, email: &str) -> JobId {
    let contact = email.parse::<qeetid::domain::contact::Email>().unwrap().digest();
    w.enqueue(Message::ResetRequested { contact }).await
}

#[tokio::test]
async fn a_mail_is_tried_again_until_it_goes() {
    let w = World::new().await;
    w.user("ada@example.com").await;
    let job = reset_for(&w, "ada@example.com").await;
    w.smtp.go_away().await;
    let outbox = w.outbox();
    let error = w.failed(1).await.remove(0);
    assert!(error.contains("refused") && !error.contains("ada"), "{error}");
    w.smtp.come_back().await;
    // Not before its time: the clock stands still.
    w.round(&outbox).await;
    assert_eq!(w.taken(job).await, 1);
    assert!(w.smtp.received().is_empty());
    w.later(7);
    outbox.wake();
    w.smtp.wait_for(1).await;
    w.settled(0, 0).await;
}

#[tokio::test]
async fn a_refused_mail_is_parked_and_the_others_go() {
    let w = World::new().await;
    w.smtp.rule(Stage::Rcpt, "bad@", Act::Reply("550 5.1.1 bad@example.com is unknown here"), EVER);
    w.user("bad@example.com").await;
    let bad = reset_for(&w, "bad@example.com").await;
    for email in ["one@example.com", "two@example.com"] {
        w.user(email).await;
        reset_for(&w, email).await;
    }
    let outbox = w.outbox();
    w.settled(0, 1).await;
    assert_eq!(w.smtp.received().len(), 2);
    assert_eq!(w.errors().await, ["smtp: the server answered 550 5.1.1"]);
    // It is tried no more, however late it gets.
    w.later(2 * 86_400);
    w.round(&outbox).await;
    w.settled(0, 1).await;
    assert_eq!(w.taken(bad).await, 1);
}

#[tokio::test]
async fn after_a_day_it_is_given_up() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    w.smtp.rule(Stage::Mail, "", Act::Reply("451 4.3.0 later"), EVER);
    w.enqueue(Message::PasswordChanged { user_id: user.id }).await;
    let outbox = w.outbox();
    w.failed(1).await;
    let mut hours = 0;
    while w.counts().await.parked == 0 {
        hours += 1;
        assert!(hours < 30, "{:?}", w.counts().await);
        w.forget_errors().await;
        // The longest pause: it is tried again after each.
        w.later(3600 + 720);
        outbox.wake();
        w.failed(1).await;
    }
    assert!(hours >= 18, "given up after {hours} hours");
    assert_eq!(w.errors().await, ["smtp: the server answered 451 4.3.0"]);
}

#[tokio::test]
async fn sent_twice_it_is_the_same_mail() {
    let w = World::new().await;
    w.user("ada@example.com").await;
    reset_for(&w, "ada@example.com").await;
    w.smtp.rule(Stage::Taken, "", Act::Drop, 1);
    let outbox = w.outbox();
    w.failed(1).await;
    w.later(7);
    outbox.wake();
    let mails = w.smtp.wait_for(2).await;
    w.settled(0, 0).await;
    assert_eq!(mails[0].headers["message-id"], mails[1].headers["message-id"]);
    let link = |n: usize| mails[n].text.lines().find(|l| l.contains("token=")).unwrap().to_owned();
    assert_eq!(link(0), link(1), "the same link");
}

#[tokio::test]
async fn a_reset_link_that_ran_out_meanwhile_is_not_sent() {
    let w = World::new().await;
    w.user("ada@example.com").await;
    reset_for(&w, "ada@example.com").await;
    w.smtp.rule(Stage::Mail, "", Act::Reply("451 4.3.0 later"), 1);
    let outbox = w.outbox();
    w.failed(1).await;
    w.later(3600);
    outbox.wake();
    w.settled(0, 0).await;
    assert!(w.smtp.received().is_empty());
}

#[tokio::test]
async fn a_worker_that_died_leaves_its_jobs_to_the_next() {
    let w = World::new().await;
    w.user("ada@example.com").await;
    let job = reset_for(&w, "ada@example.com").await;
    // In the other order of events: the mail is out, and the worker dies before it can write that down.
    w.smtp.rule(Stage::Taken, "", Act::Hang, 1);
    let first = w.outbox();
    w.smtp.wait_for(1).await;
    assert!(!first.stop(Duration::ZERO).await, "cut off");
    let second = w.outbox();
    w.round(&second).await;
    assert_eq!((w.taken(job).await, w.smtp.received().len()), (1, 1), "the lease holds");
    w.later(60);
    second.wake();
    let mails = w.smtp.wait_for(2).await;
    assert_eq!(mails[0].headers["message-id"], mails[1].headers["message-id"]);
    w.settled(0, 0).await;
}

#[tokio::test]
async fn slow_mails_stall_nobody_and_two_workers_share() {
    let w = World::new().await;
    w.smtp.rule(Stage::Rcpt, "slow", Act::Hang, EVER);
    for n in 0..10 {
        let email = format!("slow{n}@example.com");
        w.user(&email).await;
        reset_for(&w, &email).await;
    }
    w.later(1);
    for n in 0..60 {
        let email = format!("quick{n}@example.com");
        w.user(&email).await;
        reset_for(&w, &email).await;
    }
    let (one, two) = (w.outbox(), w.outbox());
    let mails = w.smtp.wait_for(60).await;
    assert!(mails.iter().all(|m| m.to[0].starts_with("quick")));
    w.settled(10, 0).await;
    w.smtp.behave();
    w.smtp.hang_up().await;
    w.failed(10).await;
    w.later(7);
    one.wake();
    two.wake();
    w.settled(0, 0).await;
    let mut to: Vec<_> = w.smtp.received().into_iter().flat_map(|m| m.to).collect();
    to.sort();
    to.dedup();
    assert_eq!((w.smtp.received().len(), to.len()), (70, 70), "each once");
}

#[tokio::test]
async fn stopping_lets_what_is_in_flight_finish() {
    let mut w = World::new().await;
    w.user("ada@example.com").await;
    reset_for(&w, "ada@example.com").await;
    w.smtp.rule(Stage::Dot, "", Act::Hold, 1);
    let outbox = w.outbox();
    w.smtp.holds(1).await;
    let mut stopping = Box::pin(outbox.stop(Duration::from_secs(60)));
    assert!((&mut stopping).now_or_never().is_none(), "the mail is in flight");
    w.smtp.release().await;
    assert!(stopping.await);
    assert_eq!(w.smtp.received().len(), 1);
    w.settled(0, 0).await;
    // And takes no more: it alone is told of a mail, and another worker, which has another server, finds that mail by itself.
    let of_before = std::mem::replace(&mut w.smtp, World::mail_server().await);
    let _other = w.outbox();
    for count in 1..=2 {
        reset_for(&w, "ada@example.com").await;
        outbox.wake();
        w.smtp.wait_for(count).await;
        w.settled(0, 0).await;
    }
    assert_eq!(of_before.received().len(), 1);
    assert!(outbox.stop(Duration::ZERO).await, "once more is no harm");
}

#[tokio::test]
async fn text_messages_are_tried_again_or_parked() {
    let w = World::new().await;
    let tenant_id = TenantId::from_bytes([1; 16]);
    let user = w.user("ada@example.com").await;
    w.twilio.next(Answer::Error(503, 20503));
    let (record, code) = w.code(CodePurpose::Phone, user.id.as_bytes(), "+14155550100", 1).await;
    w.enqueue(Message::PhoneCode { user_id: user.id, serial: record.serial, tenant_id }).await;
    let outbox = w.outbox();
    assert_eq!(w.failed(1).await, ["twilio: http 503, error 20503"]);
    w.later(7);
    outbox.wake();
    assert!(w.twilio.wait_for(1).await[0].body.contains(&code));
    w.settled(0, 0).await;
    w.twilio.next(Answer::Error(400, 21211));
    let (record, _) = w.code(CodePurpose::Phone, user.id.as_bytes(), "+14155550100", 1).await;
    w.enqueue(Message::PhoneCode { user_id: user.id, serial: record.serial, tenant_id }).await;
    outbox.wake();
    w.settled(0, 1).await;
    assert_eq!(w.errors().await, ["twilio: http 400, error 21211"]);
}

#[tokio::test]
async fn a_code_under_a_secret_that_is_gone_is_parked_for_the_engineer() {
    let mut w = World::new().await;
    let user = w.user("ada@example.com").await;
    let (record, _) = w.code(CodePurpose::Email, user.id.as_bytes(), "ada@example.com", 1).await;
    w.enqueue(Message::EmailCode { user_id: user.id, serial: record.serial }).await;
    w.keyring = std::sync::Arc::new(qeetid::domain::keyring::Keyring::new([[8u8; 32].as_slice()]));
    let _outbox = w.outbox();
    w.settled(0, 1).await;
    assert_eq!(w.errors().await, ["the code was made under a secret that is no longer configured"]);
}

#[tokio::test]
async fn a_row_that_nobody_can_read_is_in_nobodys_way() {
    let w = World::new().await;
    let unreadable = w.enqueue(Message::PasswordChanged { user_id: w.user("ada@example.com").await.id }).await;
    let spoil = move |c: &qeetid::sqlite::Connection| {
        c.execute("UPDATE outbox SET message = '{\"kind\":\"telegram\"}' WHERE id = ?1", [unreadable.as_bytes()])
    };
    assert_eq!(w.file.write(spoil).await.unwrap(), 1);
    w.later(1);
    reset_for(&w, "ada@example.com").await;
    let _outbox = w.outbox();
    w.smtp.wait_for(1).await;
    w.settled(1, 0).await;
    assert_eq!(w.errors().await, ["a kind of message that this version doesn't know"]);
}
