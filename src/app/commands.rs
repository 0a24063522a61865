//! The command line's other verbs.

use super::{AppError, build::storage};
use crate::{config::Settings, domain::jwt::PUBLISH_AHEAD, http, service::keys::make_key};

/// Brings the schema up to date; says so.
///
/// # Errors
/// The store can't be opened or is of a newer version.
pub async fn migrate(settings: &Settings) -> Result<String, AppError> {
    storage(settings).await?;
    Ok("The schema is up to date.".into())
}

/// Adds a signing key. It is in the JWKS at once (of each running node within half a minute) and signs ten minutes later;
/// the one before it stays in the JWKS for half an hour after that.
///
/// # Errors
/// The store can't be opened, or the key not be made.
pub async fn rotate_keys(settings: &Settings) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let now = parts.clock.now();
    let first = parts.store.signing_keys().await.map_err(|e| AppError::new("store", e))?.is_empty();
    let signs_from = if first { now } else { now.plus(PUBLISH_AHEAD) };
    let key = make_key(&parts.keyring, &*parts.rng, now, signs_from).map_err(|e| AppError::new("key", e))?;
    let kid = key.kid.clone();
    parts.store.add_signing_key(key, false).await.map_err(|e| AppError::new("store", e))?;
    Ok(format!("Key {kid} signs from {signs_from} on."))
}

/// The OpenAPI document.
pub fn openapi() -> String {
    http::openapi::document()
}
