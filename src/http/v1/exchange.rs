use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::Period;
use crate::http::caller::Writer;
use crate::http::extract::{JsonBody, NoParameters, QueryParams, SessionPath};
use crate::http::input::invalid;
use crate::http::openapi::{ChangeProblems, FormProblems};
use crate::http::problem::ApiError;
use crate::http::state::ApiState;
use crate::session::{Random as _, SystemRandom, Timestamp};
use crate::sessions::Freshness;
use crate::store::StoreError;

const DEFAULT_TTL: Duration = Duration::from_mins(1);
/// A token that upstreams verify offline outlives a log-out by as much.
const MAX_TTL: Duration = Duration::from_hours(1);
const MAX_AUDIENCE_BYTES: usize = 256;

/// What the token is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ExchangeBody {
    /// Who may rely on the token: 1 to 256 bytes without control characters.
    audience: String,
    /// How long, `1s` to `1h`; `60s` where it is left out. It never outlives the session.
    ttl: Option<String>,
}

/// A JWT of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ExchangeAnswer {
    /// To be verified by the keys at `/.well-known/jwks.json`.
    jwt: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// RFC 7519, section 4.1, and what upstreams decide by.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'a str,
    /// Nobody in an anonymous session.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    sid: String,
    roles: &'a [String],
    permissions: &'a [String],
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    jti: String,
}

/// Exchanges a session for a short-lived JWT, which upstreams verify without asking.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/token", tag = "sessions", operation_id = "exchange_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path)),
    request_body = ExchangeBody,
    responses((status = 200, description = "The JWT", body = ExchangeAnswer), ChangeProblems)
)]
pub(in crate::http) async fn exchange(
    _: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    JsonBody(body): JsonBody<ExchangeBody>,
) -> Result<Json<ExchangeAnswer>, ApiError> {
    let audience = audience(&body.audience)?;
    let ttl = body.ttl.as_deref().map(ttl).transpose()?.unwrap_or(DEFAULT_TTL);
    let keys = state.settings().token_keys.as_ref();
    let keys = keys.ok_or_else(|| {
        ApiError::InvalidRequest("this service has no key to sign with: set token.keys or jwt.secret".to_owned())
    })?;
    let session = state.sessions().get(id, Freshness::default()).await?;
    let session = session.ok_or(ApiError::SessionNotFound)?;
    let now = state.sessions().now();
    let seconds = |time: Timestamp| time.as_millis() / 1000;
    let exp = seconds(now.plus(ttl).min(session.expires_at));
    let claims = Claims {
        iss: "cloakroom",
        aud: audience,
        sub: session.user_id.as_ref().map(crate::session::UserId::as_str),
        sid: session.id.to_string(),
        roles: &session.roles,
        permissions: &session.permissions,
        iat: seconds(now),
        exp,
        auth_time: session.authenticated_at.map(seconds),
        jti: unique()?,
    };
    Ok(Json(ExchangeAnswer {
        jwt: keys.current().sign(&claims).map_err(StoreError::from)?,
        expires_at: Timestamp::from_millis(exp * 1000),
    }))
}

fn audience(text: &str) -> Result<&str, ApiError> {
    if (1..=MAX_AUDIENCE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text)
    } else {
        let rule = format!("1 to {MAX_AUDIENCE_BYTES} bytes without control characters");
        Err(invalid("audience", &rule))
    }
}

fn ttl(text: &str) -> Result<Duration, ApiError> {
    let period = text.parse().ok().map(Period::get);
    let allowed = period.filter(|ttl| (Duration::from_secs(1)..=MAX_TTL).contains(ttl));
    allowed.ok_or_else(|| invalid("ttl", "1s to 1h, such as 90s or 5m"))
}

fn unique() -> Result<String, ApiError> {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes).map_err(StoreError::from)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The public keys of the JWTs of sessions (RFC 7517), old ones that may still be in use included.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "sessions", operation_id = "jwks", security(()),
    responses((status = 200, description = "A JWK set", body = Value), FormProblems)
)]
pub(in crate::http) async fn published(
    State(state): State<ApiState>,
    query: Result<QueryParams<NoParameters>, ApiError>,
) -> Result<impl IntoResponse, ApiError> {
    query?;
    let keys = state.settings().token_keys.as_ref();
    let set = keys.map_or_else(|| serde_json::json!({"keys": []}), |keys| keys.current().published());
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Json(set)))
}
