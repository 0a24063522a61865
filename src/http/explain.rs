//! Why a JSON value is not of a type: every bad field, read off the type's own schema, in words that never repeat the value.
//! Runs only after parsing has failed.

use super::errors::{ApiError, Code};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The 422 for a body that is JSON but not a `T`.
pub fn explain<T: Type>(bytes: &[u8]) -> ApiError {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let value = serde_json::from_slice(bytes).unwrap_or_default();
    let Value::Object(object) = value else {
        return ApiError::detail(Code::ValidationFailed, "The body must be a JSON object.");
    };
    let schema = registry.schemas.get(T::name().as_ref());
    let mut fields = schema.map(|schema| problems(&registry, schema, &object)).unwrap_or_default();
    if let Some(schema) = schema.filter(|_| fields.is_empty()) {
        // All that is known is as it should be: the type takes no other fields.
        let known = |name: &str| schema.properties.iter().any(|(known, _)| *known == name);
        let unknown = object.keys().filter(|name| !known(name)).take(20);
        fields.extend(unknown.map(|name| (name.chars().take(64).collect(), "is not a field of this request".to_owned())));
    }
    ApiError::fields(fields)
}

fn problems(registry: &Registry, schema: &MetaSchema, object: &serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (name, property) in &schema.properties {
        let required = schema.required.contains(name);
        let problem = match object.get(*name) {
            None if required => Some("is missing"),
            Some(Value::Null) if required => Some("must not be null"),
            None | Some(Value::Null) => None,
            Some(value) => match property {
                MetaSchemaRef::Inline(property) => mismatch(property, value),
                MetaSchemaRef::Reference(name) => match registry.schemas.get(name) {
                    // A list of words: it is referred to only where it isn't one of them, or something else is wrong as well.
                    Some(named) if !named.enum_items.is_empty() => {
                        (!named.enum_items.contains(value)).then_some("must be one of the values listed in the document")
                    }
                    Some(named) => mismatch(named, value),
                    None => None,
                },
            },
        };
        if let Some(problem) = problem {
            out.insert((*name).to_owned(), problem.to_owned());
        }
    }
    out
}

fn mismatch(schema: &MetaSchema, value: &Value) -> Option<&'static str> {
    match (schema.ty, value) {
        ("string", Value::String(text)) => {
            let bad_uuid = schema.format == Some("uuid") && text.parse::<crate::domain::ids::UserId>().is_err();
            bad_uuid.then_some("must be a UUID")
        }
        ("string", _) => Some("must be a string"),
        ("boolean", v) => (!v.is_boolean()).then_some("must be true or false"),
        ("integer", v) if v.is_u64() && !v.is_i64() => Some("is too large"),
        ("integer", v) => (!v.is_i64()).then_some("must be a whole number"),
        ("number", v) => (!v.is_number()).then_some("must be a number"),
        ("array", Value::Array(items)) => match schema.items.as_deref() {
            Some(MetaSchemaRef::Inline(each)) => {
                items.iter().any(|v| mismatch(each, v).is_some()).then_some("holds something of another type")
            }
            _ => None,
        },
        ("array", _) => Some("must be an array"),
        ("object", v) => (!v.is_object()).then_some("must be an object"),
        _ => None,
    }
}
