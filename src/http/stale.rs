use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// How long ago the session was known to be as the answer says, in milliseconds; there only where the store is out of
/// reach and the session's class is served beyond the staleness bound.
pub(super) const X_CLOAKROOM_STALE: HeaderName = HeaderName::from_static("x-cloakroom-stale");

/// Marks an answer that is older than the staleness bound.
pub(super) fn marked(mut response: Response, stale: Option<Duration>) -> Response {
    if let Some(age) = stale {
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        response
            .headers_mut()
            .insert(X_CLOAKROOM_STALE, HeaderValue::from(millis));
    }
    response
}
