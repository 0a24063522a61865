//! The command line's other verbs.

use super::{AppError, build, build::storage};
use crate::{
    config::Settings,
    domain::{
        ids::TenantId,
        jwt::{self, PUBLISH_AHEAD, TURN_LEEWAY},
        keyring::Label,
    },
    http,
    service::{
        chainer::{Broken, ChainReport, walk_all},
        keys::make_key,
    },
};
use std::{fmt::Write, time::Duration};

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
/// `revoke`: ends that key, stolen perhaps, on all nodes within a second, with all tokens that it has signed. If it is the one that signs now, the
/// new key signs at once, which verifiers elsewhere meet before they have read it.
///
/// # Errors
/// The store can't be opened, there is no such key, or the new one can't be made.
pub async fn rotate_keys(settings: &Settings, revoke: Option<&str>) -> Result<String, AppError> {
    let parts = storage(settings).await?;
    let failed = |e| AppError::new("store", e);
    let (now, keys) = (parts.clock.now(), parts.store.signing_keys().await.map_err(failed)?);
    if let Some(kid) = revoke
        && keys.iter().all(|key| key.kid != kid)
    {
        return Err(AppError::new("keys rotate --revoke", format!("there is no key {kid}: /.well-known/jwks.json has the ids")));
    }
    let terms = jwt::terms(&keys, now);
    let signer = jwt::signer(&terms, |term| term.signs_from, now).map(|term| &keys[term.index]);
    if let Some(signer) = signer
        && parts.keyring.open(Label::SigningKey, signer.kid.as_bytes(), &signer.sealed).is_err()
    {
        let problem = "this QEETID_SECRET doesn't open the key that signs now: the nodes have another one, and could not use what it seals";
        return Err(AppError::new("keys rotate", problem));
    }
    let signs_from = match signer {
        // At once also by clocks that are behind ours, and after the key that it replaces.
        Some(signer) if revoke == Some(&signer.kid) => now.minus(TURN_LEEWAY).max(signer.signs_from.plus(Duration::from_millis(1))),
        Some(_) => now.plus(PUBLISH_AHEAD),
        None => now,
    };
    let key = make_key(&parts.keyring, &*parts.rng, now, signs_from).map_err(|e| AppError::new("key", e))?;
    let new = key.kid.clone();
    // First the one that takes over: nodes that read between the two have one to sign with.
    parts.store.add_signing_key(key, false).await.map_err(failed)?;
    let mut said = format!("Key {new} signs from {signs_from} on.");
    if let Some(kid) = revoke {
        parts.store.revoke_signing_key(kid, now).await.map_err(failed)?;
        said += &format!(" Key {kid} is revoked: no token that it signed is good any more.");
    }
    Ok(said)
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
