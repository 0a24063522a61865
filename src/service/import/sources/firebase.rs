//! Firebase: `firebase auth:export` as JSON (`{"users":[…]}`) or CSV (28 columns without names).

use super::{
    super::{
        FirebaseParams, NewUser, Secret,
        values::{self, Field, Object},
    },
    bytes, kept,
};
use crate::credentials::formats::foreign::Imported;
use ::base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// What both forms say.
struct Account<'a> {
    uid: Option<&'a str>,
    email: Option<&'a str>,
    verified: bool,
    hash: Option<&'a str>,
    salt: Option<&'a str>,
    name: Option<&'a str>,
    phone: Option<&'a str>,
    disabled: bool,
    claims: Option<&'a str>,
}

pub(in super::super) fn object(row: &Object<'_>, params: Option<&FirebaseParams>) -> Field<NewUser> {
    Account {
        uid: row.text(&["localId"])?,
        email: row.text(&["email"])?,
        verified: row.flag(&["emailVerified"])?.unwrap_or(false),
        hash: row.text(&["passwordHash"])?,
        salt: row.text(&["salt"])?,
        name: row.text(&["displayName"])?,
        phone: row.text(&["phoneNumber"])?,
        disabled: row.flag(&["disabled"])?.unwrap_or(false),
        claims: row.text(&["customAttributes"])?,
    }
    .user(params)
}

pub(in super::super) fn row(cells: &[String], params: Option<&FirebaseParams>) -> Field<NewUser> {
    if cells.len() < 26 {
        return Err("has fewer columns than an export of Firebase".into());
    }
    let cell = |at: usize| cells.get(at).map(|c| c.trim()).filter(|c| !c.is_empty());
    Account {
        uid: cell(0),
        email: cell(1),
        verified: values::flag("email verified", cell(2))?.unwrap_or(false),
        hash: cell(3),
        salt: cell(4),
        name: cell(5),
        phone: cell(25),
        disabled: values::flag("disabled", cell(26))?.unwrap_or(false),
        claims: cell(27),
    }
    .user(params)
}

impl Account<'_> {
    fn user(self, params: Option<&FirebaseParams>) -> Field<NewUser> {
        let secret = match (self.hash, params) {
            (None, _) => Secret::None,
            (Some(_), None) => return Err("has a password hash, which needs the project's hash parameters".into()),
            (Some(hash), Some(params)) => Secret::Hash(params.hash(hash, self.salt.unwrap_or_default())?),
        };
        // Claims are a JSON object in a text.
        let claims = self.claims.and_then(|text| serde_json::from_str::<Value>(text).ok());
        Ok(NewUser {
            email: values::email(self.email)?,
            email_verified: self.verified,
            secret,
            display_name: values::name(self.name)?,
            phone: values::phone(self.phone)?,
            locale: None,
            suspended: self.disabled,
            metadata: values::metadata(kept([("firebase_uid", self.uid.map(Into::into)), ("custom_claims", claims)]))?,
            role: None,
        })
    }
}

impl FirebaseParams {
    /// # Errors
    /// A part is not base64, or the costs are above the ceilings.
    fn hash(&self, hash: &str, salt: &str) -> Field<Imported> {
        let b64 = |what: &str, text: &str| bytes(what, text, "base64").map(|b| STANDARD.encode(b));
        let (separator, signer) = (b64("the salt separator", &self.salt_separator)?, b64("the signer key", self.signer_key.reveal())?);
        let (salt, hash) = (b64("salt", salt)?, b64("passwordHash", hash)?);
        let costs = format!("n={},r={},p=1", self.mem_cost, self.rounds);
        Imported::of(format!("$fbscrypt$v=1,{costs},ss={separator},sk={signer}${salt}${hash}")).map_err(|e| format!("passwordHash {e}"))
    }

    /// Whether hashes can be made with them at all.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let signer = bytes("the signer key", self.signer_key.reveal(), "base64")?;
        let sample = self.hash(&STANDARD.encode(vec![0; signer.len()]), "");
        sample
            .map(drop)
            .map_err(|_| "the project's hash parameters make no hash: signer key, salt separator, rounds or mem_cost is wrong".into())
    }
}
