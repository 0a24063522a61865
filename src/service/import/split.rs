//! Records out of a stream of bytes: lines of JSON, elements of an array (of the whole file, or of `users` in an object), rows of
//! CSV (RFC 4180). Memory is bounded by one record; one that is longer is refused without being kept.

use super::{
    Source,
    json::{Json, Step},
};

/// The longest record, in bytes; a row with the most metadata has a quarter of it.
pub const MAX_RECORD: usize = 64 * 1024;
/// The most columns of a row.
const MAX_COLUMNS: usize = 512;

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A JSON text.
    Json(Vec<u8>),
    /// The fields of a row.
    Csv(Vec<String>),
}

/// A record, or why it is none, and the line on which it begins (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// Where it begins.
    pub line: u64,
    /// What it is.
    pub record: Result<Record, &'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Unknown,
    Lines,
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Start,
    Plain,
    Quoted,
    /// A quote within a quoted cell: its end, or half of a pair.
    Quote,
    /// Malformed, or too long: the rest of the line is passed over.
    Lost,
}

/// Cuts what it is fed into records.
pub struct Splitter {
    source: Source,
    shape: Shape,
    json: Json,
    /// The record so far; of CSV as it came, quotes and all.
    raw: Vec<u8>,
    too_long: bool,
    /// Of the next byte, and of the record's first one.
    line: u64,
    began: u64,
    cell: Cell,
    cells: Vec<Vec<u8>>,
    /// Bytes of a byte order mark seen so far.
    mark: usize,
}

const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
const TOO_LONG: &str = "is longer than 64 KiB";

