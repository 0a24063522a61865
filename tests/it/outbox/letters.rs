//! What is sent for each message, and what is found dead.

use crate::outbox::world::{APP, World};
use qeetid::{
    domain::{
        contact::{Email, Phone},
        hash::PasswordHash,
        ids::{LinkId, TenantId, UserId},
        outbox::Message,
        rng::{self, SystemRng},
        token::{CodePurpose, ResetToken, UndoToken},
    },
    ephemeral::{CODE_TTL, CodeKey},
    store::{
        Store,
        commands::{
            Cas, ChangePassword, ConfirmEmail, ConfirmEmailChange, DeleteUser, EmailChangeOutcome, NewUndoLink, PendingEmailChange,
            UndoEmailChange,
        },
    },
};
use std::time::Duration;

/// The token of the link in a text.
pub fn token(text: &str, path: &str) -> String {
    let start = format!("{APP}/{path}?token=");
    let line = text.lines().find(|l| l.starts_with(&start)).unwrap_or_else(|| panic!("no link in: {text}"));
    line[start.len()..].to_owned()
}

pub async fn change_password(w: &World, user: UserId, epoch: u64) {
    let new_hash = PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$b3RoZXI");
    let cmd = ChangePassword { user_id: user, expect_epoch: epoch, new_hash, keep: None, job: None, audit: vec![] };
    assert_eq!(w.store.change_password(&w.ctx(), cmd).await.unwrap(), Cas::Done(()));
}

pub async fn delete(w: &World, user: UserId, epoch: u64) {
    let purge_after = w.now().plus(Duration::from_secs(86_400));
    let cmd = DeleteUser { user_id: user, expect_epoch: epoch, purge_after, job: None, audit: vec![] };
    assert!(matches!(w.store.delete_user(&w.ctx(), cmd).await.unwrap(), Cas::Done(_)));
}

#[tokio::test]
async fn a_code_goes_to_the_address_on_file() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let (record, code) = w.code(CodePurpose::Email, user.id.as_bytes(), "ada@example.com", 1).await;
    let job = w.enqueue(Message::EmailCode { user_id: user.id, serial: record.serial }).await;
    let outbox = w.outbox();
    let mail = w.smtp.wait_for(1).await.remove(0);
    w.settled(0, 0).await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(mail.text.contains(&format!("\n{code}\n")) && mail.html.contains(&code), "{}", mail.text);
    assert!(mail.text.contains("10 minutes"));
    assert_eq!(mail.headers["message-id"], format!("<{job}@qeet.example>"));
    assert!(!mail.raw.contains("prize") && !mail.raw.contains("evil"), "no words of a stranger");
    assert!(mail.encrypted && mail.user.is_some());
    // A wake is enough for the next one: no poll is waited for.
    let (record, code) = w.code(CodePurpose::Email, user.id.as_bytes(), "ada@example.com", 1).await;
    w.enqueue(Message::EmailCode { user_id: user.id, serial: record.serial }).await;
    outbox.wake();
    assert!(w.smtp.wait_for(2).await[1].text.contains(&code));
}

#[tokio::test]
async fn dead_codes_are_not_sent() {
    let w = World::new().await;
    let start = |user: UserId, email: &'static str| {
        let w = &w;
        async move {
            let (record, _) = w.code(CodePurpose::Email, user.as_bytes(), email, 1).await;
            w.enqueue(Message::EmailCode { user_id: user, serial: record.serial }).await;
            record
        }
    };
    let key = |user: UserId| CodeKey { purpose: CodePurpose::Email, subject: user.as_bytes().to_vec() };

    let replaced = w.user("replaced@example.com").await.id;
    let old = start(replaced, "replaced@example.com").await;
    let (new, _) = w.code(CodePurpose::Email, replaced.as_bytes(), "replaced@example.com", 1).await;
    assert!(new.serial > old.serial);

    let used = w.user("used@example.com").await.id;
    let serial = start(used, "used@example.com").await.serial;
    let cmd = ConfirmEmail { user_id: used, epoch: 1, serial, personal: None, audit: vec![] };
    assert_eq!(w.store.confirm_email(&w.ctx(), cmd).await.unwrap(), Cas::Done(()));

    let guessed = w.user("guessed@example.com").await.id;
    start(guessed, "guessed@example.com").await;
    for _ in 0..6 {
        w.ephemeral.try_code(&key(guessed), 5, w.now()).await.unwrap();
    }

    let changed = w.user("changed@example.com").await.id;
    start(changed, "changed@example.com").await;
    change_password(&w, changed, 1).await;

    let deleted = w.user("deleted@example.com").await.id;
    start(deleted, "deleted@example.com").await;
    delete(&w, deleted, 1).await;

    let moved = w.user("moved@example.com").await.id;
    start(moved, "another@example.com").await;

    let gone = UserId::from_bytes([9; 16]);
    start(gone, "gone@example.com").await;

    let forgotten = w.user("forgotten@example.com").await.id;
    let serial = start(forgotten, "forgotten@example.com").await.serial;
    w.ephemeral.drop_code(&key(forgotten), serial).await.unwrap();

    let tried = w.user("alive@example.com").await.id;
    start(tried, "alive@example.com").await;
    for _ in 0..5 {
        w.ephemeral.try_code(&key(tried), 5, w.now()).await.unwrap();
    }

    let _outbox = w.outbox();
    w.settled(0, 0).await;
    let to: Vec<_> = w.smtp.received().into_iter().flat_map(|m| m.to).collect();
    assert_eq!(to, ["alive@example.com"]);
}

