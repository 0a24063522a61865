//! What each operation of the document may answer, and who may call it. One table: the document's error answers are made
//! from it, and a debug build refuses to give an error that its operation doesn't list.

use super::errors::Code;
use crate::domain::permission::Permission;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A signed-in person.
    Bearer,
    /// A signed-in person or a server with an API key.
    Either,
    /// A person whose roles, or a server whose key, have the permission.
    With(Permission),
}

/// A row.
#[derive(Debug)]
pub struct Operation {
    /// `operationId`.
    pub id: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Its own errors. Those that follow from its shape are added by [`common`].
    pub codes: &'static [Code],
}

const fn public(id: &'static str, codes: &'static [Code]) -> Operation {
    Operation { id, access: Access::Public, codes }
}
const fn bearer(id: &'static str, codes: &'static [Code]) -> Operation {
    Operation { id, access: Access::Bearer, codes }
}

const fn either(id: &'static str, codes: &'static [Code]) -> Operation {
    Operation { id, access: Access::Either, codes }
}
const fn with(permission: Permission, id: &'static str, codes: &'static [Code]) -> Operation {
    Operation { id, access: Access::With(permission), codes }
}

use Code::{
    AccountLocked, AccountSuspended, BreachedPassword, CodeExpired, CodeInvalid, Conflict, EmailTaken, Forbidden, InvalidCredentials,
    InvalidCursor, InviteAccountExists, InviteInvalid, LinkInvalid, NotFound, PasswordChangeRequired, ReauthenticationRequired,
    SessionRevoked, SignupUnavailable, TokenReused, Unauthorized, Unavailable, ValidationFailed, WeakPassword, WrongPassword,
};

