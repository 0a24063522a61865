//! The file of refused rows: one JSON object a line (`line`, `email`, `message`). Without one, the first few are shown.

use super::AppError;
use crate::service::import::Refusal;
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

/// How many are shown on the terminal.
const SHOWN: u32 = 20;

/// Where refused rows go.
pub(super) struct Rejects {
    file: Option<BufWriter<File>>,
    shown: u32,
}

fn failed(e: std::io::Error) -> AppError {
    AppError::new("--rejects", e)
}

impl Rejects {
    /// Opens the file; of an import that goes on, what is in it stays.
    pub(super) fn open(path: Option<&Path>, goes_on: bool) -> Result<Self, AppError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!goes_on);
        let file = path.map(|path| {
            let mut file = options.open(path).map_err(|e| AppError::new(&path.display().to_string(), e))?;
            file.seek(SeekFrom::End(0)).map_err(failed)?;
            Ok::<_, AppError>(BufWriter::new(file))
        });
        Ok(Self { file: file.transpose()?, shown: 0 })
    }

    /// Takes out what is about this line of the source or later ones, or was written in half: it is written again.
    pub(super) fn cut_from(&mut self, line: u64) -> Result<(), AppError> {
        let Some(writer) = &mut self.file else { return Ok(()) };
        writer.flush().map_err(failed)?;
        let file = writer.get_mut();
        file.rewind().map_err(failed)?;
        let mut kept = 0;
        let mut reader = BufReader::new(&mut *file);
        let mut text = String::new();
        while reader.read_line(&mut text).map_err(failed)? > 0 {
            let row: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if !text.ends_with('\n') || row["line"].as_u64().is_none_or(|l| l >= line) {
                break;
            }
            kept += text.len() as u64;
            text.clear();
        }
        file.set_len(kept).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(())
    }

    /// One more.
    pub(super) fn put(&mut self, r: &Refusal) -> Result<(), AppError> {
        let Some(file) = &mut self.file else {
            self.shown += 1;
            if self.shown <= SHOWN {
                eprintln!("line {}: {}", r.line, r.message);
            }
            if self.shown == SHOWN {
                eprintln!("(more are not shown: --rejects FILE writes them all)");
            }
            return Ok(());
        };
        let row = serde_json::json!({"line": r.line, "email": r.email, "message": r.message});
        writeln!(file, "{row}").map_err(failed)
    }

    /// What was put is with the system now, whatever becomes of this process.
    pub(super) fn flush(&mut self) -> Result<(), AppError> {
        self.file.as_mut().map_or(Ok(()), Write::flush).map_err(failed)
    }
}
