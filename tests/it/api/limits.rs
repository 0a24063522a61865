//! Rate limits, and whom they count.

use crate::support::{
    app::{App, fresh_email, fresh_password},
    client::Reply,
};
use reqwest::Method;
use serde_json::json;

async fn from(app: &App, client: &str, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    let request = app.request(Method::POST, "/v1/auth/login").header("x-forwarded-for", client).json(&body);
    app.run(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_lock_the_address_for_this_network_and_the_right_one_is_not_tried() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_TRUSTED_PROXIES", "127.0.0.1").start().await;
    let who = app.signup().await;
    let unknown = fresh_email();
    for email in [&who.email, &unknown] {
        for _ in 0..10 {
            from(&app, "192.0.2.1", email, "not the password").await.refused(401, "invalid_credentials");
        }
        let locked = from(&app, "192.0.2.1", email, "not the password").await.refused(429, "account_locked");
        let retry: u64 = locked.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=900).contains(&retry), "{retry}");
    }
    from(&app, "192.0.2.1", &who.email, &who.password).await.refused(429, "account_locked");
    // A stranger locks nobody out elsewhere; an IPv6 client is its /64.
    from(&app, "192.0.2.2", &who.email, &who.password).await.expect(200);
    for n in 0..10 {
        from(&app, &format!("2001:db8::{n}"), &who.email, "not the password").await.refused(401, "invalid_credentials");
    }
    from(&app, "2001:db8::ffff", &who.email, &who.password).await.refused(429, "account_locked");
    from(&app, "2001:db8:0:1::1", &who.email, &who.password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_are_not_counted() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let who = app.signup().await;
    for _ in 0..15 {
        app.login(&who.email, &who.password).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_clears_the_counter_of_wrong_passwords() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let who = app.signup().await;
    for _ in 0..10 {
        app.login(&who.email, "not the password").await.refused(401, "invalid_credentials");
    }
    app.login(&who.email, &who.password).await.refused(429, "account_locked");
    let token = app.reset_token(&who.email, 1).await;
    let new = fresh_password();
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": new})).await.expect(200);
    app.login(&who.email, &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_limit_is_told_in_headers_and_ends_in_429() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__AUTH_REQUESTS", "5/1m").start().await;
    for left in (0..5).rev() {
        let reply = app.refresh("rt_none").await;
        assert_eq!(reply.header("ratelimit-limit"), Some("5"));
        assert_eq!(reply.header("ratelimit-remaining"), Some(&*left.to_string()));
        let reset: u64 = reply.header("ratelimit-reset").unwrap().parse().unwrap();
        assert!(reset <= 120, "{reset}");
    }
    let refused = app.refresh("rt_none").await.refused(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
}

/// Whoever holds a block of IPv6 is not as many clients as it has networks of 64 bits.
#[tokio::test(flavor = "multi_thread")]
async fn the_blocks_around_an_ipv6_client_are_limited_too() {
    let app = App::builder()
        .env("QEETID_LIMITS", "on")
        .env("QEETID_LIMIT__AUTH_REQUESTS", "2/1h")
        .env("QEETID_TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let ask = async |client: &str| {
        let request = app.request(Method::POST, "/v1/auth/refresh").header("x-forwarded-for", client);
        app.run(request.json(&json!({"refresh_token": "rt_none"}))).await.unwrap()
    };
    let shown = |reply: &Reply| ["ratelimit-limit", "ratelimit-remaining"].map(|name| reply.header(name).unwrap().to_owned());
    for network in 0..4 {
        for left in ["1", "0"] {
            let reply = ask(&format!("2001:db8:0:{network}::1")).await;
            assert_ne!(reply.status, 429);
            assert_eq!(shown(&reply), ["2", left]);
        }
    }
    let refused = ask("2001:db8:0:4::1").await.refused(429, "rate_limited");
    assert_eq!(shown(&refused), ["8", "0"]);
    for elsewhere in ["2001:db8:0:100::1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"] {
        assert_eq!(shown(&ask(elsewhere).await), ["2", "1"], "{elsewhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_proxies_are_believed() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__AUTH_REQUESTS", "3/1m").start().await;
    for n in 0..4 {
        // A client that makes up who it is stays one client.
        let reply = from(&app, &format!("192.0.2.{n}"), &fresh_email(), "not the password").await;
        assert_eq!(reply.status, if n < 3 { 401 } else { 429 });
    }
    let app = App::builder()
        .env("QEETID_LIMITS", "on")
        .env("QEETID_LIMIT__AUTH_REQUESTS", "3/1m")
        .env("QEETID_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .start()
        .await;
    for n in 0..6 {
        from(&app, &format!("192.0.2.{n}"), &fresh_email(), "not the password").await.refused(401, "invalid_credentials");
    }
    // What a client writes in front of what the proxies wrote is not believed.
    for n in 0..4 {
        let reply = from(&app, &format!("192.0.2.{n}, 198.51.100.7, 10.1.1.1"), &fresh_email(), "not the password").await;
        assert_eq!(reply.status, if n < 3 { 401 } else { 429 });
    }
    let who = app.signup().await;
    let sessions = app.get_as(&who.access, "/v1/auth/sessions").await.expect(200);
    assert_eq!(sessions.body["items"][0]["ip"], "127.0.0.1");
}

/// Counted by the node itself: one account can't slow the others down.
#[tokio::test(flavor = "multi_thread")]
async fn one_person_asks_so_often_and_no_more() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__PERSON_REQUESTS", "5/1m").start().await;
    let (busy, other) = (app.signup().await, app.signup().await);
    for n in 0..7 {
        // Another session of theirs is theirs.
        let access =
            if n == 3 { app.login(&busy.email, &busy.password).await.expect(200).str("access_token") } else { busy.access.clone() };
        let reply = app.get_as(&access, "/v1/me").await;
        if n < 5 {
            reply.expect(200);
        } else {
            let seconds: u64 = reply.refused(429, "rate_limited").header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
        }
    }
    app.get_as(&other.access, "/v1/me").await.expect(200);
    app.login(&busy.email, &busy.password).await.expect(200);
}

/// Everybody can make organizations. Those that the operator gave power are customers.
#[tokio::test(flavor = "multi_thread")]
async fn admin_routes_of_an_organization_without_power_are_limited() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__ADMIN_REQUESTS", "4/1m").start().await;
    let who = app.signup().await;
    let org = app.post_as(&who.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
    let access = app.post_as(&who.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).str("access_token");
    for n in 0..6 {
        let reply = app.get_as(&access, "/v1/users").await;
        if n < 4 {
            reply.expect(200)
        } else {
            reply.refused(429, "rate_limited")
        };
    }
    // Of the personal tenant they are others.
    app.get_as(&who.access, "/v1/users").await.expect(200);
    app.manage(&org).await;
    for _ in 0..6 {
        app.get_as(&access, "/v1/users").await.expect(200);
    }
}

/// Whoever has an account or not.
#[tokio::test(flavor = "multi_thread")]
async fn one_network_asks_for_so_many_reset_mails() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__FORGOT_PASSWORD_FROM_NETWORK", "2/1h").start().await;
    let who = app.signup().await;
    let ask = async |email: &str| app.post("/v1/auth/forgot-password", json!({"email": email})).await;
    ask(&who.email).await.expect(202);
    ask(&fresh_email()).await.expect(202);
    ask(&who.email).await.refused(429, "rate_limited");
    ask(&fresh_email()).await.refused(429, "rate_limited");
    app.message(&who.email, 1).await;
}

/// What strangers have guessed from anywhere is over with the old password.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_clears_what_every_network_has_counted() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let who = app.signup().await;
    for network in ["192.0.2.1", "198.51.100.1"] {
        for _ in 0..10 {
            from(&app, network, &who.email, "not the password").await.refused(401, "invalid_credentials");
        }
        from(&app, network, &who.email, &who.password).await.refused(429, "account_locked");
    }
    let (token, new) = (app.reset_token(&who.email, 1).await, fresh_password());
    app.post("/v1/auth/reset-password", json!({"token": token, "new_password": new})).await.expect(200);
    for network in ["192.0.2.1", "198.51.100.1"] {
        from(&app, network, &who.email, &new).await.expect(200);
    }
}

/// Everybody can make tenants, and each has a budget of its own: what all may have sent is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn text_messages_of_a_day_are_limited_for_all_tenants_together() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_SMS_DAILY_BUDGET", "2").start().await;
    for n in 0..3 {
        let who = app.signup().await;
        let path = format!("/v1/users/{}/verify/phone/start", who.user_id);
        let reply = app.post_as(&who.access, &path, json!({"phone": format!("+4915112345{:03}", 600 + n)})).await;
        assert_eq!(reply.status, if n < 2 { 200 } else { 429 }, "{}", reply.text);
        if n == 2 {
            app.post_as(&who.access, &path, json!({"phone": "+881612345678"})).await.refused(422, "validation_failed");
        }
    }
    app.logged("QEETID_SMS_DAILY_BUDGET").await;
}

/// The public URL tells what browsers are told, and whether the counters are for everybody on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_hides_the_metrics_and_wants_https() {
    let private = App::new().await;
    let page = private.get("/docs").await;
    assert_eq!((page.header("strict-transport-security"), private.get("/metrics").await.status), (None, 200));
    let mut builder = App::builder().env("QEETID_PUBLIC_URL", "https://id.example.com").env("QEETID_DEV", "1");
    builder = builder.env("QEETID_LIMITS", "on");
    let public = builder.start().await;
    for path in ["/docs", "/v1/auth/me", "/healthz", "/.well-known/jwks.json"] {
        assert_eq!(public.get(path).await.header("strict-transport-security"), Some("max-age=63072000"), "{path}");
    }
    public.get("/metrics").await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_of_one_network_are_limited() {
    let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__SIGNUPS", "2/1h").start().await;
    app.signup().await;
    app.signup().await;
    let body = json!({"email": fresh_email(), "password": fresh_password()});
    app.post("/v1/auth/signup", body).await.refused(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_codes_lies_a_minute() {
    let app = App::builder().env("QEETID_LIMITS", "on").start().await;
    let who = app.signup().await;
    let start = async || app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await;
    start().await.expect(200);
    let refused = start().await.refused(429, "rate_limited");
    let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry), "{retry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_tries_of_a_code_stay_when_limits_are_off() {
    let app = App::own().await;
    // Said loudly at the start.
    app.logged("QEETID_LIMITS=off").await;
    let who = app.signup().await;
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
    let code = app.code(&who.email, 1).await;
    let confirm = async |code: &str| {
        app.post_as(&who.access, &format!("/v1/users/{}/verify/email/confirm", who.user_id), json!({"code": code})).await
    };
    for n in 1..=5 {
        assert_eq!(confirm(&format!("{:06}", (code.parse::<u32>().unwrap() + n) % 1_000_000)).await.status, 400);
    }
    assert_eq!(confirm(&code).await.status, 400);
}
