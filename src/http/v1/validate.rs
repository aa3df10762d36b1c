use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::caller::Reader;
use crate::http::extract::{JsonBody, SessionPath};
use crate::http::input::{self, ConsistencyName};
use crate::http::openapi::{FleetProblems, ReadProblems};
use crate::http::problem::ApiError;
use crate::http::rendered::Object;
use crate::http::schema;
use crate::http::stale;
use crate::http::state::ApiState;
use crate::sessions::{ClientIp, ClientTraits, Freshness, InvalidReason, Presented, Validation};

/// A token to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ValidateBody {
    /// What the client sent: the token, or the value of its cookie, whose signature is then checked.
    token: String,
    /// What identifies the client's device; judged by the policy `binding.fingerprint`.
    fingerprint: Option<String>,
    /// The CSRF token that came along, to be judged too.
    csrf_token: Option<String>,
    /// The client's address; held by `binding.ip` against the session's metadata `ip`.
    ip: Option<String>,
    /// The client's user agent; held by `binding.user_agent` against the session's metadata `user_agent`.
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
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "a description; what is sent is put together from what is written already"
)]
pub(in crate::http) struct ValidateAnswer {
    valid: bool,
    session: Option<schema::Session>,
    /// `session_not_found`, `session_expired`, `csrf_mismatch`, `fingerprint_mismatch` (the client is another one) or
    /// `reauthentication_required`.
    reason: Option<&'static str>,
}

/// How the judgement of a token that opens a session begins.
const VALID: &str = r#"{"valid":true,"session":"#;

/// The judgement of a token that opens no session.
#[derive(Serialize)]
struct Refused {
    valid: bool,
    reason: &'static str,
}

/// Judges a token. What is no token is `session_not_found`, and so is a session id.
#[utoipa::path(
    post, path = "/v1/sessions/validate", tag = "sessions", operation_id = "validate",
    security(("bearer" = ["sessions:read"])),
    request_body = ValidateBody,
    responses((status = 200, description = "The judgement", body = ValidateAnswer, headers(
        ("X-Cloakroom-Stale" = u64, description = "As with `GET /v1/sessions/{id}`"),
    )), FleetProblems)
)]
pub(in crate::http) async fn validate(
    _: Reader,
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<ValidateBody>,
) -> Result<Response, ApiError> {
    judge(&state, &body).await
}

/// The judgement of a body.
pub(in crate::http) async fn judge(state: &ApiState, body: &ValidateBody) -> Result<Response, ApiError> {
    let token = state.set_cookie().seal().open_or_bare(&body.token);
    let presented = Presented {
        token: &token,
        csrf_token: body.csrf_token.as_deref(),
        client: ClientTraits {
            fingerprint: body.fingerprint.as_deref(),
            ip: body.ip.as_deref().map(ClientIp::Text),
            user_agent: body.user_agent.as_deref(),
        },
        touch: body.touch.unwrap_or(true),
        freshness: Freshness {
            accept_stale: true,
            ..input::freshness(body.consistency, body.min_version)
        },
    };
    match state.sessions().validate(presented).await? {
        Validation::Valid(valid) => {
            let session = Object::of(&valid.session)?;
            Ok(stale::marked(session.within(VALID).into_response(), valid.stale))
        }
        Validation::Invalid(reason) => {
            if reason == InvalidReason::SessionNotFound {
                let metrics = state.sessions().metrics();
                metrics.invalid_tokens.with_label_values(&["application"]).inc();
            }
            let reason = reason.as_str();
            Ok(Json(Refused { valid: false, reason }).into_response())
        }
    }
}

/// A body without anything unusual about it; what is wrong with any other is for [`JsonBody`] to say.
pub(in crate::http) fn plain(body: &[u8]) -> Option<ValidateBody> {
    // Serde would also take an array for a struct.
    body.starts_with(b"{").then(|| serde_json::from_slice(body).ok())?
}

/// As [`judge`] where memory alone can tell that the token opens a session, and nothing but that was asked.
pub(in crate::http) fn held(state: &ApiState, body: &ValidateBody) -> Option<Object> {
    let asks_more = body.csrf_token.is_some() || body.consistency.is_some() || body.min_version.is_some();
    if asks_more || body.touch == Some(false) {
        return None;
    }
    let token = state.set_cookie().seal().open_or_bare(&body.token);
    let client = ClientTraits {
        fingerprint: body.fingerprint.as_deref(),
        ip: body.ip.as_deref().map(ClientIp::Text),
        user_agent: body.user_agent.as_deref(),
    };
    let valid = state.sessions().validate_held(&token, &client, |_| true)?;
    Some(Object::of(&valid.session).ok()?.within(VALID))
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
