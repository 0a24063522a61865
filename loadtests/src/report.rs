//! The tables of a run: as text, and at the head of goose's report.

use crate::{
    Run,
    tally::{Operation, Outcome, Times},
    thresholds::Verdict,
};
use std::{fmt::Write as _, fs, io, path::Path};

/// A heading, the names of the columns, the rows.
struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn ms(times: &Times, share: f64) -> String {
    times.quantile_ms(share).map_or_else(|| "–".into(), |ms| format!("{ms:.1}"))
}

fn tables(run: &Run, verdicts: &[Verdict]) -> Vec<Table> {
    let seconds = run.plan.length().as_secs_f64();
    let operation = |operation: Operation| {
        let times = |which| run.tally.times(|o, outcome, _| o == operation && outcome == which);
        let (good, refused, strange) = (times(Outcome::Good), times(Outcome::Refused), times(Outcome::Unexpected));
        vec![
            operation.name().to_owned(),
            good.count().to_string(),
            format!("{:.1}", good.count() as f64 / seconds),
            ms(&good, 0.5),
            ms(&good, 0.99),
            refused.count().to_string(),
            ms(&refused, 0.99),
            strange.count().to_string(),
        ]
    };
    let mut tables = vec![
        Table {
            title: "Operations",
            columns: vec!["", "good", "good/s", "p50, ms", "p99, ms", "refused for now", "p99, ms", "unexpected"],
            rows: run.tally.operations().into_iter().map(operation).collect(),
        },
        Table {
            title: "Thresholds",
            columns: vec!["", "limit", "this run", "verdict"],
            rows: verdicts
                .iter()
                .map(|v| vec![v.name.to_owned(), v.limit.clone(), v.seen.clone(), if v.passed { "kept" } else { "BROKEN" }.to_owned()])
                .collect(),
        },
    ];
    let strange = run.strange();
    if !strange.is_empty() {
        tables.push(Table {
            title: "Unexpected answers",
            columns: vec!["", "what came", "times"],
            rows: strange
                .into_iter()
                .map(|((operation, what), times)| vec![operation.name().to_owned(), what, times.to_string()])
                .collect(),
        });
    }
    tables
}

/// For the terminal.
pub fn text(run: &Run, verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    for table in tables(run, verdicts) {
        let _ = writeln!(out, "\n{}", table.title);
        let heads = table.columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let width = |n: usize| table.rows.iter().chain([&heads]).map(|row| row[n].chars().count()).max().unwrap_or(0);
        for row in [&heads].into_iter().chain(&table.rows) {
            let cells = row.iter().enumerate().map(|(n, cell)| {
                let pad = " ".repeat(width(n) - cell.chars().count());
                if n == 0 { format!("  {cell}{pad}") } else { format!("  {pad}{cell}") }
            });
            let _ = writeln!(out, "{}", cells.collect::<String>().trim_end());
        }
    }
    out
}

/// Puts them under the heading of the report that goose wrote.
pub fn add(file: &Path, run: &Run, verdicts: &[Verdict]) -> io::Result<()> {
    let page = fs::read_to_string(file)?;
    let at = page.find("</h1>").map(|at| at + "</h1>".len());
    let (head, rest) = page.split_at(at.ok_or_else(|| io::Error::other("goose's report has no heading"))?);
    fs::write(file, format!("{head}{}{rest}", html(run, verdicts)))
}

fn html(run: &Run, verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    for table in tables(run, verdicts) {
        let row = |tag: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{cells}</tr>")
        };
        let head = row("th", table.columns.iter().map(|c| (*c).to_owned()).collect());
        let rows: String = table.rows.into_iter().map(|cells| row("td", cells)).collect();
        let _ = write!(out, "\n<h2>{}</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>", table.title);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
