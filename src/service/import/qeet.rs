//! Our own format: one object a line (or an array of them), with the fields of `POST /v1/users`; or CSV with their names in the first
//! line.
//!
//! ```text
//! {"email":"ada@example.com","password_hash":"$2b$12$…","display_name":"Ada","phone":"+14155550123","locale":"en-GB",
//!  "email_verified":true,"status":"active","metadata":{"plan":"pro"},"role_id":"00000000-0000-7000-8000-000000000003"}
//! ```

use super::{
    NewUser, Secret,
    rows::Columns,
    values::{self, Field, Object},
};
use crate::credentials::formats::foreign::Imported;
use serde_json::{Map, Value};

pub(super) fn object(row: &Object<'_>) -> Field<NewUser> {
    let metadata = row.object(&["metadata"])?.map(|m| m.0.clone()).unwrap_or_default();
    Ok(NewUser {
        email: values::email(row.text(&["email"])?)?,
        email_verified: row.flag(&["email_verified"])?.unwrap_or(false),
        // A password of blanks is one.
        secret: secret(
            row.value("password").map(|v| v.as_str().ok_or("password is not a text")).transpose()?,
            row.text(&["password_hash"])?,
        )?,
        display_name: values::name(row.text(&["display_name", "name"])?)?,
        phone: values::phone(row.text(&["phone"])?)?,
        locale: values::locale(row.text(&["locale"])?),
        suspended: suspended(row.text(&["status"])?)?,
        metadata: values::metadata(metadata)?,
        role: values::role(row.text(&["role_id"])?)?,
    })
}

pub(super) fn row(row: &Columns<'_>) -> Field<NewUser> {
    let metadata = match row.get("metadata").map(serde_json::from_str::<Map<String, Value>>) {
        None => Map::new(),
        Some(Ok(map)) => map,
        Some(Err(_)) => return Err("metadata is not a JSON object".into()),
    };
    Ok(NewUser {
        email: values::email(row.get("email"))?,
        email_verified: values::flag("email_verified", row.get("email_verified"))?.unwrap_or(false),
        secret: secret(row.get("password"), row.get("password_hash"))?,
        display_name: values::name(row.get("display_name").or_else(|| row.get("name")))?,
        phone: values::phone(row.get("phone"))?,
        locale: values::locale(row.get("locale")),
        suspended: suspended(row.get("status"))?,
        metadata: values::metadata(metadata)?,
        role: values::role(row.get("role_id"))?,
    })
}

fn secret(password: Option<&str>, hash: Option<&str>) -> Field<Secret> {
    match (password, hash) {
        (Some(_), Some(_)) => Err("has both password and password_hash".into()),
        (Some(password), None) => values::password(password).map(Secret::Password),
        (None, Some(hash)) => Imported::parse(hash).map(Secret::Hash).map_err(|e| format!("password_hash {e}")),
        (None, None) => Ok(Secret::None),
    }
}

fn suspended(status: Option<&str>) -> Field<bool> {
    match status {
        None | Some("active") => Ok(false),
        Some("suspended") => Ok(true),
        Some(_) => Err("status is neither active nor suspended".into()),
    }
}
