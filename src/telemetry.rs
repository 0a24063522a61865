//! Log, traces and metrics of the process: set up once, by `main`.

use crate::config::{LogFormat, Settings};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::{io::IsTerminal, time::Duration};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// The log, the traces or the metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry: {0}")]
pub struct TelemetryError(String);

impl TelemetryError {
    fn of(e: impl std::fmt::Display) -> Self {
        Self(e.to_string())
    }
}

/// Sends what is left of the traces when it is dropped, for at most two seconds.
#[must_use = "traces end when this is dropped"]
pub struct Tracing(Option<SdkTracerProvider>);

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            // The log may be gone by now, and a lost span must not keep the process from ending.
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        }
    }
}

/// Starts the log (on stderr), the traces if they have somewhere to go, and a panic hook that logs.
///
/// # Errors
/// The exporter can't be built, or a log was set up before.
pub fn start(settings: &Settings) -> Result<Tracing, TelemetryError> {
    let filter = EnvFilter::try_new(&settings.log).map_err(TelemetryError::of)?;
    let stderr = std::io::stderr;
    let log = match settings.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(stderr).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr).boxed(),
    };
    let provider = settings.otlp_endpoint.as_deref().map(traces).transpose()?;
    let spans = provider.as_ref().map(|p| {
        // Spans of the exporter's own HTTP client would be exported, and make spans.
        let quiet = EnvFilter::new("info,hyper=off,reqwest=off,h2=off,opentelemetry=off");
        tracing_opentelemetry::layer().with_tracer(p.tracer("qeetid")).with_filter(quiet)
    });
    tracing_subscriber::registry().with(log.with_filter(filter)).with(spans).try_init().map_err(TelemetryError::of)?;
    log_panics();
    Ok(Tracing(provider))
}

/// The other variables of OpenTelemetry (headers, service name, sampler) are read by its SDK.
fn traces(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter =
        SpanExporter::builder().with_http().with_endpoint(format!("{endpoint}/v1/traces")).build().map_err(TelemetryError::of)?;
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "qeetid".into());
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(name).build())
        .build())
}

/// A panic becomes one line of the log, with its place, instead of free text that a log reader can't take.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), "panic: {}", info.payload_as_str().unwrap_or("not a text"));
    }));
}

