//! What API keys may do, by what their makers may; what ends with an account's credentials; how people get their accounts back.

use super::{access::key_of, authority::*, fixture::*, members::joined};
use crate::{
    domain::{
        api_key::{ApiKey, STANDS_FOR},
        authority::{Authority, By, Denied},
        ids::{RoleId, TenantId, UserId},
        permission::{Permission, PermissionSet, Role},
        session::Session,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User, UserStatus},
    },
    store::{access::*, admin::*, commands::*, invites::*},
};

/// An admin of an organization who has a home elsewhere.
async fn guest(store: &S, tenant: TenantId) -> CreateUser {
    let p = person(store).await;
    joined(store, tenant, &p, RoleId::ADMIN).await;
    p
}
pub(crate) fn plan(tenant: TenantId, maker: Option<UserId>) -> ApiKey {
    let scopes = [Permission::UserRead, Permission::UserWrite, Permission::ApiKeyWrite].into_iter().collect();
    ApiKey { scopes, ..key_of(tenant, maker) }
}
/// A key that somebody makes in person.
async fn made(store: &S, p: &CreateUser, tenant: TenantId) -> ApiKey {
    keyed(store, plan(tenant, Some(p.user.id)), in_person(p, tenant)).await
}
/// A key that a key makes.
async fn child(store: &S, of: &ApiKey) -> ApiKey {
    keyed(store, ApiKey { parent_id: Some(of.id), ..plan(of.tenant_id, of.user_id) }, through(of)).await
}
pub(crate) async fn row(store: &S, key: &ApiKey) -> ApiKey {
    store.api_key_by_id(key.tenant_id, key.id).await.unwrap().expect("a key")
}
/// What a key may do now; `None`: nobody stands for it.
async fn may(store: &S, key: &ApiKey) -> Option<PermissionSet> {
    let key = row(store, key).await;
    store.standing(&key).await.unwrap().map(|s| s.acting.actor.permissions)
}
/// Whether a command by the key is done: it ends somebody's sessions.
async fn works(store: &S, key: &ApiKey, whose: UserId) -> bool {
    let outcome = change(store, whose, through(key), MemberChange::EndSessions).await;
    assert!([NOTHING, MemberOutcome::Denied(Denied::NoPermission)].contains(&outcome), "{outcome:?}");
    outcome == NOTHING
}
/// Their maker has gone: they are there, and do nothing.
async fn stand_still(store: &S, keys: &[&ApiKey], whose: UserId) {
    for key in keys {
        assert_eq!(row(store, key).await, ApiKey { stopped_at: Some(T), ..(*key).clone() });
        assert_eq!((may(store, key).await, works(store, key, whose).await), (None, false));
    }
}
async fn taken(store: &S, by: By, key: &ApiKey, now: Timestamp) -> Cas<TakeOverOutcome> {
    store.take_over_key(&ctx(now), TakeOverKey { key_id: key.id, by, audit: vec![] }).await.unwrap()
}
fn restoring(p: &CreateUser, epoch: u64) -> RestoreAccount {
    RestoreAccount { user_id: p.user.id, epoch, personal: Box::new(p.tenant.clone()), job: job(T, p.user.id), audit: vec![] }
}
const TAKEN: Cas<TakeOverOutcome> = Cas::Done(TakeOverOutcome::Taken);

