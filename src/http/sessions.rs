//! The session of the signed-in person, his other ones, and his password.

use super::{
    Tag,
    bearer::{Bearer, BearerOrChange, Credentials},
    dto::{Message, Session, TokenPair},
    errors::ApiError,
    fields::{All, maybe_password, new_password},
    payload::{In, Out},
    types::{NewPasswordText, PasswordText},
};
use crate::{
    domain::ids::{SessionId, TenantId, UserId},
    service::{Services, access::Credential, api::Caller},
};
use poem::web::Data;
use poem_openapi::{Enum, Object, OpenApi, param::Path};
use serde::Serialize;
use std::sync::Arc;

/// Who a token stands for.
#[derive(Debug, Serialize, Object)]
pub struct WhoAmI {
    /// The person, or who made the server's key.
    user_id: Option<UserId>,
    /// The tenant that the token or key is scoped to.
    tenant_id: TenantId,
    /// The person's session.
    session_id: Option<SessionId>,
    /// A person or a server.
    actor: ActorKind,
    /// What an API key may do; empty for people, whose roles decide.
    scopes: Vec<String>,
}

/// A person or a server.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person with an access token.
    User,
    /// A server with an API key.
    ApiKey,
}

/// Sessions, newest first.
#[derive(Debug, Serialize, Object)]
pub struct SessionList {
    /// The sessions.
    pub(super) items: Vec<Session>,
    /// Always null: all of them are in `items`.
    pub(super) next_cursor: Option<String>,
}

/// How many sessions were ended.
#[derive(Debug, Serialize, Object)]
pub struct Revoked {
    /// The number.
    pub(super) revoked: u64,
}

/// Whether there is a password.
#[derive(Debug, Serialize, Object)]
pub struct PasswordState {
    /// Whether there is one.
    has_password: bool,
}

/// A change of the password.
#[derive(Debug, Object)]
pub struct ChangePasswordRequest {
    /// Needed if the account has one; else the sign-in must be under 15 minutes old.
    current_password: Option<PasswordText>,
    /// 8 to 256 characters, any; never trimmed or cut.
    new_password: NewPasswordText,
}

/// A change of the scope.
#[derive(Debug, Object)]
pub struct SwitchTenantRequest {
    /// One of the caller's tenants.
    tenant_id: TenantId,
}

/// The routes.
pub struct SessionsApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Sessions")]
impl SessionsApi {
    /// Who am I
    ///
    /// What the access token or API key says. Answered from memory: ask it as often as you like, within the limit of the network.
    #[oai(path = "/v1/auth/me", method = "get", operation_id = "whoAmI")]
    async fn me(&self, who: Credentials) -> Result<Out<WhoAmI>, ApiError> {
        Ok(Out(match who.0 {
            Credential::Person(p) => WhoAmI {
                user_id: Some(p.user_id),
                tenant_id: p.tenant_id,
                session_id: Some(p.session_id),
                actor: ActorKind::User,
                scopes: Vec::new(),
            },
            Credential::Server(key) => WhoAmI {
                user_id: key.user_id,
                tenant_id: key.tenant_id,
                session_id: None,
                actor: ActorKind::ApiKey,
                scopes: self.0.scopes_now(&key).await?.keys().into_iter().map(str::to_owned).collect(),
            },
        }))
    }

    /// Sign out
    ///
    /// Ends this session: its tokens are refused from now on.
    #[oai(path = "/v1/auth/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, caller: Data<&Caller>, who: Bearer) -> Result<Out<Message>, ApiError> {
        self.0.logout(&caller, &who.0).await?;
        Ok(Out(Message::new("Signed out.")))
    }

    /// List one's sessions
    ///
    /// Newest first, ended ones included for a while.
    #[oai(path = "/v1/auth/sessions", method = "get", operation_id = "listSessions")]
    async fn list(&self, who: Bearer) -> Result<Out<SessionList>, ApiError> {
        let items = self.0.sessions(&who.0).await?.into_iter().map(Session::from).collect();
        Ok(Out(SessionList { items, next_cursor: None }))
    }

    /// End all other sessions
    ///
    /// This one lives on.
    #[oai(path = "/v1/auth/sessions", method = "delete", operation_id = "revokeOtherSessions")]
    async fn revoke_others(&self, caller: Data<&Caller>, who: Bearer) -> Result<Out<Revoked>, ApiError> {
        Ok(Out(Revoked { revoked: self.0.revoke_other_sessions(&caller, &who.0).await? }))
    }

    /// End one session
    ///
    /// Somebody else's id, or one that never was, does nothing and looks the same.
    #[oai(path = "/v1/auth/sessions/:id", method = "delete", operation_id = "revokeSession")]
    async fn revoke(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The session.
        id: Path<SessionId>,
    ) -> Result<Out<Message>, ApiError> {
        self.0.revoke_session(&caller, &who.0, id.0).await?;
        Ok(Out(Message::new("The session has been ended.")))
    }

    /// Is there a password
    ///
    /// An account made by an invitation or an admin may have none.
    #[oai(path = "/v1/auth/password", method = "get", operation_id = "getPasswordState")]
    async fn has_password(&self, who: Bearer) -> Result<Out<PasswordState>, ApiError> {
        Ok(Out(PasswordState { has_password: self.0.has_password(&who.0).await? }))
    }

    /// Set or change the password
    ///
    /// Keeps this session and ends all others. A wrong current password is 403 `invalid_credentials` and counts as a try. Takes the `change_token` of a
    /// 403 `password_change_required` as well, without `current_password`, for another password than the one that was set; sign in
    /// afterwards.
    #[oai(path = "/v1/auth/password", method = "post", operation_id = "changePassword")]
    async fn change_password(
        &self,
        caller: Data<&Caller>,
        who: BearerOrChange,
        body: In<ChangePasswordRequest>,
    ) -> Result<Out<Message>, ApiError> {
        let current = maybe_password("current_password", body.0.current_password.as_ref());
        let (current, new) = (current, new_password("new_password", &body.0.new_password)).all()?;
        let who = match who {
            BearerOrChange::Person(who) => who,
            BearerOrChange::Change(token) => {
                self.0.change_set_password(&caller, token.reveal(), new).await?;
                return Ok(Out(Message::new("The password has been changed. Sign in with the new one.")));
            }
        };
        self.0.change_password(&caller, &who, current, new).await?;
        Ok(Out(Message::new("The password has been changed. All other sessions have been ended.")))
    }

    /// Switch to another tenant
    ///
    /// Opens a session scoped to another of the caller's tenants; this one lives on. The next sign-in goes there too.
    #[oai(path = "/v1/auth/switch-tenant", method = "post", operation_id = "switchTenant")]
    async fn switch_tenant(&self, caller: Data<&Caller>, who: Bearer, body: In<SwitchTenantRequest>) -> Result<Out<TokenPair>, ApiError> {
        Ok(Out(self.0.switch_tenant(&caller, &who.0, body.0.tenant_id).await?.into()))
    }
}
