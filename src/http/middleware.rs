use std::cell::Cell;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use prometheus::IntGauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use super::cors::Cors;
use super::forward::AUTH_PATH;
use super::problem::ApiError;
use super::route_metrics::RouteTable;
use super::settings::HttpSettings;
use super::v1::EVENTS_PATH;
use crate::session::{Random as _, SystemRandom};
use crate::telemetry::Metrics;
use crate::telemetry::trace::Picked;
use crate::web::{Scheme, scheme};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What every request passes, in one layer: each layer more would cost an allocation on each request.
pub(super) struct Stack {
    settings: HttpSettings,
    routes: RouteTable,
    in_flight: IntGauge,
    slots: Semaphore,
    cors: Cors,
    request_ids: RequestIds,
}

/// Puts the middleware before a router whose routes are described.
pub(super) fn apply(
    router: Router,
    settings: &HttpSettings,
    metrics: &Metrics,
    description: &utoipa::openapi::OpenApi,
) -> (Router, Arc<Stack>) {
    let stack = Arc::new(Stack {
        routes: RouteTable::new(metrics, description),
        in_flight: metrics.http_in_flight.clone(),
        slots: Semaphore::new(settings.max_concurrent),
        cors: Cors::new(&settings.cors_origins),
        request_ids: RequestIds::new(),
        settings: settings.clone(),
    });
    let layer = axum::middleware::from_fn_with_state(Arc::clone(&stack), pass);
    (router.layer(layer), stack)
}

async fn pass(State(stack): State<Arc<Stack>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let (extensions, headers, method) = (request.extensions(), request.headers(), request.method());
    let origin = stack.cors.allowed(headers, route);
    let preflight = origin.as_ref().and_then(|_| Cors::preflight(method, headers, route));
    let demands_tls = stack.demands_tls(extensions, headers, route);
    let noted = stack.note(method, headers, route);
    // Those below tell it on.
    request.headers_mut().insert(X_REQUEST_ID, noted.request_id.0.clone());
    let mut response = match preflight {
        Some(answer) => stack.lead(noted, ready(Ok(answer))).await,
        None => stack.lead(noted, next.run(request).map(Ok)).await,
    };
    let headers = response.headers_mut();
    stack.dress(headers, route, origin);
    if demands_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

/// What is noted of a request before anything is done about it.
pub(super) struct Noted<'a> {
    started: Instant,
    request_id: RequestId,
    method: Method,
    route: Option<&'a str>,
    has_room: bool,
    picked: Option<Picked>,
}

