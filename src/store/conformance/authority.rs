//! Who has power over whose account, by the rows of the moment at which a command is written. `keys_of_makers` has what becomes of API
//! keys, and how people get their accounts back.

use super::{
    access::{key_of, role},
    fixture::*,
    invites::invite,
    members::joined,
};
use crate::{
    domain::{
        api_key::ApiKey,
        authority::{Authority, By, Denied},
        ids::{RoleId, TenantId, UserId},
        invite::Invite,
        permission::{Permission, Role},
        user::{Membership, User, UserStatus},
    },
    store::{access::*, admin::*, commands::*, invites::*},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) const NOTHING: MemberOutcome = MemberOutcome::Done { raised_to: None, revoked: 0 };

/// An organization, with or without power over credentials, and who owns it: a person with a proved address.
pub(crate) async fn org(store: &S, managed: bool) -> (CreateUser, TenantId) {
    let owner = person(store).await;
    prove(store, owner.user.id).await;
    let mut cmd = organization(&owner, T);
    cmd.tenant.managed = managed;
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    (owner, cmd.tenant.id)
}
/// Whom an organization is about to make an account for.
pub(crate) fn newcomer_to(tenant_id: TenantId, role: RoleId) -> CreateUser {
    let mut p = newcomer(T);
    (p.user.home_tenant, p.tenant.id, p.session.tenant_id) = (tenant_id, tenant_id, tenant_id);
    p.membership = Membership { user_id: p.user.id, tenant_id, roles: vec![role], joined_at: T };
    p
}
/// How it makes it; `vouched`: with a password, and the word of an admin that the address is right.
pub(crate) fn making(p: &CreateUser, by: By, vouched: bool) -> CreateMember {
    let password_hash = p.user.password_hash.clone().filter(|_| vouched);
    let user = User { password_hash, email_asserted_at: vouched.then_some(T), ..p.user.clone() };
    let audit = vec![event(by.tenant_id, Some(user.id), "user.created")];
    CreateMember { user, membership: p.membership.clone(), by, vouched, job: None, audit }
}
/// Somebody whose account an organization made.
pub(crate) async fn account(store: &S, tenant_id: TenantId, role: RoleId, vouched: bool) -> CreateUser {
    let p = newcomer_to(tenant_id, role);
    let cmd = making(&p, By::operator(tenant_id), vouched);
    assert_eq!(store.create_member(&ctx(T), cmd).await.unwrap(), CreateMemberOutcome::Created);
    p
}
/// The same, signed in there.
pub(crate) async fn member(store: &S, tenant_id: TenantId, role: RoleId, vouched: bool) -> CreateUser {
    let p = account(store, tenant_id, role, vouched).await;
    let cmd = CreateSession { session: p.session.clone(), network: HOME, is_login: true, audit: vec![] };
    assert_eq!(store.create_session(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
    p
}
/// By somebody in person, in their first session.
pub(crate) fn in_person(p: &CreateUser, tenant_id: TenantId) -> By {
    By { tenant_id, authority: Authority::Person { user: p.user.id, session: p.session.id } }
}
/// By a server with a key.
pub(crate) fn through(key: &ApiKey) -> By {
    By { tenant_id: key.tenant_id, authority: Authority::Key(key.id) }
}
/// A key of somebody's, made by whoever that is.
pub(crate) async fn keyed(store: &S, key: ApiKey, by: By) -> ApiKey {
    let cmd = CreateApiKey { key: key.clone(), by, audit: vec![] };
    assert_eq!(store.create_api_key(&ctx(T), cmd).await.unwrap(), CreateApiKeyOutcome::Created);
    key
}
pub(crate) async fn manage(store: &S, tenant_id: TenantId, managed: bool) {
    let cmd = ManageTenant { tenant_id, managed, audit: vec![] };
    assert_eq!(store.manage_tenant(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
}
pub(crate) async fn change(store: &S, user_id: UserId, by: By, what: MemberChange) -> MemberOutcome {
    store.change_member(&ctx(T), ChangeMember { user_id, by, what, audit: vec![] }).await.unwrap()
}
pub(crate) fn set_password(tag: &str) -> MemberChange {
    MemberChange::SetPassword { hash: hash(tag), must_change: true, job: None }
}
pub(crate) fn bin() -> MemberChange {
    MemberChange::Delete { purge_after: T.plus(days(30)), job: None }
}
pub(crate) fn with_status(of: &User, status: UserStatus) -> MemberChange {
    let (display_name, phone) = (of.display_name.clone(), of.phone.clone());
    MemberChange::Update { expect_version: of.version, display_name, phone, status, metadata: of.metadata.clone() }
}
/// All that an admin does to an account.
fn all(of: &User) -> [MemberChange; 6] {
    let suspend = with_status(of, UserStatus::Suspended);
    [suspend, set_password("x"), bin(), MemberChange::Restore { job: None }, MemberChange::Purge, MemberChange::EndSessions]
}
/// What a tenant keeps with its member.
fn note(of: &User) -> MemberChange {
    let (display_name, phone) = (of.display_name.clone(), of.phone.clone());
    let metadata = [("note".to_owned(), true.into())].into_iter().collect();
    MemberChange::Update { expect_version: of.version, display_name, phone, status: of.status, metadata }
}
pub(crate) fn of_role(by: By, p: &CreateUser, role_id: RoleId) -> ChangeRole {
    let (user_id, tenant_id) = (p.user.id, by.tenant_id);
    let audit = vec![event(tenant_id, Some(user_id), "role.changed")];
    ChangeRole { user_id, tenant_id, role_id, by, personal: Some(spare()), audit }
}
pub(crate) async fn give(store: &S, by: By, p: &CreateUser, role_id: RoleId) -> ChangeRoleOutcome {
    store.give_role(&ctx(T), of_role(by, p, role_id)).await.unwrap()
}
pub(crate) async fn take(store: &S, by: By, p: &CreateUser, role_id: RoleId) -> ChangeRoleOutcome {
    store.take_role(&ctx(T), of_role(by, p, role_id)).await.unwrap()
}
pub(crate) async fn custom(store: &S, tenant: TenantId, name: &str, allows: &[Permission]) -> Role {
    let cmd = CreateRole { role: role(tenant, name, allows), by: By::operator(tenant), audit: vec![] };
    assert_eq!(store.create_role(&ctx(T), cmd.clone()).await.unwrap(), Ok(CreateRoleOutcome::Created));
    cmd.role
}
/// An invite by somebody in person.
pub(crate) fn offer(by: By, inviter: UserId) -> CreateInvite {
    let invite = Invite { inviter: Some(inviter), inviter_key: None, ..invite(by.tenant_id, address(), T) };
    CreateInvite { invite, by, job: None, audit: vec![] }
}
pub(crate) fn leaving(p: &CreateUser, tenant_id: TenantId) -> LeaveTenant {
    LeaveTenant { user_id: p.user.id, tenant_id, personal: spare(), audit: vec![] }
}
/// Somebody has this home, and belongs there and here, and nowhere else.
pub(crate) async fn belongs(store: &S, p: &CreateUser, home: TenantId, here: &[TenantId]) {
    let found: BTreeSet<TenantId> = store.memberships(p.user.id).await.unwrap().into_iter().map(|(t, _)| t.id).collect();
    let expected: BTreeSet<TenantId> = here.iter().copied().chain([home]).collect();
    assert_eq!((user(store, p.user.id).await.home_tenant, found), (home, expected));
}

pub(crate) async fn only_power_makes_accounts_with_credentials(store: S) {
    let ((owner, without), (boss, with), p) = (org(&store, false).await, org(&store, true).await, person(&store).await);
    let not_managed = CreateMemberOutcome::Denied(Denied::NotManaged);
    for (by, outcome) in [
        (By::operator(without), not_managed),
        (in_person(&owner, without), not_managed),
        (By::operator(p.tenant.id), CreateMemberOutcome::NoTenant),
        (in_person(&p, p.tenant.id), CreateMemberOutcome::NoTenant),
        (By::operator(with), CreateMemberOutcome::Created),
        (in_person(&boss, with), CreateMemberOutcome::Created),
    ] {
        let cmd = making(&newcomer_to(by.tenant_id, RoleId::MEMBER), by, true);
        assert_eq!(store.create_member(&ctx(T), cmd.clone()).await.unwrap(), outcome);
        let made = (outcome == CreateMemberOutcome::Created).then_some(cmd.user.clone());
        assert_eq!(store.user(cmd.user.id).await.unwrap(), made, "it is not independent");
        assert_eq!(store.user_by_email(&cmd.user.email.digest()).await.unwrap(), made);
    }
}

pub(crate) async fn accounts_made_without_power_belong_to_their_people(store: S) {
    let (owner, tenant) = org(&store, false).await;
    let (boss, p) = (in_person(&owner, tenant), newcomer_to(tenant, RoleId::MEMBER));
    assert_eq!(store.create_member(&ctx(T), making(&p, boss, false)).await.unwrap(), CreateMemberOutcome::Created);
    let before = user(&store, p.user.id).await;
    assert!(before.independent);
    for (managed, why) in [(false, Denied::NotManaged), (true, Denied::Independent), (false, Denied::NotManaged)] {
        manage(&store, tenant, managed).await;
        for by in [boss, By::operator(tenant)] {
            for what in all(&before) {
                assert_eq!(change(&store, p.user.id, by, what.clone()).await, MemberOutcome::Denied(why), "{what:?}");
            }
        }
    }
    assert_eq!(user(&store, p.user.id).await, before);
    assert_eq!(change(&store, p.user.id, boss, note(&before)).await, NOTHING, "that is the organization's own");
}

pub(crate) async fn power_is_given_and_taken(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (boss, p) = (in_person(&owner, tenant), member(&store, tenant, RoleId::MEMBER, true).await);
    let set = async |tag: &'static str| change(&store, p.user.id, boss, set_password(tag)).await;
    assert_eq!(set("a").await, MemberOutcome::Done { raised_to: Some(2), revoked: 1 });
    let after = user(&store, p.user.id).await;
    assert_eq!((after.password_hash.clone(), after.must_change), (Some(hash("a")), true));
    assert!(!lives(&store, &p.session).await);
    manage(&store, tenant, false).await;
    assert_eq!(set("b").await, MemberOutcome::Denied(Denied::NotManaged));
    assert_eq!(user(&store, p.user.id).await, after);
    manage(&store, tenant, true).await;
    assert_eq!(set("c").await, MemberOutcome::Done { raised_to: Some(3), revoked: 0 });
    for none in [owner.tenant.id, tenant_id()] {
        let cmd = ManageTenant { tenant_id: none, managed: true, audit: vec![] };
        assert_eq!(store.manage_tenant(&ctx(T), cmd).await.unwrap(), Cas::Stale);
    }
}

async fn epochs(store: &S, people: &[UserId]) -> Vec<u64> {
    let mut all = vec![];
    for id in people {
        all.push(user(store, *id).await.credential_epoch);
    }
    all
}
async fn members_and_their_admin(store: &S) -> (By, Vec<UserId>) {
    let (owner, tenant) = org(store, true).await;
    let mut people = vec![];
    for _ in 0..8 {
        people.push(account(store, tenant, RoleId::MEMBER, true).await.user.id);
    }
    (in_person(&owner, tenant), people)
}
/// Sets everybody's password until that is refused, while the operator takes the power away; whose was set how often, when the operator had
/// the answer and in the end.
async fn passwords_beside_the_end_of_power(store: &S, boss: By, people: &[UserId]) -> (Vec<u64>, Vec<u64>) {
    manage(store, boss.tenant_id, true).await;
    let (before, over) = (epochs(store, people).await, Arc::new(AtomicBool::new(false)));
    let mut counts = at_once(people.len() + 1, |i| {
        let (store, over, people) = (store.clone(), over.clone(), people.to_vec());
        async move {
            let Some(id) = people.get(i).copied() else {
                manage(&store, boss.tenant_id, false).await;
                over.store(true, Ordering::SeqCst);
                return epochs(&store, &people).await;
            };
            let mut done = 0_u64;
            loop {
                let late = over.load(Ordering::SeqCst);
                match change(&store, id, boss, set_password("x")).await {
                    MemberOutcome::Done { .. } => assert!(!late, "it was begun when the power was gone"),
                    other => {
                        assert_eq!(other, MemberOutcome::Denied(Denied::NotManaged));
                        return vec![done];
                    }
                }
                done += 1;
            }
        }
    })
    .await;
    let (then, now) = (counts.pop().unwrap(), epochs(store, people).await);
    let expected: Vec<u64> = before.iter().zip(counts.concat()).map(|(epoch, done)| epoch + done).collect();
    assert_eq!(now, expected, "what was refused wrote nothing");
    (then, now)
}

pub(crate) async fn no_command_sets_a_password_once_the_power_is_gone(store: S) {
    let (boss, people) = members_and_their_admin(&store).await;
    for _ in 0..4 {
        passwords_beside_the_end_of_power(&store, boss, &people).await;
    }
}

/// Commands that were on their way when the power ended, too.
pub(crate) async fn no_password_changes_after_the_end_of_power(store: S) {
    let (boss, people) = members_and_their_admin(&store).await;
    for _ in 0..8 {
        let (then, now) = passwords_beside_the_end_of_power(&store, boss, &people).await;
        assert_eq!(then, now);
    }
}

pub(crate) async fn nobody_administers_themselves(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let p = member(&store, tenant, RoleId::ADMIN, true).await;
    let key = |p: &CreateUser| ApiKey {
        scopes: [Permission::UserWrite, Permission::ApiKeyWrite].into_iter().collect(),
        ..key_of(tenant, Some(p.user.id))
    };
    let mine = keyed(&store, key(&p), in_person(&p, tenant)).await;
    let its = keyed(&store, ApiKey { parent_id: Some(mine.id), ..key(&p) }, through(&mine)).await;
    let before = user(&store, p.user.id).await;
    for by in [in_person(&p, tenant), through(&mine), through(&its)] {
        for what in all(&before) {
            assert_eq!(change(&store, p.user.id, by, what.clone()).await, MemberOutcome::Denied(Denied::Oneself), "{what:?}");
        }
    }
    assert_eq!(user(&store, p.user.id).await, before);
    assert_eq!(change(&store, p.user.id, in_person(&p, tenant), note(&before)).await, NOTHING);
    // A key with few scopes is not its maker: an owner's does no more than those allow.
    let bosses = keyed(&store, key(&owner), in_person(&owner, tenant)).await;
    assert_eq!(change(&store, p.user.id, through(&bosses), bin()).await, MemberOutcome::Denied(Denied::HoldsMore));
    let set = change(&store, p.user.id, in_person(&owner, tenant), set_password("x")).await;
    assert_eq!(set, MemberOutcome::Done { raised_to: Some(2), revoked: 1 });
}

pub(crate) async fn only_an_owner_makes_owners_and_nobody_gives_themselves_a_role(store: S) {
    let (owner, tenant) = org(&store, true).await;
    let (admin, plain) = (member(&store, tenant, RoleId::ADMIN, true).await, member(&store, tenant, RoleId::MEMBER, true).await);
    let [first, second, third] = [&owner, &admin, &plain].map(|p| in_person(p, tenant));
    let desk = custom(&store, tenant, "Desk", &[Permission::UserRead]).await.id;
    let more = custom(&store, tenant, "More", &[Permission::TenantWrite]).await.id;
    let scopes = [Permission::RoleWrite, Permission::UserRead].into_iter().collect();
    let key = keyed(&store, ApiKey { scopes, ..key_of(tenant, Some(admin.user.id)) }, second).await;
    for (by, p, role, why) in [
        (second, &plain, RoleId::OWNER, Denied::NotOwner),
        (second, &admin, RoleId::OWNER, Denied::NotOwner),
        (first, &owner, desk, Denied::NotOwner),
        (second, &admin, desk, Denied::NotOwner),
        (through(&key), &admin, desk, Denied::NotOwner),
        (second, &plain, more, Denied::NoPermission),
        (through(&key), &plain, RoleId::ADMIN, Denied::NoPermission),
        (third, &admin, desk, Denied::NoPermission),
    ] {
        assert_eq!(give(&store, by, p, role).await, ChangeRoleOutcome::Denied(why), "{by:?} {role}");
    }
    assert_eq!(take(&store, second, &owner, RoleId::OWNER).await, ChangeRoleOutcome::Denied(Denied::NotOwner));
    assert_eq!(give(&store, second, &plain, RoleId::ADMIN).await, ChangeRoleOutcome::Done);
    assert_eq!(give(&store, first, &plain, RoleId::OWNER).await, ChangeRoleOutcome::Done);
    assert_eq!(take(&store, third, &owner, RoleId::OWNER).await, ChangeRoleOutcome::Removed);
    let told = store.audit_events(tenant, None, 99).await.unwrap();
    assert_eq!(told.iter().filter(|(e, _)| e.event == "role.changed").count(), 3, "only what changed something");
}

pub(crate) async fn who_gives_roles_and_who_can_give_them_has_a_proved_address(store: S) {
    let (giver, taker) = (ChangeRoleOutcome::Denied(Denied::GiverUnproved), ChangeRoleOutcome::Denied(Denied::TakerUnproved));
    let (owner, tenant) = org(&store, false).await;
    let (boss, p) = (in_person(&owner, tenant), account(&store, tenant, RoleId::MEMBER, false).await);
    let opens = custom(&store, tenant, "Opens", &[Permission::RoleWrite]).await.id;
    let reads = custom(&store, tenant, "Reads", &[Permission::UserRead]).await.id;
    for role in [RoleId::OWNER, RoleId::ADMIN, opens] {
        for by in [boss, By::operator(tenant)] {
            assert_eq!(give(&store, by, &p, role).await, taker);
            let made = store.create_member(&ctx(T), making(&newcomer_to(tenant, role), by, false)).await.unwrap();
            assert_eq!(made, CreateMemberOutcome::Denied(Denied::TakerUnproved));
        }
    }
    assert_eq!(give(&store, boss, &p, reads).await, ChangeRoleOutcome::Done);
    prove(&store, p.user.id).await;
    for role in [RoleId::OWNER, RoleId::ADMIN, opens] {
        assert_eq!(give(&store, boss, &p, role).await, ChangeRoleOutcome::Done);
    }
    // An admin's word counts as long as the organization has power.
    manage(&store, tenant, true).await;
    let (admin, plain) = (member(&store, tenant, RoleId::ADMIN, true).await, account(&store, tenant, RoleId::MEMBER, true).await);
    assert_eq!(give(&store, in_person(&admin, tenant), &plain, opens).await, ChangeRoleOutcome::Done);
    manage(&store, tenant, false).await;
    assert_eq!(give(&store, in_person(&admin, tenant), &plain, reads).await, giver);
    assert_eq!(give(&store, boss, &plain, RoleId::ADMIN).await, taker);
    // Whoever makes an organization with an address that nobody has proved.
    let (maker, guest) = (person(&store).await, person(&store).await);
    let cmd = organization(&maker, T);
    let by = in_person(&maker, cmd.tenant.id);
    assert_eq!(store.create_tenant(&ctx(T), cmd).await.unwrap(), CreateTenantOutcome::Created);
    joined(&store, by.tenant_id, &guest, RoleId::MEMBER).await;
    assert_eq!(give(&store, by, &guest, RoleId::ADMIN).await, giver);
    assert_eq!(take(&store, by, &guest, RoleId::MEMBER).await, giver);
    let invited = store.create_invite(&ctx(T), offer(by, maker.user.id)).await.unwrap();
    assert_eq!(invited, CreateInviteOutcome::Denied(Denied::GiverUnproved));
    let made = store.create_member(&ctx(T), making(&newcomer_to(by.tenant_id, RoleId::MEMBER), by, true)).await.unwrap();
    assert_eq!(made, CreateMemberOutcome::Denied(Denied::GiverUnproved));
    prove(&store, maker.user.id).await;
    assert_eq!(give(&store, by, &guest, RoleId::ADMIN).await, taker);
    prove(&store, guest.user.id).await;
    assert_eq!(give(&store, by, &guest, RoleId::ADMIN).await, ChangeRoleOutcome::Done);
}

/// An account that an organization without power made belongs to whoever proves its address, and gets a home of its own with that.
pub(crate) async fn the_first_proof_of_an_independent_account_gives_it_a_home(store: S) {
    let ((_, without), (_, with)) = (org(&store, false).await, org(&store, true).await);
    let code = |p: &CreateUser, serial| ConfirmEmail { user_id: p.user.id, epoch: 1, serial, personal: Some(spare()), audit: vec![] };
    // By a code; run again with its id, and by a later code.
    let p = account(&store, without, RoleId::MEMBER, false).await;
    let (first, cmd, later) = (ctx(T), code(&p, 5), code(&p, 6));
    let home = cmd.personal.as_ref().unwrap().id;
    for (ctx, cmd) in [(first.clone(), cmd.clone()), (first, cmd), (ctx(T), later.clone())] {
        assert_eq!(store.confirm_email(&ctx, cmd).await.unwrap(), Cas::Done(()));
        belongs(&store, &p, home, &[without]).await;
    }
    assert_eq!(store.membership(p.user.id, home).await.unwrap().unwrap().roles, [RoleId::OWNER]);
    assert_eq!(store.tenant(later.personal.unwrap().id).await.unwrap(), None);
    // By a mailed link, and though the organization has power by then.
    let p = account(&store, without, RoleId::MEMBER, false).await;
    manage(&store, without, true).await;
    let (first, cmd) = (ctx(T), reset(&linked(&store, &p, 1, T).await, "x"));
    let home = cmd.personal.as_ref().unwrap().id;
    for _ in 0..2 {
        let outcome = store.complete_reset(&first, cmd.clone()).await.unwrap();
        assert_eq!(outcome, Cas::Done(ResetOutcome { revoked: 0, first_proof: true }));
        belongs(&store, &p, home, &[without]).await;
    }
    // One that power made stays where it is.
    let p = account(&store, with, RoleId::MEMBER, true).await;
    assert_eq!(store.confirm_email(&ctx(T), code(&p, 5)).await.unwrap(), Cas::Done(()));
    belongs(&store, &p, with, &[]).await;
}

pub(crate) async fn two_first_proofs_at_once_give_one_home(store: S) {
    let (_, tenant) = org(&store, false).await;
    for _ in 0..12 {
        let p = account(&store, tenant, RoleId::MEMBER, false).await;
        let code = ConfirmEmail { user_id: p.user.id, epoch: 1, serial: 1, personal: Some(spare()), audit: vec![] };
        let link = reset(&linked(&store, &p, 1, T).await, "x");
        let spares = [&code.personal, &link.personal].map(|t| t.as_ref().unwrap().id);
        at_once(2, |i| {
            let (store, code, link) = (store.clone(), code.clone(), link.clone());
            async move {
                // A code of before the reset is refused after it.
                if i == 0 {
                    store.confirm_email(&ctx(T), code).await.unwrap();
                } else {
                    assert!(matches!(store.complete_reset(&ctx(T), link).await.unwrap(), Cas::Done(_)));
                }
            }
        })
        .await;
        let home = user(&store, p.user.id).await.home_tenant;
        belongs(&store, &p, home, &[tenant]).await;
        let mut made = vec![];
        for id in spares {
            made.extend(store.tenant(id).await.unwrap().map(|t| t.id));
        }
        assert_eq!(made, [home]);
    }
}

pub(crate) async fn who_leaves_their_only_organization_gets_a_home(store: S) {
    let ((_, without), (_, with)) = (org(&store, false).await, org(&store, true).await);
    let p = member(&store, without, RoleId::MEMBER, false).await;
    let (first, cmd) = (ctx(T), leaving(&p, without));
    for _ in 0..2 {
        assert_eq!(store.leave_tenant(&first, cmd.clone()).await.unwrap(), LeaveOutcome::Left);
        belongs(&store, &p, cmd.personal.id, &[]).await;
    }
    assert!(!lives(&store, &p.session).await && refused(&store, &p.session).await);
    assert_eq!(store.leave_tenant(&ctx(T), leaving(&p, without)).await.unwrap(), LeaveOutcome::NotMember);
    // Whose last role is taken, too.
    let p = account(&store, without, RoleId::MEMBER, false).await;
    let cmd = of_role(By::operator(without), &p, RoleId::MEMBER);
    let homeless = ChangeRole { personal: None, ..cmd.clone() };
    assert_eq!(store.take_role(&ctx(T), homeless).await.unwrap(), ChangeRoleOutcome::OnlyTenant);
    assert_eq!(store.take_role(&ctx(T), cmd.clone()).await.unwrap(), ChangeRoleOutcome::Removed);
    belongs(&store, &p, cmd.personal.unwrap().id, &[]).await;
    // One with power keeps them, as long as it has that.
    let p = member(&store, with, RoleId::MEMBER, true).await;
    for (managed, outcome) in [(true, LeaveOutcome::OnlyTenant), (false, LeaveOutcome::Left)] {
        manage(&store, with, managed).await;
        let cmd = leaving(&p, with);
        assert_eq!(store.leave_tenant(&ctx(T), cmd.clone()).await.unwrap(), outcome);
        belongs(&store, &p, if managed { with } else { cmd.personal.id }, &[]).await;
        assert_eq!(lives(&store, &p.session).await, managed);
    }
    // Who has a home needs no other.
    let p = person(&store).await;
    joined(&store, without, &p, RoleId::MEMBER).await;
    let cmd = leaving(&p, without);
    assert_eq!(store.leave_tenant(&ctx(T), cmd.clone()).await.unwrap(), LeaveOutcome::Left);
    belongs(&store, &p, p.tenant.id, &[]).await;
    assert_eq!(store.tenant(cmd.personal.id).await.unwrap(), None);
}

pub(crate) async fn of_two_owners_who_go_at_once_one_stays(store: S) {
    let two = [person(&store).await, person(&store).await];
    for round in 0..16 {
        let cmd = organization(&two[0], T);
        let tenant_id = cmd.tenant.id;
        assert_eq!(store.create_tenant(&ctx(T), cmd).await.unwrap(), CreateTenantOutcome::Created);
        let second = MakeOwner { tenant_id, user_id: two[1].user.id, audit: vec![] };
        assert_eq!(store.make_owner(&ctx(T), second).await.unwrap(), Cas::Done(()));
        let gone = at_once(2, |i| {
            let (store, p) = (store.clone(), two[i].clone());
            async move {
                // Both leave; in each other round, one of them is made to.
                if round % 2 == 0 || i == 0 {
                    let outcome = store.leave_tenant(&ctx(T), leaving(&p, tenant_id)).await.unwrap();
                    assert!(matches!(outcome, LeaveOutcome::Left | LeaveOutcome::LastOwner), "{outcome:?}");
                    outcome == LeaveOutcome::Left
                } else {
                    let outcome = take(&store, By::operator(tenant_id), &p, RoleId::OWNER).await;
                    assert!(matches!(outcome, ChangeRoleOutcome::Removed | ChangeRoleOutcome::LastOwner), "{outcome:?}");
                    outcome == ChangeRoleOutcome::Removed
                }
            }
        })
        .await;
        assert_eq!(count(&gone, &true), 1);
        let left = &two[usize::from(gone[0])];
        assert_eq!(store.owners(tenant_id).await.unwrap(), [left.user.id]);
    }
}
