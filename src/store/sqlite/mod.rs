//! The embedded backend: one SQLite file ([`crate::sqlite`]), the schema of `schema/sqlite`.
//!
//! Each command is a function over a connection, run in a savepoint by the file's one writer, so that it can read, decide
//! and write without anybody in between: `users`, `passwords`, `sessions`, `proofs`, `email_change`, `tenants`, `invites`, `outbox`,
//! `upkeep`. `command` knows reruns, `ending` is how sessions die, `rows` turns rows into entities, `copy` reads a whole file
//! for another backend.

mod access;
mod admin;
mod admin_impl;
mod admin_write;
mod audit;
mod authority;
mod command;
pub mod copy;
mod domains;
mod email_change;
mod ending;
mod erase;
mod imports;
mod invites;
mod invites_impl;
mod leases;
mod outbox;
mod passwords;
mod policy;
mod proofs;
mod rows;
mod sessions;
mod store_impl;
mod tenants;
mod upkeep;
mod users;

#[cfg(test)]
mod tests;

use super::{Result, StoreError, admin::without_power};
use crate::{
    domain::{context::Ctx, time::Timestamp},
    sqlite::{
        self, Connection, File,
        migrate::{Migration, migrate},
    },
};

/// The schema, oldest first.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "store", oldest: 1, sql: include_str!("../../../schema/sqlite/0001_store.sql") },
    Migration { number: 3, name: "access", oldest: 3, sql: include_str!("../../../schema/sqlite/0003_access.sql") },
    Migration { number: 4, name: "invites", oldest: 4, sql: include_str!("../../../schema/sqlite/0004_invites.sql") },
    Migration { number: 5, name: "admin", oldest: 5, sql: include_str!("../../../schema/sqlite/0005_admin.sql") },
    Migration { number: 6, name: "audit", oldest: 6, sql: include_str!("../../../schema/sqlite/0006_audit.sql") },
    Migration { number: 7, name: "imports", oldest: 7, sql: include_str!("../../../schema/sqlite/0007_imports.sql") },
    Migration { number: 9, name: "leases", oldest: 9, sql: include_str!("../../../schema/sqlite/0009_leases.sql") },
    Migration { number: 10, name: "audit_fields", oldest: 10, sql: include_str!("../../../schema/sqlite/0010_audit_fields.sql") },
    Migration { number: 11, name: "authority", oldest: 11, sql: include_str!("../../../schema/sqlite/0011_authority.sql") },
    Migration { number: 12, name: "seeds", oldest: 11, sql: include_str!("../../../schema/sqlite/0012_seeds.sql") },
    Migration { number: 13, name: "revoked_keys", oldest: 11, sql: include_str!("../../../schema/sqlite/0013_revoked_keys.sql") },
    Migration { number: 14, name: "domains", oldest: 11, sql: include_str!("../../../schema/sqlite/0014_domains.sql") },
    Migration { number: 16, name: "session_idle", oldest: 11, sql: include_str!("../../../schema/sqlite/0016_session_idle.sql") },
];

/// The store in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    file: File,
}

impl SqliteStore {
    /// Brings the schema up to date and takes the file into use.
    ///
    /// # Errors
    /// The file is of a newer version, or can't be written.
    pub async fn open(file: File) -> Result<Self> {
        let ran = migrate(&file, "store", MIGRATIONS).await.map_err(store_error)?;
        let store = Self { file };
        if ran > 0 {
            let (organizations, keys) = store.get(authority::left_without_power)?;
            without_power(organizations, keys);
        }
        Ok(store)
    }

    /// A command that knows its reruns.
    async fn command<T, F>(&self, ctx: &Ctx, f: F) -> Result<T>
    where
        T: command::Outcome,
        F: FnOnce(&Connection, Timestamp) -> sqlite::rusqlite::Result<T> + Send + 'static,
    {
        let named = ctx.into();
        self.write(move |c| command::once(c, named, f)).await?.map_err(StoreError::another_run)
    }

    async fn write<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> sqlite::rusqlite::Result<T> + Send + 'static,
    {
        self.file.write(f).await.map_err(store_error)
    }

    /// A read that may be long.
    async fn read<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> sqlite::rusqlite::Result<T> + Send + 'static,
    {
        self.file.read(f).await.map_err(store_error)
    }

    /// A read of a few rows by their keys.
    fn get<T>(&self, f: impl FnOnce(&Connection) -> sqlite::rusqlite::Result<T>) -> Result<T> {
        self.file.read_here(f).map_err(store_error)
    }
}

fn store_error(e: sqlite::Error) -> StoreError {
    if e.certainly_not() { StoreError::certainly_not(e) } else { StoreError::maybe(e) }
}
