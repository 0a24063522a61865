//! Numbered migrations. Ten nodes may run them at once: one holds a lease while it runs a step, the others wait.

use super::Place;
use crate::store::{Result, StoreError};
use scylla::{client::session::Session, statement::unprepared::Statement, value::Row};
use std::time::Duration;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    /// Counts up, and is never used again.
    pub(super) number: i32,
    /// Of its file, for the log.
    pub(super) name: &'static str,
    /// A program that knows no later step than this one goes on serving a keyspace in which the step has run: what it doesn't know is not
    /// in its way, and survives what it writes. The step's own number: older ones must not.
    pub(super) oldest: i32,
    /// Statements, each ended by a semicolon at the end of a line. `{ks}` is the keyspace.
    pub(super) cql: &'static str,
}

/// The schema, oldest first. Each statement may run twice.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "store", oldest: 1, cql: include_str!("../../../schema/scylla/0001_store.cql") },
    Migration { number: 3, name: "access", oldest: 3, cql: include_str!("../../../schema/scylla/0003_access.cql") },
    Migration { number: 4, name: "invites", oldest: 4, cql: include_str!("../../../schema/scylla/0004_invites.cql") },
    Migration { number: 5, name: "admin", oldest: 5, cql: include_str!("../../../schema/scylla/0005_admin.cql") },
    Migration { number: 6, name: "audit", oldest: 6, cql: include_str!("../../../schema/scylla/0006_audit.cql") },
    Migration { number: AUTHORITY, name: "authority", oldest: AUTHORITY, cql: include_str!("../../../schema/scylla/0007_authority.cql") },
    Migration { number: 8, name: "domains", oldest: 8, cql: include_str!("../../../schema/scylla/0008_domains.cql") },
];

/// The step with which rows change: [`super::upgrade::authority`].
const AUTHORITY: i32 = 7;

/// A schema change on a slow cluster.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Seconds after which the lease of a node that died ends by itself.
const LEASE: i32 = 120;
/// How long a node waits for the others.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(300);

fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::maybe(format!("migration: {e}"))
}

async fn run(session: &Session, cql: &str) -> Result<Vec<Row>> {
    let mut st = Statement::new(cql);
    st.set_request_timeout(Some(TIMEOUT));
    let out = session.query_unpaged(st, ()).await.map_err(|e| failed(format!("{cql}: {e}")))?;
    if !out.is_rows() {
        return Ok(Vec::new());
    }
    let rows = out.into_rows_result().map_err(failed)?;
    rows.rows::<Row>().map_err(failed)?.collect::<std::result::Result<_, _>>().map_err(failed)
}

/// The first column of a conditional write's answer.
fn applied(rows: &[Row]) -> bool {
    rows.first().and_then(|r| r.columns.first()).and_then(Option::as_ref).and_then(scylla::value::CqlValue::as_boolean) == Some(true)
}

fn statements(cql: &str, keyspace: &str) -> Vec<String> {
    let code: Vec<&str> = cql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n").replace("{ks}", keyspace);
    code.split(";\n").map(str::trim).filter(|s| !s.is_empty()).map(|s| s.trim_end_matches(';').to_owned()).collect()
}

/// Beside the steps, in the same table, by their numbers: their [`Migration::oldest`], as the name.
const OLDEST: &str = "store:oldest";

/// Whether every step after `known` says that a program which knows no later one than `known` may serve. A step that says nothing says no.
async fn may_serve(session: &Session, keyspace: &str, known: i32) -> Result<bool> {
    let later = |room: &str| format!("SELECT number, name FROM {keyspace}.schema_migrations WHERE room = '{room}' AND number > {known}");
    let (steps, notes) = (run(session, &later("store")).await?, run(session, &later(OLDEST)).await?);
    let number = |row: &Row| row.columns.first()?.as_ref()?.as_int();
    let oldest = |row: &Row| row.columns.get(1)?.as_ref()?.as_text()?.parse::<i32>().ok();
    let allowed: Vec<i32> = notes.iter().filter(|n| oldest(n).is_some_and(|o| o <= known)).filter_map(number).collect();
    Ok(steps.iter().filter_map(number).all(|step| allowed.contains(&step)))
}

/// Why this program must not serve the keyspace, if so.
pub(super) async fn refuses(session: &Session, keyspace: &str) -> Result<Option<String>> {
    let known = MIGRATIONS.iter().map(|step| step.number).max().unwrap_or(0);
    Ok(match newest(session, keyspace).await? {
        None => Some(format!("keyspace {keyspace} has no schema yet: run `qeetid migrate` first")),
        Some(found) if found < known => {
            Some(format!("keyspace {keyspace} is at migration {found}, and this version needs {known}: run `qeetid migrate` first"))
        }
        Some(found) if found > known && !may_serve(session, keyspace, known).await? => {
            Some(format!("keyspace {keyspace} is at migration {found}, which this version doesn't know: run a newer version of qeetid"))
        }
        Some(_) => None,
    })
}

