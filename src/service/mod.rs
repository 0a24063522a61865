//! The use cases, one a file. [`Services`] is what the http room talks to; it holds traits and never a concrete backend.
//!
//! Signatures in one place, for readers (each is in the file named):
//!
//! ```text
//! signup.rs    signup(&Caller, SignupInput) -> SignupOutcome             confirm_signup(&Caller, Email, code, signup_token) -> NewAccount
//! login.rs     login(&Caller, Email, Password) -> TokenPair
//! session.rs   refresh(&Caller, &str) -> TokenPair                       authenticate(&str) -> Principal
//!              logout(&Caller, &Principal)                               sessions(&Principal) -> Vec<Session>
//!              revoke_session(&Caller, &Principal, SessionId)            revoke_other_sessions(&Caller, &Principal) -> u64
//! password.rs  has_password(&Principal) -> bool                          change_password(&Caller, &Principal, Option<Password>, Password)
//! reset.rs     forgot_password(&Caller, &str)                            reset_password(&Caller, &str, Password)
//! verify.rs    start_email_code(&Caller, &Principal, UserId)             confirm_email_code(&Caller, &Principal, UserId, &str)
//!              start_phone_code(&Caller, &Principal, UserId, PhoneStart) confirm_phone_code(&Caller, &Principal, UserId, &str)
//! change.rs    start_email_change(&Caller, &Principal, Email, Option<Password>)
//!              confirm_email_change(&Caller, &Principal, &str)           undo_email_change(&Caller, &str)
//! me.rs        profile(&Principal) -> UserView                           update_profile(&Caller, &Principal, ProfileChange) -> UserView
//!              delete_me(&Caller, &Principal, Password)
//! tenant.rs    tenants(&Principal) -> Vec<(Tenant, Membership)>          create_tenant(&Caller, &Principal, String, Option<String>) -> Tenant
//!              switch_tenant(&Caller, &Principal, TenantId) -> TokenPair leave_tenant(&Caller, &Principal, TenantId)
//! keys.rs      jwks() -> Vec<PublicJwk>                                  ready() -> Vec<Part>
//! limits.rs    network_limit(Network) -> Option<Decision>
//! ```

pub mod api;
pub mod error;
