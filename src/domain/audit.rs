//! Security events, and the chain that shows whether anybody changed them. An event is written by the command that made it
//! happen, in the same transaction; a little later it is linked into its tenant's chain.
//!
//! A link is a SHA-256 over the one before and the event. What is personal in an event goes into it only as a salted
//! digest ([`Seal`]): it can be erased, salt and all, and the chain stays whole.
//!
//! There are two formats of links. Format 1 is that of events which older versions wrote, and stays as it is for ever. Format 2 covers
//! besides what an event is about, which fields it changed, and the user agent.

use super::{
    context::Actor,
    ids::{AuditId, TenantId, UserId},
    network::Network,
    time::Timestamp,
};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// The format of the links of new events.
pub const FORMAT: u8 = 2;
/// The kind of resource whose id lies in `user_id`.
const USER: &str = "user";

/// One security event, as written. It names ids and never holds an address, password, code, token or hash. Fields with a default are
/// missing in what older versions wrote.
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
    /// The kind of thing that it is about: `user`, `tenant`, `session`, `api_key`, `invite`, `role` or `domain`.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// The id of that thing; `None` for no single one, and for a user, whose id lies in `user_id`.
    #[serde(default)]
    pub resource_id: Option<[u8; 16]>,
    /// Names of the fields that it changed, never their values.
    #[serde(default)]
    pub changed: Vec<String>,
    /// The User-Agent header of the request, at most 512 characters.
    #[serde(default)]
    pub user_agent: Option<String>,
}

impl AuditEvent {
    /// An event that is about nobody yet and comes from nowhere. Its name says what kind of thing it is about where that is a user, the
    /// tenant or a session.
    pub fn new(id: AuditId, tenant_id: TenantId, event: &str, actor: Actor, at: Timestamp) -> Self {
        let (resource_type, resource_id) = match event.split('.').next() {
            Some("user" | "email" | "phone" | "password") => (Some(USER), None),
            Some("tenant" | "policy") => (Some("tenant"), Some(*tenant_id.as_bytes())),
            Some("session") => (Some("session"), None),
            _ => (None, None),
        };
        Self {
            id,
            tenant_id,
            event: event.to_owned(),
            actor,
            user_id: None,
            network: None,
            request_id: None,
            at,
            resource_type: resource_type.map(str::to_owned),
            resource_id,
            changed: Vec::new(),
            user_agent: None,
        }
    }
    /// Says which thing it is about. The id of a user is not kept here: it lies in `user_id` alone, where it can be erased.
    #[must_use]
    pub fn about_resource(self, resource_type: &str, id: &[u8; 16]) -> Self {
        let resource_id = (resource_type != USER).then_some(*id);
        Self { resource_type: Some(resource_type.to_owned()), resource_id, ..self }
    }
    /// Names the fields that it changed.
    #[must_use]
    pub fn changing<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { changed: names.into_iter().map(Into::into).collect(), ..self }
    }
}

/// What kind of actor; stays when who it was is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// Somebody who wasn't signed in.
    Anonymous,
    /// A person.
    User,
    /// A server with an API key.
    ApiKey,
    /// The service itself, or its command line.
    System,
}

impl ActorKind {
    /// Stable name, in rows and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::System => "system",
        }
    }
    /// The reverse of [`ActorKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Anonymous, Self::User, Self::ApiKey, Self::System].into_iter().find(|k| k.name() == name)
    }
    /// Kind and id of an actor.
    pub const fn of(actor: &Actor) -> (Self, Option<&[u8; 16]>) {
        match actor {
            Actor::Anonymous => (Self::Anonymous, None),
            Actor::User(id) => (Self::User, Some(id.as_bytes())),
            Actor::ApiKey(id) => (Self::ApiKey, Some(id.as_bytes())),
            Actor::System => (Self::System, None),
        }
    }
}

/// What a link covers in the place of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// The data is there; its digest is made with this salt.
    Salt([u8; 16]),
    /// The data and the salt are erased; this digest of them is left, and nothing can be guessed from it.
    Digest([u8; 32]),
}

