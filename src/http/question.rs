//! What a gateway asks: of which request, and what its session must have and be.

use std::time::Duration;

use axum::http::{Extensions, HeaderMap, HeaderName, Method, Uri};

use super::problem::ApiError;
use super::state::ApiState;
use super::visitor::{is_recent, proves_origin};
use crate::sessions::ValidSession;
use crate::web::{Client, Origin};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");

/// The method of the request that the gateway asks about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// GET, which a navigation has.
    Get,
    /// Another safe one (RFC 9110, section 9.2.1).
    Safe,
    Unsafe,
    /// The gateway asks by GET, whatever it is asked itself, and does not say.
    Unsaid,
}

impl Asked {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            ref method if method.is_safe() => Self::Safe,
            _ => Self::Unsafe,
        }
    }

    /// As the gateway's headers say, and where these contradict each other or the request's own method, the worst: a
    /// gateway passes on what its client sent under a name that it does not set itself.
    pub(super) fn by_headers(headers: &HeaderMap, own: &Method) -> Self {
        let named = [X_FORWARDED_METHOD, X_ORIGINAL_METHOD];
        let mut named = named.iter().flat_map(|name| headers.get_all(name)).map(|value| {
            let method = Method::from_bytes(value.as_bytes());
            method.map_or(Self::Unsafe, |method| Self::of(&method))
        });
        let own = Self::of(own);
        let Some(first) = named.next() else {
            return if own == Self::Get { Self::Unsaid } else { own };
        };
        let all = named.chain((own != Self::Get).then_some(own));
        all.fold(first, |worst, next| match (worst, next) {
            (Self::Unsafe, _) | (_, Self::Unsafe) => Self::Unsafe,
            (Self::Get, Self::Get) => Self::Get,
            _ => Self::Safe,
        })
    }
}

/// What a session must have and be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Demands<'a> {
    pub(super) role: Option<&'a str>,
    pub(super) permission: Option<&'a str>,
    /// How long ago the user may have proved who they are.
    pub(super) max_age: Option<Duration>,
}

impl Demands<'_> {
    pub(super) fn check(&self, valid: &ValidSession) -> Result<(), ApiError> {
        let session = &valid.session;
        let lacks = |wanted: Option<&str>, has: &[String]| {
            wanted.is_some_and(|wanted| !has.iter().any(|given| given == wanted))
        };
        if lacks(self.role, &session.roles) {
            return Err(ApiError::Forbidden(
                "the session lacks the role that is needed".to_owned(),
            ));
        }
        if lacks(self.permission, &session.permissions) {
            return Err(ApiError::Forbidden(
                "the session lacks the permission that is needed".to_owned(),
            ));
        }
        if self
            .max_age
            .is_some_and(|max_age| !is_recent(session, valid.now, max_age))
        {
            return Err(ApiError::ReauthenticationRequired);
        }
        Ok(())
    }
}

/// A question of a gateway whose query is written plainly: each parameter once, and nothing escaped. It can be judged
/// without making anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PlainQuestion<'a> {
    pub(super) demands: Demands<'a>,
    wants_csrf: Option<bool>,
}

impl<'a> PlainQuestion<'a> {
    /// Nothing where the query is not plain, or asks for more.
    pub(super) fn of(query: Option<&'a str>) -> Option<Self> {
        let mut question = Self::default();
        let Some(query) = query else {
            return Some(question);
        };
        if query.contains(['%', '+']) {
            return None;
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let demands = &mut question.demands;
            let was_there = match name {
                "role" => demands.role.replace(value).is_some(),
                "permission" => demands.permission.replace(value).is_some(),
                "max_age" => {
                    let seconds = value.parse().ok()?;
                    demands.max_age.replace(Duration::from_secs(seconds)).is_some()
                }
                "csrf" => {
                    let wanted = match value {
                        "0" => false,
                        "1" => true,
                        _ => return None,
                    };
                    question.wants_csrf.replace(wanted).is_some()
                }
                _ => return None,
            };
            if was_there {
                return None;
            }
        }
        Some(question)
    }

    /// Whether the request's origin is to be judged.
    pub(super) fn wants_csrf(&self) -> bool {
        self.wants_csrf == Some(true)
    }

    /// Whether a session meets the question. A no says only that the answer is not this plain.
    pub(super) fn is_met(&self, state: &ApiState, request: Inquiry<'_>, valid: &ValidSession) -> bool {
        let proves_origin = !self.wants_csrf()
            || match Asked::by_headers(request.headers, request.method) {
                Asked::Get | Asked::Safe => true,
                Asked::Unsaid => false,
                Asked::Unsafe => proves_origin(state, request.headers, valid, || {
                    let trusted = &state.settings().trusted_proxies;
                    let client = Client::of(request.extensions, request.headers, request.uri, trusted);
                    Origin::of(request.headers, &client) == Origin::Own
                }),
            };
        proves_origin && self.demands.check(valid).is_ok()
    }
}

/// The head of a gateway's own request.
#[derive(Clone, Copy)]
pub(super) struct Inquiry<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}
