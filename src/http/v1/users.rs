use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::audit::{Deed, audited};
use crate::http::caller::{Reader, Writer};
use crate::http::extract::{QueryParams, UserPath, session_id};
use crate::http::openapi::{EndProblems, FleetProblems};
use crate::http::problem::ApiError;
use crate::http::schema;
use crate::http::state::ApiState;
use crate::session::Session;

/// The live sessions of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct UserSessions {
    #[schema(value_type = Vec<schema::Session>)]
    sessions: Vec<Arc<Session>>,
}

/// The live sessions of a user, newest first.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/sessions", tag = "sessions", operation_id = "list_user_sessions",
    security(("bearer" = ["sessions:read"])),
    params(("user_id" = String, Path)),
    responses((status = 200, description = "The sessions", body = UserSessions), FleetProblems)
)]
pub(in crate::http) async fn list(
    _: Reader,
    State(state): State<ApiState>,
    UserPath(user): UserPath,
) -> Result<Json<UserSessions>, ApiError> {
    let sessions = state.sessions().sessions_of(&user).await?;
    Ok(Json(UserSessions { sessions }))
}

/// Which sessions of the user end, and how surely.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EndUserQuery {
    /// The id of the one session that stays.
    except: Option<String>,
    /// Whether to wait for a replica; without its confirmation the answer is a 503 `not_confirmed`.
    durable: Option<bool>,
}

/// How many sessions ended.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Revoked {
    pub(super) revoked: u64,
}

/// Logs a user out everywhere.
#[utoipa::path(
    delete, path = "/v1/users/{user_id}/sessions", tag = "sessions", operation_id = "end_user_sessions",
    security(("bearer" = ["sessions:write"])),
    params(("user_id" = String, Path), EndUserQuery),
    responses((status = 200, description = "How many ended", body = Revoked), EndProblems)
)]
pub(in crate::http) async fn end(
    writer: Writer,
    State(state): State<ApiState>,
    UserPath(user): UserPath,
    QueryParams(query): QueryParams<EndUserQuery>,
) -> Result<Json<Revoked>, ApiError> {
    let except = query.except.as_deref().map(|id| session_id(id, "except")).transpose()?;
    let durable = query.durable.unwrap_or_default();
    let sessions = state.sessions().clone();
    let deed = Deed {
        action: "end_user_sessions",
        user_id: Some(user.clone()),
        ..Deed::default()
    };
    let ending = async move { sessions.end_user(&user, except, durable).await };
    let revoked = audited(writer.cause(), deed, ending).await?;
    Ok(Json(Revoked { revoked }))
}
