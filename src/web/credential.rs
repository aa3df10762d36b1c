use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::cookie::{self, CookieCredential, SetCookie};

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
    /// The cookie, or `Authorization: Session <token>` where that is enabled, never both (S05).
    pub(crate) fn of(headers: &'a HeaderMap, set_cookie: &SetCookie, session_header: bool) -> Self {
        let from_cookie = cookie::find(headers, set_cookie.name());
        let from_header = if session_header {
            header_token(headers)
        } else {
            HeaderToken::None
        };
        match (from_cookie, from_header) {
            (CookieCredential::None, HeaderToken::None) => Self::None,
            (CookieCredential::None, HeaderToken::Token(token)) => Self::Token(Cow::Borrowed(token)),
            (CookieCredential::Value(value), HeaderToken::None) => {
                set_cookie.seal().open(value).map_or(Self::Refused, Self::Token)
            }
            _ => Self::Refused,
        }
    }
}

enum HeaderToken<'a> {
    None,
    Token(&'a str),
    Refused,
}

/// Another scheme is none of our business: gateways pass on what the application asks for.
fn header_token(headers: &HeaderMap) -> HeaderToken<'_> {
    let mut found = HeaderToken::None;
    for value in headers.get_all(AUTHORIZATION) {
        let bytes = value.as_bytes();
        let scheme_ends = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        if !bytes[..scheme_ends].eq_ignore_ascii_case(b"Session") {
            continue;
        }
        let token = std::str::from_utf8(&bytes[scheme_ends..]).map(str::trim);
        found = match (found, token) {
            (HeaderToken::None, Ok(token)) => HeaderToken::Token(token),
            _ => return HeaderToken::Refused,
        };
    }
    found
}
