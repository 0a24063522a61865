//! Sign-up, sign-in, refresh, forgotten passwords, and the undoing of an e-mail change: what needs no access token.

use super::{
    Tag,
    dto::{Message, Tenant, TokenPair, TokenType, User},
    errors::ApiError,
    fields::{All, any_address, display_name, email, new_password, password},
    payload::{In, Out},
    types::{CodeText, EmailText, NameText, NewPasswordText, PasswordText, Shown, Time, TokenText},
};
use crate::{
    domain::ids::{SessionId, TenantId, UserId},
    service::{
        Services,
        api::{self, Caller, SignupInput, SignupOutcome},
    },
};
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use std::sync::Arc;

/// A sign-up.
#[derive(Debug, Object)]
pub struct SignupRequest {
    /// Spaces around are cut, the rest is lower-cased.
    email: EmailText,
    /// 8 to 256 characters, any; never trimmed or cut.
    password: NewPasswordText,
    /// At most 200 characters.
    display_name: Option<NameText>,
}

/// The second step of a sign-up in `verify_first` mode.
#[derive(Debug, Object)]
pub struct SignupConfirmRequest {
    /// The address that the code went to.
    email: EmailText,
    /// The digits: 6, or 8 where many wrong ones were typed lately.
    code: CodeText,
    /// What the sign-up answered.
    signup_token: TokenText,
}

/// A new account with its first session.
#[derive(Debug, Serialize, Object)]
pub struct NewAccount {
    /// A JWT, for `Authorization: Bearer …`.
    access_token: Shown,
    /// Always `Bearer`.
    token_type: TokenType,
    /// When the access token ends.
    expires_at: Time,
    /// For `POST /v1/auth/refresh`; each use gives a new one.
    refresh_token: Shown,
    /// The session.
    session_id: SessionId,
    /// The person.
    user_id: UserId,
    /// The personal tenant.
    tenant_id: TenantId,
    /// The account.
    user: User,
    /// The personal tenant.
    tenant: Tenant,
}

impl From<api::NewAccount> for NewAccount {
    fn from(account: api::NewAccount) -> Self {
        let TokenPair { access_token, token_type, expires_at, refresh_token, session_id, user_id, tenant_id } = account.pair.into();
        let (user, tenant) = (account.user.into(), account.tenant.into());
        Self { access_token, token_type, expires_at, refresh_token, session_id, user_id, tenant_id, user, tenant }
    }
}

/// A sign-up that waits for its code.
#[derive(Debug, Serialize, Object)]
pub struct SignupPending {
    /// For people; may change.
    message: String,
    /// Goes with the code; good for one hour at most.
    signup_token: Shown,
    /// How many digits the code has: 6, or 8 where many wrong ones were typed lately.
    code_length: u8,
}

/// What a sign-up answers, by the mode of the deployment.
#[derive(ApiResponse)]
#[expect(clippy::large_enum_variant, reason = "made once for an answer and taken apart at once")]
enum SignupAnswer {
    /// `instant` mode: the account is there, and signed in.
    #[oai(status = 201)]
    Created(Out<NewAccount, 201>),
    /// `verify_first` mode: a mail is on its way. The same for new and known addresses.
    #[oai(status = 202)]
    Accepted(Out<SignupPending, 202>),
}

/// A sign-in.
#[derive(Debug, Object)]
pub struct LoginRequest {
    /// The address of the account.
    email: EmailText,
    /// Its password.
    password: PasswordText,
}

/// A refresh.
#[derive(Debug, Object)]
pub struct RefreshRequest {
    /// The newest one of the session.
    refresh_token: TokenText,
}

/// A password was forgotten.
#[derive(Debug, Object)]
pub struct ForgotPasswordRequest {
    /// The address of the account, if there is one.
    email: EmailText,
}

/// A new password, by a mailed link.
#[derive(Debug, Object)]
pub struct ResetPasswordRequest {
    /// From the link.
    token: TokenText,
    /// 8 to 256 characters, any; never trimmed or cut.
    new_password: NewPasswordText,
    /// Ends the API keys that the account made in organizations within the last 7 days, too; their owners are mailed.
    end_api_keys: Option<bool>,
}

/// Undoes an e-mail change.
#[derive(Debug, Object)]
pub struct UndoEmailChangeRequest {
    /// From the link in the notice to the old address.
    token: TokenText,
}

