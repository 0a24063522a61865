//! The auth policy of the operator's tenant.

use super::{
    Tag,
    bearer::Authorized,
    errors::ApiError,
    payload::{In, Out},
};
use crate::{
    domain::{ids::TenantId, policy},
    service::{Services, api::Caller},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path};
use serde::Serialize;
use std::{collections::BTreeMap, str::FromStr, sync::Arc};

/// What passwords, codes and sessions of the tenant's members obey.
#[derive(Debug, Serialize, Object)]
pub struct AuthPolicy {
    /// Characters (Unicode scalar values) that a password must have.
    #[oai(validator(minimum(value = "8"), maximum(value = "64")))]
    password_min_length: u32,
    /// A password must have an upper-case letter.
    password_require_uppercase: bool,
    /// A password must have a digit.
    password_require_number: bool,
    /// A password must have a character that is neither letter nor digit.
    password_require_symbol: bool,
    /// The zxcvbn score that a password must reach; 0: none.
    #[oai(validator(minimum(value = "0"), maximum(value = "4")))]
    password_min_strength: u32,
    /// `on`: new passwords are looked up in a corpus of breaches (k-anonymity: 5 hex digits of a hash leave).
    breached_password_check: String,
    /// Words that a password must not be made of, beside the names of the service, the tenant and the person.
    password_context_words: Vec<String>,
    /// Codes may be sent by mail.
    otp_email_enabled: bool,
    /// Codes may be sent by text message.
    otp_sms_enabled: bool,
    /// How long an invite is good for.
    #[oai(validator(minimum(value = "1"), maximum(value = "720")))]
    invite_ttl_hours: u32,
    /// The longest that a session lives.
    #[oai(validator(minimum(value = "1"), maximum(value = "365")))]
    session_ttl_days: u32,
    /// A session that isn't refreshed for so many days is over; of sessions that begin from now on.
    #[oai(validator(minimum(value = "1"), maximum(value = "365")))]
    session_idle_days: u32,
    /// How long a deleted user can be restored.
    #[oai(validator(minimum(value = "1"), maximum(value = "365")))]
    recycle_bin_days: u32,
    /// Text messages a day, at most; the deployment's own budget is the most that counts.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000")))]
    sms_daily_budget: u32,
    /// ISO 3166-1 alpha-2 codes of the countries that texts may go to; empty: all but premium numbers. They go to no country that the
    /// deployment's own list leaves out.
    sms_countries: Vec<String>,
    /// The security notices that members get by mail: `new_sign_in`, `token_reused`, `phone_changed`, `sign_ins_refused`. It binds in managed tenants only,
    /// for accounts whose home they are; notices about passwords, addresses, keys and deletion always go out.
    notices: Vec<String>,
}

impl From<policy::AuthPolicy> for AuthPolicy {
    fn from(p: policy::AuthPolicy) -> Self {
        Self {
            password_min_length: p.password_min_length,
            password_require_uppercase: p.password_require_uppercase,
            password_require_number: p.password_require_number,
            password_require_symbol: p.password_require_symbol,
            password_min_strength: p.password_min_strength.into(),
            breached_password_check: p.breached_password_check.name().to_owned(),
            password_context_words: p.password_context_words,
            otp_email_enabled: p.otp_email_enabled,
            otp_sms_enabled: p.otp_sms_enabled,
            invite_ttl_hours: p.invite_ttl_hours,
            session_ttl_days: p.session_ttl_days,
            session_idle_days: p.session_idle_days,
            recycle_bin_days: p.recycle_bin_days,
            sms_daily_budget: p.sms_daily_budget,
            sms_countries: p.sms_countries,
            notices: p.notices,
        }
    }
}

