//! One's own account: profile, change of the e-mail address, the end of it.

use super::{
    Tag,
    bearer::Bearer,
    dto::{CodeStarted, Message, User},
    errors::ApiError,
    fields::{All, display_name, email, locale, maybe_password},
    payload::{In, NoContent, Out},
    types::{CodeText, EmailText, LocaleText, NameText, PasswordText},
};
use crate::service::{
    Services,
    api::{Caller, ProfileChange},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, types::MaybeUndefined};
use std::sync::Arc;

/// A change of the profile: absent fields stay as they are, null clears.
#[derive(Debug, Object)]
pub struct UpdateProfileRequest {
    /// At most 200 characters.
    display_name: MaybeUndefined<NameText>,
    /// A BCP 47 tag.
    locale: MaybeUndefined<LocaleText>,
}

/// The end of an account.
#[derive(Debug, Object)]
pub struct DeleteAccountRequest {
    /// Needed if the account has one; else the sign-in must be under 15 minutes old.
    current_password: Option<PasswordText>,
}

/// A change of the e-mail address.
#[derive(Debug, Object)]
pub struct StartEmailChangeRequest {
    /// The new address.
    email: EmailText,
    /// Else the sign-in must be under 15 minutes old.
    current_password: Option<PasswordText>,
}

/// A one-time code.
#[derive(Debug, Object)]
pub struct CodeRequest {
    /// The digits: 6, or 8 where many wrong ones were typed lately.
    pub code: CodeText,
}

/// The routes.
pub struct MeApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Account")]
impl MeApi {
    /// One's own account
    ///
    /// As seen from the tenant that the token is scoped to.
    #[oai(path = "/v1/me", method = "get", operation_id = "getMe")]
    async fn get(&self, who: Bearer) -> Result<Out<User>, ApiError> {
        Ok(Out(self.0.profile(&who.0).await?.into()))
    }

    /// Change one's profile
    ///
    /// Absent fields stay as they are, null clears. The e-mail address and the phone number have routes of their own.
    #[oai(path = "/v1/me", method = "patch", operation_id = "updateMe")]
    async fn update(&self, caller: Data<&Caller>, who: Bearer, body: In<UpdateProfileRequest>) -> Result<Out<User>, ApiError> {
        let UpdateProfileRequest { display_name: name, locale: tag } = body.0;
        let (given_name, given_tag) = (!name.is_undefined(), !tag.is_undefined());
        let (name, tag) = (display_name("display_name", name.value()), locale("locale", tag.value())).all()?;
        let change = ProfileChange { display_name: given_name.then_some(name), locale: given_tag.then_some(tag) };
        Ok(Out(self.0.update_profile(&caller, &who.0, change).await?.into()))
    }

    /// Delete one's account
    ///
    /// Into the recycle bin: all sessions end, the address stays taken until it is purged. The last owner of an organization with other
    /// members must hand it over first: 409.
    #[oai(path = "/v1/me", method = "delete", operation_id = "deleteMe")]
    async fn delete(&self, caller: Data<&Caller>, who: Bearer, body: In<DeleteAccountRequest, true>) -> Result<NoContent, ApiError> {
        let (current,) = (maybe_password("current_password", body.0.current_password.as_ref()),).all()?;
        self.0.delete_me(&caller, &who.0, current).await?;
        Ok(NoContent)
    }

    /// Start an e-mail change
    ///
    /// A code goes to the new address. An address that belongs to another account looks the same here, and is 409 at the confirmation.
    #[oai(path = "/v1/me/email/change/start", method = "post", operation_id = "startEmailChange")]
    async fn start_email_change(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        body: In<StartEmailChangeRequest>,
    ) -> Result<Out<CodeStarted>, ApiError> {
        let current = maybe_password("current_password", body.0.current_password.as_ref());
        let (email, current) = (email("email", &body.0.email), current).all()?;
        let length = self.0.start_email_change(&caller, &who.0, email, current).await?;
        Ok(Out(CodeStarted::new("A code is on its way to the new address.", Some(length))))
    }

    /// Confirm an e-mail change
    ///
    /// Moves the account. The old address gets a notice with a link that undoes it for 72 hours. This session lives on, all others end.
    #[oai(path = "/v1/me/email/change/confirm", method = "post", operation_id = "confirmEmailChange")]
    async fn confirm_email_change(&self, caller: Data<&Caller>, who: Bearer, body: In<CodeRequest>) -> Result<Out<Message>, ApiError> {
        self.0.confirm_email_change(&caller, &who.0, body.0.code.0).await?;
        Ok(Out(Message::new("The e-mail address has been changed.")))
    }
}
