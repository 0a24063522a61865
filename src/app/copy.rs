//! `qeetid copy`: moves an embedded installation over to ScyllaDB or Cassandra. What stopped it doesn't matter: it goes on where it was,
//! and in the end both sides are read and compared.

use super::{AppError, build, ticker::Ticker};
use crate::{
    config::{ScyllaUrl, StoreUrl},
    domain::{
        rng::{Rng, SystemRng},
        time::{Clock, SystemClock, Timestamp},
    },
    store::{
        StoreError,
        commands::Revocation,
        copy::{Counts, Item, Phase},
        scylla::copy::{Opened, ScyllaTarget, Tally, expect},
        sqlite::copy::SqliteSource,
    },
};
use std::{
    fmt::Write,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Things in one step; how far the copy has come is noted after each.
const STEP: usize = 500;
/// Steps that wait, read from the source already.
const AHEAD: usize = 2;
/// A store that doesn't answer is asked again for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Access tokens live 15 minutes: revocations that are older matter to nobody.
const REVOCATIONS: Duration = Duration::from_secs(20 * 60);

/// The source, as `--from` names it.
///
/// # Errors
/// It is no SQLite file.
pub fn from(text: &str) -> Result<PathBuf, String> {
    match text.parse::<StoreUrl>()? {
        StoreUrl::Sqlite(path) => Ok(path),
        StoreUrl::Scylla(_) => Err("is copied from sqlite://PATH only".into()),
    }
}

/// The target, as `--to` names it.
///
/// # Errors
/// It is no keyspace.
pub fn to(text: &str) -> Result<ScyllaUrl, String> {
    match text.parse::<StoreUrl>()? {
        StoreUrl::Scylla(url) => Ok(url),
        StoreUrl::Sqlite(_) => Err("is copied to scylla://host/keyspace only".into()),
    }
}

/// Copies, and compares. The report, and whether both sides are the same.
///
/// # Errors
/// The source can't be read, is open somewhere or is written meanwhile; the target can't be written, or holds something else.
pub async fn copy(source: PathBuf, target: &ScyllaUrl) -> Result<(String, bool), AppError> {
    let (from, to) = (format!("--from {}", source.display()), "--to");
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let place = build::place(target, to)?;
    let at_target = |e: StoreError| AppError::new(to, e.detail);
    let opened = Opened::open(&place, clock.clone(), rng).await.map_err(at_target)?;
    let source = Arc::new(Mutex::new(SqliteSource::open(&source).map_err(|e| AppError::new(&from, e.detail))?));
    let at_source = |e: StoreError| AppError::new(&from, e.detail);

    let survey = survey(source.clone()).await.map_err(at_source)?;
    let mut target = opened.begin(&survey.tally.whole(), PATIENCE).await.map_err(at_target)?;
    let was_finished = target.finished_at();
    write(&source, &survey, &mut target).await?;
    let cut = clock.now().minus(REVOCATIONS);
    let revoked = revocations(&source, cut).map_err(at_source)?;
    if target.reached().is_some() {
        target.end(&revoked).await.map_err(at_target)?;
    }
    let Ok(source) = Arc::try_unwrap(source).map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner)) else {
        return Err("the source is still being read".to_owned().into());
    };
    if source.was_written().map_err(at_source)? {
        return Err(AppError::new(&from, "was written while it was copied: stop whatever serves it, drop the keyspace, and begin again"));
    }
    let (found, missing) = compare(&target, &survey.tally, &revoked).await.map_err(at_target)?;
    let (mut text, same) = report(&survey.tally, &found, revoked.len(), missing);
    if same && was_finished.is_none() {
        target.finish().await.map_err(at_target)?;
    }
    text.push_str(&advice(same, was_finished));
    Ok((text, same))
}

/// What the source holds.
struct Survey {
    tally: Tally,
    /// Things of each phase.
    things: Vec<(Phase, u64)>,
}

