//! What nodes of an older version, beside which this one runs while a cluster is upgraded, leave of an event.

use super::*;
use crate::domain::{
    audit::{ChainRow, GENESIS, Head},
    context::Actor,
    network::Network,
};
use serde_json::{Map, Value};

fn user() -> UserId {
    UserId::from_bytes([3; 16])
}
/// An event by a user, about the same one.
fn event() -> AuditEntry {
    let (id, tenant) = (AuditId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
    let e = AuditEvent {
        user_id: Some(user()),
        network: Some(Network::V4([192, 0, 2, 1])),
        request_id: Some("r".into()),
        user_agent: Some("planted".into()),
        ..AuditEvent::new(id, tenant, "role.given", Actor::User(user()), Timestamp::from_millis(5))
    };
    AuditEntry::new(&e.about_resource("role", &[4; 16]).changing(["name"]), [[6; 16], [7; 16], [8; 16]])
}
fn of_format_1(e: &AuditEntry) -> AuditEntry {
    let (resource_type, resource_id, changed, user_agent, agent_seal) = (None, None, vec![], None, None);
    AuditEntry { format: 1, resource_type, resource_id, changed, user_agent, agent_seal, ..e.clone() }
}
/// As an older version writes it: without what it does not know.
fn as_of_old(body: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(body).unwrap();
    assert!(fields.remove("more").is_some());
    serde_json::to_string(&fields).unwrap()
}
fn read(by: &str, e: &AuditEntry, linked: Option<&Linked>) -> AuditEntry {
    let (by, to) = (by.to_owned(), json(&To::of(e)).unwrap());
    body::assemble(&Place::of(e), [Some(&by), Some(&to)], linked).unwrap().unwrap()
}
fn is_whole(entry: AuditEntry, link: [u8; 32]) -> bool {
    Head::EMPTY.walk(&ChainRow { seq: 1, event_id: entry.id, link, entry: Some(entry) }).is_ok()
}

#[test]
fn an_event_is_read_as_it_was_written() {
    let e = event();
    let by = json(&By::of(&e)).unwrap();
    assert_eq!(read(&by, &e, None), e);
    assert_eq!(read(&as_of_old(&by), &e, None), of_format_1(&e));
    let old = of_format_1(&e);
    assert_eq!(read(&json(&By::of(&old)).unwrap(), &old, None), old);
}

#[test]
fn a_link_of_an_older_version_is_right() {
    let e = event();
    let link = of_format_1(&e).link(1, &GENESIS);
    let linked: Linked = parse(&as_of_old(&json(&Linked::of(&e, 1, link)).unwrap())).unwrap();
    let shown = read(&json(&By::of(&e)).unwrap(), &e, Some(&linked));
    assert_eq!(shown, AuditEntry { seq: Some(1), ..e });
    assert!(is_whole(shown, link));
}

#[test]
fn a_linked_event_that_an_older_version_erases_stays_linked() {
    let e = event();
    let link = e.link(1, &GENESIS);
    let linked = Linked::of(&e, 1, link);
    assert!(!json(&linked).unwrap().contains("planted"), "beside the link lies nothing personal");
    let mut erased = e;
    erased.erase(user());
    let shown = read(&as_of_old(&json(&By::of(&erased)).unwrap()), &erased, Some(&linked));
    assert_eq!(shown, AuditEntry { seq: Some(1), ..erased });
    assert!(is_whole(shown, link));
}
