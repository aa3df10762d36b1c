use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::session::{InvalidName, RandomError};
use crate::store::StoreError;

/// Why a session did not do what it was asked. A handler that gives it back with `?` answers the status in brackets, as
/// `application/problem+json` (RFC 9457).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The truth about the session cannot be known now; nobody was logged out by that (503, `Retry-After`).
    #[error("{0}")]
    Unavailable(String),
    /// The change was made, but no replica of the store confirmed it, as was asked for (503, `Retry-After`).
    #[error("no replica confirmed the change in time")]
    NotConfirmed,
    /// The session has ended: in this request, or meanwhile in another (401).
    #[error("the session has ended")]
    Ended,
    /// A page of another site sent an unsafe request, or nothing proved that one of ours did (403).
    #[error("the request comes from another site, and brought no CSRF token")]
    CrossSite,
    /// The client is another than the one that logged in, and the binding policy refuses it (403).
    #[error("the session belongs to another client")]
    OtherClient,
    /// The client is another than the one that logged in, and the user must log in again (403).
    #[error("the user must log in again")]
    ReauthenticationRequired,
    /// The session's data would grow past its limit; nothing was changed (413).
    #[error("the session would take {bytes} bytes of at most {limit}")]
    TooLarge {
        /// What it would take.
        bytes: u64,
        /// What it may take.
        limit: u64,
    },
    /// The user has as many sessions as the limit allows (409).
    #[error("the user has {limit} sessions, which is the limit")]
    TooManySessions {
        /// The limit.
        limit: u32,
    },
    /// What should be incremented is no integer, or the sum leaves the range of 64 bits (409).
    #[error("the value of `{0}` is no number that can be incremented")]
    NotANumber(String),
    /// The data key `cart` holds no cart (409).
    #[error("the value of `cart` is no list of {{product_id, quantity}}")]
    NotACart,
    /// A value kept changing under an update (503, `Retry-After`).
    #[error("the session kept changing")]
    Contended,
    /// A key or a user id breaks its rule, or there is no such class (400).
    #[error("{0}")]
    Invalid(String),
    /// A value is not of the type that it was asked for as (500).
    #[error("the value of `{key}` is not of the type asked for: {source}")]
    Decode {
        /// The data key.
        key: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// A value cannot be written as JSON (500).
    #[error("the value for `{key}` cannot be written as JSON: {source}")]
    Encode {
        /// The data key.
        key: String,
        /// What cannot be written.
        source: serde_json::Error,
    },
    /// The response is on its way: no cookie can be set any more (500).
    #[error("the response is on its way: a session cannot begin or change its token any more")]
    Late,
    /// The application has no session layer, or the handler runs outside of it (500).
    #[error("no session: `SessionLayer` is not around this handler")]
    NoLayer,
    /// A fault of the store (500).
    #[error("{0}")]
    Store(StoreError),
}

impl Error {
    /// The one table from failures to answers: status and code.
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unavailable(_) | Self::Contended => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
            Self::NotConfirmed => (StatusCode::SERVICE_UNAVAILABLE, "not_confirmed"),
            Self::Ended => (StatusCode::UNAUTHORIZED, "session_not_found"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "csrf_mismatch"),
            Self::OtherClient => (StatusCode::FORBIDDEN, "fingerprint_mismatch"),
            Self::ReauthenticationRequired => (StatusCode::FORBIDDEN, "reauthentication_required"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "session_too_large"),
            Self::TooManySessions { .. } => (StatusCode::CONFLICT, "too_many_sessions"),
            Self::NotANumber(_) => (StatusCode::CONFLICT, "not_a_number"),
            Self::NotACart => (StatusCode::CONFLICT, "not_a_cart"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Decode { .. } | Self::Encode { .. } | Self::Late | Self::NoLayer | Self::Store(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    /// The status that answers it.
    pub fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// The head of the answer, for a body of any type.
    pub(super) fn head(&self, response: &mut axum::http::Response<impl Sized>) {
        let status = self.status();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }

    /// What a client is told; of faults of the server nothing, which the log has.
    fn detail(&self) -> String {
        match self {
            Self::Unavailable(_) => "the store of the sessions does not answer now".to_owned(),
            error if error.status().is_server_error() && !matches!(error, Self::NotConfirmed | Self::Contended) => {
                "the server has made a mistake".to_owned()
            }
            error => error.to_string(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            tracing::warn!(error = %self, "a request's session failed");
        }
        let (status, code) = self.parts();
        let problem = json!({
            "type": format!("urn:cloakroom:problem:{code}"),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "code": code,
        });
        let mut response = Response::new(problem.to_string().into());
        self.head(&mut response);
        let problem_json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem_json);
        response
    }
}

impl From<crate::sessions::Error> for Error {
    fn from(error: crate::sessions::Error) -> Self {
        use crate::sessions::Error as Facade;

        match error {
            Facade::Store(error) => error.into(),
            Facade::UnknownClass { .. } | Facade::UnknownServer { .. } | Facade::OtherUser => {
                Self::Invalid(error.to_string())
            }
            Facade::Contended => Self::Contended,
            Facade::NotConfirmed => Self::NotConfirmed,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::Ended,
            StoreError::Conflict { .. } => Self::Contended,
            StoreError::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit },
            StoreError::TooManySessions { limit } => Self::TooManySessions { limit },
            StoreError::NotACart => Self::NotACart,
            error if error.leaves_truth_unknown() => Self::Unavailable(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<RandomError> for Error {
    fn from(error: RandomError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<InvalidName> for Error {
    fn from(rule: InvalidName) -> Self {
        Self::Invalid(rule.to_string())
    }
}