/// S42. None of our answers is a page: a browser must neither guess, nor frame, nor run anything.
fn protect(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Whether the route is one of forward auth.
pub(super) fn is_for_gateways(route: Option<&str>) -> bool {
    route.is_some_and(|route| route == AUTH_PATH || route.starts_with("/ext_authz/"))
}

/// The faces that judge a session's own credential also depend on `Authorization`.
fn vary(route: Option<&str>) -> HeaderValue {
    match route {
        Some(path) if is_for_gateways(route) || path.starts_with("/session") => {
            HeaderValue::from_static("Cookie, Authorization")
        }
        _ => HeaderValue::from_static("Cookie"),
    }
}

impl Stack {
    /// Whether a request's headers are small enough.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        header_bytes(headers) <= self.settings.max_header_bytes
    }

    /// The id by which a request is found in logs.
    pub(super) fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        self.request_ids.of(headers).0
    }

    /// Decides whether a request is traced.
    pub(super) fn traced(&self, headers: &HeaderMap) -> Option<Picked> {
        self.settings.traces.pick(headers)
    }

    /// Counts an answered request.
    pub(super) fn observe(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        self.routes.observe(route, method, status, took);
    }

    /// Adds what every answer says besides its own. `origin` is the page's, where it may read the answer.
    pub(super) fn dress(&self, headers: &mut HeaderMap, route: Option<&str>, origin: Option<HeaderValue>) {
        // S34. What never touched a session says so itself.
        headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
        headers.entry(VARY).or_insert_with(|| vary(route));
        self.cors.mark(headers, origin);
        protect(headers);
    }

    /// Whether the browser is to come by TLS from now on. A gateway may hand its answer on under another host, about
    /// whose TLS we have nothing to say.
    pub(super) fn demands_tls(&self, extensions: &Extensions, headers: &HeaderMap, route: Option<&str>) -> bool {
        let trusted = &self.settings.trusted_proxies;
        !is_for_gateways(route) && scheme(extensions, headers, trusted) == Some(Scheme::Https)
    }

    /// Notes a request that is about to be answered.
    pub(super) fn note<'a>(&self, method: &Method, headers: &HeaderMap, route: Option<&'a str>) -> Noted<'a> {
        Noted {
            started: Instant::now(),
            request_id: self.request_ids.of(headers),
            method: method.clone(),
            route,
            has_room: self.admits(headers),
            picked: self.traced(headers),
        }
    }

    /// Leads a request to its answer. The order, from outside to inside, and why:
    /// 1. the gauge, the clock and the request id come first, so that refusals are counted and can be found as well;
    /// 2. the span, so that every log line below carries the id;
    /// 3. limits that need no work: the headers' size, then a free slot;
    /// 4. the time limit, within which also a slow body must have come;
    /// 5. the guard against panics, innermost: all the rest still happens after one.
    ///
    /// The body's limit is the business of those who read one: `extract`.
    pub(super) async fn lead(
        &self,
        noted: Noted<'_>,
        answer: impl Future<Output = Result<Response, ApiError>>,
    ) -> Response {
        let _in_flight = InFlight::new(&self.in_flight);
        let (method, route) = (&noted.method, noted.route);
        let span = tracing::info_span!(
            "request",
            request_id = noted.request_id.as_str(),
            method = method.as_str(),
            route,
            trace_id = field::Empty,
            span_id = field::Empty,
        );
        let traced = noted.picked.map(|picked| picked.begin(method, route));
        let limited = self.limit(noted.has_room, route, answer).instrument(span.clone());
        let answered = match &traced {
            Some(traced) => {
                let (trace_id, span_id) = traced.ids();
                span.record("trace_id", trace_id).record("span_id", span_id);
                traced.run(limited).await
            }
            None => limited.await,
        };
        let mut response = answered.unwrap_or_else(ApiError::into_response);

        let took = noted.started.elapsed();
        let status = response.status();
        self.observe(route, method, status, took);
        if let Some(traced) = traced {
            traced.end(status);
        }
        span.in_scope(|| {
            let (status, micros) = (status.as_u16(), took.as_micros());
            // Neither the path nor the query: they may hold what a client should not have put there.
            if status >= 500 {
                tracing::info!(status, micros, "answered");
            } else {
                tracing::debug!(status, micros, "answered");
            }
        });
        response.headers_mut().insert(X_REQUEST_ID, noted.request_id.0);
        response
    }

    async fn limit(
        &self,
        has_room: bool,
        route: Option<&str>,
        answer: impl Future<Output = Result<Response, ApiError>>,
    ) -> Result<Response, ApiError> {
        let settings = &self.settings;
        if !has_room {
            let limit = settings.max_header_bytes;
            return Err(ApiError::HeadersTooLarge { limit });
        }
        let slot = self.slots.try_acquire();
        let _slot = slot.map_err(|_| ApiError::Unavailable("the server has too many requests to answer"))?;

        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer = if route == Some(EVENTS_PATH) {
            answer.await
        } else {
            let in_time = tokio::time::timeout(settings.timeout, answer).await;
            in_time.map_err(|_| ApiError::Unavailable("the answer took too long"))?
        };
        answer.unwrap_or_else(|_| {
            // The panic's own words went to standard error; they are not repeated to the client.
            tracing::error!("a handler panicked");
            Err(ApiError::Internal)
        })
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Counts a request for as long as it is being answered, also where its client goes away.
struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes request ids: a random start and a number. They tell requests apart, and are no secrets.
struct RequestIds {
    start: String,
}

struct RequestId(HeaderValue);

impl RequestIds {
    fn new() -> Self {
        let mut bytes = [0; 8];
        // Without randomness the ids of two servers are alike, which harms nobody.
        let _ = SystemRandom.fill(&mut bytes);
        Self {
            start: format!("{:016x}", u64::from_be_bytes(bytes)),
        }
    }

    /// The client's own id where it is harmless, else a new one.
    fn of(&self, headers: &HeaderMap) -> RequestId {
        let given = headers
            .get(X_REQUEST_ID)
            .filter(|value| is_request_id(value.as_bytes()));
        RequestId(given.cloned().unwrap_or_else(|| self.make()))
    }

    fn make(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = Vec::with_capacity(self.start.len() + 17);
        text.extend_from_slice(self.start.as_bytes());
        text.push(b'-');
        for byte in next_number().to_be_bytes() {
            text.extend([byte >> 4, byte & 0xf].map(|half| DIGITS[usize::from(half)]));
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// A number that this process gives once. Threads take many at a time, for otherwise each request would wait for the others'
/// processors to hand the count over.
fn next_number() -> u64 {
    const AT_A_TIME: u64 = 1_024;
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let next = match NEXT.get() {
        next if next.is_multiple_of(AT_A_TIME) => TAKEN.fetch_add(AT_A_TIME, Ordering::Relaxed),
        next => next,
    };
    NEXT.set(next + 1);
    next
}

impl RequestId {
    fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

fn is_request_id(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&text.len()) && text.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_request_id_is_taken_over_and_any_other_replaced() {
        let ids = RequestIds::new();
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            ids.of(&headers).as_str().to_owned()
        };
        assert_eq!(of("trace-1.2_X"), "trace-1.2_X");
        for bad in ["", "a b", "ü", "a\tb", &"x".repeat(129)] {
            let made = of(bad);
            assert!(is_request_id(made.as_bytes()) && made != bad, "{bad}");
        }
        assert_ne!(
            ids.of(&HeaderMap::new()).as_str().to_owned(),
            ids.of(&HeaderMap::new()).as_str().to_owned()
        );
    }
}
