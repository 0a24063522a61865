//! Reads whole tables, a piece of the ring at a time.

use super::{
    super::{
        Result, StoreError,
        engine::Engine,
        unit::{Family, List},
    },
    digest::Tally,
    insist, marker,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::{
    client::session::Session,
    statement::{Consistency, prepared::PreparedStatement},
};
use std::time::Duration;

/// Pieces of the ring.
const PIECES: i128 = 64;
/// Of them at once.
const AT_ONCE: usize = 4;
const PAGE: i32 = 1000;
/// Of one page.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Part, kind, key, body. Where a unit has a head and no rows, all but the first are absent.
type UnitRow = (Vec<u8>, Option<String>, Option<Vec<u8>>, Option<String>);
/// Bucket, key, body.
type ListRow = (Vec<u8>, Vec<u8>, Option<String>);

#[derive(Clone, Copy)]
enum Table {
    Of(Family),
    List(List),
}

fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::certainly_not(e)
}

async fn prepare(session: &Session, cql: String) -> Result<PreparedStatement> {
    let mut statement = session.prepare(cql).await.map_err(failed)?;
    statement.set_page_size(PAGE);
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_request_timeout(Some(TIMEOUT));
    statement.set_is_idempotent(true);
    Ok(statement)
}

/// The ends of a piece: tokens after the first, up to the second.
fn piece(n: i128) -> (i64, i64) {
    let at = |n: i128| i64::try_from(i128::from(i64::MIN) + (n << 64) / PIECES).unwrap_or(i64::MAX);
    (at(n), at(n + 1))
}

/// The first table in which something lies.
pub(super) async fn first_used(engine: &Engine, keyspace: &str) -> Result<Option<&'static str>> {
    let columns = Family::ALL.iter().map(|f| (f.table(), "part")).chain(List::ALL.iter().map(|l| (l.table(), "bucket")));
    for (table, column) in columns.chain([("journal", "id")]) {
        let session = engine.cql.session();
        let statement = prepare(&session, format!("SELECT {column} FROM {keyspace}.{table} LIMIT 1")).await?;
        let found = session.execute_unpaged(&statement, ()).await.map_err(failed)?.into_rows_result().map_err(failed)?;
        if found.rows_num() > 0 {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// All rows but those of the copy itself, and but revocations, which go by themselves. `seen` is told how many more were read.
pub(super) async fn tally(engine: &Engine, keyspace: &str, patience: Duration, seen: &(dyn Fn(u64) + Sync)) -> Result<Tally> {
    let families = Family::ALL.iter().filter(|f| **f != Family::Revocations).map(|f| Table::Of(*f));
    let mut tally = Tally::default();
    for table in families.chain(List::ALL.iter().map(|l| Table::List(*l))) {
        let (name, columns, part) = match table {
            Table::Of(family) => (family.table(), "part, kind, key, body", "part"),
            Table::List(list) => (list.table(), "bucket, key, body", "bucket"),
        };
        let cql = format!("SELECT {columns} FROM {keyspace}.{name} WHERE token({part}) > ? AND token({part}) <= ?");
        let statement = insist(patience, || async { prepare(&engine.cql.session(), cql.clone()).await }).await?;
        let statement = &statement;
        let pieces = stream::iter(0..PIECES).map(|n| insist(patience, move || read(engine, statement, table, piece(n))));
        let mut pieces = std::pin::pin!(pieces.buffer_unordered(AT_ONCE));
        while let Some(part) = pieces.try_next().await? {
            seen(part.sums().map(|(_, sum)| sum.rows).sum());
            tally.join(&part);
        }
    }
    Ok(tally)
}

async fn read(engine: &Engine, statement: &PreparedStatement, table: Table, ends: (i64, i64)) -> Result<Tally> {
    let mut tally = Tally::default();
    let pager = engine.cql.session().execute_iter(statement.clone(), ends).await.map_err(failed)?;
    match table {
        Table::Of(family) => {
            let mut rows = pager.rows_stream::<UnitRow>().map_err(failed)?;
            while let Some((part, kind, key, body)) = rows.try_next().await.map_err(failed)? {
                if let (Some(kind), Some(key)) = (kind, key)
                    && !marker::is_in(family, &part)
                {
                    tally.row(family, &part, &kind, &key, &body.unwrap_or_default());
                }
            }
        }
        Table::List(list) => {
            let mut rows = pager.rows_stream::<ListRow>().map_err(failed)?;
            while let Some((bucket, key, body)) = rows.try_next().await.map_err(failed)? {
                tally.entry(list, &bucket, &key, &body.unwrap_or_default());
            }
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_ring() {
        let all: Vec<_> = (0..PIECES).map(piece).collect();
        // No token is the smallest number: the partitioner maps it to the largest.
        assert_eq!((all[0].0, all[all.len() - 1].1), (i64::MIN, i64::MAX));
        assert!(all.windows(2).all(|w| w[0].1 == w[1].0 && w[0].0 < w[0].1));
    }
}