pub(crate) async fn a_key_may_what_its_maker_may(store: S) {
    let (_, tenant) = org(&store, true).await;
    let (operator, maker) = (By::operator(tenant), member(&store, tenant, RoleId::ADMIN, true).await);
    let whose = account(&store, tenant, RoleId::MEMBER, true).await.user.id;
    let (key, free) = (made(&store, &maker, tenant).await, keyed(&store, plan(tenant, None), operator).await);
    let more = ApiKey { scopes: PermissionSet::all(), ..plan(tenant, Some(maker.user.id)) };
    let cmd = CreateApiKey { key: more.clone(), by: in_person(&maker, tenant), audit: vec![] };
    assert_eq!(store.create_api_key(&ctx(T), cmd).await.unwrap(), CreateApiKeyOutcome::Denied(Denied::NoPermission));
    let more = keyed(&store, more, operator).await;
    assert_eq!(may(&store, &more).await, Role::system_permissions(RoleId::ADMIN));
    let s = store.standing(&key).await.unwrap().unwrap();
    assert_eq!((s.acting.actor.person, s.acting.actor.owner, s.acting.proved), (Some(maker.user.id), false, true));
    assert_eq!((s.place.kind, s.place.managed), (TenantKind::Organization, true));
    let has = async |scopes: PermissionSet, good: bool| {
        assert_eq!((may(&store, &key).await, works(&store, &key, whose).await), (Some(scopes), good));
        assert_eq!((may(&store, &free).await, works(&store, &free, whose).await), (Some(free.scopes), true));
    };
    has(key.scopes, true).await;
    let desk = custom(&store, tenant, "Desk", &[Permission::UserRead, Permission::RoleRead]).await.id;
    assert_eq!(give(&store, operator, &maker, desk).await, ChangeRoleOutcome::Done);
    assert_eq!(take(&store, operator, &maker, RoleId::ADMIN).await, ChangeRoleOutcome::Done);
    has([Permission::UserRead].into_iter().collect(), false).await;
    assert_eq!(give(&store, operator, &maker, RoleId::ADMIN).await, ChangeRoleOutcome::Done);
    has(key.scopes, true).await;
    for (status, scopes) in [(UserStatus::Suspended, PermissionSet::default()), (UserStatus::Active, key.scopes)] {
        let set = with_status(&user(&store, maker.user.id).await, status);
        assert!(matches!(change(&store, maker.user.id, operator, set).await, MemberOutcome::Done { .. }));
        has(scopes, status == UserStatus::Active).await;
    }
}

pub(crate) async fn a_key_stands_still_once_its_maker_has_gone(store: S) {
    let (_, tenant) = org(&store, true).await;
    let (p, whose) = (guest(&store, tenant).await, account(&store, tenant, RoleId::MEMBER, true).await.user.id);
    let (key, own) = (made(&store, &p, tenant).await, made(&store, &p, p.tenant.id).await);
    let its = child(&store, &key).await;
    assert!(works(&store, &its, whose).await);
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, tenant)).await.unwrap(), LeaveOutcome::Left);
    assert_eq!(may(&store, &own).await, Some(own.scopes), "it is of another tenant");
    // Nobody wakes it by coming back.
    for back in [false, true] {
        if back {
            joined(&store, tenant, &p, RoleId::ADMIN).await;
        }
        stand_still(&store, &[&key, &its], whose).await;
    }
    let new = made(&store, &p, tenant).await;
    assert!(works(&store, &new, whose).await);
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    for back in [false, true] {
        if back {
            assert_eq!(store.restore_account(&ctx(T), restoring(&p, 2)).await.unwrap(), Cas::Done(()));
        }
        stand_still(&store, &[&new], whose).await;
        assert_eq!((row(&store, &own).await.stopped_at, may(&store, &own).await), (Some(T), None));
    }
}

