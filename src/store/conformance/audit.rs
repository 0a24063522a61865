//! Audit events and their chains.

use super::fixture::*;
use crate::{
    domain::{
        audit::{AuditEvent, FORMAT, Head},
        context::Actor,
        ids::{AuditId, TenantId, UserId},
        time::Timestamp,
    },
    store::{audit::*, commands::*, leases::Duty},
};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Mutex;

/// There is one lease of this duty a store, and cases may share a store: they take turns, each in an hour of its own.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());
static HOUR: AtomicI64 = AtomicI64::new(0);

fn hour() -> Timestamp {
    T.plus(secs(3600 * HOUR.fetch_add(1, Ordering::Relaxed).cast_unsigned()))
}
/// Links all that waits.
pub(crate) async fn linked_up(store: &S) {
    let fence = store.lease(Duty::Audit, nonce(), hour(), secs(10)).await.unwrap().expect("former leases are over");
    while store.audit_waits().await.unwrap() {
        assert!(matches!(store.link_audit(fence, 7).await.unwrap(), Cas::Done(_)));
    }
}
/// Walks a chain that must be whole; gives the ids of its events in order.
pub(crate) async fn walked(store: &S, tenant: TenantId) -> Vec<AuditId> {
    let state = store.chain_state(tenant).await.unwrap();
    let (mut at, mut ids) = (Head::EMPTY, vec![]);
    loop {
        let rows = store.chain(tenant, at.seq, 3).await.unwrap();
        if rows.is_empty() {
            break;
        }
        for row in rows {
            at = at.walk(&row).unwrap();
            ids.push(row.event_id);
        }
    }
    assert_eq!((at, state.last, state.stray), (state.head, state.head.seq, None));
    ids
}
/// Written with a sign-up.
async fn told(store: &S, events: Vec<AuditEvent>) {
    let mut cmd = newcomer(T);
    cmd.audit = events;
    signed_up(store, cmd).await;
}
pub(crate) fn some(tenant: TenantId, n: usize) -> Vec<AuditEvent> {
    (0..n).map(|_| event(tenant, Some(user_id()), "user.signed_up")).collect()
}
fn ids(events: &[AuditEvent]) -> Vec<AuditId> {
    events.iter().map(|e| e.id).collect()
}

pub(crate) async fn events_are_listed_newest_first(store: S) {
    let (tenant, other) = (tenant_id(), tenant_id());
    let mut events = some(tenant, 5);
    events[0].actor = Actor::User(user_id());
    events[1].actor = Actor::ApiKey(api_key_id());
    events[2] = AuditEvent { actor: Actor::System, user_id: None, network: None, request_id: None, ..events[2].clone() };
    told(&store, [events.clone(), some(other, 1)].concat()).await;
    let shown = store.audit_events(tenant, None, 50).await.unwrap();
    events.sort_by_key(|e| std::cmp::Reverse(e.id));
    assert_eq!(shown.iter().map(|(e, _)| e.id).collect::<Vec<_>>(), ids(&events));
    for ((shown, _), e) in shown.iter().zip(&events) {
        let (kind, id) = crate::domain::audit::ActorKind::of(&e.actor);
        assert_eq!((shown.actor, shown.actor_id.as_ref()), (kind, id));
        assert_eq!((&shown.event, shown.tenant_id, shown.user_id, shown.at), (&e.event, tenant, e.user_id, e.at));
        assert_eq!((shown.network, &shown.request_id), (e.network, &e.request_id));
        assert!(!shown.actor_seal.is_erased() && shown.actor_seal != shown.subject_seal);
    }
    let page = store.audit_events(tenant, Some(events[1].id), 2).await.unwrap();
    assert_eq!(page.iter().map(|(e, _)| e.id).collect::<Vec<_>>(), ids(&events[2..4]));
    assert_eq!(store.audit_events(tenant, Some(events[4].id), 2).await.unwrap(), []);
}

