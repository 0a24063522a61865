//! Rows into entities. The column lists stand beside the functions that read them, in the same order.

use crate::{
    domain::{
        contact::{Email, Phone},
        hash::PasswordHash,
        ids::{SessionId, TenantId, UserId},
        mail_domain::TenantDomain,
        network::Network,
        session::Session,
        tenant::{Tenant, TenantKind},
        time::Timestamp,
        user::{CodeSerials, User, UserStatus},
    },
    sqlite::{
        Connection, OptionalExtension,
        rusqlite::{self, Row, types::Type},
    },
};
use serde_json::{Map, Value};

/// SQLite's integers are signed: the bits stay the same.
pub(super) const fn int(n: u64) -> i64 {
    n.cast_signed()
}

/// For a parameter.
pub(super) const fn stamp(t: Timestamp) -> i64 {
    t.millis()
}

pub(super) fn number(row: &Row<'_>, i: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(i)?.cast_unsigned())
}

pub(super) fn time(row: &Row<'_>, i: usize) -> rusqlite::Result<Timestamp> {
    row.get(i).map(Timestamp::from_millis)
}

pub(super) fn maybe_time(row: &Row<'_>, i: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(i)?.map(Timestamp::from_millis))
}

/// The row holds what this program never wrote.
pub(super) fn strange(i: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(i, Type::Null, what.into())
}

pub(super) fn network(row: &Row<'_>, i: usize) -> rusqlite::Result<Network> {
    Network::from_bytes(row.get_ref(i)?.as_blob()?).ok_or_else(|| strange(i, "no network"))
}

pub(super) fn metadata(row: &Row<'_>, i: usize) -> rusqlite::Result<Map<String, Value>> {
    match row.get_ref(i)?.as_str()? {
        "{}" => Ok(Map::new()),
        text => serde_json::from_str(text).map_err(|e| rusqlite::Error::FromSqlConversionFailure(i, Type::Text, e.into())),
    }
}

/// For a parameter.
pub(super) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

macro_rules! user_columns {
    () => {
        "id, home_tenant, last_tenant, email, email_verified_at, phone, phone_verified_at, display_name, locale, status, metadata, \
         password_hash, credential_epoch, version, serial_email, serial_phone, serial_email_change, last_login_at, created_at, \
         updated_at, deleted_at, purge_after, email_asserted_at, independent, must_change, not_me_at"
    };
}
pub(super) use user_columns;

/// A row of [`user_columns`].
pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId::from_bytes(row.get(0)?),
        home_tenant: TenantId::from_bytes(row.get(1)?),
        last_tenant: row.get::<_, Option<_>>(2)?.map(TenantId::from_bytes),
        email: Email::from_stored(row.get(3)?),
        email_verified_at: maybe_time(row, 4)?,
        email_asserted_at: maybe_time(row, 22)?,
        phone: row.get::<_, Option<_>>(5)?.map(Phone::from_stored),
        phone_verified_at: maybe_time(row, 6)?,
        display_name: row.get(7)?,
        locale: row.get(8)?,
        status: status(row, 9)?,
        metadata: metadata(row, 10)?,
        password_hash: row.get::<_, Option<String>>(11)?.map(PasswordHash::new),
        credential_epoch: number(row, 12)?,
        version: number(row, 13)?,
        code_serials: CodeSerials { email: number(row, 14)?, phone: number(row, 15)?, email_change: number(row, 16)? },
        last_login_at: maybe_time(row, 17)?,
        created_at: time(row, 18)?,
        updated_at: time(row, 19)?,
        deleted_at: maybe_time(row, 20)?,
        purge_after: maybe_time(row, 21)?,
        independent: row.get(23)?,
        must_change: row.get(24)?,
        not_me_at: maybe_time(row, 25)?,
    })
}

pub(super) fn status(row: &Row<'_>, i: usize) -> rusqlite::Result<UserStatus> {
    UserStatus::from_name(row.get_ref(i)?.as_str()?).ok_or_else(|| strange(i, "no status"))
}

pub(super) fn user_by_id(c: &Connection, id: UserId) -> rusqlite::Result<Option<User>> {
    c.prepare_cached(concat!("SELECT ", user_columns!(), " FROM users WHERE id = ?1"))?.query_row([id.as_bytes()], user).optional()
}

macro_rules! tenant_columns {
    () => {
        "t.id, t.slug, t.name, t.kind, t.metadata, t.policy, t.version, t.created_at, t.updated_at, t.deleted_at, t.managed, t.domains"
    };
}
pub(super) use tenant_columns;
/// How many they are: the place of what comes behind them.
pub(super) const TENANT_COLUMNS: usize = 12;

/// A row of [`tenant_columns`].
pub(super) fn tenant(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    Ok(Tenant {
        id: TenantId::from_bytes(row.get(0)?),
        slug: row.get(1)?,
        name: row.get(2)?,
        kind: tenant_kind(row, 3)?,
        managed: row.get(10)?,
        domains: domains(row, 11)?,
        metadata: metadata(row, 4)?,
        policy: serde_json::from_str(row.get_ref(5)?.as_str()?)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(5, Type::Text, e.into()))?,
        version: number(row, 6)?,
        created_at: time(row, 7)?,
        updated_at: time(row, 8)?,
        deleted_at: maybe_time(row, 9)?,
    })
}

/// The domains of a tenant; few tenants have any.
pub(super) fn domains(row: &Row<'_>, i: usize) -> rusqlite::Result<Vec<TenantDomain>> {
    match row.get_ref(i)?.as_str()? {
        "[]" => Ok(Vec::new()),
        text => serde_json::from_str(text).map_err(|_| strange(i, "no list of domains")),
    }
}

pub(super) fn tenant_kind(row: &Row<'_>, i: usize) -> rusqlite::Result<TenantKind> {
    TenantKind::from_name(row.get_ref(i)?.as_str()?).ok_or_else(|| strange(i, "no kind of tenant"))
}

macro_rules! session_columns {
    () => {
        "s.id, s.user_id, s.tenant_id, s.nonce, s.generation, s.credential_epoch, s.ip, s.user_agent, s.created_at, \
         s.last_seen_at, s.turned_at, s.turned_by, s.expires_at, s.revoked_at, s.signed_in_at, s.idle_days"
    };
}
pub(super) use session_columns;
/// How many they are.
pub(super) const SESSION_COLUMNS: usize = 16;

/// A row of [`session_columns`].
pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: SessionId::from_bytes(row.get(0)?),
        user_id: UserId::from_bytes(row.get(1)?),
        tenant_id: TenantId::from_bytes(row.get(2)?),
        nonce: row.get(3)?,
        generation: number(row, 4)?,
        credential_epoch: number(row, 5)?,
        ip: row.get(6)?,
        user_agent: row.get(7)?,
        created_at: time(row, 8)?,
        last_seen_at: time(row, 9)?,
        turned_at: time(row, 10)?,
        turned_by: network(row, 11)?,
        expires_at: time(row, 12)?,
        revoked_at: maybe_time(row, 13)?,
        signed_in_at: maybe_time(row, 14)?,
        idle_days: row.get(15)?,
    })
}