pub(crate) async fn an_owner_takes_a_key_over(store: S) {
    let ((owner, tenant), (stranger, other)) = (org(&store, true).await, org(&store, true).await);
    let (p, whose) = (guest(&store, tenant).await, account(&store, tenant, RoleId::MEMBER, true).await.user.id);
    let (admin, plain) = (member(&store, tenant, RoleId::ADMIN, true).await, member(&store, tenant, RoleId::MEMBER, true).await);
    let (key, free) = (made(&store, &p, tenant).await, keyed(&store, plan(tenant, None), By::operator(tenant)).await);
    let (its, owners) = (child(&store, &key).await, made(&store, &owner, tenant).await);
    let denied = |why| Cas::Done(TakeOverOutcome::Denied(why));
    assert_eq!(taken(&store, in_person(&owner, tenant), &key, T).await, denied(Denied::KeyHasMaker));
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, tenant)).await.unwrap(), LeaveOutcome::Left);
    for (by, key, outcome) in [
        (in_person(&admin, tenant), &key, denied(Denied::NotOwner)),
        (By::operator(tenant), &key, denied(Denied::InPerson)),
        (through(&owners), &key, denied(Denied::InPerson)),
        (in_person(&owner, tenant), &its, denied(Denied::KeyHasMaker)),
        (in_person(&plain, tenant), &key, denied(Denied::NoPermission)),
        (in_person(&p, tenant), &key, denied(Denied::NoPermission)),
        (in_person(&owner, tenant), &free, denied(Denied::NoPermission)),
        (in_person(&stranger, other), &key, Cas::Stale),
    ] {
        assert_eq!(taken(&store, by, key, T).await, outcome, "{by:?}");
    }
    stand_still(&store, &[&key, &its], whose).await;
    assert_eq!(taken(&store, in_person(&owner, tenant), &key, T).await, TAKEN);
    // From now on it goes with its owner, and not with whoever made it.
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    for key in [&key, &its] {
        assert_eq!(row(&store, key).await, ApiKey { user_id: Some(owner.user.id), taken_over_at: Some(T), ..key.clone() });
        assert!(works(&store, key, whose).await);
    }
    let heir = person(&store).await;
    let cmd = MakeOwner { tenant_id: tenant, user_id: heir.user.id, audit: vec![] };
    assert_eq!(store.make_owner(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&owner, tenant)).await.unwrap(), LeaveOutcome::Left);
    for key in [&key, &its] {
        stand_still(&store, &[&ApiKey { user_id: Some(owner.user.id), taken_over_at: Some(T), ..key.clone() }], whose).await;
    }
    let at = T.plus(secs(60));
    assert_eq!(taken(&store, in_person(&heir, tenant), &key, at).await, TAKEN);
    assert!(works(&store, &key, whose).await && works(&store, &its, whose).await);
    // For a recovery it is as if they were made then.
    let cmd = CompleteReset { end_keys_since: Some(at), ..reset(&linked(&store, &heir, 1, T).await, "x") };
    assert!(
        matches!(store.complete_reset(&ctx(at), cmd).await.unwrap(), Cas::Done(r) if r.first_proof == heir.user.email_verified_at.is_none())
    );
    assert_eq!((row(&store, &key).await.revoked_at, row(&store, &its).await.revoked_at), (Some(at), Some(at)));
}

pub(crate) async fn a_key_that_nobody_takes_over_ends(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (p, by) = (guest(&store, tenant).await, in_person(&owner, tenant));
    let (one, two) = (made(&store, &p, tenant).await, made(&store, &p, tenant).await);
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, tenant)).await.unwrap(), LeaveOutcome::Left);
    let end = T.plus(STANDS_FOR);
    let just = Timestamp::from_millis(end.millis() - 1);
    for (key, now, outcome) in [(&one, end, Cas::Stale), (&one, just, TAKEN), (&two, end, Cas::Stale)] {
        assert_eq!(taken(&store, by, key, now).await, outcome);
    }
    assert!(row(&store, &one).await.is_live(end) && !row(&store, &two).await.is_live(end));
}