#[tokio::test]
async fn an_expired_code_is_not_sent() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let (record, _) = w.code(CodePurpose::Email, user.id.as_bytes(), "ada@example.com", 1).await;
    w.enqueue(Message::EmailCode { user_id: user.id, serial: record.serial }).await;
    w.later(CODE_TTL.as_secs());
    let _outbox = w.outbox();
    w.settled(0, 0).await;
    assert!(w.smtp.received().is_empty());
}

#[tokio::test]
async fn a_phone_code_goes_out_as_browsers_read_it() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let phone: Phone = "+14155550100".parse().unwrap();
    let (record, code) = w.code(CodePurpose::Phone, user.id.as_bytes(), phone.as_str(), 1).await;
    w.enqueue(Message::PhoneCode { user_id: user.id, serial: record.serial, tenant_id: TenantId::from_bytes([1; 16]) }).await;
    let _outbox = w.outbox();
    let sms = w.twilio.wait_for(1).await.remove(0);
    assert_eq!(sms.to, phone.as_str());
    assert_eq!(sms.body.lines().last(), Some(format!("@app.example #{code}").as_str()));
    w.settled(0, 0).await;
}

#[tokio::test]
async fn a_reset_link_is_made_for_who_may_use_it() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let deleted = w.user("deleted@example.com").await;
    delete(&w, deleted.id, 1).await;
    for email in ["nobody@example.com", "deleted@example.com", "ada@example.com"] {
        let contact = email.parse::<Email>().unwrap().digest();
        w.enqueue(Message::ResetRequested { contact }).await;
    }
    let _outbox = w.outbox();
    w.settled(0, 0).await;
    let mails = w.smtp.received();
    assert_eq!(mails.iter().flat_map(|m| m.to.clone()).collect::<Vec<_>>(), ["ada@example.com"]);
    let text = token(&mails[0].text, "reset-password");
    assert!(mails[0].text.contains("60 minutes"));
    let parsed = ResetToken::parse(&text).unwrap();
    let link = w.store.reset_link(user.id, parsed.link_id()).await.unwrap().unwrap();
    assert_eq!((parsed.user_id(), parsed.epoch(), link.epoch), (user.id, 1, 1));
    assert!(parsed.genuine(&w.keyring, &link.nonce));
    assert_eq!(link.expires_at, w.now().plus(Duration::from_secs(3600)));
    // Two requests, two links.
    w.enqueue(Message::ResetRequested { contact: user.email.digest() }).await;
    assert_ne!(token(&w.smtp.wait_for(2).await[1].text, "reset-password"), text);
}

#[tokio::test]
async fn a_sign_up_gets_its_code_or_its_owner_a_note_once_a_day() {
    let w = World::new().await;
    let code = w.signup("new@example.com").await;
    let _outbox = w.outbox();
    let mail = w.smtp.wait_for(1).await.remove(0);
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("new@example.com", "Your sign-up code for app.example"));
    assert!(mail.text.contains(&format!("\n{code}\n")) && !mail.raw.contains("prize"));
    let user = w.user("ada@example.com").await;
    for _ in 0..3 {
        w.signup("ada@example.com").await;
    }
    w.settled(0, 0).await;
    let mails = w.smtp.received();
    assert_eq!(mails.len(), 2);
    assert_eq!((mails[1].to[0].as_str(), mails[1].subject.as_str()), ("ada@example.com", "You already have an account at app.example"));
    assert!(!mails[1].text.contains("code") && mails[1].text.contains(APP));
    // Counted by whoever wrote it: not counted again.
    w.enqueue(Message::AccountExists { user_id: user.id }).await;
    w.smtp.wait_for(3).await;
    w.later(86_400 * 2);
    w.signup("ada@example.com").await;
    w.smtp.wait_for(4).await;
}

