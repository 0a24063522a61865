//! Domains that tenants prove.

use super::{
    authority::{belongs, member, org},
    fixture::*,
    members::joined,
};
use crate::{
    domain::{
        authority::{By, Denied, Place},
        ids::{DomainId, RoleId, TenantId},
        mail_domain::{DomainName, DomainStatus, Found, TenantDomain},
        rng::SystemRng,
        tenant::Tenant,
        time::SystemClock,
    },
    store::{admin::DeleteTenant, commands::CreateTenantOutcome, domains::*},
};

async fn founded(store: &S) -> (TenantId, By) {
    let p = person(store).await;
    let cmd = organization(&p, T);
    assert_eq!(store.create_tenant(&ctx(T), cmd.clone()).await.unwrap(), CreateTenantOutcome::Created);
    (cmd.tenant.id, By::operator(cmd.tenant.id))
}

async fn tenant_of(store: &S, id: TenantId) -> Tenant {
    store.tenant(id).await.unwrap().unwrap()
}

pub(crate) fn some_name() -> DomainName {
    format!("d-{}.example.org", tenant_id()).parse().unwrap()
}

pub(crate) fn entered(name: &DomainName, status: DomainStatus) -> TenantDomain {
    let verified_at = (status != DomainStatus::Pending).then_some(T);
    let (id, value) = (DomainId::new(&SystemClock, &SystemRng), format!("v of {name}"));
    TenantDomain { id, name: name.clone(), value, status, created_at: T, verified_at, checked_at: verified_at, absent: None, silent: None }
}

/// The tenant's domains, in the place of those that it has now.
pub(crate) async fn set_to(store: &S, by: By, domains: Vec<TenantDomain>) -> SetDomains {
    let expect_version = tenant_of(store, by.tenant_id).await.version;
    let audit = vec![event(by.tenant_id, None, "domain.proved")];
    SetDomains { tenant_id: by.tenant_id, expect_version, domains, displaces: None, by, audit }
}

pub(crate) async fn set(store: &S, cmd: &SetDomains) -> SetDomainsOutcome {
    store.set_domains(&ctx(T), cmd.clone()).await.unwrap().unwrap()
}

async fn listed(store: &S, name: &DomainName) -> Option<TenantId> {
    let (mut after, mut found) = (None, None);
    loop {
        let page = store.proved_domains(after.as_ref(), 3).await.unwrap();
        let Some((last, _)) = page.last().cloned() else { return found };
        let here = page.into_iter().find(|(n, _)| n == name).map(|(_, tenant)| tenant);
        assert!(found.is_none() || here.is_none(), "{name} is listed once");
        found = found.or(here);
        after = Some(last);
    }
}

pub(crate) async fn domains_are_set_by_version(store: S) {
    let (id, by) = founded(&store).await;
    let (one, two) = (entered(&some_name(), DomainStatus::Pending), entered(&some_name(), DomainStatus::Proved));
    let first = set_to(&store, by, vec![one.clone(), two.clone()]).await;
    let command = ctx(T);
    assert_eq!(store.set_domains(&command, first.clone()).await.unwrap(), Ok(SetDomainsOutcome::Done));
    let written = tenant_of(&store, id).await;
    assert_eq!((&written.domains, written.version), (&vec![one.clone(), two.clone()], first.expect_version + 1));
    assert_eq!(Place::of(&written).domains, std::slice::from_ref(&two.name));
    assert_eq!((store.domain_holder(&one.name).await.unwrap(), store.domain_holder(&two.name).await.unwrap()), (None, Some(id)));
    assert_eq!((listed(&store, &one.name).await, listed(&store, &two.name).await), (None, Some(id)));
    // The same command again, and another one of that version.
    assert_eq!(store.set_domains(&command, first.clone()).await.unwrap(), Ok(SetDomainsOutcome::Done));
    assert_eq!(set(&store, &first).await, SetDomainsOutcome::Stale);
    assert_eq!(tenant_of(&store, id).await, written);
    // What is no longer proved is free.
    assert_eq!(set(&store, &set_to(&store, by, vec![two.clone().lost()]).await).await, SetDomainsOutcome::Done);
    assert_eq!((store.domain_holder(&two.name).await.unwrap(), listed(&store, &two.name).await), (None, None));
}

