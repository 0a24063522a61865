//! A recovery that died before it marked the keys, or came while its person was about to be purged.

use super::*;
use crate::{
    domain::{
        api_key::ApiKey,
        authority::By,
        ids::{RoleId, TenantId},
        invite::{Invite, InviteStatus},
        time::Timestamp,
    },
    store::{
        access::*,
        conformance::{authority::*, keys_of_makers::plan, members::joined},
        invites::*,
        scylla::api_keys::{KEY, KeyRow},
    },
};

/// An admin of an organization who belongs elsewhere, too.
struct World {
    raw: ScyllaStore,
    store: S,
    owner: CreateUser,
    tenant: TenantId,
    p: CreateUser,
}

const BEFORE: Timestamp = T;
fn since() -> Timestamp {
    T.plus(secs(60))
}

impl World {
    async fn new() -> Self {
        let raw = store().await;
        let store: S = Arc::new(raw.clone());
        let (owner, tenant) = org(&store, true).await;
        let p = person(&store).await;
        joined(&store, tenant, &p, RoleId::ADMIN).await;
        Self { raw, store, owner, tenant, p }
    }
    async fn key(&self, at: Timestamp) -> ApiKey {
        let key = ApiKey { created_at: at, ..plan(self.tenant, Some(self.p.user.id)) };
        keyed(&self.store, key, in_person(&self.p, self.tenant)).await
    }
    async fn shown(&self, key: &ApiKey) -> ApiKey {
        self.store.api_key_by_id(self.tenant, key.id).await.unwrap().unwrap()
    }
    async fn row(&self, key: &ApiKey) -> ApiKey {
        self.raw.engine.cql.peek::<KeyRow>(&Unit::tenant(self.tenant), KEY, key.id.as_bytes()).await.unwrap().unwrap().key
    }
    async fn acts(&self, key: &ApiKey) -> bool {
        self.store.standing(key).await.unwrap().is_some()
    }
    async fn taken_over(&self, key: &ApiKey) -> Cas<TakeOverOutcome> {
        let cmd = TakeOverKey { key_id: key.id, by: in_person(&self.owner, self.tenant), audit: vec![] };
        self.store.take_over_key(&ctx(T), cmd).await.unwrap()
    }
    /// Only what decides: whoever does this dies before the keys are marked.
    async fn secured(&self) {
        let id = self.p.user.id;
        let secure = SecureAccount { user_id: id, made_at: since(), job: job(T, id), audit: vec![] };
        assert_eq!(self.raw.engine.command(&ctx(since()), Unit::user(id), secure).await.unwrap(), Cas::Done(()));
    }
    async fn purged(&self) {
        let epoch = user(&self.store, self.p.user.id).await.credential_epoch;
        assert!(matches!(self.store.delete_user(&ctx(T), delete(&self.p, epoch)).await.unwrap(), Cas::Done(_)));
        assert_eq!(self.store.purge_overdue(&ctx(T.plus(days(31))), self.p.user.id, vec![]).await.unwrap(), Cas::Done(()));
    }
    async fn invite(&self, id: crate::domain::ids::InviteId) -> InviteStatus {
        self.store.invite(self.tenant, id).await.unwrap().unwrap().status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_taken_back_does_nothing_before_it_is_marked() {
    let w = World::new().await;
    let (old, key) = (w.key(BEFORE).await, w.key(since()).await);
    w.secured().await;
    assert_eq!((w.row(&key).await.revoked_at, w.shown(&key).await.revoked_at), (None, Some(since())));
    assert_eq!((w.acts(&old).await, w.acts(&key).await), (true, false));
    let listed = w.store.api_keys(w.tenant, None, 9).await.unwrap();
    assert_eq!(listed.iter().filter(|k| k.revoked_at.is_some()).map(|k| k.id).collect::<Vec<_>>(), [key.id]);
    // Whoever comes next marks it, and tells the owner once.
    for _ in 0..2 {
        w.raw.engine.mark_withdrawn(since(), w.p.user.id).await.unwrap();
    }
    assert_eq!((w.row(&key).await.revoked_at, w.row(&old).await.revoked_at), (Some(since()), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_over_what_was_taken_back() {
    for marked in [true, false] {
        let w = World::new().await;
        let (old, key) = (w.key(BEFORE).await, w.key(since()).await);
        w.secured().await;
        if marked {
            w.raw.engine.mark_withdrawn(since(), w.p.user.id).await.unwrap();
        }
        w.purged().await;
        assert_eq!(w.taken_over(&key).await, Cas::Stale, "marked: {marked}");
        assert_eq!(w.taken_over(&old).await, Cas::Done(TakeOverOutcome::Taken));
        assert!(w.acts(&old).await && !w.acts(&key).await);
        let row = w.row(&key).await;
        assert_eq!((row.user_id, row.revoked_at.is_some()), (None, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_that_was_taken_back_stays_so() {
    let w = World::new().await;
    let old = w.key(BEFORE).await;
    let by_key =
        Invite { inviter: Some(w.p.user.id), inviter_key: Some(old.id), created_at: since(), ..offer(through(&old), w.p.user.id).invite };
    // What an admin's key may do in this test does not include inviting: the operator writes it.
    let cmd = CreateInvite { invite: by_key.clone(), by: By::operator(w.tenant), job: None, audit: vec![] };
    assert_eq!(w.store.create_invite(&ctx(since()), cmd).await.unwrap(), CreateInviteOutcome::Created);
    // An invite of the owner's is over, and there is a newer one of the thief's to that address.
    let theirs = offer(in_person(&w.owner, w.tenant), w.owner.user.id);
    assert_eq!(w.store.create_invite(&ctx(BEFORE), theirs.clone()).await.unwrap(), CreateInviteOutcome::Created);
    let over = theirs.invite.expires_at;
    let thiefs = offer(in_person(&w.p, w.tenant), w.p.user.id);
    let thiefs = Invite { email: theirs.invite.email.clone(), created_at: over, expires_at: over.plus(days(7)), ..thiefs.invite };
    let cmd = CreateInvite { invite: thiefs.clone(), by: in_person(&w.p, w.tenant), job: None, audit: vec![] };
    assert_eq!(w.store.create_invite(&ctx(over), cmd).await.unwrap(), CreateInviteOutcome::Created);
    assert_eq!(w.invite(theirs.invite.id).await, InviteStatus::Expired);
    w.secured().await;
    assert_eq!((w.invite(by_key.id).await, w.invite(thiefs.id).await), (InviteStatus::Revoked, InviteStatus::Revoked));
    // It is not in the way of the owner's.
    let again = ResendInvite {
        tenant_id: w.tenant,
        invite_id: theirs.invite.id,
        expect_serial: 1,
        expires_at: over.plus(days(7)),
        by: in_person(&w.owner, w.tenant),
        inviter: Some(w.owner.user.id),
        inviter_key: None,
        job: None,
        audit: vec![],
    };
    assert_eq!(w.store.resend_invite(&ctx(over), again).await.unwrap(), Cas::Done(ResendOutcome::Sent));
    assert_eq!((w.invite(theirs.invite.id).await, w.invite(thiefs.id).await), (InviteStatus::Pending, InviteStatus::Revoked));
    w.purged().await;
    assert_eq!((w.invite(by_key.id).await, w.invite(thiefs.id).await), (InviteStatus::Revoked, InviteStatus::Revoked));
}