pub(crate) async fn a_key_ends_with_the_one_that_made_it(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (key, other) = (made(&store, &owner, tenant).await, made(&store, &owner, tenant).await);
    let its = child(&store, &key).await;
    let last = child(&store, &its).await;
    let revoke = |key: &ApiKey| RevokeApiKey { tenant_id: tenant, key_id: key.id, by: By::operator(tenant), audit: vec![] };
    let later = T.plus(secs(60));
    for (key, at, ended) in [(&its, T, vec![its.id, last.id]), (&key, later, vec![key.id]), (&its, later, vec![])] {
        assert_eq!(store.revoke_api_key(&ctx(at), revoke(key)).await.unwrap(), Ok(Cas::Done(ended)));
    }
    let told = revocations(&store).await;
    for (key, end) in [(&key, Some(later)), (&its, Some(T)), (&last, Some(T)), (&other, None)] {
        assert_eq!(row(&store, key).await.revoked_at, end);
        assert_eq!(count(&told, &Revocation::ApiKey(key.id)), usize::from(end.is_some()));
    }
    // One that is made while its maker ends.
    for _ in 0..8 {
        let key = made(&store, &owner, tenant).await;
        let its = ApiKey { parent_id: Some(key.id), ..plan(tenant, key.user_id) };
        let make = CreateApiKey { key: its.clone(), by: through(&key), audit: vec![] };
        let (one, two) = (ctx(T), ctx(T));
        let (outcome, ended) = tokio::join!(store.create_api_key(&one, make), store.revoke_api_key(&two, revoke(&key)));
        assert!(matches!(ended.unwrap(), Ok(Cas::Done(_))));
        match outcome.unwrap() {
            CreateApiKeyOutcome::Created => assert_eq!(row(&store, &its).await.revoked_at, Some(T)),
            refused => assert_eq!(refused, CreateApiKeyOutcome::Denied(Denied::NoPermission)),
        }
    }
}

pub(crate) async fn keys_of_somebody_who_is_gone_for_good(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (operator, boss) = (By::operator(tenant), in_person(&owner, tenant));
    let (maker, whose) = (member(&store, tenant, RoleId::ADMIN, true).await, account(&store, tenant, RoleId::MEMBER, true).await.user.id);
    let (key, left) = (made(&store, &maker, tenant).await, made(&store, &maker, tenant).await);
    let its = child(&store, &left).await;
    for what in [bin(), MemberChange::Restore { job: None }] {
        assert!(matches!(change(&store, maker.user.id, operator, what).await, MemberOutcome::Done { .. }));
        stand_still(&store, &[&key, &left, &its], whose).await;
    }
    assert_eq!(taken(&store, boss, &key, T).await, TAKEN);
    assert!(matches!(change(&store, maker.user.id, operator, bin()).await, MemberOutcome::Done { .. }));
    assert_eq!(change(&store, maker.user.id, operator, MemberChange::Purge).await, NOTHING);
    assert!(works(&store, &key, whose).await);
    for key in [&left, &its] {
        assert_eq!(store.standing(key).await.unwrap(), None, "as it was read before");
        // Of nobody, it is still not the operator's.
        stand_still(&store, &[&ApiKey { user_id: None, ..key.clone() }], whose).await;
    }
    assert_eq!(taken(&store, boss, &left, T).await, TAKEN);
    assert!(works(&store, &its, whose).await);
}

pub(crate) async fn a_reset_ends_personal_keys_and_those_made_since(store: S) {
    let (p, tenant) = org(&store, true).await;
    let (me, since) = (Some(p.user.id), T.plus(secs(3600)));
    let before = Timestamp::from_millis(since.millis() - 1);
    for (epoch, end_keys_since) in [(1, None), (2, Some(since))] {
        let made = async |key: ApiKey, created_at: Timestamp| {
            keyed(&store, ApiKey { created_at, ..key.clone() }, By::operator(key.tenant_id)).await
        };
        let (own, old) = (made(plan(p.tenant.id, me), T).await, made(plan(tenant, me), before).await);
        let its = ApiKey { parent_id: Some(old.id), ..plan(tenant, me) };
        let fresh = [made(plan(tenant, me), since).await, made(plan(tenant, me), since.plus(days(1))).await, made(its, since).await];
        let others = [made(plan(tenant, None), since).await, made(plan(tenant, Some(user_id())), since).await];
        let cmd = CompleteReset { end_keys_since, ..reset(&linked(&store, &p, epoch, T).await, "x") };
        assert!(matches!(store.complete_reset(&ctx(T), cmd).await.unwrap(), Cas::Done(r) if !r.first_proof));
        let told = revocations(&store).await;
        let ends = end_keys_since.is_some();
        let all = [(own, true), (old, false)].into_iter().chain(fresh.map(|k| (k, ends))).chain(others.map(|k| (k, false)));
        for (key, ends) in all {
            assert_eq!(row(&store, &key).await, ApiKey { revoked_at: ends.then_some(T), ..key.clone() });
            assert_eq!(told.contains(&Revocation::ApiKey(key.id)), ends);
        }
    }
}

