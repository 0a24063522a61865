//! What the store answered, decoded: rows, heads, and whether a conditional write was done.

use super::{
    change::{Answer, Head, Read},
    unit::{Bytes, Name},
};
use scylla::{
    errors::{DbError, ExecutionError, RequestAttemptError},
    response::query_result::QueryResult,
    value::{CqlValue, Row},
};

/// Whether a conditional write that failed so was never tried.
pub(super) fn certainly_not(e: &ExecutionError) -> bool {
    match e {
        ExecutionError::LastAttemptError(e) => matches!(
            e,
            RequestAttemptError::SerializationError(_)
                | RequestAttemptError::CqlRequestSerialization(_)
                | RequestAttemptError::UnableToAllocStreamId
                | RequestAttemptError::DbError(
                    DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized | DbError::IsBootstrapping,
                    _
                )
        ),
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => true,
        _ => false,
    }
}

pub(super) fn answer(out: QueryResult) -> std::result::Result<Answer, String> {
    let rows = out.into_rows_result().map_err(|e| e.to_string())?;
    let place = |name: &str| rows.column_specs().get_by_name(name).map(|(i, _)| i);
    let (applied, version, lock) = (place("[applied]"), place("version"), place("lock"));
    let mut all = rows.rows::<Row>().map_err(|e| e.to_string())?;
    let row = all.next().ok_or("a conditional write answered nothing")?.map_err(|e| e.to_string())?;
    let column = |i: Option<usize>| i.and_then(|i| row.columns.get(i)).and_then(Option::as_ref);
    match column(applied).and_then(CqlValue::as_boolean) {
        Some(true) => Ok(Answer::Applied),
        Some(false) => Ok(Answer::Refused(Head {
            version: column(version).and_then(CqlValue::as_bigint),
            lock: column(lock).and_then(CqlValue::as_uuid),
            tx: None,
        })),
        None => Err("a conditional write answered without [applied]".into()),
    }
}

pub(super) fn text(v: &Option<CqlValue>) -> Option<String> {
    v.as_ref().and_then(CqlValue::as_text).cloned()
}

pub(super) fn bigint(v: &Option<CqlValue>) -> i64 {
    v.as_ref().and_then(CqlValue::as_bigint).unwrap_or_default()
}

/// Of `version, lock, tx`.
pub(super) fn head(columns: &[Option<CqlValue>]) -> Head {
    let id = |i: usize| columns.get(i).and_then(Option::as_ref).and_then(CqlValue::as_uuid);
    Head { version: columns.first().and_then(Option::as_ref).and_then(CqlValue::as_bigint), lock: id(1), tx: id(2) }
}

/// Of `kind, key, body, version, lock, tx`.
pub(super) fn read(row: Row) -> Option<Read> {
    let kind = text(&row.columns[0])?;
    let key = Bytes(row.columns[1].as_ref()?.as_blob()?.clone());
    Some(Read { name: Name { kind, key }, body: text(&row.columns[2])?, head: head(&row.columns[3..]) })
}
