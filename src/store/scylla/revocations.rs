//! The list of access tokens to be refused, in windows of ten minutes. Each append is one conditional write, so that
//! entries of a window have an order that never changes behind a reader's cursor. A reader moves on from a window only
//! once it is sealed (locked for ever): a late writer then goes to the next one.

use super::{
    change::{Answer, Change, Head, Write},
    effects::{number, ordered},
    engine::Engine,
    tx::{json, parse},
    unit::{Bytes, Family, Unit, name},
};
use crate::{
    domain::time::Timestamp,
    store::{Result, StoreError, commands::Revocation},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// Microseconds of a window.
const WINDOW: i64 = 600_000_000;
/// Access tokens live 15 minutes; rows go by themselves some time later than they have to, in seconds.
const KEPT: i32 = 1800;
/// Windows that may hold something that is kept, beside the present one.
const BACK: i64 = KEPT as i64 * 1_000_000 / WINDOW;
/// Revocations given at a time.
const GIVEN: usize = 10_000;
/// Rows of one write.
const CHUNK: usize = 100;
/// A window that is at most this many after the present one is taken for one of a node whose clock is ahead of ours. A later one is taken for
/// our own, from before our clock was set back. (A node whose clock is off by more than two seconds is not ready.)
const AHEAD: i64 = 2;
/// Who holds a sealed window.
const SEAL: Uuid = Uuid::from_u128(0x7365_616c_0000_7000_8000_0000_0000_0000);
const KIND: &str = "revocation";
const TRIES: usize = 50;

/// Where this process appended last.
#[derive(Debug, Default)]
pub(super) struct Tail {
    window: i64,
    seen: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    at: Timestamp,
    what: Revocation,
}

fn unit(window: i64) -> Unit {
    Unit { family: Family::Revocations, key: Bytes::from(&ordered(window)) }
}

/// Appends; those of one call have neighbouring places.
pub(super) async fn append(engine: &Engine, what: &[(Timestamp, Revocation)]) -> Result<()> {
    for chunk in what.chunks(CHUNK) {
        append_some(engine, chunk).await?;
    }
    Ok(())
}

async fn append_some(engine: &Engine, what: &[(Timestamp, Revocation)]) -> Result<()> {
    let mut tail = engine.log.lock().await;
    for _ in 0..TRIES {
        // At each try: a place past the end of its window would lead readers on to the next one while others still write to this.
        let present = engine.micros() / WINDOW;
        // Also if our clock was set back: nobody reads so far ahead of theirs. Sealed windows lead on again.
        if tail.window < present || tail.window > present + AHEAD {
            *tail = Tail { window: present, seen: None };
        }
        let version = engine.micros().max(tail.window * WINDOW).max(tail.seen.unwrap_or(0) + 1);
        let row = |(i, (at, what)): (usize, &(Timestamp, Revocation))| -> Result<Write> {
            let key = Bytes::join(&[&ordered(version), &u32::try_from(i).unwrap_or(0).to_be_bytes()]);
            let body = json(&Row { at: *at, what: what.clone() })?;
            Ok(Write { name: name(KIND, &key.0), body: Some(body), ttl: KEPT })
        };
        let rows = what.iter().enumerate().map(row).collect::<Result<Vec<_>>>()?;
        let id = engine.new_id();
        let change = Change::Commit { seen: tail.seen, version, tx: id, todo: None };
        match engine.cql.change(&unit(tail.window), &change, &rows).await? {
            Answer::Applied => {
                tail.seen = Some(version);
                return Ok(());
            }
            Answer::Refused(Head { lock: Some(_), .. }) => *tail = Tail { window: tail.window + 1, seen: None },
            Answer::Refused(head) => tail.seen = head.version,
            Answer::Unknown(why) => {
                let head = engine.cql.head(&unit(tail.window), true).await.map_err(|e| StoreError::maybe(format!("{why}; then {e}")))?;
                tail.seen = head.version;
                if head.tx == Some(id) {
                    return Ok(());
                }
                // Somebody wrote since: ours may be there. Once too often is better than never.
            }
        }
    }
    Err(StoreError::maybe("others kept writing revocations"))
}

/// Nothing comes into the window any more.
async fn seal(engine: &Engine, window: i64) -> Result<()> {
    let mut head = engine.cql.head(&unit(window), false).await?;
    for _ in 0..TRIES {
        if head.lock == Some(SEAL) {
            return Ok(());
        }
        match engine.cql.change(&unit(window), &Change::Lock { seen: head.version, tx: SEAL }, &[]).await? {
            Answer::Applied => return Ok(()),
            Answer::Refused(now) => head = now,
            Answer::Unknown(_) => head = engine.cql.head(&unit(window), true).await?,
        }
    }
    Err(StoreError::certainly_not("others kept writing revocations"))
}

/// Whether all windows from one on, up to another one, are sealed.
async fn leads_on(engine: &Engine, from: i64, to: i64) -> Result<bool> {
    for window in from..to {
        if engine.cql.head(&unit(window), false).await?.lock != Some(SEAL) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// See [`crate::store::Store::revocations_since`]. The cursor is the place of the last entry, in microseconds since 1970.
pub(super) async fn since(engine: &Engine, cursor: u64) -> Result<(Vec<Revocation>, u64)> {
    let mut cursor = i64::try_from(cursor).unwrap_or(i64::MAX - 1);
    let present = engine.micros() / WINDOW;
    let mut out = Vec::new();
    // A cursor a little ahead of our clock is of a node whose clock is ahead, and so is one that sealed windows lead to. Any other one is ours,
    // from before our clock was set back: what others wrote meanwhile lies before it, and all that is kept is read again.
    if cursor / WINDOW > present + AHEAD && !leads_on(engine, present, cursor / WINDOW).await? {
        cursor = (present - BACK) * WINDOW - 1;
    }
    let mut window = (cursor / WINDOW).max(present - BACK);
    loop {
        // Somebody's clock may be ahead, or was: then there is something in one of the next ones, and nothing comes into this one if it is sealed.
        let more = window < present || {
            let (this, next) = (unit(window), unit(window + 1));
            let (this, next) = tokio::try_join!(engine.cql.head(&this, false), engine.cql.head(&next, false))?;
            let after = if window == present { engine.cql.head(&unit(window + AHEAD), false).await? } else { Head::default() };
            this.lock == Some(SEAL) || [next, after].iter().any(|head| head.version.is_some())
        };
        if more {
            seal(engine, window).await?;
        }
        for row in engine.cql.scan(&unit(window), KIND, &ordered(cursor + 1)).await? {
            let Some(place) = number(&row.name.key.0) else { continue };
            if out.len() >= GIVEN && place > cursor {
                return Ok((out, cursor.unsigned_abs()));
            }
            out.push(parse::<Row>(&row.body)?.what);
            cursor = place;
        }
        if !more {
            return Ok((out, cursor.max(window * WINDOW - 1).unsigned_abs()));
        }
        window += 1;
    }
}

/// Removes rows written at or before `until`; says how many. (They would go by themselves, by the clock of the store.)
pub(super) async fn sweep(engine: &Engine, until: Timestamp) -> Result<u64> {
    let present = engine.micros() / WINDOW;
    let mut swept = 0;
    for window in present - BACK..=present + 1 {
        let unit = unit(window);
        for _ in 0..TRIES {
            let rows = engine.cql.scan(&unit, KIND, &[]).await?;
            let Some(head) = rows.first().map(|r| r.head) else { break };
            let mut over = Vec::new();
            for row in &rows {
                if parse::<Row>(&row.body)?.at <= until {
                    over.push(Write { name: row.name.clone(), body: None, ttl: 0 });
                }
            }
            over.truncate(CHUNK);
            if over.is_empty() {
                break;
            }
            let change = match head.lock {
                Some(tx) => Change::Hold { tx },
                None => Change::Commit { seen: head.version, version: head.version.unwrap_or(0) + 1, tx: engine.new_id(), todo: None },
            };
            if engine.cql.change(&unit, &change, &over).await? == Answer::Applied {
                swept += over.len() as u64;
            }
        }
    }
    Ok(swept)
}

/// How long revocations are to be kept.
pub(super) const WANTED: Duration = Duration::from_secs(20 * 60);
