use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::audit::{Deed, audited};
use crate::http::caller::{Reader, Writer};
use crate::http::conditional::{self, IfMatch};
use crate::http::extract::{JsonBody, QueryParams, SessionPath};
use crate::http::input::{self, ConsistencyName};
use crate::http::openapi::{ChangeProblems, EndProblems, IssueProblems, ReadProblems};
use crate::http::problem::ApiError;
use crate::http::rendered::Object;
use crate::http::schema;
use crate::http::stale;
use crate::http::state::ApiState;
use crate::session::{Json as JsonValue, JsonMap, SecurityChange, Session, Timestamp};
use crate::sessions::{CreateRequest, Freshness, Issued, Seen};
use crate::store::Change;
use crate::web::Life;

/// A session to be made; everything may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct CreateBody {
    /// Whose it is: 1 to 256 bytes; nobody's where it is left out.
    user_id: Option<String>,
    /// `normal` where it is left out.
    class: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    data: Option<JsonMap>,
    roles: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
    /// At most 4 KiB; a longer `user_agent` than 256 characters is cut.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    metadata: Option<JsonMap>,
    /// What identifies the client's device; only a hash of it is stored.
    fingerprint: Option<String>,
    /// Whether to wait for a replica.
    durable: Option<bool>,
}

/// A session with what opens it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct IssuedBody {
    /// The secret for the client.
    token: String,
    /// What the client sends along with unsafe requests.
    csrf_token: String,
    /// The value of the header `Set-Cookie` to be passed on to the browser.
    set_cookie: String,
    #[schema(value_type = schema::Session)]
    session: Arc<Session>,
    /// Whether a replica has it; only where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
}

/// Makes a session.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "create_session",
    security(("bearer" = ["sessions:write"])),
    params(DurableQuery),
    request_body = CreateBody,
    responses(
        (status = 201, description = "It was made", body = IssuedBody, headers(("Location" = String))),
        IssueProblems
    )
)]
pub(in crate::http) async fn create(
    _: Writer,
    State(state): State<ApiState>,
    QueryParams(query): QueryParams<DurableQuery>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Response, ApiError> {
    let request = CreateRequest {
        user_id: body.user_id.as_deref().map(input::user_id).transpose()?,
        class: body.class,
        data: input::data(body.data.unwrap_or_default())?,
        roles: input::names("roles", body.roles.unwrap_or_default())?,
        permissions: input::names("permissions", body.permissions.unwrap_or_default())?,
        metadata: input::metadata(body.metadata.unwrap_or_default())?,
        fingerprint: body.fingerprint.map(input::fingerprint).transpose()?,
        durable: query.or(body.durable),
    };
    let issued = state.sessions().create(request).await?;
    Ok(answer_issued(&state, issued, StatusCode::CREATED))
}

/// The answer to all that gives out a token.
pub(super) fn answer_issued(state: &ApiState, issued: Issued, status: StatusCode) -> Response {
    let session = &issued.session;
    let location = format!("/v1/sessions/{}", session.id);
    let life = Life {
        now: issued.now,
        ends_at: session.absolute_expires_at,
        outlives_browser: false,
    };
    let body = IssuedBody {
        token: issued.token.expose(),
        csrf_token: issued.csrf_token,
        set_cookie: state.set_cookie().value(&issued.token, life, None),
        session: issued.session,
        durable: issued.durable,
    };
    let mut response = (status, Json(body)).into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// How fresh a read must be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ReadQuery {
    /// `strong` goes round this server's memory.
    #[param(inline)]
    consistency: Option<ConsistencyName>,
    /// Memory will do only from this version on.
    min_version: Option<u64>,
}

impl ReadQuery {
    pub(super) fn freshness(&self) -> Freshness {
        input::freshness(self.consistency, self.min_version)
    }
}

/// Reads a session; it does not count as a use.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "read_session",
    security(("bearer" = ["sessions:read"])),
    params(("id" = String, Path), ReadQuery),
    responses(
        (status = 200, description = "The session", body = schema::Session, headers(
            ("ETag" = String),
            ("X-Cloakroom-Stale" = u64, description = "Only beyond the staleness bound, while the store is out of reach and \
                the class has `serve_stale`: so many milliseconds ago the session was known to be so"),
        )),
        (status = 304, description = "The version that `If-None-Match` names"),
        ReadProblems
    )
)]
pub(in crate::http) async fn read(
    _: Reader,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    QueryParams(query): QueryParams<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let freshness = Freshness {
        accept_stale: true,
        ..query.freshness()
    };
    let seen = state.sessions().get_marked(id, freshness).await?;
    let Seen { session, stale: age } = seen.ok_or(ApiError::SessionNotFound)?;
    let etag = [(ETAG, conditional::etag(session.version))];
    if conditional::is_known(&headers, session.version)? {
        return Ok(stale::marked((StatusCode::NOT_MODIFIED, etag).into_response(), age));
    }
    Ok(stale::marked((etag, Object::of(&session)?).into_response(), age))
}

