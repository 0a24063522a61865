//! Single values of a row; what is wrong with one is said without repeating it.

use crate::domain::{
    contact::{BadContact, Email, Phone},
    ids::RoleId,
    secret::Password,
};
use serde_json::{Map, Value};

/// A value, or what is wrong with the row.
pub(super) type Field<T> = Result<T, String>;

/// The most metadata, as compact JSON.
const MAX_METADATA: usize = 16 * 1024;

/// A row of JSON.
pub(super) struct Object<'a>(pub &'a Map<String, Value>);

impl<'a> Object<'a> {
    /// The first of these that is there and isn't null.
    fn get(&self, names: &[&str]) -> Option<&'a Value> {
        names.iter().find_map(|n| self.0.get(*n).filter(|v| !v.is_null()))
    }
    /// A text; blank is none.
    pub(super) fn text(&self, names: &[&str]) -> Field<Option<&'a str>> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|t| !t.trim().is_empty())),
            Some(_) => Err(format!("{} is not a text", names[0])),
        }
    }
    /// A boolean; also as text, as CSV files and some exports have it.
    pub(super) fn flag(&self, names: &[&str]) -> Field<Option<bool>> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(Value::String(text)) => flag(names[0], Some(text)),
            Some(_) => Err(format!("{} is not true or false", names[0])),
        }
    }
    /// An object.
    pub(super) fn object(&self, names: &[&str]) -> Field<Option<Object<'a>>> {
        match self.get(names) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Object(map))),
            Some(_) => Err(format!("{} is not an object", names[0])),
        }
    }
    /// A number that isn't negative; also as text.
    pub(super) fn number(&self, name: &str) -> Field<Option<u64>> {
        let number = match self.get(&[name]) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
        };
        number.map(Some).ok_or_else(|| format!("{name} is not a number"))
    }
    /// A value as it is.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(&[name])
    }
}

/// An address; there must be one.
pub(super) fn email(text: Option<&str>) -> Field<Email> {
    text.ok_or("has no e-mail address")?.parse().map_err(|e: BadContact| format!("email {e}"))
}

pub(super) fn phone(text: Option<&str>) -> Field<Option<Phone>> {
    text.map(str::parse).transpose().map_err(|e: BadContact| format!("phone {e}"))
}

pub(super) fn flag(name: &str, text: Option<&str>) -> Field<Option<bool>> {
    match text.map(|t| t.trim().to_ascii_lowercase()).as_deref() {
        None | Some("") => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(_) => Err(format!("{name} is not true or false")),
    }
}

pub(super) fn password(text: &str) -> Field<Password> {
    Password::new(text).map_err(|e| format!("password is {e}"))
}

pub(super) fn role(text: Option<&str>) -> Field<Option<RoleId>> {
    text.map(str::parse).transpose().map_err(|_| "role_id is not a UUID".to_owned())
}

/// A name: at most 200 characters, nothing that hides or turns text: it is shown in mails and lists of other people.
pub(super) fn name(text: Option<&str>) -> Field<Option<String>> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}');
    if text.chars().count() > 200 {
        return Err("the name is longer than 200 characters".into());
    }
    if text.chars().any(hidden) { Err("the name holds control characters".into()) } else { Ok(Some(text.to_owned())) }
}

/// Given and family name, where there is no whole one.
pub(super) fn joined(given: Option<&str>, family: Option<&str>) -> Option<String> {
    let parts: Vec<_> = [given, family].into_iter().flatten().map(str::trim).filter(|p| !p.is_empty()).collect();
    Some(parts.join(" ")).filter(|n| !n.is_empty())
}

/// A language tag by its form; another one is passed over, as the person can set it.
pub(super) fn locale(text: Option<&str>) -> Option<String> {
    let text = text?.trim().replace('_', "-");
    let parts = || text.split('-');
    let good = text.len() <= 35
        && parts().all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
        && parts().next().is_some_and(|p| p.len() >= 2 && p.bytes().all(|b| b.is_ascii_alphabetic()));
    good.then_some(text)
}

/// Checks its size.
pub(super) fn metadata(map: Map<String, Value>) -> Field<Map<String, Value>> {
    let length = if map.is_empty() { 0 } else { serde_json::to_vec(&map).map_or(usize::MAX, |json| json.len()) };
    if length > MAX_METADATA { Err("metadata is larger than 16 KiB".into()) } else { Ok(map) }
}
