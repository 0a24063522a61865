//! One free account does all it may, as fast as it can, beside others who sign in and ask who they are. goose has no part in it: its users
//! wait for their answers, so that a slow server is asked less, and looks faster than it is.

mod memory;
mod neighbour;
mod noise;
mod others;

use crate::{
    Cli, Ended, Failed,
    plan::{Moment, Part, Phases},
    report::{self, Table, ms},
    seed,
    tally::{Operation, Outcome, Times},
    thresholds::{self, Beside},
};
use memory::Look;
use neighbour::Neighbour;
use noise::{Count, Noise};
use others::Others;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Access tokens live 15 minutes, and the account never renews its own.
const LONGEST: u64 = 600;

/// What only this scenario knows.
#[derive(clap::Args)]
#[command(next_help_heading = "Of noisy-neighbour")]
pub struct Options {
    /// The server's process, whose memory is looked at [default: whoever listens on the port of --host, on this machine]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Organizations that the account makes; by default as many as one may have
    #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=99))]
    organizations: u32,
    /// The account makes no API keys: its person asks for everything, and is counted as one person
    #[arg(long)]
    without_keys: bool,
    /// So long a task waits that was told 429, before it asks again
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    refused_pause: u64,
}

/// Who takes part.
async fn prepare(cli: &Cli) -> Result<(Arc<Others>, Arc<Noise>), String> {
    if cli.seconds() > LONGEST {
        return Err(format!("noise lasts {LONGEST} s at most: an access token lives 15 minutes"));
    }
    let (host, client, name) = (cli.host(), crate::client()?, crate::name());
    seed::look(&client, &host, cli.scenario).await?;
    let people = seed::people(&client, &host, &name, others::PEOPLE).await?;
    let neighbour = Neighbour::settle(client, host.clone(), &name, cli.noisy.organizations, !cli.noisy.without_keys).await?;
    println!("{} people signed up, and one account with {} organizations", people.len(), neighbour.organizations());
    let noise = Noise::new(neighbour, Duration::from_millis(cli.noisy.refused_pause));
    noise.rehearse().await?;
    Ok((Arc::new(Others::new(host, people)), Arc::new(noise)))
}

/// Runs it all.
pub async fn run(cli: &Cli) -> Result<Ended, Failed> {
    let (others, noise) = prepare(cli).await.map_err(Failed::Unfit)?;
    let phases = Phases::of(cli.seconds());
    let process = cli.noisy.pid.or_else(|| memory::listener(&cli.host()));
    match process {
        Some(process) => println!("the memory looked at is that of process {process}"),
        None => println!("the server's process is not known, so that its memory isn't looked at: --pid says which it is"),
    }
    println!("idle for {} s, then {} s of noise by {} tasks", phases.idle.as_secs(), phases.noise.as_secs(), cli.users());

    let began = Instant::now();
    let stream = others::start(others.clone(), phases, began);
    let (mut looks, mut tasks) = (Vec::new(), JoinSet::new());
    for (at, moment) in phases.looks() {
        tokio::time::sleep_until((began + at).into()).await;
        if let Some(kib) = process.and_then(memory::resident) {
            looks.push(Look { at, moment, kib });
        }
        if moment == Moment::NoiseBegins {
            for kind in noise::tasks(cli.users()) {
                tasks.spawn(noise.clone().go_on(kind));
            }
        }
    }
    tasks.shutdown().await;
    // The last answers may take their time.
    match tokio::task::spawn_blocking(move || stream.join()).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(why))) => return Err(Failed::Broken(why)),
        _ => return Err(Failed::Broken("the others' requests came to no end".into())),
    }

    let counts = noise.counts();
    let failures: u64 = counts.values().map(Count::failures).sum();
    let beside = Beside { others: others.errors(), neighbour: failures, growth: memory::growth(&looks) };
    let verdicts = thresholds::judge_noise(&cli.thresholds, &others.tally, &beside);
    let tables = [others_table(&others), late_table(&others), noise_table(&counts, phases.noise)].into_iter().chain(memory_table(&looks));
    Ok(Ended { tables: tables.chain(report::ends(&others.tally, &verdicts)).collect(), verdicts })
}

