use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::users::Revoked;
use crate::cluster::MemberState;
use crate::http::audit::{Deed, audited};
use crate::http::caller::{Admin, Reader};
use crate::http::extract::QueryParams;
use crate::http::input::{self, invalid};
use crate::http::openapi::{EndProblems, FleetProblems};
use crate::http::problem::ApiError;
use crate::http::schema;
use crate::http::state::ApiState;
use crate::session::{Session, Timestamp};
use crate::sessions::{Cursor, PageRequest};
use crate::store::Filter;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Which page of the listing.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// 1 to 1000; 100 where it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The page before's `next_cursor`.
    cursor: Option<String>,
    /// Only sessions of this class.
    class: Option<String>,
    /// Only sessions homed at this server.
    server_id: Option<String>,
}

/// A page.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct SessionPage {
    #[schema(value_type = Vec<schema::Session>)]
    sessions: Vec<Arc<Session>>,
    /// To be given for the next page; null at the end.
    next_cursor: Option<String>,
}

/// All sessions, page by page. A session that is there throughout appears once.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "fleet", operation_id = "list_sessions",
    security(("bearer" = ["sessions:admin"])),
    params(ListQuery),
    responses((status = 200, description = "A page", body = SessionPage), FleetProblems)
)]
pub(in crate::http) async fn list(
    _: Admin,
    State(state): State<ApiState>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Json<SessionPage>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid("limit", &format!("1 to {MAX_LIMIT}")));
    }
    let classes = state.sessions().classes();
    let filter = Filter {
        class: query
            .class
            .as_deref()
            .map(|name| input::class(name, classes))
            .transpose()?,
        server_id: query.server_id.as_deref().map(input::server_id).transpose()?,
    };
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let page = state.sessions().page(PageRequest { limit, after, filter }).await?;
    Ok(Json(SessionPage {
        sessions: page.sessions,
        next_cursor: page.next.map(|cursor| URL_SAFE_NO_PAD.encode(cursor.text().as_str())),
    }))
}

fn read_cursor(text: &str) -> Result<Cursor, ApiError> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok();
    let id = decoded.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
    id.ok_or_else(|| invalid("cursor", "a next_cursor of this listing"))
}

/// That all is really meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EndAllQuery {
    /// Must be `all`.
    confirm: Option<String>,
}

/// Ends all sessions that were made before now.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "fleet", operation_id = "end_all_sessions",
    security(("bearer" = ["sessions:admin"])),
    params(EndAllQuery),
    responses((status = 200, description = "How many ended", body = Revoked), EndProblems)
)]
pub(in crate::http) async fn end_all(
    admin: Admin,
    State(state): State<ApiState>,
    QueryParams(query): QueryParams<EndAllQuery>,
) -> Result<Json<Revoked>, ApiError> {
    if query.confirm.as_deref() != Some("all") {
        return Err(invalid("confirm", "must be `all`: this ends every session"));
    }
    let sessions = state.sessions().clone();
    let deed = Deed {
        action: "end_all_sessions",
        ..Deed::default()
    };
    let revoked = audited(admin.cause(), deed, async move { sessions.end_all().await }).await?;
    tracing::warn!(revoked, "all sessions were ended on request");
    Ok(Json(Revoked { revoked }))
}

/// The fleet's counts.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct StatsAnswer {
    /// Live sessions.
    sessions: u64,
    /// Users with a live session.
    users: u64,
    by_class: BTreeMap<String, u64>,
    by_server: BTreeMap<String, u64>,
    /// How long the sessions lasted that ended since the beginning of yesterday (UTC).
    duration_seconds: DurationSeconds,
    /// When they were counted.
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
}

/// Null where no session has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DurationSeconds {
    average: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

/// Counts of live sessions and users, and how long sessions last.
#[utoipa::path(
    get, path = "/v1/stats", tag = "fleet", operation_id = "stats",
    security(("bearer" = ["sessions:read"])),
    responses((status = 200, description = "The counts", body = StatsAnswer), FleetProblems)
)]
pub(in crate::http) async fn stats(_: Reader, State(state): State<ApiState>) -> Result<Json<StatsAnswer>, ApiError> {
    let counts = state.sessions().stats().await?;
    Ok(Json(StatsAnswer {
        sessions: counts.sessions,
        users: counts.users,
        by_class: counts.by_class.clone(),
        by_server: counts.by_server.clone(),
        duration_seconds: DurationSeconds {
            average: counts.durations.average(),
            p50: counts.durations.quantile(0.5),
            p90: counts.durations.quantile(0.9),
            p99: counts.durations.quantile(0.99),
        },
        as_of: counts.as_of,
    }))
}

/// The servers of the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Servers {
    servers: Vec<FleetMember>,
}

/// A server of the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FleetMember {
    server_id: String,
    /// `live` or `draining`; null where it has left and sessions are still homed there.
    #[schema(value_type = Option<String>)]
    state: Option<MemberState>,
    /// Sessions homed there.
    sessions: u64,
    /// Whether it leads.
    leader: bool,
}

/// The servers of the fleet, and those that have left sessions behind.
#[utoipa::path(
    get, path = "/v1/servers", tag = "fleet", operation_id = "servers",
    security(("bearer" = ["sessions:read"])),
    responses((status = 200, description = "The servers", body = Servers), FleetProblems)
)]
pub(in crate::http) async fn servers(_: Reader, State(state): State<ApiState>) -> Result<Json<Servers>, ApiError> {
    let servers = state.sessions().servers().await?;
    let servers = servers.into_iter().map(|server| FleetMember {
        server_id: server.server_id,
        state: server.state,
        sessions: server.sessions,
        leader: server.leader,
    });
    Ok(Json(Servers {
        servers: servers.collect(),
    }))
}
