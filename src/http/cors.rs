use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::middleware::is_for_gateways;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, X-CSRF-Token, X-Request-Id",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static("ETag, Location, Retry-After, X-Request-Id");
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Which pages of other origins may call from a browser: a fixed list (S41).
pub(super) struct Cors(Vec<HeaderValue>);

impl Cors {
    /// An origin that is no header's value can never be sent, and is passed over.
    pub(super) fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| origin.parse().ok()).collect())
    }

    /// The request's origin, where it is on the list. What gateways ask for is theirs alone.
    pub(super) fn allowed(&self, headers: &HeaderMap, route: Option<&str>) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN).filter(|_| !is_for_gateways(route))?;
        self.0.iter().find(|listed| *listed == origin).cloned()
    }

    /// The answer to a preflight from an origin that is allowed; nothing where the request is none.
    pub(super) fn preflight(method: &Method, headers: &HeaderMap, route: Option<&str>) -> Option<Response> {
        let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || route.is_none() {
            return None;
        }
        let answer = [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        Some((StatusCode::NO_CONTENT, answer).into_response())
    }

    /// Says in an answer who may read it. Where there is a list, every answer depends on the origin.
    pub(super) fn mark(&self, answer: &mut HeaderMap, allowed: Option<HeaderValue>) {
        if self.0.is_empty() {
            return;
        }
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = allowed {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
    }
}
