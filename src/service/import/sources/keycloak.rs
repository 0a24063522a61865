//! Keycloak: the export of a realm or of its users (`{"users":[…]}`), or an array of users.

use super::{
    super::{
        NewUser, Secret,
        values::{self, Field, Object},
    },
    bytes, kept,
};
use crate::credentials::formats::{foreign::Imported, pbkdf2::Prf};
use ::base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Map, Value};

pub(in super::super) fn object(row: &Object<'_>) -> Field<NewUser> {
    let name = values::joined(row.text(&["firstName"])?, row.text(&["lastName"])?);
    let attributes = row.object(&["attributes"])?;
    // Attributes have lists of values.
    let attribute = |name: &str| attributes.as_ref().and_then(|a| a.value(name)?.as_array()?.first()?.as_str());
    let metadata = kept([
        ("keycloak_id", row.text(&["id"])?.map(Into::into)),
        ("username", row.text(&["username"])?.map(Into::into)),
        ("attributes", attributes.as_ref().map(|a| Value::Object(a.0.clone()))),
    ]);
    let credentials = row.value("credentials").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let password = credentials.iter().filter_map(Value::as_object).map(Object).find(|c| matches!(c.text(&["type"]), Ok(Some("password"))));
    Ok(NewUser {
        email: values::email(row.text(&["email"])?)?,
        email_verified: row.flag(&["emailVerified"])?.unwrap_or(false),
        secret: password.map_or(Ok(Secret::None), |c| secret(&c))?,
        display_name: values::name(name.as_deref())?,
        phone: values::phone(attribute("phoneNumber"))?,
        locale: values::locale(attribute("locale")),
        suspended: row.flag(&["enabled"])? == Some(false),
        metadata: values::metadata(metadata)?,
        role: None,
    })
}

/// Since 2020 two JSON texts in texts; before, fields of the credential; in files made by hand, the password itself.
fn secret(row: &Object<'_>) -> Field<Secret> {
    let parsed = |name: &str| match row.text(&[name])? {
        None => Ok(None),
        Some(text) => serde_json::from_str::<Map<String, Value>>(text).map(Some).map_err(|_| format!("{name} is no JSON")),
    };
    if let (Some(secret), Some(data)) = (parsed("secretData")?, parsed("credentialData")?) {
        return hash(&Object(&data), &Object(&secret), "value").map(Secret::Hash);
    }
    match row.text(&["value"])? {
        Some(password) => values::password(password).map(Secret::Password),
        None => hash(row, row, "hashedSaltedValue").map(Secret::Hash),
    }
}

fn hash(data: &Object<'_>, secret: &Object<'_>, value: &str) -> Field<Imported> {
    let text = secret.text(&[value])?.ok_or("the credential has no hash")?;
    let algorithm = data.text(&["algorithm"])?.unwrap_or("pbkdf2-sha256");
    let bad = |e| format!("the credential {e}");
    if algorithm == "bcrypt" {
        return Imported::parse(text).map_err(bad);
    }
    let salt = bytes("salt", secret.text(&["salt"])?.unwrap_or_default(), "base64")?;
    let tag = bytes("the hash", text, "base64")?;
    let rounds = data.number("hashIterations")?.unwrap_or(0);
    let prf = match algorithm {
        "pbkdf2" => Prf::Sha1,
        "pbkdf2-sha256" => Prf::Sha256,
        "pbkdf2-sha512" => Prf::Sha512,
        "argon2" => return argon2(data, rounds, &salt, &tag),
        _ => return Err("the credential is of an algorithm that is not supported".into()),
    };
    Imported::pbkdf2(prf, rounds, &salt, &tag).map_err(bad)
}

/// The default since Keycloak 24.
fn argon2(data: &Object<'_>, passes: u64, salt: &[u8], tag: &[u8]) -> Field<Imported> {
    let more = data.object(&["additionalParameters"])?;
    let first = |name: &str| more.as_ref().and_then(|m| m.value(name)?.as_array()?.first()?.as_str());
    let version = match first("version") {
        None | Some("1.3") => "19",
        Some("1.0") => "16",
        Some(_) => return Err("the credential is of an unknown version of Argon2".into()),
    };
    let (kind, m, p) = (first("type").unwrap_or("id"), first("memory").unwrap_or("7168"), first("parallelism").unwrap_or("1"));
    let b64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let phc = format!("$argon2{kind}$v={version}$m={m},t={passes},p={p}${}${}", b64(salt), b64(tag));
    Imported::of(phc).map_err(|e| format!("the credential {e}"))
}
