//! The command line's other verbs.

use super::{AppError, build, build::storage};
use crate::{
    config::Settings,
    domain::{ids::TenantId, jwt::PUBLISH_AHEAD},
    http,
    service::{
        chainer::{Broken, ChainReport, walk_all},
        keys::make_key,
    },
};
use std::fmt::Write;

/// Brings the schema up to date; says so. Any number of nodes may do so at once.
///
/// # Errors
/// The store can't be opened or is of a newer version.
pub async fn migrate(settings: &Settings) -> Result<String, AppError> {
    // Counting reads all tenants: not at each start of a deployment.
    let without = if build::migrate(settings).await? { super::tenant::without_power(settings).await? } else { 0 };
    let more = if without == 0 {
        String::new()
    } else {
        format!(" Organizations without power over credentials: {without} (qeetid tenant list).")
    };
    Ok(format!("The schema is up to date.{more}"))
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

/// Walks the audit chains (of one tenant, or all): a line for each, with its head. The flag says whether all are whole.
///
/// # Errors
/// The store can't be opened or read.
pub async fn verify_audit(settings: &Settings, tenant: Option<TenantId>) -> Result<(String, bool), AppError> {
    let parts = storage(settings).await?;
    let reports = walk_all(&*parts.store, tenant).await.map_err(|e| AppError::new("store", e))?;
    let mut text = String::new();
    for report in &reports {
        // Writing into a String can't fail.
        let _ = writeln!(text, "{}", line(report));
    }
    if tenant.is_none() {
        let broken = reports.iter().filter(|r| r.broken.is_some()).count();
        let _ = writeln!(text, "{} chains, {broken} broken", reports.len());
    }
    Ok((text, reports.iter().all(|r| r.broken.is_none())))
}

fn line(report: &ChainReport) -> String {
    let tenant = report.tenant_id;
    let head: String = report.head.link.iter().map(|b| format!("{b:02x}")).collect();
    match &report.broken {
        None => format!("{tenant}: whole, {} events, {} wait for their link, head {head}", report.head.seq, report.unlinked),
        Some(Broken { seq, event, why }) => {
            let place = seq.map_or_else(String::new, |seq| format!(" at {seq}"));
            let event = event.map_or_else(String::new, |id| format!(" (event {id})"));
            format!("{tenant}: BROKEN{place}{event}: {why}")
        }
    }
}
