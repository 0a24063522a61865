//! The exports of other systems, one a file.

pub(super) mod auth0;
pub(super) mod cognito;
pub(super) mod firebase;
pub(super) mod keycloak;

use super::values::Field;
use crate::credentials::formats::foreign;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

/// Padded by some, by others not; of the web-safe alphabet too, once that is replaced.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Bytes as a file writes them.
fn bytes(what: &str, text: &str, encoding: &str) -> Field<Vec<u8>> {
    match encoding {
        "base64" => BASE64.decode(text.trim().replace('-', "+").replace('_', "/")).map_err(|_| format!("{what} is not base64")),
        "hex" => foreign::hex(text.trim()).map_err(|_| format!("{what} is not hex")),
        "utf8" | "utf-8" | "ascii" => Ok(text.as_bytes().to_vec()),
        _ => Err(format!("{what} is of an encoding that is not supported")),
    }
}

/// What is kept of an account beside the fields that we have.
fn kept<'a>(values: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Map<String, Value> {
    let filled = |v: &Value| !matches!(v, Value::Null) && v.as_object().is_none_or(|o| !o.is_empty());
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.filter(filled)?))).collect()
}