impl Seal {
    /// Takes over what a row holds; `None` if it is neither 16 nor 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self::Salt).or_else(|_| bytes.try_into().map(Self::Digest)).ok()
    }
    /// For rows.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Salt(b) => b,
            Self::Digest(b) => b,
        }
    }
    /// The data has been erased.
    pub const fn is_erased(&self) -> bool {
        matches!(self, Self::Digest(_))
    }
    fn digest(&self, parts: &[Option<&[u8]>]) -> [u8; 32] {
        match self {
            Self::Digest(digest) => *digest,
            Self::Salt(salt) => hash("qeetid audit data 1", &[&[Some(&salt[..])], parts].concat()),
        }
    }
}

/// One event as it lies in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// The tenant whose it is.
    pub tenant_id: TenantId,
    /// Stable name.
    pub event: String,
    /// What kind of actor.
    pub actor: ActorKind,
    /// Which user or API key; `None` for other kinds, and once erased.
    pub actor_id: Option<[u8; 16]>,
    /// Whom it happened to; `None` for nobody, and once erased.
    pub user_id: Option<UserId>,
    /// From where.
    pub network: Option<Network>,
    /// In which request.
    pub request_id: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Of the actor's id, network and request.
    pub actor_seal: Seal,
    /// Of the user's id.
    pub subject_seal: Seal,
    /// Its place in the chain, counted from 1; `None`: not linked yet.
    pub seq: Option<u64>,
    /// The format of its link: 1 for what older versions wrote, which has nothing of what follows, else [`FORMAT`].
    pub format: u8,
    /// The kind of thing that it is about.
    pub resource_type: Option<String>,
    /// The id of that thing, unless it is a user: see [`AuditEntry::resource`].
    pub resource_id: Option<[u8; 16]>,
    /// Names of the fields that it changed.
    pub changed: Vec<String>,
    /// The user agent of the actor; `None` once erased.
    pub user_agent: Option<String>,
    /// Of the user agent; `None` in format 1. It is a seal of its own, so that both formats give the links of erased events.
    pub agent_seal: Option<Seal>,
}

/// The link before the first.
pub const GENESIS: [u8; 32] = [0; 32];

