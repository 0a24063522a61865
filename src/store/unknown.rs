//! Fields of stored rows that this version doesn't know. A newer version wrote them; they survive what this one writes, so that two
//! versions can serve one store while an installation is upgraded, and go back.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// `new` as JSON, with what of `stored` a `T` of this version doesn't hold.
///
/// # Errors
/// `stored` is no `T`, or `new` can't be written.
pub(super) fn with_unknown<T: Serialize + DeserializeOwned>(stored: &str, new: &T) -> serde_json::Result<String> {
    let known: T = serde_json::from_str(stored)?;
    // Written by this version, as nearly all rows are.
    if serde_json::to_string(&known)? == stored {
        return serde_json::to_string(new);
    }
    let mut out = serde_json::to_value(new)?;
    keep(&serde_json::from_str(stored)?, &serde_json::to_value(&known)?, &mut out);
    serde_json::to_string(&out)
}

/// `known` is what this version makes of `stored`.
fn keep(stored: &Value, known: &Value, new: &mut Value) {
    match (stored, known, new) {
        (Value::Object(stored), Value::Object(known), Value::Object(new)) => {
            for (field, value) in stored {
                match (known.get(field), new.get_mut(field)) {
                    (Some(known), Some(new)) => keep(value, known, new),
                    (None, None) => {
                        new.insert(field.clone(), value.clone());
                    }
                    // Removed by the change, or this version's own by now.
                    (Some(_), None) | (None, Some(_)) => {}
                }
            }
        }
        (Value::Array(stored), Value::Array(known), Value::Array(new)) if stored.len() == known.len() => {
            // An element that didn't change stays as it lies there.
            for element in new {
                if let Some(at) = known.iter().position(|k| k == element) {
                    *element = stored[at].clone();
                }
            }
        }
        // Elements that this version passes over, such as keys of permissions.
        (Value::Array(stored), known @ Value::Array(_), new) if known == new => *new = Value::Array(stored.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::{Permission, PermissionSet};
    use serde::Deserialize;
    use serde_json::{Map, json};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Inner {
        a: u32,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Row {
        name: Option<String>,
        inner: Inner,
        many: Vec<Inner>,
        free: Map<String, Value>,
        allows: PermissionSet,
    }

    #[test]
    fn what_a_newer_version_wrote_survives() {
        let stored = json!({
            "name": "x", "later": [1, 2], "inner": {"a": 1, "b": {"c": 2}}, "many": [{"a": 1, "z": 1}, {"a": 2, "z": 2}],
            "free": {"k": 1, "gone": 2}, "allows": ["user.read", "moon.fly"],
        });
        let mut row: Row = serde_json::from_value(stored.clone()).unwrap();
        row.name = None;
        row.inner.a = 9;
        row.many = vec![Inner { a: 2 }, Inner { a: 3 }];
        row.free.remove("gone");
        let written: Value = serde_json::from_str(&with_unknown(&stored.to_string(), &row).unwrap()).unwrap();
        let expected = json!({
            "name": null, "later": [1, 2], "inner": {"a": 9, "b": {"c": 2}}, "many": [{"a": 2, "z": 2}, {"a": 3}],
            "free": {"k": 1}, "allows": ["user.read", "moon.fly"],
        });
        assert_eq!(written, expected);
        // Who changes a list decides what is in it.
        row.allows = [Permission::UserWrite].into_iter().collect();
        let written: Value = serde_json::from_str(&with_unknown(&stored.to_string(), &row).unwrap()).unwrap();
        assert_eq!(written["allows"], json!(["user.write"]));
    }

    #[test]
    fn rows_of_this_version_are_written_as_they_are() {
        let row = Row { name: None, inner: Inner { a: 1 }, many: vec![], free: Map::new(), allows: PermissionSet::default() };
        let stored = serde_json::to_string(&row).unwrap();
        assert_eq!(with_unknown(&stored, &row).unwrap(), stored);
    }
}
