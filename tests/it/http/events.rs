use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use cloakroom::http::HttpSettings;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Api, Setup, path_of};

/// A listener to the stream.
struct Listener(BodyDataStream);

impl Listener {
    async fn start(api: &Api, last: Option<&str>) -> Self {
        let mut request = Request::get("/v1/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = api
            .service
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self(response.into_body().into_data_stream())
    }

    /// The next event: its kind, its id and its data.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.next());
        let text = String::from_utf8(next.await.expect("no event came")?.unwrap().to_vec()).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {text:?}"))
                .trim()
                .to_owned()
        };
        Some((
            field("event:"),
            field("id:"),
            serde_json::from_str(&field("data:")).unwrap(),
        ))
    }
}

#[tokio::test]
async fn events_are_told_and_can_be_resumed() {
    let api = Api::new();
    let mut listener = Listener::start(&api, None).await;
    let made = api.create(json!({"user_id": "alice"})).await;
    let (kind, first, data) = listener.next().await.unwrap();
    assert_eq!(kind, "created");
    assert_eq!(data["session_id"], made["session"]["id"]);
    assert_eq!(data["user_id"], "alice");
    assert!(data.get("id").is_none());
    api.delete(&path_of(&made)).await.expect(204);
    assert_eq!(listener.next().await.unwrap().0, "destroyed");

    let mut resumed = Listener::start(&api, Some(&first)).await;
    let (kind, second, _) = resumed.next().await.unwrap();
    assert_eq!(kind, "destroyed");
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_drain_ends_the_stream() {
    let api = Api::new();
    let mut listener = Listener::start(&api, None).await;
    api.draining.send(true).unwrap();
    assert!(listener.next().await.is_none());
}

#[tokio::test]
async fn the_stream_outlives_the_request_timeout() {
    let settings = HttpSettings {
        timeout: Duration::from_millis(20),
        ..HttpSettings::default()
    };
    let api = Api::with(Setup {
        settings,
        ..Setup::default()
    });
    let mut listener = Listener::start(&api, None).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    api.create(json!({})).await;
    assert_eq!(listener.next().await.unwrap().0, "created");
}

#[tokio::test]
async fn a_malformed_last_event_id_is_refused() {
    let api = Api::new();
    for bad in ["", "x", "1-2", "1-2-A7", "-1-2-a7"] {
        let answer = api.call("GET", "/v1/events", &[("last-event-id", bad)], "").await;
        answer.problem(400, "invalid_request");
    }
}
