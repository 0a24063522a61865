//! Every statement, prepared once.

use super::{
    profile::{Agreement, Times, profiles},
    unit::{Family, List},
};
use crate::store::{Result, StoreError};
use scylla::{client::session::Session, statement::prepared::PreparedStatement};
use std::collections::HashMap;
use tokio::try_join;

/// Rows of one answer.
pub(super) const PAGE: i32 = 5000;

/// Of a table of units.
#[derive(Debug)]
pub(super) struct UnitStatements {
    pub(super) head: PreparedStatement,
    pub(super) todo: PreparedStatement,
    pub(super) rows: PreparedStatement,
    pub(super) scan: PreparedStatement,
    pub(super) put: PreparedStatement,
    pub(super) del: PreparedStatement,
    pub(super) commit: PreparedStatement,
    pub(super) put_todo: PreparedStatement,
    pub(super) lock: PreparedStatement,
    pub(super) apply: PreparedStatement,
    pub(super) forget: PreparedStatement,
    pub(super) apply_forget: PreparedStatement,
    pub(super) unlock: PreparedStatement,
}

/// Of a list.
#[derive(Debug)]
pub(super) struct ListStatements {
    pub(super) get: PreparedStatement,
    pub(super) range: PreparedStatement,
    pub(super) back: PreparedStatement,
    pub(super) put: PreparedStatement,
    pub(super) del: PreparedStatement,
}

/// Of the journal.
#[derive(Debug)]
pub(super) struct JournalStatements {
    pub(super) get: PreparedStatement,
    pub(super) insert: PreparedStatement,
    pub(super) turn: PreparedStatement,
    pub(super) done: PreparedStatement,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) units: HashMap<Family, UnitStatements>,
    pub(super) lists: HashMap<List, ListStatements>,
    pub(super) journal: JournalStatements,
    pub(super) clock: PreparedStatement,
}

impl Statements {
    /// For the tables of a keyspace; those of one table at once.
    pub(super) async fn prepare(session: &Session, keyspace: &str, agreement: Agreement, times: Times) -> Result<Self> {
        let (plain, conditional) = profiles(agreement, times);
        let (plain, conditional) = (plain.into_handle(), conditional.into_handle());
        let prepare = async |cql: String, profile: &scylla::client::execution_profile::ExecutionProfileHandle, again: bool| -> Result<_> {
            let mut st = session.prepare(cql.as_str()).await.map_err(|e| StoreError::certainly_not(format!("{cql}: {e}")))?;
            st.set_execution_profile_handle(Some(profile.clone()));
            st.set_is_idempotent(again);
            st.set_page_size(PAGE);
            Ok(st)
        };
        // What may be repeated, and what is conditional or part of something conditional.
        let often = async |cql: String| prepare(cql, &plain, true).await;
        let once = async |cql: String| prepare(cql, &conditional, false).await;
        let mut units = HashMap::new();
        for family in Family::ALL {
            let t = format!("{keyspace}.{}", family.table());
            let columns = "kind, key, body, version, lock, tx";
            let (head, todo, rows, scan, put, del, commit, put_todo, lock, apply, forget, apply_forget, unlock) = try_join!(
                often(format!("SELECT DISTINCT part, version, lock, tx FROM {t} WHERE part = ?")),
                often(format!("SELECT DISTINCT part, version, lock, tx, todo FROM {t} WHERE part = ?")),
                often(format!("SELECT {columns} FROM {t} WHERE part = ? AND (kind, key) IN ?")),
                often(format!("SELECT {columns} FROM {t} WHERE part = ? AND kind = ? AND key >= ?")),
                once(format!("INSERT INTO {t} (part, kind, key, body) VALUES (?, ?, ?, ?) USING TTL ?")),
                once(format!("DELETE FROM {t} WHERE part = ? AND kind = ? AND key = ?")),
                once(format!("UPDATE {t} USING TTL ? SET version = ?, tx = ? WHERE part = ? IF version = ? AND lock = ?")),
                once(format!("UPDATE {t} USING TTL ? SET todo = ? WHERE part = ?")),
                once(format!("UPDATE {t} USING TTL ? SET lock = ? WHERE part = ? IF version = ? AND lock = ?")),
                once(format!("UPDATE {t} USING TTL ? SET version = ?, tx = ?, lock = ? WHERE part = ? IF lock = ?")),
                once(format!("DELETE version, tx, todo, lock FROM {t} WHERE part = ? IF version = ? AND lock = ?")),
                once(format!("DELETE version, tx, todo, lock FROM {t} WHERE part = ? IF lock = ?")),
                once(format!("UPDATE {t} USING TTL ? SET lock = ? WHERE part = ? IF lock = ?")),
            )?;
            let all = UnitStatements { head, todo, rows, scan, put, del, commit, put_todo, lock, apply, forget, apply_forget, unlock };
            units.insert(*family, all);
        }
        let mut lists = HashMap::new();
        for list in List::ALL {
            let t = format!("{keyspace}.{}", list.table());
            let (get, range, back, put, del) = try_join!(
                often(format!("SELECT body, WRITETIME(body) FROM {t} WHERE bucket = ? AND key = ?")),
                often(format!("SELECT key, body, WRITETIME(body) FROM {t} WHERE bucket = ? AND key >= ? AND key < ? LIMIT ?")),
                often(format!(
                    "SELECT key, body, WRITETIME(body) FROM {t} WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?"
                )),
                often(format!("INSERT INTO {t} (bucket, key, body) VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?")),
                often(format!("DELETE FROM {t} USING TIMESTAMP ? WHERE bucket = ? AND key = ?")),
            )?;
            lists.insert(*list, ListStatements { get, range, back, put, del });
        }
        let t = format!("{keyspace}.journal");
        let (get, insert, turn, done) = try_join!(
            often(format!("SELECT state, at, body FROM {t} WHERE id = ?")),
            once(format!("INSERT INTO {t} (id, state, at, body) VALUES (?, ?, ?, ?) IF NOT EXISTS USING TTL ?")),
            once(format!("UPDATE {t} USING TTL ? SET state = ? WHERE id = ? IF state = ?")),
            often(format!("INSERT INTO {t} (id, state, at, body) VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?")),
        )?;
        let clock = often("SELECT toUnixTimestamp(now()) FROM system.local WHERE key = 'local'".to_owned()).await?;
        Ok(Self { units, lists, journal: JournalStatements { get, insert, turn, done }, clock })
    }
}