pub(crate) async fn only_organizations_have_domains_and_only_those_who_may_set_them(store: S) {
    let p = person(&store).await;
    let domain = || vec![entered(&some_name(), DomainStatus::Proved)];
    let home = set_to(&store, By::operator(p.tenant.id), domain()).await;
    assert_eq!(set(&store, &home).await, SetDomainsOutcome::Stale, "a personal tenant");
    let (id, _) = founded(&store).await;
    let stranger = By { tenant_id: id, authority: crate::domain::authority::Authority::Person { user: p.user.id, session: p.session.id } };
    let cmd = set_to(&store, stranger, domain()).await;
    assert_eq!(store.set_domains(&ctx(T), cmd).await.unwrap(), Err(Denied::NoPermission));
    assert_eq!(tenant_of(&store, id).await.domains, []);
}

pub(crate) async fn a_domain_is_one_tenants_8_at_once(store: S) {
    let name = some_name();
    let mut commands = Vec::new();
    for _ in 0..8 {
        let (_, by) = founded(&store).await;
        commands.push(set_to(&store, by, vec![entered(&name, DomainStatus::Proved)]).await);
    }
    let outcomes = at_once(8, |n| {
        let (store, cmd) = (store.clone(), commands[n].clone());
        async move { set(&store, &cmd).await }
    })
    .await;
    assert_eq!(count(&outcomes, &SetDomainsOutcome::Done), 1, "{outcomes:?}");
    let winner = commands[outcomes.iter().position(|o| *o == SetDomainsOutcome::Done).unwrap()].tenant_id;
    assert_eq!(count(&outcomes, &SetDomainsOutcome::Held { name: name.clone(), by: winner }), 7, "{outcomes:?}");
    assert_eq!((store.domain_holder(&name).await.unwrap(), listed(&store, &name).await), (Some(winner), Some(winner)));
    for cmd in &commands {
        let proved = tenant_of(&store, cmd.tenant_id).await.proved_domains().count();
        assert_eq!(proved, usize::from(cmd.tenant_id == winner));
    }
}

pub(crate) async fn whoever_loses_a_domain_is_named(store: S) {
    let (name, kept) = (some_name(), entered(&some_name(), DomainStatus::Proved));
    let (first, by_first) = founded(&store).await;
    let (second, by_second) = founded(&store).await;
    let theirs = entered(&name, DomainStatus::Proved);
    assert_eq!(set(&store, &set_to(&store, by_first, vec![theirs.clone(), kept.clone()]).await).await, SetDomainsOutcome::Done);
    let ours = set_to(&store, by_second, vec![entered(&name, DomainStatus::Proved)]).await;
    let displaced = |name: &DomainName, tenant_id| {
        Some(Displaced { name: name.clone(), tenant_id, audit: vec![event(tenant_id, None, "domain.lost")] })
    };
    // Neither for another domain, nor from somebody else.
    for wrong in [displaced(&kept.name, first), displaced(&name, tenant_id())] {
        let cmd = SetDomains { displaces: wrong, ..ours.clone() };
        assert_eq!(set(&store, &cmd).await, SetDomainsOutcome::Held { name: name.clone(), by: first });
    }
    let version = tenant_of(&store, first).await.version;
    let (command, cmd) = (ctx(T), SetDomains { displaces: displaced(&name, first), ..ours });
    for _ in 0..2 {
        assert_eq!(store.set_domains(&command, cmd.clone()).await.unwrap(), Ok(SetDomainsOutcome::Done));
    }
    let loser = tenant_of(&store, first).await;
    assert_eq!((loser.domains, loser.version), (vec![theirs.lost(), kept.clone()], version + 1));
    assert_eq!((store.domain_holder(&name).await.unwrap(), listed(&store, &name).await), (Some(second), Some(second)));
    assert_eq!(store.domain_holder(&kept.name).await.unwrap(), Some(first));
    let events = store.audit_events(first, None, 10).await.unwrap();
    assert_eq!(events.iter().filter(|(e, _)| e.event == "domain.lost").count(), 1);
    // A loser that removes what it lost takes nothing from the winner.
    assert_eq!(set(&store, &set_to(&store, by_first, vec![kept]).await).await, SetDomainsOutcome::Done);
    assert_eq!((store.domain_holder(&name).await.unwrap(), listed(&store, &name).await), (Some(second), Some(second)));
}