/// A change of the policy: what is left out stays as it is.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct AuthPolicyChange {
    /// Password rules to begin with, which the fields beside it then change: `default`, or `nist-800-63b-4` (NIST SP 800-63B-4 for
    /// a password that is the only factor: 15 characters, a blocklist and the breach corpus, no composition rules, sessions of 30 days at most).
    preset: Option<String>,
    /// 8 to 64.
    password_min_length: Option<i64>,
    /// Whether a password must have an upper-case letter.
    password_require_uppercase: Option<bool>,
    /// Whether a password must have a digit.
    password_require_number: Option<bool>,
    /// Whether a password must have a character that is neither letter nor digit.
    password_require_symbol: Option<bool>,
    /// 0 to 4, a zxcvbn score.
    password_min_strength: Option<i64>,
    /// `off` or `on`.
    breached_password_check: Option<String>,
    /// At most 100 words of 4 to 64 letters and digits.
    password_context_words: Option<Vec<String>>,
    /// Whether codes may be sent by mail.
    otp_email_enabled: Option<bool>,
    /// Whether codes may be sent by text message.
    otp_sms_enabled: Option<bool>,
    /// 1 to 720.
    invite_ttl_hours: Option<i64>,
    /// 1 to 365.
    session_ttl_days: Option<i64>,
    /// 1 to 365.
    session_idle_days: Option<i64>,
    /// 1 to 365.
    recycle_bin_days: Option<i64>,
    /// 0 to 1,000,000.
    sms_daily_budget: Option<i64>,
    /// ISO 3166-1 alpha-2 codes, such as US; empty: all but premium numbers.
    sms_countries: Option<Vec<String>>,
    /// Names of security notices: `new_sign_in`, `token_reused`, `phone_changed`, `sign_ins_refused`.
    notices: Option<Vec<String>>,
}

/// A name that must be one of a few.
fn named<T: FromStr>(field: &'static str, text: Option<&String>, known: &str, bad: &mut BTreeMap<String, String>) -> Option<T> {
    let parsed = text.map(|t| t.parse());
    if matches!(parsed, Some(Err(_))) {
        bad.insert(field.into(), format!("must be {known}"));
    }
    parsed.and_then(Result::ok)
}

/// What can't be a number of this type becomes one that no rule allows.
fn number<T: TryFrom<i64>>(value: Option<i64>, impossible: T) -> Option<T> {
    value.map(|v| v.try_into().unwrap_or(impossible))
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl AuthPolicyChange {
    fn apply(&self, breach_check: Option<policy::BreachCheck>, p: &mut policy::AuthPolicy) {
        set(&mut p.password_min_length, number(self.password_min_length, u32::MAX));
        set(&mut p.password_require_uppercase, self.password_require_uppercase);
        set(&mut p.password_require_number, self.password_require_number);
        set(&mut p.password_require_symbol, self.password_require_symbol);
        set(&mut p.password_min_strength, number(self.password_min_strength, u8::MAX));
        set(&mut p.breached_password_check, breach_check);
        set(&mut p.password_context_words, self.password_context_words.clone());
        set(&mut p.otp_email_enabled, self.otp_email_enabled);
        set(&mut p.otp_sms_enabled, self.otp_sms_enabled);
        set(&mut p.invite_ttl_hours, number(self.invite_ttl_hours, u32::MAX));
        set(&mut p.session_ttl_days, number(self.session_ttl_days, u32::MAX));
        set(&mut p.session_idle_days, number(self.session_idle_days, u32::MAX));
        set(&mut p.recycle_bin_days, number(self.recycle_bin_days, u32::MAX));
        set(&mut p.sms_daily_budget, number(self.sms_daily_budget, u32::MAX));
        set(&mut p.sms_countries, self.sms_countries.clone());
        set(&mut p.notices, self.notices.clone());
    }
}

/// The routes.
pub struct PolicyApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Access")]
impl PolicyApi {
    /// Show the auth policy
    ///
    /// What passwords, codes and sessions of the tenant's members obey.
    #[oai(path = "/v1/tenants/:tenantID/auth-policy", method = "get", operation_id = "getAuthPolicy")]
    async fn get(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
    ) -> Result<Out<AuthPolicy>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.auth_policy(&by, tenant.0).await?.into()))
    }

    /// Change the auth policy
    ///
    /// What is left out stays. Passwords that are set already stay good; a person who belongs to several tenants needs a password
    /// that all of them accept. Two changes at once lose nothing.
    #[oai(path = "/v1/tenants/:tenantID/auth-policy", method = "put", operation_id = "updateAuthPolicy")]
    async fn put(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        body: In<AuthPolicyChange>,
    ) -> Result<Out<AuthPolicy>, ApiError> {
        let by = by.0;
        by.in_tenant(tenant.0)?;
        let change = body.0;
        let mut bad = BTreeMap::new();
        let preset = named("preset", change.preset.as_ref(), "default or nist-800-63b-4", &mut bad);
        let check = named("breached_password_check", change.breached_password_check.as_ref(), "off or on", &mut bad);
        if !bad.is_empty() {
            return Err(ApiError::fields(bad));
        }
        Ok(Out(self.0.change_auth_policy(&caller, &by, tenant.0, preset, |p| change.apply(check, p)).await?.into()))
    }
}
