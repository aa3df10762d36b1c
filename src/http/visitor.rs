use std::borrow::Cow;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, ORIGIN, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};

use super::client::{self, Client, Scheme, only};
use super::cookie::{self, CookieCredential};
use super::problem::ApiError;
use super::state::ApiState;
use crate::session::{Session, Timestamp, Token};
use crate::sessions::{ClientTraits, Freshness, InvalidReason, Presented, ValidSession, Validation};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
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

/// What a request carries.
enum Credential<'a> {
    None,
    /// What no honest client sends, or what is not signed as it should be.
    Refused,
    Token(Cow<'a, str>),
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
        if let Err(refusal) = state.throttle().admit(client, now) {
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
        let address = self.client.address.map(|address| address.to_string());
        let client = match purpose {
            Purpose::Use => ClientTraits {
                fingerprint: only(&self.headers, &X_FINGERPRINT),
                ip: address.as_deref(),
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
        matches!(cookie, CookieCredential::Value(_)) && !state.sessions().binding().decides()
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
        match credential(state, &self.headers) {
            Credential::Token(token) => Some(token),
            Credential::None | Credential::Refused => None,
        }
    }
}

/// As [`Visitor::session`] where memory alone can tell that there is one; nothing where that takes more.
pub(super) fn held_session(state: &ApiState, extensions: &Extensions, headers: &HeaderMap) -> Option<ValidSession> {
    let Credential::Token(token) = credential(state, headers) else {
        return None;
    };
    let address = client::address(extensions, headers, &state.settings().trusted_proxies);
    state.throttle().admit(address, state.sessions().monotonic()).ok()?;
    let address = address.map(|address| address.to_string());
    let client = ClientTraits {
        fingerprint: only(headers, &X_FINGERPRINT),
        ip: address.as_deref(),
        user_agent: only(headers, &USER_AGENT),
    };
    state.sessions().validate_held(&token, &client)
}

/// What the headers carry: the cookie, or the header where that is enabled, never both.
fn credential<'a>(state: &ApiState, headers: &'a HeaderMap) -> Credential<'a> {
    let settings = state.settings();
    let from_cookie = cookie::find(headers, &settings.cookie.name);
    let from_header = if settings.session_header {
        session_header(headers)
    } else {
        SessionHeader::None
    };
    match (from_cookie, from_header) {
        (CookieCredential::None, SessionHeader::None) => Credential::None,
        (CookieCredential::None, SessionHeader::Token(token)) => Credential::Token(Cow::Borrowed(token)),
        (CookieCredential::Value(value), SessionHeader::None) => {
            let opened = state.set_cookie().seal().open(value);
            opened.map_or(Credential::Refused, Credential::Token)
        }
        _ => Credential::Refused,
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
