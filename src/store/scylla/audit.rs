//! Audit events: by tenant and day, in the order of their ids.

use super::{
    effects::{Effect, ordered},
    tx::json,
    unit::{Bytes, List},
};
use crate::{
    domain::{audit::AuditEvent, ids::TenantId, time::Timestamp},
    store::Result,
};
use serde::{Deserialize, Serialize};

const DAY: i64 = 86_400_000;

/// An event as it lies in the list. The seals are salts of 16 bytes, or digests of 32.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) event: AuditEvent,
    pub(super) actor_seal: Bytes,
    pub(super) subject_seal: Bytes,
}

/// The bucket of a tenant's day.
pub(super) fn bucket(tenant: TenantId, at: Timestamp) -> Bytes {
    Bytes::join(&[tenant.as_bytes(), &ordered(at.millis().div_euclid(DAY))])
}
/// Where the days of a tenant are noted, in [`List::Buckets`].
pub(super) fn days(tenant: TenantId) -> Bytes {
    Bytes::join(&[b"audit/", tenant.as_bytes()])
}

/// What writes an event.
pub(super) fn put(event: &AuditEvent, [actor, subject]: [[u8; 16]; 2]) -> Result<[Effect; 2]> {
    let bucket = bucket(event.tenant_id, event.at);
    let row = Row { event: event.clone(), actor_seal: Bytes::from(&actor), subject_seal: Bytes::from(&subject) };
    let day = Bytes::from(&bucket.0[16..]);
    let note = Effect::Put { list: List::Buckets, bucket: days(event.tenant_id), key: day, body: String::new(), ttl: 0, noted: false };
    let (key, body) = (event.id.as_bytes().into(), json(&row)?);
    Ok([Effect::Put { list: List::Audit, bucket, key, body, ttl: 0, noted: false }, note])
}
