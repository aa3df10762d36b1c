use std::borrow::Cow;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};

use super::middleware::X_REQUEST_ID;
use super::problem::ApiError;
use super::state::ApiState;
use crate::session::{Session, Timestamp, Token};
use crate::sessions::{ClientIp, ClientTraits, Freshness, InvalidReason, Presented, ValidSession, Validation};
use crate::telemetry::{Actor, Cause};
use crate::web::{self, Client, Credential, Origin, only};

const X_FINGERPRINT: HeaderName = HeaderName::from_static("x-fingerprint");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// A browser, or the request that a gateway asks about, with the credential that it carries.
pub(super) struct Visitor {
    pub(super) headers: HeaderMap,
    client: Client,
}

/// What a session is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be used.
    Use,
    /// To be ended.
    Leave,
}

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Ok(Self {
            client: Client::of(
                &parts.extensions,
                &parts.headers,
                &parts.uri,
                &state.settings().trusted_proxies,
            ),
            headers: parts.headers.clone(),
        })
    }
}

impl Visitor {
    /// What events and the audit log say of who it was: the session tells whose it is.
    pub(super) fn cause(&self) -> Cause {
        let id = self.headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
        Cause {
            actor: Actor::Visitor,
            request_id: id.map(str::to_owned),
        }
    }

    /// The session that the credential opens; this counts as a use. The credential is the cookie, or
    /// `Authorization: Session <token>` where that is enabled, never both (S05). What is malformed is refused before the
    /// store is asked (S06).
    pub(super) async fn session(&self, state: &ApiState) -> Result<ValidSession, ApiError> {
        self.validate(state, Purpose::Use).await?.map_err(ApiError::from)
    }

    /// As [`Visitor::session`], for those who also want to know why there is none.
    pub(super) async fn validate(
        &self,
        state: &ApiState,
        purpose: Purpose,
    ) -> Result<Result<ValidSession, InvalidReason>, ApiError> {
        let credential = credential(state, &self.headers);
        if matches!(credential, Credential::None) {
            return Ok(Err(InvalidReason::SessionNotFound));
        }
        let (client, now) = (self.client.address, state.sessions().monotonic());
        if let Err(refusal) = state.throttle().admit(client, || now) {
            state.sessions().metrics().throttled.inc();
            return Err(refusal);
        }
        let outcome = match credential {
            Credential::Token(token) => self.judge(state, &token, purpose).await?,
            Credential::None | Credential::Refused => Err(InvalidReason::SessionNotFound),
        };
        if matches!(outcome, Err(InvalidReason::SessionNotFound)) {
            let metrics = state.sessions().metrics();
            metrics.invalid_tokens.with_label_values(&["visitor"]).inc();
            state.throttle().count(client, now);
        }
        Ok(outcome)
    }

    async fn judge(
        &self,
        state: &ApiState,
        token: &str,
        purpose: Purpose,
    ) -> Result<Result<ValidSession, InvalidReason>, ApiError> {
        let client = match purpose {
            Purpose::Use => ClientTraits {
                fingerprint: only(&self.headers, &X_FINGERPRINT),
                ip: self.client.address.map(ClientIp::Address),
                user_agent: only(&self.headers, &USER_AGENT),
            },
            // Whoever holds the token may end its session.
            Purpose::Leave => ClientTraits::default(),
        };
        let presented = Presented {
            token,
            csrf_token: None,
            client,
            touch: purpose == Purpose::Use,
            freshness: Freshness {
                accept_stale: purpose == Purpose::Use,
                ..Freshness::default()
            },
        };
        Ok(match state.sessions().validate(presented).await? {
            Validation::Valid(valid) => Ok(valid),
            Validation::Invalid(reason) => Err(reason),
        })
    }

    /// That the request comes from our own pages: by the browser's word, or by the session's CSRF token (S36).
    pub(super) fn check_origin(&self, state: &ApiState, valid: &ValidSession) -> Result<(), ApiError> {
        if proves_origin(state, &self.headers, valid, || self.is_same_origin()) {
            Ok(())
        } else {
            Err(ApiError::CsrfMismatch)
        }
    }

    /// As [`Visitor::check_origin`] where the credential opens no session: the CSRF token is bound to the credential.
    pub(super) fn check_origin_without_session(&self, state: &ApiState) -> Result<(), ApiError> {
        let knows_token = |given| {
            let token = self.token(state).and_then(|token| token.parse::<Token>().ok());
            token.is_some_and(|token| state.sessions().verify_csrf(&token.id(), given))
        };
        if self.is_same_origin() || only(&self.headers, &X_CSRF_TOKEN).is_some_and(knows_token) {
            Ok(())
        } else {
            Err(ApiError::CsrfMismatch)
        }
    }

    /// Whether whoever sends the same cookie would be judged alike.
    pub(super) fn is_judged_by_cookie_alone(&self, state: &ApiState) -> bool {
        let carries_cookie = web::carries_cookie(&self.headers, &state.settings().cookie.name);
        carries_cookie && !state.sessions().binding().decides()
    }

    fn is_same_origin(&self) -> bool {
        Origin::of(&self.headers, &self.client) == Origin::Own
    }

    fn token(&self, state: &ApiState) -> Option<Cow<'_, str>> {
        match credential(state, &self.headers) {
            Credential::Token(token) => Some(token),
            Credential::None | Credential::Refused => None,
        }
    }
}

/// Whether a request with this session comes from our own pages: by its CSRF token, and where that does not tell by
/// `is_same_origin`, which takes more looking.
pub(super) fn proves_origin(
    state: &ApiState,
    headers: &HeaderMap,
    valid: &ValidSession,
    is_same_origin: impl FnOnce() -> bool,
) -> bool {
    let ids = [valid.presented, valid.session.id];
    let knows_token = |given| state.sessions().proves_page(ids, given);
    only(headers, &X_CSRF_TOKEN).is_some_and(knows_token) || is_same_origin()
}

/// As [`Visitor::session`] where memory alone can tell that there is one, and it is fit for what is asked; nothing where
/// that takes more.
pub(super) fn held_session(
    state: &ApiState,
    extensions: &Extensions,
    headers: &HeaderMap,
    is_fit: impl FnOnce(&ValidSession) -> bool,
) -> Option<ValidSession> {
    let Credential::Token(token) = credential(state, headers) else {
        return None;
    };
    let address = web::address(extensions, headers, &state.settings().trusted_proxies);
    let now = || state.sessions().monotonic();
    state.throttle().admit(address, now).ok()?;
    let client = ClientTraits {
        fingerprint: only(headers, &X_FINGERPRINT),
        ip: address.map(ClientIp::Address),
        user_agent: only(headers, &USER_AGENT),
    };
    state.sessions().validate_held(&token, &client, is_fit)
}

fn credential<'a>(state: &ApiState, headers: &'a HeaderMap) -> Credential<'a> {
    Credential::of(headers, state.set_cookie(), state.settings().session_header)
}

/// Whether the user has proved who they are within `max_age` before now.
pub(super) fn is_recent(session: &Session, now: Timestamp, max_age: Duration) -> bool {
    session.authenticated_at.is_some_and(|at| now.since(at) <= max_age)
}
