//! Mails about accounts that others made, deleted or secured, and about API keys: what they say to whom, and which are not sent.

use crate::{
    outbox::{
        invites::{EVIL, organization},
        letters::{change_password, delete, token},
        world::{APP, World},
    },
    support::smtp::{Act, Received, Stage},
};
use qeetid::{
    domain::{
        api_key::{self, ApiKey, Origin},
        authority::By,
        ids::{ApiKeyId, JobId, TenantId, UserId},
        outbox::{Message, SecuredBy},
        permission::PermissionSet,
        rng::SystemRng,
        time::Timestamp,
        token::{NO_NONCE, NotMeToken, ResetToken, RestoreToken, nonce_of_epoch},
        user::{User, UserStatus},
    },
    store::{
        Store,
        access::{AccessStore, CreateApiKey, CreateApiKeyOutcome, RevokeApiKey},
        commands::{Cas, ConfirmEmail},
    },
};
use std::time::Duration;

/// As an organization makes it.
async fn without_password(w: &World, email: &str) -> User {
    w.user_with(email, |u| {
        u.password_hash = None;
        u.metadata.insert("note".to_owned(), EVIL.into());
    })
    .await
}

async fn key(w: &World, tenant_id: TenantId, maker: UserId, expires_at: Option<Timestamp>) -> ApiKey {
    let (prefix, secret_digest, _) = api_key::generate(&SystemRng);
    let key = ApiKey {
        id: ApiKeyId::new(&*w.clock, &SystemRng),
        tenant_id,
        origin: Origin::User,
        user_id: Some(maker),
        parent_id: None,
        stopped_at: None,
        taken_over_at: None,
        name: EVIL.into(),
        prefix,
        secret_digest,
        scopes: PermissionSet::all(),
        expires_at,
        last_used_at: None,
        revoked_at: None,
        created_at: w.now(),
    };
    let cmd = CreateApiKey { by: By::operator(tenant_id), key: key.clone(), audit: vec![] };
    assert_eq!(w.store.create_api_key(&w.ctx(), cmd).await.unwrap(), CreateApiKeyOutcome::Created);
    // The store tells the maker and the owners; here every message is written by the test.
    for job in w.store.lease_jobs(w.now(), Duration::ZERO, 100).await.unwrap() {
        if matches!(job.message, Message::ApiKeyMade { .. }) {
            w.store.finish_job(job.id).await.unwrap();
        }
    }
    key
}

async fn revoke(w: &World, key: &ApiKey) {
    let cmd = RevokeApiKey { tenant_id: key.tenant_id, key_id: key.id, by: By::operator(key.tenant_id), audit: vec![] };
    assert_eq!(w.store.revoke_api_key(&w.ctx(), cmd).await.unwrap(), Ok(Cas::Done(vec![key.id])));
}

/// Display names, the names of tenants and keys, and metadata are all [`EVIL`], or much like it.
fn no_strangers_words(mail: &Received) {
    for part in [&mail.raw, &mail.subject, &mail.text, &mail.html] {
        assert!(!part.contains("prize") && !part.contains("evil"), "a stranger's words to {:?}: {part}", mail.to);
    }
}

/// Looks for jobs, and sees that they send nothing.
async fn nothing_sent(w: &World, sent: usize) {
    let _outbox = w.outbox();
    w.settled(0, 0).await;
    let mails = w.smtp.received();
    assert_eq!(mails.len(), sent, "{:?}", mails.last().map(|m| (&m.to, &m.subject)));
}

/// Sends the one mail of a job.
async fn sent(w: &World, message: Message) -> (JobId, Received) {
    let before = w.smtp.received().len();
    let job = w.enqueue(message).await;
    let _outbox = w.outbox();
    let mail = w.smtp.wait_for(before + 1).await.remove(before);
    w.settled(0, 0).await;
    assert_eq!(w.smtp.received().len(), before + 1);
    (job, mail)
}