#[tokio::test]
async fn a_note_that_could_not_be_sent_does_not_count() {
    use crate::support::smtp::{Act, Stage};
    let w = World::new().await;
    w.user("ada@example.com").await;
    w.smtp.rule(Stage::Rcpt, "", Act::Reply("451 4.3.0 later"), 1);
    w.signup("ada@example.com").await;
    let _outbox = w.outbox();
    w.failed(1).await;
    w.later(10);
    w.smtp.wait_for(1).await;
    w.settled(0, 0).await;
}

#[tokio::test]
async fn an_e_mail_change_has_a_code_for_the_new_address_and_a_way_back_for_the_old() {
    let w = World::new().await;
    let user = w.user("old@example.com").await;
    let (record, code) = w.code(CodePurpose::EmailChange, user.id.as_bytes(), "new@elsewhere.example", 1).await;
    let expires_at = w.now().plus(Duration::from_secs(3600));
    let new_email: Email = "new@elsewhere.example".parse().unwrap();
    let change = PendingEmailChange { user_id: user.id, new_email, epoch: 1, serial: record.serial, created_at: w.now(), expires_at };
    let job = w.job(Message::EmailChangeCode { user_id: user.id, serial: record.serial });
    assert_eq!(w.store.begin_email_change(&w.ctx(), change, job).await.unwrap(), Cas::Done(()));
    let _outbox = w.outbox();
    let mail = w.smtp.wait_for(1).await.remove(0);
    assert_eq!(mail.to, ["new@elsewhere.example"]);
    assert!(mail.text.contains(&format!("\n{code}\n")));

    let id = LinkId::new(&*w.clock, &SystemRng);
    let undo = NewUndoLink { id, nonce: rng::bytes(&SystemRng), expires_at: w.now().plus(Duration::from_secs(72 * 3600)) };
    let job = w.job(Message::EmailChanged { user_id: user.id, link_id: id });
    let cmd = ConfirmEmailChange { user_id: user.id, epoch: 1, serial: record.serial, keep: None, undo, job, audit: vec![] };
    assert_eq!(w.store.confirm_email_change(&w.ctx(), cmd).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
    let mail = w.smtp.wait_for(2).await.remove(1);
    assert_eq!(mail.to, ["old@example.com"]);
    assert!(mail.text.contains("n•••@e•••.example") && !mail.raw.contains("elsewhere"), "{}", mail.text);
    assert!(mail.text.contains("72 hours"));
    let parsed = UndoToken::parse(&token(&mail.text, "undo-email-change")).unwrap();
    let link = w.store.undo_link(user.id, parsed.link_id()).await.unwrap().unwrap();
    assert!(parsed.genuine(&w.keyring, &link.nonce) && parsed.epoch() == link.epoch);

    // The notice of a changed password goes to the address of now; the code of before is dead.
    w.enqueue(Message::PasswordChanged { user_id: user.id }).await;
    w.enqueue(Message::EmailChangeCode { user_id: user.id, serial: record.serial }).await;
    assert_eq!(w.smtp.wait_for(3).await[2].to, ["new@elsewhere.example"]);
    w.settled(0, 0).await;
    assert_eq!(w.smtp.received().len(), 3);
    // Used: no way back is offered a second time.
    let personal = w.store.tenant(user.home_tenant).await.unwrap().unwrap();
    let cmd = UndoEmailChange { user_id: user.id, link_id: id, personal: Box::new(personal), job: None, audit: vec![] };
    assert_eq!(w.store.undo_email_change(&w.ctx(), cmd).await.unwrap(), Cas::Done(EmailChangeOutcome::Changed));
    w.enqueue(Message::EmailChanged { user_id: user.id, link_id: id }).await;
    w.settled(0, 0).await;
    assert_eq!(w.smtp.received().len(), 3);
}
