//! The users of the operator's tenant: made, listed, read, changed, deleted.

use super::{
    Tag,
    bearer::Authorized,
    dto::{User, UserState},
    errors::ApiError,
    fields::{All, Field, display_name, email, new_password, phone},
    page::{Cursor, page},
    payload::{In, NoContent, Out},
    types::{EmailText, FreeObject, HashText, NameText, NewPasswordText, PhoneText},
};
use crate::{
    domain::{
        authority::Action,
        ids::{RoleId, TenantId, UserId},
        user::UserStatus,
    },
    service::{
        Services,
        api::Caller,
        error::Error,
        members::UserFilter,
        users::{NewSecret, NewUser, UserChange},
    },
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    types::MaybeUndefined,
};
use serde::Serialize;
use std::sync::Arc;

/// A new user.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateUserRequest {
    /// Of an account that doesn't exist yet.
    email: EmailText,
    /// 8 to 256 characters, as the tenant's policy asks. Without it and `password_hash`, a mail with a link to set one goes out.
    password: Option<NewPasswordText>,
    /// A hash that another system made: a PHC string (Argon2, scrypt, PBKDF2), bcrypt, or an LDAP value such as `{SSHA}…`. Not together with `password`.
    password_hash: Option<HashText>,
    /// At most 200 characters.
    display_name: Option<NameText>,
    /// E.164.
    phone: Option<PhoneText>,
    /// At most 16 KiB.
    metadata: Option<FreeObject>,
    /// That the address is right. It is shown, and proves nothing: only a code or a mailed link does.
    email_verified: Option<bool>,
    /// A role that allows no more than the caller holds; `member`, if left out.
    role_id: Option<RoleId>,
    /// The caller's tenant, if given.
    tenant_id: Option<TenantId>,
}

/// A change of a user: absent fields stay as they are, null clears.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct UpdateUserRequest {
    /// At most 200 characters.
    display_name: MaybeUndefined<NameText>,
    /// E.164; a number that changes is unproved.
    phone: MaybeUndefined<PhoneText>,
    /// `suspended` ends all sessions.
    status: Option<UserState>,
    /// The whole new object, at most 16 KiB; null empties it.
    metadata: MaybeUndefined<FreeObject>,
}

/// Users.
#[derive(Debug, Serialize, Object)]
pub struct UserList {
    /// The users. With `q`, a page may hold fewer than asked for and still not be the last.
    items: Vec<User>,
    /// For the next page; null: this is the last one.
    next_cursor: Option<String>,
}

/// The routes.
pub struct UsersApi(pub Arc<Services>);

fn status(text: Option<&str>) -> Field<Option<UserStatus>> {
    match text.filter(|t| !t.is_empty()) {
        None => Ok(None),
        Some(text) => UserStatus::from_name(text).map(Some).ok_or(("status", "must be active or suspended".into())),
    }
}

fn secret(password: Option<&NewPasswordText>, hash: Option<HashText>) -> Field<NewSecret> {
    match (password, hash) {
        (Some(_), Some(_)) => Err(("password_hash", "must not be given together with a password".into())),
        (Some(text), None) => new_password("password", text).map(NewSecret::Password),
        (None, Some(hash)) => Ok(NewSecret::Hash(hash.0)),
        (None, None) => Ok(NewSecret::Mailed),
    }
}

#[OpenApi(tag = "Tag::Users")]
impl UsersApi {
    /// Create a user
    ///
    /// In the caller's tenant, which must be an organization. Only in a managed tenant, or with an address of a domain that the tenant has proved, with a
    /// password, a hash of one, a phone number or `email_verified` (else 403); without password and hash a link to set one goes out by mail, and proves the address.
    /// 409 `email_taken` for an address that has an account; when that has told of 20 accounts outside the tenant in a day, all creations are 429.
    #[oai(path = "/v1/users", method = "post", operation_id = "createUser")]
    async fn create(&self, caller: Data<&Caller>, by: Authorized, body: In<CreateUserRequest>) -> Result<Out<User, 201>, ApiError> {
        let by = by.0;
        let b = body.0;
        b.tenant_id.map_or(Ok(()), |t| by.in_tenant(t))?;
        // Before the values are looked at: who may not, learns that first.
        let vouched = b.password.is_some() || b.password_hash.is_some() || b.phone.is_some() || b.email_verified == Some(true);
        if vouched && !by.is_personal() {
            let may = match email("email", &b.email) {
                Ok(email) => by.place.may_make_credentials(&email),
                Err(_) => by.place.may_import(),
            };
            may.map_err(Error::from)?;
        }
        let (email, secret, (display_name, phone)) = (
            email("email", &b.email),
            secret(b.password.as_ref(), b.password_hash),
            display_name("display_name", b.display_name.as_ref()).and_then(|name| Ok((name, phone("phone", b.phone.as_ref())?))),
        )
            .all()?;
        let new = NewUser {
            email,
            secret,
            display_name,
            phone,
            metadata: b.metadata.map(|m| m.0).unwrap_or_default(),
            email_verified: b.email_verified.unwrap_or(false),
            role: b.role_id,
        };
        Ok(Out(self.0.create_user(&caller, &by, new).await?.into()))
    }

