//! `?limit=` and `?cursor=` of lists.

use super::errors::ApiError;
use crate::service::page::{DEFAULT, MAX, Page};
use std::collections::BTreeMap;

/// A cursor as it came: opaque.
pub type Cursor = String;

/// The page asked for.
///
/// # Errors
/// 422 for a limit that isn't 1 to 200.
pub fn page(limit: Option<u32>, cursor: Option<Cursor>) -> Result<Page, ApiError> {
    let limit = limit.unwrap_or(DEFAULT);
    if !(1..=MAX).contains(&limit) {
        return Err(ApiError::fields(BTreeMap::from([("limit".to_owned(), format!("must be from 1 to {MAX}"))])));
    }
    Ok(Page { limit, cursor: cursor.filter(|c| !c.is_empty()) })
}
