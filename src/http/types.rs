//! How single values look on the wire, and in the document: ids, times, texts that are secret or personal.

use crate::domain::{
    ids::{ApiKeyId, AuditId, DomainId, InviteId, RoleId, SessionId, TenantId, UserId},
    secret::SecretText,
    time::Timestamp,
};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;

/// Makes a type of the document out of one of ours.
macro_rules! wire_type {
    ($ty:ty, $name:literal, $schema:expr) => {
        impl Type for $ty {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;
            fn name() -> Cow<'static, str> {
                $name.into()
            }
            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }
            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

macro_rules! ids {
    ($($id:ident $example:literal),*) => {$(
        wire_type!($id, "uuid", MetaSchema { example: Some($example.into()), ..MetaSchema::new_with_format("string", "uuid") });
        impl ParseFromJSON for $id {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::String(text)) => text.parse().map_err(ParseError::custom),
                    _ => Err(ParseError::custom("not a UUID")),
                }
            }
        }
        impl ParseFromParameter for $id {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                text.parse().map_err(ParseError::custom)
            }
        }
        impl ToJSON for $id {
            fn to_json(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    )*};
}

ids!(
    UserId "0198c1f0-8a6b-7c3e-9d21-4f5a6b7c8d9e",
    TenantId "0198c1f0-8a6b-7f10-8b32-1a2b3c4d5e6f",
    SessionId "0198c1f0-8a6c-7aa1-a4c5-6d7e8f901234",
    RoleId "00000000-0000-7000-8000-000000000003",
    ApiKeyId "0198c1f0-8a6d-7b21-9c3d-2e4f60718293",
    InviteId "0198c1f0-8a6e-7d41-8e5f-3f5061728394",
    AuditId "0198c1f0-8a6f-7e51-9f60-405162738495",
    DomainId "0198c1f0-8a70-7f61-a071-516273849506"
);

/// A moment: RFC 3339, UTC, milliseconds, `Z`.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Timestamp);

wire_type!(
    Time,
    "time",
    MetaSchema { example: Some("2026-11-24T09:30:00.000Z".into()), ..MetaSchema::new_with_format("string", "date-time") }
);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A token in an answer: the one place where it is shown.
#[derive(Debug, Clone)]
pub struct Shown(pub SecretText);

wire_type!(Shown, "shown", MetaSchema::new("string"));

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

/// A JSON object without a fixed shape.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct FreeObject(pub serde_json::Map<String, Value>);

wire_type!(
    FreeObject,
    "free_object",
    MetaSchema { additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))), ..MetaSchema::new("object") }
);

/// Types that only ever leave: poem-openapi wants them readable all the same.
macro_rules! only_out {
    ($($ty:ty),*) => {$(
        impl ParseFromJSON for $ty {
            fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
                Err(ParseError::custom("is never read"))
            }
        }
        impl ToJSON for $ty {
            fn to_json(&self) -> Option<Value> {
                serde_json::to_value(self).ok()
            }
        }
    )*};
}
only_out!(Time, Shown);

impl ParseFromJSON for FreeObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(object)) => Ok(Self(object)),
            _ => Err(ParseError::custom("not an object")),
        }
    }
}
impl ToJSON for FreeObject {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

/// Texts that come in. None of them shows itself in `Debug`: passwords and tokens are secret, addresses and names personal.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $value:expr),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub SecretText);

        impl $name {
            /// The text as it came.
            pub fn reveal(&self) -> &str {
                self.0.reveal()
            }
        }

        wire_type!($name, "string", MetaSchema { $($field: $value,)* ..MetaSchema::new("string") });

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                // The message must not repeat the value, as poem-openapi's own do.
                match value {
                    Some(Value::String(text)) => Ok(Self(SecretText::new(text))),
                    _ => Err(ParseError::custom("not a string")),
                }
            }
        }
        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                None
            }
        }
    )*};
}

texts! {
    /// A password.
    PasswordText { format: Some("password"), max_length: Some(256) }
    /// A new password: the policy of the tenant may ask for more.
    NewPasswordText { format: Some("password"), min_length: Some(8), max_length: Some(256), example: Some("violet-anchor-93-meadow".into()) }
    /// A hash of a password, as another system wrote it.
    HashText { format: Some("password"), max_length: Some(512) }
    /// An e-mail address; what is allowed is said in the description, not by `format`.
    EmailText { max_length: Some(320), example: Some("ada@example.com".into()) }
    /// A phone number.
    PhoneText { max_length: Some(32), example: Some("+14155550123".into()) }
    /// A one-time code.
    CodeText { max_length: Some(16), example: Some("042917".into()) }
    /// A token that this service made.
    TokenText { max_length: Some(1024) }
    /// A display name.
    NameText { max_length: Some(200), example: Some("Ada Lovelace".into()) }
    /// The name of a tenant.
    TenantNameText { min_length: Some(1), max_length: Some(200), example: Some("Analytical Engines".into()) }
    /// What people call a thing.
    LabelText { min_length: Some(1), max_length: Some(200), example: Some("Billing service".into()) }
    /// A sentence or two.
    LongText { max_length: Some(500), example: Some("Reads users for the billing service.".into()) }
    /// A moment.
    WhenText { format: Some("date-time"), max_length: Some(64), example: Some("2027-01-31T12:00:00Z".into()) }
    /// A slug.
    SlugText { min_length: Some(3), max_length: Some(63), pattern: Some("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$".into()), example: Some("analytical-engines".into()) }
    /// A domain name.
    DomainText { max_length: Some(1024), example: Some("example.com".into()) }
    /// A language tag.
    LocaleText { max_length: Some(35), example: Some("en-GB".into()) }
}
