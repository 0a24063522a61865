//! How each thing lies here: rows of units, and entries of lists.

use super::super::{
    access::ROLE,
    accounts::{ACCOUNT, Account, HOLDER, ONE, put_kind},
    api_keys, audit,
    chain::{End, HEAD, Link, chain_unit, note_block, note_tenant, put_link},
    domains,
    effects::Effect,
    email_change::{PENDING, UNDO, sweep_at},
    endings, imports, invites, invites_of, member_lists, outbox,
    passwords::RESET,
    sessions::{self, KNOWN, SESSION},
    signups,
    tenants::{MEMBER, Member, OWNER, TENANT},
    tx::json,
    unit::{Name, Unit, name},
    upkeep::{self, What},
};
use crate::{
    domain::{
        audit::{AuditEntry, GENESIS},
        tenant::Tenant,
        time::Timestamp,
    },
    store::{Result, copy::*},
};
use serde::Serialize;

/// What writes a thing.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By unit; several rows of one may lie apart from each other.
    pub(super) units: Vec<(Unit, Vec<(Name, String)>)>,
    /// Entries of lists, no two with the same key.
    pub(super) entries: Vec<Effect>,
}

impl Rows {
    fn unit(&mut self, unit: Unit) -> &mut Vec<(Name, String)> {
        self.units.push((unit, Vec::new()));
        // It was just pushed.
        let last = self.units.len() - 1;
        &mut self.units[last].1
    }
    fn entry(&mut self, effect: Effect) {
        // Sessions of one day are looked at once.
        if !self.entries.contains(&effect) {
            self.entries.push(effect);
        }
    }
    fn look_at(&mut self, what: &What, at: Timestamp) -> Result<()> {
        self.entry(upkeep::look_at(what, at)?);
        Ok(())
    }
}

fn row<T: Serialize>(kind: &str, key: &[u8], value: &T) -> Result<(Name, String)> {
    Ok((name(kind, key), json(value)?))
}

/// The rows of a thing.
pub(super) fn of(item: Item) -> Result<Rows> {
    let mut rows = Rows::default();
    match item {
        Item::SigningKey(key) => rows.unit(upkeep::keys()).push(row(upkeep::KEY, key.kid.as_bytes(), &key)?),
        Item::HashKind(kind) => rows.entry(put_kind(&kind)),
        Item::Tenant(moved) => tenant(&mut rows, &moved)?,
        Item::User(moved) => user(&mut rows, *moved)?,
        Item::Signup(signup) => {
            rows.unit(Unit::email(&signup.email.digest())).push(row(signups::WAITING, signup.id.as_bytes(), &signup)?);
            rows.entries.extend(signups::lists(&signup)?);
        }
        Item::Invites(moved) => invites(&mut rows, moved)?,
        Item::Job(job) => {
            let unit = Unit::job(job.id);
            let (state, entries) = outbox::moved(job)?;
            rows.unit(unit).push((name(outbox::STATE, ONE), state));
            rows.entries.extend(entries);
        }
        Item::Event(entry, link) => event(&mut rows, &entry, link)?,
        Item::Link(MovedLink { tenant, seq, event, at, link }) => {
            rows.entry(put_link(tenant, seq, &Link { event, day: audit::day_of(at), link })?);
        }
        Item::Chain(chain) => {
            if let Some(head) = chain.head {
                let end = End { seq: head.seq, link: head.link, last: Vec::new() };
                rows.unit(chain_unit(chain.tenant)).push(row(HEAD, ONE, &end)?);
            }
            if chain.head.is_some() || !chain.seqs.is_empty() {
                rows.entry(note_tenant(chain.tenant));
            }
            rows.entries.extend(chain.seqs.iter().map(|seq| note_block(chain.tenant, *seq)));
            rows.entries.extend(chain.days.iter().map(|day| audit::note_day(chain.tenant, *day)));
        }
        Item::Import(import) => {
            let (unit, name, body) = imports::moved(import)?;
            rows.unit(unit).push((name, body));
        }
    }
    Ok(rows)
}

