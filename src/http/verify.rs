//! Proving an e-mail address or a phone number by a one-time code.

use super::{
    Tag,
    bearer::Bearer,
    dto::{CodeStarted, Message},
    errors::ApiError,
    fields::{All, phone},
    me::CodeRequest,
    payload::{In, Out},
    types::PhoneText,
};
use crate::{
    domain::ids::UserId,
    service::{
        Services,
        api::{Caller, PhoneStart},
    },
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path};
use std::sync::Arc;

/// Where the code goes.
#[derive(Debug, Object)]
pub struct StartPhoneRequest {
    /// E.164; the number on file if it is left out.
    phone: Option<PhoneText>,
}

/// The routes.
pub struct VerifyApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Verification")]
impl VerifyApi {
    /// Send a code to the e-mail address
    ///
    /// To the address on file, never to one from a request. A new code replaces the one before; 60 seconds between two.
    #[oai(path = "/v1/users/:id/verify/email/start", method = "post", operation_id = "startEmailVerification")]
    async fn start_email(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The caller's own id.
        id: Path<UserId>,
    ) -> Result<Out<CodeStarted>, ApiError> {
        let sent = self.0.start_email_code(&caller, &who.0, id.0).await?;
        Ok(Out(CodeStarted::new(if sent.is_some() { "A code is on its way." } else { "The address is verified already." }, sent)))
    }

    /// Confirm the e-mail address
    ///
    /// A code is good for 10 minutes, once, and dead after 5 wrong tries. After 20 wrong codes within a day the account's new codes have 8 digits, until a
    /// day has passed without a wrong one.
    #[oai(path = "/v1/users/:id/verify/email/confirm", method = "post", operation_id = "confirmEmailVerification")]
    async fn confirm_email(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The caller's own id.
        id: Path<UserId>,
        body: In<CodeRequest>,
    ) -> Result<Out<Message>, ApiError> {
        self.0.confirm_email_code(&caller, &who.0, id.0, body.0.code.0).await?;
        Ok(Out(Message::new("The e-mail address is verified.")))
    }

    /// Send a code to a phone number
    ///
    /// To the number given, or the one on file. A new code replaces the one before; 60 seconds between two.
    #[oai(path = "/v1/users/:id/verify/phone/start", method = "post", operation_id = "startPhoneVerification")]
    async fn start_phone(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The caller's own id.
        id: Path<UserId>,
        body: In<StartPhoneRequest, true>,
    ) -> Result<Out<CodeStarted>, ApiError> {
        let (phone,) = (phone("phone", body.0.phone.as_ref()),).all()?;
        let length = self.0.start_phone_code(&caller, &who.0, id.0, PhoneStart { phone }).await?;
        Ok(Out(CodeStarted::new("A code is on its way.", Some(length))))
    }

    /// Confirm a phone number
    ///
    /// Stores the number that the code went to, as verified.
    #[oai(path = "/v1/users/:id/verify/phone/confirm", method = "post", operation_id = "confirmPhoneVerification")]
    async fn confirm_phone(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The caller's own id.
        id: Path<UserId>,
        body: In<CodeRequest>,
    ) -> Result<Out<Message>, ApiError> {
        self.0.confirm_phone_code(&caller, &who.0, id.0, body.0.code.0).await?;
        Ok(Out(Message::new("The phone number is verified.")))
    }
}
