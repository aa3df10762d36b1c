use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::audit::{Deed, audited};
use super::extract::{NoParameters, QueryParams, SessionPath};
use super::openapi::{GateProblems, LeaveProblems};
use super::problem::ApiError;
use super::schema;
use super::stale;
use super::state::ApiState;
use super::visitor::{Purpose, Visitor, is_recent};
use crate::session::{Session, SessionId};
use crate::sessions::ValidSession;

type Unadorned = Result<QueryParams<NoParameters>, ApiError>;

/// Who am I: the session that the cookie or the header opens. It counts as a use.
#[utoipa::path(
    get, path = "/session", tag = "browsers",
    security(("cookie" = []), ("session" = [])),
    responses((status = 200, description = "The session", body = schema::Session), GateProblems)
)]
pub(super) async fn who_am_i(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Unadorned,
) -> Result<Response, ApiError> {
    query?;
    let valid = visitor.session(&state).await?;
    Ok(stale::marked(Json(valid.session).into_response(), valid.stale))
}

/// What pages send along with unsafe requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Csrf {
    csrf_token: String,
}

/// The CSRF token of my session, for `X-CSRF-Token`. It changes with the session's token.
#[utoipa::path(
    get, path = "/session/csrf", tag = "browsers",
    security(("cookie" = []), ("session" = [])),
    responses((status = 200, description = "The CSRF token", body = Csrf), GateProblems)
)]
pub(super) async fn my_csrf_token(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Unadorned,
) -> Result<Response, ApiError> {
    query?;
    let valid = visitor.session(&state).await?;
    let csrf_token = state.sessions().csrf_token(&valid.session.id);
    Ok(stale::marked(Json(Csrf { csrf_token }).into_response(), valid.stale))
}

/// Log out: ends my session and clears the cookie. A session that has ended already is answered alike. It needs a
/// same-origin `Sec-Fetch-Site` or `Origin`, or the CSRF token in `X-CSRF-Token`.
#[utoipa::path(
    delete, path = "/session", tag = "browsers",
    security(("cookie" = []), ("session" = [])), params(("X-CSRF-Token" = Option<String>, Header)),
    responses(
        (status = 204, description = "I am logged out", headers(("Set-Cookie" = String, description = "Clears it"))),
        LeaveProblems
    )
)]
pub(super) async fn log_out(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Unadorned,
) -> Result<Response, ApiError> {
    query?;
    match visitor.validate(&state, Purpose::Leave).await? {
        Ok(valid) => {
            visitor.check_origin(&state, &valid)?;
            end(&state, &visitor, valid.session.id).await?;
        }
        Err(_) => visitor.check_origin_without_session(&state)?,
    }
    Ok(logged_out(&state))
}

/// My devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Devices {
    #[schema(value_type = Vec<schema::Session>)]
    sessions: Vec<Arc<Session>>,
}

/// My devices: the live sessions of my user, newest first. It needs a recent authentication.
#[utoipa::path(
    get, path = "/session/all", tag = "browsers",
    security(("cookie" = []), ("session" = [])),
    responses((status = 200, description = "The sessions", body = Devices), GateProblems)
)]
pub(super) async fn my_devices(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Unadorned,
) -> Result<Json<Devices>, ApiError> {
    query?;
    let valid = recent(&state, &visitor).await?;
    let sessions = devices(&state, &valid).await?;
    Ok(Json(Devices { sessions }))
}

/// Ends one of my sessions; any other id is answered alike, and changes nothing. It needs a recent authentication and
/// the same proof of origin as a log-out.
#[utoipa::path(
    delete, path = "/session/all/{id}", tag = "browsers",
    security(("cookie" = []), ("session" = [])),
    params(("id" = String, Path), ("X-CSRF-Token" = Option<String>, Header)),
    responses((status = 204, description = "I have no such session any more"), GateProblems)
)]
pub(super) async fn end_device(
    State(state): State<ApiState>,
    visitor: Visitor,
    SessionPath(id): SessionPath,
    query: Unadorned,
) -> Result<Response, ApiError> {
    query?;
    let valid = recent(&state, &visitor).await?;
    visitor.check_origin(&state, &valid)?;
    let mine = devices(&state, &valid).await?;
    if mine.iter().any(|session| session.id == id) {
        end(&state, &visitor, id).await?;
    }
    if id == valid.session.id {
        Ok(logged_out(&state))
    } else {
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// How many sessions ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OthersRevoked {
    revoked: u64,
}

/// Logs me out everywhere else. It needs a recent authentication and the same proof of origin as a log-out.
#[utoipa::path(
    delete, path = "/session/others", tag = "browsers",
    security(("cookie" = []), ("session" = [])), params(("X-CSRF-Token" = Option<String>, Header)),
    responses((status = 200, description = "How many ended", body = OthersRevoked), GateProblems)
)]
pub(super) async fn end_others(
    State(state): State<ApiState>,
    visitor: Visitor,
    query: Unadorned,
) -> Result<Json<OthersRevoked>, ApiError> {
    query?;
    let valid = recent(&state, &visitor).await?;
    visitor.check_origin(&state, &valid)?;
    let Some(user) = valid.session.user_id.clone() else {
        return Ok(Json(OthersRevoked { revoked: 0 }));
    };
    let (sessions, own) = (state.sessions().clone(), valid.session.id);
    let deed = Deed {
        action: "end_others",
        session_id: Some(own),
        user_id: Some(user.clone()),
        ..Deed::default()
    };
    let ending = async move { sessions.end_user(&user, Some(own), false).await };
    let revoked = audited(visitor.cause(), deed, ending).await?;
    Ok(Json(OthersRevoked { revoked }))
}

/// The visitor's session, where its user has proved who they are not long ago (S25).
async fn recent(state: &ApiState, visitor: &Visitor) -> Result<ValidSession, ApiError> {
    let valid = visitor.session(state).await?;
    if is_recent(&valid.session, valid.now, state.settings().recent_authentication) {
        Ok(valid)
    } else {
        Err(ApiError::ReauthenticationRequired)
    }
}

async fn devices(state: &ApiState, valid: &ValidSession) -> Result<Vec<Arc<Session>>, ApiError> {
    match &valid.session.user_id {
        Some(user) => Ok(state.sessions().sessions_of(user).await?),
        None => Ok(vec![Arc::clone(&valid.session)]),
    }
}

async fn end(state: &ApiState, visitor: &Visitor, id: SessionId) -> Result<(), ApiError> {
    let sessions = state.sessions().clone();
    let deed = Deed {
        action: "log_out",
        session_id: Some(id),
        ..Deed::default()
    };
    audited(visitor.cause(), deed, async move { sessions.end(id, false).await }).await
}

fn logged_out(state: &ApiState) -> Response {
    let cleared = [(SET_COOKIE, state.set_cookie().cleared(None))];
    (StatusCode::NO_CONTENT, cleared).into_response()
}
