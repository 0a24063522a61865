//! Mails of invites: what they say to whom, and which are not sent.

use crate::outbox::world::{APP, World};
use qeetid::{
    domain::{
        authority::By,
        ids::{InviteId, RoleId, TenantId, UserId},
        invite::{Invite, InviteStatus},
        outbox::Message,
        policy::AuthPolicy,
        rng::{self, SystemRng},
        tenant::{Tenant, TenantKind},
        token::{HandedInvite, MailedInvite},
        user::Membership,
    },
    store::{
        Store,
        commands::{Cas, ConfirmEmail, CreateTenant, CreateTenantOutcome},
        invites::{CreateInvite, CreateInviteOutcome, InviteStore, ResendInvite, RevokeInvite, RevokeOutcome},
    },
};
use std::time::Duration;

pub const EVIL: &str = "Win a prize, evil <b>now</b>";

pub async fn organization(w: &World, owner: UserId, managed: bool) -> TenantId {
    let now = w.now();
    let id = TenantId::new(&*w.clock, &SystemRng);
    let tenant = Tenant {
        id,
        slug: format!("o-{id}"),
        name: EVIL.into(),
        kind: TenantKind::Organization,
        managed,
        domains: Vec::new(),
        metadata: Default::default(),
        policy: AuthPolicy::default(),
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    let membership = Membership { user_id: owner, tenant_id: id, roles: vec![RoleId::OWNER], joined_at: now };
    let cmd = CreateTenant { tenant, membership, audit: vec![] };
    assert_eq!(w.store.create_tenant(&w.ctx(), cmd).await.unwrap(), CreateTenantOutcome::Created);
    id
}

/// An invite with its job.
async fn invite(w: &World, tenant_id: TenantId, email: &str) -> Invite {
    let now = w.now();
    let invite = Invite {
        id: InviteId::new(&*w.clock, &SystemRng),
        tenant_id,
        email: email.parse().unwrap(),
        role_id: RoleId::MEMBER,
        status: InviteStatus::Pending,
        inviter: None,
        inviter_key: None,
        nonce: rng::bytes(&SystemRng),
        serial: 1,
        expires_at: now.plus(Duration::from_secs(168 * 3600)),
        accepted_at: None,
        sent_again_at: None,
        created_at: now,
    };
    let job = Some(w.job(Message::Invite { tenant_id, invite_id: invite.id, serial: 1 }));
    let cmd = CreateInvite { invite: invite.clone(), by: By::operator(tenant_id), job, audit: vec![] };
    assert_eq!(w.store.create_invite(&w.ctx(), cmd).await.unwrap(), CreateInviteOutcome::Created);
    invite
}

#[tokio::test]
async fn only_a_proved_address_reads_the_tenants_words() {
    let w = World::new().await;
    let owner = w.user("owner@example.com").await;
    let tenant = organization(&w, owner.id, false).await;
    let (proved, unproved) = (w.user("proved@example.com").await, w.user("unproved@example.com").await);
    let cmd = ConfirmEmail { user_id: proved.id, epoch: 1, serial: 1, personal: None, audit: vec![] };
    assert_eq!(w.store.confirm_email(&w.ctx(), cmd).await.unwrap(), Cas::Done(()));
    let outbox = w.outbox();
    for (n, email) in ["stranger@example.com", unproved.email.as_str(), proved.email.as_str()].into_iter().enumerate() {
        let invite = invite(&w, tenant, email).await;
        outbox.wake();
        let mail = w.smtp.wait_for(n + 1).await.remove(n);
        w.settled(0, 0).await;
        assert_eq!(mail.to, [email]);
        let told = email == proved.email.as_str();
        assert_eq!(mail.text.contains(EVIL), told, "{email}: {}", mail.text);
        assert_eq!(mail.html.contains("&lt;b&gt;now&lt;"), told, "{email}: {}", mail.html);
        assert!(!mail.headers["subject"].contains("prize") && !mail.html.contains("<b>now"));
        assert!(told || (!mail.raw.contains("prize") && !mail.raw.contains("evil")), "a stranger's words to {email}");
        assert!(mail.text.contains("7 days"), "{}", mail.text);
        let start = format!("{APP}/invite?token=");
        let line = mail.text.lines().find(|l| l.starts_with(&start)).unwrap_or_else(|| panic!("no link in: {}", mail.text));
        let token = MailedInvite::parse(&line[start.len()..]).expect("a token");
        assert!(token.genuine(&w.keyring, &invite.nonce) && HandedInvite::parse(&line[start.len()..]).is_none());
        assert_eq!((token.tenant_id(), token.invite_id(), token.serial()), (tenant, invite.id, 1));
    }
}

#[tokio::test]
async fn dead_invites_are_not_sent() {
    let w = World::new().await;
    let owner = w.user("owner@example.com").await;
    let tenant = organization(&w, owner.id, false).await;
    let revoked = invite(&w, tenant, "revoked@example.com").await;
    let cmd = RevokeInvite { tenant_id: tenant, invite_id: revoked.id, by: By::operator(tenant), audit: vec![] };
    assert_eq!(w.store.revoke_invite(&w.ctx(), cmd).await.unwrap(), Ok(RevokeOutcome::Revoked));
    let resent = invite(&w, tenant, "resent@example.com").await;
    let (expires_at, tenant_id) = (resent.expires_at, tenant);
    let cmd = ResendInvite {
        tenant_id,
        invite_id: resent.id,
        expect_serial: 1,
        expires_at,
        by: By::operator(tenant_id),
        inviter: None,
        inviter_key: None,
        job: None,
        audit: vec![],
    };
    assert!(matches!(w.store.resend_invite(&w.ctx(), cmd).await.unwrap(), Cas::Done(_)));
    invite(&w, tenant, "expired@example.com").await;
    w.later(168 * 3600);
    invite(&w, tenant, "alive@example.com").await;
    let outbox = w.outbox();
    outbox.wake();
    w.settled(0, 0).await;
    let sent: Vec<_> = w.smtp.wait_for(1).await.into_iter().map(|m| m.to).collect();
    assert_eq!(sent, [["alive@example.com"]]);
}
