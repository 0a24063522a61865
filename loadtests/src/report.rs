//! The tables of a run: as text, and at the head of goose's report or as a page of their own.

use crate::{
    Run,
    tally::{Operation, Outcome, Tally, Times},
    thresholds::Verdict,
};
use std::{fmt::Write as _, fs, io, path::Path};

/// A heading, the names of the columns, the rows.
pub struct Table {
    pub title: &'static str,
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

pub fn ms(times: &Times, share: f64) -> String {
    times.quantile_ms(share).map_or_else(|| "–".into(), |ms| format!("{ms:.1}"))
}

/// Of a run of goose.
pub fn tables(run: &Run, verdicts: &[Verdict]) -> Vec<Table> {
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
    let operations = Table {
        title: "Operations",
        columns: vec!["", "good", "good/s", "p50, ms", "p99, ms", "refused for now", "p99, ms", "unexpected"],
        rows: run.tally.operations().into_iter().map(operation).collect(),
    };
    [operations].into_iter().chain(ends(&run.tally, verdicts)).collect()
}

/// What stands at the end of every report: the thresholds, and the unexpected answers if there are any.
pub fn ends(tally: &Tally, verdicts: &[Verdict]) -> Vec<Table> {
    let mut tables = vec![Table {
        title: "Thresholds",
        columns: vec!["", "limit", "this run", "verdict"],
        rows: verdicts
            .iter()
            .map(|v| vec![v.name.to_owned(), v.limit.clone(), v.seen.clone(), if v.passed { "kept" } else { "BROKEN" }.to_owned()])
            .collect(),
    }];
    let strange = tally.strange();
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
pub fn text(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables {
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
pub fn add(file: &Path, tables: &[Table]) -> io::Result<()> {
    let page = fs::read_to_string(file)?;
    let at = page.find("</h1>").map(|at| at + "</h1>".len());
    let (head, rest) = page.split_at(at.ok_or_else(|| io::Error::other("goose's report has no heading"))?);
    fs::write(file, format!("{head}{}{rest}", html(tables)))
}

/// Makes a page of them, for a run that goose has no report of.
pub fn page(file: &Path, title: &str, tables: &[Table]) -> io::Result<()> {
    let style = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}td:first-child{text-align:left}";
    let head =
        format!("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{style}</style></head>");
    fs::write(file, format!("{head}<body><h1>{title}</h1>{}\n</body></html>\n", html(tables)))
}

fn html(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables {
        let row = |tag: &str, cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{cells}</tr>")
        };
        let head = row("th", &table.columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        let rows: String = table.rows.iter().map(|cells| row("td", cells)).collect();
        let _ = write!(out, "\n<h2>{}</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>", table.title);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