pub(crate) async fn whoever_signed_in_before_a_reset_makes_nothing_after_it(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (me, p) = (owner.user.id, account(&store, tenant, RoleId::MEMBER, true).await);
    let link = linked(&store, &owner, 1, T).await;
    assert!(matches!(store.complete_reset(&ctx(T), reset(&link, "x")).await.unwrap(), Cas::Done(r) if !r.first_proof));
    let (fresh, over) = (signed_in(&store, &owner, 2, T).await.id, signed_in(&store, &owner, 2, T).await.id);
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&owner, Which::One(over))).await.unwrap(), 1);
    for (session, good) in [(owner.session.id, false), (over, false), (session_id(), false), (fresh, true)] {
        let by = By { tenant_id: tenant, authority: Authority::Person { user: me, session } };
        let why = Denied::NoPermission;
        let made = store.create_api_key(&ctx(T), CreateApiKey { key: plan(tenant, Some(me)), by, audit: vec![] }).await.unwrap();
        assert_eq!(made, if good { CreateApiKeyOutcome::Created } else { CreateApiKeyOutcome::Denied(why) });
        let offered = store.create_invite(&ctx(T), offer(by, me)).await.unwrap();
        assert_eq!(offered, if good { CreateInviteOutcome::Created } else { CreateInviteOutcome::Denied(why) });
        let given = give(&store, by, &p, RoleId::ADMIN).await;
        assert_eq!(given, if good { ChangeRoleOutcome::Done } else { ChangeRoleOutcome::Denied(why) });
        let ended = change(&store, p.user.id, by, MemberChange::EndSessions).await;
        assert_eq!(ended, if good { NOTHING } else { MemberOutcome::Denied(why) });
    }
}

/// Whichever is first: no key is left that was made under the old credentials.
pub(crate) async fn a_key_made_beside_a_reset_ends_with_it(store: S) {
    for _ in 0..24 {
        let p = person(&store).await;
        let link = linked(&store, &p, 1, T).await;
        let keys = [(); 3].map(|()| plan(p.tenant.id, Some(p.user.id)));
        let outcomes = at_once(4, |i| {
            let (store, cmd) = (store.clone(), reset(&link, "x"));
            let make = keys.get(i).map(|key| CreateApiKey { key: key.clone(), by: in_person(&p, p.tenant.id), audit: vec![] });
            async move {
                if let Some(make) = make {
                    return Some(store.create_api_key(&ctx(T), make).await.unwrap());
                }
                assert!(matches!(store.complete_reset(&ctx(T), cmd).await.unwrap(), Cas::Done(r) if r.first_proof));
                None
            }
        });
        for (key, outcome) in keys.iter().zip(outcomes.await) {
            match outcome.unwrap() {
                CreateApiKeyOutcome::Created => assert_eq!(row(&store, key).await.revoked_at, Some(T)),
                refused => assert_eq!(refused, CreateApiKeyOutcome::Denied(Denied::NoPermission)),
            }
        }
    }
}

