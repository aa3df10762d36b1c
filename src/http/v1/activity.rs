use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::caller::{Reader, Writer};
use crate::http::extract::{JsonBody, SessionPath, UserPath};
use crate::http::input;
use crate::http::openapi::{FleetProblems, ReadProblems};
use crate::http::problem::ApiError;
use crate::http::schema;
use crate::http::state::ApiState;
use crate::session::{Activity, JsonMap};

/// Something that the user did.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ActivityBody {
    /// 1 to 128 bytes without control characters.
    action: String,
    /// At most 4 KiB.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    metadata: Option<JsonMap>,
}

/// The newest activities, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Activities {
    #[schema(value_type = Vec<schema::Activity>)]
    activities: Vec<Activity>,
}

/// The newest 100 activities of the last 24 hours.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/activity", tag = "sessions", operation_id = "list_activities",
    security(("bearer" = ["sessions:read"])),
    params(("id" = String, Path)),
    responses((status = 200, description = "Newest first", body = Activities), ReadProblems)
)]
pub(in crate::http) async fn list(
    _: Reader,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
) -> Result<Json<Activities>, ApiError> {
    let activities = state.sessions().activities(id).await?;
    Ok(Json(Activities { activities }))
}

/// Records an activity. It neither slides the expiry nor raises the version.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/activity", tag = "sessions", operation_id = "record_activity",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path)),
    request_body = ActivityBody,
    responses((status = 200, description = "Newest first", body = Activities), ReadProblems)
)]
pub(in crate::http) async fn record(
    _: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    JsonBody(body): JsonBody<ActivityBody>,
) -> Result<Json<Activities>, ApiError> {
    let action = input::action(body.action)?;
    let metadata = input::metadata(body.metadata.unwrap_or_default())?;
    let activities = state.sessions().record_activity(id, action, metadata).await?;
    Ok(Json(Activities { activities }))
}

/// How sessions of a user ended: `logout`, or `ended` with the reason `user` (all of the user's), `limit`, `all` or `theft`.
/// The newest 100, for 24 hours.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/activity", tag = "sessions", operation_id = "list_user_activities",
    security(("bearer" = ["sessions:read"])),
    params(("user_id" = String, Path)),
    responses((status = 200, description = "Newest first", body = Activities), FleetProblems)
)]
pub(in crate::http) async fn list_of_user(
    _: Reader,
    State(state): State<ApiState>,
    UserPath(user): UserPath,
) -> Result<Json<Activities>, ApiError> {
    let activities = state.sessions().user_activities(&user).await?;
    Ok(Json(Activities { activities }))
}
