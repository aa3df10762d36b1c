use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::QueryParams;
use super::openapi::GateProblems;
use super::problem::ApiError;
#[cfg(any(test, feature = "fuzzing"))]
use super::question::PlainQuestion;
use super::question::{Asked, Demands};
use super::rendered::Identity;
use super::stale;
use super::state::ApiState;
use super::visitor::Visitor;
use crate::session::Session;
use crate::sessions::ValidSession;

const X_AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const X_AUTH_SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const X_AUTH_ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const X_AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");
const X_AUTH_CLASS: HeaderName = HeaderName::from_static("x-auth-class");
const X_AUTH_VERSION: HeaderName = HeaderName::from_static("x-auth-version");
const X_AUTH_CACHE_FOR: HeaderName = HeaderName::from_static("x-auth-cache-for");
const X_AUTH_REQUIRE: HeaderName = HeaderName::from_static("x-auth-require");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Where gateways ask.
pub(super) const AUTH_PATH: &str = "/auth";

/// The headers that are always there, if empty: a gateway that copies them thereby overwrites what the client may have
/// sent under these names (S44).
pub(super) static IDENTITY: [HeaderName; 6] = [
    X_AUTH_USER,
    X_AUTH_SESSION,
    X_AUTH_ROLES,
    X_AUTH_PERMISSIONS,
    X_AUTH_CLASS,
    X_AUTH_VERSION,
];

/// The characters of RFC 3986 that never need an escape stay as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the session must have besides being valid. An unknown parameter is a 400: a misspelt requirement must not let
/// anybody pass (S45).
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Requirements {
    /// A role that the session must have.
    role: Option<String>,
    /// A permission that the session must have.
    permission: Option<String>,
    /// How long ago the user may have proved who they are, in seconds.
    max_age: Option<u64>,
    /// `1`: a request of an unsafe method (by `X-Forwarded-Method` or `X-Original-Method`) must prove its origin.
    #[param(inline)]
    csrf: Option<Switch>,
    /// Where navigations without a session are sent in place of a 401: a URL on the list `auth.return_urls`, the query
    /// apart.
    sign_in: Option<String>,
}

/// Whether something is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub(super) enum Switch {
    /// It is not.
    #[serde(rename = "0")]
    Off,
    /// It is.
    #[serde(rename = "1")]
    On,
}

/// Forward auth: whether the request that a gateway asks about carries a valid session. Any method is accepted. It
/// counts as a use.
#[utoipa::path(
    get, path = "/auth", tag = "gateways", params(Requirements),
    security(("cookie" = []), ("session" = [])),
    responses(
        (status = 200, description = "It does", headers(
            ("X-Auth-User" = String, description = "The user id, percent-encoded; empty in an anonymous session"),
            ("X-Auth-Session" = String, description = "The session id"),
            ("X-Auth-Roles" = String, description = "Separated by commas"),
            ("X-Auth-Permissions" = String, description = "Separated by commas"),
            ("X-Auth-Class" = String, description = "The class"),
            ("X-Auth-Version" = u64, description = "The version"),
            ("X-Cloakroom-Stale" = u64, description = "As with `GET /v1/sessions/{id}`"),
            ("X-Auth-Cache-For" = u64, description = "For so many milliseconds the answer may be reused for this very \
                cookie, method and query; only with `auth.cache_for`"),
        )),
        (status = 302, description = "To `sign_in`", headers(("Location" = String))),
        GateProblems
    )
)]
pub(super) async fn authenticate(
    State(state): State<ApiState>,
    method: Method,
    visitor: Visitor,
    query: Result<QueryParams<Requirements>, ApiError>,
) -> Result<Response, ApiError> {
    let QueryParams(requirements) = query?;
    let asked = Asked::by_headers(&visitor.headers, &method);
    requirements.judge(&state, &visitor, asked, Reuse::Allowed).await
}

/// Forward auth for Envoy's `ext_authz` over HTTP with the path prefix `/ext_authz`: the path and the query are those of
/// the request asked about, and decide nothing (S45); its method is the request's. What the session must have stands in
/// the header `X-Auth-Require`, written as the query of `/auth` is.
#[utoipa::path(
    get, path = "/ext_authz/{*original}", tag = "gateways",
    params(
        ("original" = String, Path, description = "The original path"),
        ("X-Auth-Require" = Option<String>, Header, description = "Such as `role=ops&csrf=1`"),
    ),
    security(("cookie" = []), ("session" = [])),
    responses(
        (status = 200, description = "As `/auth`, but never to be reused"),
        (status = 302, description = "To `sign_in`", headers(("Location" = String))),
        GateProblems
    )
)]
pub(super) async fn authenticate_any_path(
    State(state): State<ApiState>,
    method: Method,
    visitor: Visitor,
) -> Result<Response, ApiError> {
    let requirements = required_by_header(&visitor.headers)?;
    let asked = Asked::of(&method);
    requirements.judge(&state, &visitor, asked, Reuse::Forbidden).await
}

pub(super) fn required_by_header(headers: &HeaderMap) -> Result<Requirements, ApiError> {
    let refusal = |rule: String| ApiError::InvalidRequest(format!("{X_AUTH_REQUIRE}: {rule}"));
    let mut lines = headers.get_all(X_AUTH_REQUIRE).iter();
    let line = lines.next().map_or(Ok(""), HeaderValue::to_str);
    let (Ok(line), None) = (line, lines.next()) else {
        return Err(refusal("one line of ASCII text".to_owned()));
    };
    if line.contains('#') {
        return Err(refusal("no fragment is allowed".to_owned()));
    }
    let uri: Uri = format!("/?{line}")
        .parse()
        .map_err(|_| refusal("a query such as role=ops&max_age=60".to_owned()))?;
    let parsed = Query::try_from_uri(&uri);
    let Query(requirements) = parsed.map_err(|rejection| {
        let cause = std::error::Error::source(&rejection).map_or_else(String::new, ToString::to_string);
        refusal(cause)
    })?;
    Ok(requirements)
}

