//! Members of a tenant as admins read them.

use super::{
    access::grant,
    accounts::{ACCOUNT, Account, ONE},
    cql::Cql,
    effects::number,
    engine::Engine,
    member_lists::{self, Found, Merged, State},
    tenants::{MEMBER, Member as Row, TENANT},
    tx::parse,
    unit::{List, Unit, name},
};
use crate::{
    domain::{
        authority::Elsewhere,
        ids::{RoleId, TenantId, UserId},
        permission::{PermissionSet, Role},
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{User, name_key},
    },
    store::{Result, admin::*},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// Entries that one call looks at.
const LOOKED_AT: usize = 1000;
/// Buckets of days past that one call forgets, at least.
const FORGOTTEN: usize = 32;
/// Entries that are looked at at once.
const AT_ONCE: usize = 32;
/// A call that has taken this long gives what it has.
const LONG: Duration = Duration::from_millis(1000);

/// Reads members of one tenant.
struct Reader<'a> {
    cql: &'a Cql,
    tenant: TenantId,
    /// What the tenant's own roles allow, once one is asked for.
    roles: OnceCell<HashMap<RoleId, PermissionSet>>,
}

impl<'a> Reader<'a> {
    fn new(cql: &'a Cql, tenant: TenantId) -> Self {
        Self { cql, tenant, roles: OnceCell::new() }
    }

    /// The account of a member, and his membership; `None`: he is none.
    async fn account(&self, id: UserId) -> Result<Option<(User, Row)>> {
        let names = [name(ACCOUNT, ONE), name(MEMBER, self.tenant.as_bytes())];
        let (mut account, mut member) = (None, None);
        for row in self.cql.rows(&Unit::user(id), &names, false).await? {
            match row.name.kind.as_str() {
                ACCOUNT => account = Some(parse::<Account>(&row.body)?),
                _ => member = Some(parse::<Row>(&row.body)?),
            }
        }
        Ok(account.filter(|a| !a.purging).map(|a| a.user).zip(member))
    }

    async fn allowed(&self, roles: &[RoleId]) -> Result<PermissionSet> {
        let mut together = PermissionSet::default();
        for role in roles {
            let allows = match Role::system_permissions(*role) {
                Some(system) => Some(system),
                None => {
                    let read = async || {
                        let all = self.cql.peek_all::<Role>(&Unit::tenant(self.tenant), super::access::ROLE).await?;
                        Ok::<_, crate::store::StoreError>(all.into_iter().map(|(_, role)| (role.id, role.permissions)).collect())
                    };
                    self.roles.get_or_try_init(read).await?.get(role).copied()
                }
            };
            together = together.union(allows.unwrap_or_default());
        }
        Ok(together)
    }

    /// What makes a user a member.
    async fn member(&self, user: User, row: Row) -> Result<Member> {
        let metadata = user.metadata_in(self.tenant, row.metadata);
        let mut roles = row.roles;
        roles.sort_unstable();
        let permissions = self.allowed(&roles).await?;
        let all = self.cql.scan(&Unit::user(user.id), MEMBER, &[]).await?;
        let others = all.iter().filter(|row| row.name.key.0 != self.tenant.as_bytes());
        let kinds = others.map(|row| Ok(parse::<Row>(&row.body)?.kind)).collect::<Result<Vec<_>>>()?;
        Ok(Member { user: User { metadata, ..user }, roles, permissions, elsewhere: Elsewhere::of(kinds) })
    }

    /// Up to `limit` of those that pass, and where to go on.
    async fn page(
        &self,
        mut entries: Merged<'_>,
        limit: usize,
        passes: impl Fn(&Found, &User) -> bool,
    ) -> Result<(Vec<Member>, Option<Found>)> {
        let (begun, mut looked_at) = (Instant::now(), 0);
        let mut out: Vec<(Found, Member)> = Vec::new();
        loop {
            // One more than asked for, to know whether there are more.
            let some = entries.some(AT_ONCE.min(limit + 1 - out.len())).await?;
            let Some(last) = some.last().cloned() else {
                return Ok((out.into_iter().map(|(_, m)| m).collect(), None));
            };
            looked_at += some.len();
            let found = stream::iter(some).map(async |entry| {
                let Some(id) = entry.id() else { return Ok(None) };
                match self.account(id).await? {
                    Some((user, row)) if passes(&entry, &user) => Ok(Some((entry, self.member(user, row).await?))),
                    _ => Ok::<_, crate::store::StoreError>(None),
                }
            });
            out.extend(found.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten());
            if out.len() > limit {
                out.truncate(limit);
                let next = out.last().map(|(entry, _)| entry.clone());
                return Ok((out.into_iter().map(|(_, m)| m).collect(), next));
            }
            if looked_at >= LOOKED_AT || begun.elapsed() > LONG {
                return Ok((out.into_iter().map(|(_, m)| m).collect(), Some(last)));
            }
        }
    }
}

/// One member of a live tenant.
pub(super) async fn member(cql: &Cql, tenant: TenantId, id: UserId) -> Result<Option<Member>> {
    let reader = Reader::new(cql, tenant);
    let (found, grant) = tokio::join!(reader.account(id), grant(cql, id, tenant));
    match (found?, grant?) {
        (Some((user, row)), Some(_)) => reader.member(user, row).await.map(Some),
        _ => Ok(None),
    }
}

