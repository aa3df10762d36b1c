use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::cookie::{self, CookieCredential};
use super::problem::ApiError;
use super::state::ApiState;
use crate::sessions::{Freshness, InvalidReason, Presented, ValidSession, Validation};

/// Judges the credential of a browser or gateway: the cookie, or `Authorization: Session <token>` where that is
/// enabled, never both (S05). What is malformed is refused before the store is asked (S06).
pub(super) async fn session_of(state: &ApiState, headers: &HeaderMap) -> Result<ValidSession, ApiError> {
    let token = token(state, headers).ok_or(ApiError::SessionRefused(InvalidReason::SessionNotFound))?;
    let presented = Presented {
        token: &token,
        csrf_token: None,
        touch: true,
        freshness: Freshness::default(),
    };
    match state.sessions().validate(presented).await? {
        Validation::Valid(valid) => Ok(valid),
        Validation::Invalid(reason) => Err(ApiError::SessionRefused(reason)),
    }
}

fn token<'a>(state: &ApiState, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
    let settings = state.settings();
    let from_cookie = cookie::find(headers, &settings.cookie.name);
    let from_header = if settings.session_header {
        session_header(headers)
    } else {
        SessionHeader::None
    };
    match (from_cookie, from_header) {
        (CookieCredential::Value(value), SessionHeader::None) => state.set_cookie().seal().open(value),
        (CookieCredential::None, SessionHeader::Token(token)) => Some(Cow::Borrowed(token)),
        _ => None,
    }
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
