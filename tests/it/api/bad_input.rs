//! Bad input of every kind, on every route that the document names: a 4xx in the envelope, never a 5xx, never a panic.
//! (That each reply has the envelope and its request id is checked by the client of all tests.)

use crate::support::{
    app::{App, fresh_email, fresh_password, unique},
    client::Reply,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// One operation of the document.
struct Operation {
    method: Method,
    /// With the ids filled in.
    path: String,
    template: String,
    /// Names of the fields of its JSON body; empty if it takes none.
    fields: Vec<String>,
    /// It may be called without one.
    optional: bool,
}

const SOME_ID: &str = "01890000-0000-7000-8000-000000000000";

async fn operations(app: &App) -> Vec<Operation> {
    let document = app.get("/openapi.json").await.expect(200).body;
    let mut out = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let content = operation["requestBody"]["content"].as_object();
            let schema = content.and_then(|c| c.values().next()).map(|c| &c["schema"]);
            let name = schema.and_then(|s| s["$ref"].as_str()).map(|r| r.rsplit('/').next().unwrap().to_owned());
            let properties = name.and_then(|n| document["components"]["schemas"][n]["properties"].as_object().cloned());
            let fields = properties.map(|p| p.keys().cloned().collect()).unwrap_or_default();
            let path = template.split('/').map(|p| if p.starts_with('{') { SOME_ID } else { p }).collect::<Vec<_>>().join("/");
            let optional = operation["requestBody"]["required"] != true;
            out.push(Operation { method, path, template: template.clone(), fields, optional });
        }
    }
    assert!(out.len() >= 25, "only {} operations", out.len());
    out
}

fn is_4xx(what: &str, reply: &Reply) {
    assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text);
}