pub(crate) async fn every_field_of_an_event_survives(store: S) {
    let _turn = TURN.lock().await;
    let (tenant, who, role) = (tenant_id(), user_id(), role_id());
    let full = || {
        let e = event(tenant, Some(who), "role.given").about_resource("role", role.as_bytes()).changing(["one", "an \"other\""]);
        AuditEvent { actor: Actor::User(who), user_agent: Some("agent/1 (ä)".into()), ..e }
    };
    let bare = event(tenant, None, "sign_in.refused");
    let of_user = event(tenant, Some(who), "user.updated").changing(["phone"]);
    // One is linked before the user is erased, one afterwards.
    let (early, late) = (full(), full());
    told(&store, vec![early.clone(), bare.clone(), of_user.clone()]).await;
    linked_up(&store).await;
    told(&store, vec![late.clone()]).await;
    let shown = async |id: AuditId| {
        let all = store.audit_events(tenant, None, 50).await.unwrap();
        all.into_iter().find(|(e, _)| e.id == id).map(|(e, _)| e).expect("it is listed")
    };
    for written in [&early, &late] {
        let e = shown(written.id).await;
        assert_eq!((e.format, e.agent_seal.is_some_and(|seal| !seal.is_erased())), (FORMAT, true));
        assert_eq!((e.resource_type.as_deref(), e.resource_id), (Some("role"), Some(*role.as_bytes())));
        assert_eq!((&e.changed, &e.user_agent), (&written.changed, &written.user_agent));
        assert!(e.agent_seal != Some(e.actor_seal) && e.agent_seal != Some(e.subject_seal));
    }
    let e = shown(bare.id).await;
    assert_eq!((e.format, e.resource_type, e.resource_id, e.changed, e.user_agent), (FORMAT, None, None, vec![], None));
    let e = shown(of_user.id).await;
    assert_eq!((e.resource_type.as_deref(), e.resource(), &e.changed), (Some("user"), Some(who.as_bytes()), &of_user.changed));
    store.erase_from_audit(who).await.unwrap();
    linked_up(&store).await;
    assert_eq!(walked(&store, tenant).await.len(), 4);
    for id in [early.id, late.id] {
        let e = shown(id).await;
        assert_eq!((e.actor_id, &e.user_agent, e.agent_seal.is_some_and(|seal| seal.is_erased())), (None, &None, true));
        assert_eq!((e.resource_id, &e.changed), (Some(*role.as_bytes()), &early.changed));
    }
    let e = shown(of_user.id).await;
    assert_eq!((e.resource_type.as_deref(), e.resource()), (Some("user"), None));
}

pub(crate) async fn each_tenant_has_one_chain(store: S) {
    let _turn = TURN.lock().await;
    let (a, b) = (tenant_id(), tenant_id());
    told(&store, [some(a, 9), some(b, 4)].concat()).await;
    assert_eq!(store.chain_state(a).await.unwrap(), ChainState { head: Head::EMPTY, last: 0, unlinked: 9, stray: None });
    assert!(store.audit_waits().await.unwrap());
    linked_up(&store).await;
    let first = walked(&store, a).await;
    assert_eq!((first.len(), walked(&store, b).await.len()), (9, 4));
    // It goes on where it was; what comes late, with an id of before, comes at the end all the same.
    let late = AuditEvent { id: AuditId::from_bytes([0; 16]), ..event(a, None, "user.signed_up") };
    told(&store, vec![late.clone()]).await;
    told(&store, some(a, 2)).await;
    linked_up(&store).await;
    let all = walked(&store, a).await;
    assert_eq!((all.len(), &all[..9]), (12, &first[..]));
    assert!(all[9..].contains(&late.id));
    // The list shows each link.
    let shown = store.audit_events(a, None, 50).await.unwrap();
    let head = store.chain_state(a).await.unwrap().head;
    assert!(shown.iter().any(|(e, link)| e.seq == Some(12) && *link == Some(head.link)));
    assert!(shown.iter().all(|(e, link)| e.seq.is_some() && link.is_some()));
}

pub(crate) async fn a_former_holder_links_nothing(store: S) {
    let _turn = TURN.lock().await;
    let t = hour();
    let lease = async |at: u64| store.lease(Duty::Audit, nonce(), t.plus(secs(at)), secs(10)).await.unwrap();
    let first = lease(0).await.expect("free");
    let second = lease(10).await.expect("it has ended");
    let tenant = tenant_id();
    told(&store, some(tenant, 1)).await;
    assert_eq!(store.link_audit(first, 100).await.unwrap(), Cas::Stale, "a former holder that wakes up late");
    assert_eq!(store.chain_state(tenant).await.unwrap().unlinked, 1);
    while store.audit_waits().await.unwrap() {
        assert!(matches!(store.link_audit(second, 100).await.unwrap(), Cas::Done(_)));
    }
    assert_eq!(walked(&store, tenant).await.len(), 1);
}

