//! Where traces go.

use std::path::PathBuf;

use super::jwt::is_web_url;
use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::{Secret, SecretRing, Sourced};
use super::setting::{Choice, quote};

/// The protocol of the collector, in the words of `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protocol buffers over HTTP.
    HttpProtobuf,
}

impl Choice for OtlpProtocol {
    const CHOICES: &'static [(&'static str, Self)] = &[("grpc", Self::Grpc), ("http/protobuf", Self::HttpProtobuf)];
}

/// The section `otlp`.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// `otlp.endpoint`: the collector's URL; no traces where unset.
    pub endpoint: Option<String>,
    /// `otlp.protocol`: of the collector; default `grpc`.
    pub protocol: OtlpProtocol,
    /// `otlp.sample`: the share of requests that is traced where their caller does not say, 0 to 1; default 0.01.
    pub sample: f64,
    /// `otlp.headers`: what the collector wants, each as `name=value`; secret, for a key is what it mostly is.
    pub headers: Option<SecretRing>,
    /// `otlp.ca_file`: authorities of the collector's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::default(),
            sample: 0.01,
            headers: None,
            ca_file: None,
        }
    }
}

impl OtlpSettings {
    /// The headers as names and values.
    pub fn header_pairs(&self) -> Vec<(String, String)> {
        let headers = self.headers.iter().flat_map(Sourced::value);
        headers
            .filter_map(|header| header.expose().split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect()
    }
}

impl Section for OtlpSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.optional("otlp.endpoint", &mut self.endpoint);
        reader.value("otlp.protocol", &mut self.protocol);
        reader.value("otlp.sample", &mut self.sample);
        reader.secret("otlp.headers", &mut self.headers, are_headers);
        reader.optional("otlp.ca_file", &mut self.ca_file);
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
        if !(0.0..=1.0).contains(&self.sample) {
            checks.fail("otlp.sample", "is not a share from 0 to 1");
        }
    }
}

#[expect(clippy::ptr_arg, reason = "the rule of a secret takes what the secret is")]
fn are_headers(headers: &Vec<Secret>) -> Result<(), String> {
    let is_header = |header: &Secret| {
        let named = header.expose().split_once('=');
        named.is_some_and(|(name, value)| {
            http::HeaderName::try_from(name.trim()).is_ok() && http::HeaderValue::try_from(value.trim()).is_ok()
        })
    };
    if headers.iter().all(is_header) {
        Ok(())
    } else {
        Err("is not a list of headers, each as name=value".to_owned())
    }
}