async fn raw(app: &App, op: &Operation, token: &str, content_type: &str, body: Vec<u8>) -> Reply {
    let request = app.request(op.method.clone(), &op.path).bearer_auth(token).header("content-type", content_type).body(body);
    app.run(request).await.unwrap_or_else(|e| panic!("{} {}: {e:?}", op.method, op.path))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_good_json() {
    let app = App::new().await;
    let who = app.signup().await;
    let nested = "[".repeat(100_000);
    let objects = "{\"a\":".repeat(100_000);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half an object", b"{\"email\":".to_vec()),
        ("no JSON", b"email=a&password=b".to_vec()),
        ("100,000 brackets", nested.clone().into_bytes()),
        ("100,000 closed brackets", format!("{nested}{}", "]".repeat(100_000)).into_bytes()),
        ("100,000 objects", objects.into_bytes()),
        ("broken UTF-8", b"{\"email\":\"\xff\xfe\",\"password\":\"\xc3\x28\"}".to_vec()),
        ("NUL bytes", vec![0; 64]),
        (
            "a lone surrogate",
            b"{\"email\":\"\\ud800\",\"password\":\"\\udfff\",\"token\":\"\\ud800\",\"code\":\"\\ud800\",\"refresh_token\":\"\\ud800\"}"
                .to_vec(),
        ),
        ("an array", b"[]".to_vec()),
        ("a text", b"\"text\"".to_vec()),
        ("a number", b"1e400".to_vec()),
        ("null", b"null".to_vec()),
        ("UTF-16", "{}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    let all = operations(&app).await;
    for op in all.iter().filter(|o| !o.fields.is_empty()) {
        for (what, body) in bodies.iter().filter(|(what, _)| !(op.optional && ["nothing", "null"].contains(what))) {
            let reply = raw(&app, op, &who.access, "application/json", body.clone()).await;
            is_4xx(&format!("{} {}: {what}", op.method, op.template), &reply);
        }
    }
    app.me(&who.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_wrong_types_and_hostile_texts() {
    let app = App::new().await;
    let who = app.signup().await;
    let long = "a".repeat(1_000_000);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!([]),
        json!({"a": {"b": []}}),
        json!([[[["x"]]]]),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("a\u{0}b@example.com"),
        json!("a\r\nBcc: b@example.com"),
        json!("\u{202E}\u{200B}\u{FEFF}"),
        json!("'; DROP TABLE users; --"),
        json!("../../../../etc/passwd"),
        json!("{{7*7}}${7*7}%s%n"),
        json!("9".repeat(400)),
        json!(long),
        json!(format!("{long}@example.com")),
    ];
    let all = operations(&app).await;
    let mut tried = 0;
    for op in all.iter().filter(|o| !o.fields.is_empty()) {
        for value in &values {
            // Every field at once; what a route may take (a name, a locale) is no error.
            let body: serde_json::Map<String, Value> = op.fields.iter().map(|f| (f.clone(), value.clone())).collect();
            let body = Value::Object(body).to_string().into_bytes();
            let too_long = body.len() > 1_048_576;
            let reply = raw(&app, op, &who.access, "application/json", body).await;
            let what = format!("{} {} with {:.60}", op.method, op.template, value.to_string());
            tried += 1;
            assert!(reply.status < 500, "{what}: {} {}", reply.status, reply.text);
            let harmless = ["/v1/me", "/v1/tenants"].contains(&&*op.template) || op.template.ends_with("/forgot-password");
            // No field at all is enough where the body may be left out.
            let harmless = harmless || (op.optional && value.is_null());
            if !harmless {
                is_4xx(&what, &reply);
            }
            if too_long {
                reply.refused(413, "payload_too_large");
            }
        }
    }
    assert!(tried > 200, "{tried}");
    app.me(&who.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_or_of_another_type() {
    let app = App::new().await;
    let who = app.signup().await;
    let large = format!("{{\"email\":\"{}\"}}", "a".repeat(2 << 20)).into_bytes();
    let form = b"email=a%40example.com&password=b".to_vec();
    for op in operations(&app).await.iter().filter(|o| !o.fields.is_empty()) {
        let what = format!("{} {}", op.method, op.template);
        let reply = raw(&app, op, &who.access, "application/json", large.clone()).await;
        assert_eq!((reply.status, reply.code()), (413, "payload_too_large"), "{what}: {}", reply.text);
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense", "multipart/form-data; boundary=x"] {
            let reply = raw(&app, op, &who.access, other, form.clone()).await;
            assert_eq!((reply.status, reply.code()), (415, "unsupported_media_type"), "{what} as {other}: {}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_that_never_says_its_length() {
    let app = App::new().await;
    let mut stream = std::net::TcpStream::connect(app.base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let head = "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(65_536));
    let sent = (0..128).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    let mut reply = Vec::new();
    // The other side may close before it has read all.
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("payload_too_large"), "after {sent} chunks: {reply}");
    assert!(reply.to_ascii_lowercase().contains("connection: close"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_and_unknown_routes() {
    let app = App::new().await;
    let who = app.signup().await;
    let all = operations(&app).await;
    for op in &all {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if all.iter().any(|o| o.template == op.template && o.method == method) {
                continue;
            }
            let reply = app.send(method.clone(), &op.path, Some(&who.access), None).await;
            assert_eq!((reply.status, reply.code()), (405, "method_not_allowed"), "{method} {}: {}", op.template, reply.text);
            assert!(reply.header("allow").is_some_and(|a| a.contains(op.method.as_str())), "{method} {}", op.template);
        }
    }
    for path in [
        "/v1",
        "/v1/",
        "/v2/auth/login",
        "/v1/auth",
        "/v1/auth/login/x",
        "/nothing",
        "/v1/auth/%2e%2e/login",
        "/v1//auth/login",
        "/%00",
        "/%ff",
    ] {
        app.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_none() {
    let app = App::new().await;
    let who = app.signup().await;
    for op in operations(&app).await.iter().filter(|o| o.template.contains('{')) {
        for bad in ["x", "1", "%00", "01890000-0000-7000-8000-00000000000g", "01890000", "%F0%9F%A6%80", &"9".repeat(5000), "..%2f..%2f"] {
            let path = op.template.split('/').map(|p| if p.starts_with('{') { bad } else { p }).collect::<Vec<_>>().join("/");
            let body = (!op.fields.is_empty()).then(|| json!({"code": "123456"}));
            let reply = app.send(op.method.clone(), &path, Some(&who.access), body).await;
            is_4xx(&format!("{} {path:.100}", op.method), &reply);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token() {
    let app = App::new().await;
    let public = [
        "/v1/auth/signup",
        "/v1/auth/signup/confirm",
        "/v1/auth/login",
        "/v1/auth/refresh",
        "/v1/auth/forgot-password",
        "/v1/auth/reset-password",
        "/v1/auth/email-change/undo",
        "/v1/auth/not-me",
        "/v1/auth/restore",
        "/v1/invites/accept",
    ];
    let mut closed = 0;
    for op in operations(&app).await.iter().filter(|o| o.template.starts_with("/v1/") && !public.contains(&&*o.template)) {
        let body = json!({"email": fresh_email(), "password": fresh_password(), "code": "123456", "name": "x", "tenant_id": SOME_ID,
            "current_password": "x", "new_password": fresh_password(), "display_name": "x", "phone": "+4915112345678"});
        let body = (!op.fields.is_empty()).then_some(body);
        app.send(op.method.clone(), &op.path, None, body).await.refused(401, "unauthorized");
        closed += 1;
    }
    assert!(closed >= 18, "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_hardly_http() {
    let app = App::new().await;
    let address = app.base.strip_prefix("http://").unwrap();
    let ask = |bytes: &[u8]| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        // The other side may close before it has read all.
        let _ = stream.write_all(bytes);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    };
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n", "X-Header: 1\r\n".repeat(5000));
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(200_000));
    let smuggled =
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n";
    for (what, bytes) in [
        ("noise", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..]),
        ("a broken line", b"GET\r\n\r\n"),
        ("many headers", many.as_bytes()),
        ("a long header", long.as_bytes()),
        ("a long path", path.as_bytes()),
        ("a bad length", b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("a length and chunks", smuggled.as_bytes()),
        ("a bad chunk", b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"),
        ("a header with a NUL", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n"),
    ] {
        let reply = ask(bytes);
        assert!(reply.starts_with("HTTP/1.1 4") && reply.contains(r#"{"error":{"code":"#), "{what}: {reply:.200}");
    }
    app.get("/healthz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_come_back_if_they_are_good() {
    let app = App::new().await;
    // Others use the server, and its log.
    let mark = unique();
    for id in [format!("abc-123-{mark}"), format!("{mark:x>128}"), format!("~!@#$%^&*()-{mark}")] {
        let reply = app.run(app.request(Method::GET, "/v1/auth/me").header("x-request-id", &id)).await.unwrap();
        assert_eq!(reply.body["error"]["request_id"], id);
        app.logged(&id).await;
    }
    // The client of all tests checks that these do not come back.
    for id in [&"x".repeat(129), "with space", "tab\tbed", "\u{e4}"] {
        app.run(app.request(Method::GET, "/v1/auth/me").header("x-request-id", id.as_bytes())).await.unwrap().expect(401);
    }
}
