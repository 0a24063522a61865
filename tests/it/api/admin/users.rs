//! Made, found, changed, suspended, deleted, restored.

use super::*;
use crate::{
    api::{all, count},
    support::app::unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_and_signs_in() {
    let app = App::new().await;
    let org = org(&app).await;
    let (mark, password) = (unique(), fresh_password());
    let email = format!("ada{mark}@example.com");
    let body = json!({"email": format!(" Ada{mark}@Example.COM"), "password": password, "display_name": "Ada", "phone": "+1 415 555 0100",
        "metadata": {"plan": {"seats": 3}}, "email_verified": true, "tenant_id": org.id});
    let user = org.post(&app, "/v1/users", body.clone()).await.expect(201);
    assert_eq!((user.str("email"), user.str("tenant_id"), user.str("status")), (email.clone(), org.id.clone(), "active".into()));
    assert_eq!(user.body["roles"], json!(["member"]));
    assert_eq!(user.body["metadata"], json!({"plan": {"seats": 3}}));
    let unproved = user.body["email_verified_at"].is_null() && user.body["phone_verified_at"].is_null();
    assert!(unproved && user.body["email_asserted_at"].is_string(), "what an admin says is no proof: {}", user.text);
    let read = org.get(&app, &format!("/v1/users/{}", user.str("id"))).await.expect(200);
    assert_eq!(read.body, user.body);
    let pair = app.login(&email, &password).await.expect(200);
    assert_eq!(pair.str("tenant_id"), org.id, "its home");
    assert_eq!(app.get_as(&pair.str("access_token"), "/v1/tenants").await.expect(200).body["items"].as_array().unwrap().len(), 1);
    // An assertion proves nothing: the address can still be proved.
    let path = format!("/v1/users/{}/verify/email/start", user.str("id"));
    app.post_as(&pair.str("access_token"), &path, json!({})).await.expect(200);
    org.post(&app, "/v1/users", body).await.refused(409, "email_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_another_system_or_a_mailed_link() {
    let app = App::new().await;
    let org = org(&app).await;
    let password = fresh_password();
    let hash = bcrypt::hash(&password, 10).unwrap();
    let with_hash = |hash: &str| json!({"email": fresh_email(), "password_hash": hash});
    let user = org.post(&app, "/v1/users", with_hash(&hash)).await.expect(201);
    app.login(&user.str("email"), &password).await.expect(200);
    // A fast hash is wrapped before it is stored.
    let ssha = org.post(&app, "/v1/users", with_hash("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")).await.expect(201);
    app.login(&ssha.str("email"), "password").await.expect(200);
    // So is one of a slow format whose costs are too low.
    let cheap = org.post(&app, "/v1/users", with_hash(&bcrypt::hash(&password, 5).unwrap())).await.expect(201);
    app.login(&cheap.str("email"), &password).await.expect(200);
    let dear = org.post(&app, "/v1/users", with_hash(&hash.replace("$10$", "$15$"))).await.refused(422, "validation_failed");
    assert!(dear.text.contains("the cost is at most 14"), "{}", dear.text);
    for bad in ["plain text", "$2b$31$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", &"$".repeat(5000)] {
        let reply = org.post(&app, "/v1/users", with_hash(bad)).await.refused(422, "validation_failed");
        assert!(reply.body["error"]["fields"]["password_hash"].is_string(), "{}", reply.text);
    }
    let both = json!({"email": fresh_email(), "password_hash": hash, "password": password});
    org.post(&app, "/v1/users", both).await.refused(422, "validation_failed");

    let email = fresh_email();
    org.post(&app, "/v1/users", json!({"email": email})).await.expect(201);
    app.login(&email, &password).await.refused(401, "invalid_credentials");
    let token = app.message(&email, 1).await.token();
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": password})).await.expect(200);
    app.login(&email, &password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    let app = App::new().await;
    let (org, other) = (org(&app).await, org(&app).await);
    let with = |more: Value| {
        let mut body = json!({"email": fresh_email(), "password": fresh_password()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    org.post(&app, "/v1/users", with(json!({"tenant_id": other.id}))).await.refused(404, "not_found");
    org.post(&app, "/v1/users", with(json!({"role_id": "01890000-0000-7000-8000-000000000000"}))).await.refused(404, "not_found");
    let large = json!({"k": "x".repeat(16 * 1024)});
    let refused = org.post(&app, "/v1/users", with(json!({"metadata": large}))).await.refused(422, "validation_failed");
    assert!(refused.body["error"]["fields"]["metadata"].is_string(), "{}", refused.text);
    for bad in [json!({"metadata": [1]}), json!({"phone": "12"}), json!({"email": "x"}), json!({"display_name": "a\nb"})] {
        org.post(&app, "/v1/users", with(bad)).await.refused(422, "validation_failed");
    }
    org.post(&app, "/v1/users", with(json!({"password": "password"}))).await.refused(422, "weak_password");
    app.post_as(&org.owner.access, "/v1/users", with(json!({}))).await.refused(422, "validation_failed");
    let made = org.make(&app).await;
    for bad in [json!({"status": "deleted"}), json!({"status": 1}), json!({"metadata": large}), json!({"phone": "x"})] {
        org.patch(&app, &made.id, bad).await.refused(422, "validation_failed");
    }
    for bad in ["status=gone", "email=x", "limit=0", "limit=201"] {
        org.get(&app, &format!("/v1/users?{bad}")).await.refused(422, "validation_failed");
    }
    org.get(&app, "/v1/users?cursor=abc").await.refused(400, "invalid_cursor");
    org.get(&app, "/v1/users/abc").await.refused(400, "malformed_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_and_found() {
    let app = App::new().await;
    let org = org(&app).await;
    let mut made = vec![org.owner.user_id.clone()];
    for (email, name) in [
        ("zoe@find.example", "Ada Byron"),
        ("ada@find.example", "Ada King"),
        ("ädele@find.example", "Zoë"),
        ("bob@find.example", "ÄDELE"),
        ("ad_%@find.example", ""),
    ] {
        made.push(org.make_with(&app, json!({"email": email, "display_name": name})).await.id);
    }
    assert_eq!(org.ids(&app, "/v1/users").await, made, "in the order of their making");
    // Page by page.
    let (mut paged, mut path) = (vec![], "/v1/users?limit=2".to_owned());
    loop {
        let page = org.get(&app, &path).await.expect(200);
        let found = ids(&page);
        assert!(found.len() <= 2);
        paged.extend(found);
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        let mut changed = cursor.to_owned();
        changed.replace_range(8..9, if &cursor[8..9] == "A" { "B" } else { "A" });
        org.get(&app, &format!("/v1/users?limit=2&cursor={changed}")).await.refused(400, "invalid_cursor");
        // Of another list.
        org.get(&app, &format!("/v1/users?q=a&cursor={cursor}")).await.refused(400, "invalid_cursor");
        path = format!("/v1/users?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, made);
    let find = async |query: &str| org.ids(&app, &format!("/v1/users?{query}")).await;
    assert_eq!(find("email=ADA@find.example").await, [made[2].clone()]);
    assert_eq!(find("email=nobody@find.example").await, [""; 0]);
    assert_eq!(find("q=ADA").await, [made[1].clone(), made[2].clone()], "Ada Byron, ada@");
    assert_eq!(find("q=ada%20k").await, [made[2].clone()]);
    assert_eq!(find("q=zo").await, [made[1].clone(), made[3].clone()]);
    assert_eq!(find("q=%C3%84del").await, [made[4].clone(), made[3].clone()]);
    assert_eq!(find("q=ad_%25").await, [made[5].clone()], "no wildcards");
    assert_eq!(find("q=find").await, [""; 0], "a prefix");
    assert_eq!(find("email=ada@find.example&q=bob").await, [""; 0]);
    // A new name or status is found by, the old one isn't.
    org.patch(&app, &made[4], json!({"display_name": "Xena", "status": "suspended"})).await.expect(200);
    assert_eq!(find("q=xen").await, [made[4].clone()]);
    assert_eq!(find("q=%C3%84del").await, [made[3].clone()]);
    assert_eq!(find("status=suspended").await, [made[4].clone()]);
    assert_eq!(find("q=xen&status=active").await, [""; 0]);
    assert_eq!(find("status=active").await.len(), made.len() - 1);
    assert_eq!(find("limit=200").await, made, "both, in order");
    org.delete(&app, &format!("/v1/users/{}", made[4])).await.expect(204);
    assert_eq!(find("q=xen").await, [""; 0]);
    assert_eq!(find("email=bob@find.example").await, [""; 0]);
    assert_eq!(find("").await.len(), made.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_changed_and_suspended() {
    let app = App::new().await;
    let org = org(&app).await;
    let made = org.make_with(&app, json!({"display_name": "Old", "phone": "+14155550100", "metadata": {"a": 1}})).await;
    let user = org.patch(&app, &made.id, json!({"display_name": "New"})).await.expect(200);
    assert_eq!(
        (&user.body["display_name"], &user.body["phone"], &user.body["metadata"]),
        (&json!("New"), &json!("+14155550100"), &json!({"a": 1}))
    );
    let user = org.patch(&app, &made.id, json!({"phone": null, "metadata": null})).await.expect(200);
    assert_eq!((&user.body["display_name"], &user.body["phone"], &user.body["metadata"]), (&json!("New"), &Value::Null, &json!({})));

    let pair = app.login(&made.email, &made.password).await.expect(200).pair();
    let both = all((0..2).map(|_| {
        let (client, token, path) = (app.other_client(), org.token.clone(), format!("/v1/users/{}", made.id));
        async move { client.send(Method::PATCH, &path, Some(&token), Some(json!({"status": "suspended"}))).await }
    }))
    .await;
    assert_eq!(count(&both, 200), 2, "twice at once is once");
    app.is_refused_within_a_second(&pair.access).await;
    assert_eq!(app.refresh(&pair.refresh).await.status, 401);
    app.login(&made.email, &made.password).await.refused(403, "account_suspended");
    app.login(&made.email, "not the password").await.refused(401, "invalid_credentials");
    let events = org.events(&app).await;
    assert_eq!(events.iter().filter(|e| *e == "user.suspended").count(), 1, "{events:?}");
    org.patch(&app, &made.id, json!({"status": "active"})).await.expect(200);
    app.login(&made.email, &made.password).await.expect(200);
    assert_eq!(app.refresh(&pair.refresh).await.status, 401, "the old sessions stay dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_sessions() {
    let app = App::new().await;
    let org = org(&app).await;
    let made = org.make(&app).await;
    let (one, two) =
        (app.login(&made.email, &made.password).await.expect(200).pair(), app.login(&made.email, &made.password).await.expect(200).pair());
    let listed = org.get(&app, &format!("/v1/users/{}/sessions", made.id)).await.expect(200);
    assert_eq!(ids(&listed), [two.session_id.clone(), one.session_id.clone()]);
    let ended = org.post(&app, &format!("/v1/users/{}/sessions/revoke-all", made.id), json!({})).await.expect(200);
    assert_eq!(ended.body, json!({"revoked": 2}));
    app.is_refused_within_a_second(&one.access).await;
    app.is_refused_within_a_second(&two.access).await;

    let three = app.login(&made.email, &made.password).await.expect(200).pair();
    let path = format!("/v1/users/{}/password", made.id);
    org.post(&app, &path, json!({"password": "password"})).await.refused(422, "weak_password");
    let new = fresh_password();
    org.post(&app, &path, json!({"password": new})).await.expect(204);
    app.is_refused_within_a_second(&three.access).await;
    assert_eq!(app.refresh(&three.refresh).await.status, 401);
    app.login(&made.email, &made.password).await.refused(401, "invalid_credentials");
    app.login(&made.email, &new).await.expect(200);
    app.message(&made.email, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recycle_bin() {
    let app = App::new().await;
    let org = org(&app).await;
    let role = org.post(&app, &format!("/v1/tenants/{}/roles", org.id), json!({"name": "Auditor", "permissions": ["audit.read"]})).await;
    let role = role.expect(201).str("id");
    let (made, second) = (org.make_with(&app, json!({"role_id": role})).await, org.make(&app).await);
    let path = format!("/v1/users/{}", made.id);
    assert_eq!(org.get(&app, &path).await.expect(200).body["roles"], json!(["Auditor"]));
    let pair = app.login(&made.email, &made.password).await.expect(200).pair();
    assert_eq!(app.get_as(&pair.access, "/v1/me").await.expect(200).body["roles"], json!(["Auditor"]));
    org.post(&app, &format!("{path}/restore"), json!({})).await.refused(404, "not_found");
    org.delete(&app, &format!("{path}/purge")).await.refused(409, "conflict");
    org.delete(&app, &path).await.expect(204);
    org.delete(&app, &path).await.refused(404, "not_found");
    org.delete(&app, &format!("/v1/users/{}", second.id)).await.expect(204);
    app.is_refused_within_a_second(&pair.access).await;
    app.login(&made.email, &made.password).await.refused(401, "invalid_credentials");
    org.get(&app, &path).await.refused(404, "not_found");
    org.patch(&app, &made.id, json!({"display_name": "x"})).await.refused(404, "not_found");
    let again = json!({"email": made.email, "password": fresh_password()});
    org.post(&app, "/v1/users", again).await.refused(409, "email_taken");
    let bin = org.get(&app, "/v1/users/deleted").await.expect(200);
    assert_eq!(ids(&bin), [second.id.clone(), made.id.clone()], "the latest first");
    let item = bin.body["items"][1].as_object().unwrap();
    assert_eq!(item.keys().collect::<Vec<_>>(), ["created_at", "deleted_at", "display_name", "email", "id", "purge_after"]);
    assert!(item["purge_after"].as_str().unwrap() > item["deleted_at"].as_str().unwrap());
    let first = org.get(&app, "/v1/users/deleted?limit=1").await.expect(200);
    let cursor = first.str("next_cursor");
    assert_eq!(org.ids(&app, &format!("/v1/users/deleted?limit=1&cursor={cursor}")).await, std::slice::from_ref(&made.id));

    let restored = org.post(&app, &format!("{path}/restore"), json!({})).await.expect(200);
    assert_eq!(restored.body["roles"], json!(["Auditor"]), "with its memberships");
    // Whoever knew the password may be why it was deleted: a mailed link sets another one.
    app.login(&made.email, &made.password).await.refused(401, "invalid_credentials");
    let (reset, password) = (app.message(&made.email, 2).await.token(), fresh_password());
    app.post("/v1/auth/reset-password", json!({"token": reset, "new_password": password})).await.expect(200);
    app.login(&made.email, &password).await.expect(200);
    assert_eq!(app.refresh(&pair.refresh).await.status, 401);
    assert_eq!(org.ids(&app, "/v1/users/deleted").await, std::slice::from_ref(&second.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_changed_fields_without_their_values() {
    let app = App::new().await;
    let org = org(&app).await;
    let made = org.make(&app).await;
    org.patch(&app, &made.id, json!({"display_name": "Planted Name", "metadata": {"k": "planted"}})).await.expect(200);
    org.patch(&app, &made.id, json!({"status": "suspended"})).await.expect(200);
    let path = format!("/v1/tenants/{}", org.id);
    let change = async |method, path: &str, body: Value| app.send(method, path, Some(&org.token), Some(body)).await.expect(200);
    change(Method::PATCH, &path, json!({"name": "Planted Name"})).await;
    let policy = json!({"password_min_length": 12, "session_ttl_days": 90, "sms_countries": ["US"]});
    change(Method::PUT, &format!("{path}/auth-policy"), policy).await;
    let audit = org.get(&app, &format!("{path}/audit?limit=200")).await.expect(200);
    assert!(!audit.text.to_lowercase().contains("planted"), "{}", audit.text);
    for (event, about, changed) in [
        ("user.created", ("user", &made.id), json!([])),
        ("user.updated", ("user", &made.id), json!(["display_name", "metadata"])),
        ("user.suspended", ("user", &made.id), json!(["status"])),
        ("tenant.updated", ("tenant", &org.id), json!(["name"])),
        ("policy.changed", ("tenant", &org.id), json!(["password_min_length", "sms_countries"])),
    ] {
        let e = audit.body["items"].as_array().unwrap().iter().find(|e| e["event"] == event).expect(event);
        assert_eq!((&e["resource_type"], &e["resource_id"]), (&json!(about.0), &json!(about.1)), "{event}");
        assert_eq!(e["changed"], changed, "{event}");
    }
}
