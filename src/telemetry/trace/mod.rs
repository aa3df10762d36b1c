//! Traces: spans of requests, of scripts in Redis and of invalidations, exported by OTLP.
//!
//! Whether a request is traced is decided once, at its beginning. Where it is not, it costs a look at one header and a
//! draw; nothing is made, and nothing is added to what is sent to Redis. Where it is, its context goes along as
//! OpenTelemetry's own, and whatever is below finds there what makes further spans.
//!
//! No span carries a token, a path, an address or the name of a user.

mod cause;
mod export;
mod sample;
mod span;

pub(crate) use cause::context_words;
pub use cause::{Actor, Cause};
pub use export::{Exporting, Protocol, TraceSettings};
pub use sample::Picked;
pub use span::{ClientSpan, ServerSpan, heard};

use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::trace::SdkTracer;

use sample::Sample;

/// Makes spans, where traces are exported. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    tracer: SdkTracer,
    sample: Sample,
}

impl Traces {
    /// None are made.
    pub fn off() -> Self {
        Self(None)
    }

    fn new(tracer: SdkTracer, sample: Sample) -> Self {
        Self(Some(Arc::new(Inner { tracer, sample })))
    }

    /// The traces to which the present work belongs; nothing where it is not traced.
    fn current() -> Option<(Self, Context)> {
        let traced = Context::map_current(|context| {
            let is_traced = context.has_active_span() && context.span().span_context().is_sampled();
            is_traced.then(|| context.get::<Self>().cloned()).flatten()
        })?;
        Some((traced, Context::current()))
    }
}

/// A span's context as the header `traceparent` of W3C Trace Context has it.
pub(crate) fn traceparent(span: &SpanContext) -> String {
    let flags = span.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id())
}

/// The context of the present work's span in that form; nothing where it is not traced.
pub(crate) fn current_traceparent() -> Option<String> {
    Context::map_current(|context| {
        let is_traced = context.has_active_span() && context.span().span_context().is_sampled();
        is_traced.then(|| traceparent(context.span().span_context()))
    })
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Traces(on)" } else { "Traces(off)" })
    }
}
