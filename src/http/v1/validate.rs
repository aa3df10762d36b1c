use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::caller::Reader;
use crate::http::extract::{JsonBody, SessionPath};
use crate::http::input::{self, ConsistencyName};
use crate::http::openapi::{FleetProblems, ReadProblems};
use crate::http::problem::ApiError;
use crate::http::schema;
use crate::http::state::ApiState;
use crate::session::Session;
use crate::sessions::{Freshness, Presented, Validation};

/// A token to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what only a binding policy judges is accepted, and means nothing without one"
)]
pub(in crate::http) struct ValidateBody {
    /// What the client sent: the token, or the value of its cookie, whose signature is then checked.
    token: String,
    /// What identifies the client's device.
    fingerprint: Option<String>,
    /// The CSRF token that came along, to be judged too.
    csrf_token: Option<String>,
    /// The client's address.
    ip: Option<String>,
    /// The client's user agent.
    user_agent: Option<String>,
    /// Whether this is a use of the session, which slides its expiry; it is where this is left out.
    touch: Option<bool>,
    /// `strong` goes round this server's memory.
    #[schema(inline)]
    consistency: Option<ConsistencyName>,
    /// Memory will do only from this version on.
    min_version: Option<u64>,
}

/// The judgement: a session, or the reason why there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ValidateAnswer {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Session>)]
    session: Option<Arc<Session>>,
    /// `session_not_found`, `session_expired` or `csrf_mismatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Judges a token. What is no token is `session_not_found`, and so is a session id.
#[utoipa::path(
    post, path = "/v1/sessions/validate", tag = "sessions", operation_id = "validate",
    security(("bearer" = ["sessions:read"])),
    request_body = ValidateBody,
    responses((status = 200, description = "The judgement", body = ValidateAnswer), FleetProblems)
)]
pub(in crate::http) async fn validate(
    _: Reader,
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<ValidateBody>,
) -> Result<Json<ValidateAnswer>, ApiError> {
    let token = state.set_cookie().seal().open_or_bare(&body.token);
    let presented = Presented {
        token: &token,
        csrf_token: body.csrf_token.as_deref(),
        touch: body.touch.unwrap_or(true),
        freshness: input::freshness(body.consistency, body.min_version),
    };
    let (session, reason) = match state.sessions().validate(presented).await? {
        Validation::Valid(valid) => (Some(valid.session), None),
        Validation::Invalid(reason) => (None, Some(reason.as_str())),
    };
    let valid = session.is_some();
    Ok(Json(ValidateAnswer { valid, session, reason }))
}

/// A CSRF token to be compared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct CsrfBody {
    csrf_token: String,
}

/// Whether the CSRF token is the session's.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CsrfAnswer {
    valid: bool,
}

/// Compares a CSRF token with the session's, in constant time.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/csrf/verify", tag = "sessions", operation_id = "verify_csrf",
    security(("bearer" = ["sessions:read"])),
    params(("id" = String, Path)),
    request_body = CsrfBody,
    responses((status = 200, description = "Whether it is", body = CsrfAnswer), ReadProblems)
)]
pub(in crate::http) async fn verify_csrf(
    _: Reader,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    JsonBody(body): JsonBody<CsrfBody>,
) -> Result<Json<CsrfAnswer>, ApiError> {
    let sessions = state.sessions();
    let session = sessions.get(id, Freshness::default()).await?;
    let session = session.ok_or(ApiError::SessionNotFound)?;
    // Within the grace of a rotation, pages made with the former token still send its CSRF token.
    let [by_path, by_session] = [id, session.id].map(|id| sessions.verify_csrf(&id, &body.csrf_token));
    Ok(Json(CsrfAnswer {
        valid: by_path | by_session,
    }))
}
