//! What lies in a server's stores, looked at and changed from beside it: the SQLite file, or the keyspace.

use super::{
    app::App,
    stack::{Place, address},
};
use futures_util::TryStreamExt;
use qeetid::sqlite::rusqlite::types::Value as Cell;
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    value::{CqlValue, Row},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Beside the rows of a unit: these move with each of its writes, whatever the row.
const OF_UNITS: [&str; 4] = ["version", "lock", "tx", "todo"];

/// A connection of a test to the keyspace of a server.
struct Keyspace {
    session: Session,
    name: String,
}

impl Keyspace {
    /// `None`: its store is a file.
    async fn of(place: &Place) -> Option<Self> {
        let name = place.keyspace()?.to_owned();
        let session = SessionBuilder::new().known_node(address("QEETID_TEST_CQL")).build().await.unwrap();
        Some(Self { session, name })
    }

    async fn tables(&self) -> Vec<String> {
        let sql = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{}'", self.name);
        self.rows(&sql).await.into_iter().map(|row| row[0].1.as_ref().unwrap().as_text().unwrap().clone()).collect()
    }

    /// Rows as columns by name.
    async fn rows(&self, cql: &str) -> Vec<Vec<(String, Option<CqlValue>)>> {
        let pager = self.session.query_iter(cql, ()).await.unwrap();
        let names: Vec<String> = pager.column_specs().iter().map(|c| c.name().to_owned()).collect();
        let rows: Vec<Row> = pager.rows_stream::<Row>().unwrap().try_collect().await.unwrap();
        rows.into_iter().map(|row| names.iter().cloned().zip(row.columns).collect()).collect()
    }

    async fn count(&self, cql: &str) -> i64 {
        i64::try_from(self.rows(cql).await.len()).unwrap()
    }

    /// The accounts: where each lies, and its body.
    async fn accounts(&self) -> Vec<(Vec<u8>, Vec<u8>, String)> {
        let rows = self.rows(&format!("SELECT part, key, body FROM {}.users WHERE kind = 'account' ALLOW FILTERING", self.name)).await;
        let blob = |v: &Option<CqlValue>| v.as_ref().unwrap().as_blob().unwrap().clone();
        rows.iter().map(|r| (blob(&r[0].1), blob(&r[1].1), r[2].1.as_ref().unwrap().as_text().unwrap().clone())).collect()
    }
}

/// How far a copy into a keyspace has come, as it writes it down there: "" before it has begun to write; `None` if nobody answers.
pub async fn copied_up_to(server: &str, keyspace: &str) -> Option<String> {
    let session = SessionBuilder::new().known_node(server).fetch_schema_metadata(false).build().await.ok()?;
    // The hex digits are those of `copy`.
    let cql = format!("SELECT body FROM {keyspace}.singles WHERE part = 0x636f7079 AND kind = 'progress'");
    let rows = session.query_unpaged(cql, ()).await.ok()?.into_rows_result().ok()?;
    let row = rows.maybe_first_row::<(String,)>().ok()?;
    Some(row.map(|(body,)| body).unwrap_or_default())
}

