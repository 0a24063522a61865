//! Auth0: exports with password hashes (`passwordHash`, bcrypt), and files of its import job (`password_hash`, `custom_password_hash`).

use super::{
    super::{
        NewUser, Secret,
        values::{self, Field, Object},
    },
    bytes, kept,
};
use crate::credentials::formats::{
    foreign::Imported,
    wrapped::{Digest, Weak},
};
use ::base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

pub(in super::super) fn object(row: &Object<'_>) -> Field<NewUser> {
    let id = row.text(&["user_id"])?.or(row.object(&["_id"]).ok().flatten().and_then(|id| id.text(&["$oid"]).ok().flatten()));
    let metadata = kept([
        ("auth0_user_id", id.map(Into::into)),
        ("username", row.value("username").cloned()),
        ("app_metadata", row.value("app_metadata").cloned()),
        ("user_metadata", row.value("user_metadata").cloned()),
    ]);
    let name = row.text(&["name"])?.map(str::to_owned);
    let name =
        name.or(values::joined(row.text(&["given_name"])?, row.text(&["family_name"])?)).or(row.text(&["nickname"])?.map(Into::into));
    let secret = match (row.object(&["custom_password_hash"])?, row.text(&["passwordHash", "password_hash"])?) {
        (Some(custom), _) => Secret::Hash(self::custom(&custom)?),
        (None, Some(hash)) => Secret::Hash(Imported::parse(hash).map_err(|e| format!("passwordHash {e}"))?),
        (None, None) => Secret::None,
    };
    Ok(NewUser {
        email: values::email(row.text(&["email"])?)?,
        email_verified: row.flag(&["email_verified"])?.unwrap_or(false),
        secret,
        display_name: values::name(name.as_deref())?,
        phone: values::phone(row.text(&["phone_number"])?)?,
        locale: values::locale(row.text(&["locale"]).ok().flatten()),
        suspended: row.flag(&["blocked"])?.unwrap_or(false),
        metadata: values::metadata(metadata)?,
        role: None,
    })
}

/// <https://auth0.com/docs/manage-users/user-migration/bulk-user-import-database-schema-and-examples>
fn custom(row: &Object<'_>) -> Field<Imported> {
    let algorithm = row.text(&["algorithm"])?.ok_or("custom_password_hash has no algorithm")?;
    let hash = row.object(&["hash"])?.ok_or("custom_password_hash has no hash")?;
    let value = hash.text(&["value"])?.ok_or("custom_password_hash has no hash.value")?;
    let encoding = hash.text(&["encoding"])?;
    let bad = |e| format!("custom_password_hash {e}");
    if let Some(password) = row.object(&["password"])?
        && !matches!(password.text(&["encoding"])?, None | Some("utf8" | "ascii"))
    {
        return Err("custom_password_hash is of a password in an encoding that is not supported".into());
    }
    if let Some(digest) = Digest::from_name(algorithm) {
        let tag = bytes("hash.value", value, encoding.unwrap_or("hex"))?;
        let (salt, first) = salt(row)?;
        return Weak::new(digest, tag, salt, first).map(Imported::Weak).map_err(bad);
    }
    match algorithm {
        "argon2" | "bcrypt" | "ldap" | "pbkdf2" => Imported::parse(value).map_err(bad),
        "scrypt" => {
            let number = |name: &str, default: u64| Ok::<_, String>(row.number(name)?.unwrap_or(default));
            let (cost, r, p) = (number("cost", 16_384)?, number("blockSize", 8)?, number("parallelization", 1)?);
            if !cost.is_power_of_two() {
                return Err("custom_password_hash has a cost that is no power of two".into());
            }
            let tag = bytes("hash.value", value, encoding.unwrap_or("hex"))?;
            let (salt, b64) = (salt(row)?.0, |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes));
            Imported::of(format!("$scrypt$ln={},r={r},p={p}${}${}", cost.trailing_zeros(), b64(&salt), b64(&tag))).map_err(bad)
        }
        _ => Err("custom_password_hash is of an algorithm that is not supported".into()),
    }
}

/// The salt, and whether it comes before the password.
fn salt(row: &Object<'_>) -> Field<(Vec<u8>, bool)> {
    let Some(salt) = row.object(&["salt"])? else { return Ok((Vec::new(), false)) };
    let value = salt.text(&["value"])?.unwrap_or_default();
    let first = match salt.text(&["position"])? {
        None | Some("prefix") => true,
        Some("suffix") => false,
        Some(_) => return Err("salt.position is neither prefix nor suffix".into()),
    };
    Ok((bytes("salt.value", value, salt.text(&["encoding"])?.unwrap_or("utf8"))?, first))
}