/// The reset link of a mail, which must be good.
async fn good_reset(w: &World, mail: &Received, user: &User, epoch: u64, ttl: Duration) {
    let text = token(&mail.text, "reset-password");
    let parsed = ResetToken::parse(&text).expect("a token");
    let link = w.store.reset_link(user.id, parsed.link_id()).await.unwrap().expect("a link");
    assert!(parsed.genuine(&w.keyring, &link.nonce) && link.used_at.is_none());
    assert_eq!((parsed.user_id(), parsed.epoch(), link.epoch), (user.id, epoch, epoch));
    assert_eq!(link.expires_at, w.now().plus(ttl));
    assert!(mail.html.contains(&text), "{}", mail.html);
}

#[tokio::test]
async fn an_account_that_an_organization_made_gets_a_link_to_its_first_password() {
    let w = World::new().await;
    let owner = w.user("owner@example.com").await;
    for (managed, email) in [(false, "ada@example.com"), (true, "grace@example.com")] {
        let tenant_id = organization(&w, owner.id, managed).await;
        let user = without_password(&w, email).await;
        let (_, mail) = sent(&w, Message::AccountMade { user_id: user.id, tenant_id }).await;
        assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), (email, "An account was made for you at app.example"));
        good_reset(&w, &mail, &user, 1, Duration::from_secs(168 * 3600)).await;
        assert!(mail.text.contains("7 days") && mail.html.contains("7 days"), "{}", mail.text);
        // A name that only whoever runs the service can give is told; nobody proved the address.
        assert_eq!((mail.text.contains(EVIL), mail.html.contains("&lt;b&gt;now&lt;")), (managed, managed), "{}", mail.text);
        assert!(!mail.html.contains("<b>now") && !mail.subject.contains("prize"));
        if !managed {
            no_strangers_words(&mail);
        }
    }
}

#[tokio::test]
async fn a_link_to_a_first_password_is_the_same_at_every_attempt() {
    let w = World::new().await;
    let owner = w.user("owner@example.com").await;
    let tenant_id = organization(&w, owner.id, false).await;
    let user = without_password(&w, "ada@example.com").await;
    w.smtp.rule(Stage::Taken, "", Act::Drop, 1);
    w.enqueue(Message::AccountMade { user_id: user.id, tenant_id }).await;
    let outbox = w.outbox();
    w.failed(1).await;
    w.later(7);
    outbox.wake();
    let mails = w.smtp.wait_for(2).await;
    w.settled(0, 0).await;
    assert_eq!(token(&mails[0].text, "reset-password"), token(&mails[1].text, "reset-password"));
    assert_eq!(mails[0].headers["message-id"], mails[1].headers["message-id"]);
}

#[tokio::test]
async fn whoever_needs_no_first_password_gets_no_link_to_one() {
    let w = World::new().await;
    let owner = w.user("owner@example.com").await;
    let tenant_id = organization(&w, owner.id, true).await;
    let with_password = w.user("password@example.com").await;
    let proved = without_password(&w, "proved@example.com").await;
    let cmd = ConfirmEmail { user_id: proved.id, epoch: 1, serial: 1, personal: None, audit: vec![] };
    assert_eq!(w.store.confirm_email(&w.ctx(), cmd).await.unwrap(), Cas::Done(()));
    let deleted = without_password(&w, "deleted@example.com").await;
    delete(&w, deleted.id, 1).await;
    let suspended = w
        .user_with("suspended@example.com", |u| {
            u.password_hash = None;
            u.status = UserStatus::Suspended;
        })
        .await;
    for user_id in [with_password.id, proved.id, deleted.id, suspended.id, UserId::from_bytes([9; 16])] {
        w.enqueue(Message::AccountMade { user_id, tenant_id }).await;
    }
    let waiting = without_password(&w, "waiting@example.com").await;
    w.enqueue(Message::AccountMade { user_id: waiting.id, tenant_id: TenantId::from_bytes([9; 16]) }).await;
    nothing_sent(&w, 0).await;
}

