//! Many accounts in one request: a list, or the export of another system, streamed.

use super::{
    Tag,
    bearer::Authorized,
    errors::{ApiError, Code},
    payload::{In, Out},
    types::{EmailText, FreeObject, LocaleText, NameText, NewPasswordText, PhoneText},
    upload::Upload,
};
use crate::{
    domain::{
        ids::{RoleId, TenantId},
        secret::SecretText,
    },
    service::{
        Services,
        api::Caller,
        bulk,
        import::{self, FirebaseParams, Source},
    },
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
    registry::{MetaSchemaRef, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::Value;
use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The most accounts in a list.
const MAX_USERS: usize = 1000;
/// Files being read at once: each holds a batch of rows, and the writer's attention.
static UPLOADS: Semaphore = Semaphore::const_new(4);

// The shape in the document; rows are read one by one, so that a bad one keeps no other out.
/// An account to be made.
#[derive(Debug, Object)]
pub struct BulkUser {
    /// Its address.
    email: EmailText,
    /// A password in clear, which must obey the tenant's policy.
    password: Option<NewPasswordText>,
    /// A hash of another system instead: bcrypt, Argon2, scrypt, PBKDF2 as PHC or crypt strings, or an LDAP value such as `{SSHA}…`.
    /// Neither of both: the person sets a password with "forgot password".
    password_hash: Option<NewPasswordText>,
    /// At most 200 characters.
    display_name: Option<NameText>,
    /// E.164; unproved.
    phone: Option<PhoneText>,
    /// BCP 47 tag.
    locale: Option<LocaleText>,
    /// The admin's word for the address; it proves nothing.
    email_verified: Option<bool>,
    /// `active` (if left out) or `suspended`.
    status: Option<String>,
    /// At most 16 KiB.
    metadata: Option<FreeObject>,
    /// A role that the caller may give; member, if left out.
    role_id: Option<RoleId>,
    /// The caller's tenant, if given.
    tenant_id: Option<TenantId>,
}

/// A row, whatever it is: what is wrong with it is said in the report.
#[derive(Debug)]
pub struct BulkRow(Value);

impl Type for BulkRow {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;
    fn name() -> Cow<'static, str> {
        BulkUser::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        BulkUser::schema_ref()
    }
    fn register(registry: &mut Registry) {
        BulkUser::register(registry);
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}
impl ParseFromJSON for BulkRow {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default()))
    }
}
impl ToJSON for BulkRow {
    fn to_json(&self) -> Option<Value> {
        None
    }
}

/// Accounts to be made.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct BulkRequest {
    /// The caller's tenant, if given.
    tenant_id: Option<TenantId>,
    /// At most 1000.
    users: Vec<BulkRow>,
}

/// A row that was refused.
#[derive(Debug, Serialize, Object)]
pub struct BulkError {
    /// The line of the file, or the number of the list's item; from 1.
    line: u64,
    /// Whose row it is, where that could be read.
    email: Option<String>,
    /// Why, for people.
    message: String,
}

/// What became of the rows.
#[derive(Debug, Serialize, Object)]
pub struct BulkReport {
    /// Accounts made.
    succeeded: u64,
    /// Rows refused.
    failed: u64,
    /// Why: the first thousand of them.
    errors: Vec<BulkError>,
}

impl From<bulk::BulkReport> for BulkReport {
    fn from(r: bulk::BulkReport) -> Self {
        let error = |e: import::Refusal| BulkError { line: e.line, email: e.email, message: e.message };
        Self { succeeded: r.succeeded, failed: r.failed, errors: r.errors.into_iter().map(error).collect() }
    }
}

