//! Another tenant's ids are 404 and nothing changes, whatever the route: read from the document, so that new routes are
//! tried by themselves. What needs a permission is 403 without it, and 401 without credentials.

use crate::{
    api::until,
    support::{
        app::{Account, App},
        client::{Client, Reply},
    },
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One operation of the document.
pub(super) struct Route {
    pub(super) id: String,
    method: Method,
    pub(super) path: String,
    /// Names of what stands in the path.
    pub(super) parameters: Vec<String>,
    pub(super) body: Option<Body>,
    people: bool,
    keys: bool,
    permission: Option<String>,
}
pub(super) struct Body {
    content_type: String,
    pub(super) sample: Value,
    /// Optional and required properties that name something by its id.
    ids: Vec<String>,
    /// Lists of objects, and the properties of those that do so.
    nested: Vec<(String, String)>,
}

pub(super) fn routes(document: &Value) -> Vec<Route> {
    let mut out = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let scheme = |name: &str| operation["security"].as_array().is_some_and(|s| s.iter().any(|s| s.get(name).is_some()));
            let in_path = |p: &&Value| p["in"] == "path";
            let parameters = operation["parameters"].as_array().into_iter().flatten().filter(in_path);
            out.push(Route {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                parameters: parameters.map(|p| p["name"].as_str().unwrap().to_owned()).collect(),
                body: operation["requestBody"]["content"]
                    .as_object()
                    .and_then(|c| c.iter().next())
                    .map(|(t, c)| body(document, t, &c["schema"])),
                people: scheme("bearer"),
                keys: scheme("api_key"),
                permission: operation["x-permission"].as_str().map(str::to_owned),
            });
        }
    }
    assert!(out.len() > 40, "only {} routes", out.len());
    out
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().or(schema["allOf"][0]["$ref"].as_str()) {
        Some(to) => document.pointer(to.strip_prefix('#').unwrap()).expect("it is in the document"),
        None => schema,
    }
}
fn body(document: &Value, content_type: &str, schema: &Value) -> Body {
    let lists = resolved(document, schema)["properties"].as_object().cloned().unwrap_or_default();
    let nested = lists.iter().flat_map(|(list, p)| ids_in(document, &p["items"]).into_iter().map(|id| (list.clone(), id))).collect();
    Body { content_type: content_type.to_owned(), sample: sample(document, schema), ids: ids_in(document, schema), nested }
}
fn ids_in(document: &Value, schema: &Value) -> Vec<String> {
    let properties = resolved(document, schema)["properties"].as_object().cloned().unwrap_or_default();
    properties.iter().filter(|(n, p)| n.ends_with("_id") && p["format"] == "uuid").map(|(n, _)| n.clone()).collect()
}
/// A value that the schema allows.
fn sample(document: &Value, schema: &Value) -> Value {
    let of = resolved(document, schema);
    if !of["example"].is_null() {
        return of["example"].clone();
    }
    if let Some(first) = of["enum"].as_array().and_then(|e| e.first()) {
        return first.clone();
    }
    match of["type"].as_str() {
        Some("object") => {
            let required: BTreeSet<&str> = of["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let properties = of["properties"].as_object().into_iter().flatten().filter(|(n, _)| required.contains(n.as_str()));
            properties.map(|(n, p)| (n.clone(), named(n).unwrap_or_else(|| sample(document, p)))).collect::<Map<_, _>>().into()
        }
        Some("array") => json!([sample(document, &of["items"])]),
        Some("integer" | "number") => of["minimum"].as_i64().unwrap_or(1).into(),
        Some("boolean") => json!(true),
        _ => json!("violet-anchor-93-meadow"),
    }
}
/// What no schema tells.
fn named(property: &str) -> Option<Value> {
    matches!(property, "scopes" | "permissions").then(|| json!(["role.read"]))
}

/// A tenant with one of everything, and what opens it.
struct World {
    owner: Account,
    tenant: String,
    /// Of the owner, scoped to the tenant.
    token: String,
    /// With all permissions.
    key: String,
    /// By the name that a path or body calls it.
    ids: BTreeMap<&'static str, String>,
}

impl World {
    async fn new(app: &App, has: &dyn Fn(&str) -> bool) -> Self {
        let owner = app.signup().await;
        app.verify(&owner).await;
        let org = app.post_as(&owner.access, "/v1/tenants", json!({"name": format!("Org of {}", owner.user_id)})).await.expect(201);
        let tenant = org.str("id");
        app.manage(&tenant).await;
        let pair = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": tenant})).await.expect(200).pair();
        let token = pair.access;
        let scopes = app.get_as(&token, "/v1/permissions").await.expect(200);
        let scopes: Vec<_> = scopes.body["items"].as_array().unwrap().iter().map(|p| p["key"].clone()).collect();
        let key = app.post_as(&token, "/v1/api-keys", json!({"name": "all", "scopes": scopes})).await.expect(201).str("secret");
        let other_key = app.post_as(&token, "/v1/api-keys", json!({"name": "none", "scopes": ["role.read"]})).await.expect(201);
        let role = app.post_as(&token, &format!("/v1/tenants/{tenant}/roles"), json!({"name": "r", "permissions": []})).await.expect(201);
        let mut ids = BTreeMap::from([
            ("tenant", tenant.clone()),
            ("user", owner.user_id.clone()),
            ("session", pair.session_id),
            ("role", role.str("id")),
            ("api_key", other_key.body["api_key"]["id"].as_str().unwrap().to_owned()),
        ]);
        if has("createUser") {
            for name in ["user", "deleted"] {
                let user = json!({"email": crate::support::app::fresh_email(), "password": crate::support::app::fresh_password()});
                let user = app.send_key(Method::POST, "/v1/users", &key, Some(user)).await.expect(201);
                ids.insert(name, user.str("id"));
            }
            app.send_key(Method::DELETE, &format!("/v1/users/{}", ids["deleted"]), &key, None).await.expect(204);
        }
        if has("createInvite") {
            let invite = app.send_key(Method::POST, "/v1/invites", &key, Some(json!({"email": crate::support::app::fresh_email()}))).await;
            ids.insert("invite", invite.expect(201).body["invite"]["id"].as_str().unwrap().to_owned());
        }
        if has("addDomain") {
            let path = format!("/v1/tenants/{tenant}/domains");
            let body = json!({"domain": format!("d{}.example.org", crate::support::app::unique())});
            ids.insert("domain", app.send_key(Method::POST, &path, &key, Some(body)).await.expect(201).str("id"));
        }
        Self { owner, tenant, token, key, ids }
    }

    /// What stands for `parameter` in `path`.
    fn id(&self, path: &str, parameter: &str) -> &str {
        let kind = match parameter {
            "tenantID" | "tenant_id" => "tenant",
            "userID" | "user_id" => "user",
            "roleID" | "role_id" => "role",
            "id" if path.ends_with("/restore") || path.ends_with("/purge") => "deleted",
            "id" if path.starts_with("/v1/users/") => "user",
            "id" if path.starts_with("/v1/api-keys/") => "api_key",
            "id" if path.starts_with("/v1/auth/sessions/") => "session",
            "id" if path.starts_with("/v1/invites/") || path.starts_with("/v1/me/invites/") => "invite",
            "id" if path.contains("/domains/") => "domain",
            _ => panic!("{parameter} in {path}: teach this test what it names"),
        };
        self.ids.get(kind).unwrap_or_else(|| panic!("no {kind} was made"))
    }

    /// Words that only this tenant's people may see.
    fn words(&self) -> Vec<&str> {
        self.ids.values().map(String::as_str).chain([self.owner.email.as_str(), &self.owner.user_id]).collect()
    }
}

/// How a request shows who it is.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Nobody,
    Token(&'a str),
    Key(&'a str),
}

pub(super) async fn call(app: &Client, route: &Route, by: By<'_>, path: &str, body: Option<&Value>) -> Reply {
    let mut request = app.request(route.method.clone(), path);
    request = match by {
        By::Nobody => request,
        By::Token(token) => request.bearer_auth(token),
        By::Key(key) => request.header("authorization", format!("ApiKey {key}")),
    };
    if let Some(b) = &route.body {
        let body = body.unwrap_or(&b.sample);
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        request = request.header("content-type", &b.content_type).body(text);
    }
    app.run(request).await.unwrap_or_else(|e| panic!("{} {path}: {e:?}", route.method))
}

/// Each way to fill the path with ids of two tenants in which `foreign` has a say.
fn fillings(route: &Route, own: &World, foreign: &World) -> Vec<String> {
    let n = route.parameters.len();
    let one = |mask: usize| {
        route.parameters.iter().enumerate().fold(route.path.clone(), |path, (i, p)| {
            let whose = if mask & (1 << i) == 0 { own } else { foreign };
            path.replace(&format!("{{{p}}}"), whose.id(&route.path, p))
        })
    };
    (1..1 << n).map(one).collect()
}

/// Rows that hold an id of the tenant's.
async fn rows_of(app: &App, world: &World) -> BTreeSet<String> {
    let ids: Vec<&str> = world.ids.values().map(String::as_str).collect();
    let found = app.rows_with(&ids).await;
    assert!(found.len() > 8, "{found:?}");
    found
}

/// Where the answer is another one than 404, and why.
fn answer(operation: &str) -> u16 {
    match operation {
        // Somebody else's session is a silent no-op.
        "revokeSession" => 200,
        // These take the caller's own id only.
        "startEmailVerification" | "confirmEmailVerification" | "startPhoneVerification" | "confirmPhoneVerification" => 403,
        // No member, or no such tenant: the same.
        "switchTenant" => 403,
        _ => 404,
    }
}

struct Setting {
    app: App,
    routes: Vec<Route>,
    ours: World,
    theirs: World,
}
async fn setting() -> Setting {
    let app = App::own().await;
    let document = app.get("/openapi.json").await.expect(200).body;
    let routes = routes(&document);
    let has = |id: &str| routes.iter().any(|r| r.id == id);
    let (ours, theirs) = (World::new(&app, &has).await, World::new(&app, &has).await);
    // What goes on in the background has to be over before anybody looks at their rows: uses of keys, messages, links of events.
    for world in [&ours, &theirs] {
        let path = format!("/v1/tenants/{}/api-keys", world.tenant);
        let last_use = async || {
            let keys = app.get_as(&world.token, &path).await.expect(200).body["items"].clone();
            keys.as_array().unwrap().iter().find(|k| k["name"] == "all").expect("it is listed")["last_used_at"].clone()
        };
        until("the use is not noted", last_use, Value::is_string).await;
        // An entry of the CQL store; the file's names nobody.
        until("messages wait", async || rows_of(&app, world).await, |rows| !rows.iter().any(|row| row.starts_with("job_bodies:"))).await;
    }
    app.all_linked().await;
    Setting { app, routes, ours, theirs }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_ids_are_404_everywhere_and_nothing_changes() {
    let Setting { app, routes, ours, theirs } = setting().await;
    let before = rows_of(&app, &theirs).await;
    let mut tried = 0;
    for route in routes.iter().filter(|r| r.people && !r.parameters.is_empty()) {
        for path in fillings(route, &ours, &theirs) {
            let by_token = call(&app, route, By::Token(&ours.token), &path, None).await;
            assert_eq!(by_token.status, answer(&route.id), "{} {path} with a token: {}", route.id, by_token.text);
            let by_key = call(&app, route, By::Key(&ours.key), &path, None).await;
            // Owners take keys over in person.
            let expected = if route.keys && route.id != "takeOverApiKey" { answer(&route.id) } else { 403 };
            assert_eq!(by_key.status, expected, "{} {path} with a key: {}", route.id, by_key.text);
            tried += 1;
        }
    }
    // Ids in bodies.
    for route in routes.iter().filter(|r| r.people) {
        let Some(body) = &route.body else { continue };
        for property in &body.ids {
            let own =
                route.parameters.iter().fold(route.path.clone(), |path, p| path.replace(&format!("{{{p}}}"), ours.id(&route.path, p)));
            let mut with = body.sample.clone();
            if with.get("email").is_some() {
                with["email"] = json!(crate::support::app::fresh_email());
            }
            with[property] = json!(theirs.id(&route.path, property));
            let reply = call(&app, route, By::Token(&ours.token), &own, Some(&with)).await;
            assert_eq!(reply.status, answer(&route.id), "{} with their {property}: {}", route.id, reply.text);
            if route.keys {
                let reply = call(&app, route, By::Key(&ours.key), &own, Some(&with)).await;
                assert_eq!(reply.status, answer(&route.id), "{} with their {property}, by key: {}", route.id, reply.text);
            }
            tried += 1;
        }
    }
    // Ids in the rows of bodies: each row stands on its own.
    let mut rows = 0;
    for route in routes.iter().filter(|r| r.people) {
        let Some(body) = &route.body else { continue };
        for (list, property) in &body.nested {
            for by in [By::Token(&ours.token), By::Key(&ours.key)] {
                let mut with = body.sample.clone();
                with[list][0]["email"] = json!(crate::support::app::fresh_email());
                with[list][0][property] = json!(theirs.id(&route.path, property));
                let reply = call(&app, route, by, &route.path, Some(&with)).await;
                let report = (&reply.body["succeeded"], &reply.body["failed"]);
                assert_eq!((reply.status, report), (200, (&json!(0), &json!(1))), "{} with their {property}: {}", route.id, reply.text);
                rows += 1;
            }
        }
    }
    assert!(rows >= 4, "only {rows} rows");
    // Lists without ids show nobody else's.
    for route in routes.iter().filter(|r| r.method == Method::GET && r.people && r.parameters.is_empty()) {
        for by in [By::Token(&ours.token), By::Key(&ours.key)] {
            for query in ["", "?limit=200", &format!("?email={}", theirs.owner.email), &format!("?q={}", &theirs.owner.email[..8])] {
                let reply = call(&app, route, by, &format!("{}{query}", route.path), None).await;
                let shown = theirs.words().into_iter().find(|w| reply.text.contains(w));
                assert!(shown.is_none(), "{} shows {shown:?}: {}", route.id, reply.text);
                tried += 1;
            }
        }
    }
    assert!(tried >= 30, "only {tried} requests");
    let after = rows_of(&app, &theirs).await;
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_ne!(ours.tenant, theirs.tenant);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_is_401_and_without_the_permission_403() {
    let Setting { app, routes, ours, theirs } = setting().await;
    let keys = app.get_as(&ours.token, "/v1/permissions").await.expect(200);
    let all: Vec<String> = keys.body["items"].as_array().unwrap().iter().map(|p| p["key"].as_str().unwrap().to_owned()).collect();
    let mut without = BTreeMap::new();
    for permission in &all {
        let others: Vec<_> = all.iter().filter(|p| *p != permission).collect();
        let key = app.post_as(&ours.token, "/v1/api-keys", json!({"name": "k", "scopes": others})).await.expect(201);
        without.insert(permission.as_str(), key.str("secret"));
    }
    // And people whose role allows all but one thing.
    let mut tokens = BTreeMap::new();
    for permission in &all {
        let others: Vec<_> = all.iter().filter(|p| *p != permission).collect();
        let role = json!({"name": format!("all but {permission}"), "permissions": others});
        let role = app.post_as(&ours.token, &format!("/v1/tenants/{}/roles", ours.tenant), role).await.expect(201).str("id");
        let (email, password) = (crate::support::app::fresh_email(), crate::support::app::fresh_password());
        let user = json!({"email": email, "password": password, "role_id": role, "email_verified": true});
        app.post_as(&ours.token, "/v1/users", user).await.expect(201);
        tokens.insert(permission.as_str(), app.login(&email, &password).await.expect(200).str("access_token"));
    }
    let (before, their_before) = (rows_of(&app, &ours).await, rows_of(&app, &theirs).await);
    let mut guarded = 0;
    for route in routes.iter().filter(|r| r.people) {
        let fill = |world: &World| {
            route.parameters.iter().fold(route.path.clone(), |path, p| path.replace(&format!("{{{p}}}"), world.id(&route.path, p)))
        };
        let (own, foreign) = (fill(&ours), fill(&theirs));
        for by in [By::Nobody, By::Token("x"), By::Key("x"), By::Token(&ours.key), By::Key(&ours.token)] {
            let reply = call(&app, route, by, &own, None).await;
            assert_eq!((reply.status, reply.code()), (401, "unauthorized"), "{}: {}", route.id, reply.text);
        }
        assert!(!route.keys || route.permission.is_some() || route.id == "whoAmI", "{} takes keys and asks for no permission", route.id);
        if let Some(permission) = &route.permission {
            for path in [&own, &foreign] {
                for by in [By::Key(&without[permission.as_str()]), By::Token(&tokens[permission.as_str()])] {
                    let reply = call(&app, route, by, path, None).await;
                    assert_eq!(
                        (reply.status, reply.code()),
                        (403, "forbidden"),
                        "{} {path} without {permission}: {}",
                        route.id,
                        reply.text
                    );
                }
            }
            guarded += 1;
        }
    }
    assert!(guarded >= 8, "only {guarded} guarded routes");
    // All but the keys made here, and that they were.
    let new = |rows: BTreeSet<String>| {
        rows.into_iter()
            .filter(|r| !["api_keys:", "key_uses:", "audit", "chains:"].iter().any(|table| r.starts_with(table)))
            .collect::<BTreeSet<_>>()
    };
    let after = rows_of(&app, &ours).await;
    let changed: Vec<_> = new(before).symmetric_difference(&new(after)).cloned().collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(their_before, rows_of(&app, &theirs).await);
}