impl Splitter {
    /// For a file of this source.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            shape: Shape::Unknown,
            json: Json::default(),
            raw: Vec::new(),
            too_long: false,
            line: 1,
            began: 1,
            cell: Cell::Start,
            cells: Vec::new(),
            mark: 0,
        }
    }

    /// Takes the next bytes; gives what they complete to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut impl FnMut(Raw)) {
        for byte in bytes {
            self.byte(*byte, out);
            if *byte == b'\n' {
                self.line += 1;
            }
        }
    }

    /// There is no more.
    pub fn finish(&mut self, out: &mut impl FnMut(Raw)) {
        match self.shape {
            Shape::Unknown => {}
            Shape::Lines => self.end_line(out),
            Shape::Json => {
                if self.json.is_open() {
                    out(Raw { line: self.began, record: Err("is cut off: the JSON has no end") });
                }
            }
            Shape::Csv => {
                while self.cell == Cell::Quoted {
                    self.unclosed(out);
                }
                self.end_row(out);
            }
        }
    }

    /// Bytes of records that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.raw.capacity() + self.cells.iter().map(Vec::capacity).sum::<usize>()
    }

    fn byte(&mut self, byte: u8, out: &mut impl FnMut(Raw)) {
        match self.shape {
            Shape::Unknown => {
                if self.mark < 3 && byte == MARK[self.mark] {
                    self.mark += 1;
                } else if !byte.is_ascii_whitespace() {
                    self.shape = self.shape_of(byte);
                    self.began = self.line;
                    self.byte(byte, out);
                }
            }
            Shape::Lines if byte == b'\n' => self.end_line(out),
            Shape::Lines => {
                if self.raw.is_empty() {
                    self.began = self.line;
                }
                self.keep(byte);
            }
            Shape::Json => self.json_byte(byte, out),
            Shape::Csv => self.csv_byte(byte, out),
        }
    }

    fn shape_of(&self, byte: u8) -> Shape {
        match (byte, self.source) {
            (b'[', _) | (b'{', Source::Firebase | Source::Keycloak) => Shape::Json,
            (b'{', _) | (_, Source::Auth0 | Source::Keycloak) => Shape::Lines,
            _ => Shape::Csv,
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.raw.len() >= MAX_RECORD {
            self.too_long = true;
            // One byte stays, so that the record is not taken for an empty one.
            self.raw.truncate(1);
        }
        if !self.too_long {
            self.raw.push(byte);
        }
    }

    fn take(&mut self) -> Result<Vec<u8>, &'static str> {
        let raw = std::mem::take(&mut self.raw);
        if std::mem::take(&mut self.too_long) { Err(TOO_LONG) } else { Ok(raw) }
    }

    fn end_line(&mut self, out: &mut impl FnMut(Raw)) {
        if self.raw.iter().any(|b| !b.is_ascii_whitespace()) || self.too_long {
            let line = self.began;
            out(Raw { line, record: self.take().map(Record::Json) });
        }
        self.raw.clear();
    }

    fn json_byte(&mut self, byte: u8, out: &mut impl FnMut(Raw)) {
        match self.json.step(byte) {
            Step::Between => {}
            Step::Begin => {
                self.began = self.line;
                self.keep(byte);
            }
            Step::Within => self.keep(byte),
            Step::End => {
                let line = self.began;
                out(Raw { line, record: self.take().map(Record::Json) });
            }
            Step::Garbage => out(Raw { line: self.line, record: Err("is no JSON: nothing after it can be read") }),
        }
    }

    fn csv_byte(&mut self, byte: u8, out: &mut impl FnMut(Raw)) {
        if self.raw.is_empty() && self.cell != Cell::Lost {
            self.began = self.line;
        }
        if self.cell == Cell::Lost {
            if byte == b'\n' {
                self.reset_row();
            }
            return;
        }
        if self.raw.len() >= MAX_RECORD {
            if self.cell == Cell::Quoted {
                self.unclosed(out);
                return self.csv_byte(byte, out);
            }
            return self.lose(TOO_LONG, byte, out);
        }
        self.raw.push(byte);
        match (self.cell, byte) {
            (Cell::Start, b'"') => {
                self.cells.push(Vec::new());
                self.cell = Cell::Quoted;
            }
            (Cell::Quoted, b'"') => self.cell = Cell::Quote,
            (Cell::Quote, b'"') => {
                self.cell = Cell::Quoted;
                self.push(byte);
            }
            (Cell::Quoted, _) => self.push(byte),
            (Cell::Start, b',') => self.cells.push(Vec::new()),
            (Cell::Plain | Cell::Quote, b',') => self.cell = Cell::Start,
            (_, b'\n') => return self.end_row(out),
            (Cell::Quote, b'\r') => {}
            // It was closed by the first quote of a later line.
            (Cell::Quote, _) if self.raw.contains(&b'\n') => return self.unclosed(out),
            (Cell::Quote, _) => return self.lose("has text after a closing quote", byte, out),
            (Cell::Start, _) => {
                self.cells.push(vec![byte]);
                self.cell = Cell::Plain;
            }
            (Cell::Plain | Cell::Lost, _) => self.push(byte),
        }
        if self.cells.len() > MAX_COLUMNS {
            self.lose("has too many columns", byte, out);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(cell) = self.cells.last_mut() {
            cell.push(byte);
        }
    }

    fn reset_row(&mut self) {
        self.raw.clear();
        self.cells.clear();
        self.cell = Cell::Start;
    }

    fn lose(&mut self, why: &'static str, byte: u8, out: &mut impl FnMut(Raw)) {
        out(Raw { line: self.began, record: Err(why) });
        self.reset_row();
        if byte != b'\n' {
            self.cell = Cell::Lost;
        }
    }

    fn end_row(&mut self, out: &mut impl FnMut(Raw)) {
        let blank = self.raw.iter().all(u8::is_ascii_whitespace);
        if !blank && self.cell != Cell::Lost {
            if self.cell == Cell::Start {
                self.cells.push(Vec::new());
            }
            if self.cell == Cell::Plain
                && let Some(last) = self.cells.last_mut()
                && last.last() == Some(&b'\r')
            {
                last.pop();
            }
            let cells = std::mem::take(&mut self.cells).into_iter().map(|c| String::from_utf8(c).map_err(|_| "is not UTF-8"));
            out(Raw { line: self.began, record: cells.collect::<Result<_, _>>().map(Record::Csv) });
        }
        self.reset_row();
    }

    /// A quote that is never closed swallows all that follows. Its line is refused, and what follows is read once more, from the
    /// next line on. Quotes close each other, so no byte is read again more than a few times.
    fn unclosed(&mut self, out: &mut impl FnMut(Raw)) {
        let (raw, began, line) = (std::mem::take(&mut self.raw), self.began, self.line);
        out(Raw { line: began, record: Err("has a quote that is never closed") });
        self.reset_row();
        match raw.iter().position(|b| *b == b'\n') {
            Some(end) => {
                self.line = began + 1;
                self.feed(&raw[end + 1..], out);
                self.line = line;
            }
            None => self.cell = Cell::Lost,
        }
    }
}
