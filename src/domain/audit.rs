//! Security events. Each is written by the command that made it happen, in the same transaction.

use super::{
    context::Actor,
    ids::{AuditId, TenantId, UserId},
    network::Network,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// One security event, as stored. It names ids and never holds an address, password, code, token or hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its id (ordered by time).
    pub id: AuditId,
    /// The tenant whose audit list shows it.
    pub tenant_id: TenantId,
    /// Stable name, `noun.verb`: `session.token_reused`.
    pub event: String,
    /// Who did it.
    pub actor: Actor,
    /// Whom it happened to.
    pub user_id: Option<UserId>,
    /// From where.
    pub network: Option<Network>,
    /// In which request.
    pub request_id: Option<String>,
    /// When.
    pub at: Timestamp,
}
