use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::sessions::{DurableQuery, IssuedBody, answer_issued};
use crate::http::audit::{Deed, audited};
use crate::http::caller::Writer;
use crate::http::extract::{JsonBody, QueryParams, SessionPath};
use crate::http::input;
use crate::http::openapi::IssueProblems;
use crate::http::problem::ApiError;
use crate::http::state::ApiState;
use crate::session::DataKey;
use crate::sessions::RotateRequest;

/// What goes with the new token; everything may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RotateBody {
    /// Who logs in: data is dropped but for `keep`, and the old token ends at once.
    user_id: Option<String>,
    /// The new class, which starts new deadlines.
    class: Option<String>,
    roles: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
    /// The data keys that stay; all where it is left out, or at a log-in none.
    keep: Option<Vec<String>>,
    /// Whether the user has just proved who they are; true where it is left out.
    authenticated: Option<bool>,
    /// Whether to wait for a replica.
    durable: Option<bool>,
}

/// Gives a session a new token and id; with `user_id`, logs that user in.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/rotate", tag = "sessions", operation_id = "rotate_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), DurableQuery),
    request_body = RotateBody,
    responses(
        (status = 201, description = "The session under its new id", body = IssuedBody, headers(("Location" = String))),
        IssueProblems
    )
)]
pub(in crate::http) async fn rotate(
    writer: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    QueryParams(query): QueryParams<DurableQuery>,
    JsonBody(body): JsonBody<RotateBody>,
) -> Result<Response, ApiError> {
    let request = RotateRequest {
        user_id: body.user_id.as_deref().map(input::user_id).transpose()?,
        class: body.class,
        roles: body.roles.map(|roles| input::names("roles", roles)).transpose()?,
        permissions: body
            .permissions
            .map(|names| input::names("permissions", names))
            .transpose()?,
        keep: body.keep.as_deref().map(keys).transpose()?,
        authenticated: body.authenticated.unwrap_or(true),
        durable: query.or(body.durable),
    };
    let sessions = state.sessions().clone();
    let deed = Deed {
        action: "rotate_session",
        session_id: Some(id),
        user_id: request.user_id.clone(),
        ..Deed::default()
    };
    let issued = audited(writer.cause(), deed, async move { sessions.rotate(id, request).await }).await?;
    Ok(answer_issued(&state, issued, StatusCode::CREATED))
}

fn keys(keys: &[String]) -> Result<Vec<DataKey>, ApiError> {
    let checked = keys.iter().enumerate();
    checked
        .map(|(index, key)| input::data_key(&format!("keep[{index}]"), key))
        .collect()
}
