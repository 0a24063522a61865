//! Audit events and their chains.

use super::{
    SqliteStore, leases,
    rows::{self, int, number, stamp, strange},
};
use crate::{
    domain::{
        audit::{ActorKind, AuditEntry, AuditEvent, ChainRow, FORMAT, Head, Seal},
        context::Ctx,
        ids::{AuditId, TenantId, UserId},
        network::Network,
    },
    sqlite::{
        Connection, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{
        Result,
        audit::{AuditStore, ChainState, Shown},
        commands::Cas,
        leases::Duty,
    },
};
use async_trait::async_trait;
use std::collections::HashMap;

macro_rules! columns {
    () => {
        "a.id, a.tenant_id, a.event, a.actor, a.actor_id, a.user_id, a.network, a.request_id, a.at, a.actor_seal, a.subject_seal, a.seq, \
         a.format, a.resource_type, a.resource_id, a.changed, a.user_agent, a.agent_seal"
    };
}

pub(super) use columns;

/// How many [`columns`] there are: the place of the first one after them.
pub(super) const COLUMNS: usize = 18;

/// A row of [`columns`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let network = |bytes: Option<Vec<u8>>| bytes.map(|b| Network::from_bytes(&b).ok_or_else(|| strange(6, "no network"))).transpose();
    let seal = |i| Seal::from_bytes(row.get_ref(i)?.as_blob()?).ok_or_else(|| strange(i, "no seal"));
    let agent_seal = |bytes: Option<Vec<u8>>| bytes.map(|b| Seal::from_bytes(&b).ok_or_else(|| strange(17, "no seal"))).transpose();
    let names = |text: Option<String>| match text {
        Some(text) => serde_json::from_str(&text).map_err(|_| strange(15, "no list of names")),
        None => Ok(Vec::<String>::new()),
    };
    Ok(AuditEntry {
        id: AuditId::from_bytes(row.get(0)?),
        tenant_id: TenantId::from_bytes(row.get(1)?),
        event: row.get(2)?,
        actor: ActorKind::from_name(row.get_ref(3)?.as_str()?).ok_or_else(|| strange(3, "no kind of actor"))?,
        actor_id: row.get(4)?,
        user_id: row.get::<_, Option<_>>(5)?.map(UserId::from_bytes),
        network: network(row.get(6)?)?,
        request_id: row.get(7)?,
        at: rows::time(row, 8)?,
        actor_seal: seal(9)?,
        subject_seal: seal(10)?,
        seq: row.get::<_, Option<i64>>(11)?.map(i64::cast_unsigned),
        format: row.get(12)?,
        resource_type: row.get(13)?,
        resource_id: row.get(14)?,
        changed: names(row.get(15)?)?,
        user_agent: row.get(16)?,
        agent_seal: agent_seal(row.get(17)?)?,
    })
}

/// Writes events with the command that they belong to. SQLite makes the salts (from the system's generator): they matter to
/// nobody but the row that they lie in.
pub(super) fn write(c: &Connection, events: &[AuditEvent]) -> rusqlite::Result<()> {
    for e in events {
        let (actor, actor_id) = ActorKind::of(&e.actor);
        let changed = (!e.changed.is_empty()).then(|| rows::json(&e.changed)).transpose()?;
        c.prepare_cached(
            "INSERT INTO audit (tenant_id, id, event, actor, actor_id, user_id, network, request_id, at, actor_seal, subject_seal, format,
                 resource_type, resource_id, changed, user_agent, agent_seal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, randomblob(16), randomblob(16), ?10, ?11, ?12, ?13, ?14, randomblob(16))",
        )?
        .execute(params![
            e.tenant_id.as_bytes(),
            e.id.as_bytes(),
            e.event,
            actor.name(),
            actor_id,
            e.user_id.as_ref().map(UserId::as_bytes),
            e.network.as_ref().map(|n| n.as_bytes()),
            e.request_id,
            stamp(e.at),
            FORMAT,
            e.resource_type,
            e.resource_id,
            changed,
            e.user_agent,
        ])?;
    }
    Ok(())
}

/// Erases what all events hold of a user who is being purged; their chains stay whole.
pub(super) fn erase(c: &Connection, user: UserId) -> rusqlite::Result<()> {
    let about: Vec<AuditEntry> = c
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM audit a WHERE a.user_id = ?1 UNION SELECT ",
            columns!(),
            " FROM audit a WHERE a.actor_id = ?1"
        ))?
        .query_map([user.as_bytes()], entry)?
        .collect::<rusqlite::Result<_>>()?;
    let mut put = c.prepare_cached(
        "UPDATE audit SET actor_id = ?3, user_id = ?4, network = ?5, request_id = ?6, actor_seal = ?7, subject_seal = ?8,
             user_agent = ?9, agent_seal = ?10
         WHERE tenant_id = ?1 AND id = ?2",
    )?;
    for mut e in about {
        e.erase(user);
        put.execute(params![
            e.tenant_id.as_bytes(),
            e.id.as_bytes(),
            e.actor_id,
            e.user_id.as_ref().map(UserId::as_bytes),
            e.network.as_ref().map(|n| n.as_bytes()),
            e.request_id,
            e.actor_seal.as_bytes(),
            e.subject_seal.as_bytes(),
            e.user_agent,
            e.agent_seal.as_ref().map(Seal::as_bytes),
        ])?;
    }
    Ok(())
}

