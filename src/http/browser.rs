use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;

use super::credential;
use super::extract::QueryParams;
use super::openapi::GateProblems;
use super::problem::ApiError;
use super::schema;
use super::state::ApiState;
use crate::session::Session;

/// No parameter is allowed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// Who am I: the session that the cookie or the header opens. It counts as a use.
#[utoipa::path(
    get, path = "/session", tag = "browsers",
    security(("cookie" = []), ("session" = [])),
    responses((status = 200, description = "The session", body = schema::Session), GateProblems)
)]
pub(super) async fn who_am_i(
    State(state): State<ApiState>,
    headers: HeaderMap,
    query: Result<QueryParams<NoParameters>, ApiError>,
) -> Result<Json<Arc<Session>>, ApiError> {
    query?;
    let valid = credential::session_of(&state, &headers).await?;
    Ok(Json(valid.session))
}
