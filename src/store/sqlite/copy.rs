//! Reads a whole file, thing by thing, for a copy to another backend. Nothing is written, and nobody else may have it open.

use super::{
    MIGRATIONS, access, audit, email_change, ending, imports, invites, passwords,
    rows::{self, number, session_columns, stamp, tenant_columns, user_columns},
    store_error, tenants, upkeep, users,
};
use crate::{
    domain::{
        audit::Head,
        contact::{ContactDigest, Email},
        ids::{AuditId, JobId, LinkId, PendingSignupId, RoleId, TenantId, UserId},
        time::Timestamp,
    },
    sqlite::{
        Connection, Frozen, OptionalExtension, params,
        rusqlite::{self, Row},
    },
    store::{
        Result, StoreError,
        commands::{ResetLink, Revocation, UndoLink},
        copy::*,
        imports::ImportId,
    },
};
use std::{ops::ControlFlow, path::Path};

const DAY: i64 = 86_400_000;
/// Links that count as one of [`MovedChain::seqs`].
const BLOCK: i64 = 1000;

/// Takes one thing and the place after which the phase goes on, and says whether it wants more.
pub type Taker<'a> = &'a mut dyn FnMut(Vec<u8>, Item) -> ControlFlow<()>;

/// A file that is copied.
#[derive(Debug)]
pub struct SqliteSource {
    file: Frozen,
}

impl SqliteSource {
    /// Opens a file that nobody else has open.
    ///
    /// # Errors
    /// It isn't there, somebody has it open, or its schema isn't of this version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Frozen::open(path).map_err(store_error)?;
        let ran: std::result::Result<Vec<u32>, _> = file.read(|c| {
            c.prepare("SELECT number FROM schema_migrations WHERE room = 'store' ORDER BY number")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        });
        let known: Vec<u32> = MIGRATIONS.iter().map(|step| step.number).collect();
        match ran {
            Ok(ran) if ran == known => Ok(Self { file }),
            Ok(ran) if ran.iter().any(|n| !known.contains(n)) => {
                Err(StoreError::certainly_not("the file is of a newer version: copy it with that one"))
            }
            Ok(_) => Err(StoreError::certainly_not("the schema of the file is not of this version: run `qeetid migrate` on it first")),
            Err(e) => Err(StoreError::certainly_not(format!("no store of this program: {e}"))),
        }
    }

    /// Gives the things of a phase after a place (empty: all), in order, until `take` has had enough.
    ///
    /// # Errors
    /// The file can't be read, or holds what this program never wrote.
    pub fn each(&self, phase: Phase, after: &[u8], take: Taker<'_>) -> Result<()> {
        self.file.read(|c| each(c, phase, after, take)).map_err(store_error)
    }

    /// Access tokens that must be refused, written after `since`, in their order.
    ///
    /// # Errors
    /// As [`SqliteSource::each`].
    pub fn revocations(&self, since: Timestamp) -> Result<Vec<(Timestamp, Revocation)>> {
        let read = |c: &Connection| {
            c.prepare(
                "SELECT seq, session_id, user_id, below, keep, api_key_id, signing_key, at FROM revocations WHERE at > ?1 ORDER BY seq",
            )?
            .query_map([stamp(since)], |row| Ok((rows::time(row, 7)?, ending::revocation(row)?.1)))?
            .collect()
        };
        self.file.read(read).map_err(store_error)
    }

    /// How many rows its tables have, of those that are copied: what [`Item::count`] must come to.
    ///
    /// # Errors
    /// As [`SqliteSource::each`].
    pub fn counts(&self) -> Result<Counts> {
        const TABLES: [&str; 18] = [
            "signing_keys",
            "hash_census",
            "tenants",
            "proved_domains",
            "roles",
            "api_keys",
            "tenant_endings",
            "users",
            "known_networks",
            "memberships",
            "member_roles",
            "sessions",
            "pending_email_changes",
            "reset_links",
            "undo_links",
            "pending_signups",
            "invites",
            "outbox",
        ];
        let tables = TABLES.into_iter().chain(["audit", "audit_chain", "audit_heads", "imports"]);
        let count = |c: &Connection| {
            tables.map(|t| Ok((t, c.query_row(&format!("SELECT count(*) FROM {t}"), [], |row| number(row, 0))?))).collect()
        };
        self.file.read(count).map_err(store_error)
    }

    /// Whether somebody has written to it since it was opened.
    ///
    /// # Errors
    /// As [`SqliteSource::each`].
    pub fn was_written(self) -> Result<bool> {
        self.file.was_written().map_err(store_error)
    }
}

