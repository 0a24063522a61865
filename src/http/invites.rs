//! Invites of the operator's tenant, their acceptance by a token, and those to the signed-in person.

use super::{
    Tag,
    bearer::{Authorized, Bearer},
    dto::TokenPair,
    errors::ApiError,
    fields::{All, display_name, email, maybe_password},
    page::{Cursor, page},
    payload::{In, NoContent, Out},
    types::{EmailText, NameText, PasswordText, Shown, Time, TokenText},
};
use crate::{
    domain::{
        ids::{InviteId, RoleId, TenantId},
        invite, tenant,
        time::Timestamp,
    },
    service::{Services, api::Caller, invites::Invited},
};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;
use std::sync::Arc;

/// What became of an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum InviteStatus {
    /// It waits for an answer.
    Pending,
    /// Somebody joined by it.
    Accepted,
    /// The tenant took it back, or a newer invite to the address took its place.
    Revoked,
    /// Nobody answered in time.
    Expired,
    /// The invited person said no.
    Declined,
}

impl From<invite::InviteStatus> for InviteStatus {
    fn from(s: invite::InviteStatus) -> Self {
        match s {
            invite::InviteStatus::Pending => Self::Pending,
            invite::InviteStatus::Accepted => Self::Accepted,
            invite::InviteStatus::Revoked => Self::Revoked,
            invite::InviteStatus::Expired => Self::Expired,
            invite::InviteStatus::Declined => Self::Declined,
        }
    }
}

impl From<InviteStatus> for invite::InviteStatus {
    fn from(s: InviteStatus) -> Self {
        match s {
            InviteStatus::Pending => Self::Pending,
            InviteStatus::Accepted => Self::Accepted,
            InviteStatus::Revoked => Self::Revoked,
            InviteStatus::Expired => Self::Expired,
            InviteStatus::Declined => Self::Declined,
        }
    }
}

/// An invite to join a tenant.
#[derive(Debug, Serialize, Object)]
pub struct Invite {
    /// Its id.
    id: InviteId,
    /// The tenant to join.
    tenant_id: TenantId,
    /// Who is invited.
    email: String,
    /// The role that joining gives.
    role_id: RoleId,
    /// What became of it.
    status: InviteStatus,
    /// When it is void.
    expires_at: Time,
    /// When somebody joined by it.
    accepted_at: Option<Time>,
    /// When it was made.
    created_at: Time,
}

impl Invite {
    fn at(now: Timestamp, i: invite::Invite) -> Self {
        Self {
            id: i.id,
            tenant_id: i.tenant_id,
            status: i.status_at(now).into(),
            email: i.email.as_str().to_owned(),
            role_id: i.role_id,
            expires_at: Time(i.expires_at),
            accepted_at: i.accepted_at.map(Time),
            created_at: Time(i.created_at),
        }
    }
}

/// An invite that goes out, with the token for handing it over.
#[derive(Debug, Serialize, Object)]
pub struct SentInvite {
    /// The invite.
    invite: Invite,
    /// For a link to hand over (`…/invite?token=`): it lets its holder join as the invited address, but proves no mailbox.
    /// The mail has a token of its own.
    token: Shown,
}

/// Invites, newest first.
#[derive(Debug, Serialize, Object)]
pub struct InviteList {
    /// The invites.
    items: Vec<Invite>,
    /// For the next page; null: this is the last one.
    next_cursor: Option<String>,
}

/// A new invite.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct CreateInviteRequest {
    /// The caller's tenant, if given.
    tenant_id: Option<TenantId>,
    /// Who is invited.
    email: EmailText,
    /// The role that joining gives: it may allow no more than the caller holds. `member`, if left out.
    role_id: Option<RoleId>,
}

/// An acceptance.
#[derive(Debug, Object)]
pub struct AcceptInviteRequest {
    /// From the link.
    token: TokenText,
    /// Of the account that the address has; of the new one, if it has none.
    password: Option<PasswordText>,
    /// For a new account; at most 200 characters.
    display_name: Option<NameText>,
}

/// An invite to the signed-in person.
#[derive(Debug, Serialize, Object)]
pub struct MyInvite {
    /// Its id.
    id: InviteId,
    /// The tenant to join.
    tenant_id: TenantId,
    /// What the tenant is called.
    tenant_name: String,
    /// Who is invited.
    email: String,
    /// The role that joining gives.
    role_id: RoleId,
    /// What became of it.
    status: InviteStatus,
    /// When it is void.
    expires_at: Time,
    /// When the person joined by it.
    accepted_at: Option<Time>,
    /// When it was made.
    created_at: Time,
}

impl MyInvite {
    fn at(now: Timestamp, (i, t): (invite::Invite, tenant::Tenant)) -> Self {
        let Invite { id, tenant_id, email, role_id, status, expires_at, accepted_at, created_at } = Invite::at(now, i);
        Self { id, tenant_id, tenant_name: t.name, email, role_id, status, expires_at, accepted_at, created_at }
    }
}

/// Invites to the signed-in person, newest first.
#[derive(Debug, Serialize, Object)]
pub struct MyInviteList {
    /// At most 200.
    items: Vec<MyInvite>,
    /// Always null.
    next_cursor: Option<String>,
}

/// The routes.
pub struct InvitesApi(pub Arc<Services>);

impl InvitesApi {
    fn sent<const STATUS: u16>(&self, (invite, token): Invited) -> Out<SentInvite, STATUS> {
        Out(SentInvite { invite: Invite::at(self.0.now(), invite), token: Shown(token) })
    }
}