/// The routes.
pub struct AuthApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Authentication")]
impl AuthApi {
    /// Sign up
    ///
    /// In `instant` mode (the default) this makes the account, a personal tenant owned by it, and a session. Nothing is mailed:
    /// the client starts the verification of the address.
    ///
    /// In `verify_first` mode the answer is always 202, and what is mailed to the address (a code, or a note that there is an account)
    /// is the only thing that differs: `POST /v1/auth/signup/confirm` finishes it.
    #[oai(path = "/v1/auth/signup", method = "post", operation_id = "signup")]
    async fn signup(&self, caller: Data<&Caller>, body: In<SignupRequest>) -> Result<SignupAnswer, ApiError> {
        let SignupRequest { email: address, password, display_name: name } = body.0;
        let fields = (email("email", &address), new_password("password", &password), display_name("display_name", name.as_ref()));
        let (email, password, display_name) = fields.all()?;
        Ok(match self.0.signup(&caller, SignupInput { email, password, display_name }).await? {
            SignupOutcome::Created(account) => SignupAnswer::Created(Out((*account).into())),
            SignupOutcome::Pending { signup_token, code_length } => {
                let message = "A mail with the next step is on its way to this address.".to_owned();
                SignupAnswer::Accepted(Out(SignupPending { message, signup_token: Shown(signup_token), code_length: code_length.digits() }))
            }
        })
    }

    /// Confirm a sign-up
    ///
    /// The second step in `verify_first` mode. The code belongs to the address, the token to the password that was typed with it.
    /// A token has 5 tries. The address is verified from the start.
    #[oai(path = "/v1/auth/signup/confirm", method = "post", operation_id = "confirmSignup")]
    async fn confirm_signup(&self, caller: Data<&Caller>, body: In<SignupConfirmRequest>) -> Result<Out<NewAccount, 201>, ApiError> {
        let (address,) = (email("email", &body.0.email),).all()?;
        let account = self.0.confirm_signup(&caller, address, body.0.code.0, body.0.signup_token.reveal()).await?;
        Ok(Out(account.into()))
    }

    /// Sign in
    ///
    /// Unknown addresses, accounts without a password, deleted ones and wrong passwords all give the same 401. The session is scoped
    /// to the tenant used last, else to the home tenant.
    #[oai(path = "/v1/auth/login", method = "post", operation_id = "login")]
    async fn login(&self, caller: Data<&Caller>, body: In<LoginRequest>) -> Result<Out<TokenPair>, ApiError> {
        let (email, password) = (email("email", &body.0.email), password("password", &body.0.password)).all()?;
        Ok(Out(self.0.login(&caller, email, password).await?.into()))
    }

    /// Refresh the tokens
    ///
    /// The refresh token turns at each use. The one just replaced stays good for 10 seconds (120 for the network that turned it) and
    /// gives the same new one. Any older one ends the session: 401 `token_reused`.
    #[oai(path = "/v1/auth/refresh", method = "post", operation_id = "refresh")]
    async fn refresh(&self, caller: Data<&Caller>, body: In<RefreshRequest>) -> Result<Out<TokenPair>, ApiError> {
        Ok(Out(self.0.refresh(&caller, body.0.refresh_token.reveal()).await?.into()))
    }

    /// Ask for a reset link
    ///
    /// Always 202, whoever has the address: known, unknown, deleted or suspended. Past 3 an hour for one address nothing is sent,
    /// and the answer is the same.
    #[oai(path = "/v1/auth/forgot-password", method = "post", operation_id = "forgotPassword")]
    async fn forgot_password(&self, caller: Data<&Caller>, body: In<ForgotPasswordRequest>) -> Result<Out<Message, 202>, ApiError> {
        let (address,) = (any_address("email", &body.0.email),).all()?;
        self.0.forgot_password(&caller, &address).await?;
        Ok(Out(Message::new("If there is an account for this address, a mail with a link is on its way.")))
    }

    /// Set a new password by a mailed link
    ///
    /// Ends all sessions of the account, API keys of its personal tenant, every other outstanding link and code, and marks the address as verified.
    /// `end_api_keys` also ends what the account has made or taken over in organizations within the last 7 days. A link that an admin made proves no address
    /// and ends no keys.
    #[oai(path = "/v1/auth/reset-password", method = "post", operation_id = "resetPassword")]
    async fn reset_password(&self, caller: Data<&Caller>, body: In<ResetPasswordRequest>) -> Result<Out<Message>, ApiError> {
        let (new,) = (new_password("new_password", &body.0.new_password),).all()?;
        self.0.reset_password(&caller, body.0.token.reveal(), new, body.0.end_api_keys.unwrap_or(false)).await?;
        Ok(Out(Message::new("The password has been changed. Sign in with the new one.")))
    }

    /// Undo an e-mail change
    ///
    /// By the link in the notice to the old address, for 72 hours, also from the recycle bin. Puts the old address back, ends all sessions, removes the password,
    /// the phone number and API keys that were made since, and mails a link to set a new password.
    #[oai(path = "/v1/auth/email-change/undo", method = "post", operation_id = "undoEmailChange")]
    async fn undo_email_change(&self, caller: Data<&Caller>, body: In<UndoEmailChangeRequest>) -> Result<Out<Message>, ApiError> {
        self.0.undo_email_change(&caller, body.0.token.reveal()).await?;
        Ok(Out(Message::new(
            "The old address is back. All sessions have ended and the password is removed: a mail with a link to set a new one is on its way.",
        )))
    }
}
