use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Refusal, Scope};
use crate::sessions::{Error, InvalidReason};
use crate::store::StoreError;

/// The reason of a 401, for gateways that see only headers.
pub(super) const X_AUTH_REASON: HeaderName = HeaderName::from_static("x-auth-reason");

/// What went wrong (RFC 9457); `code` is stable, the texts are for people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// A URI of the code.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means.
    title: &'a str,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The stable name of what went wrong.
    code: &'a str,
}

/// Every way in which a request can fail.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The request is malformed; the text says where, what, and what is allowed.
    InvalidRequest(String),
    /// The caller did not prove who it is.
    Caller(Refusal),
    /// Whoever judges the caller's token does not answer.
    Unjudged,
    /// The caller may not do this.
    MissingScope(Scope),
    /// The browser's or gateway's credential opens no session.
    SessionRefused(InvalidReason),
    /// The session lacks a role or a permission.
    Forbidden(String),
    /// The client is another than the one that logged in.
    FingerprintMismatch,
    /// An unsafe request brought no proof of its origin.
    CsrfMismatch,
    /// The user proved who they are too long ago.
    ReauthenticationRequired,
    /// No such session, or it has expired.
    SessionNotFound,
    /// The session has no such data key.
    KeyNotFound,
    /// No such path.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The user has as many sessions as allowed.
    TooManySessions(String),
    /// What should be incremented is no number.
    NotANumber,
    /// The session has another version than the request names.
    VersionConflict(String),
    /// The session's data would become too large.
    SessionTooLarge(String),
    /// The request's body is too large.
    BodyTooLarge {
        /// The most that is allowed, in bytes.
        limit: usize,
    },
    /// The request's headers are too large.
    HeadersTooLarge {
        /// The most that is allowed, in bytes.
        limit: usize,
    },
    /// The client has tried too many invalid tokens.
    Throttled {
        /// When it may come again, in seconds.
        seconds: u64,
    },
    /// The truth cannot be known now, or the server has too much to do.
    Unavailable(&'static str),
    /// The change was made, but no replica confirmed it.
    NotConfirmed,
    /// A fault of the server, of which nothing is told.
    Internal,
}

impl ApiError {
    /// The one table from failures to answers: status, code, title.
    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request", "Invalid request"),
            Self::Caller(_) => (StatusCode::UNAUTHORIZED, "unauthorized", "Caller not authenticated"),
            Self::SessionRefused(reason) => (StatusCode::UNAUTHORIZED, reason.as_str(), "No valid session"),
            Self::MissingScope(_) | Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::FingerprintMismatch => (StatusCode::FORBIDDEN, "fingerprint_mismatch", "Another client"),
            Self::CsrfMismatch => (StatusCode::FORBIDDEN, "csrf_mismatch", "No proof of origin"),
            Self::ReauthenticationRequired => (
                StatusCode::FORBIDDEN,
                "reauthentication_required",
                "Recent authentication required",
            ),
            Self::SessionNotFound => (StatusCode::NOT_FOUND, "session_not_found", "No such session"),
            Self::KeyNotFound => (StatusCode::NOT_FOUND, "key_not_found", "No such data key"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "No such path"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
            ),
            Self::TooManySessions(_) => (StatusCode::CONFLICT, "too_many_sessions", "Too many sessions"),
            Self::NotANumber => (StatusCode::CONFLICT, "not_a_number", "Not a number"),
            Self::VersionConflict(_) => (
                StatusCode::PRECONDITION_FAILED,
                "version_conflict",
                "The session has another version",
            ),
            Self::SessionTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "session_too_large", "Session too large"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large"),
            Self::HeadersTooLarge { .. } => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "Headers too large",
            ),
            Self::Throttled { .. } => (StatusCode::TOO_MANY_REQUESTS, "throttled", "Too many invalid tokens"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "Try again"),
            Self::Unjudged => (
                StatusCode::SERVICE_UNAVAILABLE,
                "authentication_unavailable",
                "Callers cannot be authenticated",
            ),
            Self::NotConfirmed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_confirmed",
                "Not confirmed by a replica",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal error"),
        }
    }

    fn detail(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::InvalidRequest(detail)
            | Self::Forbidden(detail)
            | Self::TooManySessions(detail)
            | Self::VersionConflict(detail)
            | Self::SessionTooLarge(detail) => detail.into(),
            Self::Caller(refusal) => refusal.detail().into(),
            Self::Unjudged => Refusal::Unjudged.detail().into(),
            Self::MissingScope(scope) => format!("the scope {scope} is needed").into(),
            Self::SessionRefused(InvalidReason::SessionExpired) => "the session has expired".into(),
            Self::SessionRefused(_) => "the request carries no credential of a live session".into(),
            Self::FingerprintMismatch => "the session belongs to another client".into(),
            Self::CsrfMismatch => {
                "an unsafe request needs a same-origin Sec-Fetch-Site or Origin, or the CSRF token in X-CSRF-Token"
                    .into()
            }
            Self::ReauthenticationRequired => "the user must prove again who they are".into(),
            Self::SessionNotFound => "there is no such session, or it has ended".into(),
            Self::KeyNotFound => "the session's data has no such key".into(),
            Self::NotFound => "there is nothing at this path; see /openapi.json".into(),
            Self::MethodNotAllowed => "the header Allow names the methods of this path".into(),
            Self::NotANumber => "the value is no number, or the sum leaves the range of 64 bits".into(),
            Self::BodyTooLarge { limit } => format!("at most {limit} bytes are allowed").into(),
            Self::HeadersTooLarge { limit } => format!("at most {limit} bytes of names and values are allowed").into(),
            Self::Throttled { .. } => "too many invalid tokens came from this client's address".into(),
            Self::Unavailable(detail) => (*detail).into(),
            Self::NotConfirmed => "the change was made, but no replica confirmed it in time".into(),
            Self::Internal => "the server failed; its log tells why".into(),
        }
    }
}