/// What a user did, and what was done to him, newest first.
pub(super) fn about(c: &Connection, user: UserId, limit: u32) -> rusqlite::Result<Vec<AuditEntry>> {
    c.prepare_cached(concat!("SELECT ", columns!(), " FROM audit a WHERE a.user_id = ?1 OR a.actor_id = ?1 ORDER BY a.id DESC LIMIT ?2"))?
        .query_map(params![user.as_bytes(), limit], entry)?
        .collect()
}

fn events(c: &Connection, tenant: TenantId, after: Option<AuditId>, limit: u32) -> rusqlite::Result<Vec<Shown>> {
    let below = after.map_or([0xff; 16], |id| *id.as_bytes());
    c.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        ", l.link FROM audit a LEFT JOIN audit_chain l ON l.tenant_id = a.tenant_id AND l.seq = a.seq
         WHERE a.tenant_id = ?1 AND a.id < ?2 ORDER BY a.id DESC LIMIT ?3"
    ))?
    .query_map(params![tenant.as_bytes(), below, limit], |row| Ok((entry(row)?, row.get(COLUMNS)?)))?
    .collect()
}

fn head(c: &Connection, tenant: TenantId) -> rusqlite::Result<Head> {
    c.prepare_cached("SELECT seq, link FROM audit_heads WHERE tenant_id = ?1")?
        .query_row([tenant.as_bytes()], |row| Ok(Head { seq: number(row, 0)?, link: row.get(1)? }))
        .optional()
        .map(|head| head.unwrap_or(Head::EMPTY))
}

fn link(c: &Connection, fence: u64, limit: u32) -> rusqlite::Result<Cas<u64>> {
    if !leases::holds(c, Duty::Audit, fence)? {
        return Ok(Cas::Stale);
    }
    let waiting: Vec<AuditEntry> = c
        .prepare_cached(concat!("SELECT ", columns!(), " FROM audit a WHERE a.seq IS NULL ORDER BY a.tenant_id, a.id LIMIT ?1"))?
        .query_map([limit], entry)?
        .collect::<rusqlite::Result<_>>()?;
    let mut heads = HashMap::new();
    let mut put = c.prepare_cached("INSERT INTO audit_chain (tenant_id, seq, event_id, link) VALUES (?1, ?2, ?3, ?4)")?;
    let mut mark = c.prepare_cached("UPDATE audit SET seq = ?3 WHERE tenant_id = ?1 AND id = ?2")?;
    for e in &waiting {
        let before = match heads.get(&e.tenant_id) {
            Some(head) => *head,
            None => head(c, e.tenant_id)?,
        };
        let seq = before.seq + 1;
        let link = e.link(seq, &before.link);
        let (tenant, id) = (e.tenant_id.as_bytes(), e.id.as_bytes());
        put.execute(params![tenant, int(seq), id, link])?;
        mark.execute(params![tenant, id, int(seq)])?;
        heads.insert(e.tenant_id, Head { seq, link });
    }
    let mut note = c.prepare_cached(
        "INSERT INTO audit_heads (tenant_id, seq, link) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET seq = ?2, link = ?3",
    )?;
    for (tenant, head) in heads {
        note.execute(params![tenant.as_bytes(), int(head.seq), head.link])?;
    }
    Ok(Cas::Done(waiting.len() as u64))
}

/// Removes up to `limit` events of a tenant, and says whether none is left. The chain goes from its end, each link with its
/// event, and its head steps back with it: whoever walks it meanwhile finds it whole.
pub(super) fn remove(c: &Connection, tenant: TenantId, limit: u32) -> rusqlite::Result<bool> {
    let id = tenant.as_bytes();
    let last = last(c, tenant)?;
    if last > 0 {
        let kept = last.saturating_sub(u64::from(limit));
        for sql in [
            "DELETE FROM audit WHERE (tenant_id, id) IN (SELECT tenant_id, event_id FROM audit_chain WHERE tenant_id = ?1 AND seq > ?2)",
            "DELETE FROM audit_chain WHERE tenant_id = ?1 AND seq > ?2",
            // A chain that had lost this link was broken before, and stays so.
            "UPDATE audit_heads SET seq = ?2, link = coalesce((SELECT link FROM audit_chain WHERE tenant_id = ?1 AND seq = ?2), zeroblob(32))
             WHERE tenant_id = ?1",
        ] {
            c.prepare_cached(sql)?.execute(params![id, int(kept)])?;
        }
        return Ok(false);
    }
    c.prepare_cached("DELETE FROM audit_heads WHERE tenant_id = ?1")?.execute([id])?;
    let removed = c
        .prepare_cached("DELETE FROM audit WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM audit WHERE tenant_id = ?1 LIMIT ?2)")?
        .execute(params![id, limit])?;
    Ok(removed < limit as usize)
}

