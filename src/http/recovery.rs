//! Getting an account back: "this was not me", a way out of the recycle bin, the password given again, and one's own export.

use super::{
    Tag,
    bearer::Bearer,
    dto::Message,
    errors::ApiError,
    fields::{All, maybe_password, password},
    payload::{Download, In, Out},
    types::{PasswordText, TokenText},
    users_export::UserExport,
};
use crate::service::{Services, api::Caller};
use poem::web::Data;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// The token of a mailed link.
#[derive(Debug, Object)]
pub struct MailedLinkRequest {
    /// From the link.
    token: TokenText,
}

/// The current password, once more.
#[derive(Debug, Object)]
pub struct ReauthenticateRequest {
    /// The password of the account.
    current_password: PasswordText,
}

/// Asks for all that is kept about oneself.
#[derive(Debug, Object)]
pub struct ExportMeRequest {
    /// Else the sign-in must be under 15 minutes old.
    current_password: Option<PasswordText>,
}

/// The routes.
pub struct RecoveryApi(pub Arc<Services>);

#[OpenApi]
impl RecoveryApi {
    /// Say that a change was not yours
    ///
    /// By the link in a security mail, for 72 hours and once. Removes the password, ends all sessions, pending changes, API keys of the personal tenant and
    /// those made since the mail, and mails a link to set a new password.
    #[oai(path = "/v1/auth/not-me", method = "post", operation_id = "notMe", tag = "Tag::Authentication")]
    async fn not_me(&self, caller: Data<&Caller>, body: In<MailedLinkRequest>) -> Result<Out<Message>, ApiError> {
        self.0.not_me(&caller, body.0.token.reveal()).await?;
        Ok(Out(Message::new(
            "Your account is secured: the password is removed and all sessions have ended. A mail with a link to set a new one is on its way.",
        )))
    }

    /// Restore a deleted account
    ///
    /// By the link in the mail that told of `DELETE /v1/me`, for as long as the recycle bin keeps the account. It comes back without its password: a mail
    /// with a link to set one goes out. An admin's deletion is told without such a link.
    #[oai(path = "/v1/auth/restore", method = "post", operation_id = "restoreAccount", tag = "Tag::Authentication")]
    async fn restore(&self, caller: Data<&Caller>, body: In<MailedLinkRequest>) -> Result<Out<Message>, ApiError> {
        self.0.restore_account(&caller, body.0.token.reveal()).await?;
        Ok(Out(Message::new("The account is back. A mail with a link to set a new password is on its way.")))
    }

    /// Give the password again
    ///
    /// The session counts as signed in now, for what asks for a fresh sign-in (403 `reauthentication_required`). Counts as a try of the password.
    #[oai(path = "/v1/auth/reauthenticate", method = "post", operation_id = "reauthenticate", tag = "Tag::Sessions")]
    async fn reauthenticate(&self, caller: Data<&Caller>, who: Bearer, body: In<ReauthenticateRequest>) -> Result<Out<Message>, ApiError> {
        let (current,) = (password("current_password", &body.0.current_password),).all()?;
        self.0.reauthenticate(&caller, &who.0, current).await?;
        Ok(Out(Message::new("This session counts as signed in now.")))
    }

    /// Export one's own data
    ///
    /// All that is kept about the caller, as a download; of the password only whether there is one.
    #[oai(path = "/v1/me/export", method = "post", operation_id = "exportMe", tag = "Tag::Account")]
    async fn export(&self, caller: Data<&Caller>, who: Bearer, body: In<ExportMeRequest, true>) -> Result<Download<UserExport>, ApiError> {
        let (current,) = (maybe_password("current_password", body.0.current_password.as_ref()),).all()?;
        Ok(Download(self.0.export_me(&caller, &who.0, current).await?.into()))
    }
}
