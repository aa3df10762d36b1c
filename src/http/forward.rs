use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::QueryParams;
use super::openapi::GateProblems;
use super::problem::ApiError;
use super::rendered::Identity;
use super::state::ApiState;
use super::visitor::{Visitor, is_recent};
use crate::session::Session;
use crate::sessions::ValidSession;

const X_AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const X_AUTH_SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const X_AUTH_ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const X_AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");
const X_AUTH_CLASS: HeaderName = HeaderName::from_static("x-auth-class");
const X_AUTH_VERSION: HeaderName = HeaderName::from_static("x-auth-version");

/// Where gateways ask.
pub(super) const AUTH_PATH: &str = "/auth";

/// The headers that are always there, if empty: a gateway that copies them thereby overwrites what the client may have
/// sent under these names (S44).
pub(super) const IDENTITY: [HeaderName; 6] = [
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
        )),
        GateProblems
    )
)]
pub(super) async fn authenticate(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Result<QueryParams<Requirements>, ApiError>,
) -> Result<HeaderMap, ApiError> {
    let QueryParams(requirements) = query?;
    let valid = visitor.session(&state).await?;
    requirements.check(&valid)?;
    Ok(IDENTITY.into_iter().zip(identity(&valid.session)).collect())
}

impl Requirements {
    fn check(&self, valid: &ValidSession) -> Result<(), ApiError> {
        let session = &valid.session;
        if let Some(role) = &self.role
            && !session.roles.contains(role)
        {
            return Err(ApiError::Forbidden(
                "the session lacks the role that is needed".to_owned(),
            ));
        }
        if let Some(permission) = &self.permission
            && !session.permissions.contains(permission)
        {
            return Err(ApiError::Forbidden(
                "the session lacks the permission that is needed".to_owned(),
            ));
        }
        let max_age = self.max_age.map(Duration::from_secs);
        if max_age.is_some_and(|max_age| !is_recent(session, valid.now, max_age)) {
            return Err(ApiError::ReauthenticationRequired);
        }
        Ok(())
    }
}

/// The values of [`IDENTITY`].
pub(super) fn identity(session: &Session) -> Identity {
    let user = session.user_id.as_ref().map_or("", |user| user.as_str());
    let user: std::borrow::Cow<'_, str> = utf8_percent_encode(user, ESCAPED).into();
    [
        text(&user),
        text(session.id.text().as_str()),
        text(&session.roles.join(",")),
        text(&session.permissions.join(",")),
        text(session.class.as_str()),
        HeaderValue::from(session.version),
    ]
}

/// None of these texts holds a control character: they were checked when they came in.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
