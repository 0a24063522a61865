//! Batches of accounts, and how far imports have come.

use super::{
    SqliteStore, authority,
    command::Outcome,
    ending, outbox,
    rows::{int, maybe_time, number, stamp, strange, time},
    tenants, users,
};
use crate::{
    domain::{
        authority::{Acting, Authority, Denied, Place, is_proved, needs_proof},
        contact::ContactDigest,
        context::Ctx,
        ids::{RoleId, TenantId, UserId},
        permission::{Permission, PermissionSet},
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User},
    },
    sqlite::{Connection, OptionalExtension, params, rusqlite},
    store::{Result, imports::*},
};
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};

impl Outcome for ImportOutcome {
    /// Progress only moves on; a tenant that is gone may come back.
    fn recorded(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

#[async_trait]
impl ImportStore for SqliteStore {
    async fn import_users(&self, ctx: &Ctx, cmd: ImportUsers) -> Result<ImportOutcome> {
        self.command(ctx, move |c, now| import(c, now, &cmd)).await
    }
    async fn import_progress(&self, id: ImportId) -> Result<Option<ImportProgress>> {
        self.get(|c| progress(c, id))
    }
    async fn forget_import(&self, id: ImportId) -> Result<()> {
        self.write(move |c| c.prepare_cached("DELETE FROM imports WHERE id = ?1")?.execute([id.0]).map(drop)).await
    }
    async fn holders(&self, tenant: TenantId, digests: Vec<ContactDigest>) -> Result<Vec<Holder>> {
        self.read(move |c| digests.iter().take(MAX_ROWS).map(|digest| holder(c, tenant, digest)).collect()).await
    }
}

fn import(c: &Connection, now: Timestamp, cmd: &ImportUsers) -> rusqlite::Result<ImportOutcome> {
    let found = tenants::live(c, cmd.tenant_id)?.filter(|t| t.kind == TenantKind::Organization);
    let Some(tenant) = found else { return Ok(ImportOutcome::NoTenant) };
    let acting = match authority::permitted(c, now, cmd.by, Permission::UserWrite)? {
        Ok(acting) => acting,
        Err(why) => return Ok(ImportOutcome::Denied(why)),
    };
    let operator = cmd.by.authority == Authority::Operator;
    if let Some(step) = &cmd.step
        && !begin_step(c, now, cmd.tenant_id, step)?
    {
        return Ok(ImportOutcome::Stale);
    }
    let mut seen = Seen::default();
    let outcomes = cmd.users.iter().take(MAX_ROWS).map(|row| one(c, &tenant, (&acting, operator), row, &mut seen));
    let outcomes = Outcomes(outcomes.collect::<rusqlite::Result<_>>()?);
    let created = outcomes.0.iter().filter(|o| **o == RowOutcome::Created).count();
    ending::audit(c, &cmd.audit)?;
    if let Some(step) = &cmd.step {
        end_step(c, now, step, created as u64, &outcomes)?;
    }
    Ok(ImportOutcome::Done(outcomes))
}

/// What the rows of a batch have in common is looked up once.
#[derive(Default)]
struct Seen {
    /// Roles, and what they allow where whoever acts may give them.
    roles: HashMap<RoleId, Option<std::result::Result<PermissionSet, Denied>>>,
    /// Kinds of hashes that are counted.
    kinds: HashSet<String>,
}

fn one(
    c: &Connection,
    tenant: &Tenant,
    (acting, operator): (&Acting, bool),
    row: &ImportUser,
    seen: &mut Seen,
) -> rusqlite::Result<RowOutcome> {
    let (tenant_id, place) = (tenant.id, Place::of(tenant));
    if row.vouched() && !operator && place.may_make_credentials(&row.user.email).is_err() {
        return Ok(RowOutcome::NotManaged);
    }
    let givable = match seen.roles.get(&row.role) {
        Some(givable) => *givable,
        None => *seen.roles.entry(row.role).or_insert(authority::givable(c, acting, tenant_id, row.role, None)?),
    };
    match givable {
        Some(Ok(allows)) if !operator && needs_proof(row.role, allows) && !is_proved(&row.user, tenant) => return Ok(RowOutcome::NoRole),
        Some(Ok(_)) => {}
        Some(Err(Denied::GiverUnproved)) => return Ok(RowOutcome::GiverUnproved),
        None | Some(Err(_)) => return Ok(RowOutcome::NoRole),
    }
    if let Some(who) = users::holder(c, &row.user.email.digest())? {
        return Ok(if is_member(c, who, tenant_id)? { RowOutcome::IsMember } else { RowOutcome::EmailTaken });
    }
    if let Some(hash) = &row.user.password_hash
        && seen.kinds.insert(hash.census())
    {
        users::count_kind(c, hash)?;
    }
    users::insert_uncounted(c, &User { independent: place.makes_independent(&row.user.email), ..row.user.clone() })?;
    tenants::join(c, &Membership { user_id: row.user.id, tenant_id, roles: vec![row.role], joined_at: row.user.created_at })?;
    if let Some(job) = &row.job {
        outbox::put(c, row.user.created_at, job)?;
    }
    ending::audit(c, &row.audit)?;
    Ok(RowOutcome::Created)
}

fn is_member(c: &Connection, user: UserId, tenant: TenantId) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM memberships WHERE user_id = ?1 AND tenant_id = ?2")?.exists([user.as_bytes(), tenant.as_bytes()])
}

fn holder(c: &Connection, tenant: TenantId, digest: &ContactDigest) -> rusqlite::Result<Holder> {
    Ok(match users::holder(c, digest)? {
        None => Holder::Nobody,
        Some(user) if is_member(c, user, tenant)? => Holder::Member,
        Some(_) => Holder::Elsewhere,
    })
}

/// Whether the import has come exactly so far.
fn begin_step(c: &Connection, now: Timestamp, tenant: TenantId, step: &ImportStep) -> rusqlite::Result<bool> {
    if step.from == 0 {
        c.prepare_cached(
            "INSERT INTO imports (id, tenant_id, next_record, created, refused, recent, started_at) VALUES (?1, ?2, 0, 0, 0, '', ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![step.id.0, tenant.as_bytes(), stamp(now)])?;
    }
    c.prepare_cached("SELECT 1 FROM imports WHERE id = ?1 AND tenant_id = ?2 AND next_record = ?3 AND finished_at IS NULL")?
        .exists(params![step.id.0, tenant.as_bytes(), int(step.from)])
}

fn end_step(c: &Connection, now: Timestamp, step: &ImportStep, created: u64, outcomes: &Outcomes) -> rusqlite::Result<()> {
    let refused = step.refused + (outcomes.0.len() as u64 - created);
    let before: String = c.prepare_cached("SELECT recent FROM imports WHERE id = ?1")?.query_row([step.id.0], |row| row.get(0))?;
    let mut recent: Vec<&str> = before.split(',').filter(|s| !s.is_empty()).collect();
    recent.drain(..(recent.len() + 1).saturating_sub(RECENT));
    let mut all = outcomes.clone();
    for at in &step.unfit {
        all.0.insert((*at as usize).min(all.0.len()), RowOutcome::Unfit);
    }
    let last = format!("{}:{}", step.from, all.letters());
    recent.push(&last);
    c.prepare_cached(
        "UPDATE imports SET next_record = ?2, created = created + ?3, refused = refused + ?4, recent = ?5, finished_at = ?6 WHERE id = ?1",
    )?
    .execute(params![step.id.0, int(step.next), int(created), int(refused), recent.join(","), step.finished.then_some(stamp(now))])
    .map(drop)
}

fn progress(c: &Connection, id: ImportId) -> rusqlite::Result<Option<ImportProgress>> {
    c.prepare_cached("SELECT next_record, created, refused, recent, started_at, finished_at FROM imports WHERE id = ?1")?
        .query_row([id.0], |row| {
            let (recent_from, recent) = recent(row.get_ref(3)?.as_str()?).ok_or_else(|| strange(3, "no outcomes"))?;
            Ok(ImportProgress {
                next: number(row, 0)?,
                created: number(row, 1)?,
                refused: number(row, 2)?,
                recent_from,
                recent,
                started_at: time(row, 4)?,
                finished_at: maybe_time(row, 5)?,
            })
        })
        .optional()
}

/// The first record and all outcomes of `0:+++m,1000:++`.
fn recent(text: &str) -> Option<(u64, Outcomes)> {
    let steps = steps(text)?;
    let from = steps.first().map_or(0, |(first, _)| *first);
    Some((from, Outcomes(steps.into_iter().flat_map(|(_, outcomes)| outcomes.0).collect())))
}

/// The first record and the outcomes of each step.
pub(super) fn steps(text: &str) -> Option<Vec<(u64, Outcomes)>> {
    let step = |step: &str| {
        let (first, letters) = step.split_once(':')?;
        Some((first.parse().ok()?, Outcomes::from_letters(letters)?))
    };
    text.split(',').filter(|s| !s.is_empty()).map(step).collect()
}