impl AuditEntry {
    /// A new event as it is to lie in the store, with the salts of its seals: of the actor, of the user, of the user agent.
    pub fn new(event: &AuditEvent, [actor, subject, agent]: [[u8; 16]; 3]) -> Self {
        let (kind, actor_id) = ActorKind::of(&event.actor);
        Self {
            id: event.id,
            tenant_id: event.tenant_id,
            event: event.event.clone(),
            actor: kind,
            actor_id: actor_id.copied(),
            user_id: event.user_id,
            network: event.network,
            request_id: event.request_id.clone(),
            at: event.at,
            actor_seal: Seal::Salt(actor),
            subject_seal: Seal::Salt(subject),
            seq: None,
            format: FORMAT,
            resource_type: event.resource_type.clone(),
            resource_id: event.resource_id,
            changed: event.changed.clone(),
            user_agent: event.user_agent.clone(),
            agent_seal: Some(Seal::Salt(agent)),
        }
    }
    /// The id of the thing that it is about. That of a user lies in `user_id`, and is gone when that is erased.
    pub fn resource(&self) -> Option<&[u8; 16]> {
        let user = self.user_id.as_ref().filter(|_| self.resource_type.as_deref() == Some(USER));
        self.resource_id.as_ref().or(user.map(UserId::as_bytes))
    }
    fn actor_digest(&self) -> [u8; 32] {
        let id = self.actor_id.as_ref().map(|id| &id[..]);
        self.actor_seal.digest(&[id, self.network.as_ref().map(Network::as_bytes), self.request_id.as_deref().map(str::as_bytes)])
    }
    fn subject_digest(&self) -> [u8; 32] {
        self.subject_seal.digest(&[self.user_id.as_ref().map(|id| &id.as_bytes()[..])])
    }
    fn agent_digest(&self) -> Option<[u8; 32]> {
        self.agent_seal.map(|seal| seal.digest(&[self.user_agent.as_deref().map(str::as_bytes)]))
    }
    /// The link that this event makes at place `seq` after the link `before`.
    pub fn link(&self, seq: u64, before: &[u8; 32]) -> [u8; 32] {
        self.link_of(self.format, seq, before)
    }
    fn link_of(&self, format: u8, seq: u64, before: &[u8; 32]) -> [u8; 32] {
        let parts: [&[u8]; 9] = [
            before,
            self.tenant_id.as_bytes(),
            &seq.to_be_bytes(),
            self.id.as_bytes(),
            self.event.as_bytes(),
            self.actor.name().as_bytes(),
            &self.at.millis().to_be_bytes(),
            &self.actor_digest(),
            &self.subject_digest(),
        ];
        if format == 1 {
            return hash("qeetid audit link 1", &parts.map(Some));
        }
        let agent = self.agent_digest();
        let mut parts = parts.map(Some).to_vec();
        parts.push(self.resource_type.as_deref().map(str::as_bytes));
        parts.push(self.resource_id.as_ref().map(|id| &id[..]));
        parts.push(agent.as_ref().map(|digest| &digest[..]));
        // The names come last: all parts before them are always there.
        parts.extend(self.changed.iter().map(|name| Some(name.as_bytes())));
        hash("qeetid audit link 2", &parts)
    }
    /// Erases what in it is about `user`: whom it happened to, and who did it, if that was the same person (or nobody known, to that
    /// person).
    pub fn erase(&mut self, user: UserId) {
        let about = self.user_id == Some(user);
        let by = self.actor_id.as_ref() == Some(user.as_bytes()) || (about && self.actor == ActorKind::Anonymous);
        if by {
            self.actor_seal = Seal::Digest(self.actor_digest());
            (self.actor_id, self.network, self.request_id) = (None, None, None);
            self.erase_user_agent();
        }
        if about {
            self.subject_seal = Seal::Digest(self.subject_digest());
            self.user_id = None;
        }
    }
    /// Erases the user agent alone.
    pub fn erase_user_agent(&mut self) {
        self.agent_seal = self.agent_digest().map(Seal::Digest);
        self.user_agent = None;
    }
}

/// Each part with its length in front, or a mark that there is none: no two lists look the same.
fn hash(label: &str, parts: &[Option<&[u8]>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(label.as_bytes());
    for part in parts {
        let length = part.map_or(u64::MAX, |p| p.len() as u64);
        context.update(&length.to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// One link as it lies in the store, with the event that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainRow {
    /// Its place, counted from 1.
    pub seq: u64,
    /// Which event.
    pub event_id: AuditId,
    /// The link.
    pub link: [u8; 32],
    /// The event; `None`: it is gone.
    pub entry: Option<AuditEntry>,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Links in the chain.
    pub seq: u64,
    /// The last one.
    pub link: [u8; 32],
}

impl Head {
    /// Of a chain without links.
    pub const EMPTY: Head = Head { seq: 0, link: GENESIS };

    /// Walks on over the next row.
    ///
    /// # Errors
    /// What is wrong with the row, in words.
    pub fn walk(self, row: &ChainRow) -> Result<Head, &'static str> {
        if row.seq != self.seq + 1 {
            return Err("a link is missing before it");
        }
        let entry = row.entry.as_ref().ok_or("its event is gone")?;
        if entry.seq != Some(row.seq) {
            return Err("its event names another place");
        }
        // While a cluster is upgraded, a node of the older version may link a new event. It knows format 1 alone, so that link is right as
        // well. This weakens no link of format 2: each link covers the one before it, so whoever puts another one in its place, of
        // whichever format, has to make all that follow anew, up to the head that is kept elsewhere. (A link by an older node covers no
        // more than that node knew: the new fields of that one event are not protected.)
        let is_link_of = |format| entry.link_of(format, row.seq, &self.link) == row.link;
        if !is_link_of(entry.format) && !is_link_of(1) {
            return Err("the event or the link was changed");
        }
        Ok(Head { seq: row.seq, link: row.link })
    }
}

#[cfg(test)]
mod tests;
