use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use super::sessions::ReadQuery;
use crate::http::caller::{Reader, Writer};
use crate::http::conditional::{self, IfMatch};
use crate::http::extract::{DataPath, JsonValueBody, OptionalJsonBody, QueryParams};
use crate::http::openapi::{ChangeProblems, KeyProblems};
use crate::http::problem::ApiError;
use crate::http::state::ApiState;
use crate::session::Json as JsonValue;

/// A value of a session's data, as it was written.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/data/{key}", tag = "sessions", operation_id = "read_value",
    security(("bearer" = ["sessions:read"])),
    params(("id" = String, Path), ("key" = String, Path), ReadQuery),
    responses((status = 200, description = "The value", body = Value), KeyProblems)
)]
pub(in crate::http) async fn value(
    _: Reader,
    State(state): State<ApiState>,
    DataPath { id, key }: DataPath,
    QueryParams(query): QueryParams<ReadQuery>,
) -> Result<Json<JsonValue>, ApiError> {
    let value = state.sessions().value(id, &key, query.freshness()).await?;
    value.map(Json).ok_or(ApiError::KeyNotFound)
}

/// Sets a value: any JSON, kept as it is written.
#[utoipa::path(
    put, path = "/v1/sessions/{id}/data/{key}", tag = "sessions", operation_id = "set_value",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), ("key" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = Value,
    responses((status = 204, description = "It is set", headers(("ETag" = String))), ChangeProblems)
)]
pub(in crate::http) async fn set(
    _: Writer,
    State(state): State<ApiState>,
    DataPath { id, key }: DataPath,
    IfMatch(if_match): IfMatch,
    JsonValueBody(value): JsonValueBody,
) -> Result<Response, ApiError> {
    let session = state.sessions().set_value(id, key, Some(value), if_match).await?;
    Ok(changed(session.version))
}

/// Removes a value; one that is not there is answered alike.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}/data/{key}", tag = "sessions", operation_id = "remove_value",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), ("key" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "It is gone", headers(("ETag" = String))), ChangeProblems)
)]
pub(in crate::http) async fn remove(
    _: Writer,
    State(state): State<ApiState>,
    DataPath { id, key }: DataPath,
    IfMatch(if_match): IfMatch,
) -> Result<Response, ApiError> {
    let session = state.sessions().set_value(id, key, None, if_match).await?;
    Ok(changed(session.version))
}

fn changed(version: u64) -> Response {
    (StatusCode::NO_CONTENT, [(ETAG, conditional::etag(version))]).into_response()
}

/// How much to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct IncrementBody {
    /// Any number; 1 where it is left out.
    #[schema(value_type = Option<f64>)]
    by: Option<Number>,
}

/// The sum.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct IncrementAnswer {
    #[schema(value_type = f64)]
    value: Number,
}

/// Adds to a number; a key that is missing counts as 0. Integers stay exact within 64 bits.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/data/{key}/increment", tag = "sessions", operation_id = "increment",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), ("key" = String, Path)),
    request_body = Option<IncrementBody>,
    responses((status = 200, description = "The sum", body = IncrementAnswer), ChangeProblems)
)]
pub(in crate::http) async fn increment(
    _: Writer,
    State(state): State<ApiState>,
    DataPath { id, key }: DataPath,
    OptionalJsonBody(body): OptionalJsonBody<IncrementBody>,
) -> Result<Json<IncrementAnswer>, ApiError> {
    let by = body.and_then(|body| body.by).unwrap_or_else(|| Number::from(1));
    let value = state.sessions().increment(id, key, by).await?;
    Ok(Json(IncrementAnswer { value }))
}