/// Why a visitor's credential does not do: without a session 401, with one that is not for this client 403.
impl From<InvalidReason> for ApiError {
    fn from(reason: InvalidReason) -> Self {
        match reason {
            InvalidReason::SessionNotFound | InvalidReason::SessionExpired => Self::SessionRefused(reason),
            InvalidReason::CsrfMismatch => Self::CsrfMismatch,
            InvalidReason::FingerprintMismatch => Self::FingerprintMismatch,
            InvalidReason::ReauthenticationRequired => Self::ReauthenticationRequired,
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::UnknownClass { .. } | Error::UnknownServer { .. } | Error::OtherUser => {
                Self::InvalidRequest(error.to_string())
            }
            Error::Contended => Self::Unavailable("the session kept changing during the log-in"),
            Error::NotConfirmed => Self::NotConfirmed,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Mismatch | StoreError::Corrupt(_) | StoreError::Random(_) => {
                tracing::debug!(%error, "answering 503");
                Self::Unavailable("the truth about the session cannot be known at present")
            }
            StoreError::NotFound => Self::SessionNotFound,
            StoreError::Conflict { current } => Self::VersionConflict(format!("the session has version {current}")),
            StoreError::TooLarge { .. } => Self::SessionTooLarge(error.to_string()),
            StoreError::TooManySessions { .. } => Self::TooManySessions(error.to_string()),
            StoreError::NotANumber => Self::NotANumber,
            StoreError::NotACart => Self::InvalidRequest(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.parts();
        let problem = Problem {
            kind: format!("urn:cloakroom:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail(),
            code,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match &self {
            Self::Unavailable(_) | Self::Unjudged | Self::NotConfirmed => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Throttled { seconds } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::Caller(refusal) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(refusal.challenge()));
            }
            Self::MissingScope(scope) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(scope.challenge()));
            }
            Self::SessionRefused(reason) => {
                headers.insert(X_AUTH_REASON, HeaderValue::from_static(reason.as_str()));
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Session"));
            }
            _ => {}
        }
        response
    }
}

/// Answers for paths that are not there.
pub(super) async fn not_found() -> ApiError {
    ApiError::NotFound
}

/// Answers for methods that a path has not; axum adds `Allow`.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_facade_has_the_contracts_status_and_code() {
        let text = || "secret detail of the store".to_owned();
        let table: Vec<(Error, u16, &str)> = vec![
            (StoreError::Unavailable(text()).into(), 503, "store_unavailable"),
            (StoreError::Mismatch.into(), 503, "store_unavailable"),
            (StoreError::Corrupt(text()).into(), 503, "store_unavailable"),
            (crate::session::RandomError.into(), 503, "store_unavailable"),
            (StoreError::NotFound.into(), 404, "session_not_found"),
            (StoreError::Conflict { current: 3 }.into(), 412, "version_conflict"),
            (
                StoreError::TooLarge { bytes: 2, limit: 1 }.into(),
                413,
                "session_too_large",
            ),
            (
                StoreError::TooManySessions { limit: 1 }.into(),
                409,
                "too_many_sessions",
            ),
            (StoreError::NotANumber.into(), 409, "not_a_number"),
            (StoreError::NotACart.into(), 400, "invalid_request"),
            (Error::OtherUser, 400, "invalid_request"),
            (Error::Contended, 503, "store_unavailable"),
            (Error::NotConfirmed, 503, "not_confirmed"),
        ];
        for (error, status, code) in table {
            let shown = error.to_string();
            let error = ApiError::from(error);
            let parts = error.parts();
            assert_eq!((parts.0.as_u16(), parts.1), (status, code), "{shown}");
            assert!(
                !error.detail().contains("secret"),
                "the store's own words stay in the log"
            );
            let retry = error.into_response().headers().contains_key(RETRY_AFTER);
            assert_eq!(retry, status == 503, "{shown}");
        }
    }
}