pub(crate) async fn a_look_is_noted_whatever_else_changes(store: S) {
    let (id, by) = founded(&store).await;
    let (ours, pending) = (entered(&some_name(), DomainStatus::Proved), entered(&some_name(), DomainStatus::Pending));
    assert_eq!(set(&store, &set_to(&store, by, vec![ours.clone(), pending.clone()]).await).await, SetDomainsOutcome::Done);
    let look =
        |domain: &TenantDomain, found| NoteLook { tenant_id: id, domain_id: domain.id, found, lost: vec![event(id, None, "domain.lost")] };
    let note = async |day: u64, cmd: &NoteLook| store.note_look(&ctx(T.plus(days(day))), cmd.clone()).await.unwrap();
    assert_eq!(note(1, &look(&pending, Found::Present)).await.unwrap().status, DomainStatus::Pending, "a look proves nothing");
    // Beside eight others at once, which all change the tenant.
    for day in 1..=4 {
        let noted = at_once(8, |_| {
            let (store, cmd) = (store.clone(), look(&ours, Found::Absent));
            async move { store.note_look(&ctx(T.plus(days(day))), cmd).await.unwrap().unwrap() }
        })
        .await;
        let expected = if day < 4 { DomainStatus::Proved } else { DomainStatus::Lost };
        assert!(noted.iter().all(|d| d.status == expected), "day {day}: {noted:?}");
    }
    assert_eq!((store.domain_holder(&ours.name).await.unwrap(), listed(&store, &ours.name).await), (None, None));
    let events = store.audit_events(id, None, 20).await.unwrap();
    assert_eq!(events.iter().filter(|(e, _)| e.event == "domain.lost").count(), 1);
    assert_eq!(note(9, &NoteLook { domain_id: DomainId::new(&SystemClock, &SystemRng), ..look(&ours, Found::Absent) }).await, None);
}

pub(crate) async fn a_deleted_tenant_holds_no_domain(store: S) {
    let name = some_name();
    let (id, by) = founded(&store).await;
    assert_eq!(set(&store, &set_to(&store, by, vec![entered(&name, DomainStatus::Proved)]).await).await, SetDomainsOutcome::Done);
    let cmd = DeleteTenant { tenant_id: id, by, audit: Vec::new() };
    assert!(store.delete_tenant(&ctx(T), cmd).await.unwrap().is_ok());
    assert_eq!((store.domain_holder(&name).await.unwrap(), listed(&store, &name).await), (None, None));
    let (other, by) = founded(&store).await;
    assert_eq!(set(&store, &set_to(&store, by, vec![entered(&name, DomainStatus::Proved)]).await).await, SetDomainsOutcome::Done);
    assert_eq!(store.domain_holder(&name).await.unwrap(), Some(other));
}

/// Of the members of a deleted tenant those go with it over whom it had power by their domain, and who belong nowhere else.
pub(crate) async fn members_there_go_with_the_tenant(store: S) {
    let (t, _alone) = era(&store, 37).await;
    let (_, id) = org(&store, false).await;
    // All addresses of these cases are there.
    let name: DomainName = "example.com".parse().unwrap();
    let before = member(&store, id, RoleId::MEMBER, false).await;
    assert_eq!(
        set(&store, &set_to(&store, By::operator(id), vec![entered(&name, DomainStatus::Proved)]).await).await,
        SetDomainsOutcome::Done
    );
    let made = member(&store, id, RoleId::MEMBER, true).await;
    let at_home = person(&store).await;
    joined(&store, id, &at_home, RoleId::MEMBER).await;
    let cmd = DeleteTenant { tenant_id: id, by: By::operator(id), audit: vec![] };
    assert!(store.delete_tenant(&ctx(t), cmd).await.unwrap().is_ok());
    while store.end_tenants(t, &newcomers()).await.unwrap().more {}
    // The one of before, too: whoever holds the domain could have its mail redirected.
    for gone in [&before, &made] {
        assert_eq!(user(&store, gone.user.id).await.deleted_at, Some(t));
    }
    belongs(&store, &at_home, at_home.tenant.id, &[]).await;
    assert_eq!(user(&store, at_home.user.id).await.deleted_at, None);
}