/// Every operation.
pub const OPERATIONS: &[Operation] = &[
    public("signup", &[SignupUnavailable, WeakPassword, BreachedPassword]),
    public("confirmSignup", &[CodeInvalid, CodeExpired, SignupUnavailable]),
    public("login", &[InvalidCredentials, AccountSuspended, AccountLocked, PasswordChangeRequired]),
    public("refresh", &[Unauthorized, SessionRevoked, TokenReused]),
    public("forgotPassword", &[]),
    public("resetPassword", &[LinkInvalid, WeakPassword, BreachedPassword]),
    public("undoEmailChange", &[LinkInvalid, EmailTaken]),
    public("notMe", &[LinkInvalid]),
    public("restoreAccount", &[LinkInvalid]),
    bearer("reauthenticate", &[WrongPassword, AccountLocked]),
    bearer("exportMe", &[WrongPassword, ReauthenticationRequired, AccountLocked]),
    either("whoAmI", &[]),
    bearer("logout", &[]),
    bearer("listSessions", &[]),
    bearer("revokeOtherSessions", &[]),
    bearer("revokeSession", &[]),
    bearer("getPasswordState", &[]),
    bearer("changePassword", &[WrongPassword, ReauthenticationRequired, AccountLocked, WeakPassword, BreachedPassword, Conflict]),
    bearer("switchTenant", &[Forbidden, ReauthenticationRequired]),
    bearer("getMe", &[]),
    bearer("updateMe", &[Conflict]),
    bearer("deleteMe", &[WrongPassword, ReauthenticationRequired, AccountLocked, Conflict]),
    bearer("startEmailChange", &[WrongPassword, ReauthenticationRequired, AccountLocked, Forbidden, Conflict]),
    bearer("confirmEmailChange", &[CodeInvalid, CodeExpired, EmailTaken, Conflict]),
    bearer("startEmailVerification", &[Forbidden, Conflict]),
    bearer("confirmEmailVerification", &[CodeInvalid, CodeExpired, Forbidden, Conflict]),
    bearer("startPhoneVerification", &[Forbidden, Conflict, ReauthenticationRequired]),
    bearer("confirmPhoneVerification", &[CodeInvalid, CodeExpired, Forbidden, Conflict]),
    bearer("listTenants", &[]),
    bearer("createTenant", &[Conflict]),
    bearer("leaveTenant", &[NotFound, Conflict]),
    with(Permission::TenantRead, "getTenant", &[NotFound]),
    with(Permission::TenantWrite, "updateTenant", &[NotFound, Conflict]),
    with(Permission::TenantWrite, "deleteTenant", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::TenantWrite, "listDomains", &[NotFound]),
    with(Permission::TenantWrite, "addDomain", &[NotFound, Conflict]),
    with(Permission::TenantWrite, "verifyDomain", &[NotFound, Conflict]),
    with(Permission::TenantWrite, "removeDomain", &[NotFound, Conflict]),
    with(Permission::UserWrite, "createUser", &[NotFound, EmailTaken, WeakPassword, BreachedPassword]),
    with(Permission::UserRead, "listUsers", &[InvalidCursor, ValidationFailed]),
    with(Permission::UserRead, "getUser", &[NotFound]),
    with(Permission::UserWrite, "updateUser", &[NotFound, Conflict]),
    with(Permission::UserWrite, "deleteUser", &[NotFound, Conflict]),
    with(Permission::UserWrite, "setUserPassword", &[NotFound, Conflict, WeakPassword, BreachedPassword]),
    with(Permission::UserWrite, "makeUserLink", &[NotFound, Conflict]),
    with(Permission::UserRead, "listUserSessions", &[NotFound]),
    with(Permission::UserWrite, "revokeUserSessions", &[NotFound, ReauthenticationRequired]),
    with(Permission::UserRead, "listDeletedUsers", &[InvalidCursor, ValidationFailed]),
    with(Permission::UserWrite, "restoreUser", &[NotFound]),
    with(Permission::UserWrite, "purgeUser", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::UserRead, "exportUser", &[NotFound, ReauthenticationRequired]),
    with(Permission::RoleRead, "listPermissions", &[]),
    with(Permission::RoleRead, "listRoles", &[NotFound]),
    with(Permission::RoleWrite, "createRole", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::RoleWrite, "giveRole", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::RoleWrite, "takeRole", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::ApiKeyWrite, "createApiKey", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::ApiKeyRead, "listApiKeys", &[NotFound, InvalidCursor, ValidationFailed]),
    with(Permission::ApiKeyWrite, "revokeApiKey", &[NotFound]),
    with(Permission::ApiKeyWrite, "takeOverApiKey", &[NotFound, ReauthenticationRequired]),
    with(Permission::PolicyRead, "getAuthPolicy", &[NotFound]),
    with(Permission::PolicyWrite, "updateAuthPolicy", &[NotFound, Conflict, ReauthenticationRequired]),
    with(Permission::AuditRead, "listAuditEvents", &[NotFound, InvalidCursor, ValidationFailed]),
    public(
        "acceptInvite",
        &[
            InviteInvalid,
            InviteAccountExists,
            InvalidCredentials,
            AccountSuspended,
            AccountLocked,
            WeakPassword,
            BreachedPassword,
            Forbidden,
            PasswordChangeRequired,
        ],
    ),
    with(Permission::InviteWrite, "createInvite", &[NotFound]),
    with(Permission::InviteWrite, "resendInvite", &[NotFound, Conflict]),
    with(Permission::InviteWrite, "revokeInvite", &[NotFound, Conflict]),
    with(Permission::InviteRead, "listInvites", &[NotFound, InvalidCursor, ValidationFailed]),
    bearer("listMyInvites", &[]),
    bearer("acceptMyInvite", &[NotFound, Conflict]),
    bearer("declineMyInvite", &[NotFound]),
    with(Permission::UserWrite, "createUsers", &[NotFound]),
    with(Permission::UserWrite, "importUsers", &[ReauthenticationRequired]),
    public("getJwks", &[]),
    public("getHealth", &[]),
    public("getReadiness", &[Unavailable]),
];

/// The row of an operation.
pub fn find(id: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|o| o.id == id)
}

/// What is known of an operation's shape.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// It reads a JSON body.
    pub body: bool,
    /// It reads the path or the query.
    pub parameters: bool,
    /// It is a POST, and so takes an `Idempotency-Key`.
    pub post: bool,
    /// It lies under `/v1`: it calls the service, and may be refused there.
    pub service: bool,
}

/// All that an operation may answer, in the order of the error table.
pub fn codes(operation: &Operation, shape: Shape) -> Vec<Code> {
    let mut codes = operation.codes.to_vec();
    codes.push(Code::Internal);
    if shape.service {
        codes.extend([Code::RateLimited, Code::Overloaded, Code::Unavailable]);
    }
    if shape.body {
        codes.extend([Code::MalformedRequest, Code::PayloadTooLarge, Code::UnsupportedMediaType, Code::ValidationFailed, Code::Overloaded]);
    }
    if shape.post {
        codes.extend([
            Code::MalformedRequest,
            Code::IdempotencyConflict,
            Code::PayloadTooLarge,
            Code::Overloaded,
            Code::Unavailable,
            Code::RateLimited,
        ]);
    }
    if shape.parameters {
        codes.push(Code::MalformedRequest);
    }
    if operation.access != Access::Public {
        codes.push(Code::Unauthorized);
    }
    if matches!(operation.access, Access::With(_) | Access::Bearer) {
        // Without the permission; with an API key where a person's token is needed.
        codes.push(Code::Forbidden);
    }
    codes.sort_unstable();
    codes.dedup();
    codes
}
