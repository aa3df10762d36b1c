//! Traces as the settings say.

use super::failure::Failure;
use crate::config::{Config, OtlpProtocol};
use crate::session::Random;
use crate::telemetry::trace::{Exporting, Protocol, TraceSettings};
use crate::telemetry::{Metrics, Traces};

/// Begins to export, where a collector is named. To be called within a runtime.
pub(super) fn begin(config: &Config, metrics: &Metrics, random: &dyn Random) -> Result<(Traces, Exporting), Failure> {
    let Some(endpoint) = &config.otlp.endpoint else {
        return Ok((Traces::off(), Exporting::off()));
    };
    let mut seed = [0; 8];
    // Without randomness two servers draw alike, which harms nobody.
    let _ = random.fill(&mut seed);
    let settings = TraceSettings {
        endpoint: endpoint.clone(),
        protocol: match config.otlp.protocol {
            OtlpProtocol::Grpc => Protocol::Grpc,
            OtlpProtocol::HttpProtobuf => Protocol::HttpProtobuf,
        },
        sample: config.otlp.sample,
        headers: config.otlp.header_pairs(),
        ca_file: config.otlp.ca_file.clone(),
        server_id: config.server.server_id.clone(),
        seed: u64::from_be_bytes(seed),
    };
    tracing::info!(endpoint, sample = settings.sample, "traces are exported");
    Traces::export(&settings, metrics).map_err(Failure::Setting)
}
