//! The spans that there are, by the semantic conventions for HTTP, databases and messaging.

use std::borrow::Cow;
use std::time::SystemTime;

use http::{Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Link, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span;
use opentelemetry_semantic_conventions::attribute::{
    DB_OPERATION_NAME, DB_STORED_PROCEDURE_NAME, DB_SYSTEM_NAME, ERROR_TYPE, HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
};

use super::sample::Picked;
use super::{Inner, Traces};

/// Methods that the conventions know; all others are told as `_OTHER`.
const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
];
const MESSAGING_SYSTEM: &str = "messaging.system";
const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";

/// The span of a request being answered; dropped unended, it ends without a status (its client has gone).
#[derive(Debug)]
pub struct ServerSpan {
    context: Context,
}

impl ServerSpan {
    pub(super) fn begin(picked: &Picked, method: &Method, route: Option<&str>, begun: Option<SystemTime>) -> Self {
        let method = METHODS
            .into_iter()
            .find(|known| *known == method.as_str())
            .unwrap_or("_OTHER");
        let mut attributes = vec![KeyValue::new(HTTP_REQUEST_METHOD, method)];
        attributes.extend(route.map(|route| KeyValue::new(HTTP_ROUTE, route.to_owned())));
        let name = match (method, route) {
            ("_OTHER", Some(route)) => format!("HTTP {route}"),
            ("_OTHER", None) => "HTTP".to_owned(),
            (method, Some(route)) => format!("{method} {route}"),
            (method, None) => method.to_owned(),
        };
        let context = picked.parent.with_value(picked.traces.clone());
        let Some(Inner { tracer, .. }) = picked.traces.0.as_deref() else {
            return Self { context };
        };
        let mut builder = tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        if let Some(begun) = begun {
            builder = builder.with_start_time(begun);
        }
        let span = tracer.build_with_context(builder, &context);
        Self {
            context: context.with_span(span),
        }
    }

    /// What the work below runs in.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The trace and the span, in hex, as logs tell them.
    pub fn ids(&self) -> (String, String) {
        let span = self.context.span();
        let context = span.span_context();
        (context.trace_id().to_string(), context.span_id().to_string())
    }

    /// The request was answered.
    pub fn end(self, status: StatusCode) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new(ERROR_TYPE, status.as_u16().to_string()));
            span.set_status(Status::error(Cow::Borrowed("")));
        }
        span.end();
    }
}

/// The span of a script that is run in Redis; dropped, it ends.
#[derive(Debug)]
pub struct ClientSpan(Span);

impl ClientSpan {
    /// Begins it below the present work's span; nothing where that is not traced.
    pub fn of_script(script: &'static str) -> Option<Self> {
        let (traces, parent) = Traces::current()?;
        let Inner { tracer, .. } = traces.0.as_deref()?;
        let builder = tracer
            .span_builder(format!("EVALSHA {script}"))
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new(DB_SYSTEM_NAME, "redis"),
                KeyValue::new(DB_OPERATION_NAME, "EVALSHA"),
                KeyValue::new(DB_STORED_PROCEDURE_NAME, script),
            ]);
        Some(Self(tracer.build_with_context(builder, &parent)))
    }

    /// The script was not answered. `kind` is from a fixed set: an error's own words may hold what no span should.
    pub fn fail(mut self, kind: &'static str) {
        self.0.set_attribute(KeyValue::new(ERROR_TYPE, kind));
        self.0.set_status(Status::error(Cow::Borrowed("")));
        self.0.end();
    }
}

/// Tells that copies were dropped because of an invalidation, in a trace of its own that leads to the request that
/// caused it. `traceparent` is that request's, as the invalidation brought it.
pub fn heard(traces: &Traces, kind: &'static str, traceparent: &str, dropped: usize) {
    let Some(Inner { tracer, .. }) = traces.0.as_deref() else {
        return;
    };
    let carrier = [("traceparent".to_owned(), traceparent.to_owned())].into();
    let carrier: std::collections::HashMap<String, String> = carrier;
    let cause = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let cause = cause.span().span_context().clone();
    if !cause.is_sampled() {
        return;
    }
    let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
    let builder = tracer
        .span_builder(format!("invalidate {kind}"))
        .with_kind(SpanKind::Consumer)
        .with_links(vec![Link::with_context(cause)])
        .with_attributes([
            KeyValue::new(MESSAGING_SYSTEM, "redis"),
            KeyValue::new(MESSAGING_OPERATION_NAME, "invalidate"),
            KeyValue::new(MESSAGING_OPERATION_TYPE, "process"),
            KeyValue::new("cloakroom.invalidation.kind", kind),
            KeyValue::new("cloakroom.l1.dropped", dropped),
        ]);
    tracer.build_with_context(builder, &Context::new()).end();
}