pub(crate) async fn not_me_ends_what_may_be_somebody_elses_once(store: S) {
    let (p, tenant) = org(&store, true).await;
    let (other, link) = (signed_in(&store, &p, 1, T).await, linked(&store, &p, 1, T).await);
    begun(&store, email_change(&p, 1, 5, T)).await;
    let (mailed, now) = (T.plus(secs(60)), T.plus(secs(120)));
    let key = |tenant, created_at| ApiKey { created_at, ..plan(tenant, Some(p.user.id)) };
    let keys = [(key(p.tenant.id, T), Some(now)), (key(tenant, T), None), (key(tenant, mailed), Some(now))];
    for (key, _) in &keys {
        keyed(&store, key.clone(), By::operator(key.tenant_id)).await;
    }
    let secure = |made_at| SecureAccount { user_id: p.user.id, made_at, job: job(now, p.user.id), audit: vec![] };
    let outcomes = at_once(8, |_| {
        let (store, cmd) = (store.clone(), secure(mailed));
        async move { store.secure_account(&ctx(now), cmd).await.unwrap() }
    })
    .await;
    assert_eq!((count(&outcomes, &Cas::Done(())), count(&outcomes, &Cas::Stale)), (1, 7));
    let u = user(&store, p.user.id).await;
    assert_eq!((u.password_hash, u.credential_epoch, u.not_me_at, u.email_verified_at), (None, 2, Some(now), Some(T)));
    for s in [&p.session, &other] {
        assert!(!lives(&store, s).await && refused(&store, s).await);
    }
    assert_eq!(store.pending_email_change(p.user.id).await.unwrap(), None);
    assert_eq!(store.complete_reset(&ctx(now), reset(&link, "x")).await.unwrap(), Cas::Stale);
    for (key, end) in &keys {
        assert_eq!(row(&store, key).await.revoked_at, *end);
    }
    // Links of mails that were written before are dead.
    for (made_at, outcome) in [(T, Cas::Stale), (now, Cas::Stale), (now.plus(secs(1)), Cas::Done(()))] {
        assert_eq!(store.secure_account(&ctx(now.plus(secs(2))), secure(made_at)).await.unwrap(), outcome);
    }
    assert_eq!(store.delete_user(&ctx(now), delete(&p, 3)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    assert_eq!(store.secure_account(&ctx(now), secure(now.plus(days(1)))).await.unwrap(), Cas::Stale, "in the bin");
}

pub(crate) async fn the_way_back_from_the_bin_is_by_the_epoch_of_the_deletion(store: S) {
    let back = async |p: &CreateUser, epoch| store.restore_account(&ctx(T), restoring(p, epoch)).await.unwrap();
    let p = person(&store).await;
    assert_eq!(back(&p, 1).await, Cas::Stale, "it is not in the bin");
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    for (epoch, outcome) in [(1, Cas::Stale), (3, Cas::Stale), (2, Cas::Done(())), (2, Cas::Stale), (3, Cas::Stale)] {
        assert_eq!(back(&p, epoch).await, outcome);
    }
    let u = user(&store, p.user.id).await;
    assert_eq!((u.deleted_at, u.purge_after, u.password_hash, u.credential_epoch), (None, None, None, 3));
    belongs(&store, &p, p.tenant.id, &[]).await;
    assert!(!lives(&store, &p.session).await);
    // The link that somebody has of a deletion of their own does not undo that by an admin.
    let (_, tenant) = org(&store, true).await;
    let p = account(&store, tenant, RoleId::MEMBER, true).await;
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 1)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    for (what, epoch) in [(MemberChange::Restore { job: None }, 3), (bin(), 4)] {
        let done = MemberOutcome::Done { raised_to: Some(epoch), revoked: 0 };
        assert_eq!(change(&store, p.user.id, By::operator(tenant), what).await, done);
    }
    assert_eq!(back(&p, 2).await, Cas::Stale);
    assert_eq!(change(&store, p.user.id, By::operator(tenant), MemberChange::Purge).await, NOTHING);
    assert_eq!(back(&p, 4).await, Cas::Stale);
}

pub(crate) async fn signing_in_again_counts_for_that_session(store: S) {
    let (p, stranger) = (person(&store).await, person(&store).await);
    let (mine, other) = (&p.session, signed_in(&store, &p, 1, T).await);
    let again = async |s: &Session, epoch, at: Timestamp, good: bool| {
        let cmd = SignInAgain { user_id: p.user.id, session_id: s.id, epoch };
        assert_eq!(store.sign_in_again(&ctx(at), cmd).await.unwrap(), if good { Cas::Done(()) } else { Cas::Stale });
    };
    let since = async |s: &Session| store.session(s.user_id, s.id).await.unwrap().unwrap().session.signed_in_at;
    let (first, second) = (T.plus(secs(60)), T.plus(secs(90)));
    for (s, epoch, good) in [(mine, 0, false), (mine, 2, false), (&stranger.session, 1, false), (mine, 1, true)] {
        again(s, epoch, first, good).await;
    }
    assert_eq!([since(mine).await, since(&other).await, since(&stranger.session).await], [Some(first), None, None]);
    let cmd = change_password(&p, 1, "x", Some(mine.id));
    assert_eq!(store.change_password(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    for (s, epoch, good) in [(mine, 1, false), (&other, 1, false), (&other, 2, false), (mine, 2, true)] {
        again(s, epoch, second, good).await;
    }
    assert_eq!(store.revoke_sessions(&ctx(T), revoke(&p, Which::All)).await.unwrap(), 1);
    again(mine, 2, second.plus(secs(1)), false).await;
    assert_eq!([since(mine).await, since(&other).await], [Some(second), None]);
}

pub(crate) async fn members_of_a_deleted_organization_keep_their_accounts_or_go_with_it(store: S) {
    let (t, _alone) = era(&store, 24).await;
    let ((owner, without), (boss, with)) = (org(&store, false).await, org(&store, true).await);
    // Of each organization one that was made while it was otherwise.
    let (free, sole) = (member(&store, without, RoleId::MEMBER, false).await, member(&store, with, RoleId::MEMBER, true).await);
    manage(&store, without, true).await;
    manage(&store, with, false).await;
    let (late, early) = (member(&store, without, RoleId::MEMBER, true).await, member(&store, with, RoleId::MEMBER, false).await);
    manage(&store, without, false).await;
    manage(&store, with, true).await;
    let key = made(&store, &owner, without).await;
    for tenant_id in [without, with] {
        let (first, cmd) = (ctx(t), DeleteTenant { tenant_id, by: By::operator(tenant_id), audit: vec![] });
        for (ctx, outcome) in [(&first, Ok(Cas::Done(()))), (&first, Ok(Cas::Done(()))), (&ctx(t), Ok(Cas::Stale))] {
            assert_eq!(store.delete_tenant(ctx, cmd.clone()).await.unwrap(), outcome);
        }
    }
    assert_eq!((row(&store, &key).await.revoked_at, store.standing(&key).await.unwrap()), (Some(t), None));
    let newcomers = newcomers();
    for now in [t, t, t.plus(days(30))] {
        while store.end_tenants(now, &newcomers).await.unwrap().more {}
        for p in [&free, &late, &early] {
            belongs(&store, p, newcomers.personal(p.user.id, t).id, &[]).await;
            let u = user(&store, p.user.id).await;
            assert_eq!((u.deleted_at, u.last_tenant, lives(&store, &p.session).await), (None, None, false));
        }
        belongs(&store, &owner, owner.tenant.id, &[]).await;
        belongs(&store, &boss, boss.tenant.id, &[]).await;
        let u = user(&store, sole.user.id).await;
        assert_eq!((u.deleted_at, u.purge_after), (Some(t), Some(t.plus(days(30)))));
    }
    assert_eq!((store.tenant(without).await.unwrap(), store.tenant(with).await.unwrap()), (None, None));
}

/// All that the commands of these cases change.
type State = (Option<User>, Vec<Session>, Vec<(Tenant, Membership)>, Option<Tenant>, Vec<ApiKey>, usize);

async fn state(store: &S, of: UserId, tenant: TenantId) -> State {
    let (sessions, places) = (store.sessions(of).await.unwrap(), store.memberships(of).await.unwrap());
    let (row, keys) = (store.tenant(tenant).await.unwrap(), store.api_keys(tenant, None, 99).await.unwrap());
    (store.user(of).await.unwrap(), sessions, places, row, keys, store.audit_events(tenant, None, 99).await.unwrap().len())
}
/// Runs a command, and with its id again, also after something else was done: the first outcome, and no second effect.
macro_rules! again {
    ($store:ident, $of:expr, $tenant:expr, $method:ident($cmd:expr), $first:expr, $meanwhile:expr) => {{
        let (ctx, cmd, first) = (ctx(T), $cmd, $first);
        assert_eq!($store.$method(&ctx, cmd.clone()).await.unwrap(), first);
        for later in [false, true] {
            if later {
                $meanwhile;
            }
            let before = state(&$store, $of, $tenant).await;
            assert_eq!($store.$method(&ctx, cmd.clone()).await.unwrap(), first);
            assert_eq!(state(&$store, $of, $tenant).await, before);
        }
    }};
}

pub(crate) async fn reruns_give_the_first_outcome(store: S) {
    let (owner, t) = org(&store, true).await;
    let (boss, operator, p) = (in_person(&owner, t), By::operator(t), member(&store, t, RoleId::MEMBER, true).await);
    let (id, told) = (p.user.id, || vec![event(t, Some(p.user.id), "told")]);
    let set = |tag| ChangeMember { user_id: id, by: boss, what: set_password(tag), audit: told() };
    let done = MemberOutcome::Done { raised_to: Some(2), revoked: 1 };
    again!(store, id, t, change_member(set("a")), done, change(&store, id, boss, set_password("b")).await);
    let off = ManageTenant { tenant_id: t, managed: false, audit: told() };
    again!(store, id, t, manage_tenant(off), Cas::Done(()), manage(&store, t, true).await);
    manage(&store, t, false).await;
    again!(store, id, t, change_member(set("c")), MemberOutcome::Denied(Denied::NotManaged), manage(&store, t, true).await);
    let given = of_role(boss, &p, RoleId::ADMIN);
    again!(store, id, t, give_role(given), ChangeRoleOutcome::Done, take(&store, operator, &p, RoleId::ADMIN).await);
    let made_owner = MakeOwner { tenant_id: t, user_id: id, audit: told() };
    again!(store, id, t, make_owner(made_owner), Cas::Done(()), take(&store, operator, &p, RoleId::OWNER).await);
    let new = newcomer_to(t, RoleId::MEMBER);
    let (id, making) = (new.user.id, making(&new, boss, true));
    again!(store, id, t, create_member(making), CreateMemberOutcome::Created, change(&store, id, boss, bin()).await);
}

pub(crate) async fn reruns_about_keys_and_credentials_give_the_first_outcome(store: S) {
    let (owner, t) = org(&store, true).await;
    let (boss, p, heir) = (in_person(&owner, t), guest(&store, t).await, guest(&store, t).await);
    let (id, key) = (p.user.id, made(&store, &p, t).await);
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, t)).await.unwrap(), LeaveOutcome::Left);
    let taking = |by| TakeOverKey { key_id: key.id, by, audit: vec![event(t, None, "told")] };
    let (by, owns) = (in_person(&heir, t), MakeOwner { tenant_id: t, user_id: heir.user.id, audit: vec![] });
    let denied = Cas::Done(TakeOverOutcome::Denied(Denied::NotOwner));
    again!(store, id, t, take_over_key(taking(by)), denied, store.make_owner(&ctx(T), owns.clone()).await.unwrap());
    again!(store, id, t, take_over_key(taking(boss)), TAKEN, store.leave_tenant(&ctx(T), leaving(&owner, t)).await.unwrap());
    let signing = SignInAgain { user_id: id, session_id: p.session.id, epoch: 1 };
    let later = ctx(T.plus(secs(60)));
    again!(store, id, t, sign_in_again(signing.clone()), Cas::Done(()), store.sign_in_again(&later, signing.clone()).await.unwrap());
    let secure = SecureAccount { user_id: id, made_at: T, job: job(T, id), audit: vec![] };
    let anew = change_password(&p, 2, "x", None);
    again!(store, id, t, secure_account(secure), Cas::Done(()), store.change_password(&ctx(T), anew.clone()).await.unwrap());
    assert_eq!(store.delete_user(&ctx(T), delete(&p, 3)).await.unwrap(), Cas::Done(DeleteOutcome::Deleted));
    let (restore, delete) = (restoring(&p, 4), delete(&p, 5));
    again!(store, id, t, restore_account(restore), Cas::Done(()), store.delete_user(&ctx(T), delete.clone()).await.unwrap());
}