    /// List and search users
    ///
    /// The members of the caller's tenant that are not in the recycle bin: in the order of their making, or with `q` in that of the address or name found.
    /// Every page costs the same, the first and the last.
    #[oai(path = "/v1/users", method = "get", operation_id = "listUsers")]
    async fn list(
        &self,
        by: Authorized,
        /// Only the user with this address.
        email: Query<Option<String>>,
        /// Only users whose address or name begins so, in whatever case.
        q: Query<Option<String>>,
        /// Only users with this status: `active` or `suspended`.
        status: Query<Option<String>>,
        /// Items of the page, 1 to 200; 50 if left out.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Result<Out<UserList>, ApiError> {
        let by = by.0;
        let parse = |text: &str| text.parse().map_err(|e: crate::domain::contact::BadContact| ("email", e.to_string()));
        let address = email.0.as_deref().filter(|t| !t.is_empty()).map(parse).transpose();
        let (email, status) = (address, self::status(status.0.as_deref())).all()?;
        let filter = UserFilter { email, prefix: q.0, status };
        let listed = self.0.users(&by, filter, &page(limit.0, cursor.0)?).await?;
        Ok(Out(UserList { items: listed.items.into_iter().map(User::from).collect(), next_cursor: listed.next }))
    }

    /// Read a user
    #[oai(path = "/v1/users/:id", method = "get", operation_id = "getUser")]
    async fn get(
        &self,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<Out<User>, ApiError> {
        let by = by.0;
        Ok(Out(self.0.user(&by, id.0).await?.into()))
    }

    /// Change a user
    ///
    /// `metadata` is the tenant's own. All else only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody who may do no more than the caller, and is not
    /// the caller: else 403 with the reason. Suspending ends all sessions; the last active owner can't be suspended: 409.
    #[oai(path = "/v1/users/:id", method = "patch", operation_id = "updateUser")]
    async fn update(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
        body: In<UpdateUserRequest>,
    ) -> Result<Out<User>, ApiError> {
        let by = by.0;
        let b = body.0;
        let (given_name, given_phone) = (!b.display_name.is_undefined(), !b.phone.is_undefined());
        if given_name || given_phone || b.status.is_some() {
            self.0.allowed(&by, id.0, Action::Update).await?;
        }
        let (name, number) = (display_name("display_name", b.display_name.value()), phone("phone", b.phone.value())).all()?;
        let change = UserChange {
            display_name: given_name.then_some(name),
            phone: given_phone.then_some(number),
            status: b.status.map(|s| match s {
                UserState::Active => UserStatus::Active,
                UserState::Suspended => UserStatus::Suspended,
            }),
            metadata: match b.metadata {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(serde_json::Map::new()),
                MaybeUndefined::Value(object) => Some(object.0),
            },
        };
        Ok(Out(self.0.update_user(&caller, &by, id.0, change).await?.into()))
    }

    /// Delete a user
    ///
    /// Into the recycle bin: all sessions end, the address stays taken until the user is purged.
    /// Only with power over the account (a managed tenant to which alone it belongs, or a proved domain), for somebody else who may do no more than the caller: else 403.
    /// The last active owner can't be deleted: 409.
    #[oai(path = "/v1/users/:id", method = "delete", operation_id = "deleteUser")]
    async fn delete(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The user.
        id: Path<UserId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.delete_user(&caller, &by, id.0).await?;
        Ok(NoContent)
    }
}