/// The token by which an owner says that it was somebody else.
fn not_me(w: &World, mail: &Received, user: UserId, job: JobId) {
    let text = token(&mail.text, "not-me");
    let parsed = NotMeToken::parse(&text).expect("a token");
    assert!(parsed.genuine(&w.keyring, &NO_NONCE) && mail.html.contains(&text));
    assert_eq!((parsed.user_id(), parsed.job_id()), (user, job));
    assert_eq!(i64::try_from(parsed.made_at()), Ok(w.now().millis()), "when the job was made");
    assert!(mail.text.contains("If this was not you: ") && mail.html.contains("If this was not you: "), "{}", mail.text);
}

#[tokio::test]
async fn whoever_did_not_change_the_password_can_say_so() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let (job, mail) = sent(&w, Message::PasswordChanged { user_id: user.id }).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("ada@example.com", "Your password at app.example was changed"));
    not_me(&w, &mail, user.id, job);
    no_strangers_words(&mail);
}

#[tokio::test]
async fn a_new_api_key_is_told_of_by_its_prefix() {
    let w = World::new().await;
    let (owner, maker) = (w.user("owner@example.com").await, w.user("maker@example.com").await);
    let tenant_id = organization(&w, owner.id, true).await;
    let live = key(&w, tenant_id, maker.id, None).await;
    let made = |user_id, key_id, maker| Message::ApiKeyMade { user_id, tenant_id, key_id, maker };
    let (job, mail) = sent(&w, made(maker.id, live.id, true)).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("maker@example.com", "A new API key at app.example"));
    let shown = format!("qk_{}", live.prefix);
    assert!(mail.text.contains(&shown) && mail.html.contains(&shown), "{}", mail.text);
    not_me(&w, &mail, maker.id, job);
    no_strangers_words(&mail);
    let (_, mail) = sent(&w, made(owner.id, live.id, false)).await;
    assert_eq!(mail.to, ["owner@example.com"]);
    assert!(mail.text.contains(&shown) && mail.text.contains(APP) && !mail.text.contains("token="), "{}", mail.text);
    assert!(mail.html.contains(&shown) && !mail.html.contains("token="));
    no_strangers_words(&mail);

    let revoked = key(&w, tenant_id, maker.id, None).await;
    revoke(&w, &revoked).await;
    let elsewhere = key(&w, organization(&w, owner.id, false).await, maker.id, None).await;
    let deleted = w.user("deleted@example.com").await;
    delete(&w, deleted.id, 1).await;
    let suspended = w.user_with("suspended@example.com", |u| u.status = UserStatus::Suspended).await;
    let gone = ApiKeyId::from_bytes([9; 16]);
    let dead = [
        made(maker.id, revoked.id, true),
        made(owner.id, elsewhere.id, false),
        made(owner.id, gone, false),
        made(deleted.id, live.id, true),
        made(suspended.id, live.id, false),
    ];
    for message in dead {
        w.enqueue(message).await;
    }
    nothing_sent(&w, 2).await;
}

#[tokio::test]
async fn owners_hear_of_keys_that_stopped_or_ended() {
    let w = World::new().await;
    let (owner, maker) = (w.user("owner@example.com").await, w.user("maker@example.com").await);
    let tenant_id = organization(&w, owner.id, true).await;
    let stopped = |user_id, key_id| Message::ApiKeyStopped { user_id, tenant_id, key_id };
    let ended = |user_id, key_id| Message::ApiKeyEnded { user_id, tenant_id, key_id };
    let live = key(&w, tenant_id, maker.id, None).await;
    let shown = format!("qk_{}", live.prefix);
    let (_, mail) = sent(&w, stopped(owner.id, live.id)).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("owner@example.com", "An API key at app.example has stopped working"));
    assert!(mail.text.contains(&shown) && mail.text.contains("30 days") && mail.text.contains(APP), "{}", mail.text);
    no_strangers_words(&mail);

    revoke(&w, &live).await;
    let (_, mail) = sent(&w, ended(owner.id, live.id)).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("owner@example.com", "An API key at app.example was revoked"));
    assert!(mail.text.contains(&shown) && mail.html.contains(&shown) && mail.text.contains(APP), "{}", mail.text);
    no_strangers_words(&mail);

    let short = key(&w, tenant_id, maker.id, Some(w.now().plus(Duration::from_secs(60)))).await;
    w.later(60);
    let gone = ApiKeyId::from_bytes([9; 16]);
    delete(&w, maker.id, 1).await;
    let open = key(&w, tenant_id, owner.id, None).await;
    let dead = [
        stopped(owner.id, live.id),
        stopped(owner.id, short.id),
        stopped(owner.id, gone),
        stopped(maker.id, open.id),
        ended(owner.id, gone),
        ended(maker.id, live.id),
    ];
    for message in dead {
        w.enqueue(message).await;
    }
    nothing_sent(&w, 2).await;
}

