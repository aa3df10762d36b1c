//! Which requests are traced: those whose caller traces them, and a share of those whose caller says nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::Traces;
use super::span::ServerSpan;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Odd, and without a pattern in its bits: the increment of the generator `SplitMix64`.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A share of the requests, drawn by chance.
#[derive(Debug)]
pub(super) struct Sample {
    /// Draws below it are in.
    threshold: u64,
    all: bool,
    state: AtomicU64,
}

impl Sample {
    /// A share from 0 to 1.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the numbers there are; a cast to an integer ends at its limits"
        )]
        let threshold = (share * u64::MAX as f64) as u64;
        Self {
            threshold,
            all: share >= 1.0,
            state: AtomicU64::new(seed),
        }
    }

    fn draw(&self) -> bool {
        let state = self.state.fetch_add(INCREMENT, Ordering::Relaxed);
        self.all || mixed(state) < self.threshold
    }
}

/// Makes a number of which every bit depends on every bit of a counter (`SplitMix64`).
fn mixed(state: u64) -> u64 {
    let mut bits = state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A request that is to be traced.
#[derive(Debug)]
pub struct Picked {
    pub(super) traces: Traces,
    /// The caller's context, or an empty one.
    pub(super) parent: Context,
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Traces {
    /// Decides whether a request is traced. A caller that traces it, or does not, decides (parent based); else a draw.
    pub fn pick(&self, headers: &HeaderMap) -> Option<Picked> {
        let inner = self.0.as_deref()?;
        let parent = if headers.contains_key(TRACEPARENT) {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
        } else {
            Context::new()
        };
        let picked = if parent.has_active_span() {
            parent.span().span_context().is_sampled()
        } else {
            inner.sample.draw()
        };
        picked.then(|| Picked {
            traces: self.clone(),
            parent,
        })
    }
}

impl Picked {
    /// Begins the request's span.
    pub fn begin(self, method: &http::Method, route: Option<&str>) -> ServerSpan {
        ServerSpan::begin(&self, method, route, None)
    }

    /// The whole span of a request that took so long and is answered now.
    pub fn record(&self, method: &http::Method, route: &str, status: http::StatusCode, took: Duration) {
        #[expect(
            clippy::disallowed_methods,
            reason = "spans tell the time of the day, and decide nothing"
        )]
        let now = SystemTime::now();
        let begun = now.checked_sub(took).unwrap_or(now);
        ServerSpan::begin(self, method, Some(route), Some(begun)).end(status);
    }
}

impl ServerSpan {
    /// Runs the work of the request within its span.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(self.context().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn() {
        for (share, least, most) in [
            (0.0, 0, 0),
            (0.01, 800, 1_200),
            (0.5, 49_000, 51_000),
            (1.0, 100_000, 100_000),
        ] {
            let sample = Sample::new(share, 42);
            let drawn = (0..100_000).filter(|_| sample.draw()).count();
            assert!((least..=most).contains(&drawn), "{share}: {drawn}");
        }
    }
}
