use std::net::IpAddr;

use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use serde_json::value::to_raw_value;

use super::backend::Backend;
use super::options::{CrossSite, Options};
use crate::session::JsonMap;
use crate::sessions::{ClientIp, ClientTraits};
use crate::web::{self, Carried, Client, Origin, Scheme};

const X_FINGERPRINT: HeaderName = HeaderName::from_static("x-fingerprint");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// As many characters of a user agent as metadata keeps.
const MAX_USER_AGENT_CHARS: usize = 256;

/// What is known of a request, taken from it before the application has it; nothing of it is judged yet.
pub(super) struct Visit {
    pub(super) presented: Presented,
    /// How the client spoke, where that is known.
    pub(super) scheme: Option<Scheme>,
    address: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
    fingerprint: Option<HeaderValue>,
    csrf_token: Option<HeaderValue>,
    /// Our own also where the request is safe, whoever sent it.
    origin: Origin,
}

/// What a request carries to open its session.
pub(super) enum Presented {
    Nothing,
    /// What no honest client sends.
    Refused,
    /// The value of the cookie.
    Cookie(String),
    /// The token in the header.
    Header(String),
    /// The pieces of a session that the client holds.
    Pieces(Vec<String>),
}

impl Visit {
    pub(super) fn of<B>(request: &Request<B>, backend: &Backend, options: &Options) -> Self {
        let (headers, extensions) = (request.headers(), request.extensions());
        let trusted = &options.trusted_proxies;
        let origin = if is_safe(request.method()) || options.cross_site == CrossSite::Allow {
            Origin::Own
        } else {
            Origin::of(headers, &Client::of(extensions, headers, request.uri(), trusted))
        };
        Self {
            presented: presented(headers, backend, options),
            scheme: web::scheme(extensions, headers, trusted),
            address: web::address(extensions, headers, trusted),
            user_agent: headers.get(USER_AGENT).cloned(),
            fingerprint: headers.get(X_FINGERPRINT).cloned(),
            csrf_token: headers.get(X_CSRF_TOKEN).cloned(),
            origin,
        }
    }

    /// Whether the request may have a session without a CSRF token.
    pub(super) fn may_come_from(&self, policy: CrossSite) -> bool {
        match policy {
            CrossSite::Refuse => self.origin != Origin::Other,
            CrossSite::Strict => self.origin == Origin::Own,
            CrossSite::Allow => true,
        }
    }

    /// The CSRF token in the header.
    pub(super) fn csrf_token(&self) -> Option<&str> {
        text(self.csrf_token.as_ref())
    }

    /// What is known of the client.
    pub(super) fn traits(&self) -> ClientTraits<'_> {
        ClientTraits {
            fingerprint: self.fingerprint(),
            ip: self.address.map(ClientIp::Address),
            user_agent: text(self.user_agent.as_ref()),
        }
    }

    pub(super) fn fingerprint(&self) -> Option<&str> {
        text(self.fingerprint.as_ref())
    }

    /// Where a session that begins with this request comes from.
    pub(super) fn metadata(&self) -> JsonMap {
        let agent = text(self.user_agent.as_ref());
        let agent = agent.map(|agent| agent.chars().take(MAX_USER_AGENT_CHARS).collect::<String>());
        let notes = [
            ("ip", self.address.map(|address| address.to_string())),
            ("user_agent", agent),
        ];
        let written = notes
            .into_iter()
            .filter_map(|(key, note)| Some((key.to_owned(), to_raw_value(&note?).ok()?)));
        written.collect()
    }
}

/// RFC 9110, section 9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

fn presented(headers: &HeaderMap, backend: &Backend, options: &Options) -> Presented {
    match backend {
        Backend::Shared(_) => match Carried::of(headers, &options.cookie.name, options.session_header) {
            Carried::None => Presented::Nothing,
            Carried::Refused => Presented::Refused,
            Carried::Cookie(value) => Presented::Cookie(value.to_owned()),
            Carried::Header(token) => Presented::Header(token.to_owned()),
        },
        Backend::ClientSide(client_side) => match client_side.gather(headers, &options.cookie.name) {
            Some(pieces) if pieces.is_empty() => Presented::Nothing,
            Some(pieces) => Presented::Pieces(pieces),
            None => Presented::Refused,
        },
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}
