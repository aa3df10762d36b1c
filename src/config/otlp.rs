//! Where traces go.

use super::jwt::is_web_url;
use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::{Choice, quote};

/// The protocol of the collector, in the words of `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP.
    HttpProtobuf,
}

impl Choice for OtlpProtocol {
    const CHOICES: &'static [(&'static str, Self)] = &[("grpc", Self::Grpc), ("http/protobuf", Self::HttpProtobuf)];
}

/// The section `otlp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpSettings {
    /// `otlp.endpoint`: the collector's URL; no traces where unset.
    pub endpoint: Option<String>,
    /// `otlp.protocol`: of the collector.
    pub protocol: Option<OtlpProtocol>,
    /// `otlp.sample`: the share of traces that is kept, 0 to 1.
    pub sample: Option<f64>,
}

impl Section for OtlpSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.optional("otlp.endpoint", &mut self.endpoint);
        reader.optional("otlp.protocol", &mut self.protocol);
        reader.optional("otlp.sample", &mut self.sample);
    }

    fn validate(&self, checks: &mut Checks) {
        if let Some(endpoint) = &self.endpoint
            && !is_web_url(endpoint)
        {
            checks.fail(
                "otlp.endpoint",
                format!("{} is not an http:// or https:// URL", quote(endpoint)),
            );
        }
        if self.sample.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            checks.fail("otlp.sample", "is not a share from 0 to 1");
        }
    }
}
