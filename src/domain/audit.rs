//! Security events, and the chain that shows whether anybody changed them. An event is written by the command that made it
//! happen, in the same transaction; a little later it is linked into its tenant's chain.
//!
//! A link is a SHA-256 over the one before and the event. What is personal in an event goes into it only as a salted
//! digest ([`Seal`]): it can be erased, salt and all, and the chain stays whole.

use super::{
    context::Actor,
    ids::{AuditId, TenantId, UserId},
    network::Network,
    time::Timestamp,
};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// One security event, as written. It names ids and never holds an address, password, code, token or hash.
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
}

/// The link before the first.
pub const GENESIS: [u8; 32] = [0; 32];

impl AuditEntry {
    fn actor_digest(&self) -> [u8; 32] {
        let id = self.actor_id.as_ref().map(|id| &id[..]);
        self.actor_seal.digest(&[id, self.network.as_ref().map(Network::as_bytes), self.request_id.as_deref().map(str::as_bytes)])
    }
    fn subject_digest(&self) -> [u8; 32] {
        self.subject_seal.digest(&[self.user_id.as_ref().map(|id| &id.as_bytes()[..])])
    }
    /// The link that this event makes at place `seq` after the link `before`.
    pub fn link(&self, seq: u64, before: &[u8; 32]) -> [u8; 32] {
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
        hash("qeetid audit link 1", &parts.map(Some))
    }
    /// Erases what in it is about `user`: whom it happened to, and who did it if that was he (or nobody known, about him).
    pub fn erase(&mut self, user: UserId) {
        let about = self.user_id == Some(user);
        let by = self.actor_id.as_ref() == Some(user.as_bytes()) || (about && self.actor == ActorKind::Anonymous);
        if by {
            self.actor_seal = Seal::Digest(self.actor_digest());
            (self.actor_id, self.network, self.request_id) = (None, None, None);
        }
        if about {
            self.subject_seal = Seal::Digest(self.subject_digest());
            self.user_id = None;
        }
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
        if entry.link(row.seq, &self.link) != row.link {
            return Err("the event or the link was changed");
        }
        Ok(Head { seq: row.seq, link: row.link })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            id: AuditId::from_bytes([1; 16]),
            tenant_id: TenantId::from_bytes([2; 16]),
            event: "password.changed".into(),
            actor: ActorKind::User,
            actor_id: Some([3; 16]),
            user_id: Some(UserId::from_bytes([3; 16])),
            network: Some(Network::V4([192, 0, 2, 1])),
            request_id: Some("r".into()),
            at: Timestamp::from_millis(5),
            actor_seal: Seal::Salt([6; 16]),
            subject_seal: Seal::Salt([7; 16]),
            seq: Some(1),
        }
    }

    #[test]
    fn every_field_is_in_the_link() {
        let link = |change: fn(&mut AuditEntry)| {
            let mut e = entry();
            change(&mut e);
            e.link(1, &GENESIS)
        };
        let good = link(|_| ());
        let changes: [fn(&mut AuditEntry); 11] = [
            |e| e.id = AuditId::from_bytes([9; 16]),
            |e| e.tenant_id = TenantId::from_bytes([9; 16]),
            |e| e.event = "password.reset".into(),
            |e| e.actor = ActorKind::ApiKey,
            |e| e.actor_id = None,
            |e| e.user_id = None,
            |e| e.network = Some(Network::V4([192, 0, 2, 2])),
            |e| e.request_id = None,
            |e| e.at = Timestamp::from_millis(6),
            |e| e.actor_seal = Seal::Salt([9; 16]),
            |e| e.subject_seal = Seal::Digest([9; 32]),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            assert_ne!(link(change), good, "change {i}");
        }
        assert_ne!(entry().link(2, &GENESIS), good);
        assert_ne!(entry().link(1, &[1; 32]), good);
    }

    #[test]
    fn erasing_keeps_the_link_and_leaves_nothing_of_the_user() {
        let user = UserId::from_bytes([3; 16]);
        let mut e = entry();
        e.erase(user);
        assert_eq!((e.user_id, e.actor_id, e.network, &e.request_id), (None, None, None, &None));
        assert!(e.actor_seal.is_erased() && e.subject_seal.is_erased());
        assert_eq!(e.link(1, &GENESIS), entry().link(1, &GENESIS));
        // What an admin did stays his.
        let by_admin = || AuditEntry { actor_id: Some([4; 16]), ..entry() };
        let mut e = by_admin();
        e.erase(user);
        assert_eq!((e.user_id, e.actor_id, e.network.is_some()), (None, Some([4; 16]), true));
        assert_eq!(e.link(1, &GENESIS), by_admin().link(1, &GENESIS));
        // A reset is asked for by nobody known, who is he.
        let anonymous = || AuditEntry { actor: ActorKind::Anonymous, actor_id: None, ..entry() };
        let mut e = anonymous();
        e.erase(user);
        assert_eq!((e.user_id, e.network, &e.request_id), (None, None, &None));
        assert_eq!(e.link(1, &GENESIS), anonymous().link(1, &GENESIS));
    }

    #[test]
    fn a_walk_stops_at_what_is_wrong() {
        let row = || ChainRow { seq: 1, event_id: entry().id, link: entry().link(1, &GENESIS), entry: Some(entry()) };
        assert_eq!(Head::EMPTY.walk(&row()), Ok(Head { seq: 1, link: row().link }));
        let wrong = [
            ChainRow { seq: 2, ..row() },
            ChainRow { entry: None, ..row() },
            ChainRow { link: [0; 32], ..row() },
            ChainRow { entry: Some(AuditEntry { seq: Some(2), ..entry() }), ..row() },
            ChainRow { entry: Some(AuditEntry { event: "x.y".into(), ..entry() }), ..row() },
        ];
        for row in wrong {
            assert!(Head::EMPTY.walk(&row).is_err(), "{row:?}");
        }
    }
}
