use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use crate::http::caller::Reader;
use crate::http::input::invalid;
use crate::http::openapi::FleetProblems;
use crate::http::problem::ApiError;
use crate::http::state::ApiState;
use crate::sessions::FeedItem;
use crate::store::{EventId, InvalidEventId};

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The fleet's events as server-sent events, at least once each. What can be told no more is told as `event: gap`.
#[utoipa::path(
    get, path = "/v1/events", tag = "fleet", operation_id = "events",
    security(("bearer" = ["sessions:read"])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen")),
    responses(
        (status = 200, description = "created, changed, rotated, destroyed, revoked, expired, migrated, theft, gap",
         body = String, content_type = "text/event-stream"),
        FleetProblems
    )
)]
pub(in crate::http) async fn events(
    _: Reader,
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let since = last_event_id(&headers)?;
    // The headers leave when this has returned: then no event that follows is missed.
    let feed = state.sessions().events(since).await?;
    let messages = state
        .sessions()
        .events_until(feed, state.draining())
        .map(|item| Ok::<_, Infallible>(message(&item)));
    let stream = Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(CACHE_CONTROL, "no-store")], stream).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    let mut values = headers.get_all("last-event-id").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    match (id, values.next()) {
        (Some(id), None) => Ok(Some(id)),
        _ => Err(invalid("last-event-id", &InvalidEventId.to_string())),
    }
}

fn message(item: &FeedItem) -> Message {
    match item {
        FeedItem::Event(event) => {
            let data = serde_json::to_string(event).unwrap_or_default();
            Message::default()
                .event(event.kind.as_str())
                .id(event.id.to_string())
                .data(data)
        }
        FeedItem::Gap => Message::default().event("gap").data("{}"),
    }
}