/// The routes.
pub struct BulkApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Users")]
impl BulkApi {
    /// Create many users
    ///
    /// Up to 1000, each on its own: one that is refused keeps no other out. They become members of the caller's tenant (an organization).
    /// In an organization without power over credentials rows with a password, a hash, a phone number, `email_verified` or a status but `active` are refused, each
    /// of the others counts as an invite, and its address gets a mail; in a managed one no mail goes out. A tenant is told of at most 20 addresses a day that belong to accounts elsewhere; then rows are not looked at,
    /// and the next request is 429.
    #[oai(path = "/v1/users/bulk", method = "post", operation_id = "createUsers")]
    async fn list(&self, caller: Data<&Caller>, by: Authorized, body: In<BulkRequest>) -> Result<Out<BulkReport>, ApiError> {
        let by = by.0;
        body.0.tenant_id.map_or(Ok(()), |t| by.in_tenant(t))?;
        if body.0.users.len() > MAX_USERS {
            return Err(ApiError::fields([("users".to_owned(), format!("has more than {MAX_USERS} items"))].into()));
        }
        let mut bulk = self.0.bulk(&caller, &by).await?;
        let own = by.tenant_id.to_string();
        let mut rows = Vec::with_capacity(body.0.users.len());
        for (line, row) in (1..).zip(body.0.users) {
            match row.0.get("tenant_id").filter(|t| !t.is_null()) {
                Some(tenant) if tenant.as_str() != Some(&*own) => {
                    let email = import::shown(row.0["email"].as_str());
                    bulk.refuse(import::Refusal { line, email, message: "tenant_id is not that of the caller".into() });
                }
                _ => rows.extend(bulk.read(line, row.0)),
            }
        }
        bulk.take(rows).await?;
        Ok(Out(bulk.report().into()))
    }

    /// Import an export
    ///
    /// The file of another system, streamed: at most 10 MiB (`qeetid import` takes files of any size). Its Content-Type may also be
    /// `application/x-ndjson`, `application/json` or `text/csv`. Password hashes are kept, and become
    /// Argon2id when their owners sign in; weak ones (MD5, SHA, low costs) are wrapped in Argon2id at once. Rows that can't be read are reported by
    /// line, the rest goes in; the file may be sent again, those who are in are refused as members.
    ///
    /// `qeet`: NDJSON, a JSON array or CSV with the fields of `POST /v1/users/bulk`. `auth0`: NDJSON with `passwordHash`, or an import file with
    /// `custom_password_hash`. `firebase`: JSON or CSV of `auth:export`; its hashes need the project's hash parameters in the headers.
    /// `cognito`: CSV with a header; it has no passwords. `keycloak`: JSON of a realm or its users.
    #[oai(path = "/v1/users/bulk/import", method = "post", operation_id = "importUsers")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the document")]
    async fn import(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// `qeet`, `auth0`, `firebase`, `cognito` or `keycloak`.
        source: Query<Option<String>>,
        /// Firebase: `base64_signer_key` of the project.
        #[oai(name = "X-Firebase-Signer-Key")]
        signer_key: Header<Option<String>>,
        /// Firebase: `base64_salt_separator`; `Bw==` if left out.
        #[oai(name = "X-Firebase-Salt-Separator")]
        salt_separator: Header<Option<String>>,
        /// Firebase: `rounds`; 8 if left out.
        #[oai(name = "X-Firebase-Rounds")]
        rounds: Header<Option<u32>>,
        /// Firebase: `mem_cost`; 14 if left out.
        #[oai(name = "X-Firebase-Mem-Cost")]
        mem_cost: Header<Option<u32>>,
        mut body: Upload,
    ) -> Result<Out<BulkReport>, ApiError> {
        let by = by.0;
        let source = source.0.ok_or_else(|| "is missing".to_owned()).and_then(|s| s.parse::<Source>());
        let source = source.map_err(|why| ApiError::fields([("source".to_owned(), why)].into()))?;
        let firebase = signer_key.0.filter(|_| source == Source::Firebase).map(|key| FirebaseParams {
            signer_key: SecretText::new(key),
            salt_separator: salt_separator.0.unwrap_or_else(|| "Bw==".to_owned()),
            rounds: rounds.0.unwrap_or(8),
            mem_cost: mem_cost.0.unwrap_or(14),
        });
        let busy = |_| ApiError { retry_after: Some(Duration::from_secs(5)), ..ApiError::new(Code::Overloaded) };
        let _place = UPLOADS.try_acquire().map_err(busy)?;
        let mut upload = self.0.upload(&caller, &by, source, firebase).await?;
        while let Some(bytes) = body.next().await? {
            upload.feed(&bytes).await?;
        }
        Ok(Out(upload.finish().await?.into()))
    }
}