pub(super) async fn members(cql: &Cql, filter: &MemberFilter, after: Option<&MemberPosition>, limit: u32) -> Result<MemberPage> {
    match &filter.prefix {
        None => by_id(cql, filter, after, limit).await,
        Some(prefix) => match cql.peek::<Tenant>(&Unit::tenant(filter.tenant_id), TENANT, ONE).await? {
            // One member, who stands in no list of terms.
            Some(t) if t.kind == TenantKind::Personal => {
                let mut page = by_id(cql, filter, after, limit).await?;
                page.members.retain(|m| member_lists::terms(&m.user).any(|term| term.starts_with(prefix.as_str())));
                Ok(page)
            }
            Some(_) => search(cql, filter, prefix, after, limit).await,
            None => Ok(MemberPage { members: Vec::new(), next: None }),
        },
    }
}

async fn by_id(cql: &Cql, filter: &MemberFilter, after: Option<&MemberPosition>, limit: u32) -> Result<MemberPage> {
    let status = filter.status.map(|s| if s.name() == "active" { State::Active } else { State::Suspended });
    let states: Vec<State> = [State::Active, State::Suspended].into_iter().filter(|s| status.is_none_or(|wanted| wanted == *s)).collect();
    let entries = member_lists::by_id(cql, filter.tenant_id, &states, after.map(|p| p.user_id), limit as usize + 1);
    let passes = |entry: &Found, user: &User| entry.state == Some(State::of(user));
    let (members, next) = Reader::new(cql, filter.tenant_id).page(entries, limit as usize, passes).await?;
    let next = next.and_then(|entry| Some(MemberPosition { term: String::new(), user_id: entry.id()? }));
    Ok(MemberPage { members, next })
}

async fn search(cql: &Cql, filter: &MemberFilter, prefix: &str, after: Option<&MemberPosition>, limit: u32) -> Result<MemberPage> {
    let after = after.map(|p| (p.term.as_str(), p.user_id));
    let entries = member_lists::by_term(cql, filter.tenant_id, prefix, after, limit as usize + 1);
    let passes = |entry: &Found, user: &User| {
        let (email, term) = (user.email.as_str(), entry.term().unwrap_or_default());
        // Found by his address already, or to be found by it; else by the name that he has now.
        let current = term == email || (!email.starts_with(prefix) && user.display_name.as_deref().is_some_and(|n| name_key(n) == term));
        current && user.deleted_at.is_none() && filter.status.is_none_or(|s| s == user.status)
    };
    let (members, next) = Reader::new(cql, filter.tenant_id).page(entries, limit as usize, passes).await?;
    let next = next.and_then(|entry| Some(MemberPosition { term: entry.term()?.to_owned(), user_id: entry.id()? }));
    Ok(MemberPage { members, next })
}

pub(super) async fn deleted(cql: &Cql, tenant: TenantId, before: Option<(Timestamp, UserId)>, limit: u32) -> Result<Vec<User>> {
    let (reader, limit) = (Reader::new(cql, tenant), limit as usize);
    let mut entries = member_lists::binned(cql, tenant, before, limit);
    let mut out = Vec::new();
    while out.len() < limit {
        let some = entries.some(AT_ONCE.min(limit - out.len())).await?;
        if some.is_empty() {
            break;
        }
        let found = stream::iter(some).map(async |entry| {
            let Some(id) = entry.id() else { return Ok(None) };
            let user = reader.account(id).await?.map(|(user, _)| user);
            Ok::<_, crate::store::StoreError>(user.filter(|u| u.deleted_at.is_some_and(|at| member_lists::bin_key(at, id) == entry.key)))
        });
        out.extend(found.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten());
    }
    Ok(out)
}

/// Users whose time in the recycle bin is over, the longest overdue first. Days of which nothing is left are forgotten, some at a time:
/// they would be looked at for ever.
pub(super) async fn overdue(engine: &Engine, now: Timestamp, limit: u32) -> Result<Vec<Overdue>> {
    let cql = &engine.cql;
    let days = engine.buckets(List::PurgesDue, &member_lists::due_until(now)).await?;
    let (mut out, mut forgotten) = (Vec::new(), 0);
    for shards in days.chunk_by(|a, b| a.key.0[..8] == b.key.0[..8]) {
        let mut entries = member_lists::overdue(cql, shards.iter().map(|b| b.key.clone()).collect(), now, limit as usize);
        let mut empty = true;
        while let Some(entry) = entries.next().await? {
            empty = false;
            let Some(id) = entry.id() else { continue };
            let account: Option<Account> = cql.peek(&Unit::user(id), ACCOUNT, ONE).await?;
            let Some(Account { user, purging: false, .. }) = account else { continue };
            if user.deleted_at.is_some() && user.purge_after.is_some_and(|at| member_lists::bin_key(at, id) == entry.key) {
                out.push(Overdue { user_id: id, home_tenant: user.home_tenant, email: user.email });
            }
            if out.len() >= limit as usize {
                return Ok(out);
            }
        }
        // Two days later, so that nobody is about to write to it.
        if empty && forgotten < FORGOTTEN && number(&shards[0].key.0).is_some_and(|day| day < member_lists::day_of(now) - 2) {
            for bucket in shards {
                engine.forget_bucket(List::PurgesDue, bucket).await?;
                forgotten += 1;
            }
        }
    }
    Ok(out)
}