/// The newest step that has run; `None`: there is no keyspace, or nothing in it.
pub(super) async fn newest(session: &Session, keyspace: &str) -> Result<Option<i32>> {
    let tables =
        format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}' AND table_name = 'schema_migrations'");
    if run(session, &tables).await?.is_empty() {
        return Ok(None);
    }
    let numbers = run(session, &format!("SELECT number FROM {keyspace}.schema_migrations WHERE room = 'store'")).await?;
    Ok(numbers.iter().filter_map(|r| r.columns.first()?.as_ref()?.as_int()).max())
}

/// Makes the keyspace and runs what of the schema hasn't run; `holder` names this process. Gives how many steps ran here.
///
/// # Errors
/// The keyspace is of a newer version; or a step failed: it is run again the next time.
pub(super) async fn migrate<F: Future<Output = Result<()>>>(
    session: &Session,
    place: &Place,
    holder: uuid::Uuid,
    authority: impl Fn() -> F,
) -> Result<usize> {
    let ks = &place.keyspace;
    // SimpleStrategy knows no data centers; where one is named, the copies go there.
    let replication = match &place.datacenter {
        Some(dc) => format!("'class': 'NetworkTopologyStrategy', '{dc}': {}", place.replication),
        None => format!("'class': 'NetworkTopologyStrategy', 'replication_factor': {}", place.replication),
    };
    let keyspace = format!("CREATE KEYSPACE IF NOT EXISTS {ks} WITH replication = {{{replication}}}");
    // ScyllaDB 6.0 to 2025.3 make tablets by default, over which they do no lightweight transactions. Whoever doesn't know the property
    // (Cassandra) or insists on tablets (later versions, which can) refuses the statement.
    if let Err(e) = run(session, &format!("{keyspace} AND tablets = {{'enabled': false}}")).await {
        tracing::debug!(error = %e, "no keyspace without tablets: it is made as this server makes them");
    }
    for cql in [
        keyspace,
        format!("CREATE TABLE IF NOT EXISTS {ks}.schema_locks (name text PRIMARY KEY, holder uuid)"),
        format!("CREATE TABLE IF NOT EXISTS {ks}.schema_migrations (room text, number int, name text, PRIMARY KEY (room, number))"),
    ] {
        ddl(session, &cql).await?;
    }
    let begun = std::time::Instant::now();
    let take = format!("INSERT INTO {ks}.schema_locks (name, holder) VALUES ('store', {holder}) IF NOT EXISTS USING TTL {LEASE}");
    loop {
        if newest(session, ks).await?.is_some_and(|n| MIGRATIONS.iter().all(|step| step.number <= n)) {
            return match refuses(session, ks).await? {
                Some(why) => Err(failed(why)),
                None => Ok(0),
            };
        }
        if applied(&run(session, &take).await?) {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(failed("another node holds the lock"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let ran = steps(session, ks, authority).await;
    run(session, &format!("DELETE FROM {ks}.schema_locks WHERE name = 'store' IF holder = {holder}")).await?;
    ran
}

/// `authority` is what step [`AUTHORITY`] does to rows: in a keyspace that is new there are none.
async fn steps<F: Future<Output = Result<()>>>(session: &Session, ks: &str, authority: impl Fn() -> F) -> Result<usize> {
    let (before, mut ran) = (newest(session, ks).await?.unwrap_or(0), 0);
    for step in MIGRATIONS.iter().filter(|step| step.number > before) {
        for cql in statements(step.cql, ks) {
            ddl(session, &cql).await?;
        }
        let (number, name) = (step.number, step.name);
        if number == AUTHORITY && before > 0 {
            authority().await?;
        }
        // The note first: a step that is noted without one is in the way of older programs.
        for (room, name) in [(OLDEST, step.oldest.to_string()), ("store", name.to_owned())] {
            run(session, &format!("INSERT INTO {ks}.schema_migrations (room, number, name) VALUES ('{room}', {number}, '{name}')")).await?;
        }
        tracing::info!(number, name, "migrated the store");
        ran += 1;
    }
    Ok(ran)
}

/// A change of the schema, known to all nodes when it returns.
async fn ddl(session: &Session, cql: &str) -> Result<()> {
    run(session, cql).await?;
    session.await_schema_agreement().await.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_apart_into_statements() {
        let all = statements("-- a; b\nCREATE TABLE {ks}.t (\n  a int\n);\nCREATE TABLE {ks}.u (a int);\n", "k");
        assert_eq!(all, ["CREATE TABLE k.t (\n  a int\n)", "CREATE TABLE k.u (a int)"]);
        for step in MIGRATIONS {
            assert!(statements(step.cql, "k").iter().all(|s| s.contains(" IF NOT EXISTS ") && !s.contains("{ks}")), "{}", step.name);
        }
    }
}
