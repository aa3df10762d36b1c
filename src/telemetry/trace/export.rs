//! How spans leave: through a bounded queue, in batches, by a task of their own. A collector that is slow or away costs
//! spans, which are counted, and nothing else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use opentelemetry_semantic_conventions::attribute::{SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Traces;
use super::sample::Sample;
use crate::telemetry::Metrics;

/// How many spans may wait; about 4 MiB.
const QUEUE: usize = 4096;
/// How many leave together.
const BATCH: usize = 512;
/// How long a batch waits for more.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the collector is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP.
    HttpProtobuf,
}

/// Where traces go.
#[derive(Clone)]
pub struct TraceSettings {
    /// The collector's URL. For HTTP, `/v1/traces` is appended where it has no path.
    pub endpoint: String,
    /// What it is spoken to by.
    pub protocol: Protocol,
    /// The share of requests that is traced where their caller does not say.
    pub sample: f64,
    /// Headers that the collector wants, such as a key.
    pub headers: Vec<(String, String)>,
    /// Authorities of the collector's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// This server.
    pub server_id: String,
    /// Where the draws begin.
    pub seed: u64,
}

/// The task that exports.
pub struct Exporting(Option<(JoinHandle<()>, SdkTracerProvider)>);

impl Exporting {
    /// None.
    pub fn off() -> Self {
        Self(None)
    }

    /// Exports what waits, and ends. Spans that are made later are lost.
    pub async fn flush(self, limit: Duration) {
        let Some((task, provider)) = self.0 else { return };
        // The processor lets go of the queue, and the task ends when it is empty.
        let _ = provider.shutdown();
        if timeout(limit, task).await.is_err() {
            tracing::warn!("the collector did not take the last traces in time");
        }
    }
}

impl Traces {
    /// Begins to export. To be called within a runtime. Fails where the settings cannot be used; whether the collector is
    /// there, only exporting shows.
    pub fn export(settings: &TraceSettings, metrics: &Metrics) -> Result<(Self, Exporting), String> {
        let mut exporter = exporter(settings)?;
        let resource = resource(&settings.server_id);
        exporter.set_resource(&resource);
        let queue = Arc::new(Queue::default());
        let outcome = |outcome| metrics.spans.with_label_values(&[outcome]);
        let queued = Queued {
            queue: Arc::clone(&queue),
            dropped: outcome("dropped"),
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            // What is not to be traced never comes here.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(queued)
            .build();
        let traces = Self::new(
            provider.tracer("cloakroom"),
            Sample::new(settings.sample, settings.seed),
        );
        let export = Export {
            exporter,
            exported: outcome("exported"),
            failed: outcome("failed"),
            failing: false,
        };
        let task = tokio::spawn(export.run(queue));
        Ok((traces, Exporting(Some((task, provider)))))
    }
}

fn exporter(settings: &TraceSettings) -> Result<SpanExporter, String> {
    let ca = match &settings.ca_file {
        Some(path) => Some(std::fs::read(path).map_err(|error| format!("otlp.ca_file {}: {error}", path.display()))?),
        None => None,
    };
    let built = match settings.protocol {
        Protocol::Grpc => {
            let headers: http::HeaderMap = header_map(&settings.headers)?;
            let mut builder = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&settings.endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .with_metadata(MetadataMap::from_headers(headers));
            if settings.endpoint.starts_with("https://") {
                let tls = ClientTlsConfig::new();
                builder = builder.with_tls_config(match &ca {
                    Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
                    None => tls.with_native_roots(),
                });
            }
            builder.build()
        }
        Protocol::HttpProtobuf => {
            let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            if let Some(ca) = &ca {
                let certificates = reqwest::Certificate::from_pem_bundle(ca)
                    .map_err(|error| format!("otlp.ca_file: no certificate that can be read: {error}"))?;
                client = client.tls_certs_only(certificates);
            }
            let client = client
                .build()
                .map_err(|error| format!("otlp: no HTTP client: {error}"))?;
            let headers: HashMap<_, _> = settings.headers.iter().cloned().collect();
            SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_endpoint(for_http(&settings.endpoint))
                .with_timeout(EXPORT_TIMEOUT)
                .with_headers(headers)
                .build()
        }
    };
    built.map_err(|error| format!("otlp.endpoint: {error}"))
}

fn header_map(headers: &[(String, String)]) -> Result<http::HeaderMap, String> {
    let pairs = headers.iter().map(|(name, value)| {
        let name = http::HeaderName::try_from(name).map_err(|_| format!("otlp.headers: {name} is no header name"))?;
        let value = http::HeaderValue::try_from(value).map_err(|_| format!("otlp.headers: {name}: not a value"))?;
        Ok((name, value))
    });
    pairs.collect()
}

/// OTLP over HTTP: the signal's path is appended to an endpoint without one.
fn for_http(endpoint: &str) -> String {
    let after_host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match after_host.split_once('/') {
        Some((_, path)) if !path.is_empty() => endpoint.to_owned(),
        _ => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
    }
}

/// What is known of this server; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word.
fn resource(server_id: &str) -> Resource {
    let told = Resource::builder().build();
    let own = [
        KeyValue::new(SERVICE_NAME, "cloakroom"),
        KeyValue::new(SERVICE_INSTANCE_ID, server_id.to_owned()),
        KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    let unknown = |name: &str| {
        let value = told.get(&opentelemetry::Key::from(name.to_owned()));
        value.is_none_or(|value| value.as_str().starts_with("unknown_service"))
    };
    let missing = own.into_iter().filter(|own| unknown(own.key.as_str()));
    Resource::builder().with_attributes(missing).build()
}

/// Finished spans on their way. Not a channel, which would wake the exporting task for each of them: at one request of a
/// hundred that cost more than all the rest of tracing.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is a whole batch, or no more will come.
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: Vec<SpanData>,
    closed: bool,
}

impl Queue {
    /// False where it is full or closed.
    fn push(&self, span: SpanData) -> bool {
        let mut waiting = self.waiting.lock();
        let has_room = !waiting.closed && waiting.spans.len() < QUEUE;
        if has_room {
            waiting.spans.push(span);
            if waiting.spans.len() == BATCH {
                self.ready.notify_one();
            }
        }
        has_room
    }

    fn close(&self) {
        self.waiting.lock().closed = true;
        self.ready.notify_one();
    }

    /// What waits; nothing once it is closed and empty.
    fn take(&self) -> Option<Vec<SpanData>> {
        let mut waiting = self.waiting.lock();
        let spans = std::mem::take(&mut waiting.spans);
        (!spans.is_empty() || !waiting.closed).then_some(spans)
    }
}

/// Puts finished spans into the queue, and never waits.
#[derive(Debug)]
struct Queued {
    queue: Arc<Queue>,
    dropped: IntCounter,
}

impl SpanProcessor for Queued {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !self.queue.push(span) {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.queue.close();
        Ok(())
    }
}

struct Export {
    exporter: SpanExporter,
    exported: IntCounter,
    failed: IntCounter,
    failing: bool,
}

impl Export {
    /// Until the queue is closed and empty.
    async fn run(mut self, queue: Arc<Queue>) {
        while let Some(mut spans) = queue.take() {
            while !spans.is_empty() {
                let rest = spans.split_off(spans.len().min(BATCH));
                self.export(spans).await;
                spans = rest;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = queue.ready.notified() => {}
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let outcome = timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await;
        let error = match outcome {
            Ok(Ok(())) => {
                self.exported.inc_by(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the collector takes traces again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {EXPORT_TIMEOUT:?}"),
        };
        self.failed.inc_by(count);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "traces cannot be exported: they are lost until they can");
        }
    }
}