fn each(c: &Connection, phase: Phase, after: &[u8], take: Taker<'_>) -> rusqlite::Result<()> {
    let text = || std::str::from_utf8(after).unwrap_or_default();
    let (first, second) = after.split_at_checked(16).unwrap_or((after, &[]));
    match phase {
        Phase::SigningKeys => {
            let mut keys = upkeep::signing_keys(c)?;
            keys.sort_by(|a, b| a.kid.cmp(&b.kid));
            for key in keys.into_iter().filter(|k| k.kid.as_str() > text()) {
                if take(key.kid.clone().into_bytes(), Item::SigningKey(key)).is_break() {
                    break;
                }
            }
            Ok(())
        }
        Phase::HashKinds => walk(c, "SELECT kind FROM hash_census WHERE kind > ?1 ORDER BY kind", [text()], take, |row| {
            let kind: String = row.get(0)?;
            Ok((kind.clone().into_bytes(), Item::HashKind(kind)))
        }),
        Phase::Tenants => {
            let sql = concat!("SELECT ", tenant_columns!(), " FROM tenants t WHERE t.id > ?1 ORDER BY t.id");
            walk(c, sql, [after], take, |row| tenant(c, row))
        }
        Phase::Users => {
            let sql = concat!("SELECT ", user_columns!(), ", password_epoch FROM users WHERE id > ?1 ORDER BY id");
            walk(c, sql, [after], take, |row| user(c, row))
        }
        Phase::Signups => walk(c, "SELECT id FROM pending_signups WHERE id > ?1 ORDER BY id", [after], take, |row| {
            let id: [u8; 16] = row.get(0)?;
            let signup = users::pending(c, PendingSignupId::from_bytes(id))?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok((id.to_vec(), Item::Signup(signup)))
        }),
        Phase::Invites => {
            let (digest, tenant) = after.split_at_checked(32).unwrap_or((after, &[]));
            let sql = "SELECT email_digest, tenant_id FROM invites WHERE email_digest >= ?1 AND (email_digest > ?1 OR tenant_id > ?2)
                       GROUP BY email_digest, tenant_id ORDER BY email_digest, tenant_id";
            walk(c, sql, [digest, tenant], take, |row| invites_to(c, row.get(0)?, row.get(1)?))
        }
        Phase::Jobs => {
            let sql = "SELECT id, message, created_at, attempts, due_at, parked, error FROM outbox WHERE id > ?1 ORDER BY id";
            walk(c, sql, [after], take, job)
        }
        Phase::Events => {
            let sql = concat!(
                "SELECT ",
                audit::columns!(),
                ", l.link FROM audit a LEFT JOIN audit_chain l ON l.tenant_id = a.tenant_id AND l.seq = a.seq
                 WHERE (a.tenant_id, a.id) > (?1, ?2) ORDER BY a.tenant_id, a.id"
            );
            walk(c, sql, [first, second], take, |row| {
                let entry = audit::entry(row)?;
                let place = [entry.tenant_id.as_bytes().as_slice(), entry.id.as_bytes()].concat();
                Ok((place, Item::Event(Box::new(entry), row.get(audit::COLUMNS)?)))
            })
        }
        Phase::Links => {
            let seq = second.try_into().map_or(0, i64::from_be_bytes);
            let sql = "SELECT l.tenant_id, l.seq, l.event_id, l.link, a.at FROM audit_chain l
                       LEFT JOIN audit a ON a.tenant_id = l.tenant_id AND a.id = l.event_id
                       WHERE (l.tenant_id, l.seq) > (?1, ?2) ORDER BY l.tenant_id, l.seq";
            walk(c, sql, params![first, seq], take, link)
        }
        Phase::Chains => {
            let mut last = after.to_vec();
            while let Some(tenant) = audit::next_tenant(c, &last)? {
                last = tenant.as_bytes().to_vec();
                if take(last.clone(), Item::Chain(chain(c, tenant)?)).is_break() {
                    break;
                }
            }
            Ok(())
        }
        Phase::Imports => {
            let sql = "SELECT id, tenant_id, next_record, created, refused, recent, started_at, finished_at FROM imports WHERE id > ?1 ORDER BY id";
            walk(c, sql, [after], take, import)
        }
    }
}

