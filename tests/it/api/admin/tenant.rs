//! The tenant itself: read, changed, deleted.

use super::*;
use crate::{api::until, support::app::unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_read_and_changed() {
    let app = App::new().await;
    let (org, other) = (org(&app).await, org(&app).await);
    let path = format!("/v1/tenants/{}", org.id);
    let read = org.get(&app, &path).await.expect(200);
    assert_eq!((read.str("id"), read.str("name"), read.str("status")), (org.id.clone(), "Acme".into(), "active".into()));
    let patch = async |body: Value| app.send(Method::PATCH, &path, Some(&org.token), Some(body)).await;
    let changed = patch(json!({"name": "Acme Two", "metadata": {"tier": 1}})).await.expect(200);
    assert_eq!(
        (changed.str("name"), changed.str("slug"), &changed.body["metadata"]),
        ("Acme Two".into(), read.str("slug"), &json!({"tier": 1}))
    );
    assert_eq!(patch(json!({"slug": format!("acme-two-{}", unique())})).await.expect(200).body["metadata"], json!({"tier": 1}));
    let slug = other.get(&app, &format!("/v1/tenants/{}", other.id)).await.expect(200).str("slug");
    patch(json!({"slug": slug})).await.refused(409, "conflict");
    for bad in [json!({"slug": "A_"}), json!({"name": " "}), json!({"metadata": {"k": "x".repeat(17_000)}}), json!({"name": "a\u{202E}b"})]
    {
        patch(bad).await.refused(422, "validation_failed");
    }
    other.get(&app, &path).await.refused(404, "not_found");
    app.send(Method::PATCH, &path, Some(&other.token), Some(json!({"name": "x"}))).await.refused(404, "not_found");
    other.delete(&app, &path).await.refused(404, "not_found");
    let admin = org.make_with(&app, json!({"role_id": ROLE_ADMIN, "email_verified": true})).await;
    let admin = app.login(&admin.email, &admin.password).await.expect(200).str("access_token");
    app.get_as(&admin, &path).await.expect(200);
    app.send(Method::PATCH, &path, Some(&admin), Some(json!({"name": "x"}))).await.refused(403, "forbidden");
    app.delete_as(&admin, &path).await.refused(403, "forbidden");
    let key = org.key(&app, &["tenant.read", "tenant.write"]).await;
    app.send_key(Method::PATCH, &path, &key, Some(json!({"name": "By key"}))).await.expect(200);
    app.send_key(Method::DELETE, &path, &key, None).await.refused(403, "forbidden");
}

/// Time is passed by changing the file.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_deleted_tenant_takes_its_keys_sessions_and_sole_members_along() {
        let mut app = App::own().await;
        let (org, guest) = (org(&app).await, app.signup().await);
        app.verify(&guest).await;
        join(&app, &org, &guest, ROLE_OWNER).await;
        let made = org.make(&app).await;
        let key = org.key(&app, &["user.read"]).await;
        app.send_key(Method::GET, "/v1/users", &key, None).await.expect(200);
        let member = app.login(&made.email, &made.password).await.expect(200).pair();
        let scoped = app.post_as(&guest.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.expect(200).pair();
        app.delete_as(&org.owner.access, &format!("/v1/tenants/{}", org.owner.tenant_id)).await.refused(409, "conflict");
        org.delete(&app, &format!("/v1/tenants/{}", org.id)).await.expect(204);
        app.send_key(Method::GET, "/v1/users", &key, None).await.refused(401, "unauthorized");
        for token in [&member.access, &scoped.access, &org.token] {
            app.is_refused_within_a_second(token).await;
        }
        // Who belongs elsewhere stays, with the sessions scoped to there, and signs in there.
        app.me(&guest.access).await.expect(200);
        assert_eq!(app.login(&guest.email, &guest.password).await.expect(200).str("tenant_id"), guest.tenant_id);
        app.login(&made.email, &made.password).await.refused(401, "invalid_credentials");
        let tenants = app.get_as(&org.owner.access, "/v1/tenants").await.expect(200);
        assert_eq!(tenants.body["items"].as_array().unwrap().len(), 1, "{}", tenants.text);
        app.post_as(&guest.access, "/v1/auth/switch-tenant", json!({"tenant_id": org.id})).await.refused(403, "forbidden");
        // After 30 days all of it goes.
        app.kill9();
        let raw = app.database();
        let days = 31_i64 * 86_400_000;
        raw.execute("UPDATE tenant_endings SET deleted_at = deleted_at - ?1", [days]).unwrap();
        raw.execute("UPDATE users SET purge_after = purge_after - ?1 WHERE deleted_at IS NOT NULL", [days]).unwrap();
        app.start().await;
        let id = org.id.replace('-', "");
        let left = |sql: &str| raw.query_row(&sql.replace("$id", &format!("x'{id}'")), [], |r| r.get::<_, i64>(0)).unwrap();
        let rows = || {
            [
                "SELECT count(*) FROM tenants WHERE id = $id",
                "SELECT count(*) FROM memberships WHERE tenant_id = $id",
                "SELECT count(*) FROM member_search WHERE tenant_id = $id",
                "SELECT count(*) FROM api_keys WHERE tenant_id = $id",
                "SELECT count(*) FROM tenant_endings",
                "SELECT count(*) FROM users WHERE deleted_at IS NOT NULL",
            ]
            .map(left)
        };
        // Once the lease of the process before is over.
        until("left over", async || rows(), |left| *left == [0; 6]).await;
        app.signup_as(&made.email).await;
        app.login(&guest.email, &guest.password).await.expect(200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn deleting_a_tenant_needs_a_recent_sign_in() {
        let mut app = App::own().await;
        let org = org(&app).await;
        app.kill9();
        let raw = app.database();
        raw.execute("UPDATE sessions SET created_at = created_at - 960000", []).unwrap();
        drop(raw);
        app.start().await;
        org.delete(&app, &format!("/v1/tenants/{}", org.id)).await.refused(403, "reauthentication_required");
        org.get(&app, &format!("/v1/tenants/{}", org.id)).await.expect(200);
    }

    /// Thousands of members take tens of seconds.
    mod long {
        use super::*;

        /// The request that deletes a tenant sees to 5,000 members; the sweeper to the rest.
        #[tokio::test(flavor = "multi_thread")]
        async fn a_tenant_of_many_goes_with_all_its_members() {
            let mut app = App::own().await;
            let org = org(&app).await;
            let rows: String = (0..5_600).map(|_| format!("{{\"email\":\"{}\"}}\n", fresh_email())).collect();
            let upload = app.request(Method::POST, "/v1/users/bulk/import?source=qeet").bearer_auth(&org.token);
            let report = app.run(upload.header("content-type", "application/x-ndjson").body(rows)).await.unwrap().expect(200);
            assert_eq!(report.body["succeeded"], 5_600, "{}", report.text);
            org.delete(&app, &format!("/v1/tenants/{}", org.id)).await.expect(204);
            // The sweeper is not to begin before they are counted.
            app.kill9();
            let raw = app.database();
            let out_of_bin = || -> i64 {
                let sql = "SELECT count(*) FROM users u JOIN memberships m ON m.user_id = u.id JOIN tenants t ON t.id = m.tenant_id
                           WHERE t.kind = 'organization' AND u.deleted_at IS NULL";
                raw.query_row(sql, [], |row| row.get(0)).unwrap()
            };
            assert!((600..700).contains(&out_of_bin()), "{}", out_of_bin());
            app.start().await;
            // The owner has another tenant. The sweeper begins once the lease of the process before is over.
            until("members are left", async || out_of_bin(), |left| *left == 1).await;
        }
    }
}
