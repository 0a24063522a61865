//! Batches of accounts. Each account is a command of its own, under an id that follows from the command that began the import and
//! the place of the batch in it: a batch that is run again, by its process or by the next one after that was killed, finds what it
//! made as its own. How far an import has come is a unit; whoever works on a step holds it for a while.

use super::{
    ScyllaStore,
    accounts::{self, HOLDER, ONE, ones},
    authority,
    invites_of::takes_members,
    tenants::{self, MEMBER, Member},
    tx::{Outcome, Plan, Planned, Tx, json},
    unit::{Bytes, Family, Name, Unit, name},
};
use crate::{
    domain::{
        audit::AuditEvent,
        authority::{Acting, Authority, By, Denied, Place, needs_proof},
        contact::ContactDigest,
        context::Ctx,
        ids::{CommandId, TenantId, UserId},
        permission::Permission,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{Membership, User},
    },
    store::{Result, copy::MovedImport, imports::*},
};
use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

const PROGRESS: &str = "progress";
const OUTCOMES: &str = "outcomes";
/// Outcomes of a batch are kept for two hours, in seconds.
const RECORDED: i32 = 7200;
/// A step that somebody works on for longer is anybody's.
const HELD: Duration = Duration::from_secs(60);
/// Accounts that are written at once.
const AT_ONCE: usize = 16;

/// How far an import has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    tenant: TenantId,
    next: u64,
    created: u64,
    refused: u64,
    /// The first record of each of the last steps, and what became of its accounts.
    recent: Vec<(u64, Outcomes)>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    /// The command that began it; of one that was moved here, the first that went on with it.
    #[serde(default)]
    begun_by: Option<CommandId>,
    /// Which command works on the next step, and until when it is left alone.
    held: Option<(CommandId, Timestamp)>,
}

#[async_trait]
impl ImportStore for ScyllaStore {
    async fn import_users(&self, ctx: &Ctx, cmd: ImportUsers) -> Result<ImportOutcome> {
        let home = match &cmd.step {
            Some(step) => unit(step.id),
            None => Unit { family: Family::Commands, key: ctx.command.as_bytes().into() },
        };
        let (tenant, step, by) = (cmd.tenant_id, cmd.step.clone(), cmd.by);
        let acting = self.engine.read(authority::acting(&self.engine.cql, ctx.now, by)).await?;
        let acting = match acting.and_then(|a| a.needs(Permission::UserWrite).map(|()| a)) {
            Ok(acting) => acting,
            Err(why) => {
                // Of a tenant that is gone, nobody is a member.
                let there = self.engine.tenant(tenant).await?.is_some_and(|t| t.deleted_at.is_none());
                return Ok(if there { ImportOutcome::Denied(why) } else { ImportOutcome::NoTenant });
            }
        };
        let begin = Begin { home: home.clone(), command: ctx.command, at: ctx.now, tenant, step: step.clone() };
        let begun_by = match self.engine.change(self.engine.now(), home.clone(), begin).await? {
            Begun::Go(begun_by) => begun_by,
            Begun::Was(outcomes) => return Ok(ImportOutcome::Done(outcomes)),
            Begun::NoTenant => return Ok(ImportOutcome::NoTenant),
            Begun::Stale => return Ok(ImportOutcome::Stale),
        };
        let from = step.as_ref().map_or(0, |s| s.from);
        let outcomes = self.rows(ctx, (by, acting), cmd.users, |digest, nth| part_of(begun_by, from, digest, nth)).await?;
        let finish = Finish { home: home.clone(), command: ctx.command, at: ctx.now, step, outcomes, audit: cmd.audit };
        Ok(match self.engine.change(self.engine.now(), home, finish).await? {
            Begun::Was(outcomes) => ImportOutcome::Done(outcomes),
            _ => ImportOutcome::Stale,
        })
    }

    async fn import_progress(&self, id: ImportId) -> Result<Option<ImportProgress>> {
        let progress: Option<Progress> = self.engine.read(self.engine.cql.peek(&unit(id), PROGRESS, ONE)).await?;
        Ok(progress.map(|p| ImportProgress {
            next: p.next,
            created: p.created,
            refused: p.refused,
            recent_from: p.recent.first().map_or(p.next, |(from, _)| *from),
            recent: Outcomes(p.recent.into_iter().flat_map(|(_, outcomes)| outcomes.0).collect()),
            started_at: p.started_at,
            finished_at: p.finished_at,
        }))
    }

    async fn forget_import(&self, id: ImportId) -> Result<()> {
        self.engine.change(self.engine.now(), unit(id), Forget(id)).await
    }

    async fn holders(&self, tenant: TenantId, digests: Vec<ContactDigest>) -> Result<Vec<Holder>> {
        let holders = stream::iter(digests.into_iter().take(MAX_ROWS)).map(async |digest| {
            let Some(user) = self.engine.cql.peek::<UserId>(&Unit::email(&digest), HOLDER, ONE).await? else { return Ok(Holder::Nobody) };
            let member = self.engine.cql.peek::<Member>(&Unit::user(user), MEMBER, tenant.as_bytes()).await?;
            Ok(if member.is_some() { Holder::Member } else { Holder::Elsewhere })
        });
        holders.buffered(AT_ONCE).try_collect().await
    }
}

