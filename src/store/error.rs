//! Store failures.

use crate::domain::context::Seed;

/// Whether a write that failed may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Nothing was written.
    CertainlyNot,
    /// Unknown: the actor that asked stops, and its successor reads again.
    Maybe,
    /// Nothing was written now. Another run of the same request did it, with this seed: so has the next one to begin.
    AnotherRun(Seed),
}

/// The store could not do it. Callers answer 503; the text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store: {detail}")]
pub struct StoreError {
    /// Did it happen?
    pub certainty: Certainty,
    /// For the log: no secrets, no personal data.
    pub detail: String,
}

impl StoreError {
    /// Nothing was written.
    pub fn certainly_not(detail: impl std::fmt::Display) -> Self {
        Self { certainty: Certainty::CertainlyNot, detail: detail.to_string() }
    }
    /// It was written by another run of the request.
    pub fn another_run(seed: Seed) -> Self {
        Self { certainty: Certainty::AnotherRun(seed), detail: "another run of the request did it".into() }
    }
    /// It may have been written.
    pub fn maybe(detail: impl std::fmt::Display) -> Self {
        Self { certainty: Certainty::Maybe, detail: detail.to_string() }
    }
}
