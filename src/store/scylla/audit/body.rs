//! The bodies of an event's entries.

use super::{
    super::{tx::parse, unit::Bytes},
    Place,
};
use crate::{
    domain::{
        audit::{ActorKind, AuditEntry, Seal},
        ids::UserId,
        network::Network,
        time::Timestamp,
    },
    store::{Result, StoreError},
};
use serde::{Deserialize, Serialize};

/// What happened, and by whom. The seal is a salt of 16 bytes, or a digest of 32.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct By {
    event: String,
    actor: String,
    actor_id: Option<Bytes>,
    network: Option<Network>,
    request_id: Option<String>,
    at: Timestamp,
    seal: Bytes,
    /// `None` in format 1.
    #[serde(default)]
    more: Option<More>,
}

impl By {
    pub(super) fn of(e: &AuditEntry) -> Self {
        Self {
            event: e.event.clone(),
            actor: e.actor.name().into(),
            actor_id: e.actor_id.as_ref().map(Bytes::from),
            network: e.network,
            request_id: e.request_id.clone(),
            at: e.at,
            seal: Bytes::from(e.actor_seal.as_bytes()),
            more: More::of(e),
        }
    }
}

/// What formats above 1 have besides.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct More {
    format: u8,
    resource_type: Option<String>,
    resource_id: Option<Bytes>,
    changed: Vec<String>,
    user_agent: Option<String>,
    agent_seal: Option<Bytes>,
}

impl More {
    /// Of an event that an older version wrote.
    const NONE: Self = Self { format: 1, resource_type: None, resource_id: None, changed: Vec::new(), user_agent: None, agent_seal: None };

    fn of(e: &AuditEntry) -> Option<Self> {
        (e.format > 1).then(|| Self {
            format: e.format,
            resource_type: e.resource_type.clone(),
            resource_id: e.resource_id.as_ref().map(Bytes::from),
            changed: e.changed.clone(),
            user_agent: e.user_agent.clone(),
            agent_seal: e.agent_seal.as_ref().map(|seal| Bytes::from(seal.as_bytes())),
        })
    }
}

/// To whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct To {
    user_id: Option<UserId>,
    seal: Bytes,
}

impl To {
    pub(super) fn of(e: &AuditEntry) -> Self {
        Self { user_id: e.user_id, seal: Bytes::from(e.subject_seal.as_bytes()) }
    }
}

/// Where an event has its place in the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Linked {
    pub(in super::super) seq: u64,
    pub(in super::super) link: [u8; 32],
    /// What the link covers beyond format 1, without the user agent. While a cluster is upgraded, a node of the older version that erases
    /// somebody from the event writes back only what it knows of it. It does not write this again, so that the link stays the event's.
    #[serde(default)]
    more: Option<More>,
}

impl Linked {
    pub(super) fn of(e: &AuditEntry, seq: u64, link: [u8; 32]) -> Self {
        let mut covered = e.clone();
        covered.erase_user_agent();
        Self { seq, link, more: More::of(&covered) }
    }
}

fn strange(what: &str) -> StoreError {
    StoreError::certainly_not(format!("an audit event without {what}"))
}

fn seal(bytes: &Bytes) -> Result<Seal> {
    Seal::from_bytes(&bytes.0).ok_or_else(|| strange("a seal"))
}

fn id(bytes: Bytes) -> Result<[u8; 16]> {
    bytes.0.try_into().map_err(|_| strange("an id"))
}

/// Puts an event together. `None`: one of its entries is missing.
pub(super) fn assemble(place: &Place, parts: [Option<&String>; 2], linked: Option<&Linked>) -> Result<Option<AuditEntry>> {
    let [Some(by), Some(to)] = parts else { return Ok(None) };
    let (by, to): (By, To) = (parse(by)?, parse(to)?);
    let more = by.more.or_else(|| linked.and_then(|l| l.more.clone())).unwrap_or(More::NONE);
    Ok(Some(AuditEntry {
        id: place.id,
        tenant_id: place.tenant,
        event: by.event,
        actor: ActorKind::from_name(&by.actor).ok_or_else(|| strange("a kind of actor"))?,
        actor_id: by.actor_id.map(id).transpose()?,
        user_id: to.user_id,
        network: by.network,
        request_id: by.request_id,
        at: by.at,
        actor_seal: seal(&by.seal)?,
        subject_seal: seal(&to.seal)?,
        seq: linked.map(|l| l.seq),
        format: more.format,
        resource_type: more.resource_type,
        resource_id: more.resource_id.map(id).transpose()?,
        changed: more.changed,
        user_agent: more.user_agent,
        agent_seal: more.agent_seal.as_ref().map(seal).transpose()?,
    }))
}
