//! All that is kept about one user, as JSON.

use super::{
    dto::{Session, User},
    roles::ApiKey,
    types::Time,
};
use crate::{
    domain::{
        audit,
        ids::{AuditId, TenantId, UserId},
    },
    service::members::Export,
};
use poem_openapi::Object;
use serde::Serialize;

/// A membership.
#[derive(Debug, Serialize, Object)]
pub struct ExportedMembership {
    /// The tenant.
    tenant_id: TenantId,
    /// Its name.
    tenant_name: String,
    /// Since when.
    joined_at: Time,
}

/// A network that the user signed in from.
#[derive(Debug, Serialize, Object)]
pub struct ExportedNetwork {
    /// An IPv4 address, or an IPv6 /64.
    network: String,
    /// The last time.
    seen_at: Time,
}

/// An address that the account is about to move to, or has moved away from.
#[derive(Debug, Serialize, Object)]
pub struct ExportedAddress {
    /// The address.
    email: String,
    /// When the change was started, or made.
    changed_at: Time,
    /// How long it can still be confirmed, or undone.
    expires_at: Time,
}

/// An invite to the address.
#[derive(Debug, Serialize, Object)]
pub struct ExportedInvite {
    /// Who invites.
    tenant_id: TenantId,
    /// Since when.
    created_at: Time,
}

/// Something that the user did, or that was done to the user.
#[derive(Debug, Serialize, Object)]
pub struct ExportedEvent {
    /// Its id.
    id: AuditId,
    /// In which tenant.
    tenant_id: TenantId,
    /// `noun.verb`.
    event: String,
    /// `anonymous`, `user`, `api_key` or `system`.
    actor: String,
    /// Whom it happened to.
    user_id: Option<UserId>,
    /// From where.
    network: Option<String>,
    /// In which request.
    request_id: Option<String>,
    /// When.
    at: Time,
    /// The kind of thing that it is about, such as `user`, `session` or `tenant`.
    resource_type: Option<String>,
    /// The id of that thing.
    resource_id: Option<String>,
    /// Names of the fields that it changed.
    changed: Vec<String>,
    /// The user agent of who did it.
    user_agent: Option<String>,
}

impl From<audit::AuditEntry> for ExportedEvent {
    fn from(e: audit::AuditEntry) -> Self {
        let resource_id = e.resource().map(|id| AuditId::from_bytes(*id).to_string());
        Self {
            id: e.id,
            tenant_id: e.tenant_id,
            event: e.event,
            actor: e.actor.name().to_owned(),
            user_id: e.user_id,
            network: e.network.map(|n| n.to_string()),
            request_id: e.request_id,
            at: Time(e.at),
            resource_type: e.resource_type,
            resource_id,
            changed: e.changed,
            user_agent: e.user_agent,
        }
    }
}

/// All that is kept about one user.
#[derive(Debug, Serialize, Object)]
pub struct UserExport {
    /// When it was put together.
    exported_at: Time,
    /// The account.
    user: User,
    /// Whether there is a password.
    has_password: bool,
    /// In the recycle bin since.
    deleted_at: Option<Time>,
    /// When it leaves that for good.
    purge_after: Option<Time>,
    /// Where it belongs.
    memberships: Vec<ExportedMembership>,
    /// Sessions, newest first.
    sessions: Vec<Session>,
    /// Networks it signed in from.
    networks: Vec<ExportedNetwork>,
    /// The address it is about to move to.
    pending_email: Option<ExportedAddress>,
    /// Addresses it has moved away from, as long as that can be undone.
    former_emails: Vec<ExportedAddress>,
    /// API keys that the user made.
    api_keys: Vec<ApiKey>,
    /// Invites to the address.
    invites: Vec<ExportedInvite>,
    /// What the user did, and what was done to it; newest first, at most 10,000.
    audit: Vec<ExportedEvent>,
}

impl From<Export> for UserExport {
    fn from(e: Export) -> Self {
        let k = e.kept;
        Self {
            exported_at: Time(e.at),
            has_password: k.user.password_hash.is_some(),
            deleted_at: k.user.deleted_at.map(Time),
            purge_after: k.user.purge_after.map(Time),
            user: e.view.into(),
            memberships: k
                .memberships
                .into_iter()
                .map(|(t, m)| ExportedMembership { tenant_id: t.id, tenant_name: t.name, joined_at: Time(m.joined_at) })
                .collect(),
            sessions: k.sessions.into_iter().map(Session::from).collect(),
            networks: k.networks.into_iter().map(|(n, at)| ExportedNetwork { network: n.to_string(), seen_at: Time(at) }).collect(),
            pending_email: k.pending_change.map(|p| ExportedAddress {
                email: p.new_email.as_str().to_owned(),
                changed_at: Time(p.created_at),
                expires_at: Time(p.expires_at),
            }),
            former_emails: k
                .undo_links
                .into_iter()
                .map(|l| ExportedAddress {
                    email: l.old_email.as_str().to_owned(),
                    changed_at: Time(l.created_at),
                    expires_at: Time(l.expires_at),
                })
                .collect(),
            api_keys: k.api_keys.into_iter().zip(e.effective).map(|(key, may)| ApiKey::of(key, may)).collect(),
            invites: k.invites.into_iter().map(|(t, at)| ExportedInvite { tenant_id: t, created_at: Time(at) }).collect(),
            audit: k.audit.into_iter().map(ExportedEvent::from).collect(),
        }
    }
}
