use std::borrow::Cow;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use super::client::{Client, Scheme, only};
use super::cookie::{self, CookieCredential};
use super::problem::ApiError;
use super::state::ApiState;
use crate::session::{Session, Timestamp, Token};
use crate::sessions::{Freshness, InvalidReason, Presented, ValidSession, Validation};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// A browser, or the request that a gateway asks about, with the credential that it carries.
pub(super) struct Visitor {
    pub(super) headers: HeaderMap,
    client: Client,
}

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Ok(Self {
            client: Client::of(parts, &state.settings().trusted_proxies),
            headers: parts.headers.clone(),
        })
    }
}

impl Visitor {
    /// The session that the credential opens; this counts as a use. The credential is the cookie, or
    /// `Authorization: Session <token>` where that is enabled, never both (S05). What is malformed is refused before the
    /// store is asked (S06).
    pub(super) async fn session(&self, state: &ApiState) -> Result<ValidSession, ApiError> {
        self.validate(state, true).await?.map_err(ApiError::SessionRefused)
    }

    /// As [`Visitor::session`], for those who also want to know why there is none, and whether or not it is a use.
    pub(super) async fn validate(
        &self,
        state: &ApiState,
        touch: bool,
    ) -> Result<Result<ValidSession, InvalidReason>, ApiError> {
        let Some(token) = self.token(state) else {
            return Ok(Err(InvalidReason::SessionNotFound));
        };
        let presented = Presented {
            token: &token,
            csrf_token: None,
            touch,
            freshness: Freshness::default(),
        };
        Ok(match state.sessions().validate(presented).await? {
            Validation::Valid(valid) => Ok(valid),
            Validation::Invalid(reason) => Err(reason),
        })
    }

    /// That the request comes from our own pages: by the browser's word, or by the session's CSRF token (S36).
    pub(super) fn check_origin(&self, state: &ApiState, valid: &ValidSession) -> Result<(), ApiError> {
        let ids = [valid.presented, valid.session.id];
        let knows_token = |given| ids.iter().any(|id| state.sessions().verify_csrf(id, given));
        if self.is_same_origin() || only(&self.headers, &X_CSRF_TOKEN).is_some_and(knows_token) {
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
        let cookie = cookie::find(&self.headers, &state.settings().cookie.name);
        matches!(cookie, CookieCredential::Value(_))
    }

    /// By `Sec-Fetch-Site`, which pages cannot set; by `Origin` only where a browser is too old for it.
    fn is_same_origin(&self) -> bool {
        if self.headers.contains_key(SEC_FETCH_SITE) {
            return only(&self.headers, &SEC_FETCH_SITE) == Some("same-origin");
        }
        let origin = only(&self.headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
        let Some((scheme, authority)) = origin else {
            return false;
        };
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return false,
        };
        let own = self.client.authority.as_deref();
        let is_own_host = own.is_some_and(|own| {
            without_default_port(own, scheme).eq_ignore_ascii_case(without_default_port(authority, scheme))
        });
        is_own_host && self.client.scheme.is_none_or(|own| own == scheme)
    }

    fn token(&self, state: &ApiState) -> Option<Cow<'_, str>> {
        let settings = state.settings();
        let from_cookie = cookie::find(&self.headers, &settings.cookie.name);
        let from_header = if settings.session_header {
            session_header(&self.headers)
        } else {
            SessionHeader::None
        };
        match (from_cookie, from_header) {
            (CookieCredential::Value(value), SessionHeader::None) => state.set_cookie().seal().open(value),
            (CookieCredential::None, SessionHeader::Token(token)) => Some(Cow::Borrowed(token)),
            _ => None,
        }
    }
}

fn without_default_port(authority: &str, scheme: Scheme) -> &str {
    let port = match scheme {
        Scheme::Http => ":80",
        Scheme::Https => ":443",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Whether the user has proved who they are within `max_age` before now.
pub(super) fn is_recent(session: &Session, now: Timestamp, max_age: Duration) -> bool {
    session.authenticated_at.is_some_and(|at| now.since(at) <= max_age)
}

enum SessionHeader<'a> {
    None,
    Token(&'a str),
    Refused,
}

/// Another scheme is none of our business: gateways pass on what the application asks for.
fn session_header(headers: &HeaderMap) -> SessionHeader<'_> {
    let mut found = SessionHeader::None;
    for value in headers.get_all(AUTHORIZATION) {
        let bytes = value.as_bytes();
        let scheme_ends = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        if !bytes[..scheme_ends].eq_ignore_ascii_case(b"Session") {
            continue;
        }
        let token = std::str::from_utf8(&bytes[scheme_ends..]).map(str::trim);
        found = match (found, token) {
            (SessionHeader::None, Ok(token)) => SessionHeader::Token(token),
            _ => return SessionHeader::Refused,
        };
    }
    found
}