impl ScyllaStore {
    /// Writes the accounts: those of one address one after another, the others beside each other.
    /// `command` says under which id: that of the nth row of an address.
    async fn rows(
        &self,
        ctx: &Ctx,
        (by, acting): (By, Acting),
        users: Vec<ImportUser>,
        command: impl Fn(&ContactDigest, usize) -> CommandId + Copy + Sync,
    ) -> Result<Outcomes> {
        let mut by_address: HashMap<ContactDigest, Vec<(usize, ImportUser)>> = HashMap::new();
        for (i, row) in users.into_iter().take(MAX_ROWS).enumerate() {
            by_address.entry(row.user.email.digest()).or_default().push((i, row));
        }
        let groups = stream::iter(by_address).map(async |(digest, rows)| {
            let mut out = Vec::with_capacity(rows.len());
            for (nth, (i, row)) in rows.into_iter().enumerate() {
                let ctx = Ctx { command: command(&digest, nth), ..ctx.clone() };
                out.push((i, self.engine.command(&ctx, Unit::email(&digest), One { by, acting, row }).await?));
            }
            Ok::<_, crate::store::StoreError>(out)
        });
        let mut all: Vec<(usize, Letter)> = groups.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?.concat();
        all.sort_unstable_by_key(|(i, _)| *i);
        Ok(Outcomes(all.into_iter().flat_map(|(_, Letter(outcome))| outcome.0).collect()))
    }
}

fn unit(id: ImportId) -> Unit {
    Unit { family: Family::Singles, key: Bytes::join(&[b"import/", &id.0]) }
}

/// How far an import that is moved here has come: its unit, and the row in it.
pub(super) fn moved(import: MovedImport) -> Result<(Unit, Name, String)> {
    let MovedImport { id, tenant, next, created, refused, recent, started_at, finished_at } = import;
    let progress = Progress { tenant, next, created, refused, recent, started_at, finished_at, begun_by: None, held: None };
    Ok((unit(id), name(PROGRESS, ONE), json(&progress)?))
}

/// The id of one account's command: of the nth row of an address, in the batch that begins at record `from`. It names the address,
/// since the rows before it need not be the same when another process goes on (other parameters refuse others).
fn part_of(begun_by: CommandId, from: u64, address: &ContactDigest, nth: usize) -> CommandId {
    let mut sha = Context::new(&SHA256);
    sha.update(b"qeetid import row 2");
    sha.update(begun_by.as_bytes());
    sha.update(&from.to_be_bytes());
    sha.update(address.as_bytes());
    sha.update(&(nth as u64).to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&sha.finish().as_ref()[..16]);
    CommandId::from_bytes(id)
}

/// What a batch may do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Begun {
    /// The ids of its accounts follow from this one.
    Go(CommandId),
    /// It was done before.
    Was(Outcomes),
    NoTenant,
    Stale,
}
impl Outcome for Begun {}

/// What a batch always reads of its unit.
fn read_first(command: CommandId) -> Vec<Name> {
    vec![name(PROGRESS, ONE), name(OUTCOMES, command.as_bytes())]
}
/// What another run of the same command has made of the batch.
async fn was(tx: &mut Tx<'_>, home: &Unit, command: CommandId) -> Planned<Option<Begun>> {
    Ok(tx.get::<Outcomes>(home, OUTCOMES, command.as_bytes()).await?.map(Begun::Was))
}

struct Begin {
    home: Unit,
    command: CommandId,
    at: Timestamp,
    tenant: TenantId,
    step: Option<ImportStep>,
}