fn tenant(rows: &mut Rows, moved: &MovedTenant) -> Result<()> {
    let tenant: &Tenant = &moved.tenant;
    let mut own = vec![row(TENANT, ONE, tenant)?];
    for role in &moved.roles {
        own.push(row(ROLE, role.id.as_bytes(), role)?);
    }
    for (owner, can_act) in &moved.owners {
        own.push(row(OWNER, owner.as_bytes(), can_act)?);
    }
    for key in &moved.keys {
        own.push(row(api_keys::KEY, key.id.as_bytes(), key)?);
        rows.entries.extend(api_keys::lists(key)?);
    }
    if let Some(ending) = moved.ending {
        let (body, entry) = endings::moved(tenant.id, ending)?;
        own.push((name(endings::ENDING, ONE), body));
        rows.entry(entry);
    }
    rows.unit(Unit::slug(&tenant.slug)).push(row(HOLDER, ONE, &tenant.id)?);
    for domain in tenant.proved_domains().filter(|_| tenant.deleted_at.is_none()) {
        rows.unit(Unit::domain(domain)).push(row(HOLDER, ONE, &tenant.id)?);
        rows.entry(domains::put_entry(domain, tenant.id)?);
    }
    *rows.unit(Unit::tenant(tenant.id)) = own;
    Ok(())
}

fn user(rows: &mut Rows, moved: MovedUser) -> Result<()> {
    let MovedUser { user, password_epoch, networks, memberships, sessions, pending_change, reset_links, undo_links, reserved } = moved;
    let (id, what) = (user.id, What::User(user.id));
    rows.entries.extend(member_lists::all_of(&user, memberships.iter().map(|m| (m.tenant, m.kind))));
    rows.unit(Unit::email(&user.email.digest())).push(row(HOLDER, ONE, &id)?);
    for email in reserved.iter().filter(|email| **email != user.email) {
        rows.unit(Unit::email(&email.digest())).push(row(HOLDER, ONE, &id)?);
    }
    let mut own = Vec::new();
    for m in memberships {
        own.push(row(MEMBER, m.tenant.as_bytes(), &Member { roles: m.roles, joined_at: m.joined_at, kind: m.kind, metadata: m.metadata })?);
    }
    if !networks.is_empty() {
        own.push(row(KNOWN, ONE, &networks)?);
    }
    for session in sessions {
        rows.look_at(&what, sessions::sweep_at(&session))?;
        own.push(row(SESSION, session.id.as_bytes(), &sessions::Row::moved(session.clone()))?);
    }
    if let Some(change) = pending_change {
        rows.look_at(&what, change.expires_at)?;
        own.push(row(PENDING, ONE, &change)?);
    }
    for link in reset_links {
        rows.look_at(&what, sweep_at(link.used_at.unwrap_or(link.expires_at)))?;
        own.push(row(RESET, link.id.as_bytes(), &link)?);
    }
    for link in undo_links {
        rows.look_at(&what, sweep_at(link.used_at.unwrap_or(link.expires_at)))?;
        own.push(row(UNDO, link.id.as_bytes(), &link)?);
    }
    own.push(row(ACCOUNT, ONE, &Account { user, password_epoch, endings: Vec::new(), opened: 0, purging: false })?);
    *rows.unit(Unit::user(id)) = own;
    Ok(())
}

fn invites(rows: &mut Rows, moved: MovedInvites) -> Result<()> {
    let MovedInvites { tenant, digest, invites } = moved;
    let mut own = Vec::with_capacity(invites.len());
    for (invite, sweep_at) in invites {
        rows.entries.extend(invites::lists(&invite)?);
        rows.look_at(&What::Invites(tenant, digest), sweep_at)?;
        own.push(row(invites_of::INVITE, invite.id.as_bytes(), &invites_of::Row { invite: invite.clone(), sweep_at, offered: 0 })?);
    }
    *rows.unit(invites_of::unit(tenant, &digest)) = own;
    Ok(())
}

fn event(rows: &mut Rows, entry: &AuditEntry, link: Option<[u8; 32]>) -> Result<()> {
    rows.entries.extend(audit::as_it_is(entry)?);
    if let Some(seq) = entry.seq {
        // A place that the chain doesn't have is a broken one there, and stays so.
        rows.entry(audit::put_place(entry, seq, link.unwrap_or(GENESIS))?);
    }
    Ok(())
}