/// The highest place that has a link; 0: none has.
fn last(c: &Connection, tenant: TenantId) -> rusqlite::Result<u64> {
    c.prepare_cached("SELECT coalesce(max(seq), 0) FROM audit_chain WHERE tenant_id = ?1")?
        .query_row([tenant.as_bytes()], |row| number(row, 0))
}

/// Chains without events count: somebody may have removed those.
pub(super) fn next_tenant(c: &Connection, above: &[u8]) -> rusqlite::Result<Option<TenantId>> {
    let mut next = None::<[u8; 16]>;
    for sql in [
        "SELECT min(tenant_id) FROM audit WHERE tenant_id > ?1",
        "SELECT min(tenant_id) FROM audit_chain WHERE tenant_id > ?1",
        "SELECT min(tenant_id) FROM audit_heads WHERE tenant_id > ?1",
    ] {
        let found: Option<[u8; 16]> = c.prepare_cached(sql)?.query_row([above], |row| row.get(0))?;
        next = [next, found].into_iter().flatten().min();
    }
    Ok(next.map(TenantId::from_bytes))
}

fn state(c: &Connection, tenant: TenantId) -> rusqlite::Result<ChainState> {
    let unlinked = c
        .prepare_cached("SELECT count(*) FROM audit WHERE tenant_id = ?1 AND seq IS NULL")?
        .query_row([tenant.as_bytes()], |row| number(row, 0))?;
    let stray = c
        .prepare_cached(
            "SELECT a.id FROM audit a WHERE a.tenant_id = ?1 AND a.seq IS NOT NULL AND NOT EXISTS
             (SELECT 1 FROM audit_chain l WHERE l.tenant_id = a.tenant_id AND l.seq = a.seq AND l.event_id = a.id) LIMIT 1",
        )?
        .query_row([tenant.as_bytes()], |row| row.get(0).map(AuditId::from_bytes))
        .optional()?;
    Ok(ChainState { head: head(c, tenant)?, last: last(c, tenant)?, unlinked, stray })
}

fn chain(c: &Connection, tenant: TenantId, after: u64, limit: u32) -> rusqlite::Result<Vec<ChainRow>> {
    c.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        ", l.seq, l.event_id, l.link FROM audit_chain l LEFT JOIN audit a ON a.tenant_id = l.tenant_id AND a.id = l.event_id
         WHERE l.tenant_id = ?1 AND l.seq > ?2 ORDER BY l.seq LIMIT ?3"
    ))?
    .query_map(params![tenant.as_bytes(), int(after), limit], |row| {
        let there = row.get::<_, Option<[u8; 16]>>(0)?.is_some();
        Ok(ChainRow {
            seq: number(row, COLUMNS)?,
            event_id: AuditId::from_bytes(row.get(COLUMNS + 1)?),
            link: row.get(COLUMNS + 2)?,
            entry: there.then(|| entry(row)).transpose()?,
        })
    })?
    .collect()
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn write_audit(&self, ctx: &Ctx, events: Vec<AuditEvent>) -> Result<()> {
        self.command(ctx, move |c, _| write(c, &events)).await
    }
    async fn audit_events(&self, tenant: TenantId, after: Option<AuditId>, limit: u32) -> Result<Vec<Shown>> {
        self.read(move |c| events(c, tenant, after, limit)).await
    }
    async fn audit_waits(&self) -> Result<bool> {
        self.get(|c| c.prepare_cached("SELECT 1 FROM audit WHERE seq IS NULL LIMIT 1")?.exists([]))
    }
    async fn link_audit(&self, fence: u64, limit: u32) -> Result<Cas<u64>> {
        self.write(move |c| link(c, fence, limit)).await
    }
    async fn erase_from_audit(&self, user: UserId) -> Result<()> {
        self.write(move |c| erase(c, user)).await
    }
    async fn audited_tenant(&self, after: Option<TenantId>) -> Result<Option<TenantId>> {
        self.get(|c| next_tenant(c, after.as_ref().map_or(&[], |t| t.as_bytes().as_slice())))
    }
    async fn chain_state(&self, tenant: TenantId) -> Result<ChainState> {
        self.read(move |c| state(c, tenant)).await
    }
    async fn chain(&self, tenant: TenantId, after: u64, limit: u32) -> Result<Vec<ChainRow>> {
        self.read(move |c| chain(c, tenant, after, limit)).await
    }
}