/// Gives what `read` makes of each row.
fn walk(
    c: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    take: Taker<'_>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)>,
) -> rusqlite::Result<()> {
    let mut statement = c.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    while let Some(row) = found.next()? {
        let (place, item) = read(row)?;
        if take(place, item).is_break() {
            break;
        }
    }
    Ok(())
}

fn tenant(c: &Connection, row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)> {
    let tenant = rows::tenant(row)?;
    let id = tenant.id.as_bytes();
    let owners = c
        .prepare_cached(
            "SELECT u.id, u.status = 'active' AND u.deleted_at IS NULL FROM member_roles r JOIN users u ON u.id = r.user_id
             WHERE r.tenant_id = ?1 AND r.role_id = ?2 ORDER BY u.id",
        )?
        .query_map([id, RoleId::OWNER.as_bytes()], |row| Ok((UserId::from_bytes(row.get(0)?), row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let ending = c
        .prepare_cached("SELECT deleted_at, reached IS NULL FROM tenant_endings WHERE tenant_id = ?1")?
        .query_row([id], |row| Ok(MovedEnding { deleted_at: rows::time(row, 0)?, members_gone: row.get(1)? }))
        .optional()?;
    let (roles, keys) = (access::roles(c, tenant.id)?, access::keys(c, tenant.id, None, u32::MAX)?);
    Ok((id.to_vec(), Item::Tenant(Box::new(MovedTenant { roles, keys, owners, ending, tenant }))))
}

fn user(c: &Connection, row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)> {
    let user = rows::user(row)?;
    let (id, password_epoch) = (user.id, row.get::<_, Option<i64>>(26)?.map(i64::cast_unsigned));
    let memberships = c
        .prepare_cached(
            "SELECT m.tenant_id, m.joined_at, t.kind FROM memberships m JOIN tenants t ON t.id = m.tenant_id
             WHERE m.user_id = ?1 ORDER BY m.tenant_id",
        )?
        .query_map([id.as_bytes()], |row| {
            let tenant = TenantId::from_bytes(row.get(0)?);
            Ok(MovedMembership {
                tenant,
                kind: rows::tenant_kind(row, 2)?,
                roles: tenants::roles(c, id, tenant)?,
                joined_at: rows::time(row, 1)?,
                metadata: tenants::kept(c, id, tenant)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let sessions = c
        .prepare_cached(concat!("SELECT ", session_columns!(), " FROM sessions s WHERE s.user_id = ?1 ORDER BY s.id"))?
        .query_map([id.as_bytes()], rows::session)?
        .collect::<rusqlite::Result<_>>()?;
    let networks = c
        .prepare_cached("SELECT network, seen_at FROM known_networks WHERE user_id = ?1 ORDER BY seen_at, network")?
        .query_map([id.as_bytes()], |row| Ok((rows::network(row, 0)?, rows::time(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let reset_links = links::<ResetLink>(c, "SELECT id FROM reset_links WHERE user_id = ?1 ORDER BY id", id, passwords::link)?;
    let undo_links = links::<UndoLink>(c, "SELECT id FROM undo_links WHERE user_id = ?1 ORDER BY id", id, email_change::undo_link)?;
    let reserved = c
        .prepare_cached("SELECT DISTINCT old_email FROM undo_links WHERE user_id = ?1 AND used_at IS NULL AND old_digest IS NOT NULL")?
        .query_map([id.as_bytes()], |row| row.get(0).map(Email::from_stored))?
        .collect::<rusqlite::Result<_>>()?;
    let pending_change = email_change::pending(c, id)?;
    let moved = MovedUser { user, password_epoch, networks, memberships, sessions, pending_change, reset_links, undo_links, reserved };
    Ok((id.as_bytes().to_vec(), Item::User(Box::new(moved))))
}

/// The links of a user that `sql` names.
fn links<T>(
    c: &Connection,
    sql: &str,
    user: UserId,
    read: impl Fn(&Connection, UserId, LinkId) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Vec<T>> {
    let ids: Vec<LinkId> =
        c.prepare_cached(sql)?.query_map([user.as_bytes()], |row| row.get(0).map(LinkId::from_bytes))?.collect::<rusqlite::Result<_>>()?;
    ids.into_iter().filter_map(|id| read(c, user, id).transpose()).collect()
}

fn invites_to(c: &Connection, digest: [u8; 32], tenant: [u8; 16]) -> rusqlite::Result<(Vec<u8>, Item)> {
    let invites = c
        .prepare_cached(concat!(
            "SELECT ",
            invites::columns!(),
            ", i.sweep_at FROM invites i WHERE i.email_digest = ?1 AND i.tenant_id = ?2 ORDER BY i.id"
        ))?
        .query_map(params![digest, tenant], |row| Ok((invites::read(row, 0)?, rows::time(row, 13)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let moved = MovedInvites { tenant: TenantId::from_bytes(tenant), digest: ContactDigest::from_bytes(digest), invites };
    Ok(([digest.as_slice(), &tenant].concat(), Item::Invites(moved)))
}

fn job(row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)> {
    let id: [u8; 16] = row.get(0)?;
    let message = serde_json::from_str(row.get_ref(1)?.as_str()?);
    let job = MovedJob {
        id: JobId::from_bytes(id),
        message: message.map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, e.into()))?,
        created_at: rows::time(row, 2)?,
        attempts: row.get(3)?,
        due_at: rows::time(row, 4)?,
        parked: row.get(5)?,
        error: row.get(6)?,
    };
    Ok((id.to_vec(), Item::Job(job)))
}

fn link(row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)> {
    let (tenant, event): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(2)?);
    let seq: i64 = row.get(1)?;
    // An id begins with the milliseconds of its making.
    let mut made = [0; 8];
    made[2..].copy_from_slice(&event[..6]);
    let at = rows::maybe_time(row, 4)?.unwrap_or(Timestamp::from_millis(i64::from_be_bytes(made)));
    let link = MovedLink {
        tenant: TenantId::from_bytes(tenant),
        seq: seq.cast_unsigned(),
        event: AuditId::from_bytes(event),
        at,
        link: row.get(3)?,
    };
    Ok(([tenant.as_slice(), &seq.to_be_bytes()].concat(), Item::Link(link)))
}

fn chain(c: &Connection, tenant: TenantId) -> rusqlite::Result<MovedChain> {
    let id = tenant.as_bytes();
    let head = c
        .prepare_cached("SELECT seq, link FROM audit_heads WHERE tenant_id = ?1")?
        .query_row([id], |row| Ok(Head { seq: number(row, 0)?, link: row.get(1)? }))
        .optional()?;
    let mut blocks = c.prepare_cached("SELECT DISTINCT (seq - 1) / ?2 FROM audit_chain WHERE tenant_id = ?1")?;
    let first = |row: &Row<'_>| Ok((row.get::<_, i64>(0)? * BLOCK + 1).cast_unsigned());
    let seqs = blocks.query_map(params![id, BLOCK], first)?.collect::<rusqlite::Result<_>>()?;
    let mut days = c.prepare_cached("SELECT DISTINCT at / ?2 FROM audit WHERE tenant_id = ?1")?;
    let days = days.query_map(params![id, DAY], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(MovedChain { tenant, head, seqs, days })
}

fn import(row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, Item)> {
    let id: [u8; 32] = row.get(0)?;
    let import = MovedImport {
        id: ImportId(id),
        tenant: TenantId::from_bytes(row.get(1)?),
        next: number(row, 2)?,
        created: number(row, 3)?,
        refused: number(row, 4)?,
        recent: imports::steps(row.get_ref(5)?.as_str()?).ok_or_else(|| rows::strange(5, "no outcomes"))?,
        started_at: rows::time(row, 6)?,
        finished_at: rows::maybe_time(row, 7)?,
    };
    Ok((id.to_vec(), Item::Import(import)))
}
