//! Pages of lists. A cursor is the position after which the next page begins, under an HMAC that also covers what list it
//! is of: it can't be changed, nor used on another list, tenant or filter.

use super::{
    Services,
    error::{Error, Result},
};
use crate::domain::keyring::{KeyId, Label};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Items of a page if nothing is said.
pub const DEFAULT: u32 = 50;
/// Items of a page at most.
pub const MAX: u32 = 200;
/// Bytes of the HMAC that a cursor carries: enough that nobody makes one up, whose only use would be to skip rows he may read.
const TAG: usize = 16;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 1..=[`MAX`].
    pub limit: u32,
    /// As a former page gave it.
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// For the next part; `None`: this was the last one.
    pub next: Option<String>,
}

impl Services {
    /// The position that a page's cursor stands for. `scope` names the list: route, tenant, filters.
    ///
    /// # Errors
    /// `InvalidCursor`.
    pub(super) fn position(&self, scope: &[&[u8]], page: &Page) -> Result<Option<Vec<u8>>> {
        let Some(text) = &page.cursor else { return Ok(None) };
        let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::InvalidCursor)?;
        let (key, rest) = raw.split_first_chunk::<4>().ok_or(Error::InvalidCursor)?;
        let (position, tag) = rest.split_last_chunk::<TAG>().ok_or(Error::InvalidCursor)?;
        let parts: Vec<&[u8]> = scope.iter().copied().chain([position]).collect();
        let right = self.keyring.mac(KeyId(*key), Label::Cursor, &parts).ok_or(Error::InvalidCursor)?;
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&right[..TAG], tag).is_ok();
        if same { Ok(Some(position.to_vec())) } else { Err(Error::InvalidCursor) }
    }

    pub(super) fn cursor(&self, scope: &[&[u8]], position: &[u8]) -> Result<String> {
        let key = self.keyring.current();
        let parts: Vec<&[u8]> = scope.iter().copied().chain([position]).collect();
        let tag = self.keyring.mac(key, Label::Cursor, &parts).ok_or_else(|| Error::Internal("no key".into()))?;
        Ok(URL_SAFE_NO_PAD.encode([&key.0[..], position, &tag[..TAG]].concat()))
    }

    /// Makes a page of what was read: one item more than asked for tells that there are more.
    pub(super) fn listed<T>(&self, scope: &[&[u8]], page: &Page, mut items: Vec<T>, position: impl Fn(&T) -> Vec<u8>) -> Result<Listed<T>> {
        let limit = page.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = match items.last().filter(|_| more) {
            Some(last) => Some(self.cursor(scope, &position(last))?),
            None => None,
        };
        Ok(Listed { items, next })
    }
}

/// A position that is an id.
pub(super) fn id_position(position: Option<Vec<u8>>) -> Result<Option<[u8; 16]>> {
    position.map(|p| p.try_into().map_err(|_| Error::InvalidCursor)).transpose()
}
