//! The traffic listener's limits and whom it believes.

use std::num::NonZeroU32;

use ipnet::IpNet;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::quote;
use super::units::{ByteSize, Period};

/// The section `http`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSettings {
    /// `http.trusted_proxies`: whose `X-Forwarded-*` count; default nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// `http.max_body`: default 64 KiB.
    pub max_body: ByteSize,
    /// `http.timeout`: of one request; default 10 s.
    pub timeout: Period,
    /// `http.max_connections`: open at once; default 10,000.
    pub max_connections: NonZeroU32,
    /// `http.session_header`: whether `Authorization: Session <token>` is accepted beside the cookie; default true.
    pub session_header: bool,
    /// `http.cors_origins`: origins that may call from a browser; default none.
    pub cors_origins: Vec<String>,
    /// `http.throttle`: invalid tokens a minute and client address, 0 for no limit; default 60.
    pub throttle: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            max_body: ByteSize::from_bytes(64 << 10),
            timeout: Period::from_secs(10),
            max_connections: NonZeroU32::MIN.saturating_add(9_999),
            session_header: true,
            cors_origins: Vec::new(),
            throttle: 60,
        }
    }
}

impl Section for HttpSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("http.trusted_proxies", &mut self.trusted_proxies);
        reader.value("http.max_body", &mut self.max_body);
        reader.value("http.timeout", &mut self.timeout);
        reader.value("http.max_connections", &mut self.max_connections);
        reader.value("http.session_header", &mut self.session_header);
        reader.value("http.cors_origins", &mut self.cors_origins);
        reader.value("http.throttle", &mut self.throttle);
    }

    fn validate(&self, checks: &mut Checks) {
        if self.max_body.bytes() == 0 {
            checks.fail("http.max_body", "must be more than 0");
        }
        if self.timeout.is_zero() {
            checks.fail("http.timeout", "must be more than 0");
        }
        for origin in self.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            checks.fail(
                "http.cors_origins",
                format!("{} is not an origin such as https://example.com", quote(origin)),
            );
        }
    }
}

/// Whether the text is just what a browser sends in `Origin` (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}
