use super::*;

/// Of format 2.
fn entry() -> AuditEntry {
    AuditEntry {
        id: AuditId::from_bytes([1; 16]),
        tenant_id: TenantId::from_bytes([2; 16]),
        event: "password.changed".into(),
        actor: ActorKind::User,
        actor_id: Some([3; 16]),
        user_id: Some(UserId::from_bytes([3; 16])),
        network: Some(Network::V4([192, 0, 2, 1])),
        request_id: Some("r".into()),
        at: Timestamp::from_millis(5),
        actor_seal: Seal::Salt([6; 16]),
        subject_seal: Seal::Salt([7; 16]),
        seq: Some(1),
        format: 2,
        resource_type: Some("tenant".into()),
        resource_id: Some([5; 16]),
        changed: vec!["name".into(), "slug".into()],
        user_agent: Some("agent".into()),
        agent_seal: Some(Seal::Salt([8; 16])),
    }
}
/// As an older version wrote it.
fn old() -> AuditEntry {
    let (resource_type, resource_id, changed, user_agent, agent_seal) = (None, None, vec![], None, None);
    AuditEntry { format: 1, resource_type, resource_id, changed, user_agent, agent_seal, ..entry() }
}
fn hex(link: [u8; 32]) -> String {
    link.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn what_was_linked_stays_linked() {
    // Computed beside this program. Neither may ever change: chains of many years are made of them.
    assert_eq!(hex(old().link(1, &GENESIS)), "4ef27d3ba8908c091be89336d5ec590a065d4761bb5fbea85edfa98c86c89ec3");
    assert_eq!(hex(entry().link(1, &GENESIS)), "f536bf8aedb34ed0f801b69aa36e0361f78133e78ed71b06e57b645c5236501d");
    let mut erased = [old(), entry()];
    erased.iter_mut().for_each(|e| e.erase(UserId::from_bytes([3; 16])));
    assert_eq!(erased.map(|e| e.link(1, &GENESIS)), [old().link(1, &GENESIS), entry().link(1, &GENESIS)]);
}

#[test]
fn a_new_event_is_of_format_2_with_all_that_it_says() {
    let (user, tenant, id) = (UserId::from_bytes([3; 16]), TenantId::from_bytes([2; 16]), AuditId::from_bytes([1; 16]));
    let event = |name| AuditEvent {
        user_id: Some(user),
        user_agent: Some("agent".into()),
        ..AuditEvent::new(id, tenant, name, Actor::User(user), Timestamp::from_millis(5))
    };
    let stored = |e: &AuditEvent| AuditEntry::new(e, [[6; 16], [7; 16], [8; 16]]);
    let e = stored(&event("role.given").about_resource("role", &[9; 16]).changing(["name"]));
    assert_eq!((e.format, e.seq, e.user_agent.as_deref(), &e.changed), (2, None, Some("agent"), &vec!["name".to_owned()]));
    assert_eq!((e.resource_type.as_deref(), e.resource()), (Some("role"), Some(&[9; 16])));
    assert_eq!([Some(e.actor_seal), Some(e.subject_seal), e.agent_seal], [[6; 16], [7; 16], [8; 16]].map(|salt| Some(Seal::Salt(salt))));
    let about = |name| {
        let e = stored(&event(name));
        (e.resource_type.clone(), e.resource().copied())
    };
    assert_eq!(about("policy.changed"), (Some("tenant".into()), Some([2; 16])));
    assert_eq!(about("session.others_ended"), (Some("session".into()), None));
    assert_eq!(about("sign_in.refused"), (None, None));
    // The id of a user is nowhere but where it can be erased.
    assert_eq!(about("email.verified"), (Some("user".into()), Some([3; 16])));
    let mut e = stored(&event("user.updated").about_resource("user", user.as_bytes()));
    assert_eq!((e.resource_id, e.resource()), (None, Some(&[3; 16])));
    e.erase(user);
    assert_eq!((e.resource_type.as_deref(), e.resource()), (Some("user"), None));
}

#[test]
fn an_event_that_an_older_version_wrote_is_read() {
    let new = AuditEvent::new(
        AuditId::from_bytes([1; 16]),
        TenantId::from_bytes([2; 16]),
        "sign_in.refused",
        Actor::Anonymous,
        Timestamp::from_millis(5),
    );
    let mut fields = serde_json::to_value(&new).unwrap();
    for name in ["resource_type", "resource_id", "changed", "user_agent"] {
        assert!(fields.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    assert_eq!(serde_json::from_value::<AuditEvent>(fields).unwrap(), new);
}

#[test]
fn every_field_is_in_the_link() {
    let link = |of: fn() -> AuditEntry, change: fn(&mut AuditEntry)| {
        let mut e = of();
        change(&mut e);
        e.link(1, &GENESIS)
    };
    let changes: [fn(&mut AuditEntry); 11] = [
        |e| e.id = AuditId::from_bytes([9; 16]),
        |e| e.tenant_id = TenantId::from_bytes([9; 16]),
        |e| e.event = "password.reset".into(),
        |e| e.actor = ActorKind::ApiKey,
        |e| e.actor_id = None,
        |e| e.user_id = None,
        |e| e.network = Some(Network::V4([192, 0, 2, 2])),
        |e| e.request_id = None,
        |e| e.at = Timestamp::from_millis(6),
        |e| e.actor_seal = Seal::Salt([9; 16]),
        |e| e.subject_seal = Seal::Digest([9; 32]),
    ];
    let new_in_2: [fn(&mut AuditEntry); 11] = [
        |e| e.format = 1,
        |e| e.resource_type = None,
        |e| e.resource_type = Some("role".into()),
        |e| e.resource_id = None,
        |e| e.resource_id = Some([9; 16]),
        |e| e.changed = vec!["name".into()],
        |e| e.changed = vec!["names".into(), "lug".into()],
        |e| e.user_agent = None,
        |e| e.user_agent = Some("another agent".into()),
        |e| e.agent_seal = Some(Seal::Salt([9; 16])),
        |e| e.agent_seal = None,
    ];
    for of in [old, entry] {
        let good = of().link(1, &GENESIS);
        for (i, change) in changes.into_iter().enumerate() {
            assert_ne!(link(of, change), good, "change {i}");
        }
        assert_ne!(of().link(2, &GENESIS), good);
        assert_ne!(of().link(1, &[1; 32]), good);
    }
    for (i, change) in new_in_2.into_iter().enumerate() {
        assert_ne!(link(entry, change), entry().link(1, &GENESIS), "change {i}");
    }
}

#[test]
fn erasing_keeps_the_links_of_both_formats_and_leaves_nothing_of_the_user() {
    let user = UserId::from_bytes([3; 16]);
    let links = |e: &AuditEntry| [e.link_of(1, 1, &GENESIS), e.link_of(2, 1, &GENESIS)];
    let erased = |before: &AuditEntry| {
        let mut e = before.clone();
        // Twice is as good as once.
        for _ in 0..2 {
            e.erase(user);
            assert_eq!(links(&e), links(before));
        }
        e
    };
    for before in [old(), entry()] {
        let e = erased(&before);
        assert_eq!((e.user_id, e.actor_id, e.network, &e.request_id, &e.user_agent), (None, None, None, &None, &None));
        assert!(e.actor_seal.is_erased() && e.subject_seal.is_erased());
        assert_eq!(e.agent_seal.map(|seal| seal.is_erased()), before.agent_seal.map(|_| true));
        assert_eq!((&e.resource_type, e.resource_id, &e.changed), (&before.resource_type, before.resource_id, &before.changed));
    }
    // What an admin did stays with the admin.
    let e = erased(&AuditEntry { actor_id: Some([4; 16]), ..entry() });
    assert_eq!((e.user_id, e.actor_id, e.network.is_some(), e.user_agent.is_some()), (None, Some([4; 16]), true, true));
    // A reset is asked for by nobody known, who is the user.
    let e = erased(&AuditEntry { actor: ActorKind::Anonymous, actor_id: None, ..entry() });
    assert_eq!((e.user_id, e.network, &e.request_id, &e.user_agent), (None, None, &None, &None));
    // What a user did to somebody else loses the one who did it.
    let e = erased(&AuditEntry { user_id: Some(UserId::from_bytes([4; 16])), ..entry() });
    assert_eq!((e.user_id.is_some(), e.actor_id, &e.user_agent), (true, None, &None));
}

#[test]
fn a_walk_stops_at_what_is_wrong() {
    let row = || ChainRow { seq: 1, event_id: entry().id, link: entry().link(1, &GENESIS), entry: Some(entry()) };
    assert_eq!(Head::EMPTY.walk(&row()), Ok(Head { seq: 1, link: row().link }));
    let wrong = [
        ChainRow { seq: 2, ..row() },
        ChainRow { entry: None, ..row() },
        ChainRow { link: [0; 32], ..row() },
        ChainRow { entry: Some(AuditEntry { seq: Some(2), ..entry() }), ..row() },
        ChainRow { entry: Some(AuditEntry { event: "x.y".into(), ..entry() }), ..row() },
    ];
    for row in wrong {
        assert!(Head::EMPTY.walk(&row).is_err(), "{row:?}");
    }
}

#[test]
fn a_new_event_may_have_a_link_of_format_1_and_an_old_one_none_of_format_2() {
    let walk = |entry: AuditEntry, link| Head::EMPTY.walk(&ChainRow { seq: 1, event_id: entry.id, link, entry: Some(entry) });
    let by_an_older_node = entry().link_of(1, 1, &GENESIS);
    assert_eq!(by_an_older_node, old().link(1, &GENESIS));
    let mut erased = entry();
    erased.erase(UserId::from_bytes([3; 16]));
    for e in [entry(), erased] {
        assert!(walk(e.clone(), by_an_older_node).is_ok());
        assert!(walk(e, entry().link(1, &GENESIS)).is_ok());
    }
    assert!(walk(AuditEntry { at: Timestamp::from_millis(6), ..entry() }, by_an_older_node).is_err());
    assert!(walk(old(), by_an_older_node).is_ok());
    assert!(walk(old(), old().link_of(2, 1, &GENESIS)).is_err());
}
