//! What was measured: printed as it comes, kept beside the last run's, and told by how much it changed.

use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Less than this between two runs is never called a change.
const LEAST_CHANGE: f64 = 0.05;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One figure.
#[derive(Debug, Clone)]
pub struct Figure {
    pub section: &'static str,
    pub name: String,
    pub unit: &'static str,
    pub better: Better,
    /// One for each round; more than one where it can be had cheaply.
    pub rounds: Vec<f64>,
}

impl Figure {
    /// The one in the middle.
    pub fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// The least and the most of the rounds.
    fn range(&self) -> (f64, f64) {
        self.rounds.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)))
    }

    /// How far the rounds of this run lie apart, as a share of the median.
    pub fn spread(&self) -> f64 {
        let (least, most) = self.range();
        (most - least) / self.median().abs().max(f64::MIN_POSITIVE)
    }
}

/// The one in the middle, or the mean of the two there; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Book {
    pub figures: Vec<Figure>,
}

impl Book {
    /// Writes one down.
    pub fn add(&mut self, section: &'static str, name: &str, unit: &'static str, better: Better, rounds: Vec<f64>) {
        let figure = Figure { section, name: name.to_owned(), unit, better, rounds };
        println!("{:<58} {:>12} {unit:<4} {}", figure.name, number(figure.median()), of_rounds(&figure));
        self.figures.push(figure);
    }

    /// The middle of the figure called `name`; NaN if there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.figures.iter().find(|f| f.name == name).map_or(f64::NAN, Figure::median)
    }

    /// One table for each section.
    pub fn tables(&self, last: &Last) -> Vec<(&'static str, String)> {
        let mut sections: Vec<(&'static str, String)> = Vec::new();
        for figure in &self.figures {
            if sections.last().is_none_or(|(name, _)| *name != figure.section) {
                sections.push((figure.section, "| | | rounds from, to | last run |\n| --- | ---: | --- | --- |\n".into()));
            }
            let (_, table) = sections.last_mut().expect("one was just pushed");
            let name = &figure.name;
            let before = last.figures.get(name).map_or_else(String::new, |(median, _)| number(*median));
            let verdict = last.verdict(figure).map_or_else(String::new, |v| format!(" **{v}**"));
            let _ = writeln!(table, "| {name} | {} {} | {} | {before}{verdict} |", number(figure.median()), figure.unit, of_rounds(figure));
        }
        sections
    }

    /// To be compared with by the next run.
    pub fn to_json(&self, machine: &str) -> Value {
        let figures = self.figures.iter().map(|f| (f.name.clone(), json!({"median": f.median(), "spread": f.spread(), "unit": f.unit})));
        json!({"machine": machine, "figures": figures.collect::<serde_json::Map<_, _>>()})
    }
}

fn of_rounds(figure: &Figure) -> String {
    if figure.rounds.len() < 2 {
        return String::new();
    }
    let (least, most) = figure.range();
    format!("{} – {}", number(least), number(most))
}

/// With as many digits as mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v.is_nan() => "–".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The run before.
#[derive(Debug, Default)]
pub struct Last {
    machine: String,
    figures: BTreeMap<String, (f64, f64)>,
}

impl Last {
    /// From the file that a run leaves; an empty one if there is none.
    pub fn read(file: &Path) -> Self {
        let json: Value = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let figures = json["figures"].as_object().into_iter().flatten();
        let figures = figures.filter_map(|(name, f)| Some((name.clone(), (f["median"].as_f64()?, f["spread"].as_f64()?))));
        Self { machine: json["machine"].as_str().unwrap_or_default().to_owned(), figures: figures.collect() }
    }

    /// Whether it was on a machine like this one: else the figures say nothing of each other.
    pub fn compares(&self, machine: &str) -> bool {
        self.machine == machine
    }

    /// "slower by …" or "faster by …" where the difference is more than both runs' rounds lie apart.
    fn verdict(&self, figure: &Figure) -> Option<String> {
        let (before, spread) = *self.figures.get(&figure.name)?;
        let change = figure.median() / before - 1.0;
        let noise = LEAST_CHANGE.max(spread).max(figure.spread());
        if !change.is_finite() || change.abs() <= noise {
            return None;
        }
        let word = if (change > 0.0) == (figure.better == Better::Higher) { "better" } else { "worse" };
        Some(format!("{word} by {:.0} %", change.abs() * 100.0))
    }

    /// What got worse by more than the noise.
    pub fn worse(&self, book: &Book) -> Vec<String> {
        let all = book.figures.iter().filter_map(|f| Some((f, self.verdict(f)?)));
        all.filter(|(_, v)| v.starts_with("worse")).map(|(f, v)| format!("{}: {v}", f.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(rounds: &[f64]) -> Book {
        let mut book = Book::default();
        book.add("light", "refresh", "/s", Better::Higher, rounds.to_vec());
        book
    }

    #[test]
    fn a_change_is_told_when_it_is_more_than_the_noise_of_both_runs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("last.json");
        std::fs::write(&file, book(&[100.0, 104.0, 108.0]).to_json("m").to_string()).unwrap();
        let last = Last::read(&file);
        assert!(last.compares("m") && !last.compares("another"));
        assert_eq!(last.worse(&book(&[97.0, 98.0, 99.0])), Vec::<String>::new());
        assert_eq!(last.worse(&book(&[60.0, 90.0, 95.0])), Vec::<String>::new());
        assert_eq!(last.worse(&book(&[77.0, 78.0, 79.0])), ["refresh: worse by 25 %"]);
        assert!(book(&[208.0]).tables(&last)[0].1.contains("**better by 100 %**"));
        assert!(Last::read(&dir.path().join("none")).worse(&book(&[1.0])).is_empty());
    }
}
