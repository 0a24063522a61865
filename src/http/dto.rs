//! The shapes that more than one route gives, and how they are made of the service's own.

use super::types::{FreeObject, Shown, Time};
use crate::{
    domain::{
        ids::{SessionId, TenantId, UserId},
        session, tenant,
        token::CodeLength,
        user::{self, UserStatus},
    },
    service::api,
};
use poem_openapi::{Enum, Object};
use serde::Serialize;

/// Something was done, or will be; the text is for people.
#[derive(Debug, Serialize, Object)]
pub struct Message {
    /// For people; may change.
    pub message: String,
}

impl Message {
    /// Says `text`.
    pub fn new(text: &str) -> Self {
        Self { message: text.to_owned() }
    }
}

/// A code was sent, or there was no need for one.
#[derive(Debug, Serialize, Object)]
pub struct CodeStarted {
    /// For people; may change.
    message: String,
    /// How many digits the code has: 6, or 8 where many wrong ones were typed lately. Null: nothing was sent.
    code_length: Option<u8>,
}

impl CodeStarted {
    /// Says `text`.
    pub fn new(text: &str, length: Option<CodeLength>) -> Self {
        Self { message: text.to_owned(), code_length: length.map(CodeLength::digits) }
    }
}

/// The tokens of one session.
#[derive(Debug, Serialize, Object)]
pub struct TokenPair {
    /// A JWT, for `Authorization: Bearer …`.
    pub access_token: Shown,
    /// Always `Bearer`.
    pub token_type: TokenType,
    /// When the access token ends.
    pub expires_at: Time,
    /// For `POST /v1/auth/refresh`; each use gives a new one.
    pub refresh_token: Shown,
    /// The session.
    pub session_id: SessionId,
    /// The person.
    pub user_id: UserId,
    /// The tenant that the tokens are scoped to.
    pub tenant_id: TenantId,
}

/// How the access token is sent.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
pub enum TokenType {
    /// `Authorization: Bearer …`
    Bearer,
}

impl From<api::TokenPair> for TokenPair {
    fn from(p: api::TokenPair) -> Self {
        Self {
            access_token: Shown(p.access_token),
            token_type: TokenType::Bearer,
            expires_at: Time(p.expires_at),
            refresh_token: Shown(p.refresh_token),
            session_id: p.session_id,
            user_id: p.user_id,
            tenant_id: p.tenant_id,
        }
    }
}

/// Whether an account may sign in.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum UserState {
    /// It may.
    Active,
    /// An admin said no.
    Suspended,
}

/// An account, as seen from one tenant.
#[derive(Debug, Serialize, Object)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The tenant it is seen from.
    pub tenant_id: TenantId,
    /// Lower case, the domain as A-labels.
    pub email: String,
    /// When a code or mailed token proved it.
    pub email_verified_at: Option<Time>,
    /// When an admin (or an import) said that it is right: no proof.
    pub email_asserted_at: Option<Time>,
    /// E.164; null where the tenant has no power over the account.
    pub phone: Option<String>,
    /// When a code proved it.
    pub phone_verified_at: Option<Time>,
    /// At most 200 characters.
    pub display_name: Option<String>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// Whether it may sign in.
    pub status: UserState,
    /// What admins keep with it.
    pub metadata: FreeObject,
    /// Names of its roles in the tenant.
    pub roles: Vec<String>,
    /// The last sign-in; null where the tenant has no power over the account.
    pub last_login_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// The last change.
    pub updated_at: Time,
}

impl From<api::UserView> for User {
    fn from(v: api::UserView) -> Self {
        let user::User { id, email, email_verified_at, phone, phone_verified_at, display_name, locale, status, metadata, .. } = v.user;
        Self {
            id,
            tenant_id: v.tenant_id,
            email: email.as_str().to_owned(),
            email_verified_at: email_verified_at.map(Time),
            email_asserted_at: v.user.email_asserted_at.map(Time),
            phone: phone.map(|p| p.as_str().to_owned()),
            phone_verified_at: phone_verified_at.map(Time),
            display_name,
            locale,
            status: match status {
                UserStatus::Active => UserState::Active,
                UserStatus::Suspended => UserState::Suspended,
            },
            metadata: FreeObject(metadata),
            roles: v.roles,
            last_login_at: v.user.last_login_at.map(Time),
            created_at: Time(v.user.created_at),
            updated_at: Time(v.user.updated_at),
        }
    }
}

/// What kind of tenant.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum TenantKind {
    /// Made at sign-up, one member for ever.
    Personal,
    /// Made by a member.
    Organization,
}

/// Whether a tenant is in use.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// It is.
    Active,
    /// It has been deleted, and can be brought back for a while.
    Deleted,
}

/// A tenant.
#[derive(Debug, Serialize, Object)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique: 3 to 63 of a-z, 0-9 and -.
    pub slug: String,
    /// 1 to 200 characters.
    pub name: String,
    /// Personal or organization.
    pub kind: TenantKind,
    /// Its admins have power over the credentials of accounts that belong to it alone: the operator's word.
    pub managed: bool,
    /// Whether it is in use.
    pub status: TenantState,
    /// What admins keep with it.
    pub metadata: FreeObject,
    /// When it was made.
    pub created_at: Time,
    /// The last change.
    pub updated_at: Time,
}

impl From<tenant::Tenant> for Tenant {
    fn from(t: tenant::Tenant) -> Self {
        Self {
            id: t.id,
            slug: t.slug,
            name: t.name,
            kind: match t.kind {
                tenant::TenantKind::Personal => TenantKind::Personal,
                tenant::TenantKind::Organization => TenantKind::Organization,
            },
            managed: t.managed,
            status: if t.deleted_at.is_some() { TenantState::Deleted } else { TenantState::Active },
            metadata: FreeObject(t.metadata),
            created_at: Time(t.created_at),
            updated_at: Time(t.updated_at),
        }
    }
}

/// One sign-in on one device.
#[derive(Debug, Serialize, Object)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The tenant that its tokens are scoped to.
    pub tenant_id: TenantId,
    /// Address of the last sign-in or refresh.
    pub ip: String,
    /// The User-Agent header of the sign-in.
    pub user_agent: Option<String>,
    /// When it began.
    pub created_at: Time,
    /// The last refresh.
    pub last_seen_at: Time,
    /// When it was ended.
    pub revoked_at: Option<Time>,
}

impl From<session::Session> for Session {
    fn from(s: session::Session) -> Self {
        Self {
            id: s.id,
            user_id: s.user_id,
            tenant_id: s.tenant_id,
            ip: s.ip,
            user_agent: s.user_agent,
            created_at: Time(s.created_at),
            last_seen_at: Time(s.last_seen_at),
            revoked_at: s.revoked_at.map(Time),
        }
    }
}
