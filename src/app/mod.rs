//! The composition root: the only place that names concrete backends. `build` puts the parts together, `upkeep` is what goes
//! on beside the requests, `commands` are the command line's other verbs.

pub mod api_key;
mod build;
mod commands;
pub mod copy;
pub mod doctor;
pub mod import;
pub mod tenant;
mod ticker;
mod upkeep;

pub use commands::{migrate, openapi, rotate_keys, verify_audit};
pub use copy::copy;
pub use import::import;

use crate::{
    config::Settings,
    gateway::mailbox::{Kind, Mailbox},
    http::{self, peers::Exempt, server::ServerConfig},
    telemetry::Metrics,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Open requests have this long to finish after SIGTERM; messages being sent get what is left of it.
const DRAIN: Duration = Duration::from_secs(20);

/// How long `/readyz` says 503 before no more connections are taken; load balancers ask every second or two. A service on
/// the loopback address has none in front of it.
const ANNOUNCE: Duration = Duration::from_secs(4);

/// What is done by one process at a time is handed over within this time; else its leases end by themselves.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Why the service could not start or go on. The text is for the person at the terminal.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct AppError(String);

impl AppError {
    fn new(what: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl From<String> for AppError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Serves until `stop` is ready, then drains: readiness turns 503, open requests finish, messages in flight are handed over.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn serve(settings: &Settings, metrics: Metrics, stop: impl Future<Output = ()> + Send) -> Result<(), AppError> {
    if !settings.limits.on {
        tracing::warn!("QEETID_LIMITS=off: rate limits are lifted; this is for load tests only");
    }
    if !settings.trusted_proxies.is_empty() {
        tracing::info!(
            header = settings.proxy_header.name(),
            "trusted proxies name the client in this header, and in no other: QEETID_PROXY_HEADER"
        );
    }
    let parts = build::build(settings).await?;
    let bind = |addr| async move { TcpListener::bind(addr).await.map_err(|e| AppError::new(&format!("can't listen on {addr}"), e)) };
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr().map_err(|e| AppError::new("listening", e))?;
    let metrics_beside = match settings.metrics_listen {
        Some(addr) => Some(bind(addr).await?),
        None => None,
    };
    let upkeep = upkeep::start(&parts);
    let endpoint = http::endpoint(http::HttpParts {
        services: parts.services.clone(),
        mailbox: parts.mailbox.clone().map(shown),
        clock: parts.clock.clone(),
        rng: parts.rng.clone(),
        proxies: http::request::Proxies { trusted: settings.trusted_proxies.clone(), header: settings.proxy_header },
        https: settings.public_url.starts_with("https:"),
        cors_origins: settings.cors_origins.clone(),
        // Counts around a probe would tell who exists: on the API's port only while that can't be reached from outside, neither
        // directly nor through a proxy on this machine.
        metrics: (metrics_beside.is_none() && settings.is_private() && settings.trusted_proxies.is_empty()).then(|| renderer(&metrics)),
    });
    let exempt = if settings.limits.on { Exempt::loopback_and(&settings.trusted_proxies) } else { Exempt::Everybody };
    let config = ServerConfig { exempt, ..Default::default() };
    let beside = metrics_beside.map(|listener| {
        let endpoint = http::metrics_endpoint(renderer(&metrics));
        tokio::spawn(http::server::serve(listener, endpoint, config.clone(), std::future::pending()))
    });
    tracing::info!(%address, url = %settings.public_url, "listening");

    let (services, cluster) = (parts.services.clone(), parts.cluster.clone());
    let announce = if address.ip().is_loopback() { Duration::ZERO } else { ANNOUNCE };
    let began = tokio::sync::oneshot::channel();
    let stopping = async move {
        stop.await;
        tracing::info!("draining");
        services.start_draining();
        if let Some(cluster) = cluster {
            cluster.leave();
        }
        // Whoever sends requests here has to see the 503 of `/readyz` before the listener closes.
        let _ = began.0.send(tokio::time::Instant::now());
        tokio::time::sleep(announce).await;
    };
    let config = ServerConfig { drain: DRAIN - announce, ..config };
    let cut_off = http::server::serve(listener, endpoint, config, stopping).await;
    let until = began.1.await.unwrap_or_else(|_| tokio::time::Instant::now()) + DRAIN;
    let left = || until.saturating_duration_since(tokio::time::Instant::now()).max(Duration::from_secs(1));
    upkeep.stop(GIVE_BACK).await;
    if tokio::time::timeout(left(), parts.services.drain()).await.is_err() {
        tracing::warn!("rehashes were cut off; the next sign-in does them");
    }
    if !parts.outbox.stop(left()).await {
        tracing::warn!("messages were cut off while being sent; they are sent again after the next start");
    }
    if tokio::time::timeout(left(), parts.pool.stop()).await.is_err() {
        tracing::warn!("passwords that waited for the pool were cut off");
    }
    if let Some(cluster) = &parts.cluster {
        cluster.stop().await;
    }
    if let Some(task) = beside {
        task.abort();
    }
    tracing::info!(cut_off, "stopped");
    Ok(())
}

/// The development mailbox as its page shows it.
fn shown(mailbox: Arc<Mailbox>) -> http::devmailbox::Mailbox {
    Arc::new(move || {
        let sent = mailbox.list().into_iter().map(|e| http::devmailbox::Sent {
            id: e.id.to_string(),
            kind: match e.kind {
                Kind::Mail => "mail".to_owned(),
                Kind::Sms => "sms".to_owned(),
            },
            to: e.to,
            subject: e.subject,
            text: e.text,
            html: e.html,
            code: e.code,
            link: e.link,
            at: e.at,
        });
        sent.collect()
    })
}

fn renderer(metrics: &Metrics) -> http::MetricsText {
    let metrics = metrics.clone();
    Arc::new(move || metrics.render())
}