/// A change; what is left out stays. Objects merge by their top-level keys: null removes, any other value replaces
/// whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ChangeBody {
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    data: Option<BTreeMap<String, Option<JsonValue>>>,
    roles: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
    #[serde(default, deserialize_with = "input::object")]
    security: Option<SecurityBody>,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    metadata: Option<BTreeMap<String, Option<JsonValue>>>,
}

/// A change of the security fields; null sets one back to its default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "null and absent mean different things in a merge")]
pub(in crate::http) struct SecurityBody {
    #[serde(default, deserialize_with = "input::nullable")]
    #[schema(value_type = Option<u32>)]
    login_attempts: Option<Option<u32>>,
    #[serde(default, deserialize_with = "input::nullable")]
    #[schema(value_type = Option<bool>)]
    suspicious: Option<Option<bool>>,
    #[serde(default, deserialize_with = "input::nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_password_change: Option<Option<String>>,
}

impl SecurityBody {
    fn change(self) -> Result<SecurityChange, ApiError> {
        let time = |text: Option<String>| text.as_deref().map(timestamp).transpose();
        Ok(SecurityChange {
            login_attempts: self.login_attempts.map(Option::unwrap_or_default),
            suspicious: self.suspicious.map(Option::unwrap_or_default),
            last_password_change: self.last_password_change.map(time).transpose()?,
        })
    }
}

fn timestamp(text: &str) -> Result<Timestamp, ApiError> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let rule = "a time in RFC 3339 such as 2026-01-31T12:00:00Z, 1970 or later";
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| input::invalid("security.last_password_change", rule))
}

/// Changes a session.
#[utoipa::path(
    patch, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "change_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Versions that will do")),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "The session as it is then", body = schema::Session, headers(("ETag" = String))),
        ChangeProblems
    )
)]
pub(in crate::http) async fn change(
    _: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    IfMatch(if_match): IfMatch,
    JsonBody(body): JsonBody<ChangeBody>,
) -> Result<Response, ApiError> {
    let mut change = Change {
        roles: body.roles.map(|roles| input::names("roles", roles)).transpose()?,
        permissions: body
            .permissions
            .map(|names| input::names("permissions", names))
            .transpose()?,
        security: body.security.map(SecurityBody::change).transpose()?.unwrap_or_default(),
        metadata: input::metadata_change(body.metadata.unwrap_or_default())?,
        if_match,
        ..Change::default()
    };
    for (key, value) in body.data.unwrap_or_default() {
        change.data.insert(input::data_key("data", &key)?, value);
    }
    if !change.metadata.is_empty() {
        let present = state.sessions().get(id, Freshness::default()).await?;
        let present = present.ok_or(ApiError::SessionNotFound)?;
        input::check_merged_metadata(&present.metadata, &change.metadata)?;
    }
    let session = state.sessions().change(id, change).await?;
    Ok(([(ETAG, conditional::etag(session.version))], Object::of(&session)?).into_response())
}

/// Whether a replica must confirm.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DurableQuery {
    /// Whether to wait for a replica. An end that no replica confirms is answered with a 503 `not_confirmed`; what else
    /// waits says in its answer whether one did.
    durable: Option<bool>,
}

impl DurableQuery {
    /// Joins it with the field of the same name in a body.
    pub(super) fn or(&self, in_body: Option<bool>) -> bool {
        self.durable.unwrap_or_default() || in_body.unwrap_or_default()
    }
}

/// Ends a session, and what it was before its rotations. An unknown one is answered alike.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "end_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path), DurableQuery),
    responses((status = 204, description = "There is no such session any more"), EndProblems)
)]
pub(in crate::http) async fn end(
    writer: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    QueryParams(query): QueryParams<DurableQuery>,
) -> Result<StatusCode, ApiError> {
    let sessions = state.sessions().clone();
    let durable = query.or(None);
    let deed = Deed {
        action: "end_session",
        session_id: Some(id),
        ..Deed::default()
    };
    audited(writer.cause(), deed, async move { sessions.end(id, durable).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records a use at once, which slides the expiry.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/touch", tag = "sessions", operation_id = "touch_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path)),
    responses((status = 200, description = "The session", body = schema::Session), ReadProblems)
)]
pub(in crate::http) async fn touch(
    _: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
) -> Result<Json<Arc<Session>>, ApiError> {
    Ok(Json(state.sessions().touch(id).await?))
}

/// Where a session is to be homed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct MigrateBody {
    /// One of `/v1/servers`.
    server_id: String,
}

/// Homes a session at another server.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/migrate", tag = "sessions", operation_id = "migrate_session",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path)),
    request_body = MigrateBody,
    responses((status = 200, description = "The session", body = schema::Session), ReadProblems)
)]
pub(in crate::http) async fn migrate(
    writer: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    JsonBody(body): JsonBody<MigrateBody>,
) -> Result<Json<Arc<Session>>, ApiError> {
    let sessions = state.sessions().clone();
    let deed = Deed {
        action: "migrate_session",
        session_id: Some(id),
        server_id: Some(body.server_id.clone()),
        ..Deed::default()
    };
    let moving = async move { sessions.migrate(id, &body.server_id).await };
    Ok(Json(audited(writer.cause(), deed, moving).await?))
}
