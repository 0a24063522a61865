//! The server as a server: health, draining, slow clients, HTTP/2, CORS, pages, metrics, traces.

use crate::{
    api::{all, until},
    support::app::{App, fresh_email, fresh_password},
};
use reqwest::Method;
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

fn connect(app: &App) -> TcpStream {
    let stream = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_metrics_and_the_document() {
    let app = App::new().await;
    app.get("/healthz").await.expect(200);
    app.get("/readyz").await.expect(200);
    let who = app.signup().await;
    app.login(&who.email, "not the password").await.expect(401);
    app.get(&format!("/v1/auth/sessions/{}", who.session_id)).await;
    let metrics = app.get("/metrics").await.expect(200);
    for name in [
        "qeetid_hash_queue_depth",
        "qeetid_hash_wait_seconds_bucket",
        "qeetid_hash_seconds_bucket",
        "qeetid_outbox_pending",
        "qeetid_http_request_duration_seconds_bucket",
    ] {
        assert!(metrics.text.contains(name), "{name} is not in\n{}", metrics.text);
    }
    assert!(!metrics.text.contains(&who.session_id) && !metrics.text.contains(&who.email), "labels without end");
    let document = app.get("/openapi.json").await.expect(200);
    assert!(document.body["openapi"].as_str().unwrap().starts_with("3."));
    let docs = app.get("/docs").await.expect(200);
    assert!(docs.header("content-type").unwrap().starts_with("text/html"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_page_shows_what_was_sent_as_text_and_nothing_of_it_as_markup() {
    let app = App::new().await;
    let who = app.signup().await;
    app.post_as(&who.access, &format!("/v1/users/{}/verify/email/start", who.user_id), json!({})).await.expect(200);
    let code = app.code(&who.email, 1).await;
    for path in ["/dev/mailbox".to_owned(), format!("/dev/mailbox?to={}", who.email)] {
        let page = app.get(&path).await.expect(200);
        assert!(page.text.contains(&who.email) && page.text.contains(&code), "{}", page.text);
        assert!(page.header("content-security-policy").is_some() && page.header("x-content-type-options") == Some("nosniff"));
    }
    let app =
        App::builder().env("QEETID_MAIL_URL", "smtp://127.0.0.1:1").env("QEETID_SMS_URL", "twilio://a:b@h?from=+15551234567").start().await;
    app.get("/dev/mailbox").await.refused(404, "not_found");
}

/// A sign-in of which the server has read the head, and then half of the body was sent.
fn half_a_login(app: &App, first: &str, rest: &str) -> TcpStream {
    let mut stream = connect(app);
    let length = first.len() + rest.len();
    let head = "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).unwrap();
    stream
}

fn is_signed_in(app: &App, mut stream: TcpStream) {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    app.watch.plant_json(&serde_json::from_str(reply.split("\r\n\r\n").nth(1).unwrap()).unwrap());
}

/// It ends by itself, when all is done: not when the 20 seconds for that are over, which would cut off whatever is left.
async fn ends_in_good_order(app: &mut App) {
    let status = app.exit(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(0), "{}", app.output());
    let line = app.logged("\"stopped\"").await;
    assert!(line.contains("\"cut_off\":0"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_requests_finish_and_ends_with_0() {
    let mut app = App::own().await;
    let who = app.signup().await;
    let body = json!({"email": who.email, "password": who.password}).to_string();
    let (first, rest) = body.split_at(10);
    let mut open: Vec<_> = (0..9).map(|_| half_a_login(&app, first, rest)).collect();
    // One is open until we say so; the others may be anywhere.
    let mut last = open.pop().unwrap();
    for stream in &mut open {
        stream.write_all(rest.as_bytes()).unwrap();
    }
    app.sigterm();
    for stream in open {
        is_signed_in(&app, stream);
    }
    // No new work: not ready, or not there any more.
    let status = async || app.other_client().try_send(Method::GET, "/readyz", None, None).await.ok().map(|r| (r.status, r.text));
    if let Some((status, text)) = until("still ready", status, |seen| seen.as_ref().is_none_or(|(status, _)| *status != 200)).await {
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("draining"), "{text}");
    }
    last.write_all(rest.as_bytes()).unwrap();
    is_signed_in(&app, last);
    ends_in_good_order(&mut app).await;
    app.start().await;
    app.login(&who.email, &who.password).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_does_not_hold_up_the_end() {
    let mut app = App::own().await;
    let mut idle = connect(&app);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let _never = connect(&app);
    // Connections are taken in their order: once a later one is answered, both are there.
    app.other_client().get("/healthz").await.expect(200);
    assert!(idle.read(&mut [0; 1024]).unwrap() > 0);
    app.sigterm();
    ends_in_good_order(&mut app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_may_come_one_by_one() {
    let app = App::new().await;
    // The preface of HTTP/2 and an empty SETTINGS frame, which the server answers with its own; a request that begins like it.
    let http2 = (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], &b"\x04"[..], 3);
    let http1 = (&b"PROPFIND /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"[..], &b"HTTP/1.1 405"[..], 0);
    for (sent, wanted, at) in [http2, http1] {
        let mut stream = connect(&app);
        let answer = tokio::task::spawn_blocking(move || {
            // As many as the preface has, by which the protocol is guessed.
            let (bytes, rest) = sent.split_at(24);
            for (n, byte) in bytes.iter().enumerate() {
                stream.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(if n < 6 { 30 } else { 1 }));
            }
            stream.write_all(rest).unwrap();
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).unwrap();
            buffer[..n].to_vec()
        });
        let answer = answer.await.unwrap();
        assert!(answer.get(at..).is_some_and(|a| a.starts_with(wanted)), "{:?}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_works_beside_http_1() {
    let app = App::new().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let reply = client.get(format!("{}/healthz", app.base)).send().await.unwrap();
    assert_eq!((reply.version(), reply.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    let url = format!("{}/v1/auth/me", app.base);
    let replies = all((0..50).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        async move { client.get(url).send().await.unwrap().status().as_u16() }
    }))
    .await;
    assert!(replies.iter().all(|s| *s == 401));
    let reply = app.http.get(format!("{}/healthz", app.base)).send().await.unwrap();
    assert_eq!(reply.version(), reqwest::Version::HTTP_11);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_call() {
    let app = App::builder().env("QEETID_CORS_ORIGINS", "https://app.example,http://localhost:3000").start().await;
    let preflight = async |origin: &str| {
        let request = app
            .request(Method::OPTIONS, "/v1/auth/login")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization,x-request-id,idempotency-key");
        app.http.execute(request.build().unwrap()).await.unwrap()
    };
    let good = preflight("https://app.example").await;
    assert!(good.status().is_success());
    let header = |name: &str| good.headers().get(name).map(|v| v.to_str().unwrap().to_ascii_lowercase());
    assert_eq!(header("access-control-allow-origin").as_deref(), Some("https://app.example"));
    assert!(header("access-control-allow-methods").unwrap().contains("post"));
    let allowed = header("access-control-allow-headers").unwrap();
    assert!(["content-type", "authorization"].iter().all(|h| allowed.contains(h)), "{allowed}");
    assert!(header("access-control-allow-credentials").is_none(), "no cookies are used");
    assert!(header("vary").unwrap().contains("origin"));
    for bad in ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"] {
        assert!(preflight(bad).await.headers().get("access-control-allow-origin").is_none(), "{bad}");
    }
    let request = app.request(Method::GET, "/v1/auth/me").header("origin", "http://localhost:3000");
    let reply = app.run(request).await.unwrap().expect(401);
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:3000"), "errors can be read as well");
    let exposed = reply.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{exposed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_beside_the_api_once_that_is_public() {
    let app = App::builder().env("QEETID_METRICS_LISTEN", "127.0.0.1:0").start().await;
    app.get("/metrics").await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_where_opentelemetry_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sent, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = vec![0; 4096];
            let n = stream.read(&mut buffer).unwrap_or(0);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = sent.send(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
    });
    let mut app = App::builder().env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).start().await;
    app.signup().await;
    // What is left is sent at the end.
    app.sigterm();
    assert_eq!(app.exit(Duration::from_secs(60)).await.code(), Some(0));
    let request = received.recv_timeout(Duration::from_secs(30)).expect("traces arrive");
    assert!(request.starts_with("POST /v1/traces HTTP/1.1"), "{request}");
}

/// What is measured is time.
mod alone {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_sends_its_header_slowly_is_cut_off() {
        let app = App::new().await;
        // One that sends nothing more, one that sends a byte now and then.
        for trickle in [false, true] {
            let mut stream = connect(&app);
            stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
            let start = Instant::now();
            let cut = tokio::task::spawn_blocking(move || {
                loop {
                    if start.elapsed() > Duration::from_secs(15) {
                        return start.elapsed();
                    }
                    if trickle && stream.write_all(b"a").is_err() {
                        return start.elapsed();
                    }
                    let mut buffer = [0; 1024];
                    match stream.read(&mut buffer) {
                        Ok(0) => return start.elapsed(),
                        Ok(_) => (),
                        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => (),
                        Err(_) => return start.elapsed(),
                    }
                }
            });
            let cut = cut.await.unwrap();
            assert!((4.0..8.5).contains(&cut.as_secs_f64()), "trickle {trickle}: cut off after {cut:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_sends_a_part_of_the_preface_is_cut_off() {
        let app = App::new().await;
        // Like any slow head.
        let mut stream = connect(&app);
        stream.write_all(b"PRI * HT").unwrap();
        let start = Instant::now();
        let end = tokio::task::spawn_blocking(move || {
            stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_))
        });
        assert!(end.await.unwrap() && (4.0..8.5).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reads_go_on_while_sign_ins_fill_the_pool() {
        // A dear hash: with the default one a fast machine keeps up with the storm.
        let app = App::builder()
            .env("QEETID_HASH_THREADS", "1")
            .env("QEETID_HASH_QUEUE", "4")
            .env("QEETID_HASH_DEADLINE_MS", "1000")
            .env("QEETID_ARGON2", "m=47104,t=5,p=1")
            .start()
            .await;
        let mut people = Vec::new();
        for _ in 0..4 {
            let body = json!({"email": fresh_email(), "password": fresh_password()});
            // On a machine with other things to do such a hash may take longer than the deadline.
            let (email, made) = until(
                "nobody can sign up",
                async || (body["email"].clone(), app.post("/v1/auth/signup", body.clone()).await),
                |(_, reply)| reply.status == 201,
            )
            .await;
            people.push((email.as_str().unwrap().to_owned(), made.str("access_token")));
        }
        let who = people.pop().unwrap();
        let storm = all((0..60).map(|n| {
            let (client, email) = (app.other_client(), people[n % 3].0.clone());
            async move { client.login(&email, "not the password").await }
        }));
        let storm = tokio::spawn(storm);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            app.me(&who.1).await.expect(200);
            slowest = slowest.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let replies = storm.await.unwrap();
        let shed = replies.iter().filter(|r| (r.status, r.code()) == (503, "overloaded")).count();
        assert!(shed > 0, "{:?}", replies.iter().map(|r| r.status).collect::<Vec<_>>());
        assert!(replies.iter().all(|r| matches!(r.status, 401 | 503)));
        assert!(slowest < Duration::from_secs(1), "a read took {slowest:?}");
        assert!(app.get("/metrics").await.text.contains("qeetid_hash_shed_total"));
    }
}