#[tokio::test]
async fn an_account_in_the_recycle_bin_can_be_brought_back_by_who_deleted_it() {
    let w = World::new().await;
    let user = w.user("ada@example.com").await;
    let message = |epoch, own| Message::AccountDeleted { user_id: user.id, epoch, own };
    // Not deleted, or not by this deletion.
    for epoch in [1, 2] {
        w.enqueue(message(epoch, true)).await;
    }
    nothing_sent(&w, 0).await;
    delete(&w, user.id, 1).await;
    for epoch in [1, 3] {
        w.enqueue(message(epoch, true)).await;
    }
    nothing_sent(&w, 0).await;

    let (_, mail) = sent(&w, message(2, true)).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("ada@example.com", "Your account at app.example was deleted"));
    let text = token(&mail.text, "restore-account");
    let parsed = RestoreToken::parse(&text).expect("a token");
    assert_eq!((parsed.user_id(), parsed.same_id(), parsed.epoch()), (user.id, user.id, 2));
    assert!(parsed.genuine(&w.keyring, &nonce_of_epoch(2)) && !parsed.genuine(&w.keyring, &nonce_of_epoch(3)));
    assert!(mail.html.contains(&text) && mail.text.contains("1 day more"), "{}", mail.text);
    no_strangers_words(&mail);

    let (_, mail) = sent(&w, message(2, false)).await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert!(!mail.text.contains("token=") && !mail.html.contains("token=") && mail.text.contains("1 day more"), "{}", mail.text);
    no_strangers_words(&mail);

    w.later(86_400);
    for own in [true, false] {
        w.enqueue(message(2, own)).await;
    }
    nothing_sent(&w, 2).await;
}

#[tokio::test]
async fn an_account_whose_password_was_removed_gets_a_link_to_a_new_one() {
    let w = World::new().await;
    let subjects = [
        (SecuredBy::Undone, "Your e-mail address at app.example is as it was"),
        (SecuredBy::NotMe, "Your account at app.example was secured"),
        (SecuredBy::Restored, "Your account at app.example is back"),
    ];
    let mut users = Vec::new();
    for (n, (why, subject)) in subjects.into_iter().enumerate() {
        let user = without_password(&w, &format!("user{n}@example.com")).await;
        let (_, mail) = sent(&w, Message::Secured { user_id: user.id, why }).await;
        assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), (user.email.as_str(), subject));
        good_reset(&w, &mail, &user, 1, Duration::from_secs(3600)).await;
        assert!(mail.text.contains("60 minutes"), "{}", mail.text);
        no_strangers_words(&mail);
        users.push(user.id);
    }
    // Some set a password, were deleted, are suspended, always had a password, or never were.
    change_password(&w, users[0], 1).await;
    delete(&w, users[1], 1).await;
    let suspended = w
        .user_with("suspended@example.com", |u| {
            u.password_hash = None;
            u.status = UserStatus::Suspended;
        })
        .await;
    let other = w.user("other@example.com").await;
    for user_id in [users[0], users[1], suspended.id, other.id, UserId::from_bytes([9; 16])] {
        w.enqueue(Message::Secured { user_id, why: SecuredBy::NotMe }).await;
    }
    nothing_sent(&w, 3).await;
}