/// Whether the gateway may reuse the answer where nothing else is against it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Allowed,
    Forbidden,
}

impl Requirements {
    async fn judge(
        &self,
        state: &ApiState,
        visitor: &Visitor,
        asked: Asked,
        reuse: Reuse,
    ) -> Result<Response, ApiError> {
        let sign_in = self.sign_in.as_deref().map(|url| sign_in_url(state, url)).transpose()?;
        let wants_csrf = self.csrf == Some(Switch::On);
        if wants_csrf && asked == Asked::Unsaid {
            let detail =
                "csrf=1: the gateway must say the request's method, in X-Forwarded-Method or X-Original-Method";
            return Err(ApiError::InvalidRequest(detail.to_owned()));
        }
        let valid = match visitor.session(state).await {
            Ok(valid) => valid,
            Err(error) => return refused(error, visitor, asked, sign_in),
        };
        let judges_origin = wants_csrf && asked == Asked::Unsafe;
        if judges_origin {
            visitor.check_origin(state, &valid)?;
        }
        self.demands().check(&valid)?;
        let mut answer: HeaderMap = IDENTITY
            .iter()
            .cloned()
            .zip(identity(&valid.session).values())
            .collect();
        // What was judged by more than cookie, method and query must be judged again.
        if reuse == Reuse::Allowed && !judges_origin && visitor.is_judged_by_cookie_alone(state) {
            let reusable = self.reusable_for(state, &valid).as_millis();
            if let Some(millis) = u64::try_from(reusable).ok().filter(|millis| *millis > 0) {
                answer.insert(X_AUTH_CACHE_FOR, HeaderValue::from(millis));
            }
        }
        Ok(stale::marked(answer.into_response(), valid.stale))
    }

    /// The smallest of the setting, what the staleness bound leaves, and the time until the answer would be another.
    fn reusable_for(&self, state: &ApiState, valid: &ValidSession) -> Duration {
        let max_age = self.max_age.map(Duration::from_secs);
        let still_recent = max_age.map_or(Duration::MAX, |max_age| {
            let proved = valid.session.authenticated_at.unwrap_or_default();
            max_age.saturating_sub(valid.now.since(proved))
        });
        let vouched = state.sessions().reusable_for(valid);
        state.settings().cache_for.min(vouched).min(still_recent)
    }

    fn demands(&self) -> Demands<'_> {
        Demands {
            role: self.role.as_deref(),
            permission: self.permission.as_deref(),
            max_age: self.max_age.map(Duration::from_secs),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl PlainQuestion<'_> {
    /// Whether the long way reads the same out of a query.
    pub(super) fn agrees_with(&self, long: &Requirements) -> bool {
        self.demands == long.demands() && self.wants_csrf() == (long.csrf == Some(Switch::On)) && long.sign_in.is_none()
    }
}

/// The URL, or the refusal of one that is not on the list.
fn sign_in_url(state: &ApiState, url: &str) -> Result<HeaderValue, ApiError> {
    let listed = listed_url(&state.settings().return_urls, url);
    listed.ok_or_else(|| ApiError::InvalidRequest("sign_in: not one of auth.return_urls".to_owned()))
}

/// The URL, where the list has one of the same scheme, host, port and path (S47). Where the one on the list has a query,
/// that must be the same too.
pub(super) fn listed_url(list: &[String], url: &str) -> Option<HeaderValue> {
    let wanted = Url::parse(url).ok()?;
    let is_bare = wanted.username().is_empty() && wanted.password().is_none() && wanted.fragment().is_none();
    let is_listed = |listed: &String| {
        Url::parse(listed).is_ok_and(|listed| {
            listed.origin().is_tuple()
                && listed.origin() == wanted.origin()
                && listed.path() == wanted.path()
                && listed.query().is_none_or(|query| wanted.query() == Some(query))
        })
    };
    let may_go_there = is_bare && list.iter().any(is_listed);
    may_go_there.then(|| HeaderValue::from_str(wanted.as_str()).ok())?
}

/// A navigation without a session is sent to the sign-in page, everything else is told what is wrong.
fn refused(
    error: ApiError,
    visitor: &Visitor,
    asked: Asked,
    sign_in: Option<HeaderValue>,
) -> Result<Response, ApiError> {
    let is_get = matches!(asked, Asked::Get | Asked::Unsaid);
    match (&error, sign_in) {
        (ApiError::SessionRefused(_), Some(sign_in)) if is_get && is_navigation(&visitor.headers) => {
            let mut response = error.into_response();
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, sign_in);
            Ok(response)
        }
        _ => Err(error),
    }
}

/// Whether a browser wants a page: by its word, or where it is too old for that, by what it accepts.
fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => headers.get_all(ACCEPT).iter().any(|value| {
            let accepted = value.to_str().unwrap_or_default();
            accepted
                .split([',', ';'])
                .any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
        }),
    }
}

/// The values of [`IDENTITY`]. None of these texts holds a control character: they were checked when they came in.
pub(super) fn identity(session: &Session) -> Identity {
    let user = session.user_id.as_ref().map_or("", |user| user.as_str());
    Identity::of(&[
        utf8_percent_encode(user, ESCAPED).to_string(),
        session.id.to_string(),
        session.roles.join(","),
        session.permissions.join(","),
        session.class.to_string(),
        session.version.to_string(),
    ])
}