#[OpenApi(tag = "Tag::Invites")]
impl InvitesApi {
    /// Invite somebody
    ///
    /// Mails a link to the address, and gives a second token for a link to hand over. The answer is the same whether or not the
    /// address has an account, or is of a member already (who is given the role by accepting). An address has one pending invite
    /// in a tenant: a new one revokes the former. A mail to an address that nobody has proved doesn't name the tenant. One address
    /// gets at most 20 such mails a day, from all tenants together; past it the invite is made all the same, and the token in the
    /// answer works. A personal tenant invites nobody: 422. An invite is worth what whoever sent it last (a person, or an API key)
    /// still holds when it is accepted: if he has left, is suspended, or no longer holds all that the role allows, or if the key has
    /// ended, it can't be accepted, until somebody who may sends it again.
    #[oai(path = "/v1/invites", method = "post", operation_id = "createInvite")]
    async fn create(&self, caller: Data<&Caller>, by: Authorized, body: In<CreateInviteRequest>) -> Result<Out<SentInvite, 201>, ApiError> {
        let by = by.0;
        body.0.tenant_id.map_or(Ok(()), |t| by.in_tenant(t))?;
        let (address,) = (email("email", &body.0.email),).all()?;
        Ok(self.sent(self.0.create_invite(&caller, &by, address, body.0.role_id).await?))
    }

    /// Send an invite again
    ///
    /// With a new time to live: the tokens of before die, an expired invite is pending again. The caller gets a token, and so must
    /// hold what the invite gives. An invite that was answered or revoked can't be sent again: 409.
    #[oai(path = "/v1/invites/:id/resend", method = "post", operation_id = "resendInvite")]
    async fn resend(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The invite.
        id: Path<InviteId>,
    ) -> Result<Out<SentInvite>, ApiError> {
        let by = by.0;
        Ok(self.sent(self.0.resend_invite(&caller, &by, id.0).await?))
    }

    /// Revoke an invite
    ///
    /// Its tokens die. Revoked before: 204 as well. Accepted or declined: 409.
    #[oai(path = "/v1/invites/:id", method = "delete", operation_id = "revokeInvite")]
    async fn revoke(
        &self,
        caller: Data<&Caller>,
        by: Authorized,
        /// The invite.
        id: Path<InviteId>,
    ) -> Result<NoContent, ApiError> {
        let by = by.0;
        self.0.revoke_invite(&caller, &by, id.0).await?;
        Ok(NoContent)
    }

    /// List invites
    ///
    /// Newest first. Those that were answered, revoked or have expired stay for 90 days.
    #[oai(path = "/v1/tenants/:tenantID/invites", method = "get", operation_id = "listInvites")]
    async fn list(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// Only those that are so now.
        status: Query<Option<InviteStatus>>,
        /// Items of the page, 1 to 200; 50 if left out.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Result<Out<InviteList>, ApiError> {
        let by = by.0;
        let listed = self.0.invites(&by, tenant.0, status.0.map(Into::into), &page(limit.0, cursor.0)?).await?;
        let now = self.0.now();
        Ok(Out(InviteList { items: listed.items.into_iter().map(|i| Invite::at(now, i)).collect(), next_cursor: listed.next }))
    }

    /// Accept an invite
    ///
    /// By the token of the mail, or by the one that was handed over. If the address has no account, one is made with this password,
    /// and its home is the inviting tenant; else the password must be the account's, and signs in. The session is scoped to the
    /// inviting tenant. The mailed token proves the address. Without a password the mailed token tells whether there is an account
    /// (409) or one is to be made (422); the other one doesn't (422). An invite that was answered or revoked, has expired, or whose
    /// sender may no longer give its role, is 400 `invite_invalid`.
    #[oai(path = "/v1/invites/accept", method = "post", operation_id = "acceptInvite")]
    async fn accept(&self, caller: Data<&Caller>, body: In<AcceptInviteRequest>) -> Result<Out<TokenPair>, ApiError> {
        let AcceptInviteRequest { token, password, display_name: name } = body.0;
        let (password, name) = (maybe_password("password", password.as_ref()), display_name("display_name", name.as_ref())).all()?;
        Ok(Out(self.0.accept_invite(&caller, token.reveal(), password, name).await?.into()))
    }

    /// List one's own invites
    ///
    /// What is open to the verified address of the signed-in person, newest first; nothing while the address isn't verified.
    #[oai(path = "/v1/me/invites", method = "get", operation_id = "listMyInvites")]
    async fn mine(&self, who: Bearer) -> Result<Out<MyInviteList>, ApiError> {
        let (invites, now) = (self.0.my_invites(&who.0).await?, self.0.now());
        Ok(Out(MyInviteList { items: invites.into_iter().map(|i| MyInvite::at(now, i)).collect(), next_cursor: None }))
    }

    /// Accept one's own invite
    ///
    /// Needs no token, as the address is verified. The session stays scoped as it is: `POST /v1/auth/switch-tenant` changes that.
    #[oai(path = "/v1/me/invites/:id/accept", method = "post", operation_id = "acceptMyInvite")]
    async fn accept_mine(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The invite.
        id: Path<InviteId>,
    ) -> Result<Out<MyInvite>, ApiError> {
        Ok(Out(MyInvite::at(self.0.now(), self.0.accept_my_invite(&caller, &who.0, id.0).await?)))
    }

    /// Decline one's own invite
    ///
    /// It is over: the tenant may send a new one.
    #[oai(path = "/v1/me/invites/:id/decline", method = "post", operation_id = "declineMyInvite")]
    async fn decline_mine(
        &self,
        caller: Data<&Caller>,
        who: Bearer,
        /// The invite.
        id: Path<InviteId>,
    ) -> Result<Out<MyInvite>, ApiError> {
        Ok(Out(MyInvite::at(self.0.now(), self.0.decline_my_invite(&caller, &who.0, id.0).await?)))
    }
}
