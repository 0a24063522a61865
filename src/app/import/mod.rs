//! `qeetid import`: a file of any size, in constant memory; what stopped it doesn't matter, it goes on where it was.

mod progress;
mod rejects;
mod steps;

use super::{AppError, build};
use crate::{
    config::Settings,
    credentials::pool::Flow,
    domain::{
        ids::{RoleId, TenantId},
        network::Network,
        permission::Role,
        tenant::{Tenant, TenantKind},
    },
    service::import::{
        FirebaseParams, Rows, Source,
        batch::Importer,
        split::{Raw, Splitter},
    },
    sqlite::Memory,
    store::{Store, imports::ImportId},
};
use aws_lc_rs::digest::{Context, SHA256};
use progress::Progress;
use rejects::Rejects;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};
use steps::Steps;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct ImportOrder {
    /// The file.
    pub file: PathBuf,
    /// Whose export it is.
    pub source: Source,
    /// Whose members the users become: an id or a slug.
    pub tenant: String,
    /// Their role where the row names none: its name or id.
    pub role: String,
    /// Only look.
    pub dry_run: bool,
    /// Where refused rows go.
    pub rejects: Option<PathBuf>,
    /// Begin anew, though the file was imported (in part) before.
    pub restart: bool,
    /// Addresses that the source calls verified count as proved.
    pub trust_verified: bool,
    /// The project's hash parameters.
    pub firebase: Option<FirebaseParams>,
}

/// What became of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) created: u64,
    pub(super) refused: u64,
}

/// Imports; says what became of it.
///
/// # Errors
/// The file, the store or the rejects can't be read or written; the tenant takes no users; another import of the file runs.
pub async fn import(settings: &Settings, order: ImportOrder) -> Result<String, AppError> {
    if let Some(params) = &order.firebase {
        params.check()?;
    }
    let mut file = File::open(&order.file).map_err(|e| AppError::new(&order.file.display().to_string(), e))?;
    let parts = build::storage_with(settings, Memory::Bulk).await?;
    let tenant = tenant(&*parts.store, &order.tenant).await?;
    let id = identity(&order, tenant.id, &mut file)?;
    let role = role(&*parts.store, tenant.id, &order).await?;
    let importer = Importer {
        pool: build::start_pool(settings, parts.rng.clone())?,
        breach: build::breach(settings)?,
        clock: parts.clock.clone(),
        rng: parts.rng.clone(),
        tenant: tenant.id,
        policy: tenant.policy,
        names: vec![tenant.name, tenant.slug],
        role,
        trusted: order.trust_verified,
        flow: Flow { group: *tenant.id.as_bytes(), network: Network::of(std::net::Ipv4Addr::LOCALHOST.into()) },
    };
    let store_error = |e| AppError::new("store", e);
    if order.restart && !order.dry_run {
        parts.store.forget_import(id).await.map_err(store_error)?;
    }
    let before = if order.dry_run { None } else { parts.store.import_progress(id).await.map_err(store_error)? };
    if let Some(done) = before.as_ref().filter(|p| p.finished_at.is_some()) {
        return Ok(format!(
            "This file was imported before: {} users made, {} rows refused. --restart begins anew.",
            done.created, done.refused
        ));
    }
    let size = file.metadata().map(|m| m.len()).unwrap_or_default();
    let rejects = Rejects::open(order.rejects.as_deref(), before.is_some())?;
    let mut steps = Steps::new(parts.store, importer.clone(), id, before, rejects, order.dry_run);
    let mut progress = Progress::new(size, steps.next());
    let mut splitter = Splitter::new(order.source);
    let mut rows = Rows::new(order.source, order.firebase.clone());
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file.read(&mut buffer).map_err(|e| AppError::new(&order.file.display().to_string(), e))?;
        let mut raws: Vec<Raw> = Vec::new();
        if read == 0 {
            splitter.finish(&mut |raw| raws.push(raw));
        } else {
            splitter.feed(&buffer[..read], &mut |raw| raws.push(raw));
        }
        for raw in raws {
            steps.take(&raw, &mut rows).await?;
        }
        progress.show(read, steps.records(), steps.tally());
        if read == 0 {
            break;
        }
    }
    let tally = steps.finish().await?;
    progress.end();
    importer.pool.stop().await;
    let verb = if order.dry_run { "would be made" } else { "made" };
    Ok(format!("{} users {verb} in tenant {}, {} rows refused.", tally.created, tenant.id, tally.refused))
}

/// The import is that of this file's bytes for this tenant, whatever the file is called.
fn identity(order: &ImportOrder, tenant: TenantId, file: &mut File) -> Result<ImportId, AppError> {
    use std::io::Seek;
    let failed = |e| AppError::new(&order.file.display().to_string(), e);
    let mut sha = Context::new(&SHA256);
    sha.update(b"qeetid import 1\0");
    sha.update(tenant.as_bytes());
    sha.update(order.source.name().as_bytes());
    sha.update(b"\0");
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => sha.update(&buffer[..read]),
        }
    }
    file.rewind().map_err(failed)?;
    let mut id = [0; 32];
    id.copy_from_slice(sha.finish().as_ref());
    Ok(ImportId(id))
}

async fn tenant(store: &dyn Store, named: &str) -> Result<Tenant, AppError> {
    let tenant = super::tenant::existing(store, &named.trim().to_lowercase()).await?;
    match tenant.kind {
        TenantKind::Organization => Ok(tenant),
        TenantKind::Personal => Err(AppError::new("--tenant", "is a personal tenant: it has one member, its owner")),
    }
}

async fn role(store: &dyn Store, tenant: TenantId, order: &ImportOrder) -> Result<RoleId, AppError> {
    let own = store.roles(tenant).await.map_err(|e| AppError::new("store", e))?;
    let named = |r: &Role| r.name.eq_ignore_ascii_case(&order.role) || r.id.to_string() == order.role;
    let found = Role::system().into_iter().chain(own).find(named);
    found.map(|r| r.id).ok_or_else(|| AppError::new("--role", "the tenant has no such role"))
}

/// The signer key of a Firebase project, from a file.
///
/// # Errors
/// It can't be read.
pub fn signer_key(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map(|text| text.trim().to_owned()).map_err(|e| format!("{}: {e}", file.display()))
}
