//! The document. poem-openapi derives it from the handlers; what it can't know is put in here: the error answers (from the
//! table of operations), nullability, headers, examples. Made without any running service, and the same at each run.

use super::{
    envelope::ErrorBody,
    errors::Code,
    operations::{self, Access, Shape},
};
use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    OpenApi, OpenApiService,
    registry::{MetaApi, Registry},
    types::Type,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    marker::PhantomData,
    sync::OnceLock,
};

const DESCRIPTION: &str = "\
Sign-up and passwords for many tenants.

**Errors** always have the body `{\"error\": {\"code\", \"message\", \"detail\"?, \"request_id\", \"fields\"?}}`. Match on `code`; `message` and `detail` are for \
people; `fields` maps a field of the request to its problem on a 422.

**Request ids**: `X-Request-Id` is echoed if it is 1 to 128 visible ASCII characters, else one is made. The same value is in the error body and in the log.

**Limits**: `/v1/auth/*` and `/v1/invites/accept` are limited by client network (an IPv4 address, or an IPv6 /64; all of a /56 together may do 4 times as much, all of a /48 16 times); `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds) tell how much is left. Requests \
of a signed-in person are limited to 600 a minute and node, those of an API key to 6,000 a minute, those to the admin routes of an organization without power over credentials to 6,000 a minute and node; exports and \
lists of accounts to two at once. A 429 or 503 says in `Retry-After` how many seconds to wait. An account has 100 live sessions (a few more for a moment): a sign-in beyond that ends those used longest ago.

**Sending again**: any POST takes an `Idempotency-Key` (1 to 255 visible ASCII characters, such as a UUID, a new one for each thing to be done). The same key from the \
same caller (person and tenant, API key, or client network on public routes) on the same path gives the first answer again for 24 hours, byte for byte, with \
`Idempotent-Replayed: true`; an error that is given again names the first request's id. Kept are 2xx, and 4xx but 401 and 429. With another body it is 409 \
`idempotency_conflict` (files of `/v1/users/bulk/import` are compared by their Content-Length alone: take a new key for each file); while the first is being done, the second waits. A request that was cut off may be sent again after at most 30 seconds: what its first \
run did is found and not done twice, which holds even if the kept answers were lost: then the first try after that may be answered 503, and the next one as the first request was, or, for \
what can be done but once (a code, a link, an invite), as something that was done before. Answers over 64 KiB are not kept: the second time is 409.

**Passwords** that are refused say why: the `detail` of `weak_password` begins with the rule's stable name and a colon (`too_short`, `same_as_email`, `context_word`, `common`, \
`missing_uppercase`, `missing_number`, `missing_symbol`, `too_weak`), `fields` names the field.

**Bodies** are JSON in UTF-8, at most 1 MiB. Unknown fields and unknown query parameters are ignored. Ids are UUIDs, times RFC 3339 in UTC; what is absent is null.";

/// The document, pretty-printed with sorted keys and a line end.
pub fn document() -> String {
    text().to_owned()
}

/// The document, made once a process.
pub(super) fn text() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(render::<super::DocumentedApi>)
}

/// An API without its services: what it is, not what it does.
struct Described<A>(PhantomData<A>);

impl<A: OpenApi> OpenApi for Described<A> {
    fn meta() -> Vec<MetaApi> {
        A::meta()
    }
    fn register(registry: &mut Registry) {
        A::register(registry);
    }
    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

fn render<A: OpenApi>() -> String {
    let service = OpenApiService::new(Described::<A>(PhantomData), "qeetid", env!("CARGO_PKG_VERSION"));
    let service = service.description(DESCRIPTION).server("/").license("Apache-2.0");
    // Our own types: they serialise, and what was written is JSON.
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    errors_schema(&mut document);
    let responses = response_schemas(&document);
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        for (name, schema) in schemas {
            nullability(name, schema, responses.contains(name));
        }
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                complete(path, method, operation);
            }
        }
    }
    document["components"]["headers"] = headers();
    document["components"]["examples"] = Code::ALL.iter().map(|c| (example_name(*c), example(*c))).collect::<Map<_, _>>().into();
    let mut text = serde_json::to_string_pretty(&sorted(document)).unwrap_or_default();
    text.push('\n');
    text
}

/// `serde_json` may keep the order of insertion, if any crate of the build asks it to.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn errors_schema(document: &mut Value) {
    let mut registry = Registry::new();
    ErrorBody::register(&mut registry);
    for (name, schema) in registry.schemas {
        document["components"]["schemas"][name.as_str()] = serde_json::to_value(schema).unwrap_or_default();
    }
    let mut codes: Vec<_> = Code::ALL.iter().map(|c| c.name()).collect();
    codes.sort_unstable();
    codes.dedup();
    document["components"]["schemas"]["ErrorDetail"]["properties"]["code"]["x-known-values"] = json!(codes);
}

/// Names of the schemas that answers are made of, and of what those are made of.
fn response_schemas(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for operation in document["paths"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object).flat_map(Map::values) {
        references(&operation["responses"], document, &mut found);
    }
    found
}

fn references(value: &Value, document: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/components/schemas/"))
                && found.insert(name.to_owned())
            {
                references(&document["components"]["schemas"][name], document, found);
            }
            map.values().for_each(|v| references(v, document, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, document, found)),
        _ => {}
    }
}

/// A field that isn't required may be null. In an answer it is always there all the same; only the error body leaves out.
fn nullability(name: &str, schema: &mut Value, in_answers: bool) {
    if name.starts_with("Error") {
        return;
    }
    let required: BTreeSet<String> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        // poem-openapi hangs the description on by `allOf`; generators stumble over that where the other part is an enum.
        let reference = property.pointer("/allOf/0").filter(|first| first.get("$ref").is_some()).cloned();
        if let Some(reference) = reference {
            *property = reference;
        }
    }
    for (_, property) in properties.iter_mut().filter(|(field, _)| !required.contains(*field)) {
        property["nullable"] = json!(true);
    }
    if in_answers {
        let all: Vec<_> = properties.keys().cloned().collect();
        schema["required"] = json!(all);
    }
}

/// Adds to an operation what its row of the table says.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let Some(row) = operation["operationId"].as_str().and_then(operations::find) else { return };
    let shape = Shape {
        body: operation.get("requestBody").is_some(),
        parameters: operation["parameters"].as_array().is_some_and(|p| !p.is_empty()),
        service: path.starts_with("/v1/"),
        post: method == "post",
    };
    if row.access == Access::Public {
        operation["security"] = json!([]);
    }
    if let Access::With(permission) = row.access {
        let key = permission.key();
        operation["x-permission"] = json!(key);
        let says = operation["description"].as_str().unwrap_or_default();
        operation["description"] = json!(format!("{says}\n\nNeeds the permission `{key}`: of a role for people, as a scope for API keys."));
    }
    if shape.post {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        operation["parameters"] = json!([parameters, vec![idempotency_key()]].concat());
    }
    let limited = super::frame::is_limited(path);
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in operations::codes(row, shape) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        operation["responses"][status.to_string()] = error_answer(&codes);
    }
    for (status, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
        if answer["description"].as_str().is_none_or(str::is_empty) {
            answer["description"] = json!(if status == "204" { "Done." } else { "Success." });
        }
        let mut add = |name: &str| answer["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        if status.starts_with('2') {
            add("X-Request-Id");
        }
        if shape.post && status.starts_with(['2', '4']) && status != "401" && status != "429" {
            add("Idempotent-Replayed");
        }
        if limited && (status.starts_with('2') || status == "429") {
            ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"].iter().for_each(|h| add(h));
        }
        if status == "429" || status == "503" {
            add("Retry-After");
        }
        if status == "401" {
            add("WWW-Authenticate");
        }
    }
}

fn error_answer(codes: &[Code]) -> Value {
    let lines: Vec<_> = codes.iter().map(|c| format!("`{}`: {}", c.name(), c.message())).collect();
    let reference = |c: &Code| json!({"$ref": format!("#/components/examples/{}", example_name(*c))});
    let examples: Map<_, _> = codes.iter().map(|c| (c.name().to_owned(), reference(c))).collect();
    json!({
        "description": lines.join("\n\n"),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}, "examples": examples}},
    })
}

/// Two rows may share a code, but not a status.
fn example_name(code: Code) -> String {
    if code == Code::WrongPassword { "wrong_password".to_owned() } else { code.name().to_owned() }
}

fn example(code: Code) -> Value {
    let mut error = json!({"code": code.name(), "message": code.message(), "request_id": "0198c1f0-8a6b-7c3e-9d21-4f5a6b7c8d9e"});
    if code == Code::ValidationFailed {
        error["fields"] = json!({"email": "is missing"});
    }
    json!({"summary": code.message(), "value": {"error": error}})
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "Makes it safe to send the request again: a name of the caller's own, such as a UUID. See the description of the document.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "example": "8d1a3a39-5f0c-4a5e-9d53-0f3c8b1f6c55"},
    })
}

fn headers() -> Value {
    let seconds = |description: &str| json!({"description": description, "schema": {"type": "integer", "minimum": 0}});
    json!({
        "X-Request-Id": {"description": "Names the request, as in the error body and the log.", "schema": {"type": "string", "maxLength": 128}},
        "Idempotent-Replayed": {"description": "`true`: the first answer to this `Idempotency-Key`, again.", "schema": {"type": "string", "enum": ["true"]}},
        "Retry-After": seconds("Seconds to wait before trying again."),
        "RateLimit-Limit": seconds("Requests that the client's network may make in a minute."),
        "RateLimit-Remaining": seconds("What is left of them."),
        "RateLimit-Reset": seconds("Seconds until the window has passed."),
        "WWW-Authenticate": {"description": "The scheme to use (RFC 6750).", "schema": {"type": "string"}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::operations::OPERATIONS;

    fn parsed() -> Value {
        serde_json::from_str(text()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        let methods =
            paths.iter().flat_map(|(path, m)| m.as_object().unwrap().iter().map(move |(method, o)| (path.clone(), method.clone(), o)));
        methods.collect()
    }

    #[test]
    fn each_operation_has_its_row_and_each_row_its_operation() {
        let document = parsed();
        let mut ids: Vec<_> =
            operations(&document).iter().map(|(.., o)| o["operationId"].as_str().expect("an operationId").to_owned()).collect();
        let mut rows: Vec<_> = OPERATIONS.iter().map(|o| o.id.to_owned()).collect();
        ids.sort_unstable();
        rows.sort_unstable();
        assert_eq!(ids, rows);
    }

    #[test]
    fn who_may_call_is_what_the_handlers_ask_for() {
        for (path, method, operation) in operations(&parsed()) {
            let row = operations::find(operation["operationId"].as_str().unwrap()).unwrap();
            let asks = operation["security"].as_array().is_some_and(|s| s.iter().any(|s| s.get("bearer").is_some()));
            assert_eq!(asks, row.access != Access::Public, "{method} {path}");
            let keys = operation["security"].as_array().is_some_and(|s| s.iter().any(|s| s.get("api_key").is_some()));
            assert_eq!(keys, matches!(row.access, Access::Either | Access::With(_)), "{method} {path}");
        }
    }

    #[test]
    fn each_operation_says_what_it_does() {
        for (path, method, operation) in operations(&parsed()) {
            for field in ["summary", "description"] {
                assert!(operation[field].as_str().is_some_and(|s| !s.is_empty()), "{method} {path}: {field}");
            }
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(answer["description"].as_str().is_some_and(|s| !s.is_empty()), "{method} {path}: {status}");
                let types: Vec<_> = answer["content"].as_object().into_iter().flat_map(Map::keys).collect();
                assert!(types.iter().all(|t| *t == "application/json"), "{method} {path}: {types:?}");
            }
        }
    }

    #[test]
    fn absent_values_of_answers_are_null_and_there() {
        let user = &parsed()["components"]["schemas"]["User"];
        assert!(user["required"].as_array().unwrap().contains(&json!("phone")));
        assert_eq!(user["properties"]["phone"]["nullable"], true);
        assert_eq!(user["properties"]["email"]["nullable"], Value::Null);
        let error = &parsed()["components"]["schemas"]["ErrorDetail"];
        assert!(!error["required"].as_array().unwrap().contains(&json!("detail")));
    }

    #[test]
    fn passwords_are_marked_and_bounded() {
        let login = &parsed()["components"]["schemas"]["LoginRequest"]["properties"];
        assert_eq!((&login["password"]["format"], &login["password"]["maxLength"]), (&json!("password"), &json!(256)));
        assert_eq!(login["email"]["format"], Value::Null);
    }
}