fn bytes(id: &str) -> Vec<u8> {
    let hex = id.replace('-', "");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

impl App {
    /// All rows that have one of these ids in them: the table, a colon, and the columns.
    pub async fn rows_with(&self, ids: &[&str]) -> BTreeSet<String> {
        let as_bytes: Vec<Vec<u8>> = ids.iter().map(|id| bytes(id)).collect();
        let mut found = BTreeSet::new();
        let Some(keyspace) = Keyspace::of(self.place()).await else {
            let raw = self.database();
            let mut tables = raw.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
            let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            for table in tables {
                let mut all = raw.prepare(&format!("SELECT * FROM {table}")).unwrap();
                let columns = all.column_count();
                let mut rows = all.query([]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    let cells: Vec<Cell> = (0..columns).map(|i| row.get(i).unwrap()).collect();
                    if cells.iter().any(|c| matches!(c, Cell::Blob(b) if as_bytes.contains(b))) {
                        found.insert(format!("{table}: {cells:?}"));
                    }
                }
            }
            return found;
        };
        let holds = |value: &Option<CqlValue>| match value {
            Some(CqlValue::Blob(blob)) => as_bytes.iter().any(|id| blob.windows(id.len()).any(|part| part == id)),
            Some(CqlValue::Text(text)) => ids.iter().any(|id| text.contains(id)),
            _ => false,
        };
        for table in keyspace.tables().await {
            for mut row in keyspace.rows(&format!("SELECT * FROM {}.{table}", keyspace.name)).await {
                row.retain(|(name, _)| !OF_UNITS.contains(&name.as_str()));
                if row.iter().any(|(_, value)| holds(value)) {
                    found.insert(format!("{table}: {row:?}"));
                }
            }
        }
        found
    }

    /// Waits until all audit events so far have their places in the chains.
    pub async fn all_linked(&self) {
        let keyspace = Keyspace::of(self.place()).await;
        let begun = Instant::now();
        loop {
            let waiting = match &keyspace {
                Some(keyspace) => keyspace.count(&format!("SELECT key FROM {}.audit_waiting", keyspace.name)).await,
                None => self.database().query_row("SELECT count(*) FROM audit WHERE seq IS NULL", [], |row| row.get(0)).unwrap(),
            };
            if waiting == 0 {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{waiting} events wait for their links");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The password hash of an address as it is stored, if there is one.
    pub async fn stored_hash(&self, email: &str) -> Option<String> {
        let Some(keyspace) = Keyspace::of(self.place()).await else {
            let sql = "SELECT password_hash FROM users WHERE email = ?1";
            return self.database().query_row(sql, [email], |row| row.get(0)).unwrap();
        };
        let accounts = keyspace.accounts().await.into_iter().map(|(_, _, body)| serde_json::from_str::<Value>(&body).unwrap());
        let account = accounts.into_iter().find(|a| a["user"]["email"] == email).expect("the account is there");
        account["user"]["password_hash"].as_str().map(str::to_owned)
    }

    /// Gives every account this hash. The server must be down.
    pub async fn plant_hash(&self, hash: &str) {
        let Some(keyspace) = Keyspace::of(self.place()).await else {
            let changed = self.database().execute("UPDATE users SET password_hash = ?1", [hash]).unwrap();
            return assert!(changed > 0, "nobody is there");
        };
        let accounts = keyspace.accounts().await;
        assert!(!accounts.is_empty(), "nobody is there");
        let cql = format!("UPDATE {}.users SET body = ? WHERE part = ? AND kind = 'account' AND key = ? IF body = ?", keyspace.name);
        for (part, key, body) in accounts {
            let mut account: Value = serde_json::from_str(&body).unwrap();
            account["user"]["password_hash"] = hash.into();
            let out = keyspace.session.query_unpaged(cql.as_str(), (account.to_string(), part, key, body)).await.unwrap();
            let row: Row = out.into_rows_result().unwrap().first_row().unwrap();
            assert_eq!(row.columns[0], Some(CqlValue::Boolean(true)), "somebody else wrote");
        }
    }

    /// Gives the admins of a tenant power over credentials, as `qeetid tenant manage` does, but without a process of its own for each.
    pub async fn manage(&self, tenant: &str) {
        let hex = tenant.replace('-', "");
        let Some(keyspace) = Keyspace::of(self.place()).await else {
            let sql = "UPDATE tenants SET managed = 1 WHERE lower(hex(id)) = ?1";
            return assert_eq!(self.database().execute(sql, [hex]).unwrap(), 1);
        };
        let found =
            keyspace.rows(&format!("SELECT key, body FROM {}.tenants WHERE part = 0x{hex} AND kind = 'tenant'", keyspace.name)).await;
        let (key, body) = (found[0][0].1.as_ref().unwrap().as_blob().unwrap(), found[0][1].1.as_ref().unwrap().as_text().unwrap());
        let mut row: Value = serde_json::from_str(body).unwrap();
        row["managed"] = true.into();
        let cql = format!("UPDATE {}.tenants SET body = ? WHERE part = 0x{hex} AND kind = 'tenant' AND key = ? IF body = ?", keyspace.name);
        let out = keyspace.session.query_unpaged(cql.as_str(), (row.to_string(), key, body)).await.unwrap();
        let answer: Row = out.into_rows_result().unwrap().first_row().unwrap();
        assert_eq!(answer.columns[0], Some(CqlValue::Boolean(true)), "somebody else wrote");
    }

    /// How many belong to a tenant.
    pub async fn members_of(&self, tenant: &str) -> i64 {
        let hex = tenant.replace('-', "");
        let Some(keyspace) = Keyspace::of(self.place()).await else {
            let sql = "SELECT count(*) FROM memberships WHERE lower(hex(tenant_id)) = ?1";
            return self.database().query_row(sql, [hex], |row| row.get(0)).unwrap();
        };
        let cql = format!("SELECT part FROM {}.users WHERE kind = 'member' AND key = 0x{hex} ALLOW FILTERING", keyspace.name);
        keyspace.count(&cql).await
    }
}