#[async_trait]
impl Plan for Begin {
    type Out = Begun;
    fn first(&self) -> Vec<Name> {
        read_first(self.command)
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Begun> {
        if let Some(was) = was(tx, &self.home, self.command).await? {
            return Ok(was);
        }
        if !takes_members(tx.cql(), self.tenant).await? {
            return Ok(Begun::NoTenant);
        }
        let Some(step) = &self.step else { return Ok(Begun::Go(self.command)) };
        let progress = match tx.get::<Progress>(&self.home, PROGRESS, ONE).await? {
            Some(progress) => progress,
            None if step.from == 0 => Progress {
                tenant: self.tenant,
                next: 0,
                created: 0,
                refused: 0,
                recent: Vec::new(),
                started_at: self.at,
                finished_at: None,
                begun_by: None,
                held: None,
            },
            None => return Ok(Begun::Stale),
        };
        let others = progress.held.is_some_and(|(command, until)| command != self.command && until > tx.now);
        if progress.tenant != self.tenant || progress.next != step.from || progress.finished_at.is_some() || others {
            return Ok(Begun::Stale);
        }
        let begun_by = progress.begun_by.unwrap_or(self.command);
        let held = Some((self.command, tx.now.plus(HELD)));
        tx.put(&self.home, PROGRESS, ONE, &Progress { begun_by: Some(begun_by), held, ..progress })?;
        Ok(Begun::Go(begun_by))
    }
}

struct Finish {
    home: Unit,
    command: CommandId,
    at: Timestamp,
    step: Option<ImportStep>,
    outcomes: Outcomes,
    audit: Vec<AuditEvent>,
}

#[async_trait]
impl Plan for Finish {
    type Out = Begun;
    fn first(&self) -> Vec<Name> {
        read_first(self.command)
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Begun> {
        if let Some(was) = was(tx, &self.home, self.command).await? {
            return Ok(was);
        }
        if let Some(step) = &self.step {
            let progress: Option<Progress> = tx.get(&self.home, PROGRESS, ONE).await?;
            // Somebody took it for dead and did it; what was made here stays, and counts as there before.
            let Some(mut p) = progress.filter(|p| p.next == step.from && p.held.is_some_and(|(c, _)| c == self.command)) else {
                return Ok(Begun::Stale);
            };
            let created = self.outcomes.0.iter().filter(|o| **o == RowOutcome::Created).count();
            let mut all = self.outcomes.clone();
            for at in &step.unfit {
                all.0.insert((*at as usize).min(all.0.len()), RowOutcome::Unfit);
            }
            p.recent.drain(..(p.recent.len() + 1).saturating_sub(RECENT));
            p.recent.push((step.from, all));
            p.refused += step.refused + (self.outcomes.0.len() - created) as u64;
            p.created += created as u64;
            (p.next, p.finished_at, p.held) = (step.next, step.finished.then_some(self.at), None);
            tx.put(&self.home, PROGRESS, ONE, &p)?;
        }
        tx.put_for(&self.home, OUTCOMES, self.command.as_bytes(), &self.outcomes, RECORDED)?;
        tx.audit(&self.audit)?;
        Ok(Begun::Was(self.outcomes.clone()))
    }
}

struct Forget(ImportId);

#[async_trait]
impl Plan for Forget {
    type Out = ();
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<()> {
        let unit = unit(self.0);
        if tx.get::<Progress>(&unit, PROGRESS, ONE).await?.is_some() {
            tx.del(&unit, PROGRESS, ONE);
        }
        Ok(())
    }
}

/// The outcome of one row, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter(Outcomes);
impl Outcome for Letter {
    /// What was refused is looked at anew: there may be the role by now, and who has been made is there.
    fn recorded(&self) -> bool {
        self.0.0 == [RowOutcome::Created]
    }
}
impl From<RowOutcome> for Letter {
    fn from(outcome: RowOutcome) -> Self {
        Self(Outcomes(vec![outcome]))
    }
}

/// One account. An organization's members aren't written into its unit, so that a batch has no place to meet.
struct One {
    by: By,
    /// Whoever acts, as they were when the batch began.
    acting: Acting,
    row: ImportUser,
}

#[async_trait]
impl Plan for One {
    type Out = Letter;
    fn first(&self) -> Vec<Name> {
        ones(&[HOLDER])
    }
    async fn run(&self, tx: &mut Tx<'_>) -> Planned<Letter> {
        let (user, tenant) = (&self.row.user, self.by.tenant_id);
        let found = tx.peek::<Tenant>(&Unit::tenant(tenant), tenants::TENANT, ONE).await?;
        let operator = self.by.authority == Authority::Operator;
        let (managed, vouched) = (found.as_ref().is_some_and(|t| t.managed), self.row.vouched());
        let independent = found.as_ref().is_none_or(|t| Place::of(t).makes_independent(&user.email));
        if vouched && independent && !operator {
            return Ok(RowOutcome::NotManaged.into());
        }
        match authority::givable(tx.cql(), &self.acting, tenant, self.row.role, None).await? {
            Some(Ok(allows)) if !operator && needs_proof(self.row.role, allows) && !(managed && user.email_asserted_at.is_some()) => {
                return Ok(RowOutcome::NoRole.into());
            }
            Some(Ok(_)) => {}
            Some(Err(Denied::GiverUnproved)) => return Ok(RowOutcome::GiverUnproved.into()),
            None | Some(Err(_)) => return Ok(RowOutcome::NoRole.into()),
        }
        let claim = Unit::email(&user.email.digest());
        if let Some(holder) = tx.get::<UserId>(&claim, HOLDER, ONE).await? {
            let member = tx.peek::<Member>(&Unit::user(holder), MEMBER, tenant.as_bytes()).await?;
            return Ok(if member.is_some() { RowOutcome::IsMember } else { RowOutcome::EmailTaken }.into());
        }
        accounts::insert(tx, &User { independent, ..user.clone() })?;
        let membership = Membership { user_id: user.id, tenant_id: tenant, roles: vec![self.row.role], joined_at: user.created_at };
        tenants::join(tx, &membership, TenantKind::Organization).await?;
        if let Some(job) = &self.row.job {
            tx.job(job)?;
        }
        tx.audit(&self.row.audit)?;
        Ok(RowOutcome::Created.into())
    }
}