/// The counters, gauges and histograms of this process, for Prometheus.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// From half a millisecond (a plain read) past the longest deadline of a hash, in seconds.
const BUCKETS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// Makes this process record, and keeps the record small even if nobody reads it.
    ///
    /// # Errors
    /// A recorder was installed before.
    pub fn install() -> Result<Self, TelemetryError> {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS);
        let handle = builder.map_err(TelemetryError::of)?.install_recorder().map_err(TelemetryError::of)?;
        let upkeep = handle.clone();
        // Samples pile up until they are read or folded.
        let folding = move || {
            loop {
                std::thread::sleep(Duration::from_secs(5));
                upkeep.run_upkeep();
            }
        };
        std::thread::Builder::new().name("metrics".into()).spawn(folding).map_err(TelemetryError::of)?;
        describe();
        Ok(Self(handle))
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// The names that others may build on.
fn describe() {
    metrics::describe_gauge!("qeetid_hash_queue_depth", "Passwords that wait for the hashing pool");
    metrics::describe_histogram!("qeetid_hash_wait_seconds", metrics::Unit::Seconds, "Time a password waited for the pool");
    metrics::describe_histogram!("qeetid_hash_seconds", metrics::Unit::Seconds, "Time a password took in the pool");
    metrics::describe_counter!("qeetid_hash_shed_total", "Passwords refused unhashed because the pool was full or late");
    metrics::describe_counter!("qeetid_rehash_total", "Hashes made anew at today's parameters after a sign-in");
    metrics::describe_counter!(
        "qeetid_breach_check_total",
        "New passwords looked up in the breach corpus, by outcome; failed ones were let through"
    );
    metrics::describe_histogram!(
        "qeetid_store_statement_seconds",
        metrics::Unit::Seconds,
        "Time of a CQL statement by kind; conditional ones and serial reads are lightweight transactions"
    );
    metrics::describe_gauge!("qeetid_clock_ahead_seconds", metrics::Unit::Seconds, "How far this node's clock is ahead of the store's");
    metrics::describe_counter!("qeetid_upkeep_failures_total", "Loops beside the requests that panicked, and began anew");
    metrics::describe_counter!("qeetid_store_errors_total", "CQL statements that failed, by kind");
    metrics::describe_counter!("qeetid_store_conflicts_total", "Conditional writes refused because somebody else had written");
    metrics::describe_counter!("qeetid_store_maybe_total", "Conditional writes whose outcome had to be found out");
    metrics::describe_counter!("qeetid_store_refused_total", "CQL statements not sent because the store did not answer lately");
    metrics::describe_gauge!("qeetid_store_breaker_open", "1 while CQL statements are not sent");
    metrics::describe_gauge!("qeetid_cluster_members", "Nodes that own keys, as this one sees it, itself among them");
    metrics::describe_counter!("qeetid_cluster_local_total", "Turns at a key that this node owns, or that nobody else is there to want");
    metrics::describe_counter!("qeetid_sms_budget_refused_total", "Text messages that were refused because those of the day are used up");
    metrics::describe_counter!("qeetid_cluster_forwarded_total", "Turns at a key that another node owns, and gave");
    metrics::describe_counter!(
        "qeetid_cluster_fallback_total",
        "Commands that ran without a turn: the owner was gone, slow, busy, or not understood"
    );
    metrics::describe_counter!("qeetid_cluster_ring_moves_total", "How often nodes came or went, as this one sees it");
    metrics::describe_gauge!(
        "qeetid_duty_fence",
        "By duty, the number of this process's lease while it is the one that does it (it grows with each change of hands), else 0"
    );
    metrics::describe_gauge!("qeetid_outbox_pending", "Messages that wait to be sent");
    metrics::describe_gauge!("qeetid_outbox_parked", "Messages given up, with their error, until somebody looks");
    metrics::describe_counter!("qeetid_outbox_messages_total", "Deliveries by kind of message and outcome");
    metrics::describe_histogram!("qeetid_http_request_duration_seconds", metrics::Unit::Seconds, "Time from request to response");
    metrics::describe_counter!(
        "qeetid_connections_refused_total",
        "Connections closed at once, by reason: peer, because its network held a quarter of all"
    );
    metrics::describe_counter!("qeetid_http_internal_errors_total", "Answers of status 500, each of them a bug");
    metrics::describe_counter!("qeetid_refresh_reuse_total", "Refresh tokens that came a second time: their sessions ended");
    metrics::describe_counter!("qeetid_actor_failures_total", "Actors that failed, and were started anew");
    // A rate sees no increase in a series that begins with one: what an alert waits for is there from the start.
    for name in ["qeetid_http_internal_errors_total", "qeetid_refresh_reuse_total", "qeetid_actor_failures_total", "qeetid_hash_shed_total"]
    {
        metrics::counter!(name).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets_and_names_have_help() {
        let metrics = Metrics::install().unwrap();
        metrics::histogram!("qeetid_hash_seconds").record(0.02);
        metrics::gauge!("qeetid_hash_queue_depth").set(3.0);
        let text = metrics.render();
        assert!(text.contains("qeetid_hash_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert!(text.contains("qeetid_hash_seconds_bucket{le=\"0.01\"} 0"), "{text}");
        assert!(text.contains("# HELP qeetid_hash_queue_depth Passwords"), "{text}");
        assert!(text.contains("\nqeetid_http_internal_errors_total 0"), "its first increase is seen: {text}");
        assert!(Metrics::install().is_err(), "once only");
    }
}