pub(crate) async fn chainers_at_once_make_one_chain(store: S) {
    let _turn = TURN.lock().await;
    let (tenant, t) = (tenant_id(), hour());
    let events = some(tenant, 60);
    let chainer = |_| {
        let store = store.clone();
        async move {
            let holder = nonce();
            for round in 0..200 {
                // Each takes the lease from the one before, who goes on with a fence of the past.
                let Some(fence) = store.lease(Duty::Audit, holder, t.plus(secs(round)), secs(1)).await.unwrap() else { continue };
                for _ in 0..2 {
                    store.link_audit(fence, 3).await.unwrap();
                }
            }
        }
    };
    let writer = async {
        for some in events.chunks(6) {
            told(&store, some.to_vec()).await;
        }
    };
    tokio::join!(at_once(8, chainer), writer);
    hour();
    linked_up(&store).await;
    let mut chained = walked(&store, tenant).await;
    chained.sort();
    let mut all = ids(&events);
    all.sort();
    assert_eq!(chained, all, "each event once");
}

pub(crate) async fn erasing_keeps_the_chain_whole(store: S) {
    let _turn = TURN.lock().await;
    let (tenant, gone, admin): (_, UserId, UserId) = (tenant_id(), user_id(), user_id());
    let by = |actor, about| AuditEvent { actor, ..event(tenant, about, "user.updated") };
    let events = [
        by(Actor::User(gone), Some(gone)),
        by(Actor::User(admin), Some(gone)),
        by(Actor::User(gone), Some(admin)),
        by(Actor::Anonymous, Some(gone)),
        by(Actor::User(admin), Some(admin)),
    ];
    told(&store, events[..3].to_vec()).await;
    linked_up(&store).await;
    // Some are linked by now, some not yet.
    told(&store, events[3..].to_vec()).await;
    for _ in 0..2 {
        store.erase_from_audit(gone).await.unwrap();
    }
    linked_up(&store).await;
    assert_eq!(walked(&store, tenant).await.len(), 5);
    let shown = store.audit_events(tenant, None, 50).await.unwrap();
    let by_id = |e: &AuditEvent| shown.iter().find(|(s, _)| s.id == e.id).map(|(s, _)| s.clone()).unwrap();
    let (gone, admin) = (*gone.as_bytes(), *admin.as_bytes());
    assert!(shown.iter().all(|(e, _)| e.actor_id != Some(gone) && e.user_id.is_none_or(|u| *u.as_bytes() != gone)));
    for (event, network_stays) in events.iter().zip([false, true, false, false, true]) {
        let e = by_id(event);
        assert_eq!((e.network.is_some(), e.request_id.is_some()), (network_stays, network_stays), "{event:?}");
    }
    assert_eq!(by_id(&events[1]).actor_id, Some(admin), "what the admin did stays his");
    assert_eq!(by_id(&events[4]).user_id, events[4].user_id);
}

pub(crate) async fn every_audited_tenant_is_found(store: S) {
    let mut mine = [tenant_id(), tenant_id(), tenant_id()];
    mine.sort();
    told(&store, mine.iter().flat_map(|t| some(*t, 1)).collect()).await;
    let (mut found, mut after) = (vec![], None);
    while let Some(tenant) = store.audited_tenant(after).await.unwrap() {
        assert!(after < Some(tenant));
        found.push(tenant);
        after = Some(tenant);
    }
    assert!(mine.iter().all(|t| found.contains(t)));
}

pub(crate) async fn events_without_another_command_are_written_once(store: S) {
    let tenant = tenant_id();
    let (ctx, events) = (ctx(T), some(tenant, 2));
    for _ in 0..3 {
        store.write_audit(&ctx, events.clone()).await.unwrap();
        assert_eq!(store.audit_events(tenant, None, 9).await.unwrap().len(), 2);
    }
}
