//! From records to accounts, by source.

use super::{
    FirebaseParams, NewUser, Refusal, Source, qeet, sources,
    split::{Raw, Record},
    values::{Field, Object},
};
use serde_json::Value;

/// The file as a whole can't be read: the first line doesn't name the columns that it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFile(pub String);

/// Reads the records of one file, in their order.
pub struct Rows {
    source: Source,
    firebase: Option<FirebaseParams>,
    header: Option<Vec<String>>,
}

/// A row of CSV, by the names of its columns.
pub(super) struct Columns<'a> {
    pub(super) names: &'a [String],
    pub(super) cells: &'a [String],
}

impl<'a> Columns<'a> {
    /// The cell of a column; a blank one is none.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.names.iter().position(|n| n == name)?;
        self.cells.get(at).map(String::as_str).filter(|c| !c.trim().is_empty())
    }
}

/// One row of our own format.
///
/// # Errors
/// What is wrong with it.
pub fn row(line: u64, row: Value) -> Result<NewUser, Refusal> {
    let Value::Object(map) = row else { return Err(Refusal { line, email: None, message: "is not an object".into() }) };
    qeet::object(&Object(&map)).map_err(|message| Refusal { line, email: shown(map.get("email").and_then(Value::as_str)), message })
}

/// What a row says is its address, if it can be one.
pub fn shown(email: Option<&str>) -> Option<String> {
    email.filter(|e| e.len() <= 254 && !e.chars().any(char::is_control)).map(str::to_owned)
}

impl Rows {
    /// For a file of this source. Firebase's hashes need the project's parameters.
    pub fn new(source: Source, firebase: Option<FirebaseParams>) -> Self {
        Self { source, firebase, header: None }
    }

    /// What a record says; `None` for the header of a CSV file.
    ///
    /// # Errors
    /// The header lacks the column `email`.
    pub fn read(&mut self, raw: &Raw) -> Result<Option<Result<NewUser, Refusal>>, BadFile> {
        let refused = |email: Option<&str>, message: String| Ok(Some(Err(Refusal { line: raw.line, email: shown(email), message })));
        match &raw.record {
            Err(why) => refused(None, (*why).to_owned()),
            Ok(Record::Json(bytes)) => match serde_json::from_slice::<Value>(bytes) {
                // serde_json names a place and never repeats the text.
                Err(e) => refused(None, format!("is no JSON (column {} of the row)", e.column())),
                Ok(Value::Object(map)) => match self.object(&Object(&map)) {
                    Ok(user) => Ok(Some(Ok(user))),
                    Err(why) => refused(map.get("email").and_then(Value::as_str), why),
                },
                Ok(_) => refused(None, "is not an object".into()),
            },
            Ok(Record::Csv(cells)) => self.csv(cells, refused),
        }
    }

    fn object(&self, row: &Object<'_>) -> Field<NewUser> {
        match self.source {
            Source::Qeet => qeet::object(row),
            Source::Auth0 => sources::auth0::object(row),
            Source::Firebase => sources::firebase::object(row, self.firebase.as_ref()),
            Source::Cognito => Err("is not a row of CSV".into()),
            Source::Keycloak => sources::keycloak::object(row),
        }
    }

    fn csv(
        &mut self,
        cells: &[String],
        refused: impl Fn(Option<&str>, String) -> Result<Option<Result<NewUser, Refusal>>, BadFile>,
    ) -> Result<Option<Result<NewUser, Refusal>>, BadFile> {
        if self.source == Source::Firebase {
            return match sources::firebase::row(cells, self.firebase.as_ref()) {
                Ok(user) => Ok(Some(Ok(user))),
                Err(why) => refused(cells.get(1).map(String::as_str), why),
            };
        }
        let Some(names) = &self.header else {
            let names: Vec<_> = cells.iter().map(|c| c.trim().to_ascii_lowercase()).collect();
            if !names.iter().any(|n| n == "email") {
                return Err(BadFile("the first line does not name a column `email`".into()));
            }
            self.header = Some(names);
            return Ok(None);
        };
        let row = Columns { names, cells };
        let made = match self.source {
            _ if cells.len() > names.len() => Err("has more columns than the first line names".to_owned()),
            Source::Cognito => sources::cognito::row(&row),
            _ => qeet::row(&row),
        };
        match made {
            Ok(user) => Ok(Some(Ok(user))),
            Err(why) => refused(row.get("email"), why),
        }
    }
}
