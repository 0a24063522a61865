//! `qeetid doctor --enumeration`: it finds nothing on our own server, and finds what there is on one that tells.

use crate::support::{
    app::{App, command, fresh_email},
    stack::Home,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::{path::Path, process::Output, time::Duration};

async fn doctor(url: &str, samples: u32, known: &Path, token: Option<&Path>) -> Output {
    let mut command = command(&[]);
    command.args(["doctor", "--enumeration", url, "--samples", &samples.to_string(), "--known"]).arg(known);
    if let Some(token) = token {
        command.arg("--token-file").arg(token);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn line<'a>(report: &'a str, flow: &str) -> &'a str {
    report.lines().find(|l| l.starts_with(flow)).unwrap_or_else(|| panic!("{flow}: {report}"))
}

/// A server that takes its time for addresses that begin with `known`, and answers alike; or the other way round.
async fn telltale(by_answer: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                let login = request.uri().path().ends_with("/login");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let known = String::from_utf8_lossy(&body).contains("\"known");
                if known && login && !by_answer {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let code = if known && login && by_answer { "wrong_password" } else { "invalid_credentials" };
                let answer = Response::builder().status(if login { 401 } else { 202 });
                answer.body(Full::new(Bytes::from(format!("{{\"error\":{{\"code\":\"{code}\"}}}}"))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    url
}

/// The doctor measures time.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn our_own_server_tells_nothing_though_half_of_the_hashes_are_bcrypt() {
        let home = Home::new();
        let app = App::builder().data_dir(&home.path()).start().await;
        let mut known = String::new();
        for _ in 0..8 {
            known += &app.signup().await.email;
            known += "\n";
        }
        // Dearer than Argon2id of today: the timer has to hide it.
        let bcrypt = bcrypt::hash("whatever it was", 10).unwrap();
        let owner = app.signup().await;
        app.verify(&owner).await;
        let org = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
        app.manage(&org).await;
        let pair = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).pair();
        for _ in 0..8 {
            let user = json!({"email": fresh_email(), "password_hash": bcrypt});
            known += &app.post_as(&pair.access, "/v1/users", user).await.expect(201).str("email");
            known += "\n";
        }
        drop(app);
        let app = App::builder().data_dir(&home.path()).env("QEETID_SIGNUP_MODE", "verify_first").start().await;
        let list = app.data_dir().join("known");
        std::fs::write(&list, known).unwrap();

        let pair = app.login(&owner.email, &owner.password).await.expect(200).pair();
        let pair = app.post_as(&pair.access, "/v1/auth/switch-tenant", json!({"tenant_id": org})).await.expect(200).pair();
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, &pair.access).unwrap();

        let output = doctor(&app.base, 60, &list, Some(&token)).await;
        let report = said(&output);
        assert_eq!(output.status.code(), Some(0), "{report}");
        for flow in ["login", "forgot password", "sign-up", "invite  ", "invite, handed over", "code to a new address"] {
            assert!(line(&report, flow).ends_with("nothing to be told"), "{report}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_tells_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("known");
        std::fs::write(&list, "known-1@example.com\nknown-2@example.com\n").unwrap();
        for (by_answer, verdict) in [(false, "TELLS by its time"), (true, "TELLS by its answer")] {
            let output = doctor(&telltale(by_answer).await, 40, &list, None).await;
            let report = said(&output);
            assert_eq!(output.status.code(), Some(1), "{report}");
            assert!(line(&report, "login").ends_with(verdict), "{report}");
            assert!(line(&report, "forgot password").ends_with("nothing to be told"), "{report}");
        }
        // Nobody there, or limits in the way: no verdict at all.
        let output = doctor("http://127.0.0.1:1", 40, &list, None).await;
        assert!(output.status.code() == Some(1) && said(&output).contains("request"), "{}", said(&output));
        let app = App::builder().env("QEETID_LIMITS", "on").env("QEETID_LIMIT__AUTH_REQUESTS", "30/60s").start().await;
        let output = doctor(&app.base, 40, &list, None).await;
        assert!(output.status.code() == Some(1) && said(&output).contains("QEETID_LIMITS=off"), "{}", said(&output));
    }
}
