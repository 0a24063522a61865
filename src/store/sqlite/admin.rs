//! Members of a tenant as admins read them.

use super::{
    access, audit, email_change,
    rows::{self, stamp, tenant_columns, user_columns},
    sessions, tenants,
};
use crate::{
    domain::{
        authority::Elsewhere,
        ids::{LinkId, TenantId, UserId},
        network::Network,
        tenant::TenantKind,
        time::Timestamp,
        user::{Membership, User, UserStatus, name_key},
    },
    sqlite::{Connection, params, rusqlite},
    store::admin::*,
};

/// Rows of the search's index that one call looks at.
const LOOKED_AT: u32 = 1000;
/// Audit events of one person in his export.
const EVENTS: u32 = 10_000;

pub(super) fn member(c: &Connection, tenant: TenantId, id: UserId) -> rusqlite::Result<Option<Member>> {
    if access::grant(c, id, tenant)?.is_none() {
        return Ok(None);
    }
    rows::user_by_id(c, id)?.map(|user| of_tenant(c, tenant, user)).transpose()
}

/// What makes a user a member.
pub(super) fn of_tenant(c: &Connection, tenant: TenantId, user: User) -> rusqlite::Result<Member> {
    let roles = tenants::roles(c, user.id, tenant)?;
    let permissions = access::allowed_by(c, tenant, &roles)?;
    let kinds: Vec<TenantKind> = c
        .prepare_cached(
            "SELECT DISTINCT t.kind FROM memberships m JOIN tenants t ON t.id = m.tenant_id WHERE m.user_id = ?1 AND m.tenant_id <> ?2",
        )?
        .query_map([user.id.as_bytes(), tenant.as_bytes()], |row| rows::tenant_kind(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    let elsewhere = Elsewhere::of(kinds);
    let metadata = user.metadata_in(tenant, tenants::kept(c, user.id, tenant)?);
    Ok(Member { user: User { metadata, ..user }, roles, permissions, elsewhere })
}

pub(super) fn members(c: &Connection, filter: &MemberFilter, after: Option<&MemberPosition>, limit: u32) -> rusqlite::Result<MemberPage> {
    match &filter.prefix {
        None => by_id(c, filter, after, limit),
        Some(prefix) => match tenants::get(c, filter.tenant_id)? {
            // One member, who stands in no index of terms.
            Some(t) if t.kind == TenantKind::Personal => {
                let mut page = by_id(c, filter, after, limit)?;
                page.members.retain(|m| found_by(&m.user, prefix));
                Ok(page)
            }
            Some(_) => search(c, filter, prefix, after, limit),
            None => Ok(MemberPage { members: Vec::new(), next: None }),
        },
    }
}

fn found_by(user: &User, prefix: &str) -> bool {
    user.email.as_str().starts_with(prefix) || user.display_name.as_deref().is_some_and(|n| name_key(n).starts_with(prefix))
}

/// The stretch of members with one status, after `above`.
pub(super) const BY_STATUS: &str = "SELECT user_id FROM memberships \
     WHERE tenant_id = ?1 AND suspended = ?2 AND deleted_at IS NULL AND user_id > ?3 ORDER BY user_id LIMIT ?4";

fn by_id(c: &Connection, filter: &MemberFilter, after: Option<&MemberPosition>, limit: u32) -> rusqlite::Result<MemberPage> {
    let above = after.map_or([0; 16], |p| *p.user_id.as_bytes());
    // Each status is a stretch of the index of its own; both are in order, and the first of both together are among the first of each.
    let mut ids: Vec<UserId> = Vec::new();
    for status in [UserStatus::Active, UserStatus::Suspended] {
        if filter.status.is_none_or(|wanted| wanted == status) {
            let suspended = status == UserStatus::Suspended;
            let mut stretch = c.prepare_cached(BY_STATUS)?;
            let found = stretch.query_map(params![filter.tenant_id.as_bytes(), suspended, above, limit + 1], |row| row.get(0))?;
            for id in found {
                ids.push(UserId::from_bytes(id?));
            }
        }
    }
    ids.sort_unstable();
    let more = ids.len() > limit as usize;
    ids.truncate(limit as usize);
    let next = ids.last().filter(|_| more).map(|last| MemberPosition { term: String::new(), user_id: *last });
    let mut members = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(user) = rows::user_by_id(c, id)? {
            members.push(of_tenant(c, filter.tenant_id, user)?);
        }
    }
    Ok(MemberPage { members, next })
}

/// The stretch of terms from `?2` to `?3`, after a position.
pub(super) const BY_TERM: &str = "SELECT term, user_id FROM member_search \
     WHERE tenant_id = ?1 AND term >= ?2 AND term < ?3 AND (term, user_id) > (?4, ?5) ORDER BY term, user_id LIMIT ?6";

fn search(c: &Connection, f: &MemberFilter, prefix: &str, after: Option<&MemberPosition>, limit: u32) -> rusqlite::Result<MemberPage> {
    let (term, id) = after.map_or((prefix, [0; 16]), |p| (p.term.as_str(), *p.user_id.as_bytes()));
    let end = format!("{prefix}\u{10FFFF}");
    let mut stretch = c.prepare_cached(BY_TERM)?;
    // Texts compare by bytes: from where the last page ended on, if that is further than where the prefix begins.
    let from = term.max(prefix);
    let mut rows_ = stretch.query(params![f.tenant_id.as_bytes(), from, end, term, id, LOOKED_AT])?;
    let (mut members, mut looked_at, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows_.next()? {
        if members.len() == limit as usize {
            return Ok(MemberPage { members, next: last });
        }
        looked_at += 1;
        let (term, id): (String, UserId) = (row.get(0)?, UserId::from_bytes(row.get(1)?));
        if let Some(user) = rows::user_by_id(c, id)?
            && user.deleted_at.is_none()
            && f.status.is_none_or(|s| s == user.status)
            // Found by his address already, or to be found by it.
            && (term == user.email.as_str() || !user.email.as_str().starts_with(prefix))
        {
            members.push(of_tenant(c, f.tenant_id, user)?);
        }
        last = Some(MemberPosition { term, user_id: id });
    }
    Ok(MemberPage { members, next: last.filter(|_| looked_at == LOOKED_AT) })
}

pub(super) fn deleted(c: &Connection, tenant: TenantId, after: Option<(Timestamp, UserId)>, limit: u32) -> rusqlite::Result<Vec<User>> {
    let (at, id) = after.map_or((i64::MAX, [0xff; 16]), |(at, id)| (stamp(at), *id.as_bytes()));
    let ids: Vec<UserId> = c
        .prepare_cached(
            "SELECT user_id FROM memberships WHERE tenant_id = ?1 AND deleted_at IS NOT NULL AND deleted_at <= ?2 AND (deleted_at, user_id) < (?2, ?3)
             ORDER BY deleted_at DESC, user_id DESC LIMIT ?4",
        )?
        .query_map(params![tenant.as_bytes(), at, id, limit], |row| row.get(0).map(UserId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    ids.into_iter().filter_map(|id| rows::user_by_id(c, id).transpose()).collect()
}

pub(super) fn kept_about(c: &Connection, id: UserId) -> rusqlite::Result<Option<Kept>> {
    let Some(user) = rows::user_by_id(c, id)? else { return Ok(None) };
    let memberships = c
        .prepare_cached(concat!(
            "SELECT ",
            tenant_columns!(),
            ", m.joined_at FROM memberships m JOIN tenants t ON t.id = m.tenant_id WHERE m.user_id = ?1 ORDER BY m.joined_at LIMIT 1000"
        ))?
        .query_and_then([id.as_bytes()], |row| {
            let tenant = rows::tenant(row)?;
            let roles = tenants::roles(c, id, tenant.id)?;
            let membership = Membership { user_id: id, tenant_id: tenant.id, roles, joined_at: rows::time(row, rows::TENANT_COLUMNS)? };
            Ok((tenant, membership))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let networks = c
        .prepare_cached("SELECT network, seen_at FROM known_networks WHERE user_id = ?1 ORDER BY seen_at DESC")?
        .query_map([id.as_bytes()], |row| Ok((rows::network(row, 0)?, rows::time(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<(Network, Timestamp)>>>()?;
    let links: Vec<_> = c
        .prepare_cached("SELECT id FROM undo_links WHERE user_id = ?1 ORDER BY id")?
        .query_map([id.as_bytes()], |row| row.get(0).map(LinkId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    let undo_links = links.into_iter().filter_map(|l| email_change::undo_link(c, id, l).transpose()).collect::<rusqlite::Result<_>>()?;
    let invites = c
        .prepare_cached("SELECT tenant_id, created_at FROM invites WHERE email_digest = ?1 ORDER BY created_at LIMIT 1000")?
        .query_map([user.email.digest().as_bytes()], |row| Ok((TenantId::from_bytes(row.get(0)?), rows::time(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Kept {
        memberships,
        sessions: sessions::list(c, id)?,
        networks,
        pending_change: email_change::pending(c, id)?,
        undo_links,
        api_keys: access::keys_of_maker(c, id)?,
        invites,
        audit: audit::about(c, id, EVENTS)?,
        user,
    }))
}

pub(super) fn overdue(c: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<Vec<Overdue>> {
    c.prepare_cached(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users WHERE deleted_at IS NOT NULL AND purge_after <= ?1 ORDER BY purge_after LIMIT ?2"
    ))?
    .query_map(params![stamp(now), limit], rows::user)?
    .map(|user| user.map(|u| Overdue { user_id: u.id, home_tenant: u.home_tenant, email: u.email }))
    .collect()
}

/// How often something was erased since the file was wiped.
pub(super) fn erased(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached("SELECT erased FROM scrubbing")?.query_row([], |row| row.get(0))
}
