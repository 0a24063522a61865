//! The audit list of the operator's tenant.

use super::{
    Tag,
    bearer::Authorized,
    errors::ApiError,
    page::{Cursor, page},
    payload::Out,
    types::Time,
};
use crate::{
    domain::{
        audit::ActorKind,
        ids::{ApiKeyId, AuditId, TenantId, UserId},
    },
    service::Services,
};
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;
use std::{fmt::Write, sync::Arc};

/// What kind of actor.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// Somebody who wasn't signed in.
    Anonymous,
    /// A signed-in person.
    User,
    /// A server with an API key.
    ApiKey,
    /// The service itself, or its command line.
    System,
}

/// Who did it.
#[derive(Debug, Serialize, Object)]
pub struct AuditActor {
    /// What kind of actor.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    kind: ActorType,
    /// Of the user or API key; null for other kinds, and once erased.
    id: Option<String>,
}

/// Something that happened.
#[derive(Debug, Serialize, Object)]
pub struct AuditEvent {
    /// Its id.
    id: AuditId,
    /// The tenant.
    tenant_id: TenantId,
    /// What: a stable `noun.verb`, such as `session.started` or `role.given`.
    event: String,
    /// Who did it.
    actor: AuditActor,
    /// The user whom it happened to.
    user_id: Option<UserId>,
    /// From where: an IPv4 address, or an IPv6 /64.
    network: Option<String>,
    /// The request, as in its `X-Request-Id` and in the log.
    request_id: Option<String>,
    /// The User-Agent header of the request, at most 512 characters; null if there was none, and once erased.
    user_agent: Option<String>,
    /// The kind of thing that it is about: `user`, `tenant`, `session`, `api_key`, `invite` or `role`.
    resource_type: Option<String>,
    /// The id of that thing; null where no single one is meant, and for a user once erased.
    resource_id: Option<String>,
    /// Names of the fields that it changed; their values are not kept.
    changed: Vec<String>,
    /// When.
    at: Time,
    /// The data of a purged user was erased from it.
    erased: bool,
    /// Its place in the tenant's chain, counted from 1; null until it is linked, a few seconds after it happened.
    seq: Option<u64>,
    /// Its link in the chain (SHA-256, hex): it covers this event and, by the one before, all earlier ones.
    hash: Option<String>,
}

/// Events, newest first.
#[derive(Debug, Serialize, Object)]
pub struct AuditEventList {
    /// The events.
    items: Vec<AuditEvent>,
    /// For the next page; null: this is the last one.
    next_cursor: Option<String>,
}

impl From<crate::service::api::AuditShown> for AuditEvent {
    fn from((e, link): crate::service::api::AuditShown) -> Self {
        let kind = match e.actor {
            ActorKind::Anonymous => ActorType::Anonymous,
            ActorKind::User => ActorType::User,
            ActorKind::ApiKey => ActorType::ApiKey,
            ActorKind::System => ActorType::System,
        };
        let resource_id = e.resource().map(|id| AuditId::from_bytes(*id).to_string());
        Self {
            id: e.id,
            tenant_id: e.tenant_id,
            event: e.event,
            actor: AuditActor { kind, id: e.actor_id.map(|id| ApiKeyId::from_bytes(id).to_string()) },
            user_id: e.user_id,
            network: e.network.map(|n| n.to_string()),
            request_id: e.request_id,
            user_agent: e.user_agent,
            resource_type: e.resource_type,
            resource_id,
            changed: e.changed,
            at: Time(e.at),
            erased: e.actor_seal.is_erased() || e.subject_seal.is_erased(),
            seq: e.seq,
            hash: link.map(|l| hex(&l)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing into a String can't fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// The routes.
pub struct AuditApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Audit")]
impl AuditApi {
    /// List audit events
    ///
    /// Newest first. Each event is written together with what it tells of, and within seconds linked into the tenant's hash chain:
    /// whoever keeps a `hash` can show later that no earlier event was changed, removed or slipped in. When a user is purged, what is
    /// personal in his events is erased; the chain stays whole.
    #[oai(path = "/v1/tenants/:tenantID/audit", method = "get", operation_id = "listAuditEvents")]
    async fn list(
        &self,
        by: Authorized,
        /// The caller's tenant.
        #[oai(name = "tenantID")]
        tenant: Path<TenantId>,
        /// Items of the page, 1 to 200; 50 if left out.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Result<Out<AuditEventList>, ApiError> {
        let by = by.0;
        let listed = self.0.audit_events(&by, tenant.0, &page(limit.0, cursor.0)?).await?;
        Ok(Out(AuditEventList { items: listed.items.into_iter().map(AuditEvent::from).collect(), next_cursor: listed.next }))
    }
}
