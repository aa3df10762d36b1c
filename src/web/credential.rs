use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::cookie::{self, CookieCredential, SetCookie};
use super::seal::Seal;

/// What a request carries to open its session, not yet judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried<'a> {
    /// Nothing.
    None,
    /// What no honest client sends.
    Refused,
    /// The cookie's value.
    Cookie(&'a str),
    /// The token in `Authorization: Session <token>`.
    Header(&'a str),
}

impl<'a> Carried<'a> {
    /// The cookie of this name, or the header where that is enabled, never both (S05).
    pub(crate) fn of(headers: &'a HeaderMap, cookie_name: &str, session_header: bool) -> Self {
        let from_cookie = cookie::find(headers, cookie_name);
        let from_header = if session_header { in_header(headers) } else { Self::None };
        match (from_cookie, from_header) {
            (CookieCredential::None, from_header) => from_header,
            (CookieCredential::Value(value), Self::None) => Self::Cookie(value),
            _ => Self::Refused,
        }
    }

    /// The token; nothing where a signature is due and is not there or is wrong.
    pub(crate) fn open(self, seal: &Seal) -> Credential<'a> {
        match self {
            Self::None => Credential::None,
            Self::Refused => Credential::Refused,
            Self::Cookie(value) => seal.open(value).map_or(Credential::Refused, Credential::Token),
            Self::Header(token) => Credential::Token(Cow::Borrowed(token)),
        }
    }
}

/// What a request carries to open its session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// Nothing.
    None,
    /// What no honest client sends, or what is not signed as it should be.
    Refused,
    /// A token, well formed or not.
    Token(Cow<'a, str>),
}

impl<'a> Credential<'a> {
    /// What the headers carry.
    pub(crate) fn of(headers: &'a HeaderMap, set_cookie: &SetCookie, session_header: bool) -> Self {
        Carried::of(headers, set_cookie.name(), session_header).open(set_cookie.seal())
    }
}

/// Another scheme is none of our business: gateways pass on what the application asks for.
fn in_header(headers: &HeaderMap) -> Carried<'_> {
    let mut found = Carried::None;
    for value in headers.get_all(AUTHORIZATION) {
        let bytes = value.as_bytes();
        let scheme_ends = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        if !bytes[..scheme_ends].eq_ignore_ascii_case(b"Session") {
            continue;
        }
        let token = std::str::from_utf8(&bytes[scheme_ends..]).map(str::trim);
        found = match (found, token) {
            (Carried::None, Ok(token)) => Carried::Header(token),
            _ => return Carried::Refused,
        };
    }
    found
}
