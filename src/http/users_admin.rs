//! What else admins do with users: passwords, sessions, the recycle bin, the export.

use super::{
    Tag,
    bearer::Authorized,
    dto::{Message, Session, User},
    errors::ApiError,
    fields::{All, new_password},
    page::{Cursor, page},
    payload::{In, NoContent, Out},
    sessions::{Revoked, SessionList},
    types::{NewPasswordText, Shown, Time},
    users_export::UserExport,
};
use crate::{
    domain::{authority::Action, ids::UserId, user},
    service::{Services, api::Caller},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;
use std::sync::Arc;

/// A new password.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct SetPasswordRequest {
    /// 8 to 256 characters, as the tenant's policy asks.
    password: NewPasswordText,
    /// Its owner has to set another one before they sign in: every route that takes the right password answers 403 `password_change_required`.
    must_change: Option<bool>,
}

/// What kind of link, and how it reaches the user.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct MakeLinkRequest {
    /// `reset`: a link that sets a password.
    #[oai(rename = "type")]
    kind: LinkKind,
    /// `mail`: to the user's address. `return`: in the answer, to be handed over.
    deliver: LinkDelivery,
}

/// A kind of link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum LinkKind {
    /// Sets a password.
    Reset,
}

/// How a link reaches the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum LinkDelivery {
    /// By mail.
    Mail,
    /// In the answer.
    Return,
}

/// A link that was made.
#[derive(Debug, Serialize, Object)]
pub struct MadeLink {
    /// The link: whoever has it can set the password.
    url: Shown,
    /// When it is void.
    expires_at: Time,
}

/// What making a link answers, by how it is delivered.
#[derive(ApiResponse)]
enum LinkAnswer {
    /// `return`: the link.
    #[oai(status = 201)]
    Made(Out<MadeLink, 201>),
    /// `mail`: it is on its way.
    #[oai(status = 202)]
    Mailed(Out<Message, 202>),
}

/// A user in the recycle bin.
#[derive(Debug, Serialize, Object)]
pub struct DeletedUser {
    /// Its id.
    id: UserId,
    /// Its address, which stays taken.
    email: String,
    /// Its name.
    display_name: Option<String>,
    /// When it was deleted.
    deleted_at: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// When it is removed for good.
    purge_after: Option<Time>,
}

impl From<user::User> for DeletedUser {
    fn from(u: user::User) -> Self {
        Self {
            id: u.id,
            email: u.email.as_str().to_owned(),
            display_name: u.display_name,
            deleted_at: u.deleted_at.map(Time),
            created_at: Time(u.created_at),
            purge_after: u.purge_after.map(Time),
        }
    }
}

/// Users in the recycle bin.
#[derive(Debug, Serialize, Object)]
pub struct DeletedUserList {
    /// The users, the latest deletion first.
    items: Vec<DeletedUser>,
    /// For the next page; null: this is the last one.
    next_cursor: Option<String>,
}

/// The routes.
pub struct UsersAdminApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Users")]
impl UsersAdminApi {
    /// Set a user's password
    ///
    /// All of their sessions end. Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for a user who may do no more than the caller, and is not the caller: else
    /// 403 with the reason.
    #[oai(path = "/v1/users/:id/password", method = "post", operation_id = "setUserPassword")]
    async fn set_password(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
        body: In<SetPasswordRequest>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.allowed(&by, id.0, Action::SetPassword).await?;
        let (password,) = (new_password("password", &body.0.password),).all()?;
        self.0.set_password(&caller, &by, id.0, password, body.0.must_change.unwrap_or(false)).await?;
        Ok(NoContent)
    }

    /// Make a link that sets a user's password
    ///
    /// Mailed to the user, or returned to be handed over. A returned one is good for an hour, once, and only while its maker may still set the password; it proves
    /// no address. Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for a user who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/links", method = "post", operation_id = "makeUserLink")]
    async fn make_link(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
        body: In<MakeLinkRequest>,
    ) -> Result<LinkAnswer, ApiError> {
        let by = by.0;
        let MakeLinkRequest { kind: LinkKind::Reset, deliver } = body.0;
        Ok(match deliver {
            LinkDelivery::Mail => {
                self.0.mail_link(&caller, &by, id.0).await?;
                LinkAnswer::Mailed(Out(Message::new("A mail with the link is on its way.")))
            }
            LinkDelivery::Return => {
                let (url, expires_at) = self.0.make_link(&caller, &by, id.0).await?;
                LinkAnswer::Made(Out(MadeLink { url: Shown(url), expires_at: Time(expires_at) }))
            }
        })
    }

    /// List a user's sessions
    ///
    /// Newest first, ended ones included for a while.
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/sessions", method = "get", operation_id = "listUserSessions")]
    async fn sessions(
        &self,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Out<SessionList>, ApiError> {
        let by = by.0;
        let items = self.0.sessions_of(&by, id.0).await?.into_iter().map(Session::from).collect();
        Ok(Out(SessionList { items, next_cursor: None }))
    }

    /// End all of a user's sessions
    ///
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/sessions/revoke-all", method = "post", operation_id = "revokeUserSessions")]
    async fn end_sessions(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Out<Revoked>, ApiError> {
        let by = by.0;
        Ok(Out(Revoked { revoked: self.0.end_sessions_of(&caller, &by, id.0).await? }))
    }

    /// List the recycle bin
    ///
    /// The latest deletion first.
    #[oai(path = "/v1/users/deleted", method = "get", operation_id = "listDeletedUsers")]
    async fn deleted(
        &self,
        by: Authorized,
        /// Items of the page, 1 to 200; 50 if left out.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Result<Out<DeletedUserList>, ApiError> {
        let by = by.0;
        let listed = self.0.deleted_users(&by, &page(limit.0, cursor.0)?).await?;
        Ok(Out(DeletedUserList { items: listed.items.into_iter().map(DeletedUser::from).collect(), next_cursor: listed.next }))
    }

    /// Restore a user
    ///
    /// Out of the recycle bin, with the memberships and the status of before, but without the password: a mail with a link to set one goes out. 404 if it isn't there.
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/restore", method = "post", operation_id = "restoreUser")]
    async fn restore(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Out<User>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.restore_user(&caller, &by, id.0).await?.into()))
    }

    /// Purge a user
    ///
    /// From the recycle bin only, else 409: every row of the user is erased, and the address is free. The audit keeps a receipt without personal data.
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/purge", method = "delete", operation_id = "purgeUser")]
    async fn purge(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.purge_user(&caller, &by, id.0).await?;
        Ok(NoContent)
    }

    /// Export a user
    ///
    /// All that is kept about one user, also one in the recycle bin; of the password only whether there is one.
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    #[oai(path = "/v1/users/:id/export", method = "get", operation_id = "exportUser")]
    async fn export(
        &self,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Out<UserExport>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.export_user(&by, id.0).await?.into()))
    }
}