impl Survey {
    fn all(&self) -> u64 {
        self.things.iter().map(|(_, n)| n).sum()
    }
}

type Shared = Arc<Mutex<SqliteSource>>;

/// Reads all of the source once.
async fn survey(source: Shared) -> Result<Survey, StoreError> {
    let read = move || {
        let source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut survey, mut counts, mut ticker) = (Survey { tally: Tally::default(), things: Vec::new() }, Counts::new(), Ticker::new());
        let began = Instant::now();
        for phase in Phase::ALL {
            let (mut things, mut failed) = (0, None);
            source.each(phase, &[], &mut |_, item| {
                things += 1;
                item.count(&mut counts);
                ticker.show(|| format!("reading the source: {things} {}  ", phase.name()));
                match expect(item, &mut survey.tally) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(e) => {
                        failed = Some(e);
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(e) = failed {
                return Err(e);
            }
            survey.things.push((phase, things));
        }
        for (table, rows) in source.counts()? {
            let read = counts.get(table).copied().unwrap_or_default();
            if read != rows {
                return Err(StoreError::certainly_not(format!(
                    "table {table} has {rows} rows, of which {read} lead anywhere: the file is damaged"
                )));
            }
        }
        ticker.end(&format!("read the source: {} things in {:.1} s", survey.all(), began.elapsed().as_secs_f64()));
        Ok(survey)
    };
    tokio::task::spawn_blocking(read).await.map_err(StoreError::certainly_not)?
}

/// Things of a step, and the place up to which they reach.
type Step = (Phase, Vec<Item>, Vec<u8>);

/// Reads on from a place, a step at a time, until nobody takes them.
fn read_on(source: &Shared, from: (Phase, Vec<u8>), steps: &mpsc::Sender<Step>) -> Result<(), StoreError> {
    let source = source.lock().unwrap_or_else(PoisonError::into_inner);
    for phase in Phase::ALL.into_iter().filter(|p| *p >= from.0) {
        let after = if phase == from.0 { from.1.as_slice() } else { &[] };
        let (mut items, mut reached) = (Vec::new(), after.to_vec());
        source.each(phase, after, &mut |place, item| {
            items.push(item);
            reached = place;
            if items.len() < STEP {
                return ControlFlow::Continue(());
            }
            match steps.blocking_send((phase, std::mem::take(&mut items), reached.clone())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        if !items.is_empty() && steps.blocking_send((phase, items, reached)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes what is not written yet.
async fn write(source: &Shared, survey: &Survey, target: &mut ScyllaTarget) -> Result<(), AppError> {
    let Some((phase, after)) = target.reached() else { return Ok(()) };
    let from = (phase, after.to_vec());
    let goes_on = !(phase == Phase::ALL[0] && after.is_empty());
    if goes_on {
        eprintln!("goes on with the {}", phase.name());
    }
    let (sender, mut steps) = mpsc::channel(AHEAD);
    let shared = source.clone();
    let reading = tokio::task::spawn_blocking(move || read_on(&shared, from, &sender));
    let (mut ticker, began, mut written, mut of_phase, mut now) = (Ticker::new(), Instant::now(), 0, 0, None);
    while let Some((phase, items, reached)) = steps.recv().await {
        if now != Some(phase) {
            (now, of_phase) = (Some(phase), 0);
        }
        let n = items.len() as u64;
        target.write(phase, items, reached).await.map_err(|e| {
            AppError::new("--to", format!("{}. What is written stays: run the same command again, and it goes on", e.detail))
        })?;
        (written, of_phase) = (written + n, of_phase + n);
        ticker.show(|| line(phase, of_phase, survey, written, began.elapsed(), goes_on));
    }
    reading.await.map_err(|e| AppError::new("--from", e))?.map_err(|e| AppError::new("--from", e.detail))?;
    ticker.end(&format!("wrote {written} things in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people, in three digits")]
fn line(phase: Phase, of_phase: u64, survey: &Survey, written: u64, took: Duration, goes_on: bool) -> String {
    let rate = written as f64 / took.as_secs_f64().max(0.001);
    let whole = survey.things.iter().find(|(p, _)| *p == phase).map_or(0, |(_, n)| *n);
    // Of a copy that goes on nobody knows how much was there already.
    let end =
        if goes_on { String::new() } else { format!(", {:.0} s left", survey.all().saturating_sub(written) as f64 / rate.max(0.001)) };
    format!("{of_phase} of {whole} {}, {rate:.0} a second{end}  ", phase.name())
}

fn revocations(source: &Shared, cut: Timestamp) -> Result<Vec<(Timestamp, Revocation)>, StoreError> {
    source.lock().unwrap_or_else(PoisonError::into_inner).revocations(cut)
}

/// Reads all of the target.
async fn compare(target: &ScyllaTarget, wanted: &Tally, revoked: &[(Timestamp, Revocation)]) -> Result<(Tally, usize), StoreError> {
    let whole: u64 = wanted.sums().map(|(_, sum)| sum.rows).sum();
    let (ticker, began) = (Mutex::new((Ticker::new(), 0)), Instant::now());
    let seen = |more: u64| {
        let mut state = ticker.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += more;
        let read = state.1;
        state.0.show(|| format!("reading the target: {read} of {whole} rows  "));
    };
    let found = target.tally(revoked, &seen).await?;
    ticker
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .0
        .end(&format!("read the target in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(found)
}

/// A line for each kind of row, and whether all are the same.
fn report(wanted: &Tally, found: &Tally, revoked: usize, missing: usize) -> (String, bool) {
    let mut names: Vec<&str> = wanted.sums().chain(found.sums()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let (mut text, mut same) = (String::new(), true);
    // Writing into a String can't fail.
    let _ = writeln!(text, "{:<28}{:>12}{:>12}  {:<18}{:<18}", "what", "source", "target", "digest", "of the target");
    for name in names {
        let (a, b) = (wanted.sum(name), found.sum(name));
        same &= a == b;
        let verdict = if a == b { "same" } else { "DIFFERENT" };
        let _ = writeln!(text, "{name:<28}{:>12}{:>12}  {:<18}{:<18}{verdict}", a.rows, b.rows, a.short(), b.short());
    }
    same &= missing == 0;
    let verdict = if missing == 0 { "same" } else { "DIFFERENT" };
    let _ = writeln!(text, "{:<28}{revoked:>12}{:>12}  {:<36}{verdict}", "revocations (20 minutes)", revoked - missing, "");
    (text, same)
}

fn advice(same: bool, was_finished: Option<Timestamp>) -> String {
    match (same, was_finished) {
        (true, _) => "\nAll of it is there, and the same. Next:\n\
             - Start no server on the SQLite file any more; keep the file until you are content.\n\
             - QEETID_STORE_URL: what you gave as --to. QEETID_EPHEMERAL_URL: a Redis.\n\
             - QEETID_SECRET: the same secret as before, on all nodes (the file `secret` beside the SQLite file, if you never set one). With another\n  \
             one nobody's session, link or signing key is good.\n\
             - Not moved: one-time codes under way (people ask for a new one), rate limits, and answers kept for Idempotency-Key.\n"
            .into(),
        (false, Some(at)) => {
            format!("\nThis copy was found to be the same on {at}. If the keyspace has been served since, it is meant to differ.\n")
        }
        (false, None) => "\nThe two sides are NOT the same. Don't serve the keyspace: drop it, run `qeetid migrate`, and copy again.\n".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_from_a_file_to_a_keyspace() {
        assert_eq!(from("sqlite:///x/qeetid.db"), Ok("/x/qeetid.db".into()));
        assert!(to("scylla://h/k").is_ok());
        assert!(from("scylla://h/k").is_err() && to("sqlite://x").is_err() && from("x").is_err());
    }
}
