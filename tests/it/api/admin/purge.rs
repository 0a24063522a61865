//! Gone for good.

use super::*;
use crate::{
    api::{all, count, until},
    support::watch::not_empty,
};
use std::path::Path;

fn holds(dir: &Path, what: &str) -> Option<String> {
    std::fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().is_file()).find_map(|e| {
        let bytes = not_empty(&std::fs::read(e.path()).unwrap());
        let found = bytes.windows(what.len()).any(|w| w.eq_ignore_ascii_case(what.as_bytes()));
        found.then(|| format!("{} holds {what:?}", e.path().display()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_free_at_once() {
    let app = App::new().await;
    let org = org(&app).await;
    for _ in 0..3 {
        let made = org.make(&app).await;
        // Somebody has just been told that it is taken.
        app.post("/v1/auth/signup", json!({"email": made.email, "password": fresh_password()})).await.refused(422, "signup_unavailable");
        org.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
        org.delete(&app, &format!("/v1/users/{}/purge", made.id)).await.expect(204);
        app.signup_as(&made.email).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_or_purged_but_not_both() {
    let app = App::new().await;
    let org = org(&app).await;
    for _ in 0..8 {
        let made = org.make(&app).await;
        org.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
        let (a, b) = (app.other_client(), app.other_client());
        let (restore, purge) = (format!("/v1/users/{}/restore", made.id), format!("/v1/users/{}/purge", made.id));
        let (restored, purged) = tokio::join!(a.post_as(&org.token, &restore, json!({})), b.delete_as(&org.token, &purge));
        match (restored.status, purged.status) {
            (200, 409) => drop(org.get(&app, &format!("/v1/users/{}", made.id)).await.expect(200)),
            (404, 204) => drop(org.get(&app, &format!("/v1/users/{}", made.id)).await.refused(404, "not_found")),
            other => panic!("{other:?}: {} {}", restored.text, purged.text),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_purges_at_once_are_one() {
    let app = App::new().await;
    let org = org(&app).await;
    let made = org.make(&app).await;
    org.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
    let replies = all((0..4).map(|_| {
        let (client, token, path) = (app.other_client(), org.token.clone(), format!("/v1/users/{}/purge", made.id));
        async move { client.delete_as(&token, &path).await }
    }))
    .await;
    assert_eq!((count(&replies, 204), count(&replies, 404)), (1, 3));
    assert_eq!(org.events(&app).await.iter().filter(|e| *e == "user.purged").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_kept_is_exported() {
    let app = App::new().await;
    let org = org(&app).await;
    let made = org.make_with(&app, json!({"display_name": "Ada", "metadata": {"k": "v"}})).await;
    let pair = app.login(&made.email, &made.password).await.expect(200).pair();
    let new = fresh_email();
    let change = json!({"email": new, "current_password": made.password});
    app.post_as(&pair.access, "/v1/me/email/change/start", change).await.expect(200);
    for round in 0..2 {
        let export = org.get(&app, &format!("/v1/users/{}/export", made.id)).await.expect(200);
        let b = &export.body;
        assert_eq!((&b["user"]["email"], &b["user"]["metadata"]), (&json!(made.email), &json!({"k": "v"})));
        assert_eq!((&b["has_password"], &b["memberships"][0]["tenant_id"]), (&json!(true), &json!(org.id)));
        assert_eq!((&b["sessions"][0]["id"], &b["networks"][0]["network"]), (&json!(pair.session_id), &json!("127.0.0.1")));
        let events: Vec<_> = b["audit"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
        assert!(events.contains(&"user.created") && events.contains(&"session.started"), "{events:?}");
        assert!(!export.text.contains("$argon2"));
        if round == 0 {
            assert_eq!(b["pending_email"]["email"], new);
            org.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
        } else {
            assert!(b["deleted_at"].is_string() && b["pending_email"].is_null(), "also from the bin");
        }
    }
}

/// What is left is looked for in the file.
mod embedded {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_purged_user_leaves_no_personal_data() {
        is_gone_for_good(App::own().await).await;
    }

    /// A file of 100 MB takes tens of seconds.
    mod long {
        use super::*;

        #[tokio::test(flavor = "multi_thread")]
        async fn a_purged_user_leaves_no_personal_data_in_a_large_file() {
            let mut app = App::own().await;
            app.kill9();
            let raw = app.database();
            raw.execute_batch("CREATE TABLE filler (bytes BLOB)").unwrap();
            for _ in 0..100 {
                raw.execute("INSERT INTO filler VALUES (zeroblob(1000000))", []).unwrap();
            }
            drop(raw);
            app.start().await;
            is_gone_for_good(app).await;
        }
    }

    async fn is_gone_for_good(mut app: App) {
        let (org, elsewhere) = (org(&app).await, org(&app).await);
        let planted = ["plantedname", "+4930901820", "planted-metadata", "planted-agent", "planted-address", "planted-request"];
        // Many others around him, so that his rows are moved as theirs come and go.
        let crowd = |n: usize| {
            all((0..n).map(|i| {
                let (client, token) = (app.other_client(), org.token.clone());
                let body = json!({"email": fresh_email(), "display_name": format!("pl{i}{}", "x".repeat(i * 37 % 180))});
                async move { client.post_as(&token, "/v1/users", body).await.expect(201).str("id") }
            }))
        };
        let before = crowd(60).await;
        // Others of his kind go with him: what only a chance leaves behind is there for one of them.
        let mut like_him = Vec::new();
        for n in 0..24 {
            let body = json!({"email": fresh_email(), "display_name": format!("Plantedname {n}"), "metadata": {"k": "planted-metadata"}});
            like_him.push(org.post(&app, "/v1/users", body).await.expect(201).str("id"));
            crowd(2).await;
        }
        let body = json!({"email": "planted-address@example.com", "display_name": "Plantedname Here", "phone": "+49 30 901820",
            "metadata": {"k": "planted-metadata"}, "password": fresh_password()});
        let made = org.post(&app, "/v1/users", body.clone()).await.expect(201).str("id");
        let login =
            app.request(Method::POST, "/v1/auth/login").header("user-agent", "planted-agent").header("x-request-id", "planted-request");
        let pair = app.run(login.json(&json!({"email": body["email"], "password": body["password"]}))).await.unwrap().expect(200).pair();
        app.verify(&Account {
            email: "planted-address@example.com".into(),
            user_id: made.clone(),
            access: pair.access.clone(),
            ..org.owner.clone()
        })
        .await;
        for invite in ["planted-address@example.com", "somebody-else@example.com"] {
            let other = if invite.starts_with("planted") { &elsewhere } else { &org };
            other.post(&app, "/v1/invites", json!({"email": invite})).await.expect(201);
        }
        let change = json!({"email": "planted-address-new@example.com", "current_password": body["password"]});
        app.post_as(&pair.access, "/v1/me/email/change/start", change).await.expect(200);
        crowd(60).await;
        for id in before {
            org.patch(&app, &id, json!({"display_name": "y".repeat(190)})).await.expect(200);
        }
        let path = format!("/v1/users/{made}");
        org.delete(&app, &path).await.expect(204);
        for what in planted {
            assert!(holds(app.data_dir(), what).is_some(), "the test would find {what}");
        }
        org.delete(&app, &format!("{path}/purge")).await.expect(204);
        for id in like_him {
            org.delete(&app, &format!("/v1/users/{id}")).await.expect(204);
            org.delete(&app, &format!("/v1/users/{id}/purge")).await.expect(204);
        }
        org.delete(&app, &format!("{path}/purge")).await.refused(404, "not_found");
        org.get(&app, &format!("{path}/export")).await.refused(404, "not_found");
        assert_eq!(org.ids(&app, "/v1/users?q=planted").await, [""; 0]);
        assert_eq!(org.ids(&app, "/v1/users/deleted").await, [""; 0]);
        assert_eq!(org.events(&app).await[0], "user.purged", "the receipt");
        // The sweeper wipes the file. It begins once the lease of the process before is over.
        app.restart().await;
        for what in planted {
            until("not wiped", async || holds(app.data_dir(), what), Option::is_none).await;
        }
        // The address is free.
        app.signup_as("planted-address@example.com").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_bin_empties_itself() {
        let mut app = App::own().await;
        let org = org(&app).await;
        let (over, kept) = (org.make(&app).await, org.make(&app).await);
        for made in [&over, &kept] {
            org.delete(&app, &format!("/v1/users/{}", made.id)).await.expect(204);
        }
        app.kill9();
        let raw = app.database();
        assert_eq!(raw.execute("UPDATE users SET purge_after = deleted_at WHERE email = ?1", [&over.email]).unwrap(), 1);
        drop(raw);
        app.start().await;
        // Once the lease of the process before is over.
        until("still there", async || org.ids(&app, "/v1/users/deleted").await, |bin| *bin == [kept.id.clone()]).await;
        assert_eq!(org.events(&app).await[0], "user.purged");
        app.signup_as(&over.email).await;
    }
}