fn others_table(others: &Others) -> Table {
    let row = |operation: Operation| {
        let times = |part| others.tally.times(|o, outcome, p| o == operation && outcome == Outcome::Good && p == part);
        let (idle, noisy) = (times(Part::Idle), times(Part::Noisy));
        let bad = others.tally.times(|o, outcome, p| o == operation && outcome != Outcome::Good && p != Part::Between);
        let ratio = idle.quantile_ms(0.99).zip(noisy.quantile_ms(0.99)).map(|(idle, noisy)| noisy / idle);
        let three = |times: &Times| [0.5, 0.99, 1.0].map(|share| ms(times, share));
        let mut row = vec![operation.name().to_owned(), idle.count().to_string()];
        row.extend(three(&idle));
        row.push(noisy.count().to_string());
        row.extend(three(&noisy));
        row.extend([ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}")), bad.count().to_string()]);
        row
    };
    Table {
        title: "The others, before the noise and beside it",
        columns: vec![
            "",
            "good, idle",
            "p50, ms",
            "p99, ms",
            "max, ms",
            "good, noisy",
            "p50, ms",
            "p99, ms",
            "max, ms",
            "p99, noisy/idle",
            "not good",
        ],
        rows: [Operation::Me, Operation::Login].map(row).into(),
    }
}

fn late_table(others: &Others) -> Table {
    let row = |(name, part): (&str, Part)| {
        let late = others.late(part);
        vec![name.to_owned(), ms(&late, 0.5), ms(&late, 0.99), ms(&late, 1.0)]
    };
    Table {
        title: "Of that, requests sent late by the load generator",
        columns: vec!["", "p50, ms", "p99, ms", "max, ms"],
        rows: [("idle", Part::Idle), ("noisy", Part::Noisy)].map(row).into(),
    }
}

fn noise_table(counts: &BTreeMap<&'static str, Count>, length: Duration) -> Table {
    let mut all = Count::default();
    for count in counts.values() {
        all.merge(count);
    }
    let row = |name: &str, count: &Count| {
        let requests = count.times.count();
        let a_second = requests as f64 / length.as_secs_f64();
        vec![name.to_owned(), requests.to_string(), format!("{a_second:.1}"), ms(&count.times, 0.5), ms(&count.times, 0.99), count.told()]
    };
    Table {
        title: "The neighbour",
        columns: vec!["", "answers", "/s", "p50, ms", "p99, ms", "by status"],
        rows: counts.iter().map(|(name, count)| row(name, count)).chain([row("all", &all)]).collect(),
    }
}

/// None if it wasn't looked at.
fn memory_table(looks: &[Look]) -> Option<Table> {
    let row = |look: &Look| {
        let when = match look.moment {
            Moment::Start => "start",
            Moment::NoiseBegins => "after idle",
            Moment::During => "noise",
            Moment::Middle => "noise, middle",
            Moment::End => "noise, end",
        };
        vec![when.to_owned(), look.at.as_secs().to_string(), format!("{:.1}", look.kib as f64 / 1024.0)]
    };
    let rows: Vec<_> = looks.iter().map(row).collect();
    (!rows.is_empty()).then(|| Table { title: "Resident memory of the server", columns: vec!["", "after, s", "MiB"], rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbours_rows_end_with_their_sum() {
        let mut sign_ins = Count::default();
        for _ in 0..30 {
            sign_ins.add(Some(200), Duration::from_millis(10));
        }
        let mut codes = sign_ins.clone();
        codes.add(Some(429), Duration::from_millis(1));
        let table = noise_table(&BTreeMap::from([("sign-in", sign_ins), ("code, start", codes)]), Duration::from_secs(10));
        let seen: Vec<_> = table.rows.iter().map(|row| (&*row[0], &*row[1], &*row[2], &*row[5])).collect();
        let expected =
            [("code, start", "31", "3.1", "200: 30, 429: 1"), ("sign-in", "30", "3.0", "200: 30"), ("all", "61", "6.1", "200: 60, 429: 1")];
        assert_eq!(seen, expected);
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }

    #[test]
    fn every_row_has_all_its_columns() {
        let others = Others::new("http://127.0.0.1:4001".into(), Vec::new());
        others.tally.add(Operation::Me, Outcome::Good, Part::Idle, Duration::from_millis(2));
        others.tally.add(Operation::Me, Outcome::Good, Part::Noisy, Duration::from_millis(4));
        let looks = [Look { at: Duration::from_secs(23), moment: Moment::NoiseBegins, kib: 2048 }];
        let memory = memory_table(&looks).unwrap();
        assert_eq!(memory.rows, [["after idle", "23", "2.0"]]);
        assert!(memory_table(&[]).is_none());
        for table in [others_table(&others), late_table(&others), memory] {
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.title);
        }
        let table = others_table(&others);
        let me = &table.rows[0];
        assert_eq!((&*me[1], &*me[5], &*me[9], &*me[10]), ("1", "1", "2.00", "0"));
    }
}
