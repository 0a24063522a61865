//! Cognito: the CSV of its user pools, with names in the first line. It holds no passwords: each person sets one with "forgot password".

use super::{
    super::{
        NewUser, Secret,
        rows::Columns,
        values::{self, Field},
    },
    kept,
};

pub(in super::super) fn row(row: &Columns<'_>) -> Field<NewUser> {
    let name = row.get("name").map(str::to_owned).or_else(|| values::joined(row.get("given_name"), row.get("family_name")));
    let custom = row.names.iter().filter(|n| n.starts_with("custom:")).filter_map(|n| Some((n.clone(), row.get(n)?.into()))).collect();
    let metadata =
        kept([("cognito_username", row.get("cognito:username").map(Into::into)), ("attributes", Some(serde_json::Value::Object(custom)))]);
    Ok(NewUser {
        email: values::email(row.get("email"))?,
        email_verified: values::flag("email_verified", row.get("email_verified"))?.unwrap_or(false),
        secret: Secret::None,
        display_name: values::name(name.as_deref())?,
        phone: values::phone(row.get("phone_number"))?,
        locale: values::locale(row.get("locale")),
        suspended: values::flag("enabled", row.get("enabled"))? == Some(false),
        metadata: values::metadata(metadata)?,
        role: None,
    })
}
